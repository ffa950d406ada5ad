use super::*;
use crate::net::{Port, Protocol};
use crate::presence::record::Authenticity;
use crate::presence::row::{Action, Direction, Level};
use crate::presence::{Entity, Presence, Protocols, Record, Row, Source, Timestamp};
use redb::Database;
use redb::{Builder, StorageBackend, TableDefinition};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;

const ALL: usize = usize::MAX;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("presence.redb");
    (folder, path)
}

fn entity(n: u64) -> Entity {
    format!("user-{n}@example.com").parse().unwrap()
}

fn record(n: u64, location: &str, sequence: u64) -> Record {
    Record {
        presence: Presence {
            entity: entity(n),
            addresses: vec![
                "192.168.1.2".parse().unwrap(),
                "2001:db8::2".parse().unwrap(),
            ],
            user: Some("John".parse().unwrap()),
            location: location.parse().unwrap(),
            time: Timestamp(1_033_210_169),
            expires: Timestamp(1_033_213_769),
            sequence,
        },
        source: Source::Peer,
        authenticity: Authenticity::Authenticated("john.example".to_owned()),
        received: Timestamp(1_033_210_170 + sequence),
    }
}

fn row() -> Row {
    Row {
        source: "192.168.1.1/32".parse().unwrap(),
        source_port: Port::Any,
        destination: "2001:db8::/32".parse().unwrap(),
        destination_port: Port::Is(443),
        transport: Protocol::TCP,
        direction: Direction::Out,
        action: Action::Ipsec,
        protocols: Protocols::AH_ESP,
        mode: None,
        end_point: Some("192.0.2.1".parse().unwrap()),
        level: Some(Level::Require),
    }
}

/// What another run finds.
fn found(path: &Path) -> Kept {
    Store::open(path).unwrap().load(ALL).unwrap()
}

fn damaged(path: &Path) -> bool {
    let loaded = Store::open(path).and_then(|mut store| store.load(ALL));
    matches!(loaded, Err(StoreError::Damaged { .. }))
}

