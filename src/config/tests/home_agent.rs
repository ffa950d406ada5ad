//! `[home-agent]` and `[[mobile-node]]`.

use super::*;
use crate::mobile_ip::home_agent::settings::{HomeLink, ReverseTunnel};
use crate::mobile_ip::security::{Algorithm, ReplayProtection};
use crate::mobile_ip::wire::TunnelKind;

const AGENT: &str = "[home-agent]\naddress = \"192.0.2.2\"\nhome-network = \"198.51.100.0/24\"\n";
const NODE: &str = "[[mobile-node]]\nhome = \"198.51.100.5\"\nspi = 256\nkey-file = \"psk\"\n";

fn serving(rest: &str) -> String {
    format!("{IDENTITY}{AGENT}{rest}")
}

#[test]
fn a_home_agent_and_its_mobile_nodes_are_read() {
    let loaded = load_text(&serving(&format!(
        "link = \"eth1\"
        lifetime = \"5m\"
        reverse-tunnel = \"required\"
        encapsulations = [\"ipip\", \"gre\"]
        trusted-networks = [\"10.0.0.0/8\"]
        rate = 2000
        rate-each = 5
        rate-failures = 0
        {NODE}
        [[mobile-node]]
        home = \"198.51.100.6\"
        spi = 0x100
        key-file = \"gw106.psk\"
        algorithm = \"hmac-sha256\"
        replay = \"nonces\"
        networks = \"10.40.0.0/24\"
        "
    )));
    let agent = loaded.agent.home_agent.unwrap();
    assert_eq!(agent.link.unwrap().as_str(), "eth1");
    let protocol = agent.protocol;
    assert_eq!(protocol.home_link, HomeLink::Physical);
    assert_eq!(protocol.reverse_tunnel, ReverseTunnel::Required);
    assert!(protocol.encapsulations.contains(&TunnelKind::Gre));
    let limits = protocol.limits;
    assert_eq!((limits.lifetime, limits.rate), (300, 2000));
    assert_eq!((limits.rate_each, limits.rate_failures), (5, 0));
    let [first, second] = &protocol.mobile_nodes[..] else {
        panic!("{:?}", protocol.mobile_nodes);
    };
    assert_eq!(first.security[0].algorithm, Algorithm::HmacMd5);
    assert_eq!(first.security[0].replay, ReplayProtection::default());
    assert_eq!(second.security[0].algorithm, Algorithm::HmacSha256);
    assert_eq!(second.security[0].replay, ReplayProtection::Nonces);
    assert_eq!(second.networks, ["10.40.0.0/24".parse().unwrap()]);
}

#[test]
fn without_the_table_there_is_no_home_agent() {
    assert!(load_text(&whole()).agent.home_agent.is_none());
    let virtual_home = load_text(&serving(NODE)).agent.home_agent.unwrap();
    assert_eq!(virtual_home.protocol.home_link, HomeLink::Virtual);
}

#[test]
fn what_cannot_work_is_refused() {
    for (text, complaint) in [
        (
            format!("{IDENTITY}{NODE}"),
            "x:3:1: there is no [home-agent], so nobody can be registered",
        ),
        (
            serving(&NODE.replace("198.51.100.5", "198.51.101.5")),
            "home: 198.51.101.5 is not in the home network 198.51.100.0/24",
        ),
        (
            serving(&format!("{NODE}{NODE}")),
            "home: 198.51.100.5 is that of the mobile node in line 6",
        ),
        (
            serving(&NODE.replace("256", "255")),
            "spi: 255 is out of bounds: an SPI is 256–4294967295 (RFC 5944 §1.6)",
        ),
        (
            serving(&NODE.replace("\"psk\"", "\"missing\"")),
            "key-file: missing is empty",
        ),
        (
            serving(&NODE.replace("198.51.100.5", "2001:db8::5")),
            "home: 2001:db8::5 is an IPv6 address: Mobile IPv4 has none",
        ),
        (
            serving("link = \"a/b\"\n"),
            "link: an interface's name has 1 to 15 characters",
        ),
        (
            serving("encapsulations = \"minimal\"\n"),
            "encapsulations: \"minimal\" is not \"ipip\" or \"gre\"",
        ),
        (
            serving("lifetime = \"1d\"\n"),
            "lifetime: 1d is out of bounds: from 10s to 65534s",
        ),
        (
            AGENT.replace("192.0.2.2", "198.51.100.5") + IDENTITY + NODE,
            "home: 198.51.100.5 is the home agent's own address",
        ),
        (
            serving("trusted-networks = \"2001:db8::/32\"\n"),
            "trusted-networks: 2001:db8::/32 is an IPv6 prefix: Mobile IPv4 has none",
        ),
    ] {
        let problems = problems(&text);
        assert!(problems.contains(complaint), "{problems} for\n{text}");
    }
}

#[test]
fn two_mobile_routers_cannot_have_one_network() {
    let router = |home: &str| {
        let node = NODE.replace("198.51.100.5", home);
        format!("{node}networks = \"10.40.0.0/24\"\n")
    };
    let text = serving(&format!(
        "{}{}",
        router("198.51.100.5"),
        router("198.51.100.6")
    ));
    assert!(
        problems(&text).contains("networks: 10.40.0.0/24 is that of the mobile node in line 6")
    );
}

#[test]
fn a_short_key_is_worth_a_warning() {
    let short = NODE.replace("\"psk\"", "\"short\"");
    assert!(warnings(&serving(&short)).contains("key-file: the key has 5 octets"));
}

#[test]
fn a_reload_says_who_came_and_who_has_another_key_and_shows_none() {
    let second = NODE.replace("198.51.100.5", "198.51.100.6");
    let old = load_text(&serving(NODE));
    let other_key = NODE.replace("\"psk\"", "\"short\"");
    let new = load_text(&serving(&format!("lifetime = 60\n{other_key}{second}")));
    let text = Difference::between(&old, &new).to_string();
    assert_eq!(
        text,
        "mobile node 198.51.100.6 added\nmobile node 198.51.100.5 altered\nhome-agent altered"
    );
    let without = load_text(IDENTITY);
    assert_eq!(
        Difference::between(&old, &without).to_string(),
        "home-agent altered: takes effect at a restart"
    );
}
