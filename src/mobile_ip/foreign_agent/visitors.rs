//! Who visits, and who has asked to (RFC 5944 §3.7.1).

use crate::mobile_ip::wire::{Flags, Identification, TunnelKind};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

/// A mobile node with one home agent; a dual client has two with one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VisitorKey {
    pub home: Ipv4Addr,
    pub home_agent: Ipv4Addr,
}

/// How a mobile node is reached on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// From where it asked, and the port.
    pub from: SocketAddrV4,
    /// It has no address of this link, so nobody can resolve it.
    pub mac: Option<[u8; 6]>,
}

/// A request that was passed on and has no answer yet.
#[derive(Clone, Debug)]
pub struct Pending {
    pub key: VisitorKey,
    pub neighbour: Neighbour,
    /// To which of our addresses it was sent.
    pub to: SocketAddrV4,
    pub identification: Identification,
    pub lifetime: u16,
    pub flags: Flags,
    pub encapsulating: bool,
    pub care_of: Ipv4Addr,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visitor {
    pub neighbour: Neighbour,
    pub flags: Flags,
    pub encapsulating: bool,
    pub care_of: Ipv4Addr,
    /// `None` is for ever.
    pub until: Option<Instant>,
    /// By its home agent's clock, in seconds; `None` where nobody agreed on revocation.
    pub revocable_since: Option<u32>,
}

impl Visitor {
    /// What unwraps here.
    pub fn tunnel(&self) -> TunnelKind {
        if self.flags.contains(Flags::MINIMAL) {
            TunnelKind::Minimal
        } else if self.flags.contains(Flags::GRE) {
            TunnelKind::Gre
        } else {
            TunnelKind::IpIp
        }
    }

    /// Whether its packets end here, and not at an address of its own.
    pub fn uses_us(&self) -> bool {
        !self.flags.contains(Flags::DECAPSULATION)
    }
}

/// Requests are matched with replies by home address and the low half of the identification (RFC 5944
/// §5.7).
pub type PendingKey = (Ipv4Addr, u32);

#[derive(Debug, Default)]
pub struct Visitors {
    pub present: BTreeMap<VisitorKey, Visitor>,
    pub pending: BTreeMap<PendingKey, Pending>,
}
