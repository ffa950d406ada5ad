//! The foreign agents of networks that have one, whoever plugs in there.
//!
//! ```text
//!  node ── Asked, Solicited ──→ ForeignAgent ── Relayed ──→ home agents
//!   ↑                             │      ↑                      │
//!   └── Returned, Advertised ─────┘      └────── Answered ──────┘
//! ```

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::places::{ALL, Network};
use xfrm_agent::mobile_ip::dual_client::station;
use xfrm_agent::mobile_ip::foreign_agent::{
    Effect, ForeignAgent, Input, ReverseTunnels, Settings, VisitorKey,
};
use xfrm_agent::mobile_ip::wire::advertisement::{CommonTraffic, Discovery};
use xfrm_agent::mobile_ip::{Datagram, LinkId, Via};
use xfrm_agent::net::random::Seeded;

/// As a foreign agent has the link that it serves.
const SERVED: LinkId = LinkId(1);
const MOST_VISITORS: usize = 8;
const MOST_PENDING: usize = 8;

pub struct ForeignAgents {
    all: Vec<Visited>,
    seed: u64,
}

struct Visited {
    place: Network,
    settings: Settings,
    agent: ForeignAgent,
    lives: u64,
    /// It hears nothing before.
    silent_until: Instant,
}

/// Underway between a foreign agent and everybody else.
#[derive(Clone, Debug)]
pub enum Passing {
    ToAgent(Heard),
    ToNeighbour(LinkId, Told),
}

#[derive(Clone, Debug)]
pub enum Heard {
    /// From this adapter of a node, as it has sent it.
    Asked(LinkId, Datagram),
    Solicited,
    /// From a home agent, as that has sent it.
    Answered(Datagram),
}

#[derive(Clone, Debug)]
pub enum Told {
    Returned(Datagram),
    Advertised(Vec<u8>),
}

pub enum Said {
    /// To a home agent.
    Relayed(Datagram),
    Told(LinkId, Told),
    ToldAll(Told),
    Suspicious(String),
}

/// What all of them have alike; keys are to be added.
pub fn settings(place: Network, challenge: bool) -> Settings {
    let address = place.agent().expect("this network has one");
    Settings {
        link: SERVED,
        address,
        prefix_len: None,
        care_of: address,
        own: vec![address],
        lifetime: 600,
        interval: Some(Duration::from_secs(10)),
        required: place.is_required(),
        traffic: CommonTraffic::Routed,
        reverse: ReverseTunnels::Available,
        tunnels: Vec::new(),
        challenge,
        mobile_nodes: Vec::new(),
        home_agents: Vec::new(),
        most_visitors: MOST_VISITORS,
        most_pending: MOST_PENDING,
    }
}

impl ForeignAgents {
    /// One in each network that is to have one. `unix` is the time of day of them all.
    pub fn open(
        now: Instant,
        unix: Duration,
        seed: u64,
        settings: impl Fn(Network) -> Settings,
    ) -> Self {
        let mut agents = Self {
            all: Vec::new(),
            seed,
        };
        for place in ALL.into_iter().filter(|place| place.agent().is_some()) {
            let settings = settings(place);
            let agent = agents.begin(now, unix, place, &settings, 0);
            agents.all.push(Visited {
                place,
                settings,
                agent,
                lives: 0,
                silent_until: now,
            });
        }
        agents
    }

    fn begin(
        &self,
        now: Instant,
        unix: Duration,
        place: Network,
        settings: &Settings,
        lives: u64,
    ) -> ForeignAgent {
        let seed = self.seed ^ 4 ^ ((place as u64) << 32) ^ (lives << 40);
        let mut agent = ForeignAgent::new(now, settings.clone(), Box::new(Seeded(seed)));
        agent.handle(now, Input::Time(unix));
        agent
    }

    /// It knows nobody any more, and numbers its advertisements anew. Meanwhile nobody is there.
    pub fn restart(&mut self, now: Instant, unix: Duration, at: usize, after: Duration) {
        let Visited { place, lives, .. } = self.all[at];
        let agent = self.begin(now, unix, place, &self.all[at].settings, lives + 1);
        let visited = &mut self.all[at];
        (visited.agent, visited.lives) = (agent, lives + 1);
        visited.silent_until = now + after;
    }

    pub fn count(&self) -> usize {
        self.all.len()
    }

    pub fn place(&self, at: usize) -> Network {
        self.all[at].place
    }

