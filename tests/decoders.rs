//! Every fuzz target over its corpus and a few thousand mutations of it: what `scripts/fuzz` does
//! for longer and with an eye on coverage.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::fmt::Write;
use std::fs;
use std::path::Path;
use targets::{TARGETS, Target};
use xfrm_agent::net::Random;
use xfrm_agent::net::random::Seeded;

const MUTATIONS: usize = 3000;

/// Says which input it was, where the target panics.
struct Input<'a>(&'a str, &'a [u8]);

impl Drop for Input<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let octets = self.1.iter().fold(String::new(), |mut hex, octet| {
                let _ = write!(hex, "{octet:02x}");
                hex
            });
            eprintln!("{} with {octets}", self.0);
        }
    }
}

fn run(name: &str, target: Target, octets: &[u8]) {
    let _input = Input(name, octets);
    target(octets);
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(name);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// One to four small changes.
fn mutate(rng: &mut Seeded, octets: &mut Vec<u8>, others: &[Vec<u8>]) {
    for _ in 0..=rng.u32() % 4 {
        let at = rng.u32() as usize % octets.len().max(1);
        match rng.u32() % 8 {
            0 if !octets.is_empty() => octets[at] ^= 1 << (rng.u32() % 8),
            1 if !octets.is_empty() => {
                octets[at] = [0, 1, 0x7f, 0x80, 0xff][rng.u32() as usize % 5];
            }
            2 if !octets.is_empty() => {
                octets[at] = octets[at].wrapping_add(rng.u32() as u8 % 7).wrapping_sub(3);
            }
            3 => octets.truncate(at),
            4 => octets.insert(at.min(octets.len()), rng.u32() as u8),
            5 if at + 4 <= octets.len() => drop(octets.drain(at..at + 4)),
            6 => {
                let other = &others[rng.u32() as usize % others.len()];
                let from = rng.u32() as usize % other.len().max(1);
                octets.truncate(at);
                octets.extend(&other[from.min(other.len())..]);
            }
            _ => octets.extend_from_within(at.min(octets.len())..(at + 16).min(octets.len())),
        }
    }
}

#[test]
fn no_octets_panic_a_decoder() {
    for (number, (name, target)) in TARGETS.into_iter().enumerate() {
        let corpus = corpus(name);
        for octets in &corpus {
            run(name, target, octets);
        }
        let mut rng = Seeded(number as u64);
        for n in 0..MUTATIONS {
            let mut octets = corpus[n % corpus.len()].clone();
            mutate(&mut rng, &mut octets, &corpus);
            run(name, target, &octets);
        }
    }
}
