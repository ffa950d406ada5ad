//! The figures as `ip` would print them.

mod encapsulations;
mod networks;
mod properties;

use super::*;
use crate::agent::mobility::settings::{AdapterNames, Tables};
use crate::agent::mobility::turns::tests::turned;
use crate::kernel::adapters::Gateway;
use crate::kernel::desired::{LinkSetting, Sysctl};
use crate::mobile_ip::Through;
use crate::mobile_ip::client::Delivery;
use crate::mobile_ip::domain::Ranges;
use crate::mobile_ip::dual_client::station::Agreement;
use crate::mobile_ip::dual_client::{
    self, ClearProbes, InsideProtection, Reach, Reverse, Site, System, T_MONITOR, Tunnelling, Vpn,
};
use crate::mobile_ip::security::{Algorithm, ReplayProtection, SecurityAssociation};
use crate::mobile_ip::wire::TunnelKind;
use crate::net::Secret;
use std::net::SocketAddrV4;
use std::sync::LazyLock;
use std::time::Duration;

pub const S: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 5);
pub const S_HA: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 2);
pub const T: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 5);
pub const T_HA: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub const V: Ipv4Addr = Ipv4Addr::new(10, 30, 0, 5);
pub const X: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
pub const ETH0: LinkId = LinkId(5);
const WLAN0: LinkId = LinkId(6);

fn system(home: Ipv4Addr, home_agent: Ipv4Addr) -> System {
    System {
        home,
        home_agent,
        home_network: None,
        lifetime: Duration::from_secs(600),
        reverse: Reverse::Always,
    }
}

pub fn agreement() -> Agreement {
    Agreement {
        association: SecurityAssociation {
            spi: 256,
            algorithm: Algorithm::HmacSha256,
            key: Secret::from(&b"0123456789abcdef"[..]),
            replay: ReplayProtection::default(),
        },
        nai: None,
        foreign_agents: Vec::new(),
        port: 434,
        encapsulation: TunnelKind::IpIp,
        delivery: Delivery::Direct,
        revocation: false,
    }
}

/// The dual client with a VPN between.
pub fn settings() -> MobilitySettings {
    MobilitySettings {
        dual: dual_client::Settings {
            inner: system(S, S_HA),
            sites: vec![Site {
                name: "north".into(),
                outer: Some(system(T, T_HA)),
                gateway: Some("moving".into()),
                near: Vec::new(),
                reach: Reach::Ipv4,
            }],
            vpn: Vpn::Present {
                warm: true,
                patience: Duration::from_secs(20),
            },
            inside_protection: InsideProtection::Clear,
            tunnelling: Tunnelling::Split(vec!["10.0.0.0/8".parse().unwrap()]),
            ranges: Ranges::default(),
            clear_probes: ClearProbes::Everywhere,
            t_monitor: T_MONITOR,
            mobile_networks: Vec::new(),
            mobile_networks6: Vec::new(),
            destinations6: Vec::new(),
            foreign_agents: crate::mobile_ip::dual_client::ForeignAgents::Known,
        },
        inner: agreement(),
        outer: BTreeMap::from([(0, agreement())]),
        adapters: AdapterNames::default(),
        tables: Tables::default(),
    }
}

pub fn adapter(index: u32, name: &str, address: &str, gateway: Ipv4Addr) -> Adapter {
    Adapter {
        index,
        name: name.parse().unwrap(),
        carrier: true,
        addresses: vec![address.parse().unwrap()],
        gateway: Some(Gateway {
            address: gateway,
            mac: None,
            metric: 100,
        }),
        access_point: None,
        signal: None,
        ipv6: None,
    }
}

fn adapters() -> Vec<Adapter> {
    vec![
        adapter(5, "eth0", "203.0.113.10/25", GATEWAY),
        adapter(6, "wlan0", "192.168.7.9/24", [192, 168, 7, 1].into()),
    ]
}

