//! Layer 0: the vocabulary every room shares. Values only: nothing here performs I/O, reads a
//! clock or draws randomness.

pub mod flow;
pub mod header;
pub mod identity;
pub mod mac;
pub mod masked;
pub mod port;
pub mod protocol;
pub mod random;
pub mod secret;
pub mod selector;
pub mod spi;
pub mod timers;

pub use flow::Flow;
pub use identity::Identity;
pub use ipnet::{IpNet, Ipv4Net, Ipv6Net};
pub use mac::Mac;
pub use masked::MaskedAddr;
pub use port::Port;
pub use protocol::Protocol;
pub use random::Random;
pub use secret::Secret;
pub use selector::Selector;
pub use spi::{Cpi, Spi};
pub use timers::Timers;

use std::net::IpAddr;

/// IP version of an address, a selector or a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub fn of(addr: IpAddr) -> Self {
        if addr.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The prefix that holds every address of this version.
    pub fn any(self) -> IpNet {
        match self {
            Self::V4 => IpNet::V4(Ipv4Net::default()),
            Self::V6 => IpNet::V6(Ipv6Net::default()),
        }
    }

    /// The address that stands for none, or for any.
    pub fn unspecified(self) -> IpAddr {
        match self {
            Self::V4 => std::net::Ipv4Addr::UNSPECIFIED.into(),
            Self::V6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// Length of an address in bits: 32 or 128.
    pub fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

/// The larger prefix contains the smaller; two prefixes are nested or disjoint, so the
/// intersection is one of them or nothing.
pub fn intersect_nets(a: IpNet, b: IpNet) -> Option<IpNet> {
    if a.contains(&b) {
        Some(b)
    } else if b.contains(&a) {
        Some(a)
    } else {
        None
    }
}

/// The prefix that holds exactly one address.
pub fn host(addr: IpAddr) -> IpNet {
    IpNet::from(addr)
}
