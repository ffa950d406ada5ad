//! The client at foreign agents: what passes between it, them, and both home agents.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::agreed::{S, unix};
use super::places::Network;
use super::visited::{Heard, Passing, Said, Told};
use super::world::{Happening, World};
use xfrm_agent::mobile_ip::wire::{Decoded, Message};
use xfrm_agent::mobile_ip::{Arrangement, LinkId, Via};

impl World {
    pub fn restart_foreign_agent(&mut self, at: usize) {
        let place = self.visited.place(at);
        self.tell(&format_args!("the foreign agent of {place:?} starts anew"));
        let unix = unix(self.now - self.start);
        self.visited.restart(self.now, unix, at, Duration::ZERO);
        self.foreign_agents_say();
    }

    pub(super) fn foreign_agents_are_due(&mut self) {
        self.visited.handle_timeout(self.now);
        self.foreign_agents_say();
    }

    pub(super) fn solicits(&mut self, link: LinkId) {
        let place = self.plugged.get(&link).copied();
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
        if self.plugged.get(&link) != Some(&place) {
            return;
        }
        if let Told::Returned(datagram) = &told {
            let decoded =
                Decoded::decode(&datagram.payload).expect("what the agent sends is right");
            if matches!(decoded.message, Message::Reply(reply) if reply.home == S) {
                self.witness(Via::Link(link), datagram);
            }
        }
        let agent = place.agent().expect("it is there");
        self.input(told.input(link, agent));
    }

    pub(super) fn foreign_agents_say(&mut self) {
        while let Some((at, said)) = self.visited.says(self.now) {
            let place = self.visited.place(at);
            match said {
                Said::Relayed(datagram) => self.relayed(place, datagram),
                Said::Told(link, told) => self.told_to(at, link, told),
                Said::ToldAll(told) => {
                    let here = self
                        .plugged
                        .iter()
                        .filter(|(_, network)| **network == place);
                    for link in here.map(|(link, _)| *link).collect::<Vec<_>>() {
                        self.told_to(at, link, told.clone());
                    }
                }
                Said::Suspicious(what) => self.tell(&what),
            }
        }
    }

    fn told_to(&mut self, at: usize, link: LinkId, told: Told) {
        self.send(&Happening::Passes(at, Passing::ToNeighbour(link, told)));
    }

    pub(super) fn is_visited(&self, place: Network, home: Ipv4Addr) -> bool {
        self.visited.is_visited(place, home)
    }

    /// Whoever is somewhere else has left.
    pub(super) fn check_visits(&self, arrangement: &Arrangement) {
        let outer = arrangement.outer.as_ref();
        for (visited, key) in self.visited.visitors() {
            let carriage = outer.filter(|outer| outer.home == key.home);
            let carriage = carriage.unwrap_or(&arrangement.inner);
            let link = carriage.path.clear_on();
            let place = link.map(|link| self.plugged[&link]);
            let is_right = carriage.home == key.home && place == Some(visited);
            assert!(is_right, "{visited:?} {key:?}: {}", self.told());
        }
    }
}
