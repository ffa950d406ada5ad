//! Agents that are stopped for a while (SIGSTOP), and gateways whose address goes.

use crate::seeds;
use crate::topologies::{PING, SECOND, figure_1, out};
use crate::world::{Fate, Node, Weather, World};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use xfrm_agent::kernel::desired::SaKey;

const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

fn answered(world: &World, since: usize) -> usize {
    world.tally.delivered.get(&out()).map_or(0, Vec::len) - since
}

/// At any moment of the first three round trips, for longer than anybody waits for anything.
#[test]
fn an_agent_that_was_stopped_while_it_negotiated_begins_anew_at_once() {
    seeds::each(0..400, |seed| {
        let mut world = figure_1(seed, Weather::FAIR);
        let node = seed as usize % 2;
        world.stream(0, out(), 100, SECOND);
        world.run_for(Duration::from_micros(100 + 200 * (seed / 2)));
        world.befall(Fate::Stop(node));
        world.run_for(SECOND * [6, 31, 45][seed as usize % 3]);
        world.befall(Fate::Continue(node));
        let before = answered(&world, 0);
        // The other may have failed meanwhile, and may try again half a minute later.
        world.run_for(SECOND * if node == 0 { 4 } else { 34 });
        assert!(answered(&world, before) > 0, "{}", world.story());
        world.assert_peace(&[out()], SECOND * 30);
    });
}

#[test]
fn a_new_address_takes_over_the_tunnels_of_the_old_whoever_sends() {
    seeds::each(0..200, |seed| {
        let mut world = figure_1(seed, Weather::FAIR);
        world.stream(0, out(), 1, PING);
        world.run_for(SECOND * 2);
        let node = seed as usize % 2;
        let flow = [out(), out().reversed()][seed as usize / 2 % 2];
        let sender = seed as usize / 2 % 2;
        world.stream(sender, flow, 200, PING);
        if seed % 3 == 0 {
            world.befall(Fate::Renumber(node, NOWHERE));
            world.run_for(Duration::from_millis(20 * seed));
        }
        world.befall(Fate::Renumber(node, "198.51.100.77".parse().unwrap()));
        world.run_for(SECOND * 2);
        let before = world.tally.delivered.get(&flow).map_or(0, Vec::len);
        world.run_for(SECOND);
        let after = world.tally.delivered[&flow].len();
        assert!(after - before >= 9, "{}\n{}", after - before, world.story());
        // The peer goes on receiving what may be under way from the old address.
        world.run_for(SECOND * 10);
        world.assert_peace(&[out()], SECOND);
        for node in &world.nodes {
            assert_eq!(node.kernel.sas.len(), 2, "{}", world.story());
        }
    });
}

#[test]
fn an_address_that_comes_back_finds_its_tunnel_as_it_was() {
    let mut world = figure_1(1, Weather::FAIR);
    world.stream(0, out(), 1, PING);
    world.run_for(SECOND * 2);
    let (address, sas) = (world.nodes[0].address, sas_of(&world));
    world.befall(Fate::Renumber(0, NOWHERE));
    world.stream(0, out(), 50, PING);
    world.run_for(SECOND * 6);
    assert_eq!(world.tally.dropped.len(), 50);
    world.befall(Fate::Renumber(0, address));
    world.stream(0, out(), 50, PING);
    world.run_for(SECOND * 6);
    assert_eq!(world.tally.dropped.len(), 50);
    assert_eq!(sas_of(&world), sas);
}

fn sas_of(world: &World) -> Vec<Vec<SaKey>> {
    let of = |node: &Node| node.kernel.sas.keys().copied().collect();
    world.nodes.iter().map(of).collect()
}

/// In the middle of setting up a tunnel, at any moment.
#[test]
fn a_negotiation_from_an_address_that_goes_begins_anew_from_the_next() {
    seeds::each(0..200, |seed| {
        let mut world = figure_1(seed, Weather::FAIR);
        let node = seed as usize % 2;
        world.stream(0, out(), 100, PING);
        world.run_for(Duration::from_micros(100 + 400 * (seed / 2)));
        world.befall(Fate::Renumber(node, "198.51.100.77".parse().unwrap()));
        world.run_for(SECOND * 10);
        if node == 0 {
            let before = answered(&world, 0);
            assert!(before > 60, "{before}\n{}", world.story());
        }
        world.stream(0, out(), 400, PING);
        world.run_for(SECOND * 40);
        world.assert_peace(&[out()], SECOND * 30);
    });
}
