//! What the dual client wants true of the addresses that it holds. Whole and declarative: the newest
//! one wins, and whoever turns it into routes finds the order.
//!
//! ```text
//!  FIG. 11, inside        S ── native or tunnel ── link            T idle
//!  FIG. 9, outside        S ── tunnel from V ── VPN on T ── tunnel ── link
//!  FIG. 10, no adapter    S ── UDP tunnel from T ── VPN on T ── tunnel ── link
//!  FIG. 8, outer home     S ── tunnel from V ── VPN on T ── native ── link
//! ```

use super::LinkId;
use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrangement {
    pub place: Place,
    /// Of S.
    pub inner: Carriage,
    /// Of T; `None` while it is idle.
    pub outer: Option<Carriage>,
}

/// Which figure holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Nothing is known, or nothing reaches far enough: S is blocked.
    Blocked,
    /// FIG. 11.
    Inside,
    /// FIG. 9; FIG. 8 where T is at home.
    OutsideWithAdapter,
    /// FIG. 10: T takes the place of V.
    OutsideWithoutAdapter,
    /// No VPN is configured: the null case.
    WithoutVpn,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blocked => "blocked",
            Self::Inside => "inside",
            Self::OutsideWithAdapter => "outside, with a VPN adapter",
            Self::OutsideWithoutAdapter => "outside, without a VPN adapter",
            Self::WithoutVpn => "without VPN",
        })
    }
}

/// An address that we hold whatever the network does, and what carries it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carriage {
    pub home: Ipv4Addr,
    pub path: Path,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Path {
    /// The address has a table that ends in unreachable, and nothing else in it.
    Blocked,
    /// At home, with a foreign agent as gateway, or inside without reverse tunnel. This is the way of
    /// what is sent; what is received may come through a tunnel.
    Native {
        link: LinkId,
        gateway: Option<Ipv4Addr>,
    },
    Tunnel {
        /// The care-of address.
        local: Ipv4Addr,
        /// The home agent.
        remote: Ipv4Addr,
        encapsulation: Encapsulation,
        through: Through,
        /// Whether what is sent goes through it too (RFC 3024). Otherwise it goes where `through`
        /// says, with the home address as its source.
        reverse: bool,
    },
}

impl Path {
    pub fn is_in_vpn(&self) -> bool {
        matches!(
            self,
            Self::Tunnel {
                through: Through::Vpn,
                ..
            }
        )
    }

    /// The adapter on which packets with the home address are in the clear, in a tunnel or not.
    pub fn clear_on(&self) -> Option<LinkId> {
        match self {
            Self::Native { link, .. }
            | Self::Tunnel {
                through: Through::Link { link, .. },
                ..
            } => Some(*link),
            Self::Blocked | Self::Tunnel { .. } => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encapsulation {
    IpIp,
    Minimal,
    Gre,
    /// RFC 3519.
    Udp {
        local_port: u16,
        remote_port: u16,
        keepalive: Duration,
    },
}

/// What is below a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Through {
    Link {
        link: LinkId,
        gateway: Option<Ipv4Addr>,
    },
    Vpn,
    /// The carriage of T, with no VPN between.
    OuterHome,
}
