//! From what the dual client wants to objects of the kernel: a pure function.
//!
//! ```text
//!  adapter     address   rule                         table
//!  intranet0   S/32      from S                       its way, then unreachable
//!                        from nobody yet to DESTINATION      "
//!  mobility0   T/32      from T                       its way, then unreachable
//!  vpn0        V/32      from V                       dev vpn0, then unreachable
//!  (theirs)    V         from V                       dev of the VPN's interface, then unreachable
//!  (physical)  X         from X to the home agent     the gateway of the adapter that X is of
//! ```
//!
//! IPv6 of networks behind us is in [`prefixes`].
//!
//! A tunnel in UDP or minimal encapsulation is not the kernel's: the way of its address leads into the address's own adapter, and from
//! there user space carries it.
//!
//! A packet that has no source yet and goes to the intranet takes S: the rule matches only those, so
//! requests that leave from X on purpose, and whoever binds to X, keep the main table, which stays the
//! DHCP client's.

mod prefixes;
mod ways;

use super::receiving::Receiver;
use super::settings::MobilitySettings;
use super::turns::{Turn, Turns};
use crate::kernel::adapters::Adapter;
use crate::kernel::desired::{
    AddressKey, DecapsulationEntry, GRE_HEADER, GRE_TUNNEL_MTU, Judging, Key, Link, LinkKind,
    LinkName, Neighbour, NeighbourKey, Object, Offload, Route, RouteKey, RuleKey, TUNNEL_MTU, Way,
    receiver,
};
use crate::mobile_ip::wire::TunnelKind;
use crate::mobile_ip::{Arrangement, Carriage, Encapsulation, LinkId, Path, Place, Via};
use crate::net::{Family, IpNet, Ipv4Net, Selector, host};
use crate::tun::tunnels::{self, Binding, Outer, Tunnel};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// One in each network namespace.
pub const TUNNELS: LinkName = LinkName::literal("xa-ipip");
/// The same for GRE, where a system is to have it.
pub const GRE_TUNNELS: LinkName = LinkName::literal("xa-gre");
/// The tunnel of S within that of T.
pub const NESTED: LinkName = LinkName::literal("xa-nested");

/// Of adapters that hold an address: what goes into one leaves in UDP, but for [`anchor_mtu`].
const ANCHOR_MTU: u32 = tunnels::MTU as u32;
/// What is left in a tunnel of T in UDP after the VPN's ESP (AES-GCM, padded to four).
const VPN_MTU: u16 = (tunnels::MTU - 20 - 16 - 16) / 4 * 4 - 2;
/// And after the headers of the tunnel in it, those of GRE as in [`TUNNEL_MTU`]. Known, it need not be found out
/// one level after the other, with a packet lost at each.
const NESTED_MTU: u32 = (VPN_MTU - 20 - GRE_HEADER) as u32;
/// The same where that tunnel is in UDP, since the VPN has no adapter.
const NESTED_UDP_MTU: u16 = VPN_MTU - (1500 - tunnels::MTU);
/// And in minimal encapsulation.
const NESTED_MINIMAL_MTU: u16 = VPN_MTU - (1500 - tunnels::MINIMAL_MTU);
const HOPS: u8 = 64;

/// What the arrangement does not say of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    pub adapters: &'a [Adapter],
    /// As long as the VPN is wanted.
    pub vpn: Option<VpnEnd>,
    /// Whom we ask from a home address, on the link itself.
    pub agents: &'a [Agent],
    /// Where home agents send besides what the arrangement says.
    pub receivers: &'a [Receiver],
    /// Which of its ways each home address has.
    pub turns: &'a Turns,
    /// No other role of this machine takes packets out of tunnels.
    pub is_alone: bool,
}

/// A foreign agent as the way to it has to be known before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agent {
    /// The home address that it is asked from.
    pub home: Ipv4Addr,
    pub link: LinkId,
    pub address: Ipv4Addr,
    /// As it advertised itself, since nobody may ask for it (RFC 5944 §4.6).
    pub mac: Option<[u8; 6]>,
}

