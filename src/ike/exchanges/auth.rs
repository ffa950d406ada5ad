//! `IKE_AUTH` with pre-shared keys (RFC 7296 §1.2, §2.15), and the first child with it.
//!
//! ```text
//! HDR, SK {IDi, [N(INITIAL_CONTACT),] IDr, AUTH, SAi2, TSi, TSr}  -->
//!                               <--  HDR, SK {IDr, AUTH, SAr2, TSi, TSr}
//! ```
//!
//! A client of remote access puts CP(CFG_REQUEST) before SAi2, and its gateway answers with
//! CP(CFG_REPLY) before SAr2 (§2.19).
//!
//! Where the first child cannot be had, since a NAT seems to be on the way, the exchange sets up the
//! IKE SA alone (RFC 6023); once the peer has authenticated, it is known whether there is one.
//!
//! A peer that nobody knows and one that proves the wrong key are told the same, after the same
//! work.

use crate::ike::attempt::{Attempt, PendingAuth, Version};
use crate::ike::child_sa::{Rejection, meaning_of};
use crate::ike::configuration;
use crate::ike::context::{Context, Wanted};
use crate::ike::crypto::IkeKeys;
use crate::ike::crypto::authentication::{Claim, Prover, SHARED_KEY};
use crate::ike::crypto::cipher::OpenError;
use crate::ike::crypto::keymat::Nonces;
use crate::ike::effects::{Effect, IkeId, Outbound};
use crate::ike::half_open::HalfOpen;
use crate::ike::offer::Offer;
use crate::ike::sa::{IkeSa, Role, State};
use crate::ike::wire::{
    Exchange, Header, IdBody, NotifyKind, Payload, PayloadKind, Payloads, WireError,
};
use crate::net::{Identity, Secret};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

const MESSAGE_ID: u32 = 1;

// --- initiator ----------------------------------------------------------------------------------

impl Attempt {
    /// The request that proves to one candidate who we are and asks for the first child.
    pub(super) fn prove(
        &self,
        ctx: &mut Context,
        sa: &mut IkeSa,
        request: &[u8],
        nonce: &[u8],
    ) -> Option<PendingAuth> {
        let psk = ctx.settings.peer(&self.peer)?.psk.clone();
        let id = IdBody::from(&ctx.settings.identity);
        let claim = Claim {
            prover: Prover::Initiator,
            message: request,
            nonce,
            id: &id,
        };
        let proof = claim.prove(&sa.keys, &psk);
        let wanted = self.wanted.front()?;
        let initial_contact =
            wanted.connect.initial_contact && !ctx.in_contact.contains_key(&self.peer);
        let possible = !sa.nat || wanted.connect.crosses_nat();
        let offer = possible.then(|| {
            // The candidates share one wish; it is reported from `self.wanted`.
            let wish = Wanted {
                request: None,
                connect: wanted.connect.clone(),
                tries: 0,
            };
            Offer::new(ctx, wish, self.nonce.clone(), None, sa.nat)
        });
        let mut payloads = vec![Payload::IdI(id)];
        if initial_contact {
            payloads.push(Payload::notify(NotifyKind::INITIAL_CONTACT, []));
        }
        payloads.push(Payload::IdR(IdBody::from(&self.peer)));
        payloads.push(Payload::Auth {
            method: SHARED_KEY,
            data: proof.expose().to_vec(),
        });
        payloads.extend(offer.iter().flat_map(Offer::payloads));
        let datagram = sa.request(ctx, Exchange::IKE_AUTH, payloads);
        Some(PendingAuth { datagram, offer })
    }

    /// Which candidate the answer makes the peer, if any.
    pub(in crate::ike) fn on_auth_response(
        &mut self,
        ctx: &mut Context,
        now: Instant,
        header: &Header,
        datagram: &[u8],
    ) -> Option<(usize, Payloads)> {
        if header.exchange != Exchange::IKE_AUTH || header.message_id != MESSAGE_ID {
            ctx.counters.out_of_window += 1;
            return None;
        }
        let opened = self.candidates.iter().enumerate().find_map(|(at, c)| {
            let is_his = c.pending.is_some() && c.sa.is_for(header);
            is_his
                .then(|| c.sa.open(datagram))
                .and_then(|opened| match opened {
                    Err(OpenError::Integrity) => None,
                    Err(OpenError::Contents(_)) => Some((at, Payloads::default())),
                    Ok(answer) => Some((at, answer)),
                })
        });
        let Some((at, answer)) = opened else {
            ctx.counters.integrity_failed += 1;
            return None;
        };
        if let Some(version) = self.proven_version(ctx, at, &answer) {
            let (ours, nat) = (version.ours, version.nat);
            let sa = &mut self.candidates[at].sa;
            sa.ours = ours;
            sa.nat = nat;
            if nat {
                sa.move_behind_nat();
            }
            return Some((at, answer));
        }
        // Whoever owns these keys is not the peer. If it believes us, it should know (§2.21.2).
        if answer.error().is_none() {
            let sa = &mut self.candidates[at].sa;
            let failed = vec![Payload::notify(NotifyKind::AUTHENTICATION_FAILED, [])];
            let farewell = sa.request(ctx, Exchange::INFORMATIONAL, failed);
            ctx.transmit(sa.local, sa.remote, &farewell);
        }
        self.on_candidate_failed(ctx, now, at);
        None
    }

