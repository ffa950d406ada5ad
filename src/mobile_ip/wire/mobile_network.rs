//! Networks behind a mobile router: extension 148 with its sub-types (RFC 5177 §4).
//!
//! ```text
//! request          │ 148 │ 6 │ 0        │ prefix length │ prefix (4)
//! acknowledgement  │ 148 │ 8 │ 1 or 2   │ code │ prefix length │ reserved │ prefix (4)
//! ```
//! The prefix length is kept as it came: one beyond 32 has to be answered (RFC 5177 §6.6).

use super::reader::Reader;
use std::net::Ipv4Addr;

/// Whether the mobile router names its networks, or the home agent knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkMode {
    Explicit,
    Implicit,
}

/// What becomes of one network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MobileNetworkCode(pub u8);

impl MobileNetworkCode {
    pub const SUCCESS: Self = Self(0);
    pub const INVALID_PREFIX_LENGTH: Self = Self(1);
    pub const UNAUTHORIZED: Self = Self(2);
    pub const FORWARDING_FAILED: Self = Self(3);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MobileNetworkAck {
    pub mode: NetworkMode,
    pub code: MobileNetworkCode,
    pub prefix: Ipv4Addr,
    pub prefix_len: u8,
}

pub(super) enum Body {
    Request(Ipv4Addr, u8),
    Ack(MobileNetworkAck),
}

/// `None` where it has a form that is not known.
pub(super) fn decode(data: &[u8]) -> Option<Body> {
    let mut r = Reader::new(data, "mobile network extension");
    let body = match (r.u8().ok()?, data.len()) {
        (0, 6) => {
            let prefix_len = r.u8().ok()?;
            Body::Request(r.v4().ok()?, prefix_len)
        }
        (sub_type @ 1..=2, 8) => {
            let mode = if sub_type == 1 {
                NetworkMode::Explicit
            } else {
                NetworkMode::Implicit
            };
            let code = MobileNetworkCode(r.u8().ok()?);
            let prefix_len = r.u8().ok()?;
            r.u8().ok()?;
            let prefix = r.v4().ok()?;
            Body::Ack(MobileNetworkAck {
                mode,
                code,
                prefix,
                prefix_len,
            })
        }
        _ => return None,
    };
    Some(body)
}

impl MobileNetworkAck {
    pub(super) fn encode(self, out: &mut Vec<u8>) {
        let sub_type = match self.mode {
            NetworkMode::Explicit => 1,
            NetworkMode::Implicit => 2,
        };
        out.extend([sub_type, self.code.0, self.prefix_len, 0]);
        out.extend(self.prefix.octets());
    }
}
