//! IPv4 packets as they lie in a buffer: what is read of them, and the few fields that are changed.

use super::checksum::Sum;
use std::net::Ipv4Addr;

pub(super) const HEADER_LEN: usize = 20;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMP: u8 = 1;

pub(super) const DONT_FRAGMENT: u8 = 0x40;
/// More fragments, and where this one belongs.
const MORE_OR_OFFSET: u16 = 0x3fff;
/// The two bits of the type of service that are no part of the code point (RFC 3168 §5).
pub(super) const ECN: u8 = 0x03;

/// A packet whose lengths are right.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4<'a> {
    pub header: &'a [u8],
    pub payload: &'a [u8],
}

impl<'a> Ipv4<'a> {
    /// What stands behind the packet's own length is cut off.
    pub fn parse(octets: &'a [u8]) -> Option<Self> {
        let total = usize::from(u16::from_be_bytes([*octets.get(2)?, *octets.get(3)?]));
        Self::head(octets.get(..total)?)
    }

    /// Whose total length is not looked at: of segments under way it is not that of the buffer.
    pub fn head(octets: &'a [u8]) -> Option<Self> {
        let first = *octets.first()?;
        let header_len = usize::from(first & 0x0f) * 4;
        if first >> 4 != 4 || header_len < HEADER_LEN {
            return None;
        }
        let (header, payload) = octets.split_at_checked(header_len)?;
        Some(Self { header, payload })
    }

    pub fn total(self) -> usize {
        self.header.len() + self.payload.len()
    }

    pub fn source(self) -> Ipv4Addr {
        address(self.header, 12)
    }

    pub fn destination(self) -> Ipv4Addr {
        address(self.header, 16)
    }

    /// Both, as they stand in the header.
    pub fn addresses(self) -> &'a [u8] {
        &self.header[12..20]
    }

    pub fn tos(self) -> u8 {
        self.header[1]
    }

    pub fn id(self) -> u16 {
        u16::from_be_bytes([self.header[4], self.header[5]])
    }

    pub fn ttl(self) -> u8 {
        self.header[8]
    }

    pub fn protocol(self) -> u8 {
        self.header[9]
    }

    pub fn must_not_be_fragmented(self) -> bool {
        self.header[6] & DONT_FRAGMENT != 0
    }

    pub fn is_fragment(self) -> bool {
        self.fragment_field() & MORE_OR_OFFSET != 0
    }

    /// Reserved bit, Don't Fragment, more fragments, and the offset in units of eight octets.
    pub fn fragment_field(self) -> u16 {
        u16::from_be_bytes([self.header[6], self.header[7]])
    }

    /// Whether the header's checksum is right.
    pub fn is_sound(self) -> bool {
        Sum::of(self.header).is_right()
    }
}

fn address(header: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3])
}

/// Octets of the whole packet, as its header says.
pub(super) fn length(header: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([header[2], header[3]]))
}

/// Of a header of its whole length, which has room for it.
pub(super) fn set_length(header: &mut [u8], total: usize) {
    header[2..4].copy_from_slice(&(total as u16).to_be_bytes());
    seal(header);
}

pub(super) fn set_length_and_id(header: &mut [u8], total: usize, id: u16) {
    header[4..6].copy_from_slice(&id.to_be_bytes());
    set_length(header, total);
}

pub(super) fn set_tos(header: &mut [u8], tos: u8) {
    header[1] = tos;
    seal(header);
}

pub(super) fn set_fragment(header: &mut [u8], total: usize, field: u16) {
    header[6..8].copy_from_slice(&field.to_be_bytes());
    set_length(header, total);
}

/// Puts the checksum into a header.
pub(super) fn seal(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = Sum::of(header).checksum();
    header[10..12].copy_from_slice(&sum);
}