fn through_link(local: Ipv4Addr, remote: Ipv4Addr) -> Path {
    Path::Tunnel {
        local,
        remote,
        encapsulation: Encapsulation::IpIp,
        through: Through::Link {
            link: ETH0,
            gateway: Some(GATEWAY),
        },
        reverse: true,
    }
}

fn through_vpn() -> Path {
    Path::Tunnel {
        local: V,
        remote: S_HA,
        encapsulation: Encapsulation::IpIp,
        through: Through::Vpn,
        reverse: true,
    }
}

pub fn arrangement(place: Place, inner: Path, outer: Option<Path>) -> Arrangement {
    Arrangement {
        place,
        inner: Carriage {
            home: S,
            path: inner,
        },
        outer: outer.map(|path| Carriage { home: T, path }),
    }
}

const OURS: Option<VpnEnd> = Some(VpnEnd {
    address: V,
    adapter: VpnAdapter::Ours,
});

fn laid_out(arrangement: &Arrangement, vpn: Option<VpnEnd>) -> Objects {
    laid_out_with(arrangement, vpn, &FIRST).0
}

fn laid_out_with(
    arrangement: &Arrangement,
    vpn: Option<VpnEnd>,
    turns: &Turns,
) -> (Objects, Carried) {
    let adapters = adapters();
    lay_out(&settings(), arrangement, around(&adapters, vpn, turns))
}

fn around<'a>(adapters: &'a [Adapter], vpn: Option<VpnEnd>, turns: &'a Turns) -> Around<'a> {
    Around {
        agents: &[],
        adapters,
        vpn,
        receivers: &[],
        turns,
        is_alone: true,
    }
}

/// Beside another role, which takes packets out of tunnels of its own.
fn judged(arrangement: &Arrangement, vpn: Option<VpnEnd>) -> Objects {
    let adapters = adapters();
    let around = Around {
        is_alone: false,
        ..around(&adapters, vpn, &FIRST)
    };
    lay_out(&settings(), arrangement, around).0
}

fn routes(objects: &Objects, table: u32) -> Vec<Route> {
    let routes = objects.values().filter_map(|object| match object {
        Object::Route(route) if route.key.table == table => Some(*route),
        _ => None,
    });
    routes.collect()
}

/// As `ip route show table` would have them, and the rules.
fn text(objects: &Objects, table: u32) -> Vec<String> {
    let table = routes(objects, table);
    table.iter().map(ToString::to_string).collect()
}

fn rules(objects: &Objects) -> Vec<String> {
    let rules = objects.keys().filter_map(|key| match key {
        Key::Rule(rule) => Some(rule.to_string()),
        _ => None,
    });
    rules.collect()
}

fn entries(objects: &Objects) -> Vec<DecapsulationEntry> {
    let entries = objects.keys().filter_map(|key| match key {
        Key::DecapsulationEntry(entry) => Some(*entry),
        _ => None,
    });
    entries.collect()
}

/// Nobody has moved.
static FIRST: LazyLock<Turns> = LazyLock::new(Turns::default);

const END_OF_S: &str = "unreachable 0.0.0.0/0 table 7380 proto 88 metric 4294967295";

