//! What the tests of the room share, and the conversations between whole endpoints.

/// Octets from hexadecimal text; blanks are ignored.
pub(in crate::ike) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

mod asking;
mod authenticating;
mod compressing;
mod contacts;
mod ending;
mod establishing;
mod hostile;
mod keeping;
mod network;
mod openings;
mod remote_access;
mod replacing;
mod simultaneous;

#[test]
fn the_vendor_id_is_the_digest_of_its_text() {
    use md5::{Digest, Md5};
    let digest = Md5::digest(b"xfrm-agent IKEv2, children confirmed, 1");
    assert_eq!(digest[..], super::VENDOR_ID);
}
