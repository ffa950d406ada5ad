//! The writer's thread: merges wishes, listens to the kernel, plans and has plans carried out.

mod looking;
mod paths;

use super::carry_out::{self, Kit, Outcome};
use super::grace_periods;
use super::kernel_state::{Sockets, Table, is_own};
use super::refusal::Refused;
use super::thresholds;
use super::{Command, Found, Options, Refusal, Report, StartError, Stop, Wake};
use crate::kernel::desired::{
    Action, Change, Desired, Direction, Key, Policy, PolicyKey, Revision,
};
use crate::kernel::events::KernelEvent;
use crate::kernel::netlink::larval::{self, Larval};
use crate::kernel::observed::Observed;
use crate::kernel::ownership::{self, Indices};
use crate::kernel::plan::{Plan, Scope, plan};
use crate::kernel::remembered::Remembered;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

pub(super) struct Task {
    queue: Receiver<Command>,
    wake: Wake,
    reports: UnboundedSender<Report>,
    sockets: Sockets,
    table: Table,
    remembered: Remembered,
    indices: Indices,
    desired: Desired,
    observed: Observed,
    /// Whether events were missed since policies and SAs were listed.
    out_of_date: bool,
    revision: Revision,
    pending: Pending,
    refused: Refused,
    /// Whether events may wait that were not read; `false` where the kernel has just said so.
    unread: bool,
    /// Whether somebody has changed our nftables tables since they were looked at.
    tables_altered: bool,
}

/// What the next plan has to look at.
#[derive(Debug, Default)]
struct Pending {
    /// In any order and possibly more than once.
    keys: Vec<Key>,
    release: BTreeSet<PolicyKey>,
    /// Plan everything, and not only `keys`.
    everything: bool,
    /// A change came whose revision has to be answered.
    changed: bool,
    /// Policies of ours that others touched.
    disturbed: BTreeSet<PolicyKey>,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.release.is_empty() && !self.everything && !self.changed
    }
}

impl Task {
    pub(super) fn open(
        options: Options,
        queue: Receiver<Command>,
        wake: Wake,
        reports: UnboundedSender<Report>,
    ) -> Result<Self, StartError> {
        let mut sockets = Sockets::open()?;
        let mut remembered = Remembered::open(&options.runtime_dir)
            .map_err(|error| StartError::Remembered(options.runtime_dir, error))?;
        grace_periods::restore(&mut remembered);
        let mut observed = Observed::default();
        sockets.list(&mut observed)?;
        Ok(Self {
            queue,
            wake,
            reports,
            sockets,
            table: Table::default(),
            remembered,
            indices: Indices::default(),
            desired: Desired::default(),
            observed,
            out_of_date: false,
            revision: Revision::default(),
            pending: Pending::default(),
            refused: Refused::default(),
            unread: true,
            tables_altered: false,
        })
    }

    pub(super) fn found(&self) -> Found {
        Found {
            policies: self.observed.own_policies().cloned().collect(),
            sas: self.observed.own_sas().cloned().collect(),
        }
    }

    /// Until told to stop, or until nobody can tell any more.
    pub(super) fn run(mut self) {
        loop {
            match self.take_commands() {
                Ok(None) => {}
                Ok(Some((how, done))) => {
                    let refusals = self.stop(how);
                    // Nobody waits for it any more: the same.
                    let _ = done.send(refusals);
                    return;
                }
                Err(Disconnected) => return,
            }
            self.follow();
            if self.pending.is_empty() && !self.wait() {
                return;
            }
        }
    }

    /// Sleeps until a command or an event comes, or until what was refused is to be tried again;
    /// `false` where that cannot be done any more.
    fn wait(&mut self) -> bool {
        let timeout = self.refused.due().map_or(PollTimeout::NONE, until);
        let on = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let paths = &self.sockets.paths;
        let mut fds = vec![
            on(self.wake.stream.as_fd()),
            on(self.sockets.events.as_fd()),
            on(paths.events.as_fd()),
        ];
        fds.extend(paths.tables.as_ref().map(|tables| on(tables.as_fd())));
        match poll(&mut fds, timeout) {
            Ok(_) => self.unread = fds[1..].iter().any(|fd| fd.any() != Some(false)),
            Err(Errno::EINTR) => {}
            Err(error) => {
                tracing::error!(%error, "the kernel writer cannot wait for events");
                return false;
            }
        }
        // Before the queue is read, so that no wish is slept over.
        self.wake.sleep_again();
        true
    }

