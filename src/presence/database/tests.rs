use super::*;
use crate::presence::Location;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp(1_033_210_169);
const HOUR: Duration = Duration::from_secs(3600);

fn at(seconds: u64) -> Timestamp {
    NOW.after(Duration::from_secs(seconds))
}

fn bob() -> Entity {
    "bob@example.com".parse().unwrap()
}

fn presence(location: &str, sequence: u64) -> Presence {
    Presence {
        entity: bob(),
        addresses: vec!["133.134.10.10".parse().unwrap()],
        user: Some("Bob".parse().unwrap()),
        location: location.parse().unwrap(),
        time: NOW,
        expires: NOW.after(HOUR),
        sequence,
    }
}

fn from_peer(presence: Presence) -> Record {
    Record {
        presence,
        source: Source::Peer,
        authenticity: Authenticity::Authenticated("bob.example".to_owned()),
        received: NOW,
    }
}

fn by_hand(location: &str) -> Record {
    Record {
        source: Source::Hand,
        authenticity: Authenticity::Authenticated("root".to_owned()),
        ..from_peer(presence(location, 0))
    }
}

fn hinted(location: &str, expires: Timestamp) -> Record {
    let mut record = from_peer(presence(location, 0));
    record.source = Source::Hint;
    record.authenticity = Authenticity::Unauthenticated;
    record.presence.expires = expires;
    record
}

fn believed(database: &Database, now: Timestamp) -> Option<&str> {
    let record = database.get(&bob())?.believed(now)?;
    Some(record.presence.location.as_str())
}

#[test]
fn what_the_peer_says_is_believed_until_it_expires() {
    let mut database = Database::default();
    let office = from_peer(presence("office", 1));
    assert_eq!(database.offer(NOW, office), Ok(Accepted::Changed));
    assert_eq!(believed(&database, at(3599)), Some("office"));
    assert_eq!(believed(&database, at(3600)), None, "not yet cleared away");
    assert_eq!(database.next_expiry(), Some(at(3600)));
    assert_eq!(database.expire(at(3599)), []);
    assert_eq!(database.expire(at(3600)), [bob()]);
    assert_eq!(database.next_expiry(), None);
}

#[test]
fn a_renewal_is_no_change_and_no_history() {
    let mut database = Database::default();
    database
        .offer(NOW, from_peer(presence("office", 1)))
        .unwrap();
    let mut renewal = presence("office", 2);
    renewal.expires = at(7200);
    let renewal = from_peer(renewal);
    assert_eq!(database.offer(at(1), renewal), Ok(Accepted::Renewed));
    assert_eq!(database.history(&bob()).count(), 1);
    assert_eq!(database.next_expiry(), Some(at(7200)));
}

#[test]
fn replays_are_refused_also_after_expiry_and_clear() {
    let mut database = Database::default();
    database
        .offer(NOW, from_peer(presence("office", 7)))
        .unwrap();
    let replayed = |sequence| Err(Refusal::Replayed { sequence, known: 7 });
    for sequence in [7, 6, 0] {
        let replay = from_peer(presence("external", sequence));
        assert_eq!(database.offer(NOW, replay), replayed(sequence));
    }
    assert!(database.clear(NOW, &bob()));
    assert!(!database.clear(NOW, &bob()));
    assert_eq!(believed(&database, NOW), None);
    assert_eq!(
        database.offer(NOW, from_peer(presence("office", 7))),
        replayed(7)
    );

    database
        .offer(NOW, from_peer(presence("office", 8)))
        .unwrap();
    database.expire(at(3600));
    let mut replay = presence("office", 8);
    replay.expires = at(9000);
    assert_eq!(
        database.offer(at(3600), from_peer(replay)),
        Err(Refusal::Replayed {
            sequence: 8,
            known: 8
        })
    );
    assert_eq!(database.sequence(&bob()), Some(8));
}

