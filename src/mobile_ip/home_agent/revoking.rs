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
use crate::mobile_ip::wire::{AuthenticationKind, Decoded, Revocation, RevocationAck};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// No more than one message a second for one binding (RFC 3543 §3.3).
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const TRIES: u32 = 4;

/// A revocation that nobody has acknowledged yet.
#[derive(Debug)]
pub(super) struct Pending {
    datagram: Datagram,
    identifier: u32,
    kind: AuthenticationKind,
    security: SecurityAssociation,
    sent: u32,
}

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
            let mut payload = Revocation {
                by_home_agent: true,
                inform: revocable.direct || revocable.inform,
                home,
                home_domain: self.settings.address,
                foreign_domain: care_of,
                identifier,
                extensions: Vec::new(),
            }
            .encode();
            security.sign(kind, &mut payload);
            let datagram = Datagram {
                via: binding.via,
                local: binding.to,
                remote: binding.from,
                payload,
            };
            self.effects.push_back(Effect::Send(datagram.clone()));
            let pending = Pending {
                datagram,
                identifier,
                kind,
                security,
                sent: 1,
            };
            self.pending.insert((home, care_of), pending);
            let timer = Timer::Revocation(home, care_of);
            self.timers.set(timer, now + FIRST_PAUSE);
        }
    }

    pub(super) fn revoke_again(&mut self, now: Instant, key: (Ipv4Addr, Ipv4Addr)) {
        let Some(pending) = self.pending.get_mut(&key) else {
            return;
        };
        if pending.sent == TRIES {
            self.pending.remove(&key);
            self.tell(Told::RevocationUnanswered { home: key.0 });
            return;
        }
        let pause = FIRST_PAUSE * 2u32.pow(pending.sent);
        pending.sent += 1;
        let datagram = pending.datagram.clone();
        self.effects.push_back(Effect::Send(datagram));
        self.timers
            .set(Timer::Revocation(key.0, key.1), now + pause);
    }

    pub(super) fn acknowledged(
        &mut self,
        datagram: &Datagram,
        decoded: &Decoded,
        ack: &RevocationAck,
    ) {
        let matches = |((home, _), pending): &(&(Ipv4Addr, Ipv4Addr), &Pending)| {
            *home == ack.home
                && pending.identifier == ack.identifier
                && pending.datagram.remote.ip() == datagram.remote.ip()
        };
        let Some((key, pending)) = self.pending.iter().find(matches) else {
            return;
        };
        let placed = decoded.only_authenticator(pending.kind);
        if !placed.is_some_and(|placed| pending.security.verify(&placed)) {
            return;
        }
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
