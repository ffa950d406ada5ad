//! How we stand to one address of a contact, and how that changes without losing a packet.
//!
//! ```text
//!  stricter:  what we send, at once ──→ the peer is told ──→ acknowledged, or GRACE over:
//!                                                            what we accept
//!  weaker:    what we accept, at once ──→ the peer is told ──→ it says that it accepts it too:
//!                                                              what we send
//! ```
//!
//! What we send is the join of our own judgement and of what the peer last said that it demands.
//! So nothing has to be negotiated: each end says what it demands whenever that changes, and sends
//! no less than the other demands.

use super::super::wishes::{Owner, Wishes};
use super::links::Needs;
use super::policies::Ground;
use crate::kernel::desired::{Direction, Policy, PolicyKey};
use crate::presence::decisions::Decision;
use crate::presence::exchange::{Demanded, MAX_DEMANDS, Posture};
use crate::presence::row::Mode;
use crate::presence::rules::{Clause, Verdict, classes, protection_of};
use crate::presence::{Class, Demand, Entity, Protection, Protocols, Timestamp};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long clear packets are still accepted after we have become stricter, while the peer has not
/// said that it knows.
pub(super) const GRACE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Relation {
    /// Who has the address.
    pub entity: Entity,
    pub ground: Ground,
    pub decision: Decision,
    /// What the peer demands of what we send: nothing, until it has said.
    pub demanded: Vec<Demanded>,
    /// The epochs of the posture in which it said so, and of the last that we have told.
    heard: u64,
    told: u64,
    /// What was demanded before we became stricter, which is still accepted until the peer knows, or until
    /// then: the first that ends first, and after it the next. Becoming stricter once more prolongs none.
    lagging: VecDeque<(Arc<[Clause]>, Instant)>,
    /// It takes what comes from a tunnel wherever it takes clear packets.
    peer_knows_tunnels: bool,
    /// When time alone may change the judgement.
    pub valid_until: Option<Timestamp>,
    /// A former address, of which nobody knows who has it now: until when it is watched yet.
    pub former: Option<Instant>,
    /// A handful, so they are searched one by one.
    installed: Vec<Policy>,
}

impl Relation {
    pub(super) fn new(entity: Entity, ground: Ground, decision: Decision) -> Self {
        Self {
            entity,
            ground,
            decision,
            demanded: Vec::new(),
            heard: 0,
            told: 0,
            lagging: VecDeque::new(),
            peer_knows_tunnels: false,
            valid_until: None,
            former: None,
            installed: Vec::new(),
        }
    }

    /// Takes a new judgement. Whether anything that we demand has changed.
    pub(super) fn judged(&mut self, now: Instant, dwell: Duration, verdict: Verdict) -> bool {
        self.valid_until = verdict.valid_until;
        self.changing(now, |decision| decision.want(now, dwell, verdict.clauses))
    }

    /// A weaker judgement has stood for long enough.
    pub(super) fn dwelt(&mut self, now: Instant) -> bool {
        self.changing(now, |decision| decision.handle_timeout(now))
    }

    /// Whatever was relaxed is not any more, whoever has said so.
    pub(super) fn withdraw(&mut self, now: Instant, strict: &[Clause]) -> bool {
        self.changing(now, |decision| decision.withdraw(strict))
    }

    fn changing(&mut self, now: Instant, change: impl FnOnce(&mut Decision) -> bool) -> bool {
        let before = Arc::clone(self.decision.applied());
        let changed = change(&mut self.decision);
        if changed && !satisfies(&before, self.decision.applied()) {
            // Those that let no more through end sooner, and say nothing.
            self.lagging
                .retain(|(earlier, _)| !satisfies(earlier, &before));
            self.lagging.push_back((before, now + GRACE));
        }
        changed
    }

    /// The peer says what it demands. Whether that is news: an answer that was lost and comes again
    /// may be older than what it has said since.
    pub(super) fn heard(&mut self, posture: Posture) -> bool {
        let news = posture.epoch >= self.heard;
        if news {
            self.heard = posture.epoch;
            self.demanded = posture.demands;
            self.peer_knows_tunnels |= self.demanded.iter().any(is_demanded_tunnel);
        }
        news
    }

    /// It cannot be asked any more: nobody knows what it demands, nor how it will count.
    pub(super) fn fell_silent(&mut self) {
        self.heard = 0;
        self.demanded.clear();
        self.peer_knows_tunnels = false;
    }

    /// What we demand is on its way.
    pub(super) fn tell(&mut self, epoch: u64) -> Posture {
        self.told = epoch;
        let demands = self.demands();
        Posture { epoch, demands }
    }

    /// The peer knows a posture of ours. Whether it is the last.
    pub(super) fn acknowledged(&mut self, epoch: u64) -> bool {
        let last = epoch == self.told;
        if last {
            self.lagging.clear();
            self.peer_knows_tunnels |= self.has_tunnels();
        }
        last
    }

