//! A full proxy as its gateway wrote it: the TED response payload.
//!
//! ```text
//! ├───────────────┬───────────────┬─────────────┬─┬─┬───────────────┤
//! │ IP version    │ protocol      │ reserved    │D│S│   reserved    │
//! ├───────────────┴───────────────┼─────────────┴─┴─┴───────────────┤
//! │ source port (where S is set)  │ destination port (where D is)   │
//! ├───────────────────────────────┴─────────────────────────────────┤
//! │ source address, source mask, destination address, destination   │
//! │ mask: 4 octets each, 16 with IP version 6                       │
//! ├─────────────────────────────────────────────────────────────────┤
//! ```
//! Protocol 0 is "IP": any. Source is the side that the sender protects.

use super::DecodeError;
use super::payload::{Body, ip_version, put_addr};
use crate::net::{Family, MaskedAddr, Port, Protocol};
use crate::ted::proxies::Proxy;

const SOURCE_PORT: u8 = 1;
const DESTINATION_PORT: u8 = 2;

pub(super) fn encode(proxy: &Proxy, out: &mut Vec<u8>) {
    let field = |port: Port, flag: u8| match port {
        Port::Any => (0, 0),
        Port::Is(number) => (flag, number),
    };
    let (source_flag, source) = field(proxy.local_port, SOURCE_PORT);
    let (destination_flag, destination) = field(proxy.remote_port, DESTINATION_PORT);
    out.extend([
        ip_version(proxy.family()),
        proxy.protocol.number(),
        source_flag | destination_flag,
        0,
    ]);
    out.extend(source.to_be_bytes());
    out.extend(destination.to_be_bytes());
    put_masked(out, &proxy.local);
    put_masked(out, &proxy.remote);
}

/// Octets that [`encode`] writes.
pub(super) fn len(family: Family) -> usize {
    8 + 4 * usize::from(family.bits() / 8)
}

pub(super) fn decode(mut body: Body<'_>) -> Result<Proxy, DecodeError> {
    let family = body.ip_version()?;
    let protocol = Protocol::from_number(body.u8()?);
    let flags = body.u8()?;
    body.skip(1)?;
    let mut port = |flag: u8| -> Result<Port, DecodeError> {
        let number = body.u16()?;
        Ok(if flags & flag == 0 {
            Port::Any
        } else {
            Port::Is(number)
        })
    };
    let (local_port, remote_port) = (port(SOURCE_PORT)?, port(DESTINATION_PORT)?);
    let proxy = Proxy {
        local: masked(&mut body, family)?,
        remote: masked(&mut body, family)?,
        protocol,
        local_port,
        remote_port,
    };
    body.end()?;
    Ok(proxy)
}

pub(super) fn put_masked(out: &mut Vec<u8>, masked: &MaskedAddr) {
    put_addr(out, masked.addr());
    put_addr(out, masked.mask());
}

pub(super) fn masked(body: &mut Body<'_>, family: Family) -> Result<MaskedAddr, DecodeError> {
    let (addr, mask) = (body.addr(family)?, body.addr(family)?);
    MaskedAddr::new(addr, mask).ok_or(DecodeError::MixedVersions)
}
