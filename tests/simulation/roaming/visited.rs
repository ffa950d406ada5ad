//! The foreign agents of the networks that have one.
//!
//! ```text
//!  client ── link ──→ ForeignAgent ── its care-of address ──→ home agents
//!     ↑                 │      ↑                                  │
//!     └─ replies, ads ──┘      └───────────── replies ────────────┘
//! ```

use std::net::Ipv4Addr;
use std::time::Instant;

use super::agreed::{S, unix};
use super::places::{ALL, Network};
use super::world::{Happening, World};
use xfrm_agent::mobile_ip::dual_client::station::Input;
use xfrm_agent::mobile_ip::foreign_agent::{Effect, ForeignAgent, Input as AgentInput};
use xfrm_agent::mobile_ip::wire::advertisement::Discovery;
use xfrm_agent::mobile_ip::wire::{Decoded, Message};
use xfrm_agent::mobile_ip::{Arrangement, Datagram, LinkId, Via};
use xfrm_agent::net::random::Seeded;

/// As a foreign agent has the link that it serves.
pub const SERVED: LinkId = LinkId(1);

pub struct Visited {
    pub place: Network,
    agent: ForeignAgent,
    lives: u64,
}

/// Something that reaches a foreign agent, or a client from one.
#[derive(Clone, Debug)]
pub enum Passing {
    /// From this adapter of the client.
    Asked(LinkId, Datagram),
    Solicited,
    /// From a home agent.
    Answered(Datagram),
    Returned(LinkId, Datagram),
    Advertised(LinkId, Vec<u8>),
}

impl World {
    pub(super) fn open_foreign_agents(&mut self) {
        for place in ALL {
            if place.agent().is_some() {
                let agent = self.foreign_agent(place, 0);
                self.visited.push(Visited {
                    place,
                    agent,
                    lives: 0,
                });
            }
        }
    }

    fn foreign_agent(&self, place: Network, lives: u64) -> ForeignAgent {
        let seed = self.setup.seed ^ 4 ^ ((place as u64) << 32) ^ (lives << 40);
        let settings = self.setup.foreign_agent(place);
        let mut agent = ForeignAgent::new(self.now, settings, Box::new(Seeded(seed)));
        let unix = unix(self.now - self.start);
        agent.handle(self.now, AgentInput::Time(unix));
        agent
    }

    /// It knows nobody any more, and numbers its advertisements anew.
    pub fn restart_foreign_agent(&mut self, at: usize) {
        let Visited { place, lives, .. } = self.visited[at];
        self.tell(&format_args!("the foreign agent of {place:?} starts anew"));
        let agent = self.foreign_agent(place, lives + 1);
        self.visited[at] = Visited {
            place,
            agent,
            lives: lives + 1,
        };
        self.foreign_agent_says(at);
    }

    pub(super) fn foreign_timeout(&self) -> Option<Instant> {
        let all = self.visited.iter();
        all.filter_map(|visited| visited.agent.poll_timeout()).min()
    }

    pub(super) fn foreign_agents_are_due(&mut self) {
        for at in 0..self.visited.len() {
            self.visited[at].agent.handle_timeout(self.now);
            self.foreign_agent_says(at);
        }
    }

    /// Whose address or care-of address it is.
    pub(super) fn foreign_agent_at(&self, address: Ipv4Addr) -> Option<usize> {
        let mut all = self.visited.iter();
        all.position(|visited| visited.place.agent() == Some(address))
    }

    pub(super) fn solicits(&mut self, link: LinkId) {
        let place = self.plugged.get(&link).copied();
        let served = self.visited.iter().position(|v| Some(v.place) == place);
        if let Some(at) = served {
            self.send(&Happening::Passes(at, Passing::Solicited));
        }
    }

