//! The ISAKMP header (RFC 2408 §3.1) of the two discovery exchanges.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! ├───────────────────────────────────────────────────────────────┤
//! │                        initiator cookie                       │
//! │                          (8 octets)                           │
//! ├───────────────────────────────────────────────────────────────┤
//! │                        responder cookie                       │
//! │                 (8 octets, zero in the probe)                 │
//! ├───────────────┬───────────────┬───────────────┬───────────────┤
//! │ next payload  │ version 0x10  │ exchange type │     flags 0   │
//! ├───────────────┴───────────────┴───────────────┴───────────────┤
//! │                         message ID 0                          │
//! ├───────────────────────────────────────────────────────────────┤
//! │                  length, header included                      │
//! └───────────────────────────────────────────────────────────────┘
//! ```

use super::payload::Body;
use super::{DecodeError, PROBE_LEN};
use std::fmt;

pub const LEN: usize = 28;
/// Where the version stands in a datagram, and what it is here.
pub const VERSION_AT: usize = 17;
pub const ISAKMP_1_0: u8 = 0x10;
pub const EXCHANGE_AT: usize = 18;

/// Eight octets that only their maker could have known.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cookie(pub [u8; 8]);

impl Cookie {
    /// Stands where the other side's cookie is not known yet; never a cookie itself.
    pub const ZERO: Self = Self([0; 8]);
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cookie({:016x})", u64::from_be_bytes(self.0))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    Probe,
    Response,
}

impl Exchange {
    pub fn octet(self) -> u8 {
        match self {
            Self::Probe => 240,
            Self::Response => 241,
        }
    }

    pub fn from_octet(octet: u8) -> Option<Self> {
        match octet {
            240 => Some(Self::Probe),
            241 => Some(Self::Response),
            _ => None,
        }
    }
}

/// A header whose fixed fields have been checked.
pub(super) struct Header {
    pub(super) initiator: Cookie,
    pub(super) responder: Cookie,
    pub(super) next: u8,
}

impl Header {
    /// Takes the header off `datagram`, which must be one whole message of `exchange`.
    pub(super) fn decode(
        datagram: &[u8],
        exchange: Exchange,
    ) -> Result<(Self, &[u8]), DecodeError> {
        if datagram.len() > PROBE_LEN {
            return Err(DecodeError::Oversized(datagram.len()));
        }
        let mut body = Body::new(datagram, "header");
        let initiator = Cookie(body.octets()?);
        let responder = Cookie(body.octets()?);
        let next = body.u8()?;
        match body.u8()? {
            ISAKMP_1_0 => {}
            other => return Err(DecodeError::IsakmpVersion(other)),
        }
        match body.u8()? {
            octet if octet == exchange.octet() => {}
            other => return Err(DecodeError::Exchange(other)),
        }
        match body.u8()? {
            0 => {}
            flags => return Err(DecodeError::Flags(flags)),
        }
        match body.u32()? {
            0 => {}
            id => return Err(DecodeError::MessageId(id)),
        }
        let length = body.u32()?;
        if usize::try_from(length) != Ok(datagram.len()) {
            return Err(DecodeError::Length {
                header: length,
                datagram: datagram.len(),
            });
        }
        if initiator == Cookie::ZERO {
            return Err(DecodeError::Cookie("initiator"));
        }
        if (responder == Cookie::ZERO) != (exchange == Exchange::Probe) {
            return Err(DecodeError::Cookie("responder"));
        }
        let header = Self {
            initiator,
            responder,
            next,
        };
        Ok((header, body.rest()))
    }
}
