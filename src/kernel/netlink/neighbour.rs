//! Who is who on a link: the default gateways, and whom we say ourselves.

use super::error::KernelError;
use super::fields;
use super::message::{Batch, Message, Payload, attributes_after, flags};
use super::socket::Requests;
use crate::kernel::ownership::ROUTE_PROTOCOL;
use crate::net::Family;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// `struct rtmsg` and `struct ndmsg`.
const HEADER_LEN: usize = 12;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_INCOMPLETE: u16 = 0x01;
const NUD_FAILED: u16 = 0x20;
const NUD_NOARP: u16 = 0x40;
const NUD_PERMANENT: u16 = 0x80;
const NDA_PROTOCOL: u16 = 12;

/// A neighbour: its interface and its address.
pub type Neighbour = (u32, IpAddr);

/// The link addresses of the gateways that default routes of the main table lead to, as far as they
/// are known; sorted. What somebody has answered to ARP or neighbour discovery: it proves nothing.
///
/// `requests` check their filters strictly: of a full Internet table the kernel sends the routes of
/// one table all the same.
pub fn gateways(requests: &mut Requests) -> Result<Vec<[u8; 6]>, KernelError> {
    let routes = default_routes(requests, &[Family::V4, Family::V6])?;
    let found: BTreeSet<_> = routes.iter().filter_map(|route| route.mac).collect();
    Ok(found.into_iter().collect())
}

/// A default route of the main table that leads to a gateway, and is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultRoute {
    /// The index of its link.
    pub link: u32,
    pub gateway: IpAddr,
    pub metric: u32,
    /// Of the gateway, as far as it is known.
    pub mac: Option<[u8; 6]>,
}

/// As for [`gateways`].
pub fn default_routes(
    requests: &mut Requests,
    families: &[Family],
) -> Result<Vec<DefaultRoute>, KernelError> {
    let mut found = Vec::new();
    for family in families {
        let family = fields::family_code(*family) as u8;
        let mut request = [0; HEADER_LEN];
        (request[0], request[4]) = (family, libc::RT_TABLE_MAIN);
        let mut routes = requests.dump(libc::RTM_GETROUTE, &request, default_route)?;
        if routes.is_empty() {
            continue;
        }
        let mut request = [0; HEADER_LEN];
        request[0] = family;
        let neighbours = requests.dump(libc::RTM_GETNEIGH, &request, neighbour)?;
        for route in &mut routes {
            let its = |(at, _): &&(Neighbour, _)| *at == (route.link, route.gateway);
            route.mac = neighbours.iter().find(its).map(|(_, mac)| *mac);
        }
        found.extend(routes);
    }
    Ok(found)
}

/// Without a MAC, whether it came or went; `None` for any other route, and without a gateway.
pub fn default_route(message: &Message<'_>) -> Option<DefaultRoute> {
    let &[family, 0, _, _, _, protocol, _, libc::RTN_UNICAST, ..] = message.payload else {
        return None;
    };
    let known = matches!(message.kind, libc::RTM_NEWROUTE | libc::RTM_DELROUTE);
    let attributes = attributes_after(message.payload, HEADER_LEN);
    let table = attributes.find_u32(libc::RTA_TABLE);
    let elsewhere = table.is_some_and(|table| table != u32::from(libc::RT_TABLE_MAIN));
    if !known || elsewhere || protocol == ROUTE_PROTOCOL || attributes.find(libc::RTA_DST).is_some()
    {
        return None;
    }
    let family = fields::family(u16::from(family))?;
    Some(DefaultRoute {
        link: attributes.find_u32(libc::RTA_OIF)?,
        gateway: address(family, attributes.find(libc::RTA_GATEWAY)?)?,
        metric: attributes.find_u32(libc::RTA_PRIORITY).unwrap_or(0),
        mac: None,
    })
}

/// With its link address, where that is one of Ethernet and somebody has given it.
pub fn neighbour(message: &Message<'_>) -> Option<(Neighbour, [u8; 6])> {
    let &[family, _, _, _, i0, i1, i2, i3, s0, s1, ..] = message.payload else {
        return None;
    };
    let unknown = NUD_INCOMPLETE | NUD_FAILED | NUD_NOARP;
    if message.kind != libc::RTM_NEWNEIGH || u16::from_ne_bytes([s0, s1]) & unknown != 0 {
        return None;
    }
    let attributes = attributes_after(message.payload, HEADER_LEN);
    let family = fields::family(u16::from(family))?;
    let address = address(family, attributes.find(NDA_DST)?)?;
    let mac = attributes.find(NDA_LLADDR)?.try_into().ok()?;
    Some(((u32::from_ne_bytes([i0, i1, i2, i3]), address), mac))
}

/// A permanent neighbour where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermanentAt {
    /// Of its link.
    pub index: u32,
    pub address: IpAddr,
    /// Its MAC, where we have said so. A kernel that does not keep who did says that others have.
    pub ours: Option<[u8; 6]>,
}

/// In place of whatever is known of it.
pub fn put(batch: &mut Batch, index: u32, address: IpAddr, mac: [u8; 6]) {
    let flags = flags::CREATE | flags::REPLACE;
    batch.message(libc::RTM_NEWNEIGH, flags, |payload| {
        put_key(payload, index, address, NUD_PERMANENT);
        payload.attribute_bytes(NDA_LLADDR, &[&mac]);
        payload.attribute_bytes(NDA_PROTOCOL, &[&[ROUTE_PROTOCOL]]);
    });
}

pub fn delete(batch: &mut Batch, index: u32, address: IpAddr) {
    batch.message(libc::RTM_DELNEIGH, 0, |payload| {
        put_key(payload, index, address, 0);
    });
}