/// The VPN protects what comes from this address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VpnEnd {
    pub address: Ipv4Addr,
    pub adapter: VpnAdapter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VpnAdapter {
    /// The address is V, and we hold it.
    Ours,
    /// It is V, on the interface of other software.
    Theirs(LinkName),
    /// The address is T, or X where there is no outer system.
    None,
}

/// Everything that should be there; an object a key.
pub type Objects = BTreeMap<Key, Object>;

/// What user space should carry, by home address, and the adapter that it is read from.
pub type Carried = BTreeMap<Ipv4Addr, (LinkName, Binding)>;

pub fn lay_out(
    settings: &MobilitySettings,
    arrangement: &Arrangement,
    around: Around<'_>,
) -> (Objects, Carried) {
    let mut layout = Layout {
        settings,
        around,
        objects: Objects::new(),
        carried: Carried::new(),
    };
    layout.tunnels();
    layout.vpn();
    layout.intranet(arrangement);
    layout.prefixes();
    layout.mobility(arrangement);
    layout.agents();
    layout.receivers();
    (layout.objects, layout.carried)
}

struct Layout<'a> {
    settings: &'a MobilitySettings,
    around: Around<'a>,
    objects: Objects,
    carried: Carried,
}

/// Where the way of a home address is laid.
#[derive(Clone, Copy)]
struct Slot {
    table: u32,
    /// The inner one is 0, those of sites count from 1.
    system: u32,
    turn: Turn,
    /// For who has chosen none.
    source: Option<Ipv4Addr>,
}

