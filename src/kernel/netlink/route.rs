//! Routes: `struct rtmsg` and its attributes.
//!
//! ```text
//!  0      1       2       3   4     5        6     7    8
//!  family dst_len src_len tos table protocol scope type flags …
//! ```

use super::error::KernelError;
use super::fields;
use super::message::{Attributes, Batch, Message, Payload, attributes_after, flags};
use super::socket::Requests;
use crate::kernel::desired::{Encapsulation, Fragmenting, RouteKey, Way};
use crate::kernel::observed::ObservedWay;
use crate::kernel::ownership::ROUTE_PROTOCOL;
use crate::net::{Family, IpNet};
use nix::errno::Errno;
use std::net::{IpAddr, Ipv4Addr};

const HEADER_LEN: usize = 12;

/// The loopback device is the first of every network namespace.
const LOOPBACK: u32 = 1;
/// `RTNH_F_ONLINK`.
const ON_LINK: u32 = 4;
/// What IPv6 makes of no metric (`IP6_RT_PRIO_USER`).
const IPV6_METRIC: u32 = 1024;

const RTA_ENCAP_TYPE: u16 = 21;
const RTA_ENCAP: u16 = 22;
const LWTUNNEL_ENCAP_IP: u16 = 2;
const LWTUNNEL_IP_DST: u16 = 2;
const LWTUNNEL_IP_SRC: u16 = 3;
const LWTUNNEL_IP_TTL: u16 = 4;
const LWTUNNEL_IP_FLAGS: u16 = 6;
/// `TUNNEL_DONT_FRAGMENT`, in network order.
const DONT_FRAGMENT: [u8; 2] = [0x01, 0x00];
const RTAX_LOCK: u16 = 1;
/// What fits is what the device takes.
const MTU_LOCKED: u32 = 1 << 2;

/// Fails where anybody's route has the key.
pub fn add(batch: &mut Batch, key: &RouteKey, way: &ObservedWay) {
    let flags = flags::CREATE | flags::EXCLUSIVE;
    batch.message(libc::RTM_NEWROUTE, flags, |payload| {
        write(payload, key, way);
    });
}

/// Fails where there is none. Whose it is the kernel does not ask: only of a key that is ours.
pub fn replace(batch: &mut Batch, key: &RouteKey, way: &ObservedWay) {
    batch.message(libc::RTM_NEWROUTE, flags::REPLACE, |payload| {
        write(payload, key, way);
    });
}

/// One of ours, and where its way is known only one of its kind.
pub fn delete(batch: &mut Batch, key: &RouteKey, way: Option<&ObservedWay>) {
    batch.message(libc::RTM_DELROUTE, 0, |payload| {
        // A type of 0 is any.
        let kind = way.map_or(0, kind);
        payload.put_bytes(&header(key, libc::RT_SCOPE_NOWHERE, kind, 0));
        write_key(payload, key);
    });
}

fn write(payload: &mut Payload<'_>, key: &RouteKey, way: &ObservedWay) {
    let gateway = match way {
        Way::Link { gateway, .. } => *gateway,
        _ => None,
    };
    let scope = match way {
        Way::Local => libc::RT_SCOPE_HOST,
        Way::Link { gateway: None, .. } | Way::Encapsulated { .. } => libc::RT_SCOPE_LINK,
        Way::Unreachable | Way::Link { .. } => libc::RT_SCOPE_UNIVERSE,
    };
    let flags = if gateway.is_some() { ON_LINK } else { 0 };
    payload.put_bytes(&header(key, scope, kind(way), flags));
    write_key(payload, key);
    let link = match way {
        Way::Local => Some(LOOPBACK),
        way => way.link(),
    };
    if let Some(link) = link {
        payload.attribute_bytes(libc::RTA_OIF, &[&link.to_ne_bytes()]);
    }
    for (kind, addr) in [
        (libc::RTA_GATEWAY, gateway),
        (libc::RTA_PREFSRC, way.source()),
    ] {
        if let Some(addr) = addr {
            fields::with_octets(addr, |octets| payload.attribute_bytes(kind, &[octets]));
        }
    }
    if let Way::Encapsulated { encapsulation, .. } = way {
        payload.attribute_bytes(RTA_ENCAP_TYPE, &[&LWTUNNEL_ENCAP_IP.to_ne_bytes()]);
        payload.nested(RTA_ENCAP, |payload| write_outer(payload, encapsulation));
        // There is nothing to find out. Otherwise the kernel writes down what fits, the device's MTU, for each
        // destination, in a table of 16 KiB for each route.
        if encapsulation.fragmenting == Fragmenting::Allowed {
            payload.nested(libc::RTA_METRICS, |payload| {
                payload.attribute_bytes(RTAX_LOCK, &[&MTU_LOCKED.to_ne_bytes()]);
            });
        }
    }
}

