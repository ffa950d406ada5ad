//! Adapters and datagrams, as every role of Mobile IP sees them.

use crate::net::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

/// A physical adapter, by interface index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LinkId(pub u32);

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link {}", self.0)
    }
}

/// Which way a datagram leaves or came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Via {
    /// Bound to this adapter and in the clear: a proof of the domain needs that.
    Link(LinkId),
    /// As the routing table has it for the local address: through the VPN for V, through the outer
    /// tunnel for T.
    Routed,
}

/// One UDP datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    pub via: Via,
    pub local: SocketAddrV4,
    pub remote: SocketAddrV4,
    pub payload: Vec<u8>,
}

/// A physical adapter and what is around it. Told whole whenever any of it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub id: LinkId,
    pub name: String,
    pub carrier: bool,
    /// Addresses of this machine on it, with the length of their prefix. The first one is used.
    pub addresses: Vec<Ipv4Net>,
    /// From where it leads anywhere over IPv6: what a VPN can begin at where there is nothing else.
    pub ipv6: Option<Ipv6Addr>,
    pub gateway: Option<Ipv4Addr>,
    pub gateway_mac: Option<[u8; 6]>,
    /// The access point of a wireless link.
    pub access_point: Option<[u8; 6]>,
    /// That is received so weakly that it may soon not be at all.
    pub weak: bool,
    /// The smaller, the better.
    pub metric: u32,
}

impl Link {
    /// The address to use on it; `None` while it can carry nothing.
    pub fn usable_address(&self) -> Option<Ipv4Addr> {
        let usable = |net: &&Ipv4Net| !net.addr().is_unspecified() && !net.addr().is_loopback();
        let first = self.addresses.iter().find(usable)?;
        self.carrier.then(|| first.addr())
    }

    /// The network of the address to use on it.
    pub fn prefix(&self) -> Option<Ipv4Net> {
        let own = self.usable_address()?;
        let first = self.addresses.iter().find(|net| net.addr() == own)?;
        Some(first.trunc())
    }

    /// Whether it is attached to `net`, by its own addresses.
    pub fn lies_in(&self, net: Ipv4Net) -> bool {
        self.addresses.iter().any(|own| net.contains(&own.addr()))
    }

    /// Whether packets go elsewhere now than in `before`. A metric changes nothing of that, nor does a weak signal.
    pub fn is_elsewhere_than(&self, before: &Self) -> bool {
        self.carrier != before.carrier
            || self.usable_address() != before.usable_address()
            || self.gateway != before.gateway
            || is_other(self.gateway_mac, before.gateway_mac)
            || self.access_point != before.access_point
            || self.lone_ipv6() != before.lone_ipv6()
    }

    /// That of a network that has given no address of IPv4: beside one, nothing depends on it.
    fn lone_ipv6(&self) -> Option<Ipv6Addr> {
        self.ipv6.filter(|_| self.usable_address().is_none())
    }

    /// Whether that is because of the access point only: another one of what says that it is the same network.
    pub fn has_roamed_since(&self, before: &Self) -> bool {
        let as_before = Self {
            access_point: before.access_point,
            ..self.clone()
        };
        self.carrier
            && is_other(self.access_point, before.access_point)
            && !as_before.is_elsewhere_than(before)
    }
}

/// A MAC that becomes known, or is forgotten (as of a neighbour that is silent for long), is not another one.
fn is_other(now: Option<[u8; 6]>, before: Option<[u8; 6]>) -> bool {
    matches!((now, before), (Some(now), Some(before)) if now != before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn office() -> Link {
        Link {
            id: LinkId(2),
            name: "eth0".into(),
            carrier: true,
            addresses: vec!["10.10.0.7/24".parse().unwrap()],
            ipv6: None,
            gateway: Some(Ipv4Addr::new(10, 10, 0, 1)),
            gateway_mac: None,
            access_point: None,
            weak: false,
            metric: 100,
        }
    }

    #[test]
    fn a_gateway_that_is_resolved_is_the_same_place_and_another_mac_is_not() {
        let before = office();
        let resolved = Link {
            gateway_mac: Some([2; 6]),
            ..office()
        };
        assert!(!resolved.is_elsewhere_than(&before));
        assert!(!before.is_elsewhere_than(&resolved));
        let other = Link {
            gateway_mac: Some([3; 6]),
            ..office()
        };
        assert!(other.is_elsewhere_than(&resolved));
    }

    #[test]
    fn another_access_point_is_elsewhere_and_no_more_than_a_roam_while_the_rest_is_the_same() {
        let at = |access_point: Option<u8>| Link {
            access_point: access_point.map(|octet| [octet; 6]),
            ..office()
        };
        assert!(!at(Some(1)).is_elsewhere_than(&at(Some(1))));
        for (now, before, is_roam) in [
            (Some(2), Some(1), true),
            (Some(1), None, false),
            (None, Some(1), false),
        ] {
            assert!(at(now).is_elsewhere_than(&at(before)));
            assert_eq!(at(now).has_roamed_since(&at(before)), is_roam);
        }
        let renumbered = Link {
            addresses: vec!["10.10.9.7/24".parse().unwrap()],
            ..at(Some(2))
        };
        assert!(!renumbered.has_roamed_since(&at(Some(1))));
    }

    #[test]
    fn another_address_of_ipv6_is_another_place_only_where_there_is_no_other() {
        let with = |text: &str, link: Link| Link {
            ipv6: Some(text.parse().unwrap()),
            ..link
        };
        let (one, other) = ("2001:db8:1::7", "2001:db8:1::8");
        assert!(!with(other, office()).is_elsewhere_than(&with(one, office())));
        let without = || Link {
            addresses: Vec::new(),
            gateway: None,
            ..office()
        };
        assert!(with(other, without()).is_elsewhere_than(&with(one, without())));
        assert!(with(one, without()).is_elsewhere_than(&without()));
    }

    #[test]
    fn without_carrier_no_address_is_usable() {
        let down = Link {
            carrier: false,
            ..office()
        };
        assert_eq!(down.usable_address(), None);
        assert!(down.is_elsewhere_than(&office()));
        assert_eq!(office().usable_address(), Some(Ipv4Addr::new(10, 10, 0, 7)));
    }
}
