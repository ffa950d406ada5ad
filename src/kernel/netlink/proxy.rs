//! Proxy neighbours: addresses for which we answer ARP or neighbour discovery.

use super::error::KernelError;
use super::fields;
use super::message::{Batch, Message, attributes_after, flags};
use super::socket::Requests;
use crate::kernel::observed::Whose;
use crate::kernel::ownership::ROUTE_PROTOCOL;
use crate::net::Family;
use std::net::IpAddr;

/// `struct ndmsg`.
const HEADER_LEN: usize = 12;
const NDA_DST: u16 = 1;
const NDA_PROTOCOL: u16 = 12;
const NTF_PROXY: u8 = 0x08;

/// A proxy neighbour where it is: the index of its link, its address, and who put it there. A
/// kernel that does not keep who it was says of all that they are others'.
pub type ProxyAt = (u32, IpAddr, Whose);

pub fn add(batch: &mut Batch, index: u32, address: IpAddr) {
    let flags = flags::CREATE | flags::EXCLUSIVE;
    batch.message(libc::RTM_NEWNEIGH, flags, |payload| {
        payload.put_bytes(&header(Some(address), index));
        fields::with_octets(address, |octets| {
            payload.attribute_bytes(NDA_DST, &[octets]);
        });
        payload.attribute_bytes(NDA_PROTOCOL, &[&[ROUTE_PROTOCOL]]);
    });
}

pub fn delete(batch: &mut Batch, index: u32, address: IpAddr) {
    batch.message(libc::RTM_DELNEIGH, 0, |payload| {
        payload.put_bytes(&header(Some(address), index));
        fields::with_octets(address, |octets| {
            payload.attribute_bytes(NDA_DST, &[octets]);
        });
    });
}

/// Everybody's.
pub fn list(requests: &mut Requests) -> Result<Vec<ProxyAt>, KernelError> {
    requests.dump(libc::RTM_GETNEIGH, &header(None, 0), read)
}

/// One of them, as the kernel says it.
///
/// # Errors
/// `ENOENT` where there is none.
pub fn fetch(requests: &mut Requests, index: u32, address: IpAddr) -> Result<ProxyAt, KernelError> {
    let write = |payload: &mut super::message::Payload<'_>| {
        payload.put_bytes(&header(Some(address), index));
        fields::with_octets(address, |octets| {
            payload.attribute_bytes(NDA_DST, &[octets]);
        });
    };
    requests.fetch(libc::RTM_GETNEIGH, write, read)
}

fn header(address: Option<IpAddr>, index: u32) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[0] = address.map_or(0, |address| fields::family_code(Family::of(address)) as u8);
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[10] = NTF_PROXY;
    header
}

fn read(message: &Message<'_>) -> Option<ProxyAt> {
    let &[_, _, _, _, i0, i1, i2, i3, _, _, flags, ..] = message.payload else {
        return None;
    };
    if message.kind != libc::RTM_NEWNEIGH || flags & NTF_PROXY == 0 {
        return None;
    }
    let attributes = attributes_after(message.payload, HEADER_LEN);
    let whose = match attributes.find_u8(NDA_PROTOCOL) {
        Some(ROUTE_PROTOCOL) => Whose::Ours,
        _ => Whose::Others,
    };
    let address = fields::ip(attributes.find(NDA_DST)?)?;
    Some((u32::from_ne_bytes([i0, i1, i2, i3]), address, whose))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::netlink::message::Messages;
    use proptest::prelude::*;

    #[test]
    fn a_proxy_neighbour_reads_back_as_ours() {
        for text in ["10.20.0.5", "2001:db8::5"] {
            let address = text.parse().unwrap();
            let mut batch = Batch::new(1);
            add(&mut batch, 7, address);
            let message = Messages(batch.bytes()).next().unwrap();
            assert_eq!(read(&message), Some((7, address, Whose::Ours)));
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_panic(payload in prop::collection::vec(any::<u8>(), 0..64)) {
            let message = Message { kind: libc::RTM_NEWNEIGH, flags: 0, sequence: 0, port: 0, payload: &payload };
            let _ = read(&message);
        }
    }
}
