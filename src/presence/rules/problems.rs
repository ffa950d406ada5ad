//! Rules that can never hold, that promise less than a floor, or that could not be carried out.

use super::{Rule, Rulebook, When};
use crate::net::{host, intersect_nets};
use crate::presence::row::Mode;
use crate::presence::row::problems::{END_POINT, problem_of_port, problems_of_ipsec};
use crate::presence::{Demand, Entity, Protection};

/// The rulebook must not be used as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulebookProblem {
    /// Index in [`Rulebook::rules`], from 0.
    pub rule: usize,
    /// Without the rule's number; other rules are numbered from 1 there, as in a [`Clause`]'s
    /// reason.
    ///
    /// [`Clause`]: super::Clause
    pub message: String,
}

impl Rulebook {
    /// In the order of the rules. `floors` are those of the contacts.
    pub fn problems(&self, floors: &[(Entity, Protection)]) -> Vec<RulebookProblem> {
        let mut problems = Vec::new();
        for (index, rule) in self.rules.iter().enumerate() {
            let mut messages = rule.problems();
            messages.extend(self.problem_of_addresses(rule));
            messages.extend(self.problem_of_relaxing(rule));
            messages.extend(problem_of_floor(rule, floors));
            // Another reason than the one already given would only confuse.
            if messages.is_empty() {
                messages.extend(self.problem_of_order(index, rule));
            }
            let told = |message| RulebookProblem {
                rule: index,
                message,
            };
            problems.extend(messages.into_iter().map(told));
        }
        problems
    }

    fn problem_of_addresses(&self, rule: &Rule) -> Option<String> {
        let location = rule.when.location.as_ref()?;
        let mut site = self
            .sites
            .iter()
            .filter(|site| site.location == *location)
            .flat_map(|site| &site.addresses)
            .peekable();
        let named = !rule.when.addresses.is_empty() && site.peek().is_some();
        let met = |of_site| {
            let met_by = |net: &_| intersect_nets(*net, of_site).is_some();
            rule.when.addresses.iter().any(met_by)
        };
        (named && !site.any(|net| met(*net)))
            .then(|| format!("never holds: none of its addresses is one of the site {location}"))
    }

    /// Without a site nothing shows that a claim is true, and the rule would never relax.
    fn problem_of_relaxing(&self, rule: &Rule) -> Option<String> {
        if rule.then.satisfies(self.unknown) {
            return None;
        }
        let location = rule.when.location.as_ref();
        let mut sites = self
            .sites
            .iter()
            .filter(|site| location.is_none_or(|location| site.location == *location));
        let (then, unknown) = (rule.then, self.unknown);
        if sites.any(|site| !site.addresses.is_empty()) {
            return None;
        }
        Some(match location {
            Some(location) => format!(
                "demands {then}, which is less than {unknown} for the unknown: that needs a site \
                 named {location} with its addresses"
            ),
            None => format!(
                "demands {then}, which is less than {unknown} for the unknown: that needs a site \
                 with its addresses, where people are known to be"
            ),
        })
    }

    fn problem_of_order(&self, index: usize, rule: &Rule) -> Option<String> {
        let earlier = self.rules[..index].iter().position(|earlier| {
            earlier.class.contains(rule.class) && earlier.when.covers(&rule.when)
        })?;
        Some(format!(
            "never holds: rule {} comes first wherever it could; put it before that one or remove \
             it",
            earlier + 1
        ))
    }
}

fn problem_of_floor(rule: &Rule, floors: &[(Entity, Protection)]) -> Option<String> {
    let named = rule.when.entity.as_ref()?;
    let (_, floor) = floors
        .iter()
        .find(|(entity, floor)| entity == named && !rule.then.satisfies(*floor))?;
    Some(format!(
        "demands {}, which is less than the floor of {named}: {floor}",
        rule.then
    ))
}

impl Rule {
    /// What no rulebook could make good.
    fn problems(&self) -> Vec<String> {
        let mut messages = Vec::new();
        for port in [self.class.own_port, self.class.peer_port] {
            messages.extend(problem_of_port(self.class.protocol, port));
        }
        let Protection { demand, protocols } = self.then;
        if matches!(demand, Demand::Use | Demand::Require) {
            let optional = demand == Demand::Use;
            let problems = problems_of_ipsec(protocols, self.mode, self.end_point, optional);
            messages.extend(problems.into_iter().map(|problem| problem.message));
            messages.extend(self.problem_of_end_point());
        } else if !protocols.is_empty() || self.mode == Mode::Tunnel || self.end_point.is_some() {
            messages.push("protocols, tunnel and end point only with ipsec".into());
        }
        if self.esp_behind_nat && !protocols.ah {
            messages
                .push("ESP behind a NAT is an alternative to AH, which it does not demand".into());
        }
        if let Some(hours) = self.when.hours {
            if hours.from >= 24 * 60 || hours.to > 24 * 60 {
                messages.push("a day has 24 hours".into());
            } else if hours.is_empty() {
                messages.push("never holds: no minute of the week is in its hours".into());
            }
        }
        messages
    }

