//! The endpoint: every IKE SA of this host, and which datagram, deadline or wish is whose.
//!
//! ```text
//!              ┌ IKE_SA_INIT request ─→ half-open ─ IKE_AUTH ─┐
//! datagram ─→ ─┤                                              ├─→ IKE SA ─→ children
//!              └ by SPI ─→ attempt ─ IKE_SA_INIT, IKE_AUTH ───┘
//! ```
//!
//! Sans-I/O: after every input drain [`Endpoint::poll_effect`], then call
//! [`Endpoint::handle_timeout`] not before [`Endpoint::poll_timeout`].

use super::attempt::Attempt;
mod datagrams;
mod deadlines;
mod openings;
mod questions;
mod views;

pub use views::{ChildView, IkeView};

use super::context::{AttemptId, Context, Timer, Wanted};
use super::cookies::Cookies;
use super::counters::Counters;
use super::crypto::Group;
use super::effects::{ChildId, ConnectError, DownReason, Effect, IkeId};
use super::exchanges::Task;
use super::half_open::HalfOpenTable;
use super::opening::{Opening, OpeningId};
use super::sa::{IkeSa, Role, State, end_of};
use super::settings::{Connect, Mode, RequestId, Settings};
use super::{nat, simultaneous};
use crate::net::{Identity, Random};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// An IKE SA on which something was asked is kept for what may be asked next.
const FURTHER_QUESTIONS: Duration = Duration::from_secs(60);
/// What is to go through the tunnel of a peer that rested goes first: it is why the peer rests no more.
const AWAKENING: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub struct Endpoint {
    pub(super) ctx: Context,
    pub(super) sas: BTreeMap<IkeId, IkeSa>,
    pub(super) attempts: BTreeMap<AttemptId, Attempt>,
    pub(super) half_open: HalfOpenTable,
    cookies: Cookies,
    /// By our SPI and the peer's: those that came of one attempt share ours.
    by_spis: BTreeMap<(u64, u64), IkeId>,
    /// By our SPI.
    attempts_by_spi: BTreeMap<u64, AttemptId>,
    openings: BTreeMap<OpeningId, Opening>,
}

impl Endpoint {
    pub fn new(settings: Settings, rng: Box<dyn Random>) -> Self {
        Self {
            ctx: Context::new(settings, rng),
            sas: BTreeMap::new(),
            attempts: BTreeMap::new(),
            half_open: HalfOpenTable::default(),
            cookies: Cookies::default(),
            by_spis: BTreeMap::new(),
            attempts_by_spi: BTreeMap::new(),
            openings: BTreeMap::new(),
        }
    }

