//! Text that others wrote, on its way to a terminal: nothing in it moves the cursor, changes a
//! colour or turns the direction of writing.

use crate::presence::names::changes_direction;
use std::fmt::Write;

/// One line of text; what is not text shows as `\u{1b}`.
pub fn safe(text: &str) -> String {
    escaped(text, hazardous, |out, c| {
        let _ = write!(out, "{}", c.escape_unicode());
    })
}

/// The same, with the line breaks that are ours.
pub fn lines(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(safe).collect();
    lines.join("\n")
}

/// A JSON document that says the same. What JSON lets through unescaped (C1 controls, marks of
/// direction) stands in it only inside strings, where it may be escaped.
pub fn json(document: &str) -> String {
    let between_values = |c| matches!(c, '\n' | ' ');
    escaped(
        document,
        |c| hazardous(c) && !between_values(c),
        |out, c| {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        },
    )
}

fn hazardous(c: char) -> bool {
    c.is_control() || changes_direction(c)
}

fn escaped(
    text: &str,
    hazardous: impl Fn(char) -> bool,
    escape: impl Fn(&mut String, char),
) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if hazardous(c) {
            escape(&mut out, c);
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_are_shown_and_not_sent() {
        assert_eq!(safe("Jörg 中村"), "Jörg 中村");
        assert_eq!(safe("a\x1b[2Jb\r\n"), r"a\u{1b}[2Jb\u{d}\u{a}");
        assert_eq!(safe("a\u{9b}31m\u{202e}x"), r"a\u{9b}31m\u{202e}x");
        assert_eq!(lines("one\ntwo\x07"), "one\ntwo\\u{7}");
    }

    proptest! {
        #[test]
        fn json_says_the_same_and_holds_nothing_hazardous(
            texts in prop::collection::vec("\\PC{0,3}[\u{7f}-\u{9f}\u{202e}\u{1b}\"\\\\]{0,3}", 0..4),
        ) {
            let escaped = json(&serde_json::to_string_pretty(&texts).unwrap());
            prop_assert!(!escaped.chars().any(|c| hazardous(c) && c != '\n'), "{escaped:?}");
            prop_assert_eq!(serde_json::from_str::<Vec<String>>(&escaped).unwrap(), texts);
        }
    }
}
