//! Packets inside tunnels: IP-in-IP (RFC 2003), minimal encapsulation (RFC 2004) and GRE (RFC 2784,
//! with the key and sequence number of RFC 2890 when they are received).
//!
//! ```text
//! IP-in-IP   outer IPv4 (protocol 4)  │ packet
//! minimal    IPv4 (55) │ protocol │S│ checksum │ destination │ source if S │ payload
//! GRE        outer IPv4 (47) │ C,K,S, version 0 │ 0x0800 │ optional fields │ packet
//! ```
//! Whole packets in, whole packets out; the outer header has no options.

use super::TunnelKind;
use std::net::Ipv4Addr;

const IPV4_LEN: usize = 20;
const GRE_OF_IPV4: u16 = 0x0800;
/// Of the IPv4 header.
const DONT_FRAGMENT: u8 = 0x40;

/// Why a packet cannot be wrapped or unwrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncapsulationError {
    #[error("the packet is cut short, or a length in it is wrong")]
    Length,
    #[error("a checksum of the packet is wrong")]
    Checksum,
    #[error("the packet has protocol {0}, which is no encapsulation")]
    Protocol(u8),
    /// RFC 2004 §3.1: a fragment has to go in IP-in-IP.
    #[error("a fragment does not go into minimal encapsulation")]
    Fragment,
    #[error("the GRE header has a version, a routing field or a protocol that is not understood")]
    Gre,
    #[error("the packet would be longer than 65535 octets")]
    TooLong,
}

/// Wraps an IPv4 packet for the way from `source` to `destination`. The inner packet keeps its hop
/// limit; a router lowers that itself.
pub fn encapsulate(
    kind: TunnelKind,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    identification: u16,
    packet: &[u8],
) -> Result<Vec<u8>, EncapsulationError> {
    let (header, payload) = split(packet)?;
    if kind == TunnelKind::Minimal {
        return minimal(source, destination, header, payload);
    }
    let gre: &[u8] = match kind {
        TunnelKind::Gre => &[0, 0, 0x08, 0],
        _ => &[],
    };
    let total = IPV4_LEN + gre.len() + packet.len();
    let mut out = Vec::with_capacity(total);
    // RFC 2003 §3.1: the type of service and Don't Fragment are those of the packet.
    out.extend([0x45, header[1]]);
    out.extend(length(total)?.to_be_bytes());
    out.extend(identification.to_be_bytes());
    out.extend([header[6] & DONT_FRAGMENT, 0, 64, kind.protocol(), 0, 0]);
    out.extend(source.octets());
    out.extend(destination.octets());
    seal(&mut out, IPV4_LEN);
    out.extend(gre);
    out.extend(packet);
    Ok(out)
}

/// Outer source and destination, encapsulation, and the packet that was inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decapsulated {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub kind: TunnelKind,
    pub packet: Vec<u8>,
}

/// Unwraps a packet. Checks the outer header and what the encapsulation has of its own; the inner
/// packet's header must be whole, its checksum is for who receives it.
pub fn decapsulate(packet: &[u8]) -> Result<Decapsulated, EncapsulationError> {
    let (header, payload) = split(packet)?;
    if checksum(header) != 0 {
        return Err(EncapsulationError::Checksum);
    }
    // A fragment has to be put together first.
    if is_fragment(header) {
        return Err(EncapsulationError::Fragment);
    }
    let kind = TunnelKind::of_protocol(header[9]).ok_or(EncapsulationError::Protocol(header[9]))?;
    let inner = match kind {
        TunnelKind::IpIp => payload.to_vec(),
        TunnelKind::Gre => gre_payload(payload)?.to_vec(),
        TunnelKind::Minimal => original(header, payload)?,
    };
    split(&inner)?;
    Ok(Decapsulated {
        source: address(header, 12),
        destination: address(header, 16),
        kind,
        packet: inner,
    })
}

