//! What an administrator may see of it.

use super::discovery::Discovery;
use super::pending::Waiting;
use super::{Failure, Initiator};
use crate::net::Flow;
use crate::ted::proxies::ProxyId;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A flow without a tunnel whose outcome is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    pub proxy: ProxyId,
    pub flow: Flow,
    pub phase: Phase,
    pub probes_sent: u32,
    /// ACQUIREs so far.
    pub packets: u64,
    /// Gateways that answered, those that were refused included.
    pub candidates: Vec<IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Probing,
    /// For another flow's outcome.
    Waiting,
    Negotiating,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub acquires: u64,
    /// ACQUIREs without a place to wait.
    pub acquires_refused: u64,
    pub probes_sent: u64,
    /// Probes that the rate limits put off.
    pub probes_limited: u64,
    pub answers: u64,
    pub answers_malformed: u64,
    /// Nobody asked for them.
    pub answers_unasked: u64,
    /// Their cookie belongs to a discovery that is over.
    pub answers_replayed: u64,
    /// Their ID is not where they came from.
    pub answers_foreign: u64,
    pub answers_repeated: u64,
    /// Beyond the candidates that one probe may have.
    pub answers_excess: u64,
}

impl Counters {
    /// Each with its stable name.
    pub fn named(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::from([
            ("acquires", self.acquires),
            ("acquires-refused", self.acquires_refused),
            ("probes-sent", self.probes_sent),
            ("probes-put-off", self.probes_limited),
            ("answers", self.answers),
            ("answers-malformed", self.answers_malformed),
            ("answers-unasked", self.answers_unasked),
            ("answers-replayed", self.answers_replayed),
            ("answers-foreign", self.answers_foreign),
            ("answers-repeated", self.answers_repeated),
            ("answers-excess", self.answers_excess),
        ])
    }
}

impl Initiator {
    /// Everything that is probed, negotiated or waits, by proxy.
    pub fn pending(&self) -> impl Iterator<Item = Pending> {
        self.groups.iter().flat_map(|(proxy, group)| {
            let active = group
                .active
                .iter()
                .filter_map(|id| self.discoveries.get(id));
            let waiting = group.waiting().map(|(_, waiting)| waiting);
            active
                .map(Pending::of_discovery)
                .chain(waiting.map(|waiting| Pending::of_waiting(*proxy, waiting)))
        })
    }

    /// Flows that failed and are not probed for now.
    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.failures.iter()
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How many entries each of its tables has. Cheap.
    pub fn tables(&self) -> impl Iterator<Item = (&'static str, usize)> {
        [
            ("discoveries", self.discoveries.len()),
            ("discovery-cookies", self.by_cookie.len()),
            ("discovery-groups", self.groups.len()),
            ("discovery-timers", self.timers.len()),
            ("flows-waiting", self.waiting),
            ("cookies-spent", self.spent.len()),
            ("inquiries", self.inquiries.len()),
            ("failures", self.failures.len()),
            ("destinations-probed", self.limiter.remembered()),
        ]
        .into_iter()
    }
}

impl Pending {
    fn of_discovery(discovery: &Discovery) -> Self {
        Self {
            proxy: discovery.proxy,
            flow: discovery.flow,
            phase: if discovery.is_negotiating() {
                Phase::Negotiating
            } else {
                Phase::Probing
            },
            probes_sent: discovery.probes_sent,
            packets: discovery.packets,
            candidates: discovery.candidates.iter().map(|c| c.responder).collect(),
        }
    }

    fn of_waiting(proxy: ProxyId, waiting: &Waiting) -> Self {
        Self {
            proxy,
            flow: waiting.flow,
            phase: Phase::Waiting,
            probes_sent: 0,
            packets: waiting.packets,
            candidates: Vec::new(),
        }
    }
}
