//! One network with several access points.

use super::networks::Network;
use super::world::*;
use crate::mobile_ip::domain::Domain;
use crate::mobile_ip::dual_client::{Order, Slot, VpnCommand};
use crate::mobile_ip::{LinkId, Place};

fn settled_in(network: Network) -> World {
    let mut world = World::new(1, settings());
    world.roam(1, 1);
    world.plug(1, network);
    world.run(SECOND * 10);
    world
}

#[test]
fn outside_a_roam_asks_at_once_and_interrupts_nothing() {
    let mut world = settled_in(Network::OutsideX1);
    assert_eq!(
        world.place(),
        Place::OutsideWithAdapter,
        "{}",
        world.story()
    );
    let (arrangements, orders) = (world.arrangements.len(), world.orders.len());
    world.roam(1, 2);
    let asked = |order: &Order| {
        matches!(
            order,
            Order::Renew {
                slot: Slot::Outer(0)
            }
        )
    };
    let mut since = world.orders[orders..].iter();
    assert!(since.any(|(_, order)| asked(order)), "{}", world.story());
    world.run(SECOND * 10);
    assert_eq!(world.arrangements.len(), arrangements, "{}", world.story());
    let ups = world.vpn_commands.iter();
    let ups = ups.filter(|command| matches!(command, VpnCommand::Up { .. }));
    assert_eq!(ups.count(), 1, "{}", world.story());
}

#[test]
fn inside_a_roam_ends_the_proof_and_the_next_one_is_there_soon() {
    let mut world = settled_in(Network::InsideA);
    assert_eq!(world.place(), Place::Inside, "{}", world.story());
    world.roam(1, 2);
    assert!(!world.client.is_proven_inside(world.now, LinkId(1)));
    assert_eq!(world.place(), Place::Blocked, "{}", world.story());
    world.run(SECOND);
    assert_eq!(world.place(), Place::Inside, "{}", world.story());
    let known: Vec<_> = world
        .client
        .networks()
        .iter()
        .map(|known| {
            assert_eq!(known.domain, Domain::Inside);
            known.access_point
        })
        .collect();
    assert_eq!(known, [Some([1; 6]), Some([2; 6])]);
}

#[test]
fn a_roam_to_somebody_who_pretends_to_be_inside_ends_outside() {
    let mut world = settled_in(Network::InsideA);
    world.plug_silently(1, Network::FakeInside);
    world.roam(1, 2);
    assert_eq!(world.place(), Place::Blocked, "{}", world.story());
    world.run(SECOND * 20);
    assert_eq!(
        world.place(),
        Place::OutsideWithAdapter,
        "{}",
        world.story()
    );
}

#[test]
fn outside_a_roam_into_a_network_that_leads_nowhere_is_noticed() {
    let mut world = settled_in(Network::OutsideX1);
    world.plug_silently(1, Network::Deaf);
    world.plug(2, Network::OutsideX2);
    world.roam(1, 2);
    world.run(SECOND * 60);
    assert!(world.is_bound_at(0, LinkId(2)), "{}", world.story());
}
