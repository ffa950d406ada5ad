//! Who is at the other end of which tunnel: one lookup for each packet, whatever the number of
//! bindings.

use super::{ipv4, minimal};
use crate::mobile_ip::Via;
use crate::mobile_ip::wire::tunnel_data;
use crate::net::Ipv4Net;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

/// Which adapter, as whoever gave it to the carrier numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AdapterId(pub u32);

/// At which end of the tunnel we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// What goes to the home address is sent, and what comes must be from there.
    HomeAgent,
    /// What comes from the home address is sent, and what comes must go there.
    MobileNode,
}

/// A home address and what carries it. Whole: replaces the one before of the same side and home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub side: Side,
    pub home: Ipv4Addr,
    /// Networks behind the mobile node (RFC 5177).
    pub networks: Vec<Ipv4Net>,
    /// Of a home agent each gets a copy (RFC 5944 §3.8.2: simultaneous bindings); a mobile node has
    /// one.
    pub tunnels: Vec<Tunnel>,
    /// Out of these comes as much, and nothing goes in: the one before, or that of the other end's next packets.
    pub receives: Vec<Tunnel>,
}

/// How packets are wrapped, and between whom: the outer source, which is the only outer destination that is
/// accepted, and the outer destination, the only outer source (RFC 3519 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outer {
    /// IP in IP in UDP (RFC 3519 §4).
    Udp {
        local: SocketAddrV4,
        remote: SocketAddrV4,
    },
    /// RFC 2004. Fragments go in IP in IP, since it has no room for what they say (§3.1).
    Minimal { local: Ipv4Addr, remote: Ipv4Addr },
}

impl Outer {
    pub fn local(self) -> Ipv4Addr {
        match self {
            Self::Udp { local, .. } => *local.ip(),
            Self::Minimal { local, .. } => local,
        }
    }

    pub fn remote(self) -> Ipv4Addr {
        match self {
            Self::Udp { remote, .. } => *remote.ip(),
            Self::Minimal { remote, .. } => remote,
        }
    }

    /// The same from another address of ours.
    #[must_use]
    pub fn from(self, address: Ipv4Addr) -> Self {
        match self {
            Self::Udp { local, remote } => Self::Udp {
                local: SocketAddrV4::new(address, local.port()),
                remote,
            },
            Self::Minimal { remote, .. } => Self::Minimal {
                local: address,
                remote,
            },
        }
    }

    /// Octets by which a packet gets longer, at most.
    pub(super) fn headers(self) -> usize {
        match self {
            Self::Udp { .. } => UDP_HEADERS,
            Self::Minimal { .. } => minimal::LONGEST,
        }
    }

    /// Those of them that the kernel adds.
    pub(super) fn headers_of_kernel(self) -> usize {
        match self {
            Self::Udp { .. } => UDP_HEADERS - tunnel_data::HEADER_LEN,
            Self::Minimal { .. } => 0,
        }
    }

    /// Octets of the largest fragment, where other packets may have `mtu`.
    pub(super) fn room_of_fragments(self, mtu: u16) -> u16 {
        match self {
            Self::Udp { .. } => mtu,
            Self::Minimal { .. } => mtu - (ipv4::HEADER_LEN - minimal::LONGEST) as u16,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// The socket that was given for this and the local address, or, in UDP, for this and any address.
    pub via: Via,
    pub outer: Outer,
    /// Octets of the largest packet that goes in. Where the path to the other end turns out to carry
    /// less, that holds for ten minutes.
    pub mtu: u16,
    /// Whether the mobile node may send through it (RFC 3024).
    pub reverse: bool,
    pub congestion: Congestion,
}

/// What the outer header shows of congestion (RFC 6040 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Congestion {
    /// The other end takes it over into the packet.
    Normal,
    /// The other end may not; so routers drop instead of marking.
    Compatible,
}

/// Outer IPv4, UDP, and the header of RFC 3519 §3.3.
const UDP_HEADERS: usize = 20 + 8 + tunnel_data::HEADER_LEN;

/// Octets of the largest packet that fits into Ethernet's in UDP.
pub const MTU: u16 = 1500 - UDP_HEADERS as u16;

/// The same in minimal encapsulation. Fragments have to be 8 octets shorter.
pub const MINIMAL_MTU: u16 = 1500 - minimal::LONGEST as u16;

/// RFC 1191 §6.3.
const PATH_MTU_HOLDS: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) struct Held {
    pub(super) tunnel: Tunnel,
    path_mtu: Option<(u16, Instant)>,
    /// Datagrams leave one by one: they are not UDP, or something on the way, such as IPsec, takes no segments.
    pub(super) one_by_one: bool,
}

