//! What the kernel should hold for a home agent, and for each of its bindings.
//!
//! ```text
//!  to S   ──→ S/32 encap ip dst CARE-OF src AGENT dev xa-ipip ──→ IP in IP ──→ mobile node
//!  from S ←── xa-ipip ←── let through: (CARE-OF, AGENT, inner source S) ←──── IP in IP
//!  where GRE was agreed on, the same by xa-gre
//!
//!  to S   ──→ S/32 dev xa-udp ──→ carrier, in user space ──→ IP in IP in UDP ──→ NAT ──→ mobile node
//!  from S ←── xa-udp ←── let through: of that end, inner source S ←── IP in IP in UDP
//!
//!  where minimal encapsulation was agreed on, the same without UDP; fragments come and go in IP in IP
//!
//!  to P   ──→ P via ::S dev xa-6in4 ──→ IPv6 in IPv4, to S: as above
//!  from P ←── xa-6in4 ←── let through: out of a tunnel, from S, inner source P ←── IPv6 in IPv4, from S
//! ```
//! The kernel sends one copy of a packet, user space one to each end.

use super::settings::HomeAgentSettings;
use crate::kernel::desired::{
    DecapsulationEntry, Encapsulation, Fragmenting, Judging, Link, LinkKind, LinkName, LinkSetting,
    Object, Offload, ProxyKey, Route, RouteKey, Sysctl, TUNNEL_MTU, Takers, Way, embedded,
    receiver,
};
use crate::mobile_ip::Via;
use crate::mobile_ip::home_agent::effects::{Tunnel, UdpEnds};
use crate::mobile_ip::wire::TunnelKind;
use crate::net::{IpNet, Ipv4Net, Ipv6Net};
use crate::tun::tunnels::{self, Binding, Congestion, Outer, Side};
use std::net::{IpAddr, Ipv4Addr};

/// All tunnels of IP in IP.
pub(super) const TUNNELS: LinkName = LinkName::literal("xa-ipip");
/// All tunnels of GRE.
const GRE_TUNNELS: LinkName = LinkName::literal("xa-gre");
/// All tunnels in UDP: what is routed there, user space sends.
pub(super) const UDP_TUNNELS: LinkName = LinkName::literal("xa-udp");
/// IPv6 of all mobile nodes (RFC 5454), between them and us, within those.
const IPV6_TUNNELS: LinkName = LinkName::literal("xa-6in4");
/// Of outer headers, where the inner ones do not say.
const HOPS: u8 = 64;

/// As long as there is a home agent.
pub(super) fn foundation(settings: &HomeAgentSettings) -> Vec<Object> {
    let agent = settings.protocol.address;
    let of_link =
        |link, setting, value: &str| Object::Sysctl(Sysctl::Link(link, setting), value.to_owned());
    let offers = |kind| settings.protocol.encapsulations.contains(&kind);
    let minimal = offers(TunnelKind::Minimal);
    let mut objects = vec![
        Object::Link(Link {
            name: TUNNELS,
            kind: LinkKind::IpInIp,
            mtu: TUNNEL_MTU,
        }),
        Object::Decapsulation(Judging {
            takers: if minimal {
                Takers::UserSpaceToo
            } else {
                Takers::Kernel
            },
            ..Judging::HOME_AGENT
        }),
        Object::DecapsulationEntry(DecapsulationEntry::End(agent)),
        of_link(TUNNELS, LinkSetting::Forwarding, "1"),
        // What comes out of a tunnel must be from somebody to whom a tunnel leads.
        of_link(TUNNELS, LinkSetting::RpFilter, "1"),
    ];
    // Who is behind a mobile router is judged by the reverse path, which leads into the device that sends.
    let mut nodes = settings.protocol.mobile_nodes.iter();
    if nodes.all(|node| node.networks.is_empty()) {
        objects.extend(receiver::by_home_agent(agent));
        objects.push(of_link(receiver::name(agent), LinkSetting::Forwarding, "1"));
    }
    if offers(TunnelKind::Gre) {
        objects.extend([
            Object::Link(Link {
                name: GRE_TUNNELS,
                kind: LinkKind::Gre,
                mtu: TUNNEL_MTU,
            }),
            Object::DecapsulationEntry(DecapsulationEntry::GreEnd(agent)),
            of_link(GRE_TUNNELS, LinkSetting::Forwarding, "1"),
            of_link(GRE_TUNNELS, LinkSetting::RpFilter, "1"),
        ]);
    }
    if settings.protocol.nat.allowed || minimal {
        objects.extend([
            Object::Link(Link {
                name: UDP_TUNNELS,
                kind: LinkKind::Tun(Offload::VirtioHeader),
                // What is too large for a tunnel in UDP is answered behind it.
                mtu: if minimal {
                    tunnels::MINIMAL_MTU.into()
                } else {
                    tunnels::MTU.into()
                },
            }),
            of_link(UDP_TUNNELS, LinkSetting::Forwarding, "1"),
            of_link(UDP_TUNNELS, LinkSetting::RpFilter, "1"),
        ]);
    }
    objects.extend(ipv6_foundation(settings));
    match settings.link {
        Some(link) => objects.extend([
            // Without it the kernel answers no ARP for who is away.
            of_link(link, LinkSetting::Forwarding, "1"),
            of_link(link, LinkSetting::SendRedirects, "0"),
        ]),
        // Packets for who is away come in by any link. Those for who is registered nowhere must
        // not be sent back to where they came from.
        None => objects.extend([
            of_link(Sysctl::EVERY_LINK, LinkSetting::Forwarding, "1"),
            Object::Route(Route {
                key: RouteKey {
                    table: RouteKey::MAIN,
                    dst: IpNet::V4(settings.protocol.home_network.trunc()),
                    metric: u32::MAX,
                },
                way: Way::Unreachable,
            }),
        ]),
    }
    objects
}

