//! Bytes that must not be seen.

use std::fmt;
use zeroize::Zeroizing;

/// Key material or a pre-shared key: wiped when dropped, never printed, compared in constant time
/// only by the crypto library (it has no `PartialEq` of its own outside tests).
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves. Name the reason wherever this is called.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&[u8]> for Secret {
    fn from(bytes: &[u8]) -> Self {
        Self::new(bytes.to_vec())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} octets)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_holds_no_key_octet() {
        let secret = Secret::from(&b"swordfish"[..]);
        assert_eq!(format!("{secret:?}"), "Secret(9 octets)");
    }
}
