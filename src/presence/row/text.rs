//! A row in one line, in the manner of setkey:
//!
//! ```text
//! out 192.168.1.1[any] 133.134.10.10[any] udp ipsec ah+esp transport require
//! out 192.168.1.1[any] 10.0.0.0/8[443] tcp ipsec esp tunnel 192.0.2.1 require
//! in 192.168.1.2[any] 192.168.1.1[any] udp none
//! ```

use super::{Action, Direction, Level, Mode, Row};
use crate::net::{IpNet, Port, host};
use crate::presence::Protocols;
use std::fmt;
use std::str::FromStr;

macro_rules! word {
    ($($name:ident { $($value:ident $word:literal)* })*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self {
                    $(Self::$value => $word,)*
                })
            }
        }

        impl $name {
            fn of_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$value),)*
                    _ => None,
                }
            }
        }
    )*};
}

word! {
    Direction { In "in" Out "out" }
    Action { Discard "discard" None "none" Ipsec "ipsec" }
    Mode { Transport "transport" Tunnel "tunnel" }
    Level { Default "default" Use "use" Require "require" }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}[{}] {}[{}] {} {}",
            self.direction,
            Side(self.source),
            self.source_port,
            Side(self.destination),
            self.destination_port,
            self.transport,
            self.action
        )?;
        if !self.protocols.is_empty() {
            write!(f, " {}", self.protocols)?;
        }
        if let Some(mode) = self.mode {
            write!(f, " {mode}")?;
        }
        if let Some(end_point) = self.end_point {
            write!(f, " {end_point}")?;
        }
        if let Some(level) = self.level {
            write!(f, " {level}")?;
        }
        Ok(())
    }
}

/// A host without its prefix length, as the figures draw it.
struct Side(IpNet);

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(f)
        } else {
            self.0.fmt(f)
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRow {
    #[error(
        "a row ends before its {0}: it is written `out SOURCE[PORT] DESTINATION[PORT] udp ipsec ah+esp transport require`"
    )]
    Short(&'static str),
    #[error("`{0}` is not a direction: use in or out")]
    Direction(String),
    #[error("`{0}` is not an address with a port: write 192.168.1.1[any] or 10.0.0.0/8[443]")]
    Side(String),
    #[error("{0}")]
    Transport(#[from] crate::net::protocol::UnknownProtocol),
    #[error("`{0}` is not an action: use discard, none or ipsec")]
    Action(String),
    #[error(
        "`{0}` is unknown or there twice: after the action come ah, esp, ipcomp joined by +, then \
         transport or tunnel END-POINT, then default, use or require"
    )]
    Word(String),
}

impl FromStr for Row {
    type Err = InvalidRow;

    /// Of the form only; whether the fields make sense together, [`Row::problems`] says.
    fn from_str(text: &str) -> Result<Self, InvalidRow> {
        let mut words = text.split_ascii_whitespace();
        let mut next = |what| words.next().ok_or(InvalidRow::Short(what));
        let word = next("direction")?;
        let direction =
            Direction::of_word(word).ok_or_else(|| InvalidRow::Direction(word.to_owned()))?;
        let (source, source_port) = side(next("source")?)?;
        let (destination, destination_port) = side(next("destination")?)?;
        let transport = next("protocol")?.parse()?;
        let word = next("action")?;
        let action = Action::of_word(word).ok_or_else(|| InvalidRow::Action(word.to_owned()))?;
        let mut row = Self {
            source,
            source_port,
            destination,
            destination_port,
            transport,
            direction,
            action,
            protocols: Protocols::NONE,
            mode: None,
            end_point: None,
            level: None,
        };
        for word in words {
            row.take(word)
                .ok_or_else(|| InvalidRow::Word(word.to_owned()))?;
        }
        Ok(row)
    }
}

impl Row {
    /// One word after the action, each in its place and once.
    fn take(&mut self, word: &str) -> Option<()> {
        if self.level.is_some() {
            return None;
        }
        if let Some(level) = Level::of_word(word) {
            self.level = Some(level);
        } else if let (None, Ok(end_point)) = (self.end_point, word.parse()) {
            self.end_point = Some(end_point);
        } else if self.end_point.is_some() || self.mode.is_some() {
            return None;
        } else if let Some(mode) = Mode::of_word(word) {
            self.mode = Some(mode);
        } else if self.protocols.is_empty() {
            self.protocols = protocols(word)?;
        } else {
            return None;
        }
        Some(())
    }
}

fn side(word: &str) -> Result<(IpNet, Port), InvalidRow> {
    let parsed = || {
        let (net, port) = word.strip_suffix(']')?.split_once('[')?;
        let net = match net.parse() {
            Ok(addr) => host(addr),
            Err(_) => net.parse().ok()?,
        };
        Some((net, port.parse().ok()?))
    };
    parsed().ok_or_else(|| InvalidRow::Side(word.to_owned()))
}

fn protocols(word: &str) -> Option<Protocols> {
    let mut protocols = Protocols::NONE;
    for name in word.split('+') {
        let ticked = match name {
            "ah" => &mut protocols.ah,
            "esp" => &mut protocols.esp,
            "ipcomp" => &mut protocols.ipcomp,
            _ => return None,
        };
        if std::mem::replace(ticked, true) {
            return None;
        }
    }
    Some(protocols)
}
