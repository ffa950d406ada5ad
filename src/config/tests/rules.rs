//! `[[rule]]`, alone and with the sites, floors and contacts that it is about.

use super::presence::{CONTACT, presence, refused};
use super::*;
use crate::net::{Port, Protocol};
use crate::presence::row::Mode;
use crate::presence::rules::{Hours, Rule, Weekdays, When};
use crate::presence::{Class, Protection, Protocols};

const OFFICE: &str = "[[site]]\nlocation = \"office\"\naddresses = \"192.168.1.0/24\"\n";

fn rules(text: &str) -> Vec<Rule> {
    presence(&format!("{text}{OFFICE}{CONTACT}")).rulebook.rules
}

/// A rule for the office which needs nothing; positions count from it.
#[track_caller]
fn refused_rule(lines: &str, expected: &str) {
    let text = format!("[[rule]]\nlocation = \"office\"\n{lines}\n{CONTACT}{OFFICE}");
    refused(&text, expected);
}

#[test]
fn every_key_of_a_rule_reaches_it() {
    let [all, always] = &rules(
        r#"
        [[rule]]
        location = "office"
        entity = "peerB@example.com"
        user = "Bob"
        addresses = ["192.168.1.7/28", "2001:db8::/64"]
        hours = "22:00-06:30"
        weekdays = ["mon", "sun"]
        transport = "udp"
        port = 5060
        own-port = 5061
        action = "ipsec"
        protocol = ["ah", "esp"]
        mode = "transport"
        level = "require"
        nat = "esp"
        [[rule]]
        action = "discard"
        "#,
    )[..] else {
        panic!("two rules")
    };
    let expected = Rule {
        when: When {
            location: Some("office".parse().unwrap()),
            entity: Some("peerB@example.com".parse().unwrap()),
            user: Some("Bob".parse().unwrap()),
            addresses: vec![
                "192.168.1.0/28".parse().unwrap(),
                "2001:db8::/64".parse().unwrap(),
            ],
            hours: Some(Hours {
                from: 22 * 60,
                to: 6 * 60 + 30,
                weekdays: Some(Weekdays(0b100_0001)),
            }),
        },
        class: Class {
            protocol: Protocol::UDP,
            own_port: Port::Is(5061),
            peer_port: Port::Is(5060),
        },
        then: Protection::require(Protocols::AH_ESP),
        mode: Mode::Transport,
        end_point: None,
        esp_behind_nat: true,
    };
    assert_eq!(*all, expected);
    assert_eq!(always.when, When::default());
    assert_eq!(
        (always.class, always.then),
        (Class::ANY, Protection::DISCARD)
    );
    assert_eq!(
        (always.mode, always.esp_behind_nat),
        (Mode::Transport, false)
    );
}

#[test]
fn the_default_level_is_what_presence_says() {
    let esp = "action = \"ipsec\"\nprotocol = \"esp\"\n";
    let text = format!(
        "default-level = \"use\"\n{OFFICE}[[rule]]\ntransport = \"udp\"\n{esp}\
         [[rule]]\ntransport = \"tcp\"\n{esp}level = \"default\"\n\
         [[rule]]\ntransport = \"icmp\"\n{esp}level = \"require\"\n"
    );
    let loaded = load_text(&format!("{}{text}{IDENTITY}", super::presence::PRESENCE));
    let rules = loaded.agent.presence.unwrap().rulebook.rules;
    let then: Vec<String> = rules.iter().map(|rule| rule.then.to_string()).collect();
    assert_eq!(then, ["use esp", "use esp", "require esp"]);
}

#[test]
fn hours_and_weekdays_may_stand_alone() {
    let hours = |line: &str| {
        let text = format!("[[rule]]\nlocation = \"office\"\n{line}\naction = \"none\"\n");
        let hours = rules(&text)[0].when.hours.unwrap();
        (hours.from, hours.to, hours.weekdays)
    };
    assert_eq!(hours("hours = \"09:00-17:30\""), (540, 1050, None));
    assert_eq!(hours("hours = \"18:00 - 24:00\""), (1080, 1440, None));
    assert_eq!(hours("weekdays = \"tue\""), (0, 1440, Some(Weekdays(0b10))));
    for (text, why) in [
        ("9-17", "is not written like \"09:00-17:30\""),
        ("09:00", "is not written like \"09:00-17:30\""),
        ("09:00-17:60", "is not written like \"09:00-17:30\""),
        ("09:00-24:01", "is not written like \"09:00-17:30\""),
        ("+9:00-17:00", "is not written like \"09:00-17:30\""),
        ("09:00-09:00", "never begins, or ends where it begins"),
        ("24:00-09:00", "never begins, or ends where it begins"),
    ] {
        refused_rule(
            &format!("hours = \"{text}\"\naction = \"none\""),
            &format!("x:3:9: hours: `{text}` {why}"),
        );
    }
    refused_rule(
        "weekdays = [\"mon\", \"Tuesday\"]\naction = \"none\"",
        "x:3:20: weekdays: \"Tuesday\" is not \"mon\", \"tue\", \"wed\", \"thu\", \"fri\", \"sat\" \
         or \"sun\"",
    );
}

