//! Network interfaces: `struct ifinfomsg` and its attributes.

use super::error::KernelError;
use super::message::{Attributes, Batch, Message, Payload, attributes_after, flags};
use super::socket::Requests;
use crate::kernel::desired::{Link, LinkKind, LinkName};
use crate::kernel::observed::{LinkState, ObservedKind, ObservedLink};
use crate::kernel::ownership::LINK_ALIAS;
use std::net::Ipv4Addr;

const HEADER_LEN: usize = 16;
const UP: u32 = libc::IFF_UP as u32;
const LOOPBACK: u32 = libc::IFF_LOOPBACK as u32;
/// `IFF_LOWER_UP`, and `IFF_RUNNING`: where somebody has to be authenticated before packets pass (WPA, 802.1X), that comes
/// later.
const CARRIER: u32 = 1 << 16 | libc::IFF_RUNNING as u32;

const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_TXQLEN: u16 = 13;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
/// `IFLA_IPTUN_LINK`, `IFLA_GRE_LINK`.
const IFLA_TUNNEL_LINK: u16 = 1;
/// In each network namespace.
const LOOPBACK_INDEX: u32 = 1;
/// Of a kind of tunnel: how it is called, and its attributes.
struct Tunnel {
    name: &'static str,
    local: u16,
    remote: u16,
    ttl: u16,
    collect_metadata: u16,
}
/// `IFLA_IPTUN_…`.
const IP_IN_IP: Tunnel = Tunnel {
    name: "ipip",
    local: 2,
    remote: 3,
    ttl: 4,
    collect_metadata: 19,
};
/// `IFLA_GRE_…`.
const GRE: Tunnel = Tunnel {
    name: "gre",
    local: 6,
    remote: 7,
    ttl: 8,
    collect_metadata: 18,
};
/// `IFLA_IPTUN_…` as well.
const IPV6_IN_IP: Tunnel = Tunnel {
    name: "sit",
    ..IP_IN_IP
};
/// Of outer headers whose addresses are the device's.
const TTL: u8 = 64;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
/// `IN6_ADDR_GEN_MODE_NONE`.
const NO_ADDRESSES: u8 = 1;
/// Packets that wait until a TUN is read; the kernel's own 500 are 70 ms of 10 MB/s. After a move a sender owes more than that
/// and sends it at once, and what does not fit is lost (docs/performance.md, "Handoffs").
const TUN_QUEUE: u32 = 4096;
/// `RTEXT_FILTER_SKIP_STATS`.
const WITHOUT_COUNTS: u32 = 1 << 3;

/// Makes a device of tunnels; [`set`] it afterwards. Nothing for a TUN, which netlink does not make.
pub fn add_tunnel(batch: &mut Batch, link: &Link) {
    let (tunnel, ends) = match link.kind {
        LinkKind::Tun(_) => return,
        LinkKind::IpInIp => (IP_IN_IP, None),
        LinkKind::IpInIpBetween { local, remote } => (IP_IN_IP, Some((local, remote))),
        LinkKind::Gre => (GRE, None),
        LinkKind::GreBetween { local, remote } => (GRE, Some((local, remote))),
        LinkKind::Ipv6InIp { local } => (IPV6_IN_IP, Some((local, Ipv4Addr::UNSPECIFIED))),
        LinkKind::Ipv6InIpBetween { local, remote } => (IPV6_IN_IP, Some((local, remote))),
    };
    let flags = flags::CREATE | flags::EXCLUSIVE;
    batch.message(libc::RTM_NEWLINK, flags, |payload| {
        payload.put_bytes(&[0; HEADER_LEN]);
        payload.attribute_bytes(IFLA_IFNAME, &[link.name.as_str().as_bytes(), &[0]]);
        payload.nested(IFLA_LINKINFO, |payload| {
            payload.attribute_bytes(IFLA_INFO_KIND, &[tunnel.name.as_bytes()]);
            payload.nested(IFLA_INFO_DATA, |payload| match ends {
                Some((local, remote)) => {
                    if local.is_unspecified() && remote.is_unspecified() {
                        // Tells it from the one that the kernel has itself.
                        payload.attribute_bytes(IFLA_TUNNEL_LINK, &[&LOOPBACK_INDEX.to_ne_bytes()]);
                    }
                    payload.attribute_bytes(tunnel.local, &[&local.octets()]);
                    payload.attribute_bytes(tunnel.remote, &[&remote.octets()]);
                    payload.attribute_bytes(tunnel.ttl, &[&[TTL]]);
                }
                None => payload.attribute_bytes(tunnel.collect_metadata, &[]),
            });
        });
    });
}

/// Makes it ours.
pub fn mark(batch: &mut Batch, link: &Link) {
    batch.message(libc::RTM_NEWLINK, 0, |payload| {
        payload.put_bytes(&[0; HEADER_LEN]);
        payload.attribute_bytes(IFLA_IFNAME, &[link.name.as_str().as_bytes(), &[0]]);
        payload.attribute_bytes(IFLA_IFALIAS, &[LINK_ALIAS.as_bytes()]);
    });
}

