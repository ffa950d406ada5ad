//! So many a second, and no more.

use std::time::{Duration, Instant};

/// A bucket that holds what one second allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// When it would be full again.
    full_at: Instant,
}

impl Rate {
    pub(super) fn new(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Takes one of `each_second`; `false` where none is left.
    pub(super) fn take(&mut self, now: Instant, each_second: u32) -> bool {
        let Some(one) = Duration::from_secs(1).checked_div(each_second) else {
            return false;
        };
        let next = self.full_at.max(now) + one;
        let allowed = next <= now + Duration::from_secs(1);
        if allowed {
            self.full_at = next;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_allows_what_it_says_and_the_next_one_again() {
        let now = Instant::now();
        let mut rate = Rate::new(now);
        let taken = |rate: &mut Rate, now| (0..20).filter(|_| rate.take(now, 10)).count();
        assert_eq!(taken(&mut rate, now), 10);
        assert_eq!(taken(&mut rate, now + Duration::from_millis(100)), 1);
        assert_eq!(taken(&mut rate, now + Duration::from_secs(5)), 10);
        assert!(!Rate::new(now).take(now, 0));
    }
}
