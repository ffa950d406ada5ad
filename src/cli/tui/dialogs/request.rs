//! POLICY REQUEST, FIG. 4 (410): whom to ask, and for what.

use super::super::Key;
use super::Pressed;
use super::page::{Look, Page};
use super::text_field::{Kind, TextField, Typed};
use crate::agent::presence::commands::Ask;

#[derive(Clone, Debug)]
pub(in crate::cli::tui) struct RequestDialog {
    address: TextField,
    policy: bool,
    presence: bool,
    stop: Stop,
    remark: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Address,
    Policy,
    Presence,
    Ok,
    Cancel,
}

const ORDER: [Stop; 5] = [
    Stop::Address,
    Stop::Policy,
    Stop::Presence,
    Stop::Ok,
    Stop::Cancel,
];

impl RequestDialog {
    /// `address` may be empty.
    pub(in crate::cli::tui) fn new(address: String) -> Self {
        Self {
            address: TextField::new(Kind::Address, address),
            policy: true,
            presence: true,
            stop: Stop::Address,
            remark: String::new(),
        }
    }

    pub(in crate::cli::tui) fn ask(&self) -> Result<Ask, String> {
        let address = self.address.text().parse();
        let address = address.map_err(|_| match self.address.text() {
            "" => "whom? type the address of the peer".to_owned(),
            text => format!("{text} is not an address yet"),
        })?;
        if !self.policy && !self.presence {
            return Err("tick what to ask for".into());
        }
        Ok(Ask {
            address,
            policy: self.policy,
            presence: self.presence,
        })
    }

    pub(in crate::cli::tui) fn key(&mut self, key: Key) -> Pressed {
        self.remark.clear();
        if self.stop == Stop::Address {
            match self.address.key(key) {
                Typed::Foreign => {}
                Typed::Refused(reason) => {
                    self.remark = reason.into();
                    return Pressed::StaysOpen;
                }
                Typed::Changed | Typed::Same => return Pressed::StaysOpen,
            }
        }
        match (key, self.stop) {
            (Key::Escape, _) | (Key::Enter | Key::Char(' '), Stop::Cancel) => return Pressed::Left,
            (Key::Enter | Key::Char(' '), Stop::Ok) => match self.ask() {
                Ok(_) => return Pressed::Accepted,
                Err(reason) => self.remark = reason,
            },
            (Key::Char(' '), Stop::Policy) => self.policy = !self.policy,
            (Key::Char(' '), Stop::Presence) => self.presence = !self.presence,
            (Key::Tab | Key::Down | Key::Right | Key::Enter, stop) => self.stop = step(stop, 1),
            (Key::BackTab | Key::Up | Key::Left, stop) => self.stop = step(stop, ORDER.len() - 1),
            _ => {}
        }
        Pressed::StaysOpen
    }

    pub(super) fn page(&self) -> Page {
        let look = |stop| {
            if stop == self.stop {
                Look::Focused
            } else {
                Look::Plain
            }
        };
        let mut page = Page::new("POLICY REQUEST", 52);
        page.line("");
        page.line(" COMMUNICATION PEER: ")
            .field(&self.address, 25, look(Stop::Address));
        page.line("");
        page.line(" ")
            .tick(self.policy, "SECURITY POLICY", look(Stop::Policy));
        page.line(" ")
            .tick(self.presence, "PRESENCE INFORMATION", look(Stop::Presence));
        page.remark(&self.remark, 2);
        page.buttons([
            ("OK", self.stop == Stop::Ok),
            ("CANCEL", self.stop == Stop::Cancel),
        ]);
        page
    }
}

fn step(stop: Stop, by: usize) -> Stop {
    let at = ORDER.iter().position(|one| *one == stop).unwrap_or(0);
    ORDER[(at + by) % ORDER.len()]
}
