//! Registration request and reply (RFC 5944 §3.3, §3.4).
//!
//! ```text
//! ├───────────────┬─┬─┬─┬─┬─┬─┬─┬─┬───────────────────────────────┤
//! │ type 1        │S│B│D│M│G│r│T│x│ lifetime                      │
//! ├───────────────┴─┴─┴─┴─┴─┴─┴─┴─┴───────────────────────────────┤
//! │ home address                                                  │
//! │ home agent                                                    │
//! │ care-of address                                               │
//! │ identification (8 octets)                                     │
//! │ extensions ...                                                │
//! ├───────────────────────────────────────────────────────────────┤
//! ```
//! A reply has type 3, the code where the flags are, and no care-of address.

use super::extension::Extension;
use super::reader::Reader;
use super::{Code, Flags, Identification, WireError};
use std::net::Ipv4Addr;

pub(super) const REQUEST: u8 = 1;
pub(super) const REPLY: u8 = 3;
pub(super) const REQUEST_LEN: usize = 24;
pub(super) const REPLY_LEN: usize = 20;

/// A lifetime without end.
pub const INFINITE: u16 = 0xffff;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationRequest {
    pub flags: Flags,
    /// Seconds; 0 deregisters, [`INFINITE`] never ends.
    pub lifetime: u16,
    /// 0.0.0.0 asks for one, by NAI (RFC 2794).
    pub home: Ipv4Addr,
    /// A broadcast address, 255.255.255.255 or 0.0.0.0 asks for one (RFC 5944 §3.6.1.2).
    pub home_agent: Ipv4Addr,
    pub care_of: Ipv4Addr,
    pub identification: Identification,
    pub extensions: Vec<Extension>,
}

impl RegistrationRequest {
    /// With the extensions that it has.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.extend([REQUEST, self.flags.0]);
        out.extend(self.lifetime.to_be_bytes());
        for address in [self.home, self.home_agent, self.care_of] {
            out.extend(address.octets());
        }
        out.extend(self.identification.0.to_be_bytes());
        for extension in &self.extensions {
            extension.encode(&mut out);
        }
        out
    }

    /// The fixed part, behind its type.
    pub(super) fn decode_fixed(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            flags: Flags(r.u8()?),
            lifetime: r.u16()?,
            home: r.v4()?,
            home_agent: r.v4()?,
            care_of: r.v4()?,
            identification: Identification(r.u64()?),
            extensions: Vec::new(),
        })
    }

    pub fn is_deregistration(&self) -> bool {
        self.lifetime == 0
    }

    /// The first network access identifier (RFC 2794).
    pub fn nai(&self) -> Option<&[u8]> {
        nai(&self.extensions)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationReply {
    pub code: Code,
    /// Seconds granted; means nothing where the request was denied.
    pub lifetime: u16,
    pub home: Ipv4Addr,
    pub home_agent: Ipv4Addr,
    pub identification: Identification,
    pub extensions: Vec<Extension>,
}

impl RegistrationReply {
    /// With the extensions that it has.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.extend([REPLY, self.code.0]);
        out.extend(self.lifetime.to_be_bytes());
        for address in [self.home, self.home_agent] {
            out.extend(address.octets());
        }
        out.extend(self.identification.0.to_be_bytes());
        for extension in &self.extensions {
            extension.encode(&mut out);
        }
        out
    }

    /// The fixed part, behind its type.
    pub(super) fn decode_fixed(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            code: Code(r.u8()?),
            lifetime: r.u16()?,
            home: r.v4()?,
            home_agent: r.v4()?,
            identification: Identification(r.u64()?),
            extensions: Vec::new(),
        })
    }

    /// The first network access identifier (RFC 2794).
    pub fn nai(&self) -> Option<&[u8]> {
        nai(&self.extensions)
    }
}

fn nai(extensions: &[Extension]) -> Option<&[u8]> {
    extensions.iter().find_map(|extension| match extension {
        Extension::Nai(nai) => Some(&nai[..]),
        _ => None,
    })
}
