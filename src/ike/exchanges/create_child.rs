//! `CREATE_CHILD_SA` for a child (RFC 7296 §1.3.1, §1.3.3).
//!
//! ```text
//! HDR, SK {[N(REKEY_SA),] SA, Ni, [KEi,] TSi, TSr}  -->
//!                              <--  HDR, SK {SA, Nr, [KEr,] TSi, TSr}
//! ```
//!
//! A child is replaced make-before-break: the new one is up before the old is deleted, by whoever
//! replaced it. If both ends replace it at once, each ends up with two new ones; the one that the
//! lowest of the four nonces belongs to is deleted by the end that asked for it (§2.8.1).

use super::{Awaiting, Task};
use crate::ike::child_sa::{Inbound, Rejection, meaning_of};
use crate::ike::context::{Context, Timer, Wanted};
use crate::ike::crypto::Group;
use crate::ike::effects::{ChildId, ConnectError, DownReason, Outbound};
use crate::ike::offer::{Offer, Purpose};
use crate::ike::sa::IkeSa;
use crate::ike::wire::{Exchange, Notify, NotifyKind, Payload, Payloads};
use std::time::{Duration, Instant};

/// A replacement that failed is tried again after this (less a random tenth), until the child's
/// lifetime ends.
const REKEY_AGAIN: Duration = Duration::from_secs(5);

/// A peer that is busy with what collides (`TEMPORARY_FAILURE`, §2.25) is asked again after this,
/// and this often.
const CREATE_AGAIN: Duration = Duration::from_secs(1);
const CREATE_TRIES: u8 = 5;

fn may_ask_again(offer: &Offer) -> bool {
    matches!(&offer.purpose, Purpose::New(wanted) if wanted.tries < CREATE_TRIES)
}

impl IkeSa {
    // --- asking ---------------------------------------------------------------------------------

    pub(super) fn ask_for_child(&mut self, ctx: &mut Context, now: Instant, wanted: Wanted) {
        if self.nat && !wanted.connect.crosses_nat() {
            ctx.fail(&wanted, ConnectError::BehindNat(self.remote.ip()));
            return;
        }
        if wanted.connect.address.is_some() && self.assigned.is_empty() {
            ctx.fail(&wanted, ConnectError::NoAddress(self.peer.clone()));
            return;
        }
        let nonce = ctx.nonce();
        let offer = Offer::new(ctx, wanted, nonce, Some(Group::ALL[0]), self.nat);
        self.send_offer(ctx, now, offer);
    }

    pub(super) fn ask_for_replacement(&mut self, ctx: &mut Context, now: Instant, old: ChildId) {
        if let Some(child) = self.children.get(&old)
            && !child.replaced
            && child.closing.is_none()
        {
            let offer = Offer::replacing(ctx, child, Group::ALL[0]);
            self.send_offer(ctx, now, offer);
        }
    }

    fn send_offer(&mut self, ctx: &mut Context, now: Instant, offer: Offer) {
        let mut payloads = Vec::new();
        if let Purpose::Replace { old, .. } = &offer.purpose {
            // The SPI of the SA on which we receive (§1.3.3).
            let Some(old) = self.children.get(old) else {
                ctx.release_spi(offer.spi);
                return;
            };
            let rekey = Notify::about(NotifyKind::REKEY_SA, old.protocol.id(), old.spi_in);
            payloads.push(Payload::Notify(rekey));
        }
        payloads.extend(offer.payloads());
        let awaiting = Awaiting::Child(Box::new(offer));
        self.send(ctx, now, Exchange::CREATE_CHILD_SA, payloads, awaiting);
    }

    pub(in crate::ike) fn on_child_answer(
        &mut self,
        ctx: &mut Context,
        now: Instant,
        offer: Offer,
        answer: &Payloads,
    ) {
        if let Some(error) = answer.error() {
            self.on_child_refused(ctx, now, offer, error);
            return;
        }
        if let Purpose::Replace { old, .. } = &offer.purpose
            && !self.children.contains_key(old)
        {
            // It was closed meanwhile: what should have taken its place is not wanted either.
            let error = ConnectError::Cancelled;
            self.give_up_offer(
                ctx,
                now,
                &offer,
                Rejection {
                    error,
                    delete: true,
                },
            );
            return;
        }
        let Some(nonce) = answer.nonce() else {
            let error = ConnectError::Protocol(self.remote.ip(), "no nonce");
            self.give_up_offer(
                ctx,
                now,
                &offer,
                Rejection {
                    error,
                    delete: true,
                },
            );
            return;
        };
        let lowest = nonce.min(&offer.nonce).to_vec();
        let inbound = offer.inbound();
        let (request, old, rival) = match &offer.purpose {
            Purpose::New(wanted) => (wanted.request, None, None),
            Purpose::Replace { old, rival } => (None, Some(*old), rival.clone()),
        };
        let rival = rival.filter(|(id, _)| self.children.contains_key(id));
        let lost = rival.as_ref().is_some_and(|(_, theirs)| lowest < *theirs);
        let outbound = if lost {
            Outbound::AfterConfirmation
        } else {
            Outbound::Now
        };
        match self.complete_child(ctx, now, offer, answer, nonce, outbound) {
            Err(rejection) => self.reject(ctx, now, inbound, request, old, rejection),
            Ok(new) if lost => {
                // Installed only because the peer may already be sending on it.
                self.never_confirm(ctx, new);
                self.retire_child(new, DownReason::Redundant);
            }
            Ok(_) => {
                if let Some((rival, _)) = rival {
                    self.never_confirm(ctx, rival);
                }
                match old {
                    Some(old) => self.retire_child(old, DownReason::Replaced),
                    None if self.ours => self.waiting.push_front(Task::Probe),
                    None => {}
                }
            }
        }
    }

