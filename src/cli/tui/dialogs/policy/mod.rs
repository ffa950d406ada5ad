//! POLICY INFORMATION, FIG. 8 (800), FIG. 12 and FIG. 13: a row to be judged, changed and registered.
//!
//! A field that means nothing beside the others is dimmed and passed over; a tick that cannot stand
//! where it would be set is refused with the reason.

mod draft;
mod stops;

use super::super::Key;
use super::Pressed;
use super::page::{Look, Page};
use super::text_field::Typed;
use crate::cli::words::{ACTIONS, DIRECTIONS, LEVELS, MODES, PROTOCOLS};
use crate::net::Protocol;
use crate::presence::Row;
use crate::presence::row::{Level, Mode, RowField};
use draft::{Draft, PortField};
use stops::Stop;

#[derive(Clone, Debug)]
pub(in crate::cli::tui) struct PolicyDialog {
    /// One for each row that there is to judge.
    drafts: Vec<Draft>,
    shown: usize,
    stop: Stop,
    /// Where the rows come from.
    note: String,
    /// What was refused just now; goes with the next key.
    remark: String,
    /// For the agent's answer; there is nothing to do meanwhile but to leave.
    awaiting: bool,
}

impl PolicyDialog {
    /// Without rows, a blank form.
    pub(in crate::cli::tui) fn new(rows: &[Row], note: String) -> Self {
        let mut drafts: Vec<_> = rows.iter().map(Draft::of).collect();
        if drafts.is_empty() {
            drafts.push(Draft::blank());
        }
        Self {
            drafts,
            shown: 0,
            stop: Stop::Source,
            note,
            remark: String::new(),
            awaiting: false,
        }
    }

    pub(in crate::cli::tui) fn is_awaiting(&self) -> bool {
        self.awaiting
    }

    /// What REGISTER would register.
    pub(in crate::cli::tui) fn row(&self) -> Option<Row> {
        self.draft().row().ok()
    }

    /// Why it was not registered.
    pub(in crate::cli::tui) fn refuse(&mut self, reason: String) {
        self.awaiting = false;
        self.remark = reason;
    }

    fn draft(&self) -> &Draft {
        &self.drafts[self.shown]
    }

    fn draft_mut(&mut self) -> &mut Draft {
        &mut self.drafts[self.shown]
    }

    pub(in crate::cli::tui) fn key(&mut self, key: Key) -> Pressed {
        if self.awaiting {
            return match key {
                Key::Escape => Pressed::Left,
                _ => Pressed::StaysOpen,
            };
        }
        self.remark.clear();
        if self.typed(key) {
            return Pressed::StaysOpen;
        }
        match key {
            Key::Escape => return Pressed::Left,
            Key::Enter | Key::Char(' ') if self.stop == Stop::Cancel => return Pressed::Left,
            Key::Enter | Key::Char(' ') if self.stop == Stop::Register => return self.register(),
            Key::Char(' ') => self.tick(),
            Key::Tab | Key::Down | Key::Enter => self.stop = stops::next(self.draft(), self.stop),
            Key::BackTab | Key::Up => self.stop = stops::previous(self.draft(), self.stop),
            Key::Right => self.stop = stops::beside(self.draft(), self.stop, 1),
            Key::Left => self.stop = stops::beside(self.draft(), self.stop, -1),
            Key::PageDown => self.turn_to((self.shown + 1).min(self.drafts.len() - 1)),
            Key::PageUp => self.turn_to(self.shown.saturating_sub(1)),
            _ => {}
        }
        Pressed::StaysOpen
    }

    fn turn_to(&mut self, shown: usize) {
        self.shown = shown;
        self.stop = Stop::Source;
    }

