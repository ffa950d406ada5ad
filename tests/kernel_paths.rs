//! Links, addresses, routes, rules, proxy neighbours and decapsulation on the running kernel.
//! Needs root, TUN and nftables; tests of IP in IP need a kernel that has it, as those of ESP do.

mod kernel;

use kernel::{Kernel, in_namespace, run};
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use xfrm_agent::kernel::adapters::{DefaultRoute, Gateway, Look};
use xfrm_agent::kernel::decapsulation;
use xfrm_agent::kernel::desired::{
    AddressKey, Change, DecapsulationEntry, Encapsulation, Fragmenting, GRE_TUNNEL_MTU, Judging,
    Key, Link, LinkKind, LinkName, LinkSetting, Object, Offload, ProxyKey, Route, RouteKey,
    RuleKey, Sysctl, TUNNEL_MTU, Way, receiver,
};
use xfrm_agent::kernel::events::KernelEvent;
use xfrm_agent::kernel::monitor::Monitor;
use xfrm_agent::kernel::netlink::route;
use xfrm_agent::kernel::netlink::socket::{Heard, Listener, Requests};
use xfrm_agent::kernel::writer::{Refusal, Report, Stop};
use xfrm_agent::net::Family;

const TABLE: u32 = 7400;
const ANCHOR: LinkName = LinkName::literal("intranet0");
const TUNNEL: LinkName = LinkName::literal("xa-ipip");
const WAN: LinkName = LinkName::literal("wan");

fn tun(name: LinkName) -> Object {
    Object::Link(Link {
        name,
        kind: LinkKind::Tun(Offload::None),
        mtu: 1400,
    })
}

/// How a device of tunnels wraps packets.
#[derive(Clone, Copy)]
struct Wrapping {
    link: LinkName,
    kind: LinkKind,
    mtu: u32,
    protocol: u8,
    /// Between the two headers.
    between: &'static [u8],
}

const IP_IN_IP: Wrapping = Wrapping {
    link: TUNNEL,
    kind: LinkKind::IpInIp,
    mtu: TUNNEL_MTU,
    protocol: 4,
    between: &[],
};
const GRE: Wrapping = Wrapping {
    link: LinkName::literal("xa-gre"),
    kind: LinkKind::Gre,
    mtu: GRE_TUNNEL_MTU,
    protocol: 47,
    between: &[0, 0, 8, 0],
};

impl Wrapping {
    fn device(self) -> Object {
        Object::Link(Link {
            name: self.link,
            kind: self.kind,
            mtu: self.mtu,
        })
    }

    /// S on its anchor, with this way.
    fn under_s(self, way: Way) -> Vec<Object> {
        vec![
            tun(ANCHOR),
            self.device(),
            address(ANCHOR, "10.20.0.5/32"),
            end(),
            from("10.20.0.5/32"),
            route("0.0.0.0/0", 0, way),
        ]
    }
}

fn address(link: LinkName, address: &str) -> Object {
    let address = address.parse().unwrap();
    Object::Address(AddressKey { link, address })
}

fn end() -> Object {
    Object::Route(Route {
        key: RouteKey::end_of(TABLE, Family::V4),
        way: Way::Unreachable,
    })
}

fn route(dst: &str, metric: u32, way: Way) -> Object {
    let key = RouteKey {
        table: TABLE,
        dst: dst.parse().unwrap(),
        metric,
    };
    Object::Route(Route { key, way })
}

fn over(link: LinkName, gateway: Option<&str>, source: Option<&str>) -> Way {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    Way::Link {
        link,
        gateway: gateway.map(address),
        source: source.map(address),
    }
}

fn tunnel(src: &str, dst: &str) -> Way {
    Way::Encapsulated {
        link: TUNNEL,
        encapsulation: Encapsulation {
            src: src.parse().unwrap(),
            dst: dst.parse().unwrap(),
            ttl: 64,
            fragmenting: Fragmenting::Forbidden,
        },
        source: None,
    }
}

fn from(address: &str) -> Object {
    Object::Rule(RuleKey::new(Family::V4, 7400, TABLE).from(address.parse().unwrap()))
}

/// A link of somebody else.
fn wan() {
    run("ip", "link add wan type veth peer name isp");
    run("ip", "link set isp up");
    run("ip", "link set wan up");
    run("ip", "address add 203.0.113.10/24 dev wan");
}

fn table() -> String {
    run("ip", &format!("route show table {TABLE}"))
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}\n{}", table());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn remove(objects: &[&Object]) -> Change {
    Change {
        remove: objects.iter().map(|object| object.key()).collect(),
        ..Change::default()
    }
}

