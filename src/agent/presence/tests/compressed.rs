//! Contacts that compress what they say to each other, where both can.

use super::office::{SECOND, at, relaxed_in_the_office, told};
use super::settings::{ALICE, BOB, STRICT, in_office, presence, settings};
use super::world::World;
use crate::agent::event::Command;
use crate::agent::presence::commands::PolicyCommand;
use crate::kernel::desired::{Action, Direction, IpsecProtocol, Level, Object, Policy};
use crate::net::IpNet;
use crate::presence::{Protection, Protocols};

const ALL_THREE: Protection = Protection::require(Protocols {
    ipcomp: true,
    ..Protocols::AH_ESP
});

/// Outside of the office; `compressing` have a rule for ipcomp besides.
fn outside_of_it(compressing: &[usize]) -> World {
    let mut world = World::new(1);
    for (who, other) in [(ALICE, BOB), (BOB, ALICE)] {
        let mut settings = settings(who, &[other]);
        if compressing.contains(&who) {
            presence(&mut settings).rulebook.rules[1].then = ALL_THREE;
        }
        world.add(settings, &[in_office(who)]);
    }
    world
}

fn talk(world: &mut World) {
    world.stream(in_office(ALICE), in_office(BOB), 20, SECOND / 10);
    world.stream(in_office(BOB), in_office(ALICE), 20, SECOND / 10);
    world.run_for(5 * SECOND);
}

/// How many SAs of IPComp were ever put in, at either end.
fn compressions(world: &World) -> [u64; 2] {
    [ALICE, BOB].map(|host| {
        let installed = &world.hosts[host].kernel.installed_sas;
        installed.get(&IpsecProtocol::Comp).copied().unwrap_or(0)
    })
}

/// In and out, at both; twice, where both asked at once.
fn assert_compressed(world: &World) {
    assert!(
        compressions(world).iter().all(|sas| *sas >= 2),
        "{}",
        told(world)
    );
}

fn assert_all_arrive_protected(world: &World) {
    assert_eq!(world.tally.accepted.len(), 40, "{}", told(world));
    assert!(world.tally.accepted.iter().all(|seen| !seen.clear));
    for (own, theirs) in [(ALICE, BOB), (BOB, ALICE)] {
        let both = at(world, own, in_office(own), in_office(theirs));
        assert_eq!(both, [STRICT, STRICT], "{}", told(world));
    }
}

#[test]
fn packets_are_compressed_before_esp_and_ah_and_need_not_be() {
    let mut world = outside_of_it(&[ALICE, BOB]);
    talk(&mut world);
    assert_all_arrive_protected(&world);
    assert_compressed(&world);
    let with_bob: IpNet = in_office(BOB).into();
    let of_contact = |policy: &&Policy| {
        let selector = policy.key.selector;
        [selector.src, selector.dst].contains(&with_bob)
    };
    for policy in world.hosts[ALICE].kernel.policies().filter(of_contact) {
        let Action::Allow(templates) = &policy.action else {
            panic!("{policy}");
        };
        let order = [
            (IpsecProtocol::Comp, Level::Use),
            (IpsecProtocol::Esp, Level::Required),
            (IpsecProtocol::Ah, Level::Required),
        ];
        let is: Vec<_> = templates.iter().map(|t| (t.protocol, t.level)).collect();
        assert_eq!(is, order, "{policy}");
    }
}

#[test]
fn what_one_end_wants_compressed_the_other_compresses_too() {
    for one in [ALICE, BOB] {
        let mut world = outside_of_it(&[one]);
        talk(&mut world);
        assert_all_arrive_protected(&world);
        assert_compressed(&world);
    }
}

#[test]
fn a_row_that_compresses_is_followed_while_the_sas_are_there() {
    let mut world = outside_of_it(&[]);
    talk(&mut world);
    assert_eq!(compressions(&world), [0, 0]);
    let row = "out 192.168.1.1[any] 192.168.1.2[any] any ipsec esp+ipcomp transport require";
    let register = PolicyCommand::Register(row.parse().unwrap());
    world.command(ALICE, Command::Policy(register));
    world.tally.accepted.clear();
    talk(&mut world);
    assert_all_arrive_protected(&world);
    assert_compressed(&world);
}

#[test]
fn a_kernel_that_cannot_compress_protects_all_the_same() {
    fn is_compression(object: &Object) -> bool {
        matches!(object, Object::Sa(sa) if sa.protocol() == IpsecProtocol::Comp)
    }
    for one in [ALICE, BOB] {
        let mut world = outside_of_it(&[ALICE, BOB]);
        world.hosts[one].kernel.refuses = Some(is_compression);
        talk(&mut world);
        world.tally.accepted.clear();
        talk(&mut world);
        assert_all_arrive_protected(&world);
        assert_eq!(compressions(&world)[one], 0);
    }
}

#[test]
fn switching_with_compression_loses_nothing_and_leaves_nothing_behind() {
    let mut world = relaxed_in_the_office(1);
    for _ in 0..3 {
        let row = "out 192.168.1.1[any] 192.168.1.2[any] any ipsec ah+esp+ipcomp require";
        let register = PolicyCommand::Register(row.parse().unwrap());
        world.command(ALICE, Command::Policy(register));
        world.tally.accepted.clear();
        talk(&mut world);
        assert_eq!(world.tally.accepted.len(), 40, "{}", told(&world));
        world.command(ALICE, Command::Policy(PolicyCommand::Remove(1)));
        world.run_for(5 * SECOND);
        let kernel = &world.hosts[ALICE].kernel;
        let flow = super::settings::flow(in_office(ALICE), in_office(BOB));
        assert_eq!(kernel.protection(Direction::Out, &flow), Protection::CLEAR);
        assert_eq!(kernel.held(), 0);
    }
}
