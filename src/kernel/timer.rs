//! The kernel's timers (timerfd), which a task can wait for.
//!
//! The runtime's own would look at the clock before and after each wait, whatever it is that comes, and round up to
//! its next millisecond. So the daemon's runtime has none (docs/performance.md has what a look costs).

use super::input::awaiting_input;
use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId as Clock, clock_gettime};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;

/// Waits for one deadline at a time.
#[derive(Debug)]
pub struct Timer {
    descriptor: TimerFd,
    /// The same, as the runtime takes it.
    ready: AsyncFd<OwnedFd>,
    /// What it is set to, until it has gone off.
    armed: Option<Instant>,
    /// One moment, as both clocks show it: the kernel takes no `Instant`.
    origin: (Instant, Duration),
}

impl Timer {
    /// Within a runtime.
    ///
    /// # Errors
    /// There are no file descriptors left.
    pub fn open() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        let copy = timer.as_fd().try_clone_to_owned()?;
        // In this order, so that it goes off a moment late rather than early.
        let before = Instant::now();
        let origin = (before, clock_gettime(Clock::CLOCK_MONOTONIC)?.into());
        Ok(Self {
            descriptor: timer,
            ready: awaiting_input(copy)?,
            armed: None,
            origin,
        })
    }

    /// Returns when that time has come, and what time it is then; at once where it had come at `now`, when the
    /// clock was looked at last. May be dropped while it waits, to wait for another one.
    ///
    /// # Errors
    /// The kernel's refusal, which nothing can bring about from outside.
    pub async fn reached(&mut self, now: Instant, deadline: Instant) -> io::Result<Instant> {
        if deadline <= now {
            return Ok(now);
        }
        loop {
            // Deadlines are put off more often than they come: to be woken too early once costs less than to set it
            // anew each time.
            if self.armed.is_none_or(|armed| armed > deadline) {
                self.arm(deadline)?;
            }
            let mut guard = self.ready.readable().await?;
            guard.clear_ready();
            match self.descriptor.wait() {
                Err(Errno::EAGAIN) => {}
                Err(error) => return Err(error.into()),
                Ok(()) => {
                    self.armed = None;
                    let now = Instant::now();
                    if now >= deadline {
                        return Ok(now);
                    }
                }
            }
        }
    }

    fn arm(&mut self, deadline: Instant) -> io::Result<()> {
        let (moment, as_the_kernel_says) = self.origin;
        let at = as_the_kernel_says + deadline.saturating_duration_since(moment);
        let once = Expiration::OneShot(TimeSpec::from_duration(at));
        self.descriptor
            .set(once, TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
        self.armed = Some(deadline);
        Ok(())
    }
}

/// # Errors
/// There are no file descriptors left: it has not slept.
pub async fn sleep(long: Duration) -> io::Result<()> {
    let now = Instant::now();
    Timer::open()?.reached(now, now + long).await.map(drop)
}

/// What comes of it, where that takes no longer.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] where it does. Or there are no file descriptors left to wait with.
pub async fn timeout<T>(longest: Duration, what: impl Future<Output = T>) -> io::Result<T> {
    tokio::select! {
        biased;
        it = what => Ok(it),
        slept = sleep(longest) => {
            Err(slept.err().unwrap_or_else(|| io::ErrorKind::TimedOut.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    const SHORT: Duration = Duration::from_millis(5);
    const LONG: Duration = Duration::from_secs(3600);

    /// As the daemon has it.
    fn without_timers_of_its_own(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        runtime.block_on(test);
    }

    #[test]
    fn a_deadline_is_never_early_whatever_it_was_set_to_before() {
        without_timers_of_its_own(async {
            let mut timer = Timer::open().unwrap();
            let start = Instant::now();
            assert_eq!(timer.reached(start, start).await.unwrap(), start);
            for put_off in [LONG, SHORT, SHORT * 4, SHORT * 2] {
                let dropped = timer.reached(start, start + put_off);
                tokio::select! {
                    biased;
                    _ = dropped => panic!("early"),
                    () = std::future::ready(()) => {}
                }
            }
            for deadline in [start + SHORT * 3, start + SHORT * 5, start + SHORT] {
                let then = timer.reached(start, deadline).await.unwrap();
                assert!((deadline..=Instant::now()).contains(&then));
            }
        });
    }

    #[test]
    fn what_takes_too_long_is_dropped() {
        without_timers_of_its_own(async {
            assert_eq!(timeout(LONG, async { 7 }).await.unwrap(), 7);
            let start = Instant::now();
            let late = timeout(SHORT, pending::<()>()).await.unwrap_err();
            assert_eq!(late.kind(), io::ErrorKind::TimedOut);
            assert!(start.elapsed() >= SHORT);
            sleep(SHORT).await.unwrap();
            assert!(start.elapsed() >= SHORT * 2);
        });
    }
}
