//! Networks to be plugged into.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use xfrm_agent::mobile_ip::{Link, LinkId};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    Unplugged,
    /// The home network of S.
    InsideHome,
    InsideA,
    InsideB,
    OutsideX1,
    /// X2, behind a NAT.
    OutsideNat,
    /// The WLAN of FIG. 8: the home network of T of the first site.
    OuterHome,
    /// Their foreign agents must be registered through, also with an address from there.
    InsideRequired,
    OutsideRequired,
    /// They give no address: a foreign agent is the only way.
    InsideVisited,
    OutsideVisited,
    /// It has nothing but IPv6.
    OutsideIpv6,
    /// Outside, looks like [`Self::InsideA`], passes what is for the inner home agent on to it.
    FakeRelaying,
    /// Outside, looks like [`Self::InsideA`], answers in place of the inner home agent.
    FakeForging,
}

pub const ALL: [Network; 14] = [
    Network::Unplugged,
    Network::InsideHome,
    Network::InsideA,
    Network::InsideB,
    Network::OutsideX1,
    Network::OutsideNat,
    Network::OuterHome,
    Network::InsideRequired,
    Network::OutsideRequired,
    Network::InsideVisited,
    Network::OutsideVisited,
    Network::OutsideIpv6,
    Network::FakeRelaying,
    Network::FakeForging,
];

/// What the world sees of everybody behind the NAT, and behind the fake networks.
const TRANSLATED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
const FAKE_FRONT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 66);

impl Network {
    pub fn is_inside(self) -> bool {
        matches!(
            self,
            Self::InsideHome
                | Self::InsideA
                | Self::InsideB
                | Self::InsideRequired
                | Self::InsideVisited
        )
    }

    /// Its foreign agent, also the care-of address of that.
    pub fn agent(self) -> Option<Ipv4Addr> {
        match self {
            Self::InsideRequired => Some(Ipv4Addr::new(10, 10, 3, 1)),
            Self::InsideVisited => Some(Ipv4Addr::new(10, 10, 4, 1)),
            Self::OutsideRequired => Some(Ipv4Addr::new(198, 18, 1, 1)),
            Self::OutsideVisited => Some(Ipv4Addr::new(198, 18, 2, 1)),
            _ => None,
        }
    }

    /// The R flag of its foreign agent.
    pub fn is_required(self) -> bool {
        matches!(self, Self::InsideRequired | Self::OutsideRequired)
    }

    pub fn gives_addresses(self) -> bool {
        !matches!(
            self,
            Self::Unplugged | Self::InsideVisited | Self::OutsideVisited | Self::OutsideIpv6
        )
    }

    /// Where a VPN may begin without anything below.
    pub fn ipv6(self, link: LinkId) -> Option<Ipv6Addr> {
        let address = format!("2001:db8:6::{}", link.0);
        (self == Self::OutsideIpv6).then(|| address.parse().unwrap())
    }

    fn translates_to(self) -> Option<Ipv4Addr> {
        match self {
            Self::OutsideNat => Some(TRANSLATED),
            Self::FakeRelaying | Self::FakeForging => Some(FAKE_FRONT),
            _ => None,
        }
    }

    pub fn is_translating(self) -> bool {
        self.translates_to().is_some()
    }

    /// What those behind `link` see of a source on it, in a visit of this network.
    pub fn seen(self, link: LinkId, visit: u64, source: SocketAddrV4) -> SocketAddrV4 {
        match self.translates_to() {
            Some(address) => SocketAddrV4::new(address, mapped(link, visit)),
            None => source,
        }
    }

    /// Whose address is on it, if `to` leads here.
    pub fn receiver(self, link: LinkId, visit: u64, to: SocketAddrV4) -> Option<SocketAddrV4> {
        let own = self.link(link).usable_address()?;
        match self.translates_to() {
            Some(address) => (to == SocketAddrV4::new(address, mapped(link, visit)))
                .then(|| SocketAddrV4::new(own, 434)),
            None => (*to.ip() == own).then_some(to),
        }
    }

    /// What is registered from here, unless a home network is.
    pub fn care_of(self, link: LinkId) -> Option<Ipv4Addr> {
        self.agent().or_else(|| self.link(link).usable_address())
    }

    fn prefix(self) -> (&'static str, u8) {
        match self {
            Self::Unplugged | Self::OutsideIpv6 => ("0.0.0.", 0),
            Self::InsideHome => ("10.10.0.", 1),
            Self::InsideA | Self::FakeRelaying | Self::FakeForging => ("10.10.1.", 2),
            Self::InsideB => ("10.10.2.", 3),
            Self::OutsideX1 => ("203.0.113.", 4),
            Self::OutsideNat => ("192.168.1.", 5),
            Self::OuterHome => ("198.51.100.", 6),
            Self::InsideRequired => ("10.10.3.", 7),
            Self::InsideVisited => ("10.10.4.", 8),
            Self::OutsideRequired => ("198.18.1.", 9),
            Self::OutsideVisited => ("198.18.2.", 10),
        }
    }

    /// How the adapter looks that is plugged in here.
    pub fn link(self, id: LinkId) -> Link {
        let (prefix, mac) = self.prefix();
        let carrier = self != Self::Unplugged;
        let gives = self.gives_addresses();
        let address = || format!("{prefix}{}/24", 100 + id.0).parse().unwrap();
        Link {
            id,
            name: format!("eth{}", id.0),
            carrier,
            addresses: gives.then(address).into_iter().collect(),
            gateway: gives.then(|| format!("{prefix}1").parse().unwrap()),
            gateway_mac: gives.then_some([mac; 6]),
            access_point: None,
            weak: false,
            ipv6: self.ipv6(id),
            metric: id.0 * 100,
        }
    }
}

/// Another one in each visit.
fn mapped(link: LinkId, visit: u64) -> u16 {
    20_000 + (link.0 as u16) * 10_000 + (visit % 10_000) as u16
}
