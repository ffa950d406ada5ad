//! Places to be plugged into.

use crate::mobile_ip::{Link, LinkId};
use std::net::{Ipv4Addr, Ipv6Addr};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    Unplugged,
    /// The home network of S.
    InsideHome,
    InsideA,
    InsideB,
    OutsideX1,
    OutsideX2,
    /// Behind a NAT.
    OutsideNat,
    /// With a foreign agent that wants to be used.
    OutsideForeignAgent,
    /// The WLAN of FIG. 8: the home network of T.
    OuterHome,
    /// Outside, with the prefix and the gateway MAC of [`Self::InsideA`].
    FakeInside,
    /// Outside, with the prefix and the gateway MAC of the home network of S.
    FakeHome,
    /// Outside, with the prefix of the home network of T, somewhere else.
    FakeOuterHome,
    /// A switch without anything behind it.
    Deaf,
    /// A phone's hotspot without IPv4.
    OnlyIpv6,
}

pub const ALL: &[Network] = &[
    Network::Unplugged,
    Network::InsideHome,
    Network::InsideA,
    Network::InsideB,
    Network::OutsideX1,
    Network::OutsideX2,
    Network::OutsideNat,
    Network::OutsideForeignAgent,
    Network::OuterHome,
    Network::FakeInside,
    Network::FakeHome,
    Network::FakeOuterHome,
    Network::Deaf,
    Network::OnlyIpv6,
];

pub const FOREIGN_AGENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 193);

impl Network {
    pub fn is_inside(self) -> bool {
        matches!(self, Self::InsideHome | Self::InsideA | Self::InsideB)
    }

    /// Whether outer home agents are reached from here.
    pub fn has_internet(self) -> bool {
        !matches!(self, Self::Unplugged | Self::Deaf | Self::OnlyIpv6)
    }

    fn has_ipv4(self) -> bool {
        !matches!(self, Self::Unplugged | Self::OnlyIpv6)
    }

    fn ipv6(self, id: LinkId) -> Option<Ipv6Addr> {
        let address = format!("2001:db8:6::{}", id.0);
        (self == Self::OnlyIpv6).then(|| address.parse().unwrap())
    }

    fn prefix(self) -> (&'static str, u8) {
        match self {
            Self::InsideHome | Self::FakeHome => ("10.10.0.", 1),
            Self::InsideA | Self::FakeInside => ("10.10.1.", 2),
            Self::InsideB => ("10.10.2.", 3),
            Self::OutsideX1 => ("203.0.113.", 4),
            Self::OutsideX2 => ("192.0.2.", 5),
            Self::OutsideNat => ("192.168.1.", 6),
            Self::OutsideForeignAgent => ("203.0.112.", 7),
            Self::OuterHome | Self::FakeOuterHome => ("198.51.100.", 8),
            Self::Deaf => ("169.254.0.", 9),
            Self::Unplugged | Self::OnlyIpv6 => ("0.0.0.", 0),
        }
    }

    /// How the adapter looks that is plugged in here.
    pub fn link(self, id: LinkId) -> Link {
        let (prefix, mac) = self.prefix();
        let carrier = self != Self::Unplugged;
        let address = format!("{prefix}{}/24", 100 + id.0);
        let gateway = format!("{prefix}1");
        Link {
            id,
            name: format!("eth{}", id.0),
            carrier,
            addresses: if self.has_ipv4() {
                vec![address.parse().unwrap()]
            } else {
                Vec::new()
            },
            gateway: self.has_ipv4().then(|| gateway.parse().unwrap()),
            gateway_mac: self.has_ipv4().then_some([mac; 6]),
            access_point: None,
            weak: false,
            ipv6: self.ipv6(id),
            metric: id.0 * 100,
        }
    }
}
