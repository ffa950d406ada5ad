//! The proxy agent of the world: what runs, and what the kernel stitches for it.
//!
//! As `agent::proxy_agent` has it: nothing is kept over a restart, whole seconds of the time of day are told once at the
//! start and where the clock was set, and nobody is heard before.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::agreed::Setup;
use xfrm_agent::mobile_ip::Datagram;
use xfrm_agent::mobile_ip::proxy_agent::{Effect, Input, ProxyAgent, Stitch};
use xfrm_agent::mobile_ip::replay::Clock;
use xfrm_agent::net::random::Seeded;

pub struct Proxy {
    pub room: ProxyAgent,
    pub stitched: BTreeMap<Ipv4Addr, Stitch>,
    /// Requests in somebody's name that were not signed by it.
    pub suspicious: usize,
    /// It hears nothing before.
    pub silent_until: Instant,
    lives: u64,
}

impl Proxy {
    pub fn new(now: Instant, unix: Duration, setup: Setup, lives: u64) -> Self {
        let mut seed = setup.seed ^ (lives << 40) ^ 0x108;
        let random = || {
            seed += 1;
            Box::new(Seeded(seed)) as _
        };
        let clock = Clock::new(now, Duration::ZERO);
        let mut room = ProxyAgent::new(now, setup.proxy(), clock, random);
        room.handle(now, whole_seconds(unix));
        Self {
            room,
            stitched: BTreeMap::new(),
            suspicious: 0,
            silent_until: now,
            lives,
        }
    }

    pub fn next_life(&self) -> u64 {
        self.lives + 1
    }

    /// What it sends; what it stitches is done by then.
    pub fn carry_out(&mut self) -> Vec<Datagram> {
        let mut sent = Vec::new();
        while let Some(effect) = self.room.poll_effect() {
            match effect {
                Effect::Send(datagram) => sent.push(datagram),
                Effect::Stitch(stitch) => {
                    self.stitched.insert(stitch.home, stitch);
                }
                Effect::Unstitch { home } => {
                    let before = self.stitched.remove(&home);
                    assert!(before.is_some(), "{home} is taken apart twice");
                }
                Effect::Suspicious { .. } => self.suspicious += 1,
            }
        }
        sent
    }
}

pub fn whole_seconds(unix: Duration) -> Input {
    Input::Time(Duration::from_secs(unix.as_secs()))
}
