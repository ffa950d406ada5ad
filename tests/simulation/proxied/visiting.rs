//! Mobile nodes at foreign agents: what passes between them, those, and the proxy agent.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::passing::turned;
use super::world::{Happening, World};
use crate::roaming::{Heard, Network, Passing, Said, Told};
use xfrm_agent::mobile_ip::{Datagram, LinkId, Path};

impl World {
    pub fn restart_foreign_agent(&mut self, at: usize, after: Duration) {
        let place = self.visited.place(at);
        self.tell(&format_args!(
            "the foreign agent of {place:?} starts anew in {after:?}"
        ));
        let unix = self.nodes_time();
        self.visited.restart(self.now, unix, at, after);
        self.foreign_agents_say();
    }

    /// From a node to a foreign agent, where it is on its link.
    pub(super) fn asks(&mut self, place: Network, link: LinkId, datagram: Datagram) {
        if let Some(at) = self.visited.of(place) {
            let asked = Passing::ToAgent(Heard::Asked(link, datagram));
            self.send(&Happening::Passes(at, asked));
        }
    }

    pub(super) fn solicits(&mut self, node: usize, link: LinkId) {
        let place = self.nodes[node].plugged.get(&link).copied();
        if let Some(at) = place.and_then(|place| self.visited.of(place)) {
            self.send(&Happening::Passes(at, Passing::ToAgent(Heard::Solicited)));
        }
    }

    pub(super) fn passes(&mut self, at: usize, passing: Passing) {
        match passing {
            Passing::ToAgent(heard) => self.visited.hear(self.now, at, heard),
            Passing::ToNeighbour(link, told) => self.neighbour_hears(at, link, told),
        }
        self.foreign_agents_say();
    }

    fn neighbour_hears(&mut self, at: usize, link: LinkId, told: Told) {
        let place = self.visited.place(at);
        let here = |plugged: &Network| *plugged == place;
        let mut nodes = self.nodes.iter();
        let node = nodes.position(|node| node.plugged.get(&link).is_some_and(here));
        if let Some(node) = node {
            let agent = place.agent().expect("it is there");
            self.input(node, told.input(link, agent));
        }
    }

    pub(super) fn foreign_agents_say(&mut self) {
        while let Some((at, said)) = self.visited.says(self.now) {
            match said {
                Said::Relayed(datagram) => {
                    self.count();
                    let source = datagram.local;
                    self.send(&Happening::Proxy(turned(datagram, source)));
                }
                Said::Told(link, told) => self.told_to(at, link, told),
                Said::ToldAll(told) => {
                    let place = self.visited.place(at);
                    let plugged = self.nodes.iter().flat_map(|node| &node.plugged);
                    let here = plugged.filter(|(_, network)| **network == place);
                    for link in here.map(|(link, _)| *link).collect::<Vec<_>>() {
                        self.told_to(at, link, told.clone());
                    }
                }
                Said::Suspicious(what) => self.tell(&what),
            }
        }
        assert!(self.visited.are_bounded(), "{}", self.told());
    }

    fn told_to(&mut self, at: usize, link: LinkId, told: Told) {
        self.send(&Happening::Passes(at, Passing::ToNeighbour(link, told)));
    }

    /// Whoever is somewhere else has left, and nobody waits for an answer but to a renewal that is underway.
    pub(super) fn check_visits(&self) {
        let visitors = self.visited.visitors().len();
        assert!(self.visited.pending() <= visitors, "{}", self.told());
        for (place, key) in self.visited.visitors() {
            let visits = |node: &super::node::Node| {
                let inner = node.arrangement.as_ref().map(|now| &now.inner);
                inner.is_some_and(|inner| {
                    let link = inner.path.clear_on();
                    let is_here = link.is_some_and(|link| node.plugged[&link] == place);
                    inner.home == key.home && is_here && leads_to(&inner.path, place.agent())
                })
            };
            let is_right = self.nodes.iter().any(visits);
            assert!(is_right, "{place:?} {key:?}: {}", self.told());
        }
    }
}

pub(super) fn leads_to(path: &Path, agent: Option<Ipv4Addr>) -> bool {
    matches!(path, Path::Native { gateway, .. } if gateway.is_some() && *gateway == agent)
}

/// Where a foreign agent is asked.
pub(super) fn place_of(world: &World, to: SocketAddrV4) -> Option<Network> {
    world.visited.at(*to.ip()).map(|at| world.visited.place(at))
}