    pub(super) fn passes(&mut self, at: usize, passing: Passing) {
        let place = self.visited[at].place;
        let agent = &mut self.visited[at].agent;
        match passing {
            Passing::Asked(link, datagram) => {
                let datagram = Datagram {
                    via: Via::Link(SERVED),
                    local: datagram.remote,
                    remote: datagram.local,
                    payload: datagram.payload,
                };
                let (ttl, mac) = (255, Some(mac(link)));
                agent.handle(self.now, AgentInput::Datagram { datagram, ttl, mac });
            }
            Passing::Solicited => {
                let from = Ipv4Addr::UNSPECIFIED;
                agent.handle(self.now, AgentInput::Solicitation { from });
            }
            Passing::Answered(datagram) => {
                let datagram = Datagram {
                    via: Via::Routed,
                    local: datagram.remote,
                    remote: datagram.local,
                    payload: datagram.payload,
                };
                let (ttl, mac) = (60, None);
                agent.handle(self.now, AgentInput::Datagram { datagram, ttl, mac });
            }
            Passing::Returned(link, _) | Passing::Advertised(link, _)
                if self.plugged.get(&link) != Some(&place) => {}
            Passing::Returned(link, datagram) => self.comes_back(link, datagram),
            Passing::Advertised(link, icmp) => {
                let Ok(Discovery::Advertisement(advertisement)) = Discovery::decode(&icmp) else {
                    panic!("no advertisement: {}", self.told());
                };
                self.input(Input::Advertisement {
                    link,
                    source: place.agent().expect("it is there"),
                    advertisement,
                });
            }
        }
        self.foreign_agent_says(at);
    }

    fn comes_back(&mut self, link: LinkId, datagram: Datagram) {
        let decoded = Decoded::decode(&datagram.payload).expect("what the agent sends is right");
        if matches!(decoded.message, Message::Reply(reply) if reply.home == S) {
            self.witness(Via::Link(link), &datagram);
        }
        self.input(Input::Datagram(Datagram {
            via: Via::Link(link),
            local: datagram.remote,
            remote: datagram.local,
            payload: datagram.payload,
        }));
    }

    fn foreign_agent_says(&mut self, at: usize) {
        while let Some(effect) = self.visited[at].agent.poll_effect() {
            match effect {
                Effect::Relay(datagram) => self.relayed(self.visited[at].place, datagram),
                Effect::Reply { datagram, mac } => {
                    if let Some(link) = self.neighbour(mac) {
                        let passing = Passing::Returned(link, datagram);
                        self.send(&Happening::Passes(at, passing));
                    }
                }
                Effect::Advertise { icmp, .. } => {
                    let place = self.visited[at].place;
                    let links = self
                        .plugged
                        .iter()
                        .filter(|(_, network)| **network == place);
                    for link in links.map(|(link, _)| *link).collect::<Vec<_>>() {
                        let passing = Passing::Advertised(link, icmp.clone());
                        self.send(&Happening::Passes(at, passing));
                    }
                }
                Effect::Inform { mac, icmp, .. } => {
                    if let Some(link) = self.neighbour(mac) {
                        let passing = Passing::Advertised(link, icmp);
                        self.send(&Happening::Passes(at, passing));
                    }
                }
                Effect::Suspicious(what) => self.tell(&format_args!("{what}")),
                _ => {}
            }
        }
    }

    fn neighbour(&self, of: Option<[u8; 6]>) -> Option<LinkId> {
        let mut links = self.plugged.keys().copied();
        links.find(|link| Some(mac(*link)) == of)
    }

    /// Whether the agent of this network takes packets for `home` off the tunnel.
    pub(super) fn is_visited(&self, place: Network, home: Ipv4Addr) -> bool {
        let visited = self.visited.iter().find(|visited| visited.place == place);
        visited.is_some_and(|visited| {
            let view = visited.agent.view();
            view.visitors.iter().any(|(key, _)| key.home == home)
        })
    }

    /// Whoever is somewhere else has left.
    pub(super) fn check_visits(&self, arrangement: &Arrangement) {
        let outer = arrangement.outer.as_ref();
        for visited in &self.visited {
            for (key, _) in visited.agent.view().visitors {
                let carriage = outer.filter(|outer| outer.home == key.home);
                let carriage = carriage.unwrap_or(&arrangement.inner);
                let link = carriage.path.clear_on();
                let place = link.map(|link| self.plugged[&link]);
                let is_right = carriage.home == key.home && place == Some(visited.place);
                assert!(is_right, "{:?} {key:?}: {}", visited.place, self.told());
            }
        }
    }
}

fn mac(link: LinkId) -> [u8; 6] {
    [2, 0, 0, 0, 0, link.0.to_be_bytes()[3]]
}
