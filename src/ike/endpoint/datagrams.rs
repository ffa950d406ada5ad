//! Whose a datagram is, and what its exchange makes of it.

use super::Endpoint;
use crate::ike::context::AttemptId;
use crate::ike::crypto::cipher::OpenError;
use crate::ike::effects::{DownReason, IkeId};
use crate::ike::exchanges::auth::Verdict as AuthVerdict;
use crate::ike::exchanges::informational::Rest;
use crate::ike::exchanges::init::{self, Responder};
use crate::ike::exchanges::{Awaiting, rekey_ike};
use crate::ike::half_open::HalfOpen;
use crate::ike::sa::{IkeSa, Role, State, Turn};
use crate::ike::wire::{Exchange, Header, Notify, NotifyKind, Payload, Payloads, WireError};
use crate::net::Identity;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

/// IKE SAs that one identity may hold at once; it is refused more.
const MAX_SAS_PER_PEER: usize = 16;

impl Endpoint {
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
        if !init::is_first(header) {
            self.ctx.counters.malformed += 1;
            return;
        }
        let answer = self
            .responder()
            .answer(now, local, remote, header, datagram);
        let refused = |notify| init::refusal(header.spi_i, notify);
        if let Some(said) = answer.map_or_else(|refusal| refusal.map(refused), Some) {
            self.ctx.transmit(local, remote, &said);
        }
    }

    pub(super) fn responder(&mut self) -> Responder<'_> {
        Responder {
            spi: self.draw_spi(),
            ctx: &mut self.ctx,
            half_open: &mut self.half_open,
            cookies: &mut self.cookies,
        }
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
            self.ctx.counters.too_many_sas += 1;
            return;
        }
        if let Some((entry, keys)) = self.half_open.complete(spi) {
            if request.notification(NotifyKind::INITIAL_CONTACT).is_some() {
                self.on_initial_contact(now, &peer, &entry);
            }
            let sa = entry.establish(&mut self.ctx, now, at, (keys, peer), &request);
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
            // The agent has been asked.
            Turn::Deferred => {}
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
            Awaiting::Answer(question) => sa.on_answer(&mut self.ctx, now, question, answer),
            Awaiting::Nothing => sa.confirm_own(&mut self.ctx),
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
                let (mut answer, rest) = sa.on_informational(ctx, &request);
                if rest == Rest::DeletedByPeer {
                    sa.respond(ctx, at, exchange, answer);
                    self.lose(now, id, &DownReason::DeletedByPeer);
                    return;
                }
                if !sa.defer(ctx, now, at, &request, &mut answer) {
                    sa.respond(ctx, at, exchange, answer);
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
            waiting: VecDeque::new(),
            postponed: Vec::new(),
            in_flight: None,
            next_request: sa.next_request,
            expected: sa.expected,
            last_response: std::mem::take(&mut sa.last_response),
            deferred: None,
            last_question: None,
            assigned: Vec::new(),
            leased: Vec::new(),
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
}