#[test]
fn an_anchor_comes_with_its_address_survives_a_kill_and_goes_with_the_agent() {
    in_namespace(|| {
        run("ip", "tuntap add dev other mode tun");
        let mut kernel = Kernel::open();
        let wanted = vec![
            tun(ANCHOR),
            address(ANCHOR, "10.20.0.5/32"),
            address(ANCHOR, "2001:db8::5/128"),
        ];
        kernel.put(wanted.clone());
        let shown = || run("ip", "-d address show dev intranet0");
        for word in [
            "alias xfrm-agent",
            "mtu 1400",
            ",UP",
            "tun type tun pi off vnet_hdr off persist on",
            "inet 10.20.0.5/32",
            "inet6 2001:db8::5/128",
        ] {
            assert!(shown().contains(word), "{word}: {}", shown());
        }
        assert!(!shown().contains("fe80"), "{}", shown());
        let index = || {
            let shown = run("ip", "-o link show dev intranet0");
            shown.split(':').next().map(str::to_owned)
        };
        let before = index();
        let mut kernel = Kernel::open_in(kernel.kill());
        kernel.put(wanted[..2].to_vec());
        assert_eq!(index(), before, "the same one is used again");
        assert!(
            !shown().contains("2001:db8::5"),
            "an address of before went"
        );
        kernel.stop(Stop::Remove);
        let left = run("ip", "-br link");
        assert!(
            !left.contains("intranet0") && left.contains("other"),
            "{left}"
        );
    });
}

#[test]
fn a_packet_header_for_segments_is_there_where_it_is_wanted_and_a_changed_mtu_is_set() {
    in_namespace(|| {
        let mut kernel = Kernel::open();
        let link = |mtu| {
            Object::Link(Link {
                name: ANCHOR,
                kind: LinkKind::Tun(Offload::VirtioHeader),
                mtu,
            })
        };
        kernel.put(vec![link(1400)]);
        kernel.put(vec![link(1300)]);
        let shown = run("ip", "-d link show dev intranet0");
        assert!(
            shown.contains("vnet_hdr on") && shown.contains("mtu 1300"),
            "{shown}"
        );
        kernel.stop(Stop::Remove);
    });
}

#[test]
fn somebody_elses_interface_of_the_name_is_reported_and_nothing_is_done_to_it() {
    in_namespace(|| {
        run("ip", "tuntap add dev intranet0 mode tun");
        let mut kernel = Kernel::open();
        let refusals = kernel.try_apply(Change {
            put: vec![
                tun(ANCHOR),
                address(ANCHOR, "10.20.0.5/32"),
                route("10.0.0.0/8", 0, over(ANCHOR, None, None)),
                end(),
            ],
            ..Change::default()
        });
        let [refusal] = &refusals[..] else {
            panic!("{refusals:#?}");
        };
        assert_eq!(refusal.key, Key::Link(ANCHOR));
        assert!(
            refusal.to_string().contains("`ip link del intranet0`"),
            "{refusal}"
        );
        let shown = run("ip", "address show dev intranet0");
        assert!(
            !shown.contains("alias") && !shown.contains("10.20"),
            "{shown}"
        );
        assert_eq!(table().lines().count(), 1, "{}", table());
        // It goes, and ours takes its place.
        run("ip", "link del intranet0");
        eventually("ours", || {
            table().contains("10.0.0.0/8 dev intranet0")
                && run("ip", "address show").contains("10.20.0.5")
        });
        kernel.stop(Stop::Remove);
    });
}

#[test]
fn a_table_of_ours_has_ways_and_an_end_and_a_way_is_replaced_in_one_step() {
    in_namespace(|| {
        wan();
        let mut kernel = Kernel::open();
        let way = |gateway| route("0.0.0.0/0", 0, over(WAN, Some(gateway), None));
        kernel.put(vec![
            tun(ANCHOR),
            address(ANCHOR, "10.20.0.5/32"),
            end(),
            from("10.20.0.5/32"),
            way("203.0.113.1"),
            route("10.9.0.0/16", 5, over(WAN, None, Some("10.20.0.5"))),
        ]);
        let routes = table();
        for line in [
            "default via 203.0.113.1 dev wan proto 88 onlink",
            "10.9.0.0/16 dev wan proto 88 scope link src 10.20.0.5 metric 5",
            "unreachable default proto 88 metric 4294967295",
        ] {
            assert!(routes.contains(line), "{line}: {routes}");
        }
        assert!(run("ip", "rule").contains("7400:\tfrom 10.20.0.5 lookup 7400 proto 88"));

        // `RTNLGRP_IPV4_ROUTE`.
        let mut events = Listener::open(NETLINK_ROUTE, &[7]).unwrap();
        kernel.put(vec![way("203.0.113.2")]);
        let mut kinds = Vec::new();
        while events.listen(|event| kinds.push(event.kind)).unwrap() != Heard::Silence {}
        assert_eq!(kinds, [libc::RTM_NEWROUTE], "and no removal");
        assert!(table().contains("default via 203.0.113.2"));
        assert_eq!(table().lines().count(), 3);

        let mut kernel = Kernel::open_in(kernel.kill());
        kernel.put(vec![end()]);
        assert_eq!(table().lines().count(), 1, "the rest of before is gone");
        kernel.stop(Stop::Remove);
        assert!(!run("ip", "rule").contains("7400"));
    });
}

