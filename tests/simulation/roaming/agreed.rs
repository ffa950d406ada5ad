//! Addresses, keys and settings of both ends.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use xfrm_agent::mobile_ip::client::Delivery;
use xfrm_agent::mobile_ip::domain::Ranges;
use xfrm_agent::mobile_ip::dual_client::station::{Agreement, Station};
use xfrm_agent::mobile_ip::dual_client::{
    ClearProbes, ForeignAgents, InsideProtection, Reverse, Settings, Site, System, T_MONITOR,
    Tunnelling, Vpn,
};
use xfrm_agent::mobile_ip::home_agent::settings as home_agent;
use xfrm_agent::mobile_ip::replay::Clock;
use xfrm_agent::mobile_ip::security::{Algorithm, ReplayProtection, SecurityAssociation};
use xfrm_agent::mobile_ip::wire::TunnelKind;
use xfrm_agent::net::Secret;
use xfrm_agent::net::random::Seeded;

pub const S: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 5);
pub const S_AGENT: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 2);
pub const T: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 5);
pub const T_AGENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// Of the VPN's adapter.
pub const V: Ipv4Addr = Ipv4Addr::new(10, 30, 0, 5);
pub const UNIX: Duration = Duration::from_secs(1_700_000_000);
/// What is asked for of both home agents.
pub const LIFETIME: Duration = Duration::from_secs(60);

/// How the client and its VPN are set up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub warm: bool,
    /// The VPN shows itself as an adapter, FIG. 9 rather than FIG. 10.
    pub has_adapter: bool,
    pub algorithm: Algorithm,
    pub replay: ReplayProtection,
}

impl Setup {
    pub fn of(seed: u64) -> Self {
        Self {
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
        }
    }

    /// What the inner system registers outside.
    pub fn over_the_vpn(self) -> Ipv4Addr {
        if self.has_adapter { V } else { T }
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
            foreign_agents: Vec::new(),
            port: 434,
            encapsulation: TunnelKind::IpIp,
            delivery: Delivery::Direct,
            revocation: false,
        }
    }

    /// The client, `passed` after the world began.
    pub fn station(self, now: Instant, passed: Duration, seed: u64) -> Station {
        let station = Station::new(
            now,
            self.client(),
            self.agreement(b"of the inner system"),
            BTreeMap::from([(0, self.agreement(b"of the outer system"))]),
            Clock::new(now, UNIX + Duration::from_secs(10) + passed),
            Box::new(Seeded(seed)),
        );
        station.expect("settings are right")
    }

    fn client(self) -> Settings {
        Settings {
            inner: system(S, S_AGENT, "10.10.0.0/24", Reverse::Never),
            sites: vec![Site {
                name: "main".into(),
                outer: Some(system(T, T_AGENT, "198.51.100.0/24", Reverse::Always)),
                gateway: None,
                near: Vec::new(),
            }],
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
            foreign_agents: ForeignAgents::Known,
        }
    }

    pub fn inner_agent(self) -> home_agent::Settings {
        // What comes out of the VPN is let in too; the client takes no proof from it.
        let over_vpn = format!("{}/32", self.over_the_vpn());
        let trusted = vec!["10.10.0.0/16".parse().unwrap(), over_vpn.parse().unwrap()];
        home_agent::Settings {
            trusted,
            ..self.agent(S_AGENT, S, "10.10.0.0/24", b"of the inner system")
        }
    }

    pub fn outer_agent(self) -> home_agent::Settings {
        self.agent(T_AGENT, T, "198.51.100.0/24", b"of the outer system")
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
            foreign_agents: Vec::new(),
            pool: None,
            trusted: Vec::new(),
            encapsulations: Vec::new(),
            reverse_tunnel: home_agent::ReverseTunnel::Allowed,
            nat: home_agent::NatTraversal::default(),
            limits: home_agent::Limits::default(),
        }
    }
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
