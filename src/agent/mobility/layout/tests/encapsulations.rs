//! Tunnels that are neither in UDP nor IP in IP.

use super::*;

fn wrapped(path: &Path, kind: Encapsulation) -> Path {
    let mut path = path.clone();
    let Path::Tunnel { encapsulation, .. } = &mut path else {
        unreachable!("it is a tunnel")
    };
    *encapsulation = kind;
    path
}

#[test]
fn minimal_encapsulation_is_carried_by_user_space_and_fragments_beside_it_are_let_out_of_ip_in_ip()
{
    let outer = wrapped(&through_link(X, T_HA), Encapsulation::Minimal);
    let inner = wrapped(&through_vpn(), Encapsulation::Minimal);
    let figure = arrangement(Place::OutsideWithAdapter, inner, Some(outer));
    let objects = laid_out(&figure, OURS);
    for (table, way) in [
        (7384, "dev mobility0"),
        (7380, "dev intranet0 src 10.20.0.5"),
    ] {
        let route = format!("0.0.0.0/0 table {table} proto 88 metric 1024 {way}");
        assert_eq!(text(&objects, table)[0], route);
    }
    let opened = |src, dst| DecapsulationEntry::Peer { src, dst };
    for entry in [opened(T_HA, X), opened(S_HA, V)] {
        assert!(entries(&judged(&figure, OURS)).contains(&entry), "{entry}");
    }
    let carried = carried(&figure, OURS);
    for (home, via, local, remote, mtu) in [
        (T, Via::Link(ETH0), X, T_HA, 1488),
        (S, Via::Routed, V, S_HA, 1402),
    ] {
        let (adapter, binding) = &carried[&home];
        let tunnel = &binding.tunnels[0];
        let outer = Outer::Minimal { local, remote };
        assert_eq!((tunnel.via, tunnel.outer, tunnel.mtu), (via, outer, mtu));
        let Some(Object::Link(link)) = objects.get(&Key::Link(*adapter)) else {
            panic!("no {adapter}");
        };
        assert_eq!(link.mtu, u32::from(mtu), "what is sent fits");
    }
    // V lost its adapter meanwhile.
    assert!(!self::carried(&figure, None).contains_key(&S));
}

#[test]
fn what_comes_out_of_minimal_encapsulation_while_nothing_goes_in_may_be_from_anywhere() {
    let mut outer = wrapped(&through_link(X, T_HA), Encapsulation::Minimal);
    if let Path::Tunnel { reverse, .. } = &mut outer {
        *reverse = false;
    }
    let figure = arrangement(Place::Blocked, Path::Blocked, Some(outer));
    let objects = laid_out(&figure, None);
    assert!(text(&objects, 7384)[0].contains("dev eth0"));
    let loose = Sysctl::Link(LinkName::literal("mobility0"), LinkSetting::RpFilter);
    let Some(Object::Sysctl(_, value)) = objects.get(&Key::Sysctl(loose)) else {
        panic!("strict");
    };
    assert_eq!(value, "2");
    assert_eq!(carried(&figure, None)[&T].1.tunnels.len(), 1);
}

#[test]
fn a_system_with_gre_has_a_device_for_it_beside_that_of_ip_in_ip_which_it_may_fall_back_to() {
    let mut settings = settings();
    settings.inner.encapsulation = TunnelKind::Gre;
    settings.outer.get_mut(&0).unwrap().encapsulation = TunnelKind::Gre;
    let vpn = VpnEnd {
        address: V,
        adapter: VpnAdapter::Ours,
    };
    let adapters = adapters();
    let around = around(&adapters, Some(vpn), &FIRST);
    let (inner, outer) = (
        wrapped(&through_vpn(), Encapsulation::Gre),
        wrapped(&through_link(X, T_HA), Encapsulation::Gre),
    );
    let outside = arrangement(Place::OutsideWithAdapter, inner, Some(outer));
    let objects = lay_out(&settings, &outside, around).0;
    let link = |objects: &Objects, name| match objects.get(&Key::Link(name)) {
        Some(Object::Link(link)) => link.to_string(),
        _ => panic!("no {name}"),
    };
    // 1500 less 24, and for GRE less 28; and what is left within the narrowest way of T less 24.
    for (name, text) in [
        (TUNNELS, "xa-ipip mtu 1476 type ipip external"),
        (GRE_TUNNELS, "xa-gre mtu 1472 type gre external"),
        (
            NESTED,
            "xa-nested mtu 1390 type gre local 10.30.0.5 remote 10.10.0.2 ttl 64",
        ),
    ] {
        assert_eq!(link(&objects, name), text);
    }
    assert_eq!(
        text(&objects, 7384)[0],
        "0.0.0.0/0 table 7384 proto 88 metric 1024 encap ip src 203.0.113.10 dst 192.0.2.2 ttl 64 \
         dont-fragment dev xa-gre"
    );
    let entries = entries(&objects);
    for end in [S, T, V, X] {
        assert!(entries.contains(&DecapsulationEntry::GreEnd(end)), "{end}");
    }

    // The home agents have refused it.
    let plain = arrangement(
        Place::OutsideWithAdapter,
        through_vpn(),
        Some(through_link(X, T_HA)),
    );
    let objects = lay_out(&settings, &plain, around).0;
    assert!(text(&objects, 7384)[0].ends_with("dev xa-ipip"));
    assert!(link(&objects, NESTED).contains("type ipip"));
}
