//! A message: keys with values, lists and sections, in their order.
//!
//! ```text
//!  section  1 │ name, 1 + n │ elements… │ 2
//!  value    3 │ name, 1 + n │ value, 2 + n
//!  list     4 │ name, 1 + n │ (5 │ value, 2 + n)… │ 6
//! ```

const SECTION_START: u8 = 1;
const SECTION_END: u8 = 2;
const KEY_VALUE: u8 = 3;
const LIST_START: u8 = 4;
const LIST_ITEM: u8 = 5;
const LIST_END: u8 = 6;

/// charon nests four sections.
const DEEPEST: usize = 16;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message(pub Vec<(String, Value)>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(String),
    List(Vec<String>),
    Section(Message),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("it is cut short")]
    Short,
    #[error("an element of kind {0} stands where none may")]
    Element(u8),
    #[error("its sections are nested too deep")]
    Deep,
    #[error("a packet of {0} octets")]
    Length(usize),
    #[error("an operation {0}")]
    Operation(u8),
}

impl Message {
    /// Of values alone.
    pub fn of<const N: usize>(values: [(&str, &str); N]) -> Self {
        let value = |(name, value): (&str, &str)| (name.to_owned(), Value::Text(value.to_owned()));
        Self(values.into_iter().map(value).collect())
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|(key, value)| match value {
            Value::Text(text) if key == name => Some(text.as_str()),
            _ => None,
        })
    }

    /// Empty where there is none.
    pub fn list(&self, name: &str) -> &[String] {
        let list = self.0.iter().find_map(|(key, value)| match value {
            Value::List(list) if key == name => Some(list.as_slice()),
            _ => None,
        });
        list.unwrap_or_default()
    }

    pub fn section(&self, name: &str) -> Option<&Self> {
        let mut sections = self.sections();
        sections.find_map(|(key, section)| (key == name).then_some(section))
    }

    pub fn sections(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.0.iter().filter_map(|(key, value)| match value {
            Value::Section(section) => Some((key.as_str(), section)),
            _ => None,
        })
    }

    /// Names are cut at 255 octets and values at 65,535, which is what their lengths can say.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for (name, value) in &self.0 {
            match value {
                Value::Text(text) => {
                    out.push(KEY_VALUE);
                    put_name(out, name);
                    put_value(out, text);
                }
                Value::List(list) => {
                    out.push(LIST_START);
                    put_name(out, name);
                    for item in list {
                        out.push(LIST_ITEM);
                        put_value(out, item);
                    }
                    out.push(LIST_END);
                }
                Value::Section(section) => {
                    out.push(SECTION_START);
                    put_name(out, name);
                    section.encode(out);
                    out.push(SECTION_END);
                }
            }
        }
    }

    /// Octets that are no UTF-8, as in certificates, are replaced.
    ///
    /// # Errors
    /// It is cut short, or its elements do not nest.
    pub fn decode(octets: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(octets);
        // Those that are open, with the name of each but the outermost.
        let mut open: Vec<(String, Self)> = vec![Default::default()];
        while let Some(kind) = reader.octet() {
            let Some((_, inner)) = open.last_mut() else {
                return Err(Malformed::Element(kind));
            };
            match kind {
                KEY_VALUE => {
                    let name = reader.name()?;
                    inner.0.push((name, Value::Text(reader.value()?)));
                }
                LIST_START => {
                    let name = reader.name()?;
                    inner.0.push((name, Value::List(reader.list()?)));
                }
                SECTION_START if open.len() > DEEPEST => return Err(Malformed::Deep),
                SECTION_START => open.push((reader.name()?, Self::default())),
                SECTION_END => {
                    let closed = open.pop().zip(open.last_mut());
                    let Some(((name, section), (_, outer))) = closed else {
                        return Err(Malformed::Element(kind));
                    };
                    outer.0.push((name, Value::Section(section)));
                }
                _ => return Err(Malformed::Element(kind)),
            }
        }
        match (open.pop(), open.is_empty()) {
            (Some((_, message)), true) => Ok(message),
            _ => Err(Malformed::Short),
        }
    }
}

pub(super) fn put_name(out: &mut Vec<u8>, name: &str) {
    let len = u8::try_from(name.len()).unwrap_or(u8::MAX);
    out.push(len);
    out.extend_from_slice(&name.as_bytes()[..len.into()]);
}

fn put_value(out: &mut Vec<u8>, value: &str) {
    let len = u16::try_from(value.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&value.as_bytes()[..len.into()]);
}

pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    fn octet(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn text(&mut self, len: usize) -> Result<String, Malformed> {
        let (text, rest) = self.0.split_at_checked(len).ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    pub(super) fn name(&mut self) -> Result<String, Malformed> {
        let len = self.octet().ok_or(Malformed::Short)?;
        self.text(len.into())
    }

    fn value(&mut self) -> Result<String, Malformed> {
        let (len, rest) = self.0.split_first_chunk().ok_or(Malformed::Short)?;
        self.0 = rest;
        self.text(u16::from_be_bytes(*len).into())
    }

    fn list(&mut self) -> Result<Vec<String>, Malformed> {
        let mut list = Vec::new();
        loop {
            match self.octet().ok_or(Malformed::Short)? {
                LIST_ITEM => list.push(self.value()?),
                LIST_END => return Ok(list),
                kind => return Err(Malformed::Element(kind)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_lists_and_sections_are_written_as_charon_reads_them() {
        let message = Message(vec![
            ("key1".into(), Value::Text("value1".into())),
            (
                "section1".into(),
                Value::Section(Message(vec![(
                    "list1".into(),
                    Value::List(vec!["item1".into(), "item2".into()]),
                )])),
            ),
        ]);
        let mut octets = Vec::new();
        message.encode(&mut octets);
        let expected: &[&[u8]] = &[
            b"\x03\x04key1\x00\x06value1",
            b"\x01\x08section1",
            b"\x04\x05list1\x05\x00\x05item1\x05\x00\x05item2\x06",
            b"\x02",
        ];
        assert_eq!(octets, expected.concat());
        assert_eq!(Message::decode(&octets), Ok(message));
    }

    #[test]
    fn what_does_not_nest_is_refused() {
        for (octets, malformed) in [
            (&b"\x02"[..], Malformed::Element(2)),
            (b"\x01\x01a", Malformed::Short),
            (b"\x03\x04key", Malformed::Short),
            (b"\x03\x01k\x00\x09v", Malformed::Short),
            (b"\x04\x01l\x03\x01k", Malformed::Element(3)),
            (b"\x06", Malformed::Element(6)),
            (&b"\x01\x01a".repeat(40), Malformed::Deep),
        ] {
            assert_eq!(Message::decode(octets), Err(malformed), "{octets:?}");
        }
    }

    fn any_message() -> impl Strategy<Value = Message> {
        let word = || "[a-z0-9.-]{0,12}";
        let leaf = prop_oneof![
            word().prop_map(Value::Text),
            prop::collection::vec(word(), 0..4).prop_map(Value::List),
        ];
        let value = leaf.prop_recursive(4, 32, 4, move |inner| {
            let elements = prop::collection::vec((word(), inner), 0..4);
            elements.prop_map(|elements| Value::Section(Message(elements)))
        });
        prop::collection::vec((word(), value), 0..6).prop_map(Message)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(message in any_message()) {
            let mut octets = Vec::new();
            message.encode(&mut octets);
            prop_assert_eq!(Message::decode(&octets), Ok(message));
        }

        #[test]
        fn any_octets_are_read_without_panic(octets in prop::collection::vec(any::<u8>(), 0..96)) {
            let _ = Message::decode(&octets);
        }
    }
}
