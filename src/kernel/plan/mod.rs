//! The ordered steps from what is there to what is wanted.
//!
//! A packet meets the matching policy of smallest priority. The order of [`Stage`]s keeps a promise
//! about every packet that is protected (by a transformation or a block) both before the plan and
//! after it: it is protected at each step between. Stages up to [`Stage::Tighten`] can only turn
//! clear packets into protected ones (bypasses excepted, which nothing of ours outranks). After
//! them, each policy that protects in the end is in at its final priority or a better one, and each
//! clear policy of the end is at its final priority, a worse one, or not yet in. So nothing that
//! the later stages do can put a clear policy before a protecting one that outranks it in the end.
//!
//! A packet that a rule sends to a table of ours takes a way of that table or meets its end, which
//! is unreachable: it does not fall through to the tables behind. So ends come before the rules
//! that lead to them and those before the addresses that they are about; ways that are closed come
//! before ways that are changed, each in one step, and those before ways that are opened. What is
//! opened may run through a tunnel: the policies that protect it are in by then.

mod paths;
mod step;

pub use step::Step;

use super::desired::{
    Desired, Key, Object, Policy, PolicyKey, ProxyKey, SaDirection, SaKey, Wanted,
};
use super::observed::{
    Observed, ObservedDecapsulation, ObservedInterception, ObservedLink, ObservedPolicy,
    ObservedSa, Whose,
};
use super::ownership::{self, Band};
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// Which keys to look at.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// Each once.
    Keys(&'a [Key]),
    /// All that is wanted and all that is ours.
    Everything,
}

/// When a step is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Links of ours, new or changed.
    Links,
    /// Sysctls, interception, and what may be decapsulated.
    Prepare,
    /// Routes that end a table, and those to ourselves.
    Block,
    /// New rules.
    Direct,
    /// Ways deleted whose table has an end, and what brought packets to them.
    Close,
    Addresses,
    /// What must flow whatever follows: neighbour discovery, local to local.
    Bypass,
    InboundSa,
    OutboundSa,
    /// Protecting policies: new, in place of a clear one, or with a priority no worse than before.
    Protect,
    /// Clear policies deleted, or put behind.
    Tighten,
    /// Protecting policies whose priority gets worse.
    Loosen,
    /// Clear policies: new, put ahead, or in place of a protecting one.
    Clear,
    /// Held packets are looked up again.
    Release,
    /// Ways changed, each in one step.
    Reroute,
    /// New ways, and what brings packets to them.
    Open,
    /// Protecting policies deleted.
    Unprotect,
    RemoveSa,
    /// All that is not wanted any more and had to stay so long, sysctls given back.
    CleanUp,
}

impl Stage {
    /// Whether it can expose packets that a refused [`Stage::Protect`], [`Stage::Block`] or
    /// [`Stage::Direct`] should have covered.
    pub fn may_expose(self) -> bool {
        matches!(
            self,
            Self::Close
                | Self::Addresses
                | Self::Loosen
                | Self::Clear
                | Self::Reroute
                | Self::Open
                | Self::Unprotect
        )
    }
}

/// Wanted, but somebody else's object has the key.
#[derive(Clone, Copy, Debug)]
pub enum Clash<'a> {
    Policy(&'a ObservedPolicy),
    Link(&'a ObservedLink),
    Proxy(ProxyKey),
}

#[derive(Debug, Default)]
pub struct Plan<'a> {
    /// In the order of their stages.
    pub steps: Vec<(Stage, Step<'a>)>,
    pub clashes: Vec<Clash<'a>>,
    /// Wanted, but vanished from the kernel.
    pub lost: Vec<SaKey>,
    /// By direction, until they are among the steps.
    new_policies: [Vec<&'a Policy>; 3],
}

impl Plan<'_> {
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.clashes.is_empty() && self.lost.is_empty()
    }
}

