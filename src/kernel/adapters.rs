//! The adapters that lead out of this machine, for whoever chooses between them.

use super::desired::LinkName;
use super::netlink::address::{self, AddressAt, Standing};
use super::netlink::error::KernelError;
use super::netlink::link;
use super::netlink::neighbour;
use super::netlink::signal::{self, Signals};
use super::netlink::socket::Requests;
use super::observed::{LinkState, ObservedKind, ObservedLink};
use crate::net::{Family, IpNet, Ipv4Net};
use netlink_sys::protocols::NETLINK_ROUTE;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use super::netlink::neighbour::DefaultRoute;
pub use super::netlink::wireless::AccessPoints;

/// One that is no tunnel and no part of another, such as a port of a bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapter {
    pub index: u32,
    pub name: LinkName,
    /// Switched on, and somebody is at the other end.
    pub carrier: bool,
    /// With their host bits; those that hold on the link only are not among them.
    pub addresses: Vec<Ipv4Net>,
    /// Of its best default route in the main table.
    pub gateway: Option<Gateway>,
    /// Of a wireless one: whom it is associated with. What it says of itself, which proves nothing.
    pub access_point: Option<[u8; 6]>,
    /// How strong that is received, in dBm, as it was asked last; `None` where the driver does not say.
    pub signal: Option<i8>,
    /// `None` while it leads nowhere over IPv6.
    pub ipv6: Option<Ipv6>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gateway {
    pub address: Ipv4Addr,
    /// What somebody has answered to ARP: it proves nothing. `None` before.
    pub mac: Option<[u8; 6]>,
    /// Of the route; the smallest is used.
    pub metric: u32,
}

/// A way out over IPv6: an address, and a default route of the main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6 {
    /// The same as long as it lasts, whatever others come and go.
    pub address: Ipv6Addr,
    /// Of the route; the smallest is used.
    pub metric: u32,
}

/// What this machine has, as it was last looked at. Asks over a socket that stays open, since a move is an
/// occasion to look several times at once.
#[derive(Debug)]
pub struct Look {
    requests: Requests,
    links: Vec<ObservedLink>,
    addresses: Vec<AddressAt>,
    /// `None` until somebody wants to know: a machine that does not move need not list them.
    routes: Option<Vec<DefaultRoute>>,
    /// Only told: they come with events.
    access_points: AccessPoints,
    /// Of these.
    signals: Signals,
}

impl Look {
    /// Looks in the calling thread's network namespace, for the first time too.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn open() -> io::Result<Self> {
        let mut look = Self {
            requests: Requests::open_strict(NETLINK_ROUTE)?,
            links: Vec::new(),
            addresses: Vec::new(),
            routes: None,
            access_points: AccessPoints::new(),
            signals: Signals::new(),
        };
        look.around().map_err(|error| error.errno)?;
        Ok(look)
    }

    /// Looks at everything again.
    ///
    /// # Errors
    /// It stays as it was.
    pub fn around(&mut self) -> Result<(), KernelError> {
        let links = link::list(&mut self.requests)?;
        self.at_addresses()?;
        self.links = links;
        Ok(())
    }

    /// Looks at addresses again, and at what routes they leave: the links are what they were.
    ///
    /// # Errors
    /// It stays as it was.
    pub fn at_addresses(&mut self) -> Result<(), KernelError> {
        self.addresses = address::list(&mut self.requests)?;
        self.routes = None;
        Ok(())
    }

    /// Somebody else has looked at them.
    pub fn default_routes_are(&mut self, routes: Vec<DefaultRoute>) {
        self.routes = Some(routes);
    }

    /// From now on. How strong they are is not known before it is asked.
    pub fn access_points_are(&mut self, access_points: AccessPoints) {
        self.access_points = access_points;
        self.signals.clear();
    }

    /// Asks how strong the access points that are used are received, where any are.
    ///
    /// # Errors
    /// It is not known then.
    pub fn at_signals(&mut self) -> Result<(), KernelError> {
        self.signals.clear();
        self.signals = signal::all(&self.access_points)?;
        Ok(())
    }

    /// In the order of their indices.
    pub fn adapters(&mut self) -> Result<Vec<Adapter>, KernelError> {
        self.those_that(leads_out)
    }

    /// Those of these names, whatever they are; links of ours are not among them.
    pub fn named(&mut self, names: &[LinkName]) -> Result<Vec<Adapter>, KernelError> {
        self.those_that(|link| names.contains(&link.name) && !link.is_ours())
    }

    fn those_that(
        &mut self,
        are_wanted: impl Fn(&ObservedLink) -> bool,
    ) -> Result<Vec<Adapter>, KernelError> {
        let families = self.families();
        let routes = match self.routes.take() {
            Some(routes) => routes,
            None => neighbour::default_routes(&mut self.requests, families)?,
        };
        let wanted = self.links.iter().filter(|link| are_wanted(link));
        let adapters = wanted.map(|link| Adapter {
            index: link.index,
            name: link.name,
            carrier: link.state == LinkState::Carrier,
            addresses: self.addresses_on(link.index),
            gateway: gateway(link.index, &routes),
            access_point: self.access_points.get(&link.index).copied(),
            signal: self.signals.get(&link.index).copied(),
            ipv6: ipv6(link.index, &self.addresses, &routes),
        });
        let mut adapters: Vec<_> = adapters.collect();
        adapters.sort_by_key(|adapter| adapter.index);
        self.routes = Some(routes);
        Ok(adapters)
    }

    /// Without an address that reaches beyond the link, no route of IPv6 leads anywhere.
    fn families(&self) -> &'static [Family] {
        let mut global = self.addresses.iter().filter(|at| at.global);
        if global.any(|at| matches!(at.address, IpNet::V6(_))) {
            &[Family::V4, Family::V6]
        } else {
            &[Family::V4]
        }
    }

    /// Of whatever link, the loopback among them.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.addresses.iter().map(|at| at.address.addr()).collect()
    }

    /// The links that lead anywhere, and whether they are on and have a carrier; sorted.
    pub fn links(&self) -> Vec<(LinkName, bool)> {
        let lead = self.links.iter().filter(|link| !link.loopback);
        let mut links: Vec<_> = lead
            .map(|link| (link.name, link.state == LinkState::Carrier))
            .collect();
        links.sort_unstable();
        links
    }

    fn addresses_on(&self, index: u32) -> Vec<Ipv4Net> {
        let there = self.addresses.iter();
        there
            .filter(|at| at.index == index && at.global)
            .filter_map(|at| match at.address {
                IpNet::V4(net) => Some(net),
                IpNet::V6(_) => None,
            })
            .collect()
    }
}

