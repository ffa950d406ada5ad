//! The values that the figures show, for tests.

use crate::agent::presence::commands::{PolicyEntry, PresenceEntry};
use crate::net::{Port, Protocol};
use crate::presence::row::{Action, Direction, Level};
use crate::presence::{Authenticity, Presence, Protocols, Record, Row, Source, Timestamp};

/// 2002-09-28 10:49:29 and 16:15:46, in UTC.
const MORNING: Timestamp = Timestamp(1_033_210_169);
const AFTERNOON: Timestamp = Timestamp(1_033_229_746);

fn presence(entity: &str, address: &str, user: &str, location: &str, time: Timestamp) -> Presence {
    Presence {
        entity: entity.parse().unwrap(),
        addresses: vec![address.parse().unwrap()],
        user: Some(user.parse().unwrap()),
        location: location.parse().unwrap(),
        time,
        expires: Timestamp(time.0 + 3600),
        sequence: 7,
    }
}

/// FIG. 9. (FIG. 6 prints 196.128.1.2 for the same machine.)
pub(super) fn john_in_the_office() -> Presence {
    presence(
        "peerA@example.com",
        "192.168.1.2",
        "John",
        "office",
        MORNING,
    )
}

/// FIG. 11.
pub(super) fn bob_outside() -> Presence {
    presence(
        "peerB@example.com",
        "133.134.10.10",
        "Bob",
        "external",
        AFTERNOON,
    )
}

pub(super) fn believed(presence: Presence) -> PresenceEntry {
    PresenceEntry {
        entity: presence.entity.clone(),
        own: false,
        believed: Some(record(presence)),
        hint: None,
        history: Vec::new(),
    }
}

pub(super) fn record(presence: Presence) -> Record {
    Record {
        received: presence.time,
        presence,
        source: Source::Peer,
        authenticity: Authenticity::Authenticated("john.example".into()),
    }
}

/// FIG. 7 and FIG. 8.
pub(super) fn row_for_john() -> Row {
    Row {
        source: "192.168.1.1/32".parse().unwrap(),
        source_port: Port::Any,
        destination: "192.168.1.2/32".parse().unwrap(),
        destination_port: Port::Any,
        transport: Protocol::UDP,
        direction: Direction::Out,
        action: Action::None,
        protocols: Protocols::NONE,
        mode: None,
        end_point: None,
        level: None,
    }
}

/// FIG. 13.
pub(super) fn row_for_bob() -> Row {
    Row {
        destination: "133.134.10.10/32".parse().unwrap(),
        action: Action::Ipsec,
        protocols: Protocols::AH_ESP,
        level: Some(Level::Require),
        ..row_for_john()
    }
}

pub(super) fn entry(number: Option<u64>, row: Row, because: &str) -> PolicyEntry {
    PolicyEntry {
        number,
        row,
        entity: None,
        because: because.into(),
        kernel: None,
    }
}
