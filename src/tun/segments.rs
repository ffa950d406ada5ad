//! A packet of the adapter cut into what fits into one datagram of the tunnel each.
//!
//! ```text
//! packet   │ IP │ TCP │ payload                          │
//!                     ├────────┬────────┬────────┬───────┤  stays where it is
//! heads    │4│IP│TCP│ │4│IP│TCP│ │4│IP│TCP│ ...             written anew, each behind a tunnel header
//! ```

use super::checksum::Sum;
use super::frame::{FrameHeader, Partial, Segments};
use super::ipv4::{self, Ipv4};
use crate::mobile_ip::wire::TunnelKind;
use crate::mobile_ip::wire::tunnel_data;
use std::ops::Range;

const FIN_OR_PUSH: u8 = 0x09;
/// Congestion window reduced: said once (RFC 3168 §6.1.2).
const CWR: u8 = 0x80;
const UDP_HEADER_LEN: usize = 8;

/// Where the segments of a packet are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Of each head, the tunnel header at its front included; 0 where the packet goes as it is.
    head_len: usize,
    /// Where in `heads` the first one begins.
    heads: usize,
    payload: Range<usize>,
    size: usize,
}

impl Cut {
    pub fn count(&self) -> usize {
        self.payload.len().div_ceil(self.size).max(1)
    }

    /// Octets of the inner packet without its payload; 0 where it goes as it is.
    fn headers(&self) -> usize {
        self.head_len.saturating_sub(tunnel_data::HEADER_LEN)
    }

    /// Octets of all inner packets.
    pub fn octets(&self) -> usize {
        self.headers() * self.count() + self.payload.len()
    }

    /// Octets of the largest inner packet.
    pub fn largest(&self) -> usize {
        self.headers() + self.size.min(self.payload.len())
    }

    /// Whether the packet goes as it is, in one datagram.
    pub fn is_whole(&self) -> bool {
        self.head_len == 0
    }

    /// In `heads`: the tunnel header and the headers of a segment.
    pub fn head(&self, at: usize) -> Range<usize> {
        let start = self.heads + at * self.head_len;
        start..start + self.head_len
    }

    /// In the packet.
    pub fn payload(&self, at: usize) -> Range<usize> {
        let start = self.payload.start + at * self.size;
        start..(start + self.size).min(self.payload.end)
    }
}

/// The adapter gave something that no network stack makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Puts the heads behind what `heads` holds. A packet that goes as it is gets its checksum in place.
pub fn cut(frame: FrameHeader, packet: &mut [u8], heads: &mut Vec<u8>) -> Result<Cut, Malformed> {
    let (size, protocol) = match frame.segments {
        Segments::Itself => {
            let header_len = Ipv4::parse(packet)
                .filter(|parsed| parsed.total() == packet.len())
                .ok_or(Malformed)?
                .header
                .len();
            if let Some(partial) = frame.partial {
                complete(packet, header_len, partial).ok_or(Malformed)?;
            }
            return Ok(Cut {
                head_len: 0,
                heads: heads.len(),
                payload: 0..packet.len(),
                size: packet.len(),
            });
        }
        Segments::Tcp(size) => (usize::from(size), ipv4::TCP),
        Segments::Udp(size) => (usize::from(size), ipv4::UDP),
    };
    let whole = Ipv4::head(packet).ok_or(Malformed)?;
    if whole.protocol() != protocol || whole.is_fragment() {
        return Err(Malformed);
    }
    let ip_len = whole.header.len();
    let transport_len = match protocol {
        ipv4::TCP => {
            let len = usize::from(*whole.payload.get(12).ok_or(Malformed)? >> 4) * 4;
            if len < 20 {
                return Err(Malformed);
            }
            len
        }
        _ => UDP_HEADER_LEN,
    };
    let headers = ip_len + transport_len;
    let largest = headers + size.min(packet.len());
    if packet.len() < headers || largest > usize::from(u16::MAX) {
        return Err(Malformed);
    }
    let cut = Cut {
        head_len: tunnel_data::HEADER_LEN + headers,
        heads: heads.len(),
        payload: headers..packet.len(),
        size,
    };
    let first = First {
        head: &packet[..headers],
        ip_len,
        count: cut.count(),
        protocol,
    };
    heads.reserve(cut.head_len * first.count);
    for at in 0..first.count {
        heads.extend(tunnel_data::header(TunnelKind::IpIp));
        first.write(at, size, &packet[cut.payload(at)], heads);
    }
    Ok(cut)
}

/// The headers that all others are made of.
struct First<'a> {
    head: &'a [u8],
    ip_len: usize,
    count: usize,
    protocol: u8,
}

impl First<'_> {
    fn write(&self, at: usize, size: usize, payload: &[u8], heads: &mut Vec<u8>) {
        let start = heads.len();
        heads.extend(self.head);
        let (ip, transport) = heads[start..].split_at_mut(self.ip_len);
        let id = u16::from_be_bytes([ip[4], ip[5]]).wrapping_add(at as u16);
        ipv4::set_length_and_id(ip, self.head.len() + payload.len(), id);
        let checksum = if self.protocol == ipv4::TCP {
            let [a, b, c, d] = [transport[4], transport[5], transport[6], transport[7]];
            let sequence = u32::from_be_bytes([a, b, c, d]).wrapping_add((at * size) as u32);
            transport[4..8].copy_from_slice(&sequence.to_be_bytes());
            if at + 1 < self.count {
                transport[13] &= !FIN_OR_PUSH;
            }
            if at > 0 {
                transport[13] &= !CWR;
            }
            16
        } else {
            let len = (UDP_HEADER_LEN + payload.len()) as u16;
            transport[4..6].copy_from_slice(&len.to_be_bytes());
            6
        };
        let field = checksum..checksum + 2;
        transport[field.clone()].fill(0);
        let len = transport.len() + payload.len();
        let sum = Sum::of_pseudo_header(&ip[12..20], self.protocol, len)
            .and(Sum::of(transport))
            .and(Sum::of(payload));
        transport[field].copy_from_slice(&finished(sum, self.protocol));
    }
}

/// In UDP a checksum of zero would mean that there is none (RFC 768).
fn finished(sum: Sum, protocol: u8) -> [u8; 2] {
    match sum.checksum() {
        [0, 0] if protocol == ipv4::UDP => [0xff, 0xff],
        checksum => checksum,
    }
}

/// `None` where it does not lie in the packet, or would be written into the IP header.
fn complete(packet: &mut [u8], header_len: usize, partial: Partial) -> Option<()> {
    let protocol = packet[9];
    let start = usize::from(partial.start);
    let covered = packet.get_mut(start..).filter(|_| start >= header_len)?;
    let sum = Sum::of(covered);
    let at = usize::from(partial.offset);
    let field = covered.get_mut(at..at + 2)?;
    field.copy_from_slice(&finished(sum, protocol));
    Some(())
}
