//! One flow that is being probed, and the gateways that answered.

use super::effects::FailureReason;
use super::pending::FlowKey;
use super::{DiscoveryId, OwnProxy, RETRANSMIT_MAX};
use crate::net::Flow;
use crate::ted::proxies::{Irreconcilable, Proxy, ProxyId};
use crate::ted::wire::{ClaimedIdentity, Cookie};
use std::net::IpAddr;
use std::time::Duration;

/// Answers of one probe that are tried, the forged ones included.
pub(super) const MAX_CANDIDATES: usize = 4;

#[derive(Debug)]
pub(super) struct Discovery {
    pub(super) proxy: ProxyId,
    pub(super) ours: OwnProxy,
    pub(super) key: FlowKey,
    pub(super) flow: Flow,
    pub(super) own: IpAddr,
    pub(super) cookie: Cookie,
    /// Until the next retransmission.
    pub(super) interval: Duration,
    pub(super) probes_sent: u32,
    pub(super) packets: u64,
    /// In the order of their arrival.
    pub(super) candidates: Vec<Offer>,
    pub(super) irreconcilable: Option<(IpAddr, Irreconcilable)>,
    pub(super) patience: Patience,
    /// No answer is waited for any more; only negotiations keep it alive.
    pub(super) timed_out: bool,
}

/// What a gateway that answered has to offer.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) responder: IpAddr,
    /// The responder's; tells a repeated answer from somebody else's under the same address.
    pub(super) cookie: Cookie,
    pub(super) merged: Proxy,
    pub(super) claimed: Option<ClaimedIdentity>,
    /// Of IKE, until somebody tries it.
    pub(super) ike: Option<Vec<u8>>,
    pub(super) state: OfferState,
}

#[derive(Debug)]
pub(super) enum OfferState {
    Untried,
    /// Handed out as a candidate, by this discovery or by another that got the same offer.
    Negotiating {
        by: DiscoveryId,
    },
    Refused(String),
}

impl Offer {
    pub(super) fn is_negotiating(&self) -> bool {
        matches!(self.state, OfferState::Negotiating { .. })
    }

    pub(super) fn is_negotiated_by(&self, id: DiscoveryId) -> bool {
        matches!(self.state, OfferState::Negotiating { by } if by == id)
    }
}

/// Whether the negotiation under way still deserves to be waited for. One that takes long goes on,
/// but no longer holds up the other answers and flows: it might be with a forger who never answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    Left,
    Lost,
}

/// Why an answer is not a new offer.
pub(super) enum NotNew {
    Repeated,
    TooMany,
}

impl Discovery {
    pub(super) fn is_negotiating(&self) -> bool {
        self.candidates.iter().any(Offer::is_negotiating)
    }

    /// Whether its outcome is still open, so that any flow of the proxy might profit from it.
    pub(super) fn is_probing(&self) -> bool {
        !self.is_negotiating()
    }

    /// Whether answers should be asked for, and the next offer be tried.
    pub(super) fn is_idle(&self) -> bool {
        self.is_probing() || self.patience == Patience::Lost
    }

    /// Whether a negotiation under way would bring a tunnel for `flow`.
    pub(super) fn would_cover(&self, flow: &Flow) -> bool {
        let mut offers = self.candidates.iter();
        offers.any(|offer| offer.is_negotiating() && offer.merged.covers(flow))
    }

    /// Whether `flow` should wait for that.
    pub(super) fn may_cover(&self, flow: &Flow) -> bool {
        self.patience == Patience::Left && self.would_cover(flow)
    }

    /// One live offer a source. Another under the same address is heard only once the first was
    /// refused: then the first may have been forged.
    pub(super) fn add(&mut self, offer: Offer) -> Result<(), NotNew> {
        let repeats = |old: &Offer| {
            old.responder == offer.responder
                && (old.cookie == offer.cookie || !matches!(old.state, OfferState::Refused(_)))
        };
        if self.candidates.iter().any(repeats) {
            return Err(NotNew::Repeated);
        }
        if self.candidates.len() >= MAX_CANDIDATES {
            return Err(NotNew::TooMany);
        }
        self.candidates.push(offer);
        Ok(())
    }

    /// What was refused may be offered again, even under the same cookie.
    pub(super) fn forgive(&mut self) {
        self.candidates
            .retain(|offer| !matches!(offer.state, OfferState::Refused(_)));
    }

    pub(super) fn next_untried(&self) -> Option<usize> {
        self.candidates
            .iter()
            .position(|offer| matches!(offer.state, OfferState::Untried))
    }

    /// The time until the next retransmission, which doubles from one to the next.
    pub(super) fn back_off(&mut self) -> Duration {
        let interval = self.interval;
        self.interval = (interval * 2).min(RETRANSMIT_MAX.max(interval));
        interval
    }

    /// An answer that was believed but not honoured says more than one that could not be
    /// reconciled, and that more than none.
    pub(super) fn failure(&self) -> FailureReason {
        let refused = self.candidates.iter().rev().find_map(|offer| {
            let OfferState::Refused(why) = &offer.state else {
                return None;
            };
            Some(FailureReason::CandidatesRefused {
                responder: offer.responder,
                why: why.clone(),
            })
        });
        let irreconcilable = self
            .irreconcilable
            .map(|(responder, what)| FailureReason::Irreconcilable { responder, what });
        refused.or(irreconcilable).unwrap_or(FailureReason::Silence)
    }
}
