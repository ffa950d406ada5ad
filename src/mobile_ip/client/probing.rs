//! The smoke-out of the document, in the form that is evidence: a request that is signed rightly and
//! stale on purpose. The home agent's 133 is signed too, so it was there and answered; and no binding
//! has changed. With a wrong key it would only have said that somebody answers.

use super::{Attachment, CareOf, Client, Effect, Goal, Outcome, reading};
use crate::mobile_ip::wire::{Code, Decoded, RegistrationReply};
use crate::mobile_ip::{Datagram, Via};
use std::net::Ipv4Addr;
use std::time::Instant;

impl Client {
    pub(super) fn probe(&mut self, now: Instant, via: Via, local: Ipv4Addr) {
        if self.allowance.next(now) > now {
            return;
        }
        let identification = self.issuer.issue_stale(now, &self.clock, &mut *self.random);
        let attachment = Attachment {
            epoch: 0,
            via,
            care_of: CareOf::CoLocated { address: local },
            // Should it be taken after all, it must not displace anything.
            keep_others: true,
        };
        let request = self
            .known(now, identification)
            .away(&attachment, self.settings.lifetime.max(1));
        self.allowance.spend(now);
        self.counts.requests += 1;
        self.effects.push_back(Effect::Send(request.datagram()));
        self.probe = Some(request);
    }

    /// Whether the reply is one to the probe, and believed.
    pub(super) fn probe_answered(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        decoded: &Decoded,
        reply: &RegistrationReply,
    ) -> bool {
        let Some(probe) = &self.probe else {
            return false;
        };
        let said = reading::believe(datagram, decoded, reply, probe, &self.settings);
        if !said.is_ok_and(|said| said.authenticated) {
            return false;
        }
        let (round_trip, via) = (now - probe.asked, probe.via);
        self.probe = None;
        if reply.code == Code::HA_IDENTIFICATION {
            // Its clock, or its nonce: the registration that follows needs no 133 of its own.
            if self.pending.is_none() {
                self.issuer
                    .mismatched(now, &self.clock, reply.identification);
            }
        } else if reply.code.is_accepted() && matches!(self.goal, Goal::Attached(_)) {
            // A home agent that takes stale requests has a binding too many now.
            self.ask_soon(now);
        }
        self.tell(Outcome::Reachable { round_trip, via });
        true
    }
}
