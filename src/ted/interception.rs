//! Which datagrams to UDP port 500 are discovery, and which are IKE.
//!
//! Both start with the same 28 octets (RFC 2408 §3.1, RFC 7296 §3.1). Version and exchange type
//! tell them apart; the agent's nftables table looks at the same two octets, so that a probe is
//! diverted before it reaches the end host it is addressed to.

use super::wire::{Exchange, header};

/// What a datagram claims to be; only decoding it tells whether it is well formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    Probe,
    Response,
    /// IKE, another ISAKMP exchange, or noise.
    Other,
}

pub fn classify(datagram: &[u8]) -> Claim {
    let claimed = datagram.get(header::VERSION_AT) == Some(&header::ISAKMP_1_0);
    match datagram.get(header::EXCHANGE_AT) {
        Some(&octet) if claimed => match Exchange::from_octet(octet) {
            Some(Exchange::Probe) => Claim::Probe,
            Some(Exchange::Response) => Claim::Response,
            None => Claim::Other,
        },
        _ => Claim::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(version: u8, exchange: u8) -> Vec<u8> {
        let mut octets = vec![0; 28];
        octets[17] = version;
        octets[18] = exchange;
        octets
    }

    #[test]
    fn version_and_exchange_decide() {
        assert_eq!(classify(&datagram(0x10, 240)), Claim::Probe);
        assert_eq!(classify(&datagram(0x10, 241)), Claim::Response);
        assert_eq!(classify(&datagram(0x20, 240)), Claim::Other);
        assert_eq!(classify(&datagram(0x20, 34)), Claim::Other);
        assert_eq!(classify(&datagram(0x10, 2)), Claim::Other);
        assert_eq!(classify(&[]), Claim::Other);
        assert_eq!(classify(&[0xff; 18]), Claim::Other);
    }
}
