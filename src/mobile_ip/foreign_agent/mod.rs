//! A foreign agent on one link: tells the link of itself, passes registrations on, and says who
//! visits. The tunnels themselves are the business of whoever hears [`Effect::Visit`].
//!
//! ```text
//!  mobile node                 foreign agent                   home agent
//!       │── solicitation ───────────→│                              │
//!       │←───────── advertisement ───│                              │
//!       │── request ────────────────→│ checked, 64–109 if denied    │
//!       │                            │── request, up to its ───────→│
//!       │                            │   authenticator              │
//!       │                            │←────────────────── reply ────│
//!       │←──────────────── reply ────│ visitors list, Visit         │
//! ```
//!
//! It never changes what the two ends have signed (RFC 5944 §3.7.2.2, §3.7.3.2), and never speaks for
//! a mobile node: when a lifetime is over it only forgets (§3.7).

mod advertising;
mod challenges;
mod checking;
mod relaying;
mod revoking;
mod settings;
mod visitors;

#[cfg(test)]
mod revocation_tests;
#[cfg(test)]
mod tests;

pub use advertising::ALL_SYSTEMS;
pub use settings::{ReverseTunnels, Settings};
pub use visitors::{Neighbour, Visitor, VisitorKey};

use super::replay::Clock;
use super::unacknowledged::Unacknowledged;
use super::wire::{Code, Decoded, Message, TunnelKind};
use super::{Datagram, Via};
use crate::net::{Random, Timers};
use advertising::Advertiser;
use challenges::Challenges;
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use visitors::{PendingKey, Visitors};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// From UDP port 434. The time to live and the MAC of its sender count on the link only.
    Datagram {
        datagram: Datagram,
        ttl: u8,
        mac: Option<[u8; 6]>,
    },
    /// A router solicitation (ICMP type 10) came over the link.
    Solicitation { from: Ipv4Addr },
    /// An ICMP error for a request that was passed on to this home agent.
    Unreachable {
        home_agent: Ipv4Addr,
        what: Unreachable,
    },
    /// An administrator ends what this home address has registered through us.
    Revoke(Ipv4Addr),
    /// The time since 1970: at first, and whenever it was set. Before, no home agent is offered revocation.
    Time(Duration),
}

/// RFC 5944 §3.4: codes 80 to 88.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    Network,
    Host,
    Port,
    Other,
}

