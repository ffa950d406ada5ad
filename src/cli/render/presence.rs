//! Both databases as tables, as FIG. 6 and FIG. 7 print them.

use super::escape::safe;
use super::{Table, blocks, stamp, until};
use crate::agent::presence::commands::{AskReport, PolicyEntry, PresenceEntry, Told};
use crate::cli::words::{ACTIONS, DIRECTIONS, LEVELS, MODES, NOTHING, PROTOCOLS, word};
use crate::net::IpNet;
use crate::presence::{Authenticity, Presence, Protocols, Record, Row, Source};
use jiff::tz::TimeZone;

const PRESENCE: [&str; 7] = [
    "ENTITY",
    "IP ADDRESS",
    "USER NAME",
    "LOCATION",
    "TIME",
    "EXPIRES",
    "SOURCE",
];

/// A row for what is believed, and one below it for a hint.
pub fn presence(entries: &[PresenceEntry], zone: &TimeZone, width: usize) -> String {
    if entries.is_empty() {
        return "nothing is known of anybody\n".into();
    }
    let mut table = Table::new(&PRESENCE);
    for entry in entries {
        let records: Vec<_> = entry.believed.iter().chain(&entry.hint).collect();
        if records.is_empty() {
            let (entity, nothing) = (entry.entity.as_str(), NOTHING);
            table.row([entity, nothing, nothing, nothing, nothing, nothing, nothing]);
        }
        for (index, record) in records.into_iter().enumerate() {
            let entity = if index == 0 {
                entry.entity.as_str()
            } else {
                ""
            };
            presence_row(
                &mut table,
                entity,
                &record.presence,
                source(record.source),
                zone,
            );
        }
    }
    table.render(width)
}

fn presence_row(
    table: &mut Table,
    entity: &str,
    presence: &Presence,
    source: &str,
    zone: &TimeZone,
) {
    let mut addresses = presence.addresses.iter().map(ToString::to_string);
    table.row([
        entity,
        addresses.next().as_deref().unwrap_or(NOTHING),
        presence.user.as_ref().map_or(NOTHING, |user| user.as_str()),
        presence.location.as_str(),
        &stamp(presence.time, zone),
        &until(presence.time, presence.expires, zone),
        source,
    ]);
    for address in addresses {
        table.row(["", &address, "", "", "", "", ""]);
    }
}

fn source(source: Source) -> &'static str {
    match source {
        Source::Hand => "hand",
        Source::Peer => "peer",
        Source::Own => "own",
        Source::Hint => "hint",
    }
}

/// With its history, for audit.
pub fn presence_of(entry: &PresenceEntry, zone: &TimeZone, width: usize) -> String {
    let mut parts = vec![presence(std::slice::from_ref(entry), zone, width)];
    if !entry.history.is_empty() {
        let mut table = Table::new(&[
            "RECEIVED",
            "LOCATION",
            "TIME",
            "SEQUENCE",
            "SOURCE",
            "IP ADDRESS",
            "PROVED BY",
        ]);
        for record in &entry.history {
            history_row(&mut table, record, zone);
        }
        parts.push(format!("History\n{}", table.render(width)));
    }
    blocks(&parts)
}

fn history_row(table: &mut Table, record: &Record, zone: &TimeZone) {
    let presence = &record.presence;
    let addresses: Vec<_> = presence.addresses.iter().map(ToString::to_string).collect();
    let by = match &record.authenticity {
        Authenticity::Authenticated(identity) => safe(identity),
        Authenticity::Unauthenticated => "nobody".into(),
    };
    table.row([
        &stamp(record.received, zone),
        presence.location.as_str(),
        &stamp(presence.time, zone),
        &presence.sequence.to_string(),
        source(record.source),
        &addresses.join(" "),
        &by,
    ]);
}

const POLICY: [&str; 13] = [
    "NO.",
    "SOURCE",
    "PORT",
    "DESTINATION",
    "PORT",
    "TRANSPORT",
    "DIRECTION",
    "ACTION",
    "PROTOCOL",
    "MODE",
    "END POINT",
    "LEVEL",
    "BECAUSE",
];