#[test]
fn what_is_set_by_hand_holds_until_the_entity_says_something_newer() {
    let mut database = Database::default();
    database
        .offer(NOW, from_peer(presence("office", 5)))
        .unwrap();
    assert_eq!(
        database.offer(NOW, by_hand("external")),
        Ok(Accepted::Changed)
    );
    assert_eq!(believed(&database, NOW), Some("external"));
    let replay = database.offer(NOW, from_peer(presence("office", 5)));
    assert!(matches!(replay, Err(Refusal::Replayed { known: 5, .. })));
    assert_eq!(believed(&database, NOW), Some("external"));
    database.offer(NOW, from_peer(presence("home", 6))).unwrap();
    assert_eq!(believed(&database, NOW), Some("home"));
}

#[test]
fn what_is_wrong_by_itself_is_refused() {
    let mut database = Database::default();
    let mut refuse = |alter: &dyn Fn(&mut Presence)| {
        let mut presence = presence("office", 1);
        alter(&mut presence);
        database.offer(NOW, from_peer(presence)).unwrap_err()
    };
    let day = 24 * 3600 + 300;
    assert_eq!(
        refuse(&|p| p.expires = NOW),
        Refusal::Expired { expired: NOW }
    );
    let expires = at(day + 1);
    assert_eq!(
        refuse(&|p| p.expires = expires),
        Refusal::TooLong { expires }
    );
    let time = at(301);
    assert_eq!(refuse(&|p| p.time = time), Refusal::FromTheFuture { time });
    assert_eq!(refuse(&|p| p.addresses.clear()), Refusal::NoAddress);
    let many = (1..10)
        .map(|n| IpAddr::from([10, 0, 0, n]))
        .collect::<Vec<_>>();
    assert_eq!(
        refuse(&|p| p.addresses.clone_from(&many)),
        Refusal::TooManyAddresses { found: 9 }
    );
    for unusable in [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "ff02::1",
        "fe80::1",
        "::ffff:10.0.0.1",
    ] {
        let address = unusable.parse().unwrap();
        assert_eq!(
            refuse(&|p| p.addresses.push(address)),
            Refusal::UnusableAddress { address }
        );
    }
    assert!(database.is_empty(), "something of it was kept");

    let mut longest = presence("office", 1);
    longest.expires = at(day);
    longest.time = at(300);
    longest.addresses = vec![many[2], many[0], many[2]];
    database.offer(NOW, from_peer(longest)).unwrap();
    let record = database.get(&bob()).unwrap().believed(NOW).unwrap();
    assert_eq!(record.presence.addresses, [many[0], many[2]]);
}

#[test]
fn who_flaps_is_believed_nothing_until_there_is_room_for_its_latest_word() {
    let mut database = Database::default();
    for sequence in 1..=10 {
        let location = if sequence % 2 == 0 {
            "office"
        } else {
            "external"
        };
        let record = from_peer(presence(location, sequence));
        assert_eq!(database.offer(NOW, record), Ok(Accepted::Changed));
    }
    let held = Ok(Accepted::Held { until: at(3) });
    assert_eq!(
        database.offer(NOW, from_peer(presence("external", 11))),
        held
    );
    assert_eq!(database.offer(NOW, from_peer(presence("home", 12))), held);
    let entry = database.get(&bob()).unwrap();
    assert_eq!(entry.doubt(NOW), Some(Doubt::Flapping { until: at(3) }));
    assert_eq!(entry.held().unwrap().presence.location.as_str(), "home");
    assert_eq!(believed(&database, NOW), None);
    assert!(
        database
            .offer(NOW, from_peer(presence("office", 12)))
            .is_err()
    );

    assert_eq!(database.next_expiry(), Some(at(3)));
    assert_eq!(database.expire(at(3)), [bob()]);
    assert_eq!(believed(&database, at(3)), Some("home"));
    assert_eq!(database.get(&bob()).unwrap().doubt(at(3)), None);
    assert_eq!(
        database.offer(at(3), from_peer(presence("office", 13))),
        Ok(Accepted::Held { until: at(6) })
    );
    // An administrator's word waits for nobody.
    assert_eq!(
        database.offer(at(3), by_hand("office")),
        Ok(Accepted::Changed)
    );
}

