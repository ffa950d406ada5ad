//! Points in time, as the figures print them.

use crate::presence::Timestamp;
use jiff::tz::TimeZone;

/// `2002-09-28 10:49:29`.
pub fn stamp(time: Timestamp, zone: &TimeZone) -> String {
    shown(time, zone, "%Y-%m-%d %H:%M:%S")
}

/// An end: without its date where it lies on the day of the beginning.
pub fn until(begin: Timestamp, end: Timestamp, zone: &TimeZone) -> String {
    const DAY: &str = "%Y-%m-%d";
    if shown(begin, zone, DAY) == shown(end, zone, DAY) {
        shown(end, zone, "%H:%M:%S")
    } else {
        stamp(end, zone)
    }
}

/// Years past 9999 have no name; they stay a number of seconds.
fn shown(time: Timestamp, zone: &TimeZone, format: &str) -> String {
    let seconds = i64::try_from(time.0).ok();
    let instant = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    match instant {
        Some(instant) => instant.to_zoned(zone.clone()).strftime(format).to_string(),
        None => format!("@{}", time.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 10:49:29 on the day of FIG. 6, in UTC.
    const FIG_6: Timestamp = Timestamp(1_033_210_169);

    #[test]
    fn times_are_shown_as_in_the_figures() {
        assert_eq!(stamp(FIG_6, &TimeZone::UTC), "2002-09-28 10:49:29");
        let tokyo = TimeZone::fixed(jiff::tz::offset(9));
        assert_eq!(stamp(FIG_6, &tokyo), "2002-09-28 19:49:29");
    }

    #[test]
    fn an_end_on_the_same_day_needs_no_date() {
        let after = |seconds| until(FIG_6, Timestamp(FIG_6.0 + seconds), &TimeZone::UTC);
        assert_eq!(after(3600), "11:49:29");
        assert_eq!(after(86_400), "2002-09-29 10:49:29");
    }

    #[test]
    fn times_that_no_calendar_holds_stay_numbers() {
        let never = Timestamp(u64::MAX);
        assert_eq!(stamp(never, &TimeZone::UTC), "@18446744073709551615");
        assert_eq!(until(never, never, &TimeZone::UTC), "@18446744073709551615");
    }
}
