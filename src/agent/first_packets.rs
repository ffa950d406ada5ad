//! First packets that wait for their tunnel in a queue of nftables'.
//!
//! ```text
//!  FirstPacket ─→ which policy decides? ─ a trap ─→ waits ─ tunnel, failure, too long ─→ LetGo
//!                                       └ another ──────────────────────────────────────→ LetGo
//! ```
//!
//! Traps stay what holds and announces: packets behind the first, those of this machine's own, and all of them where
//! the kernel has no such queue. What is let go meets the policies, so nothing that is decided here can let anything
//! through in the clear.

use super::Agent;
use super::effect::Effect;
use super::wishes::Owner;
use crate::kernel::desired::{Direction, Key};
use crate::kernel::first_packets::{FirstPacket, PacketId};
use crate::net::{Flow, Selector, Timers};
use crate::ted::initiator::{Acquire, Acquired};
use crate::ted::proxies::ProxyId;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Longer than most discoveries take. Then the policies have it, whose queues hold it for a minute.
const PATIENCE: Duration = Duration::from_secs(5);

/// Packets that wait at once; more are left to the policies.
const MOST: usize = 256;

/// Pairs of hosts that are remembered, so that a first packet after their tunnel waits here again.
const MOST_PAIRS: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct FirstPackets {
    waiting: BTreeMap<PacketId, Flow>,
    patience: Timers<PacketId>,
    /// Whose packets have waited here.
    pairs: BTreeSet<(IpAddr, IpAddr)>,
    /// Go when the kernel has what is wanted now.
    settled: Vec<PacketId>,
    forgotten: Vec<(IpAddr, IpAddr)>,
}

impl FirstPackets {
    fn is_full(&self) -> bool {
        self.waiting.len() >= MOST
    }

    fn wait(&mut self, now: Instant, id: PacketId, flow: Flow) {
        self.waiting.insert(id, flow);
        self.patience.set(id, now + PATIENCE);
        if self.pairs.len() >= MOST_PAIRS {
            self.pairs.pop_first();
        }
        self.pairs.insert((flow.src, flow.dst));
    }

    /// What `settled` matches waits no longer.
    fn settle(&mut self, settled: impl Fn(&Flow) -> bool) {
        let (patience, ready) = (&mut self.patience, &mut self.settled);
        self.waiting.retain(|id, flow| {
            let stays = !settled(flow);
            if !stays {
                patience.stop(id);
                ready.push(*id);
            }
            stays
        });
    }

