//! The words of the security policy database (FIG. 7), one for each value: on the command line, in
//! tables and in dialogs.

use crate::presence::Protocols;
use crate::presence::row::{Action, Direction, Level, Mode};

pub(super) type Words<T> = &'static [(&'static str, T)];

pub(super) const DIRECTIONS: Words<Direction> = &[("in", Direction::In), ("out", Direction::Out)];

pub(super) const ACTIONS: Words<Action> = &[
    ("discard", Action::Discard),
    ("none", Action::None),
    ("ipsec", Action::Ipsec),
];

pub(super) const PROTOCOLS: Words<Protocols> = &[
    (
        "ah",
        Protocols {
            ah: true,
            ..Protocols::NONE
        },
    ),
    ("esp", Protocols::ESP),
    (
        "ipcomp",
        Protocols {
            ipcomp: true,
            ..Protocols::NONE
        },
    ),
];

pub(super) const MODES: Words<Mode> = &[("transport", Mode::Transport), ("tunnel", Mode::Tunnel)];

pub(super) const LEVELS: Words<Level> = &[
    ("default", Level::Default),
    ("use", Level::Use),
    ("require", Level::Require),
];

/// What figures print where a field says nothing.
pub(super) const NOTHING: &str = "—";

/// [`NOTHING`] for a value without a word.
pub(super) fn word<T: PartialEq + Copy>(
    words: Words<T>,
    value: impl Into<Option<T>>,
) -> &'static str {
    let value = value.into();
    let found = words.iter().find(|(_, one)| Some(*one) == value);
    found.map_or(NOTHING, |(word, _)| word)
}
