//! Gateways, the network between them, and virtual time.

use crate::clock::Clock;
use crate::kernel::{Kernel, Output, Payload};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use xfrm_agent::agent::Agent;
use xfrm_agent::agent::effect::{Effect, Routes};
use xfrm_agent::agent::event::{Event, KernelEvent};
use xfrm_agent::agent::settings::Settings;
use xfrm_agent::agent::snapshot::Snapshot;
use xfrm_agent::agent::tunnels::Found;
use xfrm_agent::kernel::desired::{Change, Direction, SaKey, TransparentPorts};
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

/// Time until the agent hears what the kernel noticed.
const NOTIFYING: Duration = Duration::from_micros(50);

/// Time for a run to replace or remove what the one before left.
const REPLACED_AFTER: Duration = Duration::from_secs(10);

pub struct Node {
    pub name: &'static str,
    /// Unspecified while it has none.
    pub address: IpAddr,
    way_out: WayOut,
    /// What arrived while the agent was stopped.
    unread: Vec<Event>,
    pub kernel: Kernel,
    pub agent: Agent,
    /// What lies behind it.
    pub nets: Vec<IpNet>,
    pub clock: Clock,
    pub health: Health,
    pub wakeups: Wakeups,
    settings: Settings,
    /// What survives a restart.
    remembered: Vec<Selector>,
    /// The next change is the whole of what this run wants.
    starting: bool,
    /// How often the agent was started, and the SAs that it found in the kernel.
    pub run: u64,
    pub found: BTreeSet<SaKey>,
    /// When its agent wants to be woken, in the world's time.
    wake: Option<Instant>,
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
    fn listens(self) -> bool {
        !matches!(self, Self::Killed | Self::Stopped)
    }
}

/// How often an agent asked to be woken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wakeups {
    /// In the second of virtual time `second`.
    pub in_second: u32,
    pub most_in_a_second: u32,
    /// One after the other at the same instant.
    pub at_once: u32,
    second: u64,
    last: Option<Instant>,
}

impl Wakeups {
    fn count(&mut self, second: u64, now: Instant) {
        if self.second != second {
            (self.second, self.in_second) = (second, 0);
        }
        self.in_second += 1;
        self.most_in_a_second = self.most_in_a_second.max(self.in_second);
        self.at_once = match self.last.replace(now) {
            Some(last) if last == now => self.at_once + 1,
            _ => 1,
        };
    }
}

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

/// What a finished run is judged by.
#[derive(Debug, Default, PartialEq)]
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
    Fate(Fate),
    Audit {
        node: usize,
        run: u64,
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
    /// For whoever lays out this world: what befalls whom.
    pub chance: Seeded,
    /// Packets may cross in the clear: some proxies say so.
    pub clear_allowed: bool,
    /// Tables may be larger than those of a few gateways with one host each.
    pub large: bool,
    rng: Seeded,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    arrivals: BTreeMap<u64, Arrival>,
    scheduled: u64,
    /// Smaller first.
    cuts: BTreeSet<(usize, usize)>,
}

/// The address that a gateway has now.
#[derive(Clone)]
struct WayOut(Arc<Mutex<IpAddr>>);

impl Routes for WayOut {
    fn source_towards(&mut self, _: IpAddr) -> Option<IpAddr> {
        let address = *self.0.lock().unwrap();
        (!address.is_unspecified()).then_some(address)
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
            answered: None,
            chance: Seeded(!seed),
            clear_allowed: false,
            large: false,
            rng: Seeded(seed),
            queue: BinaryHeap::new(),
            arrivals: BTreeMap::new(),
            scheduled: 0,
            cuts: BTreeSet::new(),
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
        self.add_with_clock(name, address, nets, settings, Clock::default())
    }

