//! `IKE_SA_INIT` (RFC 7296 §1.2).
//!
//! ```text
//! HDR, [N(COOKIE),] SAi1, KEi, Ni, N(NAT_DETECTION_*_IP), V  -->
//!                   <--  HDR, SAr1, KEr, Nr, N(CHILDLESS_IKEV2_SUPPORTED),
//!                             N(NAT_DETECTION_*_IP), V
//!          or       <--  HDR, N(COOKIE)                    (§2.6)
//!          or       <--  HDR, N(INVALID_KE_PAYLOAD)        (§1.2)
//! ```
//!
//! Nothing here is authenticated. The responder says as little as the request: what it adds
//! beyond the choice answers something that the request brought.

use crate::ike::attempt::{Attempt, Candidate, GRACE, MAX_CANDIDATES, Version};
use crate::ike::context::{Context, Timer};
use crate::ike::cookies::Cookies;
use crate::ike::crypto::keymat::Nonces;
use crate::ike::crypto::{Group, IkeKeys};
use crate::ike::effects::{ConnectError, IkeId};
use crate::ike::half_open::{HalfOpen, HalfOpenTable};
use crate::ike::negotiation::{self, Refusal};
use crate::ike::opening::Opening;
use crate::ike::sa::{IkeSa, Role, State};
use crate::ike::wire::{Exchange, Header, Notify, NotifyKind, Payload, Payloads, WireError};
use crate::ike::{VENDOR_ID, nat};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

fn encode(spis: (u64, u64), from_initiator: bool, payloads: Vec<Payload>) -> Vec<u8> {
    let (next, chain) = Payloads(payloads).encode();
    let header = Header {
        spi_i: spis.0,
        spi_r: spis.1,
        next,
        exchange: Exchange::IKE_SA_INIT,
        from_initiator,
        response: !from_initiator,
        message_id: 0,
    };
    let mut out = header.encode(chain.len());
    out.extend_from_slice(&chain);
    out
}

/// Whether it has the header of a first message.
pub(in crate::ike) fn is_first(header: &Header) -> bool {
    let first = header.exchange == Exchange::IKE_SA_INIT && !header.response;
    first && header.from_initiator && header.spi_r == 0 && header.message_id == 0
}

/// Whether it has the header of an answer to the first message of `spi`.
fn is_answer(header: &Header, spi: u64) -> bool {
    header.exchange == Exchange::IKE_SA_INIT && header.response && header.spi_i == spi
}

// --- initiator ----------------------------------------------------------------------------------

fn request(
    spi: u64,
    cookie: Option<Vec<u8>>,
    (group, public): (Group, Vec<u8>),
    nonce: &[u8],
    claims: impl IntoIterator<Item = Payload>,
) -> Vec<u8> {
    let mut payloads = Vec::new();
    payloads.extend(cookie.map(|cookie| Payload::notify(NotifyKind::COOKIE, cookie)));
    payloads.push(Payload::Sa(negotiation::offer_ike()));
    payloads.push(Payload::Ke {
        group: group.id(),
        data: public,
    });
    payloads.push(Payload::Nonce(nonce.to_vec()));
    payloads.extend(claims);
    payloads.push(Payload::Vendor(VENDOR_ID.to_vec()));
    encode((spi, 0), true, payloads)
}

impl Opening {
    pub(in crate::ike) fn new(
        ctx: &mut Context,
        now: Instant,
        spi: u64,
        local: IpAddr,
        group: Group,
    ) -> Self {
        let nonce = ctx.nonce();
        let key = ctx.private_key(now, group);
        let claim = nat::claim_of_source((spi, 0), SocketAddr::new(local, nat::PORT));
        let public = (group, key.public().to_vec());
        Self {
            spi,
            local,
            request: request(spi, None, public, &nonce, [claim]),
            nonce,
            key,
            answer: None,
        }
    }
}

impl Attempt {
    /// A new version of the request, in place of the last.
    pub(in crate::ike) fn ask(&mut self, ctx: &mut Context, now: Instant, group: Group) {
        let claims = nat::claims((self.spi, 0), self.local, self.remote);
        let cookie = self.cookie.clone();
        let key = self.key(ctx, now, group).public().to_vec();
        let request = request(self.spi, cookie, (group, key), &self.nonce, claims);
        ctx.transmit(self.local, self.remote, &request);
        self.requests.push((group, request));
        self.restart_timer(ctx, now);
    }

