//! The chain of payloads after the header, and the fields inside them.
//!
//! ```text
//! ├───────────────┬─┬─────────────┬───────────────────────────────┤
//! │ next payload  │C│  reserved   │ length, these 4 octets included│
//! ├───────────────┴─┴─────────────┴───────────────────────────────┤
//! ```
//! C marks a payload that must be understood or the message be refused; ISAKMP leaves that octet
//! reserved, RFC 7296 §3.2 uses it the same way.

use super::header::{self, Cookie, Exchange};
use super::{Capabilities, DecodeError, VENDOR_ID, kind};
use crate::net::Family;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) const HEADER_LEN: usize = 4;
const CRITICAL: u8 = 0x80;

/// The payloads of one message by number, after the checks that hold for both exchanges.
pub(super) struct Payloads<'a> {
    list: Vec<(u8, &'a [u8])>,
    pub(super) capabilities: Capabilities,
}

impl<'a> Payloads<'a> {
    /// Splits the chain. Only the vendor ID is read, since it alone says what the private numbers
    /// mean; of the others those in `known` are kept.
    pub(super) fn split(
        mut next: u8,
        mut rest: &'a [u8],
        known: &[u8],
    ) -> Result<Self, DecodeError> {
        let mut list = Vec::new();
        let mut vendor = None;
        let mut critical = None;
        while next != kind::NONE {
            let mut head = Body::new(rest, "payload");
            let (following, flags) = (head.u8()?, head.u8()?);
            let body = usize::from(head.u16()?)
                .checked_sub(HEADER_LEN)
                .and_then(|len| head.rest().split_at_checked(len));
            let Some((body, after)) = body else {
                return Err(DecodeError::Truncated { what: "payload" });
            };
            if next == kind::VENDOR {
                vendor = vendor.or(capabilities(body));
            } else if known.contains(&next) {
                list.push((next, body));
            } else if flags & CRITICAL != 0 {
                critical = critical.or(Some(next));
            }
            (next, rest) = (following, after);
        }
        if !rest.is_empty() {
            return Err(DecodeError::Trailing { what: "payloads" });
        }
        let capabilities = vendor.ok_or(DecodeError::ForeignVendor)?;
        match critical {
            Some(kind) => Err(DecodeError::Critical(kind)),
            None => Ok(Self { list, capabilities }),
        }
    }

    /// Every payload of this number, in their order.
    pub(super) fn all(&self, kind: u8, what: &'static str) -> impl Iterator<Item = Body<'a>> {
        let bodies = self.list.iter().filter(move |(k, _)| *k == kind);
        bodies.map(move |(_, octets)| Body::new(octets, what))
    }

    pub(super) fn at_most_one(
        &self,
        kind: u8,
        what: &'static str,
    ) -> Result<Option<Body<'a>>, DecodeError> {
        let mut bodies = self.all(kind, what);
        let first = bodies.next();
        match bodies.next() {
            Some(_) => Err(DecodeError::Repeated(what)),
            None => Ok(first),
        }
    }

    pub(super) fn one(&self, kind: u8, what: &'static str) -> Result<Body<'a>, DecodeError> {
        self.at_most_one(kind, what)?
            .ok_or(DecodeError::Missing(what))
    }

    /// An IKE message for the other end.
    pub(super) fn ike(&self) -> Result<Option<Vec<u8>>, DecodeError> {
        let message = self.at_most_one(kind::IKE, "IKE message")?;
        Ok(message.map(|body| body.rest().to_vec()))
    }

    /// The sender's address (RFC 2407 §4.6.2, types 1 and 5).
    pub(super) fn id(&self) -> Result<IpAddr, DecodeError> {
        let mut body = self.one(kind::ID, "ID payload")?;
        let family = match body.u8()? {
            ID_IPV4_ADDR => Family::V4,
            ID_IPV6_ADDR => Family::V6,
            other => return Err(DecodeError::IdType(other)),
        };
        body.skip(3)?;
        let id = body.addr(family)?;
        body.end()?;
        Ok(id)
    }
}

const ID_IPV4_ADDR: u8 = 1;
const ID_IPV6_ADDR: u8 = 5;

/// The flags of a vendor ID payload that is ours.
fn capabilities(body: &[u8]) -> Option<Capabilities> {
    let flags = body.strip_prefix(&VENDOR_ID)?.first_chunk()?;
    Some(Capabilities(u32::from_be_bytes(*flags)))
}

/// The octets of one payload (or the header), taken off from the front.
pub(super) struct Body<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Body<'a> {
    pub(super) fn new(rest: &'a [u8], what: &'static str) -> Self {
        Self { rest, what }
    }

