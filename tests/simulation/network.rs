//! What lies between the gateways, and the weather there.

use crate::node::{Health, Node};
use crate::world::{Arrival, World};
use std::net::IpAddr;
use std::time::Duration;
use xfrm_agent::agent::event::Event;
use xfrm_agent::net::Random;

/// How the network treats each packet.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Percent.
    pub loss: u64,
    /// Percent of packets that arrive twice.
    pub duplicated: u64,
    pub delay: Duration,
    /// Up to this much more, so that packets overtake each other.
    pub jitter: Duration,
}

impl Weather {
    pub const FAIR: Self = Self {
        loss: 0,
        duplicated: 0,
        delay: Duration::from_millis(5),
        jitter: Duration::ZERO,
    };

    /// 30 % loss, 50 ms.
    pub const FOUL: Self = Self {
        loss: 30,
        duplicated: 5,
        delay: Duration::from_millis(50),
        jitter: Duration::from_millis(20),
    };
}

impl World {
    pub(super) fn datagram(
        &mut self,
        from: usize,
        to: usize,
        payload: Vec<u8>,
        event: impl Fn(Vec<u8>) -> Event,
    ) {
        if self.rng.u64() % 100 < self.weather.duplicated {
            let event = event(payload.clone());
            self.transmit(from, to, Arrival::Event { node: to, event });
        }
        let event = event(payload);
        self.transmit(from, to, Arrival::Event { node: to, event });
    }

    pub(super) fn owner(&self, address: IpAddr) -> Option<usize> {
        let has = |node: &Node| node.address == address && !address.is_unspecified();
        self.nodes.iter().position(has)
    }

    /// The first gateway on the way from `from` to `dst` that diverts probes for it: those behind
    /// `from` in the order in which they were added, up to the one that the address lies behind.
    pub(super) fn interceptor(&self, from: usize, dst: IpAddr) -> Option<usize> {
        let last = self
            .nodes
            .iter()
            .position(|n| n.nets.iter().any(|net| net.contains(&dst)))?;
        let way: Vec<usize> = if from < last {
            (from + 1..=last).collect()
        } else {
            (last..from).rev().collect()
        };
        way.into_iter()
            .find(|node| self.nodes[*node].kernel.diverts(dst))
    }

    pub(super) fn transmit(&mut self, from: usize, to: usize, arrival: Arrival) {
        let lost = self.rng.u64() % 100 < self.weather.loss;
        let jitter = self.weather.jitter.as_micros().max(1) as u64;
        let delay = self.weather.delay + Duration::from_micros(self.rng.u64() % jitter);
        let cut = self.cuts.contains(&(from.min(to), from.max(to)));
        let booting = self.nodes[from].health == Health::Booting;
        if !lost && !cut && !booting {
            self.schedule(delay, arrival);
        }
    }
}
