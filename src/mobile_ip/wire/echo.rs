//! Echo requests inside a UDP tunnel, to the agent at its end: what keeps the tunnel alive (RFC 3519 §4.9).

use super::encapsulation::checksum;
use std::net::Ipv4Addr;

const ICMP: u8 = 1;
const ECHO_REQUEST: u8 = 8;
/// Of the IPv4 header: more fragments, and where this one belongs.
const MORE_OR_OFFSET: u16 = 0x3fff;

/// The sender of an echo request to `us`, and the echo reply.
pub fn answer(packet: &[u8], us: Ipv4Addr) -> Option<(Ipv4Addr, Vec<u8>)> {
    let header_len = usize::from(packet.first()? & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    let packet = packet.get(..total)?;
    let (header, icmp) = packet.split_at_checked(header_len)?;
    // Options and fragments are not what a keep-alive has.
    let fragment = u16::from_be_bytes([*header.get(6)?, *header.get(7)?]) & MORE_OR_OFFSET;
    let whole = header_len == 20 && header[0] == 0x45 && fragment == 0;
    let sound = whole && header[9] == ICMP && checksum(header) == 0 && checksum(icmp) == 0;
    if !sound || icmp.len() < 8 || icmp[..2] != [ECHO_REQUEST, 0] {
        return None;
    }
    let address =
        |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
    let home = address(12);
    if address(16) != us {
        return None;
    }
    let mut answer = packet.to_vec();
    answer[8] = 64;
    answer[12..16].copy_from_slice(&us.octets());
    answer[16..20].copy_from_slice(&home.octets());
    answer[10..12].fill(0);
    let sum = checksum(&answer[..20]);
    answer[10..12].copy_from_slice(&sum.to_be_bytes());
    answer[20] = 0;
    answer[22..24].fill(0);
    let sum = checksum(&answer[20..]);
    answer[22..24].copy_from_slice(&sum.to_be_bytes());
    Some((home, answer))
}
