//! Gateways, the network between them, and virtual time.

use crate::kernel::{Kernel, Output, Payload};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use xfrm_agent::agent::Agent;
use xfrm_agent::agent::effect::{Effect, Routes};
use xfrm_agent::agent::event::{Event, KernelEvent};
use xfrm_agent::agent::settings::Settings;
use xfrm_agent::agent::tunnels::Found;
use xfrm_agent::kernel::desired::{Change, SaKey, TransparentPorts};
use xfrm_agent::net::random::Seeded;
use xfrm_agent::net::{Flow, IpNet, Random, Selector};

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

/// When the daemon looks whether adopted tunnels carry anything.
const PROOF: Duration = Duration::from_secs(1);

/// Time that the kernel takes to carry out a change.
const WRITING: Duration = Duration::from_micros(300);

pub struct Node {
    pub name: &'static str,
    pub address: IpAddr,
    pub kernel: Kernel,
    pub agent: Agent,
    /// What lies behind it.
    pub nets: Vec<IpNet>,
    settings: Settings,
    /// What survives a restart.
    remembered: Vec<Selector>,
    /// The next change is the whole of what this run wants.
    starting: bool,
}

/// What a finished run is judged by.
#[derive(Debug, Default)]
pub struct Tally {
    pub delivered: BTreeMap<Flow, Vec<u64>>,
    /// Crossed the network without protection.
    pub clear: Vec<Payload>,
    /// Refused at the other end, although the sender protected it.
    pub refused: Vec<Payload>,
    pub dropped: Vec<Payload>,
    pub probes: u64,
    pub esp: u64,
}

#[derive(Debug)]
enum Arrival {
    Event {
        node: usize,
        event: Event,
    },
    Apply {
        node: usize,
        change: Change,
    },
    Esp {
        node: usize,
        sa: SaKey,
        payload: Payload,
    },
    Send {
        node: usize,
        payload: Payload,
    },
    /// A while after a restart, the daemon looks what the SAs have carried.
    Count {
        node: usize,
    },
}

pub struct World {
    pub start: Instant,
    pub now: Instant,
    pub nodes: Vec<Node>,
    pub weather: Weather,
    pub tally: Tally,
    pub tells: Vec<String>,
    /// What gateways answer when it is delivered, as a kernel answers `ICMPv6` echo requests:
    /// without waiting for a tunnel.
    pub answered: Option<Flow>,
    /// A node whose agent does not run; its kernel does.
    pub away: Option<usize>,
    rng: Seeded,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    arrivals: BTreeMap<u64, Arrival>,
    scheduled: u64,
}

struct Fixed(IpAddr);

impl Routes for Fixed {
    fn source_towards(&mut self, _: IpAddr) -> Option<IpAddr> {
        Some(self.0)
    }
}

impl World {
    pub fn new(seed: u64, weather: Weather) -> Self {
        let start = Instant::now();
        Self {
            start,
            now: start,
            nodes: Vec::new(),
            weather,
            tally: Tally::default(),
            tells: Vec::new(),
            away: None,
            answered: None,
            rng: Seeded(seed),
            queue: BinaryHeap::new(),
            arrivals: BTreeMap::new(),
            scheduled: 0,
        }
    }

    /// Later gateways lie further away from everybody before them.
    pub fn add(
        &mut self,
        name: &'static str,
        address: &str,
        nets: &[&str],
        settings: Settings,
    ) -> usize {
        let address: IpAddr = address.parse().unwrap();
        let agent = self.agent(address, &settings, &[]);
        self.nodes.push(Node {
            name,
            address,
            kernel: Kernel::default(),
            agent,
            nets: nets.iter().map(|net| net.parse().unwrap()).collect(),
            settings,
            remembered: Vec::new(),
            starting: true,
        });
        let node = self.nodes.len() - 1;
        self.start(node, Vec::new());
        node
    }

