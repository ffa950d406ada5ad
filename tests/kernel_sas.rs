//! Security associations on a kernel that has ESP. Needs root.

mod kernel;

use kernel::{Kernel, in_namespace, policy, run, selector, trap_template};
use nix::sched::{CloneFlags, unshare};
use std::sync::mpsc;
use std::time::Duration;
use xfrm_agent::kernel::desired::{
    Action, Algorithms, Change, Direction, IpsecProtocol, Level, Lifetime, Limits, Mark, Mode,
    Object, Sa, SaDirection, Sysctl, Template, UdpEncapsulation,
};
use xfrm_agent::kernel::events::{KernelEvent, Limit};
use xfrm_agent::kernel::features;
use xfrm_agent::kernel::monitor::Monitor;
use xfrm_agent::kernel::ownership::{Band, REQIDS};
use xfrm_agent::kernel::writer::{Report, Stop};
use xfrm_agent::net::{Secret, Selector, Spi};

fn with_esp(test: impl FnOnce() + Send) {
    assert!(
        features::has_esp(),
        "this kernel has no ESP: run the test with scripts/vm"
    );
    in_namespace(test);
}

fn gcm() -> Algorithms {
    Algorithms::Aead {
        name: "rfc4106(gcm(aes))",
        key: Secret::new((0..20).collect()),
        icv_bits: 128,
    }
}

fn cbc() -> Algorithms {
    Algorithms::EncryptThenAuth {
        cipher: "cbc(aes)",
        cipher_key: Secret::new(vec![7; 16]),
        auth: "hmac(sha256)",
        auth_key: Secret::new(vec![9; 32]),
        truncation_bits: 128,
    }
}

fn ah() -> Algorithms {
    Algorithms::Ah {
        auth: "hmac(sha256)",
        auth_key: Secret::new(vec![9; 32]),
        truncation_bits: 128,
    }
}

fn sa(src: &str, dst: &str, spi: u32, algorithms: Algorithms) -> Sa {
    Sa {
        src: src.parse().unwrap(),
        dst: dst.parse().unwrap(),
        spi: Spi(spi),
        direction: SaDirection::In,
        mode: Mode::Tunnel,
        reqid: REQIDS.start + 7,
        algorithms,
        replay_window: 0,
        esn: false,
        encapsulation: None,
        lifetime: Lifetime::default(),
        mark: Mark::default(),
        if_id: 0,
        selector: None,
    }
}

fn put(sa: &Sa) -> Object {
    Object::Sa(Box::new(sa.clone()))
}

/// What `ip` says of the one SA with this SPI.
fn listed(spi: u32) -> String {
    run("ip", &format!("-s xfrm state list spi {spi:#x}"))
}

