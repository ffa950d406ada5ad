//! Everything that may enter the agent.

use super::on_link::Overheard;
use super::presence::commands::{Ask, PolicyCommand, PresenceCommand};
use super::settings::Settings;
use super::snapshot::RefusalView;
use super::tunnels::Found;
use super::vpn::VpnCommand;
use super::vpn::commands::{Ended, Run};
use crate::kernel::adapters::Adapter;
use crate::kernel::desired::{
    IpsecProtocol, Key, Policy, PolicyKey, Revision, SaKey, TransparentPorts,
};
use crate::kernel::first_packets::FirstPacket;
use crate::mobile_ip;
use crate::net::{Flow, IpNet};
use crate::presence::{Kept, Timestamp};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

#[derive(Debug)]
pub enum Event {
    /// What an earlier run left in the kernel. Once, before anything else.
    Found(Vec<Found>),
    /// How many packets our SAs have carried, a while after [`Event::Found`].
    Carried(BTreeMap<SaKey, u64>),
    /// The transparent sockets are open, and the queue of first packets where the kernel has one; interception may
    /// lead to them.
    Transparent {
        ports: TransparentPorts,
        first_packets: Option<u16>,
    },
    /// Waits for an [`super::effect::Effect::LetGo`].
    FirstPacket(FirstPacket),
    /// Our own addresses, whenever they change.
    Addresses(Vec<IpAddr>),
    /// The adapters that lead out of this machine, whenever they change.
    Adapters(Vec<Adapter>),
    /// The interfaces of VPNs of other software that are there, whenever they change.
    VpnInterfaces(Vec<Adapter>),
    /// The outbound policies of others, whenever they change, where a VPN relies on them.
    OutboundPolicies(Vec<Policy>),
    /// Of an [`super::effect::Effect::RunCommand`].
    CommandEnded {
        run: Run,
        ended: Ended,
    },
    /// What such a run has brought up is not what it was; after an error it has gone.
    VpnSays {
        run: Run,
        says: Ended,
    },
    /// The MAC addresses of the default gateways that are known now: when links or addresses
    /// change, and now and then.
    Gateways(Vec<[u8; 6]>),
    /// What the wall clock says: at the start, now and then, and whenever something changed that
    /// makes earlier answers doubtful.
    WallClock {
        unix: Timestamp,
        /// Local time less UTC, in seconds.
        offset: i32,
        doubt: Option<Doubt>,
    },
    /// What the store has kept of earlier runs. Once, before presence is used.
    Stored(Box<Kept>),
    /// What earlier runs knew of networks, oldest first. Once, before the wall clock is told, where the settings have a
    /// mobile node.
    Networks(Vec<mobile_ip::domain::Context>),
    /// What an earlier run was given as home address. As [`Event::Networks`], where there is one.
    Home(super::mobility::given::GivenHome),
    /// A datagram on our IKE ports, without the non-ESP marker.
    Datagram {
        local: SocketAddr,
        remote: SocketAddr,
        payload: Vec<u8>,
    },
    /// A probe for somebody else that interception gave us; `local` is where it was going.
    Diverted {
        local: SocketAddr,
        remote: SocketAddr,
        hop_limit: u8,
        payload: Vec<u8>,
    },
    /// A datagram on port 434, where the settings have a role of Mobile IP.
    Registration(mobile_ip::Datagram),
    /// An ICMP error for what has left from port 434 to port 434, where the settings have a foreign agent.
    Undelivered(Undelivered),
    /// What mobility agents, and those who look for them, say on a link.
    OnLink(Overheard),
    /// What the store has kept of our own home agent, and the time since 1970. Once, where the
    /// settings have one; it hears nothing before.
    Bindings {
        unix: Duration,
        kept: Vec<mobile_ip::home_agent::effects::Kept>,
    },
    /// Everything up to this [`super::effect::Effect::KeepBinding`] is on the disk.
    BindingsKept {
        number: u64,
    },
    Kernel(KernelEvent),
    Command {
        token: Token,
        command: Command,
    },
    /// A changed configuration, already validated.
    Configuration(Box<Settings>),
    /// Says goodbye to the peers where the configuration wants everything removed.
    Stop,
}

/// Why relaxations are withdrawn before anything else is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    ClockStepped,
    /// The machine, or this process, stood still for a while.
    Resumed,
    /// A link came, went or changed.
    LinkChanged,
}

#[derive(Debug)]
pub enum KernelEvent {
    /// A packet met a policy and no SA.
    Acquire {
        policy: PolicyKey,
        /// Whether the policy was a trap (transport template, no reqid) when it was raised.
        trap: bool,
        flow: Flow,
        /// What the kernel has no SA for.
        protocol: IpsecProtocol,
    },
    SaExpired {
        sa: SaKey,
        hard: bool,
    },
    /// An SA of ours has vanished; its key is never used again.
    SaLost {
        sa: SaKey,
    },
    /// A policy came to the end of its lifetime: the kernel has dropped it.
    PolicyExpired {
        policy: PolicyKey,
    },
    Applied {
        revision: Revision,
    },
    /// Whether somebody else has policies that come before traps.
    OthersDecide(bool),
    /// Told once; the kernel's writer goes on trying.
    Refused {
        key: Key,
        refusal: RefusalView,
    },
    /// What was refused is in the kernel now, or is not wanted any more.
    Accepted {
        key: Key,
    },
}

/// Comes back with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

#[derive(Debug)]
pub enum Command {
    Status,
    /// Probe now, as if `flow` wanted out.
    Discover {
        flow: Flow,
    },
    /// Let go of what was once protected: all of it, or what lies inside the prefix.
    Forget {
        prefix: Option<IpNet>,
    },
    Presence(PresenceCommand),
    Policy(PolicyCommand),
    Ask(Ask),
    Vpn(VpnCommand),
    /// Of our own foreign agent.
    Visitors,
    /// Of our own home agent.
    Bindings,
    /// Withdraw those of this home address (RFC 3543).
    Revoke(Ipv4Addr),
}

/// What ICMP says of a datagram between two addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undelivered {
    pub local: Ipv4Addr,
    pub remote: Ipv4Addr,
    /// Of ICMP.
    pub kind: u8,
    pub code: u8,
}
