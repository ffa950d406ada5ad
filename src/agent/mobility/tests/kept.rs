//! A laptop whose own VPN has no adapter: T has a way in the clear, and what carries S leaves from it through the
//! VPN or not at all.

use super::*;
use crate::agent::vpn::settings::{GatewaySettings, SpeaksFrom, Start};
use crate::ike::settings::Peer;
use crate::kernel::desired::{Action, Direction};
use crate::net::{Flow, Secret};

fn own_vpn(speaks_from: SpeaksFrom) -> VpnSettings {
    VpnSettings {
        gateways: vec![GatewaySettings {
            name: "moving".into(),
            peer: "gw.example".parse().unwrap(),
            addresses: vec![[192, 0, 2, 1].into()],
            local: None,
            subnets: vec!["10.10.0.0/16".parse().unwrap()],
            speaks_from,
            start: Start::Down,
        }],
        ..VpnSettings::default()
    }
}

fn whole(speaks_from: SpeaksFrom) -> Settings {
    Settings {
        peers: vec![Peer {
            id: "gw.example".parse().unwrap(),
            psk: Secret::from(&b"swordfish"[..]),
            may_protect: vec!["10.10.0.0/16".parse().unwrap()],
            may_protect_itself: false,
            contact: false,
        }],
        ..agent_settings(settings(), own_vpn(speaks_from))
    }
}

/// Whether the kernel drops a packet of a tunnel in UDP to the inner home agent.
fn is_blocked(laptop: &Laptop, from: Ipv4Addr) -> bool {
    let flow = Flow {
        src: from.into(),
        dst: S_HA.into(),
        protocol: 17,
        ports: Some((434, 434)),
    };
    let matching = laptop
        .kernel
        .objects
        .values()
        .filter_map(|object| match object {
            Object::Policy(policy) if policy.key.direction == Direction::Out => Some(policy),
            _ => None,
        });
    let first = matching
        .filter(|policy| policy.key.selector.matches(&flow))
        .min_by_key(|policy| policy.priority);
    first.is_some_and(|policy| policy.action == Action::Block)
}

#[test]
fn what_carries_s_is_blocked_from_t_before_anything_is_known_and_whatever_becomes_of_the_vpn() {
    let mut laptop = Laptop::with_vpn(settings(), own_vpn(SpeaksFrom::Own));
    assert_eq!(laptop.held_back(), [IpAddr::V4(T)], "at the start");
    assert!(is_blocked(&laptop, T) && !is_blocked(&laptop, X));
    laptop.clock_is_known();
    laptop.on(at("203.0.113.10/25"));
    laptop.pass(Duration::from_secs(30));
    assert!(is_blocked(&laptop, T), "outside, where nobody answers");
    laptop.on(Vec::new());
    assert!(is_blocked(&laptop, T), "nowhere");
}

#[test]
fn with_an_adapter_again_t_is_held_back_no_more() {
    let mut laptop = Laptop::with_vpn(settings(), own_vpn(SpeaksFrom::Own));
    let given = Event::Configuration(Box::new(whole(SpeaksFrom::Given)));
    laptop.hand(given);
    assert!(laptop.held_back().is_empty());
    let own = Event::Configuration(Box::new(whole(SpeaksFrom::Own)));
    laptop.hand(own);
    assert_eq!(laptop.held_back(), [IpAddr::V4(T)]);
}