impl Layout<'_> {
    fn want(&mut self, object: Object) {
        self.objects.insert(object.key(), object);
    }

    // --- tables and rules -------------------------------------------------------------------------

    fn rule(&mut self, order: u32, table: u32, from: Option<IpNet>, to: Option<IpNet>) {
        let priority = self.settings.tables.rule_priority + order;
        self.want(Object::Rule(RuleKey {
            from,
            to,
            ..RuleKey::new(Family::V4, priority, table)
        }));
    }

    /// Before a rule leads to it, a table ends.
    fn end(&mut self, table: u32) {
        self.route(RouteKey::end_of(table, Family::V4), Way::Unreachable);
    }

    fn route(&mut self, key: RouteKey, way: Way) {
        self.want(Object::Route(Route { key, way }));
    }

    fn default_route(&mut self, slot: Slot, way: Way) {
        let key = RouteKey {
            table: slot.table,
            dst: Family::V4.any(),
            metric: slot.turn.metric(),
        };
        self.route(key, way);
    }

    // --- adapters ---------------------------------------------------------------------------------

    fn anchor(&mut self, name: LinkName, address: Ipv4Addr, mtu: u32) {
        self.want(Object::Link(Link {
            name,
            kind: LinkKind::Tun(Offload::None),
            mtu,
        }));
        self.want(Object::Address(AddressKey {
            link: name,
            address: host(address.into()),
        }));
    }

    fn tunnels(&mut self) {
        self.tunnel(TUNNELS, LinkKind::IpInIp);
        let inner = self.settings.dual.inner.home_agent;
        let outer = self.settings.dual.outer_systems();
        for agent in outer.map(|outer| outer.home_agent).chain([inner]) {
            for object in receiver::from_home_agent(agent) {
                self.want(object);
            }
        }
        if self.settings.wants(TunnelKind::Gre) {
            self.tunnel(GRE_TUNNELS, LinkKind::Gre);
        }
        if self.is_judged() {
            self.judge();
        } else {
            for object in receiver::of_strangers() {
                self.want(object);
            }
        }
    }

    /// What comes from whom is told by devices, which costs nothing, where there is nothing but IP in IP, and nobody else
    /// here whose tunnels end in [`TUNNELS`].
    fn is_judged(&self) -> bool {
        self.settings.wants(TunnelKind::Gre) || !self.around.is_alone
    }

    fn judge(&mut self) {
        let gre = self.settings.wants(TunnelKind::Gre);
        self.want(Object::Decapsulation(Judging::MOBILE_NODE));
        let homes = self.settings.dual.outer_systems().map(|outer| outer.home);
        let physical = self.around.adapters.iter().flat_map(|a| &a.addresses);
        let ends: Vec<Ipv4Addr> = homes
            .chain([self.settings.dual.inner.home])
            .chain(physical.map(Ipv4Net::addr))
            .chain(self.around.vpn.map(|vpn| vpn.address))
            .collect();
        for end in ends.into_iter().filter(|end| !end.is_unspecified()) {
            self.want(Object::DecapsulationEntry(DecapsulationEntry::End(end)));
            if gre {
                self.want(Object::DecapsulationEntry(DecapsulationEntry::GreEnd(end)));
            }
        }
    }

    fn tunnel(&mut self, name: LinkName, kind: LinkKind) {
        let mtu = match kind {
            LinkKind::IpInIpBetween { .. } | LinkKind::GreBetween { .. } => NESTED_MTU,
            // What is less on the way is found out (RFC 1191): the outer header forbids fragments.
            LinkKind::Gre => GRE_TUNNEL_MTU,
            _ => TUNNEL_MTU,
        };
        self.want(Object::Link(Link { name, kind, mtu }));
        // What comes out of a tunnel has a source that may be routed elsewhere.
        for object in receiver::loose(name) {
            self.want(object);
        }
    }

    /// What `from` sends to `to` is taken out of its tunnel.
    fn open(&mut self, from: Ipv4Addr, to: Ipv4Addr) {
        if !self.is_judged() {
            return;
        }
        let entry = DecapsulationEntry::Peer { src: from, dst: to };
        self.want(Object::DecapsulationEntry(entry));
    }

    /// As long as their addresses are there.
    fn receivers(&mut self) {
        for receiver in self.around.receivers {
            let Receiver {
                home,
                home_agent,
                local,
                link,
            } = *receiver;
            let holds = |adapter: &Adapter| adapter.addresses.iter().any(|net| net.addr() == local);
            let is_there = match link {
                Some(link) => self.adapter(link).is_some_and(holds),
                None => self.is_v(local),
            };
            if !is_there {
                continue;
            }
            self.open(home_agent, local);
            let wants_minimal = self.settings.wants(TunnelKind::Minimal);
            let (Some(link), Some((_, binding))) = (link, self.carried.get_mut(&home)) else {
                continue;
            };
            let Some(tunnel) = binding.tunnels.first().cloned() else {
                continue;
            };
            // Behind a NAT it is in UDP, before and after it perhaps not.
            let alike = tunnel.outer.from(local);
            let minimal = Outer::Minimal {
                local,
                remote: home_agent,
            };
            let both = [Some(alike), wants_minimal.then_some(minimal)];
            let outers = both.into_iter().flatten();
            binding.receives.extend(outers.map(|outer| Tunnel {
                via: Via::Link(link),
                outer,
                ..tunnel.clone()
            }));
        }
    }

    fn adapter(&self, link: LinkId) -> Option<&Adapter> {
        let mut adapters = self.around.adapters.iter();
        adapters.find(|adapter| adapter.index == link.0)
    }

    // --- S ----------------------------------------------------------------------------------------

    fn intranet(&mut self, arrangement: &Arrangement) {
        let settings = self.settings;
        let (home, table) = (settings.dual.inner.home, settings.tables.intranet());
        self.end(table);
        // Before it is given, what would take it goes nowhere.
        if !home.is_unspecified() {
            let mtu = self.intranet_mtu(&arrangement.inner.path);
            self.anchor(settings.adapters.intranet, home, mtu);
            self.rule(1, table, Some(host(home.into())), None);
        }
        for network in &settings.dual.mobile_networks {
            let network = IpNet::V4(*network);
            self.rule(0, RouteKey::MAIN, None, Some(network));
            self.rule(1, table, Some(network), None);
        }
        self.registering_at_home(home);
        let nobody = host(Ipv4Addr::UNSPECIFIED.into());
        for destination in settings.destinations() {
            self.rule(2, table, Some(nobody), Some(IpNet::V4(destination)));
        }
        if arrangement.inner.home != home {
            return;
        }
        for (path, turn) in self.ways(home, Some(&arrangement.inner)) {
            if may_use(arrangement.place, &path) {
                let slot = Slot {
                    table,
                    system: 0,
                    turn,
                    source: Some(home),
                };
                self.carry(home, &path, slot);
            }
        }
    }

    /// The former one, as long as it stays, and the newest.
    fn ways(&self, home: Ipv4Addr, newest: Option<&Carriage>) -> Vec<(Path, Turn)> {
        let turns = self.around.turns;
        let former = turns.former(home).into_iter();
        let former = former.map(|former| (former.path.clone(), former.turn));
        let newest = newest.map(|newest| (newest.path.clone(), turns.newest(home)));
        former.chain(newest).collect()
    }

    /// Of what goes into the adapter of S, where that leads anywhere: whoever begins a session says so to
    /// the other side, which need not find it out.
    fn intranet_mtu(&self, path: &Path) -> u32 {
        match self.around.vpn {
            _ if path.is_in_vpn() && is_minimal(path) => NESTED_MINIMAL_MTU.into(),
            Some(VpnEnd {
                adapter: VpnAdapter::None,
                ..
            }) => NESTED_UDP_MTU.into(),
            _ => anchor_mtu(path),
        }
    }

    /// What asks whether this is the home network has source S before S has a way, and the home agent's
    /// ARP for S is answered only where S has a way back to it. So packets between the two pass the table
    /// of S; [`kept_in`] holds back all but registrations.
    fn registering_at_home(&mut self, home: Ipv4Addr) {
        if is_on_home_network(self.settings, self.around.adapters) {
            let agent = self.settings.dual.inner.home_agent;
            let (from, to) = (host(home.into()), host(agent.into()));
            self.rule(0, RouteKey::MAIN, Some(from), Some(to));
        }
    }

    // --- T ----------------------------------------------------------------------------------------

    fn mobility(&mut self, arrangement: &Arrangement) {
        let name = self.settings.adapters.mobility;
        let mut seen = Vec::new();
        for (site, number) in self.settings.dual.sites.iter().zip(0..) {
            let Some(outer) = &site.outer else { continue };
            if outer.home.is_unspecified() || seen.contains(&outer.home) {
                continue;
            }
            seen.push(outer.home);
            let table = self.settings.tables.mobility(number);
            let carriage = arrangement.outer.as_ref();
            let carriage = carriage.filter(|carriage| carriage.home == outer.home);
            let mtu = carriage.map_or(ANCHOR_MTU, |carriage| anchor_mtu(&carriage.path));
            self.anchor(name, outer.home, mtu);
            self.end(table);
            self.rule(1, table, Some(host(outer.home.into())), None);
            for (path, turn) in self.ways(outer.home, carriage) {
                let slot = Slot {
                    table,
                    system: number + 1,
                    turn,
                    source: None,
                };
                self.carry(outer.home, &path, slot);
            }
        }
    }

    // --- foreign agents ---------------------------------------------------------------------------

    /// Requests go to them from home addresses, whose tables end before one is accepted.
    fn agents(&mut self) {
        for agent in self.around.agents {
            let Some(name) = self.adapter(agent.link).map(|adapter| adapter.name) else {
                continue;
            };
            let Some(table) = self.table_of(agent.home) else {
                continue;
            };
            self.way_to_agent(table, name, agent.address);
            if let Some(mac) = agent.mac {
                self.want(Object::Neighbour(Neighbour {
                    key: NeighbourKey {
                        link: name,
                        address: agent.address.into(),
                    },
                    mac,
                }));
            }
        }
    }

    fn way_to_agent(&mut self, table: u32, link: LinkName, agent: Ipv4Addr) {
        let key = RouteKey {
            table,
            dst: host(agent.into()),
            metric: 0,
        };
        let way = Way::Link {
            link,
            gateway: None,
            source: None,
        };
        self.route(key, way);
    }

    fn table_of(&self, home: Ipv4Addr) -> Option<u32> {
        let tables = self.settings.tables;
        if home == self.settings.dual.inner.home {
            return Some(tables.intranet());
        }
        let sites = self.settings.dual.sites.iter().zip(0..);
        let mut outer =
            sites.filter_map(|(site, number)| Some((site.outer.as_ref()?.home, number)));
        let (_, number) = outer.find(|(at, _)| *at == home)?;
        Some(tables.mobility(number))
    }

    // --- V ----------------------------------------------------------------------------------------

    /// Its packets meet the policies of the VPN on their way to our adapter; those that none takes end
    /// there, since nobody reads it. What goes into the interface of other software is its to protect, and
    /// nothing of V leaves by another one.
    fn vpn(&mut self) {
        let Some(VpnEnd { address, adapter }) = self.around.vpn else {
            return;
        };
        let name = match adapter {
            VpnAdapter::Ours => self.settings.adapters.vpn,
            VpnAdapter::Theirs(name) => name,
            VpnAdapter::None => return,
        };
        if adapter == VpnAdapter::Ours {
            self.anchor(name, address, ANCHOR_MTU);
        }
        let table = self.settings.tables.vpn();
        self.end(table);
        self.rule(1, table, Some(host(address.into())), None);
        let way = Way::Link {
            link: name,
            gateway: None,
            source: None,
        };
        let key = RouteKey {
            table,
            dst: Family::V4.any(),
            metric: 0,
        };
        self.route(key, way);
        // It is there before S goes into it, so that a move opens a route and nothing else.
        let remote = self.settings.dual.inner.home_agent;
        let kind = match self.settings.inner.encapsulation {
            TunnelKind::Gre => Encapsulation::Gre,
            TunnelKind::IpIp | TunnelKind::Minimal => Encapsulation::IpIp,
        };
        self.nested(kind, address, remote);
    }

    fn nested(&mut self, encapsulation: Encapsulation, local: Ipv4Addr, remote: Ipv4Addr) {
        let kind = if encapsulation == Encapsulation::Gre {
            LinkKind::GreBetween { local, remote }
        } else {
            LinkKind::IpInIpBetween { local, remote }
        };
        self.tunnel(NESTED, kind);
    }
}

