//! The clock, and which identification is fresh (RFC 5944 §5.7).
//!
//! [`Clock`] turns instants into time of day. [`Issuer`] is the mobile node's side: it makes
//! identifications and learns from replies. [`Guard`] is the home agent's: it accepts each once.

use super::security::ReplayProtection;
use super::wire::{Identification, Timestamp};
use crate::net::Random;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Time of day, known from one pair of instant and time since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    at: Instant,
    unix: Duration,
}

impl Clock {
    pub fn new(now: Instant, unix: Duration) -> Self {
        Self { at: now, unix }
    }

    /// The time of day was looked up again, or set.
    pub fn set(&mut self, now: Instant, unix: Duration) {
        *self = Self::new(now, unix);
    }

    /// Since 1970; never before it.
    pub fn unix(&self, now: Instant) -> Duration {
        let since = now.checked_duration_since(self.at);
        let passed = since.map(|since| self.unix.saturating_add(since));
        passed.unwrap_or_else(|| self.unix.saturating_sub(self.at - now))
    }

    pub fn timestamp(&self, now: Instant) -> Timestamp {
        Timestamp::from_unix(self.unix(now))
    }
}

/// Series of timestamps that are never equal.
pub const SERIES: u8 = 32;
/// Below the series of a timestamp, what is random.
const RANDOM_BITS: u32 = 8;
/// Series and random bits: 2 µs.
const BELOW_THE_CLOCK: u64 = ((SERIES as u64) << RANDOM_BITS) - 1;

/// What a mobile node must know to make identifications that one home agent accepts.
#[derive(Clone, Copy, Debug)]
pub struct Issuer {
    protection: ReplayProtection,
    series: u8,
    /// How far the home agent's clock is ahead of ours, as NTP counts; learned from a 133.
    ahead: u64,
    /// The last one sent since the clocks were last compared.
    last_sent: Option<Timestamp>,
    last_accepted: Option<Timestamp>,
    /// The home agent's, for the next request.
    nonce: Option<u32>,
}

impl Issuer {
    /// Whoever asks one home agent over several ways at once has a `series` below [`SERIES`] for each, so that the answer
    /// over one never suits the question over another. Of those made in one instant the greatest is the latest.
    pub fn new(protection: ReplayProtection, series: u8) -> Self {
        Self {
            protection,
            series,
            ahead: 0,
            last_sent: None,
            last_accepted: None,
            nonce: None,
        }
    }

    /// A new one, later than any before it since the last mismatch. Every request takes its own, a
    /// repeated one too: with timestamps a copy would be refused.
    pub fn issue(
        &mut self,
        now: Instant,
        clock: &Clock,
        random: &mut dyn Random,
    ) -> Identification {
        match self.protection {
            ReplayProtection::Timestamps { .. } => {
                // RFC 5944 §5.7.1: what is below the clock's resolution is random.
                let random_bits = random.u32() & ((1 << RANDOM_BITS) - 1);
                let low = u64::from(self.series) << RANDOM_BITS | u64::from(random_bits);
                let of_series = |time: u64| Timestamp((time & !BELOW_THE_CLOCK) | low);
                let mut next = of_series(self.home_agents_time(now, clock).0);
                for last in [self.last_sent, self.last_accepted].into_iter().flatten() {
                    if !next.is_after(last) {
                        next = of_series(last.0.wrapping_add(BELOW_THE_CLOCK + 1));
                    }
                }
                self.last_sent = Some(next);
                next.into()
            }
            ReplayProtection::Nonces => {
                // Before the first reply any will do: it is answered with a nonce.
                let high = self.nonce.unwrap_or_else(|| random.u32());
                Identification::of_halves(high, random.u32())
            }
        }
    }

    /// One that the home agent must refuse with an authenticated 133, and that changes no binding:
    /// a question whether it is there.
    pub fn issue_stale(
        &mut self,
        now: Instant,
        clock: &Clock,
        random: &mut dyn Random,
    ) -> Identification {
        match self.protection {
            ReplayProtection::Timestamps { window } => {
                let stale = self
                    .home_agents_time(now, clock)
                    .minus(window + STALE + Duration::from_secs(1));
                Identification::of_halves(stale.seconds(), random.u32())
            }
            ReplayProtection::Nonces => {
                let high = self.nonce.map_or_else(|| random.u32(), |nonce| !nonce);
                Identification::of_halves(high, random.u32())
            }
        }
    }

    /// An authenticated reply with any code but 133 came, to a request with the same low half.
    pub fn replied(&mut self, reply: Identification) {
        match self.protection {
            ReplayProtection::Timestamps { .. } => {
                let id = reply.timestamp();
                if self.last_accepted.is_none_or(|last| id.is_after(last)) {
                    self.last_accepted = Some(id);
                }
            }
            ReplayProtection::Nonces => self.nonce = Some(reply.high()),
        }
    }

