//! Addresses, keys and settings of both ends.

use super::places::{ALL, Network};
use super::sites;
use super::visited;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use xfrm_agent::mobile_ip::client::Delivery;
use xfrm_agent::mobile_ip::domain::Ranges;
use xfrm_agent::mobile_ip::dual_client::station::{Agreement, Station};
use xfrm_agent::mobile_ip::dual_client::{
    ClearProbes, ForeignAgents, InsideProtection, Reach, Reverse, Settings, Site, System,
    T_MONITOR, Tunnelling, Vpn,
};
use xfrm_agent::mobile_ip::foreign_agent;
use xfrm_agent::mobile_ip::home_agent::settings as home_agent;
use xfrm_agent::mobile_ip::replay::Clock;
use xfrm_agent::mobile_ip::security::{Algorithm, ReplayProtection, SecurityAssociation};
use xfrm_agent::mobile_ip::wire::TunnelKind;
use xfrm_agent::net::Secret;
use xfrm_agent::net::random::Seeded;

pub const S: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 5);
pub const S_AGENT: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 2);
pub const UNIX: Duration = Duration::from_secs(1_700_000_000);
/// What is asked for of both home agents.
pub const LIFETIME: Duration = Duration::from_secs(60);

/// How the client and its VPN are set up.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one choice, independent of the others"
)]
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub seed: u64,
    pub warm: bool,
    /// The VPN shows itself as an adapter, FIG. 9 rather than FIG. 10.
    pub has_adapter: bool,
    pub algorithm: Algorithm,
    pub replay: ReplayProtection,
    pub sites: usize,
    /// Foreign agents want their challenges answered (RFC 4721).
    pub challenges: bool,
    /// The second and third site are near to networks outside.
    pub are_near: bool,
    /// Each gateway gives another V.
    pub has_v_each: bool,
}

impl Setup {
    pub fn of(seed: u64) -> Self {
        Self {
            seed,
            warm: seed.is_multiple_of(2),
            has_adapter: !seed.is_multiple_of(3),
            algorithm: if seed.is_multiple_of(5) {
                Algorithm::HmacSha256
            } else {
                Algorithm::HmacMd5
            },
            replay: if seed.is_multiple_of(7) {
                ReplayProtection::Nonces
            } else {
                ReplayProtection::default()
            },
            challenges: (seed / 2).is_multiple_of(2),
            sites: 1 + (seed as usize / 12) % sites::MOST,
            are_near: (seed / 36).is_multiple_of(2),
            has_v_each: (seed / 3).is_multiple_of(2),
        }
    }

    /// Of the VPN's adapter, as the gateway of this site gives it.
    pub fn v(self, site: usize) -> Ipv4Addr {
        let site = if self.has_v_each { site } else { 0 };
        Ipv4Addr::new(10, 30, sites::number(site), 5)
    }

    pub fn association(self, key: &[u8]) -> SecurityAssociation {
        SecurityAssociation {
            spi: 256,
            algorithm: self.algorithm,
            key: Secret::from(key),
            replay: self.replay,
        }
    }

    fn agreement(self, key: &[u8]) -> Agreement {
        Agreement {
            association: self.association(key),
            nai: None,
            foreign_agents: self.foreign_agents().collect(),
            port: 434,
            encapsulation: TunnelKind::IpIp,
            delivery: Delivery::Direct,
            revocation: true,
        }
    }

    /// The client, `passed` after the world began.
    pub fn station(self, now: Instant, passed: Duration, seed: u64) -> Station {
        let station = Station::new(
            now,
            self.client(),
            self.agreement(b"of the inner system"),
            (0..self.sites)
                .map(|site| (site, self.agreement(&outer_key(site))))
                .collect(),
            Clock::new(now, unix(passed)),
            Box::new(Seeded(seed)),
        );
        station.expect("settings are right")
    }

    /// Everybody shares a key with each of them.
    fn foreign_agents(self) -> impl Iterator<Item = (Ipv4Addr, SecurityAssociation)> {
        let all = ALL.into_iter().filter_map(Network::agent);
        all.map(move |address| (address, self.association(b"of foreign agents")))
    }

