//! Policies, routes, rules and sysctls on the running kernel. Needs root, no ESP.

mod kernel;

use kernel::{
    Kernel, device, in_namespace, key, policy, run, selector, transmitted, trap_template,
};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};
use xfrm_agent::kernel::desired::{
    Action, Change, Direction, Mark, Object, Policy, PolicyKey, Route, RouteKey, RuleKey, Sysctl,
    Way,
};
use xfrm_agent::kernel::events::KernelEvent;
use xfrm_agent::kernel::features;
use xfrm_agent::kernel::monitor::Monitor;
use xfrm_agent::kernel::ownership::Band;
use xfrm_agent::kernel::source_addresses::SourceAddresses;
use xfrm_agent::kernel::writer::{Report, Stop};
use xfrm_agent::net::{Family, Selector};

fn out(selector: Selector, band: Band, action: Action) -> Object {
    Object::Policy(policy(Direction::Out, selector, band, action))
}

fn trap(src: &str, dst: &str) -> Object {
    let action = Action::Allow(vec![trap_template(src.contains(':'))]);
    out(selector(src, dst), Band::Trap, action)
}

fn policies() -> String {
    run("ip", "xfrm policy")
}

fn remove(objects: &[&Object]) -> Change {
    Change {
        remove: objects.iter().map(|object| object.key()).collect(),
        ..Change::default()
    }
}

#[test]
fn what_is_put_is_in_the_kernel_and_what_is_removed_is_not() {
    in_namespace(|| {
        let mut kernel = Kernel::open();
        let (v4, v6) = (
            trap("10.1.0.0/16", "10.2.0.0/16"),
            trap("2001:db8:1::/48", "2001:db8:2::/48"),
        );
        kernel.put(vec![v4.clone(), v6]);
        let listed = policies();
        assert!(
            listed.contains("src 10.1.0.0/16 dst 10.2.0.0/16"),
            "{listed}"
        );
        assert!(
            listed.contains("src 2001:db8:1::/48 dst 2001:db8:2::/48"),
            "{listed}"
        );
        assert!(
            listed.contains("proto esp reqid 0 mode transport"),
            "{listed}"
        );
        kernel.apply(remove(&[&v4]));
        assert!(!policies().contains("10.1.0.0/16"));
        kernel.stop(Stop::Remove);
        assert_eq!(policies(), "");
    });
}

#[test]
fn a_packet_without_a_tunnel_raises_an_acquire_that_names_it_and_the_trap() {
    in_namespace(|| {
        device("d0");
        run("ip", "addr add 10.1.0.1/16 dev d0");
        run("ip", "addr add 2001:db8:1::1/48 dev d0 nodad");
        run("ip", "route add 10.2.0.0/16 dev d0");
        run("ip", "route add 2001:db8:2::/48 dev d0");
        let mut kernel = Kernel::open();
        let mut monitor = kernel.block_on(async { Monitor::open() }).unwrap();
        let traps = [
            trap("10.1.0.0/16", "10.2.0.0/16"),
            trap("2001:db8:1::/48", "2001:db8:2::/48"),
        ];
        kernel.put(traps.to_vec());
        let mut next_acquire = || {
            kernel.block_on(async {
                loop {
                    let next = tokio::time::timeout(Duration::from_secs(5), monitor.next());
                    if let KernelEvent::Acquire(acquire) = next.await.unwrap().unwrap() {
                        return acquire;
                    }
                }
            })
        };
        for (trap, from, to) in [
            (&traps[0], "10.1.0.1:4000", "10.2.0.9:7"),
            (&traps[1], "[2001:db8:1::1]:4000", "[2001:db8:2::9]:7"),
        ] {
            // The packet is held or dropped, and the caller may be told.
            let _ = UdpSocket::bind(from).unwrap().send_to(b"P", to);
            let acquire = next_acquire();
            assert_eq!(Some(acquire.policy), key(trap));
            assert!(acquire.own && acquire.index & 7 == 1, "{acquire:?}");
            assert_eq!(
                acquire.flow.src.to_string(),
                from.parse::<std::net::SocketAddr>()
                    .unwrap()
                    .ip()
                    .to_string()
            );
            assert_eq!(acquire.flow.dst_port(), Some(7));
        }
        // An ICMP packet has a type and a code, and no ports.
        let _ = std::process::Command::new("ping")
            .args(["-c1", "-W1", "-I", "10.1.0.1", "10.2.0.8"])
            .output();
        let acquire = next_acquire();
        assert_eq!(acquire.flow.protocol, 1);
        assert_eq!(acquire.flow.ports, None);
        assert_eq!(acquire.flow.dst.to_string(), "10.2.0.8");
    });
}

