//! `INFORMATIONAL` (RFC 7296 §1.4): Delete, liveness, and the empty one.
//!
//! ```text
//! HDR, SK {[N,] [D,] ...}  -->
//!                          <--  HDR, SK {[N,] [D,] ...}
//! ```

use super::{Awaiting, Task};
use crate::ike::child_sa::Inbound;
use crate::ike::context::Context;
use crate::ike::effects::{ChildId, DownReason};
use crate::ike::sa::IkeSa;
use crate::ike::wire::notify::Delete;
use crate::ike::wire::{Exchange, NotifyKind, Payload, Payloads, ProtocolId};
use crate::net::Spi;
use std::time::Instant;

/// What the peer's request leaves of the IKE SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ike) enum Rest {
    Lives,
    DeletedByPeer,
}

impl From<Inbound> for Delete {
    fn from(inbound: Inbound) -> Self {
        Self::Child {
            protocol: inbound.protocol.id(),
            spis: vec![inbound.spi],
        }
    }
}

impl IkeSa {
    // --- asking ---------------------------------------------------------------------------------

    fn inform(&mut self, ctx: &mut Context, now: Instant, delete: Option<Delete>, next: Awaiting) {
        let payloads = delete.map(Payload::Delete).into_iter().collect();
        self.send(ctx, now, Exchange::INFORMATIONAL, payloads, next);
    }

    pub(super) fn delete_child(
        &mut self,
        ctx: &mut Context,
        now: Instant,
        id: ChildId,
        reason: DownReason,
    ) {
        // Gone meanwhile: the peer deleted it first.
        let Some(child) = self.children.get(&id) else {
            return;
        };
        let delete = child.inbound().into();
        self.inform(ctx, now, Some(delete), Awaiting::ChildDeleted(id, reason));
    }

    pub(super) fn delete_spi(&mut self, ctx: &mut Context, now: Instant, inbound: Inbound) {
        self.inform(ctx, now, Some(inbound.into()), Awaiting::Nothing);
    }

    pub(super) fn delete_ike(&mut self, ctx: &mut Context, now: Instant) {
        self.inform(ctx, now, Some(Delete::Ike), Awaiting::IkeDeleted);
    }

    pub(super) fn probe(&mut self, ctx: &mut Context, now: Instant) {
        self.inform(ctx, now, None, Awaiting::Nothing);
    }

    /// Queues the end of a child; it stays in use until the peer has answered.
    pub(in crate::ike) fn retire_child(&mut self, id: ChildId, reason: DownReason) {
        if let Some(child) = self.children.get_mut(&id)
            && child.closing.is_none()
        {
            child.closing = Some(reason.clone());
            self.waiting.push_back(Task::DeleteChild(id, reason));
        }
    }

    // --- answering ------------------------------------------------------------------------------

    pub(in crate::ike) fn on_informational(
        &mut self,
        ctx: &mut Context,
        request: &Payloads,
    ) -> (Vec<Payload>, Rest) {
        let mut ours: Vec<Delete> = Vec::new();
        let mut rest = Rest::Lives;
        for delete in request.deletes() {
            match delete {
                Delete::Ike => rest = Rest::DeletedByPeer,
                Delete::Child { protocol, spis } => {
                    let deleted = spis.iter();
                    let spis: Vec<Spi> = deleted
                        .filter_map(|spi| self.peer_deletes(ctx, *protocol, *spi))
                        .collect();
                    if !spis.is_empty() {
                        let protocol = *protocol;
                        ours.push(Delete::Child { protocol, spis });
                    }
                }
                Delete::Other { .. } => {}
            }
        }
        // The peer could not believe us (RFC 7296 §2.21.2): nobody is left at the other end.
        if request
            .notification(NotifyKind::AUTHENTICATION_FAILED)
            .is_some()
        {
            ctx.counters.authentication_failed += 1;
            rest = Rest::DeletedByPeer;
        }
        // An answer to the deletion of the IKE SA itself is empty (§1.4.1).
        if rest == Rest::DeletedByPeer {
            ours.clear();
        }
        (ours.into_iter().map(Payload::Delete).collect(), rest)
    }

    /// The peer no longer receives on `spi`. The other half of the pair goes as well; our SPI, to
    /// be named in the answer unless our own Delete has named it already (§1.4.1).
    fn peer_deletes(&mut self, ctx: &mut Context, protocol: ProtocolId, spi: Spi) -> Option<Spi> {
        let child = self.child_sent_on(protocol, spi)?;
        let (id, own, reason) = (child.id, child.spi_in, self.reason_of_delete(child));
        let named = self.in_flight.as_ref().is_some_and(
            |f| matches!(f.awaiting, Awaiting::ChildDeleted(deleted, _) if deleted == id),
        );
        self.drop_child(ctx, id, reason);
        (!named).then_some(own)
    }
}
