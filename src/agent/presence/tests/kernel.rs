//! A kernel reduced to what decides about the packets of a host: policies with marks, priorities
//! and lifetimes, SAs, hold queues, ACQUIRE; and one that refuses what a test says.

use crate::agent::event::KernelEvent;
use crate::agent::snapshot::RefusalView;
use crate::kernel::desired::{
    Action, Change, Direction, IpsecProtocol, Key, Level, Mode, Object, Policy, PolicyKey, Sa,
    SaDirection, SaKey, Template,
};
use crate::net::{Flow, Timers};
use crate::presence::{Protection, Protocols};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// One more than `XFRM_MAX_QUEUE_LEN`, as the kernel compares.
const QUEUE: usize = 101;

/// A queue is looked at again after the first, and each time after twice as long; when that comes
/// to the last, what it holds is dropped (`XFRM_QUEUE_TMO_MIN`, `XFRM_QUEUE_TMO_MAX`).
const QUEUE_AGAIN: Duration = Duration::from_millis(100);
const QUEUE_PURGE: Duration = Duration::from_secs(60);

/// How long a larval SA keeps a pair of hosts from being announced again (`xfrm_acq_expires`).
const LARVAL: Duration = Duration::from_secs(2);

/// The writer tries again what was refused.
const AGAIN: Duration = Duration::from_secs(1);

/// The packets that tests send carry no mark.
const UNMARKED: u32 = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Payload {
    pub flow: Flow,
    pub number: u64,
}

/// What leaves a host: without SAs it is in the clear.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub payload: Payload,
    pub sas: Vec<SaKey>,
}

#[derive(Debug)]
pub(super) enum Output {
    Packet(Packet),
    Dropped(Payload),
    Event(KernelEvent),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Queue(PolicyKey),
    /// On the kernel's own clock; the wall clock decides when it rings.
    Lifetime(PolicyKey),
    Refused,
}

#[derive(Debug)]
struct Installed {
    policy: Policy,
    /// Seconds of the wall clock.
    added: u64,
}

#[derive(Debug, Default)]
pub(super) struct Kernel {
    policies: BTreeMap<PolicyKey, Installed>,
    sas: BTreeMap<SaKey, (u64, Sa)>,
    queues: BTreeMap<PolicyKey, Queue>,
    timers: Timers<Timer>,
    larval: BTreeMap<(IpAddr, IpAddr, IpsecProtocol), Instant>,
    /// What it takes for none of its own for now.
    pub(super) refuses: Option<fn(&Object) -> bool>,
    refused: BTreeMap<Key, Object>,
    added: u64,
    /// Of each IP protocol, how many SAs were ever put in.
    pub(super) installed_sas: BTreeMap<IpsecProtocol, u64>,
}

#[derive(Debug)]
struct Queue {
    packets: VecDeque<Payload>,
    again: Duration,
}

enum Verdict {
    Send(Vec<SaKey>),
    Block,
    Hold(PolicyKey),
}

impl Kernel {
    /// As the writer carries it out: SAs first, and nothing is taken out before the rest is in.
    pub(super) fn apply(&mut self, now: Instant, wall: u64, change: Change) -> Vec<Output> {
        let mut outputs = Vec::new();
        let mut release: BTreeSet<PolicyKey> = change.release.iter().copied().collect();
        let is_sa = |object: &Object| matches!(object, Object::Sa(_));
        let (sas, others): (Vec<_>, Vec<_>) = change.put.into_iter().partition(is_sa);
        for object in sas.into_iter().chain(others) {
            let key = object.key();
            if self.refuses.is_some_and(|refuses| refuses(&object)) {
                if self.refused.insert(key, object).is_none() {
                    outputs.push(Output::Event(refusal(key)));
                }
                self.timers.set(Timer::Refused, now + AGAIN);
                continue;
            }
            self.no_longer_refused(key, &mut outputs);
            self.put(now, wall, object, &mut release);
        }
        for key in &change.remove {
            self.no_longer_refused(*key, &mut outputs);
            match key {
                Key::Policy(policy) => outputs.extend(self.remove(policy)),
                Key::Sa(sa) => drop(self.sas.remove(sa)),
                _ => {}
            }
        }
        for key in release {
            // An update begins its lifetime and its queue's timer anew.
            self.live(now, wall, key);
            if let Some(queue) = self.queues.get_mut(&key) {
                queue.again = QUEUE_AGAIN;
                outputs.extend(self.process_queue(now, key));
            }
        }
        let revision = change.revision;
        outputs.push(Output::Event(KernelEvent::Applied { revision }));
        outputs
    }

