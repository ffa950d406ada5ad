//! Layer 4: argv, and the commands that talk to a running agent through [`crate::control`].
//!
//! Exit status: 0 when all went well, 1 when something failed or was found wanting, 2 when the
//! command line was not understood.

pub mod arguments;
pub mod check;
pub mod doctor;
#[cfg(test)]
mod figures;
pub mod presence;
pub mod render;
pub mod tui;
mod words;

use crate::agent::vpn::VpnCommand;
use crate::config;
use crate::control::client::{ClientError, Occurrence};
use crate::control::protocol::{Discover, Forget};
use crate::control::{Client, Request, Response};
use crate::daemon;
use crate::net::Protocol;
use arguments::{Arguments, Command};
use clap::{CommandFactory, Parser};
use serde::Serialize;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Tui(#[from] tui::Error),
    #[error(transparent)]
    Daemon(#[from] daemon::Error),
    #[error("cannot write man pages to {}: {error}", path.display())]
    Man {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    #[error("{0}")]
    Arguments(String),
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    #[error("cannot write the output as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Whether what was looked at is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    Wanting,
}

impl Verdict {
    fn good_if(good: bool) -> Self {
        if good { Self::Good } else { Self::Wanting }
    }
}

pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match perform(arguments) {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Wanting) => ExitCode::FAILURE,
        // Whoever read us has read enough: `xfrm-agent policies | head`.
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do where even this fails.
            let error = render::escape::lines(&error.to_string());
            let _ = writeln!(io::stderr(), "xfrm-agent: {error}");
            ExitCode::FAILURE
        }
    }
}

fn perform(arguments: Arguments) -> Result<Verdict, Error> {
    let socket = &arguments.socket;
    let width = render::width(std::env::var("COLUMNS").ok().as_deref());
    match arguments.command {
        Command::Run { config } => {
            daemon::run(&config)?;
            Ok(Verdict::Good)
        }
        Command::Check { config, output } => {
            let report = check::Report::of(&config, config::load(&config));
            show(output.json, &report, || report.render(width))?;
            Ok(Verdict::good_if(report.accepted))
        }
        Command::Status { output } => {
            let snapshot = status(socket)?;
            show(output.json, &snapshot, || render::status(&snapshot, width))?;
            Ok(Verdict::Good)
        }
        Command::Policies { output } => {
            let policies = status(socket)?.policies;
            show(output.json, &policies, || {
                render::policies(&policies, width)
            })?;
            Ok(Verdict::Good)
        }
        Command::Sas { output } => {
            let sas = status(socket)?.sas;
            show(output.json, &sas, || render::sas(&sas, width))?;
            Ok(Verdict::Good)
        }
        Command::Tunnels { output } => {
            let tunnels = status(socket)?.tunnels;
            show(output.json, &tunnels, || render::tunnels(&tunnels, width))?;
            Ok(Verdict::Good)
        }
        Command::Bindings { output } => {
            let response = Client::connect(socket)?.call(&Request::Bindings)?;
            let Response::Bindings(bindings) = response else {
                return Err(ClientError::Mismatch.into());
            };
            show(output.json, &bindings, || {
                render::bindings(&bindings, width)
            })?;
            Ok(Verdict::Good)
        }
        Command::Visitors { output } => {
            let response = Client::connect(socket)?.call(&Request::Visitors)?;
            let Response::Visitors(visitors) = response else {
                return Err(ClientError::Mismatch.into());
            };
            show(output.json, &visitors, || {
                render::visitors(&visitors, width)
            })?;
            Ok(Verdict::Good)
        }
        Command::Revoke { home, output } => {
            let response = Client::connect(socket)?.call(&Request::Revoke(home))?;
            let Response::Done = response else {
                return Err(ClientError::Mismatch.into());
            };
            show(output.json, &(), String::new)?;
            Ok(Verdict::Good)
        }
        Command::Discover {
            address,
            from,
            protocol,
            port,
            output,
        } => {
            let request = Request::Discover(Discover {
                address,
                from,
                protocol: protocol.map(Protocol::number).filter(|n| *n != 0),
                port,
            });
            let Response::Discovered(report) = Client::connect(socket)?.call(&request)? else {
                return Err(ClientError::Mismatch.into());
            };
            show(output.json, &report, || render::discovery(&report, width))?;
            let found = report.error.is_empty() && !report.answers.is_empty();
            Ok(Verdict::good_if(found))
        }
        Command::Presence(command) => presence::presence(socket, command, width),
        Command::Policy(command) => presence::policy(socket, command, width),
        Command::Request { questions, output } => {
            presence::request(socket, &questions, output.json, width)
        }
        Command::Vpn(command) => vpn(socket, command, width),
        Command::Mobility { output } => {
            let view = status(socket)?.mobility.ok_or_else(|| {
                let message = "this machine does not move: the configuration has no [mobility]";
                Error::Arguments(message.to_owned())
            })?;
            show(output.json, &view, || render::mobility(&view, width))?;
            Ok(Verdict::Good)
        }
        Command::Tui => {
            tui::run(socket)?;
            Ok(Verdict::Good)
        }
        Command::Events { output } => follow(socket, output.json),
        Command::Reload { output } => {
            let response = Client::connect(socket)?.call(&Request::Reload)?;
            let Response::Reloaded(reloaded) = response else {
                return Err(ClientError::Mismatch.into());
            };
            show(output.json, &reloaded, || render::reloaded(&reloaded))?;
            Ok(Verdict::Good)
        }
        Command::Forget { what, output } => {
            let request = Request::Forget(Forget {
                prefix: what.prefix,
            });
            let Response::Forgotten(forgotten) = Client::connect(socket)?.call(&request)? else {
                return Err(ClientError::Mismatch.into());
            };
            show(output.json, &forgotten, || render::forgotten(&forgotten))?;
            Ok(Verdict::Good)
        }
        Command::Withdraw { config, output } => {
            let withdrawn = daemon::withdraw(&config)?;
            show(output.json, &withdrawn, || render::withdrawn(withdrawn))?;
            Ok(Verdict::Good)
        }
        Command::Doctor { config, output } => {
            let checks = doctor::examine(socket, config.as_deref());
            show(output.json, &checks, || doctor::render(&checks, width))?;
            Ok(Verdict::good_if(!doctor::any_failed(&checks)))
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "xfrm-agent", &mut script);
            io::stdout().write_all(&script)?;
            Ok(Verdict::Good)
        }
        Command::Man { directory } => {
            clap_mangen::generate_to(Arguments::command(), &directory).map_err(|error| {
                Error::Man {
                    path: directory,
                    error,
                }
            })?;
            Ok(Verdict::Good)
        }
    }
}