    fn on_child_refused(&mut self, ctx: &mut Context, now: Instant, offer: Offer, error: &Notify) {
        let group = <[u8; 2]>::try_from(&error.data[..])
            .ok()
            .and_then(|octets| Group::from_id(u16::from_be_bytes(octets)));
        match (error.kind, group) {
            (NotifyKind::INVALID_KE_PAYLOAD, Some(group)) if offer.group() != Some(group) => {
                ctx.counters.invalid_ke += 1;
                let offer = offer.in_group(ctx, group);
                self.send_offer(ctx, now, offer);
            }
            (NotifyKind::TEMPORARY_FAILURE, _) if may_ask_again(&offer) => {
                ctx.release_spi(offer.spi);
                if let Purpose::New(mut wanted) = offer.purpose {
                    wanted.tries += 1;
                    self.postponed.push(wanted);
                    ctx.set_timer(Timer::Postponed(self.id), now + CREATE_AGAIN);
                }
            }
            _ => {
                let error = meaning_of(error, self);
                let rejection = Rejection {
                    error,
                    delete: false,
                };
                self.give_up_offer(ctx, now, &offer, rejection);
            }
        }
    }

    fn give_up_offer(
        &mut self,
        ctx: &mut Context,
        now: Instant,
        offer: &Offer,
        rejection: Rejection,
    ) {
        let (request, old) = match &offer.purpose {
            Purpose::New(wanted) => (wanted.request, None),
            Purpose::Replace { old, .. } => (None, Some(*old)),
        };
        self.reject(ctx, now, offer.inbound(), request, old, rejection);
    }

    /// No child came of an offer.
    pub(in crate::ike) fn reject(
        &mut self,
        ctx: &mut Context,
        now: Instant,
        inbound: Inbound,
        request: Option<crate::ike::settings::RequestId>,
        old: Option<ChildId>,
        rejection: Rejection,
    ) {
        ctx.release_spi(inbound.spi);
        if rejection.delete {
            self.waiting.push_back(Task::DeleteSpi(inbound));
        }
        if let Some(request) = request {
            let error = rejection.error;
            ctx.emit(crate::ike::effects::Effect::Failed { request, error });
        }
        if let Some(old) = old {
            self.replace_later(ctx, now, old);
        }
    }

    /// The old child goes on until its own end.
    fn replace_later(&mut self, ctx: &mut Context, now: Instant, old: ChildId) {
        let lives = |c: &crate::ike::child_sa::Child| !c.replaced && c.closing.is_none();
        if self.children.get(&old).is_some_and(lives) {
            let wait = ctx.jittered(REKEY_AGAIN);
            ctx.set_timer(Timer::Rekey(old), now + wait);
        }
    }

    // --- answering ------------------------------------------------------------------------------

    pub(in crate::ike) fn on_create_child(
        &mut self,
        ctx: &mut Context,
        now: Instant,
        request: &Payloads,
    ) -> Vec<Payload> {
        if !self.is_established() {
            return vec![Payload::notify(NotifyKind::NO_ADDITIONAL_SAS, [])];
        }
        let old = match request.notification(NotifyKind::REKEY_SA) {
            None => None,
            Some(notify) => match self.child_to_replace(notify) {
                Ok(old) => Some(old),
                Err(refusal) => return vec![Payload::Notify(refusal)],
            },
        };
        match self.answer_child(ctx, now, request, None, old) {
            Err(refusal) => vec![Payload::Notify(refusal)],
            Ok((new, payloads)) => {
                if let Some(old) = old {
                    ctx.timers.stop(&Timer::Rekey(old));
                    self.note_rival(old, new, request, &payloads);
                }
                payloads
            }
        }
    }

    fn child_to_replace(&self, notify: &Notify) -> Result<ChildId, Notify> {
        let child = notify
            .child_spi()
            .and_then(|spi| self.child_sent_on(notify.protocol, spi));
        match child {
            // §2.25: it no longer exists here, or is about to.
            None => Err(Notify {
                protocol: notify.protocol,
                spi: notify.spi.clone(),
                kind: NotifyKind::CHILD_SA_NOT_FOUND,
                data: Vec::new(),
            }),
            Some(child) if child.closing.is_some() => {
                Err(Notify::new(NotifyKind::TEMPORARY_FAILURE, []))
            }
            Some(child) => Ok(child.id),
        }
    }

    /// Our own request to replace the same child is under way: remember what decides.
    fn note_rival(&mut self, old: ChildId, new: ChildId, request: &Payloads, answer: &[Payload]) {
        let Some(in_flight) = &mut self.in_flight else {
            return;
        };
        let Awaiting::Child(offer) = &mut in_flight.awaiting else {
            return;
        };
        if let Purpose::Replace { old: ours, rival } = &mut offer.purpose
            && *ours == old
        {
            let own = answer.iter().find_map(|p| match p {
                Payload::Nonce(nonce) => Some(&nonce[..]),
                _ => None,
            });
            let lowest = request.nonce().into_iter().chain(own).min();
            *rival = lowest.map(|nonce| (new, nonce.to_vec()));
        }
    }
}
