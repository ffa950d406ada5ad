//! Carries out the steps of a plan, in order, many to a system call.

use super::Refusal;
use super::kernel_state::{Sockets, Table, read_sysctl, write_sysctl};
use super::room::Room;
use crate::kernel::desired::{Key, PolicyKey, Sysctl};
use crate::kernel::interception;
use crate::kernel::netlink::error::KernelError;
use crate::kernel::netlink::policy::Write;
use crate::kernel::netlink::socket::Requests;
use crate::kernel::netlink::{policy, route, sa};
use crate::kernel::observed::Observed;
use crate::kernel::ownership::Indices;
use crate::kernel::plan::{Plan, Stage, Step};
use crate::kernel::remembered::Remembered;
use nix::errno::Errno;
use std::io;

/// What came of a plan.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub refusals: Vec<Refusal>,
    /// Not done, because a protecting policy over the same packets was refused.
    pub withheld: Vec<Key>,
    pub looks: Looks,
}

/// Which kinds of objects were written that have no events: to be looked at again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Looks {
    pub routes: bool,
    pub interception: bool,
    pub sysctls: bool,
}

pub(super) struct Kit<'a> {
    pub sockets: &'a mut Sockets,
    pub table: &'a mut Table,
    pub remembered: &'a mut Remembered,
    pub indices: &'a mut Indices,
}

/// # Errors
/// A socket failed: what was done is unknown and everything has to be listed again.
pub(super) fn carry_out(
    plan: &Plan<'_>,
    observed: &Observed,
    kit: &mut Kit<'_>,
) -> io::Result<Outcome> {
    let mut run = Run {
        observed,
        kit,
        outcome: Outcome::default(),
        queued: Vec::new(),
        uncovered: Vec::new(),
        room: Room::default(),
    };
    for clash in &plan.clashes {
        run.outcome.refusals.push(Refusal::clash(clash));
        run.uncovered.push(clash.policy.key);
    }
    for (stage, step) in &plan.steps {
        if stage.may_expose() && !run.may_expose(step)? {
            run.outcome.withheld.push(step.key());
            continue;
        }
        run.step(*stage, *step)?;
    }
    run.flush()?;
    Ok(run.outcome)
}

struct Run<'a, 'k> {
    observed: &'a Observed,
    kit: &'a mut Kit<'k>,
    outcome: Outcome,
    /// The steps whose messages are in the batch.
    queued: Vec<(Stage, Step<'a>)>,
    /// Policies that should protect and were refused.
    uncovered: Vec<PolicyKey>,
    room: Room,
}

impl<'a> Run<'a, '_> {
    /// Fail closed: what a refused policy should have covered stays covered by what was there.
    fn may_expose(&mut self, step: &Step<'_>) -> io::Result<bool> {
        // Only now is it known whether all that protects was taken.
        if self.queued.iter().any(|(stage, _)| !stage.may_expose()) {
            self.flush()?;
        }
        let Key::Policy(key) = step.key() else {
            return Ok(true);
        };
        Ok(!self.uncovered.iter().any(|refused| {
            refused.direction == key.direction && refused.selector.overlaps(&key.selector)
        }))
    }

    fn step(&mut self, stage: Stage, step: Step<'a>) -> io::Result<()> {
        let xfrm = &mut self.kit.sockets.xfrm;
        match step {
            Step::AddSa(sa) => sa::add(xfrm.batch(), sa),
            Step::DeleteSa { key, src } => sa::delete(xfrm.batch(), &key, src),
            Step::AddPolicy(wanted) => {
                let in_use = |index| self.observed.index_in_use(index);
                let index = self.kit.indices.allocate(wanted.key.direction, in_use);
                let Some(index) = index else {
                    self.refuse(stage, step, Errno::ENOSPC.into());
                    return Ok(());
                };
                policy::put(xfrm.batch(), Write::Add, wanted, index);
                self.room.written(wanted.key.direction);
            }
            Step::UpdatePolicy { policy, index } => {
                policy::put(xfrm.batch(), Write::Update, policy, index);
            }
            Step::DeletePolicy { key, index } => policy::delete(xfrm.batch(), &key, index),
            _ => {
                self.flush()?;
                if let Err(error) = self.other(step) {
                    self.refuse(stage, step, error);
                }
                return Ok(());
            }
        }
        self.queued.push((stage, step));
        if self.kit.sockets.xfrm.batch().is_full() {
            self.flush()?;
            // Each step has its event, and their socket does not hold any number of them.
            self.kit.sockets.listen()?;
            self.room.await_growth(&mut self.kit.sockets.xfrm);
        }
        Ok(())
    }

