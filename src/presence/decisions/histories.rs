//! Random histories: what is applied after each second of them, with and without one claim more
//! that nobody authenticated.

use super::*;
use crate::presence::rules::universe::*;
use crate::presence::rules::{
    Moment, Rulebook, Standing, Treatment, Verdict, judge, worth_keeping,
};
use crate::presence::{Presence, Protection, Row, Timestamp};
use proptest::prelude::*;

const DWELL: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
enum Event {
    Authenticated(Presence),
    Hint(Presence),
    Own(Option<Presence>),
    OwnHint(Presence),
    Register(Row),
    /// A clock step, a resume, a change of the link.
    Withdraw,
    Seconds(u8),
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => any_presence("bob", 0..80).prop_map(Event::Authenticated),
        1 => any_presence("bob", 0..80).prop_map(Event::Hint),
        1 => prop::option::weighted(0.8, any_presence("alice", 20..80)).prop_map(Event::Own),
        1 => any_presence("alice", 0..80).prop_map(Event::OwnHint),
        1 => any_row().prop_map(Event::Register),
        1 => Just(Event::Withdraw),
        4 => (1u8..8).prop_map(Event::Seconds),
    ]
}

/// The agent's part: what is believed, and one decision.
struct World {
    book: Rulebook,
    floor: Protection,
    registered: Vec<Row>,
    believed: [Option<Presence>; 2],
    hints: [Option<Presence>; 2],
    decision: Decision,
    start: Instant,
    second: u64,
    /// What each packet was to get, and the time at which it was wanted last.
    wishes: Vec<(Vec<Treatment>, u64)>,
    /// What each packet gets, after each second.
    applied: Vec<Vec<Treatment>>,
}

impl World {
    fn new(book: Rulebook, floor: Protection, start: Instant) -> Self {
        let mut world = Self {
            book,
            floor,
            registered: vec![],
            believed: [None, None],
            hints: [None, None],
            decision: Decision::new(vec![]),
            start,
            second: 0,
            wishes: vec![],
            applied: vec![],
        };
        world.decision = Decision::new(world.strict());
        world.wishes.push((treatments(&world.strict()), 0));
        world
    }

    fn verdict(&self, known: bool) -> Verdict {
        let entities = [entity("bob"), entity("alice")];
        let [peer, own] = [0, 1].map(|end| Standing {
            believed: self.believed[end].as_ref().filter(|_| known),
            hint: self.hints[end].as_ref().filter(|_| known),
            ..Standing::unknown(&entities[end], address(end))
        });
        let moment = Moment {
            now: Timestamp(START + self.second),
            minute_of_day: (self.second / 60) as u16,
            weekday: 0,
        };
        judge(
            &self.book,
            self.floor,
            &self.registered,
            &peer,
            &own,
            moment,
        )
    }

    fn strict(&self) -> Vec<Clause> {
        self.verdict(false).clauses
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_secs(self.second)
    }

    /// As the database does it.
    fn hint(&mut self, end: usize, hint: Presence) {
        if let Some(believed) = &self.believed[end]
            && worth_keeping(believed, self.hints[end].as_ref(), &hint)
        {
            self.hints[end] = Some(hint);
        }
    }

    fn believe(&mut self, end: usize, presence: Option<Presence>) {
        self.believed[end] = presence;
        self.hints[end] = None;
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Authenticated(presence) => self.believe(0, Some(presence)),
            Event::Own(presence) => self.believe(1, presence),
            Event::Hint(hint) => self.hint(0, hint),
            Event::OwnHint(hint) => self.hint(1, hint),
            Event::Register(row) => self.registered.push(row),
            Event::Withdraw => {
                self.decision.withdraw(&self.strict());
                self.wish(treatments(self.decision.wanted()));
            }
            Event::Seconds(seconds) => {
                for _ in 0..seconds {
                    self.second += 1;
                    if self.decision.due().is_some_and(|due| due <= self.now()) {
                        self.decision.handle_timeout(self.now());
                    }
                    self.judge();
                    self.applied.push(treatments(self.decision.applied()));
                }
            }
        }
        self.judge();
    }

    fn judge(&mut self) {
        let verdict = self.verdict(true).clauses;
        self.wish(treatments(&verdict));
        let (now, before) = (self.now(), self.decision.applied().to_vec());
        let changed = self.decision.want(now, DWELL, verdict);
        assert_eq!(changed, !same_effect(&before, self.decision.applied()));
    }

    fn wish(&mut self, wanted: Vec<Treatment>) {
        // The one before was wanted until now.
        let second = self.second;
        if let Some(last) = self.wishes.last_mut() {
            last.1 = second;
        }
        self.wishes.push((wanted, second));
    }

    /// What was wanted within the dwell time, joined.
    fn expected(&self) -> Vec<Protection> {
        let recent = |(_, at): &&(_, u64)| at + DWELL.as_secs() > self.second;
        let mut sum = vec![Protection::CLEAR; packets().len()];
        for (wish, _) in self.wishes.iter().filter(recent) {
            for (sum, part) in sum.iter_mut().zip(wish) {
                *sum = strength(sum.join(part.protection));
            }
        }
        sum
    }
}