fn status(socket: &Path) -> Result<crate::agent::snapshot::Snapshot, Error> {
    match Client::connect(socket)?.call(&Request::Status)? {
        Response::Status(snapshot) => Ok(*snapshot),
        _ => Err(ClientError::Mismatch.into()),
    }
}

fn vpn(socket: &Path, command: arguments::Vpn, width: usize) -> Result<Verdict, Error> {
    let (command, output) = match command {
        arguments::Vpn::Up { name, output } => (VpnCommand::Up { name }, output),
        arguments::Vpn::Down { output } => (VpnCommand::Down, output),
        arguments::Vpn::Warm { output } => (VpnCommand::Warm, output),
        arguments::Vpn::Show { output } => {
            let vpn = status(socket)?.vpn;
            show(output.json, &vpn, || render::vpn(&vpn, width))?;
            return Ok(Verdict::Good);
        }
    };
    match Client::connect(socket)?.call(&Request::Vpn(command))? {
        Response::Done => {
            show(output.json, &(), String::new)?;
            Ok(Verdict::Good)
        }
        _ => Err(ClientError::Mismatch.into()),
    }
}

/// Until the agent ends or the reader has had enough.
fn follow(socket: &Path, json: bool) -> Result<Verdict, Error> {
    let mut stdout = io::stdout().lock();
    for occurrence in Client::connect(socket)?.events()? {
        match occurrence? {
            Occurrence::Event(event) if json => {
                let line = serde_json::to_string(&event)?;
                writeln!(stdout, "{}", render::escape::json(&line))?;
            }
            Occurrence::Event(event) => writeln!(stdout, "{}", render::event(&event))?,
            Occurrence::Lost(count) if json => writeln!(stdout, "{{\"lost\":{count}}}")?,
            Occurrence::Lost(count) => writeln!(stdout, "{}", render::lost(count))?,
        }
        stdout.flush()?;
    }
    Ok(Verdict::Good)
}

fn show(json: bool, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Error> {
    let mut output = if json {
        render::escape::json(&serde_json::to_string_pretty(value)?)
    } else {
        text()
    };
    if !output.ends_with('\n') {
        output.push('\n');
    }
    io::stdout().write_all(output.as_bytes())?;
    Ok(())
}
