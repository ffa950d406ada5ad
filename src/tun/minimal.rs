//! Minimal encapsulation (RFC 2004): the packet's own header is the outer one, and what was changed of it stands
//! behind it. Fragments, which it has no room for, go in IP in IP.
//!
//! ```text
//! packet     │ IP │ payload                  │
//! minimal    │ IP, 55 │ protocol │S│ checksum │ destination │ source if S │ payload
//! fragment   │ IP, 4 │ IP │ payload           │
//! ```
//! Type of service, hop limit and identification are those of the packet all the way, and so is what routers
//! within the tunnel change of them.

use super::checksum::Sum;
use super::ipv4::{self, Ipv4};
use crate::mobile_ip::wire::TunnelKind;
use std::net::Ipv4Addr;

/// Octets by which a packet gets longer at most, and where we are its source.
pub(super) const LONGEST: usize = 12;
const SHORTEST: usize = 8;

/// The original source is there.
const HAS_SOURCE: u8 = 0x80;
/// Of IP in IP (RFC 2003 §3.1): what delivers to the other end.
const HOP_LIMIT: u8 = 64;

/// `heads` ends with the packet's header, from `start` on, which becomes the outer one; the forwarding header
/// is put behind it.
pub(super) fn wrap(heads: &mut Vec<u8>, start: usize, (local, remote): (Ipv4Addr, Ipv4Addr)) {
    let header = &mut heads[start..];
    let mut forwarding = [0; LONGEST];
    forwarding[0] = header[9];
    forwarding[4..8].copy_from_slice(&header[16..20]);
    forwarding[8..].copy_from_slice(&header[12..16]);
    let len = if header[12..16] == local.octets() {
        SHORTEST
    } else {
        forwarding[1] = HAS_SOURCE;
        LONGEST
    };
    let sum = Sum::of(&forwarding[..len]).checksum();
    forwarding[2..4].copy_from_slice(&sum);
    header[9] = TunnelKind::Minimal.protocol();
    header[12..16].copy_from_slice(&local.octets());
    header[16..20].copy_from_slice(&remote.octets());
    ipv4::set_length(header, ipv4::length(header) + len);
    heads.extend(&forwarding[..len]);
}

/// Puts the packet's header together again, in place, and says where it begins. `None` where that is not
/// possible; whether the packet is whole is not looked at.
pub(super) fn restore(datagram: &mut [u8]) -> Option<usize> {
    let outer = Ipv4::head(datagram)?;
    let has_source = outer.payload.get(1)? & HAS_SOURCE != 0;
    let len = if has_source { LONGEST } else { SHORTEST };
    let forwarding = outer.payload.get(..len)?;
    if outer.is_fragment() || !Sum::of(forwarding).is_right() {
        return None;
    }
    let mut original = [0; LONGEST];
    original[..len].copy_from_slice(forwarding);
    let header_len = outer.header.len();
    let total = ipv4::length(datagram).checked_sub(len)?;
    datagram.copy_within(..header_len, len);
    let header = &mut datagram[len..len + header_len];
    header[9] = original[0];
    header[16..20].copy_from_slice(&original[4..8]);
    if has_source {
        header[12..16].copy_from_slice(&original[8..]);
    }
    ipv4::set_length(header, total);
    Some(len)
}

/// What stands before a fragment. The kernel gives it an identification.
pub(super) fn outer_of_fragment(
    heads: &mut Vec<u8>,
    fragment: &[u8],
    tos: u8,
    (local, remote): (Ipv4Addr, Ipv4Addr),
) {
    let start = heads.len();
    heads.extend([0x45, tos, 0, 0, 0, 0]);
    // RFC 2003 §3.1
    heads.extend([fragment[6] & ipv4::DONT_FRAGMENT, 0, HOP_LIMIT]);
    heads.extend([TunnelKind::IpIp.protocol(), 0, 0]);
    heads.extend(local.octets());
    heads.extend(remote.octets());
    let total = ipv4::HEADER_LEN + fragment.len();
    ipv4::set_length(&mut heads[start..], total);
}
