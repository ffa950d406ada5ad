//! Round trips, refusals, and the octets that `docs/policy-exchange.md` prints.

use super::*;
use crate::net::{IpNet, Port, Protocol};
use crate::presence::row::{Action, Direction, Level, Mode};
use crate::presence::{Demand, Protocols, Timestamp};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;

/// The document is the other end of these vectors: what it prints is what must be sent.
fn vector(title: &str) -> Vec<u8> {
    let document = include_str!("../../../docs/policy-exchange.md");
    let (_, after) = document
        .split_once(title)
        .expect("the title stands in docs/policy-exchange.md");
    let block = after
        .split("```")
        .nth(1)
        .expect("a block follows the title");
    let lines = block
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_hexdigit()));
    let octets = lines.flat_map(|line| line.split("  ").next().unwrap_or("").split(' '));
    octets
        .map(|octet| u8::from_str_radix(octet, 16).unwrap())
        .collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// FIG. 9.
fn john() -> Presence {
    Presence {
        entity: "peerA@example.com".parse().unwrap(),
        addresses: vec![ip("192.168.1.2")],
        user: Some("John".parse().unwrap()),
        location: "office".parse().unwrap(),
        time: Timestamp(1_033_210_169),
        expires: Timestamp(1_033_213_769),
        sequence: 7,
    }
}

/// FIG. 13.
fn row_of_fig_13() -> Row {
    Row {
        source: "192.168.1.1/32".parse().unwrap(),
        source_port: Port::Any,
        destination: "133.134.10.10/32".parse().unwrap(),
        destination_port: Port::Any,
        transport: Protocol::UDP,
        direction: Direction::Out,
        action: Action::Ipsec,
        protocols: Protocols::AH_ESP,
        mode: None,
        end_point: None,
        level: Some(Level::Require),
    }
}

fn every_field_of_a_row() -> Row {
    Row {
        source: "2001:db8::/32".parse().unwrap(),
        source_port: Port::Is(80),
        destination: "2001:db8:1::/48".parse().unwrap(),
        destination_port: Port::Is(65535),
        transport: Protocol::TCP,
        direction: Direction::In,
        mode: Some(Mode::Tunnel),
        end_point: Some(ip("2001:db8::1")),
        ..row_of_fig_13()
    }
}

fn told(rows: Vec<Row>) -> Answer {
    Answer::Told {
        policy: Some(Told::Granted(rows)),
        more: false,
        presence: Some(Told::Granted(john())),
        subscribed: Some(3600),
    }
}

#[test]
fn the_documents_messages_decode_and_encode_back() {
    let ask = Message::Ask {
        policy: true,
        presence: true,
        subscribe: Some(3600),
    };
    let posture = Message::Posture(Posture {
        epoch: 42,
        demands: vec![
            Demanded::in_transport(
                Class {
                    protocol: Protocol::UDP,
                    own_port: Port::Any,
                    peer_port: Port::Is(5060),
                },
                Protection::require(Protocols::AH_ESP),
            ),
            Demanded::in_transport(Class::ANY, Protection::CLEAR),
        ],
    });
    let udp = Class {
        protocol: Protocol::UDP,
        ..Class::ANY
    };
    let compressed = Protocols {
        ipcomp: true,
        ..Protocols::ESP
    };
    let tunnel = Demanded {
        mode: Mode::Tunnel,
        ..Demanded::in_transport(Class::ANY, Protection::require(Protocols::ESP))
    };
    let both = Message::Posture(Posture {
        epoch: 5,
        demands: vec![
            Demanded::in_transport(udp, Protection::require(compressed)),
            tunnel,
        ],
    });
    for (title, message) in [
        ("### Vector 10", both),
        ("### Vector 1", ask),
        ("### Vector 2", Message::Publish(john())),
        ("### Vector 3", posture),
        ("### Vector 4", Message::Attest),
    ] {
        assert_eq!(hex(&message.encode()), hex(&vector(title)), "{title}");
        assert_eq!(Message::decode(&vector(title)), Ok(message), "{title}");
    }
}

#[test]
fn the_documents_answers_decode_and_encode_back() {
    let refused = Answer::Told {
        policy: Some(Told::Granted(vec![row_of_fig_13()])),
        more: false,
        presence: Some(Told::Refused(Refusal::NotAllowed)),
        subscribed: Some(0),
    };
    let posture = Answer::Posture(Posture {
        epoch: 3,
        demands: vec![Demanded::in_transport(
            Class::ANY,
            Protection::require(Protocols::AH_ESP),
        )],
    });
    let attested = Answer::Attested {
        location: "office".parse().unwrap(),
        address: ip("192.168.1.1"),
    };
    for (title, answer) in [
        ("### Vector 5", refused),
        ("### Vector 6", Answer::Accepted),
        ("### Vector 7", Answer::Refused(Refusal::NotYourEntity)),
        ("### Vector 8", posture),
        ("### Vector 9", attested),
    ] {
        assert_eq!(hex(&answer.encode()), hex(&vector(title)), "{title}");
        assert_eq!(Answer::decode(&vector(title)), Ok(answer), "{title}");
    }
}

