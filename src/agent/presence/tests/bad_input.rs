//! What one agent makes of claims that are false, old, too many or no claims at all.

use super::office::SECOND;
use super::settings::{
    ALICE, BOB, DWELL, MALLORY, STRICT, entity, flow, identity, in_office, outside, settings,
};
use super::single::Single;
use crate::agent::presence::commands::SetPresence;
use crate::agent::presence::relations::MAX_ADDRESSES;
use crate::presence::exchange::{Answer, Demanded, MAX_LEN, Message, Refusal};
use crate::presence::{Presence, Protection, Timestamp};
use std::net::IpAddr;
use std::time::Duration;

/// Bob and Alice are both in the office, and relaxed.
fn relaxed() -> Single {
    let mut alice = Single::new(settings(ALICE, &[BOB, MALLORY]));
    alice.be("office");
    assert_eq!(
        alice.publishes(BOB, bob_in_office(&alice, 7)),
        Answer::Accepted
    );
    alice.run_for(DWELL + SECOND);
    assert_eq!(towards(&alice, in_office(BOB)), Protection::CLEAR);
    alice
}

fn towards(alice: &Single, theirs: IpAddr) -> Protection {
    alice.sends(&flow(in_office(ALICE), theirs))
}

fn bob_in_office(alice: &Single, sequence: u64) -> Presence {
    Presence {
        entity: entity(BOB),
        addresses: vec![in_office(BOB)],
        user: None,
        location: "office".parse().unwrap(),
        time: alice.wall(),
        expires: alice.wall().after(600 * SECOND),
        sequence,
    }
}

fn refused(why: Refusal) -> Answer {
    Answer::Refused(why)
}

#[test]
fn nobody_speaks_for_somebody_else() {
    let mut alice = relaxed();
    let mut claim = bob_in_office(&alice, 9);
    claim.location = "external".parse().unwrap();
    let answer = alice.publishes(MALLORY, claim);
    assert_eq!(answer, refused(Refusal::NotYourEntity));
    assert!(alice.told(
        "presence-refused",
        "mallory@example.com claims to be bob@example.com"
    ));
    assert_eq!(
        towards(&alice, in_office(BOB)),
        Protection::CLEAR,
        "and nothing came of it"
    );
    assert_eq!(
        alice.publishes(BOB, bob_in_office(&alice, 8)),
        Answer::Accepted,
        "nor of its number"
    );
}

#[test]
fn what_is_replayed_or_older_is_refused() {
    let mut alice = relaxed();
    let mut away = bob_in_office(&alice, 8);
    away.location = "external".parse().unwrap();
    assert_eq!(alice.publishes(BOB, away.clone()), Answer::Accepted);
    assert_eq!(towards(&alice, in_office(BOB)), STRICT, "at once");
    for sequence in [8, 7, 0] {
        let old = bob_in_office(&alice, sequence);
        assert_eq!(alice.publishes(BOB, old), refused(Refusal::Replayed));
    }
    assert!(alice.told("presence-refused", "sequence 7 is a replay"));
    alice.run_for(60 * SECOND);
    assert_eq!(towards(&alice, in_office(BOB)), STRICT);
    let last = bob_in_office(&alice, u64::MAX);
    assert_eq!(alice.publishes(BOB, last.clone()), Answer::Accepted);
    assert_eq!(
        alice.publishes(BOB, last),
        refused(Refusal::Replayed),
        "nothing overflows"
    );
}

#[test]
fn an_address_outside_the_claimed_site_stays_strict_and_it_is_said_why() {
    let mut alice = relaxed();
    let mut claim = bob_in_office(&alice, 8);
    claim.addresses = vec![outside(BOB)];
    assert_eq!(alice.publishes(BOB, claim), Answer::Accepted);
    alice.run_for(60 * SECOND);
    assert_eq!(towards(&alice, outside(BOB)), STRICT);
    assert_eq!(
        towards(&alice, in_office(BOB)),
        STRICT,
        "where he was, nobody knows who is"
    );
    let why = "133.134.10.11 is not an address of office";
    assert!(
        alice
            .policies()
            .iter()
            .any(|entry| entry.because.contains(why))
    );
}

