//! One side's port in a proxy or selector.

use std::fmt;

/// `Any` matches every port, and packets that have none; `Is` matches one.
///
/// For ICMP and `ICMPv6` the kernel's selectors carry the type where the source port would be and
/// the code where the destination port would be; the same holds here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Port {
    #[default]
    Any,
    Is(u16),
}

impl Port {
    /// The ports in both, or `None` where the two cannot be reconciled (FIG. 3C, blocks 330–338).
    pub fn intersect(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Any, p) | (p, Self::Any) => Some(p),
            (Self::Is(a), Self::Is(b)) if a == b => Some(self),
            _ => None,
        }
    }

    /// Whether a packet's port lies in it; `None` is a packet without ports.
    pub fn matches(self, port: Option<u16>) -> bool {
        match self {
            Self::Any => true,
            Self::Is(p) => port == Some(p),
        }
    }

    pub fn contains(self, other: Self) -> bool {
        self == Self::Any || self == other
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Is(p) => p.fmt(f),
        }
    }
}