#[test]
fn figure_9_nests_s_in_v_and_t_in_x() {
    let outer = Some(through_link(X, T_HA));
    let figure = arrangement(Place::OutsideWithAdapter, through_vpn(), outer);
    let objects = laid_out(&figure, OURS);
    assert_eq!(
        text(&objects, 7380),
        [
            "0.0.0.0/0 table 7380 proto 88 metric 1024 dev xa-nested src 10.20.0.5",
            END_OF_S,
        ]
    );
    let Some(Object::Link(nested)) = objects.get(&Key::Link(NESTED)) else {
        panic!("no tunnel within the other");
    };
    assert_eq!(
        nested.to_string(),
        "xa-nested mtu 1390 type ipip local 10.30.0.5 remote 10.10.0.2 ttl 64"
    );
    assert_eq!(
        text(&objects, 7381),
        [
            "0.0.0.0/0 table 7381 proto 88 dev vpn0",
            "unreachable 0.0.0.0/0 table 7381 proto 88 metric 4294967295",
        ]
    );
    assert_eq!(
        text(&objects, 7384),
        [
            "0.0.0.0/0 table 7384 proto 88 metric 1024 encap ip src 203.0.113.10 dst 192.0.2.2 ttl 64 \
             dont-fragment dev xa-ipip",
            "unreachable 0.0.0.0/0 table 7384 proto 88 metric 4294967295",
        ]
    );
    assert_eq!(
        text(&objects, 7385),
        ["192.0.2.2/32 table 7385 proto 88 via 203.0.113.1 dev eth0 onlink"]
    );
    assert_eq!(
        rules(&objects),
        [
            "priority 7381 from 10.20.0.5/32 lookup 7380 proto 88",
            "priority 7381 from 10.30.0.5/32 lookup 7381 proto 88",
            "priority 7381 from 198.51.100.5/32 lookup 7384 proto 88",
            "priority 7381 from 203.0.113.10/32 to 192.0.2.2/32 lookup 7385 proto 88",
            "priority 7382 from 0.0.0.0/32 to 10.0.0.0/8 lookup 7380 proto 88",
        ]
    );
    let peer = |src, dst| DecapsulationEntry::Peer { src, dst };
    let open: Vec<_> = entries(&judged(&figure, OURS))
        .into_iter()
        .filter(|entry| !entry.protects())
        .collect();
    assert_eq!(open, [peer(S_HA, V), peer(T_HA, X)], "and nothing else");
}

#[test]
fn what_is_from_no_home_agent_ends_in_a_device_and_a_table_judges_it_only_where_others_need_one() {
    let figure = arrangement(Place::Blocked, Path::Blocked, None);
    let is_there =
        |objects: &Objects, name: &str| objects.contains_key(&Key::Link(name.parse().unwrap()));
    let strangers = "xa-strangers";
    let strict = Key::Sysctl(Sysctl::Link(
        strangers.parse().unwrap(),
        LinkSetting::RpFilter,
    ));
    let objects = laid_out(&figure, OURS);
    assert!(is_there(&objects, "xa-in-0a0a0002") && is_there(&objects, "xa-in-c0000202"));
    assert!(is_there(&objects, strangers) && objects.contains_key(&strict));
    let has_address = |key: &Key| matches!(key, Key::Address(at) if at.link.as_str() == strangers);
    assert!(
        !objects.keys().any(has_address),
        "the kernel would let it out"
    );
    assert!(!objects.contains_key(&Key::Decapsulation) && entries(&objects).is_empty());
    let objects = judged(&figure, OURS);
    assert!(!is_there(&objects, strangers) && objects.contains_key(&Key::Decapsulation));
}

/// Make before break.
#[test]
fn what_comes_besides_comes_out_as_long_as_its_address_is_there() {
    let receivers = [
        Receiver {
            home: T,
            home_agent: T_HA,
            local: [192, 168, 7, 9].into(),
            link: Some(WLAN0),
        },
        Receiver {
            home: T,
            home_agent: T_HA,
            local: [192, 168, 7, 9].into(),
            link: Some(ETH0),
        },
        Receiver {
            home: S,
            home_agent: S_HA,
            local: V,
            link: None,
        },
    ];
    let adapters = adapters();
    let around = |adapters, vpn| Around {
        receivers: &receivers,
        is_alone: false,
        ..around(adapters, vpn, &FIRST)
    };
    let through = Through::Link {
        link: ETH0,
        gateway: Some(GATEWAY),
    };
    let outer = Some(in_udp(X, T_HA, through));
    let inside = arrangement(Place::Inside, through_link(X, S_HA), outer);
    let peer = |src, dst| DecapsulationEntry::Peer { src, dst };
    let laid_out = |adapters, vpn| {
        let (objects, carried) = lay_out(&settings(), &inside, around(adapters, vpn));
        let opened = entries(&objects).into_iter().filter(|e| !e.protects());
        (opened.collect::<Vec<_>>(), carried)
    };
    let wlan = [192, 168, 7, 9].into();
    let (opened, carried) = laid_out(&adapters, OURS);
    assert_eq!(opened, [peer(S_HA, V), peer(S_HA, X), peer(T_HA, wlan)]);
    let (_, binding) = &carried[&T];
    let ends = |tunnel: &Tunnel| (tunnel.via, tunnel.outer.local());
    let received: Vec<_> = binding.receives.iter().map(ends).collect();
    assert_eq!(received, [(Via::Link(WLAN0), wlan)]);
    let sent: Vec<_> = binding.tunnels.iter().map(ends).collect();
    assert_eq!(sent, [(Via::Link(ETH0), X)]);
    let (opened, carried) = laid_out(&adapters[..1], None);
    assert_eq!(opened, [peer(S_HA, X)]);
    assert!(carried[&T].1.receives.is_empty());
}

