//! `[[vpn]]` and `[vpn-gateway]`, validated.

use crate::ike::settings::Gateway;
use crate::net::{Identity, IpNet};
use std::net::IpAddr;

#[derive(Clone, Debug, Default)]
pub struct VpnSettings {
    /// Gateways of which we may be a client; names are unique.
    pub gateways: Vec<GatewaySettings>,
    /// What we are to clients of our own.
    pub serves: Option<Served>,
}

/// One `[[vpn]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewaySettings {
    pub name: String,
    pub peer: Identity,
    pub address: IpAddr,
    /// Where the tunnel begins; `None` leaves it to the route.
    pub local: Option<IpAddr>,
    /// What is reached through it: prefixes of the intranet, or everything.
    pub subnets: Vec<IpNet>,
    pub start: Start,
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

impl VpnSettings {
    pub fn gateway(&self, name: &str) -> Option<&GatewaySettings> {
        self.gateways.iter().find(|g| g.name == name)
    }

    /// Whether the identity may be a client of ours.
    pub(in crate::agent) fn has_client(&self, peer: &Identity) -> bool {
        let served = self.serves.as_ref();
        served.is_some_and(|s| s.gateway.clients.contains_key(peer))
    }
}
