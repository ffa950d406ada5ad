//! Contacts who really move, to a network that nobody vouches for.

use super::office::{SECOND, at, relaxed_in_the_office, told};
use super::settings::{ALICE, BOB, STRICT, in_office, outside, packet};
use super::world::Seen;

#[test]
fn who_has_moved_is_protected_there_as_soon_as_their_ike_arrives() {
    let mut world = relaxed_in_the_office(1);
    let alice = in_office(ALICE);
    world.move_to(BOB, &[outside(BOB)]);
    let end = world.now + 20 * SECOND;
    while !world.hosts[ALICE].told("peer-up", "133.134.10.11") {
        assert!(world.now < end, "{}", told(&world));
        world.run_for(SECOND / 1000);
    }
    world.run_for(SECOND / 1000);
    assert_eq!(
        at(&world, ALICE, alice, outside(BOB)),
        [STRICT; 2],
        "{}",
        told(&world)
    );
    world.run_for(5 * SECOND);
    assert_eq!(
        at(&world, ALICE, alice, in_office(BOB)),
        [STRICT; 2],
        "who is there now?"
    );
    assert_eq!(at(&world, BOB, outside(BOB), alice), [STRICT; 2]);
    assert!(world.hosts[ALICE].told("presence", "office at 133.134.10.11"));
}

#[test]
fn packets_to_where_somebody_has_moved_arrive_and_are_protected() {
    let mut world = relaxed_in_the_office(1);
    world.move_to(BOB, &[outside(BOB)]);
    world.run_for(5 * SECOND);
    let (alice, bob) = (in_office(ALICE), outside(BOB));
    world.stream(alice, bob, 100, SECOND / 100);
    world.stream(bob, alice, 100, SECOND / 100);
    world.run_for(5 * SECOND);
    let there = |seen: &&Seen| {
        let flow = seen.payload.flow;
        [flow.src, flow.dst].contains(&outside(BOB))
    };
    let arrived: Vec<&Seen> = world.tally.accepted.iter().filter(there).collect();
    assert_eq!(arrived.len(), 200, "{}", told(&world));
    assert!(arrived.iter().all(|seen| !seen.clear));
}

#[test]
fn a_former_address_stays_protected_for_an_hour_and_then_is_nobodys() {
    let mut world = relaxed_in_the_office(1);
    // Bob comes by an address that the configuration does not know, and leaves it again.
    for address in [outside(BOB), in_office(BOB)] {
        world.move_to(BOB, &[address]);
        world.run_for(60 * SECOND);
    }
    let former = |world: &_| at(world, ALICE, in_office(ALICE), outside(BOB));
    world.run_for(3400 * SECOND);
    assert_eq!(former(&world), [STRICT; 2], "{}", told(&world));
    world.run_for(300 * SECOND);
    assert_ne!(former(&world), [STRICT; 2], "{}", told(&world));
}

#[test]
fn a_packet_that_was_held_for_where_somebody_is_not_is_not_sent_in_the_clear() {
    let mut world = relaxed_in_the_office(1);
    world.move_to(BOB, &[outside(BOB)]);
    world.run_for(5 * SECOND);
    let before = world.tally.sent.len();
    let packet = packet(in_office(ALICE), in_office(BOB), 0);
    world.stream(packet.flow.src, packet.flow.dst, 50, SECOND / 10);
    world.run_for(120 * SECOND);
    assert!(world.tally.sent[before..].iter().all(|seen| !seen.clear));
}
