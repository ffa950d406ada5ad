//! A kernel reduced to what decides about a packet: policies, SAs, hold queues, ACQUIRE.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use xfrm_agent::agent::left_behind;
use xfrm_agent::agent::tunnels::Found;
use xfrm_agent::kernel::desired::{
    Action, Change, Direction, Interception, Key, Object, Policy, PolicyKey, Sa, SaDirection,
    SaKey, Template,
};
use xfrm_agent::kernel::first_packets::{FirstPacket, PacketId};
use xfrm_agent::kernel::observed::{ObservedPolicy, ObservedSa};
use xfrm_agent::net::{Flow, Timers};

/// One more than `XFRM_MAX_QUEUE_LEN`, as the kernel compares.
const QUEUE: usize = 101;

/// A queue is looked at again after the first, then after twice as long, and so on; when it would
/// be the last or longer, what it holds is dropped (`XFRM_QUEUE_TMO_MIN`, `XFRM_QUEUE_TMO_MAX`).
const QUEUE_AGAIN: Duration = Duration::from_millis(100);
const QUEUE_PURGE: Duration = Duration::from_secs(60);

/// How long a larval SA keeps a pair of hosts from being announced again (`xfrm_acq_expires`).
const LARVAL: Duration = Duration::from_secs(2);

/// How long nftables knows that a host has sent to another, and how many packets wait in its queue.
const KNOWN: Duration = Duration::from_secs(600);
const FIRST_PACKETS: usize = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    pub flow: Flow,
    pub number: u64,
}

/// What leaves the gateway.
#[derive(Clone, Debug)]
pub enum Output {
    Clear(Payload),
    Esp {
        sa: SaKey,
        payload: Payload,
    },
    Acquire {
        policy: PolicyKey,
        trap: bool,
        flow: Flow,
    },
    Dropped(Payload),
    /// It waits for [`Kernel::let_go`].
    FirstPacket(FirstPacket),
    /// The hard lifetime of an SA is over.
    Expired(SaKey),
}

#[derive(Debug, Default)]
pub struct Kernel {
    pub policies: BTreeMap<PolicyKey, Policy>,
    pub sas: BTreeMap<SaKey, (u64, Sa)>,
    pub interception: Option<Interception>,
    queues: BTreeMap<PolicyKey, Queue>,
    queue_timers: Timers<PolicyKey>,
    /// By source and destination: the ports of a packet make no difference.
    larval: BTreeMap<(IpAddr, IpAddr), Instant>,
    known: BTreeMap<(IpAddr, IpAddr), Instant>,
    /// `None` while nobody reads the queue of first packets.
    first_packets: Option<BTreeMap<PacketId, Payload>>,
    packets: u32,
    /// Hard lifetimes.
    expiring: Timers<SaKey>,
    added: u64,
    /// Packets that came out of each inbound SA.
    pub received: BTreeMap<SaKey, u64>,
}

/// Packets that met a policy without an SA.
#[derive(Debug)]
struct Queue {
    packets: VecDeque<Payload>,
    again: Duration,
}

enum Verdict {
    Clear,
    Block,
    Esp(SaKey),
    Unresolved(PolicyKey, bool),
}

impl Kernel {
    pub fn apply(&mut self, now: Instant, change: &Change) -> Vec<Output> {
        let mut release: Vec<PolicyKey> = change.release.clone();
        for object in &change.put {
            match object {
                Object::Policy(policy) => {
                    self.policies.insert(policy.key, policy.clone());
                    release.push(policy.key);
                }
                Object::Sa(sa) => {
                    self.added += 1;
                    let added = self.added;
                    if let Some(time) = sa.lifetime.hard.time
                        && !self.sas.contains_key(&sa.key())
                    {
                        self.expiring.set(sa.key(), now + time);
                    }
                    self.sas
                        .entry(sa.key())
                        .or_insert_with(|| (added, (**sa).clone()));
                }
                Object::Interception(interception) => {
                    self.interception = Some(interception.clone());
                }
                // Not among what decides about packets here.
                _ => {}
            }
        }
        for key in &change.remove {
            match key {
                Key::Policy(policy) => {
                    self.policies.remove(policy);
                    self.queues.remove(policy);
                    self.queue_timers.stop(policy);
                }
                Key::Sa(sa) => {
                    self.sas.remove(sa);
                    self.expiring.stop(sa);
                }
                _ => {}
            }
        }
        let mut outputs = Vec::new();
        for key in release {
            // An update begins its timer anew.
            if let Some(queue) = self.queues.get_mut(&key) {
                queue.again = QUEUE_AGAIN;
                outputs.extend(self.process_queue(now, key));
            }
        }
        outputs
    }

