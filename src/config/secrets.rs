//! Pre-shared keys in files of their own.
//!
//! A file holds one key in the forms that strongSwan and Libreswan know: `0x` and hexadecimal
//! digits, `0s` and base64, or the text itself. One newline at the end is not part of it.

use super::trusted::{self, Readers, Untrusted};
use crate::net::Secret;
use std::path::Path;
use zeroize::Zeroizing;

/// Shorter keys can be guessed from one recorded handshake (RFC 7296 §2.15).
pub const ADVISED_OCTETS: usize = 16;

const MAX_FILE: u64 = 4096;

/// Never holds an octet of the key.
#[derive(Debug, thiserror::Error)]
pub enum BadSecret {
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    #[error("{0} is empty: head -c 32 /dev/urandom | base64 makes a key")]
    Empty(String),
    #[error("{0} holds more than one line: it must hold the key alone")]
    Lines(String),
    #[error("{0} begins with 0x but does not go on with pairs of hexadecimal digits")]
    Hexadecimal(String),
    #[error("{0} begins with 0s but does not go on with base64")]
    Base64(String),
}

pub fn read(path: &Path) -> Result<Secret, BadSecret> {
    let bytes = trusted::read(path, Readers::OwnerOnly, MAX_FILE)?;
    decode(&bytes, &path.display().to_string())
}

fn decode(file: &[u8], name: &str) -> Result<Secret, BadSecret> {
    let line = file.strip_suffix(b"\n").unwrap_or(file);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.iter().any(|b| matches!(b, b'\n' | b'\r' | 0)) {
        return Err(BadSecret::Lines(name.to_owned()));
    }
    let key = if let Some(digits) = line.strip_prefix(b"0x") {
        hexadecimal(digits).ok_or_else(|| BadSecret::Hexadecimal(name.to_owned()))?
    } else if let Some(digits) = line.strip_prefix(b"0s") {
        base64(digits).ok_or_else(|| BadSecret::Base64(name.to_owned()))?
    } else {
        Zeroizing::new(line.to_vec())
    };
    if key.is_empty() {
        return Err(BadSecret::Empty(name.to_owned()));
    }
    Ok(Secret::from(&key[..]))
}

fn hexadecimal(digits: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let value = |digit: u8| char::from(digit).to_digit(16);
    let (pairs, rest) = digits.as_chunks::<2>();
    let mut key = Zeroizing::new(Vec::with_capacity(pairs.len()));
    for [high, low] in pairs {
        key.push((value(*high)? << 4 | value(*low)?) as u8);
    }
    rest.is_empty().then_some(key)
}

/// RFC 4648 §4, padding optional.
fn base64(digits: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let padding = digits.iter().rev().take_while(|b| **b == b'=').count();
    let digits = &digits[..digits.len() - padding];
    if padding > 2
        || (padding > 0 && !(digits.len() + padding).is_multiple_of(4))
        || digits.len() % 4 == 1
    {
        return None;
    }
    let mut key = Zeroizing::new(Vec::with_capacity(digits.len() * 3 / 4));
    for group in digits.chunks(4) {
        let mut bits = 0u32;
        for digit in group {
            bits = bits << 6 | base64_digit(*digit)?;
        }
        bits <<= 6 * (4 - group.len());
        key.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(key)
}

fn base64_digit(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(file: &[u8]) -> Vec<u8> {
        decode(file, "psk").unwrap().expose().to_vec()
    }

    fn refusal(file: &[u8]) -> String {
        decode(file, "psk").unwrap_err().to_string()
    }

    #[test]
    fn text_loses_one_newline_and_nothing_else() {
        assert_eq!(key(b" sword fish \n"), b" sword fish ");
        assert_eq!(key(b"swordfish\r\n"), b"swordfish");
        assert_eq!(key(b"swordfish"), b"swordfish");
    }

    #[test]
    fn hexadecimal_and_base64_forms_hold_octets() {
        assert_eq!(key(b"0x00fF10\n"), [0, 0xff, 0x10]);
        // The vectors of RFC 4648 §10, with and without padding.
        for (digits, octets) in [
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE", "fooba"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(key(format!("0s{digits}").as_bytes()), octets.as_bytes());
        }
    }

    #[test]
    fn keys_that_cannot_be_meant_are_refused_without_showing_them() {
        assert!(refusal(b"\n").starts_with("psk is empty: "));
        assert!(refusal(b"0x").starts_with("psk is empty: "));
        assert_eq!(
            refusal(b"sword\nfish\n"),
            "psk holds more than one line: it must hold the key alone"
        );
        for bad in ["0xabc", "0xzz", "0x+1"] {
            assert_eq!(
                refusal(bad.as_bytes()),
                "psk begins with 0x but does not go on with pairs of hexadecimal digits"
            );
        }
        for bad in ["0sA", "0s====", "0sZg=", "0sZm9v Zg=="] {
            assert_eq!(
                refusal(bad.as_bytes()),
                "psk begins with 0s but does not go on with base64"
            );
        }
    }
}
