//! Reasons, for people.

use super::standing::Doubt;
use super::{Rule, Treatment, When};
use crate::presence::{Location, Protection, Row};
use std::fmt::{self, Write};

/// Whose location a part of the judgement is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Peer,
    Own,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why<'a> {
    Registered(&'a Row),
    /// By its place in the rulebook, from 1.
    Holds(End, usize, &'a Rule),
    /// It would if what is not known were so.
    MayHold(End, usize, &'a Rule),
    Doubt(End, Doubt<'a>),
    NoRule(End, Option<&'a Location>),
    Floor,
}

/// The joined parts, and those of them that it takes to get there.
pub(super) fn join<'a>(parts: &[(Treatment, Why<'a>)]) -> (Treatment, Vec<Why<'a>>) {
    let whole = parts
        .iter()
        .map(|(part, _)| *part)
        .reduce(Treatment::join)
        .unwrap_or(Protection::DISCARD.into());
    if let Some((_, why)) = parts.iter().find(|(part, _)| part.satisfies(whole)) {
        return (whole, vec![*why]);
    }
    let mut sum = Treatment::from(Protection::CLEAR);
    let mut whys = Vec::new();
    for (part, why) in parts {
        if !sum.satisfies(*part) {
            sum = sum.join(*part);
            whys.push(*why);
        }
    }
    (whole, whys)
}

pub(super) fn sentence(whys: &[Why<'_>]) -> String {
    let mut text = String::with_capacity(48);
    for (nth, why) in whys.iter().enumerate() {
        if nth > 0 {
            text.push_str("; ");
        }
        write!(text, "{why}").expect("a String takes all text");
    }
    text
}

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registered(row) => write!(f, "registered: {row}"),
            Self::Holds(end, number, rule) => {
                write!(f, "rule {number}: ")?;
                conditions(f, *end, &rule.when)
            }
            Self::MayHold(end, number, rule) => {
                write!(f, "rule {number} may hold: ")?;
                conditions(f, *end, &rule.when)
            }
            Self::Doubt(End::Peer, doubt) => doubt.fmt(f),
            Self::Doubt(End::Own, doubt) => write!(f, "own presence: {doubt}"),
            Self::NoRule(end, Some(location)) => {
                write!(f, "no rule for {}location {location}", end.whose())
            }
            Self::NoRule(end, None) => {
                write!(f, "no rule while the {}location is not known", end.whose())
            }
            Self::Floor => f.write_str("floor"),
        }
    }
}

impl End {
    fn whose(self) -> &'static str {
        match self {
            Self::Peer => "",
            Self::Own => "own ",
        }
    }
}

fn conditions(f: &mut fmt::Formatter<'_>, end: End, when: &When) -> fmt::Result {
    let mut before = "";
    let mut next = || std::mem::replace(&mut before, ", ");
    if let Some(location) = &when.location {
        write!(f, "{}{}location {location}", next(), end.whose())?;
    }
    if let Some(entity) = &when.entity {
        write!(f, "{}{entity}", next())?;
    }
    if let Some(user) = &when.user {
        write!(f, "{}user {user}", next())?;
    }
    for (nth, net) in when.addresses.iter().enumerate() {
        let word = if nth == 0 { "address in " } else { "" };
        write!(f, "{}{word}{net}", next())?;
    }
    if let Some(hours) = when.hours {
        let clock = |minute: u16| (minute / 60, minute % 60);
        let ((h, m), (to_h, to_m)) = (clock(hours.from), clock(hours.to));
        write!(f, "{}{h:02}:{m:02} to {to_h:02}:{to_m:02}", next())?;
    }
    if before.is_empty() {
        f.write_str("always")?;
    }
    Ok(())
}
