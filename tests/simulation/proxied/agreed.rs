//! Addresses, keys and settings of mobile nodes, proxy agent and home agent.

use crate::roaming::{ALL, Network, UNIX, foreign_agent_settings};
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
use xfrm_agent::mobile_ip::proxy_agent;
use xfrm_agent::mobile_ip::replay::Clock;
use xfrm_agent::mobile_ip::security::{Algorithm, ReplayProtection, SecurityAssociation};
use xfrm_agent::mobile_ip::wire::TunnelKind;
use xfrm_agent::net::random::Seeded;
use xfrm_agent::net::{Ipv4Net, Secret};

pub const NODES: usize = 2;
/// With whom mobile nodes register.
pub const PROXY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 8);
/// Its address inside, where it has two.
const PROXY_INSIDE: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 8);
pub const HOME_AGENT: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 2);

#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub seed: u64,
    outer: ReplayProtection,
    inner: ReplayProtection,
    /// What is registered inside.
    pub care_of: Ipv4Addr,
    /// Seconds, the longest registration that the proxy agent, and the home agent, take.
    lifetimes: (u16, u16),
    /// The mobile nodes know that they are at home where S is of the network.
    pub knows_home: bool,
    /// Foreign agents want their challenges answered (RFC 4721).
    challenges: bool,
    /// Nodes share keys with foreign agents; otherwise they take any.
    shares_keys: bool,
}

impl Setup {
    pub fn of(seed: u64) -> Self {
        let nonces_of = |step| {
            if seed.is_multiple_of(step) {
                ReplayProtection::Nonces
            } else {
                ReplayProtection::default()
            }
        };
        Self {
            seed,
            outer: nonces_of(5),
            inner: nonces_of(7),
            care_of: if seed.is_multiple_of(2) {
                PROXY
            } else {
                PROXY_INSIDE
            },
            lifetimes: [(300, 1800), (60, 60), (300, 40)][(seed / 3) as usize % 3],
            knows_home: !seed.is_multiple_of(3),
            challenges: (seed / 2).is_multiple_of(2),
            shares_keys: (seed / 4).is_multiple_of(2),
        }
    }

    /// With foreign agents.
    fn proxy_shares_keys(self) -> bool {
        !self.seed.is_multiple_of(3)
    }

    pub fn outer_key(self, node: usize) -> SecurityAssociation {
        association(&format!("of node {node} outside"), self.outer)
    }

    pub fn inner_key(self, node: usize) -> SecurityAssociation {
        association(&format!("of node {node} inside"), self.inner)
    }

    /// A mobile node with one system, for which the proxy agent is the home agent.
    pub fn station(self, now: Instant, passed: Duration, node: usize, seed: u64) -> Station {
        let home_network: Ipv4Net = "10.10.0.0/24".parse().unwrap();
        let settings = Settings {
            inner: System {
                home: home(node),
                home_agent: PROXY,
                home_network: self.knows_home.then_some(home_network),
                lifetime: Duration::from_secs(120),
                reverse: Reverse::Always,
            },
            sites: vec![Site {
                name: String::new(),
                outer: None,
                gateway: None,
                near: Vec::new(),
                reach: Reach::Ipv4,
            }],
            vpn: Vpn::Absent,
            inside_protection: InsideProtection::Clear,
            tunnelling: Tunnelling::Full,
            ranges: Ranges::default(),
            clear_probes: ClearProbes::Everywhere,
            t_monitor: T_MONITOR,
            mobile_networks: Vec::new(),
            mobile_networks6: Vec::new(),
            destinations6: Vec::new(),
            foreign_agents: if self.shares_keys {
                ForeignAgents::Known
            } else {
                ForeignAgents::Any
            },
        };
        let agreement = Agreement {
            association: self.outer_key(node),
            nai: None,
            foreign_agents: self.keys_with_foreign_agents(node).collect(),
            port: 434,
            encapsulation: TunnelKind::IpIp,
            delivery: Delivery::Direct,
            revocation: true,
        };
        let clock = Clock::new(now, UNIX + passed);
        let random = Box::new(Seeded(seed));
        let station = Station::new(now, settings, agreement, [].into(), clock, random);
        station.expect("settings are right")
    }

    fn keys_with_foreign_agents(
        self,
        node: usize,
    ) -> impl Iterator<Item = (Ipv4Addr, SecurityAssociation)> {
        let agents = ALL.into_iter().filter_map(Network::agent);
        let shared = agents.filter(move |_| self.shares_keys);
        shared.map(move |agent| (agent, foreign_key(node)))
    }

    pub fn foreign_agent(self, place: Network) -> foreign_agent::Settings {
        let nodes = (0..NODES).filter(|_| self.shares_keys);
        let proxy = Some(PROXY).filter(|_| self.proxy_shares_keys());
        foreign_agent::Settings {
            home_agents: proxy
                .map(|proxy| (proxy, agents_key()))
                .into_iter()
                .collect(),
            mobile_nodes: nodes.map(|node| (home(node), foreign_key(node))).collect(),
            ..foreign_agent_settings(place, self.challenges)
        }
    }

    pub fn proxy(self) -> proxy_agent::Settings {
        let agents = ALL.into_iter().filter_map(Network::agent);
        let shared = agents.filter(|_| self.proxy_shares_keys());
        proxy_agent::Settings {
            foreign_agents: shared.map(|agent| (agent, agents_key())).collect(),
            outer: PROXY,
            inner: self.care_of,
            port: 434,
            home_agent: HOME_AGENT,
            inside: vec!["10.0.0.0/8".parse().unwrap()],
            encapsulations: Vec::new(),
            lifetime: self.lifetimes.0,
            keepalive: 20,
            nodes: (0..NODES)
                .map(|node| proxy_agent::Node {
                    home: home(node),
                    outer: self.outer_key(node),
                    inner: self.inner_key(node),
                })
                .collect(),
        }
    }

    pub fn home_agent(self) -> home_agent::Settings {
        let nodes = (0..NODES).map(|node| home_agent::MobileNode {
            home: Some(home(node)),
            nai: None,
            security: vec![self.inner_key(node)],
            networks: Vec::new(),
            networks6: Vec::new(),
        });
        home_agent::Settings {
            address: HOME_AGENT,
            home_network: "10.10.0.0/24".parse().unwrap(),
            home_link: home_agent::HomeLink::Physical,
            mobile_nodes: nodes.map(Arc::new).collect(),
            foreign_agents: Vec::new(),
            pool: None,
            trusted: Vec::new(),
            encapsulations: Vec::new(),
            reverse_tunnel: home_agent::ReverseTunnel::Allowed,
            nat: home_agent::NatTraversal::default(),
            limits: home_agent::Limits {
                lifetime: self.lifetimes.1,
                ..home_agent::Limits::default()
            },
        }
    }
}

/// S of this node.
pub fn home(node: usize) -> Ipv4Addr {
    let last = u8::try_from(node).expect("there are few nodes");
    Ipv4Addr::new(10, 10, 0, 5 + last)
}

/// Of the proxy agent and each foreign agent.
fn agents_key() -> SecurityAssociation {
    association("of agents", ReplayProtection::default())
}

fn foreign_key(node: usize) -> SecurityAssociation {
    association(
        &format!("of node {node} and foreign agents"),
        ReplayProtection::default(),
    )
}

fn association(key: &str, replay: ReplayProtection) -> SecurityAssociation {
    SecurityAssociation {
        spi: 256,
        algorithm: Algorithm::HmacSha256,
        key: Secret::from(key.as_bytes()),
        replay,
    }
}
