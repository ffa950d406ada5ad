//! What the initiator wants done, and what it has found out.

use super::{DiscoveryId, RequestId};
use crate::net::Flow;
use crate::ted::proxies::{Irreconcilable, Proxy, ProxyId};
use crate::ted::wire::{ClaimedIdentity, Probe};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Drained with `Initiator::poll_effect` after every input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// To UDP port 500, with the addresses of packet P: the source is usually not an address of
    /// this machine. Of a discovery, unless somebody only asked who is there: then the probe may take
    /// an `IKE_SA_INIT` along, the same each time.
    SendProbe {
        discovery: Option<DiscoveryId>,
        probe: Probe,
    },
    /// Somebody says it protects the destination: try IKE with it. Ends in exactly one of
    /// `Initiator::candidate_failed`, `Initiator::covered` with selectors that hold `flow`, or an
    /// [`Effect::Ended`] of this discovery.
    Candidate(Candidate),
    /// Nothing came of it; the flow is not probed again before `until`.
    Failed {
        discovery: DiscoveryId,
        proxy: ProxyId,
        flow: Flow,
        /// ACQUIREs that waited for it.
        packets: u64,
        reason: FailureReason,
        until: Instant,
    },
    /// The failure holds no longer: its lifetime has ended, a tunnel covers the flow, or somebody
    /// asked for it. The next packet is looked into afresh.
    FailureEnded { proxy: ProxyId, flow: Flow },
    /// A flow waits no longer, without having failed. With a discovery, negotiations with its
    /// candidates are pointless from now on.
    Ended {
        proxy: ProxyId,
        flow: Flow,
        discovery: Option<DiscoveryId>,
        why: Ended,
    },
    /// What `Initiator::discover` collected.
    Report {
        request: RequestId,
        answers: Vec<Answer>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub discovery: DiscoveryId,
    pub proxy: ProxyId,
    pub flow: Flow,
    /// Our address, as it stood in the probe.
    pub own: IpAddr,
    pub responder: IpAddr,
    /// The largest common subset that holds `flow`: source half local.
    pub merged: Proxy,
    /// Which configured peer it claims to be. Proves nothing.
    pub claimed: Option<ClaimedIdentity>,
    /// What it said to the probe's `IKE_SA_INIT`.
    pub ike: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FailureReason {
    /// The only reason that a failure action `clear` may answer.
    #[error("nobody answered")]
    Silence,
    #[error("{responder} answered, but {what}")]
    Irreconcilable {
        responder: IpAddr,
        what: Irreconcilable,
    },
    /// Of the candidate tried last.
    #[error("{responder}: {why}")]
    CandidatesRefused { responder: IpAddr, why: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A tunnel holds the flow.
    Covered,
    /// It waited for its turn and no packet asked for it any more.
    Stale,
    /// Its proxy has changed or gone, our address has, or an administrator said so.
    Forgotten,
}

/// One gateway's answer to `Initiator::discover`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub responder: IpAddr,
    /// As the responder wrote them: the local half is our destination.
    pub offered: Vec<Proxy>,
    pub merged: Result<Proxy, Irreconcilable>,
    pub after: Duration,
}
