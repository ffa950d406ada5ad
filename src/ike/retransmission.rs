//! When a request is sent again, and when it is given up (RFC 7296 §2.4).

use super::settings::Timing;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    next: Instant,
    interval: Duration,
    give_up: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    SendAgain,
    GiveUp,
    /// Nobody listened for so long that silence means nothing: the process was stopped. What is
    /// sent again has another chance; what the peer keeps only for a while, it may have forgotten.
    Interrupted,
}

impl Backoff {
    pub(super) fn start(now: Instant, timing: &Timing) -> Self {
        Self {
            next: now + timing.retransmit,
            interval: timing.retransmit,
            give_up: now + timing.give_up,
        }
    }

    /// When to ask [`Backoff::expire`].
    pub(super) fn deadline(&self) -> Instant {
        self.next.min(self.give_up)
    }

    pub(super) fn expire(&mut self, now: Instant, timing: &Timing) -> Verdict {
        let late = now.saturating_duration_since(self.deadline());
        if late > timing.retransmit_max {
            // The time that was missed, and one interval for an answer.
            self.give_up += late + timing.retransmit_max;
            self.restart(now, timing);
            return Verdict::Interrupted;
        }
        if now >= self.give_up {
            return Verdict::GiveUp;
        }
        self.interval = (self.interval * 2).min(timing.retransmit_max);
        self.next = now + self.interval;
        Verdict::SendAgain
    }

    /// Something new is to be said: frequent again, with the end where it was.
    pub(super) fn restart(&mut self, now: Instant, timing: &Timing) {
        self.interval = timing.retransmit;
        self.next = now + self.interval;
    }

    /// Brings the end forward.
    pub(super) fn give_up_by(&mut self, at: Instant) {
        self.give_up = self.give_up.min(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_double_to_their_bound_and_end() {
        let timing = Timing {
            retransmit: Duration::from_secs(1),
            retransmit_max: Duration::from_secs(4),
            give_up: Duration::from_secs(12),
            ..Timing::default()
        };
        let start = Instant::now();
        let mut backoff = Backoff::start(start, &timing);
        let mut sent = Vec::new();
        loop {
            let at = backoff.deadline();
            if backoff.expire(at, &timing) == Verdict::GiveUp {
                assert_eq!((at - start).as_secs(), 12);
                break;
            }
            sent.push((at - start).as_secs());
        }
        assert_eq!(sent, [1, 3, 7, 11]);
    }

    #[test]
    fn time_in_which_nobody_listened_is_no_silence() {
        let timing = Timing {
            retransmit: Duration::from_secs(1),
            retransmit_max: Duration::from_secs(2),
            give_up: Duration::from_secs(4),
            ..Timing::default()
        };
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut backoff = Backoff::start(start, &timing);
        assert_eq!(backoff.expire(after(1), &timing), Verdict::SendAgain);
        // Due after three seconds, looked at after a hundred.
        assert_eq!(backoff.expire(after(100), &timing), Verdict::Interrupted);
        assert_eq!(backoff.deadline(), after(101));
        assert_eq!(backoff.expire(after(101), &timing), Verdict::SendAgain);
        assert_eq!(backoff.expire(after(103), &timing), Verdict::GiveUp);
    }
}
