//! The exchanges, one a file: how each begins, is answered, and ends.
//!
//! | file | exchange | RFC 7296 |
//! | --- | --- | --- |
//! | [`init`] | `IKE_SA_INIT` | §1.2, §2.6, §2.7 |
//! | [`auth`] | `IKE_AUTH` | §1.2, §2.15 |
//! | [`create_child`] | `CREATE_CHILD_SA` for a child, new or in place of another | §1.3.1, §1.3.3, §2.8 |
//! | [`rekey_ike`] | `CREATE_CHILD_SA` in place of the IKE SA, as responder | §1.3.2, §2.18 |
//! | [`informational`] | `INFORMATIONAL` | §1.4 |
//! | [`question`] | `INFORMATIONAL` between agents | §1.4 |

pub(super) mod auth;
pub(super) mod create_child;
pub(super) mod informational;
pub(super) mod init;
pub(super) mod question;
pub(super) mod rekey_ike;

use super::child_sa::Inbound;
use super::context::{Context, Wanted};
use super::effects::{ChildId, DownReason};
use super::offer::{Offer, Purpose};
use super::sa::IkeSa;
use super::settings::{Question, QuestionId};
use std::time::Instant;

/// Something to be asked of the peer, when its turn comes.
#[derive(Debug)]
pub(super) enum Task {
    Create(Wanted),
    Rekey(ChildId),
    /// The child stays in use until the peer has answered; then `reason` is reported.
    DeleteChild(ChildId, DownReason),
    /// A child that we have forgotten or never had.
    DeleteSpi(Inbound),
    DeleteIke,
    /// An empty `INFORMATIONAL`: confirms a child, or asks whether the peer lives.
    Probe,
    Ask(Question),
}

/// What the answer to the request in flight will end.
#[derive(Debug)]
pub(super) enum Awaiting {
    Child(Box<Offer>),
    ChildDeleted(ChildId, DownReason),
    IkeDeleted,
    Answer(QuestionId),
    /// Only that there is an answer.
    Nothing,
}

impl Task {
    pub(super) fn question(&self) -> Option<QuestionId> {
        match self {
            Self::Ask(question) => Some(question.id),
            _ => None,
        }
    }

    pub(super) fn into_wanted(self) -> Option<Wanted> {
        match self {
            Self::Create(wanted) => Some(wanted),
            _ => None,
        }
    }
}

impl Awaiting {
    pub(super) fn question(&self) -> Option<QuestionId> {
        match self {
            Self::Answer(id) => Some(*id),
            _ => None,
        }
    }

    pub(super) fn wanted(&mut self) -> Option<&mut Wanted> {
        match self {
            Self::Child(offer) => match &mut offer.purpose {
                Purpose::New(wanted) => Some(wanted),
                Purpose::Replace { .. } => None,
            },
            _ => None,
        }
    }

    /// Gives the SPI back; what was wanted may be tried elsewhere.
    pub(super) fn into_wanted(self, ctx: &mut Context) -> Option<Wanted> {
        match self {
            Self::Child(offer) => {
                ctx.release_spi(offer.spi);
                match offer.purpose {
                    Purpose::New(wanted) => Some(wanted),
                    Purpose::Replace { .. } => None,
                }
            }
            _ => None,
        }
    }
}

impl IkeSa {
    /// Sends the next request that still makes sense, if none is in flight.
    pub(super) fn advance(&mut self, ctx: &mut Context, now: Instant) {
        while self.in_flight.is_none() {
            match self.waiting.pop_front() {
                None => break,
                Some(Task::Create(wanted)) => self.ask_for_child(ctx, now, wanted),
                Some(Task::Rekey(old)) => self.ask_for_replacement(ctx, now, old),
                Some(Task::DeleteChild(id, reason)) => self.delete_child(ctx, now, id, reason),
                Some(Task::DeleteSpi(inbound)) => self.delete_spi(ctx, now, inbound),
                Some(Task::DeleteIke) => self.delete_ike(ctx, now),
                Some(Task::Probe) => self.probe(ctx, now),
                Some(Task::Ask(question)) => self.ask(ctx, now, question),
            }
        }
    }
}
