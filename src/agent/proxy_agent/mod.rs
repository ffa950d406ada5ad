//! Our own proxy agent (108 of FIG. 4): `mobile_ip::proxy_agent` between port 434, of both sides, and the kernel.
//!
//! ```text
//!  port 434 ─→ room ─┬─ Stitch, Unstitch ─┬─→ wishes ─→ kernel ─→ Applied(r) ─╮
//!   clock ───→       │                    └─→ Carry, where the tunnel is in UDP │
//!                    └─ Send ───────────────── waits for r ─────────────────────┴→ SendRegistration
//! ```
//! Nothing is kept over a restart: the mobile nodes register again, and nobody's packets go anywhere meanwhile.

mod kernel;
pub mod settings;
mod view;

#[cfg(test)]
mod tests;

use super::Agent;
use super::effect::Effect;
use super::event::Doubt;
use super::wishes::Wishes;
use crate::kernel::desired::{Key, Object};
use crate::mobile_ip::Datagram;
use crate::mobile_ip::proxy_agent::{Effect as RoomEffect, End, Input, ProxyAgent, Stitch};
use crate::mobile_ip::replay::Clock;
use crate::net::Random;
use crate::presence::Timestamp;
use crate::tun::tunnels::Side;
use settings::ProxyAgentSettings;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct OwnProxyAgent {
    room: ProxyAgent,
    settings: ProxyAgentSettings,
    /// Nobody is heard before: what is fresh could not be told.
    knows_time: bool,
    /// What the kernel should hold of each.
    stitched: BTreeMap<Ipv4Addr, Stitch>,
}

impl OwnProxyAgent {
    fn new(
        now: Instant,
        settings: &ProxyAgentSettings,
        random: impl FnMut() -> Box<dyn Random>,
    ) -> Self {
        let clock = Clock::new(now, Duration::ZERO);
        Self {
            room: ProxyAgent::new(now, settings.protocol.clone(), clock, random),
            settings: settings.clone(),
            knows_time: false,
            stitched: BTreeMap::new(),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.room.poll_timeout()
    }

    pub(super) fn poll_effect(&mut self) -> Option<RoomEffect> {
        self.room.poll_effect()
    }

    /// Gives what user space has to do.
    fn stitch(&mut self, stitch: Stitch, wishes: &mut Wishes) -> Option<Effect> {
        let new = kernel::of_stitch(&self.settings, &stitch);
        let keys: Vec<Key> = new.iter().map(Object::key).collect();
        let before = self.unstitch(stitch.home, &keys, wishes);
        for object in new {
            wishes.want(object);
        }
        self.stitched.insert(stitch.home, stitch);
        let adapter = kernel::UDP_TUNNELS;
        let carried = kernel::carried(&stitch);
        carried
            .map(|binding| Effect::Carry { adapter, binding })
            .or(before)
    }

    /// What was wanted for a mobile node, but for `stays`. Gives what user space has to do.
    fn unstitch(&mut self, home: Ipv4Addr, stays: &[Key], wishes: &mut Wishes) -> Option<Effect> {
        let before = self.stitched.remove(&home)?;
        for object in kernel::of_stitch(&self.settings, &before) {
            let key = object.key();
            if !stays.contains(&key) {
                wishes.withdraw(&key);
            }
        }
        let side = Side::HomeAgent;
        kernel::carried(&before).map(|_| Effect::CarryNoMore { side, home })
    }
}

impl Agent {
    pub(super) fn start_proxy_agent(
        &mut self,
        now: Instant,
        random: impl FnMut() -> Box<dyn Random>,
    ) {
        if let Some(settings) = &self.settings.proxy_agent {
            for object in kernel::foundation(settings) {
                self.wishes.want(object);
            }
            self.surrogates = Some(OwnProxyAgent::new(now, settings, random));
        }
    }

    /// Between two steps, instants tell the time better than whole seconds of the wall clock.
    pub(super) fn proxy_agent_clock(
        &mut self,
        now: Instant,
        unix: Timestamp,
        doubt: Option<Doubt>,
    ) {
        if let Some(own) = &mut self.surrogates
            && (!own.knows_time || matches!(doubt, Some(Doubt::ClockStepped | Doubt::Resumed)))
        {
            own.knows_time = true;
            let unix = Duration::from_secs(unix.0);
            own.room.handle(now, Input::Time(unix));
        }
    }

    /// From a mobile node or from the inner home agent.
    pub(super) fn proxy_agent_heard(&mut self, now: Instant, datagram: Datagram) {
        if let Some(own) = &mut self.surrogates
            && own.knows_time
        {
            own.room.handle(now, Input::Datagram(datagram));
        }
    }

    pub(super) fn proxy_agent_timeout(&mut self, now: Instant) {
        if let Some(own) = &mut self.surrogates {
            own.room.handle_timeout(now);
        }
    }

    pub(super) fn proxy_agent_effect(&mut self, now: Instant, effect: RoomEffect) {
        let Some(own) = &mut self.surrogates else {
            return;
        };
        match effect {
            RoomEffect::Send(datagram) => {
                let effect = Effect::SendRegistration(datagram);
                self.wait_for_ways();
                match self.barrier {
                    Some(revision) => self.awaiting.push_back((revision, effect)),
                    None => self.effects.push_back(effect),
                }
            }
            RoomEffect::Stitch(stitch) => {
                let carry = own.stitch(stitch, &mut self.wishes);
                self.effects.extend(carry);
                let at = match stitch.outer_remote {
                    End::IpIp(care_of) => care_of.to_string(),
                    End::Gre(care_of) => format!("{care_of} in GRE"),
                    End::Udp(end) => format!("{end} in UDP"),
                };
                let detail = format!("{} at {at}", stitch.home);
                self.publish(now, "surrogate-registered", detail);
            }
            RoomEffect::Unstitch { home } => {
                let carry = own.unstitch(home, &[], &mut self.wishes);
                self.effects.extend(carry);
                self.publish(now, "surrogate-left", home.to_string());
            }
            RoomEffect::Suspicious { home } => {
                self.count("registrations-suspicious");
                self.publish(now, "surrogate-suspicious", home.to_string());
            }
        }
    }
}
