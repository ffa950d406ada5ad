//! Registration revocation: support extension 137, messages 7 and 15 (RFC 3543 §3.2–§3.4).
//!
//! ```text
//! 137 │ 6 │I│ reserved (15 bits) │ timestamp (4)
//!
//!   7 │ reserved │A│I│ reserved (14 bits) │ home address │ home domain │ foreign domain │ identifier
//!  15 │ reserved │I│ reserved (15 bits)   │ home address │ identifier
//! ```

use super::WireError;
use super::extension::Extension;
use super::reader::Reader;
use std::net::Ipv4Addr;

pub(super) const REVOCATION: u8 = 7;
pub(super) const ACKNOWLEDGEMENT: u8 = 15;
pub(super) const REVOCATION_LEN: usize = 20;
pub(super) const ACKNOWLEDGEMENT_LEN: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevocationSupport {
    /// I: who revokes may say whether the mobile node is to be informed.
    pub inform: bool,
    /// Seconds of the sender's clock; orders revocations against registrations.
    pub timestamp: u32,
}

impl RevocationSupport {
    /// `None` where it has a form that is not known.
    pub(super) fn decode(data: &[u8]) -> Option<Self> {
        let &[flags, _, a, b, c, d] = data else {
            return None;
        };
        Some(Self {
            inform: flags & 0x80 != 0,
            timestamp: u32::from_be_bytes([a, b, c, d]),
        })
    }

    pub(super) fn encode(self, out: &mut Vec<u8>) {
        out.extend([if self.inform { 0x80 } else { 0 }, 0]);
        out.extend(self.timestamp.to_be_bytes());
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// A: the sender serves the binding as its home agent.
    pub by_home_agent: bool,
    /// I: the mobile node is to be informed.
    pub inform: bool,
    pub home: Ipv4Addr,
    /// The home agent.
    pub home_domain: Ipv4Addr,
    /// The foreign agent, or the co-located care-of address.
    pub foreign_domain: Ipv4Addr,
    /// Seconds of the sender's clock.
    pub identifier: u32,
    pub extensions: Vec<Extension>,
}

impl Revocation {
    /// With the extensions that it has.
    pub fn encode(&self) -> Vec<u8> {
        let mut flags = 0;
        if self.by_home_agent {
            flags |= 0x80;
        }
        if self.inform {
            flags |= 0x40;
        }
        let mut out = vec![REVOCATION, 0, flags, 0];
        for address in [self.home, self.home_domain, self.foreign_domain] {
            out.extend(address.octets());
        }
        out.extend(self.identifier.to_be_bytes());
        for extension in &self.extensions {
            extension.encode(&mut out);
        }
        out
    }

    /// The fixed part, behind its type.
    pub(super) fn decode_fixed(r: &mut Reader<'_>) -> Result<Self, WireError> {
        r.u8()?;
        let flags = r.u16()?;
        Ok(Self {
            by_home_agent: flags & 0x8000 != 0,
            inform: flags & 0x4000 != 0,
            home: r.v4()?,
            home_domain: r.v4()?,
            foreign_domain: r.v4()?,
            identifier: r.u32()?,
            extensions: Vec::new(),
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationAck {
    /// I: the mobile node was, or is to be, informed.
    pub inform: bool,
    pub home: Ipv4Addr,
    /// Of the revocation.
    pub identifier: u32,
    pub extensions: Vec<Extension>,
}

impl RevocationAck {
    /// With the extensions that it has.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![ACKNOWLEDGEMENT, 0, if self.inform { 0x80 } else { 0 }, 0];
        out.extend(self.home.octets());
        out.extend(self.identifier.to_be_bytes());
        for extension in &self.extensions {
            extension.encode(&mut out);
        }
        out
    }

    /// The fixed part, behind its type.
    pub(super) fn decode_fixed(r: &mut Reader<'_>) -> Result<Self, WireError> {
        r.u8()?;
        Ok(Self {
            inform: r.u16()? & 0x8000 != 0,
            home: r.v4()?,
            identifier: r.u32()?,
            extensions: Vec::new(),
        })
    }
}
