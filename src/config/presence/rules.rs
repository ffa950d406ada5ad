//! `[[rule]]`: under which circumstances which packets need what.

use super::super::report::{Report, Span};
use super::super::section::Section;
use super::super::values::{self, Reason};
use super::contacts::ReadContact;
use super::protection;
use crate::presence::row::{Level, Mode};
use crate::presence::rules::{Hours, Rule, Weekdays, When};
use crate::presence::{Class, Entity};
use std::collections::HashSet;
use toml::de::DeValue;

/// Minutes.
const DAY: u16 = 24 * 60;

pub(super) struct ReadRule {
    pub(super) rule: Rule,
    pub(super) at: Span,
    entity_at: Span,
}

/// What to do where AH cannot pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BehindNat {
    Block,
    Esp,
}

/// What the rules mean together, and what no rule can mean, is judged by the rulebook. `None` where
/// something essential was reported.
pub(super) fn read(
    report: &Report<'_>,
    section: &Section<'_, '_>,
    default_level: Level,
) -> Option<ReadRule> {
    let when = when(section);
    let class = class(section);
    let mode = section.optional("mode", |v| {
        values::word(
            v,
            &[("transport", Mode::Transport), ("tunnel", Mode::Tunnel)],
        )
    });
    let end_point = section.optional("end-point", values::address);
    let nat = section.optional("nat", |v| {
        values::word(v, &[("block", BehindNat::Block), ("esp", BehindNat::Esp)])
    });
    let then = protection::read(report, section, default_level)?;
    let protects = !then.protocols.is_empty();
    for key in ["mode", "end-point", "nat"] {
        if !protects && section.has(key) {
            protection::only_ipsec(report, section, key);
        }
    }
    Some(ReadRule {
        rule: Rule {
            when,
            class,
            then,
            mode: mode.unwrap_or(Mode::Transport),
            end_point,
            esp_behind_nat: nat == Some(BehindNat::Esp),
        },
        at: section.at().clone(),
        entity_at: section.span("entity"),
    })
}

/// A rule about somebody who is no contact never holds.
pub(super) fn check(report: &Report<'_>, read: &[ReadRule], contacts: &[ReadContact]) {
    let known: HashSet<&Entity> = contacts.iter().map(|read| &read.contact.entity).collect();
    for ReadRule {
        rule, entity_at, ..
    } in read
    {
        if let Some(entity) = rule.when.entity.as_ref().filter(|e| !known.contains(e)) {
            let message = format!("entity: there is no [[contact]] {entity}: the rule never holds");
            report.error(entity_at, message);
        }
    }
}

fn when(section: &Section<'_, '_>) -> When {
    let location = section.optional("location", values::name);
    let entity = section.optional("entity", values::name);
    let user = section.optional("user", values::name);
    let addresses = section.list("addresses", values::net).unwrap_or_default();
    let hours = section.optional("hours", hours);
    let weekdays = section.list("weekdays", weekday).map(|days| {
        let bits = days.iter().fold(0, |all, (day, _)| all | day);
        Weekdays(bits)
    });
    When {
        location,
        entity,
        user,
        addresses: addresses.into_iter().map(|(net, _)| net.trunc()).collect(),
        hours: (hours.is_some() || weekdays.is_some()).then(|| {
            let (from, to) = hours.unwrap_or((0, DAY));
            Hours { from, to, weekdays }
        }),
    }
}

fn class(section: &Section<'_, '_>) -> Class {
    let protocol = section.optional("transport", values::protocol);
    let peer_port = section.optional("port", values::port);
    let own_port = section.optional("own-port", values::port);
    Class {
        protocol: protocol.unwrap_or_default(),
        own_port: own_port.unwrap_or_default(),
        peer_port: peer_port.unwrap_or_default(),
    }
}

/// `09:00-17:30`, in minutes of the day.
fn hours(value: &DeValue<'_>) -> Result<(u16, u16), Reason> {
    let text = values::text(value, "hours like \"09:00-17:30\"")?;
    let parsed = text
        .split_once('-')
        .and_then(|(from, to)| Some((minute(from.trim())?, minute(to.trim())?)));
    match parsed {
        Some((from, to)) if from < DAY && from != to => Ok((from, to)),
        Some(_) => Err(format!("`{text}` never begins, or ends where it begins")),
        None => Err(format!("`{text}` is not written like \"09:00-17:30\"")),
    }
}

/// `00:00` to `24:00`.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let two = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<u16>().ok())?
    };
    let (hour, minute) = (two(hour)?, two(minute)?);
    (minute < 60 && hour * 60 + minute <= DAY).then_some(hour * 60 + minute)
}

/// A bit of [`Weekdays`].
fn weekday(value: &DeValue<'_>) -> Result<u8, Reason> {
    const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let days: Vec<(&str, u8)> = DAYS.into_iter().zip((0..7).map(|day| 1 << day)).collect();
    values::word(value, &days)
}
