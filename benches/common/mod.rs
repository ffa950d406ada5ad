//! What the benches share: network namespaces and spreads.

pub mod machine;

use machine::output;
use nix::sched::{CloneFlags, unshare};
use std::time::Duration;

pub fn in_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
            // Routes to the agent's transparent sockets lead there.
            output("ip", &["link", "set", "lo", "up"]);
            work()
        });
        thread.join().expect("the round ends")
    })
}

/// Measured durations, never empty.
#[derive(Clone, Debug)]
pub struct Spread(Vec<Duration>);

impl Spread {
    pub fn of(mut times: Vec<Duration>) -> Self {
        assert!(!times.is_empty(), "something was measured");
        times.sort_unstable();
        Self(times)
    }

    /// In milliseconds; of 0 the fastest, of 100 the slowest.
    pub fn percentile(&self, percent: usize) -> f64 {
        let at = (self.0.len() - 1) * percent / 100;
        self.0[at].as_secs_f64() * 1000.0
    }

    pub fn median(&self) -> Duration {
        self.0[self.0.len() / 2]
    }

    /// Median (fastest - slowest) in milliseconds.
    pub fn show(&self) -> String {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        format!(
            "{:.1} ({:.1} - {:.1})",
            ms(self.median()),
            self.percentile(0),
            self.percentile(100)
        )
    }
}
