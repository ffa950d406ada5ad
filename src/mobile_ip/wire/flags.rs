//! The flags of a registration request.

use super::TunnelKind;
use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// `S B D M G r T x` of RFC 5944 §3.3, the first one in the highest bit. Reserved bits are kept as
/// they came.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u8);

impl Flags {
    pub const NONE: Self = Self(0);
    /// S: earlier bindings stay beside the new one.
    pub const SIMULTANEOUS: Self = Self(0x80);
    /// B: broadcasts of the home network are wanted.
    pub const BROADCAST: Self = Self(0x40);
    /// D: the mobile node decapsulates itself, its care-of address is co-located.
    pub const DECAPSULATION: Self = Self(0x20);
    /// M: minimal encapsulation is wanted.
    pub const MINIMAL: Self = Self(0x10);
    /// G: GRE is wanted.
    pub const GRE: Self = Self(0x08);
    /// T: a reverse tunnel is wanted (RFC 3024 §3.2).
    pub const REVERSE_TUNNEL: Self = Self(0x02);
    /// r and x: sent as zero.
    pub const RESERVED: Self = Self(0x05);

    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is set.
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// How the tunnel is to be, outside of UDP.
    pub fn encapsulation(self) -> TunnelKind {
        if self.contains(Self::GRE) {
            TunnelKind::Gre
        } else if self.contains(Self::MINIMAL) {
            TunnelKind::Minimal
        } else {
            TunnelKind::IpIp
        }
    }

    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Display for Flags {
    /// The letters of the standard, a dash where one is not set: `S-D---T-`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, letter) in "SBDMGrTx".chars().enumerate() {
            let set = self.0 & (0x80 >> at) != 0;
            write!(f, "{}", if set { letter } else { '-' })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flags({self})")
    }
}
