//! The arithmetic of `IKEv2`, on aws-lc-rs: key exchange, PRF, key schedule, encrypted payload.
//! Holds keys and knows no peers; randomness comes in as octets.

pub mod authentication;
pub mod cipher;
pub mod group;
pub mod keymat;
pub mod prf;

pub use cipher::{Cipher, Direction, Protection};
pub use group::{Group, PrivateKey};
pub use keymat::IkeKeys;
pub use prf::Prf;

use super::effects::Sha2;
use super::wire::{Exchange, Header, PayloadKind, Payloads};
use crate::net::{Random, Secret};
use aws_lc_rs::digest;
use cipher::KeyBits;

/// Does once, for nothing, what each handshake does: the library prepares a good deal when it is
/// first used, some of it in each thread, and the first peer should not wait for that.
pub fn warm_up(rng: &mut dyn Random) {
    let key = PrivateKey::draw(Group::ALL[0], rng);
    let shared = key
        .agree(key.public())
        .expect("our own public value is acceptable");
    let cipher = Cipher::AesGcm16(KeyBits::K128);
    let key = Prf(Sha2::Sha256).expand(&shared, &[b"warm-up"], cipher.key_len());
    let header = Header {
        spi_i: 0,
        spi_r: 0,
        next: PayloadKind::NONE,
        exchange: Exchange::INFORMATIONAL,
        from_initiator: true,
        response: false,
        message_id: 0,
    };
    let auth = Secret::new(Vec::new());
    Direction::new(cipher, key, auth).seal(header, &Payloads(Vec::new()), rng);
}

/// Equality that takes the same time wherever the difference lies. Lengths are no secret.
pub fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a, b).is_ok()
}

/// For NAT detection only, where RFC 7296 §2.23 demands it; protects nothing.
pub fn sha1(octets: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, octets)
        .as_ref()
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::random::Seeded;

    #[test]
    fn warming_up_succeeds_whatever_is_drawn() {
        for seed in 0..16 {
            warm_up(&mut Seeded(seed));
        }
    }
}
