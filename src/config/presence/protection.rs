//! What packets need: `action`, `protocol` and `level`, in a rule or in a table of their own.

use super::super::report::Report;
use super::super::section::Section;
use super::super::values::{self, Reason};
use crate::presence::row::{Action, Level};
use crate::presence::{Demand, Protection, Protocols};
use toml::de::DeValue;

/// `None` where something was reported.
pub(super) fn read(
    report: &Report<'_>,
    section: &Section<'_, '_>,
    default_level: Level,
) -> Option<Protection> {
    let action = section.required("action", |v| {
        values::word(
            v,
            &[
                ("none", Action::None),
                ("ipsec", Action::Ipsec),
                ("discard", Action::Discard),
            ],
        )
    });
    let protocols = section.list("protocol", protocol);
    let level = section.optional("level", level);
    match action? {
        Action::Ipsec => {
            let Some(protocols) = protocols else {
                report.error(
                    &section.span("action"),
                    "action: \"ipsec\" needs the key `protocol`",
                );
                return None;
            };
            let protocols = protocols
                .into_iter()
                .fold(Protocols::NONE, |all, (one, _)| all.union(one));
            if protocols.is_empty() {
                // An empty list; of elements that were reported this says nothing new.
                report.error(
                    &section.span("protocol"),
                    "protocol: nothing is left to protect with",
                );
                return None;
            }
            if !protocols.protects() {
                report.error(
                    &section.span("protocol"),
                    "protocol: \"ipcomp\" compresses and protects nothing: with it \"ah\", \"esp\" or both",
                );
                return None;
            }
            let level = match level.unwrap_or(Level::Default) {
                Level::Default => default_level,
                level => level,
            };
            let demand = match level {
                Level::Use => Demand::Use,
                Level::Default | Level::Require => Demand::Require,
            };
            Some(Protection { demand, protocols })
        }
        other => {
            for key in ["protocol", "level"] {
                if section.has(key) {
                    only_ipsec(report, section, key);
                }
            }
            Some(if other == Action::None {
                Protection::CLEAR
            } else {
                Protection::DISCARD
            })
        }
    }
}

pub(super) fn only_ipsec(report: &Report<'_>, section: &Section<'_, '_>, key: &str) {
    let message = format!("{key}: belongs to the action \"ipsec\"");
    report.error(&section.span(key), message);
}

fn protocol(value: &DeValue<'_>) -> Result<Protocols, Reason> {
    let one = |ah, esp, ipcomp| Protocols { ah, esp, ipcomp };
    values::word(
        value,
        &[
            ("ah", one(true, false, false)),
            ("esp", one(false, true, false)),
            ("ipcomp", one(false, false, true)),
        ],
    )
}

fn level(value: &DeValue<'_>) -> Result<Level, Reason> {
    values::word(
        value,
        &[
            ("use", Level::Use),
            ("require", Level::Require),
            ("default", Level::Default),
        ],
    )
}
