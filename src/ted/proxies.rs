//! Full proxies and their intersection (FIG. 3A–3C, blocks 216 and 218).

use crate::net::masked::TooManyPrefixes;
use crate::net::{Family, Flow, MaskedAddr, Port, Protocol, Selector};
use std::fmt;

/// A full proxy: traffic between what its gateway protects (`local`) and where that traffic goes
/// (`remote`). Both halves have the same IP version.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Proxy {
    pub local: MaskedAddr,
    pub remote: MaskedAddr,
    pub protocol: Protocol,
    pub local_port: Port,
    pub remote_port: Port,
}

/// Which part of two proxies has nothing in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Irreconcilable {
    #[error("protocol could not be reconciled")]
    Protocol,
    #[error("address could not be reconciled")]
    Address,
    #[error("port could not be reconciled")]
    Port,
}

impl Proxy {
    pub fn family(&self) -> Family {
        self.local.family()
    }

    /// The same traffic as the gateway at its other end would configure it.
    #[must_use]
    pub fn mirrored(&self) -> Self {
        Self {
            local: self.remote,
            remote: self.local,
            protocol: self.protocol,
            local_port: self.remote_port,
            remote_port: self.local_port,
        }
    }

    /// Whether a packet that leaves this gateway (source local) lies inside.
    pub fn covers(&self, flow: &Flow) -> bool {
        self.local.contains_addr(flow.src)
            && self.remote.contains_addr(flow.dst)
            && self.protocol.matches(flow.protocol)
            && self.local_port.matches(flow.src_port())
            && self.remote_port.matches(flow.dst_port())
    }

    pub fn contains(&self, other: &Self) -> bool {
        self.local.contains(&other.local)
            && self.remote.contains(&other.remote)
            && self.protocol.contains(other.protocol)
            && self.local_port.contains(other.local_port)
            && self.remote_port.contains(other.remote_port)
    }

    /// The largest common subset of two proxies, both seen from the same end: source half with
    /// source half, destination half with destination half.
    pub fn intersect(&self, other: &Self) -> Result<Self, Irreconcilable> {
        Ok(Self {
            protocol: self
                .protocol
                .intersect(other.protocol)
                .ok_or(Irreconcilable::Protocol)?,
            local: self
                .local
                .intersect(&other.local)
                .ok_or(Irreconcilable::Address)?,
            remote: self
                .remote
                .intersect(&other.remote)
                .ok_or(Irreconcilable::Address)?,
            local_port: self
                .local_port
                .intersect(other.local_port)
                .ok_or(Irreconcilable::Port)?,
            remote_port: self
                .remote_port
                .intersect(other.remote_port)
                .ok_or(Irreconcilable::Port)?,
        })
    }

    /// The more address, protocol and port bits are fixed, the more specific.
    pub fn specificity(&self) -> u32 {
        let fixed = |any: bool, bits: u32| if any { 0 } else { bits };
        self.local.specificity()
            + self.remote.specificity()
            + fixed(self.protocol == Protocol::Any, 8)
            + fixed(self.local_port == Port::Any, 16)
            + fixed(self.remote_port == Port::Any, 16)
    }

    /// The outbound selectors (source local, destination remote) that hold exactly its packets:
    /// one where both masks are contiguous.
    ///
    /// # Errors
    /// A half would need more than `bound` prefixes, or both together would.
    pub fn selectors(&self, bound: usize) -> Result<Vec<Selector>, TooManyPrefixes> {
        let locals = self.local.to_prefixes(bound)?;
        let remotes = self.remote.to_prefixes(bound / locals.len())?;
        let pairs = locals
            .iter()
            .flat_map(|l| remotes.iter().map(move |r| (*l, *r)));
        Ok(pairs
            .map(|(l, r)| {
                Selector::between(l, r)
                    .protocol(self.protocol)
                    .ports(self.local_port, self.remote_port)
            })
            .collect())
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} <> {} {}", self.local, self.remote, self.protocol)?;
        if self.local_port != Port::Any || self.remote_port != Port::Any {
            write!(f, " port {} <> {}", self.local_port, self.remote_port)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}
