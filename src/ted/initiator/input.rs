//! What the initiator is given, and what it says to that at once.

use super::MAX_WAITING;
use crate::net::Flow;
use crate::ted::proxies::{Irreconcilable, Proxy, ProxyId};
use crate::ted::wire::DecodeError;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DiscoveryId(pub u64);

/// Chosen by the caller; comes back in the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

#[derive(Clone, Debug)]
pub struct Config {
    pub proxies: BTreeMap<ProxyId, OwnProxy>,
    /// First retransmission of a probe; doubles up to [`RETRANSMIT_MAX`](super::RETRANSMIT_MAX).
    pub retransmit: Duration,
    /// A flow that no tunnel was found for within this has failed.
    pub timeout: Duration,
    /// Probes a second, in total.
    pub rate: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnProxy {
    pub proxy: Proxy,
    /// How long a failure holds before the flow is probed again.
    pub failure_lifetime: Duration,
}

/// A packet without a tunnel.
#[derive(Clone, Copy, Debug)]
pub struct Acquire {
    /// The proxy of ours whose trap it met.
    pub proxy: ProxyId,
    pub flow: Flow,
    /// Our address that answers should come to.
    pub own: IpAddr,
}

/// What an ACQUIRE led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// The flow is probed, since now or before.
    Probing(DiscoveryId),
    /// For the outcome of another flow's discovery.
    Waiting,
    /// It failed lately; the failure action should be in place.
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcquireError {
    #[error("no proxy of number {}", .0.0)]
    UnknownProxy(ProxyId),
    #[error("the packet lies outside of the proxy: {0}")]
    Outside(Irreconcilable),
    #[error("answers cannot come to {0}")]
    OwnAddress(IpAddr),
    #[error("{MAX_WAITING} flows wait already")]
    Full,
}

/// A response that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    Candidate(DiscoveryId),
    Irreconcilable(DiscoveryId, Irreconcilable),
    ForInquiry(RequestId),
}

/// A response that changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    #[error("malformed response: {0}")]
    Malformed(#[from] DecodeError),
    #[error("response that nobody asked for")]
    Unasked,
    #[error("response with the cookie of a discovery that is over")]
    Replayed,
    #[error("response claims to be from {id}, it came from elsewhere")]
    ForeignId { id: IpAddr },
    #[error("response heard before")]
    Repeated,
    #[error("more answers to one probe than are tried")]
    Excess,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscoverError {
    #[error("answers cannot come to {0}")]
    OwnAddress(IpAddr),
    #[error("too many inquiries at once: try again in two seconds")]
    Busy,
    #[error("more probes a second than the configured rate allows: try again in a second")]
    Limited,
}
