//! Key exchange methods: Curve25519 (RFC 8031) and NIST P-256 (RFC 5903).

use crate::net::{Random, Secret};
use aws_lc_rs::agreement::{self, ECDH_P256, UnparsedPublicKey, X25519};
use zeroize::Zeroizing;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    X25519,
    P256,
}

/// A public value that is not a point of the group, or the one that would make the secret known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("public value is not acceptable for the group")]
pub struct InvalidPublicValue;

/// SEC 1 marks an uncompressed point so; IKE leaves the mark out (RFC 5903 §7).
const UNCOMPRESSED: u8 = 0x04;

impl Group {
    /// In the order of preference.
    pub const ALL: [Self; 2] = [Self::X25519, Self::P256];

    pub fn id(self) -> u16 {
        match self {
            Self::X25519 => 31,
            Self::P256 => 19,
        }
    }

    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|group| group.id() == id)
    }

    /// Of what stands in the KE payload, in octets.
    pub fn public_len(self) -> usize {
        match self {
            Self::X25519 => 32,
            Self::P256 => 64,
        }
    }

    fn algorithm(self) -> &'static agreement::Algorithm {
        match self {
            Self::X25519 => &X25519,
            Self::P256 => &ECDH_P256,
        }
    }
}

/// Our half of one key exchange.
#[derive(Debug)]
pub struct PrivateKey {
    group: Group,
    key: agreement::PrivateKey,
    /// As it stands in the KE payload.
    public: Vec<u8>,
}

impl PrivateKey {
    pub fn draw(group: Group, rng: &mut dyn Random) -> Self {
        let mut octets = Zeroizing::new([0; 32]);
        loop {
            rng.fill(&mut octets[..]);
            // A P-256 scalar can be zero or beyond the order, once in 2^32 draws.
            if let Some(key) = Self::from_octets(group, &octets[..]) {
                return key;
            }
        }
    }

    fn from_octets(group: Group, octets: &[u8]) -> Option<Self> {
        let key = agreement::PrivateKey::from_private_key(group.algorithm(), octets).ok()?;
        let public = key.compute_public_key().ok()?;
        let public = match group {
            Group::X25519 => public.as_ref(),
            Group::P256 => public.as_ref().strip_prefix(&[UNCOMPRESSED])?,
        };
        Some(Self {
            group,
            public: public.to_vec(),
            key,
        })
    }

    pub fn group(&self) -> Group {
        self.group
    }

    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The shared secret: the u-coordinate or the x-coordinate.
    pub fn agree(&self, peer: &[u8]) -> Result<Secret, InvalidPublicValue> {
        let mut octets = Vec::with_capacity(65);
        if self.group == Group::P256 {
            octets.push(UNCOMPRESSED);
        }
        octets.extend_from_slice(peer);
        let peer = UnparsedPublicKey::new(self.group.algorithm(), octets);
        agreement::agree(&self.key, peer, InvalidPublicValue, |shared| {
            Ok(Secret::from(shared))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::tests::hex;
    use crate::net::random::Seeded;

    fn check_vector(group: Group, keys: [&str; 2], public: [&str; 2], shared: &str) {
        for (own, peer) in [(0, 1), (1, 0)] {
            let key = PrivateKey::from_octets(group, &hex(keys[own])).unwrap();
            assert_eq!(key.public(), hex(public[own]));
            let secret = key.agree(&hex(public[peer])).unwrap();
            assert_eq!(secret.expose(), hex(shared));
        }
    }

    #[test]
    fn x25519_agrees_as_in_section_6_1_of_rfc_7748() {
        check_vector(
            Group::X25519,
            [
                "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
                "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
            ],
            [
                "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
                "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
            ],
            "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
        );
    }

    #[test]
    fn p256_agrees_as_in_section_8_1_of_rfc_5903() {
        check_vector(
            Group::P256,
            [
                "c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433",
                "c6ef9c5d78ae012a011164acb397ce2088685d8f06bf9be0b283ab46476bee53",
            ],
            [
                "dad0b65394221cf9b051e1feca5787d098dfe637fc90b9ef945d0c3772581180\
                 5271a0461cdb8252d61f1c456fa3e59ab1f45b33accf5f58389e0577b8990bb3",
                "d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63\
                 56fbf3ca366cc23e8157854c13c58d6aac23f046ada30f8353e74f33039872ab",
            ],
            "d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de",
        );
    }

    #[test]
    fn both_ends_find_the_same_secret() {
        let mut rng = Seeded(1);
        for group in Group::ALL {
            let (a, b) = (
                PrivateKey::draw(group, &mut rng),
                PrivateKey::draw(group, &mut rng),
            );
            let secret = a.agree(b.public()).unwrap();
            assert_eq!(secret.expose(), b.agree(a.public()).unwrap().expose());
            assert_eq!(secret.len(), 32);
            assert_eq!(a.public().len(), group.public_len());
        }
    }

    #[test]
    fn values_of_small_order_off_the_curve_or_of_the_wrong_length_are_refused() {
        let mut rng = Seeded(2);
        let x = PrivateKey::draw(Group::X25519, &mut rng);
        assert!(x.agree(&[0; 32]).is_err());
        assert!(x.agree(&[9; 31]).is_err());
        let p = PrivateKey::draw(Group::P256, &mut rng);
        assert!(p.agree(&[1; 64]).is_err());
        assert!(p.agree(&[]).is_err());
    }
}
