//! What was believed once, for audit: so many records an entity, and so many altogether.

use crate::presence::{Entity, Record};
use indexmap::IndexMap;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Records of one entity.
pub const HISTORY: usize = 32;

#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// With the number that each has in `order`; the newest last.
    by_entity: IndexMap<Entity, VecDeque<(u64, Arc<Record>)>>,
    order: BTreeMap<u64, Entity>,
    next: u64,
}

impl History {
    /// Beyond `most` altogether, the oldest makes room.
    pub fn push(&mut self, most: usize, record: Arc<Record>) {
        let entity = record.presence.entity.clone();
        let number = self.next;
        self.next += 1;
        let records = self.by_entity.entry(entity.clone()).or_default();
        if records.len() >= HISTORY
            && let Some((oldest, _)) = records.pop_front()
        {
            self.order.remove(&oldest);
        }
        records.push_back((number, record));
        self.order.insert(number, entity);
        while self.order.len() > most {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((_, entity)) = self.order.pop_first() else {
            return;
        };
        if let Some(records) = self.by_entity.get_mut(&entity) {
            // Numbers rise within an entity too, so the oldest of all is its first.
            records.pop_front();
            if records.is_empty() {
                self.by_entity.swap_remove(&entity);
            }
        }
    }

    /// The newest first.
    pub fn of(&self, entity: &Entity) -> impl Iterator<Item = &Record> {
        let records = self.by_entity.get(entity).into_iter().flatten();
        records.rev().map(|(_, record)| &**record)
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }
}
