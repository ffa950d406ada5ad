//! The wall clock, which the agent does not live by, but presence, the lifetimes of policies and
//! the kernel's larval SAs do.

use crate::agent::event::{Doubt, Event};
use crate::kernel::input::awaiting_input;
use crate::presence::Timestamp;
use nix::errno::Errno;
use nix::sys::time::{TimeSpec, TimeValLike};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId as Clock, clock_gettime};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::io::unix::AsyncFd;

/// Less than this is a clock that is being trimmed.
const STEP: Duration = Duration::from_millis(500);

/// What the wall clock showed when it was looked at last.
#[derive(Debug)]
pub(super) struct WallClock {
    wall: SystemTime,
    at: Instant,
}

impl WallClock {
    pub(super) fn new(at: Instant, wall: SystemTime) -> Self {
        Self { wall, at }
    }

    /// Whether it was set back since it was looked at last. It may have been set forward.
    pub(super) fn went_back(&mut self, now: Instant, wall: SystemTime) -> bool {
        let expected = self.wall + now.saturating_duration_since(self.at);
        *self = Self { wall, at: now };
        expected.duration_since(wall).is_ok_and(|back| back > STEP)
    }
}

/// The time since 1970.
pub(super) fn unix() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

/// What the wall clock shows, for the agent.
pub(super) fn reading(doubt: Option<Doubt>) -> Event {
    let unix = unix().as_secs();
    let local = jiff::Timestamp::from_second(unix.cast_signed()).unwrap_or_default();
    Event::WallClock {
        unix: Timestamp(unix),
        offset: jiff::tz::TimeZone::system().to_offset(local).seconds(),
        doubt,
    }
}

/// Hears from the kernel when the clock was set, or the machine was woken up: at once, and without
/// looking again and again.
#[derive(Debug)]
pub(super) struct ClockWatch {
    timer: TimerFd,
    /// The same, as tokio takes it.
    ready: AsyncFd<OwnedFd>,
    asleep: Duration,
}

impl ClockWatch {
    pub(super) fn open() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_REALTIME, flags)?;
        let watch = Self {
            ready: awaiting_input(timer.as_fd().try_clone_to_owned()?)?,
            timer,
            asleep: asleep(),
        };
        watch.arm()?;
        Ok(watch)
    }

    /// A timer that never ends is cancelled by every step of the clock (timerfd_create(2)).
    fn arm(&self) -> io::Result<()> {
        let never = Expiration::OneShot(TimeSpec::seconds(i64::from(u32::MAX) * 2));
        let flags =
            TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
        self.timer.set(never, flags)?;
        Ok(())
    }

    /// May be dropped while it waits without losing one.
    pub(super) async fn changed(&mut self) -> io::Result<Doubt> {
        loop {
            let mut guard = self.ready.readable().await?;
            match self.timer.wait() {
                Err(Errno::EAGAIN) => guard.clear_ready(),
                Err(error) => return Err(error.into()),
                Ok(()) => {
                    guard.clear_ready();
                    drop(guard);
                    self.arm()?;
                    let before = std::mem::replace(&mut self.asleep, asleep());
                    return Ok(if self.asleep > before + STEP {
                        Doubt::Resumed
                    } else {
                        Doubt::ClockStepped
                    });
                }
            }
        }
    }
}

/// How long this machine has been suspended since it was booted.
fn asleep() -> Duration {
    let read = |clock| clock_gettime(clock).map_or(Duration::ZERO, Duration::from);
    read(Clock::CLOCK_BOOTTIME).saturating_sub(read(Clock::CLOCK_MONOTONIC))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_is_noticed_once_however_long_nobody_looked() {
        let (start, wall) = (Instant::now(), SystemTime::now());
        let second = Duration::from_secs(1);
        let mut clock = WallClock::new(start, wall);
        assert!(!clock.went_back(start + second, wall + second));
        let (hour, day) = (second * 3600, second * 86_400);
        assert!(!clock.went_back(start + second * 2, wall + day), "forward");
        // An hour goes by and the clock shows what it showed: it was set back by that hour.
        assert!(clock.went_back(start + second * 2 + hour, wall + day));
        assert!(!clock.went_back(start + second * 3 + hour, wall + day + second));
        let trimmed = wall + day + second * 2 - Duration::from_millis(20);
        assert!(!clock.went_back(start + second * 4 + hour, trimmed));
    }
}
