//! Interception on the running kernel, with real packets between two network namespaces:
//!
//! ```text
//! sender 10.1.0.2 ──── v0 router w0 ──── (nobody) 10.2.0.0/16, 10.3.0.0/16
//! ```
//!
//! The router protects 10.2.0.0/16 and refuses to forward anything that lacks the pass mark.
//! Needs root, nftables and TPROXY, no ESP.

mod kernel;

use kernel::{Kernel, device, in_namespace, policy, run, selector};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use std::io::ErrorKind::AddrInUse;
use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use xfrm_agent::kernel::desired::{
    Action, Direction, Interception, Mark, Object, Policy, PolicyKey, Route, RouteKey, RuleKey,
    TransparentPorts, Way,
};
use xfrm_agent::kernel::interception;
use xfrm_agent::kernel::ownership::Band;
use xfrm_agent::kernel::writer::Stop;
use xfrm_agent::net::{Family, IpNet};

const PASS: Mark = Mark {
    value: 0x8000_0000,
    mask: 0x8000_0000,
};
const DIVERT: Mark = Mark {
    value: 0xc000_0000,
    mask: 0xc000_0000,
};
const PROBE: u8 = 240;
const RESPONSE: u8 = 241;
const IKE_SA_INIT: u8 = 34;

/// The first 28 octets of an ISAKMP message.
fn isakmp(version: u8, exchange: u8) -> Vec<u8> {
    let mut header = vec![0x11; 28];
    (header[17], header[18]) = (version, exchange);
    header
}

fn behind_marker(message: &[u8]) -> Vec<u8> {
    [&[0; 4], message].concat()
}

/// A packet: source port, destination, payload.
type Sent = (u16, SocketAddr, Vec<u8>);

/// A thread in a namespace of its own that sends what it is told, behind device `v0`.
struct Sender {
    packets: mpsc::Sender<Sent>,
}

/// A command that another test starts holds a copy of the last socket between its fork and its exec.
fn bind(address: (IpAddr, u16)) -> UdpSocket {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match UdpSocket::bind(address) {
            Err(error) if error.kind() == AddrInUse && Instant::now() < deadline => {}
            bound => return bound.unwrap(),
        }
    }
}

impl Sender {
    fn new() -> Self {
        let (packets, queue) = mpsc::channel::<Sent>();
        let (told, thread_id) = mpsc::channel();
        let (ready, go) = mpsc::channel::<()>();
        let (up, is_up) = mpsc::channel();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            told.send(nix::unistd::gettid()).unwrap();
            go.recv().unwrap();
            // Without neighbour discovery packets go to the sender's own hardware address.
            run("ip", "link set v1 address 02:00:00:00:00:01 arp off up");
            run("ip", "addr add 10.1.0.2/16 dev v1");
            run("ip", "addr add 2001:db8:1::2/48 dev v1 nodad");
            run("ip", "route add default dev v1");
            run("ip", "-6 route add default dev v1");
            up.send(()).unwrap();
            for (port, to, payload) in queue {
                let any: IpAddr = if to.is_ipv4() {
                    Ipv4Addr::UNSPECIFIED.into()
                } else {
                    std::net::Ipv6Addr::UNSPECIFIED.into()
                };
                bind((any, port)).send_to(&payload, to).unwrap();
            }
        });
        run("ip", "link add v0 type veth peer name v1");
        let pid = thread_id.recv().unwrap();
        run("ip", &format!("link set v1 netns {pid}"));
        run("ip", "link set v0 address 02:00:00:00:00:01 arp off up");
        run("ip", "addr add 10.1.0.1/16 dev v0");
        run("ip", "addr add 2001:db8:1::1/48 dev v0 nodad");
        ready.send(()).unwrap();
        is_up.recv().unwrap();
        Self { packets }
    }

    fn send(&self, port: u16, to: &str, payload: Vec<u8>) {
        self.packets
            .send((port, to.parse().unwrap(), payload))
            .unwrap();
    }
}

/// A router with all that the agent would put there.
fn router(kernel: &mut Kernel, divert_to: TransparentPorts) {
    device("w0");
    run("ip", "addr add 10.2.0.1/16 dev w0");
    run("ip", "route add 10.3.0.0/16 dev w0");
    run("ip", "addr add 2001:db8:2::1/48 dev w0 nodad");
    run("ip", "route add 2001:db8:3::/48 dev w0");
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
    std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
    for command in [
        "add table inet test",
        "add counter inet test out",
        "add chain inet test post { type filter hook postrouting priority 0 ; }",
        "add rule inet test post oifname w0 meta l4proto udp counter name out",
    ] {
        run("nft", command);
    }
    let refuse = |family: Family| {
        let any = family.any().to_string();
        let all = policy(
            Direction::Fwd,
            selector(&any, &any),
            Band::Enforce,
            Action::Block,
        );
        let mark = Mark { value: 0, ..PASS };
        let key = PolicyKey { mark, ..all.key };
        Object::Policy(Policy { key, ..all })
    };
    let lead = |family: Family| {
        let route = Route {
            key: RouteKey {
                table: 7370,
                dst: family.any(),
                metric: 0,
            },
            way: Way::Local,
        };
        let rule = RuleKey::new(family, 7370, 7370).mark(DIVERT);
        [Object::Route(route), Object::Rule(rule)]
    };
    let [route4, rule4] = lead(Family::V4);
    let [route6, rule6] = lead(Family::V6);
    kernel.put(vec![
        Object::Interception(wanted(divert_to)),
        refuse(Family::V4),
        refuse(Family::V6),
        route4,
        rule4,
        route6,
        rule6,
    ]);
}