    /// The tunnel for `selectors` has gone, and whatever else was decided of what is in them.
    pub(super) fn uncovered(&mut self, selectors: &[Selector]) {
        let between = |(src, dst): &(IpAddr, IpAddr)| {
            let mut selectors = selectors.iter();
            selectors.any(|s| s.src.contains(src) && s.dst.contains(dst))
        };
        let forgotten = &mut self.forgotten;
        self.pairs.retain(|pair| {
            let stays = !between(pair);
            if !stays {
                forgotten.push(*pair);
            }
            stays
        });
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while let Some(id) = self.patience.expired(now) {
            self.waiting.remove(&id);
            self.settled.push(id);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.patience.next()
    }

    pub(super) fn tables(&self) -> [(&'static str, usize); 2] {
        [
            ("first-packets-waiting", self.waiting.len()),
            ("first-packets-pairs", self.pairs.len()),
        ]
    }
}

impl Agent {
    pub(super) fn first_packet(&mut self, now: Instant, packet: FirstPacket) {
        self.count("first-packets");
        let FirstPacket { id, flow } = packet;
        let waits = flow.is_some_and(|flow| {
            self.trap_of(&flow).is_some_and(|proxy| {
                self.tunnels.will_carry(&flow) || self.look_into(now, proxy, flow) == Looking::On
            })
        });
        match flow {
            Some(flow) if waits => self.first_packets.wait(now, id, flow),
            _ => self.effects.push_back(Effect::LetGo(id)),
        }
    }

    /// Where the kernel would hold and announce a packet of this flow, as far as is known.
    fn trap_of(&self, flow: &Flow) -> Option<ProxyId> {
        if self.stopping || !self.begun || self.others_decide || self.first_packets.is_full() {
            return None;
        }
        let (owner, policy) = self.wishes.deciding(Direction::Out, flow)?;
        let is_trap = matches!(owner, Owner::Base | Owner::NarrowTrap)
            && !self.refusals.contains_key(&Key::Policy(policy.key));
        let trap = self.held.wide_of(&policy.key).unwrap_or(policy.key);
        is_trap.then(|| self.traps.get(&trap).copied()).flatten()
    }

    /// Has a gateway looked for in front of the flow's destination.
    pub(super) fn look_into(&mut self, now: Instant, proxy: ProxyId, flow: Flow) -> Looking {
        let Some(own) = self.own_address_towards(flow.dst) else {
            self.count("acquires-without-route");
            return Looking::NoRoute;
        };
        match self.initiator.acquire(now, Acquire { proxy, flow, own }) {
            Ok(Acquired::Probing(_) | Acquired::Waiting) => Looking::On,
            Ok(Acquired::Failed) => Looking::Settled,
            Err(error) => {
                tracing::debug!(%flow, %error, "not looked into");
                Looking::Settled
            }
        }
    }

    /// What matches waits no longer, in the kernel's queues or here: a tunnel takes it, or its failure action.
    pub(super) fn settle(&mut self, now: Instant, settled: impl Fn(&Flow) -> bool) {
        self.first_packets.settle(&settled);
        self.held.settle(now, settled, &mut self.wishes);
    }

    /// The configuration has changed, or the agent ends.
    pub(super) fn let_all_go(&mut self) {
        self.first_packets.settle(|_| true);
    }

    /// They go when the kernel has what they wait for.
    pub(super) fn let_settled_go(&mut self) {
        for (src, dst) in std::mem::take(&mut self.first_packets.forgotten) {
            self.afterwards.push_back(Effect::Forget { src, dst });
        }
        let revision = self.wishes.revision();
        for id in std::mem::take(&mut self.first_packets.settled) {
            if revision <= self.applied || self.stopping {
                self.effects.push_back(Effect::LetGo(id));
            } else {
                self.awaiting.push_back((revision, Effect::LetGo(id)));
            }
        }
    }
}

/// What came of looking for a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looking {
    On,
    /// It failed a while ago, and its action holds.
    Settled,
    NoRoute,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::host;

    fn flow(dst: &str) -> Flow {
        Flow {
            src: "10.1.0.102".parse().unwrap(),
            dst: dst.parse().unwrap(),
            protocol: 6,
            ports: Some((40_000, 80)),
        }
    }

    #[test]
    fn a_packet_waits_until_its_flow_is_settled_and_not_for_ever() {
        let now = Instant::now();
        let mut first = FirstPackets::default();
        let flows = ["10.2.0.8", "10.3.0.9"].map(flow);
        for (id, flow) in flows.into_iter().enumerate() {
            first.wait(now, PacketId(id as u32), flow);
        }
        first.settle(|flow| *flow == flows[1]);
        assert_eq!(first.settled, [PacketId(1)]);
        assert_eq!(first.poll_timeout(), Some(now + PATIENCE));
        first.handle_timeout(now + PATIENCE);
        assert_eq!(first.settled, [PacketId(1), PacketId(0)]);
        assert_eq!(first.poll_timeout(), None);
        assert!(first.waiting.is_empty());
    }

    #[test]
    fn whose_tunnel_has_gone_is_forgotten_once() {
        let now = Instant::now();
        let mut first = FirstPackets::default();
        for (id, dst) in ["10.2.0.8", "10.3.0.9"].into_iter().enumerate() {
            first.wait(now, PacketId(id as u32), flow(dst));
        }
        let gone = flow("10.2.0.8");
        let of_it = [Selector::between(host(gone.src), host(gone.dst))];
        for _ in 0..2 {
            first.uncovered(&of_it);
            assert_eq!(first.forgotten, [(gone.src, gone.dst)]);
        }
    }

    #[test]
    fn memory_is_bounded() {
        let now = Instant::now();
        let mut first = FirstPackets::default();
        for n in 0..2 * MOST_PAIRS as u32 {
            let dst = format!("10.2.{}.{}", n / 200, n % 200);
            if first.is_full() {
                first.settle(|_| true);
            }
            first.wait(now, PacketId(n), flow(&dst));
        }
        assert!(first.waiting.len() <= MOST && first.pairs.len() <= MOST_PAIRS);
    }
}
