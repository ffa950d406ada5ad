//! The home agent (RFC 5944 §3.8): keeps a mobile node's bindings, and says which tunnels carry what
//! is sent to its home address.
//!
//! ```text
//!  request ─→ authentic? ─→ fresh? ─→ foreign agent? ─→ can be served? ─→ binding ─→ reply
//!              131/silence    133         132           129–130, 134–139, 142, 147, 148
//! ```
//! A binding changes only behind the first three gates, by expiry, or by revocation. Main type:
//! [`HomeAgent`]. It refuses to know routes, ARP and the store; effects say what they should hold.

pub mod effects;
mod judging;
mod keepalive;
mod networks;
mod nodes;
mod pool;
mod rate;
mod registering;
mod revoking;
pub mod settings;

#[cfg(test)]
mod tests;

use super::replay::Clock;
use super::unacknowledged::Unacknowledged;
use super::wire::{Decoded, Message};
use super::{Datagram, Via};
use crate::net::{Random, Timers};
use effects::{Effect, Input, Kept, KeptBinding, Told, Tunnel};
use nodes::{NodeId, Nodes};
use rate::Rate;
use settings::{ForeignAgent, HomeLink, Settings};
use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub struct HomeAgent {
    settings: Settings,
    clock: Clock,
    random: Box<dyn Random>,
    nodes: Nodes,
    foreign_agents: HashMap<Ipv4Addr, ForeignAgent>,
    rate: Rate,
    failures: Rate,
    pending: HashMap<(Ipv4Addr, Ipv4Addr), Unacknowledged>,
    timers: Timers<Timer>,
    effects: VecDeque<Effect>,
    counters: Counters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The first binding of a mobile node ends.
    Expiry(NodeId),
    /// A revocation, by home address and foreign domain, is to be sent again.
    Revocation(Ipv4Addr, Ipv4Addr),
}

/// What was answered with silence, and how much was accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub accepted: u64,
    pub denied: u64,
    pub malformed: u64,
    /// Nobody knows the sender, or it did not sign.
    pub strangers: u64,
    /// RFC 5265 §4.3.
    pub untrusted: u64,
    pub too_many: u64,
    /// A foreign agent signed that shares no key with us (RFC 5944 §3.8.2.1 d).
    pub unknown_foreign_agents: u64,
}

/// One binding, for `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingView {
    pub home: Ipv4Addr,
    pub nai: Option<Vec<u8>>,
    pub care_of: Ipv4Addr,
    /// `None` never ends.
    pub left: Option<Duration>,
    pub half_bound: bool,
    pub tunnel: Tunnel,
}

