//! Setting up an IKE SA as its initiator, until a peer has authenticated.
//!
//! Nothing that arrives before that can be believed, so nothing that arrives ends an attempt:
//! every answer to `IKE_SA_INIT` becomes a candidate with keys of its own, up to a bound, and
//! `IKE_AUTH` is tried with each. The first that authenticates as the peer wins. Errors are
//! remembered, to explain the failure if nobody does.

use super::context::{AttemptId, Context, Timer, Wanted};
use super::crypto::{Group, PrivateKey};
use super::effects::ConnectError;
use super::negotiation::IkeSuite;
use super::offer::Offer;
use super::retransmission::Backoff;
use super::sa::IkeSa;
use super::settings::{Connect, RequestId};
use crate::net::Identity;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

/// Answers to one `IKE_SA_INIT` that are followed up, and versions of each.
pub(super) const MAX_CANDIDATES: usize = 4;
/// How often cookies and groups that a peer asks for are gone along with.
const MAX_RESTARTS: usize = 5;
/// When every candidate has failed to authenticate, an honest answer has this many retransmission
/// intervals left to win.
pub(super) const GRACE: u32 = 4;

#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) id: AttemptId,
    pub(super) spi: u64,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) peer: Identity,
    /// The first goes into `IKE_AUTH`, the others follow once the IKE SA is there. Never empty.
    pub(super) wanted: VecDeque<Wanted>,
    pub(super) nonce: Vec<u8>,
    pub(super) cookie: Option<Vec<u8>>,
    /// One for each group that was tried.
    pub(super) keys: Vec<PrivateKey>,
    /// Every version of the request, the newest last: AUTH proves the one that was answered.
    pub(super) requests: Vec<(Group, Vec<u8>)>,
    pub(super) candidates: Vec<Candidate>,
    pub(super) backoff: Backoff,
    /// Retransmissions since the last candidate came.
    unanswered: u32,
    pub(super) explanation: Option<ConnectError>,
}

/// Somebody who answered `IKE_SA_INIT`.
///
/// One is what its keys are made of. Answers that differ in the rest, as an attacker on the path
/// could make them, are versions of one candidate: two candidates with the same keys would use the
/// same GCM nonces. AUTH tells in the end which version was sent.
#[derive(Debug)]
pub(super) struct Candidate {
    /// What it becomes if it authenticates.
    pub(super) sa: IkeSa,
    pub(super) suite: IkeSuite,
    pub(super) public: Vec<u8>,
    pub(super) nonce: Vec<u8>,
    pub(super) versions: Vec<Version>,
    /// `None` once it has failed.
    pub(super) pending: Option<PendingAuth>,
}

#[derive(Debug)]
pub(super) struct Version {
    pub(super) response: Vec<u8>,
    pub(super) ours: bool,
    pub(super) nat: bool,
}

#[derive(Debug)]
pub(super) struct PendingAuth {
    pub(super) datagram: Vec<u8>,
    /// `None` where the first child cannot be had through the NAT that seems to be there.
    pub(super) offer: Option<Offer>,
}

impl PendingAuth {
    fn give_back(&self, ctx: &mut Context) {
        if let Some(offer) = &self.offer {
            ctx.release_spi(offer.spi);
        }
    }
}

impl Attempt {
    pub(super) fn new(
        ctx: &mut Context,
        now: Instant,
        spi: u64,
        (local, remote): (SocketAddr, SocketAddr),
        wanted: Wanted,
    ) -> Self {
        let id = AttemptId(ctx.next_id());
        let backoff = Backoff::start(now, &ctx.settings.timing);
        ctx.set_timer(Timer::Attempt(id), backoff.deadline());
        Self {
            id,
            spi,
            local,
            remote,
            peer: wanted.connect.peer.clone(),
            wanted: VecDeque::from([wanted]),
            nonce: ctx.nonce(),
            cookie: None,
            keys: Vec::new(),
            requests: Vec::new(),
            candidates: Vec::new(),
            backoff,
            unanswered: 0,
            explanation: None,
        }
    }

