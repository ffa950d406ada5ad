//! A kernel that does not take what it is told.

use super::office::{CLEAR, SECOND, protections, relaxed_in_the_office, settle, told};
use super::settings::{ALICE, BOB, in_office, settings};
use super::world::World;
use crate::kernel::desired::{Mark, Object};

fn is_sa(object: &Object) -> bool {
    matches!(object, Object::Sa(_))
}

fn is_relaxed(object: &Object) -> bool {
    matches!(object, Object::Policy(policy) if policy.key.mark != Mark::default())
}

fn nothing_clear(world: &World, since: usize) -> bool {
    world.tally.sent[since..].iter().all(|seen| !seen.clear)
}

#[test]
fn while_the_kernel_takes_no_sa_packets_wait_and_nothing_leaks() {
    let mut world = World::new(1);
    world.add(settings(ALICE, &[BOB]), &[in_office(ALICE)]);
    world.add(settings(BOB, &[ALICE]), &[in_office(BOB)]);
    world.hosts[ALICE].kernel.refuses = Some(is_sa);
    world.stream(in_office(ALICE), in_office(BOB), 50, SECOND / 10);
    world.run_for(10 * SECOND);
    assert!(nothing_clear(&world, 0));
    assert!(world.tally.accepted.is_empty());
    assert!(world.hosts[ALICE].told("kernel-refused", "out of memory"));
    world.hosts[ALICE].kernel.refuses = None;
    world.stream(in_office(ALICE), in_office(BOB), 50, SECOND / 10);
    world.run_for(70 * SECOND);
    assert!(world.tally.accepted.len() >= 50, "{}", told(&world));
    assert!(nothing_clear(&world, 0));
}

#[test]
fn a_relaxation_that_the_kernel_refuses_comes_when_it_takes_it() {
    let mut world = relaxed_in_the_office(1);
    world.be(BOB, "external");
    world.run_for(5 * SECOND);
    world.hosts[ALICE].kernel.refuses = Some(is_relaxed);
    world.be(BOB, "office");
    let before = world.tally.sent.len();
    world.stream(in_office(ALICE), in_office(BOB), 50, SECOND / 10);
    world.run_for(10 * SECOND);
    assert!(nothing_clear(&world, before), "{}", told(&world));
    assert_ne!(protections(&world), CLEAR);
    assert!(world.hosts[ALICE].told("kernel-refused", ""));
    world.hosts[ALICE].kernel.refuses = None;
    settle(&mut world, 30 * SECOND);
    assert!(world.hosts[ALICE].told("kernel-accepted", ""));
}
