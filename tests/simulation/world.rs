//! Gateways, the network between them, and virtual time.

use crate::clock::Clock;
use crate::kernel::{Kernel, Output, Payload};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use xfrm_agent::agent::effect::Effect;
use xfrm_agent::agent::event::{Event, KernelEvent};
use xfrm_agent::agent::settings::Settings;
use xfrm_agent::agent::snapshot::Snapshot;
use xfrm_agent::kernel::desired::{Change, Direction, IpsecProtocol, SaKey};
use xfrm_agent::net::Flow;
use xfrm_agent::net::random::Seeded;

pub use crate::fates::Fate;
pub use crate::network::Weather;
pub use crate::node::{Health, Node};
use crate::node::{Wakeups, WayOut};
use crate::trace::Trace;

/// Time that the kernel takes to carry out a change.
const WRITING: Duration = Duration::from_micros(300);

/// Time until the agent hears what the kernel noticed.
const NOTIFYING: Duration = Duration::from_micros(50);

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
pub(super) enum Arrival {
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
    /// What must never be let in without protection.
    pub due: Vec<Flow>,
    /// Everything that happens, for whoever asks; it takes its time.
    pub trace: Option<Trace>,
    /// Tables may be larger than those of a few gateways with one host each.
    pub large: bool,
    pub(super) rng: Seeded,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    pub(super) arrivals: BTreeMap<u64, Arrival>,
    scheduled: u64,
    /// Whether kernels have queues in which first packets wait: in every second world.
    pub(super) queues: bool,
    /// Smaller first.
    pub(super) cuts: BTreeSet<(usize, usize)>,
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
            due: Vec::new(),
            trace: None,
            large: false,
            queues: seed.is_multiple_of(2),
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
        let way_out = WayOut::by(address);
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

    /// What the node's own clock shows.
    pub fn local(&self, node: usize) -> Instant {
        self.nodes[node].clock.shows(self.start, self.now)
    }

    pub fn snapshot(&self, node: usize) -> Snapshot {
        self.nodes[node].agent.snapshot(self.local(node))
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

    /// How many packets of a flow have arrived.
    pub fn delivered(&self, flow: &Flow) -> usize {
        self.tally.delivered.get(flow).map_or(0, Vec::len)
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
        let passed = self.now.duration_since(self.start);
        if let Some(trace) = &mut self.trace {
            trace.note(passed, &arrival);
        }
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
                let Node {
                    address, kernel, ..
                } = &mut self.nodes[node];
                let outputs = if payload.flow.src == *address {
                    kernel.send(local, payload)
                } else {
                    kernel.forward(local, payload)
                };
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

    pub(super) fn emit(&mut self, node: usize, outputs: Vec<Output>) {
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
                Output::FirstPacket(packet) => {
                    let event = Event::FirstPacket(packet);
                    self.schedule(NOTIFYING, Arrival::Event { node, event });
                }
                Output::Acquire { policy, trap, flow } => {
                    let event = Event::Kernel(KernelEvent::Acquire {
                        policy,
                        trap,
                        flow,
                        protocol: IpsecProtocol::Esp,
                    });
                    self.schedule(NOTIFYING, Arrival::Event { node, event });
                }
            }
        }
    }

    pub(super) fn carry_out(&mut self, node: usize) {
        let passed = self.now.duration_since(self.start);
        while let Some(effect) = self.nodes[node].agent.poll_effect() {
            if let Some(trace) = &mut self.trace {
                trace.note(passed, &(node, &effect));
            }
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
                Effect::Tell { line, .. } => {
                    let at = passed.as_secs_f64();
                    let name = self.nodes[node].name;
                    self.tells
                        .push(format!("{at:9.4} {name} {} {}", line.kind, line.detail));
                }
                Effect::LetGo(id) => {
                    let local = self.local(node);
                    let outputs = self.nodes[node].kernel.let_go(local, id);
                    self.emit(node, outputs);
                }
                Effect::Forget { src, dst } => self.nodes[node].kernel.forget(src, dst),
                Effect::Remember(selectors) => self.nodes[node].remembered = selectors,
                Effect::Keep(_)
                | Effect::KeepBinding { .. }
                | Effect::KeepNetworks(_)
                | Effect::KeepHome(_)
                | Effect::SendRegistration(_)
                | Effect::Carry { .. }
                | Effect::CarryNoMore { .. }
                | Effect::Announce { .. }
                | Effect::OnLink(_)
                | Effect::RunCommand { .. }
                | Effect::StopCommand(_)
                | Effect::Reply { .. } => {}
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

    pub(super) fn schedule(&mut self, after: Duration, arrival: Arrival) {
        self.scheduled += 1;
        self.queue.push(Reverse((self.now + after, self.scheduled)));
        self.arrivals.insert(self.scheduled, arrival);
    }
}
