//! What is agreed with one home agent, and what is wanted of it.

use crate::mobile_ip::security::SecurityAssociation;
use crate::mobile_ip::wire::TunnelKind;
use crate::net::{Ipv4Net, Ipv6Net};
use std::net::Ipv4Addr;
use std::time::Duration;

/// RFC 3519 §4.9: seconds between keep-alives unless the home agent says otherwise.
pub const KEEPALIVE: Duration = Duration::from_secs(110);
/// RFC 5265 §3.2.4: how long inside is believed without a new proof.
pub const T_MONITOR: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub struct Settings {
    /// `None`: the home agent gives one, and knows us by `nai` (RFC 5944 §3.6).
    pub home: Option<Ipv4Addr>,
    pub home_agent: HomeAgent,
    /// At most 255 octets (RFC 2794 §2).
    pub nai: Option<Vec<u8>>,
    /// With the home agent. Its replay protection is the one in use.
    pub association: SecurityAssociation,
    /// Of which series its identifications are ([`Issuer::new`](crate::mobile_ip::replay::Issuer::new)); 0 where nobody shares
    /// the association.
    pub series: u8,
    /// With foreign agents, by the address that they advertise from.
    pub foreign_agents: Vec<(Ipv4Addr, SecurityAssociation)>,
    /// Source port of what we send, and of UDP tunnels.
    pub port: u16,
    /// Seconds; 0xffff is for ever. Zero counts as one.
    pub lifetime: u16,
    /// Registered anew at least this often, however long the lifetime: [`T_MONITOR`] less some
    /// seconds where the registration is the proof of being inside.
    pub renewal: Option<Duration>,
    pub reverse: ReverseTunnel,
    /// What is not to be had falls back to IP-in-IP, which everybody can (RFC 5944 §4.1).
    pub encapsulation: TunnelKind,
    /// How packets reach a foreign agent that sends them through a reverse tunnel (RFC 3024 §5).
    pub delivery: Delivery,
    pub udp: UdpTunnel,
    /// Ask to be told of revocations (RFC 3543).
    pub revocation: bool,
    /// Copies of broadcasts on the home network.
    pub broadcasts: bool,
    /// Networks that move with us (RFC 5177).
    pub networks: Vec<Ipv4Net>,
    /// IPv6 prefixes that do (RFC 5454), in IPv4 between the home address and the home agent.
    pub networks6: Vec<Ipv6Net>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HomeAgent {
    Known(Ipv4Addr),
    /// Somewhere on the home network: the first answer to its broadcast address says where (RFC 5944
    /// §3.6.1.2).
    Somewhere(Ipv4Net),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReverseTunnel {
    /// Asked for when somebody demands it.
    Unwanted,
    /// Asked for, and done without where it is refused.
    Wanted,
    /// Without it there is no registration.
    Required,
}

/// RFC 3519.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpTunnel {
    Never,
    /// Where the home agent sees a translated address.
    WhereTranslated,
    Forced,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    Direct,
    Encapsulating,
}

impl Settings {
    pub(super) fn with_foreign_agent(&self, address: Ipv4Addr) -> Option<&SecurityAssociation> {
        let mut associations = self.foreign_agents.iter();
        let (_, association) = associations.find(|(agent, _)| *agent == address)?;
        Some(association)
    }
}
