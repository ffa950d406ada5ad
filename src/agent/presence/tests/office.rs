//! Two in the office, who talk as they like there.

use super::settings::{ALICE, BOB, flow, in_office, settings};
use super::world::World;
use crate::kernel::desired::Direction;
use crate::presence::Protection;
use std::net::IpAddr;
use std::time::Duration;

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) const CLEAR: [Protection; 4] = [Protection::CLEAR; 4];

/// Alice and Bob, who have just come in.
pub(super) fn in_the_office(seed: u64) -> World {
    let mut world = World::new(seed);
    world.add(settings(ALICE, &[BOB]), &[in_office(ALICE)]);
    world.add(settings(BOB, &[ALICE]), &[in_office(BOB)]);
    world.run_for(SECOND);
    for host in [ALICE, BOB] {
        world.be(host, "office");
    }
    world
}

/// The same, some time later.
pub(super) fn relaxed_in_the_office(seed: u64) -> World {
    let mut world = in_the_office(seed);
    settle(&mut world, 30 * SECOND);
    world
}

/// What packets between two addresses need at one end: out and in.
pub(super) fn at(world: &World, host: usize, own: IpAddr, theirs: IpAddr) -> [Protection; 2] {
    let kernel = &world.hosts[host].kernel;
    let out = kernel.protection(Direction::Out, &flow(own, theirs));
    let into = kernel.protection(Direction::In, &flow(theirs, own));
    [out, into]
}

/// What packets between the two need: at Alice's out and in, at Bob's out and in.
pub(super) fn protections(world: &World) -> [Protection; 4] {
    let [alice, bob] = [ALICE, BOB].map(in_office);
    let [a, b] = at(world, ALICE, alice, bob);
    let [c, d] = at(world, BOB, bob, alice);
    [a, b, c, d]
}

/// Runs until packets between the two are clear again.
pub(super) fn settle(world: &mut World, most: Duration) {
    let end = world.now + most;
    while protections(world) != CLEAR {
        assert!(world.now < end, "{}", told(world));
        world.run_for(SECOND / 10);
    }
}

/// Everything that the agents have told, for the message of a test that fails.
pub(super) fn told(world: &World) -> String {
    let hosts = world.hosts.iter().map(|host| host.tells.join("\n"));
    let hosts: Vec<String> = hosts.collect();
    format!("{:?}\n{}", protections(world), hosts.join("\n--\n"))
}