/// At an agent of the link, which is asked before it answers.
#[test]
fn through_a_foreign_agent_everything_of_t_goes_to_its_mac_and_nothing_else_of_s() {
    const AGENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
    let asked = |home| Agent {
        home,
        link: ETH0,
        address: AGENT,
        mac: Some([2, 0, 0, 0, 0, 1]),
    };
    let adapters = adapters();
    let agents = [asked(S), asked(T)];
    let around = Around {
        agents: &agents,
        is_alone: false,
        ..around(&adapters, None, &FIRST)
    };
    let asking = arrangement(Place::Blocked, Path::Blocked, Some(Path::Blocked));
    let objects = lay_out(&settings(), &asking, around).0;
    let to_agent = |table| format!("203.0.113.2/32 table {table} proto 88 dev eth0");
    let end = |table| format!("unreachable 0.0.0.0/0 table {table} proto 88 metric 4294967295");
    assert_eq!(text(&objects, 7380), [end(7380), to_agent(7380)]);
    assert_eq!(text(&objects, 7384), [end(7384), to_agent(7384)]);
    let neighbours: Vec<_> = objects
        .values()
        .filter_map(|object| match object {
            Object::Neighbour(neighbour) => Some(neighbour.to_string()),
            _ => None,
        })
        .collect();
    let said = "203.0.113.2 dev eth0 lladdr 02:00:00:00:00:01 nud permanent protocol 88";
    assert_eq!(neighbours, [said]);
    // Only requests, whose sockets pass policies.
    let kept = kept_in(&settings(), &asking, around);
    assert_eq!(
        kept,
        [Selector::between(host(S.into()), host(AGENT.into()))]
    );
    let native = Path::Native {
        link: ETH0,
        gateway: Some(AGENT),
    };
    let registered = arrangement(Place::Blocked, Path::Blocked, Some(native));
    let objects = lay_out(&settings(), &registered, around).0;
    let through =
        "0.0.0.0/0 table 7384 proto 88 metric 1024 via 203.0.113.2 dev eth0 onlink".to_owned();
    assert_eq!(text(&objects, 7384), [through, end(7384), to_agent(7384)]);
    let of_t_ha =
        |entry: &DecapsulationEntry| matches!(entry, DecapsulationEntry::Peer { src: T_HA, .. });
    assert!(!entries(&objects).iter().any(of_t_ha), "the agent unwraps");
}

#[test]
fn figure_11_leaves_s_on_the_link_and_blocks_t() {
    let native = Path::Native {
        link: ETH0,
        gateway: Some(GATEWAY),
    };
    let objects = laid_out(&arrangement(Place::Inside, native, None), None);
    assert_eq!(
        text(&objects, 7380),
        [
            "0.0.0.0/0 table 7380 proto 88 metric 1024 via 203.0.113.1 dev eth0 onlink src 10.20.0.5",
            END_OF_S,
            "203.0.113.0/25 table 7380 proto 88 dev eth0 src 10.20.0.5",
        ]
    );
    assert_eq!(
        text(&objects, 7384),
        ["unreachable 0.0.0.0/0 table 7384 proto 88 metric 4294967295"]
    );
}

