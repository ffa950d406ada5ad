//! What happens when nothing happens.

use super::Endpoint;
use crate::ike::context::{AttemptId, Timer};
use crate::ike::effects::{ChildId, ConnectError, DownReason, IkeId};
use crate::ike::exchanges::Task;
use crate::ike::retransmission::Verdict;
use crate::ike::simultaneous;
use std::time::{Duration, Instant};

/// A child of a peer that rests is replaced this much later, or later still.
const RESTING: Duration = Duration::from_secs(60);

impl Endpoint {
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.ctx.timers.expired(now) {
            match timer {
                Timer::Attempt(id) => self.on_attempt_timeout(now, id),
                Timer::HalfOpen(spi) => {
                    let expired = self.half_open.forget(spi);
                    self.ctx.counters.half_open_expired += u64::from(expired);
                }
                Timer::Agreement(spi) => {
                    if let Some(entry) = self.half_open.entry_mut(spi) {
                        entry.agree();
                    }
                }
                Timer::Key => self.ctx.prepare_key(),
                Timer::Request(id) => self.on_request_timeout(now, id),
                Timer::Liveness(id) => self.on_liveness_timeout(now, id),
                Timer::Awake(id) => {
                    if let Some(sa) = self.sas.get_mut(&id)
                        && sa.is_established()
                        && !self.ctx.resting.contains(&sa.peer)
                    {
                        sa.waiting.push_back(Task::Probe);
                    }
                    self.settle(now, id);
                }
                Timer::Idle(id) => self.on_idle_timeout(now, id),
                Timer::Postponed(id) => {
                    if let Some(sa) = self.sas.get_mut(&id) {
                        let again = std::mem::take(&mut sa.postponed);
                        sa.waiting.extend(again.into_iter().map(Task::Create));
                    }
                    self.settle(now, id);
                }
                Timer::Answer(id) => self.on_answer_timeout(now, id),
                Timer::Redundant(id) => simultaneous::close_if_covered(self, now, id),
                Timer::RedundantChild(child) => {
                    self.with_owner(now, child, |sa, _| {
                        simultaneous::retire_if_redundant(sa, child);
                    });
                }
                Timer::Rekey(child) if self.rests(child) => {
                    self.ctx.set_timer(Timer::Rekey(child), now + RESTING);
                }
                Timer::Rekey(child) => self.rekey_child(now, child),
                Timer::Expire(child) => self.close_child(now, child, DownReason::Expired),
                Timer::Confirmed(child) => {
                    self.with_owner(now, child, |sa, ctx| sa.confirm(ctx, child));
                }
            }
        }
    }

    fn rests(&self, child: ChildId) -> bool {
        let owner = self.ctx.owners.get(&child);
        let sa = owner.and_then(|id| self.sas.get(id));
        sa.is_some_and(|sa| self.ctx.resting.contains(&sa.peer))
    }

    fn on_attempt_timeout(&mut self, now: Instant, id: AttemptId) {
        let Some(attempt) = self.attempts.get_mut(&id) else {
            return;
        };
        match attempt.backoff.expire(now, &self.ctx.settings.timing) {
            Verdict::SendAgain => attempt.retransmit(&mut self.ctx),
            // The peer may have forgotten its half-open SA, and would say nothing to `IKE_AUTH`.
            Verdict::Interrupted => {
                for wanted in self.dissolve_attempts(now, |a| a.id == id) {
                    self.want_again(now, wanted, ConnectError::Cancelled);
                }
            }
            Verdict::GiveUp => {
                self.ctx.counters.unanswered += 1;
                let Some(attempt) = self.take_attempt(id) else {
                    return;
                };
                let silence = ConnectError::NoAnswer(attempt.remote.ip());
                let error = attempt.explanation.clone().unwrap_or(silence);
                let (wishes, unwanted) = attempt.dissolve(&mut self.ctx);
                for wanted in wishes {
                    self.ctx.fail(&wanted, error.clone());
                }
                self.dismiss(now, unwanted);
            }
        }
    }

    fn on_request_timeout(&mut self, now: Instant, id: IkeId) {
        let Some(sa) = self.sas.get_mut(&id) else {
            return;
        };
        if sa.retransmit(&mut self.ctx, now) == Some(Verdict::GiveUp) {
            self.ctx.counters.unanswered += 1;
            self.lose(now, id, &DownReason::PeerSilent);
        }
    }

    fn on_liveness_timeout(&mut self, now: Instant, id: IkeId) {
        let settings = &self.ctx.settings;
        if let Some(sa) = self.sas.get_mut(&id)
            && let liveness = sa.liveness(settings)
            && !liveness.is_zero()
            && now >= sa.heard + liveness
        {
            // Whatever is in flight asks as well.
            if sa.in_flight.is_none() && !self.ctx.resting.contains(&sa.peer) {
                sa.waiting.push_back(Task::Probe);
            }
            self.ctx.set_timer(Timer::Liveness(id), now + liveness);
        }
        self.settle(now, id);
    }

    fn on_idle_timeout(&mut self, now: Instant, id: IkeId) {
        match self.sas.get(&id) {
            Some(sa) if !sa.is_established() => self.forget(id),
            Some(sa) if sa.is_idle() && !self.ctx.held.contains(&sa.peer) => {
                self.end(now, id, &DownReason::Closed);
            }
            _ => {}
        }
    }
}