    /// Whether the IKE SA that comes of it will do for one more child.
    pub(super) fn serves(&self, connect: &Connect) -> bool {
        let asks = |w: &Wanted| w.connect.address.is_some();
        self.peer == connect.peer
            && (self.local.ip(), self.remote.ip()) == (connect.local, connect.remote)
            && (connect.address.is_none() || self.wanted.front().is_some_and(asks))
    }

    pub(super) fn may_restart(&self) -> bool {
        self.requests.len() <= MAX_RESTARTS && self.candidates.is_empty()
    }

    /// Drawn once a group: a request that is repeated with a cookie is otherwise the same.
    pub(super) fn key(&mut self, ctx: &mut Context, now: Instant, group: Group) -> &PrivateKey {
        let at = self.keys.iter().position(|k| k.group() == group);
        let at = at.unwrap_or_else(|| {
            self.keys.push(ctx.private_key(now, group));
            self.keys.len() - 1
        });
        &self.keys[at]
    }

    /// The newest request of a group, and the key it carried.
    pub(super) fn request_in(&self, group: Group) -> Option<(&PrivateKey, &[u8])> {
        let request = self.requests.iter().rev().find(|(g, _)| *g == group);
        let key = self.keys.iter().find(|k| k.group() == group);
        Some((key?, &request?.1))
    }

    /// Sends everything that is still unanswered.
    pub(super) fn transmit(&mut self, ctx: &mut Context) {
        let mut alive = self.candidates.iter().filter(|c| c.pending.is_some());
        // A candidate that says nothing may be nobody: the honest one is asked for again.
        if (alive.next().is_none() || self.unanswered >= 2)
            && let Some((_, request)) = self.requests.last()
        {
            ctx.transmit(self.local, self.remote, request);
        }
        for candidate in &self.candidates {
            if let Some(pending) = &candidate.pending {
                ctx.transmit(candidate.sa.local, candidate.sa.remote, &pending.datagram);
            }
        }
    }

    pub(super) fn retransmit(&mut self, ctx: &mut Context) {
        ctx.counters.retransmitted += 1;
        self.unanswered += 1;
        self.transmit(ctx);
        ctx.set_timer(Timer::Attempt(self.id), self.backoff.deadline());
    }

    /// Something new was sent: begin to count anew, within the same end.
    pub(super) fn restart_timer(&mut self, ctx: &mut Context, now: Instant) {
        self.unanswered = 0;
        self.backoff.restart(now, &ctx.settings.timing);
        ctx.set_timer(Timer::Attempt(self.id), self.backoff.deadline());
    }

    /// A candidate turned out not to be the peer. An honest one may still be on its way.
    pub(super) fn on_candidate_failed(&mut self, ctx: &mut Context, now: Instant, at: usize) {
        let Some(pending) = self.candidates[at].pending.take() else {
            return;
        };
        pending.give_back(ctx);
        ctx.counters.authentication_failed += 1;
        self.explanation = Some(ConnectError::Authentication(self.peer.clone()));
        if self.candidates.iter().all(|c| c.pending.is_none()) {
            self.backoff
                .give_up_by(now + ctx.settings.timing.retransmit * GRACE);
            self.restart_timer(ctx, now);
            self.transmit(ctx);
        }
    }

    /// Gives back what it held: the wishes, for the caller to report, and the IKE SAs that a peer
    /// may believe in.
    pub(super) fn dissolve(self, ctx: &mut Context) -> (VecDeque<Wanted>, Vec<IkeSa>) {
        ctx.timers.stop(&Timer::Attempt(self.id));
        let mut unwanted = Vec::new();
        for candidate in self.candidates {
            if let Some(pending) = candidate.pending {
                pending.give_back(ctx);
                unwanted.push(candidate.sa);
            }
        }
        (self.wanted, unwanted)
    }

    /// Whether the wish was found here; it will not be reported any more.
    pub(super) fn cancel(&mut self, request: RequestId) -> bool {
        let Some(at) = self.wanted.iter().position(|w| w.request == Some(request)) else {
            return false;
        };
        if at == 0 && !self.candidates.is_empty() {
            // `IKE_AUTH` is on its way and cannot be taken back.
            self.wanted[0].request = None;
        } else {
            self.wanted.remove(at);
        }
        true
    }
}
