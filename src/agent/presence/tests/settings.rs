//! Alice, Bob and Mallory as they are configured, and the places where they can be.

use super::kernel::Payload;
use crate::agent::presence::settings::{Contact, PresenceSettings, Tell};
use crate::agent::settings::{Discovery, InterceptionSettings, OnStop, Settings};
use crate::ike::settings::{Peer, Timing};
use crate::kernel::desired::Mark;
use crate::net::{Flow, Secret};
use crate::presence::row::{Level, Mode};
use crate::presence::rules::{Rule, Rulebook, Site, When};
use crate::presence::{Class, Entity, Protection, Protocols};
use std::net::IpAddr;
use std::time::Duration;

pub(super) const ALICE: usize = 0;
pub(super) const BOB: usize = 1;
pub(super) const MALLORY: usize = 2;

pub(super) const STRICT: Protection = Protection::require(Protocols::AH_ESP);

pub(super) const DWELL: Duration = Duration::from_secs(1);
pub(super) const LIFETIME: Duration = Duration::from_secs(6);

const NAMES: [&str; 3] = ["alice", "bob", "mallory"];

/// Where `who` sits in the office.
pub(super) fn in_office(who: usize) -> IpAddr {
    IpAddr::from([192, 168, 1, 1 + who as u8])
}

/// Where nobody vouches for anybody.
pub(super) fn outside(who: usize) -> IpAddr {
    IpAddr::from([133, 134, 10, 10 + who as u8])
}

pub(super) fn entity(who: usize) -> Entity {
    format!("{}@example.com", NAMES[who]).parse().unwrap()
}

pub(super) fn identity(who: usize) -> crate::net::Identity {
    format!("{}.example", NAMES[who]).parse().unwrap()
}

pub(super) fn flow(from: IpAddr, to: IpAddr) -> Flow {
    Flow {
        src: from,
        dst: to,
        protocol: 17,
        ports: Some((5060, 5060)),
    }
}

pub(super) fn packet(from: IpAddr, to: IpAddr, number: u64) -> Payload {
    let flow = flow(from, to);
    Payload { flow, number }
}

fn contact(who: usize) -> Contact {
    Contact {
        entity: entity(who),
        peer: identity(who),
        addresses: vec![in_office(who)],
        floor: Protection::CLEAR,
        tell: Tell {
            policy: true,
            presence: true,
        },
        subscribe: true,
    }
}

fn rule(location: &str, then: Protection) -> Rule {
    Rule {
        when: When {
            location: Some(location.parse().unwrap()),
            ..When::default()
        },
        class: Class::ANY,
        then,
        mode: Mode::Transport,
        end_point: None,
        esp_behind_nat: false,
    }
}

/// In the office packets go in the clear; everywhere else they are AH and ESP. Everybody in
/// `contacts` is a contact; everybody may authenticate.
pub(super) fn settings(who: usize, contacts: &[usize]) -> Settings {
    let peer = |other: usize| Peer {
        id: identity(other),
        psk: Secret::from(&b"swordfish"[..]),
        may_protect: Vec::new(),
        may_protect_itself: false,
        contact: contacts.contains(&other),
    };
    let others = (0..NAMES.len()).filter(|other| *other != who);
    Settings {
        identity: identity(who),
        proxies: Vec::new(),
        peers: others.map(peer).collect(),
        ike: Timing::default(),
        discovery: Discovery::default(),
        interception: InterceptionSettings::default(),
        max_prefixes: 256,
        on_stop: OnStop::Keep,
        presence: Some(PresenceSettings {
            entity: entity(who),
            user: None,
            location: "external".parse().unwrap(),
            rulebook: Rulebook {
                rules: vec![rule("office", Protection::CLEAR), rule("external", STRICT)],
                sites: vec![Site {
                    location: "office".parse().unwrap(),
                    addresses: vec!["192.168.1.0/24".parse().unwrap()],
                    anchor: None,
                    anchor_address: None,
                    gateway_macs: Vec::new(),
                }],
                unknown: STRICT,
                default_level: Level::Require,
            },
            dwell: DWELL,
            lifetime: LIFETIME,
            expiry: Duration::from_secs(3600),
            mark: Mark {
                value: 0x2000_0000,
                mask: 0x2000_0000,
            },
            max_contacts: 16,
            contacts: contacts.iter().map(|who| contact(*who)).collect(),
        }),
        vpn: crate::agent::vpn::settings::VpnSettings::default(),
        home_agent: None,
        foreign_agent: None,
        proxy_agent: None,
        mobility: None,
    }
}

/// What presence is told, for a test that wants it otherwise.
pub(super) fn presence(settings: &mut Settings) -> &mut PresenceSettings {
    settings.presence.as_mut().unwrap()
}
