//! Larval SAs: with each ACQUIRE the kernel makes one, without an SPI, that keeps it from announcing
//! the same pair of hosts again for `xfrm_acq_expires` seconds.

use super::error::KernelError;
use super::message::{Message, attributes_after};
use super::socket::Requests;
use super::{fields, sa};
use crate::kernel::desired::{IpsecProtocol, Mark, SaKey};
use crate::net::Spi;
use netlink_packet_xfrm as xfrm;
use std::net::IpAddr;
use xfrm::UserSaInfo;
use xfrm::constants::{XFRM_MSG_ALLOCSPI, XFRM_MSG_GETSA, XFRM_MSG_NEWSA, XFRMA_MARK};

/// Only for as long as it takes to delete it by that. The destination is somebody else's, so no SA
/// of this machine's has it.
const TEMPORARY: Spi = Spi(Spi::FIRST);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Larval {
    pub dst: IpAddr,
    pub src: IpAddr,
    pub mark: Mark,
    pub reqid: u32,
    /// `struct xfrm_usersa_info`, as the kernel told it.
    info: Vec<u8>,
}

pub fn list(requests: &mut Requests) -> Result<Vec<Larval>, KernelError> {
    requests.dump(XFRM_MSG_GETSA, &[], read)
}

/// `None` for anything else than a larval ESP SA.
fn read(message: &Message<'_>) -> Option<Larval> {
    if message.kind != XFRM_MSG_NEWSA {
        return None;
    }
    let octets = message.payload.get(..xfrm::XFRM_USER_SA_INFO_LEN)?;
    let info = UserSaInfo::parse(octets).ok()?;
    if info.id.spi != 0 || fields::protocol(info.id.proto)? != IpsecProtocol::Esp {
        return None;
    }
    let attributes = attributes_after(message.payload, xfrm::XFRM_USER_SA_INFO_LEN);
    let family = fields::family(info.family)?;
    Some(Larval {
        dst: fields::address(family, &info.id.daddr),
        src: fields::address(family, &info.saddr),
        mark: fields::mark(attributes.find(XFRMA_MARK)),
        reqid: info.reqid,
        info: octets.to_vec(),
    })
}

/// The kernel deletes by SPI only, so it is given one first.
pub fn delete(requests: &mut Requests, larval: &Larval) -> Result<(), KernelError> {
    requests.request(XFRM_MSG_ALLOCSPI, 0, |payload| {
        payload.put_bytes(&larval.info);
        // The lowest and the highest that will do.
        payload.put_bytes(&TEMPORARY.0.to_ne_bytes());
        payload.put_bytes(&TEMPORARY.0.to_ne_bytes());
        sa::put_mark(payload, larval.mark);
    })?;
    let key = SaKey {
        dst: larval.dst,
        spi: TEMPORARY,
        protocol: IpsecProtocol::Esp,
        mark: larval.mark,
    };
    sa::delete(requests.batch(), &key, larval.src);
    match requests.flush()?.pop() {
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::netlink::message::{Batch, Messages};
    use proptest::prelude::*;

    #[test]
    fn only_what_has_no_spi_is_larval() {
        let read_back = |spi, proto| {
            let mut batch = Batch::new(1);
            batch.message(XFRM_MSG_NEWSA, 0, |payload| {
                payload.put(&UserSaInfo {
                    id: xfrm::Id {
                        daddr: xfrm::Address::from_ip(&"10.2.0.9".parse().unwrap()),
                        spi,
                        proto,
                    },
                    family: libc::AF_INET as u16,
                    ..UserSaInfo::default()
                });
            });
            read(&Messages(batch.bytes()).next().unwrap()).map(|larval| larval.dst)
        };
        let esp = fields::protocol_code(IpsecProtocol::Esp);
        assert_eq!(read_back(0, esp), Some("10.2.0.9".parse().unwrap()));
        assert_eq!(read_back(256, esp), None);
        assert_eq!(read_back(0, fields::protocol_code(IpsecProtocol::Ah)), None);
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_panic(payload in prop::collection::vec(any::<u8>(), 0..300)) {
            let message = Message { kind: XFRM_MSG_NEWSA, flags: 0, sequence: 0, port: 0, payload: &payload };
            let _ = read(&message);
        }
    }
}
