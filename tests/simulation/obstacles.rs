//! Kernels that refuse what their agents want.

use crate::topologies::{PING, SECOND, figure_1, out};
use crate::world::{Weather, World};
use xfrm_agent::agent::event::{Event, KernelEvent};
use xfrm_agent::agent::snapshot::RefusalView;
use xfrm_agent::kernel::desired::{Direction, Key, SaDirection};
use xfrm_agent::kernel::ownership::Band;

fn refuse(world: &mut World, node: usize, key: Key) {
    let refusal = RefusalView {
        attempt: "ip xfrm policy add".to_owned(),
        error: "somebody has it".to_owned(),
        advice: "take it out".to_owned(),
    };
    let event = KernelEvent::Refused { key, refusal };
    world.input(node, Event::Kernel(event));
}

fn with_a_tunnel(seed: u64) -> World {
    let mut world = figure_1(seed, Weather::FAIR);
    world.stream(0, out(), 1, PING);
    world.run_for(SECOND * 5);
    assert_eq!(world.snapshot(0).tunnels[0].state, "up");
    world
}

/// Its peer would be asked again and again, and could not help.
#[test]
fn a_tunnel_whose_policy_is_refused_stays_and_says_so_until_it_is_accepted() {
    let mut world = with_a_tunnel(1);
    let before: Vec<_> = world.nodes[0].kernel.sas.keys().copied().collect();
    let tunnel = |p: &&xfrm_agent::kernel::desired::Policy| {
        p.key.direction == Direction::Out && Band::of(p.priority) == Some(Band::Tunnel)
    };
    let policy = world.nodes[0].kernel.policies.values().find(tunnel);
    let key = Key::Policy(policy.unwrap().key);
    refuse(&mut world, 0, key);
    world.stream(0, out(), 50, PING);
    world.run_for(SECOND * 10);
    let snapshot = world.snapshot(0);
    assert_eq!(snapshot.tunnels[0].state, "refused");
    assert_eq!(snapshot.refusals.len(), 1);
    let now: Vec<_> = world.nodes[0].kernel.sas.keys().copied().collect();
    assert_eq!(now, before, "{}", world.story());
    world.input(0, Event::Kernel(KernelEvent::Accepted { key }));
    let snapshot = world.snapshot(0);
    assert_eq!(snapshot.tunnels[0].state, "up");
    assert_eq!(snapshot.refusals, []);
}

#[test]
fn where_an_sa_is_refused_another_is_negotiated_and_what_waited_is_delivered() {
    for direction in [SaDirection::In, SaDirection::Out] {
        let mut world = with_a_tunnel(2);
        let sas = &world.nodes[0].kernel.sas;
        let of = |wanted| sas.iter().find(|(_, (_, sa))| sa.direction == wanted);
        let key = *of(direction).unwrap().0;
        refuse(&mut world, 0, Key::Sa(key));
        world.run_for(SECOND * 5);
        assert!(!world.nodes[0].kernel.sas.contains_key(&key));
        world.stream(0, out(), 3, PING);
        world.run_for(SECOND * 5);
        assert_eq!(world.tally.delivered[&out()].len(), 4, "{}", world.story());
        assert!(world.tally.clear.is_empty(), "{}", world.story());
        world.assert_peace(&[out()], SECOND * 30);
    }
}