    /// `kill -9`, and a new run a moment later. The kernel keeps what it has.
    pub fn restart(&mut self, node: usize) {
        self.arrivals.retain(|_, arrival| match arrival {
            Arrival::Apply { node: of, .. } | Arrival::Count { node: of } => *of != node,
            Arrival::Event { node: of, event } => *of != node || !matches!(event, Event::Kernel(_)),
            Arrival::Esp { .. } | Arrival::Send { .. } => true,
        });
        let Node {
            address,
            ref settings,
            ref remembered,
            ..
        } = self.nodes[node];
        let (settings, remembered) = (settings.clone(), remembered.clone());
        self.nodes[node].agent = self.agent(address, &settings, &remembered);
        self.nodes[node].starting = true;
        let found = self.nodes[node].kernel.left_behind();
        self.start(node, found);
        self.schedule(PROOF, Arrival::Count { node });
    }

    fn agent(&mut self, address: IpAddr, settings: &Settings, remembered: &[Selector]) -> Agent {
        let mut seeds = Seeded(self.rng.u64());
        let routes = Box::new(Fixed(address));
        let random = || -> Box<dyn Random> { Box::new(Seeded(seeds.u64())) };
        Agent::new(self.now, settings.clone(), remembered, routes, random).unwrap()
    }

    fn start(&mut self, node: usize, found: Vec<Found>) {
        let address = self.nodes[node].address;
        let ports = TransparentPorts { v4: 1, v6: Some(1) };
        self.input(node, Event::Found(found));
        self.input(node, Event::Addresses(vec![address]));
        self.input(node, Event::Transparent(ports));
    }

    /// `count` packets of a flow, the first now.
    pub fn stream(&mut self, node: usize, flow: Flow, count: u64, every: Duration) {
        for number in 0..count {
            let payload = Payload { flow, number };
            self.schedule(every * number as u32, Arrival::Send { node, payload });
        }
    }

