//! Networks that have no IPv4.

use super::networks::Network;
use super::world::*;
use crate::mobile_ip::dual_client::*;
use crate::mobile_ip::{LinkId, Path, Place};
use std::net::IpAddr;
use std::time::Duration;

fn world() -> World {
    World::new(1, settings())
}

fn overs(world: &World) -> Vec<IpAddr> {
    let overs = world
        .vpn_commands
        .iter()
        .filter_map(|command| match command {
            VpnCommand::Up { over, .. } => Some(*over),
            VpnCommand::Warm | VpnCommand::Down => None,
        });
    overs.collect()
}

fn own(link: u32) -> IpAddr {
    Network::OnlyIpv6.link(LinkId(link)).ipv6.unwrap().into()
}

fn is_outside(world: &World) {
    assert_eq!(
        world.place(),
        Place::OutsideWithAdapter,
        "{}",
        world.story()
    );
}

#[test]
fn the_vpn_runs_over_what_the_network_gives_and_nobody_is_asked_in_the_clear() {
    let mut world = world();
    world.plug(1, Network::OnlyIpv6);
    world.run(WITHOUT_IPV4.saturating_sub(Duration::from_millis(1)));
    assert!(overs(&world).is_empty());
    world.run(SECOND);
    is_outside(&world);
    assert_eq!(overs(&world), [own(1)]);
    assert_eq!(world.clear_requests, 0);
    let asked = |(_, order): &(_, Order)| matches!(order, Order::Attach { slot, .. } if *slot != Slot::Inner);
    assert!(!world.orders.iter().any(asked), "{}", world.story());
    let view = world.client.view(world.now);
    assert_eq!(view.links[0].address, Some(own(1)));
    assert_eq!(view.waits_for, None);
}

#[test]
fn a_network_that_gives_ipv4_later_is_waited_for() {
    let mut world = world();
    world.plug(1, Network::OnlyIpv6);
    world.run(WITHOUT_IPV4 / 2);
    world.plug_silently(1, Network::OutsideX1);
    world.plug(1, Network::OutsideX1);
    world.run(SECOND * 5);
    is_outside(&world);
    assert_eq!(overs(&world), [IpAddr::from(t(0))]);
}

#[test]
fn from_ipv4_and_back_s_is_open_again_each_time_over_the_right_vpn() {
    let mut world = world();
    world.plug(1, Network::OutsideX1);
    world.run(SECOND * 5);
    world.plug(1, Network::OnlyIpv6);
    assert_eq!(world.place(), Place::Blocked);
    world.run(SECOND * 4);
    is_outside(&world);
    assert_eq!(
        world.outer[0].binding.map(|_| ()),
        Some(()),
        "nobody could release it"
    );
    world.plug(1, Network::OutsideX2);
    world.run(SECOND * 5);
    is_outside(&world);
    assert_eq!(overs(&world), [IpAddr::from(t(0)), own(1), t(0).into()]);
    let outer = world.client.arrangement().outer.clone().unwrap();
    assert_eq!(outer.path.clear_on(), Some(LinkId(1)));
}

#[test]
fn where_another_link_has_ipv4_the_vpn_stays_until_t_is_registered_there() {
    let mut world = world();
    world.plug(1, Network::OnlyIpv6);
    world.run(SECOND * 4);
    is_outside(&world);
    world.silent_site = Some(0);
    world.plug(2, Network::OutsideX1);
    world.run(SECOND * 3);
    is_outside(&world);
    assert_eq!(overs(&world), [own(1)]);
    world.silent_site = None;
    world.run(SECOND * 20);
    is_outside(&world);
    assert_eq!(overs(&world), [own(1), t(0).into()]);
}

#[test]
fn where_the_first_site_is_silent_over_ipv4_the_other_one_is_asked_as_well() {
    let mut settings = settings();
    settings.sites.push(site(1));
    let mut world = World::new(1, settings);
    world.silent_site = Some(0);
    world.plug(1, Network::OnlyIpv6);
    world.run(SECOND * 4);
    is_outside(&world);
    world.plug(2, Network::OutsideX1);
    world.run(SECOND * 4);
    is_outside(&world);
    assert_eq!(overs(&world), [own(1), t(1).into()]);
}

#[test]
fn where_nobody_answers_over_ipv4_a_link_without_it_is_better() {
    let mut world = world();
    world.plug(2, Network::OnlyIpv6);
    world.plug(1, Network::Deaf);
    world.run(SECOND * 25);
    is_outside(&world);
    assert_eq!(world.vpn_over_ipv6(), Some(LinkId(2)));
    // The other one is tried again meanwhile.
    let before = world.arrangements.len();
    world.run(SECOND * 200);
    let left = world.arrangements[before..].iter();
    let mut places = left.map(|(_, arrangement)| arrangement.place);
    assert!(
        !places.any(|place| place == Place::Blocked),
        "{}",
        world.story()
    );
}

#[test]
fn inside_and_out_to_a_network_without_ipv4() {
    let mut world = world();
    world.plug(1, Network::InsideA);
    world.run(SECOND * 3);
    assert_eq!(world.place(), Place::Inside);
    world.plug(1, Network::OnlyIpv6);
    world.run(SECOND * 4);
    is_outside(&world);
    world.plug(2, Network::InsideB);
    world.run(SECOND * 3);
    assert_eq!(world.place(), Place::Inside, "{}", world.story());
    assert!(!world.vpn_is_up);
}

#[test]
fn without_a_vpn_that_is_reached_there_it_is_no_network_at_all() {
    for (vpn, reach) in [(settings().vpn, Reach::Ipv4), (Vpn::Absent, Reach::Either)] {
        let mut settings = Settings { vpn, ..settings() };
        settings.sites[0].reach = reach;
        let mut world = World::new(1, settings);
        world.plug(1, Network::OnlyIpv6);
        world.run(SECOND * 10);
        assert_eq!(world.place(), Place::Blocked);
        assert!(overs(&world).is_empty());
    }
}

#[test]
fn without_an_outer_system_it_is_one_more_address_to_run_over() {
    let mut settings = settings();
    settings.sites[0].outer = None;
    let mut world = World::new(1, settings);
    world.plug(1, Network::OnlyIpv6);
    world.run(SECOND * 4);
    is_outside(&world);
    world.plug(1, Network::OutsideX1);
    world.run(SECOND * 4);
    let x = Network::OutsideX1.link(LinkId(1)).usable_address().unwrap();
    assert_eq!(overs(&world), [own(1), x.into()]);
}

#[test]
fn a_vpn_without_v_opens_nothing_there() {
    let mut world = world();
    world.weather.has_adapter = false;
    world.plug(1, Network::OnlyIpv6);
    world.run(SECOND * 60);
    let path = &world.client.arrangement().inner.path;
    assert_eq!(*path, Path::Blocked);
}
