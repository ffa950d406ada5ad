//! Whole networks of agents in virtual time: every run of a seed is the same run.

mod absent;
mod clock;
mod enduring;
mod invariants;
mod kernel;
mod refusing;
mod restarting;
mod seeds;
mod topologies;
mod weathering;
mod world;

use std::time::Duration;
use topologies::*;
use world::{Fate, Weather, World};
use xfrm_agent::agent::event::Event;
use xfrm_agent::agent::settings::FailureAction;
use xfrm_agent::ike::settings::Peer;
use xfrm_agent::kernel::desired::Action;
use xfrm_agent::net::Flow;

fn delivered(world: &World, flow: &Flow) -> usize {
    world.tally.delivered.get(flow).map_or(0, Vec::len)
}

/// What must never happen, whatever the weather.
fn assert_nothing_leaked(world: &World) {
    assert!(
        world.tally.clear.is_empty(),
        "in the clear: {:?}",
        world.tally.clear
    );
}

fn assert_usable_tunnel(world: &World, node: usize) {
    let snapshot = world.snapshot(node);
    let up: Vec<_> = snapshot
        .tunnels
        .iter()
        .filter(|t| t.state == "up")
        .collect();
    let tells = world.tells.join("\n");
    assert_eq!(
        up.len(),
        1,
        "{}: {:?}\n{tells}",
        world.nodes[node].name,
        snapshot.tunnels
    );
}

#[test]
fn the_first_packet_is_delivered_and_the_policies_are_the_intersection() {
    let mut world = figure_1(1, Weather::FAIR);
    world.stream(0, out(), 3, PING);
    world.run_for(SECOND);
    assert_eq!(delivered(&world, &out()), 3, "{}", world.tells.join("\n"));
    assert_eq!((world.tally.probes, world.tally.esp), (1, 3));
    assert_nothing_leaked(&world);
    for node in 0..2 {
        assert_usable_tunnel(&world, node);
    }
    // And back, over the same tunnel.
    world.stream(1, out().reversed(), 3, PING);
    world.run_for(SECOND);
    assert_eq!(delivered(&world, &out().reversed()), 3);
    assert_eq!(world.tally.probes, 1);
}

#[test]
fn an_answer_waits_for_the_tunnel_that_the_question_came_through() {
    let mut world = figure_1(2, Weather::FAIR);
    world.stream(0, out(), 1, PING);
    let opening = |world: &World| {
        let tunnels = world.nodes[1].agent.snapshot(world.now).tunnels;
        tunnels.iter().any(|tunnel| tunnel.state == "opening")
    };
    while !opening(&world) {
        world.run_for(Duration::from_millis(1));
        assert!(world.now < world.start + SECOND * 5);
    }
    world.stream(1, out().reversed(), 3, PING);
    world.run_for(SECOND);
    assert_eq!(delivered(&world, &out().reversed()), 3);
    assert_eq!(world.tally.probes, 1, "{}", world.tells.join("\n"));
    assert_eq!(world.nodes[1].kernel.sas.len(), 2);
}

#[test]
fn both_sides_starting_at_once_lose_nothing_and_end_with_one_tunnel() {
    for seed in 0..50 {
        let mut world = figure_1(seed, Weather::FAIR);
        world.stream(0, out(), 20, PING);
        world.stream(1, out().reversed(), 20, PING);
        world.run_for(SECOND * 30);
        let tells = world.tells.join("\n");
        assert_eq!(delivered(&world, &out()), 20, "seed {seed}\n{tells}");
        assert_eq!(
            delivered(&world, &out().reversed()),
            20,
            "seed {seed}\n{tells}"
        );
        assert_nothing_leaked(&world);
        for node in 0..2 {
            assert_usable_tunnel(&world, node);
            assert_eq!(
                world.nodes[node].kernel.sas.len(),
                2,
                "seed {seed}\n{tells}"
            );
        }
    }
}

/// A discovery in three hundred fails in such weather; the next packet after its lifetime starts
/// another, so the traffic has to go on for a while.
#[test]
fn thirty_percent_loss_only_delays_the_tunnel() {
    seeds::each(0..1000, |seed| {
        let mut world = figure_1(seed, Weather::FOUL);
        world.stream(0, out(), 150, SECOND);
        world.run_for(SECOND * 155);
        assert!(
            delivered(&world, &out()) > 20,
            "seed {seed}\n{}",
            world.tells.join("\n")
        );
        assert_nothing_leaked(&world);
        for node in 0..2 {
            assert_usable_tunnel(&world, node);
        }
    });
}

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
    let tells = world.tells.join("\n");
    assert_eq!(delivered(&world, &dead), 0);
    assert!(
        delivered(&world, &out()) >= 49,
        "{} {tells}",
        delivered(&world, &out())
    );
    assert!(
        delivered(&world, &second) >= 49,
        "{} {tells}",
        delivered(&world, &second)
    );
    assert_nothing_leaked(&world);
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
    assert_nothing_leaked(&world);
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
            assert_nothing_leaked(&world);
            assert_eq!(delivered(&world, &out()), 0, "{case}");
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
    assert_eq!(delivered(&world, &out()), 3);
    // The gateway falls silent: what it protected does not go in the clear.
    world.weather.loss = 100;
    world.stream(0, out(), 300, SECOND);
    world.run_for(SECOND * 400);
    assert!(world.tally.clear.iter().all(|p| p.flow == elsewhere));
}

