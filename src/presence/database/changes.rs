//! How often an entity may change: a token bucket over wall-clock time.

use crate::presence::Timestamp;
use std::time::Duration;

/// So many at once.
pub const CHANGES: u32 = 10;

/// One more after each.
pub const CHANGE_EVERY: Duration = Duration::from_secs(3);

/// Kept as the second at which all are there again: no rounding accumulates.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Changes {
    full_at: Timestamp,
}

impl Changes {
    /// Takes one, or says when there will be one.
    pub fn take(&mut self, now: Timestamp) -> Result<(), Timestamp> {
        self.full_at = self.full_at(now);
        let until = self.next(now);
        if until > now {
            return Err(until);
        }
        self.full_at = self.full_at.after(CHANGE_EVERY);
        Ok(())
    }

    /// `now` at the earliest.
    pub fn next(self, now: Timestamp) -> Timestamp {
        let spare = CHANGE_EVERY * (CHANGES - 1);
        Timestamp(self.full_at(now).0.saturating_sub(spare.as_secs())).max(now)
    }

    /// Where the clock was set back, nobody waits longer than somebody who has used all.
    fn full_at(self, now: Timestamp) -> Timestamp {
        self.full_at.clamp(now, now.after(CHANGE_EVERY * CHANGES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_at_once_then_one_every_three_seconds() {
        let mut changes = Changes::default();
        let start = Timestamp(1_000_000);
        for _ in 0..10 {
            assert_eq!(changes.take(start), Ok(()));
        }
        assert_eq!(changes.take(start), Err(Timestamp(1_000_003)));
        assert_eq!(
            changes.take(Timestamp(1_000_002)),
            Err(Timestamp(1_000_003))
        );
        assert_eq!(changes.take(Timestamp(1_000_003)), Ok(()));
        assert_eq!(
            changes.take(Timestamp(1_000_003)),
            Err(Timestamp(1_000_006))
        );
        for _ in 0..10 {
            assert_eq!(changes.take(Timestamp(1_000_100)), Ok(()));
        }
        assert!(changes.take(Timestamp(1_000_100)).is_err());
    }

    #[test]
    fn a_clock_that_was_set_back_holds_nobody_up_for_long() {
        let mut changes = Changes::default();
        assert_eq!(changes.take(Timestamp(9_000_000)), Ok(()));
        assert_eq!(
            changes.take(Timestamp(1_000_000)),
            Err(Timestamp(1_000_003))
        );
        assert_eq!(changes.take(Timestamp(1_000_003)), Ok(()));
        for _ in 0..10 {
            assert_eq!(changes.take(Timestamp(1_000_060)), Ok(()));
        }
    }
}