    pub(super) fn lags_until(&self) -> Option<Instant> {
        self.lagging.front().map(|(_, until)| *until)
    }

    pub(super) fn stop_lagging(&mut self, now: Instant) {
        self.lagging.retain(|(_, until)| *until > now);
    }

    fn accepts(&self) -> &Arc<[Clause]> {
        match self.lagging.front() {
            Some((before, _)) => before,
            None => self.decision.applied(),
        }
    }

    /// What the peer has to do with what it sends us, in its own eyes.
    pub(super) fn demands(&self) -> Vec<Demanded> {
        let applied = self.decision.applied();
        if applied.len() > MAX_DEMANDS {
            // More than can be said: the strictest for all.
            let all = applied.iter().map(|clause| clause.protection);
            let strictest = all.fold(Protection::CLEAR, Protection::join);
            return vec![Demanded::in_transport(Class::ANY, strictest)];
        }
        let demanded = |clause: &Clause| Demanded {
            class: mirrored(clause.class),
            protection: clause.protection,
            mode: if self.wants_tunnel(clause.class) {
                Mode::Tunnel
            } else {
                Mode::Transport
            },
        };
        applied.iter().map(demanded).collect()
    }

    /// What we do with what we send.
    ///
    /// In a tunnel that we want not before the peer has ever heard of one: until then it would not
    /// take what comes out of it, though it takes clear packets, and transport mode with them, which
    /// protects no less.
    pub(super) fn sends(&self) -> Cow<'_, [Clause]> {
        let joined = joined(self.decision.applied(), &self.demanded);
        let peer_knows = self.peer_knows_tunnels || self.lagging.is_empty();
        self.in_its_mode(joined, |class| {
            self.is_asked_for_tunnel(class) || (peer_knows && self.wants_tunnel(class))
        })
    }

    /// What we take of what the peer sends: in a tunnel where either of us wants one.
    fn takes(&self) -> Cow<'_, [Clause]> {
        self.in_its_mode(Cow::Borrowed(self.accepts()), |class| {
            self.is_asked_for_tunnel(class) || self.wants_tunnel(class)
        })
    }

    fn in_its_mode<'a>(
        &self,
        clauses: Cow<'a, [Clause]>,
        tunnelled: impl Fn(Class) -> bool,
    ) -> Cow<'a, [Clause]> {
        if !self.ground.tunnels {
            return clauses;
        }
        let named = clauses.iter().map(|clause| clause.class);
        let own = self.decision.applied().iter().map(|clause| clause.class);
        let theirs = self.demanded.iter().map(|demanded| demanded.class);
        let in_mode = |class| {
            let clause = clauses.iter().find(|c| c.class.contains(class))?;
            let tunnel = clause.protection.demand == Demand::Require && tunnelled(class);
            Some(Clause {
                class,
                mode: if tunnel {
                    Mode::Tunnel
                } else {
                    Mode::Transport
                },
                ..clause.clone()
            })
        };
        let all = classes(named.chain(own).chain(theirs));
        all.into_iter().filter_map(in_mode).collect()
    }

    /// Whether our own judgement puts what is required for a class into a tunnel.
    fn wants_tunnel(&self, class: Class) -> bool {
        let applied = self.decision.applied();
        let deciding = applied.iter().find(|clause| clause.class.contains(class));
        applied.len() <= MAX_DEMANDS && deciding.is_some_and(is_tunnel)
    }

    fn is_asked_for_tunnel(&self, class: Class) -> bool {
        let first = self.demanded.iter().find(|d| d.class.contains(class));
        first.is_some_and(is_demanded_tunnel)
    }

    /// Whether either of us wants tunnels for anything.
    fn has_tunnels(&self) -> bool {
        self.decision.applied().iter().any(is_tunnel)
            || self.demanded.iter().any(is_demanded_tunnel)
    }

    /// Brings what is wanted of the kernel up to date.
    pub(super) fn install(&mut self, wishes: &mut Wishes) {
        // What was sent through one before we both agreed otherwise may come later.
        self.ground.tunnels |= self.has_tunnels();
        let required = |clause: &&Clause| clause.protection.demand == Demand::Require;
        let way = self
            .takes()
            .last()
            .filter(required)
            .map(|clause| clause.mode);
        self.ground.last_way = way.unwrap_or(self.ground.last_way);
        let mut wanted = self.ground.policies(Direction::Out, &self.sends());
        wanted.extend(self.ground.policies(Direction::In, &self.takes()));
        for Policy { key, .. } in &self.installed {
            if wanted.iter().all(|policy| policy.key != *key) {
                wishes.withdraw_policy(Owner::Presence, *key);
            }
        }
        for policy in &wanted {
            if !self.installed.contains(policy) {
                wishes.want_policy(Owner::Presence, policy.clone());
            }
        }
        self.installed = wanted;
    }

    pub(super) fn uninstall(&mut self, wishes: &mut Wishes) {
        for policy in self.installed.drain(..) {
            wishes.withdraw_policy(Owner::Presence, policy.key);
        }
    }

    /// The kernel counts the lifetimes of relaxed policies from now.
    pub(super) fn renew(&self, wishes: &mut Wishes) {
        for policy in &self.installed {
            if policy.lifetime.is_some() {
                wishes.release(policy.key);
            }
        }
    }

    /// SAs have come: what the kernel holds is looked up again.
    pub(super) fn release(&self, wishes: &mut Wishes) {
        for Policy { key, .. } in &self.installed {
            if key.direction == Direction::Out {
                wishes.release(*key);
            }
        }
    }

    /// The policy that decides about packets of a class, while it is there.
    pub(super) fn policy(&self, direction: Direction, class: Class) -> Option<&Policy> {
        let selector = self.ground.selector(direction, class);
        let of_class = self.installed.iter().filter(|policy| {
            policy.key.direction == direction && policy.key.selector.contains(&selector)
        });
        of_class.min_by_key(|policy| policy.priority)
    }

    /// Why a clause is so, and why the kernel does something else if it does.
    pub(super) fn because(&self, clause: &Clause) -> String {
        match self.ground.behind_nat(clause) {
            Some(why) => format!("{}; {why}", clause.because),
            None => clause.because.to_string(),
        }
    }

    pub(super) fn installed(&self) -> impl Iterator<Item = &Policy> {
        self.installed.iter()
    }

    /// The kernel has dropped a policy whose lifetime was over.
    pub(super) fn expired(&mut self, key: &PolicyKey, wishes: &mut Wishes) {
        self.installed.retain(|policy| policy.key != *key);
        wishes.withdraw_policy(Owner::Presence, *key);
    }

    pub(super) fn is_relaxed(&self) -> bool {
        self.decision.applied().iter().any(is_weak)
    }

    /// It is, or will be when what is wanted has stood for long enough.
    pub(super) fn is_to_be_relaxed(&self) -> bool {
        self.decision.wanted().iter().any(is_weak)
    }

    /// Which SAs are to be at hand: for everything that may be demanded.
    pub(super) fn needs(&self) -> Needs {
        Needs {
            protocols: self.protocols(),
            tunnel: self.has_tunnels() && !self.ground.nat && !self.ground.rigid,
        }
    }

    fn protocols(&self) -> Protocols {
        let demanded = self.demanded.iter().map(|demanded| demanded.protection);
        let applied = self.decision.applied().iter().map(|c| c.protection);
        let all = applied
            .chain(demanded)
            .fold(self.ground.strict.protocols, |all, p| {
                all.union(p.protocols)
            });
        if self.ground.nat {
            return Protocols {
                ipcomp: all.ipcomp,
                ..Protocols::ESP
            };
        }
        all
    }
}

