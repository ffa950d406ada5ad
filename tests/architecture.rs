//! Imports point downward. Each room may use the rooms named beside it, and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Room, the rooms of this crate that it may import, and why.
const ALLOWED: &[(&str, &[&str], &str)] = &[
    ("net", &[], "layer 0: the vocabulary knows nobody"),
    ("ted", &["net"], "layer 1: one protocol, values only"),
    ("ike", &["net"], "layer 1: one protocol, values only"),
    ("presence", &["net"], "layer 1: one subject, values only"),
    ("mobile_ip", &["net"], "layer 1: one protocol, values only"),
    ("vici", &[], "layer 1: one protocol, values only"),
    (
        "store",
        &["net", "presence", "mobile_ip"],
        "layer 2: keeps values, knows nobody who wants them",
    ),
    (
        "kernel",
        &["net"],
        "layer 2: knows objects, not who wants them",
    ),
    (
        "tun",
        &["net", "mobile_ip"],
        "layer 2: carries packets of bindings, knows nobody who wants them",
    ),
    (
        "agent",
        &[
            "net",
            "ted",
            "ike",
            "presence",
            "mobile_ip",
            "kernel",
            "tun",
        ],
        "layer 3: where the rooms meet",
    ),
    (
        "config",
        &[
            "net",
            "ted",
            "ike",
            "presence",
            "mobile_ip",
            "kernel",
            "agent",
        ],
        "layer 4: produces the agent's settings",
    ),
    (
        "control",
        &["net", "presence", "kernel", "agent", "config"],
        "layer 4: carries commands and snapshots; its socket lies where config trusts the folder, and the kernel says when a client is late",
    ),
    (
        "cli",
        &[
            "net", "ike", "presence", "agent", "config", "control", "daemon", "kernel",
        ],
        "layer 4: starts the daemon, talks to it through control, and doctor asks the kernel",
    ),
    (
        "daemon",
        &[
            "net",
            "ted",
            "ike",
            "presence",
            "mobile_ip",
            "vici",
            "store",
            "kernel",
            "tun",
            "agent",
            "config",
            "control",
        ],
        "layer 4: connects the agent to sockets, the kernel and the clock",
    ),
];

/// Crates that the pure rooms must not touch: no runtime, no sockets, no configuration format.
const IO_CRATES: &[&str] = &[
    "tokio",
    "nix",
    "netlink_sys",
    "rtnetlink",
    "toml",
    "clap",
    "libc",
];
const PURE_ROOMS: &[&str] = &[
    "net",
    "ted",
    "ike",
    "presence",
    "mobile_ip",
    "vici",
    "agent",
];

/// Clocks and generators of the environment, which a repeatable run cannot have.
const AMBIENT: &[&str] = &[
    "Instant::now()",
    "SystemTime::now()",
    "thread::sleep",
    "SystemRandom",
];

/// The modules of a folder that exist in test builds only.
fn test_modules(dir: &Path) -> BTreeSet<String> {
    let files = fs::read_dir(dir).expect("the room is a folder");
    let texts = files.filter_map(|entry| fs::read_to_string(entry.expect("readable").path()).ok());
    let declared = |text: String| -> Vec<String> {
        let after = text.split("#[cfg(test)]\n").skip(1);
        let module = after.filter_map(|rest| rest.lines().next()?.strip_suffix(';'));
        module
            .filter_map(|line| Some(line.split_once("mod ")?.1.to_owned()))
            .collect()
    };
    texts.flat_map(declared).collect()
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let tests = test_modules(dir);
    for entry in fs::read_dir(dir).expect("the room is a folder") {
        let path = entry.expect("readable").path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if tests.contains(&*name) {
            continue;
        }
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

fn room(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(name)
}

/// The text without the unit tests at its end, which may use a clock.
fn production(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("readable source");
    let tests = ["#[cfg(test)]\nmod ", "#[cfg(test)]\npub mod "];
    match tests.iter().filter_map(|begin| text.find(begin)).min() {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

fn imported_rooms(text: &str) -> BTreeSet<String> {
    text.match_indices("crate::")
        .map(|(at, prefix)| {
            let rest = &text[at + prefix.len()..];
            let end = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            rest[..end].to_owned()
        })
        .filter(|name| ALLOWED.iter().any(|(room, _, _)| room == name))
        .collect()
}

#[test]
fn rooms_import_only_what_lies_below_them() {
    let mut wrong = Vec::new();
    for (name, allowed, why) in ALLOWED {
        for path in sources(&room(name)) {
            for imported in imported_rooms(&production(&path)) {
                if imported != *name && !allowed.contains(&imported.as_str()) {
                    wrong.push(format!("{}: imports {imported} ({why})", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_room_has_a_row() {
    let rows: BTreeSet<_> = ALLOWED
        .iter()
        .map(|(name, _, _)| (*name).to_owned())
        .collect();
    let rooms: BTreeSet<_> = fs::read_dir(room(""))
        .expect("src")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.is_dir())
        .map(|path| {
            path.file_name()
                .expect("named")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(rooms, rows);
}

#[test]
fn pure_rooms_have_no_clock_no_sockets_and_no_randomness_of_their_own() {
    let mut wrong = Vec::new();
    for name in PURE_ROOMS {
        for path in sources(&room(name)) {
            let text = production(&path);
            for banned in IO_CRATES.iter().map(|c| format!("use {c}")) {
                if text.contains(&banned) {
                    wrong.push(format!("{}: {banned}", path.display()));
                }
            }
            for banned in AMBIENT.iter().filter(|banned| text.contains(**banned)) {
                wrong.push(format!("{}: {banned}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