fn is_minimal(path: &Path) -> bool {
    matches!(
        path,
        Path::Tunnel {
            encapsulation: Encapsulation::Minimal,
            ..
        }
    )
}

/// Of the adapter of an address that takes this path.
fn anchor_mtu(path: &Path) -> u32 {
    if is_minimal(path) {
        tunnels::MINIMAL_MTU.into()
    } else {
        ANCHOR_MTU
    }
}

/// Whether an adapter has an address of the home network of S, which proves nothing.
fn is_on_home_network(settings: &MobilitySettings, adapters: &[Adapter]) -> bool {
    let network = settings.dual.inner.home_network;
    let is_home = |net: &Ipv4Net| network.is_some_and(|at| at.contains(&net.addr()));
    adapters.iter().flat_map(|a| &a.addresses).any(is_home)
}

/// While a network looks like the home network and is not proved to be inside, nothing goes from S to its
/// home agent, and never to a foreign agent; registrations pass, since their sockets pass all policies.
pub fn kept_in(
    settings: &MobilitySettings,
    arrangement: &Arrangement,
    around: Around<'_>,
) -> Vec<Selector> {
    let may_be_clear = matches!(arrangement.place, Place::Inside | Place::WithoutVpn);
    let inner = &settings.dual.inner;
    if may_be_clear {
        return Vec::new();
    }
    let home_agent = is_on_home_network(settings, around.adapters).then_some(inner.home_agent);
    let agents = around
        .agents
        .iter()
        .filter(|agent| agent.home == inner.home);
    let to = home_agent
        .into_iter()
        .chain(agents.map(|agent| agent.address));
    to.map(|to| Selector::between(host(inner.home.into()), host(to.into())))
        .collect()
}

/// Outside, S goes into the VPN or nowhere, whatever the path says.
fn may_use(place: Place, path: &Path) -> bool {
    match place {
        Place::Blocked => false,
        Place::Inside | Place::WithoutVpn => true,
        Place::OutsideWithAdapter | Place::OutsideWithoutAdapter => path.is_in_vpn(),
    }
}

#[cfg(test)]
pub mod tests;