/// Pure. `release` names policies whose held packets should be looked up again although the policy
/// itself stays as it is; those that are not there or not wanted are passed over.
pub fn plan<'a>(
    desired: &'a Desired,
    observed: &'a Observed,
    scope: Scope<'_>,
    release: &BTreeSet<PolicyKey>,
) -> Plan<'a> {
    let mut plan = Plan::default();
    match scope {
        Scope::Keys(keys) => {
            for key in keys {
                plan.key(*key, desired, observed);
            }
        }
        Scope::Everything => plan.everything(desired, observed),
    }
    plan.add_policies();
    for key in release {
        if let (Some(policy), Some(there)) = (desired.policy(key), observed.policy(key))
            && ownership::owns_policy(there)
        {
            let index = there.index;
            plan.push(Stage::Release, Step::UpdatePolicy { policy, index });
        }
    }
    plan.steps.sort_by(|(a, step_a), (b, step_b)| {
        a.cmp(b).then_with(|| match a {
            // The last stage undoes the first from its end.
            Stage::CleanUp => step_b.key().cmp(&step_a.key()),
            _ => Ordering::Equal,
        })
    });
    plan
}

/// Of all kinds but policies.
fn own_keys(observed: &Observed) -> impl Iterator<Item = Key> {
    let sas = observed.own_sas().map(|sa| Key::Sa(sa.key));
    let intercepting = observed.interception != ObservedInterception::Absent;
    let judging = observed.decapsulation != ObservedDecapsulation::Absent;
    let proxies = observed.proxies.iter();
    let proxies = proxies.filter(|(_, whose)| **whose == Whose::Ours);
    let neighbours = observed.neighbours.iter().filter(|(_, mac)| mac.is_some());
    let entries = observed.decapsulation_entries.iter();
    sas.chain(intercepting.then_some(Key::Interception))
        .chain(judging.then_some(Key::Decapsulation))
        .chain(entries.map(|entry| Key::DecapsulationEntry(*entry)))
        .chain(observed.links.own().map(|link| Key::Link(link.name)))
        .chain(observed.addresses.iter().map(|key| Key::Address(*key)))
        .chain(observed.rules.iter().map(|key| Key::Rule(*key)))
        .chain(observed.routes.keys().map(|key| Key::Route(*key)))
        .chain(proxies.map(|(key, _)| Key::Proxy(*key)))
        .chain(neighbours.map(|(key, _)| Key::Neighbour(*key)))
        .chain(observed.altered.iter().map(|name| Key::Sysctl(*name)))
}

impl<'a> Plan<'a> {
    fn push(&mut self, stage: Stage, step: Step<'a>) {
        self.steps.push((stage, step));
    }

    /// One walk along both sides' policies, which are in the order of their keys: looking each up
    /// on the other side takes longer than all the rest of a plan that finds nothing to do.
    fn everything(&mut self, desired: &'a Desired, observed: &'a Observed) {
        let mut there = observed.policies().peekable();
        for wanted in desired.all() {
            let Wanted::Other(Object::Policy(wanted)) = wanted else {
                self.wanted(wanted, desired, observed);
                continue;
            };
            while let Some(before) = there.next_if(|t| t.policy.key < wanted.key) {
                self.unwanted_policy(before);
            }
            self.wanted_policy(wanted, there.next_if(|t| t.policy.key == wanted.key));
        }
        there.for_each(|after| self.unwanted_policy(after));
        for key in own_keys(observed).filter(|key| !desired.contains(key)) {
            self.unwanted(key, desired, observed);
        }
    }

    fn key(&mut self, key: Key, desired: &'a Desired, observed: &'a Observed) {
        match desired.get(&key) {
            Some(wanted) => self.wanted(wanted, desired, observed),
            None => self.unwanted(key, desired, observed),
        }
    }

    fn wanted(&mut self, wanted: Wanted<'a>, desired: &'a Desired, observed: &'a Observed) {
        match wanted {
            Wanted::Route(route) => self.wanted_route(route, desired, observed),
            Wanted::Entry(entry) => self.wanted_entry(entry, desired, observed),
            Wanted::Other(object) => self.wanted_other(object, desired, observed),
        }
    }

