//! Revocation by home agents (RFC 3543), where this agent shares a key with them.
//!
//! ```text
//!  mobile node              foreign agent                     home agent
//!       │── request ─────────────→│── request, support (137) ────→│
//!       │←──────────────── reply ─│←─────── reply, support (137) ─│   from now on
//!       │                         │                               │
//!       │                         │←────────────────── revocation ─│
//!       │←─ advertisement, no. 0 ─│── acknowledgement ───────────→│
//! ```
//! The mobile node hears of it by an advertisement for it alone whose number says that this agent knows nobody.

use super::visitors::{Neighbour, VisitorKey};
use super::{Effect, ForeignAgent, Suspicion, advertising};
use crate::mobile_ip::Datagram;
use crate::mobile_ip::security::SecurityAssociation;
use crate::mobile_ip::wire::{
    AuthenticationKind, Decoded, Extension, Flags, Revocation, RevocationAck, RevocationSupport,
};
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
                self.inform(key, neighbour);
                self.leave(key);
                self.effects.push_back(Effect::Revoked(key));
                self.acknowledge(datagram, revocation, &association);
            }
            // It has gone, and the home agent has not heard so.
            None => self.acknowledge(datagram, revocation, &association),
        }
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
