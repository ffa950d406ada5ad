//! From a peer's answer to the dialogs that judge it (FIG. 5 and FIG. 10: presence, then policy).

use super::dialogs::{Dialog, PolicyDialog, PresenceDialog, Then};
use crate::agent::presence::commands::{AskReport, Told};
use crate::cli::render::escape::safe;
use crate::presence::row::Direction;
use crate::presence::{Authenticity, Record, Row, Source};
use std::net::IpAddr;

/// The dialog to open, if anything was told, and a message about the rest.
pub(super) fn told(report: AskReport) -> (Option<Dialog>, String) {
    let peer = safe(&report.peer);
    let (policy, mut refusals) = match report.policy {
        None => (None, Vec::new()),
        Some(Told::Granted(rows)) => (Some(seen_from_here(&rows, report.address)), Vec::new()),
        Some(Told::Refused(reason)) => (None, vec![format!("its policy ({})", reason)]),
    };
    let note = format!("{peer} applies this to us");
    let dialog = match report.presence {
        Some(Told::Granted(presence)) => {
            let then = match policy {
                Some(rows) if !rows.is_empty() => Then::Judge { rows, note },
                _ => Then::Propose(presence.entity.clone()),
            };
            let remark = format!("told by {peer}");
            Some(Dialog::Presence(PresenceDialog::new(
                presence, remark, then,
            )))
        }
        other => {
            if let Some(Told::Refused(reason)) = other {
                refusals.push(format!("its presence ({reason})"));
            }
            let rows = policy.filter(|rows| !rows.is_empty());
            rows.map(|rows| Dialog::Policy(Box::new(PolicyDialog::new(&rows, note))))
        }
    };
    let message = match (refusals.as_slice(), &dialog) {
        ([], Some(_)) => String::new(),
        ([], None) => format!("{peer} applies no rows to us"),
        (refusals, _) => format!("{peer} does not tell {}", refusals.join(" and ")),
    };
    (dialog, message)
}

/// A peer's rows as rows of ours in the direction `out`, each once: what it lets in, we send.
fn seen_from_here(rows: &[Row], peer: IpAddr) -> Vec<Row> {
    let mut seen = Vec::new();
    for row in rows {
        let towards_peer = row.destination.contains(&peer) && !row.source.contains(&peer);
        let direction = if towards_peer {
            Direction::Out
        } else {
            Direction::In
        };
        let row = Row {
            direction,
            ..row.clone()
        };
        let row = if towards_peer { row } else { row.mirrored() };
        if !seen.contains(&row) {
            seen.push(row);
        }
    }
    seen
}

/// Who says where somebody is.
pub(super) fn source(record: &Record) -> String {
    match (&record.authenticity, record.source) {
        (_, Source::Hand) => "set by hand".into(),
        (_, Source::Own) => "this machine's own".into(),
        (Authenticity::Authenticated(identity), _) => format!("proved by {}", safe(identity)),
        (Authenticity::Unauthenticated, _) => {
            "proved by nobody: it only makes things stricter".into()
        }
    }
}
