//! The writer's thread: takes what is queued, waits for events of the kernel, and has the task do
//! what follows from either.

use super::inbox::{Closed, Command, Inbox, StopRequest};
use super::task::{Rest, Task};
use super::{Report, Wake};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;

/// A socket that fails again and again must not keep a processor busy.
const RETRY: Duration = Duration::from_millis(200);

pub(super) struct Thread {
    pub task: Arc<Mutex<Task>>,
    pub inbox: Arc<Inbox>,
    /// Empty while nothing is merged.
    pub taken: Vec<Command>,
    pub wake: Wake,
    pub events: Vec<OwnedFd>,
    /// It ends with the thread.
    pub reports: UnboundedSender<Report>,
}

/// However the thread ends, nobody goes on waiting for it.
struct Attendance(Arc<Inbox>);

impl Drop for Attendance {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Thread {
    /// Until told to stop, or until nobody can tell any more.
    pub(super) fn run(mut self) {
        let _attendance = Attendance(Arc::clone(&self.inbox));
        disturb_nobody();
        let task = Arc::clone(&self.task);
        loop {
            // Whoever held it has panicked, and nobody knows what it has left undone.
            let Ok(mut task) = task.lock() else {
                return;
            };
            let rest = match self.take_commands(&mut task) {
                Ok(None) => self.follow(&mut task),
                Ok(Some((how, done))) => {
                    let refusals = task.stop(how);
                    self.post(&mut task);
                    // Nobody waits for it any more: the same.
                    let _ = done.send(refusals);
                    return;
                }
                Err(Closed) => return,
            };
            drop(task);
            if !self.rest(rest) {
                return;
            }
        }
    }

    fn follow(&self, task: &mut Task) -> Rest {
        task.follow();
        // Nobody waits for what is only looked at.
        self.post(task);
        task.look_again();
        self.post(task);
        task.rest()
    }

    fn post(&self, task: &mut Task) {
        for report in task.take_reports() {
            // A receiver that is gone does not care.
            let _ = self.reports.send(report);
        }
    }

    /// Merges everything that waits; stops short of a `Stop`, so that wishes before it are done.
    fn take_commands(&mut self, task: &mut Task) -> Result<Option<StopRequest>, Closed> {
        self.inbox.take(&mut self.taken)?;
        for command in self.taken.drain(..) {
            match command {
                Command::Apply(change) => task.merge(change),
                Command::Revise(revision) => task.revise(revision),
                Command::Remove(key) => task.remove(key),
                Command::Put(object) => task.put(object),
                Command::Release(key) => task.release(key),
                Command::ForgetAcquires => task.forget_acquires(),
                Command::Stop(request) => return Ok(Some(request)),
            }
        }
        Ok(None)
    }

    /// `false` where that cannot be done any more.
    fn rest(&self, rest: Rest) -> bool {
        match rest {
            Rest::None => true,
            Rest::AfterFailure => {
                std::thread::sleep(RETRY);
                true
            }
            Rest::Until(due) => self.wait(due),
        }
    }

    /// Sleeps until a command or an event comes, or until then.
    fn wait(&self, due: Option<Instant>) -> bool {
        let on = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = vec![on(self.wake.stream.as_fd())];
        fds.extend(self.events.iter().map(|fd| on(fd.as_fd())));
        match poll(&mut fds, due.map_or(PollTimeout::NONE, until)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => {
                tracing::error!(%error, "the kernel writer cannot wait for events");
                return false;
            }
        }
        // Before the queue is read, so that no wish is slept over.
        if fds[0].any() != Some(false) {
            self.wake.sleep_again();
        }
        true
    }
}

/// What this thread is woken for is never so urgent as what whoever woke it is doing: on a single
/// processor it would be run first, only to find the task held.
#[expect(unsafe_code, reason = "nix has no sched_setscheduler")]
fn disturb_nobody() {
    let priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel reads one sched_param, which outlives the call; 0 is the calling thread.
    let result = unsafe {
        libc::syscall(
            libc::SYS_sched_setscheduler,
            0,
            libc::SCHED_BATCH,
            &raw const priority,
        )
    };
    if let Err(error) = Errno::result(result) {
        tracing::debug!(%error, "the kernel writer is scheduled as everything is");
    }
}

/// Rounded up, so that it is time when it ends.
fn until(due: Instant) -> PollTimeout {
    let left = due.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
}
