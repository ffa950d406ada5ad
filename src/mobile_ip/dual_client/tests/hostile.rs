//! Networks and agents that lie, hang or fall silent.

use super::networks::Network;
use super::world::*;
use crate::mobile_ip::domain::{Context, Domain};
use crate::mobile_ip::dual_client::*;
use crate::mobile_ip::{LinkId, Path, Place};
use crate::net::Random;
use std::net::Ipv4Addr;
use std::time::Duration;

fn count(world: &World, is_it: impl Fn(&Tell) -> bool) -> usize {
    world.tells.iter().filter(|(_, tell)| is_it(tell)).count()
}

#[test]
fn a_fake_inside_with_the_right_prefix_gateway_and_history_is_never_believed() {
    for seed in 0..100 {
        let mut world = World::new(seed, settings());
        world.plug(1, Network::InsideA);
        world.run(SECOND * 20);
        assert_eq!(world.place(), Place::Inside);
        world.plug(1, Network::FakeInside);
        for _ in 0..5 {
            let pause = u64::from(world.random.u32() % 20_000);
            world.advertise(1, Ipv4Addr::new(10, 10, 0, 2), SECOND * 60);
            world.input(Input::SmokeOut {
                link: LinkId(1),
                answered: true,
            });
            world.run(Duration::from_millis(pause));
            assert_ne!(world.place(), Place::Inside);
        }
        world.run(SECOND * 60);
        assert_ne!(world.place(), Place::Inside);
    }
}

#[test]
fn a_network_that_gives_out_our_own_addresses_is_no_way_and_that_is_told_once() {
    for ours in [S, t(0), V] {
        let mut settings = settings();
        settings.inner.home_network = None;
        settings.sites[0].outer.as_mut().unwrap().home_network = None;
        let mut world = World::new(1, settings);
        world.plug(1, Network::OutsideX1);
        world.run(SECOND * 5);
        assert_eq!(world.place(), Place::OutsideWithAdapter);
        let mut link = Network::OutsideX1.link(LinkId(1));
        link.addresses = vec![format!("{ours}/24").parse().unwrap()];
        world.input(Input::Links(vec![link]));
        world.run(SECOND * 15);
        assert_eq!(world.place(), Place::Blocked, "{ours}: {}", world.story());
        let outer = world.client.arrangement().outer.clone();
        let path = outer.map(|outer| outer.path);
        assert!(matches!(path, None | Some(Path::Blocked)), "{path:?}");
        let told =
            |tell: &Tell| matches!(tell, Tell::OwnAddress { address, .. } if *address == ours);
        assert_eq!(count(&world, told), 1);
        world.plug(1, Network::OutsideX1);
        world.run(SECOND * 5);
        assert_eq!(world.place(), Place::OutsideWithAdapter);
    }
}

#[test]
fn a_wrong_guess_costs_a_moment() {
    let mut world = World::new(1, settings());
    let context = Context {
        gateway: [2; 6],
        access_point: None,
        prefix: None,
        domain: Domain::Inside,
        times: 1000,
    };
    world.input(Input::Recall(vec![context]));
    world.plug(1, Network::FakeInside);
    world.run(SECOND * 4);
    assert_eq!(
        world.place(),
        Place::OutsideWithAdapter,
        "{}",
        world.story()
    );
}

#[test]
fn what_one_run_has_learnt_the_next_expects_and_has_proved_to_it_all_the_same() {
    let mut before = World::new(1, settings());
    before.plug(1, Network::InsideA);
    before.run(SECOND * 20);
    let mut after = World::new(2, settings());
    after.input(Input::Recall(before.remembered));
    after.weather.troubles = &[Trouble::InnerSilent];
    after.plug(1, Network::InsideA);
    let view = after.client.view(after.now);
    let link = &view.links[0];
    assert!(link.guess.expects_inside(), "{:?}", link.hints);
    assert_eq!(link.domain, None);
    after.run(SECOND * 20);
    assert_ne!(after.place(), Place::Inside);
}