fn is_weak(clause: &Clause) -> bool {
    clause.protection.demand < Demand::Require
}

fn is_tunnel(clause: &Clause) -> bool {
    clause.mode == Mode::Tunnel && clause.protection.demand == Demand::Require
}

fn is_demanded_tunnel(demanded: &Demanded) -> bool {
    demanded.mode == Mode::Tunnel
}

fn mirrored(class: Class) -> Class {
    Class {
        protocol: class.protocol,
        own_port: class.peer_port,
        peer_port: class.own_port,
    }
}

/// Whether whoever accepts by `a` refuses all that `b` refuses.
fn satisfies(a: &[Clause], b: &[Clause]) -> bool {
    classes(a.iter().chain(b).map(|clause| clause.class))
        .into_iter()
        .all(|class| protection_of(a, class).satisfies(protection_of(b, class)))
}

fn joined<'a>(clauses: &'a [Clause], demanded: &[Demanded]) -> Cow<'a, [Clause]> {
    if demanded.is_empty() {
        return clauses.into();
    }
    let named = clauses.iter().map(|c| c.class);
    let asked = demanded.iter().map(|demanded| demanded.class);
    let of_peer = |class: Class| {
        let first = demanded.iter().find(|asked| asked.class.contains(class));
        first.map_or(Protection::CLEAR, |asked| asked.protection)
    };
    classes(named.chain(asked))
        .into_iter()
        .filter_map(|class| {
            let own = clauses.iter().find(|c| c.class.contains(class))?;
            let protection = own.protection.join(of_peer(class));
            let because = if protection == own.protection {
                own.because.clone()
            } else {
                "the peer demands it".into()
            };
            Some(Clause {
                class,
                protection,
                because,
                ..own.clone()
            })
        })
        .collect::<Vec<_>>()
        .into()
}
