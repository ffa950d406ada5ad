//! Everything that the screen shows, and what each input makes of it.

use super::dialogs::{
    ConfirmDialog, Dialog, PolicyDialog, PresenceDialog, Pressed, RequestDialog, Then,
};
use super::lists::List;
use super::{Action, Input, Key, Purpose, flow};
use crate::agent::presence::commands::{
    PolicyCommand, PolicyEntry, PresenceCommand, PresenceEntry,
};
use crate::cli::render::escape::safe;
use crate::control::{Request, Response};
use crate::presence::Record;
use jiff::tz::TimeZone;

#[derive(Debug)]
pub struct App {
    pub(super) zone: TimeZone,
    pub(super) presence: List<PresenceEntry>,
    pub(super) policies: List<PolicyEntry>,
    pub(super) pane: Pane,
    pub(super) dialog: Option<Dialog>,
    /// The last thing that was done, or that went wrong.
    pub(super) message: String,
    pub(super) connection: Connection,
    refresh: Refresh,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pane {
    Presence,
    Policies,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Connection {
    Open,
    Gone(String),
}

/// When the lists are asked for again.
#[derive(Debug, Default)]
struct Refresh {
    wanted: bool,
    /// Answers that are still to come.
    underway: u8,
    /// Ticks before the next one: a list of 100,000 is not fetched twice a second.
    rest: usize,
}

/// Entries that may be fetched at each tick.
const ENTRIES_A_TICK: usize = 5000;

impl App {
    /// `zone` is the one that times are shown in.
    pub fn new(zone: TimeZone) -> Self {
        Self {
            zone,
            presence: List::new(),
            policies: List::new(),
            pane: Pane::Presence,
            dialog: None,
            message: String::new(),
            connection: Connection::Open,
            refresh: Refresh::default(),
        }
    }

    pub fn update(&mut self, input: Input) -> Vec<Action> {
        match input {
            Input::Key(Key::Interrupt) => vec![Action::Quit],
            Input::Key(key) => self.key(key),
            Input::Connected => {
                self.connection = Connection::Open;
                self.refresh = Refresh::default();
                self.fetch()
            }
            Input::Changed => {
                self.refresh.wanted = true;
                Vec::new()
            }
            Input::Gone(reason) => {
                self.connection = Connection::Gone(safe(&reason));
                Vec::new()
            }
            Input::Tick => {
                self.refresh.rest = self.refresh.rest.saturating_sub(1);
                if self.refresh.wanted && self.refresh.underway == 0 && self.refresh.rest == 0 {
                    self.fetch()
                } else {
                    Vec::new()
                }
            }
            Input::Answered(purpose, answer) => self.answered(purpose, *answer),
        }
    }

    fn fetch(&mut self) -> Vec<Action> {
        self.refresh.wanted = false;
        self.refresh.underway = 2;
        vec![
            Action::Call(Purpose::Presence, Request::Presence(PresenceCommand::List)),
            Action::Call(Purpose::Policies, Request::Policy(PolicyCommand::List)),
        ]
    }

    fn answered(&mut self, purpose: Purpose, answer: Result<Response, String>) -> Vec<Action> {
        if matches!(purpose, Purpose::Presence | Purpose::Policies) {
            self.refresh.underway = self.refresh.underway.saturating_sub(1);
        }
        match (purpose, answer) {
            (Purpose::Presence, Ok(Response::Presence(entries))) => {
                self.rest_after(entries.len());
                self.presence.replace(entries, |a, b| a.entity == b.entity);
            }
            (Purpose::Policies, Ok(Response::Policies(rows))) => {
                self.rest_after(rows.len());
                self.policies
                    .replace(rows, |a, b| (a.number, &a.row) == (b.number, &b.row));
            }
            (Purpose::Propose, Ok(Response::Policies(rows))) => self.proposed(&rows),
            (Purpose::Ask, Ok(Response::Asked(report))) => {
                let (dialog, message) = flow::told(report);
                // Whoever opened another dialog meanwhile keeps it.
                if self.dialog.is_none() {
                    self.dialog = dialog;
                }
                self.message = message;
            }
            (Purpose::Register, Ok(Response::Registered(number))) => {
                if matches!(&self.dialog, Some(Dialog::Policy(dialog)) if dialog.is_awaiting()) {
                    self.dialog = None;
                }
                self.message = format!("registered as number {number}");
                self.refresh.wanted = true;
            }
            (Purpose::Remove, Ok(Response::Done)) => {
                self.message = "removed".into();
                self.refresh.wanted = true;
            }
            (_, Ok(_)) => self.message = "the agent answered something else than was asked".into(),
            (Purpose::Register, Err(reason)) => match &mut self.dialog {
                Some(Dialog::Policy(dialog)) if dialog.is_awaiting() => {
                    dialog.refuse(safe(&reason));
                }
                _ => self.message = safe(&reason),
            },
            (_, Err(reason)) => self.message = safe(&reason),
        }
        Vec::new()
    }

    fn rest_after(&mut self, entries: usize) {
        self.refresh.rest = self.refresh.rest.max(entries / ENTRIES_A_TICK);
    }

    fn proposed(&mut self, rows: &[PolicyEntry]) {
        match rows {
            [] => self.message = "rules and presence propose nothing".into(),
            [first, ..] if self.dialog.is_none() => {
                let note = safe(&first.because);
                let rows: Vec<_> = rows.iter().map(|entry| entry.row.clone()).collect();
                self.message.clear();
                self.dialog = Some(Dialog::Policy(Box::new(PolicyDialog::new(&rows, note))));
            }
            _ => {}
        }
    }

    fn key(&mut self, key: Key) -> Vec<Action> {
        let Some(mut dialog) = self.dialog.take() else {
            return self.list_key(key);
        };
        self.message.clear();
        match dialog.key(key) {
            Pressed::Left => Vec::new(),
            Pressed::StaysOpen => {
                self.dialog = Some(dialog);
                Vec::new()
            }
            Pressed::Accepted => self.accepted(dialog),
        }
    }

    fn accepted(&mut self, dialog: Dialog) -> Vec<Action> {
        match dialog {
            Dialog::Request(request) => {
                let Ok(ask) = request.ask() else {
                    return Vec::new();
                };
                self.message = format!("asking {}", ask.address);
                vec![Action::Call(Purpose::Ask, Request::Ask(ask))]
            }
            Dialog::Presence(presence) => match presence.into_then() {
                Then::Close => Vec::new(),
                Then::Propose(entity) => vec![propose(entity)],
                Then::Judge { rows, note } => {
                    self.dialog = Some(Dialog::Policy(Box::new(PolicyDialog::new(&rows, note))));
                    Vec::new()
                }
            },
            Dialog::Policy(policy) => {
                let row = policy.row();
                // It stays until the agent has said yes.
                self.dialog = Some(Dialog::Policy(policy));
                let request = row.map(|row| Request::Policy(PolicyCommand::Register(row)));
                let call = request.map(|request| Action::Call(Purpose::Register, request));
                call.into_iter().collect()
            }
            Dialog::Confirm(confirm) => {
                let request = Request::Policy(PolicyCommand::Remove(confirm.number));
                vec![Action::Call(Purpose::Remove, request)]
            }
        }
    }

    fn list_key(&mut self, key: Key) -> Vec<Action> {
        match key {
            Key::Char('q') => return vec![Action::Quit],
            Key::Tab | Key::BackTab => {
                self.pane = match self.pane {
                    Pane::Presence => Pane::Policies,
                    Pane::Policies => Pane::Presence,
                };
            }
            Key::Char('r') => {
                let address = self.chosen_address();
                self.dialog = Some(Dialog::Request(RequestDialog::new(address)));
            }
            Key::Char('p') => return self.propose_for_chosen(),
            Key::Char('n') => {
                let blank = PolicyDialog::new(&[], String::new());
                self.dialog = Some(Dialog::Policy(Box::new(blank)));
            }
            Key::Char('d') | Key::Delete => self.ask_before_removing(),
            Key::Enter => self.open_chosen(),
            key => match self.pane {
                Pane::Presence => self.presence.key(key),
                Pane::Policies => self.policies.key(key),
            },
        }
        Vec::new()
    }

    /// Of the chosen person's machine; empty where none is known.
    fn chosen_address(&self) -> String {
        let record = self.presence.chosen().and_then(record);
        let address = record.and_then(|record| record.presence.addresses.first());
        match (self.pane, address) {
            (Pane::Presence, Some(address)) => address.to_string(),
            _ => String::new(),
        }
    }

    fn propose_for_chosen(&mut self) -> Vec<Action> {
        let entity = match self.pane {
            Pane::Presence => self.presence.chosen().map(|entry| entry.entity.clone()),
            Pane::Policies => self.policies.chosen().and_then(|row| row.entity.clone()),
        };
        match entity {
            Some(entity) => vec![propose(entity)],
            None => {
                self.message = "choose somebody to propose rows for".into();
                Vec::new()
            }
        }
    }

    fn ask_before_removing(&mut self) {
        let chosen = self
            .policies
            .chosen()
            .filter(|_| self.pane == Pane::Policies);
        match chosen {
            Some(PolicyEntry {
                number: Some(number),
                row,
                ..
            }) => {
                self.dialog = Some(Dialog::Confirm(ConfirmDialog::remove(*number, row)));
            }
            _ => self.message = "only a registered row, one with a number, can be removed".into(),
        }
    }

    fn open_chosen(&mut self) {
        self.dialog = match self.pane {
            Pane::Presence => self.presence.chosen().and_then(record).map(|record| {
                let dialog =
                    PresenceDialog::new(record.presence.clone(), flow::source(record), Then::Close);
                Dialog::Presence(dialog)
            }),
            Pane::Policies => self.policies.chosen().map(|entry| {
                let rows = std::slice::from_ref(&entry.row);
                Dialog::Policy(Box::new(PolicyDialog::new(rows, safe(&entry.because))))
            }),
        };
    }
}

fn propose(entity: crate::presence::Entity) -> Action {
    let request = Request::Policy(PolicyCommand::Propose(entity));
    Action::Call(Purpose::Propose, request)
}

/// What is believed; otherwise the hint.
pub(super) fn record(entry: &PresenceEntry) -> Option<&Record> {
    entry.believed.as_ref().or(entry.hint.as_ref())
}
