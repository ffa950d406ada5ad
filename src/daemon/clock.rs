//! The wall clock, which the agent does not live by but the kernel's larval SAs do.

use std::time::{Duration, Instant, SystemTime};

/// Less than this is a clock that is being trimmed.
const STEP: Duration = Duration::from_millis(500);

/// What the wall clock showed when it was looked at last.
#[derive(Debug)]
pub(super) struct WallClock {
    wall: SystemTime,
    at: Instant,
}

impl WallClock {
    pub(super) fn new(at: Instant, wall: SystemTime) -> Self {
        Self { wall, at }
    }

    /// Whether it was set back since it was looked at last. It may have been set forward.
    pub(super) fn went_back(&mut self, now: Instant, wall: SystemTime) -> bool {
        let expected = self.wall + now.saturating_duration_since(self.at);
        *self = Self { wall, at: now };
        expected.duration_since(wall).is_ok_and(|back| back > STEP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_is_noticed_once_however_long_nobody_looked() {
        let (start, wall) = (Instant::now(), SystemTime::now());
        let second = Duration::from_secs(1);
        let mut clock = WallClock::new(start, wall);
        assert!(!clock.went_back(start + second, wall + second));
        let (hour, day) = (second * 3600, second * 86_400);
        assert!(!clock.went_back(start + second * 2, wall + day), "forward");
        // An hour goes by and the clock shows what it showed: it was set back by that hour.
        assert!(clock.went_back(start + second * 2 + hour, wall + day));
        assert!(!clock.went_back(start + second * 3 + hour, wall + day + second));
        let trimmed = wall + day + second * 2 - Duration::from_millis(20);
        assert!(!clock.went_back(start + second * 4 + hour, trimmed));
    }
}