/// The kernel announces a pair of hosts once, and for a while not again: by the wall clock, so for
/// longer where that was set back.
#[test]
fn what_was_announced_can_be_announced_again_at_once_when_the_clock_went_back() {
    in_namespace(|| {
        device("d0");
        run("ip", "addr add 10.1.0.1/16 dev d0");
        run("ip", "addr add 2001:db8:1::1/48 dev d0 nodad");
        run("ip", "route add 10.0.0.0/8 dev d0");
        run("ip", "route add 2001:db8::/32 dev d0");
        let mut kernel = Kernel::open();
        // Without anybody who listens, the kernel announces nothing and waits for nobody.
        let _monitor = kernel.block_on(async { Monitor::open() }).unwrap();
        kernel.put(vec![
            trap("10.1.0.0/16", "10.2.0.0/16"),
            trap("2001:db8:1::/48", "2001:db8:2::/48"),
        ]);
        let foreign = "src 10.1.0.0/16 dst 10.3.0.0/16 dir out tmpl proto esp mode transport";
        run("ip", &format!("xfrm policy add {foreign}"));
        let send = |from: &str, to: &str| {
            let _ = UdpSocket::bind(from).unwrap().send_to(b"P", to);
        };
        let ours = [
            ("10.1.0.1:0", "10.2.0.9:7"),
            ("[2001:db8:1::1]:0", "[2001:db8:2::9]:7"),
        ];
        send("10.1.0.1:0", "10.3.0.9:7");
        let larval = || {
            let listed = run("ip", "xfrm state list");
            ["10.2.0.9", "2001:db8:2::9", "10.3.0.9"].map(|dst| listed.contains(dst))
        };
        // Twice, so that nothing of the first time stands in the way of the second.
        for _ in 0..2 {
            for (from, to) in ours {
                send(from, to);
            }
            assert_eq!(larval(), [true, true, true]);
            kernel.forget_acquires();
            eventually("only the foreign one is left", || {
                larval() == [false, false, true]
            });
        }
    });
}

#[test]
fn a_changed_address_is_one_event() {
    in_namespace(|| {
        device("d0");
        let kernel = Kernel::open();
        kernel.block_on(async {
            let mut monitor = Monitor::open().unwrap();
            run("ip", "addr add 10.1.0.1/16 dev d0");
            let mut event = KernelEvent::LinkChanged;
            // Of the device, which is new.
            while event == KernelEvent::LinkChanged {
                event = monitor.next().await.unwrap();
            }
            assert_eq!(event, KernelEvent::AddressChanged);
        });
    });
}

fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let start = Instant::now();
    while !check() {
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "not within 5 s: {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn held_packets_go_on_when_their_trap_is_released_and_not_before() {
    in_namespace(|| {
        device("d0");
        run("ip", "addr add 10.1.0.1/16 dev d0");
        run("ip", "route add 10.2.0.0/16 dev d0");
        let mut kernel = Kernel::open();
        let trap = trap("10.1.0.0/16", "10.2.0.0/16");
        let hold = Object::Sysctl(Sysctl::XfrmLarvalDrop, "0".into());
        kernel.put(vec![hold, trap.clone()]);
        let socket = UdpSocket::bind("10.1.0.1:4000").unwrap();
        socket.send_to(b"P", "10.2.0.9:7").unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let before = transmitted("d0");
        // This kernel may lack ESP, so what ends the wait here is a clear policy.
        let clear = out(
            selector("10.1.0.0/16", "10.2.0.9/32"),
            Band::Failure,
            Action::Allow(vec![]),
        );
        kernel.apply(Change {
            put: vec![clear],
            release: key(&trap).into_iter().collect(),
            ..Change::default()
        });
        eventually("the held packet leaves", || transmitted("d0") == before + 1);
    });
}

