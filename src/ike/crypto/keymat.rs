//! Key schedule (RFC 7296 §2.14, §2.17, §2.18).

use super::{Cipher, Direction, Prf, Protection};
use crate::ike::effects::ChildKeys;
use crate::net::Secret;

/// What SKEYSEED and KEYMAT are derived from besides secrets.
#[derive(Clone, Copy, Debug)]
pub struct Nonces<'a> {
    pub initiator: &'a [u8],
    pub responder: &'a [u8],
}

/// The seven keys of an IKE SA. "Initiator" is who began it.
#[derive(Debug)]
pub struct IkeKeys {
    pub prf: Prf,
    pub derive: Secret,
    pub from_initiator: Direction,
    pub from_responder: Direction,
    pub prove_initiator: Secret,
    pub prove_responder: Secret,
}

impl IkeKeys {
    /// `SKEYSEED = prf(Ni | Nr, g^ir)`.
    pub fn first(
        prf: Prf,
        cipher: Cipher,
        shared: &Secret,
        nonces: Nonces<'_>,
        spis: (u64, u64),
    ) -> Self {
        let key = [nonces.initiator, nonces.responder].concat();
        let seed = prf.compute(&key, &[shared.expose()]);
        Self::schedule(prf, cipher, &seed, nonces, spis)
    }

    /// `SKEYSEED = prf(SK_d (old), g^ir (new) | Ni | Nr)`, with the PRF of the old SA (§2.18).
    pub fn rekeyed(
        old: &IkeKeys,
        prf: Prf,
        cipher: Cipher,
        shared: &Secret,
        nonces: Nonces<'_>,
        spis: (u64, u64),
    ) -> Self {
        let parts = [shared.expose(), nonces.initiator, nonces.responder];
        let seed = old.prf.compute(old.derive.expose(), &parts);
        Self::schedule(prf, cipher, &seed, nonces, spis)
    }

    /// `{SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr} = prf+ (SKEYSEED, Ni | Nr | SPIi |
    /// SPIr)`.
    fn schedule(
        prf: Prf,
        cipher: Cipher,
        seed: &Secret,
        nonces: Nonces<'_>,
        (spi_i, spi_r): (u64, u64),
    ) -> Self {
        let (spi_i, spi_r) = (spi_i.to_be_bytes(), spi_r.to_be_bytes());
        let context = [nonces.initiator, nonces.responder, &spi_i, &spi_r];
        let total = 3 * prf.octets() + 2 * cipher.auth_len() + 2 * cipher.key_len();
        let mut keys = Slices(prf.expand(seed, &context, total), 0);
        let derive = keys.take(prf.octets());
        let (auth_i, auth_r) = (keys.take(cipher.auth_len()), keys.take(cipher.auth_len()));
        let (key_i, key_r) = (keys.take(cipher.key_len()), keys.take(cipher.key_len()));
        Self {
            prf,
            derive,
            from_initiator: Direction::new(cipher, key_i, auth_i),
            from_responder: Direction::new(cipher, key_r, auth_r),
            prove_initiator: keys.take(prf.octets()),
            prove_responder: keys.take(prf.octets()),
        }
    }

    /// Keys of a child SA, initiator to responder first: `KEYMAT = prf+(SK_d, [g^ir |] Ni | Nr)`
    /// (§2.17). Here the initiator is who began the exchange that makes the child.
    pub fn child(
        &self,
        protection: Protection,
        shared: Option<&Secret>,
        nonces: Nonces<'_>,
    ) -> (ChildKeys, ChildKeys) {
        let shared = shared.map_or(&[][..], Secret::expose);
        let context = [shared, nonces.initiator, nonces.responder];
        let total = 2 * (protection.key_len() + protection.auth_len());
        let mut keys = Slices(self.prf.expand(&self.derive, &context, total), 0);
        (keys.child(protection), keys.child(protection))
    }
}

/// A long key cut into its parts from the front.
struct Slices(Secret, usize);

impl Slices {
    fn take(&mut self, len: usize) -> Secret {
        let start = self.1;
        self.1 += len;
        Secret::from(&self.0.expose()[start..self.1])
    }