fn wanted(divert_to: TransparentPorts) -> Interception {
    let protected: Vec<IpNet> = ["10.2.0.0/16", "10.2.3.0/24", "2001:db8:2::/48"]
        .map(|net| net.parse().unwrap())
        .to_vec();
    Interception {
        protected,
        divert_to,
        divert_mark: DIVERT,
        pass_mark: PASS,
        pass_rate: 20,
        first_packets: None,
    }
}

struct Transparent(UdpSocket);

impl Transparent {
    fn new(addr: &str) -> Self {
        let socket = UdpSocket::bind(addr).unwrap();
        setsockopt(&socket, sockopt::IpTransparent, &true).unwrap();
        if addr.starts_with('[') {
            setsockopt(&socket, sockopt::Ipv6OrigDstAddr, &true).unwrap();
        } else {
            setsockopt(&socket, sockopt::Ipv4OrigDstAddr, &true).unwrap();
        }
        socket
            .set_read_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        Self(socket)
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// Payload and original destination of the next packet.
    fn receive(&self) -> Option<(Vec<u8>, String)> {
        let mut payload = [0; 2048];
        let mut space = nix::cmsg_space!(libc::sockaddr_in6);
        let mut slices = [IoSliceMut::new(&mut payload)];
        let fd = self.0.as_raw_fd();
        let message = recvmsg::<()>(fd, &mut slices, Some(&mut space), MsgFlags::empty()).ok()?;
        let destination = message.cmsgs().unwrap().find_map(|control| match control {
            ControlMessageOwned::Ipv4OrigDstAddr(addr) => {
                Some(Ipv4Addr::from(u32::from_be(addr.sin_addr.s_addr)).to_string())
            }
            ControlMessageOwned::Ipv6OrigDstAddr(addr) => {
                Some(std::net::Ipv6Addr::from(addr.sin6_addr.s6_addr).to_string())
            }
            _ => None,
        });
        let len = message.bytes;
        Some((payload[..len].to_vec(), destination.unwrap()))
    }
}

fn counter(name: &str) -> u64 {
    interception::counters().unwrap()[name]
}

/// UDP packets that have left the router for where nobody is.
fn forwarded() -> u64 {
    let listed = run("nft", "-j list counter inet test out");
    let json: serde_json::Value = serde_json::from_str(&listed).unwrap();
    json["nftables"][1]["counter"]["packets"].as_u64().unwrap()
}

/// Waits until the router has dealt with it.
fn settle() {
    std::thread::sleep(Duration::from_millis(60));
}

#[test]
fn a_probe_for_a_protected_address_is_diverted_with_its_destination_and_others_pass() {
    in_namespace(|| {
        let sender = Sender::new();
        let (v4, v6) = (Transparent::new("0.0.0.0:0"), Transparent::new("[::]:0"));
        let ports = TransparentPorts {
            v4: v4.port(),
            v6: Some(v6.port()),
        };
        let mut kernel = Kernel::open();
        router(&mut kernel, ports);
        settle();

        let probe = isakmp(0x10, PROBE);
        sender.send(4000, "10.2.0.9:500", probe.clone());
        assert_eq!(v4.receive(), Some((probe.clone(), "10.2.0.9".into())));
        sender.send(4000, "[2001:db8:2::9]:500", probe.clone());
        assert_eq!(v6.receive(), Some((probe.clone(), "2001:db8:2::9".into())));
        assert_eq!(counter("diverted"), 2);

        let before = forwarded();
        sender.send(4000, "10.3.0.9:500", probe.clone());
        sender.send(4000, "[2001:db8:3::9]:500", probe);
        settle();
        assert_eq!((v4.receive(), v6.receive()), (None, None));
        assert_eq!(forwarded() - before, 2, "not ours: on to the next gateway");
        assert_eq!(counter("passed-discovery"), 2);
    });
}

#[test]
fn ike_and_discovery_of_others_pass_enforcement_and_nothing_else_does() {
    in_namespace(|| {
        let sender = Sender::new();
        let socket = Transparent::new("0.0.0.0:0");
        let mut kernel = Kernel::open();
        router(
            &mut kernel,
            TransparentPorts {
                v4: socket.port(),
                v6: None,
            },
        );
        settle();
        let ike = isakmp(0x20, IKE_SA_INIT);
        let cases: [(&str, u16, &str, Vec<u8>, bool); 11] = [
            ("IKEv2 to port 500", 4000, "10.2.0.9:500", ike.clone(), true),
            (
                "IKEv1 to port 500",
                4000,
                "10.2.0.9:500",
                isakmp(0x10, 2),
                true,
            ),
            (
                "an answer from port 500",
                500,
                "10.2.0.9:4000",
                ike.clone(),
                true,
            ),
            (
                "a response to a probe",
                500,
                "10.2.0.9:4000",
                isakmp(0x10, RESPONSE),
                true,
            ),
            (
                "IKEv2 on port 4500",
                4500,
                "10.2.0.9:4500",
                behind_marker(&ike),
                true,
            ),
            ("over IPv6", 4000, "[2001:db8:2::9]:500", ike.clone(), true),
            ("ESP in UDP", 4500, "10.2.0.9:4500", ike.clone(), false),
            (
                "no ISAKMP version",
                4000,
                "10.2.0.9:500",
                isakmp(0x30, PROBE),
                false,
            ),
            ("another port", 4000, "10.2.0.9:501", ike.clone(), false),
            (
                "too short for a version",
                4000,
                "10.2.0.9:500",
                vec![0x20; 17],
                false,
            ),
            (
                "another port over IPv6",
                4000,
                "[2001:db8:2::9]:7",
                ike,
                false,
            ),
        ];
        for (what, port, to, payload, passes) in cases {
            let before = forwarded();
            sender.send(port, to, payload);
            settle();
            assert_eq!(forwarded() - before, u64::from(passes), "{what}");
        }
        assert_eq!(counter("passed-discovery"), 1);
        assert_eq!(counter("passed-ike"), 5);
        assert_eq!(socket.receive(), None);
    });
}

#[test]
fn no_more_pass_than_the_rate_allows_and_the_rest_are_counted() {
    in_namespace(|| {
        let sender = Sender::new();
        let mut kernel = Kernel::open();
        router(&mut kernel, TransparentPorts { v4: 9, v6: None });
        let (before, start) = (forwarded(), Instant::now());
        for _ in 0..200 {
            sender.send(4000, "10.2.0.9:500", isakmp(0x20, IKE_SA_INIT));
        }
        let deadline = start + Duration::from_secs(10);
        let passed = || forwarded() - before;
        while passed() + counter("over-rate") < 200 && Instant::now() < deadline {
            settle();
        }
        // A burst of one second's worth, and what is allowed while it is sent.
        let allowed = 20 + 20 * (start.elapsed().as_secs() + 1);
        assert!((20..=allowed).contains(&passed()), "{}", passed());
        assert_eq!(passed() + counter("over-rate"), 200);
    });
}

#[test]
fn where_nobody_listens_a_probe_goes_on_to_the_next_gateway() {
    in_namespace(|| {
        let sender = Sender::new();
        let mut kernel = Kernel::open();
        router(&mut kernel, TransparentPorts { v4: 9, v6: Some(9) });
        settle();
        let before = forwarded();
        sender.send(4000, "10.2.0.9:500", isakmp(0x10, PROBE));
        settle();
        assert_eq!(forwarded() - before, 1);
    });
}

#[test]
fn the_table_is_replaced_when_it_changes_or_was_an_earlier_runs_and_goes_with_the_agent() {
    in_namespace(|| {
        let mut kernel = Kernel::open();
        let put = |port| {
            vec![Object::Interception(wanted(TransparentPorts {
                v4: port,
                v6: None,
            }))]
        };
        let listed = || run("nft", "list ruleset");
        run("nft", "add table inet other");
        kernel.put(put(4101));
        assert!(listed().contains("tproxy ip to :4101"), "{}", listed());
        kernel.put(put(4102));
        assert!(listed().contains("tproxy ip to :4102") && !listed().contains(":4101"));
        let same = || run("nft", "-j -a list table inet xfrm-agent");
        let before = same();
        assert!(
            before.contains("\"handle\""),
            "a rule written again has another handle"
        );
        kernel.put(put(4102));
        assert_eq!(same(), before, "what is right is not written again");
        run(
            "nft",
            "delete element inet xfrm-agent protected6 { 2001:db8:2::/48 }",
        );
        kernel.put(put(4102));
        let put_back = || listed().contains("elements = { 2001:db8:2::/48 }");
        let deadline = Instant::now() + Duration::from_secs(5);
        while !put_back() && Instant::now() < deadline {
            settle();
        }
        assert!(put_back(), "{}", listed());
        let mut kernel = Kernel::open_in(kernel.kill());
        kernel.put(put(4103));
        assert!(listed().contains("tproxy ip to :4103") && !listed().contains(":4102"));
        kernel.stop(Stop::Remove);
        assert!(listed().contains("table inet other") && !listed().contains("xfrm-agent"));
    });
}
