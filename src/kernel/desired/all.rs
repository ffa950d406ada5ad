//! Everything that is wanted, by kind.

use super::{DecapsulationEntry, Key, Object, Policy, PolicyKey, Route, RouteKey, Sysctl};
use crate::net::Family;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// Everything wanted, as the writer holds it. Of routes and of entries a home agent has one for each of its
/// bindings: among the others, with room for what a rule or a policy has, they would take four times the memory.
#[derive(Debug, Default)]
pub struct Desired {
    routes: BTreeMap<RouteKey, Route>,
    entries: BTreeSet<DecapsulationEntry>,
    others: BTreeMap<Key, Object>,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    Route(&'a Route),
    Entry(DecapsulationEntry),
    Other(&'a Object),
}

impl Wanted<'_> {
    pub fn key(&self) -> Key {
        match self {
            Self::Route(route) => Key::Route(route.key),
            Self::Entry(entry) => Key::DecapsulationEntry(*entry),
            Self::Other(object) => object.key(),
        }
    }
}

impl Desired {
    /// In place of what had its key.
    pub fn insert(&mut self, object: Object) {
        match object {
            Object::Route(route) => drop(self.routes.insert(route.key, route)),
            Object::DecapsulationEntry(entry) => drop(self.entries.insert(entry)),
            other => drop(self.others.insert(other.key(), other)),
        }
    }

    pub fn remove(&mut self, key: &Key) {
        match key {
            Key::Route(key) => drop(self.routes.remove(key)),
            Key::DecapsulationEntry(entry) => drop(self.entries.remove(entry)),
            other => drop(self.others.remove(other)),
        }
    }

    /// In place of what had the same keys; one walk along both, instead of a search for each.
    pub fn append(&mut self, mut newer: Self) {
        self.routes.append(&mut newer.routes);
        self.entries.append(&mut newer.entries);
        self.others.append(&mut newer.others);
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    pub fn len(&self) -> usize {
        self.routes.len() + self.entries.len() + self.others.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, key: &Key) -> Option<Wanted<'_>> {
        match key {
            Key::Route(key) => self.routes.get(key).map(Wanted::Route),
            Key::DecapsulationEntry(entry) => self.entries.get(entry).copied().map(Wanted::Entry),
            other => self.others.get(other).map(Wanted::Other),
        }
    }

    pub fn contains(&self, key: &Key) -> bool {
        self.get(key).is_some()
    }

    pub fn route(&self, key: &RouteKey) -> Option<&Route> {
        self.routes.get(key)
    }

    pub fn policy(&self, key: &PolicyKey) -> Option<&Policy> {
        match self.others.get(&Key::Policy(*key)) {
            Some(Object::Policy(policy)) => Some(policy),
            _ => None,
        }
    }

    pub fn entries(&self) -> impl Iterator<Item = DecapsulationEntry> {
        self.entries.iter().copied()
    }

    pub fn sysctls(&self) -> impl Iterator<Item = Sysctl> {
        // They are the first of the others.
        self.others.keys().map_while(|key| match key {
            Key::Sysctl(name) => Some(*name),
            _ => None,
        })
    }

    /// In the order of their keys.
    pub fn all(&self) -> impl Iterator<Item = Wanted<'_>> {
        // The others have neither, so any one tells where all of them belong.
        let routes = Key::Route(RouteKey::end_of(0, Family::V4));
        let entries = Key::DecapsulationEntry(DecapsulationEntry::End(Ipv4Addr::UNSPECIFIED));
        let before = self.others.range(..routes);
        let between = self.others.range(routes..entries);
        let after = self.others.range(entries..);
        let other = |(_, object)| Wanted::Other(object);
        let before = before.map(other);
        before
            .chain(self.routes.values().map(Wanted::Route))
            .chain(between.map(other))
            .chain(self.entries().map(Wanted::Entry))
            .chain(after.map(other))
    }

    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.all().map(|wanted| wanted.key())
    }
}

impl FromIterator<Object> for Desired {
    fn from_iter<T: IntoIterator<Item = Object>>(objects: T) -> Self {
        let mut all = Self::default();
        for object in objects {
            all.insert(object);
        }
        all
    }
}
