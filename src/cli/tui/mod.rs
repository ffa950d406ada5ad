//! `tui`: both databases live on one screen, and the dialogs of FIG. 4, 8, 9, 11, 12 and 13.
//!
//! ```text
//! keys, events, ticks ─┐                         ┌→ Action::Call → control socket
//! answers ─────────────┴→ Input → App::update ───┴→ Action::Quit
//!                                  App ─→ view ─→ screen
//! ```
//!
//! [`App`] is a value: what it shows and what it asks for follows from its inputs alone.
//! [`terminal`] does everything else: keyboard, screen, signals and the socket.

mod app;
mod dialogs;
mod flow;
mod lists;
mod terminal;
#[cfg(test)]
mod tests;
mod view;

pub use app::App;
pub use terminal::{Error, run};
pub use view::view;

use crate::control::{Request, Response};

#[derive(Clone, Debug)]
pub enum Input {
    Key(Key),
    /// The event stream is open: what is shown may be old.
    Connected,
    /// The agent did something.
    Changed,
    /// The agent has gone, for this reason; it is tried again.
    Gone(String),
    Answered(Purpose, Box<Result<Response, String>>),
    /// Twice a second.
    Tick,
}

/// What the keyboard can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Char(char),
    Tab,
    BackTab,
    Up,
    Down,
    Left,
    Right,
    Home,
    End,
    PageUp,
    PageDown,
    Backspace,
    Delete,
    Enter,
    Escape,
    /// Control and C, wherever one is.
    Interrupt,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Answered by [`Input::Answered`] with the same purpose.
    Call(Purpose, Request),
    Quit,
}

/// What an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Presence,
    Policies,
    Propose,
    Ask,
    Register,
    Remove,
}
