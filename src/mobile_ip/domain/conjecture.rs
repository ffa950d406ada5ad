//! A guess at the domain, from what may all be forged. It decides what is tried first and what waits,
//! never what is allowed.
//!
//! | conjecture of the document | here |
//! | --- | --- |
//! | addresses against configured ranges | [`Hint::Range`] |
//! | ICMP, agent advertisements | [`Hint::Agent`] |
//! | smoke-out registration | [`Hint::SmokeOut`]: a request with a stale identification, answered with an authenticated refusal |
//! | recorded network context | [`Hint::Context`] |

use super::Domain;
use super::context::Fit;
use crate::mobile_ip::Link;
use crate::net::Ipv4Net;
use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Below this, a guess changes nothing.
const WORTH_ACTING: Confidence = Confidence(80);

/// How sure a guess is, in percent: 50 knows nothing, 99 is the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Confidence(pub u8);

impl Confidence {
    /// The percentages, rounded, that belong to so many tenths of natural logarithms of odds.
    fn from_odds(tenths: u32) -> Self {
        Self(match tenths {
            0..=4 => 50,
            5..=9 => 62,
            10..=14 => 73,
            15..=19 => 82,
            20..=24 => 90,
            25..=29 => 92,
            30..=39 => 95,
            40..=49 => 98,
            _ => 99,
        })
    }
}

/// One observation of one adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// The address lies in a range of that side.
    Range(Domain),
    /// An agent that is configured on that side advertises itself.
    Agent(Domain, Ipv4Addr),
    /// The inner home agent refused a stale request, authenticated; or nobody did.
    SmokeOut(Domain),
    /// This network was on that side before.
    Context(Domain, Fit),
}

impl Hint {
    fn domain(self) -> Domain {
        match self {
            Self::Range(domain)
            | Self::Agent(domain, _)
            | Self::SmokeOut(domain)
            | Self::Context(domain, _) => domain,
        }
    }

    /// What the observation is worth, in tenths of natural logarithms of odds. Not being where the ranges are says
    /// more than being there, since private ranges are used everywhere; an answer of the home agent
    /// itself is worth most, and silence may be loss.
    fn weight(self) -> i32 {
        match self {
            Self::Range(Domain::Inside) | Self::Context(_, Fit::Gateway) => 10,
            Self::Context(_, Fit::Addresses) => 6,
            Self::Range(Domain::Outside) | Self::Agent(..) => 15,
            Self::Context(_, Fit::Whole) | Self::SmokeOut(Domain::Outside) => 22,
            Self::SmokeOut(Domain::Inside) => 40,
        }
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(domain) => write!(f, "the address is of a range {domain}"),
            Self::Agent(domain, agent) => {
                write!(f, "{agent}, an agent {domain}, advertises itself")
            }
            Self::SmokeOut(Domain::Inside) => {
                f.write_str("the inner home agent refuses stale requests")
            }
            Self::SmokeOut(Domain::Outside) => f.write_str("nobody refuses stale requests"),
            Self::Context(domain, Fit::Whole) => write!(f, "this network was {domain} before"),
            Self::Context(domain, Fit::Addresses) => {
                write!(f, "a network with these addresses was {domain} before")
            }
            Self::Context(domain, Fit::Gateway) => write!(f, "this gateway was {domain} before"),
        }
    }
}

/// Address ranges by side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// Empty: addresses say nothing.
    pub inside: Vec<Ipv4Net>,
    /// Agents that advertise themselves inside.
    pub inside_agents: Vec<Ipv4Addr>,
    pub outside_agents: Vec<Ipv4Addr>,
}

impl Ranges {
    pub fn hint(&self, link: &Link) -> Option<Hint> {
        if self.inside.is_empty() || link.addresses.is_empty() {
            return None;
        }
        let inside = self.inside.iter().any(|net| link.lies_in(*net));
        Some(Hint::Range(side(inside)))
    }

    /// A stranger's advertisement is no evidence at all.
    pub fn agent_hint(&self, agent: Ipv4Addr) -> Option<Hint> {
        if self.inside_agents.contains(&agent) {
            Some(Hint::Agent(Domain::Inside, agent))
        } else if self.outside_agents.contains(&agent) {
            Some(Hint::Agent(Domain::Outside, agent))
        } else {
            None
        }
    }
}

fn side(inside: bool) -> Domain {
    if inside {
        Domain::Inside
    } else {
        Domain::Outside
    }
}

/// What was observed of one state of an adapter's connection: the newest hint of each kind.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    hints: Vec<Hint>,
}

impl Evidence {
    pub fn add(&mut self, hint: Hint) {
        let kind = std::mem::discriminant(&hint);
        self.hints.retain(|h| std::mem::discriminant(h) != kind);
        self.hints.push(hint);
    }

    /// What is known of the network; nothing, where its gateway turns out to be another one.
    pub fn know(&mut self, context: Option<(Domain, Fit)>) {
        self.hints.retain(|hint| !matches!(hint, Hint::Context(..)));
        let hint = context.map(|(domain, fit)| Hint::Context(domain, fit));
        self.hints.extend(hint);
    }

    pub fn hints(&self) -> &[Hint] {
        &self.hints
    }

