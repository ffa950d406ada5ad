//! `[mobility]` and `[[mobility-site]]`.

use super::*;
use crate::mobile_ip::dual_client::{InsideProtection, Reach, Tunnelling, Vpn};
use crate::mobile_ip::security::Algorithm;
use crate::mobile_ip::wire::TunnelKind;

const MOBILITY: &str = "
[mobility]
home = \"10.20.0.5\"
home-agent = \"10.2.0.2\"
spi = 256
key-file = \"inner.key\"
";
const SITE: &str = "
[[mobility-site]]
name = \"north\"
home = \"198.51.100.5\"
home-agent = \"192.0.2.2\"
spi = 0x101
algorithm = \"hmac-sha256\"
key-file = \"outer.key\"
vpn = \"moving\"
near = \"203.0.113.0/24\"
encapsulation = \"gre\"
";
const VPN: &str = "
[[vpn]]
name = \"moving\"
peer = \"gw106.example\"
gateway = \"192.0.2.6\"
subnets = \"10.2.0.0/16\"
";

#[test]
fn one_system_alone_needs_no_site_no_peer_and_no_proxy() {
    let loaded = load_text(&format!("{IDENTITY}{MOBILITY}"));
    assert_eq!(loaded.warnings, []);
    let mobility = loaded.agent.mobility.unwrap();
    assert_eq!(mobility.dual.vpn, Vpn::Absent);
    assert_eq!(mobility.dual.tunnelling, Tunnelling::Full);
    assert_eq!(mobility.inner.association.algorithm, Algorithm::HmacMd5);
    assert!(mobility.outer.is_empty());
    assert!(mobility.dual.check().is_ok());
}

#[test]
fn an_inner_system_an_outer_one_and_the_vpn_between_are_read() {
    let text = format!(
        "{}{VPN}{MOBILITY}destinations = [\"10.0.0.0/8\"]\ninside-protection = \"esp\"\n\
         encapsulation = \"minimal\"\n{SITE}",
        whole()
    );
    let mobility = load_text(&text).agent.mobility.unwrap();
    assert!(matches!(mobility.dual.vpn, Vpn::Present { warm: true, .. }));
    assert_eq!(mobility.dual.inside_protection, InsideProtection::Esp);
    let site = &mobility.dual.sites[0];
    assert_eq!(site.gateway.as_deref(), Some("moving"));
    let outer = &mobility.outer[&0].association;
    assert_eq!((outer.spi, outer.algorithm), (257, Algorithm::HmacSha256));
    let encapsulations = [&mobility.inner, &mobility.outer[&0]].map(|it| it.encapsulation);
    assert_eq!(encapsulations, [TunnelKind::Minimal, TunnelKind::Gre]);
    assert_eq!(mobility.destinations(), ["10.0.0.0/8".parse().unwrap()]);
}

#[test]
fn what_has_a_gateway_of_ipv6_too_is_reached_where_there_is_nothing_else() {
    let reach = |vpn: &str| {
        let text = format!("{}{vpn}{MOBILITY}{SITE}", whole());
        load_text(&text).agent.mobility.unwrap().dual.sites[0].reach
    };
    assert_eq!(reach(VPN), Reach::Ipv4);
    let both = VPN.replace(
        "gateway = \"192.0.2.6\"",
        "gateway = [\"192.0.2.6\", \"2001:db8::6\"]",
    );
    assert_eq!(reach(&both), Reach::Either);
}

#[test]
fn networks_and_destinations_may_be_of_ipv6() {
    let text = |lines: &str| format!("{IDENTITY}{MOBILITY}{lines}");
    let networks = "networks = [\"10.60.0.0/24\", \"2001:db8:6::5/128\"]\n";
    let destinations = "destinations = [\"10.0.0.0/8\", \"2001:db8::/32\"]\n";
    let mobility = load_text(&text(&format!("{networks}{destinations}")))
        .agent
        .mobility;
    let dual = mobility.unwrap().dual;
    assert_eq!(dual.mobile_networks, ["10.60.0.0/24".parse().unwrap()]);
    let own = "2001:db8:6::5/128".parse().unwrap();
    assert_eq!(dual.mobile_networks6, [own]);
    assert_eq!(dual.destinations6, ["2001:db8::/32".parse().unwrap()]);
    for (lines, complaint) in [
        (
            format!("{networks}reverse = \"never\"\n"),
            "networks: 2001:db8:6::5/128 is of IPv6, which the home agent takes out of a reverse tunnel only",
        ),
        (
            format!("{}{destinations}", networks.replace("::5/128", "::/64")),
            "destinations: 2001:db8::/32 is of IPv6, and no prefix in `networks` is an address",
        ),
        (
            networks.replace("2001:db8:6::5/128", "::/0"),
            "networks: ::/0 cannot move",
        ),
    ] {
        let problems = problems(&text(&lines));
        assert!(problems.contains(complaint), "{problems}");
    }
}