#[test]
fn what_has_expired_or_holds_for_too_long_or_comes_from_the_future_is_refused() {
    let mut alice = relaxed();
    let (wall, day) = (alice.wall(), 86_400 * SECOND);
    let before = Timestamp(wall.0 - 1);
    let cases = [
        (wall, before),
        (wall, wall),
        (wall, wall.after(2 * day)),
        (wall.after(day), wall.after(day)),
    ];
    for (sequence, (time, expires)) in (8..).zip(cases) {
        let claim = Presence {
            time,
            expires,
            location: "external".parse().unwrap(),
            ..bob_in_office(&alice, sequence)
        };
        let answer = alice.publishes(BOB, claim);
        assert_eq!(answer, refused(Refusal::Malformed), "{time} {expires}");
    }
    assert!(alice.told("presence-refused", "expired at"));
    alice.run_for(600 * SECOND);
    assert_eq!(
        towards(&alice, in_office(BOB)),
        STRICT,
        "what was believed has expired"
    );
}

#[test]
fn whoever_flaps_is_a_stranger_until_it_stops() {
    let mut alice = relaxed();
    let places = ["external", "office"];
    for sequence in 8..40 {
        let mut claim = bob_in_office(&alice, sequence);
        claim.location = places[sequence as usize % 2].parse().unwrap();
        let answer = alice.publishes(BOB, claim);
        assert_eq!(answer, Answer::Accepted);
        alice.run_for(SECOND / 20);
        assert_eq!(towards(&alice, in_office(BOB)), STRICT);
    }
    assert!(alice.told("flapping", "bob@example.com changes too often"));
    alice.run_for(30 * SECOND);
    assert_eq!(
        towards(&alice, in_office(BOB)),
        Protection::CLEAR,
        "office was said last"
    );
}

#[test]
fn what_cannot_be_read_is_refused_and_changes_nothing() {
    let mut alice = relaxed();
    let known = Message::Publish(bob_in_office(&alice, 8)).encode();
    let mut version = known.clone();
    version[1] = 2;
    let mut kind = known.clone();
    kind[2] = 23;
    let mut long = known.clone();
    long.resize(MAX_LEN + 1, 0);
    let cases = [
        (&version[..], Refusal::NotUnderstood),
        (&kind[..], Refusal::NotUnderstood),
        (&long[..], Refusal::Malformed),
        (&known[..known.len() - 1], Refusal::Malformed),
        (&[][..], Refusal::Malformed),
        (&[0xff; 64][..], Refusal::Malformed),
    ];
    for (data, why) in cases {
        assert_eq!(
            alice.hears(BOB, in_office(BOB), data),
            refused(why),
            "{data:?}"
        );
    }
    assert_eq!(towards(&alice, in_office(BOB)), Protection::CLEAR);
    assert_eq!(
        alice.publishes(BOB, bob_in_office(&alice, 8)),
        Answer::Accepted
    );
}

#[test]
fn a_peer_that_is_no_contact_learns_and_says_nothing() {
    let mut alice = Single::new(settings(ALICE, &[BOB]));
    let ask = Message::Ask {
        policy: true,
        presence: true,
        subscribe: Some(60),
    };
    let claim = Message::Publish(bob_in_office(&alice, 8));
    for message in [ask, claim, Message::Attest] {
        let answer = alice.hears(MALLORY, outside(MALLORY), &message.encode());
        assert_eq!(answer, refused(Refusal::NotAllowed), "{message:?}");
    }
    assert_eq!(
        towards(&alice, outside(MALLORY)),
        Protection::CLEAR,
        "no business of ours"
    );
}

