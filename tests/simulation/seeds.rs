//! Many runs of one test, each repeatable: `SEED=1234 cargo test --test simulation NAME`, or others
//! than usual: `SEED=5000..9000`.

use std::ops::Range;
use std::thread;

/// Says how to repeat the run that it was alive in, if that panicked.
struct Running(u64);

impl Drop for Running {
    fn drop(&mut self) {
        if thread::panicking() {
            let test = thread::current();
            let name = test.name().unwrap_or_default().to_owned();
            eprintln!(
                "to repeat: SEED={} cargo test --test simulation {name}",
                self.0
            );
        }
    }
}

/// Runs each seed, or those that the environment variable `SEED` names.
pub fn each(seeds: Range<u64>, mut run: impl FnMut(u64)) {
    for seed in chosen().unwrap_or(seeds) {
        let _running = Running(seed);
        run(seed);
    }
}

fn chosen() -> Option<Range<u64>> {
    let chosen = std::env::var("SEED").ok()?;
    let number = |s: &str| s.parse::<u64>().expect("SEED is a number, or FROM..TO");
    Some(match chosen.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => number(&chosen)..number(&chosen) + 1,
    })
}
