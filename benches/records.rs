//! What 100,000 entries of the presence database cost, in memory and in the store.
//!
//! `cargo bench --bench records`. Needs no root.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use xfrm_agent::presence::database::Database;
use xfrm_agent::presence::{Authenticity, Keep, Presence, Record, Source, Timestamp};
use xfrm_agent::store::Store;

const MANY: u32 = 100_000;
const NOW: Timestamp = Timestamp(1_800_000_000);

fn main() {
    println!("{MANY} entities\n\n| what | time | each |\n| --- | --- | --- |");
    database();
    store();
}

fn record(n: u32, location: &str, sequence: u64) -> Record {
    Record {
        presence: Presence {
            entity: format!("user-{n}@example.com").parse().expect("an entity"),
            addresses: vec![Ipv4Addr::from(0x0a00_0000 + n).into()],
            user: Some(format!("User {n}").parse().expect("a name")),
            location: location.parse().expect("a location"),
            time: NOW,
            expires: NOW.after(Duration::from_secs(3600)),
            sequence,
        },
        source: Source::Peer,
        authenticity: Authenticity::Authenticated(format!("host-{n}.example")),
        received: NOW,
    }
}

fn all(location: &str, sequence: u64) -> Vec<Record> {
    (0..MANY).map(|n| record(n, location, sequence)).collect()
}

fn timed<T>(what: &str, of: u32, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    let took = start.elapsed();
    println!(
        "| {what} | {:.1} ms | {:.2} us |",
        took.as_secs_f64() * 1e3,
        took.as_secs_f64() * 1e6 / f64::from(of)
    );
    result
}

fn database() {
    let mut database = Database::default();
    let before = resident();
    for (what, location, sequence) in [
        ("database: first word", "office", 1),
        ("database: renewal", "office", 2),
        ("database: change", "external", 3),
    ] {
        let records = all(location, sequence);
        timed(what, MANY, || {
            for record in records {
                database.offer(NOW, record).expect("it is new");
            }
        });
    }
    println!(
        "| database: memory with one change each | {} MB | |",
        (resident() - before) / 1024
    );
    let later = NOW.after(Duration::from_secs(3600));
    let expired = timed("database: expiry", MANY, || database.expire(later).len());
    assert_eq!(expired, MANY as usize);
}

fn store() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("presence.redb");
    let mut store = Store::open(&path).expect("a new store");
    let keeps: Vec<Keep> = all("office", 1).into_iter().map(Keep::Believed).collect();
    timed("store: all in one transaction", MANY, || {
        store.apply(&keeps).expect("room for it");
    });
    let one = [Keep::Believed(record(7, "external", 2))];
    timed("store: one", 1, || store.apply(&one).expect("room for it"));
    drop(store);
    let size = std::fs::metadata(&path).expect("it was written").len();
    println!("| store: file | {} MB | |", size >> 20);
    let mut store = timed("store: open", MANY, || {
        Store::open(&path).expect("it is sound")
    });
    let kept = timed("store: load", MANY, || {
        store.load(MANY as usize).expect("it is sound")
    });
    assert_eq!(kept.records.len(), MANY as usize);
}

/// KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
    kib.unwrap_or_default()
}
