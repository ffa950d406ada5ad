//! Tables and values, as `docs/store.md` tells them.

use super::{Keep, Kept, StoreError};
use crate::presence::{Entity, Record, Row, Source};
use redb::{Database, ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::Path;

/// Of the tables; each value has a version of its own besides.
pub const SCHEMA: u64 = 1;

/// Records of the past that are kept of each entity.
pub const HISTORY: u64 = 32;

const VALUE: u8 = 1;

pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const BELIEVED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("believed");
const SEQUENCES: TableDefinition<'_, &str, u64> = TableDefinition::new("sequences");
/// Numbers of an entity have no gaps, and rise.
const PAST: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("history");
const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");

/// Makes the tables where there are none, and refuses those of another time.
pub(super) fn prepare(path: &Path, database: &Database) -> Result<(), StoreError> {
    let failed = |error: redb::Error| StoreError::of(path, error);
    let transaction = database.begin_write().map_err(|e| failed(e.into()))?;
    let found = tables(&transaction).map_err(failed)?;
    match found {
        None | Some(SCHEMA) => transaction.commit().map_err(|e| failed(e.into())),
        Some(0) => Err(StoreError::damaged(path, "it has no schema")),
        Some(found) => Err(StoreError::Newer {
            path: path.to_owned(),
            found,
        }),
    }
}

#[expect(
    clippy::result_large_err,
    reason = "called once, and made smaller by the caller"
)]
/// The schema found; `None` where this has just made the tables.
fn tables(transaction: &WriteTransaction) -> Result<Option<u64>, redb::Error> {
    let made = transaction.list_tables()?.next().is_none();
    let mut meta = transaction.open_table(META)?;
    if !made {
        return Ok(Some(meta.get("schema")?.map_or(0, |found| found.value())));
    }
    meta.insert("schema", SCHEMA)?;
    transaction.open_table(BELIEVED)?;
    transaction.open_table(SEQUENCES)?;
    transaction.open_table(PAST)?;
    transaction.open_table(ROWS)?;
    Ok(None)
}

// --- write ----------------------------------------------------------------------------------------

pub(super) fn apply(path: &Path, database: &Database, changes: &[Keep]) -> Result<(), StoreError> {
    let failed = |error: redb::Error| StoreError::of(path, error);
    let transaction = database.begin_write().map_err(|e| failed(e.into()))?;
    write(path, &transaction, changes)?;
    transaction.commit().map_err(|e| failed(e.into()))
}

fn write(path: &Path, transaction: &WriteTransaction, changes: &[Keep]) -> Result<(), StoreError> {
    let failed = |error: redb::Error| StoreError::of(path, error);
    let table = |error: redb::TableError| failed(error.into());
    let storage = |error: redb::StorageError| failed(error.into());
    let mut believed = transaction.open_table(BELIEVED).map_err(table)?;
    let mut sequences = transaction.open_table(SEQUENCES).map_err(table)?;
    let mut past = transaction.open_table(PAST).map_err(table)?;
    let mut rows = transaction.open_table(ROWS).map_err(table)?;
    for change in changes {
        match change {
            Keep::Believed(record) => {
                let entity = record.presence.entity.as_str();
                let value = encode(record);
                let before = match believed.insert(entity, &value[..]).map_err(storage)? {
                    Some(before) => Some(decode::<Record>(path, "believed", before.value())?),
                    None => None,
                };
                let renewal = before.is_some_and(|b| b.presence.says_the_same(&record.presence));
                if !renewal {
                    remember(&mut past, entity, &value).map_err(storage)?;
                }
                if record.source != Source::Hand {
                    raise(&mut sequences, entity, record.presence.sequence).map_err(storage)?;
                }
            }
            Keep::Forgotten(entity) => {
                believed.remove(entity.as_str()).map_err(storage)?;
            }
            Keep::Sequence(entity, sequence) => {
                raise(&mut sequences, entity.as_str(), *sequence).map_err(storage)?;
            }
            Keep::Row { number, row } => {
                rows.insert(number, &encode(row)[..]).map_err(storage)?;
            }
            Keep::RowRemoved(number) => {
                rows.remove(number).map_err(storage)?;
            }
        }
    }
    Ok(())
}

