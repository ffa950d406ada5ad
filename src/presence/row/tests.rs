//! The rows of the figures, and every pair of fields that makes no sense together.

use super::*;
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};

const FIG_8: &str = "out 192.168.1.1[any] 192.168.1.2[any] udp none";
const FIG_13: &str = "out 192.168.1.1[any] 133.134.10.10[any] udp ipsec ah+esp require";

fn row(text: &str) -> Row {
    text.parse().unwrap()
}

fn marked(row: &Row) -> Vec<RowField> {
    row.problems().iter().map(|p| p.field).collect()
}

#[test]
fn the_row_of_fig_8_lets_udp_pass_in_the_clear() {
    let row = row(FIG_8);
    assert_eq!(row.problems(), []);
    assert_eq!(row.protection(Level::Require), Protection::CLEAR);
    assert_eq!(row.class().protocol, Protocol::UDP);
    assert_eq!(row.to_string(), FIG_8);
}

#[test]
fn the_row_of_fig_13_ticks_no_mode_and_is_complete() {
    let row = row(FIG_13);
    assert_eq!(row.problems(), []);
    assert_eq!(row.mode, None);
    assert_eq!(
        row.protection(Level::Use),
        Protection::require(Protocols::AH_ESP)
    );
    assert_eq!(
        row.selector().to_string(),
        "192.168.1.1/32 > 133.134.10.10/32 udp"
    );
    assert_eq!(row.to_string(), FIG_13);
}

#[test]
fn both_directions_are_one_class_seen_from_our_side() {
    let out = row("out 10.0.0.1[any] 10.0.0.2[443] tcp ipsec esp require");
    let mirrored = out.mirrored();
    assert_eq!(
        mirrored.to_string(),
        "in 10.0.0.2[443] 10.0.0.1[any] tcp ipsec esp require"
    );
    assert_eq!(mirrored.class(), out.class());
    assert_eq!(out.class().peer_port, Port::Is(443));
    assert_eq!(mirrored.own_side(), out.own_side());
    assert_eq!(mirrored.peer_side(), out.peer_side());
    assert_eq!(mirrored.selector(), out.selector().reversed());
    assert_eq!(mirrored.mirrored(), out);
}

#[test]
fn level_default_is_what_the_system_says_and_never_an_optional_tunnel() {
    let default = row("out 10.0.0.1[any] 10.0.0.2[any] any ipsec esp default");
    let none = row("out 10.0.0.1[any] 10.0.0.2[any] any ipsec esp");
    for row in [default, none] {
        assert_eq!(row.protection(Level::Use).demand, Demand::Use);
        assert_eq!(row.protection(Level::Require).demand, Demand::Require);
        assert_eq!(row.protection(Level::Default).demand, Demand::Require);
        let tunnel = Row {
            mode: Some(Mode::Tunnel),
            ..row
        };
        assert_eq!(tunnel.protection(Level::Use).demand, Demand::Require);
    }
}

#[test]
fn fields_that_make_no_sense_together_are_marked() {
    use RowField::{EndPoint, Level, Mode, Protocol};
    let cases: &[(&str, &[RowField])] = &[
        ("none ah", &[Protocol]),
        ("discard ipcomp", &[Protocol]),
        ("none transport", &[Mode]),
        ("none tunnel 10.0.0.9", &[Mode, EndPoint]),
        ("discard use", &[Level]),
        ("none default", &[Level]),
        ("ipsec", &[Protocol]),
        ("ipsec require", &[Protocol]),
        ("ipsec ipcomp", &[Protocol]),
        ("ipsec esp+ipcomp tunnel 10.0.0.2", &[Protocol]),
        ("ipsec esp tunnel 10.0.0.9", &[EndPoint]),
        ("ipsec esp tunnel 10.0.0.1", &[EndPoint]),
        ("ipsec esp 10.0.0.9", &[EndPoint]),
        ("ipsec esp transport 10.0.0.9", &[EndPoint]),
        ("ipsec esp tunnel", &[EndPoint]),
        ("ipsec esp tunnel 0.0.0.0", &[EndPoint]),
        ("ipsec esp tunnel 224.0.0.1", &[EndPoint]),
        ("ipsec esp tunnel 2001:db8::1", &[EndPoint]),
        ("ipsec esp tunnel 10.0.0.2 use", &[Level]),
        ("ipsec tunnel use", &[Protocol, EndPoint, Level]),
    ];
    for (rest, expected) in cases {
        let out = row(&format!("out 10.0.0.1[any] 10.0.0.2[any] udp {rest}"));
        assert_eq!(marked(&out), *expected, "{out}");
        assert_eq!(marked(&out.mirrored()), *expected, "{}", out.mirrored());
    }
}

