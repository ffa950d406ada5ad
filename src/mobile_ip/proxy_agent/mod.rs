//! The proxy agent (108 of FIG. 4): a home agent towards mobile nodes outside, and in one box a
//! surrogate mobile node for each of them towards the inner home agent. It passes signalling on and
//! says which two tunnels carry one node's packets.
//!
//! ```text
//!  mobile node 103            proxy agent 108              inner home agent 102
//!       │── request, care-of X ────→│                              │
//!       │                           │── request, care-of of 108 ──→│
//!       │                           │←──────────────────── reply ──│
//!       │←─────────────── reply ────│ Stitch                       │
//!       │═══ tunnel X – outer ══════╪═══ tunnel inner – 102 ═══════│
//! ```
//!
//! A mobile node that only moves outside is answered at once: inside nothing changes. Neither side's
//! keys are known on the other. What grants nothing is never waited for: replies that say 133, 134,
//! 136 or 139 leave at once, and a request that the inner home agent does not answer gets none.

mod door;
mod settings;

#[cfg(test)]
mod tests;

pub use door::End;
pub use settings::{Node, Settings};

use super::client::{
    self, Attachment, CareOf, Client, Delivery, HomeAgent, Outcome, ReverseTunnel, UdpTunnel,
};
use super::foreign_home::{self, Foreign};
use super::replay::{Clock, Guard};
use super::wire::{
    Code, Decoded, Flags, INFINITE, Message, RegistrationRequest, TunnelKind, echo, tunnel_data,
};
use super::{Datagram, Via};
use crate::net::{Random, Timers};
use door::{Door, Sender, Visit};
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Of either side; which, its local address says.
    Datagram(Datagram),
    /// The time of day was set: since 1970.
    Time(Duration),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Send(Datagram),
    /// What comes out of one tunnel with this address goes into the other. Newest wins. Whoever sends what follows
    /// waits until it does.
    Stitch(Stitch),
    Unstitch {
        home: Ipv4Addr,
    },
    /// A request in the name of this node that it has not signed.
    Suspicious {
        home: Ipv4Addr,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stitch {
    pub home: Ipv4Addr,
    pub outer_local: Ipv4Addr,
    pub outer_remote: End,
    pub inner_local: Ipv4Addr,
    /// The inner home agent.
    pub inner_remote: Ipv4Addr,
    /// Whether the mobile node sends through its tunnel too. To the inside everything goes through
    /// one, since the node's address is none of the network that this agent is in.
    pub reverse: bool,
}

/// What `status` shows of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub home: Ipv4Addr,
    pub stitched: Option<Stitch>,
    pub until: Option<Instant>,
    pub inner: client::View,
}

#[derive(Debug)]
pub struct ProxyAgent {
    settings: Settings,
    clock: Clock,
    random: Box<dyn Random>,
    surrogates: BTreeMap<Ipv4Addr, Surrogate>,
    timers: Timers<Timer>,
    effects: VecDeque<Effect>,
}

/// One mobile node.
#[derive(Debug)]
struct Surrogate {
    node: Node,
    guard: Guard,
    client: Client,
    /// Its newest request, while the inner home agent has not answered.
    waiting: Option<Visit>,
    /// The last one that was granted.
    outer: Option<Visit>,
    stitched: Option<Stitch>,
    granted: Granted,
}

/// What the inner home agent has granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Granted {
    Nothing,
    Until(Instant),
    ForEver,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Something is due towards the inner home agent.
    Inner(Ipv4Addr),
    /// The mobile node has not renewed.
    Outer(Ipv4Addr),
}

/// What is left inside must be worth granting.
const LEAST_LEFT: Duration = Duration::from_secs(10);

impl ProxyAgent {
    pub fn new(
        now: Instant,
        settings: Settings,
        clock: Clock,
        mut random: impl FnMut() -> Box<dyn Random>,
    ) -> Self {
        let nodes = settings.nodes.iter();
        let surrogates = nodes.map(|node| {
            let inner = inner_settings(&settings, node);
            let surrogate = Surrogate {
                guard: Guard::new(node.outer.replay),
                client: Client::new(now, inner, clock, random()),
                node: node.clone(),
                waiting: None,
                outer: None,
                stitched: None,
                granted: Granted::Nothing,
            };
            (node.home, surrogate)
        });
        Self {
            surrogates: surrogates.collect(),
            clock,
            random: random(),
            timers: Timers::default(),
            effects: VecDeque::new(),
            settings,
        }
    }

