//! The dialogs as the figures draw them. Each takes keys until it is accepted or left, and paints
//! itself on a [`Page`].

mod confirm;
mod page;
mod policy;
mod presence;
mod request;
mod text_field;

pub(super) use confirm::ConfirmDialog;
pub(super) use page::Page;
pub(super) use policy::PolicyDialog;
pub(super) use presence::{PresenceDialog, Then};
pub(super) use request::RequestDialog;

use super::Key;

#[derive(Clone, Debug)]
pub(super) enum Dialog {
    Request(RequestDialog),
    Presence(PresenceDialog),
    Policy(Box<PolicyDialog>),
    Confirm(ConfirmDialog),
}

/// What a key did to a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pressed {
    StaysOpen,
    Accepted,
    Left,
}

impl Dialog {
    pub(super) fn key(&mut self, key: Key) -> Pressed {
        match self {
            Self::Request(dialog) => dialog.key(key),
            Self::Presence(dialog) => dialog.key(key),
            Self::Policy(dialog) => dialog.key(key),
            Self::Confirm(dialog) => dialog.key(key),
        }
    }

    pub(super) fn page(&self, zone: &jiff::tz::TimeZone) -> Page {
        match self {
            Self::Request(dialog) => dialog.page(),
            Self::Presence(dialog) => dialog.page(zone),
            Self::Policy(dialog) => dialog.page(),
            Self::Confirm(dialog) => dialog.page(),
        }
    }

    /// What can be pressed here.
    pub(super) fn help(&self) -> &'static str {
        match self {
            Self::Request(_) => "Tab next   Space tick   Enter press   Esc cancel",
            Self::Presence(_) | Self::Confirm(_) => "Tab next   Enter press   Esc cancel",
            Self::Policy(_) => {
                "Tab next   ←→ choose   Space tick   PgUp PgDn rows   Enter press   Esc cancel"
            }
        }
    }
}

/// The two buttons at the foot of a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Button {
    Ok,
    Cancel,
}

impl Button {
    /// For dialogs that have nothing else.
    fn key(&mut self, key: Key) -> Pressed {
        match key {
            Key::Escape => return Pressed::Left,
            Key::Enter | Key::Char(' ') => return self.pressed(),
            Key::Tab | Key::BackTab | Key::Left | Key::Right | Key::Up | Key::Down => {
                *self = match self {
                    Self::Ok => Self::Cancel,
                    Self::Cancel => Self::Ok,
                };
            }
            _ => {}
        }
        Pressed::StaysOpen
    }

    fn pressed(self) -> Pressed {
        match self {
            Self::Ok => Pressed::Accepted,
            Self::Cancel => Pressed::Left,
        }
    }
}
