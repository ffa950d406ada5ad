//! Steps of links, addresses, routes, rules, proxy neighbours and what may be decapsulated.
//!
//! ```text
//!  links ─→ ends of tables ─→ rules ─→ ways closed ─→ addresses ─→ (policies) ─→ ways changed,
//!  ways opened ─→ (policies deleted) ─→ addresses, rules, ends, links deleted
//! ```
//!
//! A rule that leads past our tables, into the main one, is a way.

use super::{Clash, Plan, Stage, Step};
use crate::kernel::desired::{
    DecapsulationEntry, Desired, Key, Link, LinkName, Object, Route, RouteKey, RuleKey, Way,
};
use crate::kernel::observed::{Observed, ObservedDecapsulation, ObservedWay, Whose};

impl<'a> Plan<'a> {
    pub(super) fn wanted_path(
        &mut self,
        object: &'a Object,
        desired: &'a Desired,
        observed: &'a Observed,
    ) {
        match object {
            Object::Link(link) => self.wanted_link(link, observed),
            Object::Address(key) => {
                let on_ours = desired.contains(&Key::Link(key.link));
                let is_there = observed.addresses.contains(key);
                if on_ours && !is_there && !is_taken(key.link, desired, observed) {
                    self.push(Stage::Addresses, Step::AddAddress(*key));
                }
            }
            Object::Route(route) => self.wanted_route(route, desired, observed),
            Object::DecapsulationEntry(entry) => self.wanted_entry(*entry, desired, observed),
            Object::Rule(key) if !observed.rules.contains(key) => {
                let stage = if leads_past_ours(key) {
                    Stage::Open
                } else {
                    Stage::Direct
                };
                self.push(stage, Step::AddRule(*key));
            }
            Object::Proxy(key) => match observed.proxies.get(key) {
                None => self.push(Stage::Open, Step::AddProxy(*key)),
                Some(Whose::Ours) => {}
                Some(Whose::Others) => self.clashes.push(Clash::Proxy(*key)),
            },
            Object::Neighbour(wanted) => match observed.neighbours.get(&wanted.key) {
                Some(Some(mac)) if *mac == wanted.mac => {}
                // Somebody else has said where it is.
                Some(None) => {}
                // Before the first packet could ask for it.
                Some(Some(_)) | None => self.push(Stage::Addresses, Step::PutNeighbour(*wanted)),
            },
            Object::Decapsulation(judging)
                if observed.decapsulation != ObservedDecapsulation::AsWritten(*judging) =>
            {
                self.push(Stage::Prepare, Step::Judge(*judging));
            }
            _ => {}
        }
    }

    fn wanted_link(&mut self, link: &'a Link, observed: &'a Observed) {
        match observed.links.named(link.name) {
            None => self.push(Stage::Links, Step::AddLink(link)),
            Some(there) if !there.is_ours() => self.clashes.push(Clash::Link(there)),
            Some(there) if !there.is_of_kind(link.kind) => {
                let (name, index) = (there.name, there.index);
                self.push(Stage::Links, Step::DeleteLink { name, index });
                self.push(Stage::Links, Step::AddLink(link));
            }
            Some(there) if !there.is_set_as(link) => {
                self.push(Stage::Links, Step::SetLink(link));
            }
            Some(_) => {}
        }
    }

    /// What is refused and what is let through come in one transaction, so that nothing that is let through is
    /// refused meanwhile.
    pub(super) fn wanted_entry(
        &mut self,
        entry: DecapsulationEntry,
        desired: &'a Desired,
        observed: &'a Observed,
    ) {
        let judging = desired.contains(&Key::Decapsulation);
        if judging && !observed.decapsulation_entries.contains(&entry) {
            self.push(Stage::Prepare, Step::AddEntry(entry));
        }
    }

