//! `presence`, `policy` and `request`: what the dialogs of the figures do, for scripts.

pub mod arguments;

use super::{Error, Verdict, render, show};
use crate::agent::presence::commands::{
    AskReport, PolicyCommand, PolicyEntry, PresenceCommand, PresenceEntry, Told,
};
use crate::control::client::ClientError;
use crate::control::{Client, Request, Response};
use arguments::{Policy, Presence, Questions};
use jiff::tz::TimeZone;
use serde::Serialize;
use std::path::Path;

pub(super) fn presence(socket: &Path, command: Presence, width: usize) -> Result<Verdict, Error> {
    let zone = TimeZone::system();
    match command {
        Presence::List { output } => {
            let entries = entries(socket, PresenceCommand::List)?;
            show(output.json, &entries, || {
                render::presence(&entries, &zone, width)
            })?;
            Ok(Verdict::Good)
        }
        Presence::Show { entity, output } => {
            let entries = entries(socket, PresenceCommand::Show(entity.clone()))?;
            show(output.json, &entries, || match entries.as_slice() {
                [] => format!("nothing is known of {entity}\n"),
                known => {
                    let pages = known.iter();
                    let pages = pages.map(|entry| render::presence_of(entry, &zone, width));
                    render::blocks(&pages.collect::<Vec<_>>())
                }
            })?;
            Ok(Verdict::good_if(!entries.is_empty()))
        }
        Presence::Set { claim, output } => {
            let set = claim.command().map_err(Error::Arguments)?;
            let said = format!("{} is at {}\n", set.entity, set.location);
            done(
                socket,
                &Request::Presence(PresenceCommand::Set(set)),
                output.json,
                said,
            )
        }
        Presence::Clear { entity, output } => {
            let said = format!("nothing is believed of {entity} any more\n");
            done(
                socket,
                &Request::Presence(PresenceCommand::Clear(entity)),
                output.json,
                said,
            )
        }
    }
}

pub(super) fn policy(socket: &Path, command: Policy, width: usize) -> Result<Verdict, Error> {
    match command {
        Policy::List { kernel, output } => {
            let rows = rows(socket, PolicyCommand::List)?;
            show(output.json, &rows, || {
                render::policy_rows(&rows, kernel, width)
            })?;
            Ok(Verdict::Good)
        }
        Policy::Propose { entity, output } => {
            let rows = rows(socket, PolicyCommand::Propose(entity))?;
            show(output.json, &rows, || {
                render::policy_rows(&rows, false, width)
            })?;
            Ok(Verdict::good_if(!rows.is_empty()))
        }
        Policy::Register { row, output } => {
            let request = Request::Policy(PolicyCommand::Register(row.into()));
            let Response::Registered(number) = Client::connect(socket)?.call(&request)? else {
                return Err(ClientError::Mismatch.into());
            };
            show(output.json, &Registered { number }, || {
                format!("registered as number {number}\n")
            })?;
            Ok(Verdict::Good)
        }
        Policy::Remove { number, output } => {
            let request = Request::Policy(PolicyCommand::Remove(number));
            let said = format!("number {number} is removed\n");
            done(socket, &request, output.json, said)
        }
    }
}

/// A refusal of the peer's owner is an answer, but not what was wanted.
pub(super) fn request(
    socket: &Path,
    questions: &Questions,
    json: bool,
    width: usize,
) -> Result<Verdict, Error> {
    let response = Client::connect(socket)?.call(&Request::Ask(questions.ask()))?;
    let Response::Asked(report) = response else {
        return Err(ClientError::Mismatch.into());
    };
    show(json, &report, || {
        render::asked(&report, &TimeZone::system(), width)
    })?;
    Ok(Verdict::good_if(!anything_refused(&report)))
}

#[derive(Serialize)]
struct Registered {
    number: u64,
}

#[derive(Serialize)]
struct Done {
    done: bool,
}

fn done(socket: &Path, request: &Request, json: bool, said: String) -> Result<Verdict, Error> {
    let Response::Done = Client::connect(socket)?.call(request)? else {
        return Err(ClientError::Mismatch.into());
    };
    show(json, &Done { done: true }, || said)?;
    Ok(Verdict::Good)
}

fn entries(socket: &Path, command: PresenceCommand) -> Result<Vec<PresenceEntry>, Error> {
    match Client::connect(socket)?.call(&Request::Presence(command))? {
        Response::Presence(entries) => Ok(entries),
        _ => Err(ClientError::Mismatch.into()),
    }
}

fn rows(socket: &Path, command: PolicyCommand) -> Result<Vec<PolicyEntry>, Error> {
    match Client::connect(socket)?.call(&Request::Policy(command))? {
        Response::Policies(rows) => Ok(rows),
        _ => Err(ClientError::Mismatch.into()),
    }
}

fn anything_refused(report: &AskReport) -> bool {
    matches!(report.policy, Some(Told::Refused(_)))
        || matches!(report.presence, Some(Told::Refused(_)))
}
