//! What we want to be true: keyed objects of every kind that the agent owns.
//!
//! The agent publishes [`Change`]s; the writer merges them, newest revision wins, and makes the
//! kernel follow. A key is the kernel's own identity of an object, so two wishes for one key are
//! one object and never two.

mod all;
mod decapsulation;
mod link;
pub mod receiver;
mod route;
mod sysctl;

pub use all::{Desired, Wanted};
pub use decapsulation::{DecapsulationEntry, Judging, Mostly, Takers};
pub use link::{
    AddressKey, GRE_HEADER, GRE_TUNNEL_MTU, InvalidLinkName, Link, LinkKind, LinkName, Neighbour,
    NeighbourKey, Offload, ProxyKey, TUNNEL_MTU, embedded,
};
pub use route::{Encapsulation, Fragmenting, Route, RouteKey, RuleKey, Way};
pub use sysctl::{LinkSetting, Sysctl};

use crate::net::{IpNet, Secret, Selector, Spi};
use std::net::IpAddr;
use std::time::Duration;

/// Which wish came later. Strictly increasing, starting at 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(pub u64);

/// One step from an older wish to a newer one. Keys not named stay as they are.
#[derive(Clone, Debug, Default)]
pub struct Change {
    pub revision: Revision,
    /// New or altered objects.
    pub put: Vec<Object>,
    /// Objects no longer wanted. Unknown keys are ignored.
    pub remove: Vec<Key>,
    /// Policies whose held packets should be looked up again although the policy itself has not
    /// changed: written with `UPDPOLICY` after every `put` is in. The kernel does so a timer tick
    /// later, and deleting a policy drops what it still holds: leave a released trap in place for
    /// a tenth of a second before removing it.
    pub release: Vec<PolicyKey>,
}

/// The kernel's identity of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    Sysctl(Sysctl),
    Link(LinkName),
    Route(RouteKey),
    Rule(RuleKey),
    Address(AddressKey),
    Proxy(ProxyKey),
    Neighbour(NeighbourKey),
    /// The nftables table that diverts and passes packets.
    Interception,
    /// The nftables table that judges what is decapsulated.
    Decapsulation,
    DecapsulationEntry(DecapsulationEntry),
    Sa(SaKey),
    Policy(PolicyKey),
}

/// An object and what it should look like.
#[derive(Clone, Debug)]
pub enum Object {
    Sysctl(Sysctl, String),
    Link(Link),
    Route(Route),
    Rule(RuleKey),
    /// On a link that is wanted as well; means nothing on any other.
    Address(AddressKey),
    /// ARP, or neighbour discovery, is answered for this address there.
    Proxy(ProxyKey),
    Neighbour(Neighbour),
    Interception(Interception),
    /// Packets of IP in IP to the ends that its entries name are decapsulated only where another
    /// entry allows it (RFC 3024 §4.3.2).
    Decapsulation(Judging),
    /// Means nothing without [`Object::Decapsulation`].
    DecapsulationEntry(DecapsulationEntry),
    Sa(Box<Sa>),
    /// An SA of an earlier run, whose keys only the kernel knows: stays while it is there.
    AdoptedSa(SaKey),
    Policy(Policy),
}

impl Object {
    pub fn key(&self) -> Key {
        match self {
            Self::Sysctl(name, _) => Key::Sysctl(*name),
            Self::Link(link) => Key::Link(link.name),
            Self::Route(route) => Key::Route(route.key),
            Self::Rule(key) => Key::Rule(*key),
            Self::Address(key) => Key::Address(*key),
            Self::Proxy(key) => Key::Proxy(*key),
            Self::Neighbour(neighbour) => Key::Neighbour(neighbour.key),
            Self::Interception(_) => Key::Interception,
            Self::Decapsulation(_) => Key::Decapsulation,
            Self::DecapsulationEntry(entry) => Key::DecapsulationEntry(*entry),
            Self::Sa(sa) => Key::Sa(sa.key()),
            Self::AdoptedSa(key) => Key::Sa(*key),
            Self::Policy(policy) => Key::Policy(policy.key),
        }
    }
}

// --- policies -----------------------------------------------------------------------------------

/// Which check a policy answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    In,
    Out,
    Fwd,
}

/// A packet's mark matches where `mark & mask == value`; mask 0 matches every packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mark {
    pub value: u32,
    pub mask: u32,
}

/// The kernel holds at most one policy for each of these, whatever its priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyKey {
    pub direction: Direction,
    pub selector: Selector,
    pub mark: Mark,
    /// XFRM interface; 0 is none.
    pub if_id: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub key: PolicyKey,
    /// Smaller is looked at first.
    pub priority: u32,
    pub action: Action,
    /// The kernel drops it when so many seconds have passed on the wall clock since it was written;
    /// less than one is one. `None` is never.
    pub lifetime: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Without templates: in the clear. With templates: transformed in their order.
    Allow(Vec<Template>),
    Block,
}

