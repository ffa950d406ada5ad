//! Wall-clock time, as presence carries it.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Seconds since 1970 (UTC). Shown as `2002-09-28 10:49:29`, as the figures do.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time.as_secs()))
    }
}
