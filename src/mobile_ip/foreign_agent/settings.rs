//! What a foreign agent offers on one link.

use crate::mobile_ip::LinkId;
use crate::mobile_ip::security::SecurityAssociation;
use crate::mobile_ip::wire::TunnelKind;
use crate::mobile_ip::wire::advertisement::CommonTraffic;
use std::net::Ipv4Addr;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Settings {
    pub link: LinkId,
    /// On that link: the source of advertisements and replies.
    pub address: Ipv4Addr,
    /// Bits of its prefix, told with it; all agents of a link tell them or none does (RFC 5944 §2.3).
    pub prefix_len: Option<u8>,
    /// Where tunnels end, and from where requests go on to home agents.
    pub care_of: Ipv4Addr,
    /// Every address of this machine: no request is passed on to itself (RFC 5944 §3.7.2).
    pub own: Vec<Ipv4Addr>,
    /// Seconds, the longest registration; 0xffff is for ever.
    pub lifetime: u16,
    /// The longest time between advertisements; `None`: only when asked.
    pub interval: Option<Duration>,
    /// Also those with an address of their own must register here (R).
    pub required: bool,
    pub traffic: CommonTraffic,
    pub reverse: ReverseTunnels,
    /// Beside IP-in-IP.
    pub tunnels: Vec<TunnelKind>,
    /// Every request must repeat a fresh challenge (RFC 4721).
    pub challenge: bool,
    /// By home address.
    pub mobile_nodes: Vec<(Ipv4Addr, SecurityAssociation)>,
    /// By home agent.
    pub home_agents: Vec<(Ipv4Addr, SecurityAssociation)>,
    pub most_visitors: usize,
    /// Requests without an answer yet (RFC 5944 §3.7.1).
    pub most_pending: usize,
}

/// RFC 3024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReverseTunnels {
    Unavailable,
    /// In both styles of delivery.
    Available,
    Mandatory,
}

impl Settings {
    pub(super) fn offers(&self, kind: TunnelKind) -> bool {
        kind == TunnelKind::IpIp || self.tunnels.contains(&kind)
    }

    pub(super) fn with_mobile_node(&self, home: Ipv4Addr) -> Option<&SecurityAssociation> {
        find(&self.mobile_nodes, home)
    }

    pub(super) fn with_home_agent(&self, address: Ipv4Addr) -> Option<&SecurityAssociation> {
        find(&self.home_agents, address)
    }
}

fn find(
    associations: &[(Ipv4Addr, SecurityAssociation)],
    with: Ipv4Addr,
) -> Option<&SecurityAssociation> {
    let (_, association) = associations.iter().find(|(address, _)| *address == with)?;
    Some(association)
}
