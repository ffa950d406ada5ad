//! Of several sites (FIG. 16), one that says nothing is left for another one.

use super::networks::Network;
use super::world::*;
use crate::mobile_ip::Place;
use crate::mobile_ip::dual_client::{Settings, Vpn};

/// The second one is near to X1.
fn two_sites() -> Settings {
    let mut settings = settings();
    settings.sites = vec![site(0), site(1)];
    settings.sites[1].near = vec!["203.0.113.0/24".parse().unwrap()];
    settings
}

fn used(world: &World) -> Option<String> {
    world.client.view(world.now).site
}

#[test]
fn where_the_near_one_is_silent_the_others_are_asked() {
    let mut world = World::new(1, two_sites());
    world.silent_site = Some(1);
    world.plug(1, Network::OutsideX1);
    world.run(SECOND * 15);
    assert_eq!(used(&world).as_deref(), Some("site-0"), "{}", world.story());
    assert_eq!(world.place(), Place::OutsideWithAdapter);
}

#[test]
fn one_that_falls_silent_is_left_when_its_registration_is_over() {
    let mut world = World::new(1, two_sites());
    world.plug(1, Network::OutsideX1);
    world.run(SECOND * 10);
    assert_eq!(used(&world).as_deref(), Some("site-1"));
    world.silent_site = Some(1);
    world.run(SECOND * 100);
    assert_eq!(used(&world).as_deref(), Some("site-0"), "{}", world.story());
    assert_eq!(world.place(), Place::OutsideWithAdapter);
}

#[test]
fn one_that_falls_silent_is_left_though_it_stands_over_the_adapter_of_before() {
    let mut world = World::new(1, two_sites());
    world.plug(2, Network::OutsideX1);
    world.run(SECOND * 10);
    assert_eq!(used(&world).as_deref(), Some("site-1"));
    world.silent_site = Some(1);
    world.plug(1, Network::OutsideX2);
    world.run(SECOND * 100);
    assert_eq!(used(&world).as_deref(), Some("site-0"), "{}", world.story());
    assert_eq!(world.place(), Place::OutsideWithAdapter);
}

#[test]
fn a_gateway_that_failed_lately_is_better_than_a_home_agent_that_is_silent() {
    let mut world = World::new(1, two_sites());
    world.weather.troubles = &[Trouble::VpnHangs];
    world.plug(1, Network::OutsideX1);
    world.run(SECOND * 11);
    world.weather.troubles = &[];
    world.run(SECOND * 4);
    assert_eq!(used(&world).as_deref(), Some("site-0"), "{}", world.story());
    assert_eq!(world.place(), Place::OutsideWithAdapter);
    world.silent_site = Some(0);
    world.run(SECOND * 100);
    assert_eq!(used(&world).as_deref(), Some("site-1"), "{}", world.story());
    assert_eq!(world.place(), Place::OutsideWithAdapter);
}

#[test]
fn one_that_fell_silent_is_left_with_the_adapter_over_which_it_stood() {
    let mut settings = two_sites();
    settings.vpn = Vpn::Present {
        warm: true,
        patience: SECOND * 10,
    };
    let mut world = World::new(1, settings);
    world.plug(2, Network::OutsideX1);
    world.run(SECOND * 10);
    world.silent_site = Some(1);
    world.plug(1, Network::InsideA);
    world.run(SECOND * 20);
    assert_eq!(world.place(), Place::Inside);
    assert_eq!(used(&world).as_deref(), Some("site-1"));
    world.plug(2, Network::Unplugged);
    world.run(SECOND);
    assert_eq!(used(&world).as_deref(), Some("site-0"), "{}", world.story());
}
