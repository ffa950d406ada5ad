//! What an administrator decides about a home agent.

use crate::mobile_ip::security::{ReplayProtection, SecurityAssociation};
use crate::mobile_ip::wire::TunnelKind;
use crate::net::{Ipv4Net, Ipv6Net};
use std::net::Ipv4Addr;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct Settings {
    /// The home agent's own, also the outer source of its tunnels.
    pub address: Ipv4Addr,
    pub home_network: Ipv4Net,
    pub home_link: HomeLink,
    /// Shared by whoever has these settings: there may be a hundred thousand.
    pub mobile_nodes: Vec<Arc<MobileNode>>,
    pub foreign_agents: Vec<ForeignAgent>,
    /// Addresses for mobile nodes that have none of their own; `None` gives none away.
    pub pool: Option<Ipv4Net>,
    /// RFC 5265 §4.3: with any, requests from elsewhere are dropped and extension 149 is asserted to
    /// those from within. Empty: an ordinary home agent, which never asserts it.
    pub trusted: Vec<Ipv4Net>,
    /// Beside IP-in-IP, which everybody has (RFC 5944 §4.1). In UDP there is nothing else.
    pub encapsulations: Vec<TunnelKind>,
    pub reverse_tunnel: ReverseTunnel,
    pub nat: NatTraversal,
    pub limits: Limits,
}

/// Whether a mobile node can be at home.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HomeLink {
    /// There is no such link; nobody asks by ARP for anybody.
    #[default]
    Virtual,
    /// The home agent stands in for who is away.
    Physical,
}

/// RFC 3024 §4.3.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReverseTunnel {
    #[default]
    Allowed,
    /// 137 to who asks for one.
    Refused,
    /// 138 to who does not.
    Required,
}

/// RFC 3519 §4.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatTraversal {
    pub allowed: bool,
    /// Without a NAT too, where the mobile node insists.
    pub forced_allowed: bool,
    /// Seconds; told to the mobile node.
    pub keepalive: u16,
    /// Seconds; short, because nobody has authenticated the address (RFC 3519 §5.2).
    pub lifetime: u16,
}

impl Default for NatTraversal {
    fn default() -> Self {
        Self {
            allowed: true,
            forced_allowed: true,
            keepalive: 110,
            lifetime: 60,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest lifetime granted, in seconds.
    pub lifetime: u16,
    /// Simultaneous bindings of one mobile node, where all are tunnels that user space carries; otherwise there is one, and code 1 says so.
    pub bindings_each: usize,
    pub bindings: usize,
    /// Requests a second whose authenticator is computed.
    pub rate: u32,
    /// Authentic requests a second of one mobile node.
    pub rate_each: u32,
    /// Answers a second to requests whose authenticator was wrong.
    pub rate_failures: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            lifetime: 1800,
            bindings_each: 1,
            bindings: 100_000,
            rate: 50_000,
            rate_each: 10,
            rate_failures: 20,
        }
    }
}

#[derive(Clone, Debug)]
pub struct MobileNode {
    /// `None`: one of the pool, found by the NAI.
    pub home: Option<Ipv4Addr>,
    /// RFC 2794.
    pub nai: Option<Vec<u8>>,
    /// At least one. All with the replay protection of the first, which holds for the node.
    pub security: Vec<SecurityAssociation>,
    /// Networks behind it (RFC 5177); with none it is no mobile router.
    pub networks: Vec<Ipv4Net>,
    /// IPv6 prefixes that it may register (RFC 5454).
    pub networks6: Vec<Ipv6Net>,
}

impl MobileNode {
    pub(super) fn protection(&self) -> ReplayProtection {
        let first = self.security.first();
        first.map_or_else(ReplayProtection::default, |first| first.replay)
    }
}

#[derive(Clone, Debug)]
pub struct ForeignAgent {
    /// The source of what it relays.
    pub address: Ipv4Addr,
    pub security: SecurityAssociation,
}