    /// What is to be done, in order; `None` until the next input.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.ctx.next_effect()
    }

    /// When [`Endpoint::handle_timeout`] is due; `None` while nothing waits.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.ctx.timers.next()
    }

    pub fn counters(&self) -> Counters {
        self.ctx.counters
    }

    /// Whether there is an IKE SA with this peer.
    pub fn is_in_contact(&self, peer: &Identity) -> bool {
        self.ctx.in_contact.contains_key(peer)
    }

    // --- wishes ---------------------------------------------------------------------------------

    /// Asks for a child SA. Ends in a `ChildUp` or a `Failed` that names the request, unless it is
    /// cancelled.
    pub fn connect(&mut self, now: Instant, connect: Connect) {
        self.want(now, Wanted::from(connect));
    }

    pub(super) fn want(&mut self, now: Instant, wanted: Wanted) {
        let connect = &wanted.connect;
        let (local, remote) = (connect.local, connect.remote);
        if self.ctx.settings.peer(&connect.peer).is_none() {
            let error = ConnectError::UnknownPeer(connect.peer.clone());
            self.ctx.fail(&wanted, error);
        } else if let Some(id) = self.sa_for(connect) {
            if let Some(sa) = self.sas.get_mut(&id) {
                sa.waiting.push_back(Task::Create(wanted));
            }
            self.settle(now, id);
        } else if let Some(attempt) = self.attempts.values_mut().find(|a| a.serves(connect)) {
            attempt.wanted.push_back(wanted);
        } else {
            let at = (
                SocketAddr::new(local, nat::PORT),
                SocketAddr::new(remote, nat::PORT),
            );
            let opening = self.take_opening(local, remote);
            let spi = match &opening {
                Some(opening) => opening.spi,
                None => self.draw_spi(),
            };
            let mut attempt = Attempt::new(&mut self.ctx, now, spi, at, wanted);
            match opening {
                Some(opening) => attempt.go_on(&mut self.ctx, now, opening),
                None => attempt.ask(&mut self.ctx, now, Group::ALL[0]),
            }
            self.attempts_by_spi.insert(spi, attempt.id);
            self.attempts.insert(attempt.id, attempt);
        }
    }

    /// The established IKE SA that children of a peer go on. Of several the one that both ends
    /// will keep.
    fn sa_with(&self, peer: &Identity, local: IpAddr, remote: IpAddr) -> Option<IkeId> {
        self.best_sa(peer, local, remote, |_| true)
    }

    /// As [`Self::sa_with`]: one over which we have an address, where the child is for that.
    fn sa_for(&self, connect: &Connect) -> Option<IkeId> {
        let serves = |sa: &IkeSa| connect.address.is_none() || !sa.assigned.is_empty();
        self.best_sa(&connect.peer, connect.local, connect.remote, serves)
    }

    fn best_sa(
        &self,
        peer: &Identity,
        local: IpAddr,
        remote: IpAddr,
        serves: impl Fn(&IkeSa) -> bool,
    ) -> Option<IkeId> {
        self.sas
            .values()
            .filter(|sa| sa.is_established() && sa.peer == *peer)
            .filter(|sa| sa.local.ip() == local && sa.remote.ip() == remote && serves(sa))
            .max_by(|a, b| a.lowest_nonce.cmp(&b.lowest_nonce))
            .map(|sa| sa.id)
    }

    /// Nobody waits for the request any more: `Failed` is said at once. What has already been
    /// asked of the peer is not taken back, so a child may still come up, as if the peer had
    /// asked for it.
    pub fn cancel(&mut self, now: Instant, request: RequestId) {
        let found = self.sas.values_mut().any(|sa| sa.cancel(request))
            || self.attempts.values_mut().any(|a| a.cancel(request));
        if found {
            let error = ConnectError::Cancelled;
            self.ctx.emit(Effect::Failed { request, error });
        }
        self.dissolve_attempts(now, |attempt| attempt.wanted.is_empty());
    }

    fn dissolve_attempts(&mut self, now: Instant, done: impl Fn(&Attempt) -> bool) -> Vec<Wanted> {
        let ids: Vec<AttemptId> = self
            .attempts
            .values()
            .filter(|a| done(a))
            .map(|a| a.id)
            .collect();
        let mut wanted = Vec::new();
        for id in ids {
            if let Some(attempt) = self.take_attempt(id) {
                let (wishes, unwanted) = attempt.dissolve(&mut self.ctx);
                wanted.extend(wishes);
                self.dismiss(now, unwanted);
            }
        }
        wanted
    }

    /// IKE SAs whose `IKE_AUTH` is on its way, or answered by now, and that nobody wants: the
    /// other end is told, in case it believes in them.
    fn dismiss(&mut self, now: Instant, unwanted: Vec<IkeSa>) {
        for mut sa in unwanted {
            // The same SPIs with other keys: a damaged copy of the one that is known.
            if self.by_spis.contains_key(&sa.spis()) {
                continue;
            }
            sa.state = State::Closed;
            sa.waiting.push_back(Task::DeleteIke);
            let id = sa.id;
            self.by_spis.insert(sa.spis(), id);
            self.sas.insert(id, sa);
            self.settle(now, id);
        }
    }

    fn take_attempt(&mut self, id: AttemptId) -> Option<Attempt> {
        let attempt = self.attempts.remove(&id)?;
        self.attempts_by_spi.remove(&attempt.spi);
        Some(attempt)
    }

    /// Replaces a child (its soft lifetime has passed). Unknown ones are ignored.
    pub fn rekey_child(&mut self, now: Instant, child: ChildId) {
        self.with_owner(now, child, |sa, _| {
            let queued = |t: &Task| matches!(t, Task::Rekey(id) if *id == child);
            if !sa.waiting.iter().any(queued) {
                sa.waiting.push_back(Task::Rekey(child));
            }
        });
    }

    /// Replaces a child of a contact by one that is compressed, if the peer agrees.
    pub fn compress_child(&mut self, now: Instant, child: ChildId) {
        self.with_owner(now, child, |sa, _| {
            if let Some(c) = sa.children.get_mut(&child) {
                c.compressed = c.mode == Mode::Transport;
            }
        });
        self.rekey_child(now, child);
    }

    /// The kernel cannot compress: nobody is asked to any more, nor granted it.
    pub fn stop_compressing(&mut self) {
        self.ctx.settings.compression = false;
    }

    /// Takes a child down at both ends; `ChildDown` is said at once.
    pub fn close_child(&mut self, now: Instant, child: ChildId, reason: DownReason) {
        self.with_owner(now, child, |sa, ctx| {
            if let Some(c) = sa.children.get(&child) {
                let inbound = c.inbound();
                sa.drop_child(ctx, child, reason);
                sa.waiting.push_back(Task::DeleteSpi(inbound));
            }
        });
    }

    /// The kernel refused a child: the peer is told that it is gone.
    pub fn child_refused(&mut self, now: Instant, child: ChildId) {
        self.close_child(now, child, DownReason::Closed);
    }

    fn with_owner(
        &mut self,
        now: Instant,
        child: ChildId,
        act: impl FnOnce(&mut IkeSa, &mut Context),
    ) {
        let Some(id) = self.ctx.owners.get(&child).copied() else {
            return;
        };
        if let Some(sa) = self.sas.get_mut(&id) {
            act(sa, &mut self.ctx);
        }
        self.settle(now, id);
    }

    /// Closes an IKE SA and tells the peer; what was given over it goes with it. Unknown ones are
    /// ignored.
    pub fn close(&mut self, now: Instant, ike: IkeId) {
        self.end(now, ike, &DownReason::Closed);
    }

    /// While a peer rests, nothing is asked of it by ourselves: neither whether it lives, nor for new
    /// keys. When it rests no more, it is asked soon whether it lives.
    pub fn rest(&mut self, now: Instant, peer: &Identity, rests: bool) {
        let changed = if rests {
            self.ctx.resting.insert(peer.clone())
        } else {
            self.ctx.resting.remove(peer)
        };
        if !changed || rests {
            return;
        }
        let theirs = self.sas.values().filter(|sa| sa.peer == *peer);
        for id in theirs.map(|sa| sa.id).collect::<Vec<_>>() {
            self.ctx.set_timer(Timer::Awake(id), now + AWAKENING);
        }
    }

    /// IKE SAs that are being set up from this address of ours are given up.
    pub fn abandon_attempts(&mut self, now: Instant, address: IpAddr) {
        self.openings.retain(|_, opening| opening.local != address);
        for wanted in self.dissolve_attempts(now, |a| a.local.ip() == address) {
            self.ctx.fail(&wanted, ConnectError::Cancelled);
        }
    }

    /// Nothing will be sent from this address of ours any more, or heard at it: what runs over it
    /// ends, without a word to the peers.
    pub fn leave_address(&mut self, now: Instant, address: IpAddr) {
        self.abandon_attempts(now, address);
        let over_it = self.sas.values().filter(|sa| sa.local.ip() == address);
        for id in over_it.map(|sa| sa.id).collect::<Vec<_>>() {
            self.lose(now, id, &DownReason::AddressGone);
        }
    }

    /// Before the process ends: transmit what this gives and do not wait for answers.
    pub fn close_all(&mut self, now: Instant) {
        for wanted in self.dissolve_attempts(now, |_| true) {
            self.ctx.fail(&wanted, ConnectError::Cancelled);
        }
        let ids: Vec<IkeId> = self.sas.keys().copied().collect();
        for id in ids {
            self.end(now, id, &DownReason::Closed);
        }
    }

    /// Takes new settings. IKE SAs of peers that are gone from the database, and children that
    /// are not allowed any more, are closed.
    pub fn reload(&mut self, now: Instant, settings: Settings) {
        let new_identity = settings.identity != self.ctx.settings.identity;
        self.ctx.settings = settings;
        let settings = &self.ctx.settings;
        let gone = |peer: &Identity| new_identity || settings.peer(peer).is_none();
        let ended: Vec<IkeId> = self
            .sas
            .values()
            .filter(|sa| sa.is_established() && gone(&sa.peer))
            .map(|sa| sa.id)
            .collect();
        let disallowed: Vec<ChildId> = self
            .sas
            .values()
            .flat_map(|sa| sa.children.values().map(move |child| (sa, child)))
            .filter(|(sa, child)| {
                let ends = (sa.local.ip(), sa.remote.ip());
                let selectors = &child.selectors;
                let own = |s| settings.protects.iter().any(|p| p.contains(s));
                let of_contact = settings.is_of_contact(&sa.peer, ends, selectors);
                let protected = of_contact
                    || sa.is_ours_as_client(settings, selectors)
                    || selectors.iter().all(own);
                let allowed = settings.authorize_child(&sa.peer, ends, selectors);
                let of_client = sa.is_of_client(settings.gateway.as_ref(), selectors);
                !of_client && (!protected || allowed.is_err())
            })
            .map(|(_, child)| child.id)
            .collect();
        let abandoned: Vec<AttemptId> = self
            .attempts
            .values()
            .filter(|a| gone(&a.peer))
            .map(|a| a.id)
            .collect();
        for wanted in self.dissolve_attempts(now, |a| abandoned.contains(&a.id)) {
            let error = ConnectError::UnknownPeer(wanted.connect.peer.clone());
            self.ctx.fail(&wanted, error);
        }
        for id in ended {
            self.end(now, id, &DownReason::Configuration);
        }
        for child in disallowed {
            self.close_child(now, child, DownReason::Configuration);
        }
    }

    /// Closes an IKE SA and tells the peer.
    pub(super) fn end(&mut self, now: Instant, id: IkeId, reason: &DownReason) {
        let Some(sa) = self.sas.get_mut(&id).filter(|sa| sa.is_established()) else {
            return;
        };
        let (remote, peer) = (sa.remote, sa.peer.clone());
        sa.answer_nothing(&mut self.ctx);
        for wanted in sa.close(&mut self.ctx, reason) {
            self.ctx.fail(&wanted, end_of(reason, remote, &peer));
        }
        sa.waiting.push_back(Task::DeleteIke);
        self.settle(now, id);
    }

    // --- life of an IKE SA ----------------------------------------------------------------------

    /// Takes in an IKE SA whose peer has authenticated.
    fn admit(&mut self, now: Instant, sa: IkeSa) {
        let id = sa.id;
        *self.ctx.in_contact.entry(sa.peer.clone()).or_default() += 1;
        self.by_spis.insert(sa.spis(), id);
        self.sas.insert(id, sa);
        self.settle(now, id);
    }

    /// The other end is gone: nothing is left to be said to it. What was still wanted is tried
    /// anew, unless the peer has fallen silent.
    fn lose(&mut self, now: Instant, id: IkeId, reason: &DownReason) {
        let Some(sa) = self.sas.get_mut(&id) else {
            return;
        };
        let (remote, peer) = (sa.remote, sa.peer.clone());
        let orphans = sa.close(&mut self.ctx, reason);
        sa.in_flight = None;
        self.ctx.timers.stop(&Timer::Request(id));
        if matches!(reason, DownReason::PeerSilent | DownReason::AddressGone) {
            self.forget(id);
        } else {
            // Stays a while to answer the peer's Delete again.
            self.settle(now, id);
        }
        for wanted in orphans {
            let error = end_of(reason, remote, &peer);
            match reason {
                DownReason::DeletedByPeer | DownReason::InitialContact => {
                    self.want_again(now, wanted, error);
                }
                _ => self.ctx.fail(&wanted, error),
            }
        }
    }

    /// `error` is what its request ends with where it has been tried often enough.
    fn want_again(&mut self, now: Instant, mut wanted: Wanted, error: ConnectError) {
        wanted.tries += 1;
        if wanted.tries < 3 && wanted.request.is_some() {
            self.want(now, wanted);
        } else {
            self.ctx.fail(&wanted, error);
        }
    }

    fn forget(&mut self, id: IkeId) {
        if let Some(sa) = self.sas.remove(&id) {
            self.by_spis.remove(&sa.spis());
            for timer in [
                Timer::Request,
                Timer::Liveness,
                Timer::Awake,
                Timer::Idle,
                Timer::Redundant,
                Timer::Answer,
            ] {
                self.ctx.timers.stop(&timer(id));
            }
        }
    }

    /// After anything that happened to an IKE SA: the next request, and the deadlines that follow
    /// from what it is now.
    pub(super) fn settle(&mut self, now: Instant, id: IkeId) {
        let Some(sa) = self.sas.get_mut(&id) else {
            return;
        };
        let timing = &self.ctx.settings.timing;
        let (half_open, give_up) = (timing.half_open, timing.give_up);
        let liveness = sa.liveness(&self.ctx.settings);
        sa.advance(&mut self.ctx, now);
        let timers = &mut self.ctx.timers;
        if sa.is_established() {
            if !liveness.is_zero() && timers.deadline(&Timer::Liveness(id)).is_none() {
                timers.set(Timer::Liveness(id), sa.heard + liveness);
            }
            // The initiator closes what is of no use; its peer only if that did not happen.
            let wait = match sa.role {
                Role::Initiator => half_open,
                Role::Responder => half_open * 2,
            };
            let asked_again = sa.last_question.map(|at| at + FURTHER_QUESTIONS);
            let idle = sa.is_idle() && !self.ctx.held.contains(&sa.peer);
            match (idle, timers.deadline(&Timer::Idle(id))) {
                (true, None) => {
                    let at = asked_again.map_or(now + wait, |asked| asked.max(now + wait));
                    timers.set(Timer::Idle(id), at);
                }
                (false, Some(_)) => timers.stop(&Timer::Idle(id)),
                _ => {}
            }
            simultaneous::review(self, now, id);
        } else if timers.deadline(&Timer::Idle(id)).is_none() {
            timers.set(Timer::Idle(id), now + give_up);
        }
    }

    /// An SPI for an IKE SA: random, not zero, and nobody else's here.
    fn draw_spi(&mut self) -> u64 {
        loop {
            let spi = self.ctx.rng.u64();
            let taken = self
                .by_spis
                .range((spi, 0)..=(spi, u64::MAX))
                .next()
                .is_some()
                || self.attempts_by_spi.contains_key(&spi)
                || self.openings.values().any(|opening| opening.spi == spi)
                || self.half_open.contains(spi);
            if spi != 0 && !taken {
                return spi;
            }
        }
    }
}