#[test]
fn fields_that_make_sense_together_are_accepted() {
    for rest in [
        "none",
        "discard",
        "ipsec ah",
        "ipsec esp transport use",
        "ipsec ah+esp transport default",
        "ipsec ah+esp+ipcomp transport require",
        "ipsec ah+ipcomp",
        "ipsec esp+ipcomp use",
    ] {
        let out = row(&format!("out 10.0.0.1[5060] 10.0.0.0/8[any] sctp {rest}"));
        assert_eq!(out.problems(), [], "{out}");
        assert_eq!(out.mirrored().problems(), [], "{out}");
    }
    for rest in [
        "esp tunnel 10.0.0.2",
        "ah+esp tunnel 10.0.0.2 require",
        "ah tunnel 10.0.0.2 default",
    ] {
        let out = row(&format!(
            "out 10.0.0.0/8[5060] 10.0.0.2[any] sctp ipsec {rest}"
        ));
        assert_eq!(out.problems(), [], "{out}");
        assert_eq!(out.mirrored().problems(), [], "{out}");
    }
}

#[test]
fn addresses_and_ports_that_no_packet_has_are_marked() {
    use RowField::{Destination, DestinationPort, Source, SourcePort};
    let cases: &[(&str, &[RowField])] = &[
        ("10.0.0.1[any] 2001:db8::1[any] udp", &[Destination]),
        ("0.0.0.0/0[any] 0.0.0.0/0[any] udp", &[Destination]),
        ("::/0[any] ::/0[any] udp", &[Destination]),
        ("10.0.0.1[any] 224.0.0.1[any] udp", &[Destination]),
        ("::[any] 2001:db8::1[any] udp", &[Source]),
        ("10.0.0.1[53] 10.0.0.2[any] any", &[SourcePort]),
        ("10.0.0.1[any] 10.0.0.2[53] icmp", &[DestinationPort]),
        (
            "10.0.0.1[1] 10.0.0.2[2] esp",
            &[SourcePort, DestinationPort],
        ),
    ];
    for (sides, expected) in cases {
        let row = row(&format!("out {sides} none"));
        assert_eq!(marked(&row), *expected, "{row}");
    }
    for sides in [
        "0.0.0.0/0[any] 10.0.0.2[any] any",
        "2001:db8::1[any] ::/0[any] icmpv6",
        "10.0.0.1[1] 10.0.0.2[2] tcp",
    ] {
        assert_eq!(row(&format!("out {sides} none")).problems(), [], "{sides}");
    }
}

#[test]
fn compression_alone_is_refused_because_it_protects_nothing() {
    let row = row("out 10.0.0.1[any] 10.0.0.2[any] udp ipsec ipcomp require");
    assert!(row.problems()[0].message.contains("protects nothing"));
}