    /// Merges everything that waits; stops short of a `Stop`, so that wishes before it are done.
    fn take_commands(&mut self) -> Result<Option<StopRequest>, Disconnected> {
        loop {
            match self.queue.try_recv() {
                Ok(Command::Apply(change)) => self.merge(change),
                Ok(Command::ForgetAcquires) => self.forget_acquires(),
                Ok(Command::Stop(how, done)) => return Ok(Some((how, done))),
                Err(TryRecvError::Empty) => return Ok(None),
                Err(TryRecvError::Disconnected) => return Err(Disconnected),
            }
        }
    }

    fn merge(&mut self, change: Change) {
        if self.revision == Revision::default() {
            self.before_the_first_change();
        }
        self.revision = self.revision.max(change.revision);
        self.pending.changed = true;
        self.pending
            .keys
            .reserve(change.remove.len() + change.put.len());
        for key in change.remove {
            self.desired.remove(&key);
            if let Key::Sa(key) = &key {
                self.observed.forget(key);
            }
            self.pending.keys.push(key);
        }
        if change.put.len() > self.desired.len() {
            // One walk along both, instead of a search for each.
            let objects = change.put.into_iter();
            let mut put: Desired = objects.map(|object| (object.key(), object)).collect();
            self.pending.keys.extend(put.keys());
            self.desired.append(&mut put);
        } else {
            for object in change.put {
                self.pending.keys.push(object.key());
                self.desired.insert(object.key(), object);
            }
        }
        self.pending.release.extend(change.release);
    }

    /// The larval SAs of our policies go; others' policies have larval SAs too, which stay.
    fn forget_acquires(&mut self) {
        let larvals = match larval::list(&mut self.sockets.xfrm) {
            Ok(larvals) => larvals,
            Err(error) => {
                tracing::error!(%error, "the kernel's larval SAs cannot be listed");
                return;
            }
        };
        let raised = |larval: &Larval, policy: &Policy| {
            let key = &policy.key;
            key.direction == Direction::Out
                && key.mark == larval.mark
                && key.selector.src.contains(&larval.src)
                && key.selector.dst.contains(&larval.dst)
                && matches!(&policy.action, Action::Allow(templates)
                    if templates.iter().any(|template| template.reqid == larval.reqid))
        };
        for larval in &larvals {
            // A tunnel's policy makes larval SAs between its ends.
            let ours = ownership::REQIDS.contains(&larval.reqid)
                || self
                    .observed
                    .own_policies()
                    .any(|own| raised(larval, &own.policy));
            if ours && let Err(error) = larval::delete(&mut self.sockets.xfrm, larval) {
                tracing::warn!(%error, dst = %larval.dst, "a larval SA stays until it expires");
            }
        }
    }

    fn before_the_first_change(&mut self) {
        self.pending.everything = true;
        // Policies and SAs have been followed since the start.
        if let Err(error) = self.look_at_what_has_no_events() {
            tracing::error!(%error, "the kernel cannot be listed");
            self.out_of_date = true;
        }
        if let Err(error) = thresholds::set(&mut self.sockets.xfrm, &mut self.remembered) {
            // Slower with many policies, and otherwise the same.
            tracing::warn!(%error, "policy hash thresholds stay as they are");
        }
    }