    /// Left out it is the peer's address, whichever that is.
    fn problem_of_end_point(&self) -> Option<String> {
        let end_point = self.end_point.filter(|_| self.mode == Mode::Tunnel)?;
        (self.when.addresses != [host(end_point)]).then(|| {
            format!("{END_POINT}; leave it out, or make {end_point} the one address of the rule")
        })
    }
}

impl When {
    /// Whether this holds wherever `other` does.
    fn covers(&self, other: &Self) -> bool {
        covers(self.location.as_ref(), other.location.as_ref())
            && covers(self.entity.as_ref(), other.entity.as_ref())
            && covers(self.user.as_ref(), other.user.as_ref())
            && self.covers_addresses(other)
            && match (self.hours, other.hours) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(a), Some(b)) => a == b || a.covers(b),
            }
    }

    fn covers_addresses(&self, other: &Self) -> bool {
        let covered = |net| self.addresses.iter().any(|wider| wider.contains(net));
        self.addresses.is_empty()
            || (!other.addresses.is_empty() && other.addresses.iter().all(covered))
    }
}

fn covers<T: PartialEq>(wide: Option<&T>, narrow: Option<&T>) -> bool {
    wide.is_none() || wide == narrow
}

#[cfg(test)]
mod tests {
    use super::super::{Hours, Site, Weekdays};
    use super::*;
    use crate::net::{Port, Protocol};
    use crate::presence::row::Level;
    use crate::presence::{Class, Protocols};

    fn rule(location: &str, then: Protection) -> Rule {
        Rule {
            when: When {
                location: (!location.is_empty()).then(|| location.parse().unwrap()),
                ..When::default()
            },
            class: Class::ANY,
            then,
            mode: Mode::Transport,
            end_point: None,
            esp_behind_nat: false,
        }
    }

    fn when(change: impl FnOnce(&mut When)) -> Rule {
        let mut rule = rule("office", Protection::CLEAR);
        change(&mut rule.when);
        rule
    }

    const STRICT: Protection = Protection::require(Protocols::AH_ESP);
    const USE_ESP: Protection = Protection {
        demand: Demand::Use,
        protocols: Protocols::ESP,
    };

    fn book(rules: Vec<Rule>) -> Rulebook {
        Rulebook {
            rules,
            sites: vec![Site {
                location: "office".parse().unwrap(),
                addresses: vec!["192.168.1.0/24".parse().unwrap()],
                anchor: None,
                anchor_address: None,
                gateway_macs: vec![],
            }],
            unknown: STRICT,
            default_level: Level::Require,
        }
    }

