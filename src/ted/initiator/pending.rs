//! Which flows of a proxy are probed and which wait for the outcome.

use super::{DiscoveryId, MAX_PROBED};
use crate::net::Flow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Flows that share an outcome: the same but for their source port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FlowKey {
    src: IpAddr,
    dst: IpAddr,
    protocol: u8,
    dst_port: Option<u16>,
}

impl From<&Flow> for FlowKey {
    fn from(flow: &Flow) -> Self {
        Self {
            src: flow.src,
            dst: flow.dst,
            protocol: flow.protocol,
            dst_port: flow.dst_port(),
        }
    }
}

/// What goes on under one proxy.
#[derive(Debug)]
pub(super) struct Group {
    /// Discoveries of unknown outcome that may run side by side. One, until silence shows that one
    /// is not enough.
    pub(super) allowance: usize,
    pub(super) active: BTreeSet<DiscoveryId>,
    waiting: BTreeMap<FlowKey, Waiting>,
    /// First come, first probed.
    order: BTreeMap<u64, FlowKey>,
    next_ticket: u64,
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) flow: Flow,
    pub(super) own: IpAddr,
    pub(super) packets: u64,
    ticket: u64,
}

/// How far retransmissions alone may raise the allowance.
const MAX_HEDGED: usize = 8;

impl Group {
    pub(super) fn new() -> Self {
        Self {
            allowance: 1,
            active: BTreeSet::new(),
            waiting: BTreeMap::new(),
            order: BTreeMap::new(),
            next_ticket: 0,
        }
    }

    /// The probe longest under way stayed unanswered a little longer: its destination may be dead,
    /// and must not hold up the live ones.
    pub(super) fn hedge(&mut self) {
        if !self.waiting.is_empty() {
            self.allowance = (self.allowance + 1).min(MAX_HEDGED.max(self.allowance));
        }
    }

    /// Nobody answered for a flow: the proxy's destinations do not lie behind one gateway.
    pub(super) fn widen(&mut self) {
        self.allowance = (self.allowance * 2).min(MAX_PROBED);
    }

    /// Somebody answered, so what waits is probably covered by the result; what is not gets one
    /// probe beside the `silent` ones, which are probably dead.
    pub(super) fn narrow(&mut self, silent: usize) {
        self.allowance = silent + 1;
    }

    pub(super) fn push(&mut self, flow: Flow, own: IpAddr) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let waiting = Waiting {
            flow,
            own,
            packets: 1,
            ticket,
        };
        self.waiting.insert((&flow).into(), waiting);
        self.order.insert(ticket, (&flow).into());
    }

    pub(super) fn waiting_mut(&mut self, key: &FlowKey) -> Option<&mut Waiting> {
        self.waiting.get_mut(key)
    }

    pub(super) fn remove(&mut self, key: &FlowKey) -> Option<Waiting> {
        let waiting = self.waiting.remove(key)?;
        self.order.remove(&waiting.ticket);
        Some(waiting)
    }

    /// In the order in which they came.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (&FlowKey, &Waiting)> {
        self.order
            .values()
            .filter_map(|key| self.waiting.get_key_value(key))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.active.is_empty() && self.waiting.is_empty()
    }
}
