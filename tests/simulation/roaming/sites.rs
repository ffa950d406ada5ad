//! The ways into the enterprise (FIG. 16): each has an outer home agent, an address T of its home network, and a VPN
//! gateway behind it.

use std::net::Ipv4Addr;

use super::home::Home;
use super::world::World;
use xfrm_agent::mobile_ip::{Arrangement, Path};

pub const MOST: usize = 3;

pub struct Way {
    pub agent: Home,
    pub gateway_is_dead: bool,
}

/// T of this site.
pub fn home(site: usize) -> Ipv4Addr {
    host(site, 5)
}

pub fn agent(site: usize) -> Ipv4Addr {
    host(site, 2)
}

pub fn network(site: usize) -> String {
    format!("{}/24", host(site, 0))
}

pub fn gateway(site: usize) -> String {
    format!("gateway-{site}")
}

pub fn of_home(address: Ipv4Addr) -> Option<usize> {
    (0..MOST).find(|site| home(*site) == address)
}

pub fn of_agent(address: Ipv4Addr) -> Option<usize> {
    (0..MOST).find(|site| agent(*site) == address)
}

pub fn number(site: usize) -> u8 {
    u8::try_from(site).expect("there are few sites")
}

fn host(site: usize, last: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100 + number(site), last)
}

impl World {
    /// Which one the client uses.
    pub(super) fn site(&self) -> Option<usize> {
        self.arrangement.as_ref().and_then(site_of)
    }

    /// What the inner system registers outside: V, or T where the VPN has no adapter.
    pub(super) fn over_the_vpn(&self) -> Ipv4Addr {
        if self.setup.has_adapter {
            self.setup.v(self.vpn_site)
        } else {
            home(self.vpn_site)
        }
    }

    /// With all that it knows of anybody. The VPN notices, or nobody does.
    pub fn gateway_dies(&mut self, site: usize) {
        self.tell(&format_args!("{} dies", gateway(site)));
        self.ways[site].gateway_is_dead = true;
        if self.vpn_site == site {
            if self.percent(50) {
                self.vpn_falls();
            } else {
                (self.vpn_is_up, self.vpn_is_left) = (false, false);
            }
        }
    }

    pub fn gateway_is_back(&mut self, site: usize) {
        self.tell(&format_args!("{} is back", gateway(site)));
        self.ways[site].gateway_is_dead = false;
    }

    /// Registered at one that answers, and nowhere else. At home nobody has to answer.
    pub(super) fn check_site(&self, arrangement: &Arrangement) {
        let used = site_of(arrangement);
        let path = arrangement.outer.as_ref().map(|outer| &outer.path);
        if let (Some(used), Some(Path::Tunnel { .. })) = (used, path) {
            assert!(self.ways[used].agent.answers(self.now), "{}", self.told());
        }
        for (site, way) in self.ways.iter().enumerate() {
            let is_bound = !way.agent.bound.is_empty();
            assert!(!is_bound || Some(site) == used, "{}", self.told());
        }
    }
}

pub fn site_of(arrangement: &Arrangement) -> Option<usize> {
    of_home(arrangement.outer.as_ref()?.home)
}
