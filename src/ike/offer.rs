//! What we ask a peer for when we want a child SA (RFC 7296 §1.2, §1.3).

use super::child_sa::{Child, Inbound};
use super::context::{Context, Wanted};
use super::crypto::{Group, PrivateKey};
use super::effects::ChildId;
use super::settings::{AddressRequest, ChildProtocol, Mode, RequestId};
use super::wire::{NotifyKind, Payload};
use super::{compression, configuration, narrowing, negotiation};
use crate::net::{Cpi, Flow, Selector, Spi};

/// What we asked the peer for, kept until it answers.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) purpose: Purpose,
    pub(super) selectors: Vec<Selector>,
    flow: Option<Flow>,
    pub(super) mode: Mode,
    /// Another mode than this will not do.
    pub(super) mode_fixed: bool,
    pub(super) protocol: ChildProtocol,
    /// Only for an address that the peer gives us.
    pub(super) address: Option<AddressRequest>,
    pub(super) spi: Spi,
    /// Where we would receive compressed packets.
    pub(super) cpi: Option<Cpi>,
    pub(super) nonce: Vec<u8>,
    /// Our half of a key exchange of its own; `IKE_AUTH` has none.
    pub(super) key: Option<PrivateKey>,
}

#[derive(Debug)]
pub(super) enum Purpose {
    New(Wanted),
    Replace {
        old: ChildId,
        /// The peer replaced it at the same time: its child, and the lower of the nonces that
        /// made it.
        rival: Option<(ChildId, Vec<u8>)>,
    },
}

impl Offer {
    /// `nonce` is that of `IKE_SA_INIT` where `IKE_AUTH` carries the offer, and `group` is `None`.
    pub(super) fn new(
        ctx: &mut Context,
        wanted: Wanted,
        nonce: Vec<u8>,
        group: Option<Group>,
        nat: bool,
    ) -> Self {
        let connect = &wanted.connect;
        // Behind a NAT the two ends do not agree about the addresses (RFC 7296 §2.23.1): only
        // a contact puts its own in their place.
        let mode = if nat && !connect.transport_only {
            Mode::Tunnel
        } else {
            connect.mode
        };
        let spi = ctx.reserve_spi();
        let compresses = connect.compression && mode == Mode::Transport;
        Self {
            selectors: connect.selectors.clone(),
            flow: connect.flow,
            mode,
            mode_fixed: connect.transport_only,
            protocol: connect.protocol,
            address: connect.address.clone(),
            spi,
            cpi: compresses.then(|| ctx.reserve_cpi(spi)).flatten(),
            key: group.map(|g| PrivateKey::draw(g, &mut ctx.rng)),
            nonce,
            purpose: Purpose::New(wanted),
        }
    }

    /// Compression is offered again where it was declined: the peer may have learned.
    pub(super) fn replacing(ctx: &mut Context, old: &Child, group: Group) -> Self {
        let spi = ctx.reserve_spi();
        Self {
            purpose: Purpose::Replace {
                old: old.id,
                rival: None,
            },
            selectors: old.selectors.clone(),
            flow: None,
            mode: old.mode,
            mode_fixed: true,
            protocol: old.protocol,
            address: None,
            spi,
            cpi: old.compressed.then(|| ctx.reserve_cpi(spi)).flatten(),
            nonce: ctx.nonce(),
            key: Some(PrivateKey::draw(group, &mut ctx.rng)),
        }
    }

    /// The same wish with a key exchange in the group that the peer asked for.
    pub(super) fn in_group(self, ctx: &mut Context, group: Group) -> Self {
        Self {
            key: Some(PrivateKey::draw(group, &mut ctx.rng)),
            nonce: ctx.nonce(),
            ..self
        }
    }

    /// Whom the child is reported to.
    pub(super) fn set_request(&mut self, request: Option<RequestId>) {
        if let Purpose::New(wanted) = &mut self.purpose {
            wanted.request = request;
        }
    }

    /// Where the child will receive.
    pub(super) fn inbound(&self) -> Inbound {
        Inbound {
            protocol: self.protocol,
            spi: self.spi,
        }
    }

    pub(super) fn group(&self) -> Option<Group> {
        self.key.as_ref().map(PrivateKey::group)
    }

    pub(super) fn payloads(&self) -> Vec<Payload> {
        let mut list = Vec::new();
        if self.mode == Mode::Transport {
            list.push(Payload::notify(NotifyKind::USE_TRANSPORT_MODE, []));
        }
        list.extend(self.cpi.map(compression::payload));
        match &self.key {
            None => {
                // Asked for once, when the IKE SA is made (RFC 7296 §2.19).
                let wanted = self.address.iter();
                list.extend(wanted.map(|a| configuration::request(a, &self.selectors)));
                let offer = negotiation::offer_first_child(self.protocol, self.spi);
                list.push(Payload::Sa(offer));
            }
            Some(key) => {
                let offer = negotiation::offer_child(self.protocol, self.spi);
                list.push(Payload::Sa(offer));
                list.push(Payload::Nonce(self.nonce.clone()));
                list.push(Payload::Ke {
                    group: key.group().id(),
                    data: key.public().to_vec(),
                });
            }
        }
        let (local, remote) = narrowing::proposal(&self.selectors, self.flow.as_ref());
        list.push(Payload::TsI(local));
        list.push(Payload::TsR(remote));
        list
    }
}