fn gateway(index: u32, routes: &[DefaultRoute]) -> Option<Gateway> {
    let over = routes.iter().filter(|route| route.link == index);
    let v4 = over.filter_map(|route| match route.gateway {
        IpAddr::V4(address) => Some(Gateway {
            address,
            mac: route.mac,
            metric: route.metric,
        }),
        IpAddr::V6(_) => None,
    });
    v4.min_by_key(|gateway| gateway.metric)
}

fn ipv6(index: u32, addresses: &[AddressAt], routes: &[DefaultRoute]) -> Option<Ipv6> {
    let over = routes.iter().filter(|route| route.link == index);
    let metrics = over.filter(|route| route.gateway.is_ipv6());
    let metric = metrics.map(|route| route.metric).min()?;
    let there = addresses.iter().filter(|at| at.index == index && at.global);
    let usable = there.filter(|at| at.standing != Standing::Unusable);
    let v6 = usable.filter_map(|at| match at.address {
        IpNet::V6(net) => Some((at.standing, net.addr())),
        IpNet::V4(_) => None,
    });
    let (_, address) = v6.min()?;
    Some(Ipv6 { address, metric })
}

/// Kinds that stand for a cable or a radio, or carry its addresses. The rest are tunnels, or lead
/// nowhere.
const CARRIERS: [&str; 8] = [
    "bond", "bridge", "ipvlan", "macvlan", "team", "veth", "vlan", "wwan",
];

fn leads_out(link: &ObservedLink) -> bool {
    let carries = match &link.kind {
        ObservedKind::Hardware => true,
        ObservedKind::Other(kind) => CARRIERS.contains(&kind.as_str()),
        ObservedKind::Tun
        | ObservedKind::IpInIp
        | ObservedKind::IpInIpBetween { .. }
        | ObservedKind::Gre
        | ObservedKind::GreBetween { .. }
        | ObservedKind::Ipv6InIp { .. }
        | ObservedKind::Ipv6InIpBetween { .. } => false,
    };
    carries && !link.loopback && !link.enslaved && !link.is_ours()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(link: u32, gateway: &str, metric: u32) -> DefaultRoute {
        DefaultRoute {
            link,
            gateway: gateway.parse().unwrap(),
            metric,
            mac: None,
        }
    }

    fn at(index: u32, address: &str, standing: Standing) -> AddressAt {
        AddressAt {
            index,
            address: address.parse().unwrap(),
            global: !address.starts_with("fe80"),
            standing,
        }
    }

    #[test]
    fn an_address_and_a_gateway_lead_out_over_ipv6_and_the_address_stays_the_same_one() {
        let routes = [route(2, "fe80::1", 1024), route(2, "192.0.2.1", 100)];
        let mut addresses = vec![at(2, "fe80::2/64", Standing::Lasting)];
        assert_eq!(ipv6(2, &addresses, &routes), None);
        addresses.push(at(2, "2001:db8::9/64", Standing::Unusable));
        addresses.push(at(3, "2001:db8::3/64", Standing::Lasting));
        assert_eq!(ipv6(2, &addresses, &routes), None);
        addresses.push(at(2, "2001:db8::1/64", Standing::Temporary));
        addresses.push(at(2, "2001:db8::2/64", Standing::Lasting));
        let expected = Ipv6 {
            address: "2001:db8::2".parse().unwrap(),
            metric: 1024,
        };
        assert_eq!(ipv6(2, &addresses, &routes), Some(expected));
        addresses.reverse();
        assert_eq!(ipv6(2, &addresses, &routes), Some(expected));
        assert_eq!(ipv6(2, &addresses, &routes[1..]), None);
    }
}
