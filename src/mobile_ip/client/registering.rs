//! Requests, repetitions, renewals, and what follows from each answer.

use super::asking::{Known, Request};
use super::consequences::{self, Asked, Consequence, Repairs};
use super::reading::{self, Said};
use super::{
    Attachment, Binding, Client, Effect, Farewell, Goal, Loss, Outcome, Registered, Timer,
    TrustedNetwork, pacing, tunnelling,
};
use crate::mobile_ip::security::ReplayProtection;
use crate::mobile_ip::wire::code::Denier;
use crate::mobile_ip::wire::{
    Code, Decoded, Flags, INFINITE, Identification, RegistrationReply, UdpTunnelReply,
};
use crate::mobile_ip::{Datagram, Via};
use std::time::{Duration, Instant};

/// Requests without an answer after which the home agent counts as unreachable: 7 s.
const UNREACHABLE: u32 = 3;
/// How often the end of one binding is asked for; its lifetime ends it anyway.
const FAREWELLS: u32 = 3;
/// After a denial that no other request would mend.
const SLOW_RETRY: Duration = Duration::from_secs(60);
/// Seconds, well within the window of every home agent (RFC 5944 §5.7.1: more than 3).
const CLOCKS_AGREE: u32 = 2;
/// A renewal begins this long before the end, so that two lost requests do no harm.
const RENEWAL_MARGIN: Duration = Duration::from_secs(8);

impl Client {
    pub(super) fn begin(&mut self, now: Instant, goal: Goal) {
        let never_bound = matches!(&goal, Goal::Home { .. }) && self.home.is_none();
        self.stop();
        self.goal = goal;
        if never_bound {
            // Nothing was ever given to us, so nothing is bound.
            return self.deregistered(None);
        }
        self.ask_soon(now);
    }

    /// Nothing is asked any more, and what was asked is not believed any more.
    pub(super) fn stop(&mut self) {
        self.goal = Goal::Idle;
        self.repairs = Repairs::default();
        self.challenge = None;
        self.pending = None;
        self.unanswered = 0;
        self.binding = None;
        self.round_trip = None;
        self.shortened = None;
        for timer in [Timer::Ask, Timer::End, Timer::Keepalive] {
            self.timers.stop(&timer);
        }
    }

    /// At once, or as soon as one a second on average allows.
    pub(super) fn ask_soon(&mut self, now: Instant) {
        let at = self.allowance.next(now);
        if at > now {
            self.timers.set(Timer::Ask, at);
        } else {
            self.ask(now);
        }
    }

    pub(super) fn ask(&mut self, now: Instant) {
        let Some(epoch) = self.epoch() else {
            return;
        };
        if matches!(self.goal, Goal::Leaving(_)) && self.unanswered >= FAREWELLS {
            self.stop();
            return self.tell(Outcome::Unreachable { epoch });
        }
        if self.unanswered == UNREACHABLE {
            self.tell(Outcome::Unreachable { epoch });
        }
        let request = match self.pending.take() {
            // RFC 5944 §3.6.3: with nonces the same octets again, so that a reply that was lost
            // costs no resynchronisation.
            Some(mut request) if self.repeats_unchanged() => {
                request.copies += 1;
                request
            }
            _ => match self.next_request(now) {
                Some(request) => request,
                None => return,
            },
        };
        self.unanswered += 1;
        self.counts.requests += 1;
        self.allowance.spend(now);
        let wait = pacing::patience(self.unanswered, self.round_trip, request.lifetime);
        self.timers.set(Timer::Ask, now + wait);
        self.effects.push_back(Effect::Send(request.datagram()));
        self.pending = Some(request);
    }

    /// Sooner than a second after the first (RFC 5944 §3.6.3): for whoever registers over it, a way that opens
    /// is the indication of a link. The same octets, since the first may have arrived all the same, and only
    /// the answer to the latest identification counts.
    pub(super) fn ask_once_more(&mut self, now: Instant) {
        match &mut self.pending {
            None => {}
            // It is no longer certain that the home agent would take it.
            Some(request) if now > request.asked + pacing::LEAST => self.ask_soon(now),
            // A way that opens all the time is none: what is asked is repeated in time.
            Some(_) if !self.allowance.is_ample(now) => {}
            Some(request) => {
                request.copies += 1;
                self.counts.requests += 1;
                self.allowance.spend(now);
                self.effects.push_back(Effect::Send(request.datagram()));
            }
        }
    }

    fn repeats_unchanged(&self) -> bool {
        self.settings.association.replay == ReplayProtection::Nonces
    }

    fn next_request(&mut self, now: Instant) -> Option<Request> {
        let identification = self.issuer.issue(now, &self.clock, &mut *self.random);
        let known = self.known(now, identification);
        match &self.goal {
            Goal::Idle => None,
            Goal::Attached(attachment) => {
                Some(known.away(attachment, self.settings.lifetime.max(1)))
            }
            Goal::Leaving(attachment) => Some(known.away(attachment, 0)),
            Goal::Home { via, local, .. } => Some(known.at_home(*via, *local, self.home?)),
        }
    }

