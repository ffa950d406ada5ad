//! A day of a network's life, after which everything is back where it was.

use crate::kernel::Payload;
use crate::topologies::{SECOND, across, every_pair, mesh};
use crate::world::{Fate, Weather, World};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use xfrm_agent::agent::settings::FailureAction;
use xfrm_agent::ike::settings::Timing;
use xfrm_agent::kernel::desired::PolicyKey;
use xfrm_agent::net::Random;

const GATEWAYS: usize = 4;
const HOUR: Duration = Duration::from_secs(3600);

/// What an agent remembers of peers and destinations on purpose; each has a bound of its own.
const REMEMBERED: [&str; 7] = [
    "peers-met",
    "once-protected",
    "gateways-contacted",
    "destinations-probed",
    "initiators-answered",
    "cookies-spent",
    "first-packets-pairs",
];

/// What a node holds: entries of every table, the number of SAs, and the policies.
type Holdings = (BTreeMap<&'static str, usize>, usize, BTreeSet<PolicyKey>);

fn holdings(world: &World, node: usize) -> Holdings {
    let node = &world.nodes[node];
    let policies = node.kernel.policies.keys().copied().collect();
    (
        node.agent.tables().collect(),
        node.kernel.sas.len(),
        policies,
    )
}

fn without_memories((mut tables, sas, policies): Holdings) -> Holdings {
    tables.retain(|table, _| !REMEMBERED.contains(table));
    (tables, sas, policies)
}

/// A while of packets between every two hosts.
fn talk(world: &mut World, seconds: u64) {
    for from in 0..GATEWAYS {
        for to in (0..GATEWAYS).filter(|to| *to != from) {
            let flow = across(from, to);
            let first = world.chance.u64() % 3000;
            for number in 0..seconds / 3 {
                let at = Duration::from_millis(first + number * 3000);
                world.send_later(at, from, Payload { flow, number });
            }
        }
    }
    world.run_for(Duration::from_secs(seconds));
}

/// Keys are replaced now and then: the fewest that it holds within some minutes.
fn at_rest(world: &mut World) -> Vec<Holdings> {
    world.assert_peace(&every_pair(GATEWAYS), SECOND * 30);
    let mut fewest: Vec<Holdings> = (0..GATEWAYS).map(|n| holdings(world, n)).collect();
    for _ in 0..10 {
        world.run_for(SECOND * 29);
        for (n, least) in fewest.iter_mut().enumerate() {
            let (tables, sas, policies) = holdings(world, n);
            for (table, entries) in tables {
                let least = least.0.entry(table).or_default();
                *least = entries.min(*least);
            }
            least.1 = sas.min(least.1);
            least.2.retain(|key| policies.contains(key));
        }
    }
    fewest
}

#[test]
fn a_day_leaves_nothing_behind() {
    let block = FailureAction::Block;
    let weather = Weather {
        loss: 2,
        ..Weather::FOUL
    };
    let mut world = mesh(24, GATEWAYS, block, &Timing::default(), weather);
    let empty = holdings(&world, 0);
    talk(&mut world, 60);
    let morning = at_rest(&mut world);

    let end = world.now + HOUR * 24;
    let mut hour = 0;
    while world.now + HOUR < end {
        let next = world.now + HOUR;
        hour += 1;
        // Every third hour nobody says anything; in each other hour something happens.
        if hour % 3 != 0 {
            talk(&mut world, 300);
        }
        let node = world.chance.u64() as usize % GATEWAYS;
        let other = (node + 1) % GATEWAYS;
        match hour % 5 {
            0 => world.befall(Fate::Reboot(node)),
            1 => world.restart(node),
            2 => {
                world.befall(Fate::Cut(node, other));
                world.later(HOUR / 4, Fate::Mend(node, other));
            }
            _ => {}
        }
        world.run_for(next.duration_since(world.now));
    }
    talk(&mut world, 150);
    world.run_for(SECOND * 30);
    for (node, (evening, morning)) in at_rest(&mut world).into_iter().zip(morning).enumerate() {
        let name = world.nodes[node].name;
        assert_eq!(
            without_memories(evening),
            without_memories(morning),
            "{name}"
        );
    }

    // The others lose everything, and nobody says anything: nothing of them stays here.
    for node in 1..GATEWAYS {
        world.befall(Fate::Reboot(node));
    }
    world.run_for(SECOND * 200);
    assert_eq!(
        without_memories(holdings(&world, 0)),
        without_memories(empty)
    );
}