impl Unreachable {
    /// What an ICMP error of this type and code means (RFC 792, RFC 1812 §5.2.7.1); `None` where the request may get
    /// there all the same.
    pub fn of_icmp(kind: u8, code: u8) -> Option<Self> {
        match (kind, code) {
            (3, 0 | 6) => Some(Self::Network),
            (3, 1 | 7) => Some(Self::Host),
            (3, 3) => Some(Self::Port),
            // Too long for a link: the next one is shorter.
            (3, 4) => None,
            (3 | 11 | 12, _) => Some(Self::Other),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// To a home agent.
    Relay(Datagram),
    /// To a mobile node on the link, by its MAC where that is known: its address is of elsewhere.
    Reply {
        datagram: Datagram,
        mac: Option<[u8; 6]>,
    },
    /// An ICMP message over the link, with a time to live of 1.
    Advertise {
        destination: Ipv4Addr,
        icmp: Vec<u8>,
    },
    /// The same to one visitor, whose address nobody can resolve.
    Inform {
        destination: Ipv4Addr,
        mac: Option<[u8; 6]>,
        icmp: Vec<u8>,
    },
    /// From now on its packets come out of a tunnel here, and go to it on the link. Said again when
    /// any of it changes.
    Visit(Visit),
    Leave(VisitorKey),
    /// Its registration has ended before its time.
    Revoked(VisitorKey, Revoker),
    RevocationAcknowledged(VisitorKey),
    RevocationUnanswered(VisitorKey),
    /// Ignored, or denied with a code that says so: an authenticator that is missing or wrong.
    Suspicious(Suspicion),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoker {
    HomeAgent,
    Us,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    pub home: Ipv4Addr,
    pub home_agent: Ipv4Addr,
    pub care_of: Ipv4Addr,
    pub tunnel: TunnelKind,
    pub reverse: Reverse,
    pub mac: Option<[u8; 6]>,
}

/// What becomes of the packets of a visitor (RFC 3024 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reverse {
    /// Routed as everybody's.
    None,
    /// All of them go through the tunnel.
    Direct,
    /// Those do that are wrapped and addressed to this agent; the others are routed.
    Encapsulating,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Suspicion {
    #[error("a request without the right authenticator of its mobile node")]
    MobileNode,
    #[error("a reply without the right authenticator of its home agent")]
    HomeAgent,
}

#[derive(Debug)]
pub struct ForeignAgent {
    settings: Settings,
    random: Box<dyn Random>,
    clock: Option<Clock>,
    advertiser: Advertiser,
    challenges: Challenges,
    visitors: Visitors,
    revoking: BTreeMap<VisitorKey, Unacknowledged>,
    /// When each node was denied last (RFC 5944 §3.7.2: one a second).
    denied: BTreeMap<Ipv4Addr, Instant>,
    timers: Timers<Timer>,
    effects: VecDeque<Effect>,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Advertise,
    Pending(PendingKey),
    Visitor(VisitorKey),
    /// Its home agent is to be told again that it was revoked.
    Revocation(VisitorKey),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub relayed: u64,
    pub denied: u64,
    pub ignored: u64,
    pub advertised: u64,
}

/// What `status` shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub visitors: Vec<(VisitorKey, Visitor)>,
    pub pending: usize,
    pub counts: Counts,
}

impl ForeignAgent {
    pub fn new(now: Instant, settings: Settings, random: Box<dyn Random>) -> Self {
        let mut agent = Self {
            settings,
            random,
            clock: None,
            advertiser: Advertiser::new(now),
            challenges: Challenges::default(),
            visitors: Visitors::default(),
            revoking: BTreeMap::new(),
            denied: BTreeMap::new(),
            timers: Timers::default(),
            effects: VecDeque::new(),
            counts: Counts::default(),
        };
        if agent.settings.interval.is_some() {
            // Those who are there already hear of the start at once.
            agent.advertise_unasked(now);
        }
        agent
    }

    /// Every address of this machine, whenever they change.
    pub fn own_addresses(&mut self, own: Vec<Ipv4Addr>) {
        self.settings.own = own;
    }

    /// Afterwards drain [`ForeignAgent::poll_effect`] and look at [`ForeignAgent::poll_timeout`].
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Datagram { datagram, ttl, mac } => self.read(now, &datagram, ttl, mac),
            Input::Solicitation { from } => {
                if let Some(destination) = self.advertiser.destination(now, from) {
                    self.advertise(destination);
                }
            }
            Input::Unreachable { home_agent, what } => self.unreachable(now, home_agent, what),
            Input::Revoke(home) => self.revoke(now, home),
            Input::Time(unix) => self.clock = Some(Clock::new(now, unix)),
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.expired(now) {
            match timer {
                Timer::Advertise => self.advertise_unasked(now),
                Timer::Pending(key) => self.give_up(now, key),
                Timer::Visitor(key) => self.leave(key),
                Timer::Revocation(key) => self.revoke_again(now, key),
            }
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub fn view(&self) -> View {
        let present = self.visitors.present.iter();
        View {
            visitors: present
                .map(|(key, visitor)| (*key, visitor.clone()))
                .collect(),
            pending: self.visitors.pending.len(),
            counts: self.counts,
        }
    }

    fn read(&mut self, now: Instant, datagram: &Datagram, ttl: u8, mac: Option<[u8; 6]>) {
        let on_link = datagram.via == Via::Link(self.settings.link);
        // RFC 5944 §1.8: silently, if it cannot be understood.
        match Decoded::decode(&datagram.payload) {
            Ok(decoded) => match &decoded.message {
                Message::Request(request) if on_link => {
                    self.asked(now, datagram, &decoded, request, ttl, mac);
                }
                Message::Reply(reply) => self.answered(now, &decoded, reply),
                Message::Revocation(revocation) if !on_link => {
                    self.revoked(datagram, &decoded, revocation);
                }
                Message::RevocationAck(ack) if !on_link => {
                    self.acknowledged(datagram, &decoded, ack);
                }
                _ => self.counts.ignored += 1,
            },
            Err(_) => self.counts.ignored += 1,
        }
    }

    fn advertise_unasked(&mut self, now: Instant) {
        self.advertise(ALL_SYSTEMS);
        self.advertiser.unasked();
        if let Some(pause) = self.advertiser.pause(&self.settings, &mut *self.random) {
            self.timers.set(Timer::Advertise, now + pause);
        }
    }

    fn advertise(&mut self, destination: Ipv4Addr) {
        let challenge = self.challenge();
        let busy = self.visitors.present.len() >= self.settings.most_visitors;
        let icmp = self.advertiser.next(&self.settings, busy, challenge);
        self.counts.advertised += 1;
        self.effects
            .push_back(Effect::Advertise { destination, icmp });
    }

    /// A fresh one, where they are asked for.
    fn challenge(&mut self) -> Option<Vec<u8>> {
        let asked_for = self.settings.challenge;
        asked_for.then(|| self.challenges.next(&mut *self.random))
    }

    fn unreachable(&mut self, now: Instant, home_agent: Ipv4Addr, what: Unreachable) {
        let code = match what {
            Unreachable::Network => Code::FA_HOME_NETWORK_UNREACHABLE,
            Unreachable::Host => Code::FA_HOME_AGENT_HOST_UNREACHABLE,
            Unreachable::Port => Code::FA_HOME_AGENT_PORT_UNREACHABLE,
            Unreachable::Other => Code::FA_HOME_AGENT_UNREACHABLE,
        };
        let pending = self.visitors.pending.iter();
        let waiting = pending.filter(|(_, pending)| pending.key.home_agent == home_agent);
        let keys: Vec<_> = waiting.map(|(key, _)| *key).collect();
        for key in keys {
            self.abandon(now, key, code);
        }
    }

    /// No answer in time (RFC 5944 §3.7.1).
    fn give_up(&mut self, now: Instant, key: PendingKey) {
        self.abandon(now, key, Code::FA_TIMEOUT);
    }

    fn leave(&mut self, key: VisitorKey) {
        self.timers.stop(&Timer::Visitor(key));
        if self
            .visitors
            .present
            .remove(&key)
            .is_some_and(|visitor| visitor.uses_us())
        {
            self.effects.push_back(Effect::Leave(key));
        }
    }
}

/// RFC 5944 §3.7.1: how long a home agent may take.
const MOST_PENDING_TIME: Duration = Duration::from_secs(7);
