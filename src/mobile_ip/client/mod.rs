//! The mobile node towards one home agent: registers a care-of address, keeps it registered, and says
//! how it stands. Two of them make a dual client, one towards the inner home agent and one towards
//! the outer.
//!
//! ```text
//!            Attach                    accepted
//!   idle ──────────────→ asking ───────────────────→ registered ─┐
//!     ↑                   ↑  ↑ │ 1, 2, 4, 8, 8 s         │  ↑    │ before the end,
//!     │                   │  └─┘ without an answer       │  └────┘ every `renewal`
//!     │    denied: mended │                              │
//!     │    at once, or    └──────────────────────────────┘
//!     │    slowly again       ended, revoked, mapping lost
//!     └── Detach;  Home, Deregister: asked until answered
//! ```
//!
//! Believed is only a reply with exactly one right authenticator of the home agent, in answer to the
//! newest request (RFC 5944 §3.6.2.1). Several mobile nodes with one home address, one on each link,
//! may share a security association: they have one clock, and whoever is told that an identification
//! comes too late goes on behind it. What a foreign agent denies without being able to sign it only
//! slows us down. Of tunnels and routes it knows nothing: [`Outcome::Registered`] says what was
//! granted.

mod asking;
mod attachment;
mod consequences;
mod discovery;
mod effects;
mod keepalive;
mod pacing;
mod probing;
mod reading;
mod registering;
mod revoking;
mod settings;
mod tunnelling;
mod view;

#[cfg(test)]
mod tests;

pub use attachment::{Attachment, CareOf, ForeignAgent};
pub use discovery::{AgentDiscovery, Found};
pub use effects::{Effect, Farewell, Loss, Outcome, Registered, Suspicion, TrustedNetwork, Tunnel};
pub use settings::{Delivery, HomeAgent, KEEPALIVE, ReverseTunnel, Settings, T_MONITOR, UdpTunnel};
pub use view::{Counts, Doing, View};

use super::replay::{Clock, Issuer};
use super::wire::{Decoded, Message};
use super::{Datagram, Via};
use crate::net::{Random, Timers};
use asking::Request;
use consequences::Repairs;
use keepalive::Keepalive;
use pacing::Allowance;
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Register over this from now on. The first request leaves at once, unless links change so often
    /// that it would be more than one a second on average.
    Attach(Attachment),
    /// Nothing reaches. What the home agent holds, it keeps until its lifetime is over.
    Detach,
    /// Register again at once: a proof is wanted, or somebody else has moved the binding.
    Renew,
    /// The way that the attachment takes is open only now. What has left meanwhile is lost, most likely, and
    /// leaves once more.
    Opened,
    /// At home on this link: all bindings are to go (RFC 5944 §3.6.1.2). Asked until answered, from
    /// `local`: the home address, or another one that the link has.
    Home {
        epoch: u64,
        via: Via,
        local: Ipv4Addr,
    },
    /// This one binding is to go; asked a few times.
    Deregister(Attachment),
    /// Ask with a stale identification, once, whether the home agent answers from there. Changes no
    /// binding. Left out while too many requests have left lately.
    Probe { via: Via, local: Ipv4Addr },
    /// From the home agent, a foreign agent, or anybody.
    Datagram(Datagram),
    /// The time of day was set: since 1970.
    Time(Duration),
}

#[derive(Debug)]
pub struct Client {
    settings: Settings,
    clock: Clock,
    random: Box<dyn Random>,
    issuer: Issuer,
    allowance: Allowance,
    /// As configured, or as given by the home agent.
    home: Option<Ipv4Addr>,
    /// As configured, or as found.
    home_agent: Option<Ipv4Addr>,
    goal: Goal,
    repairs: Repairs,
    /// Of the reply of a foreign agent, in place of the one advertised.
    challenge: Option<Vec<u8>>,
    /// The newest request, until it is answered.
    pending: Option<Request>,
    /// Requests since the last answer.
    unanswered: u32,
    binding: Option<Binding>,
    probe: Option<Request>,
    round_trip: Option<Duration>,
    /// What a lost mapping behind the present router has taught (RFC 3519 §4.10).
    shortened: Option<Duration>,
    /// Seconds of the home agent's clock before which no revocation is ours (RFC 3543 §3.5).
    revoked_until: Option<u32>,
    /// The last acknowledgement, for a revocation that is repeated because it was lost.
    acknowledged: Option<(u32, Vec<u8>)>,
    timers: Timers<Timer>,
    effects: VecDeque<Effect>,
    counts: Counts,
}

