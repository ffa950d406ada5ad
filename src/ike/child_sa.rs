//! Child SAs: what is agreed about one, from either end (RFC 7296 §1.2, §1.3, §2.17).

use super::compression::{self, Compression};
use super::context::{Context, Timer};
use super::crypto::PrivateKey;
use super::crypto::keymat::Nonces;
use super::effects::{ChildId, ChildSa, ConnectError, DownReason, Effect, Outbound};
use super::granting::{self, Grant};
use super::narrowing;
use super::negotiation::{self, ChildSuite, Refusal};
use super::offer::{Offer, Purpose};
use super::sa::IkeSa;
use super::settings::{ChildProtocol, Mode};
use super::wire::{Notify, NotifyKind, Payload, Payloads, Proposal, ProtocolId};
use crate::net::{Family, Secret, Selector, Spi};
use std::time::{Duration, Instant};

/// A peer of another make that replaced a child and does not delete the old one, as a sign that the
/// new one is ready, is taken to be so after this. Our own kind always says.
const CONFIRMATION: Duration = Duration::from_secs(1);

/// Children of one IKE SA; more are refused with `NO_ADDITIONAL_SAS`.
pub(super) const MAX_CHILDREN: usize = 4096;

/// An agreed child SA as the IKE SA remembers it; its keys are the kernel's.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) id: ChildId,
    pub(super) protocol: ChildProtocol,
    pub(super) spi_in: Spi,
    pub(super) spi_out: Spi,
    pub(super) selectors: Vec<Selector>,
    pub(super) mode: Mode,
    /// Whether compression was agreed on or offered, so that its replacements offer it.
    pub(super) compressed: bool,
    pub(super) replaces: Option<ChildId>,
    /// There is a younger one that takes its place.
    pub(super) replaced: bool,
    pub(super) asked_by: AskedBy,
    /// The lower of the nonces that it was made from.
    pub(super) lowest_nonce: Vec<u8>,
    /// A Delete for it is queued or in flight.
    pub(super) closing: Option<DownReason>,
}

/// Half of a child, as the end that receives on it names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inbound {
    pub(super) protocol: ChildProtocol,
    pub(super) spi: Spi,
}

