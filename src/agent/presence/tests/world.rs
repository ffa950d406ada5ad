//! Hosts with real agents, the network between them, and virtual time: every run of a seed is the
//! same run. Between two hosts nothing overtakes.

use super::kernel::{Kernel, Output, Packet, Payload};
use super::settings::packet;
use crate::agent::Agent;
use crate::agent::effect::{Effect, Reply, Routes};
use crate::agent::event::{Command, Doubt, Event, Token};
use crate::agent::presence::commands::{PresenceCommand, SetPresence};
use crate::agent::settings::Settings;
use crate::kernel::desired::Change;
use crate::net::Random;
use crate::net::random::Seeded;
use crate::presence::{Entity, Keep, Kept, Presence, Record, Timestamp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Time that the kernel takes to carry out a change.
pub(super) const WRITING: Duration = Duration::from_micros(300);

/// Time until the agent hears what the kernel noticed.
const NOTIFYING: Duration = Duration::from_micros(50);

/// What the wall clocks show in the beginning.
const BEGINNING: u64 = 1_800_000_000;

pub(super) struct Host {
    pub agent: Agent,
    pub kernel: Kernel,
    pub settings: Settings,
    addresses: Addresses,
    /// What the store has.
    pub kept: Kept,
    /// Seconds by which its wall clock was set.
    stepped: i64,
    state: State,
    unread: Vec<Event>,
    /// The next change is the whole of what this run wants.
    starting: bool,
    run: u64,
    wake: Option<Instant>,
    pub tells: Vec<String>,
    pub replies: Vec<(Token, Reply)>,
    /// How long what it sends is under way.
    pub delay: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    /// The agent stands still; the kernel goes on, and events wait.
    Standing,
    /// The agent is gone.
    Killed,
}

/// The addresses that a host has now.
#[derive(Clone)]
struct Addresses(Arc<Mutex<Vec<IpAddr>>>);

impl Routes for Addresses {
    fn source_towards(&mut self, dst: IpAddr) -> Option<IpAddr> {
        let own = self.0.lock().unwrap();
        own.iter().find(|a| a.is_ipv4() == dst.is_ipv4()).copied()
    }
}

/// One packet that has left a host, or come to one.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub at: Instant,
    pub host: usize,
    pub payload: Payload,
    pub clear: bool,
}

/// What happened to packets.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub sent: Vec<Seen>,
    pub accepted: Vec<Seen>,
    pub refused: Vec<Seen>,
    pub dropped: Vec<Seen>,
}

enum Arrival {
    Event {
        host: usize,
        run: u64,
        event: Event,
    },
    Apply {
        host: usize,
        run: u64,
        change: Change,
    },
    Packet {
        host: usize,
        packet: Packet,
    },
    Send {
        host: usize,
        payload: Payload,
    },
}

