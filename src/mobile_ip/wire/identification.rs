//! The 64 bits by which requests and replies are matched, and kept from being replayed.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// From 1900, where NTP begins, to 1970.
const NTP_TO_UNIX: u64 = 2_208_988_800;

/// Time of day as NTP writes it: seconds since 1900 in the high half, their fraction in the low one
/// (RFC 5944 §5.7.1). It wraps in 2036; the order of two is by the shorter way round.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// `unix` is the time since 1970.
    pub fn from_unix(unix: Duration) -> Self {
        let seconds = unix.as_secs().wrapping_add(NTP_TO_UNIX);
        let fraction = (u64::from(unix.subsec_nanos()) << 32) / 1_000_000_000;
        Self(seconds << 32 | fraction)
    }

    pub fn seconds(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub fn is_after(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0).cast_signed() > 0
    }

    /// How far apart two are, whichever is first. Exact to a nanosecond.
    pub fn distance(self, other: Self) -> Duration {
        let apart = self.0.wrapping_sub(other.0).cast_signed().unsigned_abs();
        let nanos = ((apart & 0xffff_ffff) * 1_000_000_000) >> 32;
        Duration::from_secs(apart >> 32) + Duration::from_nanos(nanos)
    }

    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.wrapping_add(Self::span(by)))
    }

    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.wrapping_sub(Self::span(by)))
    }

    fn span(by: Duration) -> u64 {
        let fraction = (u64::from(by.subsec_nanos()) << 32) / 1_000_000_000;
        by.as_secs() << 32 | fraction
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({:#018x})", self.0)
    }
}

/// The Identification field of a registration (RFC 5944 §3.3). With timestamps the whole of it is a
/// [`Timestamp`]; with nonces the high half is the home agent's, the low half the mobile node's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identification(pub u64);

impl Identification {
    pub fn of_halves(high: u32, low: u32) -> Self {
        Self(u64::from(high) << 32 | u64::from(low))
    }

    pub fn high(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// What a reply has in common with its request, whatever protects them (RFC 5944 §5.7).
    pub fn low(self) -> u32 {
        self.0 as u32
    }

    pub fn timestamp(self) -> Timestamp {
        Timestamp(self.0)
    }
}

impl From<Timestamp> for Identification {
    fn from(timestamp: Timestamp) -> Self {
        Self(timestamp.0)
    }
}

impl fmt::Debug for Identification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identification({:#018x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_written_as_ntp_does() {
        // python3 -c 'print(hex(((1700000000+2208988800) << 32) + (1 << 31)))'
        let half_past = Duration::new(1_700_000_000, 500_000_000);
        let timestamp = Timestamp::from_unix(half_past);
        assert_eq!(timestamp.0, 0xe8fe_6f80_8000_0000);
    }

    #[test]
    fn order_and_distance_survive_the_end_of_the_era() {
        let last = Timestamp(u64::MAX - (1 << 31));
        let first = last.plus(Duration::from_secs(3));
        assert!(first.0 < last.0 && first.is_after(last) && !last.is_after(first));
        assert_eq!(first.distance(last), Duration::from_secs(3));
        assert_eq!(last.distance(first), Duration::from_secs(3));
        assert_eq!(first.minus(Duration::from_secs(3)), last);
    }
}