impl Held {
    pub(super) fn mtu(&mut self, now: Instant) -> u16 {
        match self.path_mtu {
            Some((mtu, until)) if now < until => mtu.min(self.tunnel.mtu),
            Some(_) => {
                self.path_mtu = None;
                self.tunnel.mtu
            }
            None => self.tunnel.mtu,
        }
    }

    pub(super) fn learn(&mut self, now: Instant, mtu: u16) {
        self.path_mtu = Some((mtu, now + PATH_MTU_HOLDS));
    }
}

#[derive(Debug)]
pub(super) struct Carried {
    pub(super) adapter: AdapterId,
    networks: Vec<Ipv4Net>,
    pub(super) tunnels: Vec<Held>,
    receives: Vec<Tunnel>,
}

/// Of which binding, and of which of its tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TunnelKey {
    pub(super) side: Side,
    pub(super) home: Ipv4Addr,
    pub(super) at: usize,
}

#[derive(Debug, Default)]
pub struct Tunnels {
    /// Of mobile nodes whose home agent we are.
    away: HashMap<Ipv4Addr, Carried>,
    /// Of our own home addresses: few.
    own: BTreeMap<Ipv4Addr, Carried>,
    networks: Networks,
}

/// Mobile networks by their prefix, and how many there are of each length.
#[derive(Debug, Default)]
struct Networks {
    homes: HashMap<Ipv4Net, Ipv4Addr>,
    lengths: BTreeMap<u8, usize>,
}

impl Networks {
    /// One that somebody has stays with them until it goes.
    fn insert(&mut self, net: Ipv4Net, home: Ipv4Addr) {
        if let Entry::Vacant(vacant) = self.homes.entry(net) {
            vacant.insert(home);
            *self.lengths.entry(net.prefix_len()).or_default() += 1;
        }
    }

    fn remove(&mut self, net: Ipv4Net, home: Ipv4Addr) {
        if self.homes.get(&net) != Some(&home) {
            return;
        }
        self.homes.remove(&net);
        let length = net.prefix_len();
        if let Some(many) = self.lengths.get_mut(&length) {
            *many -= 1;
            if *many == 0 {
                self.lengths.remove(&length);
            }
        }
    }

    /// Of the longest prefix that covers the address.
    fn home_of(&self, address: Ipv4Addr) -> Option<Ipv4Addr> {
        let nets = self.lengths.keys().rev();
        nets.filter_map(|length| Ipv4Net::new(address, *length).ok())
            .find_map(|net| self.homes.get(&net.trunc()).copied())
    }
}

/// Where a datagram came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub via: Via,
    pub outer: Outer,
}

impl Origin {
    fn is_of(&self, tunnel: &Tunnel) -> bool {
        (self.via, self.outer) == (tunnel.via, tunnel.outer)
    }
}

/// Which packets may come out of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Admitted {
    pub(super) adapter: AdapterId,
    pub(super) side: Side,
}

impl Tunnels {
    /// Between its tunnels and this adapter.
    pub fn put(&mut self, adapter: AdapterId, binding: Binding) {
        let before = self.take(binding.side, binding.home);
        let mut before = before.map_or(Vec::new(), |entry| entry.tunnels);
        let nets = binding.networks.iter().map(Ipv4Net::trunc);
        let networks: Vec<_> = nets.collect();
        // What was learned of a path holds for the same one.
        let mut held = |tunnel| match before.iter().position(|held| held.tunnel == tunnel) {
            Some(at) => before.swap_remove(at),
            None => Held {
                one_by_one: matches!(tunnel.outer, Outer::Minimal { .. }),
                tunnel,
                path_mtu: None,
            },
        };
        let entry = Carried {
            adapter,
            tunnels: binding.tunnels.into_iter().map(&mut held).collect(),
            receives: binding.receives,
            networks,
        };
        match binding.side {
            Side::HomeAgent => {
                for net in &entry.networks {
                    self.networks.insert(*net, binding.home);
                }
                self.away.insert(binding.home, entry);
            }
            Side::MobileNode => {
                self.own.insert(binding.home, entry);
            }
        }
    }

