//! PRESENCE INFORMATION, FIG. 9 (900) and FIG. 11 (1100): where the peer is, to be judged.

use super::super::Key;
use super::page::Page;
use super::{Button, Pressed};
use crate::cli::render;
use crate::cli::words::NOTHING;
use crate::presence::{Entity, Presence, Row};
use jiff::tz::TimeZone;

#[derive(Clone, Debug)]
pub(in crate::cli::tui) struct PresenceDialog {
    presence: Presence,
    /// Of what was left out, or who said so.
    remark: String,
    then: Then,
    button: Button,
}

/// What OK leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli::tui) enum Then {
    Close,
    /// What rules and presence propose.
    Propose(Entity),
    /// The peer's own policy, seen from our side.
    Judge {
        rows: Vec<Row>,
        note: String,
    },
}

impl PresenceDialog {
    pub(in crate::cli::tui) fn new(presence: Presence, remark: String, then: Then) -> Self {
        Self {
            presence,
            remark,
            then,
            button: Button::Ok,
        }
    }

    pub(in crate::cli::tui) fn into_then(self) -> Then {
        self.then
    }

    pub(in crate::cli::tui) fn key(&mut self, key: Key) -> Pressed {
        self.button.key(key)
    }

    pub(super) fn page(&self, zone: &TimeZone) -> Page {
        let presence = &self.presence;
        let mut page = Page::new("PRESENCE INFORMATION", 60);
        page.line("");
        page.value("entity:", presence.entity.as_str());
        let addresses: Vec<_> = presence.addresses.iter().map(ToString::to_string).collect();
        let mut label = "IP ADDRESS:";
        for address in &addresses {
            page.value(label, address);
            label = "";
        }
        let user = presence.user.as_ref().map_or(NOTHING, |user| user.as_str());
        page.value("USER NAME:", user);
        page.value("LOCATION:", presence.location.as_str());
        page.value("TIME:", &render::stamp(presence.time, zone));
        page.line("").remark(&self.remark, 2);
        page.buttons([
            ("OK", self.button == Button::Ok),
            ("CANCEL", self.button == Button::Cancel),
        ]);
        page
    }
}