    pub fn conjecture(&self) -> Conjecture {
        let signed = |hint: &Hint| match hint.domain() {
            Domain::Inside => hint.weight(),
            Domain::Outside => -hint.weight(),
        };
        let odds: i32 = self.hints.iter().map(signed).sum();
        Conjecture {
            domain: side(odds > 0),
            confidence: Confidence::from_odds(odds.unsigned_abs()),
        }
    }
}

/// The guess. Without evidence it is outside with a confidence of 50.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conjecture {
    pub domain: Domain,
    pub confidence: Confidence,
}

impl Conjecture {
    /// Inside, and sure enough to let the outer system wait a moment.
    pub fn expects_inside(&self) -> bool {
        self.domain == Domain::Inside && self.confidence >= WORTH_ACTING
    }

    pub fn expects_outside(&self) -> bool {
        self.domain == Domain::Outside && self.confidence >= WORTH_ACTING
    }

    /// How long the request to the outer home agent waits for the answer of the inner one
    /// (RFC 5265 §3.5 allows that on a hint; otherwise they leave together, §3.3).
    pub fn outer_delay(&self) -> Duration {
        if self.expects_inside() {
            Duration::from_millis(300)
        } else {
            Duration::ZERO
        }
    }

    /// How long the request in the clear waits for what matters outside. It is the last that leaves in any case.
    pub fn clear_delay(&self) -> Duration {
        if self.expects_outside() {
            Duration::from_millis(300)
        } else {
            Duration::ZERO
        }
    }

    /// How long setting up a VPN waits, which is dear to abort (RFC 5265 §3.3).
    pub fn vpn_delay(&self) -> Duration {
        if self.expects_outside() {
            Duration::ZERO
        } else if self.expects_inside() {
            Duration::from_secs(2)
        } else {
            Duration::from_millis(500)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn guess(hints: &[Hint]) -> Conjecture {
        let mut evidence = Evidence::default();
        for hint in hints {
            evidence.add(*hint);
        }
        evidence.conjecture()
    }

    #[test]
    fn without_evidence_nothing_is_expected() {
        let nothing = guess(&[]);
        assert_eq!(nothing.confidence, Confidence(50));
        assert!(!nothing.expects_inside() && !nothing.expects_outside());
    }

    #[test]
    fn a_private_range_alone_delays_nothing_but_with_the_context_it_does() {
        let range = Hint::Range(Domain::Inside);
        assert!(!guess(&[range]).expects_inside());
        assert!(guess(&[range, Hint::Context(Domain::Inside, Fit::Whole)]).expects_inside());
        assert!(guess(&[range, Hint::Context(Domain::Inside, Fit::Addresses)]).expects_inside());
        assert!(guess(&[Hint::Range(Domain::Outside)]).expects_outside());
    }

    #[test]
    fn what_the_addresses_said_is_over_when_the_gateway_is_another_one() {
        let mut evidence = Evidence::default();
        evidence.know(Some((Domain::Inside, Fit::Addresses)));
        evidence.know(Some((Domain::Outside, Fit::Gateway)));
        assert_eq!(
            evidence.hints(),
            [Hint::Context(Domain::Outside, Fit::Gateway)]
        );
        evidence.know(None);
        assert!(evidence.hints().is_empty());
    }

    #[test]
    fn the_answer_of_the_home_agent_outweighs_an_address_and_an_agent() {
        let hints = [
            Hint::SmokeOut(Domain::Inside),
            Hint::Range(Domain::Outside),
            Hint::Agent(Domain::Outside, Ipv4Addr::LOCALHOST),
        ];
        assert_eq!(guess(&hints).domain, Domain::Inside);
    }

    #[test]
    fn a_strangers_advertisement_is_no_evidence() {
        let ranges = Ranges {
            inside_agents: vec![Ipv4Addr::new(10, 10, 0, 2)],
            ..Ranges::default()
        };
        assert_eq!(ranges.agent_hint(Ipv4Addr::new(10, 10, 0, 66)), None);
    }

    fn any_hint() -> impl Strategy<Value = Hint> {
        let domain = prop_oneof![Just(Domain::Inside), Just(Domain::Outside)];
        (0..5u8, domain).prop_map(|(kind, domain)| match kind {
            0 => Hint::Range(domain),
            1 => Hint::Agent(domain, Ipv4Addr::LOCALHOST),
            2 => Hint::SmokeOut(domain),
            3 => Hint::Context(domain, Fit::Whole),
            _ => Hint::Context(domain, Fit::Gateway),
        })
    }

    proptest! {
        #[test]
        fn whatever_is_observed_a_guess_is_bounded_and_never_certain(
            hints in proptest::collection::vec(any_hint(), 0..40)
        ) {
            let guess = guess(&hints);
            prop_assert!((50..=99).contains(&guess.confidence.0));
            prop_assert!(guess.outer_delay() <= Duration::from_secs(1));
            prop_assert!(guess.vpn_delay() <= Duration::from_secs(2));
        }

        #[test]
        fn one_more_hint_for_a_side_never_speaks_against_it(
            hints in proptest::collection::vec(any_hint(), 0..10)
        ) {
            let before = guess(&hints);
            let mut more = hints.clone();
            more.retain(|hint| !matches!(hint, Hint::SmokeOut(_)));
            let without = guess(&more);
            more.push(Hint::SmokeOut(Domain::Inside));
            let with = guess(&more);
            prop_assert!(without.domain != Domain::Inside || with.domain == Domain::Inside);
            prop_assert!(before.confidence.0 <= 99);
        }
    }
}
