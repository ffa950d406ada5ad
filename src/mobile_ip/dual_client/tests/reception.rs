//! Adapters that are received weakly, beside others that are up.

use super::networks::Network;
use super::world::*;
use crate::mobile_ip::dual_client::{Input, Override, Settings, Vpn};
use crate::mobile_ip::{LinkId, Path, Place};
use std::time::Duration;

impl World {
    /// Whatever it is plugged in, until it is said otherwise.
    pub fn is_weak(&mut self, link: u32, weak: bool) {
        if weak {
            self.weak.insert(LinkId(link));
        } else {
            self.weak.remove(&LinkId(link));
        }
        self.links_changed();
    }
}

/// A WLAN of the better metric and a modem, each there.
fn with_both(wlan: Network, modem: Network) -> World {
    let mut world = World::new(1, settings());
    world.plug(1, wlan);
    world.plug(2, modem);
    world.run(SECOND * 10);
    world
}

fn outside() -> World {
    let world = with_both(Network::OutsideX1, Network::OutsideX2);
    assert_eq!(t_over(&world), Some(LinkId(1)), "{}", world.story());
    world
}

fn t_over(world: &World) -> Option<LinkId> {
    let outer = world.client.arrangement().outer.as_ref()?;
    outer.path.clear_on()
}

fn s_over(world: &World) -> Option<LinkId> {
    world.client.arrangement().inner.path.clear_on()
}

/// Whether S and, where it carries S, T had a way all the time.
fn breaks_nothing(world: &World, before: usize) -> bool {
    let has_way = |path: &Path| *path != Path::Blocked;
    world.arrangements[before..].iter().all(|(_, arrangement)| {
        let outer = arrangement.outer.as_ref();
        has_way(&arrangement.inner.path) && outer.is_none_or(|outer| has_way(&outer.path))
    })
}

#[test]
fn a_weak_one_is_left_for_a_good_one_of_a_larger_metric_and_taken_again_when_it_is_strong() {
    let mut world = outside();
    let before = world.arrangements.len();
    for (is_weak, link) in [(true, 2), (false, 1)] {
        world.is_weak(1, is_weak);
        world.run(SECOND / 2);
        assert_ne!(t_over(&world), Some(LinkId(link)), "not for a moment");
        world.run(SECOND * 5);
        assert_eq!(t_over(&world), Some(LinkId(link)), "{}", world.story());
        assert!(world.is_bound_at(0, LinkId(link)), "{}", world.story());
    }
    assert!(breaks_nothing(&world, before), "{}", world.story());
    assert_eq!(world.vpn_commands.len(), 1, "{}", world.story());
}

#[test]
fn what_is_weak_for_a_moment_changes_nothing() {
    let mut world = outside();
    let (orders, arrangements) = (world.orders.len(), world.arrangements.len());
    for _ in 0..5 {
        world.is_weak(1, true);
        world.run(SECOND / 2);
        world.is_weak(1, false);
        world.run(SECOND / 2);
    }
    assert_eq!(world.orders.len(), orders, "{}", world.story());
    assert_eq!(world.arrangements.len(), arrangements, "{}", world.story());
}

#[test]
fn where_all_are_weak_the_metric_decides() {
    let mut world = outside();
    world.is_weak(1, true);
    world.is_weak(2, true);
    world.run(SECOND * 5);
    assert_eq!(t_over(&world), Some(LinkId(1)), "{}", world.story());
}

#[test]
fn the_only_one_is_used_however_weak() {
    for network in [Network::OutsideX1, Network::InsideA] {
        let mut world = World::new(1, settings());
        world.is_weak(1, true);
        world.plug(1, network);
        world.run(SECOND * 10);
        assert_eq!(world.place(), place_in(network), "{}", world.story());
        // Nor does it end when another one goes.
        world.plug(2, Network::OutsideX2);
        world.run(SECOND * 10);
        world.plug(2, Network::Unplugged);
        world.run(SECOND * 10);
        assert_eq!(world.place(), place_in(network), "{}", world.story());
    }
}

fn place_in(network: Network) -> Place {
    if network.is_inside() {
        Place::Inside
    } else {
        Place::OutsideWithAdapter
    }
}

#[test]
fn a_good_one_over_which_nobody_answers_is_not_better() {
    let mut world = with_both(Network::OutsideX1, Network::Deaf);
    world.is_weak(1, true);
    world.run(Duration::from_secs(60));
    assert_eq!(t_over(&world), Some(LinkId(1)), "{}", world.story());
}

#[test]
fn inside_another_one_inside_takes_over_without_a_break_and_gives_back() {
    let mut world = with_both(Network::InsideA, Network::InsideB);
    assert_eq!(s_over(&world), Some(LinkId(1)), "{}", world.story());
    let before = world.arrangements.len();
    for (is_weak, link) in [(true, 2), (false, 1)] {
        world.is_weak(1, is_weak);
        world.run(SECOND * 10);
        assert_eq!(s_over(&world), Some(LinkId(link)), "{}", world.story());
    }
    assert!(breaks_nothing(&world, before), "{}", world.story());
}

#[test]
fn inside_a_weak_one_keeps_its_proof_and_is_not_left_for_the_outside() {
    for warm in [false, true] {
        let vpn = Vpn::Present {
            warm,
            patience: SECOND * 10,
        };
        let mut world = World::new(1, Settings { vpn, ..settings() });
        world.plug(1, Network::InsideA);
        world.plug(2, Network::OutsideX1);
        world.run(SECOND * 10);
        let before = world.arrangements.len();
        world.is_weak(1, true);
        assert!(world.client.is_proven_inside(world.now, LinkId(1)));
        world.run(SECOND * 120);
        assert_eq!(s_over(&world), Some(LinkId(1)), "{}", world.story());
        assert!(breaks_nothing(&world, before), "{}", world.story());
        // It breaks.
        world.plug(1, Network::Unplugged);
        world.run(SECOND * 10);
        assert_eq!(t_over(&world), Some(LinkId(2)), "{}", world.story());
        assert_eq!(world.place(), Place::OutsideWithAdapter);
    }
}

#[test]
fn with_one_system_a_weak_one_is_left_without_a_break() {
    let mut settings = Settings {
        vpn: Vpn::Absent,
        ..settings()
    };
    settings.sites[0].outer = None;
    let mut world = World::new(1, settings);
    world.plug(1, Network::OutsideX1);
    world.plug(2, Network::OutsideX2);
    world.run(SECOND * 10);
    let before = world.arrangements.len();
    world.is_weak(1, true);
    world.run(SECOND * 5);
    let arrangement = world.client.arrangement();
    assert_eq!(arrangement.place, Place::WithoutVpn, "{}", world.story());
    let own = Network::OutsideX2.link(LinkId(2)).usable_address();
    assert_eq!(world.inner.binding, own, "{}", world.story());
    assert!(breaks_nothing(&world, before), "{}", world.story());
}

#[test]
fn what_an_administrator_says_stays_said() {
    let mut world = outside();
    world.input(Input::Override(Override::Blocked));
    world.is_weak(1, true);
    world.run(SECOND * 10);
    assert_eq!(world.place(), Place::Blocked, "{}", world.story());
}
