//! Networks that move with S, of IPv4 and of IPv6.

use super::*;

#[test]
fn a_mobile_network_has_the_ways_of_s_and_its_neighbours_those_of_the_main_table() {
    let mut settings = settings();
    settings.dual.mobile_networks = vec!["10.60.0.0/24".parse().unwrap()];
    let adapters = adapters();
    let around = around(&adapters, None, &FIRST);
    let blocked = arrangement(Place::Blocked, Path::Blocked, None);
    let rules = rules(&lay_out(&settings, &blocked, around).0);
    assert_eq!(
        rules[0],
        "priority 7380 to 10.60.0.0/24 lookup 254 proto 88"
    );
    assert!(rules.contains(&"priority 7381 from 10.60.0.0/24 lookup 7380 proto 88".to_owned()));
}

#[test]
fn ipv6_is_in_a_tunnel_of_s_whatever_way_s_has() {
    let mut settings = settings();
    let [behind, own] = ["2001:db8:60::/64", "2001:db8:61::5/128"];
    settings.dual.mobile_networks6 = [behind, own].map(|net| net.parse().unwrap()).into();
    settings.dual.destinations6 = vec!["2001:db8::/32".parse().unwrap()];
    let adapters = adapters();
    let around = around(&adapters, None, &FIRST);
    let link = ETH0;
    let gateway = None;
    let inside = arrangement(Place::Inside, Path::Native { link, gateway }, None);
    let blocked = arrangement(Place::Blocked, Path::Blocked, None);
    for arrangement in [inside, blocked] {
        let objects = lay_out(&settings, &arrangement, around).0;
        let rules = rules(&objects);
        for rule in [
            "-6 priority 7380 to 2001:db8:60::/64 lookup 254 proto 88",
            "-6 priority 7381 from 2001:db8:60::/64 lookup 7380 proto 88",
            "-6 priority 7381 from 2001:db8:61::5/128 lookup 7380 proto 88",
            "-6 priority 7382 from 2001:db8:61::5/128 or-none-yet to 2001:db8::/32 lookup 7380 proto 88",
        ] {
            assert!(rules.contains(&rule.to_owned()), "{rule}: {rules:?}");
        }
        let routes = text(&objects, 7380);
        for route in [
            "::/0 table 7380 proto 88 dev xa-6in4",
            "unreachable ::/0 table 7380 proto 88 metric 4294967295",
        ] {
            assert!(routes.contains(&route.to_owned()), "{route}: {routes:?}");
        }
        let kind = LinkKind::Ipv6InIpBetween {
            local: S,
            remote: S_HA,
        };
        let is_there = |object: &Object| matches!(object, Object::Link(link) if link.kind == kind);
        assert!(objects.values().any(is_there));
        let addresses: Vec<_> = objects
            .keys()
            .filter_map(|key| match key {
                Key::Address(key) if key.link == prefixes::IPV6_TUNNEL => Some(key.address),
                _ => None,
            })
            .collect();
        assert_eq!(addresses, [own.parse().unwrap()]);
    }
    // Before S is given nothing leads there, and nothing leaves either.
    settings.dual.inner.home = Ipv4Addr::UNSPECIFIED;
    let blocked = arrangement(Place::Blocked, Path::Blocked, None);
    let routes = text(&lay_out(&settings, &blocked, around).0, 7380);
    let ends = [
        "unreachable 0.0.0.0/0 table 7380 proto 88 metric 4294967295",
        "unreachable ::/0 table 7380 proto 88 metric 4294967295",
    ];
    assert_eq!(routes, ends);
}