    /// Everything but XFRM: seldom, so one by one.
    fn other(&mut self, step: Step<'_>) -> Result<(), KernelError> {
        let routes: &mut Requests = &mut self.kit.sockets.route;
        match step {
            Step::AddRoute(key) => route::add_route(routes.batch(), &key),
            Step::DeleteRoute(key) => route::delete_route(routes.batch(), &key),
            Step::AddRule(key) => route::add_rule(routes.batch(), &key),
            Step::DeleteRule(key) => route::delete_rule(routes.batch(), &key),
            Step::Intercept(wanted) => {
                self.outcome.looks.interception = true;
                interception::install(wanted)?;
                return self.kit.table.wrote(wanted);
            }
            Step::RemoveInterception => {
                self.outcome.looks.interception = true;
                return interception::remove();
            }
            Step::SetSysctl(name, value) => {
                self.outcome.looks.sysctls = true;
                let before = read_sysctl(name)?;
                self.kit
                    .remembered
                    .sysctl(name, &before, value)
                    .map_err(|error| not_kept(&before, error))?;
                return Ok(write_sysctl(name, value)?);
            }
            Step::RestoreSysctl(name) => {
                self.outcome.looks.sysctls = true;
                return Ok(restore_sysctl(self.kit.remembered, name)?);
            }
            _ => return Ok(()),
        }
        self.outcome.looks.routes = true;
        match routes.flush()?.pop() {
            Some((_, error)) if !is_done(&step, &error) => Err(error),
            _ => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.queued.is_empty() {
            return Ok(());
        }
        let refused = self.kit.sockets.xfrm.flush()?;
        let mut queued = std::mem::take(&mut self.queued);
        for (position, error) in refused {
            if let Some((stage, step)) = queued.get(position)
                && !is_done(step, &error)
            {
                self.refuse(*stage, *step, error);
            }
        }
        queued.clear();
        self.queued = queued;
        Ok(())
    }

    fn refuse(&mut self, stage: Stage, step: Step<'_>, error: KernelError) {
        let key = step.key();
        if let (Stage::Protect, Key::Policy(policy)) = (stage, key) {
            self.uncovered.push(policy);
        }
        self.outcome
            .refusals
            .push(Refusal::new(key, step.to_string(), error));
    }
}

/// A removal that finds nothing has nothing left to do.
fn is_done(step: &Step<'_>, error: &KernelError) -> bool {
    let removal = matches!(
        step,
        Step::DeletePolicy { .. }
            | Step::DeleteSa { .. }
            | Step::DeleteRoute(_)
            | Step::DeleteRule(_)
    );
    removal && error.is_gone()
}

/// Where somebody has changed it since, it stays as they want it.
pub(super) fn restore_sysctl(remembered: &mut Remembered, name: Sysctl) -> io::Result<()> {
    if let Some(altered) = remembered.settings().sysctls.get(name.name())
        && read_sysctl(name)? == altered.ours
    {
        write_sysctl(name, &altered.before)?;
    }
    remembered.forget_sysctl(name);
    Ok(())
}

/// Without its earlier value in the runtime directory, a sysctl could not be given back.
fn not_kept(before: &str, error: io::Error) -> KernelError {
    let error = KernelError::from(error);
    KernelError {
        text: Some(format!(
            "its value {before} cannot be kept in the runtime directory"
        )),
        ..error
    }
}