    /// Goes on from a request that went ahead and was answered.
    pub(in crate::ike) fn go_on(&mut self, ctx: &mut Context, now: Instant, opening: Opening) {
        let group = opening.key.group();
        self.nonce = opening.nonce;
        self.keys.push(opening.key);
        self.requests.push((group, opening.request));
        let (local, remote) = (self.local, self.remote);
        if let Some((_, answer)) = opening.answer
            && let Ok((header, _)) = Header::decode(&answer)
            && is_answer(&header, self.spi)
        {
            self.on_init_response(ctx, now, local, remote, &header, &answer);
        }
        if !self.candidates.is_empty() {
            ctx.counters.openings_used += 1;
        } else if self.requests.len() == 1 {
            // Whatever that was, the peer may say something better.
            self.ask(ctx, now, group);
        }
    }

    /// An answer; a new candidate where it could be the peer's.
    pub(in crate::ike) fn on_init_response(
        &mut self,
        ctx: &mut Context,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        header: &Header,
        datagram: &[u8],
    ) {
        let mut versions = self.candidates.iter().flat_map(|c| &c.versions);
        let known = versions.any(|v| v.response == datagram);
        if remote != self.remote || local != self.local || header.from_initiator || known {
            return;
        }
        let Ok(payloads) = Payloads::decode(header.next, &datagram[Header::LEN..]) else {
            ctx.counters.malformed += 1;
            return;
        };
        if header.spi_r == 0 || payloads.proposals().is_none() {
            self.on_unauthenticated(ctx, now, &payloads);
            return;
        }
        if self
            .on_candidate(ctx, now, header, &payloads, datagram)
            .is_none()
        {
            ctx.counters.errors_ignored += 1;
            let what = "an answer that does not fit the request";
            let error = ConnectError::Protocol(self.remote.ip(), what);
            self.explanation.get_or_insert(error);
        }
    }

    /// Demands and errors that anybody could have sent: gone along with a few times, believed
    /// never (RFC 7296 §2.21.1).
    fn on_unauthenticated(&mut self, ctx: &mut Context, now: Instant, payloads: &Payloads) {
        let group = self.requests.last().map_or(Group::ALL[0], |(g, _)| *g);
        if let Some(cookie) = payloads.notification(NotifyKind::COOKIE) {
            let new =
                (1..=64).contains(&cookie.data.len()) && self.cookie.as_ref() != Some(&cookie.data);
            if new && self.may_restart() {
                self.cookie = Some(cookie.data.clone());
                self.ask(ctx, now, group);
            }
            return;
        }
        let Some(error) = payloads.error() else {
            ctx.counters.malformed += 1;
            return;
        };
        let wanted = <[u8; 2]>::try_from(&error.data[..])
            .ok()
            .and_then(|octets| Group::from_id(u16::from_be_bytes(octets)));
        match (error.kind, wanted) {
            (NotifyKind::INVALID_KE_PAYLOAD, Some(wanted))
                if wanted != group && self.may_restart() =>
            {
                ctx.counters.invalid_ke += 1;
                self.ask(ctx, now, wanted);
            }
            (kind, _) => {
                ctx.counters.errors_ignored += 1;
                self.explanation = Some(match kind {
                    NotifyKind::NO_PROPOSAL_CHOSEN | NotifyKind::INVALID_KE_PAYLOAD => {
                        ConnectError::NoProposalChosen(self.remote.ip())
                    }
                    NotifyKind(code) => ConnectError::Refused {
                        peer: self.peer.clone(),
                        code,
                    },
                });
            }
        }
    }

