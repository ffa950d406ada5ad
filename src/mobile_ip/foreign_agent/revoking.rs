//! Revocation (RFC 3543), where this agent shares a key with the home agent: by that one, and by an administrator here.
//!
//! ```text
//!  mobile node              foreign agent                     home agent
//!       │── request ─────────────→│── request, support (137) ────→│
//!       │←──────────────── reply ─│←─────── reply, support (137) ─│   from now on
//!       │                         │                               │
//!       │                         │←────────────────── revocation ─│
//!       │←─ advertisement, no. 0 ─│── acknowledgement ───────────→│
//!       │                         │                               │
//!       │   administrator here ──→│── revocation ────────────────→│   repeated after 1, 2, 4 s
//!       │←─ advertisement, no. 0 ─│←───────────── acknowledgement ─│
//! ```
//! The mobile node hears of it by an advertisement for it alone whose number says that this agent knows nobody.

use super::visitors::{Neighbour, VisitorKey};
use super::{Effect, ForeignAgent, Revoker, Suspicion, Timer, advertising};
use crate::mobile_ip::security::SecurityAssociation;
use crate::mobile_ip::unacknowledged::{FIRST_PAUSE, Unacknowledged};
use crate::mobile_ip::wire::{
    AuthenticationKind, Decoded, Extension, Flags, PORT, Revocation, RevocationAck,
    RevocationSupport,
};
use crate::mobile_ip::{Datagram, Via};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

impl ForeignAgent {
    /// What a request says to its home agent of it. RFC 3543 §4.3.2: not where the mobile node unwraps itself.
    pub(super) fn support(&self, now: Instant, flags: Flags) -> Option<Extension> {
        let clock = self
            .clock
            .filter(|_| !flags.contains(Flags::DECAPSULATION))?;
        Some(Extension::RevocationSupport(RevocationSupport {
            // Visitors are always informed, whatever the home agent thinks of it.
            inform: false,
            timestamp: clock.timestamp(now).seconds(),
        }))
    }

    pub(super) fn revoked(
        &mut self,
        datagram: &Datagram,
        decoded: &Decoded,
        revocation: &Revocation,
    ) {
        let home_agent = *datagram.remote.ip();
        let Some(association) = self.settings.with_home_agent(home_agent).cloned() else {
            self.counts.ignored += 1;
            return;
        };
        let placed = decoded.only_authenticator(AuthenticationKind::ForeignHome);
        if !placed.is_some_and(|placed| association.verify(&placed)) {
            self.suspect(Suspicion::HomeAgent);
            self.counts.ignored += 1;
            return;
        }
        // RFC 3543 §3.5: without the A bit it is one of a foreign agent, come back.
        let is_for_us = revocation.by_home_agent
            && revocation.home_domain == home_agent
            && revocation.foreign_domain == self.settings.care_of;
        let key = VisitorKey {
            home: revocation.home,
            home_agent,
        };
        let visitor = self.visitors.present.get(&key);
        let agreed = visitor.map(|visitor| (visitor.neighbour, visitor.revocable_since));
        let identifier = revocation.identifier;
        // Both timestamps are the home agent's: an older one is a replay.
        let is_older = |since: u32| identifier.wrapping_sub(since).cast_signed() < 0;
        match agreed {
            _ if !is_for_us => self.counts.ignored += 1,
            Some((_, since)) if since.is_none_or(is_older) => self.counts.ignored += 1,
            Some((neighbour, _)) => {
                self.dismiss(key, neighbour, Revoker::HomeAgent);
                self.acknowledge(datagram, revocation, &association);
            }
            // It has gone, and the home agent has not heard so.
            None => self.acknowledge(datagram, revocation, &association),
        }
    }

