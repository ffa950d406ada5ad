//! Every edge of FIG. 12 as docs/mobility.md numbers them, with the order of its steps.

use super::networks::Network;
use super::world::*;
use crate::mobile_ip::dual_client::*;
use crate::mobile_ip::{Encapsulation, LinkId, Path, Place, Through};
use std::time::Duration;

fn world_with(vpn: Vpn, has_adapter: bool) -> World {
    let mut world = World::new(1, Settings { vpn, ..settings() });
    world.weather.has_adapter = has_adapter;
    world
}

fn with_v() -> World {
    world_with(cold(), true)
}

fn without_v() -> World {
    world_with(cold(), false)
}

fn cold() -> Vpn {
    Vpn::Present {
        warm: false,
        patience: SECOND * 10,
    }
}

fn warm() -> Vpn {
    Vpn::Present {
        warm: true,
        patience: SECOND * 10,
    }
}

/// Plugs in, waits, and says which places it went through.
fn moves(world: &mut World, network: Network) -> Vec<Place> {
    let before = world.arrangements.len();
    world.plug(1, network);
    world.run(SECOND * 5);
    let places = world.arrangements[before..]
        .iter()
        .map(|(_, arrangement)| arrangement.place);
    let mut places: Vec<_> = places.collect();
    places.dedup();
    places
}

fn inner_path(world: &World) -> Path {
    world.client.arrangement().inner.path.clone()
}

fn through_vpn(path: &Path) -> bool {
    matches!(
        path,
        Path::Tunnel {
            through: Through::Vpn,
            reverse: true,
            ..
        }
    )
}

#[test]
fn edge_1_blocked_to_inside() {
    let mut world = with_v();
    assert_eq!(
        moves(&mut world, Network::InsideA).last(),
        Some(&Place::Inside)
    );
    assert!(matches!(
        inner_path(&world),
        Path::Native {
            link: LinkId(1),
            ..
        }
    ));
    assert_eq!(world.client.arrangement().outer, None);
    // Nobody knows what an earlier run has left.
    assert_eq!(world.vpn_commands, [VpnCommand::Down]);
}

#[test]
fn edge_2_inside_to_blocked() {
    let mut world = with_v();
    moves(&mut world, Network::InsideA);
    assert_eq!(moves(&mut world, Network::Unplugged), [Place::Blocked]);
    assert_eq!(inner_path(&world), Path::Blocked);
}

#[test]
fn edge_3_blocked_to_outside_with_v() {
    let mut world = with_v();
    assert_eq!(
        moves(&mut world, Network::OutsideX1),
        [Place::Blocked, Place::OutsideWithAdapter]
    );
    let Path::Tunnel { local, remote, .. } = inner_path(&world) else {
        panic!("a tunnel");
    };
    assert_eq!((local, remote), (V, S_AGENT));
    let outer = world
        .client
        .arrangement()
        .outer
        .clone()
        .expect("T is in use");
    assert!(matches!(
        outer.path,
        Path::Tunnel {
            through: Through::Link { .. },
            reverse: true,
            ..
        }
    ));
}

#[test]
fn edge_4_outside_with_v_to_blocked() {
    let mut world = with_v();
    moves(&mut world, Network::OutsideX1);
    assert_eq!(moves(&mut world, Network::Unplugged), [Place::Blocked]);
    // The VPN is kept: the address may come back, and T never changes.
    assert!(world.vpn_is_up);
    assert_eq!(
        moves(&mut world, Network::OutsideX2),
        [Place::Blocked, Place::OutsideWithAdapter]
    );
    assert_eq!(world.vpn_commands.len(), 1);
}

#[test]
fn edge_5_blocked_to_outside_without_v() {
    let mut world = without_v();
    assert_eq!(
        moves(&mut world, Network::OutsideX1),
        [Place::Blocked, Place::OutsideWithoutAdapter]
    );
    let Path::Tunnel {
        local,
        encapsulation: Encapsulation::Udp { .. },
        ..
    } = inner_path(&world)
    else {
        panic!("T takes the place of V, in UDP: {}", world.story());
    };
    assert_eq!(local, t(0));
}

#[test]
fn edge_6_outside_without_v_to_blocked() {
    let mut world = without_v();
    moves(&mut world, Network::OutsideX1);
    assert_eq!(moves(&mut world, Network::Unplugged), [Place::Blocked]);
}

