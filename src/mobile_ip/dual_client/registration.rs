//! What the dual client asks of registrations, and what it hears of them. Datagrams, keys and replay
//! protection are the business of whoever carries the orders out.

use crate::mobile_ip::{Encapsulation, LinkId, Via};
use std::fmt;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// One registration. Several of the inner system exist side by side: they have one home agent, one
/// security association and one clock, and the request that left last is the one that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    /// Of S, in the clear, bound to this adapter: the only one that can prove anything. In the null case
    /// with one system, the registration itself.
    Clear(LinkId),
    /// Of S, with V or T as care-of address.
    Inner,
    /// Of the T of this site, by its place in the settings.
    Outer(usize),
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clear(link) => write!(f, "inner registration in the clear on {link}"),
            Self::Inner => f.write_str("inner registration over the VPN"),
            Self::Outer(site) => write!(f, "outer registration {site}"),
        }
    }
}

/// Which order an outcome answers. Outcomes of earlier ones are of no interest any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub u64);

/// Where a registration attaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attachment {
    pub via: Via,
    pub point: Point,
    pub home: Ipv4Addr,
    pub home_agent: Ipv4Addr,
    pub lifetime: Duration,
    /// The T bit (RFC 3024).
    pub reverse: bool,
    pub nat_traversal: NatTraversal,
    /// The adapter below, for one that runs bound to it.
    pub gateway: Option<Ipv4Addr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    CoLocated(Ipv4Addr),
    ForeignAgent {
        agent: Ipv4Addr,
        care_of: Ipv4Addr,
    },
    /// On the home network: what is registered is that no tunnel is needed (RFC 5944 §3.6.1.1). Sent
    /// from the adapter's own address.
    AtHome(Ipv4Addr),
}

impl Point {
    pub fn care_of(self, home: Ipv4Addr) -> Ipv4Addr {
        match self {
            Self::CoLocated(address) => address,
            Self::ForeignAgent { care_of, .. } => care_of,
            Self::AtHome(_) => home,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatTraversal {
    /// UDP where the home agent sees another source than the care-of address (RFC 3519).
    Detected,
    /// UDP always: the VPN translates, or nothing but UDP comes through it.
    Forced,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Register so, and keep registered until told otherwise. Replaces what the slot did before without
    /// deregistering it: the home agent replaces the binding itself.
    Attach {
        slot: Slot,
        generation: Generation,
        attachment: Attachment,
    },
    /// Register again at once: a proof is wanted, or something else moved the binding.
    Renew { slot: Slot },
    /// The way that it takes is open only now: what was asked before is asked once more.
    Repeat { slot: Slot },
    /// Stop; with `release`, deregister where it is registered.
    Detach { slot: Slot, release: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Accepted(Accepted),
    /// The home agent or foreign agent says no, for good; the code of RFC 5944 §3.4.
    Refused {
        code: u8,
    },
    /// Nobody has answered for a while. Requests go on.
    Silent,
    /// The binding's lifetime is over and it could not be renewed.
    Expired,
}

/// An authenticated reply with a fresh identification and a code of success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// When the request that this answers left.
    pub asked: Instant,
    pub round_trip: Duration,
    /// The reply carries the Trusted Networks Configured extension, under the authentication
    /// (RFC 5265 §3.4).
    pub trusted: bool,
    pub carried: Carried,
}

/// How packets come and go from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    AtHome,
    Tunnel(Encapsulation),
    /// The foreign agent is the router; it takes packets off the tunnel.
    ForeignAgent(Ipv4Addr),
}