#[test]
fn keys_of_ipsec_belong_to_ipsec() {
    refused_rule("", "x:1:1: [[rule]] lacks the key `action`");
    for line in [
        "protocol = \"ah\"",
        "level = \"use\"",
        "mode = \"transport\"",
        "nat = \"esp\"",
    ] {
        let (key, _) = line.split_once(" = ").unwrap();
        refused_rule(
            &format!("action = \"none\"\n{line}"),
            &format!(
                "x:4:{}: {key}: belongs to the action \"ipsec\"",
                key.len() + 4
            ),
        );
    }
}

#[test]
fn what_no_rule_can_mean_is_refused_with_its_place() {
    for (lines, part) in [
        (
            "action = \"none\"\nport = 80",
            "port 80 only with a protocol that has ports",
        ),
        (
            "action = \"ipsec\"\nprotocol = \"esp\"\nnat = \"esp\"",
            "an alternative to AH, which it does not demand",
        ),
        (
            "action = \"none\"\nweekdays = []",
            "never holds: no minute of the week is in its hours",
        ),
        (
            "action = \"none\"\naddresses = \"10.0.0.0/8\"",
            "never holds: none of its addresses is one of the site office",
        ),
    ] {
        let text = format!(
            "[[rule]]\naction = \"discard\"\ntransport = \"sctp\"\n\
             [[rule]]\nlocation = \"office\"\n{lines}\n{OFFICE}{}{IDENTITY}",
            super::presence::PRESENCE
        );
        let problems = problems(&text);
        assert!(problems.starts_with("x:4:1: rule 2: "), "{problems}");
        assert!(problems.contains(part), "{problems}");
        assert_eq!(problems.lines().count(), 1, "{problems}");
    }
}

#[test]
fn a_rule_that_is_never_reached_names_the_one_before_it() {
    let text = format!(
        "[[rule]]\naction = \"discard\"\n[[rule]]\nlocation = \"office\"\naction = \"none\"\n{OFFICE}"
    );
    refused(
        &text,
        "x:3:1: rule 2: never holds: rule 1 comes first wherever it could; put it before that one \
         or remove it",
    );
}

#[test]
fn relaxing_needs_a_site_and_keeps_to_the_floor() {
    refused(
        "[[rule]]\nlocation = \"home\"\naction = \"none\"",
        "x:1:1: rule 1: demands none, which is less than require ah+esp for the unknown: that needs \
         a site named home with its addresses",
    );
    let floor = "floor = { action = \"ipsec\", protocol = \"esp\" }";
    refused(
        &format!(
            "[[rule]]\nlocation = \"office\"\nentity = \"peerB@example.com\"\naction = \"none\"\n\
             {OFFICE}{CONTACT}{floor}"
        ),
        "x:1:1: rule 1: demands none, which is less than the floor of peerB@example.com: require \
         esp",
    );
}

#[test]
fn a_rule_about_nobody_who_counts_is_refused() {
    refused_rule(
        "entity = \"peerX@example.com\"\naction = \"none\"",
        "x:3:10: entity: there is no [[contact]] peerX@example.com: the rule never holds",
    );
}

#[test]
fn rules_that_were_misread_are_not_judged() {
    refused(
        &format!(
            "[[rule]]\nlocation = \"home\"\naction = \"none\"\n[[rule]]\naction = \"drop\"\n{OFFICE}"
        ),
        "x:5:10: action: \"drop\" is not \"none\", \"ipsec\" or \"discard\"",
    );
}

#[test]
fn a_tunnel_ends_at_the_contact_itself() {
    let tunnel = "[[rule]]\naction = \"ipsec\"\nprotocol = \"esp\"\nmode = \"tunnel\"\n";
    let [anywhere] = &rules(tunnel)[..] else {
        panic!("one rule")
    };
    assert_eq!((anywhere.mode, anywhere.end_point), (Mode::Tunnel, None));
    let at = "addresses = \"192.168.1.2\"\nend-point = \"192.168.1.2\"\n";
    let [there] = &rules(&format!("{tunnel}{at}"))[..] else {
        panic!("one rule")
    };
    assert_eq!(there.end_point, Some("192.168.1.2".parse().unwrap()));
    for elsewhere in ["192.168.1.3", "192.0.2.1"] {
        let at = at.replacen("192.168.1.2\"\n", &format!("{elsewhere}\"\n"), 1);
        let text = format!(
            "{tunnel}{at}{OFFICE}{}{IDENTITY}",
            super::presence::PRESENCE
        );
        let told = problems(&text);
        assert!(
            told.contains("nobody has shown that another speaks for it"),
            "{told}"
        );
    }
    let text = format!(
        "{tunnel}level = \"use\"\n{OFFICE}{}{IDENTITY}",
        super::presence::PRESENCE
    );
    assert!(problems(&text).contains("the kernel refuses an outbound tunnel at level use"));
}
