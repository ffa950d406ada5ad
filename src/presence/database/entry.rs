//! What is known of one entity.

use super::changes::Changes;
use super::{CLOCK_SKEW, Refusal};
use crate::presence::{Presence, Record, Timestamp};
use std::sync::Arc;

/// Hints about one entity that say different things.
pub const HINTS: usize = 4;

/// Why nothing is believed of somebody who has said, or of whom was said, something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It changes too often; its latest record will be believed then.
    Flapping { until: Timestamp },
    /// Hints say more than [`HINTS`] different things.
    Contested { until: Timestamp },
}

/// One line of FIG. 6, and what stands behind it. Everything is asked with the present time: what
/// has expired is not believed, even if nobody has cleared it away yet.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    believed: Option<Arc<Record>>,
    /// Each says something else.
    hints: Vec<Arc<Record>>,
    contested: Option<Timestamp>,
    held: Option<Arc<Record>>,
    sequence: Option<u64>,
    changes: Changes,
    /// As it stands in the database's table of deadlines.
    pub(super) deadline: Option<super::Deadline>,
    /// Counted as one of whom nothing was ever believed.
    pub(super) stranger: bool,
}

impl Entry {
    pub fn believed(&self, now: Timestamp) -> Option<&Record> {
        match self.doubt(now) {
            Some(_) => None,
            None => self.believed.as_deref().filter(|record| holds(record, now)),
        }
    }

    /// The latest that was said with authority, whether or not it is believed in spite of what else
    /// is said. What somebody can do who proves nothing must not depend on the difference.
    pub fn vouched(&self, now: Timestamp) -> Option<&Record> {
        let latest = self.held.as_deref().or(self.believed.as_deref());
        latest.filter(|record| record.presence.expires > now)
    }

    /// What was claimed without proof; each of them may only make things stricter.
    pub fn hints(&self, now: Timestamp) -> impl Iterator<Item = &Record> {
        let hints = self.hints.iter().map(|hint| &**hint);
        hints.filter(move |hint| holds(hint, now))
    }

    pub fn doubt(&self, now: Timestamp) -> Option<Doubt> {
        if let Some(until) = self.contested.filter(|until| *until > now) {
            return Some(Doubt::Contested { until });
        }
        self.held.as_ref().map(|_| Doubt::Flapping {
            until: self.changes.next(now),
        })
    }

    /// The latest record of an entity that changes too often.
    pub fn held(&self) -> Option<&Record> {
        self.held.as_deref()
    }

    /// The highest that the entity has used.
    pub fn sequence(&self) -> Option<u64> {
        self.sequence
    }

    pub(super) fn with_sequence(sequence: u64) -> Self {
        Self {
            sequence: Some(sequence),
            ..Self::default()
        }
    }

    /// Whether something was ever believed of it that has to be remembered.
    pub(super) fn is_known(&self) -> bool {
        self.sequence.is_some() || self.believed.is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.is_known() && self.hints.is_empty() && self.contested.is_none()
    }

    pub(super) fn advance(&mut self, sequence: u64) -> Result<(), Refusal> {
        match self.sequence {
            Some(known) if sequence <= known => Err(Refusal::Replayed { sequence, known }),
            _ => {
                self.sequence = Some(sequence);
                Ok(())
            }
        }
    }

    /// Whether it is believed already, but for its time.
    pub(super) fn says(&self, now: Timestamp, presence: &Presence) -> bool {
        let believed = self.believed.as_ref().filter(|record| holds(record, now));
        believed.is_some_and(|record| record.presence.says_the_same(presence))
    }

    pub(super) fn change(&mut self, now: Timestamp) -> Result<(), Timestamp> {
        self.changes.take(now)
    }

    pub(super) fn believe(&mut self, record: Arc<Record>) {
        self.held = None;
        self.believed = Some(record);
    }

    pub(super) fn hold(&mut self, record: Arc<Record>) {
        self.believed = None;
        self.held = Some(record);
    }

    /// A hint that is repeated holds for as long as its longest; none is shortened or replaced.
    pub(super) fn hint(&mut self, now: Timestamp, record: Record) {
        self.hints.retain(|hint| hint.presence.expires > now);
        let same = |hint: &&mut Arc<Record>| hint.presence.says_the_same(&record.presence);
        if let Some(hint) = self.hints.iter_mut().find(same) {
            if record.presence.expires > hint.presence.expires {
                *hint = Arc::new(record);
            }
        } else if self.hints.len() < HINTS {
            self.hints.push(Arc::new(record));
        } else {
            self.contested = self.contested.max(Some(record.presence.expires));
        }
    }

    /// Lets go of what is over. What is believed from now on of what was held, if anything.
    pub(super) fn lapse(&mut self, now: Timestamp) -> Option<Arc<Record>> {
        self.hints.retain(|hint| hint.presence.expires > now);
        self.contested = self.contested.filter(|until| *until > now);
        self.believed
            .take_if(|record| record.presence.expires <= now);
        self.held.take_if(|record| record.presence.expires <= now);
        let record = self.held.clone()?;
        self.change(now).ok()?;
        self.believe(Arc::clone(&record));
        Some(record)
    }

    pub(super) fn clear(&mut self) -> bool {
        let anything = self.believed.is_some() || self.held.is_some() || !self.hints.is_empty();
        self.believed = None;
        self.held = None;
        self.hints.clear();
        self.contested = None;
        anything
    }

    pub(super) fn next_deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let expiries = [&self.believed, &self.held].into_iter().flatten();
        let expiries = expiries.chain(&self.hints).map(|r| r.presence.expires);
        let held = self.held.as_ref().map(|_| self.changes.next(now));
        expiries.chain(self.contested).chain(held).min()
    }
}

/// A record that was received in the future is of before the clock was set back: nobody can say how
/// old it is.
fn holds(record: &Record, now: Timestamp) -> bool {
    record.presence.expires > now && record.received <= now.after(CLOCK_SKEW)
}
