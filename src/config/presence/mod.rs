//! `[presence]` and what belongs to it: who counts, what follows from where they are, and what is
//! never done.

mod contacts;
mod protection;
mod rules;
mod sites;

use super::keys;
use super::report::Report;
use super::section::Section;
use super::values::{self, Reason};
use crate::agent::presence::settings::PresenceSettings;
use crate::agent::settings::InterceptionSettings;
use crate::kernel::desired::Mark;
use crate::net::Identity;
use crate::presence::row::Level;
use crate::presence::rules::Rulebook;
use crate::presence::{Demand, Entity, Location, Protection, Protocols, UserName};
use std::collections::HashSet;
use std::time::Duration;

const DEFAULT_LOCATION: &str = "external";
const DWELL: Duration = Duration::from_secs(10);
const LIFETIME: Duration = Duration::from_secs(60);
const EXPIRY: Duration = Duration::from_secs(3600);
const MARK: u32 = 0x2000_0000;
const MAX_CONTACTS: u32 = 20_000;

/// The tables of the file that this module reads.
pub(super) struct Tables<'r, 't> {
    pub(super) presence: Option<Section<'r, 't>>,
    pub(super) contacts: Vec<Section<'r, 't>>,
    pub(super) sites: Vec<Section<'r, 't>>,
    pub(super) rules: Vec<Section<'r, 't>>,
}

/// What the rest of the file says.
pub(super) struct Surroundings<'s> {
    pub(super) identity: Option<&'s Identity>,
    pub(super) peers: HashSet<&'s Identity>,
    pub(super) interception: &'s InterceptionSettings,
}

/// `None` where presence is off, or something essential was reported.
pub(super) fn read(
    report: &Report<'_>,
    tables: &Tables<'_, '_>,
    around: &Surroundings<'_>,
) -> Option<PresenceSettings> {
    let errors = report.errors();
    let general = General::read(report, tables.presence.as_ref(), around);
    let read = tables.contacts.iter();
    let contacts: Vec<_> = read
        .filter_map(|section| contacts::read(report, section, around, general.default_level))
        .collect();
    contacts::check(report, &contacts, general.entity.as_ref());
    let read = tables.sites.iter();
    let sites: Vec<_> = read
        .filter_map(|section| sites::read(report, section, around))
        .collect();
    sites::check(report, &sites);
    let read = tables.rules.iter();
    let rules: Vec<_> = read
        .filter_map(|section| rules::read(report, section, general.default_level))
        .collect();
    rules::check(report, &rules, &contacts);
    let Some(section) = &tables.presence else {
        let orphans = [&tables.contacts, &tables.sites, &tables.rules];
        for first in orphans.into_iter().filter_map(|tables| tables.first()) {
            let message = "there is no [presence], which says whom this machine speaks for";
            report.error(first.at(), message);
        }
        return None;
    };
    if let Some(site) = sites.iter().find(|s| s.site.location == general.location) {
        let (location, line) = (&general.location, report.line(&site.at));
        report.error(
            &section.span("location"),
            format!(
                "location: `{location}` is a site (line {line}), which must be proven: it cannot be \
                 where this machine is while nothing proves it"
            ),
        );
    }
    if contacts.len() > general.max_contacts as usize {
        let (count, most) = (contacts.len(), general.max_contacts);
        report.error(
            &section.span("max-contacts"),
            format!("max-contacts: there are {count} [[contact]], more than {most}"),
        );
    }
    let (rules, ruled): (Vec<_>, Vec<_>) =
        rules.into_iter().map(|read| (read.rule, read.at)).unzip();
    let rulebook = Rulebook {
        rules,
        sites: sites.into_iter().map(|read| read.site).collect(),
        unknown: general.unknown,
        default_level: general.default_level,
    };
    // A rule that was misread would be misjudged.
    if report.errors() == errors {
        let floors: Vec<_> = contacts
            .iter()
            .map(|read| (read.contact.entity.clone(), read.contact.floor))
            .collect();
        for problem in rulebook.problems(&floors) {
            report.error(
                &ruled[problem.rule],
                format!("rule {}: {}", problem.rule + 1, problem.message),
            );
        }
    }
    Some(PresenceSettings {
        entity: general.entity?,
        user: general.user,
        location: general.location,
        rulebook,
        dwell: general.dwell,
        lifetime: general.lifetime,
        expiry: general.expiry,
        mark: Mark {
            value: 0,
            mask: general.mark,
        },
        max_contacts: general.max_contacts as usize,
        contacts: contacts.into_iter().map(|read| read.contact).collect(),
    })
}

/// `[presence]` itself; defaults where it is absent, so that the rest can be judged.
struct General {
    entity: Option<Entity>,
    user: Option<UserName>,
    location: Location,
    unknown: Protection,
    default_level: Level,
    dwell: Duration,
    lifetime: Duration,
    expiry: Duration,
    mark: u32,
    max_contacts: u32,
}

impl General {
    fn read(
        report: &Report<'_>,
        section: Option<&Section<'_, '_>>,
        around: &Surroundings<'_>,
    ) -> Self {
        let mut general = Self {
            entity: None,
            user: None,
            location: DEFAULT_LOCATION.parse().expect("a location"),
            unknown: Protection::require(Protocols::AH_ESP),
            default_level: Level::Require,
            dwell: DWELL,
            lifetime: LIFETIME,
            expiry: EXPIRY,
            mark: MARK,
            max_contacts: MAX_CONTACTS,
        };
        let Some(section) = section else {
            return general;
        };
        let second = Duration::from_secs(1);
        let (hour, day) = (3600 * second, 86_400 * second);
        general.entity = section.required("entity", values::name);
        general.user = section.optional("user", values::name);
        section.set("location", &mut general.location, values::name);
        section.set("default-level", &mut general.default_level, |v| {
            values::word(v, &[("use", Level::Use), ("require", Level::Require)])
        });
        if let Some(inner) = section.inner("unknown", &keys::UNKNOWN)
            && let Some(unknown) = protection::read(report, &inner, general.default_level)
        {
            general.unknown = unknown;
            if unknown.demand < Demand::Require {
                let message = "unknown: nobody could tell a stranger from a friend: use \"discard\", \
                               or \"ipsec\" with the level \"require\"";
                report.error(&section.span("unknown"), message);
            }
        }
        section.set("dwell", &mut general.dwell, |v| {
            values::duration(v, Duration::ZERO..=hour)
        });
        section.set("lifetime", &mut general.lifetime, |v| {
            whole_seconds(values::duration(v, 2 * second..=hour)?)
        });
        section.set("expiry", &mut general.expiry, |v| {
            whole_seconds(values::duration(v, 10 * second..=30 * day)?)
        });
        section.set("mark", &mut general.mark, values::bit);
        section.set("max-contacts", &mut general.max_contacts, |v| {
            values::count(v, 1..=1_000_000)
        });
        // The divert mark holds both bits.
        if general.mark & around.interception.divert_mark.mask != 0 {
            let mark = general.mark;
            report.error(
                &section.span("mark"),
                format!("mark: 0x{mark:08x} is a mark of [interception]: use another bit"),
            );
        }
        general
    }
}

/// The kernel counts the lifetimes of policies in seconds, and presence carries seconds.
fn whole_seconds(duration: Duration) -> Result<Duration, Reason> {
    if duration.subsec_nanos() == 0 {
        Ok(duration)
    } else {
        let shown = values::show_duration(duration);
        Err(format!("{shown} is not a number of whole seconds"))
    }
}

fn no_peer(id: &Identity) -> String {
    format!("there is no [[peer]] with the id {id}, so nothing it says is believed")
}