    /// Whether a field took the key, or refused it.
    fn typed(&mut self, key: Key) -> bool {
        let draft = &mut self.drafts[self.shown];
        let field = match self.stop {
            Stop::Source => &mut draft.source,
            Stop::SourcePort => &mut draft.source_port.number,
            Stop::Destination => &mut draft.destination,
            Stop::DestinationPort => &mut draft.destination_port.number,
            Stop::EndPoint => &mut draft.end_point,
            _ => return false,
        };
        match field.key(key) {
            Typed::Foreign => return false,
            Typed::Refused(reason) => self.remark = reason.into(),
            Typed::Same => {}
            // A number is typed where `any` was ticked, or the last digit is gone.
            Typed::Changed => match self.stop {
                Stop::SourcePort => settle(&mut draft.source_port),
                Stop::DestinationPort => settle(&mut draft.destination_port),
                _ => {}
            },
        }
        true
    }

    fn register(&mut self) -> Pressed {
        match self.draft().problems().into_iter().next() {
            None => {
                self.awaiting = true;
                self.remark = "registering".into();
                Pressed::Accepted
            }
            Some(problem) => {
                self.stop = stops::of_field(self.draft(), problem.field);
                self.remark = format!("not registered: {}", problem.message);
                Pressed::StaysOpen
            }
        }
    }

    /// Sets or takes away the tick; refused where it could not stand beside the others.
    fn tick(&mut self) {
        let mut draft = self.draft().clone();
        let Some((field, set)) = toggle(&mut draft, self.stop) else {
            return;
        };
        let before = self.draft().problems();
        let new = draft.problems().into_iter();
        let refusal = new
            .filter(|problem| set && problem.field == field)
            .find(|problem| !before.contains(problem));
        match refusal {
            Some(problem) => self.remark = problem.message,
            None => *self.draft_mut() = draft,
        }
    }

    pub(super) fn page(&self) -> Page {
        let draft = self.draft();
        let problems = draft.problems();
        let wrong = |field| problems.iter().any(|problem| problem.field == field);
        let title = match self.drafts.len() {
            1 => "POLICY INFORMATION".to_owned(),
            count => format!("POLICY INFORMATION ({} of {count})", self.shown + 1),
        };
        let mut page = Page::new(title, 76);
        page.line(" SECURITY POLICY").line("");
        let ends = [
            ("SOURCE ADDRESS:", &draft.source, &draft.source_port),
            (
                "DESTINATION ADDRESS:",
                &draft.destination,
                &draft.destination_port,
            ),
        ];
        let stops = [
            (RowField::Source, RowField::SourcePort, stops::SOURCE),
            (
                RowField::Destination,
                RowField::DestinationPort,
                stops::DESTINATION,
            ),
        ];
        for ((label, address, port), (field, port_field, [stop, port_stop, any_stop])) in
            ends.into_iter().zip(stops)
        {
            label_line(&mut page, label, wrong(field) || wrong(port_field));
            page.field(address, 20, self.look(stop));
            let any = port.any || !draft.counts(port_field);
            page.text(" PORT: ", Look::Plain)
                .field(&port.number, 5, self.look(port_stop))
                .text(" ", Look::Plain)
                .text(if any { "☒ any" } else { "☐ any" }, self.look(any_stop));
        }
        for field in [
            RowField::Transport,
            RowField::Direction,
            RowField::Action,
            RowField::Protocol,
            RowField::Mode,
            RowField::EndPoint,
            RowField::Level,
        ] {
            label_line(&mut page, stops::label(field), wrong(field));
            if field == RowField::EndPoint {
                page.field(&draft.end_point, 39, self.look(Stop::EndPoint));
            } else {
                for (index, (name, ticked)) in choices(draft, field).into_iter().enumerate() {
                    page.tick(ticked, &name, self.look(Stop::Choice(field, index)));
                }
            }
        }
        let problem = problems.first().map(|problem| problem.message.as_str());
        let remark = match (self.remark.as_str(), problem) {
            ("", Some(problem)) => problem,
            ("", None) => &self.note,
            (remark, _) => remark,
        };
        page.line("").remark(remark, 2);
        page.buttons([
            ("REGISTER", self.stop == Stop::Register),
            ("CANCEL", self.stop == Stop::Cancel),
        ]);
        page
    }