#[test]
fn a_gateway_in_the_middle_that_protects_something_else_is_passed() {
    let block = FailureAction::Block;
    let mut world = World::new(17, Weather::FAIR);
    let west = settings(
        "gw104.example",
        &[proxy(W, X)],
        block,
        &[peer("gw106.example", "secret", &[X])],
    );
    let middle = settings(
        "gw105.example",
        &[proxy(Y, W)],
        block,
        &[peer("gw104.example", "x", &[W])],
    );
    let east = settings(
        "gw106.example",
        &[proxy(X, W)],
        block,
        &[peer("gw104.example", "secret", &[W])],
    );
    world.add("104", GW_W, &[W], west);
    world.add("105", GW_Y, &[Y], middle);
    world.add("106", GW_X, &[X], east);
    world.run_for(SECOND);
    world.stream(0, out(), 3, PING);
    world.run_for(SECOND);
    assert_eq!(delivered(&world, &out()), 3, "{}", world.tells.join("\n"));
    assert_nothing_leaked(&world);
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

#[test]
fn a_killed_gateway_takes_its_tunnel_up_again_and_replaces_it_within_ten_seconds() {
    for node in 0..2 {
        for seed in 0..20 {
            let mut world = figure_1(seed, Weather::FAIR);
            world.stream(0, out(), 400, PING);
            world.run_for(SECOND * 5);
            let before: Vec<_> = world.nodes[node].kernel.sas.keys().copied().collect();
            assert_eq!(before.len(), 2);
            world.restart(node);
            world.run_for(SECOND * 10);
            let tells = world.tells.join("\n");
            for (place, node) in world.nodes.iter().enumerate() {
                let sas = &node.kernel.sas;
                assert_eq!(sas.len(), 2, "node {place}, seed {seed}: {sas:?}\n{tells}");
                assert!(
                    before.iter().all(|old| !sas.contains_key(old)),
                    "{sas:?}\n{tells}"
                );
            }
            world.run_for(SECOND * 30);
            assert_nothing_leaked(&world);
            assert_eq!(delivered(&world, &out()), 400, "seed {seed}\n{tells}");
            assert_usable_tunnel(&world, 0);
            assert_usable_tunnel(&world, 1);
        }
    }
}

#[test]
fn a_gateway_that_rebooted_is_found_again_by_its_own_traffic() {
    let mut world = figure_1(23, Weather::FAIR);
    world.stream(0, out(), 10, PING);
    world.run_for(SECOND * 2);
    // A reboot leaves nothing in the kernel; the peer still has its end of the tunnel.
    world.nodes[1].kernel = kernel::Kernel::default();
    world.restart(1);
    world.run_for(PING);
    world.stream(1, out().reversed(), 50, PING);
    world.run_for(SECOND * 10);
    let tells = world.tells.join("\n");
    assert!(delivered(&world, &out().reversed()) >= 49, "{tells}");
    assert_nothing_leaked(&world);
    assert_usable_tunnel(&world, 0);
    assert_usable_tunnel(&world, 1);
}

/// The traps are wider than the tunnel, so that its policy is not an update of theirs. The moment
/// between the kernel's ACQUIRE and the agent's hearing of it is the one that counts.
#[test]
fn a_packet_at_any_moment_of_the_set_up_is_delivered() {
    let everything = "10.0.0.0/8";
    for step in 0..300u32 {
        let mut world = World::new(23, Weather::FAIR);
        for (name, address, net, other, behind) in
            [("104", GW_W, W, "106", X), ("106", GW_X, X, "104", W)]
        {
            let known = [peer(&format!("gw{other}.example"), "secret", &[behind])];
            let proxies = [proxy(net, everything)];
            let id = format!("gw{name}.example");
            let settings = settings(&id, &proxies, FailureAction::Block, &known);
            world.add(name, address, &[net], settings);
        }
        world.run_for(SECOND);
        world.stream(0, out(), 1, PING);
        world.run_for(Duration::from_micros(150) * step);
        world.stream(1, out().reversed(), 1, PING);
        world.run_for(SECOND * 5);
        let tells = world.tells.join("\n");
        assert_eq!(delivered(&world, &out()), 1, "step {step}\n{tells}");
        let back = delivered(&world, &out().reversed());
        assert_eq!(back, 1, "step {step}\n{tells}");
        assert_nothing_leaked(&world);
    }
}

#[test]
fn a_gateway_that_is_the_end_host_can_answer_the_first_packet_over_ipv6() {
    let (here, there) = ("2001:db8::104", "2001:db8::106");
    let mut world = World::new(29, Weather::FAIR);
    for (name, own, other) in [("104", here, "106"), ("106", there, "104")] {
        let id = format!("gw{name}.example");
        let known = Peer {
            may_protect_itself: true,
            ..peer(&format!("gw{other}.example"), "secret", &[])
        };
        let proxies = [proxy(own, "2001:db8::/64")];
        let settings = settings(&id, &proxies, FailureAction::Block, &[known]);
        world.add(name, own, &[&format!("{own}/128")], settings);
    }
    world.run_for(SECOND);
    let request = Flow {
        protocol: 58,
        ..ping(here, there)
    };
    world.answered = Some(request);
    world.stream(0, request, 5, Duration::from_millis(3));
    world.run_for(SECOND);
    let tells = world.tells.join("\n");
    assert_eq!(delivered(&world, &request), 5, "{tells}");
    assert_eq!(delivered(&world, &request.reversed()), 5, "{tells}");
}

/// Both adopt the tunnel of before, both start a new IKE SA as first contact, at every offset.
#[test]
fn two_gateways_restarted_one_after_the_other_lose_little() {
    for delay in [5, 50] {
        for step in 0..80u32 {
            let weather = Weather {
                delay: Duration::from_millis(delay),
                ..Weather::FAIR
            };
            let mut world = figure_1(step.into(), weather);
            world.stream(0, out(), 1, PING);
            world.run_for(SECOND * 5);
            world.restart(0);
            world.run_for(Duration::from_millis(delay) * step / 10);
            world.restart(1);
            world.stream(0, out(), 300, PING);
            world.stream(1, out().reversed(), 300, PING);
            world.run_for(SECOND * 60);
            let tells = world.tells.join("\n");
            // Killed between its two SAs, a gateway cannot account for the one that it has, and
            // what is on its way there is lost.
            for (flow, sent) in [(out(), 301), (out().reversed(), 300)] {
                let arrived = delivered(&world, &flow);
                assert!(
                    arrived + 4 >= sent,
                    "{arrived}, delay {delay}, step {step}\n{tells}"
                );
            }
            assert_nothing_leaked(&world);
            for node in 0..2 {
                assert_usable_tunnel(&world, node);
                assert_eq!(
                    world.nodes[node].kernel.sas.len(),
                    2,
                    "step {step}\n{tells}"
                );
            }
        }
    }
}

/// One gateway was restarted while the other was away for long, and gave its end of the tunnel up.
/// The other finds its own end whole, and must not send into nothing.
#[test]
fn a_tunnel_that_only_one_end_still_has_is_not_sent_into() {
    let mut world = figure_1(31, Weather::FAIR);
    world.stream(0, out(), 1, PING);
    world.run_for(SECOND * 5);
    // 106 is away: its kernel goes on, its agent hears and says nothing.
    world.befall(Fate::Kill(1));
    world.restart(0);
    world.run_for(SECOND * 20);
    assert!(world.nodes[0].kernel.sas.is_empty());
    world.weather.delay = Duration::from_millis(400);
    world.restart(1);
    world.run_for(Duration::from_millis(1100));
    world.stream(1, out().reversed(), 10, PING);
    world.run_for(SECOND * 20);
    let tells = world.tells.join("\n");
    assert_eq!(delivered(&world, &out().reversed()), 10, "{tells}");
    assert_usable_tunnel(&world, 0);
    assert_usable_tunnel(&world, 1);
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
    assert!(blocked(&world), "{}", world.tells.join("\n"));
    world.input(0, Event::Configuration(Box::new(west(X, X))));
    world.run_for(PING);
    world.stream(0, out(), 3, PING);
    world.run_for(SECOND);
    assert_eq!(delivered(&world, &out()), 3, "{}", world.tells.join("\n"));

    // In the middle of a discovery: its one candidate has been refused already.
    let mut world = begin(SECOND);
    assert!(!blocked(&world));
    world.input(0, Event::Configuration(Box::new(west(X, X))));
    world.run_for(SECOND);
    assert_eq!(delivered(&world, &out()), 1, "{}", world.tells.join("\n"));

    let mut world = begin(SECOND * 6);
    world.input(0, Event::Configuration(Box::new(west(Y, Y))));
    world.run_for(SECOND);
    assert!(!blocked(&world), "nobody asked for this to be blocked");
}