/// Gives it its MTU and a TUN its queue, and switches it on.
pub fn set(batch: &mut Batch, link: &Link) {
    batch.message(libc::RTM_NEWLINK, 0, |payload| {
        payload.put_bytes(&header(0, UP));
        payload.attribute_bytes(IFLA_IFNAME, &[link.name.as_str().as_bytes(), &[0]]);
        payload.attribute_bytes(IFLA_MTU, &[&link.mtu.to_ne_bytes()]);
        if let LinkKind::Tun(_) = link.kind {
            payload.attribute_bytes(IFLA_TXQLEN, &[&TUN_QUEUE.to_ne_bytes()]);
        }
    });
}

/// Keeps IPv6 from giving it a link-local address and asking for routers there. A kernel without
/// IPv6 refuses.
pub fn keep_free_of_ipv6(batch: &mut Batch, link: &Link) {
    batch.message(libc::RTM_NEWLINK, 0, |payload| {
        payload.put_bytes(&[0; HEADER_LEN]);
        payload.attribute_bytes(IFLA_IFNAME, &[link.name.as_str().as_bytes(), &[0]]);
        payload.nested(IFLA_AF_SPEC, |payload| {
            payload.nested(libc::AF_INET6 as u16, |payload| {
                payload.attribute_bytes(IFLA_INET6_ADDR_GEN_MODE, &[&[NO_ADDRESSES]]);
            });
        });
    });
}

pub fn delete(batch: &mut Batch, index: u32) {
    batch.message(libc::RTM_DELLINK, 0, |payload| {
        payload.put_bytes(&header(index, 0));
    });
}

/// Of any type; flags that are set.
fn header(index: u32, flags: u32) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&flags.to_ne_bytes());
    header
}

/// Everybody's.
pub fn list(requests: &mut Requests) -> Result<Vec<ObservedLink>, KernelError> {
    let mut request = vec![0; HEADER_LEN];
    request.extend(8u16.to_ne_bytes());
    request.extend(IFLA_EXT_MASK.to_ne_bytes());
    request.extend(WITHOUT_COUNTS.to_ne_bytes());
    requests.dump(libc::RTM_GETLINK, &request, read)
}

/// By its name.
pub fn fetch(requests: &mut Requests, name: LinkName) -> Result<ObservedLink, KernelError> {
    let ask = |payload: &mut Payload<'_>| {
        payload.put_bytes(&[0; HEADER_LEN]);
        payload.attribute_bytes(IFLA_IFNAME, &[name.as_str().as_bytes(), &[0]]);
    };
    requests.fetch(libc::RTM_GETLINK, ask, read)
}

/// Of a link that is there. `None` is also one whose name we could not have given.
pub fn read(message: &Message<'_>) -> Option<ObservedLink> {
    let header = message.payload.first_chunk::<HEADER_LEN>()?;
    // A bridge speaks of its ports in a family of its own.
    if message.kind != libc::RTM_NEWLINK || header[0] != libc::AF_UNSPEC as u8 {
        return None;
    }
    let flags = u32::from_ne_bytes(header[8..12].try_into().ok()?);
    let attributes = attributes_after(message.payload, HEADER_LEN);
    Some(ObservedLink {
        index: index(message)?,
        name: attributes.find_str(IFLA_IFNAME)?.parse().ok()?,
        kind: kind(attributes.find(IFLA_LINKINFO)),
        hardware: u16::from_ne_bytes([header[2], header[3]]),
        mtu: attributes.find_u32(IFLA_MTU)?,
        state: match (flags & UP != 0, flags & CARRIER == CARRIER) {
            (false, _) => LinkState::Off,
            (true, false) => LinkState::NoCarrier,
            (true, true) => LinkState::Carrier,
        },
        loopback: flags & LOOPBACK != 0,
        enslaved: attributes.find(IFLA_MASTER).is_some(),
        alias: attributes.find_str(IFLA_IFALIAS).map(str::to_owned),
    })
}

/// Of a link that is gone.
pub fn read_gone(message: &Message<'_>) -> Option<u32> {
    let family = *message.payload.first()?;
    let gone = message.kind == libc::RTM_DELLINK && family == libc::AF_UNSPEC as u8;
    gone.then(|| index(message))?
}

fn index(message: &Message<'_>) -> Option<u32> {
    let octets = message.payload.get(4..8)?.try_into().ok()?;
    Some(u32::from_ne_bytes(octets))
}

fn kind(information: Option<&[u8]>) -> ObservedKind {
    let Some(information) = information.map(Attributes) else {
        return ObservedKind::Hardware;
    };
    match information.find_str(IFLA_INFO_KIND) {
        None => ObservedKind::Hardware,
        Some("tun") => ObservedKind::Tun,
        Some(other) => {
            let data = information.find(IFLA_INFO_DATA);
            let tunnel = data.and_then(|data| tunnel(other, &Attributes(data)));
            tunnel.unwrap_or_else(|| ObservedKind::Other(other.to_owned()))
        }
    }
}

