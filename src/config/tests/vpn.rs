//! `[[vpn]]`, `[vpn-gateway]` and `[[vpn-client]]`.

use super::*;
use crate::agent::vpn::settings::{Driver, Shape, SpeaksFrom, Start};

#[test]
fn a_vpn_and_a_gateway_are_read() {
    let loaded = load_text(&format!(
        "{}
        [[vpn]]
        name = \"north\"
        peer = \"gw106.example\"
        gateway = \"192.0.2.6\"
        local = \"198.51.100.5\"
        subnets = \"10.2.0.0/16\"
        start = \"up\"
        [vpn-gateway]
        pool = [\"10.30.0.0/24\", \"2001:db8:30::/64\"]
        subnets = \"10.1.0.0/16\"
        dns = \"10.1.0.53\"
        [[vpn-client]]
        peer = \"gw106.example\"
        addresses = \"10.40.0.5\"
        ",
        whole()
    ));
    let vpn = loaded.agent.vpn;
    assert_eq!(vpn.gateways[0].name, "north");
    assert_eq!(vpn.gateways[0].start, Start::Up);
    let served = vpn.serves.unwrap();
    let text = |nets: &[ipnet::IpNet]| nets.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        text(&served.pool),
        ["10.30.0.0/24", "2001:db8:30::/64", "10.40.0.5/32"]
    );
    let [v4, v6] = [0, 1].map(|n| served.gateway.pool[n]);
    let held = |addr: &str| {
        let addr = addr.parse().unwrap();
        v4.holds(addr) || v6.holds(addr)
    };
    assert!(held("10.30.0.1") && held("10.30.0.254") && held("2001:db8:30::1"));
    assert!(!held("10.30.0.0") && !held("10.30.0.255") && !held("2001:db8:30::"));
}

