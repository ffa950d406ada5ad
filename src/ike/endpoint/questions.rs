//! What agents ask each other, over the IKE SA that they have.

use super::Endpoint;
use crate::ike::effects::{AskError, Effect, IkeId, Token};
use crate::ike::settings::Question;
use crate::net::Identity;
use std::time::Instant;

impl Endpoint {
    /// Asks the agent at the other end. Ends in exactly one `Answered` or `AskFailed` with the
    /// question's number: at once where there is no IKE SA with the peer between these addresses.
    pub fn ask(&mut self, now: Instant, question: Question) {
        let Some(id) = self.sa_with(&question.peer, question.local, question.remote) else {
            let error = AskError::NotInContact(question.peer);
            let id = question.id;
            self.ctx.emit(Effect::AskFailed { id, error });
            return;
        };
        if let Some(sa) = self.sas.get_mut(&id) {
            sa.enqueue(&mut self.ctx, now, question);
        }
        self.settle(now, id);
    }

    /// Answers a question that `Asked` told of; `None`, or more than `MAX_DATA` octets, says that
    /// nothing is known. Ignored where the question has been answered, or its IKE SA has gone.
    pub fn answer(&mut self, now: Instant, ike: IkeId, token: Token, data: Option<Vec<u8>>) {
        if let Some(sa) = self.sas.get_mut(&ike) {
            sa.answer(&mut self.ctx, token, data);
        }
        self.settle(now, ike);
    }

    /// While a peer is held, an IKE SA with it is not closed for want of children. Holds for those
    /// to come as well.
    pub fn hold(&mut self, now: Instant, peer: &Identity, held: bool) {
        let changed = if held {
            self.ctx.held.insert(peer.clone())
        } else {
            self.ctx.held.remove(peer)
        };
        if changed {
            let theirs = self.sas.values().filter(|sa| sa.peer == *peer);
            for id in theirs.map(|sa| sa.id).collect::<Vec<_>>() {
                self.settle(now, id);
            }
        }
    }

    /// The agent has not answered in time.
    pub(super) fn on_answer_timeout(&mut self, now: Instant, id: IkeId) {
        if let Some(sa) = self.sas.get_mut(&id) {
            sa.answer_nothing(&mut self.ctx);
        }
        self.settle(now, id);
    }
}
