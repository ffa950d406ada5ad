//! Alice judges what packets to Bob need. The rules of the figures, and what may be wrong with a
//! claim.

use super::super::universe::{START, entity};
use super::super::{Hours, Site, Weekdays, contradicts, protection_of, worth_keeping as keep};
use super::*;
use crate::net::Protocol;
use crate::presence::row::{Level, Mode};
use crate::presence::{Entity, Presence, Protocols};

const STRICT: Protection = Protection::require(Protocols::AH_ESP);
const ESP: Protection = Protection::require(Protocols::ESP);
const FIG_13: &str = "out 192.168.1.1[any] 133.134.10.10[any] udp ipsec ah+esp require";
const UDP: Class = Class {
    protocol: Protocol::UDP,
    ..Class::ANY
};

#[test]
fn who_names_a_user_says_otherwise_where_none_is_believed() {
    let bob = entity("bob");
    let believed = presence(&bob, "office", "192.168.1.2");
    let mut claimed = believed.clone();
    assert!(!contradicts(&claimed, &believed));
    claimed.user = Some("Bob".parse().unwrap());
    assert!(
        contradicts(&claimed, &believed),
        "a doubt stays when less is believed"
    );
    assert!(!contradicts(&believed, &claimed));
}

/// `office` in the clear, `external` as FIG. 13 has it, and nobody knows what else.
struct Scene {
    book: Rulebook,
    floor: Protection,
    registered: Vec<Row>,
    bob: Entity,
    alice: Entity,
    bobs: Option<Presence>,
    bobs_hint: Option<Presence>,
    alices: Option<Presence>,
    address: IpAddr,
    moment: Moment,
}

fn rule(location: &str, then: Protection) -> Rule {
    Rule {
        when: When {
            location: Some(location.parse().unwrap()),
            ..When::default()
        },
        class: Class::ANY,
        then,
        mode: Mode::Transport,
        end_point: None,
        esp_behind_nat: false,
    }
}

fn presence(entity: &Entity, location: &str, address: &str) -> Presence {
    Presence {
        entity: entity.clone(),
        addresses: vec![address.parse().unwrap()],
        user: None,
        location: location.parse().unwrap(),
        time: Timestamp(START),
        expires: Timestamp(START + 3600),
        sequence: 1,
    }
}

impl Scene {
    /// Both in the office.
    fn office() -> Self {
        let (bob, alice) = (entity("bob"), entity("alice"));
        Self {
            book: Rulebook {
                rules: vec![rule("office", Protection::CLEAR), rule("external", STRICT)],
                sites: vec![Site {
                    location: "office".parse().unwrap(),
                    addresses: vec!["192.168.1.0/24".parse().unwrap()],
                    anchor: None,
                    anchor_address: None,
                    gateway_macs: vec![],
                }],
                unknown: STRICT,
                default_level: Level::Require,
            },
            floor: Protection::CLEAR,
            registered: vec![],
            bobs: Some(presence(&bob, "office", "192.168.1.2")),
            bobs_hint: None,
            alices: Some(presence(&alice, "office", "192.168.1.1")),
            bob,
            alice,
            address: "192.168.1.2".parse().unwrap(),
            moment: Moment {
                now: Timestamp(START),
                minute_of_day: 10 * 60 + 49,
                weekday: 5,
            },
        }
    }

    fn bob_says(&mut self, location: &str, address: &str) {
        self.bobs = Some(presence(&self.bob, location, address));
        self.address = address.parse().unwrap();
    }

    fn verdict(&self) -> Verdict {
        let peer = Standing {
            entity: &self.bob,
            address: self.address,
            believed: self.bobs.as_ref(),
            hint: self.bobs_hint.as_ref(),
        };
        let own = Standing {
            believed: self.alices.as_ref(),
            ..Standing::unknown(&self.alice, "192.168.1.1".parse().unwrap())
        };
        judge(
            &self.book,
            self.floor,
            &self.registered,
            &peer,
            &own,
            self.moment,
        )
    }

    /// The only clause's.
    fn assert(&self, protection: Protection, because: &str) {
        let clauses = self.verdict().clauses;
        assert_eq!(clauses.len(), 1, "{clauses:?}");
        assert_eq!(&*clauses[0].because, because);
        assert_eq!(clauses[0].protection, protection);
    }
}

#[test]
fn in_the_office_both_talk_in_the_clear() {
    let scene = Scene::office();
    scene.assert(Protection::CLEAR, "rule 1: location office");
    assert_eq!(scene.verdict().valid_until, Some(Timestamp(START + 3600)));
}

