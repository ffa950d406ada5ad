//! Whatever has happened, and whatever happens later: a claim that nobody can vouch for never leaves
//! a packet with less than it would have had without.

use super::office::SECOND;
use super::settings::{ALICE, BOB, DWELL, MALLORY, STRICT, entity, in_office, outside, settings};
use super::single::Single;
use super::world::said;
use crate::agent::event::Doubt;
use crate::agent::presence::commands::{PolicyCommand, PresenceCommand, SetPresence};
use crate::agent::presence::relation::GRACE;
use crate::net::Flow;
use crate::presence::exchange::{Answer, Demanded, Message, Posture};
use crate::presence::row::{Action, Direction, Level, Mode, Row};
use crate::presence::{Class, Presence, Protection, Protocols};
use proptest::prelude::*;
use std::net::IpAddr;
use std::time::Duration;

const PLACES: [&str; 3] = ["office", "external", "elsewhere"];

/// What others can vouch for, and what Alice's administrator does.
#[derive(Clone, Debug)]
enum Step {
    Publish(Claim),
    Replay(Claim),
    ByHand(Claim),
    Clear,
    Own(usize),
    Register,
    Remove,
    /// Bob demands this, and answers so.
    Posture(bool),
    Answered(bool),
    IkeUp(bool),
    IkeDown,
    MoveClock(bool),
    Doubt,
}

/// What nobody can vouch for.
#[derive(Clone, Debug)]
enum Noise {
    Hint(Claim),
    OfAnother(Claim),
    Garbage(Vec<u8>),
}

#[derive(Clone, Debug)]
struct Claim {
    place: usize,
    /// 0: as they are, or in the office.
    addresses: usize,
    seconds: u32,
}