/// RFC 1071; zero over octets that hold their own right checksum.
pub fn checksum(octets: &[u8]) -> u16 {
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
    let mut sum: u64 = octets.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Header and payload of an IPv4 packet whose lengths are right.
fn split(packet: &[u8]) -> Result<(&[u8], &[u8]), EncapsulationError> {
    let first = *packet.first().ok_or(EncapsulationError::Length)?;
    let header_len = usize::from(first & 0x0f) * 4;
    let (header, payload) = packet
        .split_at_checked(header_len)
        .filter(|_| first >> 4 == 4 && header_len >= IPV4_LEN)
        .ok_or(EncapsulationError::Length)?;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let payload_len = total
        .checked_sub(header_len)
        .filter(|len| *len == payload.len());
    payload_len.ok_or(EncapsulationError::Length)?;
    Ok((header, payload))
}

fn is_fragment(header: &[u8]) -> bool {
    u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0
}

fn address(octets: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3])
}

fn length(total: usize) -> Result<u16, EncapsulationError> {
    u16::try_from(total).map_err(|_| EncapsulationError::TooLong)
}

/// Puts the checksum into the IPv4 header at the front.
fn seal(packet: &mut [u8], header_len: usize) {
    packet[10..12].fill(0);
    let sum = checksum(&packet[..header_len]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// RFC 2004 §3.1: the packet's own header, changed, and what was changed behind it.
fn minimal(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    header: &[u8],
    payload: &[u8],
) -> Result<Vec<u8>, EncapsulationError> {
    if is_fragment(header) {
        return Err(EncapsulationError::Fragment);
    }
    let has_source = address(header, 12) != source;
    let mut inner = vec![header[9], if has_source { 0x80 } else { 0 }, 0, 0];
    inner.extend(&header[16..20]);
    if has_source {
        inner.extend(&header[12..16]);
    }
    let sum = checksum(&inner);
    inner[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut out = header.to_vec();
    let total = length(header.len() + inner.len() + payload.len())?;
    out[2..4].copy_from_slice(&total.to_be_bytes());
    out[9] = TunnelKind::Minimal.protocol();
    out[12..16].copy_from_slice(&source.octets());
    out[16..20].copy_from_slice(&destination.octets());
    seal(&mut out, header.len());
    out.extend(inner);
    out.extend(payload);
    Ok(out)
}

fn original(header: &[u8], payload: &[u8]) -> Result<Vec<u8>, EncapsulationError> {
    let has_source = payload.get(1).ok_or(EncapsulationError::Length)? & 0x80 != 0;
    let len = if has_source { 12 } else { 8 };
    let (inner, payload) = payload
        .split_at_checked(len)
        .ok_or(EncapsulationError::Length)?;
    if checksum(inner) != 0 {
        return Err(EncapsulationError::Checksum);
    }
    let mut out = header.to_vec();
    let total = length(header.len() + payload.len())?;
    out[2..4].copy_from_slice(&total.to_be_bytes());
    out[9] = inner[0];
    out[16..20].copy_from_slice(&inner[4..8]);
    if has_source {
        out[12..16].copy_from_slice(&inner[8..12]);
    }
    seal(&mut out, header.len());
    out.extend(payload);
    Ok(out)
}

/// Behind a GRE header: checksum, key and sequence number may be there; the rest must be zero (RFC
/// 2784 §2.3).
fn gre_payload(gre: &[u8]) -> Result<&[u8], EncapsulationError> {
    let (fixed, _) = gre
        .split_first_chunk::<4>()
        .ok_or(EncapsulationError::Length)?;
    let flags = u16::from_be_bytes([fixed[0], fixed[1]]);
    let protocol = u16::from_be_bytes([fixed[2], fixed[3]]);
    // The low bits of the reserved field are ignored, the high ones and the version are not.
    if flags & 0x4c07 != 0 || protocol != GRE_OF_IPV4 {
        return Err(EncapsulationError::Gre);
    }
    let [with_checksum, with_key, with_sequence] =
        [0x8000, 0x2000, 0x1000].map(|bit| flags & bit != 0);
    let optional = [with_checksum, with_key, with_sequence];
    let len = 4 + 4 * optional.iter().filter(|there| **there).count();
    let packet = gre.get(len..).ok_or(EncapsulationError::Length)?;
    if with_checksum && checksum(gre) != 0 {
        return Err(EncapsulationError::Checksum);
    }
    Ok(packet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 2);
    const DESTINATION: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

    fn packet(payload: &[u8]) -> Vec<u8> {
        let total = (20 + payload.len()) as u16;
        let [high, low] = total.to_be_bytes();
        let mut packet = vec![
            0x45, 8, high, low, 0, 1, 0x40, 0, 63, 17, 0, 0, 10, 10, 0, 101, 10, 20, 0, 5,
        ];
        seal(&mut packet, 20);
        packet.extend(payload);
        packet
    }

    /// The sum is the worked one of RFC 1071 §3.
    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(
            checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            !0xddf2
        );
    }

    #[test]
    fn a_minimal_header_omits_the_source_where_it_is_the_outer_one() {
        let whole = packet(b"data");
        let own = Ipv4Addr::new(10, 10, 0, 101);
        let short = encapsulate(TunnelKind::Minimal, own, DESTINATION, 0, &whole).unwrap();
        let long = encapsulate(TunnelKind::Minimal, SOURCE, DESTINATION, 0, &whole).unwrap();
        assert_eq!(
            (short.len(), long.len()),
            (whole.len() + 8, whole.len() + 12)
        );
        assert_eq!(decapsulate(&short).unwrap().packet, whole);
        let mut fragment = whole;
        fragment[6] = 0x20;
        let refused = encapsulate(TunnelKind::Minimal, SOURCE, DESTINATION, 0, &fragment);
        assert_eq!(refused, Err(EncapsulationError::Fragment));
    }

    #[test]
    fn gre_with_every_optional_field_is_read_and_a_wrong_sum_is_not() {
        let whole = packet(b"data");
        let mut gre = vec![0xb0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2];
        gre.extend(&whole);
        let sum = checksum(&gre);
        gre[4..6].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(gre_payload(&gre), Ok(&whole[..]));
        gre[15] ^= 1;
        assert_eq!(gre_payload(&gre), Err(EncapsulationError::Checksum));
        assert_eq!(gre_payload(&[0x40, 0, 8, 0]), Err(EncapsulationError::Gre));
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            payload in proptest::collection::vec(any::<u8>(), 0..1400),
            kind in prop_oneof![Just(TunnelKind::IpIp), Just(TunnelKind::Minimal), Just(TunnelKind::Gre)],
        ) {
            let whole = packet(&payload);
            let wrapped = encapsulate(kind, SOURCE, DESTINATION, 7, &whole).unwrap();
            let unwrapped = decapsulate(&wrapped).unwrap();
            prop_assert_eq!((unwrapped.source, unwrapped.destination), (SOURCE, DESTINATION));
            prop_assert_eq!((unwrapped.kind, unwrapped.packet), (kind, whole));
        }

        #[test]
        fn altered_packets_are_read_or_refused(
            kind in prop_oneof![Just(TunnelKind::IpIp), Just(TunnelKind::Minimal), Just(TunnelKind::Gre)],
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut wrapped = encapsulate(kind, SOURCE, DESTINATION, 7, &packet(b"some data")).unwrap();
            for (at, octet) in changes {
                let at = at.index(wrapped.len());
                wrapped[at] = octet;
            }
            let _ = decapsulate(&wrapped);
            wrapped.truncate(cut.index(wrapped.len()));
            prop_assert!(decapsulate(&wrapped).is_err());
        }

        #[test]
        fn any_octets_are_read_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = decapsulate(&octets);
            let _ = encapsulate(TunnelKind::Minimal, SOURCE, DESTINATION, 0, &octets);
        }
    }
}
