//! Wall-clock time, as presence carries it.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Seconds since 1970 (UTC). Shown as `2002-09-28 10:49:29`, as the figures do.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

/// How FIG. 6, 624 writes it.
const AS_DRAWN: &str = "%Y-%m-%d %H:%M:%S";

impl Timestamp {
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time.as_secs()))
    }
}

impl fmt::Display for Timestamp {
    /// What lies beyond the calendar (the year 9999) is shown as its last second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = i64::try_from(self.0)
            .ok()
            .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
            .unwrap_or(jiff::Timestamp::MAX);
        f.pad(&time.strftime(AS_DRAWN).to_string())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a time since 1970 is written 2002-09-28 10:49:29 (UTC), or with its offset as in RFC 3339: \
     2002-09-28T10:49:29+02:00"
)]
pub struct InvalidTimestamp;

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        let seconds = match text.parse::<jiff::Timestamp>() {
            Ok(time) => time.as_second(),
            Err(_) => jiff::civil::DateTime::strptime(AS_DRAWN, text)
                .and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC))
                .map_err(|_| InvalidTimestamp)?
                .timestamp()
                .as_second(),
        };
        u64::try_from(seconds)
            .map(Self)
            .map_err(|_| InvalidTimestamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_times_of_the_figures_print_as_drawn() {
        assert_eq!(Timestamp(1_033_210_169).to_string(), "2002-09-28 10:49:29");
        assert_eq!(
            "2002-09-28 16:15:46".parse(),
            Ok(Timestamp(1_033_210_169 + 19_577))
        );
        assert_eq!(Timestamp(0).to_string(), "1970-01-01 00:00:00");
    }

    #[test]
    fn rfc_3339_counts_its_offset() {
        for text in [
            "2002-09-28T10:49:29Z",
            "2002-09-28T12:49:29+02:00",
            "2002-09-28 05:19:29.75-05:30",
        ] {
            assert_eq!(text.parse(), Ok(Timestamp(1_033_210_169)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_since_1970_is_refused() {
        for text in [
            "",
            "now",
            "2002-09-28",
            "2002-13-28 10:49:29",
            "2002-09-31 10:49:29",
            "2002-09-28 25:00:00",
            "1969-12-31 23:59:59",
            "2002-09-28 10:49:29 and more",
            "99999-01-01 00:00:00",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(InvalidTimestamp), "{text:?}");
        }
    }

    #[test]
    fn a_time_beyond_the_calendar_still_prints() {
        assert!(Timestamp(u64::MAX).to_string().starts_with("9999-12-30"));
        assert_eq!(
            Timestamp(u64::MAX).after(Duration::from_secs(1)),
            Timestamp(u64::MAX)
        );
    }

    proptest! {
        #[test]
        fn every_time_of_the_calendar_prints_and_parses_back(seconds in 0u64..253_000_000_000) {
            let time = Timestamp(seconds);
            prop_assert_eq!(time.to_string().parse(), Ok(time));
        }
    }
}
