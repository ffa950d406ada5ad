//! Requests to home agents, replies to mobile nodes, denials.

use super::checking::{self, Wanted};
use super::visitors::{Neighbour, Pending, PendingKey, Visitor, VisitorKey};
use super::{Effect, ForeignAgent, MOST_PENDING_TIME, Reverse, Suspicion, Timer, Visit, revoking};
use crate::mobile_ip::wire::{
    AuthenticationKind, Code, Decoded, Extension, Flags, INFINITE, Identification, PORT,
    RegistrationReply, RegistrationRequest,
};
use crate::mobile_ip::{Datagram, Via};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

/// RFC 5944 §3.7.2.
const BETWEEN_DENIALS: Duration = Duration::from_secs(1);
/// Nodes that are remembered as denied; while there are more, denials are left out.
const MOST_DENIED: usize = 1024;

/// What a denial repeats of its request (RFC 5944 §3.7.2.3).
struct Denied {
    neighbour: Neighbour,
    to: SocketAddrV4,
    lifetime: u16,
    home: Ipv4Addr,
    home_agent: Ipv4Addr,
    identification: Identification,
}

impl ForeignAgent {
    pub(super) fn asked(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        decoded: &Decoded,
        request: &RegistrationRequest,
        ttl: u8,
        mac: Option<[u8; 6]>,
    ) {
        let neighbour = Neighbour {
            from: datagram.remote,
            mac,
        };
        let is_support =
            |extension: &Extension| matches!(extension, Extension::RevocationSupport(_));
        let co_located = request.flags.contains(Flags::DECAPSULATION);
        if !co_located && decoded.extensions().iter().any(is_support) {
            // RFC 3543 §4.2.1: that is for agents to say.
            self.counts.ignored += 1;
            return;
        }
        let denied = Denied {
            neighbour,
            to: datagram.local,
            lifetime: request.lifetime,
            home: request.home,
            home_agent: request.home_agent,
            identification: request.identification,
        };
        let wanted = match self.admit(decoded, request, ttl) {
            Ok(wanted) => wanted,
            Err(code) => return self.deny(now, &denied, code),
        };
        let pending = Pending {
            key: VisitorKey {
                home: request.home,
                home_agent: request.home_agent,
            },
            neighbour,
            to: datagram.local,
            identification: request.identification,
            lifetime: request.lifetime,
            flags: request.flags,
            encapsulating: wanted.encapsulating,
            care_of: request.care_of,
        };
        self.relay(now, decoded, pending, wanted.relayed);
    }

    fn admit(
        &mut self,
        decoded: &Decoded,
        request: &RegistrationRequest,
        ttl: u8,
    ) -> Result<Wanted, Code> {
        let wanted = checking::check(decoded, request, ttl, &self.settings)?;
        let key = VisitorKey {
            home: request.home,
            home_agent: request.home_agent,
        };
        let known = self.visitors.present.contains_key(&key);
        let full = self.visitors.present.len() >= self.settings.most_visitors;
        let waiting = self.visitors.pending.len() >= self.settings.most_pending;
        // Those who are here may stay, and leave.
        if (full && !known && request.lifetime > 0) || waiting {
            return Err(Code::FA_RESOURCES);
        }
        // Last, because an answered challenge is used up.
        if self.settings.challenge {
            let challenge = wanted.challenge.as_deref();
            self.challenges.answer(request.home, challenge)?;
        }
        Ok(wanted)
    }

