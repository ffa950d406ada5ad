//! The only sender of mutations.
//!
//! A thread of its own with blocking sockets: the kernel does the work of a netlink request within
//! the system call that sends it, so a socket that never blocks would block the runtime all the
//! same, for a third of a second with 50,000 policies. [`Writer`] and the channel of [`Report`]s
//! are its two ends in the asynchronous world. What a tunnel or a move needs takes less than the way to the
//! thread and back, and [`Writer::apply_at_once`] does it while the thread has nothing to do.
//!
//! ```text
//! Writer::apply ─→ inbox ─→ merge all that waits ─→ plan ─→ carry out ─→ Report
//! Writer::apply_at_once, few and nothing waits ────↗   ↑       │
//!                                              observed ←── SA, POLICY, EXPIRE, (the kernel's
//!                                                 LINK, ADDR, ROUTE, RULE, nftables  own word)
//! ```

mod carry_out;
mod grace_periods;
mod inbox;
mod kernel_state;
mod links;
mod paths;
mod refusal;
mod room;
mod task;
mod thread;
mod thresholds;

pub use refusal::Refusal;

use super::desired::{Change, Key, Revision};
use super::events::KernelEvent;
use super::netlink::error::KernelError;
use super::observed::{ObservedPolicy, ObservedSa};
use inbox::{Closed, Command, Inbox};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use task::Task;
use thread::Thread;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

#[derive(Clone, Debug)]
pub struct Options {
    /// Where earlier kernel settings are remembered across `kill -9`: a directory that exists and
    /// that a reboot empties.
    pub runtime_dir: PathBuf,
}

/// What of ours an earlier run left in the kernel.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub policies: Vec<ObservedPolicy>,
    pub sas: Vec<ObservedSa>,
}

#[derive(Debug)]
pub enum Report {
    /// All wishes up to this revision have been carried out, except those that were named in
    /// [`Report::Refused`] before it and not in [`Report::Accepted`] since.
    Applied { revision: Revision },
    /// Told again only when the reason changes; tried again until it is accepted.
    Refused {
        revision: Revision,
        refusal: Refusal,
    },
    /// What was refused is as it should be by now, or is not wanted any more.
    Accepted { key: Key },
    /// [`KernelEvent::SaLost`], [`KernelEvent::PolicyRepaired`] or [`KernelEvent::Overrun`].
    Event(KernelEvent),
}

/// What becomes of the kernel's objects at the end. Sysctls and hash thresholds are given back
/// either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// All stays: protected traffic stays protected or blocked.
    Keep,
    /// Everything that is ours is removed.
    Remove,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "cannot open a netlink socket for {0}: {1}; run as root or with CAP_NET_ADMIN, on a kernel with CONFIG_XFRM_USER"
    )]
    Socket(&'static str, io::Error),
    #[error("cannot list the kernel's {0}: {1}")]
    Dump(&'static str, KernelError),
    #[error("cannot read earlier kernel settings in {0}: {1}")]
    Remembered(PathBuf, io::Error),
    #[error("cannot start the writer: {0}")]
    Thread(io::Error),
}

/// Dropping it without [`Writer::stop`] leaves everything in the kernel, as `kill -9` does.
#[derive(Debug)]
pub struct Writer {
    /// The thread's, while it does anything.
    task: Arc<Mutex<Task>>,
    inbox: Arc<Inbox>,
    wake: Wake,
}

/// Ends the thread's wait, which is for this and for events of the kernel.
#[derive(Debug)]
struct Wake {
    /// Whether an octet is in the stream: a thread that has much to do is not woken for each wish.
    woken: Arc<AtomicBool>,
    stream: UnixStream,
}

impl Wake {
    fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = UnixStream::pair()?;
        let woken = Arc::new(AtomicBool::new(false));
        let end = |stream: UnixStream| {
            stream.set_nonblocking(true)?;
            let woken = Arc::clone(&woken);
            Ok::<_, io::Error>(Self { woken, stream })
        };
        Ok((end(a)?, end(b)?))
    }

    /// What was done before it is seen by whoever comes back from [`Wake::sleep_again`].
    fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            // A stream that is full, or closed, has nobody asleep at its end.
            let _ = (&self.stream).write(&[0]);
        }
    }

    fn sleep_again(&self) {
        let _ = (&self.stream).read(&mut [0]);
        self.woken.swap(false, Ordering::AcqRel);
    }
}

