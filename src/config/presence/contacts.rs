//! `[[contact]]`: whose presence counts, and how little is ever done for them.

use super::super::keys;
use super::super::report::{Report, Span};
use super::super::section::Section;
use super::super::values::{self, Reason};
use super::Surroundings;
use super::protection;
use crate::agent::presence::settings::{Contact, Tell};
use crate::presence::row::Level;
use crate::presence::{Entity, Protection};
use std::collections::HashMap;
use toml::de::DeValue;

pub(super) struct ReadContact {
    pub(super) contact: Contact,
    pub(super) at: Span,
}

/// `None` where something essential was reported.
pub(super) fn read(
    report: &Report<'_>,
    section: &Section<'_, '_>,
    around: &Surroundings<'_>,
    default_level: Level,
) -> Option<ReadContact> {
    let entity = section.required("entity", values::name);
    let peer = section.required("peer", values::identity);
    let addresses = section.list("address", values::address);
    let floor = match section.inner("floor", &keys::FLOOR) {
        Some(inner) => protection::read(report, &inner, default_level),
        None => Some(Protection::CLEAR),
    };
    let told = section.list("tell", told).unwrap_or_default();
    let subscribe = section.optional("subscribe", values::truth);
    let peer = peer?;
    if !around.peers.contains(&peer) {
        let message = format!("peer: {}", super::no_peer(&peer));
        report.error(&section.span("peer"), message);
    }
    let told = told
        .into_iter()
        .fold(Tell::default(), |all, (one, _)| Tell {
            policy: all.policy | one.policy,
            presence: all.presence | one.presence,
        });
    let addresses = addresses.unwrap_or_default();
    Some(ReadContact {
        contact: Contact {
            entity: entity?,
            peer,
            addresses: addresses.into_iter().map(|(addr, _)| addr).collect(),
            floor: floor?,
            tell: told,
            subscribe: subscribe.unwrap_or(true),
        },
        at: section.at().clone(),
    })
}

fn told(value: &DeValue<'_>) -> Result<Tell, Reason> {
    let one = |policy, presence| Tell { policy, presence };
    values::word(
        value,
        &[("policy", one(true, false)), ("presence", one(false, true))],
    )
}

/// Each entity once, and nobody is ourselves.
pub(super) fn check(report: &Report<'_>, read: &[ReadContact], own: Option<&Entity>) {
    let mut seen = HashMap::new();
    for ReadContact { contact, at } in read {
        let entity = &contact.entity;
        if let Some(first) = seen.insert(entity, at) {
            let line = report.line(first);
            report.error(
                at,
                format!("contact {entity} stands in line {line} already"),
            );
        }
        if Some(entity) == own {
            report.error(at, format!("contact {entity} is this machine's own entity"));
        }
    }
}
