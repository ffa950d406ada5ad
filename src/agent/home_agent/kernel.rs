//! What the kernel should hold for a home agent, and for each of its bindings.
//!
//! ```text
//!  to S   ──→ S/32 encap ip dst CARE-OF src AGENT dev xa-ipip ──→ IP in IP ──→ mobile node
//!  from S ←── xa-ipip ←── let through: (CARE-OF, AGENT, inner source S) ←──── IP in IP
//! ```

use super::settings::HomeAgentSettings;
use crate::kernel::desired::{
    DecapsulationEntry, Encapsulation, Fragmenting, Link, LinkKind, LinkName, LinkSetting, Object,
    ProxyKey, Route, RouteKey, Sysctl, Way,
};
use crate::mobile_ip::home_agent::effects::Tunnel;
use crate::mobile_ip::wire::TunnelKind;
use crate::net::{IpNet, Ipv4Net};
use std::net::{IpAddr, Ipv4Addr};

/// All tunnels of IP in IP.
pub(super) const TUNNELS: LinkName = LinkName::literal("xa-ipip");
/// Ethernet's, less the outer header.
const MTU: u32 = 1480;
/// The main table.
const TABLE: u32 = 254;

/// As long as there is a home agent.
pub(super) fn foundation(settings: &HomeAgentSettings) -> Vec<Object> {
    let agent = settings.protocol.address;
    let of_link =
        |link, setting, value: &str| Object::Sysctl(Sysctl::Link(link, setting), value.to_owned());
    let mut objects = vec![
        Object::Link(Link {
            name: TUNNELS,
            kind: LinkKind::IpInIp,
            mtu: MTU,
        }),
        Object::Decapsulation,
        Object::DecapsulationEntry(DecapsulationEntry::End(agent)),
        of_link(TUNNELS, LinkSetting::Forwarding, "1"),
        // What comes out of a tunnel must be from somebody to whom a tunnel leads.
        of_link(TUNNELS, LinkSetting::RpFilter, "1"),
    ];
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
                    table: TABLE,
                    dst: IpNet::V4(settings.protocol.home_network.trunc()),
                    metric: u32::MAX,
                },
                way: Way::Unreachable,
            }),
        ]),
    }
    objects
}

/// What the kernel makes of the tunnels of one mobile node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Carried {
    local: Ipv4Addr,
    remote: Ipv4Addr,
    reverse: bool,
    networks: Vec<Ipv4Net>,
}

impl Carried {
    /// The kernel sends one copy: no more than one binding is offered, and no other encapsulation.
    pub(super) fn of(tunnels: &[Tunnel]) -> Option<Self> {
        let carried = |tunnel: &&Tunnel| tunnel.kind == TunnelKind::IpIp && tunnel.udp.is_none();
        tunnels.iter().find(carried).map(|tunnel| Self {
            local: tunnel.local,
            remote: tunnel.remote,
            reverse: tunnel.reverse,
            networks: tunnel.networks.clone(),
        })
    }
}

/// Of one mobile node.
pub(super) fn of_binding(home: Ipv4Addr, tunnel: &Carried) -> Vec<Object> {
    let way = Way::Encapsulated {
        link: TUNNELS,
        encapsulation: Encapsulation {
            src: tunnel.local,
            dst: tunnel.remote,
            ttl: 0,
            fragmenting: Fragmenting::Allowed,
        },
        source: None,
    };
    let mut objects = vec![Object::Route(Route {
        key: RouteKey::to_host(TABLE, home),
        way,
    })];
    objects.extend(tunnel.networks.iter().map(|net| {
        Object::Route(Route {
            key: RouteKey {
                table: TABLE,
                dst: IpNet::V4(net.trunc()),
                metric: u32::from(net.network()).max(1),
            },
            way,
        })
    }));
    if tunnel.reverse {
        let (src, dst) = (tunnel.remote, tunnel.local);
        // Entries name one inner source each. Those behind a mobile router are judged by the
        // reverse path: it must lead into a tunnel.
        objects.push(Object::DecapsulationEntry(if tunnel.networks.is_empty() {
            let inner = home;
            DecapsulationEntry::Binding { src, dst, inner }
        } else {
            DecapsulationEntry::Peer { src, dst }
        }));
    }
    objects
}

/// While the mobile node is away from a physical home network.
pub(super) fn standing_in(home: Ipv4Addr, link: LinkName) -> ProxyKey {
    ProxyKey {
        link,
        address: IpAddr::V4(home),
    }
}
