//! `CREATE_CHILD_SA` in place of the IKE SA (RFC 7296 §1.3.2, §2.18), as its responder. This agent
//! never asks for it: its IKE SAs send a few messages an hour.
//!
//! ```text
//! HDR, SK {SA, Ni, KEi}  -->
//!                   <--  HDR, SK {SA, Nr, KEr}
//! ```

use crate::ike::context::Context;
use crate::ike::crypto::keymat::Nonces;
use crate::ike::crypto::{IkeKeys, PrivateKey};
use crate::ike::negotiation::{self, Refusal};
use crate::ike::sa::IkeSa;
use crate::ike::wire::{Notify, NotifyKind, Payload, Payloads, Proposal, ProtocolId};

/// What takes the place of the old SPIs and keys. The peer is its initiator.
#[derive(Debug)]
pub(in crate::ike) struct Replacement {
    pub(in crate::ike) spi_i: u64,
    pub(in crate::ike) spi_r: u64,
    pub(in crate::ike) keys: IkeKeys,
}

pub(in crate::ike) fn is_asked_for(request: &Payloads) -> bool {
    request
        .proposals()
        .is_some_and(|list| list.iter().any(|p| p.protocol == ProtocolId::IKE))
}

impl IkeSa {
    pub(in crate::ike) fn on_rekey_ike(
        &self,
        ctx: &mut Context,
        request: &Payloads,
        own_spi: u64,
    ) -> Result<(Vec<Payload>, Replacement), Notify> {
        let refuse = |kind| Notify::new(kind, []);
        let (Some(proposals), Some((group, public)), Some(nonce)) =
            (request.proposals(), request.key_exchange(), request.nonce())
        else {
            return Err(refuse(NotifyKind::INVALID_SYNTAX));
        };
        // A request of ours would still speak for the old one (§2.25.2).
        if self.in_flight.is_some() || !self.is_established() {
            return Err(refuse(NotifyKind::TEMPORARY_FAILURE));
        }
        let chosen =
            negotiation::choose_ike(proposals, 8, group).map_err(|refusal| match refusal {
                Refusal::NoProposalChosen => refuse(NotifyKind::NO_PROPOSAL_CHOSEN),
                Refusal::WrongGroup(g) => {
                    Notify::new(NotifyKind::INVALID_KE_PAYLOAD, g.id().to_be_bytes())
                }
            })?;
        let peer_spi = <[u8; 8]>::try_from(&chosen.spi[..]).map(u64::from_be_bytes);
        let Some(spi_i) = peer_spi.ok().filter(|spi| *spi != 0) else {
            return Err(refuse(NotifyKind::INVALID_SYNTAX));
        };
        let key = PrivateKey::draw(chosen.suite.group, &mut ctx.rng);
        let shared = key
            .agree(public)
            .map_err(|_| refuse(NotifyKind::INVALID_SYNTAX))?;
        let own_nonce = ctx.nonce();
        let nonces = Nonces {
            initiator: nonce,
            responder: &own_nonce,
        };
        let suite = chosen.suite;
        let spis = (spi_i, own_spi);
        let keys = IkeKeys::rekeyed(&self.keys, suite.prf, suite.cipher, &shared, nonces, spis);
        let payloads = vec![
            Payload::Sa(vec![Proposal {
                spi: own_spi.to_be_bytes().to_vec(),
                ..chosen.answer
            }]),
            Payload::Nonce(own_nonce),
            Payload::Ke {
                group: suite.group.id(),
                data: key.public().to_vec(),
            },
        ];
        let replacement = Replacement {
            spi_i,
            spi_r: own_spi,
            keys,
        };
        Ok((payloads, replacement))
    }
}
