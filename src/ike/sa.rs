//! One authenticated IKE SA: keys, the two windows of message IDs, and the requests that wait.
//!
//! ```text
//! tasks ─→ waiting ─→ in flight (one; sent again until answered) ─→ exchange completes
//! request ─→ expected? ─→ exchange answers ─→ kept, in case the request comes again
//! ```

use super::child_sa::Child;
use super::context::{Context, Timer, Wanted};
use super::crypto::cipher::OpenError;
use super::crypto::{Direction, IkeKeys};
use super::effects::{AskError, ChildId, ConnectError, DownReason, Effect, IkeId};
use super::exchanges::question::Deferred;
use super::exchanges::{Awaiting, Task};
use super::nat;
use super::retransmission::{Backoff, Verdict};
use super::settings::{RequestId, Settings};
use super::wire::{Exchange, Header, NotifyKind, Payload, PayloadKind, Payloads};
use crate::net::Identity;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Who sent the first `IKE_SA_INIT`; after the peer replaced the IKE SA, the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Initiator,
    Responder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Established,
    /// Reported down; answers the peer's last requests, and may wait for an answer to its Delete.
    Closed,
}

/// The request that has not been answered yet. One at a time: every implementation can take that
/// (RFC 7296 §2.3).
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) message_id: u32,
    pub(super) exchange: Exchange,
    pub(super) awaiting: Awaiting,
    datagram: Vec<u8>,
    backoff: Backoff,
}

#[derive(Debug)]
pub(super) struct IkeSa {
    pub(super) id: IkeId,
    pub(super) role: Role,
    pub(super) spi_i: u64,
    pub(super) spi_r: u64,
    pub(super) keys: IkeKeys,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) peer: Identity,
    /// Whether the peer runs this software and follows its conventions about confirmation.
    pub(super) ours: bool,
    /// Addresses are translated between the two ends.
    pub(super) nat: bool,
    /// The lower of the nonces of `IKE_SA_INIT`: decides between two IKE SAs set up at once.
    pub(super) lowest_nonce: Vec<u8>,
    pub(super) state: State,
    /// Whether `IkeUp` has been said.
    pub(super) reported: bool,
    pub(super) established: Instant,
    /// When the peer last proved that it lives.
    pub(super) heard: Instant,
    pub(super) children: BTreeMap<ChildId, Child>,
    /// Children that the peer asked for and has not shown to have installed.
    pub(super) unconfirmed: Vec<ChildId>,
    pub(super) waiting: VecDeque<Task>,
    /// Children to be asked for again, by and by.
    pub(super) postponed: Vec<Wanted>,
    pub(super) in_flight: Option<InFlight>,
    pub(super) next_request: u32,
    /// The ID of the next request from the peer.
    pub(super) expected: u32,
    /// The answer to the request before that.
    pub(super) last_response: Vec<u8>,
    /// The expected request has come and waits for the agent.
    pub(super) deferred: Option<Deferred>,
    /// When either end last asked or was answered.
    pub(super) last_question: Option<Instant>,
    /// Addresses that the peer, our gateway, has given us.
    pub(super) assigned: Vec<IpAddr>,
    /// Addresses that we have given the peer, a client of ours.
    pub(super) leased: Vec<IpAddr>,
}

/// Where a message stands to the window of the peer's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Expected,
    /// The expected one again, while its answer waits for the agent.
    Deferred,
    /// The last one again: its answer was lost.
    Again,
    Outside,
}

impl IkeSa {
    /// Our SPI and the peer's, by which datagrams find this IKE SA.
    pub(super) fn spis(&self) -> (u64, u64) {
        match self.role {
            Role::Initiator => (self.spi_i, self.spi_r),
            Role::Responder => (self.spi_r, self.spi_i),
        }
    }

    fn outgoing(&mut self) -> &mut Direction {
        match self.role {
            Role::Initiator => &mut self.keys.from_initiator,
            Role::Responder => &mut self.keys.from_responder,
        }
    }

    fn incoming(&self) -> &Direction {
        match self.role {
            Role::Initiator => &self.keys.from_responder,
            Role::Responder => &self.keys.from_initiator,
        }
    }

    /// Whether a header names exactly this IKE SA, from its other end.
    pub(super) fn is_for(&self, header: &Header) -> bool {
        header.spi_i == self.spi_i
            && header.spi_r == self.spi_r
            && header.from_initiator == (self.role == Role::Responder)
    }