impl Child {
    pub(super) fn inbound(&self) -> Inbound {
        Inbound {
            protocol: self.protocol,
            spi: self.spi_in,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AskedBy {
    Us,
    Peer,
}

/// What both ends have agreed on.
struct Agreement {
    suite: ChildSuite,
    spi_in: Spi,
    spi_out: Spi,
    selectors: Vec<Selector>,
    mode: Mode,
    compression: Option<Compression>,
    shared: Option<Secret>,
}

/// Why an answer makes no child.
#[derive(Debug)]
pub(super) struct Rejection {
    pub(super) error: ConnectError,
    /// Whether the peer believes that there is one, so that it must be told.
    pub(super) delete: bool,
}

impl IkeSa {
    /// The child that an answer makes: `ChildUp` has been said when this returns.
    ///
    /// `nonce` is the peer's, of this exchange or of `IKE_SA_INIT`.
    pub(super) fn complete_child(
        &mut self,
        ctx: &mut Context,
        now: Instant,
        offer: Offer,
        answer: &Payloads,
        nonce: &[u8],
        outbound: Outbound,
    ) -> Result<ChildId, Rejection> {
        let agreement = self.check_answer(ctx, &offer, answer)?;
        let offered = offer.cpi.is_some();
        let nonces = Nonces {
            initiator: &offer.nonce,
            responder: nonce,
        };
        let (keys_out, keys_in) = self.keys.child(
            agreement.suite.protection,
            agreement.shared.as_ref(),
            nonces,
        );
        let (request, replaces) = match offer.purpose {
            Purpose::New(wanted) => (wanted.request, None),
            Purpose::Replace { old, .. } => (None, Some(old)),
        };
        let outbound = match outbound {
            Outbound::Now if replaces.is_none() && self.waits_to_be_heard(&agreement.selectors) => {
                Outbound::AfterConfirmation
            }
            given => given,
        };
        let child = self.child_sa(ctx, agreement, (keys_in, keys_out));
        let child = ChildSa {
            request,
            replaces,
            ..child
        };
        let origin = (AskedBy::Us, nonces.initiator.min(nonces.responder));
        let id = self.adopt(ctx, now, child, outbound, origin);
        if let Some(child) = self.children.get_mut(&id) {
            child.compressed |= offered;
        }
        Ok(id)
    }

    fn check_answer(
        &self,
        ctx: &mut Context,
        offer: &Offer,
        answer: &Payloads,
    ) -> Result<Agreement, Rejection> {
        let address = self.remote.ip();
        let protocol = |what| Rejection {
            error: ConnectError::Protocol(address, what),
            delete: true,
        };
        let ke = answer.key_exchange();
        let (spi_out, suite) = answer
            .proposals()
            .and_then(|p| negotiation::accept_child(p, ke.map(|(group, _)| group), offer.protocol))
            .ok_or(protocol("a choice of algorithms that we did not offer"))?;
        let shared = match (suite.group, &offer.key, ke) {
            (None, _, _) => None,
            (Some(group), Some(key), Some((_, public))) if key.group() == group => Some(
                key.agree(public)
                    .map_err(|_| protocol("an invalid public value"))?,
            ),
            _ => return Err(protocol("a key exchange that we did not offer")),
        };
        let mode = match (
            offer.mode,
            answer.notification(NotifyKind::USE_TRANSPORT_MODE),
        ) {
            (Mode::Transport, Some(_)) => Mode::Transport,
            (_, None) => Mode::Tunnel,
            (Mode::Tunnel, Some(_)) => return Err(protocol("transport mode for a tunnel")),
        };
        if offer.mode_fixed && mode != offer.mode {
            return Err(Rejection {
                error: ConnectError::TunnelOnly(self.peer.clone()),
                delete: true,
            });
        }
        // Somebody on the way may have hidden the NAT until the peer had authenticated.
        let crosses_nat = match mode {
            Mode::Tunnel => true,
            Mode::Transport => offer.mode_fixed && !ctx.is_address_of_another(address, &self.peer),
        };
        if self.nat && (!crosses_nat || offer.protocol == ChildProtocol::Ah) {
            return Err(Rejection {
                error: ConnectError::BehindNat(address),
                delete: true,
            });
        }
        let compression = compression::agreed(offer.cpi, answer)
            .map_err(|_| protocol("a compression that we did not offer"))?;
        let selectors = match (answer.ts_i(), answer.ts_r()) {
            (Some(local), Some(remote)) => narrowing::selectors(local, remote),
            _ => return Err(protocol("no traffic selectors")),
        };
        let proposed = |s: &Selector| offer.selectors.iter().any(|asked| asked.contains(s));
        if selectors.is_empty() || !selectors.iter().all(proposed) {
            return Err(Rejection {
                error: ConnectError::TrafficSelectors(self.peer.clone()),
                delete: true,
            });
        }
        if offer.address.is_some() && !self.is_ours_by_assignment(&selectors) {
            return Err(Rejection {
                error: ConnectError::NoAddress(self.peer.clone()),
                delete: true,
            });
        }
        // RFC 4301 §4.4.3: believed only for the addresses that it may protect, or has as a client.
        let ends = (self.local.ip(), address);
        let allowed = ctx.settings.authorize_child(&self.peer, ends, &selectors);
        if let Err(selector) = allowed
            && !self.is_of_client(ctx.settings.gateway.as_ref(), &selectors)
        {
            ctx.counters.not_authorized += 1;
            let peer = self.peer.clone();
            return Err(Rejection {
                error: ConnectError::NotAuthorized { peer, selector },
                delete: true,
            });
        }
        Ok(Agreement {
            suite,
            spi_in: offer.spi,
            spi_out,
            selectors,
            mode,
            compression,
            shared,
        })
    }

    /// As the responder: the payloads that answer, where `ChildUp` has been said, or the error.
    /// `nonces` is `None` where the request and the answer bring their own (`CREATE_CHILD_SA`).
    pub(super) fn answer_child(
        &mut self,
        ctx: &mut Context,
        now: Instant,
        request: &Payloads,
        init: Option<Nonces<'_>>,
        replaces: Option<ChildId>,
    ) -> Result<(ChildId, Vec<Payload>), Notify> {
        let refuse = |kind| Notify::new(kind, []);
        let (Some(proposals), Some(ts_i), Some(ts_r)) =
            (request.proposals(), request.ts_i(), request.ts_r())
        else {
            return Err(refuse(NotifyKind::INVALID_SYNTAX));
        };
        if self.children.len() >= MAX_CHILDREN {
            return Err(refuse(NotifyKind::NO_ADDITIONAL_SAS));
        }
        let ke = request.key_exchange().filter(|_| init.is_none());
        let replaced = replaces.and_then(|old| self.children.get(&old));
        let allowed = match replaced {
            Some(old) => &[old.protocol][..],
            // AH covers the addresses that a NAT translates (RFC 3948 §1).
            None if self.nat => &[ChildProtocol::Esp],
            None => &[ChildProtocol::Esp, ChildProtocol::Ah],
        };
        let chosen = negotiation::choose_child(proposals, ke.map(|(group, _)| group), allowed)
            .map_err(|refusal| refused(ctx, refusal))?;
        let spi_out = <[u8; 4]>::try_from(&chosen.spi[..]).map(u32::from_be_bytes);
        let Some(spi_out) = spi_out.ok().map(Spi).filter(|spi| spi.0 >= Spi::FIRST) else {
            return Err(refuse(NotifyKind::INVALID_SYNTAX));
        };
        let mut payloads = Vec::new();
        let Grant {
            selectors,
            mode,
            names,
        } = self
            .grant(ctx, request, (ts_i, ts_r), replaced)
            .map_err(refuse)?;
        if mode == Mode::Transport {
            payloads.push(Payload::notify(NotifyKind::USE_TRANSPORT_MODE, []));
        }
        let (own_nonce, mut fresh) = (ctx.nonce(), Vec::new());
        let nonces = match init {
            Some(nonces) => nonces,
            None => {
                fresh.push(Payload::Nonce(own_nonce.clone()));
                Nonces {
                    initiator: request.nonce().ok_or(refuse(NotifyKind::INVALID_SYNTAX))?,
                    responder: &own_nonce,
                }
            }
        };
        let shared = match (chosen.suite.group, ke) {
            (Some(group), Some((_, public))) => {
                let key = PrivateKey::draw(group, &mut ctx.rng);
                let shared = key.agree(public);
                fresh.push(Payload::Ke {
                    group: group.id(),
                    data: key.public().to_vec(),
                });
                Some(shared.map_err(|_| refuse(NotifyKind::INVALID_SYNTAX))?)
            }
            _ => None,
        };
        let spi_in = ctx.reserve_spi();
        // What is said between the two hosts themselves, and by nobody else through us.
        let hosts_alone = names.is_some() && mode == Mode::Transport;
        let cpi_out = compression::cpi_in(request).filter(|_| hosts_alone);
        let compression = cpi_out.and_then(|cpi_out| {
            let cpi_in = ctx.reserve_cpi(spi_in)?;
            Some(Compression { cpi_in, cpi_out })
        });
        payloads.extend(compression.map(|c| compression::payload(c.cpi_in)));
        payloads.push(Payload::Sa(vec![Proposal {
            spi: spi_in.0.to_be_bytes().to_vec(),
            ..chosen.answer
        }]));
        payloads.append(&mut fresh);
        let (local, remote) = granting::payloads(&selectors, names);
        payloads.push(Payload::TsI(remote));
        payloads.push(Payload::TsR(local));

        let (keys_in, keys_out) = self
            .keys
            .child(chosen.suite.protection, shared.as_ref(), nonces);
        let agreement = Agreement {
            suite: chosen.suite,
            spi_in,
            spi_out,
            selectors,
            mode,
            compression,
            shared,
        };
        let child = self.child_sa(ctx, agreement, (keys_in, keys_out));
        // A peer of another make says nothing when its first child is in, so waiting would only
        // cost time; it deletes what it has replaced. What is for a VPN client is held nowhere
        // meanwhile, and may as well be sent: the answers to what the client sends at once.
        let gateway = ctx.settings.gateway.as_ref();
        let is_heard = self.ours && !self.is_of_client(gateway, &child.selectors);
        let outbound = if is_heard || replaces.is_some() {
            Outbound::AfterConfirmation
        } else {
            Outbound::Now
        };
        let child = ChildSa { replaces, ..child };
        let origin = (AskedBy::Peer, nonces.initiator.min(nonces.responder));
        Ok((self.adopt(ctx, now, child, outbound, origin), payloads))
    }

    fn child_sa(
        &self,
        ctx: &mut Context,
        agreement: Agreement,
        (keys_in, keys_out): (super::effects::ChildKeys, super::effects::ChildKeys),
    ) -> ChildSa {
        let lifetime = ctx.settings.timing.child_lifetime;
        ChildSa {
            id: ChildId(ctx.next_id()),
            ike: self.id,
            peer: self.peer.clone(),
            request: None,
            replaces: None,
            local: self.local.ip(),
            remote: self.remote.ip(),
            encapsulation: self.nat.then(|| (self.local.port(), self.remote.port())),
            protocol: agreement.suite.protection.protocol(),
            mode: agreement.mode,
            selectors: agreement.selectors,
            spi_in: agreement.spi_in,
            spi_out: agreement.spi_out,
            compression: agreement.compression,
            keys_in,
            keys_out,
            esn: agreement.suite.esn,
            hard_lifetime: (!lifetime.is_zero()).then(|| lifetime + lifetime / 5),
        }
    }

    /// Takes a child among our own, sets its timers and says that it is up.
    fn adopt(
        &mut self,
        ctx: &mut Context,
        now: Instant,
        child: ChildSa,
        outbound: Outbound,
        (asked_by, lowest_nonce): (AskedBy, &[u8]),
    ) -> ChildId {
        let id = child.id;
        if let Some(hard) = child.hard_lifetime {
            let soft = ctx.settings.timing.child_lifetime;
            let soft = ctx.jittered(soft);
            ctx.set_timer(Timer::Rekey(id), now + soft);
            ctx.set_timer(Timer::Expire(id), now + hard);
        }
        if outbound == Outbound::AfterConfirmation {
            self.unconfirmed.push(id);
            if !self.ours {
                ctx.set_timer(Timer::Confirmed(id), now + CONFIRMATION);
            }
        }
        if let Some(old) = child.replaces.and_then(|old| self.children.get_mut(&old)) {
            old.replaced = true;
        }
        self.children.insert(
            id,
            Child {
                id,
                protocol: child.protocol,
                spi_in: child.spi_in,
                spi_out: child.spi_out,
                selectors: child.selectors.clone(),
                mode: child.mode,
                compressed: child.compression.is_some(),
                replaces: child.replaces,
                replaced: false,
                asked_by,
                lowest_nonce: lowest_nonce.to_vec(),
                closing: None,
            },
        );
        ctx.owners.insert(id, self.id);
        if child.mode == Mode::Transport {
            ctx.enter_address(child.remote, &self.peer);
        }
        self.report_up(ctx);
        ctx.emit(Effect::ChildUp {
            child: Box::new(child),
            outbound,
        });
        id
    }

    /// The peer has shown that it can read what we send on children that it asked for.
    pub(super) fn confirm(&mut self, ctx: &mut Context, id: ChildId) {
        if let Some(at) = self.unconfirmed.iter().position(|c| *c == id) {
            self.unconfirmed.remove(at);
            ctx.timers.stop(&Timer::Confirmed(id));
            ctx.emit(Effect::OutboundReady { child: id });
        }
    }

    /// The peer has answered the `INFORMATIONAL` that confirms: it sends on what we asked for.
    pub(super) fn confirm_own(&mut self, ctx: &mut Context) {
        for id in self.unconfirmed.clone() {
            if self
                .children
                .get(&id)
                .is_some_and(|c| c.asked_by == AskedBy::Us)
            {
                self.confirm(ctx, id);
            }
        }
    }

    /// A peer's own answers to `ICMPv6` echo requests are not held while it cannot send: Linux
    /// looks their route up without asking for the queue. So over IPv6 nothing is sent before it
    /// can, at the price of a round trip.
    fn waits_to_be_heard(&self, selectors: &[Selector]) -> bool {
        self.ours && selectors.iter().any(|s| s.family() == Family::V6)
    }

    /// Nothing will ever be sent on this child: it lost against another.
    pub(super) fn never_confirm(&mut self, ctx: &mut Context, id: ChildId) {
        self.unconfirmed.retain(|c| *c != id);
        ctx.timers.stop(&Timer::Confirmed(id));
    }

    /// Forgets a child and says so.
    pub(super) fn drop_child(&mut self, ctx: &mut Context, id: ChildId, reason: DownReason) {
        let Some(child) = self.children.remove(&id) else {
            return;
        };
        self.never_confirm(ctx, id);
        ctx.timers.stop(&Timer::Rekey(id));
        ctx.timers.stop(&Timer::Expire(id));
        ctx.timers.stop(&Timer::RedundantChild(id));
        ctx.release_spi(child.spi_in);
        ctx.owners.remove(&id);
        if child.mode == Mode::Transport {
            ctx.leave_address(self.remote.ip(), &self.peer);
        }
        ctx.emit(Effect::ChildDown { child: id, reason });
    }

    /// The child whose other end receives on `spi`. ESP and AH number their SAs apart.
    pub(super) fn child_sent_on(&self, protocol: ProtocolId, spi: Spi) -> Option<&Child> {
        let mut all = self.children.values();
        all.find(|c| c.spi_out == spi && c.protocol.id() == protocol)
    }

    /// Why the peer deletes a child of ours that it need not explain.
    pub(super) fn reason_of_delete(&self, child: &Child) -> DownReason {
        let has_rival = self
            .children
            .values()
            .any(|c| c.id != child.id && c.replaces.is_some() && c.replaces == child.replaces);
        match &child.closing {
            Some(reason) => reason.clone(),
            None if child.replaced => DownReason::Replaced,
            None if has_rival => DownReason::Redundant,
            None => DownReason::DeletedByPeer,
        }
    }
}

fn refused(ctx: &mut Context, refusal: Refusal) -> Notify {
    match refusal {
        Refusal::NoProposalChosen => {
            ctx.counters.no_proposal_chosen += 1;
            Notify::new(NotifyKind::NO_PROPOSAL_CHOSEN, [])
        }
        Refusal::WrongGroup(group) => {
            ctx.counters.invalid_ke += 1;
            Notify::new(NotifyKind::INVALID_KE_PAYLOAD, group.id().to_be_bytes())
        }
    }
}

/// What an error notification means for whoever wanted the child.
pub(super) fn meaning_of(notify: &Notify, sa: &IkeSa) -> ConnectError {
    match notify.kind {
        NotifyKind::NO_PROPOSAL_CHOSEN => ConnectError::NoProposalChosen(sa.remote.ip()),
        NotifyKind::INTERNAL_ADDRESS_FAILURE => ConnectError::NoAddress(sa.peer.clone()),
        NotifyKind::FAILED_CP_REQUIRED => ConnectError::AddressDemanded(sa.peer.clone()),
        NotifyKind::TS_UNACCEPTABLE => ConnectError::TrafficSelectors(sa.peer.clone()),
        NotifyKind(code) => ConnectError::Refused {
            peer: sa.peer.clone(),
            code,
        },
    }
}