#[test]
#[ignore = "needs ESP"]
fn every_kind_of_sa_is_taken_and_reads_back_as_it_was_meant() {
    with_esp(|| {
        let mut kernel = Kernel::open();
        let v4 = |spi, algorithms| sa("192.0.2.1", "192.0.2.2", spi, algorithms);
        let v6 = |spi, algorithms| sa("2001:db8::1", "2001:db8::2", spi, algorithms);
        let inbound = |sa: Sa, replay_window, esn| Sa {
            replay_window,
            esn,
            ..sa
        };
        let outbound = |sa: Sa, esn| Sa {
            direction: SaDirection::Out,
            replay_window: 64,
            esn,
            ..sa
        };
        let transport = |sa: Sa| {
            let inner = Selector::between(sa.src.into(), sa.dst.into());
            Sa {
                mode: Mode::Transport,
                selector: Some(inner),
                ..sa
            }
        };
        let in_udp = |sa: Sa| Sa {
            encapsulation: Some(UdpEncapsulation {
                src_port: 4500,
                dst_port: 4501,
            }),
            ..sa
        };
        let cases: [(Sa, &[&str]); 16] = [
            (
                inbound(v4(0x1001, gcm()), 32, false),
                &[
                    "mode tunnel",
                    "replay-window 32",
                    "flag af-unspec",
                    "aead rfc4106(gcm(aes)) 0x000102030405060708090a0b0c0d0e0f10111213 (160 bits) 128",
                ],
            ),
            (
                inbound(v4(0x1002, gcm()), 256, false),
                &["replay_window 256"],
            ),
            (
                inbound(v4(0x1003, gcm()), 256, true),
                &["replay_window 256", "esn"],
            ),
            (
                inbound(v4(0x1004, gcm()), 0, true),
                &["replay_window 32", "esn"],
            ),
            (outbound(v4(0x1005, gcm()), false), &["replay-window 0"]),
            (outbound(v4(0x1006, gcm()), true), &["esn"]),
            (
                v4(0x1007, cbc()),
                &["auth-trunc hmac(sha256)", "128", "enc cbc(aes)"],
            ),
            (
                v4(0x1008, ah()),
                &["proto ah", "align4", "auth-trunc hmac(sha256)"],
            ),
            (
                transport(v4(0x1009, gcm())),
                &["mode transport", "sel src 192.0.2.1/32 dst 192.0.2.2/32"],
            ),
            (transport(v4(0x100a, ah())), &["proto ah", "mode transport"]),
            (
                in_udp(v4(0x100b, gcm())),
                &["encap type espinudp sport 4500 dport 4501"],
            ),
            (
                v6(0x100c, gcm()),
                &["src 2001:db8::1 dst 2001:db8::2", "mode tunnel"],
            ),
            (transport(v6(0x100d, ah())), &["proto ah", "mode transport"]),
            (
                inbound(transport(v6(0x100e, cbc())), 64, true),
                &["mode transport", "esn", "replay_window 64"],
            ),
            // A CPI, of 16 bits.
            (
                transport(v4(0x100f, Algorithms::Deflate)),
                &["proto comp", "mode transport", "comp deflate"],
            ),
            (
                outbound(transport(v6(0x1010, Algorithms::Deflate)), false),
                &["proto comp", "mode transport", "comp deflate"],
            ),
        ];
        for (sa, expected) in cases {
            kernel.put(vec![put(&sa)]);
            let text = listed(sa.spi.0);
            let reqid = format!("reqid {}", sa.reqid);
            for expected in expected.iter().copied().chain([reqid.as_str()]) {
                assert!(text.contains(expected), "`{expected}` of {sa}:\n{text}");
            }
        }
        kernel.stop(Stop::Remove);
        assert_eq!(run("ip", "xfrm state"), "");
    });
}

#[test]
#[ignore = "needs ESP"]
fn a_refused_sa_is_named_without_its_key() {
    with_esp(|| {
        let mut kernel = Kernel::open();
        let unknown = Algorithms::Aead {
            name: "rfc4106(gcm(nonsense))",
            key: Secret::new((0..20).collect()),
            icv_bits: 128,
        };
        let refusals = kernel.try_apply(Change {
            put: vec![put(&sa("192.0.2.1", "192.0.2.2", 0x1001, unknown))],
            ..Change::default()
        });
        let text = format!("{} {:?}", refusals[0], refusals[0]);
        assert!(
            text.contains("proto esp spi 0x00001001") && text.contains("doctor"),
            "{text}"
        );
        assert!(
            !text.contains("00010203") && !text.contains("[0, 1, 2"),
            "{text}"
        );
    });
}

#[test]
#[ignore = "needs ESP"]
fn foreign_sas_stay_and_own_ones_of_an_earlier_run_are_found_and_adopted_or_removed() {
    with_esp(|| {
        run(
            "ip",
            "xfrm state add src 192.0.2.1 dst 192.0.2.2 proto ah spi 0x99 reqid 3 mode transport auth-trunc hmac(sha256) 0x0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20 128",
        );
        let mut kernel = Kernel::open();
        let (kept, dropped) = (
            sa("192.0.2.1", "192.0.2.2", 0x1001, gcm()),
            sa("192.0.2.1", "192.0.2.2", 0x1002, gcm()),
        );
        kernel.put(vec![put(&kept), put(&dropped)]);
        let mut kernel = Kernel::open_in(kernel.kill());
        let found: Vec<_> = kernel
            .found
            .sas
            .iter()
            .map(|sa| (sa.key, sa.reqid))
            .collect();
        assert_eq!(
            found,
            [(kept.key(), kept.reqid), (dropped.key(), dropped.reqid)]
        );
        kernel.put(vec![Object::AdoptedSa(kept.key())]);
        let text = run("ip", "xfrm state");
        assert!(
            text.contains("0x00001001") && !text.contains("0x00001002"),
            "{text}"
        );
        kernel.stop(Stop::Remove);
        let text = run("ip", "xfrm state");
        assert!(
            text.contains("0x00000099") && !text.contains("0x00001001"),
            "{text}"
        );
    });
}

