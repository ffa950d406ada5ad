//! Before something is taken away.

use super::super::Key;
use super::page::Page;
use super::{Button, Pressed};

#[derive(Clone, Debug)]
pub(in crate::cli::tui) struct ConfirmDialog {
    /// Of the row that would be removed.
    pub(in crate::cli::tui) number: u64,
    question: String,
    button: Button,
}

impl ConfirmDialog {
    pub(in crate::cli::tui) fn remove(number: u64, row: &crate::presence::Row) -> Self {
        Self {
            number,
            question: format!(
                "Remove number {number}, {row}? What it protects is as rules and presence say from then on."
            ),
            button: Button::Cancel,
        }
    }

    pub(in crate::cli::tui) fn key(&mut self, key: Key) -> Pressed {
        self.button.key(key)
    }

    pub(super) fn page(&self) -> Page {
        let mut page = Page::new("REMOVE", 60);
        page.line("").remark(&self.question, 1).line("");
        page.buttons([
            ("OK", self.button == Button::Ok),
            ("CANCEL", self.button == Button::Cancel),
        ]);
        page
    }
}
