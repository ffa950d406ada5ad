//! A mobile node: what runs, where it is plugged in, and what it wants of its routes.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Instant;

use super::agreed::home;
use super::world::World;
use crate::roaming::Network;
use xfrm_agent::mobile_ip::dual_client::station::{Effect, Input, Station};
use xfrm_agent::mobile_ip::dual_client::{self, Override};
use xfrm_agent::mobile_ip::{Arrangement, LinkId};
use xfrm_agent::net::Random;

/// Each has so many adapters.
pub const ADAPTERS: u32 = 2;

pub struct Node {
    pub station: Station,
    pub plugged: BTreeMap<LinkId, Network>,
    visits: BTreeMap<LinkId, u64>,
    pub arrangement: Option<Arrangement>,
    /// Killed, and not started again so far.
    pub is_over: bool,
    pub by_hand: Override,
}

impl Node {
    pub fn new(station: Station) -> Self {
        Self {
            station,
            plugged: BTreeMap::new(),
            visits: BTreeMap::new(),
            arrangement: None,
            is_over: false,
            by_hand: Override::None,
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let at = self.station.poll_timeout();
        at.filter(|_| !self.is_over)
    }

    /// Whom others take `source` on this adapter for.
    pub fn seen(&self, link: LinkId, source: SocketAddrV4) -> Option<SocketAddrV4> {
        let network = self.plugged.get(&link)?;
        let is_there = *network != Network::Unplugged;
        is_there.then(|| network.seen(link, self.visits[&link], source))
    }

    /// Where it is met by what is sent to there.
    pub fn receiver(&self, to: SocketAddrV4) -> Option<(LinkId, SocketAddrV4)> {
        self.plugged.iter().find_map(|(link, network)| {
            let local = network.receiver(*link, self.visits[link], to)?;
            Some((*link, local))
        })
    }

    /// The first of those that lead anywhere.
    pub fn best(&self) -> Option<(LinkId, Network)> {
        let mut all = self.plugged.iter().map(|(link, network)| (*link, *network));
        all.find(|(_, network)| *network != Network::Unplugged)
    }
}

/// The adapters of the nodes have different numbers, so that no two of them have one address.
pub fn adapter(node: usize, at: u32) -> LinkId {
    LinkId(1 + node as u32 * ADAPTERS + at % ADAPTERS)
}

impl World {
    pub fn plug(&mut self, at: usize, link: LinkId, network: Network) {
        let before = self.nodes[at].plugged.get(&link).copied();
        if before.is_some_and(|before| before != Network::Unplugged) {
            self.put(at, link, Network::Unplugged);
        }
        self.put(at, link, network);
    }

    fn put(&mut self, at: usize, link: LinkId, network: Network) {
        self.tell(&format_args!("{link} of {} in {network:?}", home(at)));
        let node = &mut self.nodes[at];
        node.plugged.insert(link, network);
        *node.visits.entry(link).or_default() += 1;
        self.links_changed(at);
    }

    fn links_changed(&mut self, at: usize) {
        let links = self.nodes[at].plugged.iter();
        let links = links.map(|(id, network)| network.link(*id)).collect();
        self.input(at, Input::Dual(dual_client::Input::Links(links)));
    }

    pub fn kill_node(&mut self, at: usize) {
        self.tell(&format_args!("{} is killed", home(at)));
        self.nodes[at].is_over = true;
        self.nodes[at].arrangement = None;
    }

    pub fn start_node(&mut self, at: usize) {
        self.tell(&format_args!("{} starts", home(at)));
        let seed = u64::from(self.random.u32());
        let node = &mut self.nodes[at];
        let passed = self.now - self.start;
        node.station = self.setup.station(self.now, passed, at, seed);
        (node.is_over, node.by_hand) = (false, Override::None);
        self.drain(at);
        self.links_changed(at);
    }

    /// Its administrator has it leave, or come back.
    pub fn override_node(&mut self, at: usize, by_hand: Override) {
        self.tell(&format_args!("{} is to be {by_hand:?}", home(at)));
        self.nodes[at].by_hand = by_hand;
        self.input(at, Input::Dual(dual_client::Input::Override(by_hand)));
    }

    pub fn input(&mut self, at: usize, input: Input) {
        if !self.nodes[at].is_over {
            self.nodes[at].station.handle(self.now, input);
            self.drain(at);
        }
    }

    pub fn drain(&mut self, at: usize) {
        while let Some(effect) = self.nodes[at].station.poll_effect() {
            match effect {
                Effect::Arrangement(arrangement) => {
                    self.tell(&format_args!("{arrangement:?}"));
                    self.nodes[at].arrangement = Some(arrangement);
                }
                Effect::Send(datagram) => self.leaves(at, datagram),
                Effect::Tell(what) => self.tell(&format_args!("{}: {what}", home(at))),
                Effect::Suspicious(slot, what) => {
                    panic!("{slot}: {what:?}: {}", self.told());
                }
                Effect::Vpn(command) => panic!("{command:?}: {}", self.told()),
                Effect::Solicit(link) => self.solicits(at, link),
                Effect::Remember(_) | Effect::Announce { .. } | Effect::HomeDenied(_) => {}
            }
        }
    }
}
