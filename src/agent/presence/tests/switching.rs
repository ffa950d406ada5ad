//! Presence switches protection on and off under traffic: nothing is lost, and nothing leaves in the
//! clear that must not.

use super::office::{SECOND, relaxed_in_the_office, told};
use super::settings::{ALICE, BOB, in_office};
use super::world::{Seen, WRITING, World};
use crate::net::Random;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const SWITCHES: u64 = 20;

/// Nobody waits longer for a peer to hear what we demand.
const GRACE: Duration = Duration::from_secs(1);

/// A hundred packets a second, both ways.
const EVERY: Duration = Duration::from_millis(10);

/// From and until when a host was strict on its own account.
struct Strict {
    host: usize,
    from: Instant,
    until: Instant,
}

/// Switches `hosts`, each a little later than the one before, there and back again.
fn switch(world: &mut World, hosts: &[usize], each: Duration) -> Vec<Strict> {
    let packets = each.as_millis() as u64 / 10 * SWITCHES;
    world.stream(in_office(ALICE), in_office(BOB), packets, EVERY);
    world.stream(in_office(BOB), in_office(ALICE), packets, EVERY);
    let mut spans: Vec<Strict> = Vec::new();
    for nth in 0..SWITCHES {
        let end = world.now + each;
        for host in hosts {
            let now = world.now;
            if nth % 2 == 0 {
                world.be(*host, "external");
                spans.push(Strict {
                    host: *host,
                    from: now,
                    until: now + each,
                });
            } else {
                let mut of_host = spans.iter_mut().rev();
                of_host.find(|span| span.host == *host).unwrap().until = now;
                world.be(*host, "office");
            }
            let pause = world.rng.u64() % 60;
            world.run_for(Duration::from_millis(pause));
        }
        let left = end - world.now;
        world.run_for(left);
    }
    world.run_for(5 * SECOND);
    spans
}

/// Each packet that was sent was delivered, once.
fn assert_nothing_lost(world: &World, packets: u64) {
    let mut delivered: BTreeMap<_, u32> = BTreeMap::new();
    for seen in &world.tally.accepted {
        *delivered.entry(seen.payload).or_default() += 1;
    }
    let refused = world.tally.refused.first();
    let dropped = world.tally.dropped.first();
    assert_eq!(
        delivered.len() as u64,
        2 * packets,
        "{refused:?} {dropped:?}\n{}",
        told(world)
    );
    assert!(delivered.values().all(|times| *times == 1));
    assert_eq!(
        world
            .hosts
            .iter()
            .map(|host| host.kernel.held())
            .sum::<usize>(),
        0
    );
}

/// None of `seen` was clear at `host` between two moments.
fn assert_none_clear(seen: &[Seen], host: usize, from: Instant, until: Instant, what: &str) {
    let clear = |seen: &&Seen| seen.host == host && seen.clear && seen.at > from && seen.at < until;
    let first = seen.iter().find(clear);
    let late = first.map(|seen| seen.at - from);
    assert!(
        first.is_none(),
        "{what} in the clear, {late:?} too late: {first:?}"
    );
}

fn assert_strict(world: &World, spans: &[Strict], acknowledged: Duration) {
    for Strict { host, from, until } in spans {
        let (applied, acknowledged) = (*from + WRITING, *from + acknowledged + WRITING);
        assert_none_clear(&world.tally.sent, *host, applied, *until, "sent");
        assert_none_clear(
            &world.tally.accepted,
            *host,
            acknowledged,
            *until,
            "accepted",
        );
    }
    let clear = world.tally.sent.iter().filter(|seen| seen.clear).count();
    assert!(clear > 1000, "nobody ever relaxed: {}", told(world));
}

/// Two at a distance, up to 50 ms in each direction.
fn distant(seed: u64) -> World {
    let mut world = relaxed_in_the_office(seed);
    for host in [ALICE, BOB] {
        let delay = world.rng.u64() % 51;
        world.hosts[host].delay = Duration::from_millis(delay);
    }
    world
}

fn round_trip(world: &World) -> Duration {
    world.hosts[ALICE].delay + world.hosts[BOB].delay
}

#[test]
fn twenty_switches_lose_nothing_and_send_nothing_in_the_clear() {
    for seed in 1..=4 {
        let mut world = distant(seed);
        let spans = switch(&mut world, &[BOB], 5 * SECOND);
        assert_nothing_lost(&world, 500 * SWITCHES);
        // What was being said when it switched comes first.
        let heard = 2 * round_trip(&world) + Duration::from_millis(5);
        assert_strict(&world, &spans, heard);
    }
}

#[test]
fn both_ends_switch_at_the_same_time() {
    for seed in 1..=4 {
        let mut world = distant(seed);
        let spans = switch(&mut world, &[ALICE, BOB], 5 * SECOND);
        assert_nothing_lost(&world, 500 * SWITCHES);
        assert_strict(&world, &spans, GRACE);
    }
}

#[test]
fn where_ike_loses_a_third_only_clear_packets_are_refused_and_only_after_the_grace_period() {
    for seed in 1..=3 {
        let mut world = distant(seed);
        world.loss = 30;
        let spans = switch(&mut world, &[ALICE, BOB], 10 * SECOND);
        assert_strict(&world, &spans, GRACE);
        for refused in &world.tally.refused {
            assert!(
                refused.clear,
                "protected packets are always taken: {refused:?}"
            );
            let by_own_account = |span: &&Strict| {
                span.host == refused.host
                    && refused.at > span.from + GRACE
                    && refused.at <= span.until + GRACE
            };
            assert!(
                spans.iter().any(|span| by_own_account(&span)),
                "{refused:?}\n{}",
                told(&world)
            );
        }
    }
}