/// Adds one to an entity's history; the oldest beyond [`HISTORY`] goes.
fn remember(
    past: &mut Table<'_, (&'static str, u64), &'static [u8]>,
    entity: &str,
    value: &[u8],
) -> Result<(), redb::StorageError> {
    let (mut first, mut next) = (0, 0);
    {
        let mut range = past.range((entity, 0)..=(entity, u64::MAX))?;
        if let Some(oldest) = range.next().transpose()? {
            first = oldest.0.value().1;
            next = first + 1;
        }
        if let Some(newest) = range.next_back().transpose()? {
            next = newest.0.value().1 + 1;
        }
    }
    past.insert((entity, next), value)?;
    if next - first >= HISTORY {
        past.remove((entity, first))?;
    }
    Ok(())
}

fn raise(
    sequences: &mut Table<'_, &'static str, u64>,
    entity: &str,
    sequence: u64,
) -> Result<(), redb::StorageError> {
    let known = sequences.get(entity)?.map(|known| known.value());
    if known.is_none_or(|known| known < sequence) {
        sequences.insert(entity, sequence)?;
    }
    Ok(())
}

// --- read -----------------------------------------------------------------------------------------

pub(super) fn load(
    path: &Path,
    database: &Database,
    most_history: usize,
) -> Result<Kept, StoreError> {
    let failed = |error: redb::Error| StoreError::of(path, error);
    let table = |error: redb::TableError| failed(error.into());
    let storage = |error: redb::StorageError| failed(error.into());
    let transaction = database.begin_read().map_err(|e| failed(e.into()))?;
    let mut stored = Kept::default();

    let believed = transaction.open_table(BELIEVED).map_err(table)?;
    for entry in believed.iter().map_err(storage)? {
        let (_, value) = entry.map_err(storage)?;
        stored
            .records
            .push(decode(path, "believed", value.value())?);
    }
    let sequences = transaction.open_table(SEQUENCES).map_err(table)?;
    for entry in sequences.iter().map_err(storage)? {
        let (entity, sequence) = entry.map_err(storage)?;
        let entity: Entity = entity
            .value()
            .parse()
            .map_err(|_| StoreError::damaged(path, "a key of table `sequences` is no entity"))?;
        stored.sequences.push((entity, sequence.value()));
    }
    let past = transaction.open_table(PAST).map_err(table)?;
    let mut newest = BTreeMap::new();
    for (at, entry) in past.iter().map_err(storage)?.enumerate() {
        let (_, value) = entry.map_err(storage)?;
        let record: Record = decode(path, "history", value.value())?;
        newest.insert((record.received, at), record);
        if newest.len() > most_history {
            newest.pop_first();
        }
    }
    stored.history = newest.into_values().collect();
    let rows = transaction.open_table(ROWS).map_err(table)?;
    for entry in rows.iter().map_err(storage)? {
        let (number, value) = entry.map_err(storage)?;
        let row: Row = decode(path, "rows", value.value())?;
        stored.rows.push((number.value(), row));
    }
    Ok(stored)
}

// --- values ---------------------------------------------------------------------------------------

/// Its version, and CBOR.
pub(super) fn encode(value: &impl Serialize) -> Vec<u8> {
    let mut octets = vec![VALUE];
    ciborium::into_writer(value, &mut octets).expect("a vector takes every value");
    octets
}

pub(super) fn decode<T: DeserializeOwned>(
    path: &Path,
    table: &str,
    octets: &[u8],
) -> Result<T, StoreError> {
    let damaged =
        |what: String| StoreError::damaged(path, format!("a value of table `{table}` {what}"));
    match octets.split_first() {
        Some((&VALUE, cbor)) => ciborium::from_reader(cbor)
            .map_err(|error| damaged(format!("is not readable: {error}"))),
        Some((version, _)) => Err(damaged(format!("has the unknown version {version}"))),
        None => Err(damaged("is empty".to_owned())),
    }
}