#[test]
fn hints_stand_beside_each_other_and_too_many_leave_nothing_believed() {
    let mut database = Database::default();
    database
        .offer(NOW, from_peer(presence("office", 1)))
        .unwrap();
    let locations = |database: &Database, now| -> Vec<String> {
        let hints = database.get(&bob()).unwrap().hints(now);
        hints.map(|h| h.presence.location.to_string()).collect()
    };
    for (location, expires) in [("a", 60), ("b", 50), ("a", 10), ("c", 60), ("d", 60)] {
        let hint = hinted(location, at(expires));
        assert_eq!(database.offer(NOW, hint), Ok(Accepted::Hinted));
    }
    assert_eq!(locations(&database, at(49)), ["a", "b", "c", "d"]);
    assert_eq!(believed(&database, NOW), Some("office"));
    database.offer(NOW, hinted("e", at(100))).unwrap();
    database.offer(NOW, hinted("f", at(90))).unwrap();
    assert_eq!(believed(&database, NOW), None);
    assert_eq!(
        database.get(&bob()).unwrap().doubt(NOW),
        Some(Doubt::Contested { until: at(100) })
    );
    for expiry in [50, 60, 100] {
        assert_eq!(database.next_expiry(), Some(at(expiry)));
        assert_eq!(database.expire(at(expiry)), [bob()]);
    }
    assert_eq!(locations(&database, at(100)), [""; 0]);
    assert_eq!(believed(&database, at(100)), Some("office"));
}

#[test]
fn what_calls_itself_authenticated_and_a_hint_is_a_hint() {
    let mut database = Database::default();
    for (source, authenticity) in [
        (Source::Hint, Authenticity::Authenticated("x".to_owned())),
        (Source::Peer, Authenticity::Unauthenticated),
    ] {
        let record = Record {
            source,
            authenticity,
            ..from_peer(presence("office", 9))
        };
        assert_eq!(database.offer(NOW, record), Ok(Accepted::Hinted));
    }
    assert_eq!(believed(&database, NOW), None);
    assert_eq!(database.sequence(&bob()), None);
}

#[test]
fn strangers_cannot_take_the_room_of_those_who_prove_themselves() {
    let limits = Limits {
        entries: 2,
        strangers: 3,
        history: 100,
    };
    let mut database = Database::new(limits);
    let named = |mut record: Record, n: u64| {
        record.presence.entity = format!("{n}@example.com").parse().unwrap();
        record
    };
    let offered = |database: &mut Database, record| database.offer(NOW, record).is_ok();
    let hint = hinted("office", at(60));
    let hints = (0..9).filter(|n| offered(&mut database, named(hint.clone(), *n)));
    assert_eq!(hints.collect::<Vec<_>>(), [0, 1, 2]);
    let peer = from_peer(presence("office", 1));
    let peers = (2..9).filter(|n| offered(&mut database, named(peer.clone(), *n)));
    assert_eq!(peers.collect::<Vec<_>>(), [2, 3]);
    // 2 is no stranger any more.
    assert!(offered(&mut database, named(hint.clone(), 7)));
    assert!(!offered(&mut database, named(hint.clone(), 8)));
    assert_eq!(database.len(), (5, 2));
    database.expire(at(60));
    assert_eq!(database.len(), (2, 2), "strangers leave nothing behind");
    let full = database.offer(NOW, named(peer, 9)).unwrap_err();
    assert_eq!(full, Refusal::Full { most: 2 });
}

#[test]
fn history_is_bounded_for_each_and_for_all() {
    let mut database = Database::new(Limits {
        history: 40,
        ..Limits::default()
    });
    for n in 0..50 {
        database.offer(NOW, by_hand(&format!("place-{n}"))).unwrap();
    }
    let newest = database.history(&bob()).next().unwrap();
    assert_eq!(newest.presence.location.as_str(), "place-49");
    assert_eq!(database.history(&bob()).count(), HISTORY);
    for n in 0..20 {
        let mut other = by_hand("office");
        other.presence.entity = format!("{n}@example.com").parse().unwrap();
        database.offer(NOW, other).unwrap();
    }
    assert_eq!(database.len().1, 40);
    assert_eq!(database.history(&bob()).count(), 20);
}

#[test]
fn nothing_is_believed_that_was_received_after_now() {
    let mut database = Database::default();
    database
        .offer(NOW, from_peer(presence("office", 1)))
        .unwrap();
    assert_eq!(believed(&database, Timestamp(NOW.0 - 300)), Some("office"));
    assert_eq!(believed(&database, Timestamp(NOW.0 - 301)), None);
}

