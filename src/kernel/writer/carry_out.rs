//! Carries out the steps of a plan, in order, many to a system call.

use super::Refusal;
use super::kernel_state::{Sockets, Table, read_sysctl, write_sysctl};
use super::links;
use super::room::Room;
use crate::kernel::desired::{
    Direction, Key, LinkName, Neighbour, NeighbourKey, PolicyKey, ProxyKey, RouteKey, Sysctl, Way,
};
use crate::kernel::netlink::error::KernelError;
use crate::kernel::netlink::message::Batch;
use crate::kernel::netlink::policy::Write;
use crate::kernel::netlink::socket::Requests;
use crate::kernel::netlink::{address, neighbour, nftables, policy, proxy, route, rule, sa};
use crate::kernel::observed::Observed;
use crate::kernel::ownership::Indices;
use crate::kernel::plan::{Clash, Plan, Stage, Step};
use crate::kernel::remembered::Remembered;
use crate::kernel::{decapsulation, interception};
use crate::net::Selector;
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

/// What came of a plan.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub refusals: Vec<Refusal>,
    /// Not done, because a protecting policy over the same packets was refused.
    pub withheld: Vec<Key>,
    pub looks: Looks,
}

/// What was written that has no events: to be looked at again.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Looks {
    pub tables: bool,
    pub sysctls: bool,
    pub proxies: Vec<ProxyKey>,
    pub neighbours: Vec<NeighbourKey>,
    /// Routes that the kernel says are not there.
    pub gone: Vec<RouteKey>,
}

