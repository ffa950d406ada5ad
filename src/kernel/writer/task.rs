//! What the writer knows and does: merges wishes, listens to the kernel, plans and has plans
//! carried out. Whoever holds it does so for as long as that takes.

mod at_once;
mod looking;
mod paths;

use super::carry_out::{self, Kit, Looks, Outcome};
use super::grace_periods;
use super::kernel_state::{Sockets, Table, is_own};
use super::refusal::Refused;
use super::thresholds;
use super::{Found, Options, Refusal, Report, StartError, Stop};
use crate::kernel::desired::{
    Action, Change, Desired, Direction, Key, Object, Policy, PolicyKey, Revision,
};
use crate::kernel::events::KernelEvent;
use crate::kernel::netlink::larval::{self, Larval};
use crate::kernel::observed::Observed;
use crate::kernel::ownership::{self, Indices};
use crate::kernel::plan::{Plan, Scope, plan};
use crate::kernel::remembered::Remembered;
use std::collections::BTreeSet;
use std::fmt::{self, Debug, Formatter};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

pub(super) struct Task {
    /// What there is to say, for whoever holds the task to pass on.
    outbox: Vec<Report>,
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
    /// What the last plan has left to look at.
    aftermath: Option<Aftermath>,
    /// Whether a socket has failed since somebody rested.
    failed: bool,
    /// Whether somebody has changed our nftables tables since they were looked at.
    tables_altered: bool,
}

/// For the thread, when it has done what there was to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rest {
    /// There is more.
    None,
    /// A socket has failed.
    AfterFailure,
    /// Until something comes, or until what was refused is to be tried again.
    Until(Option<Instant>),
}

#[derive(Debug)]
struct Aftermath {
    looks: Looks,
    /// Policies of ours that others touched.
    disturbed: BTreeSet<PolicyKey>,
}

impl Aftermath {
    /// Whether events do not tell all.
    fn has_looks(&self) -> bool {
        self.looks != Looks::default()
    }
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
    pub(super) fn open(options: Options) -> Result<Self, StartError> {
        let mut sockets = Sockets::open()?;
        let mut remembered = Remembered::open(&options.runtime_dir)
            .map_err(|error| StartError::Remembered(options.runtime_dir, error))?;
        grace_periods::restore(&mut remembered);
        let mut observed = Observed::default();
        sockets.list(&mut observed)?;
        Ok(Self {
            outbox: Vec::new(),
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
            aftermath: None,
            failed: false,
            tables_altered: false,
        })
    }

    pub(super) fn found(&self) -> Found {
        Found {
            policies: self.observed.own_policies().cloned().collect(),
            sas: self.observed.own_sas().cloned().collect(),
        }
    }

    /// Copies of the sockets that events come by, to wait for them without holding the task.
    pub(super) fn event_sockets(&self) -> io::Result<Vec<OwnedFd>> {
        self.sockets.event_sockets()
    }

    /// To be passed on in this order.
    pub(super) fn take_reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.outbox)
    }

    pub(super) fn rest(&mut self) -> Rest {
        if std::mem::take(&mut self.failed) {
            Rest::AfterFailure
        } else if self.pending.is_empty() {
            Rest::Until(self.refused.due())
        } else {
            Rest::None
        }
    }

    pub(super) fn revise(&mut self, revision: Revision) {
        if self.revision == Revision::default() {
            self.before_the_first_change();
        }
        self.revision = self.revision.max(revision);
        self.pending.changed = true;
    }

    pub(super) fn remove(&mut self, key: Key) {
        self.desired.remove(&key);
        if let Key::Sa(key) = &key {
            self.observed.forget(key);
        }
        self.pending.keys.push(key);
    }

    pub(super) fn put(&mut self, object: Object) {
        let key = object.key();
        self.pending.keys.push(key);
        self.desired.insert(object);
    }

    pub(super) fn release(&mut self, key: PolicyKey) {
        self.pending.release.insert(key);
    }

    pub(super) fn merge(&mut self, change: Change) {
        self.revise(change.revision);
        let keys = &mut self.pending.keys;
        keys.reserve(change.remove.len() + change.put.len());
        for key in change.remove {
            self.remove(key);
        }
        if change.put.len() > self.desired.len() {
            // One walk along both, instead of a search for each.
            let put: Desired = change.put.into_iter().collect();
            self.pending.keys.extend(put.keys());
            self.desired.append(put);
        } else {
            for object in change.put {
                self.put(object);
            }
        }
        self.pending.release.extend(change.release);
    }

    /// The larval SAs of our policies go; others' policies have larval SAs too, which stay.
    pub(super) fn forget_acquires(&mut self) {
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

    /// Listens, plans, carries out and reports, once. [`Task::look_again`] is to follow.
    pub(super) fn follow(&mut self) {
        if self.sockets.has_events() {
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
        self.carry_out_pending(now);
    }

    fn carry_out_pending(&mut self, now: Instant) {
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
        self.aftermath = Some(Aftermath {
            looks: outcome.looks,
            disturbed: pending.disturbed,
        });
    }

    /// Takes in what became of the objects that were written.
    pub(super) fn look_again(&mut self) {
        let Some(Aftermath { looks, disturbed }) = self.aftermath.take() else {
            return;
        };
        self.look_at(looks);
        for key in disturbed {
            if is_own(&self.observed, &Key::Policy(key)) {
                self.report(Report::Event(KernelEvent::PolicyRepaired { key }));
            }
        }
    }

    /// What is in the kernel now is unknown: all of it is looked at again, a little later.
    fn follow_later(&mut self, mut pending: Pending) {
        pending.everything = true;
        self.pending = pending;
        self.failed = true;
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
            // Only the outbox is needed, and a plan borrows the rest.
            let lost = KernelEvent::SaLost { key: *key };
            self.outbox.push(Report::Event(lost));
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

    fn report(&mut self, report: Report) {
        self.outbox.push(report);
    }

    pub(super) fn stop(&mut self, how: Stop) -> Vec<Refusal> {
        self.follow();
        self.look_again();
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

impl Debug for Task {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

/// Where so many steps are most of what is wanted, listing everything afterwards costs less than an
/// event for each; and with so many keys, walking along everything costs less than looking each of
/// them up.
fn most_of(many: usize, desired: &Desired) -> bool {
    many > 1000 && 2 * many > desired.len()
}

fn log(plan: &Plan<'_>) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    for (stage, step) in &plan.steps {
        tracing::debug!(?stage, %step, "kernel");
    }
}
