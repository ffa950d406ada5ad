//! What happens to gateways and links, and runs of agents.

use crate::kernel::Kernel;
use crate::node::{Health, Node, WayOut};
use crate::world::{Arrival, World};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use xfrm_agent::agent::Agent;
use xfrm_agent::agent::event::Event;
use xfrm_agent::agent::settings::Settings;
use xfrm_agent::agent::tunnels::Found;
use xfrm_agent::kernel::desired::TransparentPorts;
use xfrm_agent::net::random::Seeded;
use xfrm_agent::net::{Random, Selector};

/// When the daemon looks whether adopted tunnels carry anything.
const PROOF: Duration = Duration::from_secs(1);

/// Time for a run to replace or remove what the one before left.
const REPLACED_AFTER: Duration = Duration::from_secs(10);

/// What happens to gateways and links, at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// `kill -9`. The kernel keeps what it has.
    Kill(usize),
    /// The next run of an agent that was killed.
    Start(usize),
    /// Everything that the kernel had is gone, and the agent starts.
    Reboot(usize),
    /// Nothing passes between two gateways, either way.
    Cut(usize, usize),
    Mend(usize, usize),
    /// SIGSTOP, and SIGCONT.
    Stop(usize),
    Continue(usize),
    /// A gateway has this address and no other; the unspecified one stands for none.
    Renumber(usize, IpAddr),
}

impl World {
    /// `kill -9`, and a new run a moment later. The kernel keeps what it has.
    pub fn restart(&mut self, node: usize) {
        self.befall(Fate::Kill(node));
        self.befall(Fate::Start(node));
    }

    /// As [`Self::restart`], with what the administrator has changed meanwhile.
    pub fn restart_with(&mut self, node: usize, change: impl FnOnce(&mut Settings)) {
        self.befall(Fate::Kill(node));
        change(&mut self.nodes[node].settings);
        self.befall(Fate::Start(node));
    }

    pub fn later(&mut self, after: Duration, fate: Fate) {
        self.schedule(after, Arrival::Fate(fate));
    }

    pub fn befall(&mut self, fate: Fate) {
        let pair = |a: usize, b: usize| (a.min(b), a.max(b));
        match fate {
            Fate::Kill(node) => {
                // Nothing is left of what the run had waiting.
                self.arrivals.retain(|_, arrival| match arrival {
                    Arrival::Apply { node: of, .. } | Arrival::Count { node: of } => *of != node,
                    Arrival::Event { node: of, event } => {
                        *of != node || !matches!(event, Event::Kernel(_) | Event::FirstPacket(_))
                    }
                    _ => true,
                });
                let dropped = self.nodes[node].kernel.queue_is_closed();
                self.emit(node, dropped);
                self.nodes[node].health = Health::Killed;
                self.carry_out(node);
            }
            Fate::Start(node) => self.begin_run(node, Health::Well),
            Fate::Reboot(node) => {
                self.befall(Fate::Kill(node));
                self.nodes[node].kernel = Kernel::default();
                self.begin_run(node, Health::Booting);
            }
            Fate::Cut(a, b) => {
                self.cuts.insert(pair(a, b));
            }
            Fate::Mend(a, b) => {
                self.cuts.remove(&pair(a, b));
            }
            Fate::Stop(node) => {
                self.nodes[node].health = Health::Stopped;
                self.carry_out(node);
            }
            Fate::Continue(node) => {
                self.nodes[node].health = Health::Well;
                // Deadlines first: that is the worse order.
                let local = self.local(node);
                self.nodes[node].agent.handle_timeout(local);
                for event in std::mem::take(&mut self.nodes[node].unread) {
                    self.input(node, event);
                }
                self.carry_out(node);
            }
            Fate::Renumber(node, address) => {
                self.nodes[node].address = address;
                *self.nodes[node].way_out.0.lock().unwrap() = address;
                let own = Some(address).filter(|address| !address.is_unspecified());
                let loopback = "127.0.0.1".parse().unwrap();
                let own = own.into_iter().chain([loopback]).collect();
                self.input(node, Event::Addresses(own));
            }
        }
    }

    fn begin_run(&mut self, node: usize, health: Health) {
        let local = self.local(node);
        let Node {
            ref way_out,
            ref settings,
            ref remembered,
            ..
        } = self.nodes[node];
        let (way_out, settings) = (way_out.clone(), settings.clone());
        let remembered = remembered.clone();
        self.nodes[node].agent = self.agent(&way_out, &settings, &remembered, local);
        self.nodes[node].health = health;
        self.nodes[node].starting = true;
        self.nodes[node].run += 1;
        self.nodes[node].found = self.nodes[node].kernel.sas.keys().copied().collect();
        let run = self.nodes[node].run;
        self.schedule(REPLACED_AFTER, Arrival::Audit { node, run });
        let found = self.nodes[node].kernel.left_behind();
        self.start(node, found);
        self.schedule(PROOF, Arrival::Count { node });
    }

    pub(super) fn agent(
        &mut self,
        way_out: &WayOut,
        settings: &Settings,
        remembered: &[Selector],
        local: Instant,
    ) -> Agent {
        let mut seeds = Seeded(self.rng.u64());
        let routes = Box::new(way_out.clone());
        let random = || -> Box<dyn Random> { Box::new(Seeded(seeds.u64())) };
        Agent::new(local, settings.clone(), remembered, routes, random).unwrap()
    }

    pub(super) fn start(&mut self, node: usize, found: Vec<Found>) {
        let address = self.nodes[node].address;
        let ports = TransparentPorts { v4: 1, v6: Some(1) };
        self.input(node, Event::Found(found));
        self.input(node, Event::Addresses(vec![address]));
        let first_packets = self.queues.then_some(1);
        if self.queues {
            self.nodes[node].kernel.queue_is_read();
        }
        self.input(
            node,
            Event::Transparent {
                ports,
                first_packets,
            },
        );
    }
}
