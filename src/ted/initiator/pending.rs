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
    /// First come, first probed, but the senders take turns: a host that scans a network must not
    /// hold up the others.
    order: BTreeMap<Place, FlowKey>,
    next_ticket: u64,
    /// Of the flow that was begun last.
    turn: u64,
    senders: BTreeMap<IpAddr, Sender>,
}

/// A sender's first waiting flow has the next turn, its second the one after that. Within a turn,
/// the smaller ticket is first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    turn: u64,
    ticket: u64,
}

/// One that has flows waiting.
#[derive(Clone, Copy, Debug)]
struct Sender {
    last_turn: u64,
    waiting: usize,
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) flow: Flow,
    pub(super) own: IpAddr,
    pub(super) packets: u64,
    place: Place,
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
            turn: 0,
            senders: BTreeMap::new(),
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
        let sender = self.senders.entry(flow.src).or_insert(Sender {
            last_turn: self.turn,
            waiting: 0,
        });
        sender.last_turn = sender.last_turn.max(self.turn) + 1;
        sender.waiting += 1;
        let place = Place {
            turn: sender.last_turn,
            ticket: self.next_ticket,
        };
        self.next_ticket += 1;
        let waiting = Waiting {
            flow,
            own,
            packets: 1,
            place,
        };
        self.waiting.insert((&flow).into(), waiting);
        self.order.insert(place, (&flow).into());
    }

    /// How many flows of this sender wait.
    pub(super) fn waiting_from(&self, src: IpAddr) -> usize {
        self.senders.get(&src).map_or(0, |sender| sender.waiting)
    }

    /// Takes out a flow whose turn it is.
    pub(super) fn begin(&mut self, key: &FlowKey) -> Option<Waiting> {
        let waiting = self.remove(key)?;
        self.turn = self.turn.max(waiting.place.turn);
        Some(waiting)
    }

    pub(super) fn waiting_mut(&mut self, key: &FlowKey) -> Option<&mut Waiting> {
        self.waiting.get_mut(key)
    }

    pub(super) fn remove(&mut self, key: &FlowKey) -> Option<Waiting> {
        let waiting = self.waiting.remove(key)?;
        self.order.remove(&waiting.place);
        if let Some(sender) = self.senders.get_mut(&waiting.flow.src) {
            sender.waiting -= 1;
            if sender.waiting == 0 {
                self.senders.remove(&waiting.flow.src);
            }
        }
        Some(waiting)
    }

    /// In the order in which they will be begun.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (&FlowKey, &Waiting)> {
        self.order
            .values()
            .filter_map(|key| self.waiting.get_key_value(key))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.active.is_empty() && self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn flow(src: u8, dst: u32) -> Flow {
        Flow {
            src: Ipv4Addr::new(10, 1, 0, src).into(),
            dst: Ipv4Addr::from(0x0a02_0000 + dst).into(),
            protocol: 1,
            ports: None,
        }
    }

    fn begin(group: &mut Group) -> Flow {
        let (key, _) = group.waiting().next().unwrap();
        let key = *key;
        group.begin(&key).unwrap().flow
    }

    #[test]
    fn a_sender_of_many_flows_does_not_hold_up_the_one_that_comes_later() {
        let own = Ipv4Addr::new(192, 0, 2, 104).into();
        let mut group = Group::new();
        for dst in 0..1000 {
            group.push(flow(1, dst), own);
        }
        for dst in 0..10 {
            assert_eq!(begin(&mut group), flow(1, dst), "first come, first probed");
        }
        group.push(flow(2, 5000), own);
        group.push(flow(2, 5001), own);
        group.push(flow(3, 6000), own);
        let next: Vec<_> = (0..5).map(|_| begin(&mut group)).collect();
        let turns = [
            flow(1, 10),
            flow(2, 5000),
            flow(3, 6000),
            flow(1, 11),
            flow(2, 5001),
        ];
        assert_eq!(next, turns);
        assert_eq!(group.waiting_from(flow(1, 0).src), 988);
        assert_eq!(group.senders.len(), 1, "who waits for nothing is forgotten");
    }

    #[test]
    fn a_flow_that_is_given_up_leaves_nothing_and_costs_nobody_a_turn() {
        let own = Ipv4Addr::new(192, 0, 2, 104).into();
        let mut group = Group::new();
        for dst in 0..3 {
            group.push(flow(1, dst), own);
        }
        group.remove(&(&flow(1, 2)).into()).unwrap();
        group.push(flow(2, 9), own);
        assert_eq!(begin(&mut group), flow(1, 0));
        assert_eq!(begin(&mut group), flow(2, 9));
        assert_eq!(begin(&mut group), flow(1, 1));
        assert!(group.is_empty() && group.order.is_empty() && group.senders.is_empty());
    }
}