fn write_outer(payload: &mut Payload<'_>, outer: &Encapsulation) {
    payload.attribute_bytes(LWTUNNEL_IP_DST, &[&outer.dst.octets()]);
    payload.attribute_bytes(LWTUNNEL_IP_SRC, &[&outer.src.octets()]);
    payload.attribute_bytes(LWTUNNEL_IP_TTL, &[&[outer.ttl]]);
    match outer.fragmenting {
        Fragmenting::Allowed => {}
        Fragmenting::Forbidden => payload.attribute_bytes(LWTUNNEL_IP_FLAGS, &[&DONT_FRAGMENT]),
    }
}

fn write_key(payload: &mut Payload<'_>, key: &RouteKey) {
    if key.dst.prefix_len() > 0 {
        fields::with_octets(key.dst.network(), |octets| {
            payload.attribute_bytes(libc::RTA_DST, &[octets]);
        });
    }
    if key.metric > 0 {
        payload.attribute_bytes(libc::RTA_PRIORITY, &[&key.metric.to_ne_bytes()]);
    }
    payload.attribute_bytes(libc::RTA_TABLE, &[&key.table.to_ne_bytes()]);
}

fn header(key: &RouteKey, scope: u8, kind: u8, flags: u32) -> [u8; HEADER_LEN] {
    let family = fields::family_code(Family::of(key.dst.addr())) as u8;
    let [f0, f1, f2, f3] = flags.to_ne_bytes();
    let len = key.dst.prefix_len();
    // The table is in an attribute, which has room for every number.
    [
        family,
        len,
        0,
        0,
        0,
        ROUTE_PROTOCOL,
        scope,
        kind,
        f0,
        f1,
        f2,
        f3,
    ]
}

fn kind(way: &ObservedWay) -> u8 {
    match way {
        Way::Local => libc::RTN_LOCAL,
        Way::Unreachable => libc::RTN_UNREACHABLE,
        Way::Link { .. } | Way::Encapsulated { .. } => libc::RTN_UNICAST,
    }
}

/// Somebody's route, that is there or that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnyRoute {
    pub key: RouteKey,
    pub ours: bool,
    /// `None` is one that we would not write so.
    pub way: Option<ObservedWay>,
}

