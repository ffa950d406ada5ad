//! What has been decided, and for how long a weaker decision has to hold.
//!
//! What was wanted within the dwell time is still applied, joined with what is wanted now. So
//! protection is strengthened at once, and weakened when nothing stronger has been wanted for
//! that long; and more doubt, whenever it comes, can never make it weaker at any later time, as
//! it could if each change of mind started the wait again and a constant one ended it.

#[cfg(test)]
mod histories;

use super::rules::{Clause, compose, covers, deciding, same_effect};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{iter, mem};

/// About one address of a contact. There is always something applied.
///
/// What it remembers is bounded by how many different verdicts the rules have for one address,
/// and by the dwell time.
#[derive(Clone, Debug)]
pub struct Decision {
    applied: Arc<[Clause]>,
    wanted: Arc<[Clause]>,
    /// Each with something that is not wanted any more.
    outgoing: Vec<Outgoing>,
}

#[derive(Clone, Debug)]
struct Outgoing {
    clauses: Arc<[Clause]>,
    until: Instant,
}

impl Decision {
    /// `strict` holds until something else has been wanted for the dwell time.
    pub fn new(strict: Vec<Clause>) -> Self {
        let strict: Arc<[Clause]> = strict.into();
        Self {
            applied: Arc::clone(&strict),
            wanted: strict,
            outgoing: Vec::new(),
        }
    }

    /// In the order in which the first that contains a packet decides about it.
    pub fn applied(&self) -> &Arc<[Clause]> {
        &self.applied
    }

    /// What is going to be applied if nobody changes their mind.
    pub fn wanted(&self) -> &[Clause] {
        &self.wanted
    }

    /// A new verdict. Whether what is applied has changed.
    pub fn want(&mut self, now: Instant, dwell: Duration, verdict: Vec<Clause>) -> bool {
        let before = mem::replace(&mut self.wanted, verdict.into());
        if !same_effect(&before, &self.wanted) {
            self.outgoing.push(Outgoing {
                clauses: before,
                until: now + dwell,
            });
        }
        self.handle_timeout(now)
    }

    /// When [`Decision::handle_timeout`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        self.outgoing.iter().map(|outgoing| outgoing.until).min()
    }

    /// Whether what is applied has changed.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        self.outgoing.retain(|outgoing| outgoing.until > now);
        self.settle()
    }

    /// Relaxations end at once (a clock step, a resume, a change of the link), and have to prove
    /// themselves for the dwell time again. Whether what is applied has changed.
    pub fn withdraw(&mut self, strict: &[Clause]) -> bool {
        self.wanted = join(&[strict, &self.wanted]).into();
        self.settle()
    }

    fn settle(&mut self) -> bool {
        let Self {
            wanted, outgoing, ..
        } = self;
        outgoing.retain(|outgoing| !covers(wanted, &outgoing.clauses));
        let applied = if outgoing.is_empty() {
            Arc::clone(wanted)
        } else {
            let lists = outgoing.iter().map(|outgoing| &outgoing.clauses[..]);
            let lists: Vec<&[Clause]> = iter::once(&wanted[..]).chain(lists).collect();
            join(&lists).into()
        };
        let before = mem::replace(&mut self.applied, applied);
        !same_effect(&before, &self.applied)
    }
}

