//! Random histories of mobile nodes, the proxy agent and the home agent, each with a quiet end.

use std::time::Duration;

use super::agreed::NODES;
use super::node::{ADAPTERS, adapter};
use super::world::World;
use crate::roaming::{Network, Weather};
use crate::seeds;
use xfrm_agent::mobile_ip::dual_client;
use xfrm_agent::mobile_ip::dual_client::Override;
use xfrm_agent::mobile_ip::dual_client::station::Input;
use xfrm_agent::net::Random;

/// Longer than every lifetime and pause one after the other.
const QUIET: Duration = Duration::from_secs(900);

const NETWORKS: [Network; 12] = [
    Network::Unplugged,
    Network::InsideHome,
    Network::InsideA,
    Network::OutsideX1,
    Network::OutsideX1,
    Network::OutsideNat,
    Network::OuterHome,
    Network::OutsideRequired,
    Network::OutsideVisited,
    Network::OutsideVisited,
    Network::InsideRequired,
    Network::InsideVisited,
];

fn one_step(world: &mut World) {
    let at = world.random.u32() as usize % NODES;
    let link = adapter(at, world.random.u32() % ADAPTERS);
    let network = NETWORKS[world.random.u32() as usize % NETWORKS.len()];
    let span = Duration::from_millis(u64::from(world.random.u32() % 90_000));
    match world.random.u32() % 28 {
        0 => world.input(at, Input::Dual(dual_client::Input::Resumed)),
        1 => {
            let by_hand = [Override::Blocked, Override::None][world.random.u32() as usize % 2];
            world.override_node(at, by_hand);
        }
        2 => world.kill_node(at),
        3 | 4 if world.nodes[at].is_over => world.start_node(at),
        5 | 6 => {
            let down = [Duration::ZERO, span / 10][world.random.u32() as usize % 2];
            world.restart_proxy(down);
        }
        7 => world.restart_home_agent(),
        8 | 9 => world.silence_home_agent(span),
        10 | 11 => world.revoke(at),
        12 => {
            let ahead = Duration::from_secs(u64::from(world.random.u32() % 60));
            world.set_proxy_clock(ahead);
        }
        13 => {
            let denies = world.percent(50);
            world.deny_inside(denies);
        }
        14..=16 => {
            for _ in 0..5 {
                world.stranger_tries();
            }
        }
        17 | 18 => {
            let agent = world.random.u32() as usize % world.visited.count();
            let down = [Duration::ZERO, span / 3][world.random.u32() as usize % 2];
            world.restart_foreign_agent(agent, down);
        }
        _ => world.plug(at, link, network),
    }
    let most = [200, 5_000, 90_000][world.random.u32() as usize % 3];
    let pause = u64::from(world.random.u32() % most);
    world.run(Duration::from_millis(pause));
}

fn history(seed: u64) -> World {
    let mut world = World::new(seed);
    world.weather = Weather::of_seed(seed);
    for _ in 0..16 {
        one_step(&mut world);
    }
    world
}

#[test]
fn whatever_happens_both_sides_of_the_proxy_agent_end_with_the_tunnels_of_figure_4() {
    seeds::each(0..500, |seed| {
        let mut world = history(seed);
        world.weather = Weather::default();
        world.run(QUIET);
        world.check_end();
    });
}

#[test]
fn the_same_seed_makes_the_same_history_of_the_proxy_agent() {
    for seed in 0..20 {
        assert_eq!(history(seed).trace.hash(), history(seed).trace.hash());
    }
}