fn hex(octets: &[u8]) -> String {
    format!("{octets:02x?}")
}

/// The codes of RFC 8949, by hand.
#[test]
fn what_is_not_understood_is_told_apart_from_what_is_wrong() {
    use Malformed::{Field, NotAMessage, NotCbor, TooLong, UnknownKind, UnknownVersion};
    for (octets, expected) in [
        (&b""[..], NotCbor),
        (b"\xa0", NotAMessage),
        (b"\x80", NotAMessage),
        (b"\x81\x01", NotAMessage),
        (b"\x84\x01\x04\xa0\x00", NotAMessage),
        (b"\x83\x61\x31\x04\xa0", NotAMessage),
        (b"\x83\x01\x04\xa0\x00", NotCbor),
        (b"\x83\x01\x04", NotCbor),
        (b"\x81\x02", UnknownVersion(2)),
        (b"\x84\x18\x63\x04\xa0\x00", UnknownVersion(99)),
        (b"\x83\x01\x05\xa0", UnknownKind(5)),
        (b"\x83\x01\x18\x81\xa0", UnknownKind(129)),
        (b"\x83\x01\x04\x00", Field("contents")),
        (b"\x83\x01\x04\xa1\x61\x61\x00", Field("contents")),
        (b"\x83\x01\x04\xa2\x00\x00\x00\x01", Field("contents")),
        (b"\x83\x01\x01\xa0", Field("policy")),
        (b"\x83\x01\x01\xa2\x00\xf5\x01\x01", Field("presence")),
        // An array and a text that claim to be far longer than what follows.
        (b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff\x01", NotCbor),
        (b"\x7b\xff\xff\xff\xff\xff\xff\xff\xff\x61", NotCbor),
        (&[0x81; MAX_LEN], NotCbor),
        (&[0xc1; MAX_LEN], NotCbor),
        (&[0; MAX_LEN + 1], TooLong(MAX_LEN + 1)),
    ] {
        assert_eq!(
            Message::decode(octets),
            Err(expected),
            "{}",
            hex(&octets[..octets.len().min(16)])
        );
    }
    assert_eq!(UnknownVersion(2).refusal(), Refusal::NotUnderstood);
    assert_eq!(UnknownKind(5).refusal(), Refusal::NotUnderstood);
    assert_eq!(NotCbor.refusal(), Refusal::Malformed);
}

#[test]
fn what_a_later_minor_change_adds_is_ignored() {
    let attest = b"\x83\x01\x04\xa1\x18\x20\x82\x01\xa1\x01\x02";
    assert_eq!(Message::decode(attest), Ok(Message::Attest));
}

#[test]
fn names_and_addresses_are_checked() {
    let octets = Message::Publish(john()).encode();
    let replaced = |from: &[u8], to: &[u8]| {
        let at = octets.windows(from.len()).position(|w| w == from).unwrap();
        let mut octets = octets.clone();
        octets.splice(at..at + from.len(), to.iter().copied());
        Message::decode(&octets)
    };
    let refused = |what| Err(Malformed::Field(what));
    assert_eq!(replaced(b"John", b"Jo\x1bn"), refused("user"));
    assert_eq!(replaced(b"office", b"Office"), refused("location"));
    assert_eq!(replaced(b"peerA@", b"peerA."), refused("entity"));
    let address = b"\x81\x44\xc0\xa8\x01\x02";
    assert_eq!(replaced(address, b"\x80"), refused("addresses"));
    assert_eq!(
        replaced(address, b"\x81\x43\xc0\xa8\x01"),
        refused("addresses")
    );
    let twice = b"\x82\x44\xc0\xa8\x01\x02\x44\xc0\xa8\x01\x02";
    assert_eq!(replaced(address, twice), refused("addresses"));
    let descending = b"\x82\x44\xc0\xa8\x01\x03\x44\xc0\xa8\x01\x02";
    assert_eq!(replaced(address, descending), refused("addresses"));
    let mut nine = vec![0x89];
    (1..10).for_each(|n| nine.extend([0x44, 10, 0, 0, n]));
    assert_eq!(replaced(address, &nine), refused("addresses"));
}

#[test]
fn numbers_beyond_a_rows_fields_are_refused() {
    let octets = told(vec![row_of_fig_13()]).encode();
    // Keys 4 to 7 of the row: udp, out, ipsec, ah and esp.
    let at = octets
        .windows(8)
        .position(|w| w == b"\x04\x11\x05\x01\x06\x02\x07\x03")
        .unwrap();
    for (offset, wrong, what) in [
        (1, 0, "transport"),
        (3, 2, "direction"),
        (5, 3, "action"),
        (7, 0, "protocols"),
        (7, 8, "protocols"),
    ] {
        let mut octets = octets.clone();
        octets[at + offset] = wrong;
        assert_eq!(Answer::decode(&octets), Err(Malformed::Field(what)));
    }
    let prefix = octets
        .windows(6)
        .position(|w| w == b"\x44\xc0\xa8\x01\x01\x18")
        .unwrap();
    let mut octets = octets.clone();
    octets[prefix + 6] = 33;
    assert_eq!(Answer::decode(&octets), Err(Malformed::Field("source")));
}

#[test]
fn rows_that_do_not_fit_are_left_out_and_that_is_said() {
    let rows = |count| vec![every_field_of_a_row(); count];
    let mut most = 0;
    for count in 0..120 {
        let octets = told(rows(count)).encode();
        assert!(octets.len() <= MAX_LEN);
        let Ok(Answer::Told {
            policy: Some(Told::Granted(got)),
            more,
            presence,
            ..
        }) = Answer::decode(&octets)
        else {
            panic!("{count} rows do not come back");
        };
        assert_eq!(presence, Some(Told::Granted(john())));
        assert_eq!(more, got.len() < count);
        assert!(got.len() >= most, "fewer rows than with fewer to send");
        most = most.max(got.len());
    }
    assert!((40..119).contains(&most), "{most}");
}

#[test]
fn the_longest_message_fits() {
    let mut longest = john();
    longest.entity = format!("{}@b", "a".repeat(253)).parse().unwrap();
    longest.user = Some("x".repeat(128).parse().unwrap());
    longest.location = "l".repeat(64).parse().unwrap();
    longest.addresses = (1..9)
        .map(|n| IpAddr::from([n, 0, 0, 0, 0, 0, 0, 1]))
        .collect();
    (longest.time, longest.expires) = (Timestamp(u64::MAX), Timestamp(u64::MAX));
    longest.sequence = u64::MAX;
    let message = Message::Publish(longest);
    assert!(message.encode().len() < MAX_LEN / 4);
    assert_eq!(Message::decode(&message.encode()), Ok(message));
}

#[test]
fn refusals_are_the_same_words_in_json() {
    let told: Told<Presence> = Told::Refused(Refusal::NotYourEntity);
    let json = serde_json::to_string(&told).unwrap();
    assert_eq!(json, r#"{"refused":"not-your-entity"}"#);
}

// --- any ------------------------------------------------------------------------------------------

fn any_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from),
    ]
}

