//! What became of links, addresses, routes, rules, proxy neighbours and entries.
//!
//! The kernel is silent about what goes with something else: the routes over a link that is switched
//! off and those from an address that goes, and the proxy neighbours of a link. They are looked at
//! then.

use super::Task;
use crate::kernel::desired::{
    AddressKey, Key, LinkName, NeighbourKey, Object, ProxyKey, RouteKey, Wanted,
};
use crate::kernel::netlink::address::AddressAt;
use crate::kernel::netlink::error::KernelError;
use crate::kernel::netlink::nftables::{self, Happened};
use crate::kernel::netlink::route::AnyRoute;
use crate::kernel::netlink::{address, link, neighbour, proxy, route, rule};
use crate::kernel::observed::{ObservedDecapsulation, ObservedLink};
use crate::kernel::writer::kernel_state::By;
use crate::kernel::writer::paths::PathSeen;
use std::net::IpAddr;

/// So many proxy neighbours are listed rather than asked for one by one.
const MANY: usize = 100;

impl Task {
    pub(super) fn list_paths(&mut self) -> Result<(), KernelError> {
        self.sockets.paths.listen_again()?;
        let requests = &mut self.sockets.route;
        let observed = &mut self.observed;
        observed.links = link::list(requests)?.into_iter().collect();
        observed.routes = route::own(requests, None)?.into_iter().collect();
        observed.rules = rule::own(requests)?.into_iter().collect();
        let addresses = address::list(requests)?;
        self.observed.addresses.clear();
        for at in addresses {
            self.observed.addresses.extend(self.on_ours(&at));
        }
        self.list_proxies()?;
        self.list_neighbours()?;
        self.list_entries()
    }

    fn list_proxies(&mut self) -> Result<(), KernelError> {
        let links = &self.observed.links;
        let named = |(index, address, whose)| {
            let link = links.at(index)?.name;
            Some((ProxyKey { link, address }, whose))
        };
        let all = proxy::list(&mut self.sockets.route)?;
        self.observed.proxies = all.into_iter().filter_map(named).collect();
        Ok(())
    }

    fn list_neighbours(&mut self) -> Result<(), KernelError> {
        let links = &self.observed.links;
        let named = |at: neighbour::PermanentAt| {
            let link = links.at(at.index)?.name;
            let address = at.address;
            Some((NeighbourKey { link, address }, at.ours))
        };
        let all = neighbour::permanent(&mut self.sockets.route)?;
        self.observed.neighbours = all.into_iter().filter_map(named).collect();
        Ok(())
    }

