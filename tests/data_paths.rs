//! Packets through the carrier on the running kernel, and the same ones through the kernel's own
//! tunnels. Needs root and TUN; what compares both needs a kernel that has IP in IP, as those of
//! ESP do.

mod kernel;

use kernel::{Kernel, in_namespace, run};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind,
    recvfrom, sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Receiver;
use xfrm_agent::kernel::desired::{
    AddressKey, DecapsulationEntry, Encapsulation, Fragmenting, Judging, Link, LinkKind, LinkName,
    LinkSetting, Object, Offload, Route, RouteKey, RuleKey, Sysctl, Way,
};
use xfrm_agent::kernel::writer::Stop;
use xfrm_agent::mobile_ip::Via;
use xfrm_agent::net::Family;
use xfrm_agent::tun::carrier::{self, Handle, Heard, SocketKind};
use xfrm_agent::tun::device::Device;
use xfrm_agent::tun::tunnels::{AdapterId, Binding, Congestion, Outer, Side, Tunnel};

const OUTER: [Ipv4Addr; 2] = [
    Ipv4Addr::new(203, 0, 113, 10),
    Ipv4Addr::new(203, 0, 113, 1),
];
const HOME: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 5);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 101);
const PORT: u16 = 434;
const MTU: u16 = 1468;
const ADAPTER: AdapterId = AdapterId(0);
const ANCHOR: LinkName = LinkName::literal("intranet0");
const TUNNEL: LinkName = LinkName::literal("xa-ipip");

/// A thread in a network namespace of its own, at the far end of a cable whose near end is `wan`.
struct Peer(mpsc::Sender<Box<dyn FnOnce() + Send>>);

impl Peer {
    fn new() -> Self {
        let (jobs, queue) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        let (told, thread) = mpsc::channel();
        std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            run("ip", "link set lo up");
            told.send(nix::unistd::gettid()).unwrap();
            for job in queue {
                job();
            }
        });
        let pid = thread.recv().unwrap();
        run(
            "ip",
            &format!("link add wan type veth peer name wan netns {pid}"),
        );
        let peer = Self(jobs);
        cable(0);
        peer.run(|| cable(1));
        peer
    }

    fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        let job = Box::new(move || done.send(job()).unwrap());
        self.0.send(job).unwrap();
        result.recv().expect("the job ends")
    }

    fn start<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> mpsc::Receiver<T> {
        let (done, result) = mpsc::channel();
        let job = Box::new(move || drop(done.send(job())));
        self.0.send(job).unwrap();
        result
    }
}

fn cable(at: usize) {
    run("ip", &format!("address add {}/24 dev wan", OUTER[at]));
    run("ip", "link set wan up");
}

/// With a socket, and the adapter `intranet0`.
fn carrier(at: usize) -> (Handle, Receiver<Heard>) {
    let device = Device::attach("intranet0").unwrap();
    let local = SocketAddrV4::new(OUTER[at], PORT);
    let (handle, heard) = carrier::start().unwrap();
    let socket = UdpSocket::bind(local).unwrap();
    handle
        .socket(SocketKind::Udp, Via::Routed, socket.into())
        .unwrap();
    handle.adapter(ADAPTER, device);
    handle.put(
        ADAPTER,
        Binding {
            side: [Side::MobileNode, Side::HomeAgent][at],
            home: HOME,
            networks: Vec::new(),
            tunnels: vec![Tunnel {
                via: Via::Routed,
                outer: Outer::Udp {
                    local,
                    remote: SocketAddrV4::new(OUTER[1 - at], PORT),
                },
                mtu: MTU,
                reverse: true,
                congestion: Congestion::Normal,
            }],
            receives: Vec::new(),
        },
    );
    (handle, heard)
}

/// A host whose only way to the other is the carrier's.
fn host(at: usize) -> (Handle, Receiver<Heard>) {
    let carrier = carrier(at);
    let (own, other) = [(HOME, FAR), (FAR, HOME)][at];
    run("ip", &format!("address add {own}/32 dev intranet0"));
    run("ip", &format!("link set intranet0 mtu {MTU} up"));
    run(
        "ip",
        &format!("route add {other}/32 dev intranet0 src {own}"),
    );
    carrier
}

