//! Identification payloads (RFC 7296 §3.5).

use super::WireError;
use crate::net::Identity;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const IPV4_ADDR: u8 = 1;
const FQDN: u8 = 2;
const RFC822_ADDR: u8 = 3;
const IPV6_ADDR: u8 = 5;

/// `RestOfInitIDPayload`: type, three reserved octets, data. Kept as it came, since AUTH covers
/// these very octets (RFC 7296 §2.15).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdBody(Vec<u8>);

impl IdBody {
    pub fn decode(octets: &[u8]) -> Result<Self, WireError> {
        if octets.len() < 4 {
            return Err(WireError::Truncated("identification"));
        }
        Ok(Self(octets.to_vec()))
    }

    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    /// Host names compare without regard to case; what is not text where text belongs stays
    /// uninterpreted.
    pub fn identity(&self) -> Identity {
        let (kind, data) = (self.0[0], &self.0[4..]);
        let text = || {
            let printable = !data.is_empty() && data.iter().all(u8::is_ascii_graphic);
            printable.then(|| String::from_utf8_lossy(data).into_owned())
        };
        let known = match kind {
            IPV4_ADDR => <[u8; 4]>::try_from(data)
                .ok()
                .map(|a| Identity::Address(Ipv4Addr::from(a).into())),
            IPV6_ADDR => <[u8; 16]>::try_from(data)
                .ok()
                .map(|a| Identity::Address(Ipv6Addr::from(a).into())),
            FQDN => text().map(|s| Identity::Name(s.to_ascii_lowercase())),
            RFC822_ADDR => text().map(Identity::Mail),
            _ => None,
        };
        known.unwrap_or_else(|| Identity::Other {
            kind,
            data: data.to_vec(),
        })
    }
}

impl From<&Identity> for IdBody {
    fn from(identity: &Identity) -> Self {
        let (kind, data) = match identity {
            Identity::Address(IpAddr::V4(a)) => (IPV4_ADDR, a.octets().to_vec()),
            Identity::Address(IpAddr::V6(a)) => (IPV6_ADDR, a.octets().to_vec()),
            Identity::Name(s) => (FQDN, s.as_bytes().to_vec()),
            Identity::Mail(s) => (RFC822_ADDR, s.as_bytes().to_vec()),
            Identity::Other { kind, data } => (*kind, data.clone()),
        };
        let mut octets = vec![kind, 0, 0, 0];
        octets.extend_from_slice(&data);
        Self(octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_survive_the_wire() {
        for text in ["gw104.example", "192.0.2.1", "2001:db8::1", "ann@host"] {
            let identity: Identity = text.parse().unwrap();
            let body = IdBody::from(&identity);
            assert_eq!(IdBody::decode(body.octets()).unwrap().identity(), identity);
        }
    }

    #[test]
    fn names_of_foreign_case_compare_equal_but_keep_their_octets() {
        let body = IdBody::decode(b"\x02\0\0\0GW.Example").unwrap();
        assert_eq!(body.identity(), "gw.example".parse().unwrap());
        assert_eq!(body.octets(), b"\x02\0\0\0GW.Example");
    }

    #[test]
    fn an_address_of_the_wrong_length_or_an_unknown_type_stays_uninterpreted() {
        for octets in [&b"\x01\0\0\0abc"[..], b"\x0b\0\0\0key", b"\x02\0\0\0a b"] {
            let body = IdBody::decode(octets).unwrap();
            let identity = body.identity();
            assert!(matches!(identity, Identity::Other { .. }), "{identity}");
            assert_eq!(IdBody::from(&identity), body);
        }
        assert!(IdBody::decode(b"\x01\0\0").is_err());
    }
}
