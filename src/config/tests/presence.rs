//! `[presence]`, `[[contact]]` and `[[site]]`; what follows from them is told in `rules`.

use super::*;
use crate::agent::presence::settings::{PresenceSettings, Tell};
use crate::presence::row::Level;
use crate::presence::rules::Site;
use crate::presence::{Protection, Protocols};

pub(super) const PRESENCE: &str = "[presence]\nentity = \"peerA@example.com\"\n";
pub(super) const BOB: &str =
    "[[peer]]\nid = \"bob.example\"\npsk-file = \"psk\"\nmay-protect = \"self\"\n";
pub(super) const CONTACT: &str =
    "[[contact]]\nentity = \"peerB@example.com\"\npeer = \"bob.example\"\n";

/// What a file says of presence beside what it needs.
pub(super) fn presence(tables: &str) -> PresenceSettings {
    let loaded = load_text(&format!("{tables}{PRESENCE}{IDENTITY}{PROXY}{PEER}{BOB}"));
    loaded.agent.presence.expect("presence is on")
}

/// Positions count from the first line of the table.
#[track_caller]
pub(super) fn refused(table: &str, expected: &str) {
    let general = if table.starts_with("[presence]") {
        ""
    } else {
        PRESENCE
    };
    let text = format!("{table}\n{general}{IDENTITY}{PROXY}{PEER}{BOB}");
    assert_eq!(problems(&text), expected, "for\n{table}");
}

#[test]
fn without_the_table_presence_is_off() {
    assert!(load_text(&whole()).agent.presence.is_none());
}

#[test]
fn the_smallest_presence_and_its_defaults() {
    let settings = presence("");
    assert_eq!(settings.entity.as_str(), "peerA@example.com");
    assert_eq!(
        (settings.user, settings.location.as_str()),
        (None, "external")
    );
    assert_eq!(settings.rulebook.default_level, Level::Require);
    let seconds = Duration::from_secs;
    assert_eq!(
        (settings.dwell, settings.lifetime, settings.expiry),
        (seconds(10), seconds(60), seconds(3600))
    );
    assert_eq!((settings.mark.value, settings.mark.mask), (0, 0x2000_0000));
    assert_eq!(settings.max_contacts, 20_000);
    assert!(settings.contacts.is_empty() && settings.rulebook.sites.is_empty());
    let contact = presence(CONTACT).contacts.remove(0);
    assert_eq!(contact.peer, Identity::Name("bob.example".into()));
    assert_eq!(contact.floor, Protection::CLEAR);
    assert_eq!(contact.tell, Tell::default());
    assert!(contact.subscribe && contact.addresses.is_empty());
}

