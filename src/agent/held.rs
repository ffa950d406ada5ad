//! Packets that wait in the kernel for their tunnel.
//!
//! The kernel holds packets in one queue a policy, first in, first out: a destination that never
//! answers would keep everybody behind it waiting. So the first packet of a destination is
//! announced by the wide trap, and a narrow trap for exactly that destination takes the rest.
//!
//! ```text
//!  wide trap   10.1.0.0/16 → 10.0.0.0/8    [first packet of each destination]
//!  narrow trap 10.1.0.0/16 → 10.2.0.8/32   [everything else for 10.2.0.8]
//! ```
//!
//! While a destination waits alone there is nobody to keep waiting. Its narrow trap is written when
//! another comes, or when the answer takes long: most tunnels are up before.

use super::foundation::{ACQUIRE_EXPIRES, trap};
use super::wishes::{Owner, Wishes};
use crate::kernel::desired::PolicyKey;
use crate::kernel::ownership::Band;
use crate::net::{Flow, Selector, Timers, host};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long a narrow trap stays after its packets were released: deleting a policy purges its
/// queue, and the kernel empties it from a timer.
const LINGER: Duration = Duration::from_secs(1);

/// How long a destination that waits alone does without a narrow trap: longer than most answers
/// take, and less than 1000 packets a second need to fill the kernel's queue.
const ALONE: Duration = Duration::from_millis(80);

/// Destinations that may wait at once; packets for more stay in the wide trap's queue.
const MAX_NARROW: usize = 4096;

/// Flows remembered for one trap. More wait all the same, and are released with the others.
const MAX_FLOWS: usize = 4096;

/// What the kernel holds in one queue: it drops where more than `XFRM_MAX_QUEUE_LEN`, 100, are in it
/// already.
const KERNEL_QUEUE: u64 = 101;

#[derive(Debug, Default)]
pub(super) struct Held {
    wide: BTreeMap<PolicyKey, Queue>,
    narrow: BTreeMap<PolicyKey, Narrow>,
    ending: Timers<PolicyKey>,
    /// Wide traps with a destination that waits alone.
    alone: Timers<PolicyKey>,
    overflow: u64,
}

/// What waits in the kernel's queue of one trap, as far as it was announced.
#[derive(Debug, Default)]
struct Queue {
    flows: BTreeSet<Flow>,
    /// ACQUIREs since the queue was last released.
    announced: u64,
    /// The narrow trap, not written yet, of the only destination that waits in it.
    alone: Option<PolicyKey>,
}

#[derive(Debug)]
struct Narrow {
    /// The one of the configuration that announced the destination. Not its proxy's number, which
    /// a changed configuration may give to another.
    wide: PolicyKey,
    /// Its flows include those whose first packet waits in the wide trap's queue.
    queue: Queue,
    /// The kernel is to have it.
    written: bool,
}

impl Queue {
    fn expect(&mut self, flow: Flow) {
        if self.flows.len() < MAX_FLOWS {
            self.flows.insert(flow);
        }
    }

    /// Whether the kernel still had room for the packet.
    fn announced(&mut self, flow: Flow) -> bool {
        self.expect(flow);
        self.announced += 1;
        self.announced <= KERNEL_QUEUE
    }

    /// Whether anything in it waits no longer.
    fn settle(&mut self, settled: impl Fn(&Flow) -> bool) -> bool {
        let before = self.flows.len();
        self.flows.retain(|flow| !settled(flow));
        let any = self.flows.len() < before;
        if any {
            self.announced = self.announced.min(self.flows.len() as u64);
        }
        any
    }
}

impl Held {
    /// The trap of the configuration that this narrow one stands before.
    pub(super) fn wide_of(&self, key: &PolicyKey) -> Option<PolicyKey> {
        self.narrow.get(key).map(|narrow| narrow.wide)
    }