#[test]
#[ignore = "needs ESP"]
fn an_sa_that_somebody_deletes_is_reported_lost_and_not_put_back() {
    with_esp(|| {
        let mut kernel = Kernel::open();
        let sa = sa("192.0.2.1", "192.0.2.2", 0x1001, gcm());
        kernel.put(vec![put(&sa)]);
        run(
            "ip",
            "xfrm state delete src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1001",
        );
        let lost = kernel.report();
        assert!(
            matches!(lost, Report::Event(KernelEvent::SaLost { key }) if key == sa.key()),
            "{lost:?}"
        );
        // The same wish again, with the same key.
        kernel.put(vec![put(&sa)]);
        assert_eq!(run("ip", "xfrm state"), "");
        kernel.apply(Change {
            remove: vec![put(&sa).key()],
            ..Change::default()
        });
        kernel.put(vec![put(&sa)]);
        assert!(
            listed(0x1001).contains("proto esp"),
            "wanted anew after it was given up"
        );
    });
}

#[test]
#[ignore = "needs ESP"]
fn soft_and_hard_lifetimes_are_announced() {
    with_esp(|| {
        let mut kernel = Kernel::open();
        let mut monitor = kernel.block_on(async { Monitor::open() }).unwrap();
        let limits = |seconds| Limits {
            time: Some(Duration::from_secs(seconds)),
            ..Limits::default()
        };
        let lifetime = Lifetime {
            soft: limits(1),
            hard: limits(3),
        };
        let sa = Sa {
            lifetime,
            ..sa("192.0.2.1", "192.0.2.2", 0x1001, gcm())
        };
        kernel.put(vec![put(&sa)]);
        for expected in [Limit::Soft, Limit::Hard] {
            let event = kernel.block_on(async {
                loop {
                    let next = tokio::time::timeout(Duration::from_secs(20), monitor.next());
                    match next.await.unwrap().unwrap() {
                        // Of the namespace that was made a moment ago.
                        KernelEvent::LinkChanged | KernelEvent::AddressChanged => {}
                        event => return event,
                    }
                }
            });
            assert_eq!(
                event,
                KernelEvent::SaExpired {
                    key: sa.key(),
                    reqid: sa.reqid,
                    limit: expected,
                }
            );
        }
        let lost = kernel.report();
        assert!(matches!(lost, Report::Event(KernelEvent::SaLost { key }) if key == sa.key()));
    });
}

/// One end of a tunnel: SAs and policies for all between `local` and `remote`.
fn end(kernel: &mut Kernel, [local, remote]: [&str; 2], [spi_in, spi_out]: [u32; 2]) {
    let inbound = sa(remote, local, spi_in, gcm());
    let outbound = Sa {
        direction: SaDirection::Out,
        ..sa(local, remote, spi_out, gcm())
    };
    let tunnel = |direction, src: &str, dst: &str| {
        let template = Template {
            protocol: IpsecProtocol::Esp,
            mode: Mode::Tunnel,
            level: Level::Required,
            src: src.parse().unwrap(),
            dst: dst.parse().unwrap(),
            reqid: inbound.reqid,
            spi: None,
        };
        let inner = Selector::between(template.src.into(), template.dst.into());
        let action = Action::Allow(vec![template]);
        Object::Policy(policy(direction, inner, Band::Tunnel, action))
    };
    kernel.put(vec![
        put(&inbound),
        put(&outbound),
        tunnel(Direction::Out, local, remote),
        tunnel(Direction::In, remote, local),
    ]);
}

fn addresses(device: &str, v4: &str, v6: &str) {
    run("ip", &format!("addr add {v4}/24 dev {device}"));
    run("ip", &format!("addr add {v6}/64 dev {device} nodad"));
    run("ip", &format!("link set {device} up"));
}

const V4: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
const V6: [&str; 2] = ["2001:db8::1", "2001:db8::2"];