#[test]
fn what_is_kept_is_found_again() {
    let (_folder, path) = folder();
    let mut store = Store::open(&path).unwrap();
    assert_eq!(store.load(ALL).unwrap(), Kept::default());
    let by_hand = Record {
        source: Source::Hand,
        ..record(2, "home", 99)
    };
    store
        .apply(&[
            Keep::Believed(record(1, "office", 7)),
            Keep::Believed(by_hand.clone()),
            Keep::Row {
                number: 4,
                row: row(),
            },
            Keep::Row {
                number: 3,
                row: row(),
            },
        ])
        .unwrap();
    drop(store);
    let expected = Kept {
        records: vec![record(1, "office", 7), by_hand.clone()],
        sequences: vec![(entity(1), 7)],
        history: vec![record(1, "office", 7), by_hand],
        rows: vec![(3, row()), (4, row())],
    };
    assert_eq!(found(&path), expected);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn sequence_and_history_outlive_what_was_believed() {
    let (_folder, path) = folder();
    let mut store = Store::open(&path).unwrap();
    store
        .apply(&[Keep::Believed(record(1, "office", 7))])
        .unwrap();
    store
        .apply(&[
            Keep::Forgotten(entity(1)),
            Keep::Sequence(entity(1), 9),
            Keep::Sequence(entity(1), 8),
            Keep::Row {
                number: 1,
                row: row(),
            },
            Keep::RowRemoved(1),
            Keep::RowRemoved(77),
        ])
        .unwrap();
    drop(store);
    let expected = Kept {
        sequences: vec![(entity(1), 9)],
        history: vec![record(1, "office", 7)],
        ..Kept::default()
    };
    assert_eq!(found(&path), expected);
}

#[test]
fn history_has_changes_only_and_so_many_of_each() {
    let (_folder, path) = folder();
    let mut store = Store::open(&path).unwrap();
    for sequence in 1..=100 {
        let location = format!("place-{}", sequence / 2);
        store
            .apply(&[Keep::Believed(record(1, &location, sequence))])
            .unwrap();
    }
    store
        .apply(&[Keep::Believed(record(2, "office", 1))])
        .unwrap();
    let history = store.load(ALL).unwrap().history;
    let of_first: Vec<_> = history
        .iter()
        .filter(|r| r.presence.entity == entity(1))
        .collect();
    assert_eq!(of_first.len() as u64, HISTORY);
    assert_eq!(of_first[0].presence.location.as_str(), "place-19");
    assert_eq!(of_first[31].presence.location.as_str(), "place-50");
    assert_eq!(history.len(), 33);
    let newest = store.load(2).unwrap().history;
    let sequences: Vec<_> = newest.iter().map(|r| r.presence.sequence).collect();
    assert_eq!(sequences, [98, 100]);
}

#[test]
fn a_kill_before_the_commit_leaves_what_was_there() {
    let (_folder, path) = folder();
    let mut store = Store::open(&path).unwrap();
    store
        .apply(&[Keep::Believed(record(1, "office", 1))])
        .unwrap();
    let killed = path.with_extension("killed");
    {
        let database = store.file.database.as_ref().unwrap();
        let transaction = database.begin_write().unwrap();
        let mut table = transaction
            .open_table(TableDefinition::<&str, u64>::new("sequences"))
            .unwrap();
        table.insert("user-1@example.com", 99).unwrap();
        // Exactly what a kill leaves behind: no commit, and nobody who closed the file.
        fs::copy(&path, &killed).unwrap();
    }
    assert_eq!(found(&killed).sequences, [(entity(1), 1)]);
    assert_eq!(found(&killed).records, [record(1, "office", 1)]);
}

#[test]
fn a_damaged_file_is_refused_and_left_alone() {
    let (_folder, path) = folder();
    let mut store = Store::open(&path).unwrap();
    let changes: Vec<_> = (0..200)
        .map(|n| Keep::Believed(record(n, "office", n)))
        .collect();
    store.apply(&changes).unwrap();
    drop(store);
    let whole = fs::read(&path).unwrap();
    let expected = found(&path);

    for wrong in [
        &b"not a store"[..],
        &whole[..whole.len() / 2],
        &whole[..100],
    ] {
        fs::write(&path, wrong).unwrap();
        assert!(damaged(&path), "{} octets", wrong.len());
        assert_eq!(fs::read(&path).unwrap(), wrong, "it was written to");
    }
    // One octet anywhere is either found or does not matter: in the file's head, where a record
    // stands (or stood), and in space that is not used.
    let name = b"user-100@example.com";
    let records = whole.windows(name.len()).enumerate();
    let records = records
        .filter(|(_, octets)| octets == name)
        .map(|(at, _)| at);
    let mut refused = 0;
    for at in records.take(6).chain([0, 9, 64, 130, 330, whole.len() - 1]) {
        let mut wrong = whole.clone();
        wrong[at] ^= 0xff;
        fs::write(&path, &wrong).unwrap();
        match Store::open(&path).and_then(|mut store| store.load(ALL)) {
            Ok(stored) => assert_eq!(stored, expected, "octet {at}"),
            Err(StoreError::Damaged { .. }) => refused += 1,
            Err(other) => panic!("octet {at}: {other}"),
        }
    }
    assert!(refused >= 2, "only {refused} were found");
}

#[test]
fn values_that_nobody_can_read_are_damage() {
    for wrong in [&b""[..], b"\x02\xa0", b"\x01\xa0", b"\x01\xff"] {
        let (_folder, path) = folder();
        let store = Store::open(&path).unwrap();
        let transaction = store.file.database.as_ref().unwrap().begin_write().unwrap();
        let rows = TableDefinition::<u64, &[u8]>::new("rows");
        transaction
            .open_table(rows)
            .unwrap()
            .insert(1, wrong)
            .unwrap();
        transaction.commit().unwrap();
        drop(store);
        assert!(damaged(&path), "{wrong:?}");
    }
}

#[test]
fn a_newer_schema_is_refused() {
    let (_folder, path) = folder();
    let store = Store::open(&path).unwrap();
    let transaction = store.file.database.as_ref().unwrap().begin_write().unwrap();
    let meta = TableDefinition::<&str, u64>::new("meta");
    transaction
        .open_table(meta)
        .unwrap()
        .insert("schema", SCHEMA + 1)
        .unwrap();
    transaction.commit().unwrap();
    drop(store);
    let error = Store::open(&path).unwrap_err();
    assert!(
        matches!(error, StoreError::Newer { found: 2, .. }),
        "{error}"
    );
}

#[test]
fn files_that_others_can_write_and_links_are_refused() {
    let (folder, path) = folder();
    drop(Store::open(&path).unwrap());
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    for path in [&path, &link] {
        let error = Store::open(path).unwrap_err();
        assert!(matches!(error, StoreError::Untrusted { .. }), "{error}");
    }
}

#[test]
fn two_agents_cannot_have_it_at_once() {
    let (_folder, path) = folder();
    let _store = Store::open(&path).unwrap();
    let error = Store::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
}

/// Octets that the disk of [`Full`] still takes.
static LEFT: AtomicU64 = AtomicU64::new(u64::MAX);

/// A disk that becomes full.
#[derive(Debug)]
struct Full(redb::backends::FileBackend);

impl StorageBackend for Full {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.0.read(offset, len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self, eventual: bool) -> io::Result<()> {
        self.0.sync_data(eventual)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let length = data.len() as u64;
        let left = LEFT.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(length)
        });
        match left {
            Ok(_) => self.0.write(offset, data),
            Err(_) => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
        }
    }
}

fn on_a_full_disk(path: &Path) -> Result<Database, StoreError> {
    let options = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path);
    let file = redb::backends::FileBackend::new(options.unwrap()).unwrap();
    Builder::new()
        .create_with_backend(Full(file))
        .map_err(|error| StoreError::of(path, error))
}

#[test]
fn a_full_disk_is_an_error_and_the_same_changes_succeed_when_there_is_room() {
    let (_folder, path) = folder();
    let mut store = Store::open_by(&path, on_a_full_disk).unwrap();
    store
        .apply(&[Keep::Believed(record(0, "office", 1))])
        .unwrap();
    let changes: Vec<_> = (1..500)
        .map(|n| Keep::Believed(record(n, "office", 1)))
        .collect();
    for left in [0, 100, 5_000, 40_000] {
        LEFT.store(left, Ordering::SeqCst);
        let error = store.apply(&changes).unwrap_err();
        assert!(matches!(error, StoreError::Disk { .. }), "{left}: {error}");
        LEFT.store(u64::MAX, Ordering::SeqCst);
        let records = store.load(ALL).unwrap().records;
        assert_eq!(records, [record(0, "office", 1)], "half of it was written");
    }
    store.apply(&changes).unwrap();
    assert_eq!(store.load(ALL).unwrap().records.len(), 500);
}