/// Our routes, or those of them that lead over one link: none where the link has gone. The kernel itself is
/// asked for those of our protocol only, so that a full Internet table beside them costs nothing.
pub fn own(
    requests: &mut Requests,
    over: Option<u32>,
) -> Result<Vec<(RouteKey, Option<ObservedWay>)>, KernelError> {
    let mut found = Vec::new();
    for family in [Family::V4, Family::V6] {
        let mut request = vec![0; HEADER_LEN];
        (request[0], request[5]) = (fields::family_code(family) as u8, ROUTE_PROTOCOL);
        if let Some(index) = over {
            request.extend(8u16.to_ne_bytes());
            request.extend(libc::RTA_OIF.to_ne_bytes());
            request.extend(index.to_ne_bytes());
        }
        let own = |message: &Message<'_>| {
            let route = read(message).filter(|route| route.ours)?;
            Some((route.key, route.way))
        };
        match requests.dump(libc::RTM_GETROUTE, &request, own) {
            Ok(routes) => found.extend(routes),
            // It went before this was asked, and its routes with it; that it went is heard later.
            Err(error) if over.is_some() && error.errno == Errno::ENODEV => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// `None` is also one whose key we never have: of a type of service, or of sources.
pub fn read(message: &Message<'_>) -> Option<AnyRoute> {
    let &[
        family,
        len,
        src_len,
        tos,
        _,
        protocol,
        _,
        kind,
        f0,
        f1,
        f2,
        f3,
        ..,
    ] = message.payload
    else {
        return None;
    };
    let known = matches!(message.kind, libc::RTM_NEWROUTE | libc::RTM_DELROUTE);
    if !known || src_len != 0 || tos != 0 {
        return None;
    }
    let family = fields::family(u16::from(family))?;
    let attributes = attributes_after(message.payload, HEADER_LEN);
    let addr = match attributes.find(libc::RTA_DST) {
        Some(octets) => fields::ip(octets)?,
        None => family.any().addr(),
    };
    let metric = match (family, attributes.find_u32(libc::RTA_PRIORITY)) {
        (Family::V6, Some(IPV6_METRIC)) | (_, None) => 0,
        (_, Some(metric)) => metric,
    };
    let key = RouteKey {
        table: attributes.find_u32(libc::RTA_TABLE)?,
        dst: IpNet::new(addr, len).ok()?.trunc(),
        metric,
    };
    let on_link = u32::from_ne_bytes([f0, f1, f2, f3]) & ON_LINK != 0;
    Some(AnyRoute {
        key,
        ours: protocol == ROUTE_PROTOCOL,
        way: way(kind, on_link, &attributes),
    })
}

fn way(kind: u8, on_link: bool, attributes: &Attributes<'_>) -> Option<ObservedWay> {
    match kind {
        libc::RTN_UNREACHABLE => return Some(Way::Unreachable),
        libc::RTN_LOCAL if attributes.find_u32(libc::RTA_OIF) == Some(LOOPBACK) => {
            return Some(Way::Local);
        }
        libc::RTN_UNICAST if attributes.find(libc::RTA_MULTIPATH).is_none() => {}
        _ => return None,
    }
    let link = attributes.find_u32(libc::RTA_OIF)?;
    let address = |kind| match attributes.find(kind) {
        Some(octets) => fields::ip(octets).map(Some),
        None => Some(None),
    };
    let (gateway, source) = (address(libc::RTA_GATEWAY)?, address(libc::RTA_PREFSRC)?);
    if on_link != gateway.is_some() {
        return None;
    }
    match (attributes.find(RTA_ENCAP_TYPE), attributes.find(RTA_ENCAP)) {
        (None, _) => Some(Way::Link {
            link,
            gateway,
            source,
        }),
        (Some(kind), Some(outer)) if *kind == LWTUNNEL_ENCAP_IP.to_ne_bytes() => {
            Some(Way::Encapsulated {
                link,
                encapsulation: outer_header(&Attributes(outer))?,
                source,
            })
        }
        _ => None,
    }
}

fn outer_header(attributes: &Attributes<'_>) -> Option<Encapsulation> {
    let address = |kind| {
        let octets = <[u8; 4]>::try_from(attributes.find(kind)?).ok()?;
        Some(Ipv4Addr::from(octets))
    };
    let fragmenting = match attributes.find(LWTUNNEL_IP_FLAGS) {
        None | Some([0, 0]) => Fragmenting::Allowed,
        Some(flags) if *flags == DONT_FRAGMENT => Fragmenting::Forbidden,
        Some(_) => return None,
    };
    Some(Encapsulation {
        src: address(LWTUNNEL_IP_SRC)?,
        dst: address(LWTUNNEL_IP_DST)?,
        ttl: attributes.find_u8(LWTUNNEL_IP_TTL)?,
        fragmenting,
    })
}

/// The address that packets to `dst` with this mark leave from, by rules and routes alone: XFRM
/// policies are not looked at.
///
/// # Errors
/// The kernel's word for why there is no way, such as `ENETUNREACH`; `EBADMSG` where the way is
/// none for a peer, as to a broadcast address.
pub fn source_towards(
    requests: &mut Requests,
    dst: IpAddr,
    mark: u32,
) -> Result<IpAddr, KernelError> {
    let mut header = [0; HEADER_LEN];
    header[0] = fields::family_code(Family::of(dst)) as u8;
    header[1] = IpNet::from(dst).prefix_len();
    let ask = |payload: &mut Payload<'_>| {
        payload.put_bytes(&header);
        fields::with_octets(dst, |octets| {
            payload.attribute_bytes(libc::RTA_DST, &[octets]);
        });
        payload.attribute_bytes(libc::RTA_MARK, &[&mark.to_ne_bytes()]);
    };
    requests.fetch(libc::RTM_GETROUTE, ask, read_source)
}

/// Of the route to one destination.
fn read_source(message: &Message<'_>) -> Option<IpAddr> {
    let &[_, _, _, _, _, _, _, kind, ..] = message.payload else {
        return None;
    };
    let leads_to_one = kind == libc::RTN_UNICAST || kind == libc::RTN_LOCAL;
    if message.kind != libc::RTM_NEWROUTE || !leads_to_one {
        return None;
    }
    let attributes = attributes_after(message.payload, HEADER_LEN);
    fields::ip(attributes.find(libc::RTA_PREFSRC)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::netlink::message::Messages;
    use proptest::prelude::*;

    fn addr<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
        text.parse().unwrap()
    }

    fn read_back(key: RouteKey, way: ObservedWay) -> AnyRoute {
        let mut batch = Batch::new(1);
        add(&mut batch, &key, &way);
        let message = Messages(batch.bytes()).next().unwrap();
        read(&message).unwrap()
    }

    fn encapsulation(fragmenting: Fragmenting) -> Encapsulation {
        Encapsulation {
            src: addr("203.0.113.10"),
            dst: addr("192.0.2.2"),
            ttl: 64,
            fragmenting,
        }
    }

    #[test]
    fn every_way_reads_back_as_written() {
        let key = |dst: &str, metric| RouteKey {
            table: 7370,
            dst: addr(dst),
            metric,
        };
        let over = |gateway: Option<&str>, source: Option<&str>| Way::Link {
            link: 7,
            gateway: gateway.map(addr),
            source: source.map(addr),
        };
        let tunnel = |fragmenting| Way::Encapsulated {
            link: 9,
            encapsulation: encapsulation(fragmenting),
            source: Some(addr("10.20.0.5")),
        };
        for (key, way) in [
            (key("0.0.0.0/0", 0), Way::Local),
            (key("::/0", 0), Way::Local),
            (key("2001:db8::/32", 0), Way::Local),
            (RouteKey::end_of(7400, Family::V4), Way::Unreachable),
            (RouteKey::end_of(7400, Family::V6), Way::Unreachable),
            (key("0.0.0.0/0", 10), over(Some("203.0.113.1"), None)),
            (key("10.0.0.0/8", 0), over(None, Some("10.20.0.5"))),
            (key("::/0", 10), over(Some("fe80::1"), Some("2001:db8::5"))),
            (key("0.0.0.0/0", 0), tunnel(Fragmenting::Allowed)),
            (key("10.20.0.5/32", 7), tunnel(Fragmenting::Forbidden)),
        ] {
            let written = AnyRoute {
                key,
                ours: true,
                way: Some(way),
            };
            assert_eq!(read_back(key, way), written);
        }
    }

    #[test]
    fn a_route_that_we_would_not_write_so_has_no_way_and_one_of_a_tos_no_key() {
        let key = RouteKey::to_host(254, addr("10.0.0.1"));
        let way = Way::Link {
            link: 7,
            gateway: Some(addr("10.0.0.9")),
            source: None,
        };
        let mut batch = Batch::new(1);
        add(&mut batch, &key, &way);
        let message = Messages(batch.bytes()).next().unwrap();
        let with = |at: usize, octet: u8| {
            let mut payload = message.payload.to_vec();
            payload[at] = octet;
            let payload = payload.as_slice();
            read(&Message { payload, ..message })
        };
        assert_eq!(with(8, 0).map(|route| route.way), Some(None), "not on link");
        assert_eq!(
            with(7, libc::RTN_BLACKHOLE).map(|route| route.way),
            Some(None)
        );
        assert_eq!(with(5, 4).map(|route| route.ours), Some(false));
        assert_eq!(with(3, 0x10), None);
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_panic(payload in prop::collection::vec(any::<u8>(), 0..96)) {
            let message = Message { kind: libc::RTM_NEWROUTE, flags: 0, sequence: 0, port: 0, payload: &payload };
            let _ = (read(&message), read_source(&message));
        }

        #[test]
        fn any_outer_header_is_read_without_panic(octets in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = outer_header(&Attributes(&octets));
        }
    }
}
