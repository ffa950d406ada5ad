//! Taking knowledge away, or asking for more, never leaves a packet with less.

use super::universe::*;
use super::*;
use crate::presence::{Demand, Presence, Row, Timestamp};
use proptest::prelude::*;

/// All that goes into a judgement.
#[derive(Clone, Debug)]
struct Case {
    book: Rulebook,
    floor: Protection,
    registered: Vec<Row>,
    peer: End,
    own: End,
    minute: u16,
}

#[derive(Clone, Debug)]
struct End {
    entity: Entity,
    address: IpAddr,
    believed: Option<Presence>,
    hint: Option<Presence>,
}

impl End {
    fn standing(&self) -> Standing<'_> {
        Standing {
            entity: &self.entity,
            address: self.address,
            believed: self.believed.as_ref(),
            hint: self.hint.as_ref(),
        }
    }
}

impl Case {
    fn at(&self, seconds: u64) -> Verdict {
        let minutes = u64::from(self.minute) + (START % 60 + seconds) / 60;
        let moment = Moment {
            now: Timestamp(START + seconds),
            minute_of_day: (minutes % 1440) as u16,
            weekday: (minutes / 1440 % 7) as u8,
        };
        judge(
            &self.book,
            self.floor,
            &self.registered,
            &self.peer.standing(),
            &self.own.standing(),
            moment,
        )
    }

    fn treatments(&self) -> Vec<Treatment> {
        treatments(&self.at(0).clauses)
    }
}

prop_compose! {
    fn any_end(name: &'static str)(
        at in 0usize..4,
        believed in prop::option::weighted(0.9, any_presence(name, 0..4000)),
        hint in prop::option::weighted(0.2, any_presence(name, 0..4000)),
    ) -> End {
        End { entity: entity(name), address: address(at), believed, hint }
    }
}

prop_compose! {
    fn any_case()(
        book in any_book(), floor in prop_oneof![3 => Just(Protection::CLEAR), 1 => any_protection()],
        registered in prop::collection::vec(any_row(), 0..3),
        peer in any_end("bob"), own in any_end("alice"), minute in 0u16..1440,
    ) -> Case {
        Case { book, floor, registered, peer, own, minute }
    }
}

/// One input made stricter.
#[derive(Clone, Debug)]
enum Change {
    Forget,
    LoseAuthentication,
    Expire,
    LoseUser,
    Hint(Presence),
    LeaveSite,
    CloseSite(usize),
    Floor(Protection),
    Unknown(Protection),
    Register(usize, Row),
    Rule(usize, Protection),
    InsistOnAh(usize),
}

fn any_change() -> impl Strategy<Value = Change> {
    use Change as C;
    prop_oneof![
        Just(C::Forget),
        Just(C::LoseAuthentication),
        Just(C::Expire),
        Just(C::LoseUser),
        any_presence("bob", 0..4000).prop_map(C::Hint),
        Just(C::LeaveSite),
        (0usize..2).prop_map(C::CloseSite),
        any_protection().prop_map(C::Floor),
        any_protection().prop_map(C::Unknown),
        (0usize..4, any_row()).prop_map(|(at, row)| C::Register(at, row)),
        (0usize..7, any_protection()).prop_map(|(at, then)| C::Rule(at, then)),
        (0usize..7).prop_map(C::InsistOnAh),
    ]
}