    /// A packet of `flow` met the trap `key`. Counts it, and has everything else for its
    /// destination wait apart, where others wait too.
    pub(super) fn announced(
        &mut self,
        now: Instant,
        key: PolicyKey,
        flow: Flow,
        wishes: &mut Wishes,
    ) {
        let narrow = self.narrow.get_mut(&key);
        let is_narrow = narrow.is_some();
        let queue = match narrow {
            Some(narrow) => &mut narrow.queue,
            None => self.wide.entry(key).or_default(),
        };
        let is_first = queue.flows.is_empty();
        if !queue.announced(flow) {
            self.overflow += 1;
        }
        if is_narrow {
            self.ending.stop(&key);
            return;
        }
        let selector = Selector {
            dst: host(flow.dst),
            ..key.selector
        };
        let own = trap(selector, key.mark, Band::NarrowTrap).key;
        if let Some(narrow) = self.narrow.get_mut(&own) {
            narrow.queue.expect(flow);
            self.ending.stop(&own);
            return;
        }
        if selector == key.selector || self.narrow.len() >= MAX_NARROW {
            return;
        }
        let mut narrow = Narrow {
            wide: key,
            queue: Queue::default(),
            written: false,
        };
        narrow.queue.expect(flow);
        self.narrow.insert(own, narrow);
        if is_first {
            self.wide.entry(key).or_default().alone = Some(own);
            self.alone.set(key, now + ALONE);
        } else {
            self.write_alone(&key, wishes);
            self.write(own, wishes);
        }
    }

    /// The destination that waited alone at the trap `wide`, if any, gets its narrow trap.
    fn write_alone(&mut self, wide: &PolicyKey, wishes: &mut Wishes) {
        self.alone.stop(wide);
        let queue = self.wide.get_mut(wide);
        if let Some(narrow) = queue.and_then(|queue| queue.alone.take()) {
            self.write(narrow, wishes);
        }
    }

    fn write(&mut self, key: PolicyKey, wishes: &mut Wishes) {
        if let Some(narrow) = self.narrow.get_mut(&key) {
            narrow.written = true;
            let policy = trap(key.selector, key.mark, Band::NarrowTrap);
            wishes.want_policy(Owner::NarrowTrap, policy);
        }
    }

