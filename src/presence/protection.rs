//! How strictly packets are treated, as a lattice: of two demands the join satisfies both.

use crate::net::{Port, Protocol, Selector};
use serde::{Deserialize, Serialize};
use std::fmt;

/// In the order of strictness.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Demand {
    /// In the clear.
    #[default]
    None,
    /// Protected where an SA exists, otherwise in the clear.
    Use,
    /// Protected, or held until it can be.
    Require,
    Discard,
}

/// Which IPsec protocols (FIG. 8, 823–825). Applied to a packet in the order compression, ESP, AH,
/// so that AH stands outside.
///
/// `ipcomp` makes packets shorter and protects nothing (RFC 3173 §5): it never stands alone, and no
/// packet is treated more or less strictly for it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Protocols {
    #[serde(default)]
    pub ah: bool,
    #[serde(default)]
    pub esp: bool,
    #[serde(default)]
    pub ipcomp: bool,
}

impl Protocols {
    pub const NONE: Self = Self {
        ah: false,
        esp: false,
        ipcomp: false,
    };
    pub const AH_ESP: Self = Self {
        ah: true,
        esp: true,
        ipcomp: false,
    };
    pub const ESP: Self = Self {
        ah: false,
        esp: true,
        ipcomp: false,
    };

    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self {
            ah: self.ah | other.ah,
            esp: self.esp | other.esp,
            ipcomp: self.ipcomp | other.ipcomp,
        }
    }

    /// Those that protect: without compression.
    #[must_use]
    pub fn protecting(self) -> Self {
        Self {
            ipcomp: false,
            ..self
        }
    }

    /// Whether packets get anything more than compression by it.
    pub fn protects(self) -> bool {
        self.ah || self.esp
    }

    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }
}

/// What packets need. `protocols` is empty where `demand` is `None` or `Discard`; otherwise one of
/// them protects.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct Protection {
    pub demand: Demand,
    pub protocols: Protocols,
}

impl Protection {
    pub const CLEAR: Self = Self {
        demand: Demand::None,
        protocols: Protocols::NONE,
    };
    pub const DISCARD: Self = Self {
        demand: Demand::Discard,
        protocols: Protocols::NONE,
    };

    pub const fn require(protocols: Protocols) -> Self {
        Self {
            demand: Demand::Require,
            protocols,
        }
    }

    /// The least that satisfies both, compressed if either is.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        let demand = self.demand.max(other.demand);
        if demand == Demand::Discard {
            return Self::DISCARD;
        }
        Self {
            demand,
            protocols: self.protocols.union(other.protocols),
        }
    }

    /// Whether whoever asked for `other` is protected by this no less. Compression does not count.
    pub fn satisfies(self, other: Self) -> bool {
        self.join(other).strength() == self.strength()
    }

    fn strength(self) -> (Demand, Protocols) {
        (self.demand, self.protocols.protecting())
    }
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Use => "use",
            Self::Require => "require",
            Self::Discard => "discard",
        })
    }
}

/// `ah+esp`; nothing where there is none.
impl fmt::Display for Protocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [(self.ah, "ah"), (self.esp, "esp"), (self.ipcomp, "ipcomp")];
        let ticked: Vec<&str> = names
            .iter()
            .filter(|(on, _)| *on)
            .map(|(_, n)| *n)
            .collect();
        f.pad(&ticked.join("+"))
    }
}

/// `require ah+esp`, `none`, `discard`.
impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.protocols.is_empty() {
            self.demand.fmt(f)
        } else {
            write!(f, "{} {}", self.demand, self.protocols)
        }
    }
}

/// Which of the packets between two hosts, seen from ours.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct Class {
    pub protocol: Protocol,
    pub own_port: Port,
    pub peer_port: Port,
}

impl Class {
    /// All of them.
    pub const ANY: Self = Self {
        protocol: Protocol::Any,
        own_port: Port::Any,
        peer_port: Port::Any,
    };

    pub fn contains(self, other: Self) -> bool {
        self.protocol.contains(other.protocol)
            && self.own_port.contains(other.own_port)
            && self.peer_port.contains(other.peer_port)
    }

    pub fn intersect(self, other: Self) -> Option<Self> {
        Some(Self {
            protocol: self.protocol.intersect(other.protocol)?,
            own_port: self.own_port.intersect(other.own_port)?,
            peer_port: self.peer_port.intersect(other.peer_port)?,
        })
    }

    /// `between` with this class's protocol and ports.
    pub fn of(self, outbound: Selector) -> Selector {
        outbound
            .protocol(self.protocol)
            .ports(self.own_port, self.peer_port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_protection() -> impl Strategy<Value = Protection> {
        let protocols = (any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(ah, esp, ipcomp)| Protocols { ah, esp, ipcomp });
        (0..4, protocols).prop_map(|(demand, protocols)| match demand {
            0 => Protection::CLEAR,
            1 | 2 if protocols.protects() => Protection {
                demand: if demand == 1 {
                    Demand::Use
                } else {
                    Demand::Require
                },
                protocols,
            },
            _ => Protection::DISCARD,
        })
    }

    proptest! {
        #[test]
        fn join_is_the_least_that_satisfies_both(
            a in any_protection(), b in any_protection(), c in any_protection(),
        ) {
            prop_assert_eq!(a.join(a), a);
            prop_assert_eq!(a.join(b), b.join(a));
            prop_assert_eq!(a.join(b).join(c), a.join(b.join(c)));
            prop_assert!(a.join(b).satisfies(a) && a.join(b).satisfies(b));
            prop_assert!(a.join(b).demand >= a.demand.max(b.demand));
            if c.satisfies(a) && c.satisfies(b) {
                prop_assert!(c.satisfies(a.join(b)));
            }
        }

        #[test]
        fn compression_makes_nothing_stricter_nor_weaker(a in any_protection(), b in any_protection()) {
            let plain = |p: Protection| Protection { protocols: p.protocols.protecting(), ..p };
            prop_assert_eq!(a.satisfies(b), plain(a).satisfies(plain(b)));
            prop_assert_eq!(plain(a.join(b)), plain(a).join(plain(b)));
            let demanded = a.protocols.ipcomp || b.protocols.ipcomp;
            let joined = a.join(b);
            prop_assert_eq!(joined.protocols.ipcomp, demanded && joined.demand != Demand::Discard);
        }
    }
}