#[test]
fn what_others_take_out_is_put_back_and_their_own_in_its_place_is_reported() {
    in_namespace(|| {
        wan();
        let mut kernel = Kernel::open();
        kernel.put(vec![
            end(),
            from("10.20.0.5/32"),
            tun(ANCHOR),
            address(ANCHOR, "10.20.0.5/32"),
            route("0.0.0.0/0", 0, over(WAN, Some("203.0.113.1"), None)),
        ]);
        run("ip", "rule del priority 7400");
        run("ip", &format!("route flush table {TABLE}"));
        run("ip", "address del 10.20.0.5/32 dev intranet0");
        eventually("put back", || {
            table().lines().count() == 2
                && run("ip", "rule").contains("7400:")
                && run("ip", "address").contains("10.20.0.5")
        });
        run("ip", "link del intranet0");
        eventually("the link too", || {
            run("ip", "address").contains("10.20.0.5")
        });
        run(
            "ip",
            &format!("route replace default via 203.0.113.9 dev wan table {TABLE}"),
        );
        // The address went before its link, which nobody had heard of yet when it was to be put back.
        let early = |refusal: &Refusal| {
            matches!(refusal.key, Key::Address(_)) && refusal.to_string().contains("ENODEV")
        };
        let refusal = loop {
            if let Report::Refused { refusal, .. } = kernel.report()
                && !early(&refusal)
            {
                break refusal;
            }
        };
        assert!(matches!(refusal.key, Key::Route(_)), "{refusal}");
        assert!(
            refusal
                .attempt
                .starts_with("ip route add 0.0.0.0/0 table 7400"),
            "{refusal}"
        );
        assert!(table().contains("via 203.0.113.9"), "theirs stays");
        run(
            "ip",
            &format!("route del default via 203.0.113.9 table {TABLE}"),
        );
        eventually("ours again", || table().contains("via 203.0.113.1"));
        kernel.stop(Stop::Remove);
    });
}

/// The kernel does not say that they went.
#[test]
fn routes_that_went_with_their_link_or_source_come_back_with_it() {
    in_namespace(|| {
        wan();
        let mut kernel = Kernel::open();
        kernel.put(vec![
            end(),
            route(
                "0.0.0.0/0",
                0,
                over(WAN, Some("203.0.113.1"), Some("203.0.113.10")),
            ),
        ]);
        for (down, up) in [
            ("link set wan down", "link set wan up"),
            (
                "address del 203.0.113.10/24 dev wan",
                "address add 203.0.113.10/24 dev wan",
            ),
        ] {
            run("ip", down);
            assert_eq!(table().lines().count(), 1);
            let refused = loop {
                if let Report::Refused { refusal, .. } = kernel.report() {
                    break refusal;
                }
            };
            assert!(matches!(refused.key, Key::Route(_)), "{refused}");
            run("ip", up);
            eventually(up, || table().lines().count() == 2);
        }
        kernel.stop(Stop::Remove);
    });
}

/// The kernel refuses to list routes over a link that has gone; whatever is known stays known.
#[test]
fn over_a_link_that_has_gone_there_are_no_routes() {
    in_namespace(|| {
        wan();
        let mut kernel = Kernel::open();
        kernel.put(vec![end(), route("0.0.0.0/0", 0, over(WAN, None, None))]);
        let mut requests = Requests::open_strict(NETLINK_ROUTE).unwrap();
        let index = nix::net::if_::if_nametoindex("wan").unwrap();
        assert_eq!(route::own(&mut requests, Some(index)).unwrap().len(), 1);
        assert_eq!(route::own(&mut requests, None).unwrap().len(), 2);
        run("ip", "link del wan");
        assert_eq!(route::own(&mut requests, Some(index)).unwrap(), []);
        kernel.stop(Stop::Remove);
    });
}