impl Action {
    /// Whether a packet may pass without any protection.
    pub fn is_clear(&self) -> bool {
        matches!(self, Self::Allow(templates)
            if templates.iter().all(|t| t.level == Level::Use))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IpsecProtocol {
    Esp,
    Ah,
    /// Compresses and protects nothing (RFC 3173).
    Comp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    Transport,
    Tunnel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    Required,
    /// Protected where an SA exists, otherwise in the clear. The kernel refuses it for outbound
    /// tunnel templates.
    Use,
}

/// One transformation that a policy demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    pub protocol: IpsecProtocol,
    pub mode: Mode,
    pub level: Level,
    /// Outer addresses in tunnel mode; unspecified addresses mean the packet's own. In transport
    /// mode they have the selector's IP version, also where they are unspecified.
    pub src: IpAddr,
    pub dst: IpAddr,
    /// 0 matches SAs of any reqid.
    pub reqid: u32,
    /// `None` matches SAs of any SPI.
    pub spi: Option<Spi>,
}

/// Limits that the kernel enforces itself. `None` is no limit. Times count from when the object
/// was added, in whole seconds, on the wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    pub soft: Limits,
    pub hard: Limits,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub bytes: Option<u64>,
    pub packets: Option<u64>,
    pub time: Option<Duration>,
    /// Seconds since first use.
    pub use_time: Option<Duration>,
}

// --- security associations ----------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SaKey {
    pub dst: IpAddr,
    pub spi: Spi,
    pub protocol: IpsecProtocol,
    pub mark: Mark,
}

/// Which way packets of an SA go: decides the replay window that newer kernels accept, and the
/// order of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SaDirection {
    In,
    Out,
}

#[derive(Clone, Debug)]
pub struct Sa {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub spi: Spi,
    pub direction: SaDirection,
    pub mode: Mode,
    pub reqid: u32,
    pub algorithms: Algorithms,
    /// Packets; 0 turns the check off. Above 32, or with ESN, the kernel's extended form is used.
    /// Always written as 0 outbound where the kernel demands it.
    pub replay_window: u32,
    pub esn: bool,
    /// NAT traversal (RFC 3948).
    pub encapsulation: Option<UdpEncapsulation>,
    pub lifetime: Lifetime,
    pub mark: Mark,
    pub if_id: u32,
    /// Inner addresses the SA is restricted to; transport mode needs them, tunnel mode leaves
    /// `None` (the policies decide).
    pub selector: Option<Selector>,
}

impl Sa {
    pub fn key(&self) -> SaKey {
        SaKey {
            dst: self.dst,
            spi: self.spi,
            protocol: self.protocol(),
            mark: self.mark,
        }
    }

    pub fn protocol(&self) -> IpsecProtocol {
        match self.algorithms {
            Algorithms::Ah { .. } => IpsecProtocol::Ah,
            Algorithms::Aead { .. } | Algorithms::EncryptThenAuth { .. } => IpsecProtocol::Esp,
            Algorithms::Deflate => IpsecProtocol::Comp,
        }
    }
}

/// Names are the kernel's crypto API names, for example `rfc4106(gcm(aes))`.
#[derive(Clone, Debug)]
pub enum Algorithms {
    /// Key includes the 4-octet salt. `icv_bits` is 64, 96 or 128.
    Aead {
        name: &'static str,
        key: Secret,
        icv_bits: u32,
    },
    EncryptThenAuth {
        cipher: &'static str,
        cipher_key: Secret,
        auth: &'static str,
        auth_key: Secret,
        truncation_bits: u32,
    },
    Ah {
        auth: &'static str,
        auth_key: Secret,
        truncation_bits: u32,
    },
    /// IPComp with RFC 2394: the SPI is a CPI, of 16 bits. It has no replay window and no
    /// encapsulation of its own.
    Deflate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpEncapsulation {
    pub src_port: u16,
    pub dst_port: u16,
}

// --- interception --------------------------------------------------------------------------------

/// The agent's nftables table: which probes are diverted to the agent, and which discovery and IKE
/// packets of others pass traps and enforcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interception {
    /// Destinations whose probes are diverted: the agent's own `local` prefixes.
    pub protected: Vec<IpNet>,
    /// Ports of the transparent sockets that diverted probes are given to.
    pub divert_to: TransparentPorts,
    /// Set on diverted packets, so that the rule routes them to the agent.
    pub divert_mark: Mark,
    /// Set on discovery and clear IKE packets of others; policies exclude it.
    pub pass_mark: Mark,
    /// Upper bound of packets a second that get the pass mark.
    pub pass_rate: u32,
    /// `None` where nobody reads such a queue.
    pub first_packets: Option<FirstPackets>,
}

/// Which packets wait in a queue of nftables': the first between two hosts, from [`Interception::protected`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstPackets {
    pub queue: u16,
    /// To any of these.
    pub towards: Vec<IpNet>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransparentPorts {
    pub v4: u16,
    pub v6: Option<u16>,
}