#[test]
fn a_contact_that_names_ever_new_addresses_has_so_many_and_no_more() {
    let mut alice = relaxed();
    let before = alice.policy_count();
    for nth in 0..100 {
        let mut claim = bob_in_office(&alice, 8 + nth);
        claim.addresses = (0..8)
            .map(|host| IpAddr::from([10, 9, nth as u8, host + 1]))
            .collect();
        alice.publishes(BOB, claim);
        alice.run_for(4 * SECOND);
    }
    let each = before / 3;
    assert!(
        alice.policy_count() <= before + MAX_ADDRESSES * each,
        "{}",
        alice.policy_count()
    );
    assert_eq!(towards(&alice, in_office(BOB)), STRICT, "still watched");
    assert!(alice.told("presence-refused", "not watched"));
}

#[test]
fn another_contacts_address_is_not_taken_over() {
    let mut alice = relaxed();
    let mut claim = bob_in_office(&alice, 8);
    (claim.entity, claim.addresses) = (entity(MALLORY), vec![in_office(BOB)]);
    claim.location = "external".parse().unwrap();
    assert_eq!(
        alice.publishes(MALLORY, claim),
        Answer::Accepted,
        "it may say so"
    );
    assert_eq!(towards(&alice, in_office(BOB)), Protection::CLEAR);
    assert!(alice.told("presence-refused", "somebody else has it"));
    // Behind one translator with Bob, say.
    alice.ike_up(MALLORY, in_office(BOB), true);
    let all = crate::presence::Class::ANY;
    let demands = vec![Demanded::in_transport(all, Protection::DISCARD)];
    let posture = Message::Posture(crate::presence::exchange::Posture {
        epoch: u64::MAX,
        demands,
    });
    let answer = alice.hears(MALLORY, in_office(BOB), &posture.encode());
    assert_eq!(answer, refused(Refusal::NotAllowed));
    let ask = Message::Ask {
        policy: true,
        presence: false,
        subscribe: None,
    };
    let told = alice.hears(MALLORY, in_office(BOB), &ask.encode());
    assert!(
        format!("{told:?}").contains("Granted([])"),
        "what holds for Bob: {told:?}"
    );
    assert_eq!(towards(&alice, in_office(BOB)), Protection::CLEAR);
    alice.publishes(BOB, bob_in_office(&alice, 8));
    let mut away = bob_in_office(&alice, 9);
    away.location = "external".parse().unwrap();
    alice.publishes(BOB, away);
    assert_eq!(
        towards(&alice, in_office(BOB)),
        STRICT,
        "AH too: Bob is behind no NAT"
    );
}

#[test]
fn ten_thousand_inquiries_and_questions_leave_little_behind() {
    let mut alice = relaxed();
    let before: usize = alice.tables().iter().map(|(_, len)| len).sum();
    for _ in 0..10_000 {
        alice.asks(in_office(BOB));
    }
    let unanswered = alice
        .replies()
        .iter()
        .filter(|reply| {
            format!("{reply:?}").contains("Failed") || format!("{reply:?}").contains("Err(")
        })
        .count();
    assert!(
        unanswered > 9_000,
        "{unanswered} were told at once that too many wait"
    );
    for nth in 0..10_000u64 {
        let presence = bob_in_office(&alice, 8 + nth);
        alice.publishes(BOB, presence);
        alice.be(["office", "external"][nth as usize % 2]);
    }
    let after = alice.tables();
    let sum: usize = after.iter().map(|(_, len)| len).sum();
    assert!(sum < before + 1_000, "{after:?}");
    alice.run_for(Duration::from_secs(60));
    let rest: usize = alice.tables().iter().map(|(_, len)| len).sum();
    assert!(rest < before + 100, "{:?}", alice.tables());
}

#[test]
fn of_this_machine_itself_no_hint_and_no_address_is_taken() {
    let mut alice = relaxed();
    for set in [
        SetPresence {
            hint: true,
            ..super::world::said(entity(ALICE), "office")
        },
        SetPresence {
            addresses: vec![outside(ALICE)],
            ..super::world::said(entity(ALICE), "office")
        },
    ] {
        assert!(alice.set(set).is_err());
    }
    assert_eq!(identity(ALICE).to_string(), "alice.example");
}
