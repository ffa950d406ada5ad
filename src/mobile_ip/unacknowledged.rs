//! A revocation that nobody has acknowledged yet (RFC 3543): what home agents and foreign agents have in common.

use super::Datagram;
use super::security::SecurityAssociation;
use super::wire::{AuthenticationKind, Decoded, Revocation, RevocationAck};
use std::time::Duration;

/// No more than one message a second for one registration (RFC 3543 §3.3).
pub const FIRST_PAUSE: Duration = Duration::from_secs(1);
const TRIES: u32 = 4;

#[derive(Debug)]
pub struct Unacknowledged {
    datagram: Datagram,
    identifier: u32,
    kind: AuthenticationKind,
    security: SecurityAssociation,
    sent: u32,
}

impl Unacknowledged {
    /// Signs it; `datagram` says from where to where, and its payload is replaced. It is to be sent now, and after
    /// [`FIRST_PAUSE`].
    pub fn new(
        mut datagram: Datagram,
        revocation: &Revocation,
        kind: AuthenticationKind,
        security: SecurityAssociation,
    ) -> Self {
        datagram.payload = revocation.encode();
        security.sign(kind, &mut datagram.payload);
        Self {
            datagram,
            identifier: revocation.identifier,
            kind,
            security,
            sent: 1,
        }
    }

    pub fn datagram(&self) -> Datagram {
        self.datagram.clone()
    }

    /// To be sent once more, and how long to wait then; `None` after the last time.
    pub fn again(&mut self) -> Option<(Datagram, Duration)> {
        if self.sent == TRIES {
            return None;
        }
        let pause = FIRST_PAUSE * 2u32.pow(self.sent);
        self.sent += 1;
        Some((self.datagram(), pause))
    }

    /// No more times: only its acknowledgement is waited for.
    pub fn stop_repeating(&mut self) {
        self.sent = TRIES;
    }

    /// Whether this is the answer, by who was asked.
    pub fn is_answered_by(
        &self,
        datagram: &Datagram,
        decoded: &Decoded,
        ack: &RevocationAck,
    ) -> bool {
        let placed = decoded.only_authenticator(self.kind);
        self.identifier == ack.identifier
            && self.datagram.remote.ip() == datagram.remote.ip()
            && placed.is_some_and(|placed| self.security.verify(&placed))
    }
}
