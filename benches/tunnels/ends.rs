//! What is at either end of a tunnel.

use super::host::ip;
use super::{INNER, Kind, OUTER, TUNNEL, WIRE, WIRE_NETWORK};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
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

/// Each has a packet of 1500 octets as its outer one.
const MTU_USERSPACE: u16 = 1468;
const MTU_VXLAN: u16 = 1450;
const MTU_IN_IP: u16 = 1480;
const ADAPTER: AdapterId = AdapterId(0);
const BINDINGS: u32 = 100_000;

/// What has to stay for as long as the tunnel is used; dropped in the namespace that it belongs to.
pub enum End {
    Kernel,
    Carrier(#[expect(dead_code, reason = "kept")] Handle),
    Writer(
        #[expect(dead_code, reason = "kept")]
        (Writer, UnboundedReceiver<Report>, tempfile::TempDir),
    ),
}

impl End {
    pub fn set_up(kind: Kind, at: usize) -> Self {
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