#[test]
fn an_outer_home_agent_on_the_link_is_no_business_of_its_gateway() {
    let here = Ipv4Addr::new(203, 0, 113, 7);
    let outer = Some(through_link(X, here));
    let objects = laid_out(&arrangement(Place::Blocked, Path::Blocked, outer), None);
    assert_eq!(
        text(&objects, 7385),
        ["203.0.113.7/32 table 7385 proto 88 dev eth0"]
    );
}

#[test]
fn a_tunnel_from_another_v_than_the_one_that_is_there_carries_nothing() {
    let outer = Some(through_link(X, T_HA));
    let figure = arrangement(Place::OutsideWithAdapter, through_vpn(), outer);
    let (address, adapter) = (Ipv4Addr::new(10, 30, 0, 6), VpnAdapter::Ours);
    for vpn in [None, Some(VpnEnd { address, adapter })] {
        assert_eq!(text(&laid_out(&figure, vpn), 7380), [END_OF_S]);
    }
}

fn in_udp(local: Ipv4Addr, remote: Ipv4Addr, through: Through) -> Path {
    Path::Tunnel {
        local,
        remote,
        encapsulation: Encapsulation::Udp {
            local_port: 434,
            remote_port: 434,
            keepalive: Duration::from_secs(110),
        },
        through,
        reverse: true,
    }
}

fn carried(arrangement: &Arrangement, vpn: Option<VpnEnd>) -> Carried {
    laid_out_with(arrangement, vpn, &FIRST).1
}

/// Make before break: whoever is held up with the former way leaves by it.
#[test]
fn the_next_way_is_preferred_and_the_former_one_stays_beside_it_with_its_table_below() {
    let x2: Ipv4Addr = [192, 168, 7, 9].into();
    let over_wlan = Path::Tunnel {
        local: x2,
        remote: S_HA,
        encapsulation: Encapsulation::IpIp,
        through: Through::Link {
            link: WLAN0,
            gateway: Some([192, 168, 7, 1].into()),
        },
        reverse: true,
    };
    let before = arrangement(Place::Inside, through_link(X, S_HA), None);
    let after = arrangement(Place::Inside, over_wlan, None);
    let mut turns = turned([&before, &after]);
    let way = |metric, care_of| {
        format!(
            "0.0.0.0/0 table 7380 proto 88 metric {metric} encap ip src {care_of} dst {S_HA} ttl 64 \
             dont-fragment dev xa-ipip src {S}"
        )
    };
    let over_eth = "10.10.0.2/32 table 7382 proto 88 via 203.0.113.1 dev eth0 onlink";
    let over_wlan = "10.10.0.2/32 table 7383 proto 88 via 192.168.7.1 dev wlan0 onlink";
    let objects = laid_out_with(&after, OURS, &turns).0;
    assert_eq!(
        text(&objects, 7380),
        [way(1023, x2), way(1024, X), END_OF_S.into()]
    );
    assert_eq!(text(&objects, 7382), [over_eth]);
    assert_eq!(text(&objects, 7383), [over_wlan]);
    for (own, table) in [(X, 7382), (x2, 7383)] {
        let rule = format!("priority 7381 from {own}/32 to {S_HA}/32 lookup {table} proto 88");
        assert!(rules(&objects).contains(&rule), "{rule}");
    }
    assert!(turns.expire(turns.poll_timeout().unwrap()));
    let objects = laid_out_with(&after, OURS, &turns).0;
    assert_eq!(text(&objects, 7380), [way(1023, x2), END_OF_S.into()]);
    assert_eq!(text(&objects, 7382), [""; 0]);
}

