//! An adapter that comes and goes all the time is left alone until it has stood for a while.

use std::time::{Duration, Instant};

/// Losses of carrier count until they are this old.
const WINDOW: Duration = Duration::from_secs(10);

/// So many losses within [`WINDOW`] and the adapter is flapping.
const TOLERATED: usize = 4;

/// A flapping adapter is used again when it has stood this long.
const STANDS: Duration = Duration::from_secs(5);

/// Of one adapter.
#[derive(Debug, Default)]
pub struct Damping {
    losses: Vec<Instant>,
    /// While flapping: when it is used again, if it stands until then.
    held_until: Option<Instant>,
}

impl Damping {
    /// It has lost its carrier. Whether it is flapping only since now: said once, however long it goes on.
    pub fn lost(&mut self, now: Instant) -> bool {
        self.losses.retain(|at| now < *at + WINDOW);
        // Bounded: more than the tolerated ones say nothing new.
        let beyond = self.losses.len().saturating_sub(TOLERATED);
        self.losses.drain(..beyond);
        self.losses.push(now);
        let was_held = self.is_held(now);
        if self.losses.len() > TOLERATED || was_held {
            self.held_until = Some(now + STANDS);
        }
        !was_held && self.is_held(now)
    }

    pub fn is_held(&self, now: Instant) -> bool {
        self.held_until.is_some_and(|until| now < until)
    }

    pub fn held_until(&self, now: Instant) -> Option<Instant> {
        self.held_until.filter(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_losses_a_second_are_one_flapping_and_end_when_the_link_stands() {
        let start = Instant::now();
        let mut damping = Damping::default();
        let mut told = 0;
        let mut last = start;
        for loss in 0..600 {
            last = start + Duration::from_millis(100) * loss;
            told += usize::from(damping.lost(last));
        }
        assert_eq!(told, 1);
        assert!(damping.is_held(last));
        assert!(!damping.is_held(last + STANDS));
        assert!(damping.losses.len() <= TOLERATED + 1);
    }

    #[test]
    fn a_walk_with_a_few_moves_is_no_flapping() {
        let start = Instant::now();
        let mut damping = Damping::default();
        for loss in 0..20 {
            assert!(!damping.lost(start + Duration::from_secs(3) * loss));
        }
    }
}
