//! Traffic selectors (RFC 7296 §3.13).

use super::WireError;
use super::reader::{Reader, length};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const IPV4_RANGE: u8 = 7;
const IPV6_RANGE: u8 = 8;

/// More than any peer of good will sends; bounds the work of narrowing.
pub const MAX_SELECTORS: usize = 128;

/// One side of some traffic: closed ranges. Both addresses have one IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TrafficSelector {
    /// Zero is any.
    pub protocol: u8,
    /// 0–65535 is any; 65535–0 is "opaque" (RFC 7296 §3.13.1).
    pub ports: (u16, u16),
    pub addrs: (IpAddr, IpAddr),
}

impl TrafficSelector {
    /// The body of a TSi or TSr payload. Types that are unknown are left out: nothing in them can
    /// be agreed to.
    pub fn decode_list(octets: &[u8]) -> Result<Vec<Self>, WireError> {
        let mut r = Reader::new(octets, "traffic selectors");
        let count = r.u8()?;
        r.take(3)?;
        if usize::from(count) > MAX_SELECTORS {
            return Err(WireError::TooMany(MAX_SELECTORS, "traffic selectors"));
        }
        let mut list = Vec::new();
        for _ in 0..count {
            let kind = r.u8()?;
            let protocol = r.u8()?;
            let mut body = {
                let length = r.u16()?;
                r.sub(length, 4, "traffic selector")?
            };
            let ports = (body.u16()?, body.u16()?);
            let addrs: (IpAddr, IpAddr) = match kind {
                IPV4_RANGE => (
                    Ipv4Addr::from(body.u32()?).into(),
                    Ipv4Addr::from(body.u32()?).into(),
                ),
                IPV6_RANGE => (ipv6(&mut body)?.into(), ipv6(&mut body)?.into()),
                _ => continue,
            };
            if !body.is_empty() {
                return Err(WireError::Length("traffic selector"));
            }
            if addrs.0 > addrs.1 {
                return Err(WireError::Value("address range"));
            }
            list.push(Self {
                protocol,
                ports,
                addrs,
            });
        }
        if !r.is_empty() {
            return Err(WireError::Length("traffic selectors"));
        }
        Ok(list)
    }

    pub(super) fn encode_list(list: &[Self], out: &mut Vec<u8>) {
        out.extend_from_slice(&[u8::try_from(list.len()).unwrap_or(0), 0, 0, 0]);
        for ts in list {
            let (kind, octets) = match ts.addrs {
                (IpAddr::V4(a), IpAddr::V4(b)) => (IPV4_RANGE, [a.octets(), b.octets()].concat()),
                (a, b) => (IPV6_RANGE, [v6_octets(a), v6_octets(b)].concat()),
            };
            out.extend_from_slice(&[kind, ts.protocol]);
            out.extend_from_slice(&length(8 + octets.len()).to_be_bytes());
            out.extend_from_slice(&ts.ports.0.to_be_bytes());
            out.extend_from_slice(&ts.ports.1.to_be_bytes());
            out.extend_from_slice(&octets);
        }
    }
}

fn ipv6(r: &mut Reader<'_>) -> Result<Ipv6Addr, WireError> {
    let high = u128::from(r.u64()?);
    let low = u128::from(r.u64()?);
    Ok(Ipv6Addr::from(high << 64 | low))
}

fn v6_octets(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
        IpAddr::V6(a) => a.octets(),
    }
}
