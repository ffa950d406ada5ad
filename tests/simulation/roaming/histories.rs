//! Random histories of links, home agents and VPN, each with a quiet end.

use std::time::Duration;

use super::places::{ALL, Network};
use super::weather::Weather;
use super::world::{Which, World};
use crate::seeds;
use xfrm_agent::mobile_ip::LinkId;
use xfrm_agent::mobile_ip::dual_client;
use xfrm_agent::mobile_ip::dual_client::station::Input;
use xfrm_agent::net::Random;

/// Longer than every lifetime, pause and patience one after the other.
const QUIET: Duration = Duration::from_secs(600);

fn one_step(world: &mut World) {
    let link = LinkId(1 + world.random.u32() % 3);
    let network = ALL[world.random.u32() as usize % ALL.len()];
    let site = world.random.u32() as usize % world.ways.len();
    let which = if world.percent(50) {
        Which::Inner
    } else {
        Which::Outer(site)
    };
    match world.random.u32() % 31 {
        0 => world.input(Input::Dual(dual_client::Input::Resumed)),
        1 => world.vpn_falls(),
        2 | 3 => world.restart(which),
        4 | 5 => {
            let span = Duration::from_millis(u64::from(world.random.u32() % 90_000));
            world.silence(which, span);
        }
        6 if world.plugged.get(&link) == Some(&Network::InsideA) => {
            let fakes = [Network::FakeRelaying, Network::FakeForging];
            let fake = fakes[world.random.u32() as usize % 2];
            world.plug_silently(link, fake);
        }
        7 => flap(world, link, network),
        10 => world.gateway_dies(site),
        11 => world.gateway_is_back(site),
        12 | 13 => world.revoke(which),
        14 => {
            let at = world.random.u32() as usize % world.visited.count();
            world.restart_foreign_agent(at);
        }
        15..=17 => world.carry_about(link),
        8 | 9 => live_again(world, link, network),
        _ => world.plug(link, network),
    }
    let most = [200, 5_000, 90_000][world.random.u32() as usize % 3];
    let pause = u64::from(world.random.u32() % most);
    world.run(Duration::from_millis(pause));
}

/// Killed, sometimes moved meanwhile, and started.
fn live_again(world: &mut World, link: LinkId, network: Network) {
    world.kill_client();
    if world.percent(50) {
        let pause = u64::from(world.random.u32() % 20_000);
        world.run(Duration::from_millis(pause));
        world.plug(link, network);
    }
    let recalls = world.percent(50);
    world.start_client(recalls);
}

fn flap(world: &mut World, link: LinkId, network: Network) {
    for _ in 0..10 {
        world.plug(link, Network::Unplugged);
        world.run(Duration::from_millis(50));
        world.plug(link, network);
        world.run(Duration::from_millis(50));
    }
}

fn history(seed: u64) -> World {
    let mut world = World::new(seed);
    world.weather = Weather::of_seed(seed);
    for _ in 0..10 {
        one_step(&mut world);
    }
    world
}

/// Where there are several sites, one of them says nothing any more, or its gateway does not.
fn all_but_one_are_back(world: &mut World) {
    let sites = world.ways.len();
    for site in 0..sites {
        world.gateway_is_back(site);
    }
    if sites > 1 {
        let site = world.random.u32() as usize % sites;
        if world.percent(50) {
            world.silence(Which::Outer(site), QUIET * 2);
        } else {
            world.gateway_dies(site);
        }
    }
}

#[test]
fn whatever_happens_it_ends_in_the_right_domain_with_the_tunnels_of_its_figure_at_all_ends() {
    seeds::each(0..800, |seed| {
        let mut world = history(seed);
        world.weather = Weather::default();
        all_but_one_are_back(&mut world);
        world.run(QUIET);
        world.check_end();
    });
}

#[test]
fn the_same_seed_makes_the_same_history_of_roaming() {
    for seed in 0..20 {
        assert_eq!(history(seed).trace.hash(), history(seed).trace.hash());
    }
}