#[test]
fn every_key_of_presence_reaches_its_setting() {
    let loaded = load_text(&format!(
        r#"
        {IDENTITY}{PEER}{BOB}
        [presence]
        entity = "peerA@Example.com"
        user = "Alice"
        location = "home"
        unknown = {{ action = "discard" }}
        default-level = "use"
        dwell = 0
        lifetime = "2s"
        expiry = "30d"
        mark = 0x400
        max-contacts = 2
        [[contact]]
        entity = "peerB@example.com"
        peer = "bob.example"
        address = ["192.168.1.2", "2001:db8::2"]
        floor = {{ action = "ipsec", protocol = "esp" }}
        tell = "presence"
        subscribe = false
        [[contact]]
        entity = "peerC@example.com"
        peer = "gw106.example"
        floor = {{ action = "ipsec", protocol = ["esp", "ah"], level = "require" }}
        tell = ["policy", "presence"]
        [[site]]
        location = "office"
        addresses = ["192.168.1.9/24", "2001:db8::/64"]
        anchor = "bob.example"
        anchor-address = "192.168.1.1"
        gateway-macs = ["02:00:00:00:00:01", "02:00:00:aB:Cd:eF"]
        [[site]]
        location = "lab"
        addresses = "10.0.0.0/8"
        anchor = "gw104.example"
        "#
    ));
    assert_eq!(loaded.warnings, []);
    let settings = loaded.agent.presence.unwrap();
    assert_eq!(settings.entity.as_str(), "peerA@example.com");
    assert_eq!(settings.user.as_ref().unwrap().as_str(), "Alice");
    assert_eq!(settings.location.as_str(), "home");
    assert_eq!(settings.rulebook.unknown, Protection::DISCARD);
    assert_eq!(settings.rulebook.default_level, Level::Use);
    let seconds = Duration::from_secs;
    assert_eq!(
        (settings.dwell, settings.lifetime, settings.expiry),
        (seconds(0), seconds(2), seconds(30 * 86_400))
    );
    assert_eq!((settings.mark.mask, settings.max_contacts), (0x400, 2));
    let [bob, gateway] = &settings.contacts[..] else {
        panic!("{:?}", settings.contacts);
    };
    assert_eq!(bob.addresses.len(), 2);
    assert_eq!(bob.floor.to_string(), "use esp");
    assert_eq!((bob.tell.policy, bob.tell.presence), (false, true));
    assert!(!bob.subscribe && gateway.subscribe);
    assert_eq!(gateway.floor, Protection::require(Protocols::AH_ESP));
    assert_eq!((gateway.tell.policy, gateway.tell.presence), (true, true));
    let [office, lab] = &settings.rulebook.sites[..] else {
        panic!("{:?}", settings.rulebook.sites);
    };
    assert_eq!(
        *office,
        Site {
            location: "office".parse().unwrap(),
            addresses: vec![
                "192.168.1.0/24".parse().unwrap(),
                "2001:db8::/64".parse().unwrap()
            ],
            anchor: Some(Identity::Name("bob.example".into())),
            anchor_address: Some("192.168.1.1".parse().unwrap()),
            gateway_macs: vec![[2, 0, 0, 0, 0, 1], [2, 0, 0, 0xab, 0xcd, 0xef]],
        }
    );
    assert_eq!(lab.anchor.as_ref(), Some(&loaded.agent.identity));
    assert_eq!(lab.anchor_address, None);
}

#[test]
fn names_in_presence_say_what_a_name_is() {
    for (line, expected) in [
        (
            "entity = \"alice\"",
            "x:2:10: entity: an entity is written user@domain, in printable ASCII of at most 255 \
             octets",
        ),
        (
            "entity = \"a@b\"\nuser = \"a\\u001b[2J\"",
            "x:3:8: user: a user name has 1 to 128 octets without control characters or ones that \
             change the direction of writing",
        ),
        (
            "entity = \"a@b\"\nlocation = \"The Office\"",
            "x:3:12: location: a location is 1 to 64 lower-case letters, digits and hyphens, such \
             as `office`",
        ),
        ("user = \"A\"", "x:1:1: [presence] lacks the key `entity`"),
    ] {
        refused(&format!("[presence]\n{line}"), expected);
    }
}

#[test]
fn durations_marks_and_counts_of_presence_say_their_bounds() {
    for (line, expected) in [
        (
            "dwell = \"2h\"",
            "x:3:9: dwell: 2h is out of bounds: from 0s to 1h",
        ),
        (
            "lifetime = \"1s\"",
            "x:3:12: lifetime: 1s is out of bounds: from 2s to 1h",
        ),
        (
            "lifetime = \"2500ms\"",
            "x:3:12: lifetime: 2500ms is not a number of whole seconds",
        ),
        (
            "expiry = \"9s\"",
            "x:3:10: expiry: 9s is out of bounds: from 10s to 30d",
        ),
        (
            "mark = 3",
            "x:3:8: mark: 0x3 has several bits: a mark is one bit of 32, like 0x80000000",
        ),
        (
            "mark = 0x80000000",
            "x:3:8: mark: 0x80000000 is a mark of [interception]: use another bit",
        ),
        (
            "[interception]\ndivert-mark = 0x20000000",
            "x:1:1: mark: 0x20000000 is a mark of [interception]: use another bit",
        ),
        (
            "max-contacts = 0",
            "x:3:16: max-contacts: 0 is out of bounds: a whole number from 1 to 1000000",
        ),
        (
            "default-level = \"default\"",
            "x:3:17: default-level: \"default\" is not \"use\" or \"require\"",
        ),
    ] {
        refused(&format!("{PRESENCE}{line}"), expected);
    }
}

