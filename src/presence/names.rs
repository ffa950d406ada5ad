//! Names that come from the wire, from files and from people: checked once, harmless afterwards,
//! and cheap to copy, since every table has them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Who the presence is about, as `user@domain` (FIG. 6, 620): compared without regard to case of
/// the domain, at most 255 octets of printable ASCII.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Entity(Arc<str>);

/// What a person is called (FIG. 6, 622): any script, at most 128 octets, nothing that moves a
/// terminal's cursor or reverses its text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserName(Arc<str>);

/// The name of a place (FIG. 6, 623), such as `office` or `external`: lower-case letters, digits
/// and `-`, at most 64 octets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Location(Arc<str>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    #[error("an entity is written user@domain, in printable ASCII of at most 255 octets")]
    Entity,
    #[error(
        "a user name has 1 to 128 octets without control characters or ones that change the \
         direction of writing"
    )]
    UserName,
    #[error("a location is 1 to 64 lower-case letters, digits and hyphens, such as `office`")]
    Location,
}

impl FromStr for Entity {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let printable = text.len() <= 255 && text.bytes().all(|b| b.is_ascii_graphic());
        match text.split_once('@') {
            Some((user, domain))
                if printable && !user.is_empty() && !domain.is_empty() && !domain.contains('@') =>
            {
                let mut name: Arc<str> = text.into();
                let domain_at = user.len() + 1;
                if let Some(name) = Arc::get_mut(&mut name) {
                    name[domain_at..].make_ascii_lowercase();
                }
                Ok(Self(name))
            }
            _ => Err(InvalidName::Entity),
        }
    }
}

impl FromStr for UserName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let harmless = |c: char| !c.is_control() && !changes_direction(c);
        if (1..=128).contains(&text.len()) && text.chars().all(harmless) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName::UserName)
        }
    }
}

/// Marks, embeddings, overrides and isolates (Unicode Standard Annex 9), line and paragraph
/// separators, and characters without width.
pub fn changes_direction(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

impl FromStr for Location {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName::Location)
        }
    }
}

macro_rules! text {
    ($($name:ident)*) => {$(
        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().to_owned()
            }
        }
    )*};
}

text! { Entity UserName Location }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_figures_are_names() {
        assert_eq!(
            "peerA@Example.COM".parse::<Entity>().unwrap().as_str(),
            "peerA@example.com"
        );
        assert!("John".parse::<UserName>().is_ok());
        assert!("Jörg Müller 中村".parse::<UserName>().is_ok());
        assert!("office".parse::<Location>().is_ok());
    }

    #[test]
    fn what_would_reach_a_terminal_as_more_than_text_is_no_name() {
        for text in [
            "",
            "a\x1b[2Jb",
            "a\nb",
            "a\u{9b}31m",
            "evil\u{202e}gnp.exe",
            "a\u{200b}b",
            &"x".repeat(129),
        ] {
            assert_eq!(
                text.parse::<UserName>(),
                Err(InvalidName::UserName),
                "{text:?}"
            );
        }
        for text in ["", "@", "a@", "@b", "a@b@c", "a b@c", "a@b\x07", "ü@b"] {
            assert_eq!(text.parse::<Entity>(), Err(InvalidName::Entity), "{text:?}");
        }
        for text in ["", "Office", "of fice", "büro", &"x".repeat(65)] {
            assert_eq!(
                text.parse::<Location>(),
                Err(InvalidName::Location),
                "{text:?}"
            );
        }
    }

    #[test]
    fn the_checks_hold_for_what_is_read_from_json_too() {
        assert!(serde_json::from_str::<UserName>(r#""a\u001b[2J""#).is_err());
        assert_eq!(
            serde_json::to_string(&"a@b".parse::<Entity>().unwrap()).unwrap(),
            r#""a@b""#
        );
    }
}
