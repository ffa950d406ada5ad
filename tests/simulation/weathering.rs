//! Networks of five gateways through foul weather, and what is left when it has cleared.

use crate::kernel::Payload;
use crate::seeds;
use crate::topologies::{SECOND, across, every_pair, mesh};
use crate::trace::Trace;
use crate::world::{Fate, Weather, World};
use std::time::Duration;
use xfrm_agent::agent::settings::FailureAction;
use xfrm_agent::ike::settings::Timing;
use xfrm_agent::net::Random;

const GATEWAYS: usize = 5;

/// While it lasts, agents are killed, machines rebooted and links cut.
const STORM: u64 = 120;

/// Until everybody has noticed whose tunnels are gone (liveness and giving up, a minute together),
/// and blocked flows have been tried again (half a minute).
const CALM: u64 = 150;

/// Packets of all hosts to all hosts, each flow with its own rhythm and with pauses.
fn traffic(world: &mut World, seconds: u64) {
    for from in 0..GATEWAYS {
        for to in (0..GATEWAYS).filter(|to| *to != from) {
            let every = 2000 + world.chance.u64() % 6000;
            let first = world.chance.u64() % every;
            let flow = across(from, to);
            for number in 0..(seconds * 1000 - first) / every {
                let at = Duration::from_millis(first + number * every);
                world.send_later(at, from, Payload { flow, number });
            }
        }
    }
}

fn misfortunes(world: &mut World) {
    let mut draw = |below: u64| world.chance.u64() % below;
    let mut fates = Vec::new();
    for _ in 0..draw(8) {
        let (node, at) = (draw(GATEWAYS as u64) as usize, draw(STORM * 1000));
        if draw(3) == 0 {
            fates.push((at, Fate::Reboot(node)));
        } else {
            let back = (at + 50 + draw(10_000)).min(STORM * 1000);
            fates.push((at, Fate::Kill(node)));
            fates.push((back, Fate::Start(node)));
        }
    }
    for _ in 0..draw(5) {
        let (node, at) = (draw(GATEWAYS as u64) as usize, draw(STORM * 1000));
        let until = (at + 1000 + draw(60_000)).min(STORM * 1000);
        // A link, or everything around one gateway.
        let other = draw(2 * GATEWAYS as u64) as usize;
        let cut = (0..GATEWAYS).filter(|n| *n != node && (other >= GATEWAYS || *n == other));
        for n in cut {
            fates.push((at, Fate::Cut(node, n)));
            fates.push((until, Fate::Mend(node, n)));
        }
    }
    for (at, fate) in fates {
        world.later(Duration::from_millis(at), fate);
    }
}

fn network(seed: u64) -> World {
    // Every other network replaces its keys all the time.
    let child_lifetime = SECOND * [3600, 40][seed as usize % 2];
    let timing = Timing {
        child_lifetime,
        ..Timing::default()
    };
    mesh(seed, GATEWAYS, FailureAction::Block, &timing, Weather::FOUL)
}

fn through_a_storm(mut world: World) -> World {
    traffic(&mut world, STORM + CALM);
    misfortunes(&mut world);
    world.run_for(SECOND * STORM as u32);
    world.weather = Weather::FAIR;
    world.run_for(SECOND * CALM as u32);
    world
}

#[test]
fn after_every_storm_each_pair_of_gateways_has_one_tunnel() {
    seeds::each(0..1000, |seed| {
        let mut world = through_a_storm(network(seed));
        let flows = every_pair(GATEWAYS);
        world.assert_peace(&flows, SECOND * 30);
        for node in &world.nodes {
            let ike_sas = node.agent.tables().find(|(table, _)| *table == "ike-sas");
            assert_eq!(
                ike_sas,
                Some(("ike-sas", GATEWAYS - 1)),
                "{}\n{}",
                node.name,
                world.story()
            );
        }
        // And it carries.
        let refused = world.tally.refused.len();
        let delivered = |world: &World| world.tally.delivered.values().map(Vec::len).sum::<usize>();
        let before = delivered(&world);
        for (n, flow) in flows.iter().enumerate() {
            world.stream(n / (GATEWAYS - 1), *flow, 1, SECOND);
        }
        world.run_for(SECOND);
        assert!(
            delivered(&world) >= before + flows.len(),
            "{}",
            world.story()
        );
        assert_eq!(world.tally.refused.len(), refused, "{}", world.story());
    });
}

#[test]
fn a_seed_repeats_exactly() {
    let run = |seed| {
        let mut world = network(seed);
        world.trace = Some(Trace::default());
        through_a_storm(world)
    };
    let trace = |world: &World| world.trace.as_ref().map(Trace::hash);
    let (once, again, other) = (run(4711), run(4711), run(4712));
    assert_eq!(once.tells, again.tells);
    assert_eq!(once.tally, again.tally);
    assert_eq!(trace(&once), trace(&again));
    assert_ne!(trace(&once), trace(&other));
}

/// `clear` means "while nobody out there speaks IPsec": what was protected once never is sent in
/// the clear again, whatever falls silent, reboots or is killed.
#[test]
fn what_was_once_protected_stays_so_through_every_storm() {
    seeds::each(0..100, |seed| {
        let clear = FailureAction::Clear;
        let mut world = mesh(seed, GATEWAYS, clear, &Timing::default(), Weather::FAIR);
        for from in 0..GATEWAYS {
            for to in (0..GATEWAYS).filter(|to| *to != from) {
                world.stream(from, across(from, to), 3, SECOND);
            }
        }
        world.run_for(SECOND * 5);
        world.weather = Weather {
            loss: 80,
            ..Weather::FOUL
        };
        traffic(&mut world, STORM);
        misfortunes(&mut world);
        world.run_for(SECOND * STORM as u32);
    });
}
