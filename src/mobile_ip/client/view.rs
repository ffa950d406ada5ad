//! What `status` shows of a registration.

use super::{Client, Goal, Registered};
use crate::mobile_ip::Via;
use std::net::Ipv4Addr;
use std::time::Instant;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub doing: Doing,
    /// `None` while the home agent has given none.
    pub home: Option<Ipv4Addr>,
    /// `None` while none was found.
    pub home_agent: Option<Ipv4Addr>,
    pub registered: Option<Registered>,
    /// When the registration is over unless it is renewed.
    pub until: Option<Instant>,
    /// When something is sent or given up next.
    pub next: Option<Instant>,
    /// Requests since the last answer.
    pub unanswered: u32,
    pub counts: Counts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    Nothing,
    Registering(Via),
    /// At home, or leaving a care-of address: the binding is to go.
    Deregistering(Via),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sent, repetitions and probes included.
    pub requests: u64,
    /// Believed.
    pub replies: u64,
    /// Datagrams that were not believed, or not understood.
    pub ignored: u64,
}

impl Client {
    pub fn view(&self) -> View {
        let doing = match &self.goal {
            Goal::Idle => Doing::Nothing,
            Goal::Attached(attachment) => Doing::Registering(attachment.via),
            Goal::Leaving(attachment) => Doing::Deregistering(attachment.via),
            Goal::Home { via, .. } => Doing::Deregistering(*via),
        };
        View {
            doing,
            home: self.home,
            home_agent: self.home_agent,
            registered: self
                .binding
                .as_ref()
                .map(|binding| binding.registered.clone()),
            until: self.timers.deadline(&super::Timer::End),
            next: self.timers.next(),
            unanswered: self.unanswered,
            counts: self.counts,
        }
    }
}