#[test]
fn a_proxy_neighbour_of_ours_comes_and_goes_and_others_stay() {
    in_namespace(|| {
        wan();
        run("ip", "neigh add proxy 203.0.113.7 dev wan");
        let proxy = |address: &str| {
            Object::Proxy(ProxyKey {
                link: WAN,
                address: address.parse().unwrap(),
            })
        };
        let shown = || run("ip", "neigh show proxy");
        let mut kernel = Kernel::open();
        let refusals = kernel.try_apply(Change {
            put: vec![proxy("203.0.113.5"), proxy("203.0.113.7")],
            ..Change::default()
        });
        assert_eq!(refusals.len(), 1, "{refusals:#?}");
        assert!(
            shown().contains("203.0.113.5 dev wan proxy proto 88"),
            "{}",
            shown()
        );
        let mut kernel = Kernel::open_in(kernel.kill());
        kernel.put(vec![proxy("203.0.113.6")]);
        assert!(!shown().contains("203.0.113.5"), "{}", shown());
        kernel.apply(remove(&[&proxy("203.0.113.6")]));
        assert_eq!(shown().trim(), "203.0.113.7 dev wan proxy");
        kernel.stop(Stop::Remove);
    });
}

#[test]
fn a_sysctl_of_a_link_is_given_back_and_one_that_went_with_its_link_is_forgotten() {
    in_namespace(|| {
        run("ip", "link add wan.7 type veth peer name isp.7");
        let vlan = "wan.7".parse().unwrap();
        let value = || std::fs::read_to_string("/proc/sys/net/ipv4/conf/wan.7/rp_filter").unwrap();
        let before = value();
        let mut kernel = Kernel::open();
        kernel.put(vec![
            tun(ANCHOR),
            Object::Sysctl(Sysctl::Link(vlan, LinkSetting::RpFilter), "2".into()),
            Object::Sysctl(Sysctl::Link(ANCHOR, LinkSetting::AcceptLocal), "1".into()),
        ]);
        assert_eq!(value().trim(), "2");
        let kernel = Kernel::open_in(kernel.kill());
        run("ip", "link del intranet0");
        let directory = kernel.stop(Stop::Keep);
        assert_eq!(value(), before);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    });
}

