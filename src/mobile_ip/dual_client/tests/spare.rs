//! A VPN that is to be warm, and whose gateway is dead while we are inside.

use super::networks::Network;
use super::world::*;
use crate::mobile_ip::Place;
use crate::mobile_ip::dual_client::{Settings, Vpn, VpnCommand};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

fn inside_with_a_dead_gateway() -> World {
    let vpn = Vpn::Present {
        warm: true,
        patience: SECOND * 20,
    };
    let mut world = World::new(1, Settings { vpn, ..settings() });
    world.weather.troubles = &[Trouble::VpnHangs];
    world.plug(1, Network::InsideA);
    world.run(SECOND * 10);
    assert_eq!(world.place(), Place::Inside, "{}", world.story());
    world
}

/// How often it is asked for meanwhile.
fn tries(world: &mut World, span: Duration) -> usize {
    let before = world.vpn_commands.len();
    world.run(span);
    let commands = world.vpn_commands[before..].iter();
    commands
        .filter(|command| matches!(command, VpnCommand::Up { .. }))
        .count()
}

#[test]
fn the_gateway_is_asked_ever_more_seldom() {
    let mut world = inside_with_a_dead_gateway();
    tries(&mut world, HOUR);
    assert_eq!(tries(&mut world, 10 * HOUR), 20, "{}", world.story());
    assert_eq!(world.place(), Place::Inside);
    // It lives again: without any other event, that is seen in half an hour.
    world.weather = Weather::FAIR;
    world.run(HOUR / 2 + SECOND * 20);
    assert!(world.vpn_is_up, "{}", world.story());
}

#[test]
fn in_another_network_inside_it_is_asked_at_once() {
    let mut world = inside_with_a_dead_gateway();
    world.run(10 * HOUR);
    world.plug(1, Network::InsideB);
    assert_eq!(tries(&mut world, SECOND * 10), 1, "{}", world.story());
}

#[test]
fn outside_it_is_asked_at_once() {
    let mut world = inside_with_a_dead_gateway();
    world.run(10 * HOUR);
    world.weather = Weather::FAIR;
    world.plug(1, Network::OutsideX1);
    world.run(SECOND * 5);
    assert_eq!(
        world.place(),
        Place::OutsideWithAdapter,
        "{}",
        world.story()
    );
}
