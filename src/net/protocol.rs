//! Transport protocol of a proxy or selector.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// `Any` is "IP" in the discovery document: every transport protocol. Zero (`HOPOPT`) therefore
/// cannot be selected on its own; the kernel and IKE use zero for "any" as well.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub enum Protocol {
    #[default]
    Any,
    Is(u8),
}

impl Protocol {
    pub const ICMP: Self = Self::Is(1);
    pub const TCP: Self = Self::Is(6);
    pub const UDP: Self = Self::Is(17);
    pub const ICMPV6: Self = Self::Is(58);

    /// From the octet of a selector, where zero stands for any.
    pub fn from_number(n: u8) -> Self {
        if n == 0 { Self::Any } else { Self::Is(n) }
    }

    /// To the octet of a selector, where zero stands for any.
    pub fn number(self) -> u8 {
        match self {
            Self::Any => 0,
            Self::Is(n) => n,
        }
    }

    /// The protocol of both, or `None` where the two cannot be reconciled (FIG. 3A, blocks
    /// 302–314).
    pub fn intersect(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Any, p) | (p, Self::Any) => Some(p),
            (Self::Is(a), Self::Is(b)) if a == b => Some(self),
            _ => None,
        }
    }

    pub fn contains(self, other: Self) -> bool {
        self == Self::Any || self == other
    }

    pub fn matches(self, number: u8) -> bool {
        self == Self::Any || self == Self::Is(number)
    }

    /// Whether packets of it carry ports: TCP, UDP, DCCP, SCTP and UDP-Lite.
    pub fn has_ports(self) -> bool {
        matches!(self, Self::Is(6 | 17 | 33 | 132 | 136))
    }
}

const NAMES: &[(&str, u8)] = &[
    ("icmp", 1),
    ("igmp", 2),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", 58),
    ("ospf", 89),
    ("sctp", 132),
    ("udplite", 136),
];

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Is(n) => match NAMES.iter().find(|(_, number)| number == n) {
                Some((name, _)) => f.write_str(name),
                None => n.fmt(f),
            },
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a protocol: use `any`, icmp, tcp, udp, another well-known name, or 1–255")]
pub struct UnknownProtocol(pub String);

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(s: &str) -> Result<Self, UnknownProtocol> {
        if s == "any" {
            return Ok(Self::Any);
        }
        if let Some((_, n)) = NAMES.iter().find(|(name, _)| *name == s) {
            return Ok(Self::Is(*n));
        }
        match s.parse::<u8>() {
            Ok(n) if n != 0 => Ok(Self::Is(n)),
            _ => Err(UnknownProtocol(s.to_owned())),
        }
    }
}

impl TryFrom<String> for Protocol {
    type Error = UnknownProtocol;

    fn try_from(text: String) -> Result<Self, UnknownProtocol> {
        text.parse()
    }
}

impl From<Protocol> for String {
    fn from(protocol: Protocol) -> Self {
        protocol.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_any_parse_and_print_back() {
        for text in ["any", "icmp", "tcp", "udp", "sctp", "200"] {
            assert_eq!(text.parse::<Protocol>().unwrap().to_string(), text);
        }
        assert_eq!("6".parse::<Protocol>().unwrap(), Protocol::TCP);
        assert!("0".parse::<Protocol>().is_err());
        assert!("256".parse::<Protocol>().is_err());
        assert!("tpc".parse::<Protocol>().is_err());
    }

    #[test]
    fn specific_protocol_wins_over_any_and_two_different_ones_cannot_be_reconciled() {
        assert_eq!(Protocol::Any.intersect(Protocol::Any), Some(Protocol::Any));
        assert_eq!(Protocol::Any.intersect(Protocol::TCP), Some(Protocol::TCP));
        assert_eq!(Protocol::TCP.intersect(Protocol::TCP), Some(Protocol::TCP));
        assert_eq!(Protocol::TCP.intersect(Protocol::UDP), None);
    }
}