    pub fn remove(&mut self, side: Side, home: Ipv4Addr) {
        self.take(side, home);
    }

    fn take(&mut self, side: Side, home: Ipv4Addr) -> Option<Carried> {
        match side {
            Side::HomeAgent => {
                let entry = self.away.remove(&home)?;
                for net in &entry.networks {
                    self.networks.remove(*net, home);
                }
                Some(entry)
            }
            Side::MobileNode => self.own.remove(&home),
        }
    }

    /// Of a packet that was read from an adapter. What we send in the name of a home address of ours
    /// goes its way, also to somebody whose home agent we are.
    pub(super) fn towards(
        &mut self,
        adapter: AdapterId,
        source: Ipv4Addr,
        destination: Ipv4Addr,
    ) -> Option<(Side, Ipv4Addr, &mut Carried)> {
        if let Some(home) = self.own_home(adapter, source) {
            let entry = self.own.get_mut(&home)?;
            return Some((Side::MobileNode, home, entry));
        }
        let home = if self.away.contains_key(&destination) {
            destination
        } else {
            self.networks.home_of(destination)?
        };
        let entry = self.away.get_mut(&home)?;
        (entry.adapter == adapter).then_some((Side::HomeAgent, home, entry))
    }

    fn own_home(&self, adapter: AdapterId, source: Ipv4Addr) -> Option<Ipv4Addr> {
        let mut own = self.own.iter().filter(|(_, e)| e.adapter == adapter);
        let found = own.find(|(home, entry)| entry.covers(**home, source));
        found.map(|(home, _)| *home)
    }

    /// Whether a packet may come out of the tunnel that it came in.
    pub(super) fn admit(
        &self,
        origin: &Origin,
        source: Ipv4Addr,
        destination: Ipv4Addr,
    ) -> Option<Admitted> {
        // RFC 3024 §4.3.2: outer and inner source belong together.
        let away = self.away.get(&source).or_else(|| {
            let home = self.networks.home_of(source)?;
            self.away.get(&home)
        });
        let sends = |tunnel: &Tunnel| tunnel.reverse && origin.is_of(tunnel);
        if let Some(entry) = away.filter(|entry| entry.ends().any(sends)) {
            return Some(Admitted {
                adapter: entry.adapter,
                side: Side::HomeAgent,
            });
        }
        let everybody = destination.is_multicast() || destination.is_broadcast();
        let mut own = self.own.iter().filter(|(home, entry)| {
            let from_there = entry.ends().any(|tunnel| origin.is_of(tunnel));
            from_there && (everybody || entry.covers(**home, destination))
        });
        own.next().map(|(_, entry)| Admitted {
            adapter: entry.adapter,
            side: Side::MobileNode,
        })
    }

    pub(super) fn adapter_of(&self, key: TunnelKey) -> Option<AdapterId> {
        let entry = match key.side {
            Side::HomeAgent => self.away.get(&key.home),
            Side::MobileNode => self.own.get(&key.home),
        };
        entry.map(|entry| entry.adapter)
    }

    pub(super) fn held(&mut self, key: TunnelKey) -> Option<&mut Held> {
        let entry = match key.side {
            Side::HomeAgent => self.away.get_mut(&key.home),
            Side::MobileNode => self.own.get_mut(&key.home),
        };
        entry?.tunnels.get_mut(key.at)
    }
}

impl Carried {
    /// Where packets may come out.
    fn ends(&self) -> impl Iterator<Item = &Tunnel> {
        let held = self.tunnels.iter().map(|held| &held.tunnel);
        held.chain(&self.receives)
    }

    fn covers(&self, home: Ipv4Addr, address: Ipv4Addr) -> bool {
        home == address || self.networks.iter().any(|net| net.contains(&address))
    }
}
