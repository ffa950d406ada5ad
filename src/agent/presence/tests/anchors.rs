//! Whether one is in the office is for its anchor to say: an authenticated exchange, over and over.

use super::office::{CLEAR, SECOND, protections, settle, told};
use super::settings::{
    ALICE, BOB, MALLORY, STRICT, identity, in_office, outside, presence, settings,
};
use super::world::World;

/// Alice and Bob; Mallory's machine is the anchor, and nobody's contact.
fn anchored(seed: u64) -> World {
    let mut world = World::new(seed);
    for (who, contacts) in [(ALICE, vec![BOB]), (BOB, vec![ALICE]), (MALLORY, vec![])] {
        let mut settings = settings(who, &contacts);
        let site = &mut presence(&mut settings).rulebook.sites[0];
        site.anchor = Some(identity(MALLORY));
        site.anchor_address = (who != MALLORY).then(|| in_office(MALLORY));
        world.add(settings, &[in_office(who)]);
    }
    world
}

#[test]
fn an_anchor_that_is_no_contact_proves_where_we_are_over_and_over() {
    let mut world = anchored(1);
    settle(&mut world, 30 * SECOND);
    assert!(world.hosts[ALICE].told("own-presence", "office: attested by its anchor"));
    for _ in 0..60 {
        world.run_for(10 * SECOND);
        assert_eq!(protections(&world), CLEAR, "{}", told(&world));
    }
}

#[test]
fn without_its_anchor_nobody_is_in_the_office_for_more_than_a_minute() {
    let mut world = anchored(1);
    settle(&mut world, 30 * SECOND);
    world.run_for(30 * SECOND);
    world.cut.insert(MALLORY);
    world.run_for(30 * SECOND);
    assert_eq!(
        protections(&world),
        CLEAR,
        "one that does not answer once is still an anchor"
    );
    world.run_for(31 * SECOND);
    assert_eq!(protections(&world), [STRICT; 4], "{}", told(&world));
    world.cut.clear();
    settle(&mut world, 120 * SECOND);
}

#[test]
fn nobody_proves_anything_through_a_translator() {
    let mut world = anchored(1);
    world.nat = Some((BOB, "192.168.1.77".parse().unwrap()));
    world.run_for(120 * SECOND);
    assert!(
        world.hosts[ALICE].told("own-presence", "office"),
        "Alice is there"
    );
    assert!(
        !world.hosts[BOB].told("own-presence", "office"),
        "{}",
        told(&world)
    );
    assert!(
        world.hosts[BOB].told(
            "not-attested",
            "office: its owner does not allow that to us"
        ),
        "{}",
        told(&world)
    );
}

#[test]
fn who_is_not_at_the_site_is_attested_nothing_however_the_network_looks() {
    let mut world = anchored(1);
    settle(&mut world, 30 * SECOND);
    world.move_to(BOB, &[outside(BOB)]);
    // Nobody is there to hear it.
    world.run_for(SECOND + SECOND / 10);
    assert_eq!(protections(&world)[..2], [STRICT; 2], "{}", told(&world));
    // The range again, but nobody there who could be the anchor.
    world.cut.insert(MALLORY);
    world.move_to(BOB, &[in_office(BOB)]);
    world.run_for(300 * SECOND);
    assert!(protections(&world).contains(&STRICT));
    let last = world.hosts[BOB]
        .tells
        .iter()
        .rfind(|line| line.contains(" own-presence "));
    assert!(last.unwrap().contains("external"), "{last:?}");
}
