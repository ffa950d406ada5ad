//! Contacts that talk through a tunnel between their own addresses.

use super::office::{CLEAR, SECOND, at, protections, relaxed_in_the_office, settle, told};
use super::settings::{ALICE, BOB, STRICT, in_office, outside, presence, settings};
use super::world::World;
use crate::agent::event::{Command, Event};
use crate::agent::presence::commands::PolicyCommand;
use crate::kernel::desired::{Action, Direction, IpsecProtocol, Mark, Mode as KernelMode, Policy};
use crate::net::Random;
use crate::presence::row::Mode;
use crate::presence::rules::Rule;
use crate::presence::{Protection, Protocols};
use std::net::IpAddr;
use std::time::Duration;

const ESP: Protection = Protection::require(Protocols::ESP);

/// Of each packet that leaves `host` for `theirs`: what is done to it, the innermost first.
fn ways(
    world: &World,
    host: usize,
    theirs: IpAddr,
    out: Direction,
) -> Vec<(IpsecProtocol, KernelMode)> {
    let kernel = &world.hosts[host].kernel;
    let about = kernel.policies().filter(|policy| {
        let selector = policy.key.selector;
        let end = if out == Direction::Out {
            selector.dst
        } else {
            selector.src
        };
        policy.key.direction == out && end == theirs.into()
    });
    let deciding = about.min_by_key(|policy| policy.priority).unwrap();
    match &deciding.action {
        Action::Allow(templates) => templates.iter().map(|t| (t.protocol, t.mode)).collect(),
        Action::Block => panic!("{deciding}"),
    }
}

const AH_AROUND_A_TUNNEL: [(IpsecProtocol, KernelMode); 2] = [
    (IpsecProtocol::Esp, KernelMode::Tunnel),
    (IpsecProtocol::Ah, KernelMode::Transport),
];

fn through_tunnels(rule: &mut Rule) {
    rule.mode = Mode::Tunnel;
}

fn with_tunnels(who: &[usize]) -> World {
    let mut world = World::new(1);
    for (me, other) in [(ALICE, BOB), (BOB, ALICE)] {
        let mut settings = settings(me, &[other]);
        if who.contains(&me) {
            through_tunnels(&mut presence(&mut settings).rulebook.rules[1]);
        }
        world.add(settings, &[in_office(me)]);
    }
    world.run_for(10 * SECOND);
    world
}

fn talk(world: &mut World) {
    world.tally.accepted.clear();
    world.stream(in_office(ALICE), in_office(BOB), 50, SECOND / 10);
    world.stream(in_office(BOB), in_office(ALICE), 50, SECOND / 10);
    world.run_for(6 * SECOND);
}

#[test]
fn what_one_end_wants_in_a_tunnel_both_send_in_one() {
    for who in [&[ALICE][..], &[BOB], &[ALICE, BOB]] {
        let mut world = with_tunnels(who);
        talk(&mut world);
        assert_eq!(world.tally.accepted.len(), 100, "{}", told(&world));
        assert!(world.tally.accepted.iter().all(|seen| !seen.clear));
        for (own, theirs) in [(ALICE, BOB), (BOB, ALICE)] {
            for direction in [Direction::Out, Direction::In] {
                let ways = ways(&world, own, in_office(theirs), direction);
                assert_eq!(ways, AH_AROUND_A_TUNNEL, "{}", told(&world));
            }
        }
    }
}

#[test]
fn a_registered_tunnel_takes_over_and_gives_back_and_protects_all_the_time() {
    let mut world = with_tunnels(&[]);
    let row = "out 192.168.1.1[any] 192.168.1.2[any] any ipsec esp tunnel 192.168.1.2 require";
    let register = PolicyCommand::Register(row.parse().unwrap());
    world.command(ALICE, Command::Policy(register));
    talk(&mut world);
    let ways_now = ways(&world, BOB, in_office(ALICE), Direction::Out);
    assert_eq!(ways_now, AH_AROUND_A_TUNNEL);
    // Two modes that are both required cannot be taken at once: a round trip's packets may be lost.
    assert!(world.tally.accepted.len() >= 90, "{}", told(&world));
    talk(&mut world);
    assert_eq!(world.tally.accepted.len(), 100, "{}", told(&world));
    world.command(ALICE, Command::Policy(PolicyCommand::Remove(1)));
    talk(&mut world);
    assert!(world.tally.accepted.len() >= 90, "{}", told(&world));
    talk(&mut world);
    assert_eq!(world.tally.accepted.len(), 100, "{}", told(&world));
    assert!(world.tally.sent.iter().all(|seen| !seen.clear));
    let ways_now = ways(&world, BOB, in_office(ALICE), Direction::Out);
    assert!(
        ways_now
            .iter()
            .all(|(_, mode)| *mode == KernelMode::Transport)
    );
}