#[test]
fn what_is_unknown_is_never_let_through() {
    for unknown in [
        "{ action = \"none\" }",
        "{ action = \"ipsec\", protocol = \"esp\", level = \"use\" }",
    ] {
        refused(
            &format!("{PRESENCE}unknown = {unknown}"),
            "x:3:11: unknown: nobody could tell a stranger from a friend: use \"discard\", or \
             \"ipsec\" with the level \"require\"",
        );
    }
}

#[test]
fn a_floor_is_a_table_that_makes_sense() {
    for (floor, expected) in [
        (
            "\"none\"",
            "x:4:9: floor: a table is expected, written `floor = { … }`",
        ),
        (
            "{ protocol = \"ah\" }",
            "x:4:9: `floor = { … }` lacks the key `action`",
        ),
        (
            "{ action = \"none\", levle = 1 }",
            "x:4:28: unknown key `levle` in `floor = { … }`: the nearest known key is `level`",
        ),
        (
            "{ action = \"none\", protocol = \"ah\" }",
            "x:4:39: protocol: belongs to the action \"ipsec\"",
        ),
        (
            "{ action = \"discard\", level = \"use\" }",
            "x:4:39: level: belongs to the action \"ipsec\"",
        ),
        (
            "{ action = \"ipsec\" }",
            "x:4:20: action: \"ipsec\" needs the key `protocol`",
        ),
        (
            "{ action = \"ipsec\", protocol = [] }",
            "x:4:40: protocol: nothing is left to protect with",
        ),
        (
            "{ action = \"ipsec\", protocol = \"ipcomp\" }",
            "x:4:40: protocol: \"ipcomp\" compresses and protects nothing: with it \"ah\", \"esp\" or both",
        ),
    ] {
        refused(&format!("{CONTACT}floor = {floor}"), expected);
    }
}

#[test]
fn contacts_are_unique_are_not_ourselves_and_have_a_peer() {
    refused(
        &CONTACT.replace("bob.example", "bob.exmaple"),
        "x:3:8: peer: there is no [[peer]] with the id bob.exmaple, so nothing it says is believed",
    );
    let again = CONTACT.replace("example.com", "Example.COM");
    refused(
        &format!("{CONTACT}{again}"),
        "x:4:1: contact peerB@example.com stands in line 1 already",
    );
    refused(
        &CONTACT.replace("peerB", "peerA"),
        "x:1:1: contact peerA@example.com is this machine's own entity",
    );
    refused(
        &format!("{CONTACT}tell = \"all\"\nsubscribe = \"yes\""),
        "x:4:8: tell: \"all\" is not \"policy\" or \"presence\"\n\
         x:5:13: subscribe: true or false is expected, not a string",
    );
    let other = CONTACT.replace("peerB", "peerC");
    refused(
        &format!("{PRESENCE}max-contacts = 1\n{CONTACT}{other}"),
        "x:3:16: max-contacts: there are 2 [[contact]], more than 1",
    );
}

#[test]
fn a_peer_that_speaks_for_a_contact_knows_it() {
    let contacts = |tables: &str| -> Vec<bool> {
        let loaded = load_text(&format!("{PRESENCE}{tables}{IDENTITY}{PROXY}{PEER}{BOB}"));
        loaded.agent.peers.iter().map(|peer| peer.contact).collect()
    };
    assert_eq!(contacts(""), [false, false]);
    assert_eq!(contacts(CONTACT), [false, true]);
}

#[test]
fn contacts_sites_and_rules_need_to_know_whom_this_machine_speaks_for() {
    let text = format!(
        "{CONTACT}[[site]]\nlocation = \"office\"\naddresses = \"10.0.0.0/8\"\n\
         [[rule]]\naction = \"discard\"\n{IDENTITY}{PROXY}{PEER}{BOB}"
    );
    assert_eq!(
        problems(&text),
        "x:1:1: there is no [presence], which says whom this machine speaks for\n\
         x:4:1: there is no [presence], which says whom this machine speaks for\n\
         x:7:1: there is no [presence], which says whom this machine speaks for"
    );
}