/// `None` is one of another kind, or one that we would not make so.
fn tunnel(name: &str, data: &Attributes<'_>) -> Option<ObservedKind> {
    let kinds = [IP_IN_IP, GRE, IPV6_IN_IP];
    let kind = kinds.iter().find(|kind| kind.name == name)?;
    let is_gre = kind.name == GRE.name;
    let is_ipv6 = kind.name == IPV6_IN_IP.name;
    if data.find(kind.collect_metadata).is_some() {
        return Some(if is_gre {
            ObservedKind::Gre
        } else {
            ObservedKind::IpInIp
        });
    }
    let address = |kind| Some(Ipv4Addr::from(*data.find(kind)?.first_chunk::<4>()?));
    let (local, remote) = (address(kind.local)?, address(kind.remote)?);
    Some(if is_gre {
        ObservedKind::GreBetween { local, remote }
    } else if is_ipv6 && remote.is_unspecified() {
        ObservedKind::Ipv6InIp { local }
    } else if is_ipv6 {
        ObservedKind::Ipv6InIpBetween { local, remote }
    } else {
        ObservedKind::IpInIpBetween { local, remote }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::desired::Offload;
    use crate::kernel::netlink::message::Messages;
    use proptest::prelude::*;

    #[test]
    fn a_tunnel_reads_back_as_made_and_without_outer_addresses_of_routes_it_is_none() {
        let (local, remote) = ([10, 30, 0, 5].into(), [10, 10, 0, 2].into());
        for (wanted, observed) in [
            (LinkKind::IpInIp, ObservedKind::IpInIp),
            (LinkKind::Gre, ObservedKind::Gre),
            (
                LinkKind::IpInIpBetween { local, remote },
                ObservedKind::IpInIpBetween { local, remote },
            ),
            (
                LinkKind::GreBetween { local, remote },
                ObservedKind::GreBetween { local, remote },
            ),
            (
                LinkKind::Ipv6InIp { local },
                ObservedKind::Ipv6InIp { local },
            ),
            (
                LinkKind::Ipv6InIpBetween { local, remote },
                ObservedKind::Ipv6InIpBetween { local, remote },
            ),
        ] {
            let link = Link {
                name: "xa-tunnel".parse().unwrap(),
                kind: wanted,
                mtu: 1480,
            };
            let mut batch = Batch::new(1);
            add_tunnel(&mut batch, &link);
            let message = Messages(batch.bytes()).next().unwrap();
            let attributes = attributes_after(message.payload, HEADER_LEN);
            assert_eq!(kind(attributes.find(IFLA_LINKINFO)), observed);
        }
        let plain = [8, 0, 1, 0, b'i', b'p', b'i', b'p'];
        assert_eq!(kind(Some(&plain)), ObservedKind::Other("ipip".into()));
    }

    #[test]
    fn what_user_space_reads_has_a_queue_for_what_comes_at_once() {
        let queue = |kind| {
            let link = Link {
                name: "xa-udp".parse().unwrap(),
                kind,
                mtu: 1400,
            };
            let mut batch = Batch::new(1);
            set(&mut batch, &link);
            let message = Messages(batch.bytes()).next().unwrap();
            let attributes = attributes_after(message.payload, HEADER_LEN);
            attributes.find(IFLA_TXQLEN).map(<[u8]>::to_vec)
        };
        let tun = queue(LinkKind::Tun(Offload::VirtioHeader));
        assert_eq!(tun.unwrap(), TUN_QUEUE.to_ne_bytes());
        assert_eq!(queue(LinkKind::IpInIp), None);
    }

    #[test]
    fn a_link_is_read_with_its_alias_and_state() {
        let link = Link {
            name: "intranet0".parse().unwrap(),
            kind: LinkKind::IpInIp,
            mtu: 1400,
        };
        let mut batch = Batch::new(1);
        set(&mut batch, &link);
        let mut payload = Messages(batch.bytes()).next().unwrap().payload.to_vec();
        payload.extend([14, 0, IFLA_IFALIAS as u8, 0]);
        payload.extend(b"xfrm-agent\0\0");
        let message = Message {
            kind: libc::RTM_NEWLINK,
            flags: 0,
            sequence: 0,
            port: 0,
            payload: &payload,
        };
        let read = read(&message).unwrap();
        assert!(read.is_ours() && !read.loopback);
        assert_eq!(read.state, LinkState::NoCarrier);
        assert_eq!((read.name, read.mtu), (link.name, 1400));
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_panic(gone: bool, payload in prop::collection::vec(any::<u8>(), 0..96)) {
            let kind = if gone { libc::RTM_DELLINK } else { libc::RTM_NEWLINK };
            let message = Message { kind, flags: 0, sequence: 0, port: 0, payload: &payload };
            let _ = (read(&message), read_gone(&message));
        }
    }
}