    pub(super) fn wanted_route(
        &mut self,
        route: &'a Route,
        desired: &'a Desired,
        observed: &'a Observed,
    ) {
        let link = route.way.link();
        if link.is_some_and(|name| is_taken(name, desired, observed)) {
            return;
        }
        let ends = is_end(&route.way);
        match observed.routes.get(&route.key) {
            None if ends => self.push(Stage::Block, Step::AddRoute(route)),
            None => self.push(Stage::Open, Step::AddRoute(route)),
            Some(there) if there.is_some_and(|way| is_way(&way, &route.way, observed)) => {}
            Some(there) => {
                let stage = match there {
                    _ if ends => Stage::Block,
                    Some(Way::Unreachable) => Stage::Open,
                    _ => Stage::Reroute,
                };
                self.push(stage, Step::ReplaceRoute(route));
            }
        }
    }

    pub(super) fn unwanted_path(&mut self, key: Key, desired: &'a Desired, observed: &'a Observed) {
        match key {
            Key::Link(name) => {
                if let Some(there) = observed.links.named(name).filter(|link| link.is_ours()) {
                    let index = there.index;
                    self.push(Stage::CleanUp, Step::DeleteLink { name, index });
                }
            }
            Key::Address(key) if observed.addresses.contains(&key) => {
                self.push(Stage::CleanUp, Step::DeleteAddress(key));
            }
            Key::Route(key) => {
                if let Some(way) = observed.routes.get(&key).copied() {
                    let stage = stage_of_removal(&key, way, desired);
                    self.push(stage, Step::DeleteRoute { key, way });
                }
            }
            Key::Rule(key) if observed.rules.contains(&key) => {
                let stage = if leads_past_ours(&key) {
                    Stage::Close
                } else {
                    Stage::CleanUp
                };
                self.push(stage, Step::DeleteRule(key));
            }
            Key::Proxy(key) if observed.proxies.get(&key) == Some(&Whose::Ours) => {
                self.push(Stage::Close, Step::DeleteProxy(key));
            }
            Key::Neighbour(key) if observed.neighbours.get(&key).is_some_and(Option::is_some) => {
                self.push(Stage::CleanUp, Step::DeleteNeighbour(key));
            }
            Key::Decapsulation if observed.decapsulation != ObservedDecapsulation::Absent => {
                self.push(Stage::CleanUp, Step::StopJudging);
            }
            // Without the table they are gone with it.
            Key::DecapsulationEntry(entry)
                if desired.contains(&Key::Decapsulation)
                    && observed.decapsulation_entries.contains(&entry) =>
            {
                let stage = if entry.protects() {
                    Stage::CleanUp
                } else {
                    Stage::Close
                };
                self.push(stage, Step::DeleteEntry(entry));
            }
            _ => {}
        }
    }
}

/// Whether we want a link of that name and somebody else has it. What should have gone over ours
/// does not go over theirs; the clash is told once.
fn is_taken(name: LinkName, desired: &Desired, observed: &Observed) -> bool {
    let foreign = observed.links.named(name).is_some_and(|l| !l.is_ours());
    foreign && desired.contains(&Key::Link(name))
}

/// Packets that take it leave the table that ends for them: as a way that opens, it comes behind the policies that
/// keep in what must not leave, and goes before them.
fn leads_past_ours(rule: &RuleKey) -> bool {
    rule.table == RouteKey::MAIN
}

fn is_end<L>(way: &Way<L>) -> bool {
    matches!(way, Way::Unreachable | Way::Local)
}

fn is_way(there: &ObservedWay, wanted: &Way, observed: &Observed) -> bool {
    match wanted.link() {
        None => wanted.over(0) == *there,
        Some(name) => {
            let index = observed.links.index(name);
            index.is_some_and(|index| wanted.over(index) == *there)
        }
    }
}

/// Where the table has an end, a way that is deleted is closed. Where it has none, packets fall
/// through to what lies behind, which is done last.
fn stage_of_removal(key: &RouteKey, way: Option<ObservedWay>, desired: &Desired) -> Stage {
    let ends = way.is_some_and(|way| is_end(&way));
    let end = desired.route(&key.end());
    let has_end = end.is_some_and(|end| end.way == Way::Unreachable);
    if has_end && !ends {
        Stage::Close
    } else {
        Stage::CleanUp
    }
}
