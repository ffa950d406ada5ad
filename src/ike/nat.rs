//! NAT detection (RFC 7296 §2.23).

use super::crypto::{constant_time_eq, sha1};
use super::wire::{NotifyKind, Payload, Payloads};
use std::net::{IpAddr, SocketAddr};

/// IKE without and with ESP in UDP beside it (RFC 3948).
pub const PORT: u16 = 500;
pub const NAT_PORT: u16 = 4500;

fn digest((spi_i, spi_r): (u64, u64), endpoint: SocketAddr) -> Vec<u8> {
    let mut octets = [spi_i.to_be_bytes(), spi_r.to_be_bytes()].concat();
    match endpoint.ip() {
        IpAddr::V4(a) => octets.extend_from_slice(&a.octets()),
        IpAddr::V6(a) => octets.extend_from_slice(&a.octets()),
    }
    octets.extend_from_slice(&endpoint.port().to_be_bytes());
    sha1(&octets)
}

/// What the sender believes its own address to be. Both SPIs as they stand in the header of the
/// message.
pub fn claim_of_source(spis: (u64, u64), local: SocketAddr) -> Payload {
    Payload::notify(NotifyKind::NAT_DETECTION_SOURCE_IP, digest(spis, local))
}

/// The other end's address, too.
pub fn claims(spis: (u64, u64), local: SocketAddr, remote: SocketAddr) -> [Payload; 2] {
    [
        claim_of_source(spis, local),
        Payload::notify(
            NotifyKind::NAT_DETECTION_DESTINATION_IP,
            digest(spis, remote),
        ),
    ]
}

/// Whether addresses changed on the way of a received message, in either half. A peer that claims
/// nothing does not know NAT traversal: then none is seen.
pub fn is_between(
    payloads: &Payloads,
    spis: (u64, u64),
    local: SocketAddr,
    remote: SocketAddr,
) -> bool {
    let changed = |kind, seen| {
        let expected = digest(spis, seen);
        let mut claims = payloads.notifies().filter(|n| n.kind == kind).peekable();
        claims.peek().is_some() && !claims.any(|n| constant_time_eq(&n.data, &expected))
    };
    changed(NotifyKind::NAT_DETECTION_SOURCE_IP, remote)
        || changed(NotifyKind::NAT_DETECTION_DESTINATION_IP, local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_address_or_port_on_either_side_is_seen() {
        let [a, b, other]: [SocketAddr; 3] =
            ["192.0.2.1:500", "[2001:db8::2]:500", "192.0.2.1:1024"].map(|s| s.parse().unwrap());
        let sent = Payloads(claims((1, 0), a, b).to_vec());
        assert!(!is_between(&sent, (1, 0), b, a));
        assert!(is_between(&sent, (1, 0), b, other));
        assert!(is_between(&sent, (1, 0), other, a));
        assert!(is_between(&sent, (2, 0), b, a));
        assert!(!is_between(&Payloads::default(), (1, 0), b, a));
    }
}