/// Where mobile nodes have prefixes.
fn ipv6_foundation(settings: &HomeAgentSettings) -> Vec<Object> {
    let local = settings.protocol.address;
    let nodes = settings.protocol.mobile_nodes.iter();
    // As for home addresses: what is for who is registered nowhere must not go back to where it came from.
    let ends = nodes.flat_map(|node| &node.networks6).map(|net| {
        Object::Route(Route {
            key: RouteKey {
                table: RouteKey::MAIN,
                dst: IpNet::V6(*net),
                metric: u32::MAX,
            },
            way: Way::Unreachable,
        })
    });
    let mut objects: Vec<_> = ends.collect();
    if !objects.is_empty() {
        objects.extend([
            Object::Link(Link {
                name: IPV6_TUNNELS,
                kind: LinkKind::Ipv6InIp { local },
                mtu: TUNNEL_MTU - 20,
            }),
            Object::DecapsulationEntry(DecapsulationEntry::Ipv6End(local)),
            Object::Sysctl(Sysctl::Ipv6Forwarding, "1".to_owned()),
        ]);
    }
    objects
}

/// What becomes of the tunnels of one mobile node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Carried {
    ends: Ends,
    networks: Vec<Ipv4Net>,
    networks6: Vec<Ipv6Net>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Ends {
    Kernel {
        /// [`TUNNELS`] or [`GRE_TUNNELS`].
        link: LinkName,
        local: Ipv4Addr,
        remote: Ipv4Addr,
        reverse: bool,
    },
    /// All of its bindings.
    UserSpace(Vec<tunnels::Tunnel>),
}

impl Carried {
    /// There are several only where user space carries all.
    pub(super) fn of(tunnels: &[Tunnel]) -> Option<Self> {
        let networks = each_once(tunnels.iter().flat_map(|tunnel| &tunnel.networks));
        let networks6 = each_once(tunnels.iter().flat_map(|tunnel| &tunnel.networks6));
        let of_kernel = |link, tunnel: &Tunnel| Ends::Kernel {
            link,
            local: tunnel.local,
            remote: tunnel.remote,
            reverse: tunnel.reverse,
        };
        let ends = tunnels
            .iter()
            .find_map(|tunnel| match (tunnel.kind, tunnel.udp) {
                (TunnelKind::IpIp, None) => Some(of_kernel(TUNNELS, tunnel)),
                (TunnelKind::Gre, None) => Some(of_kernel(GRE_TUNNELS, tunnel)),
                _ => {
                    let tunnels = tunnels.iter().filter_map(in_user_space);
                    let tunnels: Vec<_> = tunnels.collect();
                    (!tunnels.is_empty()).then_some(Ends::UserSpace(tunnels))
                }
            })?;
        Some(Self {
            ends,
            networks,
            networks6,
        })
    }

