//! Packets that are too large for their tunnel: cut into fragments before they are wrapped (RFC 3519
//! §4.8), or answered where they forbid that (RFC 2003 §5.1).

use super::checksum::Sum;
use super::ipv4::{self, Ipv4};

const MORE: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;
/// Of an option's type: it goes into every fragment (RFC 791 §3.1).
const COPIED: u8 = 0x80;
const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
/// Header and eight octets of the packet (RFC 792).
const QUOTED: usize = 8;
const ICMP_HEADER_LEN: usize = 8;
const DESTINATION_UNREACHABLE: u8 = 3;
const FRAGMENTATION_NEEDED: u8 = 4;

/// RFC 791 §3.2: no link carries less.
pub const LEAST_MTU: u16 = 68;

/// The fragments of a packet that allows them, none longer than `mtu`, which is at least
/// [`LEAST_MTU`].
pub fn fragments(packet: Ipv4<'_>, mtu: u16) -> Vec<Vec<u8>> {
    let mtu = usize::from(mtu.max(LEAST_MTU));
    let field = packet.fragment_field();
    let mut out = Vec::new();
    let mut at = 0;
    while at < packet.payload.len() {
        let mut fragment = match at {
            0 => packet.header.to_vec(),
            _ => later_header(packet.header),
        };
        let room = (mtu - fragment.len()) & !7;
        let end = (at + room).min(packet.payload.len());
        // A fragment that is cut again keeps what it says of those behind it.
        let more = if end < packet.payload.len() {
            MORE
        } else {
            field & MORE
        };
        let offset = (field & OFFSET) + (at / 8) as u16;
        let total = fragment.len() + end - at;
        ipv4::set_fragment(&mut fragment, total, more | offset & OFFSET);
        fragment.extend(&packet.payload[at..end]);
        out.push(fragment);
        at = end;
    }
    out
}

/// With those options only that are to be copied.
fn later_header(header: &[u8]) -> Vec<u8> {
    let mut later = header[..ipv4::HEADER_LEN].to_vec();
    let mut options = &header[ipv4::HEADER_LEN..];
    while let Some(kind) = options.first() {
        let len = match *kind {
            END_OF_OPTIONS => break,
            NO_OPERATION => 1,
            _ => usize::from(*options.get(1).unwrap_or(&0)),
        };
        let Some((option, rest)) = options.split_at_checked(len).filter(|_| len > 0) else {
            break;
        };
        if kind & COPIED != 0 {
            later.extend(option);
        }
        options = rest;
    }
    later.resize(later.len().next_multiple_of(4), END_OF_OPTIONS);
    later[0] = 0x40 | (later.len() / 4) as u8;
    later
}

/// Destination unreachable, fragmentation needed (RFC 1191 §4), as from where the packet goes: that
/// address lies behind the adapter, whatever is asked of sources there. `None` where nothing may be
/// answered (RFC 1122 §3.2.2). Of the packet its header and eight octets are enough.
pub fn too_big(packet: Ipv4<'_>, mtu: u16) -> Option<Vec<u8>> {
    let (source, destination) = (packet.source(), packet.destination());
    let nobody = source.is_unspecified() || source.is_multicast() || source.is_broadcast();
    let everybody = destination.is_multicast() || destination.is_broadcast();
    let first = packet.fragment_field() & OFFSET == 0;
    // Echo request and reply, timestamp, information and mask are questions, the others errors.
    let is_error =
        packet.protocol() == ipv4::ICMP && !matches!(packet.payload.first(), Some(0 | 8 | 13..=18));
    if nobody || everybody || !first || is_error {
        return None;
    }
    let quoted = &packet.payload[..packet.payload.len().min(QUOTED)];
    let total = ipv4::HEADER_LEN + ICMP_HEADER_LEN + packet.header.len() + quoted.len();
    let mut out = Vec::with_capacity(total);
    let precedence = 0xc0;
    out.extend([0x45, precedence, 0, total as u8, 0, 0, 0, 0, 64]);
    out.extend([ipv4::ICMP, 0, 0]);
    out.extend(destination.octets());
    out.extend(source.octets());
    ipv4::seal(&mut out);
    out.extend([DESTINATION_UNREACHABLE, FRAGMENTATION_NEEDED, 0, 0, 0, 0]);
    out.extend(mtu.to_be_bytes());
    out.extend(packet.header);
    out.extend(quoted);
    let sum = Sum::of(&out[ipv4::HEADER_LEN..]).checksum();
    out[ipv4::HEADER_LEN + 2..ipv4::HEADER_LEN + 4].copy_from_slice(&sum);
    Some(out)
}
