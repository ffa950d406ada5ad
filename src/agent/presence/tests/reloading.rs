//! The configuration changes while two talk in the clear.

use super::office::{CLEAR, SECOND, protections, relaxed_in_the_office};
use super::settings::{ALICE, BOB, STRICT, in_office, settings};
use super::world::World;
use crate::agent::event::Event;
use crate::agent::settings::Settings;
use crate::kernel::desired::Direction;

fn reload(world: &mut World, settings: Settings) {
    world.input(ALICE, Event::Configuration(Box::new(settings)));
    world.run_for(SECOND);
}

#[test]
fn a_stricter_rule_holds_at_once_at_both_ends() {
    let mut world = relaxed_in_the_office(1);
    let mut stricter = settings(ALICE, &[BOB]);
    let presence = stricter.presence.as_mut().unwrap();
    for rule in &mut presence.rulebook.rules {
        rule.then = STRICT;
    }
    reload(&mut world, stricter);
    let [out, into, theirs, _] = protections(&world);
    assert_eq!([out, into, theirs], [STRICT; 3]);
}

#[test]
fn what_has_not_changed_goes_on() {
    let mut world = relaxed_in_the_office(2);
    reload(&mut world, settings(ALICE, &[BOB]));
    assert_eq!(protections(&world), CLEAR);
}

#[test]
fn a_contact_that_is_gone_leaves_nothing_and_one_that_comes_back_is_a_stranger() {
    let mut world = relaxed_in_the_office(3);
    reload(&mut world, settings(ALICE, &[]));
    let about_bob = |world: &World| {
        let kernel = &world.hosts[ALICE].kernel;
        let policies = kernel.policies().map(|policy| policy.key);
        let dst = crate::net::host(in_office(BOB));
        policies
            .filter(|key| key.direction == Direction::Out && key.selector.dst == dst)
            .count()
    };
    assert_eq!(about_bob(&world), 0);
    reload(&mut world, settings(ALICE, &[BOB]));
    assert!(about_bob(&world) > 0);
}

#[test]
fn presence_itself_is_switched_at_a_restart_only() {
    let mut world = relaxed_in_the_office(4);
    let mut without = settings(ALICE, &[BOB]);
    without.presence = None;
    reload(&mut world, without);
    assert_eq!(protections(&world), CLEAR);
}