#[test]
fn sites_are_unique_and_can_be_told_apart() {
    let site = "[[site]]\nlocation = \"office\"\n";
    for (lines, expected) in [
        ("", "x:1:1: [[site]] lacks the key `addresses`"),
        (
            "addresses = []",
            "x:3:13: addresses: the list is empty: a claim to be there is believed from these \
             addresses only",
        ),
        (
            "addresses = \"0.0.0.0/0\"",
            "x:3:13: addresses: 0.0.0.0/0 is every address: it tells no place apart",
        ),
        (
            "addresses = \"10.0.0.0/8\"\nanchor = \"c.example\"\nanchor-address = \"10.0.0.1\"",
            "x:4:10: anchor: there is no [[peer]] with the id c.example, so nothing it says is \
             believed",
        ),
        (
            "addresses = \"10.0.0.0/8\"\nanchor = \"bob.example\"",
            "x:4:10: anchor: needs the key `anchor-address`: where is it asked?",
        ),
        (
            "addresses = \"10.0.0.0/8\"\nanchor-address = \"10.0.0.1\"",
            "x:4:18: anchor-address: whose? the key `anchor` names it",
        ),
        (
            "addresses = \"10.0.0.0/8\"\nanchor = \"gw104.example\"\nanchor-address = \"10.0.0.1\"",
            "x:5:18: anchor-address: the anchor is this machine itself, which asks nobody",
        ),
        (
            "addresses = \"10.0.0.0/8\"\n[[site]]\nlocation = \"office\"\naddresses = \"10.0.0.0/8\"",
            "x:4:1: site `office` stands in line 1 already",
        ),
    ] {
        refused(&format!("{site}{lines}"), expected);
    }
    for mac in [
        "",
        "02:00:00:00:00",
        "02:00:00:00:00:01:02",
        "+2:00:00:00:00:01",
        "2:0:0:0:0:1",
    ] {
        refused(
            &format!("{site}addresses = \"10.0.0.0/8\"\ngateway-macs = \"{mac}\""),
            &format!(
                "x:4:16: gateway-macs: `{mac}` is not a MAC address like \"02:00:00:00:00:01\""
            ),
        );
    }
}

#[test]
fn a_place_that_must_be_proven_is_not_where_this_machine_is_anyway() {
    refused(
        &format!(
            "{PRESENCE}location = \"office\"\n[[site]]\nlocation = \"office\"\naddresses = \"10.0.0.0/8\""
        ),
        "x:3:12: location: `office` is a site (line 4), which must be proven: it cannot be where \
         this machine is while nothing proves it",
    );
}

#[test]
fn a_machine_with_contacts_needs_no_proxy() {
    assert_eq!(warnings(&format!("{CONTACT}{PRESENCE}{IDENTITY}{BOB}")), "");
}

#[test]
fn a_reload_names_what_differs_in_presence() {
    let with = |presence: &str, tables: &str| {
        load_text(&format!(
            "{PRESENCE}{presence}{tables}{IDENTITY}{PROXY}{PEER}{BOB}"
        ))
    };
    let site = "[[site]]\nlocation = \"office\"\naddresses = \"10.0.0.0/8\"\n";
    let rule = "[[rule]]\naction = \"discard\"\n";
    let carol = CONTACT.replace("peerB", "peerC");
    let old = with("", &format!("{CONTACT}{carol}{site}"));
    let new = with(
        "dwell = 1\nmark = 0x1\n",
        &format!(
            "{CONTACT}subscribe = false\n{}{}{rule}",
            CONTACT.replace("peerB", "peerD"),
            site.replace("10.", "11.")
        ),
    );
    assert_eq!(
        Difference::between(&old, &new).to_string(),
        "contact peerD@example.com added\ncontact peerC@example.com removed\n\
         contact peerB@example.com altered\npresence altered\nsite altered\nrule altered\n\
         presence.mark altered: takes effect at a restart"
    );
    let other = load_text(&format!(
        "{}{IDENTITY}{PROXY}{PEER}{BOB}",
        PRESENCE.replace("peerA", "peerE")
    ));
    let same = with("dwell = \"10s\"\n", "");
    assert_eq!(
        Difference::between(&same, &other).needs_restart,
        ["presence.entity"]
    );
    let off = load_text(&format!("{IDENTITY}{PROXY}{PEER}{BOB}"));
    assert_eq!(
        Difference::between(&old, &off).to_string(),
        "presence altered: takes effect at a restart"
    );
}