fn any_presence() -> impl Strategy<Value = Presence> {
    (
        "[!-?A-~]{1,20}@[a-z.]{1,20}",
        btree_set(any_address(), 1..=8),
        option::of("[a-zA-Z ü中]{1,20}"),
        "[a-z0-9-]{1,64}",
        any::<[u64; 3]>(),
    )
        .prop_map(
            |(entity, addresses, user, location, [time, expires, sequence])| Presence {
                entity: entity.parse().unwrap(),
                addresses: addresses.into_iter().collect(),
                user: user.map(|user| user.parse().unwrap()),
                location: location.parse().unwrap(),
                time: Timestamp(time),
                expires: Timestamp(expires),
                sequence,
            },
        )
}

fn any_net() -> impl Strategy<Value = IpNet> {
    (any_address(), 0..=128u8).prop_map(|(address, length)| {
        let most = if address.is_ipv4() { 32 } else { 128 };
        IpNet::new(address, length.min(most)).unwrap()
    })
}

fn any_port() -> impl Strategy<Value = Port> {
    prop_oneof![Just(Port::Any), (1..=u16::MAX).prop_map(Port::Is)]
}

fn any_row() -> impl Strategy<Value = Row> {
    let ends = (any_net(), any_port(), any_net(), any_port(), any::<u8>());
    let choices = (0..2usize, 0..3usize, any::<[bool; 3]>());
    let further = (
        option::of(prop_oneof![Just(Mode::Transport), Just(Mode::Tunnel)]),
        option::of(any_address()),
        option::of(prop_oneof![
            Just(Level::Default),
            Just(Level::Use),
            Just(Level::Require)
        ]),
    );
    (ends, choices, further).prop_map(|(ends, choices, (mode, end_point, level))| {
        let (source, source_port, destination, destination_port, transport) = ends;
        let (direction, action, [ah, esp, ipcomp]) = choices;
        Row {
            source,
            source_port,
            destination,
            destination_port,
            transport: Protocol::from_number(transport),
            direction: [Direction::In, Direction::Out][direction],
            action: [Action::Discard, Action::None, Action::Ipsec][action],
            protocols: Protocols { ah, esp, ipcomp },
            mode,
            end_point,
            level,
        }
    })
}

