//! UDP tunnel request (144) and reply (44): RFC 3519 §3.1, §3.2.
//!
//! ```text
//! ├───────────────┬───────────────┬───────────────┬───────────────┤
//! │ type 144      │ length 6      │ sub-type 0    │ reserved 1    │
//! ├─┬─┬───────────┼───────────────┼───────────────┴───────────────┤
//! │F│R│ reserved 2│ encapsulation │ reserved 3                    │
//! ├─┴─┴───────────┴───────────────┴───────────────────────────────┤
//!
//! ├───────────────┬───────────────┬───────────────┬───────────────┤
//! │ type 44       │ length 6      │ sub-type 0    │ reply code    │
//! ├─┬─────────────┴───────────────┼───────────────┴───────────────┤
//! │F│ reserved                    │ keep-alive interval           │
//! ├─┴─────────────────────────────┴───────────────────────────────┤
//! ```

use super::WireError;
use super::reader::Reader;

const FORCE: u8 = 0x80;
const THROUGH_FOREIGN_AGENT: u8 = 0x40;
const FORCED: u16 = 0x8000;

/// "I can do UDP tunnelling, where the home agent sees a NAT."
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpTunnelRequest {
    /// F: with or without a NAT.
    pub force: bool,
    /// R: a co-located care-of address, registered through a foreign agent that demands it.
    pub through_foreign_agent: bool,
    /// Protocol number of what is tunnelled; 0 leaves it to the flags M and G.
    pub encapsulation: u8,
    /// Anything but 0 is to be refused with 134 (RFC 3519 §4.6.1).
    pub reserved: u16,
}

impl UdpTunnelRequest {
    /// `None` where it has a form that is not known.
    pub(super) fn decode(data: &[u8]) -> Option<Self> {
        let &[0, _, flags, encapsulation, high, low] = data else {
            return None;
        };
        Some(Self {
            force: flags & FORCE != 0,
            through_foreign_agent: flags & THROUGH_FOREIGN_AGENT != 0,
            encapsulation,
            reserved: u16::from_be_bytes([high, low]),
        })
    }

    pub(super) fn encode(self, out: &mut Vec<u8>) {
        let mut flags = 0;
        if self.force {
            flags |= FORCE;
        }
        if self.through_foreign_agent {
            flags |= THROUGH_FOREIGN_AGENT;
        }
        out.extend([0, 0, flags, self.encapsulation]);
        out.extend(self.reserved.to_be_bytes());
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpTunnelReply {
    /// 0–63: there will be a UDP tunnel; above, there will be none.
    pub code: u8,
    /// F: it was forced by the request.
    pub forced: bool,
    /// Seconds; 0 leaves it to the mobile node.
    pub keepalive: u16,
}

impl UdpTunnelReply {
    pub const WILL_DO: u8 = 0;
    pub const DECLINED: u8 = 64;

    pub fn is_assent(self) -> bool {
        self.code < Self::DECLINED
    }

    /// It must not be skipped, so a form that is not known is an error.
    pub(super) fn decode(data: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(data, "UDP tunnel reply");
        let (sub_type, code, flags, keepalive) = (r.u8()?, r.u8()?, r.u16()?, r.u16()?);
        if sub_type != 0 || !r.rest().is_empty() {
            return Err(WireError::Length("UDP tunnel reply"));
        }
        Ok(Self {
            code,
            forced: flags & FORCED != 0,
            keepalive,
        })
    }

    pub(super) fn encode(self, out: &mut Vec<u8>) {
        out.extend([0, self.code]);
        out.extend(if self.forced { FORCED } else { 0 }.to_be_bytes());
        out.extend(self.keepalive.to_be_bytes());
    }
}