    fn relay(&mut self, now: Instant, decoded: &Decoded, pending: Pending, relayed: usize) {
        // RFC 5944 §3.7.2.2: what is behind the authenticator was for us, and goes no further.
        let mut payload = decoded.octets_before(relayed).to_vec();
        let home_agent = pending.key.home_agent;
        if pending.lifetime > 0
            && let Some(association) = self.settings.with_home_agent(home_agent)
        {
            if let Some(support) = self.support(now, pending.flags) {
                support.encode(&mut payload);
            }
            association.sign(AuthenticationKind::ForeignHome, &mut payload);
        }
        // It wants to be here anew: a revocation that came later might end that.
        if let Some(revocation) = self.revoking.get_mut(&pending.key) {
            revocation.stop_repeating();
        }
        let key = (pending.key.home, pending.identification.low());
        // No longer than its lifetime; zero asks for none.
        let most = Duration::from_secs(pending.lifetime.max(1).into()).min(MOST_PENDING_TIME);
        let most = if pending.lifetime == 0 {
            MOST_PENDING_TIME
        } else {
            most
        };
        self.timers.set(Timer::Pending(key), now + most);
        self.visitors.pending.insert(key, pending);
        self.counts.relayed += 1;
        self.effects.push_back(Effect::Relay(Datagram {
            via: Via::Routed,
            local: SocketAddrV4::new(self.settings.care_of, PORT),
            remote: SocketAddrV4::new(home_agent, PORT),
            payload,
        }));
    }

    pub(super) fn answered(&mut self, now: Instant, decoded: &Decoded, reply: &RegistrationReply) {
        let key = (reply.home, reply.identification.low());
        let Some(pending) = self.visitors.pending.get(&key) else {
            self.counts.ignored += 1;
            return;
        };
        let mut signed_at = None;
        if let Some(association) = self.settings.with_home_agent(pending.key.home_agent) {
            let placed = decoded.only_authenticator(AuthenticationKind::ForeignHome);
            let placed = placed.filter(|placed| association.verify(placed));
            signed_at = placed.map(|placed| placed.index);
            // Without a lifetime it may be missing (RFC 5944 §3.7.1), since nothing is granted.
            if signed_at.is_none() && reply.lifetime != 0 {
                self.suspect(Suspicion::HomeAgent);
                // RFC 5944 §3.7.3.1: the registration is rejected, whoever wrote this.
                return self.abandon(now, key, Code::FA_HOME_AGENT_AUTHENTICATION);
            }
        }
        let Some(home) = decoded.only_authenticator(AuthenticationKind::MobileHome) else {
            return self.abandon(now, key, Code::FA_POORLY_FORMED_REPLY);
        };
        // RFC 5944 §3.7.3.2: the rest was for us.
        let payload = decoded.octets_before(home.index + 1).to_vec();
        let Some(pending) = self.forget(key) else {
            return;
        };
        if reply.code.is_accepted() {
            let since = signed_at.and_then(|at| revoking::revocable_since(decoded, home.index, at));
            self.register(now, &pending, reply.lifetime, since);
        }
        self.send_down(pending.neighbour, pending.to, pending.key.home, payload);
    }

    fn register(
        &mut self,
        now: Instant,
        pending: &Pending,
        granted: u16,
        revocable_since: Option<u32>,
    ) {
        let granted = granted.min(pending.lifetime).min(self.settings.lifetime);
        if granted == 0 {
            return self.leave(pending.key);
        }
        let lifetime = (granted != INFINITE).then(|| Duration::from_secs(granted.into()));
        // Counted from here, so that it ends no sooner than the mobile node thinks (RFC 5944
        // §3.7.3.2).
        let visitor = Visitor {
            neighbour: pending.neighbour,
            flags: pending.flags,
            encapsulating: pending.encapsulating,
            care_of: pending.care_of,
            until: lifetime.map(|lifetime| now + lifetime),
            revocable_since: revocable_since
                .filter(|_| !pending.flags.contains(Flags::DECAPSULATION)),
        };
        match visitor.until {
            Some(until) => self.timers.set(Timer::Visitor(pending.key), until),
            None => self.timers.stop(&Timer::Visitor(pending.key)),
        }
        let visit = visit(pending.key, &visitor);
        let before = self.visitors.present.insert(pending.key, visitor);
        let before = before.filter(Visitor::uses_us);
        let before = before.map(|before| self::visit(pending.key, &before));
        if pending.flags.contains(Flags::DECAPSULATION) {
            // It unwraps itself from now on.
            if before.is_some() {
                self.effects.push_back(Effect::Leave(pending.key));
            }
        } else if before.as_ref() != Some(&visit) {
            self.effects.push_back(Effect::Visit(visit));
        }
    }