    /// Events of neighbours are not listened for: a LAN has many of others.
    pub(super) fn look_at_neighbours(&mut self, keys: &[NeighbourKey]) -> Result<(), KernelError> {
        if keys.len() > MANY {
            return self.list_neighbours();
        }
        for key in keys {
            let Some(index) = self.observed.links.index(key.link) else {
                continue;
            };
            match neighbour::fetch(&mut self.sockets.route, index, key.address) {
                Ok(Some(there)) => drop(self.observed.neighbours.insert(*key, there.ours)),
                Ok(None) => self.neighbour_is_gone(*key),
                Err(error) if error.is_gone() => self.neighbour_is_gone(*key),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// One that is wanted went with its link since it was written, when nobody knew of it.
    fn neighbour_is_gone(&mut self, key: NeighbourKey) {
        self.observed.neighbours.remove(&key);
        self.missed(By::Others, Key::Neighbour(key));
    }

    fn list_entries(&mut self) -> Result<(), KernelError> {
        self.observed.decapsulation_entries.clear();
        if self.observed.decapsulation == ObservedDecapsulation::Absent {
            return Ok(());
        }
        let Some(requests) = &mut self.sockets.nftables else {
            return Ok(());
        };
        for set in nftables::SETS {
            let entries = nftables::entries(requests, set)?;
            self.observed.decapsulation_entries.extend(entries);
        }
        Ok(())
    }

    /// The kernel has no events of proxy neighbours.
    pub(super) fn look_at_proxies(&mut self, keys: &[ProxyKey]) -> Result<(), KernelError> {
        if keys.len() > MANY {
            return self.list_proxies();
        }
        for key in keys {
            let Some(index) = self.observed.links.index(key.link) else {
                continue;
            };
            match proxy::fetch(&mut self.sockets.route, index, key.address) {
                Ok((.., whose)) => drop(self.observed.proxies.insert(*key, whose)),
                Err(error) if error.is_gone() => {
                    self.observed.proxies.remove(key);
                    self.missed(By::Others, Key::Proxy(*key));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes what was heard into `observed`, and notes what has to be put right.
    pub(super) fn digest_paths(&mut self) {
        for (by, seen) in std::mem::take(&mut self.sockets.paths.seen) {
            match seen {
                PathSeen::Link(link) => self.link_is(&link),
                PathSeen::LinkGone(index) => self.link_is_gone(index),
                PathSeen::Address(at) => {
                    self.observed.addresses.extend(self.on_ours(&at));
                    self.pending.keys.extend(self.refused.paths());
                }
                PathSeen::AddressGone(at) => self.address_is_gone(&at),
                PathSeen::Route(route) => self.route_is(by, &route),
                PathSeen::RouteGone(route) => {
                    if route.ours && self.observed.routes.remove(&route.key).is_some() {
                        self.missed(by, Key::Route(route.key));
                    }
                }
                PathSeen::Rule(key) => drop(self.observed.rules.insert(key)),
                PathSeen::RuleGone(key) => {
                    if self.observed.rules.remove(&key) {
                        self.missed(by, Key::Rule(key));
                    }
                }
                PathSeen::Table(Happened::Added(entries)) => {
                    self.observed.decapsulation_entries.extend(entries);
                }
                PathSeen::Table(Happened::Deleted(entries)) => {
                    for entry in entries {
                        self.observed.decapsulation_entries.remove(&entry);
                        self.missed(by, Key::DecapsulationEntry(entry));
                    }
                }
                PathSeen::Table(Happened::Altered) => self.tables_altered = true,
                PathSeen::Unknown => self.lose_track(),
            }
        }
    }

    /// Somebody, such as a firewall that starts again, has changed our tables or all of nftables.
    pub(super) fn look_at_altered_tables(&mut self) -> Result<(), KernelError> {
        if !std::mem::take(&mut self.tables_altered) {
            return Ok(());
        }
        self.look_at_tables()?;
        self.list_entries()?;
        self.pending
            .keys
            .extend([Key::Interception, Key::Decapsulation]);
        let there = &self.observed.decapsulation_entries;
        let missing = self.desired.entries();
        let missing = missing.filter(|entry| !there.contains(entry));
        self.pending
            .keys
            .extend(missing.map(Key::DecapsulationEntry));
        Ok(())
    }

    /// What is wanted is put right, where it was not we who took it out.
    fn missed(&mut self, by: By, key: Key) {
        if by == By::Others && self.desired.contains(&key) {
            self.pending.keys.push(key);
        }
    }

    fn route_is(&mut self, by: By, route: &AnyRoute) {
        if route.ours {
            self.observed.routes.insert(route.key, route.way);
            // The plan knows whether it is as wanted.
            self.missed(by, Key::Route(route.key));
        } else if self.observed.routes.remove(&route.key).is_some() {
            // Somebody's has taken the place of ours.
            self.missed(By::Others, Key::Route(route.key));
        }
    }

    fn on_ours(&self, at: &AddressAt) -> Option<AddressKey> {
        let link = self.observed.links.at(at.index)?;
        let (link, address) = (link.is_ours().then_some(link.name)?, at.address);
        at.global.then_some(AddressKey { link, address })
    }

    fn link_is(&mut self, link: &ObservedLink) {
        let before = self.observed.links.is(link.clone());
        let works = |link: &ObservedLink| (link.state, link.name);
        let unchanged = before.as_ref().is_some_and(|b| works(b) == works(link));
        if unchanged {
            // Somebody may have given it another MTU or alias.
            return self.missed(By::Others, Key::Link(link.name));
        }
        if before
            .as_ref()
            .is_some_and(|before| before.state > link.state)
        {
            self.look_at_what_went_with(link.index, link.name);
        }
        if before
            .as_ref()
            .is_none_or(|before| before.name != link.name)
        {
            self.pending.keys.extend(before.map(|b| Key::Link(b.name)));
            self.reconsider_all_over(link.name);
        }
        self.missed(By::Others, Key::Link(link.name));
        self.pending.keys.extend(self.refused.paths());
    }

    fn link_is_gone(&mut self, index: u32) {
        let Some(before) = self.observed.links.is_gone(index) else {
            return;
        };
        let name = before.name;
        self.observed.addresses.retain(|key| key.link != name);
        self.look_at_what_went_with(index, name);
        self.missed(By::Others, Key::Link(name));
        self.reconsider_all_over(name);
    }

    fn address_is_gone(&mut self, at: &AddressAt) {
        if let Some(key) = self.on_ours(at)
            && self.observed.addresses.remove(&key)
        {
            self.missed(By::Others, Key::Address(key));
        }
        let from_it = Some(at.address.addr());
        let mut ways = self.observed.routes.values().flatten();
        if ways.any(|way| way.source() == from_it) {
            self.look_at_routes(None, |_, source| source == from_it);
        }
        // With its last address a link loses its routes and neighbours, without a word.
        if let Some(name) = self.observed.links.at(at.index).map(|link| link.name) {
            self.look_at_what_went_with(at.index, name);
        }
    }

    fn look_at_what_went_with(&mut self, index: u32, name: LinkName) {
        let mut ways = self.observed.routes.values().flatten();
        if ways.any(|way| way.link() == Some(index)) {
            self.look_at_routes(Some(index), |link, _| link == Some(index));
        }
        let mut proxies = self.observed.proxies.keys();
        if proxies.any(|key| key.link == name) {
            let before = std::mem::take(&mut self.observed.proxies);
            if let Err(error) = self.list_proxies() {
                tracing::error!(%error, "proxy neighbours cannot be listed");
            }
            let there = &self.observed.proxies;
            let gone = before.into_keys().filter(|key| !there.contains_key(key));
            self.pending.keys.extend(gone.map(Key::Proxy));
        }
        let mut neighbours = self.observed.neighbours.keys();
        if neighbours.any(|key| key.link == name) {
            let before = std::mem::take(&mut self.observed.neighbours);
            if let Err(error) = self.list_neighbours() {
                tracing::error!(%error, "neighbours cannot be listed");
            }
            let there = &self.observed.neighbours;
            let gone = before.into_keys().filter(|key| !there.contains_key(key));
            self.pending.keys.extend(gone.map(Key::Neighbour));
        }
    }

    /// Lists our routes, or those over one link, again; those that went are considered again.
    fn look_at_routes(
        &mut self,
        over: Option<u32>,
        concerned: impl Fn(Option<u32>, Option<IpAddr>) -> bool,
    ) {
        let is_there = over.is_none_or(|index| self.observed.links.at(index).is_some());
        let listed = if is_there {
            route::own(&mut self.sockets.route, over)
        } else {
            Ok(Vec::new())
        };
        let listed = match listed {
            Ok(listed) => listed,
            Err(error) => {
                tracing::error!(%error, "routes cannot be listed");
                return self.lose_track();
            }
        };
        let concerned: Vec<RouteKey> = self
            .observed
            .routes
            .iter()
            .filter(|(_, way)| way.is_some_and(|way| concerned(way.link(), way.source())))
            .map(|(key, _)| *key)
            .collect();
        for key in &concerned {
            self.observed.routes.remove(key);
        }
        self.observed.routes.extend(listed);
        let gone = concerned.into_iter();
        let gone = gone.filter(|key| !self.observed.routes.contains_key(key));
        self.pending.keys.extend(gone.map(Key::Route));
    }

    /// The name means another link than before, or none.
    fn reconsider_all_over(&mut self, name: LinkName) {
        let over = |wanted: &Wanted<'_>| match wanted {
            Wanted::Route(route) => route.way.link() == Some(name),
            Wanted::Other(Object::Address(key)) => key.link == name,
            Wanted::Other(Object::Proxy(key)) => key.link == name,
            Wanted::Other(Object::Neighbour(neighbour)) => neighbour.key.link == name,
            _ => false,
        };
        let concerned = self.desired.all().filter(over);
        self.pending
            .keys
            .extend(concerned.map(|wanted| wanted.key()));
    }
}
