//! The home agent takes a binding back (RFC 3543): acknowledged, and registered anew.

use super::{Client, Effect, Loss, Suspicion};
use crate::mobile_ip::Datagram;
use crate::mobile_ip::wire::{AuthenticationKind, Decoded, Revocation, RevocationAck};
use std::time::Instant;

impl Client {
    pub(super) fn revoked(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        decoded: &Decoded,
        revocation: &Revocation,
    ) -> bool {
        let placed = decoded.only_authenticator(AuthenticationKind::MobileHome);
        let signed = placed.is_some_and(|placed| self.settings.association.verify(&placed));
        // Of a foreign agent there is no security association to revoke with; ours would come back
        // reflected (RFC 3543 §3.5).
        if !signed || !revocation.by_home_agent {
            self.suspect(Suspicion::Revocation);
            return false;
        }
        // The acknowledgement was lost: the same again.
        if let Some((identifier, octets)) = &self.acknowledged
            && *identifier == revocation.identifier
        {
            let again = answer(datagram, octets.clone());
            self.effects.push_back(Effect::Send(again));
            return true;
        }
        let of_binding = self.binding.as_ref().is_some_and(|binding| {
            let registered = &binding.registered;
            revocation.home == registered.home
                && revocation.home_domain == registered.home_agent
                && revocation.foreign_domain == registered.care_of
        });
        // Not older than the reply that granted it (RFC 3543 §3.5), by the home agent's clock.
        let new = self
            .revoked_until
            .is_some_and(|last| revocation.identifier.wrapping_sub(last).cast_signed() >= 0);
        if !of_binding || !new {
            self.suspect(Suspicion::Revocation);
            return false;
        }
        let mut octets = RevocationAck {
            inform: revocation.inform,
            home: revocation.home,
            identifier: revocation.identifier,
            extensions: Vec::new(),
        }
        .encode();
        let association = &self.settings.association;
        association.sign(AuthenticationKind::MobileHome, &mut octets);
        let sent = answer(datagram, octets.clone());
        self.effects.push_back(Effect::Send(sent));
        self.acknowledged = Some((revocation.identifier, octets));
        self.revoked_until = Some(revocation.identifier.wrapping_add(1));
        self.lose(now, Loss::Revoked);
        true
    }
}

/// RFC 3543 §3.4: from where the revocation came to, to where it came from.
fn answer(datagram: &Datagram, payload: Vec<u8>) -> Datagram {
    Datagram {
        via: datagram.via,
        local: datagram.local,
        remote: datagram.remote,
        payload,
    }
}