    fn wanted_other(&mut self, object: &'a Object, desired: &'a Desired, observed: &'a Observed) {
        match object {
            Object::Sysctl(name, value) => {
                if observed.sysctls.get(name) != Some(value) {
                    self.push(Stage::Prepare, Step::SetSysctl(*name, value));
                }
            }
            Object::Link(_)
            | Object::Address(_)
            | Object::Route(_)
            | Object::Rule(_)
            | Object::Proxy(_)
            | Object::Neighbour(_)
            | Object::Decapsulation(_)
            | Object::DecapsulationEntry(_) => self.wanted_path(object, desired, observed),
            Object::Interception(wanted) => {
                if !matches!(&observed.interception, ObservedInterception::Is(is) if is == wanted) {
                    self.push(Stage::Prepare, Step::Intercept(wanted));
                }
            }
            Object::Sa(sa) => match presence(observed, &sa.key()) {
                Presence::There(_) => {}
                Presence::Gone => self.lost.push(sa.key()),
                Presence::Never => {
                    let stage = match sa.direction {
                        SaDirection::In => Stage::InboundSa,
                        SaDirection::Out => Stage::OutboundSa,
                    };
                    self.push(stage, Step::AddSa(sa));
                }
            },
            Object::AdoptedSa(key) => {
                if !matches!(presence(observed, key), Presence::There(_)) {
                    self.lost.push(*key);
                }
            }
            Object::Policy(policy) => self.wanted_policy(policy, observed.policy(&policy.key)),
        }
    }

    fn wanted_policy(&mut self, policy: &'a Policy, there: Option<&'a ObservedPolicy>) {
        match there {
            None => self.new_policies[policy.key.direction as usize].push(policy),
            Some(there) if !ownership::owns_policy(there) => {
                self.clashes.push(Clash::Policy(there));
            }
            Some(there) if there.is(policy) => {}
            Some(there) => {
                let index = there.index;
                let stage = stage_of_change(&there.policy, policy);
                self.push(stage, Step::UpdatePolicy { policy, index });
            }
        }
    }

    fn unwanted(&mut self, key: Key, desired: &'a Desired, observed: &'a Observed) {
        match key {
            Key::Sysctl(name) if observed.altered.contains(&name) => {
                self.push(Stage::CleanUp, Step::RestoreSysctl(name));
            }
            Key::Interception if observed.interception != ObservedInterception::Absent => {
                self.push(Stage::CleanUp, Step::RemoveInterception);
            }
            Key::Sa(key) => {
                if let Presence::There(sa) = presence(observed, &key) {
                    self.push(Stage::RemoveSa, Step::DeleteSa { key, src: sa.src });
                }
            }
            Key::Policy(key) => {
                if let Some(there) = observed.policy(&key) {
                    self.unwanted_policy(there);
                }
            }
            _ => self.unwanted_path(key, desired, observed),
        }
    }

    /// The directions in turns: the kernel has a table for each, and has to enlarge them meanwhile.
    fn add_policies(&mut self) {
        let new = std::mem::take(&mut self.new_policies);
        self.steps.reserve(new.iter().map(Vec::len).sum());
        for turn in 0..new.iter().map(Vec::len).max().unwrap_or_default() {
            for policy in new.iter().filter_map(|direction| direction.get(turn)) {
                self.push(stage_of_new(policy), Step::AddPolicy(policy));
            }
        }
    }

    fn unwanted_policy(&mut self, there: &ObservedPolicy) {
        if !ownership::owns_policy(there) {
            return;
        }
        let stage = if there.policy.action.is_clear() {
            Stage::Tighten
        } else {
            Stage::Unprotect
        };
        let (key, index) = (there.policy.key, there.index);
        self.push(stage, Step::DeletePolicy { key, index });
    }
}

enum Presence<'a> {
    There(&'a ObservedSa),
    Gone,
    Never,
}

fn presence<'a>(observed: &'a Observed, key: &SaKey) -> Presence<'a> {
    match observed.sa(key) {
        Some(sa) => Presence::There(sa),
        None if observed.is_gone(key) => Presence::Gone,
        None => Presence::Never,
    }
}

fn is_bypass(policy: &Policy) -> bool {
    policy.action.is_clear() && Band::of(policy.priority) == Some(Band::Bypass)
}

fn stage_of_new(policy: &Policy) -> Stage {
    if is_bypass(policy) {
        Stage::Bypass
    } else if policy.action.is_clear() {
        Stage::Clear
    } else {
        Stage::Protect
    }
}

fn stage_of_change(old: &Policy, new: &Policy) -> Stage {
    let worse = new.priority > old.priority;
    match (old.action.is_clear(), new.action.is_clear()) {
        (_, true) if is_bypass(new) => Stage::Bypass,
        (true, false) => Stage::Protect,
        (false, false) if !worse => Stage::Protect,
        (false, false) => Stage::Loosen,
        (true, true) if worse => Stage::Tighten,
        (_, true) => Stage::Clear,
    }
}

#[cfg(test)]
mod tests;