    pub(super) fn open(&self, datagram: &[u8]) -> Result<Payloads, OpenError> {
        self.incoming().open(datagram)
    }

    fn seal(
        &mut self,
        ctx: &mut Context,
        exchange: Exchange,
        message_id: u32,
        response: bool,
        payloads: &Payloads,
    ) -> Vec<u8> {
        let header = Header {
            spi_i: self.spi_i,
            spi_r: self.spi_r,
            next: PayloadKind::SK,
            exchange,
            from_initiator: self.role == Role::Initiator,
            response,
            message_id,
        };
        self.outgoing().seal(header, payloads, &mut ctx.rng)
    }

    // --- requests of ours -----------------------------------------------------------------------

    /// A sealed request that takes the next message ID; nothing waits for its answer yet.
    pub(super) fn request(
        &mut self,
        ctx: &mut Context,
        exchange: Exchange,
        payloads: Vec<Payload>,
    ) -> Vec<u8> {
        let message_id = self.next_request;
        self.next_request += 1;
        self.seal(ctx, exchange, message_id, false, &Payloads(payloads))
    }

    /// Sends a request. Nothing else may be in flight.
    pub(super) fn send(
        &mut self,
        ctx: &mut Context,
        now: Instant,
        exchange: Exchange,
        payloads: Vec<Payload>,
        awaiting: Awaiting,
    ) {
        debug_assert!(self.in_flight.is_none());
        let message_id = self.next_request;
        let datagram = self.request(ctx, exchange, payloads);
        ctx.transmit(self.local, self.remote, &datagram);
        let backoff = Backoff::start(now, &ctx.settings.timing);
        ctx.set_timer(Timer::Request(self.id), backoff.deadline());
        self.in_flight = Some(InFlight {
            message_id,
            exchange,
            awaiting,
            datagram,
            backoff,
        });
    }

    /// The request in flight has not been answered in time.
    pub(super) fn retransmit(&mut self, ctx: &mut Context, now: Instant) -> Option<Verdict> {
        let in_flight = self.in_flight.as_mut()?;
        let verdict = in_flight.backoff.expire(now, &ctx.settings.timing);
        if verdict != Verdict::GiveUp {
            ctx.counters.retransmitted += 1;
            ctx.transmit(self.local, self.remote, &in_flight.datagram);
            ctx.set_timer(Timer::Request(self.id), in_flight.backoff.deadline());
        }
        Some(verdict)
    }

    /// Takes the request that an authentic response answers.
    pub(super) fn take_answered(&mut self, ctx: &mut Context, header: &Header) -> Option<Awaiting> {
        let answered = self
            .in_flight
            .take_if(|f| f.message_id == header.message_id && f.exchange == header.exchange)?;
        ctx.timers.stop(&Timer::Request(self.id));
        Some(answered.awaiting)
    }

    // --- requests of the peer's -----------------------------------------------------------------

    pub(super) fn turn(&self, message_id: u32) -> Turn {
        if message_id == self.expected && self.deferred.is_some() {
            Turn::Deferred
        } else if message_id == self.expected {
            Turn::Expected
        } else if self.expected.checked_sub(1) == Some(message_id) && !self.last_response.is_empty()
        {
            Turn::Again
        } else {
            Turn::Outside
        }
    }

    /// Answers the expected request, to where it came from (RFC 7296 §2.11).
    pub(super) fn respond(
        &mut self,
        ctx: &mut Context,
        (local, remote): (SocketAddr, SocketAddr),
        exchange: Exchange,
        payloads: Vec<Payload>,
    ) {
        let payloads = Payloads(payloads);
        self.last_response = self.seal(ctx, exchange, self.expected, true, &payloads);
        self.expected += 1;
        ctx.transmit(local, remote, &self.last_response);
    }

    /// Notes that addresses are translated on the way: from here on where ESP can go as well (RFC
    /// 7296 §2.23).
    pub(super) fn move_behind_nat(&mut self) {
        self.nat = true;
        if self.remote.port() == nat::PORT {
            self.local.set_port(nat::NAT_PORT);
            self.remote.set_port(nat::NAT_PORT);
        }
    }

    // --- life -----------------------------------------------------------------------------------

    pub(super) fn is_established(&self) -> bool {
        self.state == State::Established
    }

    /// After how much silence the peer is asked whether it lives; zero never.
    pub(super) fn liveness(&self, settings: &Settings) -> Duration {
        match &settings.gateway {
            Some(gateway) if !self.leased.is_empty() || self.kept(gateway).is_some() => {
                gateway.liveness
            }
            _ => settings.timing.liveness,
        }
    }