    /// Whose address or care-of address it is.
    pub fn at(&self, address: Ipv4Addr) -> Option<usize> {
        let mut all = self.all.iter();
        all.position(|visited| visited.place.agent() == Some(address))
    }

    pub fn of(&self, place: Network) -> Option<usize> {
        self.all.iter().position(|visited| visited.place == place)
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let all = self.all.iter();
        all.filter_map(|visited| visited.agent.poll_timeout()).min()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        for visited in &mut self.all {
            visited.agent.handle_timeout(now);
        }
    }

    pub fn hear(&mut self, now: Instant, at: usize, heard: Heard) {
        let visited = &mut self.all[at];
        if now < visited.silent_until {
            return;
        }
        let input = match heard {
            Heard::Asked(link, datagram) => Input::Datagram {
                datagram: turned(Via::Link(SERVED), datagram),
                ttl: 255,
                mac: Some(mac(link)),
            },
            Heard::Solicited => Input::Solicitation {
                from: Ipv4Addr::UNSPECIFIED,
            },
            Heard::Answered(datagram) => Input::Datagram {
                datagram: turned(Via::Routed, datagram),
                ttl: 60,
                mac: None,
            },
        };
        visited.agent.handle(now, input);
    }

    /// The next thing that one of them has to say, and which.
    pub fn says(&mut self, now: Instant) -> Option<(usize, Said)> {
        for (at, visited) in self.all.iter_mut().enumerate() {
            while let Some(effect) = visited.agent.poll_effect() {
                let said = match effect {
                    Effect::Relay(datagram) => Said::Relayed(datagram),
                    Effect::Reply {
                        datagram,
                        mac: Some(mac),
                    } => Said::Told(of_mac(mac), Told::Returned(datagram)),
                    Effect::Advertise { icmp, .. } => Said::ToldAll(Told::Advertised(icmp)),
                    Effect::Inform {
                        mac: Some(mac),
                        icmp,
                        ..
                    } => Said::Told(of_mac(mac), Told::Advertised(icmp)),
                    Effect::Suspicious(what) => Said::Suspicious(what.to_string()),
                    _ => continue,
                };
                if now >= visited.silent_until {
                    return Some((at, said));
                }
            }
        }
        None
    }

    pub fn visitors(&self) -> Vec<(Network, VisitorKey)> {
        let of = |visited: &Visited| {
            let present = visited.agent.view().visitors.into_iter();
            let place = visited.place;
            present.map(move |(key, _)| (place, key))
        };
        self.all.iter().flat_map(of).collect()
    }

    /// Whether the agent of this network takes packets for `home` off the tunnel.
    pub fn is_visited(&self, place: Network, home: Ipv4Addr) -> bool {
        let visitors = self.visitors().into_iter();
        visitors
            .filter(|(at, _)| *at == place)
            .any(|(_, key)| key.home == home)
    }

    /// None of them remembers more than it may.
    pub fn are_bounded(&self) -> bool {
        self.all.iter().all(|visited| {
            let view = visited.agent.view();
            view.visitors.len() <= MOST_VISITORS && view.pending <= MOST_PENDING
        })
    }

    /// Requests without an answer.
    pub fn pending(&self) -> usize {
        self.all
            .iter()
            .map(|visited| visited.agent.view().pending)
            .sum()
    }
}

impl Told {
    /// As the adapter `link` hears it from this agent.
    pub fn input(self, link: LinkId, agent: Ipv4Addr) -> station::Input {
        match self {
            Self::Returned(datagram) => station::Input::Datagram(turned(Via::Link(link), datagram)),
            Self::Advertised(icmp) => {
                let Ok(Discovery::Advertisement(advertisement)) = Discovery::decode(&icmp) else {
                    panic!("no advertisement: {icmp:02x?}");
                };
                station::Input::Advertisement {
                    link,
                    source: agent,
                    advertisement,
                }
            }
        }
    }
}

/// As the other end has it.
fn turned(via: Via, datagram: Datagram) -> Datagram {
    Datagram {
        via,
        local: datagram.remote,
        remote: datagram.local,
        payload: datagram.payload,
    }
}

fn mac(link: LinkId) -> [u8; 6] {
    [2, 0, 0, 0, 0, link.0.to_be_bytes()[3]]
}

fn of_mac(mac: [u8; 6]) -> LinkId {
    LinkId(mac[5].into())
}