#[test]
fn edge_7_blocked_to_vpn_absent() {
    let mut world = world_with(Vpn::Absent, true);
    assert_eq!(
        moves(&mut world, Network::OutsideX1),
        [Place::Blocked, Place::WithoutVpn]
    );
    assert!(matches!(
        inner_path(&world),
        Path::Tunnel {
            through: Through::OuterHome,
            ..
        }
    ));
    assert!(world.vpn_commands.is_empty());
}

#[test]
fn edge_8_vpn_absent_to_blocked() {
    let mut world = world_with(Vpn::Absent, true);
    moves(&mut world, Network::OutsideX1);
    assert_eq!(moves(&mut world, Network::Unplugged), [Place::Blocked]);
}

#[test]
fn edge_9_inside_to_outside_with_v_stops_first_and_opens_last() {
    let mut world = with_v();
    moves(&mut world, Network::InsideA);
    let asked = world.orders.len();
    let places = moves(&mut world, Network::OutsideX1);
    assert_eq!(places, [Place::Blocked, Place::OutsideWithAdapter]);
    let slots: Vec<_> = attached(&world, asked);
    let outer = slots
        .iter()
        .position(|slot| matches!(slot, Slot::Outer(0)))
        .unwrap();
    let inner = slots.iter().position(|slot| *slot == Slot::Inner).unwrap();
    assert!(outer < inner);
    assert!(through_vpn(&inner_path(&world)));
}

#[test]
fn edge_10_outside_with_v_to_inside_breaks_nothing_before_it_is_made() {
    let mut world = with_v();
    world.plug(2, Network::OutsideX1);
    world.run(SECOND * 5);
    // Another adapter: the old one goes on until the proof is there.
    assert_eq!(moves(&mut world, Network::InsideA), [Place::Inside]);
    assert_eq!(world.vpn_commands.last(), Some(&VpnCommand::Down));
    assert_eq!(world.client.arrangement().outer, None);
    assert_eq!(world.outer[0].binding, None);
}

#[test]
fn edge_10_on_the_same_adapter() {
    let mut world = with_v();
    moves(&mut world, Network::OutsideX1);
    let places = moves(&mut world, Network::InsideA);
    // In between the VPN may carry on from inside, if the outer home agent answers first.
    assert_eq!(
        (places[0], places.last()),
        (Place::Blocked, Some(&Place::Inside))
    );
    assert!(!world.vpn_is_up);
}

#[test]
fn edge_11_inside_to_outside_without_v() {
    let mut world = without_v();
    moves(&mut world, Network::InsideHome);
    assert_eq!(
        moves(&mut world, Network::OutsideNat),
        [Place::Blocked, Place::OutsideWithoutAdapter]
    );
    let outer = world
        .client
        .arrangement()
        .outer
        .clone()
        .expect("T is in use");
    assert!(matches!(
        outer.path,
        Path::Tunnel {
            encapsulation: Encapsulation::Udp { .. },
            ..
        }
    ));
}

#[test]
fn edge_12_outside_without_v_to_inside() {
    let mut world = without_v();
    moves(&mut world, Network::OutsideNat);
    let places = moves(&mut world, Network::InsideHome);
    assert_eq!(
        (places[0], places.last()),
        (Place::Blocked, Some(&Place::Inside))
    );
    assert_eq!(world.inner.binding, Some(S));
}

#[test]
fn edge_13_inside_to_vpn_absent() {
    let mut world = world_with(Vpn::Absent, true);
    moves(&mut world, Network::InsideA);
    assert_eq!(world.place(), Place::Inside);
    assert_eq!(
        moves(&mut world, Network::OutsideX1),
        [Place::Blocked, Place::WithoutVpn]
    );
}

#[test]
fn edge_14_vpn_absent_to_inside() {
    let mut world = world_with(Vpn::Absent, true);
    moves(&mut world, Network::OutsideX1);
    assert_eq!(
        moves(&mut world, Network::InsideA).last(),
        Some(&Place::Inside)
    );
}

#[test]
fn edge_15_inside_to_inside() {
    let mut world = with_v();
    moves(&mut world, Network::InsideA);
    world.vpn_commands.clear();
    assert_eq!(
        moves(&mut world, Network::InsideB),
        [Place::Blocked, Place::Inside]
    );
    assert!(world.vpn_commands.is_empty());
}

