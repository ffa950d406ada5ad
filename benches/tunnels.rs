//! Throughput of the data paths of mobility beside a tunnel of the kernel's, in the same run.
//!
//! `cargo bench --bench tunnels -- userspace` on a kernel with TUN and VXLAN: the carrier beside
//! VXLAN. `-- kernel` on one with IP in IP: routes that encapsulate, as the agent makes them, at either end and at both,
//! beside bare tunnel devices. As root, with iperf3 and ethtool. A network namespace for each, one TCP connection, the tunnels
//! in turns, and every second time the other one first:
//!
//! ```text
//!  mobile node ─── cable: a tunnel ─── home agent ─── wire ─── correspondent
//! ```

#[path = "common/host.rs"]
mod host;
#[path = "common/machine.rs"]
mod machine;
#[path = "common/spread.rs"]
mod spread;

use host::{Host, command, ip};
use machine::{machine, output, read};
use spread::Spread;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use xfrm_agent::kernel::desired::{
    AddressKey, Change, DecapsulationEntry, Encapsulation, Fragmenting, Judging, Link, LinkKind,
    LinkName, LinkSetting, Object, Offload, Revision, Route, RouteKey, Sysctl, Way, receiver,
};
use xfrm_agent::kernel::writer::{Options, Report, Writer};
use xfrm_agent::mobile_ip::Via;
use xfrm_agent::tun::carrier::{self, Handle, SocketKind};
use xfrm_agent::tun::device::Device;
use xfrm_agent::tun::tunnels::{AdapterId, Binding, Congestion, Outer, Side, Tunnel};

/// Of the cable's ends, and of the tunnel's.
const OUTER: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];
const INNER: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2)];
/// The wire's ends: the home agent's, and the correspondent.
const WIRE: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 8, 0, 1), Ipv4Addr::new(10, 8, 0, 2)];
const WIRE_NETWORK: &str = "10.8.0.0";
/// Each has a packet of 1500 octets as its outer one.
const MTU_USERSPACE: u16 = 1468;
const MTU_VXLAN: u16 = 1450;
const MTU_IN_IP: u16 = 1480;
const ADAPTER: AdapterId = AdapterId(0);
const BINDINGS: u32 = 100_000;
const TUNNEL: LinkName = LinkName::literal("xa-ipip");