pub(super) struct World {
    pub start: Instant,
    pub now: Instant,
    pub hosts: Vec<Host>,
    pub tally: Tally,
    /// Percent of IKE datagrams that do not arrive.
    pub loss: u64,
    /// Who is called something else outside.
    pub nat: Option<(usize, IpAddr)>,
    /// Datagrams from and to these do not arrive.
    pub cut: BTreeSet<usize>,
    pub rng: Seeded,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    arrivals: BTreeMap<u64, Arrival>,
    scheduled: u64,
    tokens: u64,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let start = Instant::now();
        Self {
            start,
            now: start,
            hosts: Vec::new(),
            tally: Tally::default(),
            loss: 0,
            nat: None,
            cut: BTreeSet::new(),
            rng: Seeded(seed),
            queue: BinaryHeap::new(),
            arrivals: BTreeMap::new(),
            scheduled: 0,
            tokens: 0,
        }
    }

    pub(super) fn add(&mut self, settings: Settings, addresses: &[IpAddr]) -> usize {
        let addresses = Addresses(Arc::new(Mutex::new(addresses.to_vec())));
        let agent = self.agent(&settings, &addresses, 0);
        self.hosts.push(Host {
            agent,
            kernel: Kernel::default(),
            settings,
            addresses,
            kept: Kept::default(),
            stepped: 0,
            state: State::Running,
            unread: Vec::new(),
            starting: true,
            run: 0,
            wake: None,
            tells: Vec::new(),
            replies: Vec::new(),
            delay: Duration::from_millis(5),
        });
        let host = self.hosts.len() - 1;
        self.start(host);
        host
    }

    fn agent(&mut self, settings: &Settings, addresses: &Addresses, run: u64) -> Agent {
        let mut seed = self.rng.u64() ^ run;
        let random = move || -> Box<dyn Random> {
            seed += 1;
            Box::new(Seeded(seed))
        };
        let routes = Box::new(addresses.clone());
        Agent::new(self.now, settings.clone(), &[], routes, random).unwrap()
    }

    fn start(&mut self, host: usize) {
        self.input(host, Event::Found(Vec::new()));
        let kept = self.hosts[host].kept.clone();
        self.input(host, Event::Stored(Box::new(kept)));
        self.read_clock(host, None);
        self.readdress(host);
    }

    // --- what befalls hosts ---------------------------------------------------------------------

    pub(super) fn kill(&mut self, host: usize) {
        self.hosts[host].state = State::Killed;
        self.hosts[host].unread.clear();
    }

    pub(super) fn restart(&mut self, host: usize) {
        let run = self.hosts[host].run + 1;
        let settings = self.hosts[host].settings.clone();
        let addresses = self.hosts[host].addresses.clone();
        let agent = self.agent(&settings, &addresses, run);
        let node = &mut self.hosts[host];
        (node.run, node.agent) = (run, agent);
        (node.state, node.starting) = (State::Running, true);
        self.start(host);
    }

    pub(super) fn stand_still(&mut self, host: usize) {
        self.hosts[host].state = State::Standing;
    }

    /// Timers first, or what has come meanwhile: either may be.
    pub(super) fn go_on(&mut self, host: usize) {
        self.hosts[host].state = State::Running;
        self.hosts[host].agent.handle_timeout(self.now);
        for event in std::mem::take(&mut self.hosts[host].unread) {
            self.hosts[host].agent.handle(self.now, event);
        }
        self.carry_out(host);
    }

    pub(super) fn step_clock(&mut self, host: usize, seconds: i64) {
        self.hosts[host].stepped += seconds;
        self.read_clock(host, Some(Doubt::ClockStepped));
    }

    pub(super) fn doubt(&mut self, host: usize, doubt: Doubt) {
        self.read_clock(host, Some(doubt));
    }

    fn read_clock(&mut self, host: usize, doubt: Option<Doubt>) {
        let unix = Timestamp(self.wall(host));
        let offset = 0;
        let event = Event::WallClock {
            unix,
            offset,
            doubt,
        };
        self.input(host, event);
    }

    pub(super) fn wall(&self, host: usize) -> u64 {
        let passed = self.now.duration_since(self.start).as_secs();
        (BEGINNING + passed).saturating_add_signed(self.hosts[host].stepped)
    }

    pub(super) fn move_to(&mut self, host: usize, addresses: &[IpAddr]) {
        *self.hosts[host].addresses.0.lock().unwrap() = addresses.to_vec();
        self.readdress(host);
    }

    fn readdress(&mut self, host: usize) {
        let own = self.hosts[host].addresses.0.lock().unwrap().clone();
        self.input(host, Event::Addresses(own));
    }

    pub(super) fn command(&mut self, host: usize, command: Command) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.input(host, Event::Command { token, command });
        token
    }

    /// The host's own location, by hand for an hour.
    pub(super) fn be(&mut self, host: usize, location: &str) {
        self.be_for(host, location, 3600);
    }

    pub(super) fn be_for(&mut self, host: usize, location: &str, seconds: u32) {
        let presence = self.hosts[host].settings.presence.as_ref().unwrap();
        let set = SetPresence {
            valid: Some(seconds),
            ..said(presence.entity.clone(), location)
        };
        self.command(host, Command::Presence(PresenceCommand::Set(set)));
    }

    /// The kernel finds that the lifetimes of its policies are over.
    pub(super) fn expire_policies(&mut self, host: usize) {
        let outputs = self.hosts[host].kernel.expire();
        self.emit(host, outputs);
        self.carry_out(host);
    }

    // --- packets --------------------------------------------------------------------------------

    /// `count` packets, the first now.
    pub(super) fn stream(&mut self, from: IpAddr, to: IpAddr, count: u64, every: Duration) {
        let host = self.owner(from).expect("somebody has the address");
        for number in 0..count {
            let payload = packet(from, to, number);
            self.schedule(every * number as u32, Arrival::Send { host, payload });
        }
    }

    pub(super) fn owner(&self, address: IpAddr) -> Option<usize> {
        let has = |host: &Host| host.addresses.0.lock().unwrap().contains(&address);
        self.hosts.iter().position(has)
    }

    // --- time -----------------------------------------------------------------------------------

    pub(super) fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let arrival = self.queue.peek().map(|Reverse((at, _))| *at);
            let wake = self.hosts.iter().filter_map(|host| host.wake).min();
            let Some(next) = arrival.into_iter().chain(wake).min() else {
                break;
            };
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            if arrival.is_some_and(|at| at <= self.now) {
                self.arrive();
            } else {
                self.wake();
            }
        }
        self.now = end;
    }

    fn wake(&mut self) {
        for host in 0..self.hosts.len() {
            if self.hosts[host].wake.is_none_or(|at| at > self.now) {
                continue;
            }
            let wall = self.wall(host);
            let outputs = self.hosts[host].kernel.handle_timeout(self.now, wall);
            self.emit(host, outputs);
            if self.hosts[host].state == State::Running {
                self.hosts[host].agent.handle_timeout(self.now);
            }
            self.carry_out(host);
        }
    }

    fn arrive(&mut self) {
        let Some(Reverse((_, id))) = self.queue.pop() else {
            return;
        };
        match self.arrivals.remove(&id) {
            Some(Arrival::Event { host, run, event }) if run == self.hosts[host].run => {
                self.input(host, event);
            }
            Some(Arrival::Apply { host, run, change }) if run == self.hosts[host].run => {
                self.apply(host, change);
            }
            Some(Arrival::Packet { host, packet }) => {
                let accepted = self.hosts[host].kernel.accepts(&packet);
                let seen = self.seen(host, packet.payload, packet.sas.is_empty());
                if accepted {
                    self.tally.accepted.push(seen);
                } else {
                    self.tally.refused.push(seen);
                }
            }
            Some(Arrival::Send { host, payload }) => {
                let outputs = self.hosts[host].kernel.send(self.now, payload);
                self.emit(host, outputs);
                self.carry_out(host);
            }
            _ => {}
        }
    }

    fn seen(&self, host: usize, payload: Payload, clear: bool) -> Seen {
        Seen {
            at: self.now,
            host,
            payload,
            clear,
        }
    }

    pub(super) fn input(&mut self, host: usize, event: Event) {
        match self.hosts[host].state {
            State::Running => self.hosts[host].agent.handle(self.now, event),
            State::Standing => self.hosts[host].unread.push(event),
            State::Killed => {}
        }
        self.carry_out(host);
    }

    fn apply(&mut self, host: usize, change: Change) {
        let wall = self.wall(host);
        let outputs = self.hosts[host].kernel.apply(self.now, wall, change);
        self.emit(host, outputs);
        self.carry_out(host);
    }

    fn emit(&mut self, host: usize, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Packet(packet) => {
                    let seen = self.seen(host, packet.payload, packet.sas.is_empty());
                    self.tally.sent.push(seen);
                    if let Some(to) = self.owner(packet.payload.flow.dst) {
                        let delay = self.hosts[host].delay;
                        self.schedule(delay, Arrival::Packet { host: to, packet });
                    }
                }
                Output::Dropped(payload) => {
                    let seen = self.seen(host, payload, false);
                    self.tally.dropped.push(seen);
                }
                Output::Event(event) => {
                    let run = self.hosts[host].run;
                    let event = Event::Kernel(event);
                    self.schedule(NOTIFYING, Arrival::Event { host, run, event });
                }
            }
        }
    }

    fn carry_out(&mut self, host: usize) {
        while let Some(effect) = self.hosts[host].agent.poll_effect() {
            let run = self.hosts[host].run;
            match effect {
                Effect::Kernel(change) if self.hosts[host].starting => {
                    let wall = self.wall(host);
                    self.hosts[host].starting = false;
                    let kernel = &mut self.hosts[host].kernel;
                    let mut outputs = kernel.keep_only(&change);
                    outputs.extend(kernel.apply(self.now, wall, change));
                    self.emit(host, outputs);
                }
                Effect::Kernel(change) => {
                    self.schedule(WRITING, Arrival::Apply { host, run, change });
                }
                Effect::Send {
                    local,
                    remote,
                    payload,
                } => self.datagram(host, local, remote, payload),
                Effect::Keep(keep) => self.hosts[host].keep(keep),
                Effect::Tell { line, .. } => {
                    let at = self.now.duration_since(self.start).as_secs_f64();
                    let line = format!("{at:9.4} {} {}", line.kind, line.detail);
                    self.hosts[host].tells.push(line);
                }
                Effect::Reply { token, reply } => self.hosts[host].replies.push((token, reply)),
                Effect::SendAs { .. }
                | Effect::LetGo(_)
                | Effect::Forget { .. }
                | Effect::SendRegistration(_)
                | Effect::Carry { .. }
                | Effect::CarryNoMore { .. }
                | Effect::Announce { .. }
                | Effect::OnLink(_)
                | Effect::RunCommand { .. }
                | Effect::StopCommand(_)
                | Effect::KeepBinding { .. }
                | Effect::KeepNetworks(_)
                | Effect::KeepHome(_)
                | Effect::Remember(_) => {}
            }
        }
        let Host {
            agent,
            kernel,
            state,
            ..
        } = &self.hosts[host];
        let agent = agent.poll_timeout().filter(|_| *state == State::Running);
        self.hosts[host].wake = [agent, kernel.poll_timeout()].into_iter().flatten().min();
    }

    fn datagram(&mut self, from: usize, local: SocketAddr, remote: SocketAddr, payload: Vec<u8>) {
        let lost = self.rng.u64() % 100 < self.loss;
        let (mut source, mut target) = (local, remote);
        if let Some((inside, outside)) = self.nat {
            if from == inside {
                source.set_ip(outside);
            } else if remote.ip() == outside {
                let own = self.hosts[inside].addresses.0.lock().unwrap()[0];
                target.set_ip(own);
            }
        }
        let sender = self.owner(local.ip());
        let Some(to) = self.owner(target.ip()).filter(|_| sender == Some(from)) else {
            return;
        };
        if lost || self.cut.contains(&from) || self.cut.contains(&to) {
            return;
        }
        let event = Event::Datagram {
            local: target,
            remote: source,
            payload,
        };
        let (delay, run) = (self.hosts[from].delay, self.hosts[to].run);
        self.schedule(
            delay,
            Arrival::Event {
                host: to,
                run,
                event,
            },
        );
    }

    fn schedule(&mut self, after: Duration, arrival: Arrival) {
        self.scheduled += 1;
        self.queue.push(Reverse((self.now + after, self.scheduled)));
        self.arrivals.insert(self.scheduled, arrival);
    }
}

