//! Where in the file something stands, and what is wrong there.

use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

/// Line and column as editors count them: from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

impl Position {
    /// Of the octet at `offset`; past the end is the end.
    pub fn of(text: &str, offset: usize) -> Self {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `None` where something is missing from the file as a whole.
    pub position: Option<Position>,
    pub message: String,
}

/// Octets of the file.
pub(super) type Span = Range<usize>;

/// Gathers problems while a file is read, so that one run shows them all.
#[derive(Debug)]
pub(super) struct Report<'t> {
    text: &'t str,
    errors: RefCell<Vec<(usize, String)>>,
    warnings: RefCell<Vec<(usize, String)>>,
}

impl<'t> Report<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            text,
            errors: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    pub(super) fn error(&self, at: &Span, message: impl fmt::Display) {
        let entry = (at.start, message.to_string());
        self.errors.borrow_mut().push(entry);
    }

    /// Something that belongs nowhere in particular.
    pub(super) fn missing(&self, message: impl fmt::Display) {
        let entry = (usize::MAX, message.to_string());
        self.errors.borrow_mut().push(entry);
    }

    pub(super) fn warning(&self, at: &Span, message: impl fmt::Display) {
        let entry = (at.start, message.to_string());
        self.warnings.borrow_mut().push(entry);
    }

    /// For people to find the other half of a conflict.
    pub(super) fn line(&self, at: &Span) -> usize {
        Position::of(self.text, at.start).line
    }

    /// How many there are so far.
    pub(super) fn errors(&self) -> usize {
        self.errors.borrow().len()
    }

    pub(super) fn has_errors(&self) -> bool {
        self.errors() > 0
    }

    pub(super) fn into_errors(self) -> Vec<Problem> {
        sorted(self.text, self.errors.into_inner())
    }

    pub(super) fn into_warnings(self) -> Vec<Problem> {
        sorted(self.text, self.warnings.into_inner())
    }
}

fn sorted(text: &str, mut entries: Vec<(usize, String)>) -> Vec<Problem> {
    entries.sort_by_key(|(offset, _)| *offset);
    let located = entries.into_iter().map(|(offset, message)| Problem {
        position: (offset != usize::MAX).then(|| Position::of(text, offset)),
        message,
    });
    located.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_start_at_one() {
        let text = "a\nκλειδί = 1\n";
        let position = |offset| Position::of(text, offset).to_string();
        assert_eq!(position(0), "1:1");
        assert_eq!(position(text.find('=').unwrap()), "2:8");
        assert_eq!(position(3), "2:1", "inside a character is its start");
        assert_eq!(position(999), "3:1");
    }
}
