//! One line of typing that takes only what can become an address, a prefix or a port.

use super::super::Key;

#[derive(Clone, Debug)]
pub(super) struct TextField {
    kind: Kind,
    /// ASCII, for nothing else is taken.
    text: String,
    cursor: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Address,
    /// An address, or a prefix.
    Network,
    Port,
}

/// What a key did to the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    Changed,
    /// The cursor may have moved.
    Same,
    Refused(&'static str),
    /// It is no key for a field.
    Foreign,
}

impl Kind {
    fn longest(self) -> usize {
        match self {
            Self::Address => "1111:1111:1111:1111:1111:1111:255.255.255.255".len(),
            Self::Network => "1111:1111:1111:1111:1111:1111:255.255.255.255/128".len(),
            Self::Port => "65535".len(),
        }
    }

    /// Whether more typing can still make something of it; otherwise why not.
    fn promising(self, text: &str) -> Result<(), &'static str> {
        let address = |c: char| c.is_ascii_hexdigit() || c == '.' || c == ':';
        let (good, reason) = match self {
            Self::Address => (
                text.chars().all(address),
                "an address is written like 192.168.1.2 or 2001:db8::2",
            ),
            Self::Network => (
                text.chars().all(|c| address(c) || c == '/'),
                "an address or a prefix is written like 192.168.1.2 or 192.168.1.0/24",
            ),
            Self::Port => (
                text.is_empty() || text.parse::<u16>().is_ok_and(|port| port != 0),
                "a port is a number from 1 to 65535",
            ),
        };
        if good && text.len() <= self.longest() {
            Ok(())
        } else {
            Err(reason)
        }
    }
}

impl TextField {
    pub(super) fn new(kind: Kind, text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            kind,
            cursor: text.len(),
            text,
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn key(&mut self, key: Key) -> Typed {
        match key {
            Key::Char(' ') => return Typed::Foreign,
            Key::Char(c) => return self.insert(c),
            Key::Backspace if self.cursor > 0 => {
                self.cursor -= 1;
                return self.remove(self.cursor);
            }
            Key::Delete if self.cursor < self.text.len() => return self.remove(self.cursor),
            Key::Left => self.cursor = self.cursor.saturating_sub(1),
            Key::Right => self.cursor = (self.cursor + 1).min(self.text.len()),
            Key::Home => self.cursor = 0,
            Key::End => self.cursor = self.text.len(),
            Key::Backspace | Key::Delete => {}
            _ => return Typed::Foreign,
        }
        Typed::Same
    }

    fn insert(&mut self, c: char) -> Typed {
        let mut text = self.text.clone();
        text.insert(self.cursor, c);
        match self.kind.promising(&text) {
            Ok(()) => {
                self.text = text;
                self.cursor += c.len_utf8();
                Typed::Changed
            }
            Err(reason) => Typed::Refused(reason),
        }
    }

    fn remove(&mut self, at: usize) -> Typed {
        self.text.remove(at);
        Typed::Changed
    }

    /// What fits `width`, and the cursor's place in it.
    pub(super) fn shown(&self, width: usize) -> (&str, usize) {
        let begin = (self.cursor + 1).saturating_sub(width);
        let end = self.text.len().min(begin + width);
        (&self.text[begin..end], self.cursor - begin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn typed(kind: Kind, text: &str) -> (String, Vec<Typed>) {
        let mut field = TextField::new(kind, "");
        let keys = text.chars().map(|c| field.key(Key::Char(c))).collect();
        (field.text().to_owned(), keys)
    }

    #[test]
    fn what_cannot_become_a_port_is_refused_at_the_key() {
        assert_eq!(typed(Kind::Port, "443").0, "443");
        for (text, taken) in [("0", ""), ("65536", "6553"), ("4a3", "43"), ("-1", "1")] {
            let (field, keys) = typed(Kind::Port, text);
            assert_eq!(field, taken);
            assert!(keys.contains(&Typed::Refused("a port is a number from 1 to 65535")));
        }
    }

    #[test]
    fn a_field_for_addresses_takes_nothing_else() {
        assert_eq!(typed(Kind::Address, "2001:db8::2").0, "2001:db8::2");
        assert_eq!(typed(Kind::Address, "10.0.0.0/8").0, "10.0.0.08");
        assert_eq!(typed(Kind::Network, "10.0.0.0/8").0, "10.0.0.0/8");
        assert_eq!(typed(Kind::Address, "\x1b[2J\u{202e}ü").0, "2");
    }

    #[test]
    fn text_is_edited_where_the_cursor_is() {
        let mut field = TextField::new(Kind::Address, "10.0.0.2");
        for key in [
            Key::Home,
            Key::Delete,
            Key::Delete,
            Key::Char('9'),
            Key::End,
            Key::Backspace,
        ] {
            field.key(key);
        }
        assert_eq!(field.text(), "9.0.0.");
        assert_eq!(field.key(Key::Delete), Typed::Same, "nothing stands there");
    }

    proptest! {
        #[test]
        fn the_cursor_stays_in_sight(
            keys in prop::collection::vec(prop::sample::select(vec![
                Key::Char('1'), Key::Char(':'), Key::Char('é'), Key::Left, Key::Right, Key::Home,
                Key::End, Key::Backspace, Key::Delete,
            ]), 0..80),
            width in 1usize..20,
        ) {
            let mut field = TextField::new(Kind::Network, "");
            for key in keys {
                field.key(key);
                let (shown, cursor) = field.shown(width);
                prop_assert!(shown.len() <= width && cursor < width.max(1));
                prop_assert!(cursor <= shown.len());
                prop_assert!(field.text().len() <= Kind::Network.longest());
            }
        }
    }
}