fn run(world: &mut World, events: impl IntoIterator<Item = Event>) {
    for event in events {
        world.handle(event);
    }
}

proptest! {
    #[test]
    fn a_claim_that_nobody_authenticated_never_weakens_what_comes_after_it(
        book in any_book(), floor in any_protection(),
        before in prop::collection::vec(any_event(), 0..20),
        doubt in any_presence("bob", 0..80), echo in any::<bool>(),
        claim in any_presence("bob", 0..80), own_claim in any_presence("alice", 0..80),
        after in prop::collection::vec(any_event(), 1..20),
    ) {
        let start = Instant::now();
        let [mut without, mut with, mut with_own] =
            [0, 1, 2].map(|_| World::new(book.clone(), floor, start));
        for world in [&mut without, &mut with, &mut with_own] {
            run(world, before.clone());
            world.handle(Event::Hint(doubt.clone()));
        }
        // What is believed, once more, by somebody who would like to dispel a doubt.
        let claim = with.believed[0].clone().filter(|_| echo).unwrap_or(claim);
        with.handle(Event::Hint(claim));
        with_own.handle(Event::OwnHint(own_claim));
        for world in [&mut without, &mut with, &mut with_own] {
            run(world, after.clone());
            run(world, [Event::Seconds(12)]);
        }
        for world in [with, with_own] {
            prop_assert_eq!(without.applied.len(), world.applied.len());
            for (second, (with, without)) in world.applied.iter().zip(&without.applied).enumerate() {
                prop_assert!(at_least(with, without), "in second {second}: {with:?} {without:?}");
            }
        }
    }

    #[test]
    fn weakening_waits_strengthening_does_not_and_the_floor_holds(
        book in any_book(), floor in any_protection(),
        events in prop::collection::vec(any_event(), 0..40),
    ) {
        let mut world = World::new(book, floor, Instant::now());
        for event in events {
            world.handle(event);
            let applied = treatments(world.decision.applied());
            let wanted = treatments(world.decision.wanted());
            prop_assert!(at_least(&applied, &wanted));
            prop_assert!(applied.iter().all(|t| t.protection.satisfies(floor)));
            let applied: Vec<Protection> = applied.iter().map(|t| strength(t.protection)).collect();
            prop_assert_eq!(applied, world.expected());
            prop_assert_eq!(world.decision.due().is_none(), world.decision.outgoing.is_empty());
        }
    }

    #[test]
    fn any_verdicts_are_applied_for_the_dwell_time_and_no_longer(
        verdicts in prop::collection::vec((0u64..4, any_clauses()), 1..20),
    ) {
        let start = Instant::now();
        let mut decision = Decision::new(verdicts[0].1.clone());
        // What each packet was to get, and until which second.
        let mut wishes: Vec<(Vec<Treatment>, u64)> = vec![];
        let mut second = 0;
        for (seconds, verdict) in verdicts {
            let wanted = treatments(decision.wanted());
            second += seconds;
            wishes.push((wanted, second));
            decision.want(start + Duration::from_secs(second), DWELL, verdict);
            let wanted = treatments(decision.wanted());
            for (nth, packet) in treatments(decision.applied()).iter().enumerate() {
                let recent = wishes.iter().filter(|(_, at)| at + DWELL.as_secs() > second);
                let sum = recent.fold(wanted[nth].protection, |sum, (wish, _)| {
                    sum.join(wish[nth].protection)
                });
                prop_assert_eq!(strength(packet.protection), strength(sum));
            }
        }
    }
}