    /// Afterwards drain [`ProxyAgent::poll_effect`] and look at [`ProxyAgent::poll_timeout`].
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Datagram(datagram) => self.read(now, &datagram),
            Input::Time(unix) => {
                self.clock.set(now, unix);
                for surrogate in self.surrogates.values_mut() {
                    surrogate.client.handle(now, client::Input::Time(unix));
                }
            }
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.expired(now) {
            match timer {
                Timer::Inner(home) => self.inner(now, home, |client| client.handle_timeout(now)),
                Timer::Outer(home) => self.leave(now, home),
            }
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub fn view(&self) -> Vec<View> {
        let all = self.surrogates.iter();
        let view = all.map(|(home, surrogate)| View {
            home: *home,
            stitched: surrogate.stitched,
            until: self.timers.deadline(&Timer::Outer(*home)),
            inner: surrogate.client.view(),
        });
        view.collect()
    }

    fn read(&mut self, now: Instant, datagram: &Datagram) {
        let Ok(decoded) = Decoded::decode(&datagram.payload) else {
            return;
        };
        let local = *datagram.local.ip();
        match &decoded.message {
            Message::Request(request) if local == self.settings.outer => {
                self.asked(now, datagram, &decoded, request);
            }
            Message::TunnelData {
                next_header,
                payload,
            } if local == self.settings.outer && *next_header == TunnelKind::IpIp.protocol() => {
                self.keep_alive(datagram, &decoded.octets[payload.clone()]);
            }
            Message::Reply(reply) if local == self.settings.inner => {
                self.hear_inner(now, reply.home, datagram);
            }
            Message::Revocation(revocation) if local == self.settings.inner => {
                self.hear_inner(now, revocation.home, datagram);
            }
            _ => {}
        }
    }

    fn hear_inner(&mut self, now: Instant, home: Ipv4Addr, datagram: &Datagram) {
        let datagram = client::Input::Datagram(datagram.clone());
        self.inner(now, home, |client| client.handle(now, datagram));
    }

    // --- outside ----------------------------------------------------------------------------------

    fn asked(
        &mut self,
        now: Instant,
        datagram: &Datagram,
        decoded: &Decoded,
        request: &RegistrationRequest,
    ) {
        // Strangers get no answer: they could not check it, and it would only be reflected.
        let Some(surrogate) = self.surrogates.get_mut(&request.home) else {
            return;
        };
        if !door::is_signed(decoded, &surrogate.node) {
            let home = request.home;
            self.effects.push_back(Effect::Suspicious { home });
            return;
        }
        // With nonces a repetition is the same request again (RFC 5944 §3.6.3).
        let waiting = surrogate.waiting.as_ref();
        if waiting.is_some_and(|visit| visit.request.identification == request.identification) {
            return;
        }
        let door = Door {
            now,
            clock: &self.clock,
            node: &surrogate.node,
            settings: &self.settings,
        };
        let mut known = self.settings.foreign_agents.iter();
        let known = known.find(|(address, _)| address == datagram.remote.ip());
        let foreign = foreign_home::association(known.map(|(_, key)| key), decoded, request);
        let (foreign_agent, is_wrong) = match foreign {
            Ok(association) => (association, false),
            Err(Foreign::Wrong) => (None, true),
            Err(Foreign::Unknown) => return,
        };
        let from = Sender {
            datagram: datagram.clone(),
            foreign_agent,
            is_wrong,
        };
        let guard = &mut surrogate.guard;
        let examined = door.examine(&from, request, guard, &mut *self.random);
        match examined {
            Err(refusal) => {
                let reply = refusal.reply(&from, request, &surrogate.node);
                self.effects.push_back(Effect::Send(reply));
            }
            Ok(visit) if request.is_deregistration() => self.take_back(now, &visit),
            Ok(visit) => self.arrive(now, visit),
        }
    }

    /// Answered through the tunnel of its sender, and through no other (RFC 3519 §4.9). Everything else that is tunnelled
    /// belongs to the data path.
    fn keep_alive(&mut self, datagram: &Datagram, packet: &[u8]) {
        let Some((home, answer)) = echo::answer(packet, self.settings.outer) else {
            return;
        };
        let stitched = self.surrogates.get(&home).and_then(|node| node.stitched);
        if stitched.is_some_and(|stitch| stitch.outer_remote == End::Udp(datagram.remote)) {
            let mut payload = tunnel_data::header(TunnelKind::IpIp).to_vec();
            payload.extend(answer);
            self.effects.push_back(Effect::Send(Datagram {
                payload,
                ..datagram.clone()
            }));
        }
    }

    fn arrive(&mut self, now: Instant, visit: Visit) {
        let home = visit.request.home;
        let Some(surrogate) = self.surrogates.get_mut(&home) else {
            return;
        };
        let asked_for = visit.request.lifetime.min(self.settings.lifetime);
        surrogate.waiting = Some(visit);
        if surrogate.left(now).is_some_and(|left| left >= LEAST_LEFT) {
            return self.grant(now, home);
        }
        // Who waits may go without a word, too.
        if surrogate.outer.is_none() {
            let until = now + Duration::from_secs(asked_for.into());
            self.timers.set(Timer::Outer(home), until);
        }
        let attached = matches!(surrogate.client.view().doing, client::Doing::Registering(_));
        if !attached {
            let attach = client::Input::Attach(attachment(&self.settings));
            self.inner(now, home, |client| client.handle(now, attach));
        }
    }

    /// Both sides agree: the newest request is answered, and the tunnels are one way.
    fn grant(&mut self, now: Instant, home: Ipv4Addr) {
        let Some(surrogate) = self.surrogates.get_mut(&home) else {
            return;
        };
        let Some(left) = surrogate.left(now) else {
            return;
        };
        let mut reply = None;
        if let Some(visit) = surrogate.waiting.take() {
            let inside = u16::try_from(left.as_secs()).unwrap_or(INFINITE);
            let lifetime = visit
                .request
                .lifetime
                .min(self.settings.lifetime)
                .min(inside)
                .min(visit.end.longest());
            reply = Some(visit.reply(Code::ACCEPTED, lifetime, &surrogate.node, &self.settings));
            if lifetime == INFINITE {
                self.timers.stop(&Timer::Outer(home));
            } else {
                let until = now + Duration::from_secs(lifetime.into());
                self.timers.set(Timer::Outer(home), until);
            }
            surrogate.outer = Some(visit);
        }
        if let Some(visit) = &surrogate.outer {
            let stitch = Stitch {
                home,
                outer_local: self.settings.outer,
                outer_remote: visit.end,
                inner_local: self.settings.inner,
                inner_remote: self.settings.home_agent,
                reverse: visit.request.flags.contains(Flags::REVERSE_TUNNEL),
            };
            if surrogate.stitched.replace(stitch) != Some(stitch) {
                self.effects.push_back(Effect::Stitch(stitch));
            }
        }
        // Who hears that it is registered may send.
        self.effects.extend(reply.map(Effect::Send));
    }

    /// The mobile node asks for the end of its binding.
    fn take_back(&mut self, now: Instant, visit: &Visit) {
        let request = &visit.request;
        let Some(surrogate) = self.surrogates.get_mut(&request.home) else {
            return;
        };
        let reply = visit.reply(Code::ACCEPTED, 0, &surrogate.node, &self.settings);
        self.effects.push_back(Effect::Send(reply));
        // Of another care-of address than those it has asked for nothing is left (RFC 5944 §3.8.2.2).
        let goes = |visit: &mut Visit| {
            request.care_of == request.home || request.care_of == visit.request.care_of
        };
        surrogate.waiting.take_if(goes);
        surrogate.outer.take_if(goes);
        match (surrogate.waiting.is_some(), surrogate.outer.is_some()) {
            (false, false) => self.leave(now, request.home),
            (true, false) => self.unstitch(request.home),
            (_, true) => {}
        }
    }

    fn leave(&mut self, now: Instant, home: Ipv4Addr) {
        self.timers.stop(&Timer::Outer(home));
        let Some(surrogate) = self.surrogates.get_mut(&home) else {
            return;
        };
        surrogate.waiting = None;
        surrogate.outer = None;
        surrogate.granted = Granted::Nothing;
        // Whatever we know: we may have been restarted since.
        let leaving = client::Input::Deregister(attachment(&self.settings));
        self.inner(now, home, |client| client.handle(now, leaving));
        self.unstitch(home);
    }

    fn unstitch(&mut self, home: Ipv4Addr) {
        let surrogate = self.surrogates.get_mut(&home);
        if surrogate.is_some_and(|surrogate| surrogate.stitched.take().is_some()) {
            self.effects.push_back(Effect::Unstitch { home });
        }
    }

    // --- inside -----------------------------------------------------------------------------------

    /// Lets the surrogate of `home` do something, and follows what comes of it.
    fn inner(&mut self, now: Instant, home: Ipv4Addr, act: impl FnOnce(&mut Client)) {
        let Some(surrogate) = self.surrogates.get_mut(&home) else {
            return;
        };
        act(&mut surrogate.client);
        let effects: Vec<_> = std::iter::from_fn(|| surrogate.client.poll_effect()).collect();
        match surrogate.client.poll_timeout() {
            Some(at) => self.timers.set(Timer::Inner(home), at),
            None => self.timers.stop(&Timer::Inner(home)),
        }
        for effect in effects {
            match effect {
                client::Effect::Send(datagram) => self.effects.push_back(Effect::Send(datagram)),
                client::Effect::Outcome(outcome) => self.follow(now, home, &outcome),
                client::Effect::Suspicious(_) => {
                    self.effects.push_back(Effect::Suspicious { home });
                }
                client::Effect::Solicit(_) => {}
            }
        }
    }

    fn follow(&mut self, now: Instant, home: Ipv4Addr, outcome: &Outcome) {
        let Some(surrogate) = self.surrogates.get_mut(&home) else {
            return;
        };
        match outcome {
            Outcome::Registered(registered) => {
                surrogate.granted = match registered.lifetime {
                    Some(lifetime) => Granted::Until(registered.asked + lifetime),
                    None => Granted::ForEver,
                };
                self.grant(now, home);
            }
            Outcome::Denied { code, .. } => {
                surrogate.granted = Granted::Nothing;
                if let Some(visit) = surrogate.waiting.take() {
                    let code = passed_on(*code);
                    let reply = visit.reply(code, 0, &surrogate.node, &self.settings);
                    self.effects.push_back(Effect::Send(reply));
                }
                // Nobody is there to be asked for again: whoever comes asks itself.
                if surrogate.outer.is_none() {
                    self.timers.stop(&Timer::Outer(home));
                    self.inner(now, home, |client| {
                        client.handle(now, client::Input::Detach);
                    });
                }
            }
            Outcome::Lost { .. } => {
                surrogate.granted = Granted::Nothing;
                self.unstitch(home);
            }
            Outcome::Deregistered { .. }
            | Outcome::Unreachable { .. }
            | Outcome::Reachable { .. } => {}
        }
    }
}

impl Surrogate {
    /// How long the inner home agent's grant still holds.
    fn left(&self, now: Instant) -> Option<Duration> {
        match self.granted {
            Granted::Nothing => None,
            Granted::Until(until) => Some(until.saturating_duration_since(now)),
            Granted::ForEver => Some(Duration::MAX),
        }
    }
}

/// What is wrong with a request of ours is nothing that the mobile node could mend in its own.
fn passed_on(denied: Code) -> Code {
    match denied {
        Code::HA_PROHIBITED | Code::HA_RESOURCES => denied,
        _ => Code::HA_UNSPECIFIED,
    }
}

fn attachment(settings: &Settings) -> Attachment {
    Attachment {
        epoch: 0,
        via: Via::Routed,
        care_of: CareOf::CoLocated {
            address: settings.inner,
        },
        keep_others: false,
    }
}

fn inner_settings(settings: &Settings, node: &Node) -> client::Settings {
    client::Settings {
        home: Some(node.home),
        home_agent: HomeAgent::Known(settings.home_agent),
        nai: None,
        association: node.inner.clone(),
        series: 0,
        foreign_agents: Vec::new(),
        port: settings.port,
        lifetime: settings.lifetime,
        renewal: None,
        reverse: ReverseTunnel::Required,
        encapsulation: TunnelKind::IpIp,
        delivery: Delivery::Direct,
        udp: UdpTunnel::Never,
        revocation: true,
        broadcasts: false,
        networks: Vec::new(),
        networks6: Vec::new(),
    }
}
