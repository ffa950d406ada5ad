//! Pseudorandom functions and `prf+` (RFC 7296 §2.13, RFC 4868).

use crate::ike::effects::Sha2;
use crate::net::Secret;
use aws_lc_rs::hmac;

impl Sha2 {
    pub(in crate::ike) fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    /// Octets of the untruncated output; keys for integrity are as long (RFC 4868 §2.1.1).
    pub fn octets(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Octets of the integrity check value: half the output (RFC 4868 §2.1.2).
    pub fn icv_len(self) -> usize {
        self.octets() / 2
    }
}

/// HMAC with one of the SHA-2 family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prf(pub Sha2);

impl Prf {
    /// Preferred key length and output length are the same for HMAC.
    pub fn octets(self) -> usize {
        self.0.octets()
    }

    pub fn compute(self, key: &[u8], parts: &[&[u8]]) -> Secret {
        let mut context = hmac::Context::with_key(&hmac::Key::new(self.0.hmac(), key));
        for part in parts {
            context.update(part);
        }
        Secret::from(context.sign().as_ref())
    }

    /// `prf+ (K,S) = T1 | T2 | …`, the first `length` octets. `length` is at most 255 times the
    /// output's length: nothing here asks for more than a few keys.
    pub fn expand(self, key: &Secret, seed: &[&[u8]], length: usize) -> Secret {
        // Reserved to the end at once: growing would leave unwiped copies behind.
        let mut out = Vec::with_capacity(length + self.octets());
        let mut previous = Secret::new(Vec::new());
        for counter in 1..=255u8 {
            if out.len() >= length {
                break;
            }
            let mut parts = vec![previous.expose()];
            parts.extend_from_slice(seed);
            let counter = [counter];
            parts.push(&counter);
            previous = self.compute(key.expose(), &parts);
            out.extend_from_slice(previous.expose());
        }
        out.truncate(length);
        Secret::new(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::tests::hex;

    /// RFC 4231 §4.3: test case 2, "Jefe".
    #[test]
    fn prf_is_hmac_as_in_rfc_4231() {
        for (hash, expected) in [
            (
                Sha2::Sha256,
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                Sha2::Sha384,
                "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e\
                 8e2240ca5e69e2c78b3239ecfab21649",
            ),
            (
                Sha2::Sha512,
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
                 9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
        ] {
            let parts: [&[u8]; 2] = [b"what do ya want ", b"for nothing?"];
            let tag = Prf(hash).compute(b"Jefe", &parts);
            assert_eq!(tag.expose(), hex(expected));
            assert_eq!(tag.len(), Prf(hash).octets());
        }
    }

    /// `prf+` is HKDF-Expand with another name for its parts, so RFC 5869's vector A.1 applies.
    #[test]
    fn prf_plus_agrees_with_the_expand_step_of_rfc_5869() {
        let key = Secret::new(hex(
            "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
        ));
        let seed = hex("f0f1f2f3f4f5f6f7f8f9");
        let out = Prf(Sha2::Sha256).expand(&key, &[&seed[..3], &seed[3..]], 42);
        let expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf\
                        34007208d5b887185865";
        assert_eq!(out.expose(), hex(expected));
    }
}
