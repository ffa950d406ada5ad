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
/// `IFF_LOWER_UP`.
const CARRIER: u32 = 1 << 16;

const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_IPTUN_LOCAL: u16 = 2;
const IFLA_IPTUN_REMOTE: u16 = 3;
const IFLA_IPTUN_TTL: u16 = 4;
const IFLA_IPTUN_COLLECT_METADATA: u16 = 19;
/// Of outer headers whose addresses are the device's.
const TTL: u8 = 64;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
/// `IN6_ADDR_GEN_MODE_NONE`.
const NO_ADDRESSES: u8 = 1;
/// `RTEXT_FILTER_SKIP_STATS`.
const WITHOUT_COUNTS: u32 = 1 << 3;

/// Makes an IP in IP device; [`set`] it afterwards.
pub fn add_ip_in_ip(batch: &mut Batch, link: &Link) {
    let flags = flags::CREATE | flags::EXCLUSIVE;
    batch.message(libc::RTM_NEWLINK, flags, |payload| {
        payload.put_bytes(&[0; HEADER_LEN]);
        payload.attribute_bytes(IFLA_IFNAME, &[link.name.as_str().as_bytes(), &[0]]);
        payload.nested(IFLA_LINKINFO, |payload| {
            payload.attribute_bytes(IFLA_INFO_KIND, &[b"ipip"]);
            payload.nested(IFLA_INFO_DATA, |payload| match link.kind {
                LinkKind::IpInIpBetween { local, remote } => {
                    payload.attribute_bytes(IFLA_IPTUN_LOCAL, &[&local.octets()]);
                    payload.attribute_bytes(IFLA_IPTUN_REMOTE, &[&remote.octets()]);
                    payload.attribute_bytes(IFLA_IPTUN_TTL, &[&[TTL]]);
                }
                LinkKind::IpInIp | LinkKind::Tun(_) => {
                    payload.attribute_bytes(IFLA_IPTUN_COLLECT_METADATA, &[]);
                }
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

/// Gives it its MTU, and switches it on.
pub fn set(batch: &mut Batch, link: &Link) {
    batch.message(libc::RTM_NEWLINK, 0, |payload| {
        payload.put_bytes(&header(0, UP));
        payload.attribute_bytes(IFLA_IFNAME, &[link.name.as_str().as_bytes(), &[0]]);
        payload.attribute_bytes(IFLA_MTU, &[&link.mtu.to_ne_bytes()]);
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
        state: match (flags & UP != 0, flags & CARRIER != 0) {
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
            let data = information.find(IFLA_INFO_DATA).filter(|_| other == "ipip");
            let ip_in_ip = data.and_then(|data| ip_in_ip(&Attributes(data)));
            ip_in_ip.unwrap_or_else(|| ObservedKind::Other(other.to_owned()))
        }
    }
}

fn ip_in_ip(data: &Attributes<'_>) -> Option<ObservedKind> {
    if data.find(IFLA_IPTUN_COLLECT_METADATA).is_some() {
        return Some(ObservedKind::IpInIp);
    }
    let address = |kind| Some(Ipv4Addr::from(*data.find(kind)?.first_chunk::<4>()?));
    Some(ObservedKind::IpInIpBetween {
        local: address(IFLA_IPTUN_LOCAL)?,
        remote: address(IFLA_IPTUN_REMOTE)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::netlink::message::Messages;
    use proptest::prelude::*;

    #[test]
    fn an_ip_in_ip_device_reads_back_as_one_and_without_outer_addresses_of_routes_it_is_none() {
        let link = Link {
            name: "xa-ipip".parse().unwrap(),
            kind: LinkKind::IpInIp,
            mtu: 1480,
        };
        let mut batch = Batch::new(1);
        add_ip_in_ip(&mut batch, &link);
        let message = Messages(batch.bytes()).next().unwrap();
        let attributes = attributes_after(message.payload, HEADER_LEN);
        assert_eq!(kind(attributes.find(IFLA_LINKINFO)), ObservedKind::IpInIp);
        let (local, remote) = ([10, 30, 0, 5].into(), [10, 10, 0, 2].into());
        let between = Link {
            kind: LinkKind::IpInIpBetween { local, remote },
            ..link
        };
        let mut batch = Batch::new(1);
        add_ip_in_ip(&mut batch, &between);
        let message = Messages(batch.bytes()).next().unwrap();
        let attributes = attributes_after(message.payload, HEADER_LEN);
        assert_eq!(
            kind(attributes.find(IFLA_LINKINFO)),
            ObservedKind::IpInIpBetween { local, remote }
        );
        let plain = [8, 0, 1, 0, b'i', b'p', b'i', b'p'];
        assert_eq!(kind(Some(&plain)), ObservedKind::Other("ipip".into()));
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