    /// What user space has to carry of it.
    pub(super) fn binding(&self, home: Ipv4Addr) -> Option<Binding> {
        let Ends::UserSpace(tunnels) = &self.ends else {
            return None;
        };
        Some(Binding {
            side: Side::HomeAgent,
            home,
            networks: self.networks.clone(),
            tunnels: tunnels.clone(),
            receives: Vec::new(),
        })
    }

    fn way(&self) -> Way {
        match self.ends {
            Ends::Kernel {
                link,
                local,
                remote,
                ..
            } => Way::Encapsulated {
                link,
                encapsulation: Encapsulation {
                    src: local,
                    dst: remote,
                    ttl: if link == GRE_TUNNELS { HOPS } else { 0 },
                    fragmenting: Fragmenting::Allowed,
                },
                source: None,
            },
            Ends::UserSpace(_) => Way::Link {
                link: UDP_TUNNELS,
                gateway: None,
                source: None,
            },
        }
    }

    /// Entries name one inner source each. Those behind a mobile router are judged by the reverse path:
    /// it must lead into a tunnel. Beside minimal encapsulation, user space judges fragments.
    pub(super) fn admission(&self, home: Ipv4Addr) -> Vec<DecapsulationEntry> {
        match &self.ends {
            Ends::Kernel { reverse: false, .. } => Vec::new(),
            &Ends::Kernel {
                local: dst,
                remote: src,
                ..
            } => vec![if self.networks.is_empty() {
                let inner = home;
                DecapsulationEntry::Binding { src, dst, inner }
            } else {
                DecapsulationEntry::Peer { src, dst }
            }],
            Ends::UserSpace(tunnels) => tunnels
                .iter()
                .filter(|tunnel| tunnel.reverse)
                .filter_map(|tunnel| match tunnel.outer {
                    Outer::Minimal { local, remote } => Some(DecapsulationEntry::UserSpace {
                        src: remote,
                        dst: local,
                    }),
                    Outer::Udp { .. } => None,
                })
                .collect(),
        }
    }
}

fn each_once<'a, T: Copy + PartialEq + 'a>(all: impl Iterator<Item = &'a T>) -> Vec<T> {
    let mut seen = Vec::new();
    for one in all {
        if !seen.contains(one) {
            seen.push(*one);
        }
    }
    seen
}

/// `None` for what the kernel carries, or nobody.
fn in_user_space(tunnel: &Tunnel) -> Option<tunnels::Tunnel> {
    let (outer, mtu) = match (tunnel.kind, tunnel.udp) {
        (TunnelKind::IpIp, Some(UdpEnds { local, remote })) => {
            (Outer::Udp { local, remote }, tunnels::MTU)
        }
        (TunnelKind::Minimal, None) => {
            let (local, remote) = (tunnel.local, tunnel.remote);
            (Outer::Minimal { local, remote }, tunnels::MINIMAL_MTU)
        }
        _ => return None,
    };
    Some(tunnels::Tunnel {
        // Requests are heard by that socket only.
        via: Via::Routed,
        outer,
        mtu,
        reverse: tunnel.reverse,
        congestion: Congestion::Normal,
    })
}

/// Of one mobile node.
pub(super) fn of_binding(home: Ipv4Addr, carried: &Carried) -> Vec<Object> {
    let way = carried.way();
    let mut objects = vec![Object::Route(Route {
        key: RouteKey::to_host(RouteKey::MAIN, home),
        way,
    })];
    objects.extend(carried.networks.iter().map(|net| {
        Object::Route(Route {
            key: RouteKey {
                table: RouteKey::MAIN,
                dst: IpNet::V4(net.trunc()),
                metric: u32::from(net.network()).max(1),
            },
            way,
        })
    }));
    for net in &carried.networks6 {
        objects.push(Object::Route(Route {
            key: RouteKey {
                table: RouteKey::MAIN,
                dst: IpNet::V6(*net),
                metric: 0,
            },
            way: Way::Link {
                link: IPV6_TUNNELS,
                gateway: Some(embedded(home)),
                source: None,
            },
        }));
        let entry = DecapsulationEntry::Ipv6Prefix { home, prefix: *net };
        objects.push(Object::DecapsulationEntry(entry));
    }
    let admission = carried.admission(home).into_iter();
    objects.extend(admission.map(Object::DecapsulationEntry));
    objects
}

/// While the mobile node is away from a physical home network.
pub(super) fn standing_in(home: Ipv4Addr, link: LinkName) -> ProxyKey {
    ProxyKey {
        link,
        address: IpAddr::V4(home),
    }
}
