//! What packets between us and one address of a peer need, now.

use super::standing::{Standing, View};
use super::why::{self, End, Why};
use super::{Clause, Moment, Rule, Rulebook, Treatment, When, compose};
use crate::presence::{Class, Location, Protection, Row, Timestamp, UserName};
use std::net::IpAddr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The last is about [`Class::ANY`].
    pub clauses: Vec<Clause>,
    /// The earliest time at which the passing of time alone may change it: judge again then.
    pub valid_until: Option<Timestamp>,
}

/// `floor` is never crossed, and a registered row can only add to what the rules demand.
pub fn judge(
    book: &Rulebook,
    floor: Protection,
    registered: &[Row],
    peer: &Standing<'_>,
    own: &Standing<'_>,
    moment: Moment,
) -> Verdict {
    let views = [
        (End::Peer, peer.view(book, moment)),
        (End::Own, own.view(book, moment)),
    ];
    let user = views[0].1.user;
    let mut valid_until = views.iter().filter_map(|(_, view)| view.until).min();

    let mut rules: Vec<(usize, &Rule)> = Vec::with_capacity(book.rules.len());
    for (number, rule) in (1..).zip(&book.rules) {
        if !rule.when.concerns(peer) {
            continue;
        }
        if let Some(hours) = rule.when.hours {
            let change = hours.next_change(moment);
            valid_until = Some(valid_until.map_or(change, |until| until.min(change)));
            if !hours.hold(moment) {
                continue;
            }
        }
        rules.push((number, rule));
    }
    let rows: Vec<(&Row, Class, Protection)> = registered
        .iter()
        .filter(|row| row.concerns(peer.address, own.address))
        .map(|row| (row, row.class(), row.protection(book.default_level)))
        .filter(|(.., protection)| *protection != Protection::CLEAR)
        .collect();

    let classes = rules.iter().map(|(_, rule)| rule.class);
    let classes = classes.chain(rows.iter().map(|(_, class, _)| *class));
    // For each end all of its rules may count, and a doubt.
    let mut parts = Vec::with_capacity(rows.len() + 2 * (rules.len() + 1) + 1);
    let composed = compose(classes, |class| {
        parts.clear();
        for (row, of_row, protection) in &rows {
            if of_row.contains(class) {
                parts.push((row.treatment(*protection), Why::Registered(row)));
            }
        }
        for (end, view) in &views {
            parts_of_end(&mut parts, book, &rules, *end, view, user, class);
        }
        parts.push((floor.into(), Why::Floor));
        why::join(&parts)
    });
    Verdict {
        clauses: composed
            .into_iter()
            .map(|(class, treatment, whys)| {
                Clause::new(class, treatment, why::sentence(&whys).into())
            })
            .collect(),
        valid_until,
    }
}

/// The first rule that holds, and before it those that may.
fn parts_of_end<'a>(
    parts: &mut Vec<(Treatment, Why<'a>)>,
    book: &Rulebook,
    rules: &[(usize, &'a Rule)],
    end: End,
    view: &View<'a>,
    user: Option<&UserName>,
    class: Class,
) {
    let doubt = view
        .doubt
        .map(|doubt| (book.unknown.into(), Why::Doubt(end, doubt)));
    // Who is nowhere known has no rule of theirs: the doubt is the better reason.
    let doubt_first = view.location.is_none();
    if doubt_first {
        parts.extend(doubt);
    }
    let mut decided = false;
    for (number, rule) in rules.iter().filter(|(_, rule)| rule.class.contains(class)) {
        match rule.when.holds(view.location, user) {
            Holds::No => {}
            Holds::Maybe => parts.push((rule.treatment(), Why::MayHold(end, *number, rule))),
            Holds::Yes => {
                parts.push((rule.treatment(), Why::Holds(end, *number, rule)));
                decided = true;
                break;
            }
        }
    }
    if !decided {
        parts.push((book.unknown.into(), Why::NoRule(end, view.location)));
    }
    if !doubt_first {
        parts.extend(doubt);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Holds {
    No,
    /// Not enough is known.
    Maybe,
    Yes,
}

impl When {
    /// As far as that does not depend on what anybody says.
    fn concerns(&self, peer: &Standing<'_>) -> bool {
        self.entity
            .as_ref()
            .is_none_or(|entity| entity == peer.entity)
            && (self.addresses.is_empty()
                || self.addresses.iter().any(|net| net.contains(&peer.address)))
    }

    fn holds(&self, location: Option<&Location>, user: Option<&UserName>) -> Holds {
        is(self.location.as_ref(), location).min(is(self.user.as_ref(), user))
    }
}

fn is<T: PartialEq>(asked: Option<&T>, known: Option<&T>) -> Holds {
    match (asked, known) {
        (None, _) => Holds::Yes,
        (Some(_), None) => Holds::Maybe,
        (Some(asked), Some(known)) if asked == known => Holds::Yes,
        _ => Holds::No,
    }
}

impl Rule {
    fn treatment(&self) -> Treatment {
        Treatment {
            protection: self.then,
            mode: self.mode,
            end_point: self.end_point,
            esp_behind_nat: self.esp_behind_nat,
        }
    }
}

impl Row {
    fn concerns(&self, peer: IpAddr, own: IpAddr) -> bool {
        self.peer_side().contains(&peer) && (own.is_unspecified() || self.own_side().contains(&own))
    }

    fn treatment(&self, protection: Protection) -> Treatment {
        Treatment {
            mode: self.mode.unwrap_or(crate::presence::row::Mode::Transport),
            end_point: self.end_point,
            ..protection.into()
        }
    }
}

#[cfg(test)]
mod tests;