impl Looks {
    /// It was not written.
    fn forget(&mut self, key: &Key) {
        match key {
            Key::Proxy(refused) => self.proxies.retain(|key| key != refused),
            Key::Neighbour(refused) => self.neighbours.retain(|key| key != refused),
            _ => {}
        }
    }
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
        lane: Lane::Xfrm,
        made: BTreeMap::new(),
        uncovered: Vec::new(),
        is_open_ended: false,
        room: Room::default(),
    };
    for clash in &plan.clashes {
        run.outcome.refusals.push(Refusal::clash(clash));
        if let Clash::Policy(there) = clash {
            run.uncovered.push(there.policy.key);
        }
    }
    for (stage, step) in &plan.steps {
        if stage.may_expose() && !run.may_expose(*stage, step)? {
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
    /// The batch that they are in.
    lane: Lane,
    /// Links that were made by this plan, which `observed` does not have yet.
    made: BTreeMap<LinkName, u32>,
    /// Policies that should protect and were refused.
    uncovered: Vec<PolicyKey>,
    /// Whether the end of a table or a rule was refused, so that packets may fall through.
    is_open_ended: bool,
    room: Room,
}

impl<'a> Run<'a, '_> {
    /// Fail closed: what a refused policy should have covered stays covered by what was there.
    fn may_expose(&mut self, stage: Stage, step: &Step<'_>) -> io::Result<bool> {
        // Only now is it known whether all that protects was taken.
        if self.queued.iter().any(|(stage, _)| !stage.may_expose()) {
            self.flush()?;
        }
        Ok(match step.key() {
            Key::Policy(key) => !self.uncovered.iter().any(|refused| {
                refused.direction == key.direction && refused.selector.overlaps(&key.selector)
            }),
            Key::Address(_) => !self.is_open_ended,
            Key::Route(_) if stage == Stage::Close => !self.is_open_ended,
            Key::Route(_) => self.is_covered(step),
            _ => true,
        })
    }

    /// Whether no policy was refused that should protect the outer packets of this way.
    fn is_covered(&self, step: &Step<'_>) -> bool {
        let (Step::AddRoute(route) | Step::ReplaceRoute(route)) = step else {
            return true;
        };
        let Way::Encapsulated { encapsulation, .. } = route.way else {
            return true;
        };
        let host = |addr| crate::net::host(IpAddr::V4(addr));
        let outer = Selector::between(host(encapsulation.src), host(encapsulation.dst));
        !self
            .uncovered
            .iter()
            .any(|refused| refused.direction == Direction::Out && refused.selector.overlaps(&outer))
    }

    fn step(&mut self, stage: Stage, step: Step<'a>) -> io::Result<()> {
        let Some(lane) = Lane::of(&step) else {
            self.flush()?;
            if let Err(error) = self.other(step)
                && !is_done(&step, &error)
            {
                self.refuse(stage, step, error);
            }
            return Ok(());
        };
        if lane != self.lane {
            self.flush()?;
            self.lane = lane;
        }
        if let Err(error) = self.queue(&step) {
            self.refuse(stage, step, error);
            return Ok(());
        }
        self.queued.push((stage, step));
        let Some(batch) = self.batch() else {
            return Ok(());
        };
        if batch.is_full() {
            self.flush()?;
            // Each step has its event, and their socket does not hold any number of them.
            self.kit.sockets.listen()?;
            self.room.await_growth(&mut self.kit.sockets.xfrm);
        }
        Ok(())
    }

    fn batch(&mut self) -> Option<&mut Batch> {
        let sockets = &mut *self.kit.sockets;
        match self.lane {
            Lane::Xfrm => Some(sockets.xfrm.batch()),
            Lane::Route => Some(sockets.route.batch()),
            Lane::Nftables => Some(sockets.nftables.as_mut()?.batch()),
        }
    }

    /// Puts a step into the batch of its lane.
    fn queue(&mut self, step: &Step<'a>) -> Result<(), KernelError> {
        if self.lane == Lane::Route {
            return self.queue_path(step);
        }
        let xfrm = &mut self.kit.sockets.xfrm;
        match step {
            Step::AddSa(sa) => sa::add(xfrm.batch(), sa),
            Step::DeleteSa { key, src } => sa::delete(xfrm.batch(), key, *src),
            Step::AddPolicy(wanted) => {
                let in_use = |index| self.observed.index_in_use(index);
                let index = self.kit.indices.allocate(wanted.key.direction, in_use);
                let index = index.ok_or(Errno::ENOSPC)?;
                policy::put(xfrm.batch(), Write::Add, wanted, index);
                self.room.written(wanted.key.direction);
            }
            Step::UpdatePolicy { policy, index } => {
                policy::put(xfrm.batch(), Write::Update, policy, *index);
            }
            Step::DeletePolicy { key, index } => policy::delete(xfrm.batch(), key, *index),
            Step::AddEntry(_) | Step::DeleteEntry(_) => {
                let first = self.queued.is_empty();
                let nftables = self.kit.sockets.nftables.as_mut();
                let batch = nftables.ok_or(Errno::EPROTONOSUPPORT)?.batch();
                if first {
                    nftables::begin(batch);
                }
                put_entry(batch, step);
            }
            _ => {}
        }
        Ok(())
    }

    fn queue_path(&mut self, step: &Step<'a>) -> Result<(), KernelError> {
        let index_of = |name: LinkName| {
            let made = self.made.get(&name).copied();
            let index = made.or_else(|| self.observed.links.index(name));
            index.ok_or_else(|| KernelError {
                errno: Errno::ENODEV,
                text: Some(format!("there is no interface {name}")),
            })
        };
        let over = |way: &Way| match way.link() {
            Some(name) => Ok::<_, KernelError>(way.over(index_of(name)?)),
            // It names none.
            None => Ok(way.over(0)),
        };
        let batch = self.kit.sockets.route.batch();
        match step {
            Step::AddRoute(wanted) => route::add(batch, &wanted.key, &over(&wanted.way)?),
            Step::ReplaceRoute(wanted) => route::replace(batch, &wanted.key, &over(&wanted.way)?),
            Step::DeleteRoute { key, way } => route::delete(batch, key, way.as_ref()),
            Step::AddRule(key) => rule::add(batch, key),
            Step::DeleteRule(key) => rule::delete(batch, key),
            Step::AddAddress(key) => address::add(batch, index_of(key.link)?, key.address),
            Step::DeleteAddress(key) => address::delete(batch, index_of(key.link)?, key.address),
            Step::AddProxy(key) => {
                proxy::add(batch, index_of(key.link)?, key.address);
                self.outcome.looks.proxies.push(*key);
            }
            Step::DeleteProxy(key) => {
                proxy::delete(batch, index_of(key.link)?, key.address);
                self.outcome.looks.proxies.push(*key);
            }
            Step::PutNeighbour(Neighbour { key, mac }) => {
                neighbour::put(batch, index_of(key.link)?, key.address, *mac);
                self.outcome.looks.neighbours.push(*key);
            }
            Step::DeleteNeighbour(key) => {
                neighbour::delete(batch, index_of(key.link)?, key.address);
                self.outcome.looks.neighbours.push(*key);
            }
            _ => {}
        }
        Ok(())
    }

    /// What is seldom, one by one.
    fn other(&mut self, step: Step<'_>) -> Result<(), KernelError> {
        let looks = &mut self.outcome.looks;
        match step {
            Step::AddLink(link) => {
                let index = links::make(&mut self.kit.sockets.route, link)?;
                self.made.insert(link.name, index);
                Ok(())
            }
            Step::SetLink(link) => links::set(&mut self.kit.sockets.route, link),
            Step::DeleteLink { index, .. } => links::delete(&mut self.kit.sockets.route, index),
            Step::Intercept(wanted) => {
                looks.tables = true;
                interception::install(wanted)?;
                self.kit.table.wrote(wanted)
            }
            Step::RemoveInterception => {
                looks.tables = true;
                interception::remove()
            }
            Step::Judge(judging) => {
                looks.tables = true;
                decapsulation::install(judging)?;
                self.kit.table.wrote_decapsulation(judging)
            }
            Step::StopJudging => {
                looks.tables = true;
                decapsulation::remove()
            }
            Step::SetSysctl(name, value) => {
                looks.sysctls = true;
                let before = read_sysctl(name)?;
                self.kit
                    .remembered
                    .sysctl(name, &before, value)
                    .map_err(|error| not_kept(&before, error))?;
                Ok(write_sysctl(name, value)?)
            }
            Step::RestoreSysctl(name) => {
                looks.sysctls = true;
                Ok(restore_sysctl(self.kit.remembered, name)?)
            }
            _ => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.queued.is_empty() {
            return Ok(());
        }
        let sockets = &mut *self.kit.sockets;
        let refused = match (self.lane, &mut sockets.nftables) {
            (Lane::Xfrm, _) => sockets.xfrm.flush()?,
            (Lane::Route, _) => sockets.route.flush()?,
            (Lane::Nftables, Some(nftables)) => write_entries(nftables, &self.queued)?,
            // Nothing was queued for it.
            (Lane::Nftables, None) => Vec::new(),
        };
        let mut queued = std::mem::take(&mut self.queued);
        for (position, error) in refused {
            let Some((stage, step)) = queued.get(position) else {
                continue;
            };
            let is_route = matches!(step, Step::ReplaceRoute(_) | Step::DeleteRoute { .. });
            if let Key::Route(key) = step.key()
                && is_route
                && error.is_gone()
            {
                self.outcome.looks.gone.push(key);
            } else if !is_done(step, &error) {
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
        self.is_open_ended |= matches!(stage, Stage::Block | Stage::Direct);
        self.outcome.looks.forget(&key);
        self.outcome
            .refusals
            .push(Refusal::new(key, step.to_string(), error));
    }
}

/// A removal that finds nothing has nothing left to do. Neither has a link that is gone before the
/// event that says so was read: it is made again then.
fn is_done(step: &Step<'_>, error: &KernelError) -> bool {
    let gone = error.is_gone() || matches!(error.errno, Errno::EADDRNOTAVAIL | Errno::ENODEV);
    (step.is_removal() || matches!(step, Step::SetLink(_))) && gone
}

/// The socket that steps are sent by, in batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    Xfrm,
    Route,
    Nftables,
}

impl Lane {
    /// `None` for what is done one by one.
    fn of(step: &Step<'_>) -> Option<Self> {
        match step.key() {
            Key::Sa(_) | Key::Policy(_) => Some(Self::Xfrm),
            Key::Route(_) | Key::Rule(_) | Key::Address(_) | Key::Proxy(_) | Key::Neighbour(_) => {
                Some(Self::Route)
            }
            Key::DecapsulationEntry(_) => Some(Self::Nftables),
            Key::Sysctl(_) | Key::Link(_) | Key::Interception | Key::Decapsulation => None,
        }
    }
}

fn put_entry(batch: &mut Batch, step: &Step<'_>) {
    match step {
        Step::AddEntry(entry) => nftables::put(batch, nftables::Write::Add, entry),
        Step::DeleteEntry(entry) => nftables::put(batch, nftables::Write::Delete, entry),
        _ => {}
    }
}

/// What is queued is one transaction. Where one of it is refused nothing was done, and each gets a
/// transaction of its own.
fn write_entries(
    nftables: &mut Requests,
    queued: &[(Stage, Step<'_>)],
) -> io::Result<Vec<(usize, KernelError)>> {
    nftables::end(nftables.batch());
    if nftables.flush()?.is_empty() {
        return Ok(Vec::new());
    }
    let mut refused = Vec::new();
    for (position, (_, step)) in queued.iter().enumerate() {
        nftables::begin(nftables.batch());
        put_entry(nftables.batch(), step);
        nftables::end(nftables.batch());
        let error = nftables.flush()?.pop();
        refused.extend(error.map(|(_, error)| (position, error)));
    }
    Ok(refused)
}

/// Where somebody has changed it since, it stays as they want it.
pub(super) fn restore_sysctl(remembered: &mut Remembered, name: Sysctl) -> io::Result<()> {
    let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    if let Some(altered) = remembered.settings().sysctls.get(&name.to_string()) {
        match read_sysctl(name) {
            Ok(now) if now == altered.ours => write_sysctl(name, &altered.before)?,
            // With its link.
            Err(error) if !is_gone(&error) => return Err(error),
            _ => {}
        }
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