impl Host {
    fn keep(&mut self, keep: Keep) {
        let kept = &mut self.kept;
        let forget = |records: &mut Vec<Record>, entity: &Entity| {
            records.retain(|record| record.presence.entity != *entity);
        };
        let raise = |kept: &mut Kept, entity: Entity, sequence: u64| {
            let mut known = kept.sequences.iter_mut();
            match known.find(|(of, _)| *of == entity) {
                Some((_, known)) => *known = sequence.max(*known),
                None => kept.sequences.push((entity, sequence)),
            }
        };
        match keep {
            Keep::Believed(record) => {
                let Presence {
                    entity, sequence, ..
                } = record.presence.clone();
                forget(&mut kept.records, &entity);
                raise(kept, entity, sequence);
                kept.records.push(record);
            }
            Keep::Forgotten(entity) => forget(&mut kept.records, &entity),
            Keep::Sequence(entity, sequence) => raise(kept, entity, sequence),
            Keep::Row { number, row } => kept.rows.push((number, row)),
            Keep::RowRemoved(number) => kept.rows.retain(|(known, _)| *known != number),
        }
    }

    /// Whether anybody was told something of this kind, and with these words.
    pub(super) fn told(&self, kind: &str, words: &str) -> bool {
        let kind = format!(" {kind} ");
        let mut tells = self.tells.iter();
        tells.any(|line| line.contains(&kind) && line.contains(words))
    }
}

/// Somebody is somewhere, with authority, at the addresses that are known.
pub(super) fn said(entity: Entity, location: &str) -> SetPresence {
    SetPresence {
        entity,
        addresses: Vec::new(),
        user: None,
        location: location.parse().unwrap(),
        valid: None,
        hint: false,
    }
}