#[test]
fn behind_a_nat_t_leaves_by_its_own_adapter_which_user_space_reads() {
    let through = Through::Link {
        link: ETH0,
        gateway: Some(GATEWAY),
    };
    let outer = Some(in_udp(X, T_HA, through));
    let figure = arrangement(Place::OutsideWithAdapter, through_vpn(), outer);
    let objects = laid_out(&figure, OURS);
    assert_eq!(
        text(&objects, 7384)[0],
        "0.0.0.0/0 table 7384 proto 88 metric 1024 dev mobility0"
    );
    // Nothing of the outer system comes as IP in IP.
    let from_agent = |entry: &DecapsulationEntry| matches!(entry, DecapsulationEntry::Peer { src, .. } if *src == T_HA);
    assert!(!entries(&judged(&figure, OURS)).iter().any(from_agent));
    let carried = carried(&figure, OURS);
    let (adapter, binding) = &carried[&T];
    assert_eq!(adapter.as_str(), "mobility0");
    let tunnel = &binding.tunnels[0];
    assert_eq!(tunnel.via, Via::Link(ETH0));
    let (local, remote) = (SocketAddrV4::new(X, 434), SocketAddrV4::new(T_HA, 434));
    assert_eq!(tunnel.outer, Outer::Udp { local, remote });
    assert_eq!(carried.len(), 1);
}

#[test]
fn without_an_adapter_of_the_vpn_s_goes_in_udp_from_t_and_from_nowhere_else() {
    let outer = Some(through_link(X, T_HA));
    let adapter = VpnAdapter::None;
    let protects = |address| Some(VpnEnd { address, adapter });
    for (local, vpn, is_carried) in [
        (T, protects(T), true),
        (X, protects(T), false),
        (T, protects(X), false),
        (T, None, false),
        // Without an outer system.
        (X, protects(X), true),
    ] {
        let inner = in_udp(local, S_HA, Through::Vpn);
        let figure = arrangement(Place::OutsideWithoutAdapter, inner, outer.clone());
        let objects = laid_out(&figure, vpn);
        let there = text(&objects, 7380).len() == 2;
        let carried = carried(&figure, vpn);
        let intranet = Key::Link(LinkName::literal("intranet0"));
        let Some(Object::Link(Link { mtu, .. })) = objects.get(&intranet) else {
            panic!("no adapter for S");
        };
        assert_eq!(*mtu, if vpn.is_some() { 1382 } else { 1468 });
        let narrow = |(_, binding): &(LinkName, Binding)| binding.tunnels[0].mtu == 1382;
        assert!(carried.values().all(narrow), "for S within ESP within UDP");
        let (there, carried) = (there, carried.get(&S).map(|(adapter, _)| *adapter));
        let expected = is_carried.then_some(LinkName::literal("intranet0"));
        assert_eq!((there, carried), (is_carried, expected), "{local} {vpn:?}");
        assert!(text(&objects, 7381).is_empty(), "there is no V");
    }
}

#[test]
fn what_is_sent_from_v_goes_into_the_interface_of_other_software_or_nowhere() {
    let adapter = VpnAdapter::Theirs(LinkName::literal("tun0"));
    let vpn = Some(VpnEnd {
        address: V,
        adapter,
    });
    let outer = Some(through_link(X, T_HA));
    let figure = arrangement(Place::OutsideWithAdapter, through_vpn(), outer);
    let objects = laid_out(&figure, vpn);
    assert_eq!(
        text(&objects, 7381),
        [
            "0.0.0.0/0 table 7381 proto 88 dev tun0",
            "unreachable 0.0.0.0/0 table 7381 proto 88 metric 4294967295",
        ]
    );
    let from_v = "priority 7381 from 10.30.0.5/32 lookup 7381 proto 88".to_owned();
    assert!(rules(&objects).contains(&from_v));
    assert_eq!(
        text(&objects, 7380)[0],
        "0.0.0.0/0 table 7380 proto 88 metric 1024 dev xa-nested src 10.20.0.5"
    );
    // Interface and address are theirs.
    let v = host(V.into());
    let holds =
        |key: &Key| matches!(key, Key::Address(AddressKey { address, .. }) if *address == v);
    assert!(!objects.keys().any(holds));
    assert!(!objects.contains_key(&Key::Link(LinkName::literal("tun0"))));
    assert!(!objects.contains_key(&Key::Link(LinkName::literal("vpn0"))));
}

