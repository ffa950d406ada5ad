//! What the daemon waits for.

use super::Error;
use crate::agent::event::Event;
use crate::control::server::Call;
use crate::daemon::clock::ClockWatch;
use crate::daemon::datagrams::Datagrams;
use crate::kernel::monitor::Monitor;
use crate::kernel::timer::Timer;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{self, UnboundedReceiver};

/// Everything the daemon waits for.
pub(super) struct Inputs {
    pub(super) monitor: Monitor,
    /// When it is to be seen whether the tunnels of before carry anything.
    pub(super) proof: Option<Instant>,
    pub(super) watchdog: Watchdog,
    /// For these two, and whatever the agent waits for.
    pub(super) timer: Timer,
    pub(super) datagrams: Datagrams,
    /// How far bindings are kept.
    pub(super) kept: UnboundedReceiver<u64>,
    /// By tasks of ours.
    pub(super) told: UnboundedReceiver<Event>,
    pub(super) calls: mpsc::Receiver<Call>,
    pub(super) clock: ClockWatch,
    pub(super) reload: Signal,
    pub(super) terminate: Signal,
    pub(super) interrupt: Signal,
}

pub(super) fn listen_for(kind: SignalKind) -> Result<Signal, Error> {
    signal(kind).map_err(|source| Error::Start {
        what: "listen for signals",
        source,
    })
}

/// When the next tick is due, the first at once.
pub(super) struct Watchdog {
    pub(super) due: Instant,
    interval: Duration,
}

impl Watchdog {
    /// Half of what systemd allows; where it watches nothing, a tick that notifies nobody.
    pub(super) fn new(now: Instant) -> Self {
        let allowed = sd_notify::watchdog_enabled().unwrap_or(Duration::from_secs(60));
        Self {
            due: now,
            interval: allowed / 2,
        }
    }

    /// Ticks that nobody has seen are not made up for.
    pub(super) fn ticks(&mut self, now: Instant) -> bool {
        let is_due = self.due <= now;
        if is_due {
            self.due = now + self.interval;
        }
        is_due
    }
}