#[test]
fn the_stricter_of_both_ends_counts() {
    let mut scene = Scene::office();
    scene.bob_says("external", "133.134.10.10");
    scene.assert(STRICT, "rule 2: location external");
    let mut scene = Scene::office();
    scene.alices = Some(presence(&scene.alice, "external", "192.168.1.1"));
    scene.assert(STRICT, "rule 2: own location external");
}

#[test]
fn what_is_not_believed_of_bob_does_not_relax() {
    let mut scene = Scene::office();
    scene.bobs = None;
    scene.assert(STRICT, "no presence is known");

    scene.bobs = Some(presence(&scene.alice, "office", "192.168.1.2"));
    scene.assert(STRICT, "the presence known is that of alice@example.com");

    scene.bob_says("office", "192.0.2.7");
    scene.assert(STRICT, "192.0.2.7 is not an address of office");

    scene.address = "192.168.1.2".parse().unwrap();
    scene.assert(STRICT, "192.168.1.2 is not an address of that presence");

    scene.bob_says("office", "192.168.1.2");
    scene.moment.now = Timestamp(START + 3600);
    scene.alices.as_mut().unwrap().expires = Timestamp(u64::MAX);
    scene.assert(STRICT, "expired at 2002-09-28 11:49:29");
}

#[test]
fn what_is_not_believed_of_ourselves_does_not_relax() {
    let mut scene = Scene::office();
    scene.alices = None;
    scene.assert(STRICT, "own presence: no presence is known");
    scene.alices = Some(presence(&scene.alice, "office", "192.168.1.9"));
    scene.assert(
        STRICT,
        "own presence: 192.168.1.1 is not an address of that presence",
    );
}

#[test]
fn a_hint_that_says_otherwise_raises_a_doubt_until_it_expires() {
    let mut scene = Scene::office();
    let mut hint = presence(&scene.bob, "external", "192.168.1.2");
    hint.expires = Timestamp(START + 60);
    scene.bobs_hint = Some(hint);
    scene.assert(
        STRICT,
        "an unauthenticated claim says otherwise: location external",
    );
    assert_eq!(scene.verdict().valid_until, Some(Timestamp(START + 60)));
    scene.moment.now = Timestamp(START + 60);
    scene.assert(Protection::CLEAR, "rule 1: location office");
}

#[test]
fn a_hint_cannot_stand_in_for_belief() {
    let mut scene = Scene::office();
    scene.bobs_hint = scene.bobs.take();
    scene.assert(STRICT, "no presence is known");
}

#[test]
fn a_doubt_is_not_dispelled_by_another_hint() {
    let bob = entity("bob");
    let believed = presence(&bob, "office", "192.168.1.2");
    let external = presence(&bob, "external", "192.168.1.2");
    let moved = presence(&bob, "office", "192.0.2.7");
    let mut longer = external.clone();
    longer.expires = Timestamp(START + 7200);
    assert!(keep(&believed, None, &external));
    assert!(keep(&believed, None, &moved));
    assert!(!keep(&believed, None, &believed.clone()));
    assert!(!keep(&believed, Some(&external), &believed.clone()));
    assert!(!keep(&believed, Some(&longer), &external));
    assert!(keep(&believed, Some(&external), &longer));
    let agrees = believed.clone();
    assert!(keep(&believed, Some(&agrees), &external));
}

#[test]
fn a_location_without_a_site_or_a_rule_relaxes_nothing() {
    let mut scene = Scene::office();
    scene.book.rules.push(rule("home", ESP));
    scene.bob_says("home", "192.0.2.7");
    scene.assert(STRICT, "no site says which addresses home has");
    scene.bob_says("moon", "192.0.2.7");
    scene.assert(STRICT, "no rule for location moon");
}

#[test]
fn whoever_may_be_where_more_is_demanded_gets_that() {
    let mut scene = Scene::office();
    scene.book.rules.push(rule("embassy", Protection::DISCARD));
    scene.assert(Protection::CLEAR, "rule 1: location office");
    scene.bobs = None;
    scene.assert(Protection::DISCARD, "rule 3 may hold: location embassy");
    // A user that a presence does not name may be anybody.
    let mut scene = Scene::office();
    let mut john = rule("office", ESP);
    john.when.user = Some("John".parse().unwrap());
    scene.book.rules.insert(0, john);
    scene.assert(ESP, "rule 1 may hold: location office, user John");
    scene.bobs.as_mut().unwrap().user = Some("Bob".parse().unwrap());
    scene.assert(Protection::CLEAR, "rule 2: location office");
}

