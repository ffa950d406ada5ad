//! Security associations (RFC 5944 §5.1): a key, how it is used, and how what it signs is kept fresh.

use super::wire::{AuthenticationKind, Placed};
use crate::net::Secret;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// The standard's default, which everybody has.
    HmacMd5,
    /// Between our own.
    HmacSha256,
}

impl Algorithm {
    /// Octets of its authenticators.
    pub fn output_len(self) -> usize {
        match self {
            Self::HmacMd5 => 16,
            Self::HmacSha256 => 32,
        }
    }
}

/// RFC 5944 §5.7. Both ends must have agreed on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayProtection {
    /// Clocks may be apart by the window; [`DEFAULT_WINDOW`] unless told otherwise, more than 3 s.
    Timestamps {
        window: Duration,
    },
    Nonces,
}

/// RFC 5944 §5.7.1.
pub const DEFAULT_WINDOW: Duration = Duration::from_secs(7);

/// SPIs below are reserved (RFC 5944 §1.6).
pub const FIRST_SPI: u32 = 256;

impl Default for ReplayProtection {
    fn default() -> Self {
        Self::Timestamps {
            window: DEFAULT_WINDOW,
        }
    }
}

#[derive(Clone, Debug)]
pub struct SecurityAssociation {
    pub spi: u32,
    pub algorithm: Algorithm,
    pub key: Secret,
    pub replay: ReplayProtection,
}

impl SecurityAssociation {
    /// Appends an authentication extension that covers all octets of `message` and itself up to its
    /// SPI (RFC 5944 §3.5.1).
    pub fn sign(&self, kind: AuthenticationKind, message: &mut Vec<u8>) {
        let len = 4 + self.algorithm.output_len();
        message.extend([kind.extension_type(), len as u8]);
        message.extend(self.spi.to_be_bytes());
        let value = self.with_mac(message, <[u8]>::to_vec);
        message.extend(value);
    }

    /// Whether an authenticator is of this association and right. Takes the same time whichever
    /// octet is wrong.
    pub fn verify(&self, placed: &Placed<'_>) -> bool {
        placed.authenticator.spi == self.spi
            && self.with_mac(placed.signed, |mac| {
                verify_slices_are_equal(mac, &placed.authenticator.value).is_ok()
            })
    }

    /// The key is exposed to the computation alone.
    fn with_mac<T>(&self, octets: &[u8], use_it: impl FnOnce(&[u8]) -> T) -> T {
        match self.algorithm {
            Algorithm::HmacMd5 => {
                let mut mac = Hmac::<Md5>::new_from_slice(self.key.expose())
                    .expect("HMAC takes a key of any length");
                mac.update(octets);
                use_it(&mac.finalize().into_bytes())
            }
            Algorithm::HmacSha256 => {
                use aws_lc_rs::hmac;
                let key = hmac::Key::new(hmac::HMAC_SHA256, self.key.expose());
                use_it(hmac::sign(&key, octets).as_ref())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mobile_ip::wire::{Decoded, Flags, Identification, RegistrationRequest};
    use std::fmt::Write;
    use std::net::Ipv4Addr;

    fn association(algorithm: Algorithm) -> SecurityAssociation {
        SecurityAssociation {
            spi: 256,
            algorithm,
            key: Secret::from(&b"0123456789abcdef"[..]),
            replay: ReplayProtection::default(),
        }
    }

    fn request() -> Vec<u8> {
        RegistrationRequest {
            flags: Flags::DECAPSULATION | Flags::REVERSE_TUNNEL,
            lifetime: 300,
            home: Ipv4Addr::new(10, 20, 0, 5),
            home_agent: Ipv4Addr::new(10, 10, 0, 2),
            care_of: Ipv4Addr::new(203, 0, 113, 10),
            identification: Identification(0xe8fe_6f80_8000_0000),
            extensions: Vec::new(),
        }
        .encode()
    }

    // Both vectors were computed by Python's hmac module, which shares nothing with this:
    //   m = bytes.fromhex("0122012c0a1400050a0a0002cb00710ae8fe6f8080000000" "2014" "00000100")
    //   hmac.new(b"0123456789abcdef", m, "md5").hexdigest(), and with 2024 for 2014 and "sha256".
    #[test]
    fn signatures_are_what_another_implementation_computes() {
        let known = [
            (Algorithm::HmacMd5, "fee0ac6a7b20732144c3fff722260fc4"),
            (
                Algorithm::HmacSha256,
                "691eb53250fa1151daa301c98587979de15f73dfec3d2f9d2eb1b24b08c5f2a0",
            ),
        ];
        for (algorithm, expected) in known {
            let mut octets = request();
            association(algorithm).sign(AuthenticationKind::MobileHome, &mut octets);
            let mut hex = String::new();
            for octet in &octets[30..] {
                write!(hex, "{octet:02x}").unwrap();
            }
            assert_eq!(hex, expected);
        }
    }

    #[test]
    fn an_authenticator_fails_when_any_octet_or_the_association_differs() {
        for algorithm in [Algorithm::HmacMd5, Algorithm::HmacSha256] {
            let sa = association(algorithm);
            let mut octets = request();
            sa.sign(AuthenticationKind::MobileHome, &mut octets);
            let verify = |octets: &[u8], sa: &SecurityAssociation| {
                let Ok(decoded) = Decoded::decode(octets) else {
                    return false;
                };
                let placed = decoded.only_authenticator(AuthenticationKind::MobileHome);
                placed.is_some_and(|placed| sa.verify(&placed))
            };
            assert!(verify(&octets, &sa));
            for at in 0..octets.len() {
                let mut altered = octets.clone();
                altered[at] ^= 1;
                assert!(!verify(&altered, &sa), "octet {at}");
            }
            let key = Secret::from(&b"0123456789abcdeg"[..]);
            assert!(!verify(&octets, &SecurityAssociation { key, ..sa.clone() }));
            assert!(!verify(&octets, &SecurityAssociation { spi: 257, ..sa }));
        }
    }
}