    /// An authenticated 133 came, to a request with the same low half: the high half is the home
    /// agent's time, or its nonce.
    pub fn mismatched(&mut self, now: Instant, clock: &Clock, reply: Identification) {
        match self.protection {
            ReplayProtection::Timestamps { .. } => {
                let ours = clock.timestamp(now).0 & !0xffff_ffff;
                let theirs = u64::from(reply.high()) << 32;
                self.ahead = theirs.wrapping_sub(ours);
                self.last_sent = self.last_accepted;
            }
            ReplayProtection::Nonces => self.nonce = Some(reply.high()),
        }
    }

    fn home_agents_time(&self, now: Instant, clock: &Clock) -> Timestamp {
        Timestamp(clock.timestamp(now).0.wrapping_add(self.ahead))
    }
}

/// How far a deliberately stale timestamp lies beyond the window.
const STALE: Duration = Duration::from_secs(3600);

/// What a home agent must remember of one mobile node so that each identification works once. It is
/// small and goes into the store with the binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Guard {
    /// The latest accepted.
    Timestamps(Option<Identification>),
    /// The outstanding nonce, `None` before the first request.
    Nonces(Option<u32>),
}

impl Guard {
    pub fn new(protection: ReplayProtection) -> Self {
        match protection {
            ReplayProtection::Timestamps { .. } => Self::Timestamps(None),
            ReplayProtection::Nonces => Self::Nonces(None),
        }
    }

    /// Whether an authenticated request is fresh. Changes nothing: [`Guard::accept`] does.
    pub fn is_fresh(
        &self,
        now: Instant,
        clock: &Clock,
        protection: ReplayProtection,
        id: Identification,
    ) -> bool {
        match (self, protection) {
            (Self::Timestamps(last), ReplayProtection::Timestamps { window }) => {
                let after = |last: &Identification| id.timestamp().is_after(last.timestamp());
                id.timestamp().distance(clock.timestamp(now)) <= window
                    && last.as_ref().is_none_or(after)
            }
            (Self::Nonces(expected), ReplayProtection::Nonces) => *expected == Some(id.high()),
            // The association was given the other protection since: its first request is refused,
            // and the refusal says how to go on.
            (Self::Timestamps(_), ReplayProtection::Nonces)
            | (Self::Nonces(_), ReplayProtection::Timestamps { .. }) => false,
        }
    }

    /// The request is answered, with whatever code but 133: its identification is used up. Gives
    /// that of the reply.
    pub fn accept(&mut self, id: Identification, random: &mut dyn Random) -> Identification {
        match self {
            Self::Timestamps(last) => {
                *last = Some(id);
                id
            }
            Self::Nonces(outstanding) => {
                let mut next = random.u32();
                if next == id.high() {
                    next = !next;
                }
                *outstanding = Some(next);
                Identification::of_halves(next, id.low())
            }
        }
    }