#[test]
fn text_that_is_no_row_is_refused() {
    for (text, expected) in [
        ("", InvalidRow::Short("direction")),
        ("out 10.0.0.1[any]", InvalidRow::Short("destination")),
        ("up", InvalidRow::Direction("up".into())),
        ("out 10.0.0.1", InvalidRow::Side("10.0.0.1".into())),
        ("out 10.0.0.1[0]", InvalidRow::Side("10.0.0.1[0]".into())),
        (
            "out 10.0.0.1]any[",
            InvalidRow::Side("10.0.0.1]any[".into()),
        ),
    ] {
        assert_eq!(text.parse::<Row>(), Err(expected), "{text}");
    }
    let start = "out 10.0.0.1[any] 10.0.0.2[any] udp";
    assert_eq!(
        format!("{start} allow").parse::<Row>(),
        Err(InvalidRow::Action("allow".into()))
    );
    for rest in [
        "ah+ah",
        "ah esp",
        "transport tunnel",
        "require require",
        "require esp",
        "tunnel 10.0.0.9 10.0.0.8",
        "tunnel 10.0.0.9 transport",
        "sha",
        "+",
    ] {
        let text = format!("{start} ipsec {rest}");
        assert!(
            matches!(text.parse::<Row>(), Err(InvalidRow::Word(_))),
            "{text}"
        );
    }
}

fn any_net() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (any::<u32>(), 0u8..=32)
            .prop_map(|(a, len)| IpNet::new(Ipv4Addr::from(a).into(), len).unwrap()),
        (any::<u128>(), 0u8..=128)
            .prop_map(|(a, len)| IpNet::new(Ipv6Addr::from(a).into(), len).unwrap()),
    ]
}

fn any_port() -> impl Strategy<Value = Port> {
    prop_oneof![Just(Port::Any), (1u16..).prop_map(Port::Is)]
}

prop_compose! {
    fn any_row()(
        source in any_net(), source_port in any_port(),
        destination in any_net(), destination_port in any_port(),
        transport in any::<u8>().prop_map(Protocol::from_number),
        direction in prop_oneof![Just(Direction::In), Just(Direction::Out)],
        action in prop_oneof![Just(Action::Discard), Just(Action::None), Just(Action::Ipsec)],
        protocols in any::<[bool; 3]>(),
        mode in prop::option::of(prop_oneof![Just(Mode::Transport), Just(Mode::Tunnel)]),
        end_point in prop::option::of(any_net().prop_map(|net| net.addr())),
        level in prop::option::of(
            prop_oneof![Just(Level::Default), Just(Level::Use), Just(Level::Require)]
        ),
    ) -> Row {
        let [ah, esp, ipcomp] = protocols;
        Row {
            source, source_port, destination, destination_port, transport, direction, action,
            protocols: Protocols { ah, esp, ipcomp },
            mode, end_point, level,
        }
    }
}

proptest! {
    #[test]
    fn every_row_prints_and_parses_back(row in any_row()) {
        prop_assert_eq!(row.to_string().parse(), Ok(row));
    }

    #[test]
    fn any_text_is_a_row_or_an_error(words in prop::collection::vec(
        prop_oneof![
            Just("out".to_owned()), Just("in".into()), Just("10.0.0.1[any]".into()),
            Just("udp".into()), Just("ipsec".into()), Just("ah+esp".into()), Just("tunnel".into()),
            Just("10.0.0.9".into()), Just("use".into()), ".{0,12}",
        ],
        0..12,
    )) {
        if let Ok(row) = words.join(" ").parse::<Row>() {
            prop_assert_eq!(row.to_string().parse(), Ok(row));
        }
    }

    #[test]
    fn a_row_without_problems_demands_something_that_the_kernel_can_do(row in any_row()) {
        if row.problems().is_empty() {
            for default in [Level::Use, Level::Require] {
                let protection = row.protection(default);
                let ipsec = matches!(protection.demand, Demand::Use | Demand::Require);
                prop_assert_eq!(ipsec, protection.protocols.protects());
                prop_assert!(ipsec || protection.protocols.is_empty());
                prop_assert!(protection.demand != Demand::Use || row.mode != Some(Mode::Tunnel));
            }
            prop_assert!(row.mirrored().problems().is_empty());
        }
    }
}
