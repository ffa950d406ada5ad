//! For tests: a world so small that every packet in it can be looked at.

use super::*;
use crate::net::{Port, Protocol};
use crate::presence::row::{Action, Direction};
use crate::presence::{Demand, Presence, Protocols, Row, Timestamp};
use proptest::prelude::*;
use proptest::sample::select;

pub(in crate::presence) const START: u64 = 1_033_210_169;
/// In the site office, another one there, in the site lab, in none.
pub(in crate::presence) const ADDRESSES: [&str; 4] =
    ["10.0.0.1", "10.0.0.2", "10.0.1.1", "192.0.2.1"];

pub(in crate::presence) fn address(nth: usize) -> IpAddr {
    ADDRESSES[nth].parse().unwrap()
}

pub(in crate::presence) fn entity(name: &str) -> Entity {
    format!("{name}@example.com").parse().unwrap()
}

fn class(protocol: u8, own: u16, peer: u16) -> Class {
    let port = |port| match port {
        0 => Port::Any,
        port => Port::Is(port),
    };
    Class {
        protocol: Protocol::from_number(protocol),
        own_port: port(own),
        peer_port: port(peer),
    }
}

/// All that the classes of the rules can tell apart.
pub(in crate::presence) fn packets() -> Vec<Class> {
    // ICMP has a rule of its own, GRE never.
    let mut packets = vec![class(1, 0, 0), class(47, 0, 0)];
    for protocol in [6, 17] {
        for own in [22, 1] {
            packets.extend([22, 53, 1].map(|peer| class(protocol, own, peer)));
        }
    }
    packets
}

/// What each packet gets.
pub(in crate::presence) fn treatments(clauses: &[Clause]) -> Vec<Treatment> {
    let of = |packet| deciding(clauses, packet).expect("the last is about every class");
    packets().into_iter().map(|p| of(p).treatment()).collect()
}

pub(in crate::presence) fn at_least(strict: &[Treatment], weak: &[Treatment]) -> bool {
    strict.iter().zip(weak).all(|(a, b)| a.satisfies(*b))
}

pub(in crate::presence) fn any_protection() -> impl Strategy<Value = Protection> {
    let protocols = select(vec![(true, false), (false, true), (true, true)]);
    (0..5, protocols, prop::bool::weighted(0.3)).prop_map(|(demand, (ah, esp), ipcomp)| {
        let protocols = Protocols { ah, esp, ipcomp };
        match demand {
            0 | 1 => Protection::CLEAR,
            2 => Protection {
                demand: Demand::Use,
                protocols,
            },
            3 => Protection::require(protocols),
            _ => Protection::DISCARD,
        }
    })
}

/// As strict as it is: without compression, which says nothing of that.
pub(in crate::presence) fn strength(protection: Protection) -> Protection {
    Protection {
        protocols: protection.protocols.protecting(),
        ..protection
    }
}

prop_compose! {
    /// Any list that ends as a verdict does.
    pub(in crate::presence) fn any_clauses()(
        list in prop::collection::vec((any_class(), any_protection()), 0..3),
        rest in any_protection(),
    ) -> Vec<Clause> {
        list.into_iter()
            .chain([(Class::ANY, rest)])
            .map(|(class, then)| Clause::new(class, then.into(), "any".into()))
            .collect()
    }
}

fn any_class() -> impl Strategy<Value = Class> {
    select(vec![
        Class::ANY,
        Class::ANY,
        class(6, 0, 0),
        class(17, 0, 0),
        class(6, 22, 0),
        class(6, 0, 22),
        class(17, 0, 53),
        class(1, 0, 0),
    ])
}

fn any_location() -> impl Strategy<Value = Location> {
    select(vec!["office", "office", "lab", "external", "home"]).prop_map(|l| l.parse().unwrap())
}

fn any_user() -> impl Strategy<Value = UserName> {
    select(vec!["John", "Bob"]).prop_map(|name| name.parse().unwrap())
}

prop_compose! {
    fn any_when()(
        location in prop::option::weighted(0.7, any_location()),
        entity in prop::option::weighted(0.3, select(vec![entity("bob"), entity("eve")])),
        user in prop::option::weighted(0.3, any_user()),
        addresses in prop::option::weighted(0.2, select(vec!["10.0.0.0/24", "10.0.1.0/24"])),
        hours in prop::option::weighted(0.2, (0u16..1440, 0u16..=1440)),
    ) -> When {
        When {
            location, entity, user,
            addresses: addresses.iter().map(|net| net.parse().unwrap()).collect(),
            hours: hours.map(|(from, to)| Hours { from, to, weekdays: None }),
        }
    }
}

prop_compose! {
    fn any_rule()(
        when in any_when(), class in any_class(), then in any_protection(),
        esp_behind_nat in any::<bool>(), tunnel in prop::bool::weighted(0.2),
    ) -> Rule {
        let mode = if tunnel { Mode::Tunnel } else { Mode::Transport };
        Rule { when, class, then, mode, end_point: None, esp_behind_nat }
    }
}

prop_compose! {
    pub(in crate::presence) fn any_book()(
        rules in prop::collection::vec(any_rule(), 0..7),
        unknown in any_protection(),
    ) -> Rulebook {
        let site = |location: &str, net: &str| Site {
            location: location.parse().unwrap(),
            addresses: vec![net.parse().unwrap()],
            anchor: None,
            anchor_address: None,
            gateway_macs: vec![],
        };
        let sites = vec![site("office", "10.0.0.0/24"), site("lab", "10.0.1.0/24")];
        Rulebook { rules, sites, unknown, default_level: Level::Require }
    }
}

prop_compose! {
    pub(in crate::presence) fn any_row()(
        class in any_class(), protection in any_protection(), inbound in any::<bool>(),
        peer in select(vec!["0.0.0.0/0", "10.0.0.0/24", "10.0.0.1/32"]),
    ) -> Row {
        let row = Row {
            source: "10.0.0.0/8".parse().unwrap(),
            source_port: class.own_port,
            destination: peer.parse().unwrap(),
            destination_port: class.peer_port,
            transport: class.protocol,
            direction: Direction::Out,
            action: match protection.demand {
                Demand::None => Action::None,
                Demand::Discard => Action::Discard,
                Demand::Use | Demand::Require => Action::Ipsec,
            },
            protocols: protection.protocols,
            mode: None,
            end_point: None,
            level: (protection.demand == Demand::Use).then_some(Level::Use),
        };
        if inbound { row.mirrored() } else { row }
    }
}

prop_compose! {
    /// Mostly true ones, which relax where the rules let them.
    pub(in crate::presence) fn any_presence(name: &'static str, lives: std::ops::Range<u64>)(
        of_another in prop::bool::weighted(0.05),
        addresses in prop::sample::subsequence(vec![0, 1, 2, 3], 1..=4),
        user in prop::option::weighted(0.7, any_user()),
        location in any_location(),
        expires in lives,
    ) -> Presence {
        Presence {
            entity: entity(if of_another { "mallory" } else { name }),
            addresses: addresses.into_iter().map(address).collect(),
            user, location,
            time: Timestamp(START),
            expires: Timestamp(START + expires),
            sequence: 1,
        }
    }
}