/// What the requests are about.
#[derive(Clone, Debug)]
enum Goal {
    Idle,
    Attached(Attachment),
    Home {
        epoch: u64,
        via: Via,
        local: Ipv4Addr,
    },
    Leaving(Attachment),
}

/// What the home agent holds of the present attachment, as far as we know.
#[derive(Clone, Debug)]
struct Binding {
    registered: Registered,
    request: Request,
    keepalive: Option<Keepalive>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The next request: a first one, a repetition, or a renewal.
    Ask,
    /// The lifetime of the binding is over.
    End,
    Keepalive,
}

impl Client {
    /// `clock` is told anew with [`Input::Time`] whenever it was wrong.
    pub fn new(now: Instant, settings: Settings, clock: Clock, random: Box<dyn Random>) -> Self {
        let home_agent = match settings.home_agent {
            HomeAgent::Known(address) => Some(address),
            HomeAgent::Somewhere(_) => None,
        };
        Self {
            issuer: Issuer::new(settings.association.replay, settings.series),
            allowance: Allowance::new(now),
            home: settings.home,
            home_agent,
            settings,
            clock,
            random,
            goal: Goal::Idle,
            repairs: Repairs::default(),
            challenge: None,
            pending: None,
            unanswered: 0,
            binding: None,
            probe: None,
            round_trip: None,
            shortened: None,
            revoked_until: None,
            acknowledged: None,
            timers: Timers::default(),
            effects: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// Afterwards drain [`Client::poll_effect`] and look at [`Client::poll_timeout`].
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Attach(attachment) => self.begin(now, Goal::Attached(attachment)),
            Input::Detach => self.stop(),
            // While an answer is outstanding it is being asked already.
            Input::Renew if self.pending.is_some() => {}
            Input::Renew => self.ask_soon(now),
            Input::Opened => self.ask_once_more(now),
            Input::Home { epoch, via, local } => {
                self.begin(now, Goal::Home { epoch, via, local });
            }
            Input::Deregister(attachment) => self.begin(now, Goal::Leaving(attachment)),
            Input::Probe { via, local } => self.probe(now, via, local),
            Input::Datagram(datagram) => self.read(now, &datagram),
            Input::Time(unix) => self.clock.set(now, unix),
        }
    }

    /// To be called at [`Client::poll_timeout`], or later.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.expired(now) {
            match timer {
                Timer::Ask => self.ask(now),
                Timer::End => self.end(now),
                Timer::Keepalive => self.keep_alive(now),
            }
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn read(&mut self, now: Instant, datagram: &Datagram) {
        // What cannot be decoded is silently discarded (RFC 5944 §1.8).
        let Ok(decoded) = Decoded::decode(&datagram.payload) else {
            self.counts.ignored += 1;
            return;
        };
        let heard = match &decoded.message {
            Message::Reply(reply) => self.answered(now, datagram, &decoded, reply),
            Message::Revocation(revocation) => self.revoked(now, datagram, &decoded, revocation),
            Message::TunnelData { payload, .. } => {
                self.heard_through_tunnel(now, datagram, &decoded.octets[payload.clone()])
            }
            Message::Request(_) | Message::RevocationAck(_) => false,
        };
        if !heard {
            self.counts.ignored += 1;
        }
    }

    fn tell(&mut self, outcome: Outcome) {
        self.effects.push_back(Effect::Outcome(outcome));
    }

    fn suspect(&mut self, suspicion: Suspicion) {
        self.effects.push_back(Effect::Suspicious(suspicion));
    }
}