#[test]
fn after_a_kill_own_policies_are_found_and_only_those_not_wanted_any_more_are_removed() {
    in_namespace(|| {
        run(
            "ip",
            "xfrm policy add src 10.9.0.0/16 dst 10.8.0.0/16 dir out action block",
        );
        let mut kernel = Kernel::open();
        assert!(kernel.found.policies.is_empty(), "{:?}", kernel.found);
        let (kept, dropped) = (
            trap("10.1.0.0/16", "10.2.0.0/16"),
            trap("10.1.0.0/16", "10.3.0.0/16"),
        );
        kernel.put(vec![kept.clone(), dropped]);
        let before = policies();
        let directory = kernel.kill();
        assert_eq!(policies(), before);

        let mut kernel = Kernel::open_in(directory);
        assert_eq!(kernel.found.policies.len(), 2);
        assert_eq!(policies(), before, "looking changes nothing");
        kernel.put(vec![kept]);
        let listed = policies();
        assert!(listed.contains("dst 10.2.0.0/16") && !listed.contains("dst 10.3.0.0/16"));
        assert!(listed.contains("dst 10.8.0.0/16"));
        kernel.stop(Stop::Remove);
        assert!(
            policies().contains("dst 10.8.0.0/16"),
            "foreign policies stay"
        );
        assert!(!policies().contains("dst 10.2.0.0/16"));
    });
}

#[test]
fn what_others_do_between_the_start_and_the_first_change_does_not_go_unnoticed() {
    let wanted = || {
        vec![
            trap("10.1.0.0/16", "10.2.0.0/16"),
            trap("10.1.0.0/16", "10.3.0.0/16"),
        ]
    };
    for meddling in [
        "xfrm policy deleteall dst 10.3.0.0/16",
        "xfrm policy flush",
        "xfrm policy update src 10.1.0.0/16 dst 10.3.0.0/16 dir out action block priority 14927",
    ] {
        in_namespace(|| {
            let mut kernel = Kernel::open();
            kernel.put(wanted());
            let directory = kernel.kill();
            let mut kernel = Kernel::open_in(directory);
            run("ip", meddling);
            let _ = kernel.try_apply(Change {
                put: wanted(),
                ..Change::default()
            });
            let listed = policies();
            let traps = listed.matches("mode transport").count();
            assert_eq!(traps, 2, "{meddling}: {listed}");
        });
    }
}

#[test]
fn a_foreign_policy_of_the_same_selector_is_named_and_ours_follows_when_it_goes() {
    in_namespace(|| {
        let mut kernel = Kernel::open();
        run(
            "ip",
            "xfrm policy add src 10.1.0.0/16 dst 10.2.0.0/16 dir out action block",
        );
        let trap = trap("10.1.0.0/16", "10.2.0.0/16");
        let refusals = kernel.try_apply(Change {
            put: vec![trap.clone()],
            ..Change::default()
        });
        assert_eq!(refusals.len(), 1);
        assert_eq!(refusals[0].key, trap.key());
        let text = refusals[0].to_string();
        assert!(
            text.contains("src 10.1.0.0/16 dst 10.2.0.0/16 dir out action block priority 0"),
            "{text}"
        );
        assert!(policies().contains("action block"));
        run(
            "ip",
            "xfrm policy delete src 10.1.0.0/16 dst 10.2.0.0/16 dir out",
        );
        let accepted = loop {
            match kernel.report() {
                Report::Accepted { key } => break key,
                Report::Refused { refusal, .. } => panic!("told again: {refusal}"),
                _ => {}
            }
        };
        assert_eq!(accepted, trap.key());
        assert!(policies().contains("mode transport"), "{}", policies());
    });
}

