//! One side's port in a proxy or selector.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// `Any` matches every port, and packets that have none; `Is` matches one.
///
/// For ICMP and `ICMPv6` the kernel's selectors carry the type where the source port would be and
/// the code where the destination port would be; the same holds here.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
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

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a port is a number from 1 to 65535, or `any`")]
pub struct InvalidPort;

impl FromStr for Port {
    type Err = InvalidPort;

    fn from_str(text: &str) -> Result<Self, InvalidPort> {
        match text {
            "any" => Ok(Self::Any),
            _ => text
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .map(Self::Is)
                .ok_or(InvalidPort),
        }
    }
}

impl TryFrom<String> for Port {
    type Error = InvalidPort;

    fn try_from(text: String) -> Result<Self, InvalidPort> {
        text.parse()
    }
}

impl From<Port> for String {
    fn from(port: Port) -> Self {
        port.to_string()
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
