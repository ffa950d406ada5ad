//! What a dialog paints: lines of labels, fields, ticks and buttons in a frame with a title.

use super::text_field::TextField;
use crate::cli::render;
use ratatui::Frame;
use ratatui::layout::{Constraint, Position, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};
use std::iter;

#[derive(Debug)]
pub(in crate::cli::tui) struct Page {
    title: String,
    width: u16,
    lines: Vec<Line<'static>>,
    /// Inside the frame.
    cursor: Option<Position>,
}

/// How a part stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Plain,
    Focused,
    Disabled,
}

impl Look {
    fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Focused => Style::new().add_modifier(Modifier::REVERSED),
            Self::Disabled => Style::new().add_modifier(Modifier::DIM),
        }
    }
}

impl Page {
    /// `width` with the frame.
    pub(super) fn new(title: impl Into<String>, width: u16) -> Self {
        Self {
            title: title.into(),
            width,
            lines: Vec::new(),
            cursor: None,
        }
    }

    /// What follows stands on a line of its own, after its label.
    pub(super) fn line(&mut self, label: &str) -> &mut Self {
        self.lines.push(Line::raw(label.to_owned()));
        self
    }

    pub(super) fn text(&mut self, text: impl Into<String>, look: Look) -> &mut Self {
        if self.lines.is_empty() {
            self.line("");
        }
        if let Some(line) = self.lines.last_mut() {
            line.push_span(Span::styled(text.into(), look.style()));
        }
        self
    }

    /// What is typed, in a box; of longer text, the part around the cursor.
    pub(super) fn field(&mut self, field: &TextField, width: usize, look: Look) -> &mut Self {
        let (shown, cursor) = field.shown(width);
        self.text("[", Look::Plain);
        if look == Look::Focused {
            let column = self.lines.last().map_or(0, Line::width) + cursor;
            let row = self.lines.len().saturating_sub(1);
            self.cursor = Some(Position::new(column as u16, row as u16));
        }
        let blank = look == Look::Disabled;
        let shown = if blank { "" } else { shown };
        let look = if look == Look::Focused {
            Look::Plain
        } else {
            look
        };
        self.text(format!("{shown:<width$}"), look)
            .text("]", Look::Plain)
    }

    pub(super) fn tick(&mut self, ticked: bool, label: &str, look: Look) -> &mut Self {
        let mark = if ticked && look != Look::Disabled {
            '☒'
        } else {
            '☐'
        };
        self.text(format!("{mark} {label}"), look)
            .text("  ", Look::Plain)
    }

    /// In the middle of a line of their own.
    pub(super) fn buttons(&mut self, buttons: [(&str, bool); 2]) -> &mut Self {
        let labels = buttons.map(|(label, _)| format!("[ {label} ]"));
        let widths: usize = labels.iter().map(String::len).sum();
        let room = usize::from(self.width.saturating_sub(2));
        self.line(&" ".repeat(room.saturating_sub(widths + 4) / 2));
        for (label, (_, focused)) in labels.into_iter().zip(buttons) {
            let look = if focused { Look::Focused } else { Look::Plain };
            self.text(label, look).text("    ", Look::Plain);
        }
        self
    }

    /// A label and all of its text, over as many lines as it takes.
    pub(super) fn value(&mut self, label: &str, text: &str) -> &mut Self {
        let label = format!(" {label:<12} ");
        let room = usize::from(self.width.saturating_sub(3)).saturating_sub(label.len());
        for (index, piece) in pieces(text, room).into_iter().enumerate() {
            let label = if index == 0 {
                label.as_str()
            } else {
                "              "
            };
            self.line(label).text(piece, Look::Plain);
        }
        self
    }

    /// Something to read: at least `lines` lines, and of what others wrote no more than five.
    pub(super) fn remark(&mut self, text: &str, lines: usize) -> &mut Self {
        const MOST: usize = 5;
        let room = usize::from(self.width.saturating_sub(4));
        let words = render::wrap(text, room).into_iter();
        let shown: Vec<_> = words
            .flat_map(|line| pieces(line, room))
            .take(MOST)
            .collect();
        let blank = lines.saturating_sub(shown.len());
        for piece in shown
            .iter()
            .map(String::as_str)
            .chain(iter::repeat_n("", blank))
        {
            self.line(&format!(" {piece}"));
        }
        self
    }

    pub(in crate::cli::tui) fn draw(&self, frame: &mut Frame<'_>, within: Rect) {
        let height = (self.lines.len() as u16).saturating_add(2);
        let area = within.centered(Constraint::Length(self.width), Constraint::Length(height));
        frame.render_widget(Clear, area);
        let block = Block::bordered().title(format!(" {} ", self.title));
        let inside = block.inner(area);
        let mut lines = self.lines.clone();
        // On a screen that is too low the buttons stay in sight.
        let room = usize::from(inside.height);
        if let Some(buttons) = lines.pop_if(|_| self.lines.len() > room) {
            lines.truncate(room.saturating_sub(1));
            lines.push(buttons);
        }
        frame.render_widget(Paragraph::new(lines).block(block), area);
        if let Some(cursor) = self.cursor {
            let place = Position::new(inside.x + cursor.x, inside.y + cursor.y);
            if inside.contains(place) {
                frame.set_cursor_position(place);
            }
        }
    }
}

/// Cut where `width` columns are full, words or not; one piece at least.
fn pieces(text: &str, width: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for c in text.chars() {
        let piece = pieces.last_mut().expect("one from the start");
        piece.push(c);
        if Line::raw(piece.as_str()).width() > width && piece.len() > c.len_utf8() {
            piece.pop();
            pieces.push(c.into());
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_hold_the_whole_text_and_fit(text in "[a-z中村 ]{0,60}", width in 2usize..20) {
            let pieces = pieces(&text, width);
            prop_assert_eq!(pieces.concat(), text);
            for piece in pieces {
                prop_assert!(Line::raw(piece.as_str()).width() <= width, "{piece:?}");
            }
        }
    }
}