#[test]
fn adapters_that_lead_out_are_told_with_their_gateways_and_so_is_every_change_of_them() {
    in_namespace(|| {
        wan();
        let mut kernel = Kernel::open();
        kernel.put(vec![tun(ANCHOR), address(ANCHOR, "10.20.0.5/32")]);
        let adapters = || {
            let mut look = Look::open().unwrap();
            look.adapters().unwrap()
        };
        let told = || {
            let mut all = adapters().into_iter();
            all.find(|adapter| adapter.name == WAN).unwrap()
        };
        let names: Vec<_> = adapters().iter().map(|a| a.name.to_string()).collect();
        assert_eq!(
            names.len(),
            2,
            "the two ends of a cable, and no anchor: {names:?}"
        );
        assert!(told().carrier);
        assert_eq!(told().addresses, ["203.0.113.10/24".parse().unwrap()]);
        assert_eq!(told().gateway, None);
        let mut monitor = kernel.block_on(async { Monitor::open().unwrap() });
        let mut wait = || {
            let next =
                async { tokio::time::timeout(Duration::from_secs(10), monitor.next()).await };
            kernel.block_on(next).unwrap().unwrap()
        };
        let route = |mac| DefaultRoute {
            link: told().index,
            gateway: "203.0.113.1".parse().unwrap(),
            metric: 100,
            mac,
        };
        let gateway = |mac| Gateway {
            address: Ipv4Addr::new(203, 0, 113, 1),
            mac,
            metric: 100,
        };
        let mac = Some([2, 0, 0, 0, 0, 1]);
        // Whoever is told need not look again.
        let mut told_of = Look::open().unwrap();
        run("ip", "route add default via 203.0.113.1 dev wan metric 100");
        assert_eq!(wait(), KernelEvent::GatewayChanged(vec![route(None)]));
        told_of.default_routes_are(vec![route(None)]);
        assert_eq!(told_of.adapters().unwrap(), adapters());
        assert_eq!(told().gateway, Some(gateway(None)));
        // Of somebody who is no gateway: nobody is woken.
        run(
            "ip",
            "neigh add 203.0.113.9 lladdr 02:00:00:00:00:09 dev wan",
        );
        run(
            "ip",
            "neigh add 203.0.113.1 lladdr 02:00:00:00:00:01 dev wan",
        );
        assert_eq!(wait(), KernelEvent::GatewayChanged(vec![route(mac)]));
        assert_eq!(told().gateway, Some(gateway(mac)));
        // A carrier that goes takes the neighbour along without a word; whoever answers again is news.
        run("ip", "link set wan mtu 1400");
        while wait() != KernelEvent::AddressChanged {}
        run("ip", "neigh del 203.0.113.1 dev wan");
        run(
            "ip",
            "neigh add 203.0.113.1 lladdr 02:00:00:00:00:01 dev wan",
        );
        assert_eq!(wait(), KernelEvent::GatewayChanged(vec![route(mac)]));
        run("ip", "link set wan down");
        while wait() != KernelEvent::LinkChanged {}
        assert!(!told().carrier);
        // It has taken the route with it, and the kernel says nothing of that.
        run("ip", "route add default via 192.0.2.1 dev isp onlink");
        let routes = loop {
            if let KernelEvent::GatewayChanged(routes) = wait() {
                break routes;
            }
        };
        let gateways: Vec<_> = routes.iter().map(|route| route.gateway).collect();
        assert_eq!(gateways, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        kernel.stop(Stop::Remove);
    });
}

fn entries() -> [DecapsulationEntry; 3] {
    let [src, dst, inner] =
        ["203.0.113.1", "203.0.113.10", "10.20.0.5"].map(|a| a.parse().unwrap());
    [
        DecapsulationEntry::End(dst),
        DecapsulationEntry::Peer {
            src: "203.0.113.2".parse().unwrap(),
            dst,
        },
        DecapsulationEntry::Binding { src, dst, inner },
    ]
}

#[test]
fn what_may_be_decapsulated_is_kept_through_a_kill_and_comes_back_after_a_flush_of_all_tables() {
    in_namespace(|| {
        let mut kernel = Kernel::open();
        let mut wanted = vec![Object::Decapsulation(Judging::HOME_AGENT)];
        wanted.extend(entries().map(Object::DecapsulationEntry));
        kernel.put(wanted.clone());
        let listed = || run("nft", "list ruleset");
        let all = [
            "{ 203.0.113.10 }",
            "{ 203.0.113.2 . 203.0.113.10 }",
            "{ 203.0.113.1 . 203.0.113.10 . 0xa140005 }",
        ];
        for element in all {
            assert!(listed().contains(element), "{element}: {}", listed());
        }
        let mut kernel = Kernel::open_in(kernel.kill());
        kernel.put(wanted[..3].to_vec());
        assert!(
            listed().contains(all[1]) && !listed().contains(all[2]),
            "{}",
            listed()
        );
        run("nft", "flush ruleset");
        eventually("put back", || {
            listed().contains(all[1]) && listed().contains("@bindings")
        });
        run("nft", "flush set ip xfrm-agent-tunnels peers");
        eventually("put back", || listed().contains(all[1]));
        kernel.apply(remove(&[&wanted[1], &wanted[2]]));
        assert!(!listed().contains("203.0.113"), "{}", listed());
        kernel.stop(Stop::Remove);
        assert_eq!(listed(), "");
    });
}

fn bindings(many: u32, care_of: &str) -> Vec<Object> {
    let host = |n: u32| Ipv4Addr::from(0x0a40_0000 + n);
    let over = |n| {
        let gateway = over(WAN, Some(care_of), None);
        Object::Route(Route {
            key: RouteKey::to_host(TABLE, host(n)),
            way: gateway,
        })
    };
    (0..many).map(over).collect()
}

/// Prints how long it takes, with the gateway in the place of the outer header.
#[test]
fn routes_by_the_hundred_thousand_are_put_in_found_again_and_one_is_changed_at_no_more_cost() {
    in_namespace(|| {
        wan();
        for many in [10_000, 100_000] {
            let mut kernel = Kernel::open();
            let timed = |what: &str, start: Instant| {
                println!("{many} routes: {what} {:?}", start.elapsed());
                start.elapsed()
            };
            let start = Instant::now();
            kernel.put(bindings(many, "203.0.113.1"));
            timed("put in within", start);
            assert_eq!(table().lines().count(), many as usize);

            // All is listed once more after so much.
            kernel.put(bindings(1, "203.0.113.2"));
            let start = Instant::now();
            for binding in &bindings(100, "203.0.113.2") {
                kernel.put(vec![binding.clone()]);
            }
            let one = timed("100 changed, one by one, within", start) / 100;
            assert!(one < Duration::from_millis(20), "{one:?}");
            assert!(table().contains("10.64.0.99 via 203.0.113.2"));

            let start = Instant::now();
            kernel.put(bindings(many, "203.0.113.3"));
            timed("all changed within", start);

            let start = Instant::now();
            let mut kernel = Kernel::open_in(kernel.kill());
            kernel.put(bindings(many, "203.0.113.3"));
            timed("found again within", start);
            let start = Instant::now();
            kernel.stop(Stop::Remove);
            timed("removed within", start);
            assert_eq!(table(), "");
        }
    });
}

/// Prints how long it takes.
#[test]
fn entries_by_the_ten_thousand_are_put_in_and_one_is_changed_at_no_more_cost() {
    in_namespace(|| {
        let many = 10_000;
        let entry = |n: u32, care_of: &str| {
            Object::DecapsulationEntry(DecapsulationEntry::Binding {
                src: care_of.parse().unwrap(),
                dst: "192.0.2.2".parse().unwrap(),
                inner: Ipv4Addr::from(0x0a40_0000 + n),
            })
        };
        let mut kernel = Kernel::open();
        let start = Instant::now();
        let mut wanted = vec![Object::Decapsulation(Judging::HOME_AGENT)];
        wanted.extend((0..many).map(|n| entry(n, "203.0.113.1")));
        kernel.put(wanted);
        println!("{many} entries put in within {:?}", start.elapsed());
        let start = Instant::now();
        for n in 0..100 {
            kernel.apply(Change {
                put: vec![entry(n, "203.0.113.2")],
                remove: vec![entry(n, "203.0.113.1").key()],
                ..Change::default()
            });
        }
        println!(
            "100 of {many} entries changed, one by one, within {:?}",
            start.elapsed()
        );
        let start = Instant::now();
        kernel.stop(Stop::Remove);
        println!("removed within {:?}", start.elapsed());
    });
}

// --- tunnels -----------------------------------------------------------------------------------

/// Of the counter `name` that the test has made.
fn counted(name: &str) -> u64 {
    let shown = run("nft", &format!("-j list counter ip test {name}"));
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    shown["nftables"][1]["counter"]["packets"].as_u64().unwrap()
}

#[test]
#[ignore = "needs ESP"]
fn packets_leave_in_the_outer_header_of_their_route() {
    for wrapping in [IP_IN_IP, GRE] {
        leave_in_the_outer_header(wrapping);
    }
}

fn leave_in_the_outer_header(wrapping: Wrapping) {
    in_namespace(|| {
        let Wrapping { link, protocol, .. } = wrapping;
        let inner_source = (wrapping.between.len() + 12) * 8;
        wan();
        // What it says of itself within the first second would be counted, too.
        run("sysctl", "-q net.ipv6.conf.wan.disable_ipv6=1");
        run(
            "ip",
            "neigh add 203.0.113.1 lladdr 02:00:00:00:00:01 dev wan",
        );
        let rule = format!(
            "add rule ip test out ip protocol {protocol} ip saddr 203.0.113.10 ip daddr 203.0.113.1 ip ttl 64 \
             ip frag-off 0x4000 @th,{inner_source},32 0x0a140005 counter name encapsulated"
        );
        for command in [
            "add table ip test",
            "add counter ip test encapsulated",
            "add counter ip test any",
            "add chain ip test out { type filter hook postrouting priority 0 ; }",
            "add rule ip test out counter name any",
            &rule,
        ] {
            run("nft", command);
        }
        let mut kernel = Kernel::open();
        let wanted = wrapping.under_s(tunnel("203.0.113.10", "203.0.113.1").over(link));
        kernel.put(wanted.clone());
        assert!(
            table().contains("encap ip id 0 src 203.0.113.10 dst 203.0.113.1"),
            "{}",
            table()
        );
        let socket = UdpSocket::bind("10.20.0.5:0").unwrap();
        socket.send_to(b"x", "10.10.0.101:9").unwrap();
        assert_eq!(counted("encapsulated"), 1);
        // Of IPv4: the link itself sends IPv6 of its own accord.
        let sent = counted("any");
        // Written once: a second time nothing is to be done.
        kernel.put(wanted.clone());
        let mut kernel = Kernel::open_in(kernel.kill());
        kernel.put(wanted.clone());
        assert!(run("ip", &format!("-d link show {link}")).contains("external"));
        // Without its way nothing leaves, in the tunnel or beside it.
        kernel.apply(remove(&[wanted.last().unwrap()]));
        assert!(socket.send_to(b"x", "10.10.0.101:9").is_err());
        assert_eq!(counted("any"), sent);
        kernel.stop(Stop::Remove);
        assert!(!run("ip", "-br link").contains(link.as_str()));
    });
}

/// For each it would take memory, and packets that are underway when routes change.
#[test]
#[ignore = "needs ESP"]
fn what_fits_through_a_tunnel_is_written_down_for_no_destination() {
    for (wrapping, fragmenting) in [
        (IP_IN_IP, Fragmenting::Forbidden),
        (IP_IN_IP, Fragmenting::Allowed),
        (GRE, Fragmenting::Forbidden),
        (GRE, Fragmenting::Allowed),
    ] {
        in_namespace(|| {
            wan();
            let mut kernel = Kernel::open();
            let mut way = tunnel("203.0.113.10", "203.0.113.1").over(wrapping.link);
            if let Way::Encapsulated { encapsulation, .. } = &mut way {
                encapsulation.fragmenting = fragmenting;
            }
            kernel.put(wrapping.under_s(way));
            let socket = UdpSocket::bind("10.20.0.5:0").unwrap();
            socket.send_to(b"x", "10.10.0.101:9").unwrap();
            let known = run("ip", "route get 10.10.0.101 from 10.20.0.5");
            assert!(known.contains("encap ip"), "{known}");
            assert!(!known.contains("expires"), "{fragmenting:?}: {known}");
            kernel.stop(Stop::Remove);
        });
    }
}

/// Less than its device takes: whoever sends into the tunnel is told.
#[test]
#[ignore = "needs ESP"]
fn what_fits_through_a_narrower_path_is_found_out() {
    for wrapping in [IP_IN_IP, GRE] {
        in_namespace(|| {
            wan();
            run("ip", "route add 203.0.113.1 dev wan mtu 1400");
            let mut kernel = Kernel::open();
            kernel.put(wrapping.under_s(tunnel("203.0.113.10", "203.0.113.1").over(wrapping.link)));
            let socket = UdpSocket::bind("10.20.0.5:0").unwrap();
            socket.send_to(b"x", "10.10.0.101:9").unwrap();
            let known = run("ip", "route get 10.10.0.101 from 10.20.0.5");
            let fits = format!(" mtu {}", 1400 - 20 - wrapping.between.len());
            assert!(known.contains(&fits), "{known}");
            kernel.stop(Stop::Remove);
        });
    }
}

#[test]
#[ignore = "needs ESP"]
fn only_what_an_entry_lets_through_is_decapsulated_and_other_tunnels_are_left_alone() {
    for wrapping in [IP_IN_IP, GRE] {
        only_what_an_entry_lets_through(wrapping);
    }
}

fn only_what_an_entry_lets_through(wrapping: Wrapping) {
    in_namespace(|| {
        let link = wrapping.link;
        wan();
        run("ip", "address add 203.0.113.11/24 dev wan");
        let mut kernel = Kernel::open();
        let mut wanted = vec![
            wrapping.device(),
            Object::Decapsulation(Judging::HOME_AGENT),
        ];
        let entries = entries().map(|entry| match (entry, wrapping.kind) {
            (DecapsulationEntry::End(end), LinkKind::Gre) => DecapsulationEntry::GreEnd(end),
            _ => entry,
        });
        wanted.extend(entries.map(Object::DecapsulationEntry));
        for setting in [LinkSetting::RpFilter, LinkSetting::AcceptLocal] {
            wanted.push(Object::Sysctl(Sysctl::Link(link, setting), "0".into()));
        }
        kernel.put(wanted);
        let sender = Sender::new(wrapping);
        let received = || received_by(link.as_str());
        for (what, src, dst, inner, comes_out) in [
            (
                "a mobile node in its own name",
                "203.0.113.1",
                "203.0.113.10",
                "10.20.0.5",
                true,
            ),
            (
                "in another name",
                "203.0.113.1",
                "203.0.113.10",
                "10.20.0.6",
                false,
            ),
            (
                "from elsewhere",
                "203.0.113.3",
                "203.0.113.10",
                "10.20.0.5",
                false,
            ),
            (
                "a home agent, for anybody",
                "203.0.113.2",
                "203.0.113.10",
                "10.10.0.101",
                true,
            ),
            (
                "to an address that is not judged",
                "203.0.113.3",
                "203.0.113.11",
                "10.20.0.6",
                true,
            ),
        ] {
            let (before, refused) = (received(), decapsulation::refused().unwrap());
            let packet = [src, dst, inner].map(|address| address.parse().unwrap());
            sender.0.send(packet).unwrap();
            std::thread::sleep(Duration::from_millis(200));
            assert_eq!(received() - before, u64::from(comes_out), "{what}");
            let refused = decapsulation::refused().unwrap() - refused;
            assert_eq!(refused, u64::from(!comes_out), "{what}");
        }
        kernel.stop(Stop::Remove);
    });
}

/// As a mobile node receives, whose way out is by the device that would take all of it.
#[test]
#[ignore = "needs ESP"]
fn what_is_from_no_home_agent_ends_in_a_device_and_other_tunnels_are_left_alone() {
    in_namespace(|| {
        wan();
        run("ip", "route add default via 203.0.113.1");
        run(
            "ip",
            "link add theirs type ipip local 203.0.113.10 remote 203.0.113.4",
        );
        run("ip", "link set theirs up");
        let mut kernel = Kernel::open();
        let mut wanted = IP_IN_IP.under_s(tunnel("203.0.113.10", "203.0.113.2"));
        wanted.extend(receiver::loose(TUNNEL));
        wanted.extend(receiver::from_home_agent([203, 0, 113, 2].into()));
        wanted.extend(receiver::of_strangers());
        kernel.put(wanted);
        let sender = Sender::new(IP_IN_IP);
        let delivered = || {
            let counters = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
            let mut udp = counters.lines().filter(|line| line.starts_with("Udp:"));
            let (names, values) = (udp.next().unwrap(), udp.next().unwrap());
            let mut both = names.split(' ').zip(values.split(' '));
            let (_, value) = both.find(|(name, _)| *name == "NoPorts").unwrap();
            value.parse::<u64>().unwrap()
        };
        for (what, src, device, is_delivered) in [
            ("a home agent", "203.0.113.2", "xa-in-cb007102", Some(true)),
            ("a stranger", "203.0.113.3", "xa-strangers", Some(false)),
            // The administrator decides.
            (
                "who has a tunnel of somebody else's",
                "203.0.113.4",
                "theirs",
                None,
            ),
        ] {
            for inner in ["10.10.0.101", "203.0.113.3"] {
                let (before, of_device) = (delivered(), received_by(device));
                let packet = [src, "203.0.113.10", inner].map(|at| at.parse().unwrap());
                sender.0.send(packet).unwrap();
                eventually(what, || received_by(device) == of_device + 1);
                if let Some(is_delivered) = is_delivered {
                    assert_eq!(delivered() - before, u64::from(is_delivered), "{what}");
                }
            }
        }
        assert_eq!(received_by(TUNNEL.as_str()), 0);
        kernel.stop(Stop::Remove);
        assert!(!run("ip", "link").contains("xa-strangers"));
    });
}

fn received_by(link: &str) -> u64 {
    let shown = run("ip", &format!("-j -s link show dev {link}"));
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    shown[0]["stats64"]["rx"]["packets"].as_u64().unwrap()
}

/// A namespace at the far end of `wan` that sends wrapped packets: outer source and destination, inner
/// source.
struct Sender(mpsc::Sender<[Ipv4Addr; 3]>);

impl Sender {
    fn new(wrapping: Wrapping) -> Self {
        let (packets, queue) = mpsc::channel::<[Ipv4Addr; 3]>();
        let (told, thread_id) = mpsc::channel();
        let (ready, go) = mpsc::channel::<()>();
        let (up, is_up) = mpsc::channel();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            told.send(nix::unistd::gettid()).unwrap();
            go.recv().unwrap();
            run("ip", "address add 203.0.113.1/24 dev isp");
            run("ip", "link set isp up");
            let raw = socket(
                AddressFamily::Inet,
                SockType::Raw,
                SockFlag::empty(),
                SockProtocol::Raw,
            );
            let raw = raw.unwrap();
            up.send(()).unwrap();
            for [src, dst, inner] in queue {
                let packet = wrapped_packet(wrapping, src, dst, inner);
                let [a, b, c, d] = dst.octets();
                let to = SockaddrIn::new(a, b, c, d, 0);
                sendto(raw.as_raw_fd(), &packet, &to, MsgFlags::empty()).unwrap();
            }
        });
        let pid = thread_id.recv().unwrap();
        run("ip", &format!("link set isp netns {pid}"));
        ready.send(()).unwrap();
        is_up.recv().unwrap();
        Self(packets)
    }
}

/// With a datagram to nobody inside.
fn wrapped_packet(wrapping: Wrapping, src: Ipv4Addr, dst: Ipv4Addr, inner: Ipv4Addr) -> Vec<u8> {
    let header = |protocol: u8, len: u8, src: Ipv4Addr, dst: Ipv4Addr| {
        let mut header = vec![0x45, 0, 0, len, 0, 1, 0, 0, 64, protocol, 0, 0];
        header.extend([src.octets(), dst.octets()].concat());
        let halves = header.chunks(2);
        let sum: u32 = halves
            .map(|half| u32::from(half[0]) << 8 | u32::from(half[1]))
            .sum();
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header
    };
    let Wrapping {
        protocol, between, ..
    } = wrapping;
    let outer = header(protocol, 48 + between.len() as u8, src, dst);
    let datagram = [0, 7, 0, 9, 0, 8, 0, 0].to_vec();
    let inner = header(17, 28, inner, dst);
    [outer, between.to_vec(), inner, datagram].concat()
}
