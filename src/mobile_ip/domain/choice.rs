//! The best adapter among several, without running to and fro between two that are nearly as good.

use super::Domain;
use crate::mobile_ip::LinkId;
use std::time::{Duration, Instant};

/// A better adapter must stay the better one so long before the present one, which still works, is left.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// How far an adapter has carried us lately. Ordered: the smaller, the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    Good,
    /// T has no way there.
    WithoutIpv4,
    /// Nobody has answered over it for a while.
    Failing,
}

/// An adapter with carrier and an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub link: LinkId,
    pub standing: Standing,
    /// Of its network; `None` while undecided.
    pub domain: Option<Domain>,
    /// It may soon be out of reach.
    pub weak: bool,
    /// The smaller, the better.
    pub metric: u32,
}

impl Candidate {
    /// The smaller, the better. An adapter that works beats the metric, and inside, where no tunnel is
    /// needed, beats outside. Between those that are alike in that, one that will last beats the metric.
    fn rank(&self) -> (Standing, bool, bool, u32, LinkId) {
        (
            self.standing,
            self.domain != Some(Domain::Inside),
            self.weak,
            self.metric,
            self.link,
        )
    }
}

/// Which adapter is used, with the memory that hysteresis needs.
#[derive(Debug, Default)]
pub struct Choice {
    current: Option<LinkId>,
    challenger: Option<(LinkId, Instant)>,
}

impl Choice {
    pub fn current(&self) -> Option<LinkId> {
        self.current
    }

    /// Takes `link` at once: something stronger than a metric speaks for it.
    pub fn take(&mut self, link: LinkId) {
        (self.current, self.challenger) = (Some(link), None);
    }

    /// The adapter to use now. One that works is left only for one that has been better for [`PATIENCE`];
    /// one that is gone or fails is left at once.
    pub fn choose(&mut self, now: Instant, candidates: &[Candidate]) -> Option<LinkId> {
        let best = candidates.iter().min_by_key(|candidate| candidate.rank());
        let current = candidates.iter().find(|c| Some(c.link) == self.current);
        let (Some(best), Some(current)) = (best, current) else {
            (self.current, self.challenger) = (best.map(|best| best.link), None);
            return self.current;
        };
        if best.link == current.link {
            self.challenger = None;
        } else if best.standing < current.standing {
            self.take(best.link);
        } else {
            let since = match self.challenger {
                Some((link, since)) if link == best.link => since,
                _ => now,
            };
            if now >= since + PATIENCE {
                self.take(best.link);
            } else {
                self.challenger = Some((best.link, since));
            }
        }
        self.current
    }

    /// When [`Choice::choose`] may answer otherwise although nothing happens.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.challenger.map(|(_, since)| since + PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(link: u32, metric: u32) -> Candidate {
        Candidate {
            link: LinkId(link),
            standing: Standing::Good,
            domain: None,
            weak: false,
            metric,
        }
    }

    fn weak(link: u32, metric: u32) -> Candidate {
        Candidate {
            weak: true,
            ..candidate(link, metric)
        }
    }

    #[test]
    fn a_working_link_is_left_only_for_one_that_stays_better() {
        let now = Instant::now();
        let mut choice = Choice::default();
        let (wlan, cable) = (candidate(3, 600), candidate(2, 100));
        assert_eq!(choice.choose(now, &[wlan]), Some(wlan.link));
        assert_eq!(choice.choose(now, &[wlan, cable]), Some(wlan.link));
        assert_eq!(choice.choose(now + PATIENCE / 2, &[wlan]), Some(wlan.link));
        let again = now + PATIENCE;
        assert_eq!(choice.choose(again, &[wlan, cable]), Some(wlan.link));
        let end = choice.poll_timeout().expect("somebody challenges");
        assert_eq!(choice.choose(end, &[wlan, cable]), Some(cable.link));
        assert_eq!(choice.poll_timeout(), None);
    }

    #[test]
    fn a_link_that_is_gone_or_fails_is_left_at_once() {
        let now = Instant::now();
        let mut choice = Choice::default();
        let (wlan, cable) = (candidate(3, 600), candidate(2, 100));
        choice.choose(now, &[wlan, cable]);
        assert_eq!(choice.choose(now, &[wlan]), Some(wlan.link));
        choice.take(cable.link);
        let failing = Candidate {
            standing: Standing::Failing,
            ..cable
        };
        assert_eq!(choice.choose(now, &[wlan, failing]), Some(wlan.link));
        assert_eq!(choice.choose(now, &[]), None);
    }

    #[test]
    fn a_weak_link_is_left_for_any_that_is_not_and_used_where_there_is_no_other() {
        let now = Instant::now();
        let (wlan, modem) = (candidate(3, 600), candidate(4, 700));
        let mut choice = Choice::default();
        let mut choose = |at, candidates: &[Candidate]| {
            choice.choose(at, candidates);
            // And when it has stayed so.
            choice.choose(at + PATIENCE, candidates)
        };
        assert_eq!(choose(now, &[wlan, modem]), Some(wlan.link));
        assert_eq!(choose(now, &[weak(3, 600)]), Some(wlan.link));
        assert_eq!(choose(now, &[weak(3, 600), modem]), Some(modem.link));
        assert_eq!(choose(now, &[weak(3, 600), weak(4, 700)]), Some(wlan.link));
        assert_eq!(choose(now, &[wlan, weak(4, 700)]), Some(wlan.link));
        let failing = Candidate {
            standing: Standing::Failing,
            ..modem
        };
        assert_eq!(choose(now, &[weak(3, 600), failing]), Some(wlan.link));
    }

    #[test]
    fn a_link_that_becomes_weak_is_left_when_another_has_been_better_for_a_while() {
        let now = Instant::now();
        let (wlan, modem) = (candidate(3, 600), candidate(4, 700));
        let mut choice = Choice::default();
        choice.choose(now, &[wlan, modem]);
        let is_weak = [weak(3, 600), modem];
        assert_eq!(choice.choose(now, &is_weak), Some(wlan.link));
        let before = now + PATIENCE / 2;
        assert_eq!(choice.choose(before, &[wlan, modem]), Some(wlan.link));
        assert_eq!(choice.choose(now + PATIENCE, &is_weak), Some(wlan.link));
        let end = choice.poll_timeout().expect("the other challenges");
        assert_eq!(choice.choose(end, &is_weak), Some(modem.link));
    }

    #[test]
    fn inside_beats_the_metric_however_weak_but_not_a_failing_link() {
        let now = Instant::now();
        let cable = candidate(2, 100);
        let inside = Candidate {
            domain: Some(Domain::Inside),
            ..weak(3, 600)
        };
        assert_eq!(
            Choice::default().choose(now, &[cable, inside]),
            Some(inside.link)
        );
        let failing = Candidate {
            standing: Standing::Failing,
            ..inside
        };
        assert_eq!(
            Choice::default().choose(now, &[cable, failing]),
            Some(cable.link)
        );
    }
}
