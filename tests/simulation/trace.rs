//! All that happened in a run, reduced to a number: runs that differ in anything differ in it.

use std::fmt::Debug;
use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;

/// Datagrams go in with every octet, so keys and nonces do too.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    hasher: DefaultHasher,
}

impl Trace {
    pub(super) fn note(&mut self, passed: Duration, what: &impl Debug) {
        let entry = format!("{passed:?} {what:?}");
        self.hasher.write(entry.as_bytes());
    }

    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }
}
