//! Hours of the day, in the machine's local time.

use crate::presence::Timestamp;
use std::cmp::Ordering;

const DAY: u16 = 24 * 60;

/// Now, as the clock and as the wall says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub now: Timestamp,
    /// Local time: 0 to 1439.
    pub minute_of_day: u16,
    /// Local time: 0 is Monday, 6 is Sunday.
    pub weekday: u8,
}

/// From a minute of the day up to and not including another one. Passes midnight where `to` is
/// not after `from`; then the weekday is that of the evening. Nothing lies between equal ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    /// 0 to 1439.
    pub from: u16,
    /// 0 to 1440.
    pub to: u16,
    /// `None` is every day.
    pub weekdays: Option<Weekdays>,
}

/// A set of weekdays; bit 0 is Monday.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weekdays(pub u8);

impl Weekdays {
    pub const MONDAY_TO_FRIDAY: Self = Self(0b001_1111);

    fn contains(self, weekday: u8) -> bool {
        weekday < 7 && self.0 & (1 << weekday) != 0
    }
}

impl Hours {
    pub fn contains(self, weekday: u8, minute: u16) -> bool {
        let on = |day| self.weekdays.is_none_or(|days| days.contains(day));
        let (begun, ended) = (minute >= self.from, minute >= self.to);
        match self.from.cmp(&self.to) {
            Ordering::Less => on(weekday) && begun && !ended,
            Ordering::Equal => false,
            Ordering::Greater => (on(weekday) && begun) || (on((weekday + 6) % 7) && !ended),
        }
    }

    pub(super) fn hold(self, moment: Moment) -> bool {
        self.contains(moment.weekday, moment.minute_of_day)
    }

    /// The hours never come.
    pub(super) fn is_empty(self) -> bool {
        minutes_of_week().all(|(day, minute)| !self.contains(day, minute))
    }

    /// Whether every minute of `other` is in these.
    pub(super) fn covers(self, other: Self) -> bool {
        minutes_of_week()
            .all(|(day, minute)| !other.contains(day, minute) || self.contains(day, minute))
    }

    /// When they may begin or end, at the earliest.
    ///
    /// Local time jumps in and out of summer time at full quarters of an hour, so that no later
    /// minute can be foretold.
    pub(super) fn next_change(self, moment: Moment) -> Timestamp {
        let until = |minute: u16| match (minute + DAY - moment.minute_of_day % DAY) % DAY {
            0 => DAY,
            minutes => minutes,
        };
        let quarter = 15 - moment.minute_of_day % 15;
        let minutes = until(self.from).min(until(self.to)).min(quarter);
        let now = moment.now.0;
        Timestamp((now - now % 60).saturating_add(u64::from(minutes) * 60))
    }
}

fn minutes_of_week() -> impl Iterator<Item = (u8, u16)> {
    (0..7).flat_map(|day| (0..DAY).map(move |minute| (day, minute)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hours(from: u16, to: u16, days: Option<u8>) -> Hours {
        Hours {
            from,
            to,
            weekdays: days.map(Weekdays),
        }
    }

    #[test]
    fn office_hours_end_in_the_evening() {
        let office = Hours {
            from: 8 * 60,
            to: 18 * 60,
            weekdays: Some(Weekdays::MONDAY_TO_FRIDAY),
        };
        assert!(office.contains(0, 8 * 60));
        assert!(office.contains(4, 18 * 60 - 1));
        assert!(!office.contains(4, 18 * 60));
        assert!(!office.contains(5, 12 * 60));
    }

    #[test]
    fn the_night_of_sunday_goes_on_on_monday() {
        let night = hours(22 * 60, 6 * 60, Some(0b100_0000));
        assert!(night.contains(6, 23 * 60));
        assert!(night.contains(0, 5 * 60));
        assert!(!night.contains(6, 5 * 60));
        assert!(!night.contains(0, 23 * 60));
    }

    #[test]
    fn hours_that_never_come_are_empty() {
        assert!(hours(60, 60, None).is_empty());
        assert!(hours(0, 60, Some(0)).is_empty());
        assert!(hours(0, 60, Some(0b1000_0000)).is_empty());
        assert!(!hours(0, DAY, None).is_empty());
        assert!(hours(0, DAY, None).covers(hours(1300, 10, Some(1))));
        assert!(!hours(1300, 10, Some(1)).covers(hours(1300, 10, None)));
    }

    proptest! {
        #[test]
        fn nothing_begins_or_ends_before_the_next_change(
            from in 0..DAY, to in 0..=DAY, days in prop::option::of(0u8..128),
            weekday in 0u8..7, minute in 0..DAY, second in 0u64..60,
        ) {
            let hours = hours(from, to, days);
            // Monday, 2001-01-01 00:00:00.
            let monday = 978_307_200;
            let now = monday + u64::from(weekday) * 86_400 + u64::from(minute) * 60 + second;
            let moment = Moment { now: Timestamp(now), minute_of_day: minute, weekday };
            let next = hours.next_change(moment).0;
            prop_assert!(next > now && next.is_multiple_of(60));
            for time in (now..next).step_by(30) {
                let minutes = (time - monday) / 60;
                let (day, minute) = (minutes / 1440 % 7, minutes % 1440);
                prop_assert_eq!(hours.contains(day as u8, minute as u16), hours.hold(moment));
            }
        }
    }
}
