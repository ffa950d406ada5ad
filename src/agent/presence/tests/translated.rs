//! AH covers addresses, so nothing that demands it crosses a NAT.

use super::office::{SECOND, at, told};
use super::settings::{ALICE, BOB, STRICT, in_office, outside, presence, settings};
use super::world::World;
use crate::agent::effect::Reply;
use crate::agent::event::Command;
use crate::agent::presence::commands::{PolicyCommand, PolicyEntry};
use crate::presence::{Protection, Protocols};
use std::net::IpAddr;

/// What Bob is called outside.
fn translated() -> IpAddr {
    "203.0.113.9".parse().unwrap()
}

/// Bob is behind a translator; where a rule says so, ESP alone will do there.
fn behind_nat(esp_alone: bool) -> World {
    let mut world = World::new(1);
    for (who, address) in [(ALICE, in_office(ALICE)), (BOB, outside(BOB))] {
        let mut settings = settings(who, &[if who == ALICE { BOB } else { ALICE }]);
        let presence = presence(&mut settings);
        if esp_alone {
            // No site says where `external` is, so this holds there too; it must not insist on AH.
            presence.rulebook.unknown = Protection::require(Protocols::ESP);
        }
        for rule in &mut presence.rulebook.rules {
            rule.esp_behind_nat = esp_alone;
        }
        if who == BOB {
            presence.contacts[0].addresses = vec![in_office(ALICE)];
        } else {
            presence.contacts[0].addresses = vec![translated()];
        }
        world.add(settings, &[address]);
    }
    world.nat = Some((BOB, translated()));
    world.run_for(10 * SECOND);
    world
}

fn policies(world: &mut World, host: usize) -> Vec<PolicyEntry> {
    let token = world.command(host, Command::Policy(PolicyCommand::List));
    let replies = &world.hosts[host].replies;
    match replies.iter().find(|(of, _)| *of == token) {
        Some((_, Reply::Policies(entries))) => entries.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_demands_ah_is_blocked_behind_a_nat_and_it_is_said_why() {
    let mut world = behind_nat(false);
    let [out, into] = at(&world, ALICE, in_office(ALICE), translated());
    assert_eq!(
        (out, into),
        (Protection::DISCARD, Protection::DISCARD),
        "{}",
        told(&world)
    );
    assert!(world.hosts[ALICE].told("behind-nat", "AH cannot pass"));
    for host in [ALICE, BOB] {
        let entries = policies(&mut world, host);
        let theirs = if host == ALICE {
            translated()
        } else {
            in_office(ALICE)
        };
        let of_peer = entries
            .iter()
            .filter(|entry| entry.row.peer_side().contains(&theirs));
        let mut found = 0;
        for entry in of_peer {
            assert!(entry.because.contains("AH cannot pass a NAT"), "{entry:?}");
            found += 1;
        }
        assert_eq!(found, 2, "out and in: {entries:?}");
    }
    let mut clear = world.tally.sent.iter();
    assert!(clear.all(|seen| !seen.clear));
}

#[test]
fn without_a_nat_nothing_is_said_of_one() {
    let mut world = super::office::relaxed_in_the_office(1);
    world.be(BOB, "external");
    world.run_for(SECOND);
    let [out, into] = at(&world, ALICE, in_office(ALICE), in_office(BOB));
    assert_eq!((out, into), (STRICT, STRICT));
    for entry in policies(&mut world, ALICE) {
        assert!(!entry.because.contains("NAT"), "{entry:?}");
    }
}

#[test]
fn where_the_rule_says_so_esp_alone_crosses_a_nat() {
    let esp = Protection::require(Protocols::ESP);
    let mut world = behind_nat(true);
    let [out, into] = at(&world, BOB, outside(BOB), in_office(ALICE));
    assert_eq!((out, into), (esp, esp), "{}", told(&world));
    let entries = policies(&mut world, BOB);
    assert!(
        entries
            .iter()
            .any(|entry| entry.because.contains("ESP alone")),
        "{entries:?}"
    );
}