#[test]
fn floor_and_registered_rows_only_add() {
    let mut scene = Scene::office();
    scene.floor = ESP;
    scene.assert(ESP, "floor");
    let clear = "out 192.168.1.1[any] 192.168.1.2[any] udp none";
    scene.registered = vec![clear.parse().unwrap()];
    scene.assert(ESP, "floor");
    // AH by the row, ESP by the floor.
    let row = "in 192.168.1.2[any] 192.168.1.0/24[any] udp ipsec ah";
    scene.registered = vec![row.parse().unwrap()];
    let clauses = scene.verdict().clauses;
    assert_eq!(clauses.len(), 2);
    assert_eq!((clauses[0].class, clauses[0].protection), (UDP, STRICT));
    assert_eq!(&*clauses[0].because, format!("registered: {row}; floor"));
    assert_eq!((clauses[1].class, clauses[1].protection), (Class::ANY, ESP));
}

#[test]
fn the_row_of_fig_13_is_about_udp_and_the_rules_about_the_rest() {
    let mut scene = Scene::office();
    scene.bob_says("external", "133.134.10.10");
    scene.registered = vec![FIG_13.parse().unwrap()];
    let clauses = scene.verdict().clauses;
    assert_eq!(clauses.len(), 2);
    assert_eq!((clauses[0].class, clauses[0].protection), (UDP, STRICT));
    assert_eq!(clauses[0].mode, Mode::Transport);
    assert_eq!(&*clauses[0].because, format!("registered: {FIG_13}"));
    assert_eq!(&*clauses[1].because, "rule 2: location external");
    // It is about another address.
    scene.bob_says("office", "192.168.1.2");
    scene.assert(Protection::CLEAR, "rule 1: location office");
}

#[test]
fn a_registered_tunnel_is_the_way_where_it_demands_no_less() {
    let mut scene = Scene::office();
    scene.bob_says("external", "133.134.10.10");
    let tunnel = "out 192.168.1.1[any] 133.134.10.0/24[any] any ipsec esp tunnel 192.0.2.1";
    scene.registered = vec![tunnel.parse().unwrap()];
    let clause = scene.verdict().clauses.remove(0);
    assert_eq!((clause.protection, clause.mode), (STRICT, Mode::Tunnel));
    assert_eq!(clause.end_point, Some("192.0.2.1".parse().unwrap()));
}

#[test]
fn ah_is_dispensable_behind_a_nat_only_if_nobody_insists_on_it() {
    let mut scene = Scene::office();
    scene.book.unknown = ESP;
    scene.book.rules[1].esp_behind_nat = true;
    scene.bob_says("external", "133.134.10.10");
    assert!(scene.verdict().clauses[0].esp_behind_nat);
    scene.floor = ESP;
    assert!(scene.verdict().clauses[0].esp_behind_nat);
    scene.floor = STRICT;
    assert!(!scene.verdict().clauses[0].esp_behind_nat);
    scene.assert(STRICT, "floor");
}

#[test]
fn hours_end_the_verdict_and_summer_time_may_end_it_at_each_quarter() {
    let mut scene = Scene::office();
    scene.book.rules[0].when.hours = Some(Hours {
        from: 8 * 60,
        to: 10 * 60 + 55,
        weekdays: Some(Weekdays(0b10_0000)),
    });
    scene.assert(Protection::CLEAR, "rule 1: location office, 08:00 to 10:55");
    // 10:49:29: the full minute, then six of them.
    assert_eq!(
        scene.verdict().valid_until,
        Some(Timestamp(START - 29 + 6 * 60))
    );
    scene.moment.minute_of_day = 10 * 60 + 55;
    scene.assert(STRICT, "no rule for location office");
    assert_eq!(
        scene.verdict().valid_until,
        Some(Timestamp(START - 29 + 5 * 60))
    );
}

#[test]
fn the_more_specific_class_comes_first_whatever_the_order_of_rules_with_others() {
    let mut scene = Scene::office();
    let sip = Rule {
        class: Class {
            peer_port: crate::net::Port::Is(5060),
            ..UDP
        },
        ..rule("office", ESP)
    };
    scene.book.rules.insert(0, sip.clone());
    let clauses = scene.verdict().clauses;
    assert_eq!(protection_of(&clauses, sip.class), ESP);
    assert_eq!(protection_of(&clauses, UDP), Protection::CLEAR);
    // Behind the wider rule it decides nothing.
    scene.book.rules.swap(0, 1);
    scene.assert(Protection::CLEAR, "rule 1: location office");
}