    /// Which version of its first message a candidate has proven to be the peer's.
    fn proven_version(&self, ctx: &Context, at: usize, answer: &Payloads) -> Option<&Version> {
        let candidate = &self.candidates[at];
        let (id, (method, proof)) = (answer.id_r()?, answer.auth()?);
        let psk = &ctx.settings.peer(&self.peer)?.psk;
        let proves = |version: &&Version| {
            let claim = Claim {
                prover: Prover::Responder,
                message: &version.response,
                nonce: &self.nonce,
                id,
            };
            claim.verify(&candidate.sa.keys, psk, method, proof)
        };
        let is_peer = id.identity() == self.peer;
        candidate.versions.iter().find(proves).filter(|_| is_peer)
    }

    /// The peer has authenticated: what remains is its answer about the first child.
    pub(in crate::ike) fn establish(
        mut self,
        ctx: &mut Context,
        now: Instant,
        at: usize,
        answer: &Payloads,
    ) -> Established {
        let candidate = self.candidates.swap_remove(at);
        let (mut wanted, unwanted) = self.dissolve(ctx);
        let (mut sa, nonce) = (candidate.sa, candidate.nonce);
        sa.heard = now;
        sa.established = now;
        let Some(mut offer) = candidate.pending.and_then(|p| p.offer) else {
            let still_wanted = wanted.into_iter().filter(|w| w.request.is_some());
            sa.waiting.extend(still_wanted.map(super::Task::Create));
            return Established { sa, unwanted };
        };
        let request = wanted.pop_front().and_then(|w| w.request);
        let further = wanted.into_iter().map(super::Task::Create);
        offer.set_request(request);
        let inbound = offer.inbound();
        if offer.address.is_some()
            && let Some(assigned) = configuration::assigned(answer)
        {
            sa.assigned.clone_from(&assigned.addresses);
            sa.report_up(ctx);
            let ike = sa.id;
            ctx.emit(Effect::Configured {
                ike,
                request,
                assigned,
            });
        }
        let result = match answer.error() {
            Some(notify) => Err(Rejection {
                error: meaning_of(notify, &sa),
                delete: false,
            }),
            None => sa.complete_child(ctx, now, offer, answer, &nonce, Outbound::Now),
        };
        match result {
            Ok(_) if sa.ours => sa.waiting.push_back(super::Task::Probe),
            Ok(_) => {}
            Err(rejection) => sa.reject(ctx, now, inbound, request, None, rejection),
        }
        sa.waiting.extend(further);
        Established { sa, unwanted }
    }
}

/// What an attempt becomes.
#[derive(Debug)]
pub(in crate::ike) struct Established {
    pub(in crate::ike) sa: IkeSa,
    /// Other candidates, which may yet authenticate as well.
    pub(in crate::ike) unwanted: Vec<IkeSa>,
}

// --- responder ----------------------------------------------------------------------------------

/// What an `IKE_AUTH` request made of a half-open SA.
#[derive(Debug)]
pub(in crate::ike) enum Verdict {
    /// Not from the peer, or answered already.
    Ignored,
    /// Answered with `AUTHENTICATION_FAILED`.
    Refused,
    Authenticated {
        peer: Identity,
        request: Payloads,
    },
}