fn claim() -> impl Strategy<Value = Claim> {
    let seconds = prop_oneof![Just(3), Just(30), Just(3600), Just(4 * 3600)];
    (0..3usize, 0..4usize, seconds).prop_map(|(place, addresses, seconds)| Claim {
        place,
        addresses,
        seconds,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => claim().prop_map(Step::Publish),
        1 => claim().prop_map(Step::Replay),
        3 => claim().prop_map(Step::ByHand),
        1 => Just(Step::Clear),
        4 => (0..2usize).prop_map(Step::Own),
        1 => Just(Step::Register),
        1 => Just(Step::Remove),
        1 => any::<bool>().prop_map(Step::Posture),
        2 => any::<bool>().prop_map(Step::Answered),
        1 => any::<bool>().prop_map(Step::IkeUp),
        1 => Just(Step::IkeDown),
        1 => any::<bool>().prop_map(Step::MoveClock),
        1 => Just(Step::Doubt),
    ]
}

fn noise() -> impl Strategy<Value = Noise> {
    prop_oneof![
        4 => claim().prop_map(Noise::Hint),
        1 => claim().prop_map(Noise::OfAnother),
        1 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(Noise::Garbage),
    ]
}

/// Before each step: seconds that pass, and what is said meanwhile that proves nothing.
fn history() -> impl Strategy<Value = Vec<(u64, Vec<Noise>, Step)>> {
    let seconds = prop_oneof![5 => 0..3u64, 3 => 3..60u64, 1 => 60..8000u64];
    let noises = proptest::collection::vec(noise(), 0..3);
    proptest::collection::vec((seconds, noises, step()), 1..16)
}

impl Claim {
    fn addresses(&self) -> Vec<IpAddr> {
        match self.addresses {
            0 => Vec::new(),
            1 => vec![in_office(BOB)],
            2 => vec![outside(BOB)],
            _ => vec![in_office(BOB), outside(BOB)],
        }
    }

    fn set(&self, hint: bool) -> SetPresence {
        SetPresence {
            addresses: self.addresses(),
            valid: Some(self.seconds),
            hint,
            ..said(entity(BOB), PLACES[self.place])
        }
    }

    fn presence(&self, alice: &Single, sequence: u64) -> Presence {
        let mut addresses = self.addresses();
        if addresses.is_empty() {
            addresses.push(in_office(BOB));
        }
        Presence {
            entity: entity(BOB),
            addresses,
            user: None,
            location: PLACES[self.place].parse().unwrap(),
            time: alice.wall(),
            expires: alice.wall().after(SECOND * self.seconds),
            sequence,
        }
    }
}

fn posture(strict: bool, epoch: u64) -> Posture {
    let mut demanded = Demanded::in_transport(Class::ANY, Protection::CLEAR);
    if strict {
        // In all ways, by and by.
        demanded.protection = Protection::require(Protocols {
            ipcomp: epoch.is_multiple_of(3),
            ..Protocols::ESP
        });
        if epoch.is_multiple_of(2) {
            demanded.mode = Mode::Tunnel;
        }
    }
    let demands = vec![demanded];
    Posture { epoch, demands }
}

fn row() -> Row {
    Row {
        source: in_office(ALICE).into(),
        source_port: crate::net::Port::Any,
        destination: in_office(BOB).into(),
        destination_port: crate::net::Port::Any,
        transport: crate::net::Protocol::UDP,
        direction: Direction::Out,
        action: Action::Ipsec,
        protocols: Protocols::ESP,
        mode: Some(Mode::Tunnel),
        end_point: Some(in_office(BOB)),
        level: Some(Level::Require),
    }
}

fn take(alice: &mut Single, number: u64, step: &Step) {
    match step {
        Step::Publish(claim) => {
            let presence = claim.presence(alice, 100 + number);
            alice.publishes(BOB, presence);
        }
        Step::Replay(claim) => {
            let presence = claim.presence(alice, 100);
            alice.publishes(BOB, presence);
        }
        Step::ByHand(claim) => drop(alice.set(claim.set(false))),
        Step::Clear => drop(alice.command(PresenceCommand::Clear(entity(BOB)))),
        Step::Own(place) => alice.be(PLACES[*place]),
        Step::Register => drop(alice.policy_command(PolicyCommand::Register(row()))),
        Step::Remove => drop(alice.policy_command(PolicyCommand::Remove(1))),
        Step::Posture(strict) => {
            let message = Message::Posture(posture(*strict, number));
            alice.hears(BOB, in_office(BOB), &message.encode());
        }
        Step::Answered(strict) => alice.answers(&Answer::Posture(posture(*strict, number))),
        Step::IkeUp(office) => {
            let from = if *office { in_office } else { outside };
            alice.ike_up(BOB, from(BOB), false);
        }
        Step::IkeDown => alice.ike_down(BOB),
        Step::MoveClock(back) => alice.step_clock(if *back { -3600 } else { 3600 }),
        Step::Doubt => alice.read_clock(Some(Doubt::LinkChanged)),
    }
}

fn make(alice: &mut Single, noise: &Noise) {
    match noise {
        Noise::Hint(claim) => drop(alice.set(claim.set(true))),
        Noise::OfAnother(claim) => {
            let presence = claim.presence(alice, u64::MAX);
            alice.publishes(MALLORY, presence);
        }
        Noise::Garbage(data) => drop(alice.hears(MALLORY, in_office(MALLORY), data)),
    }
}

fn packets() -> Vec<Flow> {
    let hosts = [in_office(BOB), outside(BOB)];
    let flow = |protocol, dst| Flow {
        src: in_office(ALICE),
        dst,
        protocol,
        ports: Some((5060, 5060)),
    };
    hosts.map(|host| [6, 17].map(|p| flow(p, host))).concat()
}

fn no_weaker(noisy: &Single, quiet: &Single) -> Result<(), TestCaseError> {
    for flow in packets() {
        let back = flow.reversed();
        let out = (noisy.sends(&flow), quiet.sends(&flow));
        let into = (noisy.accepts(&back), quiet.accepts(&back));
        prop_assert!(
            out.0.satisfies(out.1),
            "{flow:?}: sends {} instead of {}",
            out.0,
            out.1
        );
        prop_assert!(
            into.0.satisfies(into.1),
            "{flow:?}: accepts {} instead of {}",
            into.0,
            into.1
        );
    }
    Ok(())
}

/// In steps small enough to see what comes and goes.
fn pass(noisy: &mut Single, quiet: &mut Single, seconds: u64) -> Result<(), TestCaseError> {
    let parts = 24;
    for _ in 0..parts {
        let part = Duration::from_secs(seconds) / parts;
        noisy.run_for(part);
        quiet.run_for(part);
        no_weaker(noisy, quiet)?;
    }
    Ok(())
}

/// Otherwise anybody could have clear packets accepted for another second, by a claim that proves nothing.
#[test]
fn becoming_stricter_once_more_does_not_prolong_what_is_accepted_meanwhile() {
    let claim = |addresses, seconds| Claim {
        place: 0,
        addresses,
        seconds,
    };
    let mut alice = Single::new(settings(ALICE, &[BOB, MALLORY]));
    take(&mut alice, 1, &Step::Own(0));
    take(&mut alice, 2, &Step::Publish(claim(1, 3600)));
    alice.run_for(2 * DWELL);
    let [_, udp, ..] = packets()[..] else {
        panic!("there are several")
    };
    let accepts = |alice: &Single| alice.accepts(&udp.reversed());
    take(&mut alice, 3, &Step::Register);
    alice.run_for(GRACE * 3 / 4);
    assert_eq!(accepts(&alice), Protection::CLEAR, "Bob may not know yet");
    make(&mut alice, &Noise::Hint(claim(2, 3)));
    assert_eq!(alice.sends(&udp), STRICT);
    assert_eq!(accepts(&alice), Protection::CLEAR);
    alice.run_for(GRACE / 2);
    let esp = Protection::require(Protocols::ESP);
    assert_eq!(accepts(&alice), esp, "what was demanded before the claim");
    alice.run_for(GRACE);
    assert_eq!(accepts(&alice), STRICT);
}

/// Otherwise whoever was kept strict by a claim that has just run out would be relaxed before who was not.
#[test]
fn doubt_makes_what_waits_to_be_relaxed_wait_anew() {
    let claim = Claim {
        place: 0,
        addresses: 1,
        seconds: 3600,
    };
    let mut alice = Single::new(settings(ALICE, &[BOB, MALLORY]));
    take(&mut alice, 1, &Step::Own(0));
    take(&mut alice, 2, &Step::Publish(claim));
    alice.run_for(DWELL / 2);
    take(&mut alice, 3, &Step::Doubt);
    let sends = |alice: &Single| alice.sends(&packets()[0]);
    alice.run_for(DWELL * 3 / 4);
    assert_eq!(sends(&alice), STRICT);
    alice.run_for(DWELL / 2);
    assert_eq!(sends(&alice), Protection::CLEAR);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_nobody_vouches_for_makes_nothing_weaker(history in history(), after in 0..20_000u64) {
        let new = || Single::new(settings(ALICE, &[BOB, MALLORY]));
        let (mut noisy, mut quiet) = (new(), new());
        for (number, (seconds, noises, step)) in (1..).zip(&history) {
            pass(&mut noisy, &mut quiet, *seconds)?;
            for noise in noises {
                make(&mut noisy, noise);
                no_weaker(&noisy, &quiet)?;
            }
            for alice in [&mut noisy, &mut quiet] {
                take(alice, number, step);
            }
            no_weaker(&noisy, &quiet)?;
        }
        pass(&mut noisy, &mut quiet, after)?;
    }
}