    /// The identification of a 133. An outstanding nonce that nobody has used is given again, so that
    /// a replayed request cannot spoil the genuine one on its way.
    pub fn refuse(
        &mut self,
        now: Instant,
        clock: &Clock,
        protection: ReplayProtection,
        id: Identification,
        random: &mut dyn Random,
    ) -> Identification {
        match protection {
            ReplayProtection::Timestamps { .. } => {
                if let Self::Nonces(_) = self {
                    *self = Self::Timestamps(None);
                }
                Identification::of_halves(clock.timestamp(now).seconds(), id.low())
            }
            ReplayProtection::Nonces => {
                let nonce = match self {
                    Self::Nonces(Some(nonce)) => *nonce,
                    _ => random.u32(),
                };
                *self = Self::Nonces(Some(nonce));
                Identification::of_halves(nonce, id.low())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mobile_ip::security::DEFAULT_WINDOW;
    use crate::net::random::Seeded;
    use proptest::prelude::*;

    const TIMESTAMPS: ReplayProtection = ReplayProtection::Timestamps {
        window: DEFAULT_WINDOW,
    };
    const UNIX: Duration = Duration::from_secs(1_700_000_000);

    /// One request: accepted, or refused and learned from.
    fn exchange(
        now: Instant,
        (issuer, node): (&mut Issuer, &Clock),
        (guard, agent): (&mut Guard, &Clock),
        protection: ReplayProtection,
        random: &mut Seeded,
    ) -> bool {
        let id = issuer.issue(now, node, random);
        let fresh = guard.is_fresh(now, agent, protection, id);
        if fresh {
            issuer.replied(guard.accept(id, random));
            assert!(
                !guard.is_fresh(now, agent, protection, id),
                "it works twice"
            );
        } else {
            let reply = guard.refuse(now, agent, protection, id, random);
            assert_eq!(reply.low(), id.low());
            issuer.mismatched(now, node, reply);
        }
        fresh
    }

    #[test]
    fn one_refusal_mends_clocks_that_are_years_apart() {
        let (now, mut random) = (Instant::now(), Seeded(1));
        for (node, agent) in [
            (0, 1_700_000_000),
            (1_700_000_000, 0),
            (1_700_000_000, 1_700_000_060),
        ] {
            let node = Clock::new(now, Duration::from_secs(node));
            let agent = Clock::new(now, Duration::from_secs(agent));
            let (mut issuer, mut guard) = (Issuer::new(TIMESTAMPS, 0), Guard::new(TIMESTAMPS));
            let mut all = Vec::new();
            for second in 0..5 {
                let at = now + Duration::from_secs(second);
                let (us, them) = ((&mut issuer, &node), (&mut guard, &agent));
                all.push(exchange(at, us, them, TIMESTAMPS, &mut random));
            }
            assert_eq!(all, [false, true, true, true, true]);
        }
    }

    #[test]
    fn requests_over_two_ways_in_one_instant_differ_and_the_greater_series_is_later() {
        let (now, mut random) = (Instant::now(), Seeded(1));
        let clock = Clock::new(now, Duration::from_secs(1_700_000_000));
        let [mut first, mut second] = [0, SERIES - 1].map(|series| Issuer::new(TIMESTAMPS, series));
        let mut issued = Vec::new();
        for _ in 0..100 {
            for issuer in [&mut first, &mut second] {
                issued.push(issuer.issue(now, &clock, &mut random).timestamp());
            }
        }
        assert!(issued[1].is_after(issued[0]));
        let different: std::collections::BTreeSet<_> =
            issued.iter().map(|issued| issued.0).collect();
        assert_eq!(different.len(), issued.len());
    }

    #[test]
    fn nonces_need_one_refusal_and_then_follow_each_other() {
        let (now, mut random) = (Instant::now(), Seeded(2));
        let clock = Clock::new(now, UNIX);
        let protection = ReplayProtection::Nonces;
        let (mut issuer, mut guard) = (Issuer::new(protection, 0), Guard::new(protection));
        let mut all = Vec::new();
        for _ in 0..4 {
            let (us, them) = ((&mut issuer, &clock), (&mut guard, &clock));
            all.push(exchange(now, us, them, protection, &mut random));
        }
        assert_eq!(all, [false, true, true, true]);
    }

    #[test]
    fn a_stale_question_is_refused_and_leaves_the_next_request_alone() {
        let (now, mut random) = (Instant::now(), Seeded(3));
        let clock = Clock::new(now, UNIX);
        for protection in [TIMESTAMPS, ReplayProtection::Nonces] {
            let (mut issuer, mut guard) = (Issuer::new(protection, 0), Guard::new(protection));
            for _ in 0..2 {
                let (us, them) = ((&mut issuer, &clock), (&mut guard, &clock));
                exchange(now, us, them, protection, &mut random);
            }
            let stale = issuer.issue_stale(now, &clock, &mut random);
            assert!(!guard.is_fresh(now, &clock, protection, stale));
            issuer.mismatched(
                now,
                &clock,
                guard.refuse(now, &clock, protection, stale, &mut random),
            );
            let (us, them) = ((&mut issuer, &clock), (&mut guard, &clock));
            assert!(exchange(now, us, them, protection, &mut random));
        }
    }

    #[test]
    fn a_replayed_request_does_not_take_the_nonce_from_the_genuine_one() {
        let (now, mut random) = (Instant::now(), Seeded(4));
        let clock = Clock::new(now, UNIX);
        let protection = ReplayProtection::Nonces;
        let mut guard = Guard::new(protection);
        let first = guard.refuse(now, &clock, protection, Identification(7), &mut random);
        let replayed = guard.refuse(now, &clock, protection, Identification(9), &mut random);
        assert_eq!(first.high(), replayed.high());
        assert!(guard.is_fresh(now, &clock, protection, first));
    }

    proptest! {
        /// What is issued always rises, whatever the clock does, and what is accepted always rises too.
        #[test]
        fn identifications_rise(steps in proptest::collection::vec((0u64..20_000, any::<bool>()), 1..50)) {
            let mut now = Instant::now();
            let (mut random, mut node) = (Seeded(5), Clock::new(now, UNIX));
            let agent = node;
            let (mut issuer, mut guard) = (Issuer::new(TIMESTAMPS, 0), Guard::new(TIMESTAMPS));
            let mut last: Option<Timestamp> = None;
            for (millis, back) in steps {
                now += Duration::from_millis(millis);
                if back {
                    let unix = node.unix(now).saturating_sub(Duration::from_millis(millis));
                    node.set(now, unix);
                }
                let id = issuer.issue(now, &node, &mut random);
                if guard.is_fresh(now, &agent, TIMESTAMPS, id) {
                    prop_assert!(last.is_none_or(|last| id.timestamp().is_after(last)));
                    last = Some(id.timestamp());
                    issuer.replied(guard.accept(id, &mut random));
                } else {
                    let reply = guard.refuse(now, &agent, TIMESTAMPS, id, &mut random);
                    issuer.mismatched(now, &node, reply);
                }
            }
        }
    }
}