    fn put(&mut self, now: Instant, wall: u64, object: Object, release: &mut BTreeSet<PolicyKey>) {
        match object {
            Object::Policy(policy) => {
                let key = policy.key;
                assert!(is_possible(&policy), "{policy}");
                self.policies.insert(
                    key,
                    Installed {
                        policy,
                        added: wall,
                    },
                );
                self.live(now, wall, key);
                release.insert(key);
            }
            Object::Sa(sa) => {
                self.added += 1;
                *self.installed_sas.entry(sa.protocol()).or_default() += 1;
                self.sas.entry(sa.key()).or_insert((self.added, *sa));
            }
            _ => {}
        }
    }

    fn no_longer_refused(&mut self, key: Key, outputs: &mut Vec<Output>) {
        if self.refused.remove(&key).is_some() {
            outputs.push(Output::Event(KernelEvent::Accepted { key }));
        }
    }

    /// What the writer does with the first change of a run: everything that is not in it goes.
    pub(super) fn keep_only(&mut self, change: &Change) -> Vec<Output> {
        let wanted: BTreeSet<Key> = change.put.iter().map(Object::key).collect();
        self.sas.retain(|key, _| wanted.contains(&Key::Sa(*key)));
        let policies: Vec<PolicyKey> = self.policies.keys().copied().collect();
        let unwanted = policies
            .iter()
            .filter(|key| !wanted.contains(&Key::Policy(**key)));
        unwanted.flat_map(|key| self.remove(key)).collect()
    }

    fn live(&mut self, now: Instant, wall: u64, key: PolicyKey) {
        if let Some(installed) = self.policies.get_mut(&key) {
            installed.added = wall;
            match installed.policy.lifetime {
                Some(time) => self.timers.set(Timer::Lifetime(key), now + time),
                None => self.timers.stop(&Timer::Lifetime(key)),
            }
        }
    }

    fn remove(&mut self, key: &PolicyKey) -> Vec<Output> {
        self.policies.remove(key);
        self.timers.stop(&Timer::Queue(*key));
        self.timers.stop(&Timer::Lifetime(*key));
        let queue = self.queues.remove(key).into_iter();
        let packets = queue.flat_map(|queue| queue.packets);
        packets.map(Output::Dropped).collect()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, wall: u64) -> Vec<Output> {
        let mut outputs = Vec::new();
        while let Some(timer) = self.timers.expired(now) {
            match timer {
                Timer::Queue(key) => outputs.extend(self.process_queue(now, key)),
                Timer::Lifetime(key) => outputs.extend(self.lifetime(now, wall, key)),
                Timer::Refused => {
                    let put = std::mem::take(&mut self.refused);
                    let (still, put): (Vec<_>, Vec<_>) =
                        put.into_iter().partition(|(_, object)| {
                            self.refuses.is_some_and(|refuses| refuses(object))
                        });
                    self.refused = still.into_iter().collect();
                    if !self.refused.is_empty() {
                        self.timers.set(Timer::Refused, now + AGAIN);
                    }
                    let mut release = BTreeSet::new();
                    for (key, object) in put {
                        self.put(now, wall, object, &mut release);
                        outputs.push(Output::Event(KernelEvent::Accepted { key }));
                    }
                    for key in release {
                        outputs.extend(self.process_queue(now, key));
                    }
                }
            }
        }
        outputs
    }

    /// `xfrm_policy_timer`: the wall clock says whether the time is over.
    fn lifetime(&mut self, now: Instant, wall: u64, key: PolicyKey) -> Vec<Output> {
        let Some(installed) = self.policies.get(&key) else {
            return Vec::new();
        };
        let time = installed.policy.lifetime.unwrap_or_default();
        let end = installed.added + time.as_secs();
        if wall < end {
            let left = Duration::from_secs(end - wall);
            self.timers.set(Timer::Lifetime(key), now + left);
            return Vec::new();
        }
        let mut outputs = self.remove(&key);
        let event = KernelEvent::PolicyExpired { policy: key };
        outputs.push(Output::Event(event));
        outputs
    }