impl HalfOpen {
    pub(in crate::ike) fn on_auth_request(
        &mut self,
        ctx: &mut Context,
        at: (SocketAddr, SocketAddr),
        header: &Header,
        datagram: &[u8],
    ) -> Verdict {
        let expected = header.exchange == Exchange::IKE_AUTH
            && header.message_id == MESSAGE_ID
            && header.spi_i == self.spi_i
            && !header.response;
        if !expected {
            ctx.counters.out_of_window += 1;
            return Verdict::Ignored;
        }
        self.agree();
        let Some(keys) = &self.keys else {
            ctx.counters.malformed += 1;
            return Verdict::Ignored;
        };
        let request = match keys.from_initiator.open(datagram) {
            Err(OpenError::Integrity) => {
                ctx.counters.integrity_failed += 1;
                return Verdict::Ignored;
            }
            opened => opened,
        };
        if let Some(refusal) = &self.refusal {
            ctx.counters.replayed += 1;
            ctx.transmit(at.0, at.1, refusal);
            return Verdict::Ignored;
        }
        let refusal = match request {
            Ok(request) => match self.authenticate(ctx, keys, &request) {
                Some(peer) => return Verdict::Authenticated { peer, request },
                None => Payload::notify(NotifyKind::AUTHENTICATION_FAILED, []),
            },
            Err(OpenError::Contents(WireError::UnknownCritical(kind))) => {
                Payload::notify(NotifyKind::UNSUPPORTED_CRITICAL_PAYLOAD, [kind])
            }
            Err(_) => Payload::notify(NotifyKind::INVALID_SYNTAX, []),
        };
        ctx.counters.authentication_failed += 1;
        let header = Header {
            next: PayloadKind::SK,
            from_initiator: false,
            response: true,
            ..*header
        };
        let payloads = Payloads(vec![refusal]);
        let responder = self.keys.as_mut().map(|keys| &mut keys.from_responder);
        self.refusal = responder.map(|to| to.seal(header, &payloads, &mut ctx.rng));
        if let Some(refusal) = &self.refusal {
            ctx.transmit(at.0, at.1, refusal);
        }
        Verdict::Refused
    }

    fn authenticate(&self, ctx: &Context, keys: &IkeKeys, request: &Payloads) -> Option<Identity> {
        let (id, (method, proof)) = (request.id_i()?, request.auth()?);
        let identity = id.identity();
        let peer = ctx.settings.peer(&identity);
        // A key that nobody can prove, so that an unknown name takes as long as a wrong key.
        let nobody = Secret::from(&self.nonce_r[..]);
        let claim = Claim {
            prover: Prover::Initiator,
            message: &self.request,
            nonce: &self.nonce_r,
            id,
        };
        let proven = claim.verify(keys, peer.map_or(&nobody, |p| &p.psk), method, proof);
        let for_us = request
            .id_r()
            .is_none_or(|id| id.identity() == ctx.settings.identity);
        (proven && peer.is_some() && for_us).then_some(identity)
    }

    /// The peer has authenticated: prove who we are, and answer about the first child.
    pub(in crate::ike) fn establish(
        self,
        ctx: &mut Context,
        now: Instant,
        at: (SocketAddr, SocketAddr),
        (keys, peer): (IkeKeys, Identity),
        request: &Payloads,
    ) -> IkeSa {
        let psk = ctx.settings.peer(&peer).map(|p| p.psk.clone());
        let id = IdBody::from(&ctx.settings.identity);
        let claim = Claim {
            prover: Prover::Responder,
            message: &self.response,
            nonce: &self.nonce_i,
            id: &id,
        };
        // `authenticate` found the peer a moment ago.
        let proof = claim.prove(&keys, &psk.unwrap_or(Secret::from(&self.nonce_r[..])));
        let mut sa = IkeSa {
            id: IkeId(ctx.next_id()),
            role: Role::Responder,
            spi_i: self.spi_i,
            spi_r: self.spi_r,
            keys,
            local: at.0,
            remote: at.1,
            peer,
            ours: self.ours,
            nat: self.nat,
            lowest_nonce: self.nonce_i.clone().min(self.nonce_r.clone()),
            state: State::Established,
            reported: false,
            established: now,
            heard: now,
            children: BTreeMap::new(),
            unconfirmed: Vec::new(),
            waiting: VecDeque::new(),
            postponed: Vec::new(),
            in_flight: None,
            next_request: 0,
            expected: MESSAGE_ID,
            last_response: Vec::new(),
            deferred: None,
            last_question: None,
            assigned: Vec::new(),
            leased: Vec::new(),
        };
        let mut payloads = vec![
            Payload::IdR(id),
            Payload::Auth {
                method: SHARED_KEY,
                data: proof.expose().to_vec(),
            },
        ];
        let nonces = Nonces {
            initiator: &self.nonce_i,
            responder: &self.nonce_r,
        };
        // An IKE SA without a child lives on (§1.2): the next exchange may ask for another. Nor is
        // one always asked for (RFC 6023 §3).
        if request.proposals().is_some() || request.ts_i().is_some() || request.ts_r().is_some() {
            match sa.lease(ctx, request) {
                Err(refusal) => payloads.push(Payload::notify(refusal, [])),
                Ok(reply) => match sa.answer_child(ctx, now, request, Some(nonces), None) {
                    Ok((_, child)) => {
                        payloads.extend(reply);
                        payloads.extend(child);
                    }
                    Err(refusal) => payloads.push(Payload::Notify(refusal)),
                },
            }
        }
        sa.respond(ctx, at, Exchange::IKE_AUTH, payloads);
        sa
    }
}
