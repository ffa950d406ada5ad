//! The addresses, protocol and ports of one packet.

use super::{Family, Protocol};
use std::fmt;
use std::net::IpAddr;

/// Packet P of the discovery document as its five values. Both addresses have the same version.
///
/// `ports` is `None` for protocols without ports; ICMP's type and code are not ports and are left
/// out (the kernel puts them where ports would be; the kernel room takes them away again).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub protocol: u8,
    /// Source and destination port.
    pub ports: Option<(u16, u16)>,
}

impl Flow {
    pub fn family(&self) -> Family {
        Family::of(self.dst)
    }

    pub fn src_port(&self) -> Option<u16> {
        self.ports.map(|(src, _)| src)
    }

    pub fn dst_port(&self) -> Option<u16> {
        self.ports.map(|(_, dst)| dst)
    }

    /// The same conversation as its other end sees it.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            protocol: self.protocol,
            ports: self.ports.map(|(s, d)| (d, s)),
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = Protocol::from_number(self.protocol);
        match self.ports {
            Some((s, d)) => write!(
                f,
                "{} port {s} > {} port {d} {protocol}",
                self.src, self.dst
            ),
            None => write!(f, "{} > {} {protocol}", self.src, self.dst),
        }
    }
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flow({self})")
    }
}
