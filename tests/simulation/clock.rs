//! Clocks that began at different times and do not run equally fast.

use std::time::{Duration, Instant};

const MILLION: u128 = 1_000_000;

/// A node's own clock, as it differs from the world's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// What it showed when the world began.
    pub ahead: Duration,
    /// Millionths by which it is fast; negative where it is slow.
    pub drift_ppm: i32,
}

impl Clock {
    pub fn shows(self, start: Instant, now: Instant) -> Instant {
        let passed = now.duration_since(start).as_nanos();
        start + self.ahead + duration(passed * self.rate() / MILLION)
    }

    /// The first moment of the world at which it shows `at`, or later.
    pub fn reaches(self, start: Instant, at: Instant) -> Instant {
        let shown = at.saturating_duration_since(start + self.ahead).as_nanos();
        start + duration((shown * MILLION).div_ceil(self.rate()))
    }

    fn rate(self) -> u128 {
        MILLION.saturating_add_signed(i128::from(self.drift_ppm))
    }
}

fn duration(nanos: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).expect("less than 584 years"))
}

#[test]
fn a_deadline_is_met_neither_early_nor_late_however_the_clock_drifts() {
    let start = Instant::now();
    for drift_ppm in [-200, -1, 0, 1, 200] {
        let ahead = Duration::from_secs(12_345);
        let clock = Clock { ahead, drift_ppm };
        for nanoseconds in [0, 1, 999_999, 86_400_000_000_123] {
            let at = start + ahead + Duration::from_nanos(nanoseconds);
            let moment = clock.reaches(start, at);
            assert!(clock.shows(start, moment) >= at);
            let before = moment.checked_sub(Duration::from_nanos(1));
            if let Some(before) = before.filter(|before| *before >= start) {
                assert!(clock.shows(start, before) < at);
            }
        }
    }
}