/// What satisfies all of the lists. The first one's way there is preferred.
fn join(lists: &[&[Clause]]) -> Vec<Clause> {
    let classes = lists.iter().flat_map(|list| list.iter()).map(|c| c.class);
    compose(classes, |class| {
        let mut deciding = lists.iter().filter_map(|list| deciding(list, class));
        let first = deciding
            .next()
            .expect("a list ends with a clause about every class");
        let mut treatment = first.treatment();
        let mut because = first.because.clone();
        for earlier in deciding {
            if !treatment.satisfies(earlier.treatment()) {
                treatment = treatment.join(earlier.treatment());
                because = format!("still: {}", earlier.because).into();
            }
        }
        (treatment, because)
    })
    .into_iter()
    .map(|(class, treatment, because)| Clause::new(class, treatment, because))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::rules::{Treatment, protection_of};
    use super::super::{Class, Protection, Protocols};
    use super::*;
    use crate::net::Protocol;

    const DWELL: Duration = Duration::from_secs(10);
    const STRICT: Protection = Protection::require(Protocols::AH_ESP);
    const ESP: Protection = Protection::require(Protocols::ESP);
    const UDP: Class = Class {
        protocol: Protocol::UDP,
        ..Class::ANY
    };

    fn clauses(list: &[(Class, Protection)]) -> Vec<Clause> {
        list.iter()
            .map(|(class, protection)| {
                Clause::new(*class, Treatment::from(*protection), "test".into())
            })
            .collect()
    }

    fn all(protection: Protection) -> Vec<Clause> {
        clauses(&[(Class::ANY, protection)])
    }

    fn protection(decision: &Decision) -> Protection {
        protection_of(decision.applied(), Class::ANY)
    }

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn relaxing_waits_for_the_dwell_time_and_strengthening_does_not() {
        let start = Instant::now();
        let mut decision = Decision::new(all(STRICT));
        assert!(!decision.want(start, DWELL, all(Protection::CLEAR)));
        assert_eq!(decision.due(), Some(start + DWELL));
        assert!(!decision.handle_timeout(start + seconds(9)));
        assert_eq!(protection(&decision), STRICT);
        assert!(decision.handle_timeout(start + DWELL));
        assert_eq!(protection(&decision), Protection::CLEAR);
        assert_eq!(decision.due(), None);
        assert!(decision.want(start + seconds(11), DWELL, all(ESP)));
        assert_eq!(protection(&decision), ESP);
        assert_eq!(decision.due(), None);
    }

    #[test]
    fn a_change_of_mind_starts_the_wait_again() {
        let start = Instant::now();
        let mut decision = Decision::new(all(STRICT));
        decision.want(start, DWELL, all(Protection::CLEAR));
        decision.want(start + seconds(5), DWELL, all(STRICT));
        assert_eq!(decision.due(), None);
        decision.want(start + seconds(6), DWELL, all(Protection::CLEAR));
        assert!(!decision.handle_timeout(start + seconds(15)));
        assert!(decision.handle_timeout(start + seconds(16)));
    }

    #[test]
    fn the_same_verdict_again_does_not_start_the_wait_again() {
        let start = Instant::now();
        let mut decision = Decision::new(all(STRICT));
        decision.want(start, DWELL, all(Protection::CLEAR));
        let mut again = all(Protection::CLEAR);
        again[0].because = "renewed".into();
        decision.want(start + seconds(9), DWELL, again);
        assert!(decision.handle_timeout(start + DWELL));
        assert_eq!(&*decision.applied()[0].because, "renewed");
    }

    #[test]
    fn each_class_is_strengthened_at_once_while_another_waits() {
        let start = Instant::now();
        let mut decision = Decision::new(all(ESP));
        let mixed = clauses(&[(UDP, STRICT), (Class::ANY, Protection::CLEAR)]);
        assert!(decision.want(start, DWELL, mixed));
        assert_eq!(protection_of(decision.applied(), UDP), STRICT);
        assert_eq!(protection(&decision), ESP);
        assert!(decision.handle_timeout(start + DWELL));
        assert_eq!(protection_of(decision.applied(), UDP), STRICT);
        assert_eq!(protection(&decision), Protection::CLEAR);
    }

    #[test]
    fn another_protection_is_added_before_the_old_one_goes() {
        let start = Instant::now();
        let ah = Protection::require(Protocols {
            ah: true,
            ..Protocols::NONE
        });
        let mut decision = Decision::new(all(ESP));
        assert!(decision.want(start, DWELL, all(ah)));
        assert_eq!(protection(&decision), STRICT);
        assert!(decision.handle_timeout(start + DWELL));
        assert_eq!(protection(&decision), ah);
    }

    #[test]
    fn what_is_withdrawn_has_to_wait_again() {
        let start = Instant::now();
        let mut decision = Decision::new(all(STRICT));
        decision.want(start, Duration::ZERO, all(Protection::CLEAR));
        assert_eq!(protection(&decision), Protection::CLEAR);
        assert!(decision.withdraw(&all(STRICT)));
        assert_eq!(protection(&decision), STRICT);
        assert!(!decision.want(start + seconds(1), DWELL, all(Protection::CLEAR)));
        assert_eq!(decision.due(), Some(start + seconds(11)));
    }

    #[test]
    fn withdrawing_to_less_than_is_wanted_takes_nothing_away() {
        let mut decision = Decision::new(all(Protection::DISCARD));
        assert!(!decision.withdraw(&all(STRICT)));
        assert_eq!(protection(&decision), Protection::DISCARD);
    }

    #[test]
    fn flapping_holds_no_more_than_there_are_different_verdicts() {
        let start = Instant::now();
        let mut decision = Decision::new(all(STRICT));
        let ah = Protection::require(Protocols {
            ah: true,
            ..Protocols::NONE
        });
        for nth in 0..10_000 {
            let verdict = [Protection::CLEAR, ESP, ah, Protection::CLEAR][nth % 4];
            let now = start + Duration::from_micros(nth as u64);
            decision.want(now, DWELL, all(verdict));
            assert!(decision.outgoing.len() <= 3, "{decision:?}");
        }
        assert_eq!(protection(&decision), STRICT);
    }
}
