//! What holds whatever is wanted.

use super::*;
use proptest::prelude::*;

fn any_address() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![
        Just(S),
        Just(T),
        Just(V),
        Just(X),
        Just(S_HA),
        Just(T_HA),
        any::<u32>().prop_map(Ipv4Addr::from),
    ]
}

fn any_link() -> impl Strategy<Value = LinkId> {
    prop_oneof![Just(ETH0), Just(WLAN0), Just(LinkId(99))]
}

fn any_path() -> impl Strategy<Value = Path> {
    let gateway = || proptest::option::of(any_address());
    let through = prop_oneof![
        (any_link(), gateway()).prop_map(|(link, gateway)| Through::Link { link, gateway }),
        Just(Through::Vpn),
        Just(Through::OuterHome),
    ];
    let encapsulation = prop_oneof![
        4 => Just(Encapsulation::IpIp),
        1 => Just(Encapsulation::Gre),
        1 => Just(Encapsulation::Minimal),
        1 => Just(Encapsulation::Udp {
            local_port: 434,
            remote_port: 434,
            keepalive: Duration::from_secs(110),
        }),
    ];
    let tunnel = (
        any_address(),
        any_address(),
        encapsulation,
        through,
        any::<bool>(),
    );
    prop_oneof![
        Just(Path::Blocked),
        (any_link(), gateway()).prop_map(|(link, gateway)| Path::Native { link, gateway }),
        tunnel.prop_map(|(local, remote, encapsulation, through, reverse)| {
            Path::Tunnel {
                local,
                remote,
                encapsulation,
                through,
                reverse,
            }
        }),
    ]
}

fn any_arrangement() -> impl Strategy<Value = Arrangement> {
    let place = prop_oneof![
        Just(Place::Blocked),
        Just(Place::Inside),
        Just(Place::OutsideWithAdapter),
        Just(Place::OutsideWithoutAdapter),
        Just(Place::WithoutVpn),
    ];
    (place, any_path(), proptest::option::of(any_path()))
        .prop_map(|(place, inner, outer)| arrangement(place, inner, outer))
}

fn any_vpn() -> impl Strategy<Value = Option<VpnEnd>> {
    let v = |adapter| VpnEnd {
        address: V,
        adapter,
    };
    let itself = |address| VpnEnd {
        address,
        adapter: VpnAdapter::None,
    };
    prop_oneof![
        Just(None),
        Just(Some(v(VpnAdapter::Ours))),
        Just(Some(v(VpnAdapter::Theirs(LinkName::literal("tun0"))))),
        Just(Some(itself(T))),
        Just(Some(itself(X))),
    ]
}

proptest! {
    /// Also for arrangements that the dual client never makes.
    #[test]
    fn every_table_of_an_address_ends_and_s_is_on_no_link_outside(
        history in proptest::collection::vec(any_arrangement(), 0..4),
        arrangement in any_arrangement(),
        vpn in any_vpn(),
    ) {
        let turns = turned(history.iter().chain([&arrangement]));
        let (objects, carried) = laid_out_with(&arrangement, vpn, &turns);
        let v = vpn.filter(|vpn| vpn.adapter != VpnAdapter::None);
        for table in [7380, 7384].into_iter().chain(v.map(|_| 7381)) {
            let end = Key::Route(RouteKey::end_of(table, Family::V4));
            let ends = matches!(objects.get(&end), Some(Object::Route(route)) if route.way == Way::Unreachable);
            prop_assert!(ends, "{table}");
        }
        let from_s = format!("priority 7381 from {S}/32 lookup 7380 proto 88");
        prop_assert!(rules(&objects).contains(&from_s));
        let may_be_clear = matches!(arrangement.place, Place::Inside | Place::WithoutVpn);
        for route in routes(&objects, 7380) {
            match route.way {
                Way::Link { link, .. } if link == NESTED => {
                    let from_v = |local| v.is_some_and(|vpn| vpn.address == local);
                    let is_v = matches!(objects.get(&Key::Link(NESTED)), Some(Object::Link(Link {
                        kind: LinkKind::IpInIpBetween { local, .. } | LinkKind::GreBetween { local, .. },
                        ..
                    })) if from_v(*local));
                    prop_assert!(may_be_clear || is_v);
                }
                Way::Link { link, .. } if link.as_str() == "intranet0" => {
                    let (_, binding) = &carried[&S];
                    let tunnel = &binding.tunnels[0];
                    let through_vpn = tunnel.via == Via::Routed
                        && vpn.is_some_and(|vpn| vpn.address == tunnel.outer.local());
                    prop_assert!(may_be_clear || through_vpn);
                }
                Way::Link { link, .. } => {
                    prop_assert!(may_be_clear);
                    prop_assert!(["eth0", "wlan0"].contains(&link.as_str()));
                }
                Way::Encapsulated { .. } => prop_assert!(may_be_clear),
                Way::Unreachable => {}
                Way::Local => prop_assert!(false, "{route}"),
            }
        }
        // What is sent from V goes where the VPN takes it, and nowhere else.
        let into_vpn = v.map(|vpn| match vpn.adapter {
            VpnAdapter::Theirs(name) => name,
            _ => LinkName::literal("vpn0"),
        });
        for route in routes(&objects, 7381) {
            let is_it = matches!(route.way, Way::Link { link, gateway: None, .. } if Some(link) == into_vpn);
            prop_assert!(is_it || route.way == Way::Unreachable, "{route}");
        }
        // User space reads an adapter where a route leads into it, and nowhere else.
        let into = |name: &str, table| routes(&objects, table).iter().any(|route| {
            matches!(route.way, Way::Link { link, .. } if link.as_str() == name)
        });
        // But for what comes in minimal encapsulation while what is sent does not.
        let all = || history.iter().chain([&arrangement]);
        let comes = |carriage: &Carriage| matches!(carriage.path, Path::Tunnel {
            encapsulation: Encapsulation::Minimal,
            reverse: false,
            ..
        });
        let s_comes = all().any(|it| comes(&it.inner));
        let t_comes = all().any(|it| it.outer.as_ref().is_some_and(comes));
        for (home, is_read, comes) in [
            (S, into("intranet0", 7380), s_comes),
            (T, into("mobility0", 7384), t_comes),
        ] {
            let is_carried = carried.contains_key(&home);
            prop_assert!(is_carried == is_read || is_carried && comes, "{home}");
        }
        if arrangement.place == Place::Blocked {
            prop_assert_eq!(routes(&objects, 7380).len(), 1);
        }
    }

    /// Nothing is taken out of a tunnel unless it was sent by a home agent of ours to an address of ours.
    #[test]
    fn what_is_taken_out_of_tunnels_ends_at_an_end(
        arrangement in any_arrangement(),
        vpn in any_vpn(),
    ) {
        let entries = entries(&judged(&arrangement, vpn));
        for entry in &entries {
            if let DecapsulationEntry::Peer { dst, .. } = entry {
                let vpn = vpn.map(|vpn| vpn.address);
                let ours = [Some(S), Some(T), Some(X), vpn, Some([192, 168, 7, 9].into())];
                if ours.contains(&Some(*dst)) {
                    prop_assert!(entries.contains(&DecapsulationEntry::End(*dst)));
                }
            }
        }
    }
}