#[test]
fn where_a_protecting_policy_is_refused_what_covered_its_packets_stays() {
    in_namespace(|| {
        let mut kernel = Kernel::open();
        let old = out(
            selector("10.1.0.0/16", "10.0.0.0/8"),
            Band::Failure,
            Action::Block,
        );
        let unrelated = out(
            selector("10.1.0.0/16", "172.16.0.0/16"),
            Band::Failure,
            Action::Block,
        );
        kernel.put(vec![old.clone(), unrelated.clone()]);
        run(
            "ip",
            "xfrm policy add src 10.1.0.0/16 dst 10.2.0.0/16 dir out priority 9 action allow",
        );
        let new = trap("10.1.0.0/16", "10.2.0.0/16");
        let change = Change {
            put: vec![new],
            ..remove(&[&old, &unrelated])
        };
        assert_eq!(kernel.try_apply(change).len(), 1);
        let listed = policies();
        assert!(listed.contains("dst 10.0.0.0/8"), "{listed}");
        assert!(!listed.contains("dst 172.16.0.0/16"), "{listed}");
        // With the obstacle gone all that was put off is done at the next change.
        run(
            "ip",
            "xfrm policy delete src 10.1.0.0/16 dst 10.2.0.0/16 dir out",
        );
        eventually("the old block goes", || {
            !policies().contains("dst 10.0.0.0/8")
        });
        assert!(policies().contains("dst 10.2.0.0/16"));
    });
}

fn repaired(kernel: &mut Kernel) -> PolicyKey {
    loop {
        if let Report::Event(KernelEvent::PolicyRepaired { key }) = kernel.report() {
            return key;
        }
    }
}

#[test]
fn a_policy_that_somebody_deletes_or_alters_is_put_right() {
    in_namespace(|| {
        let mut kernel = Kernel::open();
        let trap = trap("10.1.0.0/16", "10.2.0.0/16");
        kernel.put(vec![trap.clone()]);
        let before = policies();
        run(
            "ip",
            "xfrm policy delete src 10.1.0.0/16 dst 10.2.0.0/16 dir out",
        );
        assert_eq!(Some(repaired(&mut kernel)), key(&trap));
        let same = |text: &str| text.lines().take(2).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(same(&policies()), same(&before));
        let Object::Policy(wanted) = &trap else {
            unreachable!()
        };
        run(
            "ip",
            &format!(
                "xfrm policy update src 10.1.0.0/16 dst 10.2.0.0/16 dir out action block priority {}",
                wanted.priority
            ),
        );
        assert_eq!(Some(repaired(&mut kernel)), key(&trap));
        assert_eq!(same(&policies()), same(&before));
    });
}

#[test]
fn after_a_flush_by_others_everything_is_put_back() {
    in_namespace(|| {
        let mut kernel = Kernel::open();
        kernel.put(vec![
            trap("10.1.0.0/16", "10.2.0.0/16"),
            trap("2001:db8:1::/48", "2001:db8:2::/48"),
        ]);
        run("ip", "xfrm policy flush");
        eventually("both are back", || {
            policies().matches("mode transport").count() == 2
        });
    });
}

#[test]
fn a_policy_and_one_with_a_mark_share_a_selector() {
    in_namespace(|| {
        let mut kernel = Kernel::open();
        let Object::Policy(plain) = trap("10.1.0.0/16", "10.2.0.0/16") else {
            unreachable!()
        };
        let marked = Policy {
            key: PolicyKey {
                mark: Mark {
                    value: 0,
                    mask: 0x8000_0000,
                },
                ..plain.key
            },
            ..plain.clone()
        };
        kernel.put(vec![Object::Policy(plain.clone()), Object::Policy(marked)]);
        assert_eq!(policies().matches("mode transport").count(), 2);
        kernel.apply(remove(&[&Object::Policy(plain)]));
        assert!(policies().contains("mark 0/0x80000000"));
    });
}