    fn child(&mut self, protection: Protection) -> ChildKeys {
        let key = self.take(protection.key_len());
        let auth = self.take(protection.auth_len());
        match protection {
            Protection::Esp(Cipher::AesGcm16(_)) => ChildKeys::AesGcm16 { key },
            Protection::Esp(Cipher::AesCbc(_, hash)) => ChildKeys::AesCbcHmac {
                cipher: key,
                auth,
                hash,
            },
            Protection::Ah(hash) => ChildKeys::AhHmac { auth, hash },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::crypto::cipher::KeyBits;
    use crate::ike::effects::Sha2;

    const NONCES: Nonces<'_> = Nonces {
        initiator: &[1; 32],
        responder: &[2; 32],
    };

    fn keys(prf: Sha2, cipher: Cipher) -> IkeKeys {
        let shared = Secret::new(vec![3; 32]);
        IkeKeys::first(Prf(prf), cipher, &shared, NONCES, (4, 5))
    }

    #[test]
    fn the_schedule_cuts_seven_keys_in_the_order_of_the_rfc() {
        let cipher = Cipher::AesCbc(KeyBits::K128, Sha2::Sha256);
        let keys = keys(Sha2::Sha256, cipher);
        let prf = Prf(Sha2::Sha256);
        let seed = prf.compute(&[[1; 32], [2; 32]].concat(), &[&[3; 32]]);
        let context = [
            &[1; 32][..],
            &[2; 32],
            &[0, 0, 0, 0, 0, 0, 0, 4],
            &[0, 0, 0, 0, 0, 0, 0, 5],
        ];
        let all = prf.expand(&seed, &context, 32 + 64 + 32 + 64);
        let all = all.expose();
        assert_eq!(keys.derive.expose(), &all[..32]);
        assert_eq!(keys.prove_initiator.expose(), &all[128..160]);
        assert_eq!(keys.prove_responder.expose(), &all[160..]);
    }

    #[test]
    fn a_child_takes_encryption_then_integrity_and_the_initiators_direction_first() {
        let ike = keys(Sha2::Sha512, Cipher::AesGcm16(KeyBits::K256));
        let cipher = Cipher::AesCbc(KeyBits::K256, Sha2::Sha384);
        let (first, second) = ike.child(Protection::Esp(cipher), None, NONCES);
        let all = ike.prf.expand(&ike.derive, &[&[1; 32], &[2; 32]], 160);
        for (keys, at) in [(first, 0), (second, 80)] {
            let ChildKeys::AesCbcHmac { cipher, auth, hash } = keys else {
                panic!("not CBC");
            };
            assert_eq!(cipher.expose(), &all.expose()[at..at + 32]);
            assert_eq!(auth.expose(), &all.expose()[at + 32..at + 80]);
            assert_eq!(hash, Sha2::Sha384);
        }
    }

    #[test]
    fn ah_takes_integrity_keys_alone() {
        let ike = keys(Sha2::Sha256, Cipher::AesGcm16(KeyBits::K256));
        for hash in [Sha2::Sha256, Sha2::Sha384, Sha2::Sha512] {
            let (first, second) = ike.child(Protection::Ah(hash), None, NONCES);
            let len = hash.octets();
            let all = ike.prf.expand(&ike.derive, &[&[1; 32], &[2; 32]], 2 * len);
            for (keys, at) in [(first, 0), (second, len)] {
                let ChildKeys::AhHmac { auth, hash: of } = keys else {
                    panic!("not AH");
                };
                assert_eq!(auth.expose(), &all.expose()[at..at + len]);
                assert_eq!(of, hash);
            }
        }
    }

    #[test]
    fn a_key_exchange_of_its_own_changes_a_childs_keys() {
        let ike = keys(Sha2::Sha256, Cipher::AesGcm16(KeyBits::K128));
        let protection = Protection::Esp(Cipher::AesGcm16(KeyBits::K128));
        let key = |shared: Option<&Secret>| match ike.child(protection, shared, NONCES).0 {
            ChildKeys::AesGcm16 { key } => key.expose().to_vec(),
            _ => panic!("not GCM"),
        };
        let plain = key(None);
        assert_eq!(plain.len(), 20);
        assert_ne!(plain, key(Some(&Secret::new(vec![9; 32]))));
    }
}