    /// Runs until `duration` has passed.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let timer = (0..self.nodes.len()).filter_map(|n| self.timeout(n)).min();
            let arrival = self.queue.peek().map(|Reverse((at, _))| *at);
            let next = [timer, arrival].into_iter().flatten().min();
            let Some(next) = next.filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                self.arrive();
            } else {
                self.expire();
            }
        }
        self.now = end;
    }

    fn expire(&mut self) {
        for node in 0..self.nodes.len() {
            if self.timeout(node).is_some_and(|at| at <= self.now) {
                self.nodes[node].agent.handle_timeout(self.now);
                self.carry_out(node);
            }
        }
    }

    fn timeout(&self, node: usize) -> Option<Instant> {
        let runs = self.away != Some(node);
        self.nodes[node].agent.poll_timeout().filter(|_| runs)
    }

    fn arrive(&mut self) {
        let Some(Reverse((_, id))) = self.queue.pop() else {
            return;
        };
        // Nothing is left of what a killed run had waiting.
        let Some(arrival) = self.arrivals.remove(&id) else {
            return;
        };
        match arrival {
            Arrival::Event { node, event } => self.input(node, event),
            Arrival::Apply { node, change } => {
                if std::mem::take(&mut self.nodes[node].starting) {
                    self.nodes[node].kernel.keep_only(&change);
                }
                let outputs = self.nodes[node].kernel.apply(self.now, &change);
                self.emit(node, outputs);
                let event = KernelEvent::Applied {
                    revision: change.revision,
                };
                self.input(node, Event::Kernel(event));
            }
            Arrival::Esp { node, sa, payload } => {
                if self.nodes[node].kernel.accepts_esp(&sa, &payload.flow) {
                    self.tally
                        .delivered
                        .entry(payload.flow)
                        .or_default()
                        .push(payload.number);
                    if self.answered == Some(payload.flow) {
                        let flow = payload.flow.reversed();
                        let outputs = self.nodes[node].kernel.answer(Payload { flow, ..payload });
                        self.emit(node, outputs);
                    }
                } else {
                    self.tally.refused.push(payload);
                }
            }
            Arrival::Count { node } => {
                let carried = self.nodes[node].kernel.received.clone();
                self.input(node, Event::Carried(carried));
            }
            Arrival::Send { node, payload } => {
                let outputs = self.nodes[node].kernel.send(self.now, payload);
                self.emit(node, outputs);
            }
        }
    }

    pub fn input(&mut self, node: usize, event: Event) {
        if self.away == Some(node) {
            return;
        }
        self.nodes[node].agent.handle(self.now, event);
        self.carry_out(node);
    }

    fn emit(&mut self, node: usize, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Clear(payload) => self.tally.clear.push(payload),
                Output::Dropped(payload) => self.tally.dropped.push(payload),
                Output::Esp { sa, payload } => {
                    self.tally.esp += 1;
                    if let Some(to) = self.owner(sa.dst) {
                        self.transmit(Arrival::Esp {
                            node: to,
                            sa,
                            payload,
                        });
                    }
                }
                Output::Acquire { policy, trap, flow } => {
                    let event = Event::Kernel(KernelEvent::Acquire { policy, trap, flow });
                    self.schedule(Duration::from_micros(50), Arrival::Event { node, event });
                }
            }
        }
    }

    fn carry_out(&mut self, node: usize) {
        while let Some(effect) = self.nodes[node].agent.poll_effect() {
            match effect {
                Effect::Kernel(change) => self.schedule(WRITING, Arrival::Apply { node, change }),
                Effect::Send {
                    local,
                    remote,
                    payload,
                } => {
                    if let Some(to) = self.owner(remote.ip()) {
                        self.datagram(to, local, remote, payload);
                    }
                }
                Effect::SendAs {
                    src,
                    dst,
                    hop_limit,
                    payload,
                } => {
                    self.tally.probes += u64::from(hop_limit == 64);
                    if let Some(to) = self.interceptor(node, dst.ip()) {
                        let event = Event::Diverted {
                            local: dst,
                            remote: src,
                            hop_limit,
                            payload,
                        };
                        self.transmit(Arrival::Event { node: to, event });
                    }
                }
                Effect::Tell(line) => {
                    let at = self.now.duration_since(self.start).as_secs_f64();
                    let name = self.nodes[node].name;
                    self.tells
                        .push(format!("{at:9.4} {name} {} {}", line.kind, line.detail));
                }
                Effect::Remember(selectors) => self.nodes[node].remembered = selectors,
                Effect::Reply { .. } => {}
            }
        }
    }

    fn datagram(&mut self, to: usize, from: SocketAddr, at: SocketAddr, payload: Vec<u8>) {
        let again = payload.clone();
        let event = |payload| Event::Datagram {
            local: at,
            remote: from,
            payload,
        };
        self.transmit(Arrival::Event {
            node: to,
            event: event(payload),
        });
        if self.rng.u64() % 100 < self.weather.duplicated {
            self.transmit(Arrival::Event {
                node: to,
                event: event(again),
            });
        }
    }

    fn owner(&self, address: IpAddr) -> Option<usize> {
        self.nodes.iter().position(|node| node.address == address)
    }

    /// The first gateway on the way from `from` to `dst` that diverts probes for it: those behind
    /// `from` in the order in which they were added, up to the one that the address lies behind.
    fn interceptor(&self, from: usize, dst: IpAddr) -> Option<usize> {
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

    fn transmit(&mut self, arrival: Arrival) {
        let lost = self.rng.u64() % 100 < self.weather.loss;
        let jitter = self.weather.jitter.as_micros().max(1) as u64;
        let delay = self.weather.delay + Duration::from_micros(self.rng.u64() % jitter);
        if !lost {
            self.schedule(delay, arrival);
        }
    }

    fn schedule(&mut self, after: Duration, arrival: Arrival) {
        self.scheduled += 1;
        self.queue.push(Reverse((self.now + after, self.scheduled)));
        self.arrivals.insert(self.scheduled, arrival);
    }
}
