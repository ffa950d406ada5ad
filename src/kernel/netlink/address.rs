//! Addresses of network interfaces: `struct ifaddrmsg` and its attributes.

use super::error::KernelError;
use super::fields;
use super::message::{Batch, Message, attributes_after, flags};
use super::socket::Requests;
use crate::kernel::ownership::ROUTE_PROTOCOL;
use crate::net::{Family, IpNet};

const HEADER_LEN: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// Newer kernels show it; older ones pass it over.
const IFA_PROTO: u16 = 11;
/// Nobody on an anchor could have the same address.
const IFA_F_NODAD: u8 = 0x02;
/// Of IPv4 it says something else.
const IFA_F_TEMPORARY: u8 = 0x01;
const IFA_F_DADFAILED: u8 = 0x08;
const IFA_F_DEPRECATED: u8 = 0x20;
const IFA_F_TENTATIVE: u8 = 0x40;

/// An address where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressAt {
    /// Of its link.
    pub index: u32,
    /// With its host bits.
    pub address: IpNet,
    /// Not only on the link, so not one that the kernel gave it itself.
    pub global: bool,
    pub standing: Standing,
}

/// How far one of IPv6 can be relied on; those of IPv4 all last. The smaller, the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    Lasting,
    /// In place of another one soon (RFC 8981).
    Temporary,
    /// Nothing should begin there: it has to be found out whether somebody else has it, or it is to be given up.
    Unusable,
}

pub fn add(batch: &mut Batch, index: u32, address: IpNet) {
    let flags = flags::CREATE | flags::EXCLUSIVE;
    write(batch, libc::RTM_NEWADDR, flags, index, address);
}

pub fn delete(batch: &mut Batch, index: u32, address: IpNet) {
    write(batch, libc::RTM_DELADDR, 0, index, address);
}

fn write(batch: &mut Batch, kind: u16, flags: u16, index: u32, address: IpNet) {
    let family = Family::of(address.addr());
    let how = match family {
        Family::V4 => 0,
        Family::V6 => IFA_F_NODAD,
    };
    batch.message(kind, flags, |payload| {
        let code = fields::family_code(family) as u8;
        payload.put_bytes(&[code, address.prefix_len(), how, libc::RT_SCOPE_UNIVERSE]);
        payload.put_bytes(&index.to_ne_bytes());
        fields::with_octets(address.addr(), |octets| {
            payload.attribute_bytes(IFA_LOCAL, &[octets]);
            payload.attribute_bytes(IFA_ADDRESS, &[octets]);
        });
        payload.attribute_bytes(IFA_PROTO, &[&[ROUTE_PROTOCOL]]);
    });
}

/// Everybody's.
pub fn list(requests: &mut Requests) -> Result<Vec<AddressAt>, KernelError> {
    requests.dump(libc::RTM_GETADDR, &[0; HEADER_LEN], read)
}

/// Of one that came or went.
pub fn read(message: &Message<'_>) -> Option<AddressAt> {
    let &[family, prefix_len, flags, scope, i0, i1, i2, i3, ..] = message.payload else {
        return None;
    };
    if !matches!(message.kind, libc::RTM_NEWADDR | libc::RTM_DELADDR) {
        return None;
    }
    let attributes = attributes_after(message.payload, HEADER_LEN);
    // Where both are there, this one is ours and the other is at the far end.
    let local = attributes.find(IFA_LOCAL);
    let address = fields::ip(local.or_else(|| attributes.find(IFA_ADDRESS))?)?;
    if fields::family(u16::from(family))? != Family::of(address) {
        return None;
    }
    Some(AddressAt {
        index: u32::from_ne_bytes([i0, i1, i2, i3]),
        address: IpNet::new(address, prefix_len).ok()?,
        global: scope == libc::RT_SCOPE_UNIVERSE,
        standing: match Family::of(address) {
            Family::V4 => Standing::Lasting,
            Family::V6 => standing(flags),
        },
    })
}

fn standing(flags: u8) -> Standing {
    let has = |any: u8| flags & any != 0;
    if has(IFA_F_DADFAILED | IFA_F_DEPRECATED | IFA_F_TENTATIVE) {
        Standing::Unusable
    } else if has(IFA_F_TEMPORARY) {
        Standing::Temporary
    } else {
        Standing::Lasting
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::netlink::message::Messages;
    use proptest::prelude::*;

    #[test]
    fn an_address_reads_back_with_its_host_bits() {
        for text in ["10.20.0.5/32", "192.0.2.7/24", "2001:db8::5/64"] {
            let address = text.parse().unwrap();
            let mut batch = Batch::new(1);
            add(&mut batch, 7, address);
            let expected = AddressAt {
                index: 7,
                address,
                global: true,
                standing: Standing::Lasting,
            };
            let message = Messages(batch.bytes()).next().unwrap();
            assert_eq!(read(&message), Some(expected));
        }
    }

    #[test]
    fn what_the_kernel_may_still_take_back_is_not_relied_on() {
        let (nodad, optimistic, permanent) = (0x02, 0x04, 0x80);
        for (flags, expected) in [
            (0, Standing::Lasting),
            (permanent | nodad, Standing::Lasting),
            (IFA_F_TEMPORARY, Standing::Temporary),
            (IFA_F_TENTATIVE | optimistic, Standing::Unusable),
            (IFA_F_TEMPORARY | IFA_F_DEPRECATED, Standing::Unusable),
            (permanent | IFA_F_DADFAILED, Standing::Unusable),
        ] {
            assert_eq!(standing(flags), expected, "{flags:#x}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_panic(payload in prop::collection::vec(any::<u8>(), 0..64)) {
            let message = Message { kind: libc::RTM_NEWADDR, flags: 0, sequence: 0, port: 0, payload: &payload };
            let _ = read(&message);
        }
    }
}
