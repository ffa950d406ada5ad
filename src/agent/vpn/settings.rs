//! `[[vpn]]` and `[vpn-gateway]`, validated.

use crate::ike::settings::Gateway;
use crate::kernel::desired::LinkName;
use crate::net::{Family, Identity, IpNet};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug, Default)]
pub struct VpnSettings {
    /// Gateways of which we may be a client; names are unique.
    pub gateways: Vec<GatewaySettings>,
    /// VPNs of other software; none has the name of a gateway.
    pub others: Vec<OtherVpn>,
    /// What we are to clients of our own.
    pub serves: Option<Served>,
}

/// One `[[vpn]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewaySettings {
    pub name: String,
    pub peer: Identity,
    /// Not empty; at most one of each version of IP, in the order in which they are tried.
    pub addresses: Vec<IpAddr>,
    /// Where the tunnel begins; `None` leaves it to the route.
    pub local: Option<IpAddr>,
    /// What is reached through it: prefixes of the intranet, or everything.
    pub subnets: Vec<IpNet>,
    pub speaks_from: SpeaksFrom,
    pub start: Start,
}

/// Whose packets the tunnel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpeaksFrom {
    /// V, which the gateway gives (FIG. 9).
    Given,
    /// The address that the tunnel begins at: there is no adapter (FIG. 10).
    Own,
}

/// One `[[vpn]]` that other software makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherVpn {
    pub name: String,
    /// For the commands; we send nothing there. At most one of each version of IP, and none where other
    /// software knows them.
    pub addresses: Vec<IpAddr>,
    pub driver: Driver,
    /// How long bringing it up may take, and how long ending it.
    pub patience: Duration,
    pub shape: Shape,
}

/// How it is brought up and ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Driver {
    /// By programs, each with its arguments.
    Programs { up: Vec<String>, down: Vec<String> },
    /// By strongSwan's charon, which has this connection and child, over its VICI socket.
    Charon {
        socket: PathBuf,
        connection: String,
        child: String,
    },
}

/// How it shows itself, and so where V is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// V is the address of this interface, and what is sent from V goes into it.
    Interface(LinkName),
    /// Policies of the kernel protect what is sent from V; who brings it up says V, or that there is none.
    Said,
    /// Policies of the kernel protect what we send from our own address (FIG. 10).
    NoAddress,
}

/// Whether it is wanted from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Down,
    Up,
}

/// `[vpn-gateway]` with its `[[vpn-client]]`s.
#[derive(Clone, Debug)]
pub struct Served {
    pub gateway: Gateway,
    /// Addresses that belong to clients, whether or not one has them now.
    pub pool: Vec<IpNet>,
}

/// Where a tunnel that begins at `local` goes.
pub(super) fn reached_from(local: IpAddr, addresses: &[IpAddr]) -> Option<IpAddr> {
    let is_alike = |to: &&IpAddr| Family::of(**to) == Family::of(local);
    addresses.iter().find(is_alike).copied()
}

impl OtherVpn {
    /// Whether it may be asked for where there is no IPv4. Then S needs a V, and what charon has for T begins
    /// nowhere else.
    pub fn is_reached_over_ipv6(&self) -> bool {
        let is_reached = self.addresses.is_empty() || self.addresses.iter().any(IpAddr::is_ipv6);
        let begins_anywhere = matches!(self.driver, Driver::Programs { .. });
        is_reached && begins_anywhere && self.shape != Shape::NoAddress
    }

    pub(super) fn gateway_from(&self, local: Option<IpAddr>) -> Option<IpAddr> {
        let reached = local.and_then(|local| reached_from(local, &self.addresses));
        reached.or_else(|| self.addresses.first().copied())
    }
}

impl GatewaySettings {
    /// As for other software.
    pub fn is_reached_over_ipv6(&self) -> bool {
        self.addresses.iter().any(IpAddr::is_ipv6) && !self.keeps_own()
    }

    pub fn keeps_own(&self) -> bool {
        self.speaks_from == SpeaksFrom::Own
    }
}

impl VpnSettings {
    pub fn gateway(&self, name: &str) -> Option<&GatewaySettings> {
        self.gateways.iter().find(|g| g.name == name)
    }

    /// What is reached from our own address through each gateway that lets us keep it.
    pub(in crate::agent) fn kept_with(&self) -> BTreeMap<Identity, Vec<IpNet>> {
        let mut kept: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for gateway in self.gateways.iter().filter(|g| g.keeps_own()) {
            let reached = kept.entry(gateway.peer.clone()).or_default();
            reached.extend(&gateway.subnets);
        }
        kept
    }

    /// In the order of preference.
    pub fn names(&self) -> Vec<&str> {
        let gateways = self.gateways.iter().map(|gateway| gateway.name.as_str());
        let others = self.others.iter().map(|other| other.name.as_str());
        gateways.chain(others).collect()
    }

    pub fn other(&self, name: &str) -> Option<&OtherVpn> {
        self.others.iter().find(|other| other.name == name)
    }

    /// What may be run.
    pub fn programs(&self) -> impl Iterator<Item = &str> {
        let words = self.others.iter().flat_map(|other| match &other.driver {
            Driver::Programs { up, down } => [up.first(), down.first()],
            Driver::Charon { .. } => [None, None],
        });
        words.flatten().map(String::as_str)
    }

    /// Interfaces that carry VPNs, whatever their kind.
    pub fn interfaces(&self) -> Vec<LinkName> {
        let interface = |other: &OtherVpn| match other.shape {
            Shape::Interface(name) => Some(name),
            Shape::Said | Shape::NoAddress => None,
        };
        self.others.iter().filter_map(interface).collect()
    }

    /// Whether it matters what other policies the kernel has.
    pub fn relies_on_policies(&self) -> bool {
        let relies = |other: &OtherVpn| !matches!(other.shape, Shape::Interface(_));
        self.others.iter().any(relies)
    }

    /// Whether the identity may be a client of ours.
    pub(in crate::agent) fn has_client(&self, peer: &Identity) -> bool {
        let served = self.serves.as_ref();
        served.is_some_and(|s| s.gateway.clients.contains_key(peer))
    }
}
