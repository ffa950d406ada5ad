//! What the kernel should hold for a proxy agent, and for each mobile node that it stands for.
//!
//! ```text
//!  mobile node ─→ IP in IP ─→ let through: (CARE-OF, OUTER, from S) ─→ xa-ipip ─╮
//!              ─→ in GRE ──→ the same ──────────────────────────────→ xa-gre ──┤
//!              ─→ in UDP ──→ carrier, in user space ───────────────→ xa-udp ──┤
//!  home agent ──→ IP in IP ─→ let through: (HOME AGENT, INNER, to S) ─→ xa-ipip ─┤
//!                                                                             ↓
//!                                    one table: S/32 ──→ encap ip dst CARE-OF, or dev xa-udp
//!                                               others → encap ip dst HOME AGENT
//! ```
//! Nothing but what comes out of a tunnel looks that table up, so what others send to S goes to its home network.
//! Packets between two mobile nodes outside go from one tunnel into the other.

use super::settings::ProxyAgentSettings;
use crate::kernel::desired::{
    DecapsulationEntry, Encapsulation, Fragmenting, Judging, Link, LinkKind, LinkName, LinkSetting,
    Object, Offload, Route, RouteKey, RuleKey, Sysctl, TUNNEL_MTU, Way, receiver,
};
use crate::mobile_ip::Via;
use crate::mobile_ip::proxy_agent::{End, Stitch};
use crate::mobile_ip::wire::TunnelKind;
use crate::net::Family;
use crate::tun::tunnels::{self, Binding, Congestion, Outer, Side};
use std::net::{Ipv4Addr, SocketAddrV4};

/// All tunnels of IP in IP.
const TUNNELS: LinkName = LinkName::literal("xa-ipip");
/// All tunnels of GRE: mobile nodes have them, and the home agent has none.
const GRE_TUNNELS: LinkName = LinkName::literal("xa-gre");
/// All tunnels in UDP: what is routed there, user space sends.
pub(super) const UDP_TUNNELS: LinkName = LinkName::literal("xa-udp");
/// RFC 5944 §1.8, RFC 3519 §3.2: of registrations, and of tunnels in UDP.
const PORT: u16 = 434;
/// Of outer headers of GRE; those of IP in IP have what the inner ones say.
const HOPS: u8 = 64;

/// As long as there is a proxy agent.
pub(super) fn foundation(settings: &ProxyAgentSettings) -> Vec<Object> {
    let protocol = &settings.protocol;
    let table = settings.tables.table;
    let offers_gre = protocol.encapsulations.contains(&TunnelKind::Gre);
    let mut objects = vec![
        Object::Link(Link {
            name: TUNNELS,
            kind: LinkKind::IpInIp,
            mtu: TUNNEL_MTU,
        }),
        Object::Link(Link {
            name: UDP_TUNNELS,
            kind: LinkKind::Tun(Offload::VirtioHeader),
            mtu: tunnels::MTU.into(),
        }),
        Object::Decapsulation(Judging::HOME_AGENT),
        Object::Route(Route {
            key: RouteKey {
                table,
                dst: Family::V4.any(),
                metric: 0,
            },
            way: into(TUNNELS, protocol.inner, protocol.home_agent),
        }),
        Object::Route(Route {
            key: RouteKey::end_of(table, Family::V4),
            way: Way::Unreachable,
        }),
    ];
    let gre = offers_gre.then_some(GRE_TUNNELS);
    if let Some(name) = gre {
        objects.extend([
            Object::Link(Link {
                name,
                kind: LinkKind::Gre,
                mtu: TUNNEL_MTU,
            }),
            Object::DecapsulationEntry(DecapsulationEntry::GreEnd(protocol.outer)),
        ]);
    }
    for link in [TUNNELS, UDP_TUNNELS].into_iter().chain(gre) {
        let setting =
            |setting, value: &str| Object::Sysctl(Sysctl::Link(link, setting), value.to_owned());
        objects.extend([
            setting(LinkSetting::Forwarding, "1"),
            Object::Rule(RuleKey {
                iif: Some(link),
                ..RuleKey::new(Family::V4, settings.tables.rule_priority, table)
            }),
        ]);
        // What comes out of a tunnel is from anybody; who may use which tunnel is judged before.
        objects.extend(receiver::loose(link));
    }
    let mut ends = vec![protocol.outer, protocol.inner];
    ends.dedup();
    let ends = ends.into_iter().map(DecapsulationEntry::End);
    objects.extend(ends.map(Object::DecapsulationEntry));
    objects
}

/// Of one mobile node.
pub(super) fn of_stitch(settings: &ProxyAgentSettings, stitch: &Stitch) -> Vec<Object> {
    let inner = stitch.home;
    let way = match stitch.outer_remote {
        End::IpIp(care_of) => into(TUNNELS, stitch.outer_local, care_of),
        End::Gre(care_of) => into(GRE_TUNNELS, stitch.outer_local, care_of),
        End::Udp(_) => Way::Link {
            link: UDP_TUNNELS,
            gateway: None,
            source: None,
        },
    };
    let from_home_agent = DecapsulationEntry::Visitor {
        src: stitch.inner_remote,
        dst: stitch.inner_local,
        inner,
    };
    let mut objects = vec![
        Object::Route(Route {
            key: RouteKey::to_host(settings.tables.table, inner),
            way,
        }),
        Object::DecapsulationEntry(from_home_agent),
    ];
    if let (End::IpIp(src) | End::Gre(src), true) = (stitch.outer_remote, stitch.reverse) {
        let dst = stitch.outer_local;
        let entry = DecapsulationEntry::Binding { src, dst, inner };
        objects.push(Object::DecapsulationEntry(entry));
    }
    objects
}

/// What user space has to carry of it.
pub(super) fn carried(stitch: &Stitch) -> Option<Binding> {
    let End::Udp(remote) = stitch.outer_remote else {
        return None;
    };
    Some(Binding {
        side: Side::HomeAgent,
        home: stitch.home,
        networks: Vec::new(),
        tunnels: vec![tunnels::Tunnel {
            via: Via::Routed,
            outer: Outer::Udp {
                local: SocketAddrV4::new(stitch.outer_local, PORT),
                remote,
            },
            mtu: tunnels::MTU,
            reverse: stitch.reverse,
            congestion: Congestion::Normal,
        }],
        receives: Vec::new(),
    })
}

fn into(link: LinkName, src: Ipv4Addr, dst: Ipv4Addr) -> Way {
    Way::Encapsulated {
        link,
        encapsulation: Encapsulation {
            src,
            dst,
            ttl: if link == GRE_TUNNELS { HOPS } else { 0 },
            fragmenting: Fragmenting::Allowed,
        },
        source: None,
    }
}