#[test]
fn who_has_a_name_may_be_given_its_home_address() {
    use std::net::Ipv4Addr;
    let nai = "nai = \"alice@example.org\"\n";
    let alone = MOBILITY.replace("home = \"10.20.0.5\"\n", nai);
    let mobility = load_text(&format!("{IDENTITY}{alone}")).agent.mobility;
    let mobility = mobility.unwrap();
    assert_eq!(mobility.dual.inner.home, Ipv4Addr::UNSPECIFIED);
    assert_eq!(
        mobility.inner.nai.as_deref(),
        Some(&b"alice@example.org"[..])
    );
    let site = SITE.replace("home = \"198.51.100.5\"\n", nai);
    let outer = format!("{}{VPN}{MOBILITY}{site}", whole());
    let mobility = load_text(&outer).agent.mobility.unwrap();
    let outer = mobility.dual.sites[0].outer.as_ref().unwrap();
    assert_eq!(outer.home, Ipv4Addr::UNSPECIFIED);
    for (text, complaint) in [
        (
            format!(
                "{IDENTITY}{}",
                MOBILITY.replace("home = \"10.20.0.5\"\n", "")
            ),
            "[mobility] lacks the key `home`, or `nai`, to be given a home address",
        ),
        (
            format!("{}{VPN}{alone}{SITE}", whole()),
            "only that can be given its home address",
        ),
        (
            format!(
                "{}{VPN}{MOBILITY}{SITE}{}",
                whole(),
                site.replace("north", "south")
            ),
            "among several [[mobility-site]], each needs one",
        ),
    ] {
        let problems = problems(&text);
        assert!(problems.contains(complaint), "{problems} for\n{text}");
    }
}

#[test]
fn what_cannot_work_is_refused_with_what_to_do() {
    let without = |text: &str, line: &str| text.replace(line, "");
    for (text, complaint) in [
        (SITE.to_owned(), "there is no [mobility]"),
        (
            without(MOBILITY, "spi = 256\n"),
            "[mobility] lacks the key `spi`",
        ),
        (
            MOBILITY.replace("inner.key", "short"),
            "holds a key of less than 16 octets",
        ),
        (MOBILITY.replace("256", "255"), "spi: 255 is out of bounds"),
        (
            MOBILITY.replace("10.20.0.5", "2001:db8::5"),
            "home: 2001:db8::5: Mobile IP is of IPv4 here",
        ),
        (
            format!("{MOBILITY}home-network = \"10.21.0.0/16\"\n"),
            "does not hold the home address 10.20.0.5",
        ),
        (
            format!("{MOBILITY}{SITE}"),
            "vpn: there is no [[vpn]] with the name `moving`",
        ),
        (
            format!("{VPN}start = \"up\"\n{MOBILITY}{SITE}"),
            "mobility starts it, leave that out",
        ),
        (
            format!("{VPN}local = \"198.51.100.5\"\n{MOBILITY}{SITE}"),
            "mobility says where it begins",
        ),
        (
            format!(
                "{VPN}address = \"none\"\n{MOBILITY}[[mobility-site]]\nname = \"north\"\nvpn = \"moving\"\n"
            ),
            "so it protects the `home` of this site: give it that",
        ),
        (
            format!("{VPN}{}{SITE}", MOBILITY.replace("10.2.0.2", "10.9.0.2")),
            "the inner home agent 10.9.0.2 is in none of the subnets",
        ),
        (
            format!(
                "{VPN}{MOBILITY}{}",
                SITE.replace("198.51.100.5", "10.20.0.5")
            ),
            "they must differ",
        ),
        (
            format!("{VPN}{MOBILITY}{SITE}[[mobility-site]]\nname = \"south\"\n"),
            "a [[mobility-site]] is a way in",
        ),
        (
            format!(
                "{VPN}{MOBILITY}{SITE}{}",
                SITE.replace("vpn = \"moving\"\n", "")
            ),
            "all or none",
        ),
        (
            format!(
                "{}{MOBILITY}{SITE}",
                VPN.replace("192.0.2.6", "2001:db8::6")
            ),
            "has no `gateway` of IPv4",
        ),
        (
            format!("{MOBILITY}vpn-adapter = \"intranet0\"\n"),
            "must have different names",
        ),
        (
            format!("{MOBILITY}table = 7369\n"),
            "7370 is that of [interception]",
        ),
    ] {
        let all = problems(&format!("{}\n{text}\n", whole()));
        assert!(all.contains(complaint), "{complaint}: {all}");
    }
}

#[test]
fn a_reload_says_that_mobility_waits_for_a_restart() {
    let before = load_text(&format!("{}{MOBILITY}", whole()));
    let altered = MOBILITY.replace("10.20.0.5", "10.20.0.6");
    for (text, differs) in [
        (MOBILITY.to_owned(), false),
        (altered, true),
        (MOBILITY.replace("inner.key", "psk"), false),
        (String::new(), true),
    ] {
        let after = load_text(&format!("{}{text}", whole()));
        let difference = Difference::between(&before, &after);
        let said = difference.needs_restart.contains(&"mobility");
        assert_eq!(said, differs, "{text}");
    }
}
