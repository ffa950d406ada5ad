//! `[proxy-agent]` and `[[surrogate]]`.

use super::*;
use crate::mobile_ip::security::Algorithm;
use crate::mobile_ip::wire::TunnelKind;

const AGENT: &str = "[proxy-agent]\naddress = \"192.0.2.8\"\nhome-agent = \"10.10.0.2\"\n";
const SURROGATE: &str = "[[surrogate]]\nhome = \"10.20.0.5\"\nspi = 256\nkey-file = \"bob.psk\"\ninside-spi = 300\ninside-key-file = \"psk\"\n";

fn standing(rest: &str) -> String {
    format!("{IDENTITY}{AGENT}{rest}")
}

#[test]
fn a_proxy_agent_has_two_sides_and_each_surrogate_two_keys() {
    let loaded = load_text(&standing(&format!(
        "inside-address = \"10.10.0.8\"
        inside-networks = [\"10.11.0.0/24\", \"10.12.0.0/24\"]
        lifetime = \"5m\"
        encapsulations = \"gre\"
        {SURROGATE}
        inside-algorithm = \"hmac-sha256\"
        "
    )));
    assert_eq!(loaded.warnings, []);
    assert!(loaded.agent.has_mobile_ip_role());
    let protocol = loaded.agent.proxy_agent.unwrap().protocol;
    assert_eq!(protocol.outer.to_string(), "192.0.2.8");
    assert_eq!(protocol.inner.to_string(), "10.10.0.8");
    assert_eq!((protocol.lifetime, protocol.inside.len()), (300, 2));
    assert_eq!(protocol.encapsulations, [TunnelKind::Gre]);
    let [node] = &protocol.nodes[..] else {
        panic!("{:?}", protocol.nodes)
    };
    assert_eq!((node.outer.spi, node.inner.spi), (256, 300));
    assert_eq!(node.outer.algorithm, Algorithm::HmacMd5);
    assert_eq!(node.inner.algorithm, Algorithm::HmacSha256);
}

#[test]
fn without_an_address_of_its_own_inside_it_has_one() {
    let protocol = load_text(&standing("")).agent.proxy_agent.unwrap().protocol;
    assert_eq!(protocol.inner, protocol.outer);
    assert!(load_text(&whole()).agent.proxy_agent.is_none());
}

fn key_with(agent: &str) -> String {
    format!("[[agent-key]]\n{agent}\nspi = 300\nkey-file = \"psk\"\n")
}

#[test]
fn it_shares_keys_with_foreign_agents_and_with_nobody_else() {
    let loaded = load_text(&standing(&key_with("foreign-agent = \"203.0.113.1\"")));
    let keys = loaded.agent.proxy_agent.unwrap().protocol.foreign_agents;
    let [(agent, association)] = &keys[..] else {
        panic!("{keys:?}")
    };
    assert_eq!(
        (agent.to_string(), association.spi),
        ("203.0.113.1".to_owned(), 300)
    );
    let problems = problems(&standing(&key_with("home-agent = \"10.10.0.2\"")));
    let complaint = "home-agent: a key with one is for [foreign-agent]";
    assert!(problems.contains(complaint), "{problems}");
}

#[test]
fn what_cannot_work_is_refused() {
    let home_agent = "[home-agent]\naddress = \"192.0.2.2\"\nhome-network = \"198.51.100.0/24\"\n";
    for (text, complaint) in [
        (
            standing(home_agent),
            "[proxy-agent] and [home-agent]: both hear the same registrations",
        ),
        (
            format!("{}{SURROGATE}", whole()),
            "there is no [proxy-agent], so nobody needs a surrogate",
        ),
        (
            standing(&format!("{SURROGATE}{SURROGATE}")),
            "home: 10.20.0.5 is that of the surrogate in line ",
        ),
        (
            standing(&SURROGATE.replace("10.20.0.5", "10.10.0.2")),
            "home: 10.10.0.2 is the address of an agent",
        ),
        (
            standing("encapsulations = \"minimal\"\n"),
            "encapsulations: \"minimal\" is not \"ipip\" or \"gre\"",
        ),
        (
            standing("inside-address = \"10.10.0.2\"\n"),
            "home-agent: 10.10.0.2 is an address of this machine",
        ),
        (
            standing(&SURROGATE.replace("inside-spi = 300\n", "")),
            "lacks the key `inside-spi`",
        ),
        (
            standing(&SURROGATE.replace("\"psk\"", "\"short\"")),
            "short holds a key of less than 16 octets",
        ),
        (standing("table = 7370\n"), "7370 is that of [interception]"),
        (
            standing("home-network = \"10.20.0.0/24\"\n"),
            "home-network",
        ),
    ] {
        let problems = problems(&text);
        assert!(problems.contains(complaint), "{problems} for\n{text}");
    }
}

#[test]
fn a_reload_says_that_it_waits_for_a_restart() {
    let before = load_text(&standing(SURROGATE));
    for (text, differs) in [
        (standing(SURROGATE), false),
        (standing(&SURROGATE.replace("300", "301")), true),
        (standing(&format!("lifetime = \"5m\"\n{SURROGATE}")), true),
        (
            standing(&format!(
                "{SURROGATE}{}",
                key_with("foreign-agent = \"203.0.113.1\"")
            )),
            true,
        ),
        (standing(""), true),
        (whole(), true),
    ] {
        let difference = Difference::between(&before, &load_text(&text));
        let said = difference.needs_restart.contains(&"proxy-agent");
        assert_eq!(said, differs, "{text}");
    }
}