fn octets(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 31 + n / 257) as u8).collect()
}

/// Sends its own and returns what came, at the same time.
fn exchange(mut stream: TcpStream, len: usize) -> Vec<u8> {
    let mut out = stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        out.write_all(&octets(len)).unwrap();
        out.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    writer.join().unwrap();
    got
}

#[test]
fn a_stream_goes_both_ways_at_once_in_large_packets_and_comes_out_whole() {
    in_namespace(|| {
        const LEN: usize = 16 << 20;
        let peer = Peer::new();
        let (near, _heard) = host(0);
        let far = peer.run(|| host(1));
        let listener = peer.run(|| TcpListener::bind((FAR, 80)).unwrap());
        let answered = peer.start(move || exchange(listener.accept().unwrap().0, LEN));
        let got = exchange(TcpStream::connect((FAR, 80)).unwrap(), LEN);
        assert!(got == octets(LEN));
        assert!(answered.recv().unwrap() == octets(LEN));
        std::thread::sleep(Duration::from_millis(50));
        let (near, far) = (near.counts(), far.0.counts());
        assert_eq!(near.sent, far.received);
        assert_eq!(far.sent, near.received);
        assert!(near.sent.octets > LEN as u64 && far.sent.octets > LEN as u64);
        let dropped = near.dropped;
        assert_eq!(
            (dropped.malformed, dropped.not_admitted, dropped.undelivered),
            (0, 0, 0)
        );
        // Fewer packets than segments were handed to the stack.
        let shown = run("ip", "-j -s link show intranet0");
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        let delivered = shown[0]["stats64"]["rx"]["packets"].as_u64().unwrap();
        assert!(
            delivered * 2 < near.received.packets,
            "{delivered} {near:?}"
        );
    });
}

#[test]
fn a_path_that_carries_less_is_told_to_who_sends_too_much() {
    in_namespace(|| {
        let peer = Peer::new();
        let (near, _heard) = host(0);
        let _far = peer.run(|| host(1));
        run(
            "ip",
            &format!(
                "route add {}/32 dev wan src {} mtu 1300",
                OUTER[1], OUTER[0]
            ),
        );
        let sender = UdpSocket::bind((HOME, 0)).unwrap();
        sender.connect((FAR, 9)).unwrap();
        let large = [0; 1400];
        sender.send(&large).unwrap();
        // The kernel's word for what the carrier answered.
        let deadline = Instant::now() + Duration::from_secs(5);
        while sender.send(&large).is_ok() {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(5));
        }
        let shown = run("ip", &format!("route get {FAR} from {HOME}"));
        assert!(shown.contains("mtu 1268"), "{shown}");
        assert!(near.counts().dropped.too_big > 0);
        // A stream finds its way.
        let listener = peer.run(|| TcpListener::bind((FAR, 80)).unwrap());
        let answered = peer.start(move || exchange(listener.accept().unwrap().0, 1 << 20));
        let got = exchange(TcpStream::connect((FAR, 80)).unwrap(), 1 << 20);
        assert!(got == octets(1 << 20) && answered.recv().unwrap() == got);
    });
}

#[test]
fn messages_go_to_the_agent_and_it_is_told_when_an_adapter_is_lost() {
    in_namespace(|| {
        let peer = Peer::new();
        let (_near, mut heard) = host(0);
        peer.run(|| {
            let socket = UdpSocket::bind((OUTER[1], 999)).unwrap();
            socket.send_to(&[3, 0, 0, 60], (OUTER[0], PORT)).unwrap();
        });
        let Some(Heard::Datagram(datagram)) = heard.blocking_recv() else {
            panic!("the agent hears of it");
        };
        assert_eq!(datagram.payload, [3, 0, 0, 60]);
        assert_eq!(datagram.via, Via::Routed);
        assert_eq!(datagram.local, SocketAddrV4::new(OUTER[0], PORT));
        assert_eq!(datagram.remote, SocketAddrV4::new(OUTER[1], 999));
        run("ip", "link del intranet0");
        let told = heard.blocking_recv();
        assert!(
            matches!(
                told,
                Some(Heard::AdapterLost {
                    adapter: ADAPTER,
                    ..
                })
            ),
            "{told:?}"
        );
    });
}

