//! What the headers of a packet say of its flow.

use super::{Flow, Protocol};
use std::net::IpAddr;

/// Extension headers that are walked over: more than any packet has that means well.
const MOST_EXTENSIONS: usize = 8;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

/// The flow of the packet that begins with these octets. `None` where they are no packet of IP, or too few, and for
/// fragments other than the first, which do not say it.
pub fn flow(packet: &[u8]) -> Option<Flow> {
    let (src, dst, protocol, rest) = match packet.first()? >> 4 {
        4 => v4(packet)?,
        6 => v6(packet)?,
        _ => return None,
    };
    let ports = if Protocol::from_number(protocol).has_ports() {
        let [s0, s1, d0, d1] = *rest.first_chunk()?;
        Some((u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])))
    } else {
        None
    };
    Some(Flow {
        src,
        dst,
        protocol,
        ports,
    })
}

/// Source, destination, protocol, and what follows.
type Parts<'a> = (IpAddr, IpAddr, u8, &'a [u8]);

/// RFC 791 §3.1.
fn v4(packet: &[u8]) -> Option<Parts<'_>> {
    let header: &[u8; 20] = packet.first_chunk()?;
    let len = usize::from(header[0] & 0xf) * 4;
    let offset = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
    if len < header.len() || offset != 0 {
        return None;
    }
    let address = |at| Some(IpAddr::from(*header[at..].first_chunk::<4>()?));
    Some((address(12)?, address(16)?, header[9], packet.get(len..)?))
}

/// RFC 8200 §3 and §4.
fn v6(packet: &[u8]) -> Option<Parts<'_>> {
    let (header, mut rest): (&[u8; 40], _) = packet.split_first_chunk()?;
    let address = |at| Some(IpAddr::from(*header[at..].first_chunk::<16>()?));
    let (src, dst) = (address(8)?, address(24)?);
    let mut next = header[6];
    for _ in 0..MOST_EXTENSIONS {
        let len = match next {
            HOP_BY_HOP | ROUTING | DESTINATION => (usize::from(*rest.get(1)?) + 1) * 8,
            FRAGMENT => {
                let offset = u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]) & !7;
                if offset != 0 {
                    return None;
                }
                8
            }
            protocol => return Some((src, dst, protocol, rest)),
        };
        next = *rest.first()?;
        rest = rest.get(len..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet_v4(protocol: u8, offset: u16, rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 20];
        (packet[0], packet[9]) = (0x45, protocol);
        packet[6..8].copy_from_slice(&offset.to_be_bytes());
        packet[12..16].copy_from_slice(&[10, 1, 0, 2]);
        packet[16..20].copy_from_slice(&[10, 2, 0, 8]);
        packet.extend(rest);
        packet
    }

    fn packet_v6(next: u8, rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        (packet[0], packet[6]) = (0x60, next);
        (packet[8], packet[23], packet[24], packet[39]) = (0x20, 1, 0x20, 2);
        packet.extend(rest);
        packet
    }

    fn said(packet: &[u8]) -> Option<String> {
        flow(packet).map(|flow| flow.to_string())
    }

    #[test]
    fn ports_are_where_the_protocol_has_some() {
        let udp = said(&packet_v4(17, 0x4000, &[0, 9, 0, 80]));
        assert_eq!(udp.unwrap(), "10.1.0.2 port 9 > 10.2.0.8 port 80 udp");
        let echo = said(&packet_v4(1, 0, &[8, 0, 0, 0]));
        assert_eq!(echo.unwrap(), "10.1.0.2 > 10.2.0.8 icmp");
        let first = said(&packet_v4(17, 0x2000, &[0, 9, 0, 80]));
        assert!(first.is_some(), "a first fragment has them, too");
        assert_eq!(said(&packet_v4(17, 1, &[0, 9, 0, 80])), None);
    }

    #[test]
    fn options_and_extension_headers_are_walked_over() {
        let mut options = packet_v4(6, 0, &[7, 7, 7, 7, 0, 9, 0, 80]);
        options[0] = 0x46;
        assert_eq!(
            said(&options).unwrap(),
            "10.1.0.2 port 9 > 10.2.0.8 port 80 tcp"
        );
        let walked = [
            [60, 0, 0, 0, 0, 0, 0, 0],
            [44, 0, 0, 0, 0, 0, 0, 0],
            [6, 0, 0, 1, 0, 0, 0, 0],
            [0, 9, 0, 80, 0, 0, 0, 0],
        ];
        let packet = packet_v6(0, walked.as_flattened());
        assert_eq!(
            said(&packet).unwrap(),
            "2000::1 port 9 > 2000::2 port 80 tcp"
        );
        let mut later = packet;
        later[40 + 16 + 3] = 8;
        assert_eq!(said(&later), None, "a fragment that is not the first");
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_panic(version in 3u8..8, mut packet in prop::collection::vec(any::<u8>(), 1..128)) {
            packet[0] = version << 4 | packet[0] & 0xf;
            let _ = flow(&packet);
        }
    }
}