#[test]
fn edge_15_with_two_links_up_breaks_nothing() {
    let mut world = with_v();
    world.plug(2, Network::InsideA);
    world.run(SECOND * 3);
    assert_eq!(moves(&mut world, Network::InsideB), [Place::Inside]);
    assert_eq!(inner_path(&world).clear_on(), Some(LinkId(1)));
}

#[test]
fn edge_16_outside_to_outside_leaves_the_vpn_and_the_inner_system_alone() {
    let mut world = with_v();
    moves(&mut world, Network::OutsideX1);
    let asked = world.orders.len();
    assert_eq!(
        moves(&mut world, Network::OutsideNat),
        [Place::Blocked, Place::OutsideWithAdapter]
    );
    assert!(!attached(&world, asked).contains(&Slot::Inner));
    assert_eq!(world.vpn_commands.len(), 1);
}

#[test]
fn edge_16_with_two_links_up_breaks_nothing() {
    let mut world = with_v();
    world.plug(2, Network::OutsideX1);
    world.run(SECOND * 5);
    let before = world.arrangements.len();
    world.plug(1, Network::OutsideNat);
    world.run(SECOND * 5);
    let places = world.arrangements[before..]
        .iter()
        .map(|(_, arrangement)| arrangement.place);
    assert!(
        places
            .into_iter()
            .all(|place| place == Place::OutsideWithAdapter)
    );
    let outer = world
        .client
        .arrangement()
        .outer
        .clone()
        .expect("T is in use");
    assert_eq!(outer.path.clear_on(), Some(LinkId(1)));
}

#[test]
fn edge_17_between_a_foreign_network_and_the_outer_home_wlan_only_the_outer_tunnel_goes() {
    let mut world = with_v();
    moves(&mut world, Network::OutsideX1);
    moves(&mut world, Network::OuterHome);
    let at_home = world.client.arrangement().clone();
    assert_eq!(at_home.place, Place::OutsideWithAdapter);
    assert!(matches!(
        at_home.outer.expect("T is in use").path,
        Path::Native { .. }
    ));
    assert!(through_vpn(&at_home.inner.path));
    moves(&mut world, Network::OutsideX1);
    let away = world
        .client
        .arrangement()
        .outer
        .clone()
        .expect("T is in use");
    assert!(matches!(away.path, Path::Tunnel { .. }));
    assert_eq!(world.vpn_commands.len(), 1);
}

/// Whether the inner home agent was asked in the clear since the first `before` orders.
fn asked_in_clear(world: &World, before: usize) -> bool {
    let mut since = world.orders[before..].iter();
    since.any(|(_, order)| matches!(slot_of(order), Some(Slot::Clear(_))))
}

#[test]
fn a_warm_vpn_lets_the_inner_request_leave_right_behind_the_outer_one() {
    let mut world = world_with(warm(), true);
    moves(&mut world, Network::OutsideX1);
    moves(&mut world, Network::InsideA);
    assert_eq!(world.place(), Place::Inside);
    assert!(world.vpn_is_up && world.vpn_commands.last() == Some(&VpnCommand::Warm));
    let asked = world.orders.len();
    world.plug(1, Network::OutsideX2);
    // In one instant, in this order; that in the clear waits where outside is expected.
    let at = world.elapsed();
    let burst: Vec<_> = world.orders[asked..]
        .iter()
        .filter(|(when, _)| *when == at)
        .collect();
    let slots: Vec<_> = burst
        .iter()
        .filter_map(|(_, order)| slot_of(order))
        .collect();
    assert_eq!(slots, [Slot::Outer(0), Slot::Inner]);
    world.run(Duration::from_millis(250));
    assert_eq!(world.place(), Place::OutsideWithAdapter);
    assert!(!asked_in_clear(&world, asked));
    world.run(Duration::from_millis(100));
    assert!(asked_in_clear(&world, asked));
    // Once more when the outer home agent has the tunnel, if it is busy, and when it has answered.
    let again = Order::Repeat { slot: Slot::Inner };
    let repeats: Vec<_> = world.orders[asked..]
        .iter()
        .filter(|(_, order)| *order == again)
        .map(|(when, _)| when.saturating_sub(at))
        .collect();
    let head_starts = [1, 3, 10].map(Duration::from_millis);
    assert_eq!(repeats[..3], head_starts);
    assert_eq!(repeats.len(), 4, "{repeats:?}");
}