#[test]
fn a_network_is_recorded_once_even_if_its_gateway_was_not_known_when_it_was_found() {
    for (network, place) in [
        (Network::InsideA, Place::Inside),
        (Network::OutsideX1, Place::OutsideWithAdapter),
    ] {
        let mut world = World::new(1, settings());
        let known = network.link(LinkId(1));
        let unknown = Link {
            gateway_mac: None,
            ..known.clone()
        };
        world.plug(1, network);
        world.input(Input::Links(vec![unknown.clone()]));
        world.run(SECOND * 20);
        assert_eq!((world.place(), world.remembered.len()), (place, 0));
        for link in [&known, &unknown, &known] {
            world.input(Input::Links(vec![link.clone()]));
        }
        let times: Vec<_> = world
            .client
            .contexts
            .all()
            .iter()
            .map(|c| c.times)
            .collect();
        assert_eq!((times, world.remembered.len()), (vec![1], 1));
        assert_eq!(world.place(), place);
    }
}

#[test]
fn a_strangers_agent_cannot_take_the_place_of_the_one_that_serves() {
    let mut world = World::new(1, settings());
    world.plug(1, Network::OutsideForeignAgent);
    world.run(SECOND * 5);
    let before = world.client.arrangement().clone();
    world.advertise(1, Ipv4Addr::new(6, 6, 6, 6), SECOND * 9000);
    world.run(SECOND * 5);
    assert_eq!(*world.client.arrangement(), before);
}

#[test]
fn upstream_that_changes_unnoticed_is_noticed_within_t_monitor() {
    let mut world = World::new(1, settings());
    world.plug(1, Network::InsideA);
    world.run(SECOND * 30);
    world.plug_silently(1, Network::FakeInside);
    // The world checks that nothing is in the clear after the monitor's time.
    world.run(SECOND * 90);
    assert_eq!(world.place(), Place::OutsideWithAdapter);
    assert_eq!(
        count(&world, |tell| matches!(tell, Tell::ProofOver { .. })),
        1
    );
}

#[test]
fn a_home_agent_that_knows_no_trusted_networks_proves_nothing() {
    let mut world = World::new(1, settings());
    world.weather.troubles = &[Trouble::Untrusting];
    world.plug(1, Network::InsideA);
    world.run(SECOND * 60);
    assert_eq!(world.place(), Place::OutsideWithAdapter);
    assert_eq!(
        count(&world, |tell| matches!(tell, Tell::NotTrusted { .. })),
        1
    );
}

#[test]
fn silent_home_agents_leave_it_blocked_and_are_told_once() {
    let mut world = World::new(1, settings());
    world.weather.troubles = &[Trouble::InnerSilent, Trouble::OuterSilent];
    world.plug(1, Network::InsideA);
    world.run(SECOND * 600);
    assert_eq!(world.place(), Place::Blocked);
    assert_eq!(count(&world, |tell| matches!(tell, Tell::Silent { .. })), 1);
    world.weather.troubles = &[Trouble::OuterSilent];
    world.run(SECOND * 300);
    assert_eq!(world.place(), Place::Inside);
}

#[test]
fn a_vpn_that_hangs_leaves_it_blocked_and_is_tried_ever_more_slowly() {
    let mut world = World::new(1, settings());
    world.weather.troubles = &[Trouble::VpnHangs];
    world.plug(1, Network::OutsideX1);
    world.run(SECOND * 600);
    assert_eq!(world.place(), Place::Blocked);
    assert_eq!(
        count(&world, |tell| matches!(tell, Tell::VpnLate { .. })),
        1
    );
    assert!(
        world.vpn_commands.len() < 40,
        "{}",
        world.vpn_commands.len()
    );
    world.weather.troubles = &[];
    world.run(SECOND * 120);
    assert_eq!(world.place(), Place::OutsideWithAdapter);
}

#[test]
fn a_vpn_that_falls_stops_s_in_the_same_instant() {
    let mut world = World::new(1, settings());
    world.plug(1, Network::OutsideX1);
    world.run(SECOND * 5);
    world.vpn_falls();
    assert_eq!(world.place(), Place::Blocked);
    world.run(SECOND * 5);
    assert_eq!(world.place(), Place::OutsideWithAdapter);
}