    /// Whoever visits from this home address goes, and home agents that understand it hear so.
    pub(super) fn revoke(&mut self, now: Instant, home: Ipv4Addr) {
        let present = self.visitors.present.iter();
        let of_it: Vec<_> = present
            .filter(|(key, visitor)| key.home == home && visitor.uses_us())
            .map(|(key, visitor)| (*key, visitor.clone()))
            .collect();
        for (key, visitor) in of_it {
            self.dismiss(key, visitor.neighbour, Revoker::Us);
            let association = self.settings.with_home_agent(key.home_agent).cloned();
            if visitor.revocable_since.is_some()
                && let (Some(association), Some(clock)) = (association, self.clock)
            {
                let revocation = Revocation {
                    by_home_agent: false,
                    // As it was agreed.
                    inform: false,
                    home,
                    home_domain: key.home_agent,
                    foreign_domain: visitor.care_of,
                    identifier: clock.timestamp(now).seconds(),
                    extensions: Vec::new(),
                };
                let envelope = Datagram {
                    via: Via::Routed,
                    local: SocketAddrV4::new(self.settings.care_of, PORT),
                    remote: SocketAddrV4::new(key.home_agent, PORT),
                    payload: Vec::new(),
                };
                let kind = AuthenticationKind::ForeignHome;
                let pending = Unacknowledged::new(envelope, &revocation, kind, association);
                self.effects.push_back(Effect::Relay(pending.datagram()));
                self.revoking.insert(key, pending);
                let timer = Timer::Revocation(key);
                self.timers.set(timer, now + FIRST_PAUSE);
            }
        }
    }

    pub(super) fn revoke_again(&mut self, now: Instant, key: VisitorKey) {
        let Some(pending) = self.revoking.get_mut(&key) else {
            return;
        };
        if let Some((datagram, pause)) = pending.again() {
            self.effects.push_back(Effect::Relay(datagram));
            self.timers.set(Timer::Revocation(key), now + pause);
        } else {
            self.revoking.remove(&key);
            self.effects.push_back(Effect::RevocationUnanswered(key));
        }
    }

    pub(super) fn acknowledged(
        &mut self,
        datagram: &Datagram,
        decoded: &Decoded,
        ack: &RevocationAck,
    ) {
        let key = VisitorKey {
            home: ack.home,
            home_agent: *datagram.remote.ip(),
        };
        let pending = self.revoking.get(&key);
        if pending.is_some_and(|pending| pending.is_answered_by(datagram, decoded, ack)) {
            self.revoking.remove(&key);
            self.timers.stop(&Timer::Revocation(key));
            self.effects.push_back(Effect::RevocationAcknowledged(key));
        } else {
            self.counts.ignored += 1;
        }
    }

    /// It is told, and has nothing here any more.
    fn dismiss(&mut self, key: VisitorKey, neighbour: Neighbour, by: Revoker) {
        self.inform(key, neighbour);
        self.leave(key);
        self.effects.push_back(Effect::Revoked(key, by));
    }

    fn inform(&mut self, key: VisitorKey, neighbour: Neighbour) {
        let challenge = self.challenge();
        let icmp = advertising::forgotten(&self.settings, challenge);
        let from = *neighbour.from.ip();
        let destination = if from.is_unspecified() {
            key.home
        } else {
            from
        };
        self.effects.push_back(Effect::Inform {
            destination,
            mac: neighbour.mac,
            icmp,
        });
    }

    fn acknowledge(
        &mut self,
        datagram: &Datagram,
        revocation: &Revocation,
        association: &SecurityAssociation,
    ) {
        let mut payload = RevocationAck {
            // RFC 3543 §3.4: never where it was not asked for.
            inform: revocation.inform,
            home: revocation.home,
            identifier: revocation.identifier,
            extensions: Vec::new(),
        }
        .encode();
        association.sign(AuthenticationKind::ForeignHome, &mut payload);
        self.effects.push_back(Effect::Relay(Datagram {
            via: datagram.via,
            local: datagram.local,
            remote: datagram.remote,
            payload,
        }));
    }
}

/// Since when, by its own clock, a home agent may revoke what it grants with this reply: it said so between the
/// mobile node's authenticator and that for us.
pub(super) fn revocable_since(decoded: &Decoded, home: usize, signed: usize) -> Option<u32> {
    let between = decoded.extensions().get(home + 1..signed)?;
    between.iter().find_map(|extension| match extension {
        Extension::RevocationSupport(support) => Some(support.timestamp),
        _ => None,
    })
}