    pub(super) fn known(&self, now: Instant, identification: Identification) -> Known<'_> {
        Known {
            settings: &self.settings,
            repairs: &self.repairs,
            home: self.home,
            home_agent: self.home_agent,
            challenge: self.challenge.as_deref(),
            identification,
            timestamp: self.clock.timestamp(now).seconds(),
            now,
        }
    }

    /// Whether the reply is believed, and so taken note of.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        decoded: &Decoded,
        reply: &RegistrationReply,
    ) -> bool {
        if self.probe_answered(now, datagram, decoded, reply) {
            return true;
        }
        let Some(request) = &self.pending else {
            return false;
        };
        let believed = reading::believe(datagram, decoded, reply, request, &self.settings);
        let said = match believed {
            Ok(said) => said,
            Err(suspicion) => {
                if let Some(why) = suspicion {
                    self.suspect(why);
                }
                return false;
            }
        };
        let Some(request) = self.pending.take() else {
            return false;
        };
        self.counts.replies += 1;
        self.follow(now, datagram, &request, reply, said);
        true
    }

    fn follow(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        request: &Request,
        reply: &RegistrationReply,
        said: Said,
    ) {
        let asked = Asked {
            lifetime: request.lifetime,
            care_of_addresses: request.care_of_addresses,
            discovering: self.home_agent.is_none(),
        };
        if said.challenge.is_some() {
            self.challenge.clone_from(&said.challenge);
        }
        let from_home = reply.code.denier() != Some(Denier::ForeignAgent);
        let consequence = consequences::of(
            reply.code,
            reply.lifetime,
            asked,
            &self.settings,
            &mut self.repairs,
        );
        if from_home && !matches!(consequence, Consequence::Resynchronise) {
            self.issuer.replied(reply.identification);
        }
        match consequence {
            Consequence::Accepted => self.accepted(now, datagram, request, reply, said),
            Consequence::Repaired => self.ask_again(now),
            Consequence::Resynchronise => {
                self.resynchronise(now, request, reply.identification);
                self.ask_again(now);
            }
            Consequence::HomeAgentFound => {
                // Who was not told an address of its own has learned nothing.
                let found = reply.home_agent;
                let usable = !found.is_unspecified() && !found.is_broadcast();
                if usable && !found.is_multicast() && found != request.home_agent {
                    self.home_agent = Some(found);
                    // RFC 5944 §3.6.2.3: its clock counts from now on.
                    self.issuer
                        .mismatched(now, &self.clock, reply.identification);
                    self.ask_again(now);
                } else {
                    self.denied(now, reply.code, &said);
                }
            }
            Consequence::Challenge if said.challenge.is_some() => self.ask_again(now),
            Consequence::Challenge => {
                if let Via::Link(link) = request.via {
                    self.effects.push_back(Effect::Solicit(link));
                }
                self.denied(now, reply.code, &said);
            }
            // The repetition is due anyway, with another identification: this one is answered.
            Consequence::Wait => {}
            Consequence::GiveUp => self.denied(now, reply.code, &said),
        }
    }

    /// RFC 5944 §3.6.2.3. Where the clocks agree, the request was overtaken by a later one, or a copy of
    /// it was refused: the next identification is behind all that can have been accepted, and within
    /// every window.
    fn resynchronise(&mut self, now: Instant, request: &Request, reply: Identification) {
        let apart = reply.high().abs_diff(request.identification.high());
        if self.repeats_unchanged() || apart > CLOCKS_AGREE {
            self.issuer.mismatched(now, &self.clock, reply);
        } else {
            let behind = Identification::of_halves(reply.high().wrapping_add(1), 0);
            self.issuer.replied(behind);
        }
    }

    /// An answer has asked for another request: it need not wait (RFC 5944 §3.6.3 is about
    /// unanswered ones), but for the average.
    fn ask_again(&mut self, now: Instant) {
        self.unanswered = 0;
        self.ask_soon(now);
    }

    fn denied(&mut self, now: Instant, code: Code, said: &Said) {
        let (Some(epoch), Some(by)) = (self.epoch(), code.denier()) else {
            return;
        };
        // What anybody on the link can write only slows us down for one repetition.
        let retry = if said.authenticated {
            now + SLOW_RETRY
        } else {
            let repetition = self.timers.deadline(&Timer::Ask);
            repetition.unwrap_or(now + pacing::MOST)
        };
        self.timers.set(Timer::Ask, retry);
        if said.authenticated {
            self.unanswered = 0;
            self.repairs = Repairs::default();
        }
        if matches!(self.goal, Goal::Leaving(_)) && said.authenticated {
            self.stop();
        }
        self.tell(Outcome::Denied {
            epoch,
            code,
            by,
            authenticated: said.authenticated,
            retry,
        });
    }

    fn accepted(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        request: &Request,
        reply: &RegistrationReply,
        said: Said,
    ) {
        self.unanswered = 0;
        // RFC 5944 §3.4: never more than was asked for.
        let granted = reply.lifetime.min(request.lifetime);
        if request.lifetime == 0 || granted == 0 {
            return match self.goal {
                Goal::Attached(_) => self.denied(now, Code::HA_UNSPECIFIED, &said),
                _ => {
                    let trusts = said.trusted_networks_configured;
                    let answer = Farewell {
                        asked: request.asked,
                        round_trip: now - request.asked,
                        proof: proof(datagram, request, trusts, None),
                    };
                    self.deregistered(Some(answer));
                }
            };
        }
        let Goal::Attached(Attachment { epoch, .. }) = self.goal else {
            return;
        };
        if self.home.is_none() && reply.home.is_unspecified() {
            // It gives no address, and we have none (RFC 5944 §3.6).
            return self.denied(now, Code::HA_UNSPECIFIED, &said);
        }
        let home = *self.home.get_or_insert(reply.home);
        self.home_agent.get_or_insert(reply.home_agent);
        // Which of several copies was answered nobody knows.
        let round_trip = now - request.asked;
        if request.copies == 0 {
            self.round_trip = Some(round_trip);
        }
        let assent = said
            .udp
            .filter(|udp| udp.is_assent() && request.asked_for_udp);
        let keepalive = assent.map(|udp| self.keepalive(request, udp));
        let registered = Registered {
            epoch,
            home,
            home_agent: reply.home_agent,
            care_of: request.care_of,
            lifetime: (granted != INFINITE).then(|| Duration::from_secs(granted.into())),
            tunnel: tunnelling::granted(request, datagram, keepalive.as_ref()),
            reverse: request.flags.contains(Flags::REVERSE_TUNNEL),
            keeps_others: reply.code == Code::ACCEPTED
                && request.flags.contains(Flags::SIMULTANEOUS),
            networks: said.networks,
            networks6: said.networks6,
            asked: request.asked,
            proof: proof(datagram, request, said.trusted_networks_configured, assent),
            round_trip,
        };
        self.revoked_until = said.revocation_time.or(self.revoked_until);
        self.schedule(request.asked, registered.lifetime);
        match &keepalive {
            Some(keepalive) => self.timers.set(Timer::Keepalive, keepalive.due().max(now)),
            None => self.timers.stop(&Timer::Keepalive),
        }
        self.binding = Some(Binding {
            registered: registered.clone(),
            request: request.clone(),
            keepalive,
        });
        self.tell(Outcome::Registered(registered));
    }

    /// The renewal and the end, both counted from when the request left (RFC 5944 §3.6.2.2).
    fn schedule(&mut self, asked: Instant, lifetime: Option<Duration>) {
        let before_end = lifetime.map(|lifetime| {
            let early = lifetime.saturating_sub(RENEWAL_MARGIN);
            early.min(lifetime * 3 / 4).max(lifetime / 2)
        });
        let renewal = [before_end, self.settings.renewal]
            .into_iter()
            .flatten()
            .min();
        match renewal {
            Some(after) => self
                .timers
                .set(Timer::Ask, asked + after.max(pacing::LEAST)),
            None => self.timers.stop(&Timer::Ask),
        }
        match lifetime {
            Some(lifetime) => self.timers.set(Timer::End, asked + lifetime),
            None => self.timers.stop(&Timer::End),
        }
    }

    pub(super) fn deregistered(&mut self, answer: Option<Farewell>) {
        let epoch = self.epoch();
        self.stop();
        if let Some(epoch) = epoch {
            self.tell(Outcome::Deregistered { epoch, answer });
        }
    }

    pub(super) fn end(&mut self, now: Instant) {
        self.lose(now, Loss::Expired);
    }

    /// The binding is gone; another one is asked for.
    pub(super) fn lose(&mut self, now: Instant, why: Loss) {
        let Some(binding) = self.binding.take() else {
            return;
        };
        self.timers.stop(&Timer::End);
        self.timers.stop(&Timer::Keepalive);
        let epoch = binding.registered.epoch;
        self.tell(Outcome::Lost { epoch, why });
        if self.pending.is_none() {
            self.ask_soon(now);
        }
    }

    pub(super) fn epoch(&self) -> Option<u64> {
        match &self.goal {
            Goal::Idle => None,
            Goal::Attached(attachment) | Goal::Leaving(attachment) => Some(attachment.epoch),
            Goal::Home { epoch, .. } => Some(*epoch),
        }
    }
}

/// RFC 5265 §3.2.3: over that adapter, in the clear. Where an address was translated, its source says
/// nothing about where we are.
fn proof(
    datagram: &Datagram,
    request: &Request,
    configured: bool,
    udp: Option<UdpTunnelReply>,
) -> Option<TrustedNetwork> {
    match request.via {
        Via::Link(link) if configured && udp.is_none() && datagram.via == request.via => {
            Some(TrustedNetwork {
                link,
                asked: request.asked,
            })
        }
        Via::Link(_) | Via::Routed => None,
    }
}
