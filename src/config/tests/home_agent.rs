//! `[home-agent]` and `[[mobile-node]]`.

use super::*;
use crate::mobile_ip::home_agent::settings::{HomeLink, ReverseTunnel};
use crate::mobile_ip::security::{Algorithm, ReplayProtection};
use crate::mobile_ip::wire::TunnelKind;

const AGENT: &str = "[home-agent]\naddress = \"192.0.2.2\"\nhome-network = \"198.51.100.0/24\"\n";
const NAMED: &str = "[[mobile-node]]\nnai = \"alice@example.org\"\nspi = 256\nkey-file = \"psk\"\n";
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
        encapsulations = [\"ipip\", \"gre\", \"minimal\"]
        trusted-networks = [\"10.0.0.0/8\"]
        bindings-each = 2
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
        networks = [\"10.40.0.0/24\", \"2001:db8:40::/48\"]
        "
    )));
    let agent = loaded.agent.home_agent.unwrap();
    assert_eq!(agent.link.unwrap().as_str(), "eth1");
    let protocol = agent.protocol;
    assert_eq!(protocol.home_link, HomeLink::Physical);
    assert_eq!(protocol.reverse_tunnel, ReverseTunnel::Required);
    let offered = [TunnelKind::IpIp, TunnelKind::Gre, TunnelKind::Minimal];
    assert_eq!(protocol.encapsulations, offered);
    let limits = protocol.limits;
    assert_eq!((limits.lifetime, limits.rate), (300, 2000));
    assert_eq!(limits.bindings_each, 2);
    assert_eq!((limits.rate_each, limits.rate_failures), (5, 0));
    let [first, second] = &protocol.mobile_nodes[..] else {
        panic!("{:?}", protocol.mobile_nodes);
    };
    assert_eq!(first.security[0].algorithm, Algorithm::HmacMd5);
    assert_eq!(first.security[0].replay, ReplayProtection::default());
    assert_eq!(second.security[0].algorithm, Algorithm::HmacSha256);
    assert_eq!(second.security[0].replay, ReplayProtection::Nonces);
    assert_eq!(second.networks, ["10.40.0.0/24".parse().unwrap()]);
    assert_eq!(second.networks6, ["2001:db8:40::/48".parse().unwrap()]);
}

#[test]
fn without_the_table_there_is_no_home_agent() {
    assert!(load_text(&whole()).agent.home_agent.is_none());
    let virtual_home = load_text(&serving(NODE)).agent.home_agent.unwrap();
    assert_eq!(virtual_home.protocol.limits.bindings_each, 1);
    assert_eq!(virtual_home.protocol.home_link, HomeLink::Virtual);
}

#[test]
fn a_node_with_a_name_has_an_address_of_its_own_or_is_given_one() {
    let agent = load_text(&serving(&format!(
        "pool = \"198.51.100.128/25\"\n{NAMED}{}",
        NODE.replace("spi", "nai = \"bob@example.org\"\nspi")
    )));
    let protocol = agent.agent.home_agent.unwrap().protocol;
    assert_eq!(protocol.pool, Some("198.51.100.128/25".parse().unwrap()));
    let node = |at: usize| {
        let node = &protocol.mobile_nodes[at];
        (node.home, node.nai.as_deref().map(String::from_utf8_lossy))
    };
    assert_eq!(node(0), (None, Some("alice@example.org".into())));
    let home = "198.51.100.5".parse().unwrap();
    assert_eq!(node(1), (Some(home), Some("bob@example.org".into())));
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
            serving("encapsulations = \"l2tp\"\n"),
            "encapsulations: \"l2tp\" is not \"ipip\", \"gre\" or \"minimal\"",
        ),
        (
            serving("bindings-each = 9\n"),
            "bindings-each: 9 is out of bounds: a whole number from 1 to 8",
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
            serving(NAMED),
            "x:6:1: home: without one, [home-agent] needs a `pool` of addresses to give",
        ),
        (
            serving(&NODE.replace("home = \"198.51.100.5\"\n", "")),
            "[[mobile-node]] lacks the key `home`, or `nai`, to be given an address of the pool",
        ),
        (
            serving("pool = \"198.51.101.0/25\"\n"),
            "x:6:8: pool: 198.51.101.0/25 is not in the home network 198.51.100.0/24",
        ),
        (
            serving("pool = \"198.51.0.0/16\"\n"),
            "pool: 198.51.0.0/16 is not in the home network 198.51.100.0/24",
        ),
        (
            serving("pool = \"198.51.100.6/31\"\n"),
            "pool: 198.51.100.6/31 has no address to give: its first and its last are not given",
        ),
        (
            serving(&format!("pool = \"198.51.100.0/28\"\n{NODE}")),
            "home: 198.51.100.5 is in the pool 198.51.100.0/28, of which others are given addresses",
        ),
        (
            AGENT.replace("192.0.2.2", "198.51.100.5") + "pool = \"198.51.100.0/28\"\n" + IDENTITY,
            "pool: 198.51.100.0/28 contains the home agent's own address 198.51.100.5",
        ),
        (
            serving(&format!("pool = \"198.51.100.8/29\"\n{NAMED}{NAMED}")),
            "nai: alice@example.org is that of the mobile node in line 7",
        ),
        (
            serving(&NAMED.replace("alice@", "alice @")),
            "nai: a network access identifier has up to 255 octets and no blanks",
        ),
        (
            serving(&format!("{NODE}networks = \"fe80::/64\"\n")),
            "networks: fe80::/64 cannot move: nobody can route to it",
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
    for network in ["10.40.0.0/24", "2001:db8:40::/64"] {
        let router = |home: &str| {
            let node = NODE.replace("198.51.100.5", home);
            format!("{node}networks = \"{network}\"\n")
        };
        let text = serving(&format!(
            "{}{}",
            router("198.51.100.5"),
            router("198.51.100.6")
        ));
        let complaint = format!("networks: {network} is that of the mobile node in line 6");
        assert!(problems(&text).contains(&complaint));
    }
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
    let pool = "pool = \"198.51.100.8/29\"\n";
    let named = load_text(&serving(&format!("{pool}{NODE}{NAMED}")));
    assert_eq!(
        Difference::between(&old, &named).to_string(),
        "mobile node alice@example.org added\nhome-agent altered"
    );
    let without = load_text(IDENTITY);
    assert_eq!(
        Difference::between(&old, &without).to_string(),
        "home-agent altered: takes effect at a restart"
    );
}