#[test]
fn what_comes_from_a_home_agent_has_a_device_that_no_move_touches() {
    let inside = arrangement(Place::Inside, through_link(X, S_HA), None);
    let outer = Some(through_link(X, T_HA));
    let outside = arrangement(Place::OutsideWithAdapter, through_vpn(), outer);
    let all = [laid_out(&inside, None), laid_out(&outside, OURS)];
    for (name, text) in [
        (
            "xa-in-0a0a0002",
            "mtu 1476 type ipip local 0.0.0.0 remote 10.10.0.2 ttl 64",
        ),
        (
            "xa-in-c0000202",
            "mtu 1476 type ipip local 0.0.0.0 remote 192.0.2.2 ttl 64",
        ),
    ] {
        let key = Key::Link(name.parse().unwrap());
        for objects in &all {
            let Some(Object::Link(link)) = objects.get(&key) else {
                panic!("no {name}")
            };
            assert_eq!(link.to_string(), format!("{name} {text}"));
        }
    }
}

#[test]
fn t_goes_neither_into_itself_nor_into_the_vpn_that_it_carries() {
    for through in [Through::OuterHome, Through::Vpn] {
        let nonsense = Path::Tunnel {
            local: S,
            remote: T_HA,
            encapsulation: Encapsulation::IpIp,
            through,
            reverse: true,
        };
        let arrangement = arrangement(Place::OutsideWithAdapter, through_vpn(), Some(nonsense));
        let vpn = VpnEnd {
            address: V,
            adapter: VpnAdapter::Ours,
        };
        let objects = laid_out(&arrangement, Some(vpn));
        assert_eq!(routes(&objects, 7384).len(), 1);
        // The tunnel of S stays what it is.
        let Some(Object::Link(nested)) = objects.get(&Key::Link(NESTED)) else {
            panic!("it is a link")
        };
        let expected = LinkKind::IpInIpBetween {
            local: V,
            remote: S_HA,
        };
        assert_eq!(nested.kind, expected);
    }
}

#[test]
fn on_its_home_network_s_may_register_before_it_has_a_way_and_do_nothing_else() {
    let mut settings = settings();
    settings.dual.inner.home_network = Some("10.20.0.0/24".parse().unwrap());
    let home = [adapter(5, "eth0", "10.20.0.50/24", [10, 20, 0, 1].into())];
    let blocked = arrangement(Place::Blocked, Path::Blocked, None);
    let with = |adapters: &[Adapter]| {
        let around = around(adapters, None, &FIRST);
        lay_out(&settings, &blocked, around).0
    };
    let registering = "priority 7380 from 10.20.0.5/32 to 10.10.0.2/32 lookup 254 proto 88";
    let kept = |place, adapters: &[Adapter]| {
        let around = around(adapters, None, &FIRST);
        let arrangement = arrangement(place, Path::Blocked, None);
        kept_in(&settings, &arrangement, around)
    };
    let from_s = [Selector::between(host(S.into()), host(S_HA.into()))];
    assert_eq!(kept(Place::Blocked, &home), from_s);
    assert_eq!(kept(Place::OutsideWithAdapter, &home), from_s);
    assert_eq!(kept(Place::Inside, &home), []);
    assert_eq!(kept(Place::Blocked, &adapters()), []);
    let at_home = with(&home);
    assert!(rules(&at_home).contains(&registering.to_owned()));
    assert_eq!(text(&at_home, 7380), [END_OF_S]);
    assert!(!rules(&with(&adapters())).contains(&registering.to_owned()));
}
