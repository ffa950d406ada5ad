//! When a request may be sent, and when again.
//!
//! RFC 5944 §3.6.3 lets at least a second pass before an unanswered request is followed by another
//! one. It says so of every `Registration Request`: with timestamps a repetition has a new
//! identification and is a new request, with nonces it is the same octets again, and the second holds
//! for both. So the first repetition is not sent sooner. What may be sent at once is the first
//! request over a new attachment, since that follows an indication of the link (§3.6), and one that
//! an answer has asked for. Both together stay below one a second on average (§2.4.2).

use std::time::{Duration, Instant};

/// RFC 5944 §3.6.3: the least time between requests.
pub const LEAST: Duration = Duration::from_secs(1);
/// Doubling ends here. A network that comes back without a link event is found this soon.
pub const MOST: Duration = Duration::from_secs(8);
/// RFC 5944 §3.6.3: allowance for the work on a message, beside two round trips.
const WORK: Duration = Duration::from_millis(100);
/// Requests at once, after seconds without any: a move with its copies, and the next move with its first.
const BURST: u32 = 6;

/// How often requests leave on average.
#[derive(Clone, Debug)]
pub struct Allowance {
    /// When all of `BURST` could be sent.
    full_at: Instant,
}

impl Allowance {
    pub fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// The first instant, not before `now`, at which a request may be sent.
    pub fn next(&self, now: Instant) -> Instant {
        match self.full_at.checked_sub(LEAST * (BURST - 1)) {
            Some(at) => at.max(now),
            None => now,
        }
    }

    /// Whether one may be sent and leave one for a move that follows.
    pub fn is_ample(&self, now: Instant) -> bool {
        self.full_at
            .checked_sub(LEAST * (BURST - 2))
            .is_none_or(|at| at <= now)
    }

    /// One is sent.
    pub fn spend(&mut self, now: Instant) {
        self.full_at = self.full_at.max(now) + LEAST;
    }
}

/// How long to wait for the answer to the request number `sent` (from 1) over one attachment.
pub fn patience(sent: u32, round_trip: Option<Duration>, lifetime: u16) -> Duration {
    let first = round_trip.map_or(LEAST, |trip| (trip * 2 + WORK).max(LEAST));
    let doubled = first.saturating_mul(1 << sent.saturating_sub(1).min(8));
    // No longer than the lifetime that was asked for; zero asks for the end of one.
    let asked = Duration::from_secs(u64::from(lifetime.max(8)));
    doubled.min(MOST.max(first)).min(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_passes_then_two_then_four_and_never_more_than_eight() {
        let waits: Vec<_> = (1..=6)
            .map(|sent| patience(sent, None, 600).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 8, 8]);
    }

    #[test]
    fn two_round_trips_of_a_slow_path_are_waited_for() {
        let trip = Some(Duration::from_millis(900));
        assert_eq!(patience(1, trip, 600), Duration::from_millis(1900));
        let trip = Some(Duration::from_millis(20));
        assert_eq!(patience(1, trip, 600), LEAST);
    }

    #[test]
    fn what_is_sent_once_more_leaves_one_for_the_next_move() {
        let now = Instant::now();
        let mut allowance = Allowance::new(now);
        allowance.spend(now);
        while allowance.is_ample(now) {
            allowance.spend(now);
        }
        assert_eq!(allowance.next(now), now);
        allowance.spend(now);
        assert!(allowance.next(now) > now);
    }

    #[test]
    fn a_link_that_flaps_ten_times_a_second_costs_one_request_a_second() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        let mut sent = Vec::new();
        for flap in 0..600 {
            let now = start + Duration::from_millis(100) * flap;
            if allowance.next(now) == now {
                allowance.spend(now);
                sent.push(now);
            }
        }
        assert_eq!(sent.len(), 65);
        assert!(sent[5] < start + LEAST, "a few may be sent at once");
    }
}