/// With `kernel`, what the kernel holds for a row stands below it.
pub fn policy_rows(entries: &[PolicyEntry], kernel: bool, width: usize) -> String {
    if entries.is_empty() {
        return "no rows\n".into();
    }
    let mut table = Table::new(&POLICY);
    for entry in entries {
        let number = entry.number.map(|number| number.to_string());
        policy_row(&mut table, number.as_deref(), &entry.row, &because(entry));
        if kernel {
            let held = entry.kernel.as_deref().map(safe);
            let held = format!(
                "kernel: {}",
                held.as_deref().unwrap_or("holds nothing for it")
            );
            table.row(["", "", "", "", "", "", "", "", "", "", "", "", &held]);
        }
    }
    table.render(width)
}

fn because(entry: &PolicyEntry) -> String {
    match &entry.entity {
        Some(entity) => format!("{entity}: {}", safe(&entry.because)),
        None => safe(&entry.because),
    }
}

fn policy_row(table: &mut Table, number: Option<&str>, row: &Row, because: &str) {
    let end_point = row.end_point.map(|address| address.to_string());
    table.row([
        number.unwrap_or(NOTHING),
        &network(row.source),
        &row.source_port.to_string(),
        &network(row.destination),
        &row.destination_port.to_string(),
        &row.transport.to_string(),
        word(DIRECTIONS, row.direction),
        word(ACTIONS, row.action),
        &protocols(row.protocols),
        word(MODES, row.mode),
        end_point.as_deref().unwrap_or(NOTHING),
        word(LEVELS, row.level),
        because,
    ]);
}

/// One address without its length.
pub fn network(net: IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() {
        net.addr().to_string()
    } else {
        net.to_string()
    }
}

/// `ah+esp`.
pub fn protocols(protocols: Protocols) -> String {
    let chosen = PROTOCOLS
        .iter()
        .filter(|(_, one)| protocols.union(*one) == protocols);
    let chosen: Vec<_> = chosen.map(|(word, _)| *word).collect();
    if chosen.is_empty() {
        NOTHING.into()
    } else {
        chosen.join("+")
    }
}

