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
use super::context::{AttemptId, Context, Timer, Wanted};
use super::cookies::Cookies;
use super::counters::Counters;
use super::crypto::Group;
use super::crypto::cipher::OpenError;
use super::effects::{ChildId, ConnectError, DownReason, Effect, IkeId};
use super::exchanges::auth::Verdict as AuthVerdict;
use super::exchanges::informational::Rest;
use super::exchanges::init::Responder;
use super::exchanges::{Awaiting, Task, rekey_ike};
use super::half_open::{HalfOpen, HalfOpenTable};
use super::retransmission::Verdict;
use super::sa::{IkeSa, Role, State, Turn, end_of};
use super::settings::{Connect, RequestId, Settings};
use super::wire::{Exchange, Header, Notify, NotifyKind, Payload, Payloads, WireError};
use super::{nat, simultaneous};
use crate::net::{Identity, Random};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// IKE SAs that one identity may hold at once; it is refused more.
const MAX_SAS_PER_PEER: usize = 16;

#[derive(Debug)]
pub struct Endpoint {
    pub(super) ctx: Context,
    pub(super) sas: BTreeMap<IkeId, IkeSa>,
    attempts: BTreeMap<AttemptId, Attempt>,
    half_open: HalfOpenTable,
    cookies: Cookies,
    /// By our SPI and the peer's: those that came of one attempt share ours.
    by_spis: BTreeMap<(u64, u64), IkeId>,
    /// By our SPI.
    attempts_by_spi: BTreeMap<u64, AttemptId>,
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
        } else if let Some(id) = self.sa_with(&connect.peer, local, remote) {
            if let Some(sa) = self.sas.get_mut(&id) {
                sa.waiting.push_back(Task::Create(wanted));
            }
            self.settle(now, id);
        } else if let Some(attempt) = self
            .attempts
            .values_mut()
            .find(|a| a.peer == connect.peer && a.local.ip() == local && a.remote.ip() == remote)
        {
            attempt.wanted.push_back(wanted);
        } else {
            let spi = self.draw_spi();
            let at = (
                SocketAddr::new(local, nat::PORT),
                SocketAddr::new(remote, nat::PORT),
            );
            let mut attempt = Attempt::new(&mut self.ctx, now, spi, at, wanted);
            attempt.ask(&mut self.ctx, now, Group::ALL[0]);
            self.attempts_by_spi.insert(spi, attempt.id);
            self.attempts.insert(attempt.id, attempt);
        }
    }

    /// The established IKE SA that children of a peer go on. Of several the one that both ends
    /// will keep.
    fn sa_with(&self, peer: &Identity, local: IpAddr, remote: IpAddr) -> Option<IkeId> {
        self.sas
            .values()
            .filter(|sa| sa.is_established() && sa.peer == *peer)
            .filter(|sa| sa.local.ip() == local && sa.remote.ip() == remote)
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
        self.with_owner(now, child, |sa, _| sa.waiting.push_back(Task::Rekey(child)));
    }

    /// Takes a child down at both ends; `ChildDown` is said at once.
    pub fn close_child(&mut self, now: Instant, child: ChildId, reason: DownReason) {
        self.with_owner(now, child, |sa, ctx| {
            if let Some(c) = sa.children.get(&child) {
                let spi = c.spi_in;
                sa.drop_child(ctx, child, reason);
                sa.waiting.push_back(Task::DeleteSpi(spi));
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

    /// Takes an IKE SA and its children down at both ends; everything is reported at once.
    pub fn close_ike(&mut self, now: Instant, ike: IkeId) {
        self.end(now, ike, &DownReason::Closed);
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
                let own = |s| settings.protects.iter().any(|p| p.contains(s));
                !child.selectors.iter().all(own)
                    || settings
                        .authorize(&sa.peer, sa.remote.ip(), &child.selectors)
                        .is_err()
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
        for wanted in sa.close(&mut self.ctx, reason) {
            self.ctx.fail(&wanted, end_of(reason, remote, &peer));
        }
        sa.waiting.push_back(Task::DeleteIke);
        self.settle(now, id);
    }

    // --- datagrams ------------------------------------------------------------------------------

    /// `payload` is one IKE message, without the non-ESP marker. `local` is the address and port
    /// that it was sent to.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        payload: &[u8],
    ) {
        let Ok((header, _)) = Header::decode(payload) else {
            self.ctx.counters.malformed += 1;
            return;
        };
        if header.exchange == Exchange::IKE_SA_INIT && !header.response {
            self.on_init_request(now, local, remote, &header, payload);
            return;
        }
        let (own, peers) = if header.from_initiator {
            (header.spi_r, header.spi_i)
        } else {
            (header.spi_i, header.spi_r)
        };
        let at = (local, remote);
        if let Some(id) = self.by_spis.get(&(own, peers)).copied() {
            self.on_sa_message(now, id, at, &header, payload);
        } else if let Some(id) = self.attempts_by_spi.get(&own).copied() {
            self.on_attempt_message(now, id, at, &header, payload);
        } else if self.half_open.contains(own) {
            self.on_auth_request(now, own, at, &header, payload);
        } else {
            self.ctx.counters.unknown_spi += 1;
        }
    }

    fn on_init_request(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        header: &Header,
        datagram: &[u8],
    ) {
        if header.spi_r != 0 || !header.from_initiator || header.message_id != 0 {
            self.ctx.counters.malformed += 1;
            return;
        }
        let responder = Responder {
            spi: self.draw_spi(),
            ctx: &mut self.ctx,
            half_open: &mut self.half_open,
            cookies: &mut self.cookies,
        };
        responder.on_init_request(now, local, remote, header, datagram);
    }

    fn on_auth_request(
        &mut self,
        now: Instant,
        spi: u64,
        at: (SocketAddr, SocketAddr),
        header: &Header,
        datagram: &[u8],
    ) {
        let Some(entry) = self.half_open.entry_mut(spi) else {
            return;
        };
        let verdict = entry.on_auth_request(&mut self.ctx, at, header, datagram);
        let AuthVerdict::Authenticated { peer, request } = verdict else {
            return;
        };
        let held = self.ctx.in_contact.get(&peer).copied().unwrap_or(0);
        if held >= MAX_SAS_PER_PEER {
            self.ctx.counters.half_open_full += 1;
            return;
        }
        if let Some(entry) = self.half_open.complete(spi) {
            if request.notification(NotifyKind::INITIAL_CONTACT).is_some() {
                self.on_initial_contact(now, &peer, &entry);
            }
            let sa = entry.establish(&mut self.ctx, now, at, peer, &request);
            self.admit(now, sa);
        }
    }

    /// The peer holds no other IKE SA with us (RFC 7296 §2.4). It said so after our answer to its
    /// `IKE_SA_INIT`; an IKE SA that became established since that came may be one that we set up
    /// at the same time, and stays.
    fn on_initial_contact(&mut self, now: Instant, peer: &Identity, entry: &HalfOpen) {
        let earlier: Vec<IkeId> = self
            .sas
            .values()
            .filter(|sa| sa.is_established() && sa.peer == *peer)
            .filter(|sa| sa.established < entry.created)
            .map(|sa| sa.id)
            .collect();
        for id in earlier {
            self.lose(now, id, &DownReason::InitialContact);
        }
    }

    fn on_attempt_message(
        &mut self,
        now: Instant,
        id: AttemptId,
        (local, remote): (SocketAddr, SocketAddr),
        header: &Header,
        datagram: &[u8],
    ) {
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        let ctx = &mut self.ctx;
        if !header.response {
            ctx.counters.out_of_window += 1;
        } else if header.exchange == Exchange::IKE_SA_INIT {
            attempt.on_init_response(ctx, now, local, remote, header, datagram);
        } else if let Some((at, answer)) = attempt.on_auth_response(ctx, now, header, datagram)
            && let Some(attempt) = self.take_attempt(id)
        {
            let done = attempt.establish(&mut self.ctx, now, at, &answer);
            self.admit(now, done.sa);
            self.dismiss(now, done.unwanted);
        }
    }

    fn on_sa_message(
        &mut self,
        now: Instant,
        id: IkeId,
        at: (SocketAddr, SocketAddr),
        header: &Header,
        datagram: &[u8],
    ) {
        let Some(sa) = self.sas.get_mut(&id).filter(|sa| sa.is_for(header)) else {
            self.ctx.counters.unknown_spi += 1;
            return;
        };
        let opened = match sa.open(datagram) {
            Err(OpenError::Integrity) => {
                self.ctx.counters.integrity_failed += 1;
                return;
            }
            Err(OpenError::Contents(error)) => Err(error),
            Ok(payloads) => Ok(payloads),
        };
        if header.response {
            match sa.take_answered(&mut self.ctx, header) {
                Some(awaiting) => {
                    sa.heard = now;
                    // What cannot be read answers all the same, with nothing in it.
                    self.on_answer(now, id, awaiting, &opened.unwrap_or_default());
                }
                None => self.ctx.counters.out_of_window += 1,
            }
            return;
        }
        match sa.turn(header.message_id) {
            Turn::Outside => self.ctx.counters.out_of_window += 1,
            Turn::Again => {
                self.ctx.counters.replayed += 1;
                self.ctx.transmit(at.0, at.1, &sa.last_response);
            }
            Turn::Expected => {
                sa.heard = now;
                // A new request shows that the answer to the one before has arrived.
                for child in sa.unconfirmed.clone() {
                    sa.confirm(&mut self.ctx, child);
                }
                self.on_request(now, id, at, header.exchange, opened);
            }
        }
    }

    fn on_answer(&mut self, now: Instant, id: IkeId, awaiting: Awaiting, answer: &Payloads) {
        let Some(sa) = self.sas.get_mut(&id) else {
            return;
        };
        match awaiting {
            Awaiting::Child(offer) => sa.on_child_answer(&mut self.ctx, now, *offer, answer),
            Awaiting::ChildDeleted(child, reason) => {
                sa.drop_child(&mut self.ctx, child, reason);
            }
            Awaiting::IkeDeleted => {
                self.forget(id);
                return;
            }
            Awaiting::Nothing => {}
        }
        self.settle(now, id);
    }

    fn on_request(
        &mut self,
        now: Instant,
        id: IkeId,
        at: (SocketAddr, SocketAddr),
        exchange: Exchange,
        opened: Result<Payloads, WireError>,
    ) {
        let Some(sa) = self.sas.get_mut(&id) else {
            return;
        };
        let ctx = &mut self.ctx;
        let refuse = |kind, data: &[u8]| vec![Payload::Notify(Notify::new(kind, data))];
        let request = match opened {
            Ok(request) => request,
            Err(WireError::UnknownCritical(kind)) => {
                let refusal = refuse(NotifyKind::UNSUPPORTED_CRITICAL_PAYLOAD, &[kind]);
                sa.respond(ctx, at, exchange, refusal);
                return;
            }
            Err(_) => {
                sa.respond(ctx, at, exchange, refuse(NotifyKind::INVALID_SYNTAX, &[]));
                return;
            }
        };
        match exchange {
            Exchange::CREATE_CHILD_SA if rekey_ike::is_asked_for(&request) => {
                self.on_rekey_ike(now, id, at, &request);
            }
            Exchange::CREATE_CHILD_SA => {
                let answer = sa.on_create_child(ctx, now, &request);
                sa.respond(ctx, at, exchange, answer);
            }
            Exchange::INFORMATIONAL => {
                let (answer, rest) = sa.on_informational(ctx, &request);
                sa.respond(ctx, at, exchange, answer);
                if rest == Rest::DeletedByPeer {
                    self.lose(now, id, &DownReason::DeletedByPeer);
                    return;
                }
            }
            _ => sa.respond(ctx, at, exchange, refuse(NotifyKind::INVALID_SYNTAX, &[])),
        }
        self.settle(now, id);
    }

    /// The IKE SA goes on under new SPIs and keys, with its children, its number and its queue.
    /// What was its old self answers for a while what still comes under the old ones.
    fn on_rekey_ike(
        &mut self,
        now: Instant,
        id: IkeId,
        at: (SocketAddr, SocketAddr),
        request: &Payloads,
    ) {
        let spi = self.draw_spi();
        let Some(sa) = self.sas.get_mut(&id) else {
            return;
        };
        let ctx = &mut self.ctx;
        let exchange = Exchange::CREATE_CHILD_SA;
        let (payloads, new) = match sa.on_rekey_ike(ctx, request, spi) {
            Ok(answer) => answer,
            Err(refusal) => {
                sa.respond(ctx, at, exchange, vec![Payload::Notify(refusal)]);
                return;
            }
        };
        sa.respond(ctx, at, exchange, payloads);
        let retired = IkeSa {
            id: IkeId(ctx.next_id()),
            role: sa.role,
            spi_i: std::mem::replace(&mut sa.spi_i, new.spi_i),
            spi_r: std::mem::replace(&mut sa.spi_r, new.spi_r),
            keys: std::mem::replace(&mut sa.keys, new.keys),
            local: sa.local,
            remote: sa.remote,
            peer: sa.peer.clone(),
            ours: sa.ours,
            nat: sa.nat,
            lowest_nonce: sa.lowest_nonce.clone(),
            state: State::Closed,
            reported: false,
            established: sa.established,
            heard: now,
            children: BTreeMap::new(),
            unconfirmed: Vec::new(),
            waiting: std::collections::VecDeque::new(),
            postponed: Vec::new(),
            in_flight: None,
            next_request: sa.next_request,
            expected: sa.expected,
            last_response: std::mem::take(&mut sa.last_response),
        };
        sa.role = Role::Responder;
        sa.next_request = 0;
        sa.expected = 0;
        self.by_spis.insert(retired.spis(), retired.id);
        self.by_spis.insert(sa.spis(), id);
        let old = retired.id;
        self.sas.insert(old, retired);
        self.settle(now, old);
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
        let was_established = sa.is_established();
        let orphans = sa.close(&mut self.ctx, reason);
        if *reason == DownReason::PeerSilent || !was_established {
            self.forget(id);
        } else {
            if let Some(sa) = self.sas.get_mut(&id) {
                sa.in_flight = None;
                self.ctx.timers.stop(&Timer::Request(id));
            }
            self.settle(now, id);
        }
        for mut wanted in orphans {
            wanted.tries += 1;
            let again = matches!(
                reason,
                DownReason::DeletedByPeer | DownReason::InitialContact
            );
            if again && wanted.tries < 3 && wanted.request.is_some() {
                self.want(now, wanted);
            } else {
                self.ctx.fail(&wanted, end_of(reason, remote, &peer));
            }
        }
    }

    fn forget(&mut self, id: IkeId) {
        if let Some(sa) = self.sas.remove(&id) {
            self.by_spis.remove(&sa.spis());
            for timer in [
                Timer::Request,
                Timer::Liveness,
                Timer::Idle,
                Timer::Redundant,
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
        let (half_open, liveness, give_up) = (timing.half_open, timing.liveness, timing.give_up);
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
            match (sa.is_idle(), timers.deadline(&Timer::Idle(id))) {
                (true, None) => timers.set(Timer::Idle(id), now + wait),
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
                || self.half_open.contains(spi);
            if spi != 0 && !taken {
                return spi;
            }
        }
    }

    // --- deadlines ------------------------------------------------------------------------------

    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.ctx.timers.expired(now) {
            match timer {
                Timer::Attempt(id) => self.on_attempt_timeout(now, id),
                Timer::HalfOpen(spi) => {
                    let expired = self.half_open.forget(spi);
                    self.ctx.counters.half_open_expired += u64::from(expired);
                }
                Timer::Request(id) => self.on_request_timeout(now, id),
                Timer::Liveness(id) => self.on_liveness_timeout(now, id),
                Timer::Idle(id) => self.on_idle_timeout(now, id),
                Timer::Postponed(id) => {
                    if let Some(sa) = self.sas.get_mut(&id) {
                        let again = std::mem::take(&mut sa.postponed);
                        sa.waiting.extend(again.into_iter().map(Task::Create));
                    }
                    self.settle(now, id);
                }
                Timer::Redundant(id) => simultaneous::close_if_covered(self, now, id),
                Timer::RedundantChild(child) => {
                    self.with_owner(now, child, |sa, _| {
                        simultaneous::retire_if_redundant(sa, child);
                    });
                }
                Timer::Rekey(child) => self.rekey_child(now, child),
                Timer::Expire(child) => self.close_child(now, child, DownReason::Expired),
                Timer::Confirmed(child) => {
                    self.with_owner(now, child, |sa, ctx| sa.confirm(ctx, child));
                }
            }
        }
    }

    fn on_attempt_timeout(&mut self, now: Instant, id: AttemptId) {
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        match attempt.backoff.expire(now, &self.ctx.settings.timing) {
            Verdict::SendAgain => attempt.retransmit(&mut self.ctx),
            Verdict::GiveUp => {
                self.ctx.counters.unanswered += 1;
                let Some(attempt) = self.take_attempt(id) else {
                    return;
                };
                let silence = ConnectError::NoAnswer(attempt.remote.ip());
                let error = attempt.explanation.clone().unwrap_or(silence);
                let (wishes, unwanted) = attempt.dissolve(&mut self.ctx);
                for wanted in wishes {
                    self.ctx.fail(&wanted, error.clone());
                }
                self.dismiss(now, unwanted);
            }
        }
    }

    fn on_request_timeout(&mut self, now: Instant, id: IkeId) {
        let Some(sa) = self.sas.get_mut(&id) else {
            return;
        };
        if sa.retransmit(&mut self.ctx, now) == Some(Verdict::GiveUp) {
            self.ctx.counters.unanswered += 1;
            self.lose(now, id, &DownReason::PeerSilent);
        }
    }

    fn on_liveness_timeout(&mut self, now: Instant, id: IkeId) {
        let liveness = self.ctx.settings.timing.liveness;
        if let Some(sa) = self.sas.get_mut(&id)
            && !liveness.is_zero()
            && now >= sa.heard + liveness
        {
            // Whatever is in flight asks as well.
            if sa.in_flight.is_none() {
                sa.waiting.push_back(Task::Probe);
            }
            self.ctx.set_timer(Timer::Liveness(id), now + liveness);
        }
        self.settle(now, id);
    }

    fn on_idle_timeout(&mut self, now: Instant, id: IkeId) {
        match self.sas.get(&id) {
            Some(sa) if !sa.is_established() => self.forget(id),
            Some(sa) if sa.is_idle() => self.end(now, id, &DownReason::Closed),
            _ => {}
        }
    }
}