/// Between the outer addresses, in transport mode.
fn protect(at: usize) {
    for (spi, src, dst) in [(0x101, OUTER[0], OUTER[1]), (0x102, OUTER[1], OUTER[0])] {
        let key = "0x0102030405060708090a0b0c0d0e0f1011121314";
        run(
            "ip",
            &format!(
                "xfrm state add src {src} dst {dst} proto esp spi {spi} mode transport aead rfc4106(gcm(aes)) {key} 128"
            ),
        );
        let direction = if src == OUTER[at] { "out" } else { "in" };
        run(
            "ip",
            &format!(
                "xfrm policy add src {src} dst {dst} dir {direction} tmpl src {src} dst {dst} proto esp mode transport"
            ),
        );
    }
}

/// The kernel cuts nothing for IPsec (`EIO`).
#[test]
#[ignore = "needs ESP"]
fn a_stream_goes_through_ipsec_datagram_by_datagram() {
    in_namespace(|| {
        const LEN: usize = 4 << 20;
        let peer = Peer::new();
        protect(0);
        peer.run(|| protect(1));
        let (near, _heard) = host(0);
        let _far = peer.run(|| host(1));
        let listener = peer.run(|| TcpListener::bind((FAR, 80)).unwrap());
        let answered = peer.start(move || exchange(listener.accept().unwrap().0, LEN));
        let got = exchange(TcpStream::connect((FAR, 80)).unwrap(), LEN);
        assert!(got == octets(LEN) && answered.recv().unwrap() == got);
        assert_eq!(near.counts().dropped.unsent, 0);
        let used = run("ip", "-s xfrm state list");
        assert!(!used.contains("0(bytes), 0(packets)"), "{used}");
    });
}

// --- beside the kernel's own ---------------------------------------------------------------------