#[test]
fn a_foreign_agent_outside_carries_t_as_it_is() {
    let mut world = with_v();
    moves(&mut world, Network::OutsideForeignAgent);
    assert_eq!(
        world.place(),
        Place::OutsideWithAdapter,
        "{}",
        world.story()
    );
    let outer = world
        .client
        .arrangement()
        .outer
        .clone()
        .expect("T is in use");
    assert_eq!(
        outer.path,
        Path::Native {
            link: LinkId(1),
            gateway: Some(super::networks::FOREIGN_AGENT)
        }
    );
}

#[test]
fn with_protection_inside_the_vpn_stays_on_and_nothing_is_asked_in_the_clear() {
    let settings = Settings {
        inside_protection: InsideProtection::Esp,
        ..settings()
    };
    let mut world = World::new(1, settings);
    moves(&mut world, Network::InsideA);
    assert_eq!(world.place(), Place::OutsideWithAdapter);
    let slots = attached(&world, 0);
    assert!(!slots.iter().any(|slot| matches!(slot, Slot::Clear(_))));
}

#[test]
fn one_system_without_vpn_is_plain_mobile_ip_and_moves_without_a_break() {
    let mut settings = settings();
    settings.vpn = Vpn::Absent;
    settings.sites[0].outer = None;
    settings.inner.reverse = Reverse::Always;
    let mut world = World::new(1, settings);
    world.plug(2, Network::OutsideX1);
    world.run(SECOND * 3);
    assert_eq!(world.place(), Place::WithoutVpn);
    assert_eq!(moves(&mut world, Network::OutsideX2), [Place::WithoutVpn]);
    assert_eq!(inner_path(&world).clear_on(), Some(LinkId(1)));
}

#[test]
fn the_outer_home_agent_near_the_place_is_used_and_otherwise_the_first_to_answer() {
    let mut settings = settings();
    settings.sites = vec![site(0), site(1)];
    settings.sites[1].near = vec!["203.0.113.0/24".parse().unwrap()];
    let mut world = World::new(1, settings.clone());
    moves(&mut world, Network::OutsideX1);
    let home = |world: &World| {
        world
            .client
            .arrangement()
            .outer
            .as_ref()
            .map(|outer| outer.home)
    };
    assert_eq!(home(&world), Some(t(1)));
    let up = VpnCommand::Up {
        gateway: Some("gateway-1".into()),
        over: t(1).into(),
    };
    assert_eq!(world.vpn_commands, [up]);
    let mut elsewhere = World::new(1, settings);
    moves(&mut elsewhere, Network::OutsideX2);
    let first = elsewhere
        .client
        .view(elsewhere.now)
        .site
        .expect("one is chosen");
    let loser = usize::from(first == "site-0");
    assert_eq!(
        elsewhere.outer[loser].binding, None,
        "the other one is released"
    );
    assert_eq!(elsewhere.place(), Place::OutsideWithAdapter);
}

#[test]
fn while_inside_nothing_is_registered_over_an_adapter_where_nobody_was_smoked_out() {
    let mut world = with_v();
    world.plug(2, Network::InsideA);
    world.run(SECOND * 3);
    let asked = world.orders.len();
    world.plug(1, Network::FakeInside);
    world.run(SECOND * 40);
    assert!(!attached(&world, asked).contains(&Slot::Clear(LinkId(1))));
    assert_eq!(inner_path(&world).clear_on(), Some(LinkId(2)));
    world.plug(1, Network::InsideB);
    world.run(SECOND * 5);
    assert_eq!(inner_path(&world).clear_on(), Some(LinkId(1)));
}

fn slot_of(order: &Order) -> Option<Slot> {
    match order {
        Order::Attach { slot, .. } => Some(*slot),
        Order::Renew { .. } | Order::Repeat { .. } | Order::Detach { .. } => None,
    }
}

fn attached(world: &World, from: usize) -> Vec<Slot> {
    world.orders[from..]
        .iter()
        .filter_map(|(_, order)| slot_of(order))
        .collect()
}