    pub(super) fn octets<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (first, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(DecodeError::Truncated { what: self.what })?;
        self.rest = rest;
        Ok(*first)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.octets().map(|[octet]| octet)
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.octets().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.octets().map(u32::from_be_bytes)
    }

    /// An octet that says 4 or 6.
    pub(super) fn ip_version(&mut self) -> Result<Family, DecodeError> {
        match self.u8()? {
            4 => Ok(Family::V4),
            6 => Ok(Family::V6),
            other => Err(DecodeError::IpVersion(other)),
        }
    }

    pub(super) fn addr(&mut self, family: Family) -> Result<IpAddr, DecodeError> {
        Ok(match family {
            Family::V4 => Ipv4Addr::from(self.octets::<4>()?).into(),
            Family::V6 => Ipv6Addr::from(self.octets::<16>()?).into(),
        })
    }

    /// Passes over reserved octets.
    pub(super) fn skip(&mut self, count: usize) -> Result<(), DecodeError> {
        self.rest = self
            .rest
            .get(count..)
            .ok_or(DecodeError::Truncated { what: self.what })?;
        Ok(())
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn end(&self) -> Result<(), DecodeError> {
        match self.rest {
            [] => Ok(()),
            _ => Err(DecodeError::Trailing { what: self.what }),
        }
    }
}

pub(super) fn ip_version(family: Family) -> u8 {
    match family {
        Family::V4 => 4,
        Family::V6 => 6,
    }
}

pub(super) fn put_addr(out: &mut Vec<u8>, addr: IpAddr) {
    match addr {
        IpAddr::V4(a) => out.extend(a.octets()),
        IpAddr::V6(a) => out.extend(a.octets()),
    }
}

/// Writes a message front to back: each payload's number goes into its predecessor.
pub(super) struct Writer {
    out: Vec<u8>,
    next_at: usize,
}

impl Writer {
    /// Header, vendor ID and ID: what both exchanges start with.
    pub(super) fn new(
        exchange: Exchange,
        cookies: [Cookie; 2],
        capabilities: Capabilities,
        id: IpAddr,
    ) -> Self {
        let mut out: Vec<u8> = cookies.iter().flat_map(|cookie| cookie.0).collect();
        let next_at = out.len();
        out.extend([kind::NONE, header::ISAKMP_1_0, exchange.octet(), 0]);
        out.extend([0; 8]);
        let mut writer = Self { out, next_at };
        writer.payload(kind::VENDOR, |out| {
            out.extend(VENDOR_ID);
            out.extend(capabilities.0.to_be_bytes());
        });
        writer.payload(kind::ID, |out| {
            let id_type = match id {
                IpAddr::V4(_) => ID_IPV4_ADDR,
                IpAddr::V6(_) => ID_IPV6_ADDR,
            };
            out.extend([id_type, 0, 0, 0]);
            put_addr(out, id);
        });
        writer
    }

    /// Appends a payload whose body `fill` writes; no message grows to the 64 KiB that its length
    /// could not tell.
    pub(super) fn payload(&mut self, kind: u8, fill: impl FnOnce(&mut Vec<u8>)) {
        self.out[self.next_at] = kind;
        let start = self.out.len();
        self.next_at = start;
        self.out.extend([kind::NONE, 0, 0, 0]);
        fill(&mut self.out);
        let length = (self.out.len() - start) as u16;
        self.out[start + 2..start + HEADER_LEN].copy_from_slice(&length.to_be_bytes());
    }

    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = self.out.len() as u32;
        self.out[header::LEN - 4..header::LEN].copy_from_slice(&length.to_be_bytes());
        self.out
    }
}