impl HomeAgent {
    /// `kept` is what a store held; its bindings are effects at once.
    pub fn new(
        now: Instant,
        clock: Clock,
        settings: Settings,
        kept: Vec<Kept>,
        random: Box<dyn Random>,
    ) -> Self {
        let foreign_agents = settings.foreign_agents.iter();
        let mut agent = Self {
            nodes: Nodes::new(now, &settings),
            foreign_agents: foreign_agents
                .map(|agent| (agent.address, agent.clone()))
                .collect(),
            clock,
            random,
            rate: Rate::new(now),
            failures: Rate::new(now),
            pending: HashMap::new(),
            timers: Timers::default(),
            effects: VecDeque::new(),
            counters: Counters::default(),
            settings,
        };
        agent.restore(now, kept);
        agent
    }

    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Datagram(datagram) => self.datagram(now, &datagram),
            Input::Revoke(home) => self.revoke(now, home),
            Input::Clock { unix } => self.clock.set(now, unix),
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.expired(now) {
            match timer {
                Timer::Expiry(id) => self.expire(now, id),
                Timer::Revocation(home, foreign) => self.revoke_again(now, (home, foreign)),
            }
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Other settings, the same bindings: each that is left is an effect again. Those of who is no
    /// mobile node of ours any more are gone.
    pub fn reconfigure(&mut self, now: Instant, settings: Settings) {
        let known = self.nodes.iter().filter(|node| node.has_registered());
        let kept = known.map(|node| node.kept(now, &self.clock)).collect();
        let foreign_agents = settings.foreign_agents.iter();
        self.foreign_agents = foreign_agents
            .map(|agent| (agent.address, agent.clone()))
            .collect();
        self.nodes = Nodes::new(now, &settings);
        self.settings = settings;
        self.timers = Timers::default();
        for (home, foreign) in self.pending.keys() {
            self.timers.set(Timer::Revocation(*home, *foreign), now);
        }
        self.restore(now, kept);
    }

    fn restore(&mut self, now: Instant, mut kept: Vec<Kept>) {
        for kept in &mut kept {
            let is_offered = |kept: &KeptBinding| judging::offers(&self.settings, kept.tunnel.kind);
            kept.bindings.retain(is_offered);
        }
        // Who is registered comes before who was: since then somebody else may have got its address.
        let (registered, not): (Vec<_>, Vec<_>) =
            kept.into_iter().partition(|kept| !kept.bindings.is_empty());
        for kept in registered.into_iter().chain(not) {
            if let Some(id) = self.nodes.restore(now, &self.clock, kept) {
                self.announce(id, false);
            }
        }
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Every binding, in the order of the settings.
    pub fn view(&self, now: Instant) -> impl Iterator<Item = BindingView> {
        self.nodes.iter().flat_map(move |node| {
            node.bindings.iter().filter_map(move |binding| {
                Some(BindingView {
                    home: node.home?,
                    nai: node.config.nai.clone(),
                    care_of: binding.care_of,
                    left: binding.expires.map(|at| at.saturating_duration_since(now)),
                    half_bound: binding.half_bound,
                    tunnel: binding.tunnel.clone(),
                })
            })
        })
    }

    fn datagram(&mut self, now: Instant, datagram: &Datagram) {
        if !self.rate.take(now, self.settings.limits.rate) {
            self.counters.too_many += 1;
            return;
        }
        let Ok(decoded) = Decoded::decode(&datagram.payload) else {
            // RFC 5944 §1.8: with an extension that must be understood and is not, silence.
            self.counters.malformed += 1;
            return;
        };
        match &decoded.message {
            Message::Request(request) => self.request(now, datagram, &decoded, request),
            Message::TunnelData {
                next_header,
                payload,
            } => {
                let packet = &decoded.octets[payload.clone()];
                self.tunnel_data(now, datagram, *next_header, packet);
            }
            Message::Revocation(revocation) => {
                self.revoked(now, datagram, &decoded, revocation);
            }
            Message::RevocationAck(ack) => self.acknowledged(datagram, &decoded, ack),
            Message::Reply(_) => self.counters.malformed += 1,
        }
    }

    /// Says what the data path and ARP should hold for a mobile node now.
    fn announce(&mut self, id: NodeId, was_bound: bool) {
        let node = self.nodes.at(id);
        let Some(home) = node.home else {
            return;
        };
        let on_link = self.settings.home_network.contains(&home);
        let stands_in = on_link && self.settings.home_link == HomeLink::Physical;
        match node.next_expiry() {
            Some(at) => self.timers.set(Timer::Expiry(id), at),
            None => self.timers.stop(&Timer::Expiry(id)),
        }
        if node.bindings.is_empty() {
            if was_bound {
                self.effects.push_back(Effect::Unbind { home });
                if stands_in {
                    self.effects.push_back(Effect::Release { home });
                }
            }
            return;
        }
        let tunnels = node.tunnels();
        self.effects.push_back(Effect::Bind { home, tunnels });
        if !was_bound && stands_in {
            self.effects.push_back(Effect::Intercept { home });
        }
    }

    fn keep(&mut self, now: Instant, id: NodeId) {
        let kept = self.nodes.at(id).kept(now, &self.clock);
        self.effects.push_back(Effect::Keep(kept));
    }

    /// Drops the bindings for which `ends` holds, says so, and gives their care-of addresses.
    fn drop_bindings(
        &mut self,
        now: Instant,
        id: NodeId,
        ends: impl Fn(&nodes::Binding) -> bool,
    ) -> Vec<nodes::Binding> {
        let node = self.nodes.at_mut(id);
        let dropped: Vec<_> = node
            .bindings
            .extract_if(.., |binding| ends(binding))
            .collect();
        if !dropped.is_empty() {
            self.nodes.count -= dropped.len();
            self.keep(now, id);
            self.announce(id, true);
            self.nodes.unassign(id);
        }
        dropped
    }

    fn expire(&mut self, now: Instant, id: NodeId) {
        let home = self.nodes.at(id).home;
        let over = |binding: &nodes::Binding| binding.expires.is_some_and(|at| at <= now);
        for binding in self.drop_bindings(now, id, over) {
            if let Some(home) = home {
                self.tell(Told::Expired {
                    home,
                    care_of: binding.care_of,
                });
            }
        }
    }

    fn tell(&mut self, told: Told) {
        self.effects.push_back(Effect::Tell(told));
    }

    fn send(&mut self, via: Via, local: SocketAddrV4, to: SocketAddrV4, payload: Vec<u8>) {
        self.effects.push_back(Effect::Send(Datagram {
            via,
            local,
            remote: to,
            payload,
        }));
    }
}
