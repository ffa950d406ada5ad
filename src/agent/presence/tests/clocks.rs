//! Clocks that are set, and agents that stood still or died meanwhile.

use super::office::{CLEAR, SECOND, protections, relaxed_in_the_office, settle, told};
use super::settings::{ALICE, BOB, DWELL, LIFETIME, STRICT};
use super::world::World;
use crate::agent::event::Doubt;

fn step_both(world: &mut World, seconds: i64) {
    for host in [ALICE, BOB] {
        world.step_clock(host, seconds);
    }
}

/// What was set by hand does not outlive the run.
fn killed_and_restarted(world: &mut World, host: usize) {
    world.kill(host);
    world.run_for(LIFETIME + SECOND);
    world.restart(host);
    world.be(host, "office");
}

#[test]
fn whoever_was_killed_is_believed_again_after_the_clocks_were_set_back() {
    let mut world = relaxed_in_the_office(1);
    killed_and_restarted(&mut world, ALICE);
    settle(&mut world, 60 * SECOND);
    step_both(&mut world, -3600);
    world.run_for(DWELL / 2);
    assert_eq!(protections(&world), [STRICT; 4], "{}", told(&world));
    settle(&mut world, 60 * SECOND);
}

#[test]
fn numbers_rise_over_a_restart_though_the_clock_was_set_back() {
    let mut world = relaxed_in_the_office(1);
    step_both(&mut world, -7200);
    killed_and_restarted(&mut world, ALICE);
    settle(&mut world, 60 * SECOND);
    killed_and_restarted(&mut world, ALICE);
    settle(&mut world, 60 * SECOND);
}

#[test]
fn a_clock_that_was_set_forward_ends_what_was_said_until_then() {
    let mut world = relaxed_in_the_office(1);
    step_both(&mut world, 7200);
    world.run_for(20 * SECOND);
    assert_eq!(protections(&world), [STRICT; 4], "an hour was granted");
    for host in [ALICE, BOB] {
        world.be(host, "office");
    }
    settle(&mut world, 60 * SECOND);
}

#[test]
fn what_is_set_by_hand_for_longer_than_it_is_published_stays_believed() {
    let mut world = relaxed_in_the_office(1);
    for host in [ALICE, BOB] {
        world.be_for(host, "office", 4 * 3600);
    }
    world.run_for(3 * 3600 * SECOND);
    assert_eq!(protections(&world), CLEAR, "{}", told(&world));
    world.run_for(3600 * SECOND + 2 * SECOND);
    assert_eq!(protections(&world), [STRICT; 4], "{}", told(&world));
}

#[test]
fn relaxations_end_before_anything_else_whatever_gives_cause_for_doubt() {
    for doubt in [Doubt::ClockStepped, Doubt::Resumed, Doubt::LinkChanged] {
        let mut world = relaxed_in_the_office(1);
        world.doubt(ALICE, doubt);
        world.run_for(SECOND / 10);
        assert_eq!(protections(&world)[0], STRICT, "{doubt:?}");
        assert_eq!(protections(&world)[2], STRICT, "{doubt:?}: Bob was told");
        assert!(world.hosts[ALICE].told("relaxations-withdrawn", "1: "));
        world.run_for(DWELL.saturating_sub(SECOND / 5));
        assert_ne!(
            protections(&world),
            CLEAR,
            "{doubt:?}: not before the dwell time"
        );
        settle(&mut world, 30 * SECOND);
    }
}

#[test]
fn a_killed_agents_kernel_is_strict_within_the_lifetime() {
    let mut world = relaxed_in_the_office(1);
    world.kill(ALICE);
    world.run_for(LIFETIME + SECOND / 10);
    assert_eq!(protections(&world)[..2], [STRICT; 2]);
}

#[test]
fn an_agent_that_stood_still_is_strict_first_and_relaxes_only_after_proof_and_dwell_time() {
    let mut world = relaxed_in_the_office(1);
    world.stand_still(ALICE);
    world.run_for(LIFETIME + SECOND / 10);
    assert_eq!(protections(&world)[..2], [STRICT; 2], "without the agent");
    world.run_for(2 * SECOND);
    let went_on = world.now;
    world.go_on(ALICE);
    while world.now + SECOND / 10 < went_on + DWELL {
        world.run_for(SECOND / 10);
        assert_eq!(protections(&world)[..2], [STRICT; 2], "{}", told(&world));
    }
    assert!(world.hosts[ALICE].told("relaxations-withdrawn", "1: "));
    settle(&mut world, 60 * SECOND);
}

#[test]
fn what_the_kernel_let_go_of_while_the_agent_lives_is_decided_afresh() {
    let mut world = relaxed_in_the_office(1);
    for _ in 0..20 {
        world.run_for(SECOND);
        assert_eq!(protections(&world), CLEAR, "renewed all the time");
    }
    world.expire_policies(ALICE);
    world.run_for(SECOND / 10);
    assert_eq!(protections(&world)[..2], [STRICT; 2], "{}", told(&world));
    assert!(world.hosts[ALICE].told("relaxations-withdrawn", "lifetime"));
    settle(&mut world, 30 * SECOND);
}

#[test]
fn a_restarted_agent_is_strict_until_presence_is_proven_anew() {
    let mut world = relaxed_in_the_office(1);
    world.kill(ALICE);
    world.restart(ALICE);
    assert!(
        !world.hosts[ALICE].kept.records.is_empty(),
        "it knows where Bob is"
    );
    assert_eq!(protections(&world)[..2], [STRICT; 2], "at once");
    world.run_for(20 * SECOND);
    assert_eq!(
        protections(&world)[..2],
        [STRICT; 2],
        "nobody says that Alice is in the office"
    );
    world.be(ALICE, "office");
    settle(&mut world, 60 * SECOND);
}
