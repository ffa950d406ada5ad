//! The presence database (FIG. 6): what is believed of whom, since when and until when.
//!
//! ```text
//!  Record ─→ check ─┬─ authenticated ─→ sequence ─→ changes ─┬─→ believed ─→ history
//!                   │                                        └─→ held: nothing is believed
//!                   └─ not ──────────→ hints ─→ (too many) ─→ contested: nothing is believed
//! ```
//!
//! **Who overrides whom.** What an entity says of itself counts when its sequence is higher than any
//! that it used before, whatever became of the earlier records: sequences outlive expiry, `clear` and
//! (through the store) restarts. What an administrator sets by hand replaces what is believed and
//! holds until its own expiry, or until the entity says something that it had not said before. It
//! neither needs nor moves the entity's sequence, so setting by hand cannot let a replay in, and
//! cannot lock the entity out.
//!
//! **What cannot be proved.** A hint stands beside what is believed until it expires. It never
//! replaces another hint, since the other may have been the stricter one; more different hints about
//! one entity than [`HINTS`] mean that nothing is believed of it until the last has expired.
//!
//! **Flapping.** An entity may change [`CHANGES`] times at once and every [`CHANGE_EVERY`] after that.
//! The latest of what it says beyond that is held, and nothing is believed of it meanwhile, so that
//! whoever flaps is treated as strictly as a stranger.
//!
//! Refuses to know: who may speak for whom, and what is stricter than what.

mod changes;
mod entry;
mod history;
mod refusal;

#[cfg(test)]
mod tests;

pub use changes::{CHANGE_EVERY, CHANGES};
pub use entry::{Doubt, Entry, HINTS};
pub use history::HISTORY;
pub use refusal::Refusal;

use super::{Entity, Presence, Record, Source, Timestamp};
use crate::presence::record::{Authenticity, MAX_ADDRESSES};
use history::History;
use indexmap::IndexMap;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// No presence holds for longer than this.
pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How far the clocks of two machines may be apart.
pub const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// How much is kept at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entities of which something has been believed.
    pub entries: usize,
    /// Entities of which there are only hints.
    pub strangers: usize,
    /// Records of the past, of all entities together.
    pub history: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 200_000,
            strangers: 1_000,
            history: 200_000,
        }
    }
}

/// When, and a number that no other has.
type Deadline = (Timestamp, u64);

/// What became of a record that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It says something else than what was believed before.
    Changed,
    /// It says the same, for longer.
    Renewed,
    /// The entity changes too often: nothing is believed of it before this time, when its latest
    /// record will be.
    Held { until: Timestamp },
    /// Kept beside what is believed.
    Hinted,
}

#[derive(Clone, Debug, Default)]
pub struct Database {
    limits: Limits,
    entries: IndexMap<Entity, Entry>,
    strangers: usize,
    /// In the order in which they were set, where they are for the same second.
    deadlines: BTreeMap<Deadline, Entity>,
    next_deadline: u64,
    history: History,
}

impl Database {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// What was kept over a restart: the records believed last, the highest sequence of each entity,
    /// and the history with the oldest first. What has expired is not believed again.
    pub fn restore(
        now: Timestamp,
        limits: Limits,
        believed: impl IntoIterator<Item = Record>,
        sequences: impl IntoIterator<Item = (Entity, u64)>,
        history: impl IntoIterator<Item = Record>,
    ) -> Self {
        let mut database = Self::new(limits);
        for (entity, sequence) in sequences.into_iter().take(limits.entries) {
            let entry = Entry::with_sequence(sequence);
            database.entries.insert(entity, entry);
        }
        for record in history {
            database.history.push(limits.history, Arc::new(record));
        }
        for record in believed {
            let entity = record.presence.entity.clone();
            if record.presence.expires <= now || !database.has_room_for(&entity) {
                continue;
            }
            database
                .entries
                .entry(entity.clone())
                .or_default()
                .believe(Arc::new(record));
            database.settle(now, &entity);
        }
        database
    }

    /// Takes a claim in. The presence's addresses are sorted and kept once each.
    pub fn offer(&mut self, now: Timestamp, mut record: Record) -> Result<Accepted, Refusal> {
        check(now, &mut record.presence)?;
        let authenticated = record.authenticity != Authenticity::Unauthenticated;
        let entity = record.presence.entity.clone();
        let accepted = if authenticated && record.source != Source::Hint {
            self.claim(now, &entity, record)
        } else {
            self.hint(now, &entity, record)
        };
        self.settle(now, &entity);
        accepted
    }

    fn claim(
        &mut self,
        now: Timestamp,
        entity: &Entity,
        record: Record,
    ) -> Result<Accepted, Refusal> {
        if !self.has_room_for(entity) {
            return Err(Refusal::Full {
                most: self.limits.entries,
            });
        }
        let entry = self.entries.entry(entity.clone()).or_default();
        if record.source != Source::Hand {
            entry.advance(record.presence.sequence)?;
        }
        let record = Arc::new(record);
        if entry.says(now, &record.presence) {
            entry.believe(record);
            return Ok(Accepted::Renewed);
        }
        if record.source == Source::Peer
            && let Err(until) = entry.change(now)
        {
            entry.hold(record);
            return Ok(Accepted::Held { until });
        }
        entry.believe(Arc::clone(&record));
        self.history.push(self.limits.history, record);
        Ok(Accepted::Changed)
    }