/// The calling namespace joined to another, where the far end of both tunnels is in place.
fn beside_far_end(test: impl FnOnce()) {
    let (told, thread_id) = mpsc::channel();
    let (go, ready) = mpsc::channel::<()>();
    let (up, is_up) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            told.send(nix::unistd::gettid()).unwrap();
            ready.recv().unwrap();
            addresses("b0", V4[1], V6[1]);
            run(
                "ip",
                "-6 neigh add 2001:db8::1 lladdr 02:00:00:00:00:01 dev b0",
            );
            let mut kernel = Kernel::open();
            end(&mut kernel, [V4[1], V4[0]], [0x1001, 0x1002]);
            end(&mut kernel, [V6[1], V6[0]], [0x2001, 0x2002]);
            up.send(()).unwrap();
            // Until the test is over.
            let _ = ready.recv();
        });
        // Moved in, so that a failing test lets the other thread end.
        let go = go;
        let pid = thread_id.recv().unwrap();
        run(
            "ip",
            "link add a0 address 02:00:00:00:00:01 type veth peer name b0 address 02:00:00:00:00:02",
        );
        run("ip", &format!("link set b0 netns {pid}"));
        addresses("a0", V4[0], V6[0]);
        run(
            "ip",
            "-6 neigh add 2001:db8::2 lladdr 02:00:00:00:00:02 dev a0",
        );
        go.send(()).unwrap();
        is_up.recv().unwrap();
        test();
    });
}

fn near_end(kernel: &mut Kernel) {
    end(kernel, V4, [0x1002, 0x1001]);
    end(kernel, V6, [0x2002, 0x2001]);
}

#[test]
#[ignore = "needs ESP"]
fn what_both_ends_put_in_carries_packets_over_both_ip_versions() {
    with_esp(|| {
        beside_far_end(|| {
            let mut kernel = Kernel::open();
            near_end(&mut kernel);
            run("ping", "-c 2 -W 5 192.0.2.2");
            run("ping", "-c 2 -W 5 2001:db8::2");
            let found = Kernel::open().found;
            assert_eq!(found.sas.len(), 4);
            assert!(
                found
                    .sas
                    .iter()
                    .all(|sa| sa.packets >= 2 && sa.first_used.is_some()),
                "{found:?}"
            );
        });
    });
}

#[test]
#[ignore = "needs ESP"]
fn packets_that_a_trap_holds_arrive_once_the_tunnel_is_in() {
    with_esp(|| {
        beside_far_end(|| {
            let mut kernel = Kernel::open();
            let mut monitor = kernel.block_on(async { Monitor::open() }).unwrap();
            let trap = |net: &str| {
                let action = Action::Allow(vec![trap_template(net.contains(':'))]);
                policy(Direction::Out, selector(net, net), Band::Trap, action)
            };
            let traps = [trap("192.0.2.0/24"), trap("2001:db8::/64")];
            let hold = Object::Sysctl(Sysctl::XfrmLarvalDrop, "0".into());
            let mut put = vec![hold];
            put.extend(traps.iter().cloned().map(Object::Policy));
            kernel.put(put);
            let pings = [V4, V6].map(|[from, to]| {
                std::process::Command::new("ping")
                    .args(["-c", "3", "-i", "0.2", "-W", "10", "-I", from, to])
                    .stdout(std::process::Stdio::piped())
                    .spawn()
                    .unwrap()
            });
            let mut announced = 0;
            while announced < pings.len() {
                let event = kernel.block_on(async {
                    tokio::time::timeout(Duration::from_secs(10), monitor.next()).await
                });
                // The addresses are new, and that is announced as well.
                match event.unwrap().unwrap() {
                    KernelEvent::Acquire(_) => announced += 1,
                    KernelEvent::LinkChanged | KernelEvent::AddressChanged => {}
                    other => panic!("{other:?}"),
                }
            }
            near_end(&mut kernel);
            kernel.apply(Change {
                release: traps.iter().map(|trap| trap.key).collect(),
                ..Change::default()
            });
            for ping in pings {
                let output = ping.wait_with_output().unwrap();
                let text = String::from_utf8_lossy(&output.stdout);
                assert!(text.contains("3 received, 0% packet loss"), "{text}");
            }
        });
    });
}