    /// `None` where the answer cannot be one to our request.
    fn on_candidate(
        &mut self,
        ctx: &mut Context,
        now: Instant,
        header: &Header,
        answer: &Payloads,
        datagram: &[u8],
    ) -> Option<()> {
        let (group, public) = answer.key_exchange()?;
        let nonce = answer.nonce()?;
        let suite = negotiation::accept_ike(answer.proposals()?, group)?;
        let spis = (header.spi_i, header.spi_r);
        let version = Version {
            response: datagram.to_vec(),
            ours: answer.has_vendor(&VENDOR_ID),
            nat: nat::is_between(answer, spis, self.local, self.remote),
        };
        let same_keys = |c: &&mut Candidate| {
            c.sa.spi_r == header.spi_r && c.suite == suite && c.public == public && c.nonce == nonce
        };
        if let Some(candidate) = self.candidates.iter_mut().find(same_keys) {
            if candidate.versions.len() < MAX_CANDIDATES {
                candidate.versions.push(version);
            } else {
                ctx.counters.candidates_ignored += 1;
            }
            return Some(());
        }
        if self.candidates.len() == MAX_CANDIDATES {
            ctx.counters.candidates_ignored += 1;
            return Some(());
        }
        let first = &self.wanted.front()?.connect;
        let childless = answer
            .notification(NotifyKind::CHILDLESS_IKEV2_SUPPORTED)
            .is_some();
        if version.nat && !first.crosses_nat() && !childless {
            // Nothing can be asked of it. As anybody may have said so, another answer has its
            // chance.
            self.explanation = Some(ConnectError::BehindNat(self.remote.ip()));
            let timing = &ctx.settings.timing;
            self.backoff.give_up_by(now + timing.retransmit * GRACE);
            self.restart_timer(ctx, now);
            return Some(());
        }
        let (key, request) = self.request_in(suite.group)?;
        let shared = key.agree(public).ok()?;
        let nonces = Nonces {
            initiator: &self.nonce,
            responder: nonce,
        };
        let mut sa = IkeSa {
            id: IkeId(ctx.next_id()),
            role: Role::Initiator,
            spi_i: header.spi_i,
            spi_r: header.spi_r,
            keys: IkeKeys::first(suite.prf, suite.cipher, &shared, nonces, spis),
            local: self.local,
            remote: self.remote,
            peer: self.peer.clone(),
            ours: version.ours,
            nat: false,
            lowest_nonce: nonce.min(&self.nonce).to_vec(),
            state: State::Established,
            reported: false,
            established: now,
            heard: now,
            children: BTreeMap::new(),
            unconfirmed: Vec::new(),
            waiting: VecDeque::new(),
            postponed: Vec::new(),
            in_flight: None,
            next_request: 1,
            expected: 0,
            last_response: Vec::new(),
            deferred: None,
            last_question: None,
            assigned: Vec::new(),
            leased: Vec::new(),
        };
        if version.nat {
            sa.move_behind_nat();
        }
        let pending = self.prove(ctx, &mut sa, request, nonce)?;
        ctx.transmit(sa.local, sa.remote, &pending.datagram);
        self.candidates.push(Candidate {
            sa,
            suite,
            public: public.to_vec(),
            nonce: nonce.to_vec(),
            versions: vec![version],
            pending: Some(pending),
        });
        self.restart_timer(ctx, now);
        Some(())
    }
}

// --- responder ----------------------------------------------------------------------------------

pub(in crate::ike) fn refusal(spi: u64, notify: Notify) -> Vec<u8> {
    encode((spi, 0), false, vec![Payload::Notify(notify)])
}

/// What an answer is made of besides the request.
pub(in crate::ike) struct Responder<'a> {
    pub(in crate::ike) ctx: &'a mut Context,
    pub(in crate::ike) half_open: &'a mut HalfOpenTable,
    pub(in crate::ike) cookies: &'a mut Cookies,
    /// For the IKE SA that may come of it.
    pub(in crate::ike) spi: u64,
}

