//! Authentication extensions 32, 33 and 34 (RFC 5944 §3.5).
//!
//! ```text
//! ├───────────────┬───────────────┬───────────────────────────────┤
//! │ type 32–34    │ length        │ SPI ...                       │
//! ├───────────────┴───────────────┼───────────────────────────────┤
//! │ ... SPI                       │ authenticator ...             │
//! ├───────────────────────────────┴───────────────────────────────┤
//! ```
//! The authenticator covers everything before it: the fixed part, all earlier extensions, and type,
//! length and SPI of its own.

use super::WireError;
use super::reader::Reader;

/// Between whom the key is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthenticationKind {
    MobileHome,
    MobileForeign,
    ForeignHome,
}

impl AuthenticationKind {
    pub fn extension_type(self) -> u8 {
        match self {
            Self::MobileHome => 32,
            Self::MobileForeign => 33,
            Self::ForeignHome => 34,
        }
    }

    pub(super) fn of_type(kind: u8) -> Option<Self> {
        match kind {
            32 => Some(Self::MobileHome),
            33 => Some(Self::MobileForeign),
            34 => Some(Self::ForeignHome),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticator {
    pub kind: AuthenticationKind,
    /// Names a security association; 0–255 are reserved (RFC 5944 §1.6).
    pub spi: u32,
    /// At most 251 octets.
    pub value: Vec<u8>,
}

impl Authenticator {
    pub(super) fn decode(kind: AuthenticationKind, data: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(data, "authentication extension");
        Ok(Self {
            kind,
            spi: r.u32()?,
            value: r.rest().to_vec(),
        })
    }
}

/// An authenticator where it stands in a decoded message.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'a> {
    pub authenticator: &'a Authenticator,
    /// Which of the message's extensions it is.
    pub index: usize,
    /// What it covers, up to and including its SPI (RFC 5944 §3.5.1).
    pub signed: &'a [u8],
}
