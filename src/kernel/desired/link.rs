//! Network interfaces of ours, and what is attached to any.

use crate::net::IpNet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The name of a network interface.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkName {
    /// Zero octets behind the name, so that the order is that of the names.
    octets: [u8; Self::LONGEST],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an interface's name has 1 to 15 characters, without spaces, `/` and `:`, and is not `.` or `..`"
)]
pub struct InvalidLinkName;

impl LinkName {
    /// `IFNAMSIZ` without the zero at its end.
    const LONGEST: usize = 15;

    /// For names that are written in the code.
    ///
    /// # Panics
    /// It is none; in a constant, the compiler says so.
    #[must_use]
    pub const fn literal(name: &'static str) -> Self {
        match Self::checked(name) {
            Some(name) => name,
            None => panic!("no interface may be called so"),
        }
    }

    /// As `dev_valid_name` of the kernel has it, and without control characters.
    const fn checked(name: &str) -> Option<Self> {
        let bytes = name.as_bytes();
        let dots = matches!(bytes, b"." | b"..");
        if bytes.is_empty() || bytes.len() > Self::LONGEST || dots {
            return None;
        }
        let mut octets = [0; Self::LONGEST];
        let mut at = 0;
        while at < bytes.len() {
            if bytes[at] <= b' ' || bytes[at] == 0x7f || bytes[at] == b'/' || bytes[at] == b':' {
                return None;
            }
            octets[at] = bytes[at];
            at += 1;
        }
        Some(Self { octets })
    }

    pub fn as_str(&self) -> &str {
        let len = self.octets.iter().position(|octet| *octet == 0);
        let name = &self.octets[..len.unwrap_or(Self::LONGEST)];
        std::str::from_utf8(name).expect("it was made from a str")
    }
}

impl FromStr for LinkName {
    type Err = InvalidLinkName;

    fn from_str(name: &str) -> Result<Self, InvalidLinkName> {
        Self::checked(name).ok_or(InvalidLinkName)
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// An interface that we make; it is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub name: LinkName,
    pub kind: LinkKind,
    /// Octets; at least 68.
    pub mtu: u32,
}

/// Of a tunnel over Ethernet, behind the outer header and that of GRE (RFC 2784). IP in IP has no such header and leaves
/// its four octets free: where no more fits through than the device takes, the kernel writes that down for each
/// destination, in a table of 16 KiB for each route, and loses packets that are between finding a route and leaving
/// while another one of the same destination finds it anew, which all do after each change of routes.
pub const TUNNEL_MTU: u32 = 1500 - 20 - GRE_HEADER as u32;
/// The same of a tunnel of GRE that finds out what fits.
pub const GRE_TUNNEL_MTU: u32 = TUNNEL_MTU - 4;

/// How a route over a [`LinkKind::Ipv6InIp`] names the other end: `::192.0.2.1`.
pub fn embedded(end: Ipv4Addr) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(u128::from(end.to_bits())))
}

/// Octets.
pub const GRE_HEADER: u16 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// Persistent, of IP packets without a header before them. Stays, with its addresses and
    /// routes, when nobody has it open.
    Tun(Offload),
    /// IP in IP (RFC 2003) whose outer addresses come from the route of each packet
    /// ([`super::Way::Encapsulated`]). The kernel has one in each network namespace.
    IpInIp,
    /// IP in IP between two addresses; to a link that only receives, one of them may be any (unspecified), and to one that takes
    /// what no other takes, both. What [`Self::IpInIp`] sends cannot go through the same link again, so a tunnel within a
    /// tunnel has one of its own.
    IpInIpBetween { local: Ipv4Addr, remote: Ipv4Addr },
    /// As [`Self::IpInIp`], in GRE without a key (RFC 2784). The kernel has one of these too.
    Gre,
    /// As [`Self::IpInIpBetween`].
    GreBetween { local: Ipv4Addr, remote: Ipv4Addr },
    /// IPv6 in IPv4 (RFC 4213), to the address that the gateway of a route embeds ([`embedded`]). Takes what comes
    /// from anywhere, so it needs entries that say what may.
    Ipv6InIp { local: Ipv4Addr },
    /// The same to one other end, and from it alone.
    Ipv6InIpBetween { local: Ipv4Addr, remote: Ipv4Addr },
}

/// Whether a `struct virtio_net_hdr` stands before each packet, so that many segments are read and
/// written at once. Whoever opens the TUN decides it anew, so it counts only when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    None,
    VirtioHeader,
}

/// An address on a link of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddressKey {
    pub link: LinkName,
    /// With its host bits.
    pub address: IpNet,
}

/// An address for which we answer on a link, whosever the link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProxyKey {
    pub link: LinkName,
    pub address: IpAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NeighbourKey {
    pub link: LinkName,
    pub address: IpAddr,
}

/// Somebody on a link, whosever the link is, whom nobody has to ask for: a permanent entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    pub key: NeighbourKey,
    pub mac: [u8; 6],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_kernel_would_refuse_are_none() {
        for name in [
            "",
            ".",
            "..",
            "a b",
            "a/b",
            "a:b",
            "a\n",
            "sixteen-octets-x",
            "a\0b",
        ] {
            assert_eq!(name.parse::<LinkName>(), Err(InvalidLinkName), "{name:?}");
        }
        for name in ["lo", "eth0.100", "fifteen-octets-", "wlan@x", "größe0"] {
            assert_eq!(name.parse::<LinkName>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn names_are_in_the_order_of_their_text() {
        let names = ["a", "a0", "ab", "b"].map(|name| name.parse::<LinkName>().unwrap());
        assert!(names.is_sorted());
    }
}
