//! Routes and the rules that choose a table.

use super::{LinkName, Mark};
use crate::net::{Family, IpNet};
use std::net::{IpAddr, Ipv4Addr};

/// The kernel holds one route for each of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteKey {
    pub table: u32,
    /// Without host bits.
    pub dst: IpNet,
    /// The smallest is used; 0 is none. IPv6 says 0 for its own default of 1024.
    ///
    /// Over many routes of one device each should have a metric of its own: the kernel looks for
    /// a next hop that it can share, and all of one metric are in one chain. 10,000 routes of one
    /// metric take it four seconds, 100,000 of different ones little more than one.
    pub metric: u32,
}

impl RouteKey {
    /// The table that the system keeps (`RT_TABLE_MAIN`).
    pub const MAIN: u32 = 254;

    /// The last route of a table, which [`Way::Unreachable`] makes its end.
    pub fn end_of(table: u32, family: Family) -> Self {
        Self {
            table,
            dst: family.any(),
            metric: u32::MAX,
        }
    }

    /// To one host, with a metric that no other host of the table has.
    pub fn to_host(table: u32, host: Ipv4Addr) -> Self {
        Self {
            table,
            dst: IpNet::from(IpAddr::V4(host)),
            metric: u32::from(host).max(1),
        }
    }

    /// The end of the same table.
    #[must_use]
    pub fn end(&self) -> Self {
        Self::end_of(self.table, Family::of(self.dst.addr()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    pub key: RouteKey,
    pub way: Way,
}

/// Where packets go. `L` names the link: by its name where it is wanted, by its index as the kernel
/// says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way<L = LinkName> {
    /// To this machine itself, whoever has the address: `local … dev lo`.
    Local,
    /// Nowhere; the sender is told.
    Unreachable,
    Link {
        link: L,
        /// Directly on the link, whatever addresses the link has.
        gateway: Option<IpAddr>,
        /// From which packets leave that have no source yet. It has to be ours already.
        source: Option<IpAddr>,
    },
    /// Over a [`super::LinkKind::IpInIp`] or [`super::LinkKind::Gre`] link, to the other end of a tunnel.
    Encapsulated {
        link: L,
        encapsulation: Encapsulation,
        /// Of the inner packet, as for [`Way::Link`].
        source: Option<IpAddr>,
    },
}

impl<L: Copy> Way<L> {
    pub fn link(&self) -> Option<L> {
        match self {
            Self::Local | Self::Unreachable => None,
            Self::Link { link, .. } | Self::Encapsulated { link, .. } => Some(*link),
        }
    }

    pub fn source(&self) -> Option<IpAddr> {
        match self {
            Self::Local | Self::Unreachable => None,
            Self::Link { source, .. } | Self::Encapsulated { source, .. } => *source,
        }
    }

    /// The same over `link`.
    pub fn over<M>(self, link: M) -> Way<M> {
        match self {
            Self::Local => Way::Local,
            Self::Unreachable => Way::Unreachable,
            Self::Link {
                gateway, source, ..
            } => Way::Link {
                link,
                gateway,
                source,
            },
            Self::Encapsulated {
                encapsulation,
                source,
                ..
            } => Way::Encapsulated {
                link,
                encapsulation,
                source,
            },
        }
    }
}

/// The outer header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encapsulation {
    pub src: Ipv4Addr,
    pub dst: Ipv4Addr,
    /// 0 takes the inner packet's; not over a link of GRE, which would send it so.
    pub ttl: u8,
    pub fragmenting: Fragmenting,
}

/// What becomes of outer packets that are too long for a link on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragmenting {
    Allowed,
    /// The outer header says DF, whatever the inner one says. Without it ESP leaves in fragments.
    Forbidden,
}

/// A rule that looks a table up. What is `None`, or has mask 0, matches every packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleKey {
    pub family: Family,
    pub priority: u32,
    pub from: Option<IpNet>,
    pub to: Option<IpNet>,
    pub mark: Mark,
    /// The link that the packet came in by; `lo` for one of our own.
    pub iif: Option<LinkName>,
    /// The link that its socket is bound to.
    pub oif: Option<LinkName>,
    /// Matches packets without a source too, if by the route in `table` they get one of `from`. IPv6 only; IPv4 has
    /// 0.0.0.0 for `from` instead.
    pub finds_source: bool,
    pub table: u32,
}

impl RuleKey {
    /// For every packet.
    pub fn new(family: Family, priority: u32, table: u32) -> Self {
        Self {
            family,
            priority,
            from: None,
            to: None,
            mark: Mark::default(),
            iif: None,
            oif: None,
            finds_source: false,
            table,
        }
    }

    #[must_use]
    pub fn from(self, from: IpNet) -> Self {
        Self {
            from: Some(from),
            ..self
        }
    }

    #[must_use]
    pub fn to(self, to: IpNet) -> Self {
        Self {
            to: Some(to),
            ..self
        }
    }

    #[must_use]
    pub fn mark(self, mark: Mark) -> Self {
        Self { mark, ..self }
    }
}