fn sysctl(name: &str) -> String {
    std::fs::read_to_string(format!("/proc/sys/net/core/{name}"))
        .unwrap()
        .trim()
        .to_owned()
}

#[test]
fn sysctls_and_hash_thresholds_come_back_to_what_they_were_even_after_a_kill() {
    in_namespace(|| {
        let thresholds = || run("ip", "-s -s xfrm policy count");
        let (expires, before) = (sysctl("xfrm_acq_expires"), thresholds());
        let wanted = vec![
            Object::Sysctl(Sysctl::XfrmLarvalDrop, "0".into()),
            Object::Sysctl(Sysctl::XfrmAcqExpires, "4".into()),
        ];
        let mut kernel = Kernel::open();
        kernel.put(wanted.clone());
        assert_eq!(
            (
                sysctl("xfrm_larval_drop").as_str(),
                sysctl("xfrm_acq_expires").as_str()
            ),
            ("0", "4")
        );
        assert_ne!(thresholds(), before);
        let mut kernel = Kernel::open_in(kernel.kill());
        kernel.put(wanted);
        let directory = kernel.stop(Stop::Keep);
        assert_eq!(
            (
                sysctl("xfrm_larval_drop").as_str(),
                sysctl("xfrm_acq_expires")
            ),
            ("1", expires)
        );
        assert_eq!(thresholds(), before);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    });
}

#[test]
fn a_sysctl_that_an_administrator_changed_meanwhile_is_left_to_them() {
    in_namespace(|| {
        let mut kernel = Kernel::open();
        kernel.put(vec![Object::Sysctl(Sysctl::XfrmAcqExpires, "4".into())]);
        std::fs::write("/proc/sys/net/core/xfrm_acq_expires", "9").unwrap();
        kernel.stop(Stop::Remove);
        assert_eq!(sysctl("xfrm_acq_expires"), "9");
    });
}

#[test]
fn routes_and_rules_of_ours_come_and_go_and_others_stay() {
    in_namespace(|| {
        let mark = Mark {
            value: 0xc000_0000,
            mask: 0xc000_0000,
        };
        let both = |family: Family| {
            let route = Route {
                key: RouteKey {
                    table: 7370,
                    dst: family.any(),
                    metric: 0,
                },
                way: Way::Local,
            };
            let rule = RuleKey::new(family, 7370, 7370).mark(mark);
            [Object::Route(route), Object::Rule(rule)]
        };
        run("ip", "rule add priority 7371 fwmark 1 lookup 7370");
        run("ip", "route add local 10.0.0.0/8 dev lo table 7370");
        let mut kernel = Kernel::open();
        kernel.put([both(Family::V4), both(Family::V6)].concat());
        for version in ["-4", "-6"] {
            let rules = run("ip", &format!("{version} rule"));
            assert!(
                rules.contains("7370:\tfrom all fwmark 0xc0000000/0xc0000000 lookup 7370 proto 88"),
                "{rules}"
            );
            let routes = run("ip", &format!("{version} route show table 7370"));
            assert!(routes.contains("local default dev lo proto 88"), "{routes}");
        }
        let mut kernel = Kernel::open_in(kernel.kill());
        kernel.put(both(Family::V4).to_vec());
        assert!(
            !run("ip", "-6 rule").contains("7370"),
            "found and removed after a kill"
        );
        kernel.stop(Stop::Remove);
        assert!(run("ip", "rule").contains("7371:") && !run("ip", "rule").contains("7370:"));
        assert_eq!(run("ip", "route show table 7370").lines().count(), 1);
    });
}

#[test]
fn policies_by_the_thousand_are_put_in_found_again_and_removed() {
    in_namespace(|| {
        let many: Vec<_> = (0..5000u32)
            .map(|i| trap(&format!("10.{}.{}.0/24", i >> 8, i & 255), "10.200.0.0/24"))
            .collect();
        let mut kernel = Kernel::open();
        kernel.put(many.clone());
        let kernel_2 = Kernel::open();
        assert_eq!(kernel_2.found.policies.len(), many.len());
        kernel.stop(Stop::Remove);
        assert_eq!(policies(), "");
    });
}