    /// What the writer does with the first change of a run: everything of ours and not in it goes.
    pub fn keep_only(&mut self, change: &Change) {
        let wanted: BTreeSet<Key> = change.put.iter().map(Object::key).collect();
        self.policies
            .retain(|key, _| wanted.contains(&Key::Policy(*key)));
        self.sas.retain(|key, _| {
            let stays = wanted.contains(&Key::Sa(*key));
            if !stays {
                self.expiring.stop(key);
            }
            stays
        });
        self.queues.retain(|key, _| {
            let stays = wanted.contains(&Key::Policy(*key));
            if !stays {
                self.queue_timers.stop(key);
            }
            stays
        });
    }

    /// SAs whose time is over go, and queues whose time has come are looked at again.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Output> {
        let mut outputs = Vec::new();
        while let Some(sa) = self.expiring.expired(now) {
            self.sas.remove(&sa);
            outputs.push(Output::Expired(sa));
        }
        while let Some(key) = self.queue_timers.expired(now) {
            outputs.extend(self.process_queue(now, key));
        }
        outputs
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let timers = [self.expiring.next(), self.queue_timers.next()];
        timers.into_iter().flatten().min()
    }

    pub fn left_behind(&self) -> Vec<Found> {
        let policies = self.policies.values().map(|policy| ObservedPolicy {
            limited: false,
            policy: policy.clone(),
            index: 0,
            added: 0,
            used: None,
        });
        let sas = self.sas.values().map(|(_, sa)| ObservedSa {
            key: sa.key(),
            src: sa.src,
            mode: sa.mode,
            reqid: sa.reqid,
            if_id: sa.if_id,
            encapsulation: sa.encapsulation,
            lifetime: sa.lifetime,
            bytes: 0,
            packets: self.received.get(&sa.key()).copied().unwrap_or(0),
            added: 0,
            first_used: None,
            last_used: None,
        });
        left_behind::tunnels(&policies.collect::<Vec<_>>(), &sas.collect::<Vec<_>>())
    }

    /// `xfrm_policy_queue_process`: the head decides whether anything moves.
    fn process_queue(&mut self, now: Instant, key: PolicyKey) -> Vec<Output> {
        let Some(mut queue) = self.queues.remove(&key) else {
            return Vec::new();
        };
        self.queue_timers.stop(&key);
        let Some(head) = queue.packets.front().copied() else {
            return Vec::new();
        };
        let dropped = |queue: Queue| queue.packets.into_iter().map(Output::Dropped).collect();
        match self.look_up(&head.flow) {
            Verdict::Unresolved(policy, trap) => {
                if queue.again >= QUEUE_PURGE {
                    return dropped(queue);
                }
                queue.again *= 2;
                self.queue_timers.set(key, now + queue.again);
                self.queues.insert(key, queue);
                self.announce(now, policy, trap, head.flow)
                    .into_iter()
                    .collect()
            }
            Verdict::Block => dropped(queue),
            Verdict::Clear | Verdict::Esp(_) => {
                let packets = queue.packets.into_iter();
                packets
                    .map(|payload| match self.look_up(&payload.flow) {
                        Verdict::Esp(sa) => Output::Esp { sa, payload },
                        Verdict::Clear => Output::Clear(payload),
                        Verdict::Block | Verdict::Unresolved(..) => Output::Dropped(payload),
                    })
                    .collect()
            }
        }
    }

    /// The agent runs.
    pub fn queue_is_read(&mut self) {
        self.first_packets = Some(BTreeMap::new());
    }

    /// It does not any more.
    pub fn queue_is_closed(&mut self) -> Vec<Output> {
        let waiting = self.first_packets.take().unwrap_or_default();
        waiting.into_values().map(Output::Dropped).collect()
    }

    /// A packet of a host behind the gateway, which meets nftables before the policies.
    pub fn forward(&mut self, now: Instant, payload: Payload) -> Vec<Output> {
        let Flow { src, dst, .. } = payload.flow;
        let ours = |i: &Interception| i.protected.iter().any(|net| net.contains(&src));
        let is_read = self
            .interception
            .as_ref()
            .filter(|interception| ours(interception))
            .and_then(|interception| interception.first_packets.as_ref())
            .is_some_and(|first| first.towards.iter().any(|net| net.contains(&dst)));
        let is_known = |until: &Instant| *until > now;
        if !is_read || self.known.get(&(src, dst)).is_some_and(is_known) {
            return self.send(now, payload);
        }
        self.known.insert((src, dst), now + KNOWN);
        match &mut self.first_packets {
            Some(waiting) if waiting.len() < FIRST_PACKETS => {
                self.packets += 1;
                let id = PacketId(self.packets);
                waiting.insert(id, payload);
                let flow = Some(payload.flow);
                vec![Output::FirstPacket(FirstPacket { id, flow })]
            }
            _ => self.send(now, payload),
        }
    }

    /// What was a first packet meets the policies.
    pub fn let_go(&mut self, now: Instant, id: PacketId) -> Vec<Output> {
        let packet = self.first_packets.as_mut().and_then(|w| w.remove(&id));
        packet.map_or_else(Vec::new, |payload| self.send(now, payload))
    }

    pub fn forget(&mut self, src: IpAddr, dst: IpAddr) {
        self.known.remove(&(src, dst));
    }

    pub fn send(&mut self, now: Instant, payload: Payload) -> Vec<Output> {
        match self.look_up(&payload.flow) {
            Verdict::Clear => vec![Output::Clear(payload)],
            Verdict::Block => vec![Output::Dropped(payload)],
            Verdict::Esp(sa) => vec![Output::Esp { sa, payload }],
            Verdict::Unresolved(policy, trap) => {
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
                let (timers, next) = (&mut self.queue_timers, now + queue.again);
                if timers.deadline(&policy).is_none_or(|at| at > next) {
                    timers.set(policy, next);
                }
                outputs.extend(self.announce(now, policy, trap, payload.flow));
                outputs
            }
        }
    }

    /// A packet that is dropped where others are held: Linux looks up the route of its own `ICMPv6`
    /// echo replies without asking for the queue.
    pub fn answer(&mut self, payload: Payload) -> Vec<Output> {
        vec![match self.look_up(&payload.flow) {
            Verdict::Clear => Output::Clear(payload),
            Verdict::Esp(sa) => Output::Esp { sa, payload },
            Verdict::Block | Verdict::Unresolved(..) => Output::Dropped(payload),
        }]
    }

    /// Not again while its larval SA is there.
    fn announce(
        &mut self,
        now: Instant,
        policy: PolicyKey,
        trap: bool,
        flow: Flow,
    ) -> Option<Output> {
        self.larval.retain(|_, until| *until > now);
        let ends = (flow.src, flow.dst);
        if self.larval.contains_key(&ends) {
            return None;
        }
        self.larval.insert(ends, now + LARVAL);
        Some(Output::Acquire { policy, trap, flow })
    }

    /// Whether a packet that came out of this SA may go on to where it was going: `check` is
    /// [`Direction::In`] where it has arrived, otherwise [`Direction::Fwd`].
    pub fn accepts_esp(&mut self, sa: &SaKey, flow: &Flow, check: Direction) -> bool {
        if self.sas.contains_key(sa) {
            *self.received.entry(*sa).or_default() += 1;
        }
        let Some((_, sa)) = self
            .sas
            .get(sa)
            .filter(|(_, sa)| sa.direction == SaDirection::In)
        else {
            return false;
        };
        match self.best(check, flow).map(|policy| &policy.action) {
            None => true,
            Some(Action::Block) => false,
            Some(Action::Allow(templates)) => {
                let fits = |t: &Template| (t.src, t.dst, t.reqid) == (sa.src, sa.dst, sa.reqid);
                templates.iter().all(fits)
            }
        }
    }

    /// Whether a packet that came without protection may go on to where it was going.
    pub fn accepts_clear(&self, flow: &Flow) -> bool {
        let policy = self.best(Direction::Fwd, flow);
        policy.is_none_or(|policy| policy.action.is_clear())
    }

    /// Packets that wait for an SA.
    pub fn held(&self) -> Vec<Payload> {
        let queued = self.queues.values().flat_map(|queue| &queue.packets);
        let first = self.first_packets.iter().flat_map(BTreeMap::values);
        queued.chain(first).copied().collect()
    }

    pub fn diverts(&self, dst: IpAddr) -> bool {
        self.interception
            .as_ref()
            .is_some_and(|i| i.protected.iter().any(|net| net.contains(&dst)))
    }

    fn best(&self, direction: Direction, flow: &Flow) -> Option<&Policy> {
        self.policies
            .values()
            .filter(|policy| policy.key.direction == direction && policy.key.selector.matches(flow))
            .min_by_key(|policy| policy.priority)
    }

    fn look_up(&self, flow: &Flow) -> Verdict {
        let Some(policy) = self.best(Direction::Out, flow) else {
            return Verdict::Clear;
        };
        let Action::Allow(templates) = &policy.action else {
            return Verdict::Block;
        };
        let Some(template) = templates.first() else {
            return Verdict::Clear;
        };
        let newest = self
            .sas
            .values()
            .filter(|(_, sa)| sa.direction == SaDirection::Out && sa.reqid == template.reqid)
            .max_by_key(|(added, _)| *added);
        match newest {
            Some((_, sa)) if template.reqid != 0 => Verdict::Esp(sa.key()),
            _ => Verdict::Unresolved(policy.key, template.reqid == 0),
        }
    }
}
