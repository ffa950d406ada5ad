//! What the next run should know.

use super::{Entity, Record, Row};

/// Everything that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// What was believed last of each, expired or not.
    pub records: Vec<Record>,
    /// The highest that each has used.
    pub sequences: Vec<(Entity, u64)>,
    /// The oldest first.
    pub history: Vec<Record>,
    /// Registered rows, in the order of their numbers.
    pub rows: Vec<(u64, Row)>,
}

/// One step from what is kept to what is to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Replaces what was believed, raises the sequence (not where it was set by hand), and is added
    /// to the history if it says something else than before.
    Believed(Record),
    /// Nothing is believed of it any more. Sequence and history stay.
    Forgotten(Entity),
    /// It was used, though what came with it is not believed. A lower one changes nothing.
    Sequence(Entity, u64),
    Row {
        number: u64,
        row: Row,
    },
    RowRemoved(u64),
}