    pub fn foreign_agent(self, place: Network) -> foreign_agent::Settings {
        let key = || self.association(b"of foreign agents");
        let homes = (0..self.sites).map(sites::home).chain([S]);
        let home_agents = (0..self.sites).map(sites::agent).chain([S_AGENT]);
        foreign_agent::Settings {
            mobile_nodes: homes.map(|home| (home, key())).collect(),
            home_agents: home_agents.map(|agent| (agent, key())).collect(),
            ..visited::settings(place, self.challenges)
        }
    }

    fn client(self) -> Settings {
        Settings {
            inner: system(S, S_AGENT, "10.10.0.0/24", Reverse::Never),
            sites: (0..self.sites).map(|site| self.site(site)).collect(),
            vpn: Vpn::Present {
                warm: self.warm,
                patience: Duration::from_secs(10),
            },
            inside_protection: InsideProtection::Clear,
            tunnelling: Tunnelling::Full,
            ranges: Ranges {
                inside: vec!["10.10.0.0/16".parse().unwrap()],
                ..Ranges::default()
            },
            clear_probes: ClearProbes::Everywhere,
            t_monitor: T_MONITOR,
            mobile_networks: Vec::new(),
            mobile_networks6: Vec::new(),
            destinations6: Vec::new(),
            foreign_agents: ForeignAgents::Known,
        }
    }

    fn site(self, site: usize) -> Site {
        let near = match (self.are_near, site) {
            (true, 1) => vec!["203.0.113.0/24".parse().unwrap()],
            (true, 2) => vec!["192.168.1.0/24".parse().unwrap()],
            _ => Vec::new(),
        };
        let (home, agent) = (sites::home(site), sites::agent(site));
        Site {
            name: format!("site {site}"),
            outer: Some(system(home, agent, &sites::network(site), Reverse::Always)),
            gateway: Some(sites::gateway(site)),
            near,
            reach: if self.has_adapter {
                Reach::Either
            } else {
                Reach::Ipv4
            },
        }
    }

    pub fn inner_agent(self) -> home_agent::Settings {
        // What comes out of the VPN is let in too; the client takes no proof from it.
        let over_vpn = (0..self.sites).map(|site| {
            if self.has_adapter {
                self.v(site)
            } else {
                sites::home(site)
            }
        });
        let over_vpn = over_vpn.map(|own| format!("{own}/32"));
        let trusted = over_vpn.chain(["10.10.0.0/16".into()]);
        let trusted = trusted.map(|net| net.parse().unwrap()).collect();
        home_agent::Settings {
            trusted,
            ..self.agent(S_AGENT, S, "10.10.0.0/24", b"of the inner system")
        }
    }

    pub fn outer_agent(self, site: usize) -> home_agent::Settings {
        let (home, agent) = (sites::home(site), sites::agent(site));
        self.agent(agent, home, &sites::network(site), &outer_key(site))
    }

    fn agent(
        self,
        address: Ipv4Addr,
        home: Ipv4Addr,
        network: &str,
        key: &[u8],
    ) -> home_agent::Settings {
        home_agent::Settings {
            address,
            home_network: network.parse().unwrap(),
            home_link: home_agent::HomeLink::Physical,
            mobile_nodes: vec![Arc::new(home_agent::MobileNode {
                home: Some(home),
                nai: None,
                security: vec![self.association(key)],
                networks: Vec::new(),
                networks6: Vec::new(),
            })],
            foreign_agents: self
                .foreign_agents()
                .map(|(address, security)| home_agent::ForeignAgent { address, security })
                .collect(),
            pool: None,
            trusted: Vec::new(),
            encapsulations: Vec::new(),
            reverse_tunnel: home_agent::ReverseTunnel::Allowed,
            nat: home_agent::NatTraversal::default(),
            limits: home_agent::Limits::default(),
        }
    }
}

/// The client's time of day, and that of foreign agents, `passed` after the world began.
pub fn unix(passed: Duration) -> Duration {
    UNIX + Duration::from_secs(10) + passed
}

fn outer_key(site: usize) -> Vec<u8> {
    format!("of outer system {site}").into_bytes()
}

fn system(home: Ipv4Addr, home_agent: Ipv4Addr, network: &str, reverse: Reverse) -> System {
    System {
        home,
        home_agent,
        home_network: Some(network.parse().unwrap()),
        lifetime: LIFETIME,
        reverse,
    }
}
