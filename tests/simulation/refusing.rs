//! Where no tunnel can be had, and what becomes of the packets.

use crate::topologies::*;
use crate::world::{Weather, World};
use std::time::Duration;
use xfrm_agent::agent::event::Event;
use xfrm_agent::agent::settings::FailureAction;
use xfrm_agent::ike::settings::Peer;
use xfrm_agent::kernel::desired::Action;

#[test]
fn a_wrong_key_an_unknown_identity_and_a_foreign_prefix_give_no_sa_and_no_clear_packet() {
    let cases: [(&str, Peer); 3] = [
        ("wrong key", peer("gw104.example", "not the secret", &[W])),
        ("unknown identity", peer("somebody.example", "secret", &[W])),
        (
            "not allowed those addresses",
            peer("gw104.example", "secret", &["10.7.0.0/16"]),
        ),
    ];
    for (case, believed) in cases {
        for on_failure in [FailureAction::Block, FailureAction::Clear] {
            let mut world = World::new(11, Weather::FAIR);
            let known = [peer("gw106.example", "secret", &[X])];
            world.add(
                "104",
                GW_W,
                &[W],
                settings("gw104.example", &[proxy(W, X)], on_failure, &known),
            );
            let believed = std::slice::from_ref(&believed);
            world.add(
                "106",
                GW_X,
                &[X],
                settings("gw106.example", &[proxy(X, W)], on_failure, believed),
            );
            world.run_for(SECOND);
            world.stream(0, out(), 10, SECOND);
            world.run_for(SECOND * 60);
            assert_eq!(world.delivered(&out()), 0, "{case}");
            for node in &world.nodes {
                assert!(node.kernel.sas.is_empty(), "{case}: {:?}", node.kernel.sas);
            }
        }
    }
}

#[test]
fn silence_lets_clear_proxies_through_and_a_once_protected_prefix_stays_blocked() {
    let clear = FailureAction::Clear;
    let mut world = World::new(13, Weather::FAIR);
    let peers = [peer("gw106.example", "secret", &[X])];
    world.add(
        "104",
        GW_W,
        &[W],
        settings("gw104.example", &[proxy(W, "10.0.0.0/8")], clear, &peers),
    );
    let east = settings(
        "gw106.example",
        &[proxy(X, W)],
        clear,
        &[peer("gw104.example", "secret", &[W])],
    );
    world.add("106", GW_X, &[X], east);
    world.run_for(SECOND);
    let elsewhere = ping("10.1.0.102", "10.200.0.1");
    world.clear_allowed = true;
    world.stream(0, elsewhere, 3, PING);
    world.stream(0, out(), 3, PING);
    world.run_for(SECOND * 10);
    assert_eq!(
        world.tally.clear.len(),
        3,
        "held packets leave when nobody answers"
    );
    assert!(world.tally.clear.iter().all(|p| p.flow == elsewhere));
    assert_eq!(world.delivered(&out()), 3);
    // The gateway falls silent: what it protected does not go in the clear.
    world.weather.loss = 100;
    world.stream(0, out(), 300, SECOND);
    world.run_for(SECOND * 400);
    assert!(world.tally.clear.iter().all(|p| p.flow == elsewhere));
}

#[test]
fn what_failed_is_tried_again_or_forgotten_when_the_configuration_changes() {
    let block = FailureAction::Block;
    let west = |remote: &str, may_protect: &str| {
        let known = [peer("gw106.example", "secret", &[may_protect])];
        settings("gw104.example", &[proxy(W, remote)], block, &known)
    };
    let blocked = |world: &World| {
        let host = "10.2.0.108/32".parse().unwrap();
        let policies = &world.nodes[0].kernel.policies;
        let mut actions = policies.values().filter(|p| p.key.selector.dst == host);
        actions.any(|policy| policy.action == Action::Block)
    };
    let begin = |time: Duration| {
        let mut world = World::new(31, Weather::FAIR);
        world.add("104", GW_W, &[W], west(X, Y));
        let known = [peer("gw104.example", "secret", &[W])];
        let east = settings("gw106.example", &[proxy(X, W)], block, &known);
        world.add("106", GW_X, &[X], east);
        world.run_for(SECOND);
        world.stream(0, out(), 1, PING);
        world.run_for(time);
        world
    };

    let mut world = begin(SECOND * 6);
    assert!(blocked(&world), "{}", world.story());
    world.input(0, Event::Configuration(Box::new(west(X, X))));
    world.run_for(PING);
    world.stream(0, out(), 3, PING);
    world.run_for(SECOND);
    assert_eq!(world.delivered(&out()), 3, "{}", world.story());

    // In the middle of a discovery: its one candidate has been refused already.
    let mut world = begin(SECOND);
    assert!(!blocked(&world));
    world.input(0, Event::Configuration(Box::new(west(X, X))));
    world.run_for(SECOND);
    assert_eq!(world.delivered(&out()), 1, "{}", world.story());

    let mut world = begin(SECOND * 6);
    world.input(0, Event::Configuration(Box::new(west(Y, Y))));
    world.run_for(SECOND);
    assert!(!blocked(&world), "nobody asked for this to be blocked");
}
