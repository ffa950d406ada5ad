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

use aws_lc_rs::digest;

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