    /// The rule that is complained about, and a part of what is said.
    fn assert_told(rules: Vec<Rule>, rule: usize, part: &str) {
        let problems = book(rules).problems(&[]);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].rule, rule);
        assert!(problems[0].message.contains(part), "{problems:?}");
    }

    #[test]
    fn the_rules_of_the_figures_have_no_problem() {
        let rules = vec![rule("office", Protection::CLEAR), rule("external", STRICT)];
        assert_eq!(book(rules).problems(&[]), []);
    }

    #[test]
    fn a_rule_behind_a_wider_one_never_holds() {
        let bob: Entity = "bob@example.com".parse().unwrap();
        let of_bob = when(|when| when.entity = Some(bob));
        let everybody = rule("office", USE_ESP);
        assert_eq!(
            book(vec![of_bob.clone(), everybody.clone()]).problems(&[]),
            []
        );
        assert_told(vec![everybody.clone(), of_bob], 1, "rule 1 comes first");
        let udp = Rule {
            class: Class {
                protocol: Protocol::UDP,
                ..Class::ANY
            },
            ..everybody.clone()
        };
        assert_eq!(book(vec![udp.clone(), everybody.clone()]).problems(&[]), []);
        assert_told(vec![everybody, udp], 1, "rule 1 comes first");
    }

    #[test]
    fn narrower_addresses_and_hours_are_behind_wider_ones() {
        let nets = |net: &str| {
            let net = net.parse().unwrap();
            when(|when| when.addresses = vec![net])
        };
        let (narrow, wide) = (nets("192.168.1.0/28"), nets("192.168.0.0/16"));
        assert_eq!(book(vec![narrow.clone(), wide.clone()]).problems(&[]), []);
        assert_told(vec![wide, narrow], 1, "rule 1 comes first");
        let hours = |from, to, weekdays| {
            let hours = Some(Hours { from, to, weekdays });
            when(|when| when.hours = hours)
        };
        let monday = hours(540, 600, Some(Weekdays(1)));
        let mornings = hours(0, 720, None);
        assert_eq!(
            book(vec![monday.clone(), mornings.clone()]).problems(&[]),
            []
        );
        assert_told(vec![mornings, monday], 1, "rule 1 comes first");
    }

    #[test]
    fn hours_and_addresses_that_never_come_are_told() {
        let hours = |from, to, weekdays| {
            let hours = Some(Hours { from, to, weekdays });
            when(|when| when.hours = hours)
        };
        assert_told(vec![hours(60, 60, None)], 0, "no minute of the week");
        assert_told(vec![hours(0, 60, Some(Weekdays(0)))], 0, "no minute");
        assert_told(vec![hours(1440, 60, None)], 0, "24 hours");
        assert_told(vec![hours(60, 1441, None)], 0, "24 hours");
        let elsewhere = when(|when| when.addresses = vec!["10.0.0.0/8".parse().unwrap()]);
        assert_told(vec![elsewhere], 0, "one of the site office");
    }

    #[test]
    fn a_rule_that_crosses_the_floor_of_whom_it_names_is_told() {
        let bob: Entity = "bob@example.com".parse().unwrap();
        let ann: Entity = "ann@example.com".parse().unwrap();
        let mut relaxed = rule("office", USE_ESP);
        relaxed.when.entity = Some(bob.clone());
        let book = book(vec![relaxed]);
        let floor = Protection::require(Protocols::ESP);
        assert_eq!(book.problems(&[(ann, floor), (bob.clone(), USE_ESP)]), []);
        let problems = book.problems(&[(bob, floor)]);
        assert_eq!(problems.len(), 1);
        assert_eq!(
            problems[0].message,
            "demands use esp, which is less than the floor of bob@example.com: require esp"
        );
    }

    #[test]
    fn relaxing_for_a_location_without_a_site_is_told() {
        assert_told(vec![rule("home", USE_ESP)], 0, "a site named home");
        assert_eq!(book(vec![rule("home", STRICT)]).problems(&[]), []);
        assert_eq!(book(vec![rule("", USE_ESP)]).problems(&[]), []);
        let mut nowhere = book(vec![rule("", USE_ESP), rule("office", USE_ESP)]);
        nowhere.sites[0].addresses.clear();
        let told: Vec<usize> = nowhere.problems(&[]).iter().map(|p| p.rule).collect();
        assert_eq!(told, [0, 1]);
    }

    #[test]
    fn what_the_kernel_or_ike_cannot_do_is_told() {
        let tunnel = |then, end_point: Option<&str>| Rule {
            mode: Mode::Tunnel,
            end_point: end_point.map(|addr| addr.parse().unwrap()),
            ..rule("external", then)
        };
        let mut use_ah_esp = STRICT;
        use_ah_esp.demand = Demand::Use;
        let mut wide = book(vec![]);
        wide.unknown = Protection::CLEAR;
        for (rule, part) in [
            (tunnel(use_ah_esp, None), "at level use"),
            (tunnel(STRICT, Some("192.0.2.1")), "the peer's own address"),
            (tunnel(Protection::CLEAR, None), "only with ipsec"),
            (
                rule("office", Protection::require(Protocols::NONE)),
                "ah, esp or both",
            ),
            (
                rule(
                    "office",
                    Protection::require(Protocols {
                        ipcomp: true,
                        ..Protocols::NONE
                    }),
                ),
                "protects nothing",
            ),
            (
                Rule {
                    esp_behind_nat: true,
                    ..rule("office", USE_ESP)
                },
                "alternative to AH",
            ),
            (
                Rule {
                    class: Class {
                        peer_port: Port::Is(80),
                        ..Class::ANY
                    },
                    ..rule("office", STRICT)
                },
                "port 80 only with",
            ),
        ] {
            wide.rules = vec![rule];
            let problems = wide.problems(&[]);
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].message.contains(part), "{problems:?}");
        }
    }
}
