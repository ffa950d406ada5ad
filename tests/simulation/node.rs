//! A gateway: its agent, its kernel, its clock.

use crate::clock::Clock;
use crate::kernel::Kernel;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use xfrm_agent::agent::Agent;
use xfrm_agent::agent::effect::Routes;
use xfrm_agent::agent::event::Event;
use xfrm_agent::agent::settings::Settings;
use xfrm_agent::kernel::desired::SaKey;
use xfrm_agent::net::{IpNet, Selector};

pub struct Node {
    pub name: &'static str,
    /// Unspecified while it has none.
    pub address: IpAddr,
    pub(super) way_out: WayOut,
    /// What arrived while the agent was stopped.
    pub(super) unread: Vec<Event>,
    pub kernel: Kernel,
    pub agent: Agent,
    /// What lies behind it.
    pub nets: Vec<IpNet>,
    pub clock: Clock,
    pub health: Health,
    pub wakeups: Wakeups,
    pub(super) settings: Settings,
    /// What survives a restart.
    pub(super) remembered: Vec<Selector>,
    /// The next change is the whole of what this run wants.
    pub(super) starting: bool,
    /// How often the agent was started, and the SAs that it found in the kernel.
    pub run: u64,
    pub found: BTreeSet<SaKey>,
    /// When its agent wants to be woken, in the world's time.
    pub(super) wake: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Well,
    /// The agent was killed; the kernel goes on alone.
    Killed,
    /// The agent was stopped, and may go on; the kernel does.
    Stopped,
    /// The machine is booting: nothing is forwarded until the agent's first change is in.
    Booting,
}

impl Health {
    pub(super) fn listens(self) -> bool {
        !matches!(self, Self::Killed | Self::Stopped)
    }
}

/// How often an agent asked to be woken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wakeups {
    /// In the second of virtual time `second`.
    pub in_second: u32,
    /// One after the other at the same instant.
    pub at_once: u32,
    second: u64,
    last: Option<Instant>,
}

impl Wakeups {
    pub(super) fn count(&mut self, second: u64, now: Instant) {
        if self.second != second {
            (self.second, self.in_second) = (second, 0);
        }
        self.in_second += 1;
        self.at_once = match self.last.replace(now) {
            Some(last) if last == now => self.at_once + 1,
            _ => 1,
        };
    }
}

/// The address that a gateway has now.
#[derive(Clone)]
pub(super) struct WayOut(pub Arc<Mutex<IpAddr>>);

impl WayOut {
    pub(super) fn by(address: IpAddr) -> Self {
        Self(Arc::new(Mutex::new(address)))
    }
}

impl Routes for WayOut {
    fn source_towards(&mut self, _: IpAddr) -> Option<IpAddr> {
        let address = *self.0.lock().unwrap();
        (!address.is_unspecified()).then_some(address)
    }
}
