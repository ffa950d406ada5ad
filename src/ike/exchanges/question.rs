//! Questions between agents, in an `INFORMATIONAL` exchange (RFC 7296 §1.4) with one notification of
//! private use. What is asked is not looked into.
//!
//! ```text
//! HDR, SK {N(QUESTION), ...}  -->   Asked ─→ agent
//!                                            answer
//!                             <--  HDR, SK {[N(QUESTION),] ...}
//! ```
//!
//! The answer is deferred until the agent gives it. Meanwhile the peer's window of one request is
//! taken: the request that comes again is passed over, and a later one is outside.

use super::{Awaiting, Task};
use crate::ike::context::{Context, Timer};
use crate::ike::effects::{AskError, Effect, Token};
use crate::ike::sa::IkeSa;
use crate::ike::settings::{MAX_DATA, Question, QuestionId};
use crate::ike::wire::{Exchange, NotifyKind, Payload, Payloads};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Questions that wait for their turn on one IKE SA.
const MAX_WAITING: usize = 64;

/// The agent has this long; then the peer is told that nothing is known.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A peer's question that the agent has not answered yet.
#[derive(Debug)]
pub(in crate::ike) struct Deferred {
    token: Token,
    at: (SocketAddr, SocketAddr),
    /// What the answer says besides.
    payloads: Vec<Payload>,
}

fn notification(message: &Payloads) -> Option<&[u8]> {
    let notify = message.notification(NotifyKind::QUESTION);
    notify
        .map(|n| &n.data[..])
        .filter(|data| data.len() <= MAX_DATA)
}

impl IkeSa {
    // --- asking ---------------------------------------------------------------------------------

    /// Queues a question.
    pub(in crate::ike) fn enqueue(&mut self, ctx: &mut Context, now: Instant, question: Question) {
        let waits = |task: &&Task| matches!(task, Task::Ask(_));
        let fail = |error| Effect::AskFailed {
            id: question.id,
            error,
        };
        if question.data.len() > MAX_DATA {
            ctx.emit(fail(AskError::TooLong(question.data.len())));
        } else if self.waiting.iter().filter(waits).count() >= MAX_WAITING {
            ctx.emit(fail(AskError::Busy(self.peer.clone())));
        } else if self.ours {
            self.report_up(ctx);
            self.last_question = Some(now);
            self.waiting.push_back(Task::Ask(question));
        } else {
            // The notification would mean something else to another make.
            let (id, data) = (question.id, None);
            ctx.emit(Effect::Answered { id, data });
        }
    }

    pub(super) fn ask(&mut self, ctx: &mut Context, now: Instant, question: Question) {
        let payloads = vec![Payload::notify(NotifyKind::QUESTION, question.data)];
        let awaiting = Awaiting::Answer(question.id);
        self.send(ctx, now, Exchange::INFORMATIONAL, payloads, awaiting);
    }

    pub(in crate::ike) fn on_answer(
        &mut self,
        ctx: &mut Context,
        now: Instant,
        id: QuestionId,
        answer: &Payloads,
    ) {
        self.last_question = Some(now);
        let data = notification(answer).map(<[u8]>::to_vec);
        ctx.emit(Effect::Answered { id, data });
    }

    // --- answering ------------------------------------------------------------------------------

    /// Whether the request asks something that will be answered: then `answer` waits for it.
    pub(in crate::ike) fn defer(
        &mut self,
        ctx: &mut Context,
        now: Instant,
        at: (SocketAddr, SocketAddr),
        request: &Payloads,
        answer: &mut Vec<Payload>,
    ) -> bool {
        let Some(data) = notification(request).filter(|_| self.ours && self.is_established())
        else {
            return false;
        };
        let token = Token(ctx.next_id());
        self.last_question = Some(now);
        self.deferred = Some(Deferred {
            token,
            at,
            payloads: std::mem::take(answer),
        });
        ctx.set_timer(Timer::Answer(self.id), now + ANSWER_WITHIN);
        self.report_up(ctx);
        ctx.emit(Effect::Asked {
            ike: self.id,
            token,
            peer: self.peer.clone(),
            local: self.local,
            remote: self.remote,
            nat: self.nat,
            data: data.to_vec(),
        });
        true
    }

    /// Answers the question that waits, if it is this one; `None` says that nothing is known.
    pub(in crate::ike) fn answer(
        &mut self,
        ctx: &mut Context,
        token: Token,
        data: Option<Vec<u8>>,
    ) {
        if let Some(deferred) = self.deferred.take_if(|d| d.token == token) {
            self.end_deferral(ctx, deferred, data);
        }
    }

    /// Answers whatever waits with nothing.
    pub(in crate::ike) fn answer_nothing(&mut self, ctx: &mut Context) {
        if let Some(deferred) = self.deferred.take() {
            self.end_deferral(ctx, deferred, None);
        }
    }

    fn end_deferral(&mut self, ctx: &mut Context, deferred: Deferred, data: Option<Vec<u8>>) {
        ctx.timers.stop(&Timer::Answer(self.id));
        let mut payloads = deferred.payloads;
        let data = data.filter(|data| data.len() <= MAX_DATA);
        payloads.extend(data.map(|data| Payload::notify(NotifyKind::QUESTION, data)));
        self.respond(ctx, deferred.at, Exchange::INFORMATIONAL, payloads);
    }
}
