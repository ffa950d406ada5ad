//! A home agent of the world: what runs, what its store keeps, and what its tunnels are.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use xfrm_agent::mobile_ip::Datagram;
use xfrm_agent::mobile_ip::home_agent::HomeAgent;
use xfrm_agent::mobile_ip::home_agent::effects::{Effect, Input, Kept, Tunnel};
use xfrm_agent::mobile_ip::home_agent::settings::Settings;
use xfrm_agent::mobile_ip::replay::Clock;
use xfrm_agent::net::random::Seeded;

use super::agreed::UNIX;

pub struct Home {
    settings: Settings,
    agent: HomeAgent,
    start: Instant,
    /// Of its clock, before that of the client.
    ahead: Duration,
    lives: u64,
    kept: BTreeMap<Ipv4Addr, Kept>,
    pub bound: BTreeMap<Ipv4Addr, Vec<Tunnel>>,
    /// It hears nothing before.
    pub silent_until: Instant,
}

impl Home {
    pub fn new(now: Instant, settings: Settings, ahead: Duration, seed: u64) -> Self {
        let clock = Clock::new(now, UNIX + ahead);
        let random = Box::new(Seeded(seed));
        Self {
            agent: HomeAgent::new(now, clock, settings.clone(), Vec::new(), random),
            settings,
            start: now,
            ahead,
            lives: seed,
            kept: BTreeMap::new(),
            bound: BTreeMap::new(),
            silent_until: now,
        }
    }

    /// All that is left is what was stored.
    pub fn restart(&mut self, now: Instant) {
        self.lives = self.lives.wrapping_add(0x1_0000);
        self.bound.clear();
        let clock = Clock::new(now, UNIX + self.ahead + (now - self.start));
        let kept = self.kept.values().cloned().collect();
        let random = Box::new(Seeded(self.lives));
        self.agent = HomeAgent::new(now, clock, self.settings.clone(), kept, random);
        let sent = self.carry_out();
        assert!(sent.is_empty(), "a restart answers nobody");
    }

    /// Its administrator changes its mind: a restart.
    pub fn reconfigure(&mut self, now: Instant, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
        self.restart(now);
    }

    /// What it sends in answer.
    pub fn hear(&mut self, now: Instant, datagram: Datagram) -> Vec<Datagram> {
        if !self.answers(now) {
            return Vec::new();
        }
        self.agent.handle(now, Input::Datagram(datagram));
        self.carry_out()
    }

    /// An administrator takes the bindings back; what it sends about that.
    pub fn revoke(&mut self, now: Instant, home: Ipv4Addr) -> Vec<Datagram> {
        self.agent.handle(now, Input::Revoke(home));
        self.carry_out()
    }

    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Datagram> {
        self.agent.handle_timeout(now);
        self.carry_out()
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.agent.poll_timeout()
    }

    pub fn answers(&self, now: Instant) -> bool {
        now >= self.silent_until
    }

    pub fn tunnels(&self, home: Ipv4Addr) -> &[Tunnel] {
        self.bound.get(&home).map_or(&[], Vec::as_slice)
    }

    fn carry_out(&mut self) -> Vec<Datagram> {
        let mut sent = Vec::new();
        while let Some(effect) = self.agent.poll_effect() {
            match effect {
                Effect::Keep(kept) => {
                    self.kept.insert(kept.home, kept);
                }
                Effect::Bind { home, tunnels } => {
                    self.bound.insert(home, tunnels);
                }
                Effect::Unbind { home } => {
                    self.bound.remove(&home);
                }
                Effect::Send(datagram) => sent.push(datagram),
                Effect::Intercept { .. } | Effect::Release { .. } | Effect::Tell(_) => {}
            }
        }
        sent
    }
}
