//! Registration revocation (RFC 3543).
//!
//! ```text
//!  administrator ─→ revocation ──────→ mobile node or foreign agent     repeated after 1, 2, 4 s
//!                   acknowledgement ←─
//! ```

use super::effects::{Effect, Told};
use super::nodes::NodeId;
use super::{HomeAgent, Timer};
use crate::mobile_ip::Datagram;
use crate::mobile_ip::security::SecurityAssociation;
use crate::mobile_ip::unacknowledged::{FIRST_PAUSE, Unacknowledged};
use crate::mobile_ip::wire::{AuthenticationKind, Decoded, Revocation, RevocationAck};
use std::net::Ipv4Addr;
use std::time::Instant;

impl HomeAgent {
    /// Drops the bindings of a home address and tells who understands revocation.
    pub(super) fn revoke(&mut self, now: Instant, home: Ipv4Addr) {
        let Some(id) = self.nodes.by_home(home) else {
            return;
        };
        let identifier = self.clock.timestamp(now).seconds();
        for binding in self.drop_bindings(now, id, |_| true) {
            let care_of = binding.care_of;
            self.tell(Told::Revoked { home, care_of });
            let Some(revocable) = binding.revocation else {
                continue;
            };
            let kind = kind(revocable.direct);
            let Some(security) = self.revocation_key(id, kind, *binding.from.ip()) else {
                continue;
            };
            let revocation = Revocation {
                by_home_agent: true,
                inform: revocable.direct || revocable.inform,
                home,
                home_domain: self.settings.address,
                foreign_domain: care_of,
                identifier,
                extensions: Vec::new(),
            };
            let envelope = Datagram {
                via: binding.via,
                local: binding.to,
                remote: binding.from,
                payload: Vec::new(),
            };
            let pending = Unacknowledged::new(envelope, &revocation, kind, security);
            self.effects.push_back(Effect::Send(pending.datagram()));
            self.pending.insert((home, care_of), pending);
            let timer = Timer::Revocation(home, care_of);
            self.timers.set(timer, now + FIRST_PAUSE);
        }
    }

    pub(super) fn revoke_again(&mut self, now: Instant, key: (Ipv4Addr, Ipv4Addr)) {
        let Some(pending) = self.pending.get_mut(&key) else {
            return;
        };
        let Some((datagram, pause)) = pending.again() else {
            self.pending.remove(&key);
            self.tell(Told::RevocationUnanswered { home: key.0 });
            return;
        };
        self.effects.push_back(Effect::Send(datagram));
        self.timers
            .set(Timer::Revocation(key.0, key.1), now + pause);
    }

    /// It is registered there anew: a revocation that came later might end that one, in the same second.
    pub(super) fn stop_repeating(&mut self, home: Ipv4Addr, care_of: Ipv4Addr) {
        if let Some(pending) = self.pending.get_mut(&(home, care_of)) {
            pending.stop_repeating();
        }
    }

    pub(super) fn acknowledged(
        &mut self,
        datagram: &Datagram,
        decoded: &Decoded,
        ack: &RevocationAck,
    ) {
        let answered = |((home, _), pending): &(&(Ipv4Addr, Ipv4Addr), &Unacknowledged)| {
            *home == ack.home && pending.is_answered_by(datagram, decoded, ack)
        };
        let Some((key, _)) = self.pending.iter().find(answered) else {
            return;
        };
        let key = *key;
        self.pending.remove(&key);
        self.timers.stop(&Timer::Revocation(key.0, key.1));
        self.tell(Told::RevocationAcknowledged { home: key.0 });
    }

    /// A foreign agent withdraws a binding.
    pub(super) fn revoked(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        decoded: &Decoded,
        revocation: &Revocation,
    ) {
        let Some(foreign_agent) = self.foreign_agents.get(datagram.remote.ip()) else {
            self.counters.strangers += 1;
            return;
        };
        let security = foreign_agent.security.clone();
        let kind = AuthenticationKind::ForeignHome;
        let placed = decoded.only_authenticator(kind);
        let authentic = placed.is_some_and(|placed| security.verify(&placed));
        // RFC 3543 §3.5: one of ours, come back, has the A bit. The foreign domain is the sender.
        let ours = revocation.by_home_agent || revocation.home_domain != self.settings.address;
        if !authentic || ours || revocation.foreign_domain != *datagram.remote.ip() {
            self.counters.strangers += 1;
            return;
        }
        let home = revocation.home;
        let mut care_of = None;
        if let Some(id) = self.nodes.by_home(home) {
            let of_it = |binding: &&super::nodes::Binding| {
                binding.care_of == revocation.foreign_domain && binding.revocation.is_some()
            };
            if let Some(binding) = self.nodes.at(id).bindings.iter().find(of_it) {
                let since = binding
                    .revocation
                    .map_or(0, |revocable| revocable.timestamp);
                if revocation.identifier.wrapping_sub(since).cast_signed() < 0 {
                    // Older than the registration: a replay.
                    self.counters.strangers += 1;
                    return;
                }
                care_of = Some(binding.care_of);
                let foreign = binding.care_of;
                self.drop_bindings(now, id, |binding| binding.care_of == foreign);
            }
        }
        if let Some(care_of) = care_of {
            self.tell(Told::Revoked { home, care_of });
        }
        let mut payload = RevocationAck {
            inform: revocation.inform,
            home,
            identifier: revocation.identifier,
            extensions: Vec::new(),
        }
        .encode();
        security.sign(kind, &mut payload);
        self.send(datagram.via, datagram.local, datagram.remote, payload);
    }

    fn revocation_key(
        &self,
        id: NodeId,
        kind: AuthenticationKind,
        source: Ipv4Addr,
    ) -> Option<SecurityAssociation> {
        match kind {
            AuthenticationKind::MobileHome => self.nodes.at(id).config.security.first().cloned(),
            _ => Some(self.foreign_agents.get(&source)?.security.clone()),
        }
    }
}

fn kind(direct: bool) -> AuthenticationKind {
    if direct {
        AuthenticationKind::MobileHome
    } else {
        AuthenticationKind::ForeignHome
    }
}
