//! Columns of text.

use std::fmt::Write;

/// Columns as wide as their longest cell, two blanks between them. The last column takes what is
/// left of the width and goes on in further lines.
#[derive(Debug)]
pub struct Table {
    /// The first is the heading, where there is one.
    rows: Vec<Vec<String>>,
    columns: usize,
}

const GAP: usize = 2;
/// With less than this left, the last column gets lines of its own.
const MIN_LAST: usize = 24;
const INDENT: usize = 4;

impl Table {
    pub fn new(headings: &[&str]) -> Self {
        let headings: Vec<String> = headings.iter().map(ToString::to_string).collect();
        Self {
            columns: headings.len(),
            rows: vec![headings],
        }
    }

    /// Without headings.
    pub fn bare(columns: usize) -> Self {
        Self {
            rows: Vec::new(),
            columns,
        }
    }

    pub fn row<const N: usize>(&mut self, cells: [&str; N]) {
        debug_assert_eq!(N, self.columns);
        self.rows.push(cells.map(str::to_owned).into());
    }

    pub fn render(&self, width: usize) -> String {
        let last = self.columns - 1;
        let widths: Vec<usize> = (0..last)
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let before_last: usize = widths.iter().map(|width| width + GAP).sum();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(line, "{cell:<w$}", w = width + GAP);
            }
            let cell = row.get(last).map_or("", String::as_str);
            let room = width.saturating_sub(before_last);
            let fits = cell.chars().count() <= room;
            let indent = if fits || room >= MIN_LAST {
                before_last
            } else {
                push_line(&mut out, &line);
                line = " ".repeat(INDENT);
                INDENT
            };
            let mut pieces = wrap(cell, width.saturating_sub(indent)).into_iter();
            line.push_str(pieces.next().unwrap_or_default());
            push_line(&mut out, &line);
            for piece in pieces {
                push_line(&mut out, &format!("{:indent$}{piece}", ""));
            }
        }
        out
    }
}

fn push_line(out: &mut String, line: &str) {
    let line = line.trim_end();
    if !line.is_empty() {
        out.push_str(line);
        out.push('\n');
    }
}

/// At blanks; a word longer than the width stays whole.
pub(in crate::cli) fn wrap(text: &str, width: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while rest.chars().count() > width {
        let limit = rest
            .char_indices()
            .nth(width)
            .map_or(rest.len(), |(i, _)| i);
        let fitting = rest[..limit].rfind(' ').filter(|at| *at > 0);
        // The blank may stand exactly behind the last character that fits.
        let at = if rest[limit..].starts_with(' ') {
            Some(limit)
        } else {
            fitting
        };
        let Some(at) = at.or_else(|| rest.find(' ').filter(|at| *at > 0)) else {
            break;
        };
        pieces.push(&rest[..at]);
        rest = rest[at..].trim_start();
    }
    pieces.push(rest);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table() -> Table {
        let mut table = Table::new(&["NAME", "STATE", "REASON"]);
        table.row(["a", "up", ""]);
        table.row(["long-name", "down", "nobody answered and nobody ever will"]);
        table
    }

    #[test]
    fn the_last_column_goes_on_below_itself() {
        assert_eq!(
            table().render(45),
            "\
NAME       STATE  REASON
a          up
long-name  down   nobody answered and nobody
                  ever will
"
        );
    }

    #[test]
    fn a_last_column_without_room_gets_lines_of_its_own() {
        assert_eq!(
            table().render(38),
            "\
NAME       STATE  REASON
a          up
long-name  down
    nobody answered and nobody ever
    will
"
        );
    }

    proptest! {
        #[test]
        fn wrapping_loses_no_word_and_is_too_wide_only_for_single_words(
            words in prop::collection::vec("[a-zé]{1,12}", 0..12), width in 1usize..40,
        ) {
            let text = words.join(" ");
            let pieces = wrap(&text, width);
            prop_assert_eq!(pieces.join(" "), text.clone());
            for piece in pieces {
                prop_assert!(piece.chars().count() <= width || !piece.contains(' '));
            }
        }
    }
}
