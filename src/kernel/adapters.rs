//! The adapters that lead out of this machine, for whoever chooses between them.

use super::desired::LinkName;
use super::netlink::error::KernelError;
use super::netlink::neighbour::{self, DefaultRoute};
use super::netlink::socket::Requests;
use super::netlink::{address, link};
use super::observed::{LinkState, ObservedKind, ObservedLink};
use crate::net::{IpNet, Ipv4Net};
use netlink_sys::protocols::NETLINK_ROUTE;
use std::net::{IpAddr, Ipv4Addr};

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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gateway {
    pub address: Ipv4Addr,
    /// What somebody has answered to ARP: it proves nothing. `None` before.
    pub mac: Option<[u8; 6]>,
    /// Of the route; the smallest is used.
    pub metric: u32,
}

/// In the order of their indices, in the calling thread's network namespace.
pub fn adapters() -> Result<Vec<Adapter>, KernelError> {
    those_that(leads_out)
}

/// Those of these names, whatever they are; links of ours are not among them.
pub fn named(names: &[LinkName]) -> Result<Vec<Adapter>, KernelError> {
    those_that(|link| names.contains(&link.name) && !link.is_ours())
}

fn those_that(are_wanted: impl Fn(&ObservedLink) -> bool) -> Result<Vec<Adapter>, KernelError> {
    let requests = &mut Requests::open_strict(NETLINK_ROUTE)?;
    let links = link::list(requests)?;
    let addresses = address::list(requests)?;
    let routes = neighbour::default_routes(requests)?;
    let mut adapters: Vec<_> = links
        .iter()
        .filter(|link| are_wanted(link))
        .map(|link| Adapter {
            index: link.index,
            name: link.name,
            carrier: link.state == LinkState::Carrier,
            addresses: addresses
                .iter()
                .filter(|at| at.index == link.index && at.global)
                .filter_map(|at| match at.address {
                    IpNet::V4(net) => Some(net),
                    IpNet::V6(_) => None,
                })
                .collect(),
            gateway: gateway(link.index, &routes),
        })
        .collect();
    adapters.sort_by_key(|adapter| adapter.index);
    Ok(adapters)
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

/// Kinds that stand for a cable or a radio, or carry its addresses. The rest are tunnels, or lead
/// nowhere.
const CARRIERS: [&str; 8] = [
    "bond", "bridge", "ipvlan", "macvlan", "team", "veth", "vlan", "wwan",
];

fn leads_out(link: &ObservedLink) -> bool {
    let carries = match &link.kind {
        ObservedKind::Hardware => true,
        ObservedKind::Other(kind) => CARRIERS.contains(&kind.as_str()),
        ObservedKind::Tun | ObservedKind::IpInIp | ObservedKind::IpInIpBetween { .. } => false,
    };
    carries && !link.loopback && !link.enslaved && !link.is_ours()
}