    pub fn add_with_clock(
        &mut self,
        name: &'static str,
        address: &str,
        nets: &[&str],
        settings: Settings,
        clock: Clock,
    ) -> usize {
        let address: IpAddr = address.parse().unwrap();
        let way_out = WayOut(Arc::new(Mutex::new(address)));
        let local = clock.shows(self.start, self.now);
        let agent = self.agent(&way_out, &settings, &[], local);
        self.nodes.push(Node {
            name,
            address,
            way_out,
            unread: Vec::new(),
            kernel: Kernel::default(),
            agent,
            nets: nets.iter().map(|net| net.parse().unwrap()).collect(),
            clock,
            health: Health::Well,
            wakeups: Wakeups::default(),
            settings,
            remembered: Vec::new(),
            starting: true,
            run: 0,
            found: BTreeSet::new(),
            wake: None,
        });
        let node = self.nodes.len() - 1;
        self.start(node, Vec::new());
        node
    }

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
                        *of != node || !matches!(event, Event::Kernel(_))
                    }
                    _ => true,
                });
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

    fn agent(
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

    /// What the node's own clock shows.
    pub fn local(&self, node: usize) -> Instant {
        self.nodes[node].clock.shows(self.start, self.now)
    }

    pub fn snapshot(&self, node: usize) -> Snapshot {
        self.nodes[node].agent.snapshot(self.local(node))
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

    /// One packet of a flow, some time from now.
    pub fn send_later(&mut self, after: Duration, node: usize, payload: Payload) {
        self.schedule(after, Arrival::Send { node, payload });
    }

    /// Runs until `duration` has passed, and checks the invariants after every event.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(next) = self.next_at().filter(|at| *at <= end) {
            self.now = self.now.max(next);
            if self
                .queue
                .peek()
                .is_some_and(|Reverse((at, _))| *at <= self.now)
            {
                self.arrive();
            } else {
                self.wake();
            }
        }
        self.now = end;
    }

    /// When something happens next.
    pub fn next_at(&self) -> Option<Instant> {
        let arrival = self.queue.peek().map(|Reverse((at, _))| *at);
        self.nodes
            .iter()
            .filter_map(|node| node.wake)
            .chain(arrival)
            .min()
    }

    fn wake(&mut self) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].wake.is_none_or(|at| at > self.now) {
                continue;
            }
            let local = self.local(node);
            let outputs = self.nodes[node].kernel.handle_timeout(local);
            self.emit(node, outputs);
            if self.nodes[node].health.listens() {
                let due = self.nodes[node].agent.poll_timeout();
                if due.is_some_and(|at| at <= local) {
                    let second = self.now.duration_since(self.start).as_secs();
                    self.nodes[node].wakeups.count(second, self.now);
                    self.nodes[node].agent.handle_timeout(local);
                }
            }
            self.carry_out(node);
        }
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
                let local = self.local(node);
                if std::mem::take(&mut self.nodes[node].starting) {
                    self.nodes[node].kernel.keep_only(&change);
                    self.nodes[node].health = Health::Well;
                }
                let outputs = self.nodes[node].kernel.apply(local, &change);
                self.emit(node, outputs);
                let event = KernelEvent::Applied {
                    revision: change.revision,
                };
                self.input(node, Event::Kernel(event));
            }
            Arrival::Esp { node, sa, payload } => {
                let check = if payload.flow.dst == self.nodes[node].address {
                    Direction::In
                } else {
                    Direction::Fwd
                };
                let kernel = &mut self.nodes[node].kernel;
                if kernel.accepts_esp(&sa, &payload.flow, check) {
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
                if self.nodes[node].health == Health::Booting {
                    self.tally.dropped.push(payload);
                    return;
                }
                let local = self.local(node);
                let outputs = self.nodes[node].kernel.send(local, payload);
                self.emit(node, outputs);
                self.carry_out(node);
            }
            Arrival::Fate(fate) => self.befall(fate),
            Arrival::Audit { node, run } => self.audit(node, run),
        }
    }

    pub fn input(&mut self, node: usize, event: Event) {
        if self.nodes[node].health.listens() {
            let local = self.local(node);
            self.nodes[node].agent.handle(local, event);
        } else if self.nodes[node].health == Health::Stopped {
            self.nodes[node].unread.push(event);
        }
        self.carry_out(node);
    }

    fn emit(&mut self, node: usize, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Clear(payload) => self.tally.clear.push(payload),
                Output::Dropped(payload) => self.tally.dropped.push(payload),
                // The kernel makes no packet with a source that is not its own.
                Output::Esp { sa, payload }
                    if self.nodes[node].kernel.sas[&sa].1.src != self.nodes[node].address =>
                {
                    self.tally.dropped.push(payload);
                }
                Output::Esp { sa, payload } => {
                    self.tally.esp += 1;
                    if let Some(to) = self.owner(sa.dst) {
                        let packet = Arrival::Esp {
                            node: to,
                            sa,
                            payload,
                        };
                        self.transmit(node, to, packet);
                    }
                }
                Output::Expired(sa) => {
                    let event = Event::Kernel(KernelEvent::SaExpired { sa, hard: true });
                    self.schedule(NOTIFYING, Arrival::Event { node, event });
                }
                Output::Acquire { policy, trap, flow } => {
                    let event = Event::Kernel(KernelEvent::Acquire { policy, trap, flow });
                    self.schedule(NOTIFYING, Arrival::Event { node, event });
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
                    if let Some(to) = self.owner(remote.ip())
                        && local.ip() == self.nodes[node].address
                    {
                        let event = |payload| Event::Datagram {
                            local: remote,
                            remote: local,
                            payload,
                        };
                        self.datagram(node, to, payload, event);
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
                        let event = |payload| Event::Diverted {
                            local: dst,
                            remote: src,
                            hop_limit,
                            payload,
                        };
                        self.datagram(node, to, payload, event);
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
        let Node {
            agent,
            kernel,
            clock,
            health,
            ..
        } = &self.nodes[node];
        let agent = agent.poll_timeout().filter(|_| health.listens());
        let wake = [agent, kernel.poll_timeout()].into_iter().flatten().min();
        self.nodes[node].wake = wake.map(|at| clock.reaches(self.start, at));
        self.check(node);
    }

    fn datagram(
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

    fn owner(&self, address: IpAddr) -> Option<usize> {
        let has = |node: &Node| node.address == address && !address.is_unspecified();
        self.nodes.iter().position(has)
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

    fn transmit(&mut self, from: usize, to: usize, arrival: Arrival) {
        let lost = self.rng.u64() % 100 < self.weather.loss;
        let jitter = self.weather.jitter.as_micros().max(1) as u64;
        let delay = self.weather.delay + Duration::from_micros(self.rng.u64() % jitter);
        let cut = self.cuts.contains(&(from.min(to), from.max(to)));
        let booting = self.nodes[from].health == Health::Booting;
        if !lost && !cut && !booting {
            self.schedule(delay, arrival);
        }
    }

    fn schedule(&mut self, after: Duration, arrival: Arrival) {
        self.scheduled += 1;
        self.queue.push(Reverse((self.now + after, self.scheduled)));
        self.arrivals.insert(self.scheduled, arrival);
    }
}