fn any_refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        Just(Refusal::NotAllowed),
        Just(Refusal::Replayed),
        Just(Refusal::NotYourEntity),
        Just(Refusal::Malformed),
        Just(Refusal::NotUnderstood),
        Just(Refusal::Busy),
        Just(Refusal::Other(0)),
        (7..=u8::MAX).prop_map(Refusal::Other),
    ]
}

fn any_told<T: std::fmt::Debug + Clone>(
    granted: impl Strategy<Value = T>,
) -> impl Strategy<Value = Option<Told<T>>> {
    option::of(prop_oneof![
        granted.prop_map(Told::Granted),
        any_refusal().prop_map(Told::Refused)
    ])
}

fn any_message() -> impl Strategy<Value = Message> {
    prop_oneof![
        (any::<bool>(), any::<bool>(), option::of(any::<u32>())).prop_map(
            |(policy, presence, subscribe)| Message::Ask {
                policy,
                presence,
                subscribe
            }
        ),
        any_presence().prop_map(Message::Publish),
        any_posture().prop_map(Message::Posture),
        Just(Message::Attest),
    ]
}

fn any_posture() -> impl Strategy<Value = Posture> {
    let protection =
        (0..4u8, prop_oneof![1..4u8, 5..8u8]).prop_map(|(demand, bits)| match demand {
            0 => Protection::CLEAR,
            3 => Protection::DISCARD,
            demand => Protection {
                demand: if demand == 1 {
                    Demand::Use
                } else {
                    Demand::Require
                },
                protocols: Protocols {
                    ah: bits & 1 != 0,
                    esp: bits & 2 != 0,
                    ipcomp: bits & 4 != 0,
                },
            },
        });
    let port = |port| if port == 0 { Port::Any } else { Port::Is(port) };
    let class =
        (any::<u8>(), any::<u16>(), any::<u16>()).prop_map(move |(protocol, own, peer)| Class {
            protocol: Protocol::from_number(protocol),
            own_port: port(own),
            peer_port: port(peer),
        });
    let demanded = (class, protection, any::<bool>()).prop_map(|(class, protection, tunnel)| {
        let tunnel = tunnel && protection.demand == Demand::Require;
        Demanded {
            class,
            protection,
            mode: if tunnel {
                Mode::Tunnel
            } else {
                Mode::Transport
            },
        }
    });
    (any::<u64>(), vec(demanded, 0..MAX_DEMANDS))
        .prop_map(|(epoch, demands)| Posture { epoch, demands })
}

fn any_answer() -> impl Strategy<Value = Answer> {
    let told = (
        any_told(vec(any_row(), 0..20)),
        any::<bool>(),
        any_told(any_presence()),
        option::of(any::<u32>()),
    );
    prop_oneof![
        told.prop_map(|(policy, more, presence, subscribed)| {
            Answer::Told {
                policy,
                more,
                presence,
                subscribed,
            }
        }),
        Just(Answer::Accepted),
        any_refusal().prop_map(Answer::Refused),
        any_posture().prop_map(Answer::Posture),
        ("[a-z0-9-]{1,64}", any_address()).prop_map(|(location, address)| Answer::Attested {
            location: location.parse().unwrap(),
            address,
        }),
    ]
}

proptest! {
    #[test]
    fn messages_come_back(message in any_message()) {
        prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
    }

    #[test]
    fn answers_come_back(answer in any_answer()) {
        prop_assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
    }

    #[test]
    fn no_octets_panic(octets in vec(any::<u8>(), 0..200)) {
        let _ = (Message::decode(&octets), Answer::decode(&octets));
    }
}

/// What would be shown as protection and be none, or could not be carried out.
#[test]
fn compression_alone_and_an_optional_tunnel_cannot_be_demanded() {
    for demand in [
        "a2 00 02 01 04",
        "a2 00 01 01 04",
        "a2 00 00 01 04",
        "a3 00 01 01 02 05 01",
        "a2 00 00 05 01",
    ] {
        let octets = format!("83 01 03 a2 00 05 01 81 {demand}");
        let octets: Vec<u8> = octets
            .split(' ')
            .map(|octet| u8::from_str_radix(octet, 16).unwrap())
            .collect();
        assert!(
            matches!(Message::decode(&octets), Err(Malformed::Field(_))),
            "{demand}"
        );
    }
}