#[test]
fn an_address_that_is_kept_is_read_at_both_ends_and_guarded_by_the_gateway() {
    let loaded = load_text(&format!(
        "{}
        [[vpn]]
        name = \"north\"
        peer = \"gw106.example\"
        gateway = \"192.0.2.6\"
        subnets = \"10.2.0.0/16\"
        address = \"none\"
        [vpn-gateway]
        pool = \"10.30.0.0/24\"
        subnets = [\"10.1.0.0/16\", \"0.0.0.0/0\"]
        [[vpn-client]]
        peer = \"gw106.example\"
        own-addresses = [\"198.51.100.5\", \"203.0.113.0/24\"]
        ",
        whole()
    ));
    let vpn = loaded.agent.vpn;
    assert_eq!(vpn.gateways[0].speaks_from, SpeaksFrom::Own);
    let served = vpn.serves.unwrap();
    let text = |nets: &[ipnet::IpNet]| nets.iter().map(ToString::to_string).collect::<Vec<_>>();
    let kept = ["198.51.100.5/32", "203.0.113.0/24"];
    let client = served.gateway.clients.values().next().unwrap();
    assert_eq!(text(&client.keeps), kept);
    assert!(client.reserved.is_empty());
    assert_eq!(text(&served.pool), ["10.30.0.0/24", kept[0], kept[1]]);
    assert!(
        !served
            .gateway
            .pool
            .iter()
            .any(|range| range.holds("203.0.113.7".parse().unwrap()))
    );
}

#[test]
fn an_address_that_is_kept_is_nobody_elses() {
    let gateway = |first: &str, second: &str| {
        format!(
            "{}
            [[peer]]
            id = \"second.example\"
            psk-file = \"psk\"
            may-protect = \"nothing\"
            [vpn-gateway]
            pool = \"10.30.0.0/24\"
            subnets = \"10.1.0.0/16\"
            [[vpn-client]]
            peer = \"gw106.example\"
            own-addresses = \"{first}\"
            [[vpn-client]]
            peer = \"second.example\"
            {second}
            ",
            whole()
        )
    };
    load_text(&gateway("198.51.100.5", "own-addresses = \"198.51.100.6\""));
    for (first, second, complaint) in [
        (
            "198.51.100.0/24",
            "own-addresses = \"198.51.100.6\"",
            "198.51.100.6/32 and 198.51.100.0/24 have addresses in common",
        ),
        (
            "10.30.0.7",
            "",
            "own-addresses: 10.30.0.7/32: 10.30.0.0/24 is given to clients",
        ),
        (
            "198.51.100.5",
            "addresses = \"198.51.100.5\"",
            "own-addresses: 198.51.100.5/32: 198.51.100.5/32 is given to clients",
        ),
        (
            "10.1.2.3",
            "",
            "own-addresses: 10.1.2.3/32: 10.1.0.0/16 lies behind this gateway",
        ),
        (
            "0.0.0.0/0",
            "",
            "own-addresses: 0.0.0.0/0: 10.1.0.0/16 lies behind this gateway",
        ),
    ] {
        let all = problems(&gateway(first, second));
        assert!(all.contains(complaint), "{complaint}: {all}");
    }
}

#[test]
fn what_cannot_work_is_refused() {
    for (text, complaint) in [
        (
            "[[vpn]]\nname = \"n\"\npeer = \"gw9.example\"\ngateway = \"192.0.2.6\"\nsubnets = \"10.2.0.0/16\"",
            "there is no [[peer]] gw9.example",
        ),
        (
            "[[vpn]]\nname = \"n\"\npeer = \"gw106.example\"\ngateway = \"192.0.2.6\"\nsubnets = \"0.0.0.0/0\"",
            "gw106.example may not protect 0.0.0.0/0",
        ),
        (
            "[[vpn]]\nname = \"n\"\npeer = \"gw106.example\"\ngateway = \"2001:db8::6\"\nsubnets = \"10.2.0.0/16\"\naddress = \"none\"",
            "10.2.0.0/16 is of another IP version than 2001:db8::6",
        ),
        (
            "[[vpn]]\nname = \"n\"\npeer = \"gw106.example\"\ngateway = \"192.0.2.6\"\nsubnets = \"10.2.0.0/16\"\naddress = \"10.30.0.5\"",
            "address: ",
        ),
        (
            "[[vpn]]\nname = \"n\"\npeer = \"gw106.example\"\ngateway = [\"192.0.2.6\", \"192.0.2.7\"]\nsubnets = \"10.2.0.0/16\"",
            "gateway: at most one address of each IP version",
        ),
        (
            "[[vpn]]\nname = \"n\"\npeer = \"gw106.example\"\ngateway = []\nsubnets = \"10.2.0.0/16\"",
            "gateway: the list is empty",
        ),
        (
            "[[vpn]]\nname = \"n\"\npeer = \"gw106.example\"\ngateway = [\"192.0.2.6\", \"2001:db8::6\"]\nsubnets = \"10.2.0.0/16\"\naddress = \"none\"",
            "name one address",
        ),
        (
            "[[vpn-client]]\npeer = \"gw106.example\"",
            "there is no [vpn-gateway]",
        ),
        (
            "[vpn-gateway]\npool = []\nsubnets = \"10.1.0.0/16\"",
            "pool: the list is empty",
        ),
    ] {
        let all = problems(&format!("{}\n{text}\n", whole()));
        assert!(all.contains(complaint), "{complaint}: {all}");
    }
}

#[test]
fn a_gateway_may_have_an_address_of_each_ip_version() {
    let vpn = |gateway: &str, more: &str| {
        let whole = whole();
        let text = format!("{whole}\n[[vpn]]\nname = \"n\"\n{more}\ngateway = {gateway}\n");
        load_text(&text).agent.vpn
    };
    let both = "[\"192.0.2.6\", \"2001:db8::6\"]";
    let own = "peer = \"gw106.example\"\nsubnets = \"10.2.0.0/16\"";
    let other = "up = \"/bin/true\"\ndown = \"/bin/true\"";
    let one = "\"192.0.2.6\"";
    assert!(vpn(both, own).gateways[0].is_reached_over_ipv6());
    assert!(!vpn(one, own).gateways[0].is_reached_over_ipv6());
    assert!(vpn(both, other).others[0].is_reached_over_ipv6());
    assert!(!vpn(one, other).others[0].is_reached_over_ipv6());
    let without = vpn(both, &format!("{other}\naddress = \"none\""));
    assert!(!without.others[0].is_reached_over_ipv6());
    let charon = vpn(both, "vici = \"/run/charon.vici\"\nconnection = \"office\"");
    assert!(!charon.others[0].is_reached_over_ipv6());
}

#[test]
fn a_vpn_of_other_software_is_read_in_each_of_its_shapes() {
    let shape = |keys: &str| {
        let loaded = load_text(&format!(
            "{}
            [[vpn]]
            name = \"office\"
            up = [\"/bin/sh\", \"-c\", \"exit 0\"]
            down = \"/bin/true\"
            {keys}
            ",
            whole()
        ));
        let other = loaded.agent.vpn.others[0].clone();
        let Driver::Programs { up, down } = other.driver else {
            panic!("{:?}", other.driver);
        };
        assert_eq!(up, ["/bin/sh", "-c", "exit 0"]);
        assert_eq!(down, ["/bin/true"]);
        other.shape
    };
    assert_eq!(shape(""), Shape::Said);
    assert_eq!(shape("address = \"none\""), Shape::NoAddress);
    let tun0 = "tun0".parse().unwrap();
    assert_eq!(
        shape("interface = \"tun0\"\ngateway = \"192.0.2.6\""),
        Shape::Interface(tun0)
    );
}

#[test]
fn strongswan_is_read_with_the_child_of_its_connections_name() {
    let charon = |child: &str| {
        let table =
            "[[vpn]]\nname = \"office\"\nvici = \"/run/charon.vici\"\nconnection = \"moving\"";
        let loaded = load_text(&format!("{}\n{table}\n{child}\n", whole()));
        loaded.agent.vpn.others[0].driver.clone()
    };
    let expected = |child: &str| Driver::Charon {
        socket: "/run/charon.vici".into(),
        connection: "moving".into(),
        child: child.into(),
    };
    assert_eq!(charon(""), expected("moving"));
    assert_eq!(charon("child = \"net\""), expected("net"));
}

#[test]
fn keys_of_one_kind_of_vpn_are_refused_in_the_other() {
    let other = "[[vpn]]\nname = \"office\"\nup = \"/bin/true\"\n";
    let own = "[[vpn]]\nname = \"n\"\npeer = \"gw106.example\"\ngateway = \"192.0.2.6\"\nsubnets = \"10.2.0.0/16\"\n";
    for (text, complaint) in [
        (other.to_owned(), "[[vpn]] lacks the key `down`"),
        (
            format!("{other}down = \"true\""),
            "true must be an absolute path",
        ),
        (format!("{other}down = []"), "there is nothing to run"),
        (
            format!("{other}down = \"/bin/true\"\nsubnets = \"10.2.0.0/16\""),
            "subnets: other software decides that",
        ),
        (
            format!("{other}down = \"/bin/true\"\ninterface = \"tun0\"\naddress = \"none\""),
            "leave one of the two out",
        ),
        (
            format!("{own}interface = \"tun0\""),
            "interface: it is of a VPN of other software",
        ),
    ] {
        let all = problems(&format!("{}\n{text}\n", whole()));
        assert!(all.contains(complaint), "{complaint}: {all}");
    }
}