/// To the peer's side, or to ours. What is compared before it has to be the same besides, so that
/// it may simplify `case` first.
fn change(case: &mut Case, of_own: bool, change: Change) -> Case {
    if matches!(change, Change::LeaveSite) {
        // Rules and rows for certain addresses are about something else there.
        case.registered.clear();
        // Moved to an address that the presence names all the same.
        let both = [&mut case.peer.believed, &mut case.own.believed];
        for believed in both.into_iter().flatten() {
            believed.addresses = (0..4).map(address).collect();
        }
        case.book
            .rules
            .iter_mut()
            .for_each(|rule| rule.when.addresses.clear());
    }
    let mut stricter = case.clone();
    let end = if of_own {
        &mut stricter.own
    } else {
        &mut stricter.peer
    };
    let rules = &mut stricter.book.rules;
    let nth = |at: usize| at % rules.len().max(1);
    match change {
        Change::Forget => end.believed = None,
        Change::LoseAuthentication => end.hint = end.believed.take(),
        Change::Expire => {
            if let Some(believed) = &mut end.believed {
                believed.expires = Timestamp(START);
            }
        }
        Change::LoseUser => {
            if let Some(believed) = &mut end.believed {
                believed.user = None;
            }
        }
        Change::Hint(mut hint) => {
            hint.entity = end.entity.clone();
            if let Some(believed) = &end.believed
                && worth_keeping(believed, end.hint.as_ref(), &hint)
            {
                end.hint = Some(hint);
            }
        }
        Change::LeaveSite => end.address = address(3),
        Change::CloseSite(at) => {
            stricter.book.sites[at].addresses = vec!["198.51.100.0/24".parse().unwrap()];
        }
        Change::Floor(floor) => stricter.floor = stricter.floor.join(floor),
        Change::Unknown(unknown) => stricter.book.unknown = stricter.book.unknown.join(unknown),
        Change::Register(at, row) => {
            let at = at.min(stricter.registered.len());
            stricter.registered.insert(at, row);
        }
        Change::Rule(at, then) => {
            let at = nth(at);
            if let Some(rule) = rules.get_mut(at) {
                let asked = Treatment {
                    esp_behind_nat: rule.esp_behind_nat,
                    ..rule.then.into()
                };
                let joined = asked.join(then.into());
                (rule.then, rule.esp_behind_nat) = (joined.protection, joined.esp_behind_nat);
            }
        }
        Change::InsistOnAh(at) => {
            let at = nth(at);
            if let Some(rule) = rules.get_mut(at) {
                rule.esp_behind_nat = false;
            }
        }
    }
    stricter
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_stricter_input_never_gives_a_weaker_verdict(
        mut case in any_case(), changes in prop::collection::vec((any::<bool>(), any_change()), 1..4),
    ) {
        for (of_own, what) in changes {
            let shown = format!("{what:?}");
            let stricter = change(&mut case, of_own, what);
            prop_assert!(
                at_least(&stricter.treatments(), &case.treatments()),
                "{shown}: {:?} before {:?}", stricter.at(0), case.at(0)
            );
            case = stricter;
        }
    }

    #[test]
    fn nothing_goes_below_the_floor_and_the_last_clause_is_about_everything(case in any_case()) {
        let clauses = case.at(0).clauses;
        prop_assert!(treatments(&clauses).iter().all(|t| t.protection.satisfies(case.floor)));
        prop_assert_eq!(clauses.last().unwrap().class, Class::ANY);
        for clause in &clauses {
            prop_assert!(!clause.because.is_empty());
            prop_assert!(clause.protection.protocols.ah || !clause.esp_behind_nat);
            let Protection { demand, protocols } = clause.protection;
            let protects = matches!(demand, Demand::Use | Demand::Require);
            prop_assert_eq!(protects, protocols.protects(), "compression alone is nothing");
        }
    }

    #[test]
    fn without_doubt_each_packet_gets_what_the_first_rules_say(case in any_case()) {
        let mut case = case;
        for (end, at) in [(&mut case.peer, 0), (&mut case.own, 1)] {
            end.address = address(at);
            end.hint = None;
            let Some(believed) = &mut end.believed else { return Ok(()) };
            believed.entity = end.entity.clone();
            believed.location = "office".parse().unwrap();
            believed.addresses = vec![end.address];
            believed.user = Some("John".parse().unwrap());
            believed.expires = Timestamp(u64::MAX);
        }
        let office: Location = "office".parse().unwrap();
        let john: UserName = "John".parse().unwrap();
        let holds = |when: &When| {
            when.location.as_ref().is_none_or(|location| *location == office)
                && when.user.as_ref().is_none_or(|user| *user == john)
                && when.entity.as_ref().is_none_or(|entity| *entity == case.peer.entity)
                && (when.addresses.is_empty() || when.addresses[0].contains(&case.peer.address))
                && when.hours.is_none_or(|hours| hours.contains(0, case.minute))
        };
        let clauses = case.at(0).clauses;
        for packet in packets() {
            let rule = case.book.rules.iter()
                .find(|rule| rule.class.contains(packet) && holds(&rule.when));
            let ruled = rule.map_or(case.book.unknown, |rule| rule.then).join(case.floor);
            let expected = case.registered.iter()
                .filter(|row| row.peer_side().contains(&case.peer.address)
                    && row.class().contains(packet))
                .fold(ruled, |sum, row| sum.join(row.protection(Level::Require)));
            prop_assert_eq!(protection_of(&clauses, packet), expected, "{:?}", packet);
        }
    }

    #[test]
    fn a_verdict_does_not_change_while_it_is_valid(case in any_case(), later in 1u64..4000) {
        let verdict = case.at(0);
        let later = verdict.valid_until.map_or(later, |until| later.min(until.0 - START - 1));
        prop_assert_eq!(case.at(later).clauses, verdict.clauses);
    }

    #[test]
    fn covering_is_what_it_says_for_every_packet(a in any_case(), b in any_case()) {
        let (a, b) = (a.at(0).clauses, b.at(0).clauses);
        prop_assert_eq!(covers(&a, &b), at_least(&treatments(&a), &treatments(&b)));
    }
}