    fn look(&self, stop: Stop) -> Look {
        if stop == self.stop {
            Look::Focused
        } else if stops::enabled(self.draft(), stop) {
            Look::Plain
        } else {
            Look::Disabled
        }
    }
}

fn label_line(page: &mut Page, label: &str, wrong: bool) {
    let mark = if wrong { '!' } else { ' ' };
    page.line(&format!("{mark}{label:<21} "));
}

fn settle(port: &mut PortField) {
    port.any = port.number.text().is_empty();
}

/// What can be ticked in a field, and what is.
fn choices(draft: &Draft, field: RowField) -> Vec<(String, bool)> {
    let named = |words: Vec<(&str, bool)>| {
        words
            .into_iter()
            .map(|(word, ticked)| (word.to_owned(), ticked))
            .collect()
    };
    match field {
        RowField::Transport => transports(draft)
            .into_iter()
            .map(|one| (one.to_string(), one == draft.transport))
            .collect(),
        RowField::Direction => named(
            DIRECTIONS
                .iter()
                .map(|(w, v)| (*w, *v == draft.direction))
                .collect(),
        ),
        RowField::Action => named(
            ACTIONS
                .iter()
                .map(|(w, v)| (*w, *v == draft.action))
                .collect(),
        ),
        RowField::Protocol => named(
            PROTOCOLS
                .iter()
                .map(|(w, v)| (*w, draft.protocols.union(*v) == draft.protocols))
                .collect(),
        ),
        RowField::Mode => named(
            MODES
                .iter()
                .map(|(w, v)| (*w, Some(*v) == draft.mode))
                .collect(),
        ),
        RowField::Level => named(
            LEVELS
                .iter()
                .map(|(w, v)| (*w, Some(*v) == draft.level))
                .collect(),
        ),
        _ => Vec::new(),
    }
}

/// Those of the figure, and the row's own where it is another.
fn transports(draft: &Draft) -> Vec<Protocol> {
    let mut all = vec![Protocol::TCP, Protocol::UDP, Protocol::Any];
    if !all.contains(&draft.transport) {
        all.push(draft.transport);
    }
    all
}

/// The field that has changed, and whether something was set. `None` where there is no tick.
fn toggle(draft: &mut Draft, stop: Stop) -> Option<(RowField, bool)> {
    let (field, index) = match stop {
        Stop::SourceAny => {
            draft.source_port.toggle();
            return Some((RowField::SourcePort, draft.source_port.any));
        }
        Stop::DestinationAny => {
            draft.destination_port.toggle();
            return Some((RowField::DestinationPort, draft.destination_port.any));
        }
        Stop::Choice(field, index) => (field, index),
        _ => return None,
    };
    let set = match field {
        RowField::Transport => {
            draft.transport = *transports(draft).get(index)?;
            true
        }
        RowField::Direction => {
            draft.direction = DIRECTIONS.get(index)?.1;
            true
        }
        RowField::Action => {
            draft.action = ACTIONS.get(index)?.1;
            true
        }
        RowField::Protocol => toggle_protocol(draft, index)?,
        RowField::Mode => {
            let mode: Mode = MODES.get(index)?.1;
            draft.mode = Some(mode).filter(|mode| draft.mode != Some(*mode));
            draft.mode.is_some()
        }
        RowField::Level => {
            let level: Level = LEVELS.get(index)?.1;
            draft.level = Some(level).filter(|level| draft.level != Some(*level));
            draft.level.is_some()
        }
        _ => return None,
    };
    Some((field, set))
}

fn toggle_protocol(draft: &mut Draft, index: usize) -> Option<bool> {
    let protocols = &mut draft.protocols;
    let ticked = match PROTOCOLS.get(index)?.0 {
        "ah" => &mut protocols.ah,
        "esp" => &mut protocols.esp,
        _ => &mut protocols.ipcomp,
    };
    *ticked = !*ticked;
    Some(*ticked)
}

#[cfg(test)]
mod tests;