    /// Listens, plans, carries out and reports, once.
    fn follow(&mut self) {
        if std::mem::replace(&mut self.unread, true) {
            self.listen();
        }
        if self.revision != Revision::default()
            && let Err(error) = self.look_at_altered_tables()
        {
            tracing::error!(%error, "nftables cannot be listed");
        }
        let now = Instant::now();
        let due = self.refused.is_due(now);
        // Nothing is touched before the first wish.
        if (self.pending.is_empty() && !due) || self.revision == Revision::default() {
            self.pending = Pending::default();
            return;
        }
        self.pending.keys.extend(self.refused.again(now));
        let mut pending = std::mem::take(&mut self.pending);
        if self.out_of_date
            && let Err(error) = self.look_at_everything()
        {
            tracing::error!(%error, "the kernel cannot be listed");
            return self.follow_later(pending);
        }
        let scope = if pending.everything || most_of(pending.keys.len(), &self.desired) {
            Scope::Everything
        } else {
            pending.keys.sort_unstable();
            pending.keys.dedup();
            Scope::Keys(&pending.keys)
        };
        let outcome = match self.carry_out(scope, &pending.release) {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::error!(%error, "a kernel socket failed; listing everything again");
                return self.follow_later(pending);
            }
        };
        let news = self
            .refused
            .settle(now, scope, outcome.refusals, outcome.withheld);
        for refusal in news.refused {
            self.report(Report::Refused {
                revision: self.revision,
                refusal,
            });
        }
        for key in news.accepted {
            self.report(Report::Accepted { key });
        }
        // Each step has been answered; what the events say of it is not waited for.
        if pending.changed {
            self.report(Report::Applied {
                revision: self.revision,
            });
        }
        self.look_again(outcome.looks);
        for key in pending.disturbed {
            if is_own(&self.observed, &Key::Policy(key)) {
                self.report(Report::Event(KernelEvent::PolicyRepaired { key }));
            }
        }
    }

    /// What is in the kernel now is unknown: all of it is looked at again, a little later.
    fn follow_later(&mut self, mut pending: Pending) {
        std::thread::sleep(RETRY);
        pending.everything = true;
        self.pending = pending;
        self.out_of_date = true;
    }

    /// Events were missed: everything has to be listed again, and planned.
    fn lose_track(&mut self) {
        self.out_of_date = true;
        self.pending.everything = true;
    }

    fn carry_out(
        &mut self,
        scope: Scope<'_>,
        release: &BTreeSet<PolicyKey>,
    ) -> io::Result<Outcome> {
        let plan = plan(&self.desired, &self.observed, scope, release);
        for key in &plan.lost {
            // Only the sender is needed, and a plan borrows the rest.
            let lost = KernelEvent::SaLost { key: *key };
            let _ = self.reports.send(Report::Event(lost));
        }
        log(&plan);
        let mut kit = Kit {
            sockets: &mut self.sockets,
            table: &mut self.table,
            remembered: &mut self.remembered,
            indices: &mut self.indices,
        };
        if !most_of(plan.steps.len(), &self.desired) {
            return carry_out::carry_out(&plan, &self.observed, &mut kit);
        }
        kit.sockets.stop_listening()?;
        grace_periods::shorten(kit.remembered);
        let outcome = carry_out::carry_out(&plan, &self.observed, &mut kit);
        grace_periods::restore(kit.remembered);
        self.lose_track();
        outcome
    }

    fn report(&self, report: Report) {
        // A receiver that is gone does not care.
        let _ = self.reports.send(report);
    }

    fn stop(mut self, how: Stop) -> Vec<Refusal> {
        self.follow();
        let mut refusals = Vec::new();
        if how == Stop::Remove {
            self.desired.clear();
            if let Err(error) = self.look_at_everything() {
                tracing::error!(%error, "the kernel cannot be listed");
            }
            match self.carry_out(Scope::Everything, &BTreeSet::new()) {
                Ok(outcome) => refusals = outcome.refusals,
                Err(error) => tracing::error!(%error, "a kernel socket failed; something is left"),
            }
        }
        for name in self.remembered.sysctls().collect::<Vec<_>>() {
            if let Err(error) = carry_out::restore_sysctl(&mut self.remembered, name) {
                let attempt = format!("sysctl {name}=(as before)");
                refusals.push(Refusal::new(Key::Sysctl(name), attempt, error.into()));
            }
        }
        if let Err(error) = thresholds::restore(&mut self.sockets.xfrm, &mut self.remembered) {
            tracing::warn!(%error, "policy hash thresholds could not be given back");
        }
        if let Err(error) = self.remembered.save() {
            tracing::warn!(%error, "the next start will find settings that were given back already");
        }
        refusals
    }
}

/// Where so many steps are most of what is wanted, listing everything afterwards costs less than an
/// event for each; and with so many keys, walking along everything costs less than looking each of
/// them up.
fn most_of(many: usize, desired: &Desired) -> bool {
    many > 1000 && 2 * many > desired.len()
}

/// A socket that fails again and again must not keep a processor busy.
const RETRY: Duration = Duration::from_millis(200);

type StopRequest = (Stop, oneshot::Sender<Vec<Refusal>>);

/// The [`super::Writer`] is gone.
struct Disconnected;

/// Rounded up, so that it is time when it ends.
fn until(due: Instant) -> PollTimeout {
    let left = due.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
}

fn log(plan: &Plan<'_>) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    for (stage, step) in &plan.steps {
        tracing::debug!(?stage, %step, "kernel");
    }
}
