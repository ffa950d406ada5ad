//! Security parameter index of ESP and AH.

use std::fmt;

/// 0 means "none yet" in the kernel's messages; 1–255 are reserved (RFC 4303 §2.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Spi(pub u32);

impl Spi {
    /// The smallest SPI that may be chosen at random.
    pub const FIRST: u32 = 256;
}

/// Names a compression where it is received, as an SPI names an SA (RFC 3173 §3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cpi(pub u16);

impl Cpi {
    pub const FIRST: Self = Self(256);
    pub const LAST: Self = Self(61439);

    /// Whether two ends may agree on it; the others are well known, reserved or of private use.
    pub fn is_negotiable(self) -> bool {
        (Self::FIRST..=Self::LAST).contains(&self)
    }
}

impl From<Cpi> for Spi {
    fn from(cpi: Cpi) -> Self {
        Self(cpi.0.into())
    }
}

impl fmt::Display for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:08x}", self.0)
    }
}

impl fmt::Debug for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spi({self})")
    }
}
