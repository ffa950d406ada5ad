//! What a proxy agent stands between.

use crate::mobile_ip::security::SecurityAssociation;
use crate::mobile_ip::wire::TunnelKind;
use crate::net::Ipv4Net;
use std::net::Ipv4Addr;

#[derive(Clone, Debug)]
pub struct Settings {
    /// With whom mobile nodes register, and where their tunnels end.
    pub outer: Ipv4Addr,
    /// What is registered with the inner home agent as care-of address.
    pub inner: Ipv4Addr,
    /// Source port towards the inner home agent.
    pub port: u16,
    /// The inner home agent.
    pub home_agent: Ipv4Addr,
    /// From there nodes are sent to the inner home agent itself.
    pub inside: Vec<Ipv4Net>,
    /// How mobile nodes may wrap packets besides IP in IP.
    pub encapsulations: Vec<TunnelKind>,
    /// Seconds, the longest registration on both sides.
    pub lifetime: u16,
    /// Seconds between keep-alives of UDP tunnels (RFC 3519 §3.2); zero leaves it to the nodes.
    pub keepalive: u16,
    pub nodes: Vec<Node>,
    /// Foreign agents that sign what they pass on, and whose visitors' replies are signed for them.
    pub foreign_agents: Vec<(Ipv4Addr, SecurityAssociation)>,
}

/// A mobile node that is served.
#[derive(Clone, Debug)]
pub struct Node {
    pub home: Ipv4Addr,
    /// With the mobile node.
    pub outer: SecurityAssociation,
    /// With the inner home agent, in the name of the mobile node.
    pub inner: SecurityAssociation,
}
