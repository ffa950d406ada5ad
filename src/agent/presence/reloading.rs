//! A configuration that has changed while we run.

use super::own_place;
use super::relation::Relation;
use super::relations::Relations;
use super::settings::{Contact, PresenceSettings};
use crate::agent::wishes::Wishes;
use crate::net::{Identity, IpNet};
use crate::presence::own::Own;
use crate::presence::rules::protection_of;
use crate::presence::{Class, Entity};
use indexmap::IndexMap;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// Where this machine is, as far as the configuration says.
pub(super) fn own(settings: &PresenceSettings) -> Own {
    let sites = settings.rulebook.sites.iter();
    let anchors = sites.filter_map(own_place::anchor).collect();
    Own::new(settings.location.clone(), anchors)
}

pub(super) fn by_entity(contacts: &[Contact]) -> IndexMap<Entity, Contact> {
    let named = |contact: &Contact| (contact.entity.clone(), contact.clone());
    contacts.iter().map(named).collect()
}

pub(super) fn by_identity(contacts: &[Contact]) -> BTreeMap<Identity, Entity> {
    let named = |contact: &Contact| (contact.peer.clone(), contact.entity.clone());
    contacts.iter().map(named).collect()
}

impl Relations {
    /// Our entity and the mark of relaxed policies stay as they are until a restart. Other sites mean
    /// that it has to be proved anew where we are.
    pub(in crate::agent) fn reload(
        &mut self,
        now: Instant,
        mut settings: PresenceSettings,
        protected: Vec<IpNet>,
        wishes: &mut Wishes,
    ) {
        settings.entity.clone_from(&self.settings.entity);
        settings.mark = self.settings.mark;
        let stay: BTreeSet<&Entity> = settings.contacts.iter().map(|c| &c.entity).collect();
        let gone: Vec<Entity> = self
            .contacts
            .keys()
            .filter(|entity| !stay.contains(entity))
            .cloned()
            .collect();
        for entity in gone {
            let addresses = self.standings.get(&entity).map(|s| s.addresses.clone());
            for address in addresses.unwrap_or_default() {
                self.unwatch(address, wishes);
            }
            self.standings.swap_remove(&entity);
        }
        let place = |settings: &PresenceSettings| {
            (settings.location.clone(), settings.rulebook.sites.clone())
        };
        if place(&settings) != place(&self.settings) {
            self.own = own(&settings);
            self.own.addresses_changed(&self.own_addresses);
        }
        self.contacts = by_entity(&settings.contacts);
        self.by_identity = by_identity(&settings.contacts);
        self.settings = settings;
        self.protected = protected;
        self.lay_ground_anew();
        self.start(now, wishes);
        for entity in self.contacts.keys().cloned().collect::<Vec<_>>() {
            self.presence_changed(now, &entity, wishes);
        }
        for relation in self.towards.values_mut() {
            relation.install(wishes);
        }
        self.own_changed(now, wishes);
    }

    fn lay_ground_anew(&mut self) {
        let mut towards = std::mem::take(&mut self.towards);
        for (address, Relation { entity, ground, .. }) in &mut towards {
            ground.strict = protection_of(&self.strangers(entity, *address), Class::ANY);
            ground.rigid = self.protected.iter().any(|net| net.contains(address));
            ground.lifetime = self.settings.lifetime;
        }
        self.towards = towards;
    }
}