    /// The request was passed on and comes to nothing.
    pub(super) fn abandon(&mut self, now: Instant, key: PendingKey, code: Code) {
        if let Some(pending) = self.forget(key) {
            let denied = Denied {
                neighbour: pending.neighbour,
                to: pending.to,
                lifetime: pending.lifetime,
                home: pending.key.home,
                home_agent: pending.key.home_agent,
                identification: pending.identification,
            };
            self.deny(now, &denied, code);
        }
    }

    fn forget(&mut self, key: PendingKey) -> Option<Pending> {
        self.timers.stop(&Timer::Pending(key));
        self.visitors.pending.remove(&key)
    }

    fn deny(&mut self, now: Instant, denied: &Denied, code: Code) {
        if code == Code::FA_MOBILE_NODE_AUTHENTICATION {
            self.suspect(Suspicion::MobileNode);
        }
        self.counts.denied += 1;
        let from = *denied.neighbour.from.ip();
        if !self.may_deny(now, from) {
            return;
        }
        let payload = RegistrationReply {
            code,
            // RFC 5944 §3.7.2.3: as asked, or what would be accepted.
            lifetime: match code {
                Code::FA_LIFETIME => self.settings.lifetime,
                _ => denied.lifetime,
            },
            home: denied.home,
            home_agent: denied.home_agent,
            identification: denied.identification,
            extensions: Vec::new(),
        }
        .encode();
        self.send_down(denied.neighbour, denied.to, denied.home, payload);
    }

    fn may_deny(&mut self, now: Instant, from: Ipv4Addr) -> bool {
        let recent = |at: &Instant| now < *at + BETWEEN_DENIALS;
        if self.denied.len() >= MOST_DENIED {
            self.denied.retain(|_, at| recent(at));
        }
        let allowed =
            self.denied.len() < MOST_DENIED && !self.denied.get(&from).is_some_and(recent);
        if allowed {
            self.denied.insert(from, now);
        }
        allowed
    }

    /// To where the request came from (RFC 5944 §3.4), from the address that it was sent to, or from
    /// ours if that was everybody's.
    fn send_down(
        &mut self,
        neighbour: Neighbour,
        to: SocketAddrV4,
        home: Ipv4Addr,
        mut payload: Vec<u8>,
    ) {
        if self.settings.challenge {
            // RFC 4721 §3.3: one that it has not used.
            let unused = self.challenges.unused(home);
            let challenge = unused.unwrap_or_else(|| self.challenges.next(&mut *self.random));
            Extension::Challenge(challenge).encode(&mut payload);
        }
        if let Some(association) = self.settings.with_mobile_node(home) {
            association.sign(AuthenticationKind::MobileForeign, &mut payload);
        }
        let asked = *to.ip();
        let local = if asked.is_multicast() || asked.is_broadcast() {
            self.settings.address
        } else {
            asked
        };
        let from = *neighbour.from.ip();
        let target = if from.is_unspecified() {
            Ipv4Addr::BROADCAST
        } else {
            from
        };
        self.effects.push_back(Effect::Reply {
            datagram: Datagram {
                via: Via::Link(self.settings.link),
                local: SocketAddrV4::new(local, PORT),
                remote: SocketAddrV4::new(target, neighbour.from.port()),
                payload,
            },
            mac: neighbour.mac,
        });
    }

    pub(super) fn suspect(&mut self, suspicion: Suspicion) {
        self.effects.push_back(Effect::Suspicious(suspicion));
    }
}

fn visit(key: VisitorKey, visitor: &Visitor) -> Visit {
    let reverse = match visitor.flags.contains(Flags::REVERSE_TUNNEL) {
        false => Reverse::None,
        true if visitor.encapsulating => Reverse::Encapsulating,
        true => Reverse::Direct,
    };
    Visit {
        home: key.home,
        home_agent: key.home_agent,
        care_of: visitor.care_of,
        tunnel: visitor.tunnel(),
        reverse,
        mac: visitor.neighbour.mac,
    }
}