impl Writer {
    /// Looks at what is there; changes nothing before the first [`Writer::apply`]. That first change
    /// is taken as the whole of what is wanted: what is ours and not in it is removed. SAs of an
    /// earlier run are kept with [`super::desired::Object::AdoptedSa`].
    ///
    /// Sockets and the thread belong to the network namespace of the calling thread. The channel of
    /// reports closes when the thread has ended.
    pub fn start(options: Options) -> Result<(Self, Found, UnboundedReceiver<Report>), StartError> {
        let (reports, receiver) = tokio::sync::mpsc::unbounded_channel();
        let (wake, woken) = Wake::pair().map_err(StartError::Thread)?;
        let task = Task::open(options)?;
        let found = task.found();
        let events = task.event_sockets().map_err(StartError::Thread)?;
        let task = Arc::new(Mutex::new(task));
        let inbox = Arc::<Inbox>::default();
        let thread = Thread {
            task: Arc::clone(&task),
            inbox: Arc::clone(&inbox),
            taken: Vec::new(),
            wake: woken,
            events,
            reports,
        };
        std::thread::Builder::new()
            .name("kernel-writer".into())
            .spawn(move || thread.run())
            .map_err(StartError::Thread)?;
        let writer = Self { task, inbox, wake };
        Ok((writer, found, receiver))
    }

    /// Queues a wish; never blocks. Answered with [`Report::Applied`] of its revision or a later
    /// one.
    pub fn apply(&self, change: Change) {
        self.wake_unless_gone(self.inbox.apply(change));
    }

    /// Carries the wish out before it returns, where it is about a few objects that are written in batches and the
    /// thread has nothing to do; otherwise it is queued as by [`Writer::apply`]. Returns what has been
    /// said until then, oldest first: that which waited in `reports`, the channel of
    /// [`Writer::start`], is before that which came of this wish.
    pub fn apply_at_once(
        &self,
        now: Instant,
        change: Change,
        reports: &mut UnboundedReceiver<Report>,
    ) -> Vec<Report> {
        // Without the thread, which holds it too, nobody would listen to the kernel.
        let is_attended = Arc::strong_count(&self.task) > 1;
        let task = self.task.try_lock().ok();
        // The thread takes nothing out of it without the task.
        let task = task.filter(|_| is_attended && self.inbox.is_empty());
        let Some(mut task) = task else {
            self.apply(change);
            return Vec::new();
        };
        if let Err(change) = task.at_once(now, change) {
            self.apply(change);
            return Vec::new();
        }
        let earlier = std::iter::from_fn(|| reports.try_recv().ok());
        let said = earlier.chain(task.take_reports()).collect();
        if task.needs_thread() {
            self.wake.wake();
        }
        said
    }

    /// To be called when the wall clock went back. The kernel measures by it for how long it does not
    /// announce a pair of hosts again: set back by an hour, that is an hour longer, in which
    /// packets without a tunnel would be held and nobody would know.
    pub fn forget_acquires(&self) {
        self.wake_unless_gone(self.inbox.push([Command::ForgetAcquires]));
    }

    /// Finishes what is queued, then ends the thread. Returns what could not be removed or given
    /// back.
    pub async fn stop(self, how: Stop) -> Vec<Refusal> {
        let (done, answer) = oneshot::channel();
        self.wake_unless_gone(self.inbox.push([Command::Stop((how, done))]));
        answer.await.unwrap_or_default()
    }

    /// The thread ends only by `Stop`, after which nobody holds a `Writer`.
    fn wake_unless_gone(&self, put: Result<(), Closed>) {
        if put.is_ok() {
            self.wake.wake();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.inbox.close();
        self.wake.wake();
    }
}
