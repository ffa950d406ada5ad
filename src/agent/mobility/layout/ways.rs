//! The way of one home address: its route, and what is below that.

use super::{
    GRE_TUNNELS, HOPS, Layout, NESTED, NESTED_MINIMAL_MTU, NESTED_UDP_MTU, Slot, TUNNELS,
    VpnAdapter, VpnEnd,
};
use crate::kernel::desired::{
    Encapsulation as OuterHeader, Fragmenting, LinkSetting, Object, RouteKey, Sysctl, Way,
};
use crate::mobile_ip::{Encapsulation, LinkId, Path, Through, Via};
use crate::net::{IpNet, Ipv4Net, host};
use crate::tun::tunnels::{self, Binding, Congestion, Outer, Side, Tunnel};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

/// Where a way leads from one of our addresses.
struct Below {
    /// X.
    local: Ipv4Addr,
    home_agent: Ipv4Addr,
    link: LinkId,
    gateway: Option<Ipv4Addr>,
}

impl Layout<'_> {
    pub(super) fn carry(&mut self, home: Ipv4Addr, path: &Path, slot: Slot) {
        let is_inner = home == self.settings.dual.inner.home;
        match *path {
            Path::Blocked => {}
            // Those are ways of S: T within itself, or within the VPN that it carries, leads nowhere.
            Path::Tunnel {
                through: Through::Vpn | Through::OuterHome,
                ..
            } if !is_inner => {}
            Path::Native { link, gateway } => match gateway {
                Some(agent) if self.is_agent(home, link, agent) => {
                    self.over_agent(slot, (link, agent));
                }
                _ => {
                    let agent = self.home_agent(home);
                    self.native(slot, (link, gateway));
                    self.receive(agent, link);
                }
            },
            Path::Tunnel {
                local,
                remote,
                encapsulation:
                    Encapsulation::Udp {
                        local_port,
                        remote_port,
                        ..
                    },
                through,
                ..
            } => {
                let local = SocketAddrV4::new(local, local_port);
                let remote = SocketAddrV4::new(remote, remote_port);
                let outer = Outer::Udp { local, remote };
                self.carry_in_user_space(home, outer, (through, true), slot);
            }
            Path::Tunnel {
                local,
                remote,
                encapsulation: Encapsulation::Minimal,
                through,
                reverse,
            } => {
                let outer = Outer::Minimal { local, remote };
                self.carry_in_user_space(home, outer, (through, reverse), slot);
            }
            Path::Tunnel {
                local,
                remote,
                encapsulation: encapsulation @ (Encapsulation::IpIp | Encapsulation::Gre),
                through,
                reverse,
            } => {
                match through {
                    Through::Link { link, gateway } => {
                        if self.adapter(link).is_none() {
                            return;
                        }
                        self.receive(remote, link);
                        if !reverse {
                            return self.native(slot, (link, gateway));
                        }
                        let below = Below {
                            local,
                            home_agent: remote,
                            link,
                            gateway,
                        };
                        self.below(slot, &below);
                    }
                    // Without an adapter of the VPN it would have to be UDP.
                    Through::Vpn if !self.is_v(local) => return,
                    Through::Vpn | Through::OuterHome => {
                        self.open(remote, local);
                        self.nested(encapsulation, local, remote);
                        let way = Way::Link {
                            link: NESTED,
                            gateway: None,
                            source: slot.source.map(IpAddr::V4),
                        };
                        return self.default_route(slot, way);
                    }
                }
                let link = match encapsulation {
                    Encapsulation::Gre => GRE_TUNNELS,
                    _ => TUNNELS,
                };
                let way = Way::Encapsulated {
                    link,
                    encapsulation: OuterHeader {
                        src: local,
                        dst: remote,
                        ttl: HOPS,
                        fragmenting: Fragmenting::Forbidden,
                    },
                    source: slot.source.map(IpAddr::V4),
                };
                self.default_route(slot, way);
            }
        }
    }

    /// What is sent leads into the adapter that holds the address, and what comes is written there.
    fn carry_in_user_space(
        &mut self,
        home: Ipv4Addr,
        outer: Outer,
        (through, reverse): (Through, bool),
        slot: Slot,
    ) {
        let dual = &self.settings.dual;
        let names = &self.settings.adapters;
        let (adapter, networks) = if home == dual.inner.home {
            (names.intranet, dual.mobile_networks.clone())
        } else {
            (names.mobility, Vec::new())
        };
        let (local, home_agent) = (outer.local(), outer.remote());
        let is_in_udp = matches!(outer, Outer::Udp { .. });
        let via = match through {
            Through::Link { link, gateway } => {
                if self.adapter(link).is_none() {
                    return;
                }
                if reverse {
                    let below = Below {
                        local,
                        home_agent,
                        link,
                        gateway,
                    };
                    self.below(slot, &below);
                } else {
                    self.native(slot, (link, gateway));
                    // What comes out of it has a source that is routed elsewhere.
                    let loose = Sysctl::Link(adapter, LinkSetting::RpFilter);
                    self.want(Object::Sysctl(loose, "2".to_owned()));
                }
                if !is_in_udp {
                    // Fragments, which come in IP in IP.
                    self.receive(home_agent, link);
                }
                Via::Link(link)
            }
            Through::Vpn if is_in_udp && !self.is_protected(local) => return,
            // As in the kernel's tunnels.
            Through::Vpn if !is_in_udp && !self.is_v(local) => return,
            Through::Vpn | Through::OuterHome => {
                if !is_in_udp {
                    self.open(home_agent, local);
                }
                Via::Routed
            }
        };
        if reverse || !matches!(through, Through::Link { .. }) {
            let way = Way::Link {
                link: adapter,
                gateway: None,
                source: slot.source.map(IpAddr::V4),
            };
            self.default_route(slot, way);
        }
        let binding = Binding {
            side: Side::MobileNode,
            home,
            networks,
            tunnels: vec![Tunnel {
                via,
                outer,
                mtu: match (through, outer) {
                    (Through::Vpn, Outer::Udp { .. }) => NESTED_UDP_MTU,
                    (Through::Vpn, Outer::Minimal { .. }) => NESTED_MINIMAL_MTU,
                    (_, Outer::Udp { .. }) => tunnels::MTU,
                    (_, Outer::Minimal { .. }) => tunnels::MINIMAL_MTU,
                },
                reverse: true,
                congestion: Congestion::Normal,
            }],
            receives: Vec::new(),
        };
        self.carried.insert(home, (adapter, binding));
    }

    /// Whether the VPN takes what comes from there.
    fn is_protected(&self, local: Ipv4Addr) -> bool {
        self.around.vpn.is_some_and(|vpn| vpn.address == local)
    }

    pub(super) fn is_v(&self, local: Ipv4Addr) -> bool {
        let has_adapter = |vpn: VpnEnd| vpn.adapter != VpnAdapter::None;
        self.is_protected(local) && self.around.vpn.is_some_and(has_adapter)
    }

    fn home_agent(&self, home: Ipv4Addr) -> Ipv4Addr {
        let dual = &self.settings.dual;
        let mut outer = dual.outer_systems();
        let outer = outer.find(|system| system.home == home);
        outer.unwrap_or(&dual.inner).home_agent
    }

    /// Rather than the router of a home network.
    fn is_agent(&self, home: Ipv4Addr, link: LinkId, address: Ipv4Addr) -> bool {
        let mut agents = self.around.agents.iter();
        agents.any(|agent| (agent.home, agent.link, agent.address) == (home, link, address))
    }

    /// Through a foreign agent: everything, since neighbours would have to be asked for their MAC with an
    /// address of elsewhere (RFC 5944 §4.2.1).
    fn over_agent(&mut self, slot: Slot, (link, agent): (LinkId, Ipv4Addr)) {
        let Some(name) = self.adapter(link).map(|adapter| adapter.name) else {
            return;
        };
        self.way_to_agent(slot.table, name, agent);
        let way = Way::Link {
            link: name,
            gateway: Some(agent.into()),
            source: slot.source.map(IpAddr::V4),
        };
        self.default_route(slot, way);
    }

    /// In the clear over an adapter: neighbours directly, others through its gateway.
    fn native(&mut self, slot: Slot, (link, gateway): (LinkId, Option<Ipv4Addr>)) {
        let Some(adapter) = self.adapter(link) else {
            return;
        };
        let (name, networks) = (adapter.name, adapter.addresses.clone());
        let source = slot.source.map(IpAddr::V4);
        for network in networks {
            let key = RouteKey {
                table: slot.table,
                dst: IpNet::V4(network.trunc()),
                metric: 0,
            };
            let way = Way::Link {
                link: name,
                gateway: None,
                source,
            };
            self.route(key, way);
        }
        let way = Way::Link {
            link: name,
            gateway: gateway.map(IpAddr::V4),
            source,
        };
        self.default_route(slot, way);
    }

    /// What the home agent sends to our addresses on an adapter.
    fn receive(&mut self, home_agent: Ipv4Addr, link: LinkId) {
        let Some(adapter) = self.adapter(link) else {
            return;
        };
        let addresses = adapter.addresses.clone();
        for address in addresses {
            self.open(home_agent, address.addr());
        }
    }

    /// With several adapters up, the main table may lead from X over another one.
    fn below(&mut self, slot: Slot, below: &Below) {
        let Some(adapter) = self.adapter(below.link) else {
            return;
        };
        let name = adapter.name;
        let is_neighbour = |net: &Ipv4Net| net.contains(&below.home_agent);
        let gateway = if adapter.addresses.iter().any(is_neighbour) {
            None
        } else {
            below.gateway.map(IpAddr::V4)
        };
        let (table, agent) = (
            self.settings.tables.below(slot.system, slot.turn.parity()),
            host(below.home_agent.into()),
        );
        let key = RouteKey {
            table,
            dst: agent,
            metric: 0,
        };
        let way = Way::Link {
            link: name,
            gateway,
            source: None,
        };
        self.route(key, way);
        self.rule(1, table, Some(host(below.local.into())), Some(agent));
    }
}