    /// As if the time of everything that has a lifetime were over.
    pub(super) fn expire(&mut self) -> Vec<Output> {
        let lives = |installed: &&Installed| installed.policy.lifetime.is_some();
        let limited = self.policies.values().filter(lives);
        let keys: Vec<PolicyKey> = limited.map(|installed| installed.policy.key).collect();
        let mut outputs = Vec::new();
        for policy in keys {
            outputs.extend(self.remove(&policy));
            outputs.push(Output::Event(KernelEvent::PolicyExpired { policy }));
        }
        outputs
    }

    // --- packets out ----------------------------------------------------------------------------

    pub(super) fn send(&mut self, now: Instant, payload: Payload) -> Vec<Output> {
        match self.look_up(&payload.flow) {
            Verdict::Send(sas) => {
                let mut outputs = self.announce(now, payload.flow);
                outputs.push(Output::Packet(Packet { payload, sas }));
                outputs
            }
            Verdict::Block => vec![Output::Dropped(payload)],
            Verdict::Hold(policy) => {
                let mut outputs = Vec::new();
                let queue = self.queues.entry(policy).or_insert_with(|| Queue {
                    packets: VecDeque::new(),
                    again: QUEUE_AGAIN,
                });
                if queue.packets.len() < QUEUE {
                    queue.packets.push_back(payload);
                } else {
                    outputs.push(Output::Dropped(payload));
                }
                let next = now + queue.again;
                let timer = Timer::Queue(policy);
                if self.timers.deadline(&timer).is_none_or(|at| at > next) {
                    self.timers.set(timer, next);
                }
                outputs.extend(self.announce(now, payload.flow));
                outputs
            }
        }
    }

    /// `xfrm_policy_queue_process`: the head decides whether anything moves.
    fn process_queue(&mut self, now: Instant, key: PolicyKey) -> Vec<Output> {
        let Some(mut queue) = self.queues.remove(&key) else {
            return Vec::new();
        };
        self.timers.stop(&Timer::Queue(key));
        let Some(head) = queue.packets.front().copied() else {
            return Vec::new();
        };
        if let Verdict::Hold(_) = self.look_up(&head.flow) {
            if queue.again >= QUEUE_PURGE {
                return queue.packets.into_iter().map(Output::Dropped).collect();
            }
            queue.again *= 2;
            self.timers.set(Timer::Queue(key), now + queue.again);
            self.queues.insert(key, queue);
            return self.announce(now, head.flow);
        }
        let packets = queue.packets.into_iter();
        packets
            .map(|payload| match self.look_up(&payload.flow) {
                Verdict::Send(sas) => Output::Packet(Packet { payload, sas }),
                Verdict::Block | Verdict::Hold(_) => Output::Dropped(payload),
            })
            .collect()
    }

    /// What its policy has no SA for, up to the first that it requires; not again while the larval
    /// SA is there.
    fn announce(&mut self, now: Instant, flow: Flow) -> Vec<Output> {
        self.larval.retain(|_, until| *until > now);
        let Some(policy) = self.best(Direction::Out, &flow) else {
            return Vec::new();
        };
        let Action::Allow(templates) = &policy.action else {
            return Vec::new();
        };
        let mut missing = Vec::new();
        for template in templates {
            if self.newest(&flow, template).is_none() {
                missing.push(template.protocol);
                if template.level == Level::Required {
                    break;
                }
            }
        }
        let (policy, larval) = (policy.key, &mut self.larval);
        missing.retain(|protocol| {
            let ends = (flow.src, flow.dst, *protocol);
            let there = larval.contains_key(&ends);
            larval.entry(ends).or_insert(now + LARVAL);
            !there
        });
        let announced = missing.into_iter().map(|protocol| {
            Output::Event(KernelEvent::Acquire {
                policy,
                trap: false,
                flow,
                protocol,
            })
        });
        announced.collect()
    }

