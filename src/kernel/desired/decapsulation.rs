//! What may come out of a tunnel.

use crate::net::Ipv6Net;
use std::net::Ipv4Addr;

/// How packets out of tunnels are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judging {
    pub mostly: Mostly,
    pub takers: Takers,
}

impl Judging {
    /// By whom nothing is left to user space.
    pub const HOME_AGENT: Self = Self::of(Mostly::Bindings);
    pub const FOREIGN_AGENT: Self = Self::of(Mostly::Visitors);
    pub const MOBILE_NODE: Self = Self::of(Mostly::Peers);

    const fn of(mostly: Mostly) -> Self {
        Self {
            mostly,
            takers: Takers::Kernel,
        }
    }
}

/// What lets most packets of IP in IP through, which is looked up first: a lookup in vain is paid for by each of them
/// (docs/performance.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mostly {
    /// [`DecapsulationEntry::Peer`].
    Peers,
    /// [`DecapsulationEntry::Binding`].
    Bindings,
    /// [`DecapsulationEntry::Visitor`].
    Visitors,
}

/// Who takes packets of IP in IP out of their tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takers {
    Kernel,
    /// Those of [`DecapsulationEntry::UserSpace`] user space and not the kernel, which costs each packet that comes in a
    /// look at its interface.
    UserSpaceToo,
}

/// Judged are packets of IP in IP (protocol 4), of GRE (protocol 47) and of IPv6 in IPv4 (protocol 41) to an end that is
/// named for it; all others, those of other people's tunnels among them, are left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DecapsulationEntry {
    /// An outer destination that is judged. Alone it refuses everything.
    End(Ipv4Addr),
    /// The same for GRE, of which nothing but IPv4 without checksum and key is let through.
    GreEnd(Ipv4Addr),
    /// Whatever comes from there to here is let through: from our home agent.
    Peer { src: Ipv4Addr, dst: Ipv4Addr },
    /// What comes from there to here is let through where the inner packet is from `inner`: from
    /// the care-of address of a registered mobile node, in its own name (RFC 3024 §4.3.2).
    Binding {
        src: Ipv4Addr,
        dst: Ipv4Addr,
        inner: Ipv4Addr,
    },
    /// What comes from there to here and nothing else lets through is for user space to judge: fragments
    /// beside minimal encapsulation (RFC 2004 §3.1). It needs [`Takers::UserSpaceToo`].
    UserSpace { src: Ipv4Addr, dst: Ipv4Addr },
    /// What comes from there to here is let through where the inner packet is to `inner`: from the home
    /// agent of somebody who visits us (RFC 5944 §4.2.2).
    Visitor {
        src: Ipv4Addr,
        dst: Ipv4Addr,
        inner: Ipv4Addr,
    },
    /// The same for IPv6 in IPv4, of which nothing is let through but what came out of a tunnel of ours.
    Ipv6End(Ipv4Addr),
    /// From that home address comes IPv6 of the prefix.
    Ipv6Prefix { home: Ipv4Addr, prefix: Ipv6Net },
}

impl DecapsulationEntry {
    /// Whether it takes away and does not give.
    pub fn protects(&self) -> bool {
        matches!(self, Self::End(_) | Self::GreEnd(_) | Self::Ipv6End(_))
    }
}
