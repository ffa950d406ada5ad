//! What a home agent has answered: one value for each mobile node that has ever registered, its
//! bindings and the identification that it used last.

use super::open_file::OpenFile;
use super::schema::{META, decode, encode};
use super::{SCHEMA, StoreError, file};
use crate::mobile_ip::home_agent::effects::Kept;
use redb::{Database, ReadableTable, TableDefinition, WriteTransaction};
use std::path::Path;

/// By home address, or by NAI where that is from the pool.
const NODES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("mobile-nodes");

#[derive(Debug)]
pub struct Bindings {
    file: OpenFile,
}

impl Bindings {
    /// Makes the file where there is none. One that cannot be understood stays as it is.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file = OpenFile::open(path, file::open, prepare)?;
        Ok(Self { file })
    }

    /// Whose it is. A home address has four octets; a NAI comes behind an octet that makes it another key.
    pub fn key(kept: &Kept) -> Vec<u8> {
        match &kept.nai {
            None => kept.home.octets().to_vec(),
            Some(nai) => [b"@", &nai[..]].concat(),
        }
    }

    pub fn load(&mut self) -> Result<Vec<Kept>, StoreError> {
        self.file.with(load)
    }

    /// All of it or, after an error, nothing. The same can be applied again later.
    pub fn apply<'k>(
        &mut self,
        changes: impl IntoIterator<Item = &'k Kept>,
    ) -> Result<(), StoreError> {
        self.file
            .with(|path, database| apply(path, database, changes))
    }
}

fn prepare(path: &Path, database: &Database) -> Result<(), StoreError> {
    let failed = |error: redb::Error| StoreError::of(path, error);
    let transaction = database.begin_write().map_err(|e| failed(e.into()))?;
    match schema(&transaction).map_err(failed)? {
        SCHEMA => transaction.commit().map_err(|e| failed(e.into())),
        0 => Err(StoreError::damaged(path, "it has no schema")),
        found => Err(StoreError::Newer {
            path: path.to_owned(),
            found,
        }),
    }
}

#[expect(
    clippy::result_large_err,
    reason = "called once, and made smaller by the caller"
)]
/// Of the file, after the tables were made where there were none.
fn schema(transaction: &WriteTransaction) -> Result<u64, redb::Error> {
    let new = transaction.list_tables()?.next().is_none();
    let mut meta = transaction.open_table(META)?;
    if new {
        meta.insert("schema", SCHEMA)?;
        transaction.open_table(NODES)?;
    }
    Ok(meta.get("schema")?.map_or(0, |found| found.value()))
}

fn apply<'k>(
    path: &Path,
    database: &Database,
    changes: impl IntoIterator<Item = &'k Kept>,
) -> Result<(), StoreError> {
    let failed = |error: redb::Error| StoreError::of(path, error);
    let transaction = database.begin_write().map_err(|e| failed(e.into()))?;
    {
        let table = transaction.open_table(NODES);
        let mut nodes = table.map_err(|e| failed(e.into()))?;
        for kept in changes {
            let (key, value) = (Bindings::key(kept), encode(kept));
            let inserted = nodes.insert(&key[..], &value[..]);
            inserted.map_err(|e| failed(e.into()))?;
        }
    }
    transaction.commit().map_err(|e| failed(e.into()))
}

fn load(path: &Path, database: &Database) -> Result<Vec<Kept>, StoreError> {
    let failed = |error: redb::Error| StoreError::of(path, error);
    let storage = |error: redb::StorageError| failed(error.into());
    let transaction = database.begin_read().map_err(|e| failed(e.into()))?;
    let table = transaction.open_table(NODES);
    let nodes = table.map_err(|e| failed(e.into()))?;
    let mut all = Vec::new();
    for entry in nodes.iter().map_err(storage)? {
        let (_, value) = entry.map_err(storage)?;
        all.push(decode(path, "mobile-nodes", value.value())?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mobile_ip::Via;
    use crate::mobile_ip::home_agent::effects::{KeptBinding, Revocable, Tunnel, UdpEnds};
    use crate::mobile_ip::replay::Guard;
    use crate::mobile_ip::wire::{Identification, TunnelKind};
    use std::time::Duration;

    fn kept(home: &str, nai: Option<&[u8]>, last: u64) -> Kept {
        Kept {
            home: home.parse().unwrap(),
            nai: nai.map(<[u8]>::to_vec),
            guard: Guard::Timestamps(Some(Identification(last))),
            bindings: Vec::new(),
        }
    }

    fn bound() -> Kept {
        let ends = UdpEnds {
            local: "10.10.0.2:434".parse().unwrap(),
            remote: "198.51.100.7:5000".parse().unwrap(),
        };
        Kept {
            bindings: vec![KeptBinding {
                care_of: "203.0.113.10".parse().unwrap(),
                identification: Identification(7 << 32),
                expires: Some(Duration::from_millis(1_700_000_000_250)),
                tunnel: Tunnel {
                    local: "10.10.0.2".parse().unwrap(),
                    remote: "203.0.113.10".parse().unwrap(),
                    kind: TunnelKind::IpIp,
                    udp: Some(ends),
                    reverse: true,
                    networks: vec!["10.40.0.0/24".parse().unwrap()],
                    networks6: Vec::new(),
                },
                half_bound: false,
                from: ends.remote,
                to: ends.local,
                via: Via::Routed,
                revocation: Some(Revocable {
                    direct: true,
                    inform: false,
                    timestamp: 9,
                }),
            }],
            ..kept("10.20.0.5", None, 7 << 32)
        }
    }

    #[test]
    fn the_newest_of_each_mobile_node_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bindings.redb");
        let mut store = Bindings::open(&path).unwrap();
        assert_eq!(store.load().unwrap(), []);
        let roaming = kept("10.20.0.9", Some(b"bob@example.com"), 1);
        store
            .apply(&[kept("10.20.0.5", None, 1), roaming.clone(), bound()])
            .unwrap();
        drop(store);
        let mut store = Bindings::open(&path).unwrap();
        assert_eq!(store.load().unwrap(), [bound(), roaming.clone()]);
        // Another address of the pool for the same mobile node.
        let moved = kept("10.20.0.8", Some(b"bob@example.com"), 2);
        store.apply([&moved]).unwrap();
        assert_eq!(store.load().unwrap(), [bound(), moved]);
    }

    #[test]
    fn what_is_no_store_of_bindings_is_refused_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bindings.redb");
        drop(Bindings::open(&path).unwrap());
        let database = file::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        let mut meta = transaction.open_table(META).unwrap();
        meta.insert("schema", SCHEMA + 1).unwrap();
        drop(meta);
        transaction.commit().unwrap();
        drop(database);
        let refused = Bindings::open(&path);
        assert!(matches!(refused, Err(StoreError::Newer { found, .. }) if found == SCHEMA + 1));
        std::fs::write(&path, "nonsense").unwrap();
        assert!(Bindings::open(&path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"nonsense");
    }
}
