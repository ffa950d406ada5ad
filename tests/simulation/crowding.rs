//! Many flows at once, and none for long.

use crate::topologies::*;
use crate::world::{Weather, World};
use std::time::Duration;
use xfrm_agent::agent::settings::FailureAction;

#[test]
fn a_dead_destination_and_a_second_gateway_cost_the_live_ones_one_packet_at_most() {
    let everything = "10.0.0.0/8";
    let block = FailureAction::Block;
    let mut world = World::new(7, Weather::FAIR);
    let peers = [
        peer("gw106.example", "secret", &[X]),
        peer("gw107.example", "other secret", &[Y]),
    ];
    world.add(
        "104",
        GW_W,
        &[W],
        settings("gw104.example", &[proxy(W, everything)], block, &peers),
    );
    for (name, address, net, psk) in [("106", GW_X, X, "secret"), ("107", GW_Y, Y, "other secret")]
    {
        let id = format!("gw{name}.example");
        let peers = [peer("gw104.example", psk, &[W])];
        world.add(
            name,
            address,
            &[net],
            settings(&id, &[proxy(net, everything)], block, &peers),
        );
    }
    world.run_for(SECOND);
    let dead = ping("10.1.0.102", "10.9.0.1");
    let second = ping("10.1.0.102", "10.3.0.109");
    for flow in [dead, out(), second] {
        world.stream(0, flow, 50, PING);
    }
    world.run_for(SECOND * 20);
    let tells = world.story();
    assert_eq!(world.delivered(&dead), 0);
    assert!(
        world.delivered(&out()) >= 49,
        "{} {tells}",
        world.delivered(&out())
    );
    assert!(
        world.delivered(&second) >= 49,
        "{} {tells}",
        world.delivered(&second)
    );
}

#[test]
fn two_thousand_flows_to_one_prefix_cost_at_most_eight_probes() {
    let mut world = figure_1(3, Weather::FAIR);
    world.large = true;
    for n in 0..2000u32 {
        let dst = format!("10.2.{}.{}", n / 200, n % 200 + 1);
        world.stream(0, ping("10.1.0.102", &dst), 2, SECOND);
    }
    world.run_for(SECOND * 5);
    assert!(world.tally.probes <= 8, "{}", world.tally.probes);
    let second_packets = world
        .tally
        .delivered
        .values()
        .filter(|numbers| numbers.contains(&1))
        .count();
    assert_eq!(second_packets, 2000);
    let counters = world.nodes[0].agent.snapshot(world.now).counters;
    assert_eq!(counters["held-overflow"], world.tally.dropped.len() as u64);
    assert!(!world.tally.dropped.is_empty());
}

#[test]
fn what_does_not_fit_into_the_queue_of_one_destination_is_counted_too() {
    let mut world = figure_1(4, Weather::FAIR);
    world.large = true;
    for n in 0..500 {
        let src = format!("10.1.{}.{}", n / 200, n % 200 + 1);
        world.stream(0, ping(&src, "10.2.0.108"), 1, SECOND);
        // So that most of them meet the destination's own trap.
        world.run_for(Duration::from_micros(20));
    }
    world.run_for(SECOND * 5);
    let arrived: usize = world.tally.delivered.values().map(Vec::len).sum();
    let counters = world.nodes[0].agent.snapshot(world.now).counters;
    assert_eq!(arrived as u64 + counters["held-overflow"], 500);
    assert_eq!(counters["held-overflow"], world.tally.dropped.len() as u64);
    assert!(world.tally.probes <= 8);
}

#[test]
fn an_idle_network_has_no_timer_storm() {
    let mut world = figure_1(19, Weather::FAIR);
    world.stream(0, out(), 3, PING);
    world.run_for(SECOND * 10);
    let mut wakeups = 0;
    let end = world.now + Duration::from_secs(600);
    while let Some(at) = world
        .nodes
        .iter()
        .filter_map(|n| n.agent.poll_timeout())
        .min()
    {
        if at > end {
            break;
        }
        wakeups += 1;
        world.run_for(
            at.saturating_duration_since(world.now)
                .max(Duration::from_micros(1)),
        );
    }
    assert!(wakeups < 400, "{wakeups} in ten minutes");
}