#[test]
fn a_link_that_flaps_ten_times_a_second_is_told_once_and_asks_for_little() {
    let mut world = World::new(1, settings());
    for _ in 0..600 {
        world.plug(1, Network::InsideA);
        world.run(Duration::from_millis(50));
        world.plug(1, Network::Unplugged);
        world.run(Duration::from_millis(50));
    }
    assert_eq!(
        count(&world, |tell| matches!(tell, Tell::Flapping { .. })),
        1
    );
    assert!(world.orders.len() < 60, "{} orders", world.orders.len());
    world.plug(1, Network::InsideA);
    world.run(SECOND * 7);
    assert_eq!(world.place(), Place::Inside);
}

#[test]
fn after_a_resume_every_adapter_is_unknown() {
    let mut world = World::new(1, settings());
    world.plug(1, Network::InsideA);
    world.run(SECOND * 5);
    world.input(Input::Resumed);
    assert_eq!(world.place(), Place::Blocked);
    assert!(!world.client.is_proven_inside(world.now, LinkId(1)));
    world.run(SECOND * 2);
    assert_eq!(world.place(), Place::Inside);
}

#[test]
fn an_administrator_may_make_it_stricter_at_once() {
    let mut world = World::new(1, settings());
    world.plug(1, Network::InsideA);
    world.run(SECOND * 5);
    world.input(Input::Override(Override::Outside));
    assert_eq!(world.place(), Place::Blocked);
    world.run(SECOND * 5);
    assert_eq!(world.place(), Place::OutsideWithAdapter);
    world.input(Input::Override(Override::Blocked));
    assert_eq!(world.place(), Place::Blocked);
    assert_eq!(world.client.arrangement().outer, None);
    world.input(Input::Override(Override::None));
    world.run(SECOND * 5);
    assert_eq!(world.place(), Place::Inside);
}

#[test]
fn where_probes_are_suppressed_strange_networks_hear_nothing_of_the_inner_home_agent() {
    let settings = Settings {
        clear_probes: ClearProbes::WhereExpected,
        ..settings()
    };
    let mut world = World::new(1, settings);
    world.plug(1, Network::OutsideX1);
    world.run(SECOND * 60);
    assert_eq!(
        (world.place(), world.clear_requests),
        (Place::OutsideWithAdapter, 0)
    );
    world.plug(1, Network::InsideA);
    world.run(SECOND * 5);
    assert_eq!(world.place(), Place::Inside);
}

#[test]
fn more_adapters_than_are_kept_are_ignored() {
    let mut world = World::new(1, settings());
    let links = (1..100).map(|id| Network::Deaf.link(LinkId(id))).collect();
    world.input(Input::Links(links));
    assert_eq!(world.client.view(world.now).links.len(), 16);
}

#[test]
fn t_equal_to_s_is_refused() {
    let mut same = settings();
    same.sites[0].outer.as_mut().unwrap().home = S;
    same.sites[0].outer.as_mut().unwrap().home_network = None;
    let error = DualClient::new(same).unwrap_err();
    assert!(matches!(error, SettingsError::SameHomeAddress { .. }));
}

#[test]
fn one_address_for_both_home_agents_means_outside_everywhere() {
    let mut same = settings();
    same.sites[0].outer.as_mut().unwrap().home_agent = S_AGENT;
    let mut world = World::new(1, same);
    assert_eq!(
        count(&world, |tell| matches!(tell, Tell::SameHomeAgent { .. })),
        1
    );
    world.plug(1, Network::InsideA);
    world.run(SECOND * 10);
    assert_eq!(world.place(), Place::OutsideWithAdapter);
}

#[test]
fn a_gateway_that_fails_is_left_for_that_of_another_site() {
    let mut two = settings();
    two.sites = vec![site(0), site(1)];
    two.sites[0].near = vec!["203.0.113.0/24".parse().unwrap()];
    let mut world = World::new(1, two);
    world.weather.troubles = &[Trouble::VpnHangs];
    world.plug(1, Network::OutsideX1);
    world.run(SECOND * 11);
    world.weather.troubles = &[];
    world.run(SECOND * 5);
    assert_eq!(world.place(), Place::OutsideWithAdapter);
    assert_eq!(world.client.view(world.now).site.as_deref(), Some("site-1"));
}
