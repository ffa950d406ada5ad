//! `[foreign-agent]` and `[[agent-key]]`.

use super::*;
use crate::mobile_ip::dual_client::ForeignAgents;
use crate::mobile_ip::foreign_agent::ReverseTunnels;
use crate::mobile_ip::security::Algorithm;
use crate::mobile_ip::wire::TunnelKind;

const AGENT: &str = "[foreign-agent]\nlink = \"eth1\"\naddress = \"203.0.113.1\"\n";
const KEY: &str = "[[agent-key]]\nhome-agent = \"192.0.2.2\"\nspi = 300\nkey-file = \"psk\"\n";
const HOME_AGENT: &str =
    "[home-agent]\naddress = \"192.0.2.2\"\nhome-network = \"198.51.100.0/24\"\n";
const MOBILITY: &str = "[mobility]\nhome = \"198.51.100.5\"\nhome-agent = \"192.0.2.2\"\nspi = 256\nkey-file = \"inner.key\"\n";

fn visited(rest: &str) -> String {
    format!("{IDENTITY}{AGENT}{rest}")
}

#[test]
fn a_foreign_agent_and_its_keys_are_read() {
    let loaded = load_text(&visited(&format!(
        "prefix-length = 25
        care-of = \"192.0.2.7\"
        lifetime = \"5m\"
        interval = \"3s\"
        registration-required = false
        reverse-tunnel = \"required\"
        encapsulations = \"gre\"
        visitors = 50
        {KEY}
        [[agent-key]]
        mobile-node = \"198.51.100.5\"
        spi = 301
        key-file = \"bob.psk\"
        algorithm = \"hmac-sha256\"
        "
    )));
    assert_eq!(loaded.warnings, []);
    assert!(loaded.agent.has_mobile_ip_role());
    let agent = loaded.agent.foreign_agent.unwrap();
    assert_eq!(agent.link.as_str(), "eth1");
    let protocol = agent.protocol;
    assert_eq!(protocol.care_of.to_string(), "192.0.2.7");
    assert_eq!((protocol.lifetime, protocol.prefix_len), (300, Some(25)));
    assert_eq!(protocol.reverse, ReverseTunnels::Mandatory);
    assert_eq!(protocol.tunnels, [TunnelKind::Gre]);
    assert!(!protocol.required);
    let [(with, key)] = &protocol.home_agents[..] else {
        panic!("{:?}", protocol.home_agents)
    };
    assert_eq!((with.to_string(), key.spi), ("192.0.2.2".to_owned(), 300));
    let [(_, key)] = &protocol.mobile_nodes[..] else {
        panic!("{:?}", protocol.mobile_nodes)
    };
    assert_eq!(key.algorithm, Algorithm::HmacSha256);
}

#[test]
fn without_a_care_of_address_it_is_the_address() {
    let protocol = load_text(&visited(""))
        .agent
        .foreign_agent
        .unwrap()
        .protocol;
    assert_eq!(protocol.care_of, protocol.address);
    assert!(load_text(&whole()).agent.foreign_agent.is_none());
}

#[test]
fn mobile_nodes_and_home_agents_have_keys_with_foreign_agents() {
    let key = KEY.replace("home-agent", "foreign-agent");
    let loaded = load_text(&format!("{}{HOME_AGENT}{key}", whole()));
    assert_eq!(
        loaded
            .agent
            .home_agent
            .unwrap()
            .protocol
            .foreign_agents
            .len(),
        1
    );
    let mobility = |rest: &str| {
        let loaded = load_text(&format!("{}{MOBILITY}{rest}", whole()));
        loaded.agent.mobility.unwrap()
    };
    assert!(!mobility("").looks_for_agents());
    let known = mobility(&key);
    assert!(known.looks_for_agents());
    assert_eq!(known.dual.foreign_agents, ForeignAgents::Known);
    assert_eq!(known.inner.foreign_agents.len(), 1);
    let any = mobility("foreign-agents = \"any\"\n");
    assert_eq!(any.dual.foreign_agents, ForeignAgents::Any);
    assert!(any.looks_for_agents());
}

#[test]
fn what_cannot_work_is_refused() {
    for (text, complaint) in [
        (
            visited(HOME_AGENT),
            "[foreign-agent] and [home-agent]: what comes out of the tunnels of one",
        ),
        (
            visited(MOBILITY),
            "[foreign-agent] and [mobility]: a machine that moves has no visitors",
        ),
        (
            format!("{}{KEY}", whole()),
            "home-agent: a key with one is for [foreign-agent]",
        ),
        (
            visited(&KEY.replace("home-agent", "foreign-agent")),
            "foreign-agent: a key with one is for [mobility], [home-agent] or [proxy-agent]",
        ),
        (
            visited(&format!("{KEY}{KEY}")),
            "there is a key with the same agent in line 6",
        ),
        (
            visited(&format!("{KEY}mobile-node = \"198.51.100.5\"\n")),
            "[[agent-key]] is with one agent",
        ),
        (
            visited(&KEY.replace("\"psk\"", "\"short\"")),
            "short holds a key of less than 16 octets",
        ),
        (
            visited("interval = \"0s\"\n"),
            "interval: 0s is out of bounds",
        ),
        (visited("table = 7370\n"), "7370 is that of [interception]"),
        (
            format!("{IDENTITY}[foreign-agent]\naddress = \"203.0.113.1\"\n"),
            "lacks the key `link`",
        ),
    ] {
        let problems = problems(&text);
        assert!(problems.contains(complaint), "{problems} for\n{text}");
    }
}

#[test]
fn a_reload_says_that_it_waits_for_a_restart() {
    let before = load_text(&visited(KEY));
    for (text, differs) in [
        (visited(KEY), false),
        (visited(&KEY.replace("300", "301")), true),
        (visited(&format!("lifetime = \"5m\"\n{KEY}")), true),
        (whole(), true),
    ] {
        let difference = Difference::between(&before, &load_text(&text));
        let said = difference.needs_restart.contains(&"foreign-agent");
        assert_eq!(said, differs, "{text}");
    }
}