    /// Something waits to be said or answered.
    pub(super) fn is_busy(&self) -> bool {
        !self.waiting.is_empty()
            || !self.postponed.is_empty()
            || self.in_flight.is_some()
            || self.deferred.is_some()
    }

    /// Nothing to carry, and nothing wanted or asked.
    pub(super) fn is_idle(&self) -> bool {
        let wanted = |task: &Task| matches!(task, Task::Create(_) | Task::Ask(_));
        let asks = |f: &InFlight| matches!(f.awaiting, Awaiting::Child(_) | Awaiting::Answer(_));
        self.children.is_empty()
            && self.postponed.is_empty()
            && self.deferred.is_none()
            && !self.waiting.iter().any(wanted)
            && !self.in_flight.as_ref().is_some_and(asks)
    }

    pub(super) fn report_up(&mut self, ctx: &mut Context) {
        if !self.reported {
            self.reported = true;
            ctx.emit(Effect::IkeUp {
                ike: self.id,
                peer: self.peer.clone(),
                local: self.local,
                remote: self.remote,
                nat: self.nat,
            });
        }
    }

    /// Reports everything down. What was still wanted comes back, to fail or be tried elsewhere.
    pub(super) fn close(&mut self, ctx: &mut Context, reason: &DownReason) -> Vec<Wanted> {
        if self.is_established()
            && let Some(held) = ctx.in_contact.get_mut(&self.peer)
        {
            *held -= 1;
            if *held == 0 {
                ctx.in_contact.remove(&self.peer);
            }
        }
        self.state = State::Closed;
        ctx.leases.release(self.id, &self.leased);
        self.deferred = None;
        let mut wanted = std::mem::take(&mut self.postponed);
        let mut questions = Vec::new();
        if let Some(in_flight) = &mut self.in_flight {
            let abandoned = std::mem::replace(&mut in_flight.awaiting, Awaiting::Nothing);
            questions.extend(abandoned.question());
            wanted.extend(abandoned.into_wanted(ctx));
        }
        for task in self.waiting.drain(..) {
            questions.extend(task.question());
            wanted.extend(task.into_wanted());
        }
        for id in questions {
            let (peer, reason) = (self.peer.clone(), reason.clone());
            let error = AskError::Lost { peer, reason };
            ctx.emit(Effect::AskFailed { id, error });
        }
        let ids: Vec<ChildId> = self.children.keys().copied().collect();
        for id in ids {
            let closing = self.children[&id].closing.clone();
            self.drop_child(ctx, id, closing.unwrap_or_else(|| reason.clone()));
        }
        for timer in [
            Timer::Liveness,
            Timer::Awake,
            Timer::Idle,
            Timer::Redundant,
            Timer::Postponed,
            Timer::Answer,
        ] {
            ctx.timers.stop(&timer(self.id));
        }
        if self.reported {
            self.reported = false;
            ctx.emit(Effect::IkeDown {
                ike: self.id,
                peer: self.peer.clone(),
                reason: reason.clone(),
            });
        }
        wanted
    }

    /// Whether the wish was found here; it will not be reported any more. One that has not been
    /// sent is dropped.
    pub(super) fn cancel(&mut self, request: RequestId) -> bool {
        let waits = |task: &Task| matches!(task, Task::Create(w) if w.request == Some(request));
        if let Some(at) = self.waiting.iter().position(waits) {
            self.waiting.remove(at);
            return true;
        }
        let postponed = |w: &Wanted| w.request == Some(request);
        if let Some(at) = self.postponed.iter().position(postponed) {
            self.postponed.remove(at);
            return true;
        }
        match self.in_flight.as_mut().and_then(|f| f.awaiting.wanted()) {
            Some(wanted) if wanted.request == Some(request) => {
                wanted.request = None;
                true
            }
            _ => false,
        }
    }
}

/// What to tell whoever wanted a child of an IKE SA that ended.
pub(super) fn end_of(reason: &DownReason, remote: SocketAddr, peer: &Identity) -> ConnectError {
    match reason {
        DownReason::PeerSilent => ConnectError::NoAnswer(remote.ip()),
        DownReason::Configuration => ConnectError::UnknownPeer(peer.clone()),
        DownReason::DeletedByPeer | DownReason::InitialContact => ConnectError::Refused {
            peer: peer.clone(),
            code: NotifyKind::TEMPORARY_FAILURE.0,
        },
        _ => ConnectError::Cancelled,
    }
}