pub fn asked(report: &AskReport, zone: &TimeZone, width: usize) -> String {
    let mut parts = vec![format!("{} is {}\n", report.address, safe(&report.peer))];
    match &report.presence {
        Some(Told::Granted(presence)) => {
            let mut table = Table::new(&PRESENCE);
            presence_row(&mut table, presence.entity.as_str(), presence, "peer", zone);
            parts.push(format!("Its presence\n{}", table.render(width)));
        }
        Some(Told::Refused(reason)) => {
            parts.push(format!("Its presence\nnot for us: {reason}\n"));
        }
        None => {}
    }
    match &report.policy {
        Some(Told::Granted(rows)) if rows.is_empty() => {
            parts.push("Its policy towards us\nno rows\n".into());
        }
        Some(Told::Granted(rows)) => {
            let mut table = Table::new(&POLICY);
            for row in rows {
                policy_row(&mut table, None, row, "");
            }
            parts.push(format!("Its policy towards us\n{}", table.render(width)));
        }
        Some(Told::Refused(reason)) => parts.push(format!(
            "Its policy towards us
not for us: {reason}
"
        )),
        None => {}
    }
    blocks(&parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::figures::{
        believed, bob_outside, entry, john_in_the_office, record, row_for_bob, row_for_john,
    };
    use crate::presence::exchange::Refusal;

    const UTC: TimeZone = TimeZone::UTC;

    #[test]
    fn presence_stands_in_the_columns_of_figure_6() {
        let mut john = believed(john_in_the_office());
        let mut hint = record(bob_outside());
        hint.presence
            .addresses
            .push("2001:db8::10".parse().unwrap());
        hint.presence.user = None;
        hint.source = Source::Hint;
        john.hint = Some(hint);
        let mut unknown = believed(bob_outside());
        unknown.believed = None;
        assert_eq!(
            presence(&[john, unknown], &UTC, 100),
            "\
ENTITY             IP ADDRESS     USER NAME  LOCATION  TIME                 EXPIRES   SOURCE
peerA@example.com  192.168.1.2    John       office    2002-09-28 10:49:29  11:49:29  peer
                   133.134.10.10  —          external  2002-09-28 16:15:46  17:15:46  hint
                   2001:db8::10
peerB@example.com  —              —          —         —                    —         —
"
        );
        assert_eq!(presence(&[], &UTC, 100), "nothing is known of anybody\n");
    }

    #[test]
    fn history_says_who_proved_what_and_nothing_to_the_terminal() {
        let mut john = believed(john_in_the_office());
        let mut before = record(john_in_the_office());
        before.authenticity = Authenticity::Authenticated("a\x1b[2J".into());
        john.history = vec![before];
        assert_eq!(
            presence_of(&john, &UTC, 110),
            "\
ENTITY             IP ADDRESS   USER NAME  LOCATION  TIME                 EXPIRES   SOURCE
peerA@example.com  192.168.1.2  John       office    2002-09-28 10:49:29  11:49:29  peer

History
RECEIVED             LOCATION  TIME                 SEQUENCE  SOURCE  IP ADDRESS   PROVED BY
2002-09-28 10:49:29  office    2002-09-28 10:49:29  7         peer    192.168.1.2  a\\u{1b}[2J
"
        );
    }

    #[test]
    fn rows_stand_in_the_columns_of_figure_7_with_their_reason_below() {
        let mut bob = entry(Some(3), row_for_bob(), "registered");
        bob.entity = Some("peerB@example.com".parse().unwrap());
        let rows = [entry(None, row_for_john(), "rule 2: office\x1b"), bob];
        assert_eq!(
            policy_rows(&rows, false, 120),
            "\
NO.  SOURCE       PORT  DESTINATION    PORT  TRANSPORT  DIRECTION  ACTION  PROTOCOL  MODE  END POINT  LEVEL    BECAUSE
—    192.168.1.1  any   192.168.1.2    any   udp        out        none    —         —     —          —
    rule 2: office\\u{1b}
3    192.168.1.1  any   133.134.10.10  any   udp        out        ipsec   ah+esp    —     —          require
    peerB@example.com: registered
"
        );
        assert_eq!(policy_rows(&[], false, 100), "no rows\n");
    }

    #[test]
    fn what_the_kernel_holds_stands_below_its_row() {
        let mut bob = entry(Some(3), row_for_bob(), "registered");
        bob.kernel = Some("dir out tmpl proto esp\n".into());
        let john = entry(None, row_for_john(), "office");
        let text = policy_rows(&[bob, john], true, 100);
        let below: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("    "))
            .collect();
        let held = "    kernel: dir out tmpl proto esp\\u{a}";
        assert_eq!(
            below,
            [
                "    BECAUSE",
                "    registered",
                held,
                "    office",
                "    kernel: holds nothing for it"
            ]
        );
    }

    #[test]
    fn an_answer_shows_what_was_told_and_what_was_not() {
        let report = AskReport {
            address: "192.168.1.2".parse().unwrap(),
            peer: "john\x07.example".into(),
            policy: Some(Told::Refused(Refusal::NotAllowed)),
            more: false,
            presence: Some(Told::Granted(john_in_the_office())),
        };
        assert_eq!(
            asked(&report, &UTC, 100),
            "\
192.168.1.2 is john\\u{7}.example

Its presence
ENTITY             IP ADDRESS   USER NAME  LOCATION  TIME                 EXPIRES   SOURCE
peerA@example.com  192.168.1.2  John       office    2002-09-28 10:49:29  11:49:29  peer

Its policy towards us
not for us: its owner does not allow that to us
"
        );
    }
}