/// The writer's socket for events holds fewer than these changes have.
#[test]
fn many_of_still_more_policies_are_removed_and_put_in_again() {
    in_namespace(|| {
        let trap = |i: u32| trap(&format!("10.{}.{}.0/24", i >> 8, i & 255), "10.200.0.0/24");
        let many: Vec<_> = (0..60_000).map(trap).collect();
        let some = &many[10_000..38_000];
        let mut kernel = Kernel::open();
        kernel.put(many.clone());
        for (put, remove, left) in [
            (vec![], some.iter().map(Object::key).collect(), 32_000),
            (some.to_vec(), vec![], 60_000),
        ] {
            let change = Change {
                put,
                remove,
                ..Change::default()
            };
            kernel.apply(change);
            assert_eq!(
                policies().lines().filter(|l| l.contains("dir out")).count(),
                left
            );
        }
        // What is said after an answer is heard before the next.
        kernel.put(vec![many[0].clone()]);
        assert_eq!(kernel.overruns, 0);
        kernel.stop(Stop::Remove);
        assert_eq!(policies(), "");
    });
}

/// The monitor's socket holds some thirteen thousand ACQUIREs; each destination raises one.
#[test]
fn more_acquires_than_the_socket_holds_are_reported_lost_and_later_ones_heard() {
    in_namespace(|| {
        run("ip", "link add lan type veth peer name far");
        run("ip", "link set lan up");
        run("ip", "link set far up");
        run("ip", "address add 10.1.0.1/16 dev lan");
        run("ip", "route add 10.2.0.0/16 dev lan");
        let mut kernel = Kernel::open();
        kernel.put(vec![trap("10.1.0.0/16", "10.2.0.0/16")]);
        kernel.block_on(async {
            let mut monitor = Monitor::open().unwrap();
            let socket = UdpSocket::bind("10.1.0.1:0").unwrap();
            let send = |n: u16| {
                let [high, low] = n.to_be_bytes();
                // The packet itself is dropped or held; its ACQUIRE is what counts.
                let _ = socket.send_to(b"x", (Ipv4Addr::new(10, 2, high, low), 7));
            };
            (0..20_000).for_each(send);
            let (mut heard, mut overruns) = (0, 0);
            // Until it is silent: a full socket takes nothing before it has been emptied.
            while let Ok(event) = tokio::time::timeout(Duration::from_secs(1), monitor.next()).await
            {
                match event.unwrap() {
                    KernelEvent::Acquire(_) => heard += 1,
                    KernelEvent::Overrun => overruns += 1,
                    _ => {}
                }
            }
            assert_eq!(overruns, 1);
            assert!(heard < 20_000, "{heard}");
            send(40_000);
            let [high, low] = 40_000u16.to_be_bytes();
            let last = IpAddr::from([10, 2, high, low]);
            loop {
                let next = tokio::time::timeout(Duration::from_secs(10), monitor.next());
                match next.await.expect("the last ACQUIRE").unwrap() {
                    KernelEvent::Acquire(acquire) if acquire.flow.dst == last => break,
                    _ => {}
                }
            }
        });
    });
}

#[test]
fn what_the_kernel_can_do_is_tried_without_leaving_anything_behind() {
    in_namespace(|| {
        let everything = || {
            let state = run("ip", "xfrm state");
            [
                policies(),
                state,
                run("ip", "link"),
                run("nft", "list ruleset"),
            ]
        };
        let before = everything();
        let checks = features::probe();
        assert_eq!(everything(), before);
        for needed in ["XFRM policies", "interception by nftables with TPROXY"] {
            let check = checks.iter().find(|check| check.what == needed).unwrap();
            assert_eq!(check.result, Ok(()), "{check:?}");
        }
        let esp = checks
            .iter()
            .find(|c| c.what.starts_with("ESP with AES-GCM over IPv4"))
            .unwrap();
        assert_eq!(esp.result.is_ok(), features::has_esp());
        assert!(checks.iter().all(|c| !c.remedy.is_empty()));
        assert_eq!(features::warm_up().is_ok(), features::has_esp());
        assert_eq!(everything(), before);
    });
}