/// Everybody's.
pub fn permanent(requests: &mut Requests) -> Result<Vec<PermanentAt>, KernelError> {
    requests.dump(libc::RTM_GETNEIGH, &[0; HEADER_LEN], read_permanent)
}

/// `None` for one that is not permanent.
///
/// # Errors
/// `ENOENT` where there is none.
pub fn fetch(
    requests: &mut Requests,
    index: u32,
    address: IpAddr,
) -> Result<Option<PermanentAt>, KernelError> {
    let write = |payload: &mut Payload<'_>| put_key(payload, index, address, 0);
    requests.fetch(libc::RTM_GETNEIGH, write, |message| {
        Some(read_permanent(message))
    })
}

fn put_key(payload: &mut Payload<'_>, index: u32, address: IpAddr, state: u16) {
    let mut header = [0; HEADER_LEN];
    header[0] = fields::family_code(Family::of(address)) as u8;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..10].copy_from_slice(&state.to_ne_bytes());
    payload.put_bytes(&header);
    fields::with_octets(address, |octets| {
        payload.attribute_bytes(NDA_DST, &[octets]);
    });
}

fn read_permanent(message: &Message<'_>) -> Option<PermanentAt> {
    let ((index, address), mac) = neighbour(message)?;
    let &[_, _, _, _, _, _, _, _, s0, s1, ..] = message.payload else {
        return None;
    };
    if u16::from_ne_bytes([s0, s1]) & NUD_PERMANENT == 0 {
        return None;
    }
    let attributes = attributes_after(message.payload, HEADER_LEN);
    let is_ours = attributes.find_u8(NDA_PROTOCOL) == Some(ROUTE_PROTOCOL);
    Some(PermanentAt {
        index,
        address,
        ours: is_ours.then_some(mac),
    })
}

fn address(family: Family, octets: &[u8]) -> Option<IpAddr> {
    match family {
        Family::V4 => Some(<[u8; 4]>::try_from(octets).ok()?.into()),
        Family::V6 => Some(<[u8; 16]>::try_from(octets).ok()?.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GATEWAY: [u8; 4] = [192, 168, 1, 254];
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn payload(header: [u8; HEADER_LEN], attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut payload = header.to_vec();
        for (kind, value) in attributes {
            payload.extend((value.len() as u16 + 4).to_ne_bytes());
            payload.extend(kind.to_ne_bytes());
            payload.extend(*value);
            payload.resize(payload.len().next_multiple_of(4), 0);
        }
        payload
    }

    fn message(kind: u16, payload: &[u8]) -> Message<'_> {
        Message {
            kind,
            flags: 0,
            sequence: 0,
            port: 0,
            payload,
        }
    }

    /// As `ip route` lists it: table main, protocol static, of this type.
    fn route(prefix_len: u8, kind: u8, more: &[(u16, &[u8])]) -> Option<Neighbour> {
        let header = [2, prefix_len, 0, 0, 254, 4, 0, kind, 0, 0, 0, 0];
        let mut attributes = vec![(libc::RTA_OIF, &[7, 0, 0, 0][..])];
        attributes.extend(more);
        let route = default_route(&message(libc::RTM_NEWROUTE, &payload(header, &attributes)))?;
        Some((route.link, route.gateway))
    }

    #[test]
    fn only_default_routes_with_a_gateway_lead_to_one() {
        let gateway: (u16, &[u8]) = (libc::RTA_GATEWAY, &GATEWAY);
        let net: (u16, &[u8]) = (libc::RTA_DST, &[10, 0, 0, 0]);
        let expected = Some((u32::from_ne_bytes([7, 0, 0, 0]), GATEWAY.into()));
        assert_eq!(route(0, libc::RTN_UNICAST, &[gateway]), expected);
        assert_eq!(route(0, libc::RTN_UNICAST, &[]), None);
        assert_eq!(route(8, libc::RTN_UNICAST, &[net, gateway]), None);
        assert_eq!(route(0, libc::RTN_UNREACHABLE, &[gateway]), None);
        let elsewhere: (u16, &[u8]) = (libc::RTA_TABLE, &[77, 0, 0, 0]);
        assert_eq!(route(0, libc::RTN_UNICAST, &[gateway, elsewhere]), None);
    }

    #[test]
    fn a_neighbour_that_has_not_answered_is_nobody() {
        let entry = |state: u16, mac: &[u8]| {
            let [s0, s1] = state.to_ne_bytes();
            let header = [2, 0, 0, 0, 7, 0, 0, 0, s0, s1, 0, 0];
            let payload = payload(header, &[(NDA_DST, &GATEWAY), (NDA_LLADDR, mac)]);
            neighbour(&message(libc::RTM_NEWNEIGH, &payload))
        };
        let at = (u32::from_ne_bytes([7, 0, 0, 0]), GATEWAY.into());
        let (reachable, stale) = (0x02, 0x04);
        assert_eq!(entry(reachable, &MAC), Some((at, MAC)));
        assert_eq!(entry(stale, &MAC), Some((at, MAC)));
        for unknown in [NUD_INCOMPLETE, NUD_FAILED, NUD_NOARP] {
            assert_eq!(entry(unknown, &MAC), None);
        }
        // Of a tunnel: an IP address.
        assert_eq!(entry(reachable, &GATEWAY), None);
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_panic(payload in prop::collection::vec(any::<u8>(), 0..96)) {
            for kind in [libc::RTM_NEWROUTE, libc::RTM_NEWNEIGH] {
                let _ = (default_route(&message(kind, &payload)), neighbour(&message(kind, &payload)));
            }
        }
    }
}