#[test]
fn a_restart_keeps_what_holds_and_remembers_what_is_over() {
    let mut expired = from_peer(presence("office", 4));
    expired.presence.entity = "ann@example.com".parse().unwrap();
    expired.presence.expires = NOW;
    let ann = expired.presence.entity.clone();
    let database = Database::restore(
        NOW,
        Limits::default(),
        [from_peer(presence("office", 7)), expired],
        [(bob(), 7), (ann.clone(), 9)],
        [by_hand("external"), from_peer(presence("office", 7))],
    );
    assert_eq!(believed(&database, NOW), Some("office"));
    assert!(database.get(&ann).unwrap().believed(NOW).is_none());
    assert_eq!(
        (database.sequence(&bob()), database.sequence(&ann)),
        (Some(7), Some(9))
    );
    let history: Vec<_> = database.history(&bob()).map(|r| r.source).collect();
    assert_eq!(history, [Source::Peer, Source::Hand]);
    assert_eq!(database.next_expiry(), Some(at(3600)));
}

/// What may happen, in seconds and choices.
#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Peer {
        location: u8,
        sequence: u64,
        valid: u64,
    },
    Hand {
        location: u8,
        valid: u64,
    },
    Hint {
        location: u8,
        valid: u64,
    },
    Clear,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..40u64).prop_map(Step::Wait),
        (0..7u8, 0..40u64, 0..60u64).prop_map(|(location, sequence, valid)| Step::Peer {
            location,
            sequence,
            valid
        }),
        (0..7u8, 0..60u64).prop_map(|(location, valid)| Step::Hand { location, valid }),
        (0..7u8, 0..60u64).prop_map(|(location, valid)| Step::Hint { location, valid }),
        Just(Step::Clear),
    ]
}

proptest! {
    #[test]
    fn over_any_history(steps in proptest::collection::vec(any_step(), 1..120)) {
        let mut database = Database::default();
        let (mut now, mut highest) = (NOW, None::<u64>);
        let place = |n: u8| format!("place-{n}");
        for step in steps {
            let hints_of = |d: &Database| -> Vec<Location> {
                d.get(&bob()).map_or(vec![], |e| e.hints(now).map(|h| h.presence.location.clone()).collect())
            };
            let (before, hints) = (believed(&database, now).map(str::to_owned), hints_of(&database));
            match step {
                Step::Wait(seconds) => {
                    now = now.after(Duration::from_secs(seconds));
                    database.expire(now);
                }
                Step::Peer { location, sequence, valid } => {
                    let mut record = from_peer(presence(&place(location), sequence));
                    record.presence.expires = now.after(Duration::from_secs(valid));
                    record.received = now;
                    if database.offer(now, record).is_ok() {
                        prop_assert!(highest.is_none_or(|known| sequence > known), "a replay");
                        highest = Some(sequence);
                    } else {
                        prop_assert_eq!(believed(&database, now), before.as_deref());
                    }
                }
                Step::Hand { location, valid } => {
                    let mut record = by_hand(&place(location));
                    record.presence.expires = now.after(Duration::from_secs(valid));
                    record.received = now;
                    let _ = database.offer(now, record);
                }
                Step::Hint { location, valid } => {
                    let mut record = hinted(&place(location), now.after(Duration::from_secs(valid)));
                    record.received = now;
                    let _ = database.offer(now, record);
                    // Forged words add to what must be satisfied, or leave nothing believed.
                    let after = believed(&database, now);
                    prop_assert!(after.is_none() || after == before.as_deref());
                    prop_assert!(hints.iter().all(|hint| hints_of(&database).contains(hint)));
                }
                Step::Clear => { database.clear(now, &bob()); }
            }
            prop_assert_eq!(database.sequence(&bob()), highest);
            prop_assert!(database.next_expiry().is_none_or(|next| next > now));
            let entry = database.get(&bob());
            if let Some(record) = entry.and_then(|entry| entry.believed(now)) {
                prop_assert!(record.presence.expires > now);
                prop_assert!(database.next_expiry().is_some());
            }
            prop_assert!(entry.is_none_or(|entry| entry.hints(now).count() <= HINTS));
            prop_assert!(database.history(&bob()).count() <= HISTORY);
        }
    }
}