impl Responder<'_> {
    /// What a first message is answered with, or was before. An error is what it is refused with;
    /// `None` where silence is better.
    pub(in crate::ike) fn answer(
        self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        header: &Header,
        datagram: &[u8],
    ) -> Result<Vec<u8>, Option<Notify>> {
        let Self {
            ctx,
            half_open,
            cookies,
            spi,
        } = self;
        if let Some(answer) = half_open.answer_to(remote, datagram) {
            ctx.counters.replayed += 1;
            return Ok(answer.to_vec());
        }
        let request = match Payloads::decode(header.next, &datagram[Header::LEN..]) {
            Ok(request) => request,
            Err(WireError::UnknownCritical(kind)) => {
                let refusal = NotifyKind::UNSUPPORTED_CRITICAL_PAYLOAD;
                return Err(Some(Notify::new(refusal, [kind])));
            }
            Err(_) => {
                ctx.counters.malformed += 1;
                return Err(None);
            }
        };
        let (Some(proposals), Some((group, public)), Some(nonce)) =
            (request.proposals(), request.key_exchange(), request.nonce())
        else {
            ctx.counters.malformed += 1;
            return Err(None);
        };
        if half_open.len() >= ctx.settings.timing.cookie_threshold {
            let offered = request.notification(NotifyKind::COOKIE);
            let valid =
                offered.is_some_and(|n| cookies.is_valid(&n.data, nonce, remote, header.spi_i));
            if !valid {
                ctx.counters.cookies_invalid += u64::from(offered.is_some());
                ctx.counters.cookies_demanded += 1;
                let cookie = cookies.make(now, &mut ctx.rng, nonce, remote, header.spi_i);
                return Err(Some(Notify::new(NotifyKind::COOKIE, cookie)));
            }
        }
        if !half_open.has_room_for(remote.ip()) {
            ctx.counters.half_open_full += 1;
            return Err(None);
        }
        let chosen = match negotiation::choose_ike(proposals, 0, group) {
            Ok(chosen) => chosen,
            Err(Refusal::NoProposalChosen) => {
                ctx.counters.no_proposal_chosen += 1;
                return Err(Some(Notify::new(NotifyKind::NO_PROPOSAL_CHOSEN, [])));
            }
            Err(Refusal::WrongGroup(group)) => {
                ctx.counters.invalid_ke += 1;
                let group = group.id().to_be_bytes();
                return Err(Some(Notify::new(NotifyKind::INVALID_KE_PAYLOAD, group)));
            }
        };
        let suite = chosen.suite;
        if public.len() != suite.group.public_len() {
            ctx.counters.malformed += 1;
            return Err(Some(Notify::new(NotifyKind::INVALID_SYNTAX, [])));
        }
        let key = ctx.private_key(now, suite.group);
        let own_nonce = ctx.nonce();
        let spis = (header.spi_i, spi);
        let ours = request.has_vendor(&VENDOR_ID);
        let mut payloads = vec![
            Payload::Sa(vec![chosen.answer]),
            Payload::Ke {
                group: suite.group.id(),
                data: key.public().to_vec(),
            },
            Payload::Nonce(own_nonce.clone()),
            Payload::notify(NotifyKind::CHILDLESS_IKEV2_SUPPORTED, []),
        ];
        if request
            .notification(NotifyKind::NAT_DETECTION_SOURCE_IP)
            .is_some()
        {
            payloads.extend(nat::claims(spis, local, remote));
        }
        if ours {
            payloads.push(Payload::Vendor(VENDOR_ID.to_vec()));
        }
        let response = encode(spis, false, payloads);
        ctx.set_timer(Timer::HalfOpen(spi), now + ctx.settings.timing.half_open);
        // The answer needs no keys, and the peer has to wait for it.
        ctx.set_timer(Timer::Agreement(spi), now);
        half_open.insert(HalfOpen {
            spi_i: header.spi_i,
            spi_r: spi,
            remote,
            request: datagram.to_vec(),
            response: response.clone(),
            nonce_i: nonce.to_vec(),
            nonce_r: own_nonce,
            suite,
            exchange: Some((key, public.to_vec())),
            keys: None,
            nat: nat::is_between(&request, (header.spi_i, 0), local, remote),
            ours,
            created: now,
            refusal: None,
        });
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::wire::PayloadKind;

    #[test]
    fn the_first_message_is_a_header_and_its_payloads() {
        let octets = encode((1, 0), true, vec![Payload::Nonce(vec![7; 16])]);
        assert_eq!(octets.len(), Header::LEN + 4 + 16);
        assert_eq!(octets[16], PayloadKind::NONCE.0);
    }
}