fn checksum(octets: &[u8]) -> [u8; 2] {
    let halves = octets.chunks(2);
    let word = |half: &[u8]| u32::from(half[0]) << 8 | half.get(1).map_or(0, |low| u32::from(*low));
    let sum: u32 = halves.map(word).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    (!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes()
}

fn packet(
    [src, dst]: [Ipv4Addr; 2],
    [tos, ttl, protocol]: [u8; 3],
    [id, fragment]: [u16; 2],
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let header_len = 20 + options.len();
    let mut out = vec![0x40 | (header_len / 4) as u8, tos];
    out.extend(((header_len + payload.len()) as u16).to_be_bytes());
    out.extend(id.to_be_bytes());
    out.extend(fragment.to_be_bytes());
    out.extend([ttl, protocol, 0, 0]);
    out.extend([src.octets(), dst.octets()].concat());
    out.extend(options);
    let sum = checksum(&out);
    out[10..12].copy_from_slice(&sum);
    out.extend(payload);
    out
}

/// Of many kinds, each with an identification of its own.
fn packets(ends: [Ipv4Addr; 2]) -> Vec<Vec<u8>> {
    const FIXED: u16 = 0x4000;
    let data = octets(1300);
    let udp = |len: usize| {
        [
            &[0x30, 0, 0, 9],
            &((8 + len) as u16).to_be_bytes()[..],
            &[0, 0],
            &data[..len],
        ]
        .concat()
    };
    // Whose checksum is wrong: that is for the receiver to say.
    let tcp = [
        &[
            0x30, 1, 0, 9, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 1, 0, 0, 0, 0, 0,
        ],
        &data[..700],
    ]
    .concat();
    let plain = [0, 64, 17];
    vec![
        packet(ends, plain, [1, FIXED], &[], &udp(0)),
        packet(ends, plain, [2, 0], &[], &udp(1)),
        packet(ends, plain, [3, FIXED], &[], &udp(1300)),
        packet(ends, [0xb8, 64, 17], [4, FIXED], &[], &udp(100)),
        packet(ends, [0x02, 1, 17], [5, 0], &[], &udp(100)),
        packet(ends, [0x01, 255, 17], [6, FIXED], &[], &udp(100)),
        packet(ends, [0, 64, 6], [7, FIXED], &[], &tcp),
        packet(
            ends,
            [0, 64, 1],
            [8, FIXED],
            &[],
            &[8, 0, 0xf7, 0xfe, 0, 1, 0, 0],
        ),
        packet(
            ends,
            [0, 64, 253],
            [9, FIXED],
            &[],
            b"of no protocol that is known",
        ),
        packet(ends, plain, [10, 0x2000], &[], &udp(992)),
        packet(ends, plain, [10, 125], &[], &data[..50]),
        packet(ends, plain, [11, FIXED], &[0x94, 4, 0, 0], &udp(30)),
    ]
}

fn raw(protocol: Option<SockProtocol>, family: AddressFamily, kind: SockType) -> OwnedFd {
    let socket = socket(family, kind, SockFlag::empty(), protocol).unwrap();
    let patience = TimeVal::new(1, 0);
    setsockopt(&socket, sockopt::ReceiveTimeout, &patience).unwrap();
    socket
}

fn send_raw(packets: &[Vec<u8>]) {
    let socket = raw(Some(SockProtocol::Raw), AddressFamily::Inet, SockType::Raw);
    // Rules of the source look at the socket's address and not at the packet's.
    let source = &packets[0][12..16];
    let source = SockaddrIn::new(source[0], source[1], source[2], source[3], 0);
    bind(socket.as_raw_fd(), &source).unwrap();
    for packet in packets {
        let to = SockaddrIn::new(packet[16], packet[17], packet[18], packet[19], 0);
        sendto(socket.as_raw_fd(), packet, &to, MsgFlags::empty()).unwrap();
    }
}

/// What comes to the far end, without the outer headers: of IP in IP and of UDP. The latter from a
/// socket, since several datagrams may be one packet still.
fn unwrapped() -> [BTreeSet<Vec<u8>>; 2] {
    let until = Instant::now() + Duration::from_secs(4);
    let all = raw(
        Some(SockProtocol::EthAll),
        AddressFamily::Packet,
        SockType::Datagram,
    );
    let socket = UdpSocket::bind((OUTER[1], PORT)).unwrap();
    let datagrams = std::thread::spawn(move || {
        let patience = Some(Duration::from_secs(1));
        socket.set_read_timeout(patience).unwrap();
        let mut got = BTreeSet::new();
        let mut buffer = [0; 2000];
        while Instant::now() < until {
            if let Ok(len) = socket.recv(&mut buffer) {
                assert_eq!(buffer[..4], [4, 4, 0, 0]);
                got.insert(buffer[4..len].to_vec());
            }
        }
        got
    });
    let mut in_ip = BTreeSet::new();
    let mut buffer = [0; 2000];
    while Instant::now() < until {
        let received = recvfrom::<LinkAddr>(all.as_raw_fd(), &mut buffer);
        let Ok((len, _)) = received else { continue };
        let packet = &buffer[..len];
        if len > 20 && packet[9] == 4 && packet[12..16] == OUTER[0].octets() {
            in_ip.insert(packet[20..].to_vec());
        }
    }
    [in_ip, datagrams.join().unwrap()]
}

/// What comes in over a link from the far end's inner address.
fn delivered(link: &str, until: Instant) -> BTreeSet<Vec<u8>> {
    let index = nix::net::if_::if_nametoindex(link).unwrap() as usize;
    let all = raw(
        Some(SockProtocol::EthAll),
        AddressFamily::Packet,
        SockType::Datagram,
    );
    let mut got = BTreeSet::new();
    let mut buffer = [0; 2000];
    while Instant::now() < until {
        if let Ok((len, Some(from))) = recvfrom::<LinkAddr>(all.as_raw_fd(), &mut buffer)
            && from.ifindex() == index
            && buffer[12..16] == FAR.octets()
        {
            got.insert(buffer[..len].to_vec());
        }
    }
    got
}

fn way(to: Way) -> Object {
    let key = RouteKey {
        table: 7400,
        dst: "0.0.0.0/0".parse().unwrap(),
        metric: 0,
    };
    Object::Route(Route { key, way: to })
}

#[test]
#[ignore = "needs ESP"]
fn the_same_packets_are_inside_whichever_path_carries_them() {
    in_namespace(|| {
        let peer = Peer::new();
        let link = |name, kind| {
            Object::Link(Link {
                name,
                kind,
                mtu: u32::from(MTU),
            })
        };
        let off = |setting| Object::Sysctl(Sysctl::Link(TUNNEL, setting), "0".into());
        let in_kernel = way(Way::Encapsulated {
            link: TUNNEL,
            encapsulation: Encapsulation {
                src: OUTER[0],
                dst: OUTER[1],
                ttl: 64,
                fragmenting: Fragmenting::Forbidden,
            },
            source: None,
        });
        let mut kernel = Kernel::open();
        kernel.put(vec![
            link(ANCHOR, LinkKind::Tun(Offload::VirtioHeader)),
            link(TUNNEL, LinkKind::IpInIp),
            Object::Address(AddressKey {
                link: ANCHOR,
                address: format!("{HOME}/32").parse().unwrap(),
            }),
            Object::Route(Route {
                key: RouteKey::end_of(7400, Family::V4),
                way: Way::Unreachable,
            }),
            Object::Rule(
                RuleKey::new(Family::V4, 7400, 7400).from(format!("{HOME}/32").parse().unwrap()),
            ),
            in_kernel,
            Object::Decapsulation(Judging::HOME_AGENT),
            Object::DecapsulationEntry(DecapsulationEntry::End(OUTER[0])),
            Object::DecapsulationEntry(DecapsulationEntry::Peer {
                src: OUTER[1],
                dst: OUTER[0],
            }),
            off(LinkSetting::RpFilter),
            off(LinkSetting::AcceptLocal),
        ]);
        let (handle, _heard) = carrier(0);

        let there = packets([HOME, FAR]);
        let listening = peer.start(unwrapped);
        std::thread::sleep(Duration::from_millis(300));
        send_raw(&there);
        std::thread::sleep(Duration::from_millis(300));
        kernel.put(vec![way(Way::Link {
            link: ANCHOR,
            gateway: None,
            source: None,
        })]);
        send_raw(&there);
        let [through_kernel, through_carrier] = listening.recv().unwrap();
        let expected: BTreeSet<_> = there.into_iter().collect();
        assert_eq!(through_kernel, expected);
        assert_eq!(through_carrier, expected, "{:?}", handle.counts());

        let back = packets([FAR, HOME]);
        let until = Instant::now() + Duration::from_secs(3);
        let listening = std::thread::scope(|scope| {
            let both =
                ["xa-ipip", "intranet0"].map(|link| scope.spawn(move || delivered(link, until)));
            std::thread::sleep(Duration::from_millis(300));
            let packets = back.clone();
            peer.run(move || {
                let wrapped = packets
                    .iter()
                    .map(|inner| packet([OUTER[1], OUTER[0]], [0, 64, 4], [9, 0x4000], &[], inner));
                send_raw(&wrapped.collect::<Vec<_>>());
                let socket = UdpSocket::bind((OUTER[1], PORT)).unwrap();
                let to = SocketAddr::from((OUTER[0], PORT));
                for inner in &packets {
                    socket
                        .send_to(&[&[4, 4, 0, 0], &inner[..]].concat(), to)
                        .unwrap();
                }
            });
            both.map(|thread| thread.join().unwrap())
        });
        let expected: BTreeSet<_> = back.into_iter().collect();
        assert_eq!(listening[0], expected);
        assert_eq!(listening[1], expected, "{:?}", handle.counts());
        drop(handle);
        kernel.stop(Stop::Remove);
    });
}
