//! Who a gateway claims to be, readable only by those who know it already.
//!
//! The first 16 octets of SHA-256 over both cookies, the type of the identity and the identity. It
//! spares the initiator from trying every configured peer in turn, and proves nothing: whoever sees
//! a response may repeat the hint, and whoever guesses an identity may confirm the guess.

use super::Cookie;
use crate::net::Identity;
use aws_lc_rs::digest::{Context, SHA256};
use std::net::IpAddr;

pub(super) const LEN: usize = 16;

/// The hint of one response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimedIdentity {
    initiator: Cookie,
    responder: Cookie,
    digest: [u8; LEN],
}

impl ClaimedIdentity {
    pub(super) fn received(initiator: Cookie, responder: Cookie, digest: [u8; LEN]) -> Self {
        Self {
            initiator,
            responder,
            digest,
        }
    }

    /// What `id` puts into its response.
    pub fn digest_of(initiator: Cookie, responder: Cookie, id: &Identity) -> [u8; LEN] {
        let mut context = Context::new(&SHA256);
        context.update(&initiator.0);
        context.update(&responder.0);
        // Types of RFC 7296 §3.5.
        match id {
            Identity::Address(IpAddr::V4(a)) => update(&mut context, 1, &a.octets()),
            Identity::Address(IpAddr::V6(a)) => update(&mut context, 5, &a.octets()),
            Identity::Name(name) => update(&mut context, 2, name.as_bytes()),
            Identity::Mail(mail) => update(&mut context, 3, mail.as_bytes()),
            Identity::Other { kind, data } => update(&mut context, *kind, data),
        }
        let mut digest = [0; LEN];
        digest.copy_from_slice(&context.finish().as_ref()[..LEN]);
        digest
    }

    /// Whether the sender claims to be `id`.
    pub fn is(&self, id: &Identity) -> bool {
        Self::digest_of(self.initiator, self.responder, id) == self.digest
    }
}

fn update(context: &mut Context, kind: u8, id: &[u8]) {
    context.update(&[kind]);
    context.update(id);
}