/// In the office in the clear, outside of it `tunnelling` want a tunnel. `moving` go outside and come
/// back, under traffic. How many packets were lost.
fn lost_between_clear_and_a_tunnel(tunnelling: &[usize], moving: &[usize], seed: u64) -> usize {
    let mut world = relaxed_in_the_office(seed);
    for host in tunnelling {
        let mut settings = world.hosts[*host].settings.clone();
        through_tunnels(&mut presence(&mut settings).rulebook.rules[1]);
        world.input(*host, Event::Configuration(Box::new(settings)));
    }
    settle(&mut world, 30 * SECOND);
    world.tally.accepted.clear();
    let packets = SWITCHES * 500 + 500;
    let every = Duration::from_millis(10);
    world.stream(in_office(ALICE), in_office(BOB), packets, every);
    world.stream(in_office(BOB), in_office(ALICE), packets, every);
    for nth in 0..SWITCHES {
        let place = if nth % 2 == 0 { "external" } else { "office" };
        for host in moving {
            world.be(*host, place);
            let pause = world.rng.u64() % 60;
            world.run_for(Duration::from_millis(pause));
        }
        world.run_for(5 * SECOND);
        if nth % 2 == 0 {
            assert_eq!(protections(&world), [STRICT; 4], "{}", told(&world));
            let ways = ways(&world, ALICE, in_office(BOB), Direction::Out);
            assert_eq!(ways, AH_AROUND_A_TUNNEL, "{}", told(&world));
        } else {
            assert_eq!(protections(&world), CLEAR, "{}", told(&world));
        }
    }
    world.run_for(15 * SECOND);
    2 * packets as usize - world.tally.accepted.len()
}

const SWITCHES: u64 = 10;

#[test]
fn between_clear_and_a_tunnel_nothing_is_lost() {
    for seed in 1..4 {
        for moving in [&[ALICE][..], &[ALICE, BOB]] {
            let lost = lost_between_clear_and_a_tunnel(&[ALICE, BOB], moving, seed);
            assert_eq!(lost, 0, "{moving:?}, seed {seed}");
        }
        let lost = lost_between_clear_and_a_tunnel(&[ALICE], &[ALICE], seed);
        assert_eq!(lost, 0, "seed {seed}");
    }
}

/// Packets of the tunnel come while it is covered, and are there when it is uncovered: a change of
/// mode in between would refuse them.
#[test]
fn what_lies_underneath_what_is_relaxed_is_in_the_mode_of_before() {
    let mut world = with_tunnels(&[ALICE, BOB]);
    for host in [ALICE, BOB] {
        world.be(host, "office");
    }
    settle(&mut world, 30 * SECOND);
    for host in [ALICE, BOB] {
        let other = in_office(if host == ALICE { BOB } else { ALICE });
        let about = |policy: &&Policy| {
            let selector = policy.key.selector;
            policy.key.mark == Mark::default()
                && [selector.src, selector.dst].contains(&other.into())
        };
        let underneath: Vec<_> = world.hosts[host].kernel.policies().filter(about).collect();
        assert_eq!(underneath.len(), 2);
        for policy in underneath {
            assert!(
                policy
                    .to_string()
                    .contains("proto esp reqid 1477443584 mode tunnel"),
                "{policy}"
            );
        }
    }
}

/// One end becomes strict in transport mode first, and then the other wants a tunnel: what is under
/// way meanwhile is in a mode that is not taken any more.
#[test]
fn between_transport_mode_and_a_tunnel_no_more_is_lost_than_is_under_way() {
    for seed in 1..4 {
        for moving in [&[ALICE][..], &[ALICE, BOB]] {
            let lost = lost_between_clear_and_a_tunnel(&[BOB], moving, seed);
            assert!(
                lost <= 3 * SWITCHES as usize,
                "{lost}: {moving:?}, seed {seed}"
            );
        }
    }
}

#[test]
fn through_a_nat_there_is_transport_mode_instead_and_it_is_said_why() {
    let translated: IpAddr = "203.0.113.9".parse().unwrap();
    let mut world = World::new(1);
    for (who, other, address) in [(ALICE, BOB, in_office(ALICE)), (BOB, ALICE, outside(BOB))] {
        let mut settings = settings(who, &[other]);
        let presence = presence(&mut settings);
        presence.rulebook.unknown = ESP;
        presence.rulebook.rules[1].then = ESP;
        through_tunnels(&mut presence.rulebook.rules[1]);
        presence.contacts[0].addresses = vec![if who == BOB {
            in_office(ALICE)
        } else {
            translated
        }];
        world.add(settings, &[address]);
    }
    world.nat = Some((BOB, translated));
    world.run_for(10 * SECOND);
    assert_eq!(at(&world, BOB, outside(BOB), in_office(ALICE)), [ESP, ESP]);
    let ways = ways(&world, BOB, in_office(ALICE), Direction::Out);
    assert_eq!(ways, [(IpsecProtocol::Esp, KernelMode::Transport)]);
}