    /// What `settled` matches waits no longer: a tunnel takes it, or its failure action. Held
    /// packets are looked up again, and narrow traps that nothing waits for end.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        settled: impl Fn(&Flow) -> bool,
        wishes: &mut Wishes,
    ) {
        self.wide.retain(|key, queue| {
            if queue.settle(&settled) {
                wishes.release(*key);
            }
            if queue.flows.is_empty() {
                self.alone.stop(key);
            }
            !queue.flows.is_empty()
        });
        self.narrow.retain(|key, narrow| {
            let any = narrow.queue.settle(&settled);
            let is_empty = narrow.queue.flows.is_empty();
            if any && narrow.written {
                wishes.release(*key);
                if is_empty {
                    self.ending.set(*key, now + LINGER);
                }
            }
            narrow.written || !is_empty
        });
    }

    /// The tunnel for `selectors` has gone. Packets meet again what stands behind it; as long as
    /// the larval SA of an earlier one lasts, the kernel holds them without a word. So a narrow
    /// trap that was about to end stays until it would have announced them.
    pub(super) fn uncovered(&mut self, now: Instant, selectors: &[Selector]) {
        for key in self.narrow.keys() {
            if self.ending.deadline(key).is_some()
                && selectors.iter().any(|s| s.overlaps(&key.selector))
            {
                let larval = Duration::from_secs(ACQUIRE_EXPIRES.into());
                self.ending.set(*key, now + larval + LINGER);
            }
        }
    }

    /// Writes and withdraws the narrow traps whose time has come.
    pub(super) fn handle_timeout(&mut self, now: Instant, wishes: &mut Wishes) {
        while let Some(wide) = self.alone.expired(now) {
            self.write_alone(&wide, wishes);
        }
        while let Some(key) = self.ending.expired(now) {
            self.narrow.remove(&key);
            wishes.withdraw_policy(Owner::NarrowTrap, key);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        [self.ending.next(), self.alone.next()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Forgets a trap that the configuration no longer has, and those that stand before it.
    pub(super) fn trap_removed(&mut self, key: &PolicyKey, wishes: &mut Wishes) {
        self.wide.remove(key);
        self.alone.stop(key);
        let ending = &mut self.ending;
        self.narrow.retain(|narrow, Narrow { wide, written, .. }| {
            if wide == key && *written {
                ending.stop(narrow);
                wishes.withdraw_policy(Owner::NarrowTrap, *narrow);
            }
            wide != key
        });
    }

    pub(super) fn tables(&self) -> [(&'static str, usize); 3] {
        let narrow = self.narrow.values().map(|narrow| narrow.queue.flows.len());
        let wide = self.wide.values().map(|queue| queue.flows.len());
        [
            ("held-narrow-traps", self.narrow.len()),
            ("held-flows", narrow.chain(wide).sum()),
            ("held-timers", self.ending.len() + self.alone.len()),
        ]
    }

    pub(super) fn destinations(&self) -> usize {
        self.narrow.len()
    }

    /// Announced packets that came when a queue was full already: dropped by the kernel. It
    /// announces one packet for each pair of hosts, and another after some seconds; what it drops
    /// of the others, nobody counts.
    pub(super) fn overflow(&self) -> u64 {
        self.overflow
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::foundation::without;
    use crate::agent::settings::InterceptionSettings;
    use crate::kernel::desired::{Change, Key};

    fn wide() -> PolicyKey {
        let net = |s: &str| s.parse().unwrap();
        let selector = Selector::between(net("10.1.0.0/16"), net("10.0.0.0/8"));
        let mark = without(InterceptionSettings::default().pass_mark);
        trap(selector, mark, Band::Trap).key
    }

    fn narrow(dst: &str) -> PolicyKey {
        let wide = wide();
        let selector = Selector {
            dst: host(dst.parse().unwrap()),
            ..wide.selector
        };
        PolicyKey { selector, ..wide }
    }

    fn flow(dst: &str, port: u16) -> Flow {
        Flow {
            src: "10.1.0.102".parse().unwrap(),
            dst: dst.parse().unwrap(),
            protocol: 6,
            ports: Some((40_000, port)),
        }
    }

    fn put(change: &Change) -> Vec<Key> {
        change
            .put
            .iter()
            .map(crate::kernel::desired::Object::key)
            .collect()
    }

    #[test]
    fn a_destination_gets_a_trap_of_its_own_once() {
        let now = Instant::now();
        let (mut held, mut wishes) = (Held::default(), Wishes::default());
        held.announced(now, wide(), flow("10.2.0.8", 80), &mut wishes);
        assert!(wishes.take_change().is_none(), "it waits alone");
        assert_eq!(held.poll_timeout(), Some(now + ALONE));
        held.handle_timeout(now + ALONE, &mut wishes);
        let change = wishes.take_change().unwrap();
        assert_eq!(put(&change), [Key::Policy(narrow("10.2.0.8"))]);
        held.announced(now, wide(), flow("10.2.0.8", 81), &mut wishes);
        held.announced(now, narrow("10.2.0.8"), flow("10.2.0.8", 82), &mut wishes);
        assert!(wishes.take_change().is_none());
        assert_eq!(held.wide_of(&narrow("10.2.0.8")), Some(wide()));
        assert_eq!(held.destinations(), 1);
    }

    #[test]
    fn who_waits_alone_and_not_for_long_needs_no_trap_of_its_own() {
        let now = Instant::now();
        let (mut held, mut wishes) = (Held::default(), Wishes::default());
        wishes.want_policy(Owner::Base, trap(wide().selector, wide().mark, Band::Trap));
        wishes.take_change();
        let (first, second) = (flow("10.2.0.8", 80), flow("10.2.0.8", 81));
        held.announced(now, wide(), first, &mut wishes);
        held.announced(now, wide(), second, &mut wishes);
        held.settle(now, |f| *f == first, &mut wishes);
        let change = wishes.take_change().unwrap();
        assert_eq!((put(&change), change.release), (vec![], vec![wide()]));
        assert_eq!(held.destinations(), 1, "another flow of it still waits");
        held.settle(now, |f| *f == second, &mut wishes);
        assert_eq!(wishes.take_change().unwrap().release, [wide()]);
        assert_eq!((held.destinations(), held.poll_timeout()), (0, None));
    }

    #[test]
    fn whoever_else_comes_has_the_first_wait_apart_too() {
        let now = Instant::now();
        let (mut held, mut wishes) = (Held::default(), Wishes::default());
        for dst in ["10.2.0.8", "10.3.0.9", "10.4.0.1"] {
            held.announced(now, wide(), flow(dst, 80), &mut wishes);
            let written = wishes.take_change().map(|change| put(&change));
            let expected = match dst {
                "10.2.0.8" => None,
                "10.3.0.9" => Some(vec![
                    Key::Policy(narrow("10.2.0.8")),
                    Key::Policy(narrow("10.3.0.9")),
                ]),
                _ => Some(vec![Key::Policy(narrow(dst))]),
            };
            assert_eq!(written, expected, "{dst}");
        }
        assert_eq!(held.poll_timeout(), None);
    }

    #[test]
    fn settled_flows_release_their_queues_and_the_narrow_trap_goes_when_the_last_has() {
        let now = Instant::now();
        let (mut held, mut wishes) = (Held::default(), Wishes::default());
        wishes.want_policy(Owner::Base, trap(wide().selector, wide().mark, Band::Trap));
        let (first, second) = (flow("10.2.0.8", 80), flow("10.2.0.8", 81));
        let other = flow("10.3.0.9", 80);
        for waiting in [first, second, other] {
            held.announced(now, wide(), waiting, &mut wishes);
        }
        wishes.take_change();
        held.settle(now, |f| *f == first, &mut wishes);
        let change = wishes.take_change().unwrap();
        assert_eq!(change.release, [wide(), narrow("10.2.0.8")]);
        assert_eq!(held.poll_timeout(), None, "another flow still waits there");
        held.settle(now, |f| *f == second, &mut wishes);
        assert_eq!(
            held.poll_timeout(),
            Some(now + LINGER),
            "its queue empties first"
        );
        wishes.take_change();
        held.handle_timeout(now + LINGER, &mut wishes);
        let change = wishes.take_change().unwrap();
        assert_eq!(change.remove, [Key::Policy(narrow("10.2.0.8"))]);
        assert_eq!(held.destinations(), 1, "10.3.0.9 still waits");
    }

    #[test]
    fn a_flow_that_comes_back_keeps_the_narrow_trap() {
        let now = Instant::now();
        let (mut held, mut wishes) = (Held::default(), Wishes::default());
        let waiting = flow("10.2.0.8", 80);
        held.announced(now, wide(), waiting, &mut wishes);
        held.settle(now, |_| true, &mut wishes);
        held.announced(now, wide(), waiting, &mut wishes);
        held.handle_timeout(now + LINGER * 2, &mut wishes);
        assert_eq!(held.destinations(), 1);
    }

    #[test]
    fn a_narrow_trap_stays_for_what_nobody_announces_once_the_tunnel_has_gone() {
        let now = Instant::now();
        let (mut held, mut wishes) = (Held::default(), Wishes::default());
        for dst in ["10.2.0.8", "10.3.0.9", "10.4.0.1"] {
            held.announced(now, wide(), flow(dst, 80), &mut wishes);
        }
        held.settle(now, |f| *f != flow("10.4.0.1", 80), &mut wishes);
        let lost = now + LINGER / 2;
        held.uncovered(lost, &[narrow("10.3.0.9").selector]);
        held.handle_timeout(now + LINGER, &mut wishes);
        assert_eq!(held.wide_of(&narrow("10.2.0.8")), None, "still in a tunnel");
        let larval = Duration::from_secs(ACQUIRE_EXPIRES.into());
        assert_eq!(held.poll_timeout(), Some(lost + larval + LINGER));
        held.announced(now, narrow("10.3.0.9"), flow("10.3.0.9", 80), &mut wishes);
        assert_eq!(held.poll_timeout(), None, "what waits there is announced");
        held.uncovered(lost, &[wide().selector]);
        assert_eq!(held.poll_timeout(), None, "nothing was about to end");
    }

    #[test]
    fn narrow_traps_go_with_the_trap_that_they_stand_before() {
        let now = Instant::now();
        let (mut held, mut wishes) = (Held::default(), Wishes::default());
        held.announced(now, wide(), flow("10.2.0.8", 80), &mut wishes);
        held.handle_timeout(now + ALONE, &mut wishes);
        wishes.take_change();
        held.trap_removed(&narrow("10.2.0.8"), &mut wishes);
        assert!(
            wishes.take_change().is_none(),
            "not a trap of the configuration"
        );
        held.trap_removed(&wide(), &mut wishes);
        let change = wishes.take_change().unwrap();
        assert_eq!(change.remove, [Key::Policy(narrow("10.2.0.8"))]);
        assert_eq!((held.destinations(), held.poll_timeout()), (0, None));
        held.announced(now, wide(), flow("10.2.0.8", 80), &mut wishes);
        held.trap_removed(&wide(), &mut wishes);
        assert!(wishes.take_change().is_none(), "it was not written yet");
        assert_eq!((held.destinations(), held.poll_timeout()), (0, None));
    }

    #[test]
    fn packets_beyond_the_kernels_queue_are_counted_and_memory_is_bounded() {
        let now = Instant::now();
        let (mut held, mut wishes) = (Held::default(), Wishes::default());
        for n in 0..10_000u32 {
            let dst = format!("10.2.{}.{}", n / 200, n % 200);
            held.announced(now, wide(), flow(&dst, 80), &mut wishes);
        }
        assert_eq!(held.overflow(), 10_000 - KERNEL_QUEUE);
        assert_eq!(held.destinations(), MAX_NARROW);
        assert_eq!(held.wide[&wide()].flows.len(), MAX_FLOWS);
    }
}