fn main() {
    let mode = std::env::args().nth(1).unwrap_or_default();
    let number = |name: &str, usual| std::env::var(name).map_or(usual, |n| n.parse().expect(name));
    let (rounds, seconds) = (number("ROUNDS", 15), number("LENGTH", 2));
    assert!(nix::unistd::geteuid().is_root(), "needs root");
    // The bare one first.
    let (kinds, sizes): (&[_], &[_]) = match mode.as_str() {
        "kernel" => (
            &[[false, false], [true, false], [false, true], [true, true]].map(Kind::InIp),
            &[Frames::Large, Frames::Mtu, Frames::Merged],
        ),
        _ => (
            &[Kind::Vxlan, Kind::Carrier, Kind::Crowded],
            &[Frames::Large, Frames::Mtu],
        ),
    };
    println!("{}", machine());
    println!(
        "{}",
        output("iperf3", &["--version"])
            .lines()
            .next()
            .unwrap_or_default()
    );
    println!(
        "{rounds} rounds of {seconds} s each; median (least - most), of the other's too, which is that of the same round; processor seconds of the whole machine without niced programs\n"
    );
    println!("| frames | direction | tunnel | Gbit/s | of the other's | processor s a Gbit |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for &frames in sizes {
        for direction in [Direction::Up, Direction::Down] {
            let mut results: Vec<_> = kinds.iter().map(|kind| (*kind, Vec::new())).collect();
            for turn in 0..rounds {
                let mut each = |(kind, measured): &mut (Kind, Vec<Measured>)| {
                    measured.push(round(*kind, frames, direction, seconds));
                };
                // Whatever grows during a round is to nobody's advantage.
                if turn % 2 == 0 {
                    results.iter_mut().for_each(&mut each);
                } else {
                    results.iter_mut().rev().for_each(&mut each);
                }
            }
            let peer = &results[0].1;
            for (kind, measured) in &results {
                let each = |of: fn(&Measured) -> f64| Spread::of(measured.iter().map(of));
                let speed = each(|m| m.gigabits_per_second);
                let cost = each(|m| m.seconds_per_gigabit);
                // Round by round: the machine is not the same from one minute to the next.
                let pairs = measured.iter().zip(peer);
                let share = pairs.map(|(m, peer)| m.gigabits_per_second / peer.gigabits_per_second);
                let (frames, direction, name) = (frames.name(), direction.name(), kind.name());
                let (speed, share, cost) = (speed.show(1), Spread::of(share).show(2), cost.show(3));
                println!("| {frames} | {direction} | {name} | {speed} | {share} | {cost} |");
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Vxlan,
    Carrier,
    /// With as many other mobile nodes at the home agent as it may have.
    Crowded,
    /// IP in IP of the kernel's: at which ends it is as the agent makes it, at the mobile node and at its home agent, and not a
    /// bare device.
    InIp([bool; 2]),
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Vxlan => "kernel VXLAN",
            Self::Carrier => "agent, in user space (UDP)",
            Self::Crowded => "the same, 100,000 bindings",
            Self::InIp([false, false]) => "kernel ipip",
            Self::InIp([true, false]) => "agent at the mobile node (ipip)",
            Self::InIp([false, true]) => "agent at the home agent (ipip)",
            Self::InIp([true, true]) => "agent at both (ipip)",
        }
    }

    /// What sends through the tunnel at one end.
    fn link(self, at: usize) -> LinkName {
        match self {
            Self::InIp(ours) if ours[at] => TUNNEL,
            _ => LinkName::literal("tunnel"),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Frames {
    /// TCP hands over up to 64 kB at once.
    Large,
    /// Without TSO and GSO on the tunnel.
    Mtu,
    /// The same, over a cable that puts packets together again before the tunnel sees them, as network cards do.
    Merged,
}

impl Frames {
    fn name(self) -> &'static str {
        match self {
            Self::Large => "TSO",
            Self::Mtu => "MTU",
            Self::Merged => "MTU, GRO",
        }
    }
}

#[derive(Clone, Copy)]
enum Direction {
    /// From the mobile node.
    Up,
    Down,
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Self::Up => "to the home agent",
            Self::Down => "to the mobile node",
        }
    }
}

struct Measured {
    gigabits_per_second: f64,
    seconds_per_gigabit: f64,
}

/// The mobile node is the first host, its home agent the second.
fn round(kind: Kind, frames: Frames, direction: Direction, seconds: u64) -> Measured {
    let hosts = [Host::new(), Host::new()];
    let correspondent = Host::new();
    let [mobile, agent] = &hosts;
    let (peer, beyond) = (agent.thread, correspondent.thread);
    mobile.run(move || {
        ip(&format!(
            "link add cable type veth peer name cable netns {peer}"
        ));
    });
    agent.run(move || {
        ip(&format!(
            "link add wire type veth peer name wire netns {beyond}"
        ));
        ip(&format!("address add {}/24 dev wire", WIRE[0]));
        ip("link set wire up");
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("root");
    });
    correspondent.run(|| {
        ip(&format!("address add {}/24 dev wire", WIRE[1]));
        ip("link set wire up");
        ip(&format!("route add default via {}", WIRE[0]));
    });
    // What keeps each end running, until the round is over.
    let ends: Vec<_> = hosts
        .iter()
        .enumerate()
        .map(|(at, host)| host.run(move || End::set_up(kind, at)))
        .collect();
    if frames != Frames::Large {
        for (at, host) in hosts.iter().enumerate() {
            host.run(move || {
                if frames == Frames::Merged {
                    // A veth that could carry large packets puts none together.
                    command("ethtool", "-K cable tso off gro on");
                }
                let link = kind.link(at);
                command("ethtool", &format!("-K {link} tso off gso off"));
            });
        }
        let merges = ["off", "on"][usize::from(frames == Frames::Merged)];
        for host in [agent, &correspondent] {
            host.run(move || command("ethtool", &format!("-K wire tso off gso off gro {merges}")));
        }
    }
    let mut server = correspondent.run(|| iperf(&format!("-s -1 -B {}", WIRE[1])));
    std::thread::sleep(Duration::from_millis(300));
    let reverse = match direction {
        Direction::Up => "",
        Direction::Down => "-R",
    };
    let busy = processor_seconds();
    let client = mobile.run(move || {
        iperf(&format!(
            "-c {} -B {} -t {seconds} -J {reverse}",
            WIRE[1], INNER[0]
        ))
    });
    let said = client.wait_with_output().expect("iperf3 ends");
    let busy = processor_seconds() - busy;
    server.kill().ok();
    server.wait().expect("it has ended");
    let said: serde_json::Value = serde_json::from_slice(&said.stdout).expect("JSON of iperf3");
    let number = |name: &str| said["end"]["sum_received"][name].as_f64();
    let bits = number("bytes").unwrap_or_else(|| panic!("{said}")) * 8.0;
    // In the namespaces that they belong to.
    for (end, host) in ends.into_iter().zip(&hosts) {
        host.run(move || drop(end));
    }
    Measured {
        gigabits_per_second: number("bits_per_second").expect("as the octets") / 1e9,
        seconds_per_gigabit: busy / (bits / 1e9),
    }
}

/// What has to stay for as long as the tunnel is used: dropped at the end of the round.
enum End {
    Kernel,
    Carrier(#[expect(dead_code, reason = "kept")] Handle),
    Writer(
        #[expect(dead_code, reason = "kept")]
        (Writer, UnboundedReceiver<Report>, tempfile::TempDir),
    ),
}

impl End {
    fn set_up(kind: Kind, at: usize) -> Self {
        let (own, other) = (OUTER[at], OUTER[1 - at]);
        let (inner, far) = (INNER[at], INNER[1 - at]);
        ip(&format!("address add {own}/24 dev cable"));
        ip("link set cable up");
        let up = |link: &str, mtu: u16| {
            ip(&format!("address add {inner}/24 dev {link}"));
            ip(&format!("link set {link} mtu {mtu} up"));
            if at == 0 {
                ip(&format!("route add {WIRE_NETWORK}/24 via {far}"));
            }
        };
        match kind {
            Kind::Vxlan => {
                ip(&format!(
                    "link add tunnel type vxlan id 7 local {own} remote {other} dstport 4789 dev cable"
                ));
                up("tunnel", MTU_VXLAN);
                Self::Kernel
            }
            Kind::InIp(ours) if !ours[at] => {
                ip(&format!(
                    "link add tunnel type ipip local {own} remote {other} ttl 64"
                ));
                up("tunnel", MTU_IN_IP);
                Self::Kernel
            }
            Kind::Carrier | Kind::Crowded => {
                let handle = carry(at);
                if kind == Kind::Crowded && at == 1 {
                    crowd(&handle);
                }
                up("tunnel", MTU_USERSPACE);
                Self::Carrier(handle)
            }
            Kind::InIp(_) => {
                // The mobile node takes whatever its home agent sends, the home agent what is from the home address.
                let receives = match at {
                    0 => {
                        let from_home_agent = receiver::from_home_agent(other);
                        let of_strangers = receiver::of_strangers();
                        from_home_agent.into_iter().chain(of_strangers).collect()
                    }
                    _ => {
                        let binding = DecapsulationEntry::Binding {
                            src: other,
                            dst: own,
                            inner: far,
                        };
                        let judged = [
                            Object::Decapsulation(Judging::HOME_AGENT),
                            Object::DecapsulationEntry(DecapsulationEntry::End(own)),
                            Object::DecapsulationEntry(binding),
                        ];
                        let by_home_agent = receiver::by_home_agent(own);
                        judged.into_iter().chain(by_home_agent).collect()
                    }
                };
                let destination = if at == 0 { WIRE[1] } else { far };
                encapsulate((own, other), (inner, destination), receives)
            }
        }
    }
}

fn carry(at: usize) -> Handle {
    let device = Device::attach("tunnel").expect("a TUN adapter");
    let local = SocketAddrV4::new(OUTER[at], 434);
    let (handle, _) = carrier::start().expect("a thread");
    let socket = UdpSocket::bind(local).expect("the port is free");
    handle
        .socket(SocketKind::Udp, Via::Routed, socket.into())
        .expect("its options");
    handle.adapter(ADAPTER, device);
    let side = [Side::MobileNode, Side::HomeAgent][at];
    handle.put(
        ADAPTER,
        binding(side, INNER[0], local, SocketAddrV4::new(OUTER[1 - at], 434)),
    );
    handle
}

fn binding(side: Side, home: Ipv4Addr, local: SocketAddrV4, remote: SocketAddrV4) -> Binding {
    Binding {
        side,
        home,
        networks: Vec::new(),
        tunnels: vec![Tunnel {
            via: Via::Routed,
            outer: Outer::Udp { local, remote },
            mtu: MTU_USERSPACE,
            reverse: true,
            congestion: Congestion::Normal,
        }],
        receives: Vec::new(),
    }
}

fn crowd(handle: &Handle) {
    for n in 0..BINDINGS {
        let home = Ipv4Addr::from(0x0a40_0000 + n);
        let local = SocketAddrV4::new(OUTER[1], 434);
        let remote = SocketAddrV4::new(Ipv4Addr::from(0xcb00_7100 + n), 434);
        handle.put(ADAPTER, binding(Side::HomeAgent, home, local, remote));
    }
}

/// What the agent asks of the kernel for a tunnel, and its check of what comes out of it.
fn encapsulate(
    (own, other): (Ipv4Addr, Ipv4Addr),
    (inner, far): (Ipv4Addr, Ipv4Addr),
    receives: Vec<Object>,
) -> End {
    let directory = tempfile::tempdir().expect("a directory");
    let runtime_dir = directory.path().to_owned();
    let (writer, _, mut reports) = Writer::start(Options { runtime_dir }).expect("root");
    let anchor = LinkName::literal("anchor");
    let off = |setting| Object::Sysctl(Sysctl::Link(TUNNEL, setting), "0".into());
    let mut put = vec![
        Object::Link(Link {
            name: anchor,
            kind: LinkKind::Tun(Offload::None),
            mtu: u32::from(MTU_IN_IP),
        }),
        Object::Link(Link {
            name: TUNNEL,
            kind: LinkKind::IpInIp,
            mtu: u32::from(MTU_IN_IP),
        }),
        Object::Address(AddressKey {
            link: anchor,
            address: format!("{inner}/32").parse().expect("an address"),
        }),
        Object::Route(Route {
            key: RouteKey::to_host(254, far),
            way: Way::Encapsulated {
                link: TUNNEL,
                encapsulation: Encapsulation {
                    src: own,
                    dst: other,
                    ttl: 64,
                    fragmenting: Fragmenting::Forbidden,
                },
                source: Some(inner.into()),
            },
        }),
        off(LinkSetting::RpFilter),
        off(LinkSetting::AcceptLocal),
    ];
    put.extend(receives);
    writer.apply(Change {
        revision: Revision(1),
        put,
        ..Change::default()
    });
    loop {
        match reports.blocking_recv().expect("the writer runs") {
            Report::Applied { .. } => break,
            Report::Refused { refusal, .. } => panic!("{refusal}"),
            _ => {}
        }
    }
    End::Writer((writer, reports, directory))
}

fn iperf(arguments: &str) -> std::process::Child {
    Command::new("iperf3")
        .args(arguments.split_whitespace())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("iperf3 is installed")
}

/// Of all processors since the start, but for niced programs: work that is none of ours has a low
/// priority where others are kept off.
fn processor_seconds() -> f64 {
    let stat = read("/proc/stat");
    let fields: Vec<f64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect();
    // user, nice, system, idle, iowait, irq, softirq
    let ticks = fields[0] + fields[2] + fields[5] + fields[6];
    ticks / 100.0
}