    fn hint(
        &mut self,
        now: Timestamp,
        entity: &Entity,
        record: Record,
    ) -> Result<Accepted, Refusal> {
        if !self.entries.contains_key(entity) && self.strangers >= self.limits.strangers {
            return Err(Refusal::Full {
                most: self.limits.strangers,
            });
        }
        let entry = self.entries.entry(entity.clone()).or_default();
        if !entry.is_known() && entry.is_empty() {
            self.strangers += 1;
            entry.stranger = true;
        }
        entry.hint(now, record);
        Ok(Accepted::Hinted)
    }

    fn has_room_for(&self, entity: &Entity) -> bool {
        let known = self.entries.len() - self.strangers;
        known < self.limits.entries || self.entries.get(entity).is_some_and(|e| !e.stranger)
    }

    /// Lets go of what is over, believes what was held for long enough, and says of whom something
    /// else is true now. Call at [`Database::next_expiry`].
    pub fn expire(&mut self, now: Timestamp) -> Vec<Entity> {
        let mut altered = Vec::new();
        while let Some(first) = self.deadlines.first_entry()
            && first.key().0 <= now
        {
            let entity = first.remove();
            if let Some(entry) = self.entries.get_mut(&entity) {
                entry.deadline = None;
                if let Some(believed) = entry.lapse(now) {
                    self.history.push(self.limits.history, believed);
                }
            }
            self.settle(now, &entity);
            altered.push(entity);
        }
        altered
    }

    /// When [`Database::expire`] will have something to do.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.deadlines.keys().next().map(|(at, _)| *at)
    }

    pub fn get(&self, entity: &Entity) -> Option<&Entry> {
        self.entries.get(entity)
    }

    /// Everybody of whom something is remembered, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&Entity, &Entry)> {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_unstable_by_key(|(entity, _)| *entity);
        entries.into_iter()
    }

    /// The highest sequence that the entity has used.
    pub fn sequence(&self, entity: &Entity) -> Option<u64> {
        self.entries.get(entity)?.sequence()
    }

    /// Forgets what is believed and hinted of somebody, not the sequence. Whether there was anything.
    pub fn clear(&mut self, now: Timestamp, entity: &Entity) -> bool {
        let Some(entry) = self.entries.get_mut(entity) else {
            return false;
        };
        let anything = entry.clear();
        self.settle(now, entity);
        anything
    }

    /// What was believed, the newest first: at most [`HISTORY`]. Renewals are not told apart.
    pub fn history(&self, entity: &Entity) -> impl Iterator<Item = &Record> {
        self.history.of(entity)
    }

    /// Entities remembered, and records of the past.
    pub fn len(&self) -> (usize, usize) {
        (self.entries.len(), self.history.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == (0, 0)
    }

    /// After every change of an entry: its deadline, whether it is a stranger, whether it is at all.
    fn settle(&mut self, now: Timestamp, entity: &Entity) {
        let Some(entry) = self.entries.get_mut(entity) else {
            return;
        };
        if entry.stranger && (entry.is_known() || entry.is_empty()) {
            entry.stranger = false;
            self.strangers -= 1;
        }
        let next = entry.next_deadline(now);
        if entry.deadline.map(|(at, _)| at) != next {
            if let Some(last) = entry.deadline.take() {
                self.deadlines.remove(&last);
            }
            if let Some(at) = next {
                self.next_deadline += 1;
                let deadline = (at, self.next_deadline);
                entry.deadline = Some(deadline);
                self.deadlines.insert(deadline, entity.clone());
            }
        }
        if entry.is_empty() {
            self.entries.swap_remove(entity);
        }
    }
}

/// What can be refused without knowing anything else.
fn check(now: Timestamp, presence: &mut Presence) -> Result<(), Refusal> {
    if presence.expires <= now {
        return Err(Refusal::Expired {
            expired: presence.expires,
        });
    }
    if presence.time > now.after(CLOCK_SKEW) {
        return Err(Refusal::FromTheFuture {
            time: presence.time,
        });
    }
    if presence.expires > now.after(LONGEST).after(CLOCK_SKEW) {
        return Err(Refusal::TooLong {
            expires: presence.expires,
        });
    }
    presence.addresses.sort_unstable();
    presence.addresses.dedup();
    match presence.addresses.len() {
        0 => Err(Refusal::NoAddress),
        1..=MAX_ADDRESSES => match presence.addresses.iter().find(|a| !is_usable(**a)) {
            Some(address) => Err(Refusal::UnusableAddress { address: *address }),
            None => Ok(()),
        },
        found => Err(Refusal::TooManyAddresses { found }),
    }
}

/// Whether packets can be sent to it from another machine, whatever the network.
pub fn is_usable(address: IpAddr) -> bool {
    match address {
        // 0.0.0.0/8 is "this network" and no destination (RFC 791 §3.2, RFC 6890 §2.2.2).
        IpAddr::V4(a) => {
            a.octets()[0] != 0 && !a.is_loopback() && !a.is_multicast() && !a.is_broadcast()
        }
        IpAddr::V6(a) => {
            !a.is_unspecified()
                && !a.is_loopback()
                && !a.is_multicast()
                && !a.is_unicast_link_local()
                && a.to_ipv4_mapped().is_none()
        }
    }
}