    fn look_up(&self, flow: &Flow) -> Verdict {
        let Some(policy) = self.best(Direction::Out, flow) else {
            return Verdict::Send(Vec::new());
        };
        let Action::Allow(templates) = &policy.action else {
            return Verdict::Block;
        };
        let mut sas = Vec::new();
        for template in templates {
            match (self.newest(flow, template), template.level) {
                (Some(sa), _) => sas.push(sa),
                (None, Level::Use) => {}
                (None, Level::Required) => return Verdict::Hold(policy.key),
            }
        }
        Verdict::Send(sas)
    }

    fn newest(&self, flow: &Flow, template: &Template) -> Option<SaKey> {
        let fits = |(_, sa): &&(u64, Sa)| {
            sa.direction == SaDirection::Out
                && (sa.src, sa.dst) == (flow.src, flow.dst)
                && does(template, sa)
        };
        let newest = self
            .sas
            .values()
            .filter(fits)
            .max_by_key(|(added, _)| *added);
        newest.map(|(_, sa)| sa.key())
    }

    // --- packets in -----------------------------------------------------------------------------

    pub(super) fn accepts(&self, packet: &Packet) -> bool {
        let known = |key: &SaKey| {
            let sa = self.sas.get(key).map(|(_, sa)| sa);
            sa.filter(|sa| sa.direction == SaDirection::In)
        };
        let sas: Option<Vec<&Sa>> = packet.sas.iter().map(known).collect();
        let Some(sas) = sas else {
            return false;
        };
        // `__xfrm_policy_check`: what a policy requires must be there, and a tunnel that it does not
        // name must not.
        let templates: &[Template] = match self.best(Direction::In, &packet.payload.flow) {
            None => &[],
            Some(policy) => match &policy.action {
                Action::Block => return false,
                Action::Allow(templates) => templates,
            },
        };
        let is_met = |template: &Template| sas.iter().any(|sa| does(template, sa));
        let is_named = |sa: &&Sa| templates.iter().any(|template| does(template, sa));
        templates
            .iter()
            .all(|template| template.level == Level::Use || is_met(template))
            && sas
                .iter()
                .all(|sa| sa.mode == Mode::Transport || is_named(sa))
    }

    // --- what is there --------------------------------------------------------------------------

    fn best(&self, direction: Direction, flow: &Flow) -> Option<&Policy> {
        let policies = self.policies.values().map(|installed| &installed.policy);
        let fits = |policy: &&Policy| {
            let key = &policy.key;
            key.direction == direction
                && key.selector.matches(flow)
                && UNMARKED & key.mark.mask == key.mark.value
        };
        policies.filter(fits).min_by_key(|policy| policy.priority)
    }

    /// What a packet needs, seen from outside: the less of what is protected and what is not.
    pub(super) fn protection(&self, direction: Direction, flow: &Flow) -> Protection {
        let Some(policy) = self.best(direction, flow) else {
            return Protection::CLEAR;
        };
        let Action::Allow(templates) = &policy.action else {
            return Protection::DISCARD;
        };
        let mut protocols = Protocols::NONE;
        for template in templates.iter().filter(|t| t.level == Level::Required) {
            match template.protocol {
                IpsecProtocol::Esp => protocols.esp = true,
                IpsecProtocol::Ah => protocols.ah = true,
                IpsecProtocol::Comp => protocols.ipcomp = true,
            }
        }
        if protocols.is_empty() {
            return Protection::CLEAR;
        }
        Protection::require(protocols)
    }

    pub(super) fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.policies.values().map(|installed| &installed.policy)
    }

    pub(super) fn held(&self) -> usize {
        self.queues.values().map(|queue| queue.packets.len()).sum()
    }
}

/// The kernel takes no optional tunnel for outbound packets (`EINVAL`).
fn is_possible(policy: &Policy) -> bool {
    let optional = |t: &Template| t.level == Level::Use && t.mode == Mode::Tunnel;
    let Action::Allow(templates) = &policy.action else {
        return true;
    };
    policy.key.direction != Direction::Out || !templates.iter().any(optional)
}

fn does(template: &Template, sa: &Sa) -> bool {
    let asked = (template.reqid, template.protocol, template.mode);
    (sa.reqid, sa.protocol(), sa.mode) == asked
}

fn refusal(key: Key) -> KernelEvent {
    KernelEvent::Refused {
        key,
        refusal: RefusalView {
            attempt: "add an object".into(),
            error: "out of memory".into(),
            advice: String::new(),
        },
    }
}
