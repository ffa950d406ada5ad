//! Message type 4: a packet inside a UDP tunnel (RFC 3519 §3.3).
//!
//! ```text
//! │ type 4 │ next header │ reserved (2) │ packet ...
//! ```

use super::WireError;
use serde::{Deserialize, Serialize};

pub const TUNNEL_DATA: u8 = 4;
pub const HEADER_LEN: usize = 4;

/// How a packet is wrapped, in IP and in UDP alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TunnelKind {
    /// RFC 2003.
    IpIp,
    /// RFC 2004.
    Minimal,
    /// RFC 2784.
    Gre,
}

impl TunnelKind {
    /// Number of the IP header's protocol field.
    pub fn protocol(self) -> u8 {
        match self {
            Self::IpIp => 4,
            Self::Minimal => 55,
            Self::Gre => 47,
        }
    }

    pub fn of_protocol(protocol: u8) -> Option<Self> {
        match protocol {
            4 => Some(Self::IpIp),
            55 => Some(Self::Minimal),
            47 => Some(Self::Gre),
            _ => None,
        }
    }
}

/// What stands before the packet in the UDP payload.
pub fn header(kind: TunnelKind) -> [u8; HEADER_LEN] {
    [TUNNEL_DATA, kind.protocol(), 0, 0]
}

/// Next header and packet, for a data path that looks at nothing else. The receiver compares the
/// next header with what was agreed on, and drops what differs (RFC 3519 §3.3).
pub fn split(payload: &[u8]) -> Result<(u8, &[u8]), WireError> {
    match payload {
        [TUNNEL_DATA, next_header, _, _, packet @ ..] => Ok((*next_header, packet)),
        [TUNNEL_DATA, ..] | [] => Err(WireError::Truncated("tunnel data")),
        [other, ..] => Err(WireError::UnknownMessage(*other)),
    }
}