#[test]
fn packets_leave_from_the_address_that_routes_and_rules_say() {
    in_namespace(|| {
        const MARK: u32 = 0x8000_0000;
        for (name, v4, v6) in [
            ("s0", "192.0.2.1/24", "2001:db8:1::1/64"),
            ("s1", "198.51.100.1/24", "2001:db8:2::1/64"),
        ] {
            device(name);
            run("ip", &format!("addr add {v4} dev {name}"));
            run("ip", &format!("addr add {v6} dev {name} nodad"));
        }
        run("ip", "route add 10.2.0.0/16 via 192.0.2.9");
        run("ip", "route add 10.3.0.0/16 via 192.0.2.9 src 198.51.100.1");
        run("ip", "route add unreachable 10.4.0.0/16");
        run("ip", "route add 2001:db8:a::/48 via 2001:db8:1::9");
        run("ip", "route add unreachable 2001:db8:b::/48");
        // Who carries the mark goes another way.
        run("ip", &format!("rule add fwmark {MARK} table 7"));
        run("ip", &format!("-6 rule add fwmark {MARK} table 7"));
        run("ip", "route add 10.2.8.0/24 via 198.51.100.9 table 7");
        run(
            "ip",
            "route add 2001:db8:a:8::/64 via 2001:db8:2::9 table 7",
        );
        // A block that our packets pass.
        let everything =
            Selector::between("0.0.0.0/0".parse().unwrap(), "0.0.0.0/0".parse().unwrap());
        Kernel::open().put(vec![out(everything, Band::Failure, Action::Block)]);

        let towards = |mark, dst: &str| {
            let source = SourceAddresses::open(mark)
                .unwrap()
                .towards(dst.parse().unwrap());
            source.map(|addr| addr.to_string())
        };
        for (dst, unmarked, marked) in [
            ("192.0.2.7", Some("192.0.2.1"), Some("192.0.2.1")),
            ("10.2.0.8", Some("192.0.2.1"), Some("192.0.2.1")),
            ("10.2.8.8", Some("192.0.2.1"), Some("198.51.100.1")),
            ("10.3.0.8", Some("198.51.100.1"), Some("198.51.100.1")),
            (
                "2001:db8:1::7",
                Some("2001:db8:1::1"),
                Some("2001:db8:1::1"),
            ),
            (
                "2001:db8:a:8::8",
                Some("2001:db8:1::1"),
                Some("2001:db8:2::1"),
            ),
            // Ourselves.
            ("198.51.100.1", Some("198.51.100.1"), Some("198.51.100.1")),
            (
                "2001:db8:2::1",
                Some("2001:db8:2::1"),
                Some("2001:db8:2::1"),
            ),
            ("127.0.0.1", Some("127.0.0.1"), Some("127.0.0.1")),
            ("10.4.0.8", None, None),
            ("203.0.113.1", None, None),
            ("2001:db8:b::8", None, None),
            ("2001:db8:ffff::1", None, None),
            // Nobody in particular.
            ("192.0.2.255", None, None),
        ] {
            assert_eq!(towards(0, dst).as_deref(), unmarked, "{dst}");
            assert_eq!(towards(MARK, dst).as_deref(), marked, "{dst} with the mark");
        }
        // One that is asked again and again.
        let mut sources = SourceAddresses::open(0).unwrap();
        let (near, far) = ("10.2.0.8".parse().unwrap(), "10.4.0.8".parse().unwrap());
        for _ in 0..3 {
            assert_eq!(sources.towards(far), None);
            assert_eq!(sources.towards(near), Some("192.0.2.1".parse().unwrap()));
        }
    });
}
