//! Mobile nodes, the proxy agent, the home agent, and what happens to them in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::agreed::{NODES, Setup, home};
use super::node::Node;
use super::proxy::{Proxy, whole_seconds};
use super::strangers::Overheard;
use crate::roaming::{ForeignAgents, Home, Passing, UNIX, Weather, percent};
use crate::trace::Trace;
use xfrm_agent::mobile_ip::Datagram;
use xfrm_agent::mobile_ip::home_agent::settings::ReverseTunnel;
use xfrm_agent::net::Random;
use xfrm_agent::net::random::Seeded;

/// A datagram arrives there.
#[derive(Clone, Debug)]
pub enum Happening {
    Proxy(Datagram),
    HomeAgent(Datagram),
    Nodes(Datagram),
    /// At this foreign agent, or at a node from it.
    Passes(usize, Passing),
}

pub struct World {
    pub now: Instant,
    pub start: Instant,
    pub setup: Setup,
    pub random: Seeded,
    pub weather: Weather,
    pub nodes: Vec<Node>,
    pub proxy: Proxy,
    /// Of the proxy agent's clock, before that of the nodes.
    ahead: Duration,
    pub home_agent: Home,
    pub visited: ForeignAgents,
    pub is_denied: bool,
    /// Taken back by the home agent, and not given again so far.
    pub revoked: BTreeSet<Ipv4Addr>,
    /// The care-of addresses that nodes have taken back, and not asked for since.
    pub left: BTreeMap<Ipv4Addr, Ipv4Addr>,
    pub overheard: Overheard,
    queue: BTreeMap<(Instant, u64), Happening>,
    sequence: u64,
    /// Of the second that runs: when it began, timers and datagrams in it.
    busy: (Instant, u32),
    pub trace: Trace,
    story: Vec<String>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let setup = Setup::of(seed);
        let start = Instant::now();
        let mut random = Seeded(seed);
        let mut ahead = || Duration::from_secs(u64::from(random.u32() % 30));
        let home_agent = Home::new(start, setup.home_agent(), ahead(), seed ^ 1);
        let ahead = ahead();
        let stations = (0..NODES).map(|at| {
            let seed = seed ^ 3 ^ ((at as u64) << 32);
            setup.station(start, Duration::ZERO, at, seed)
        });
        let mut world = Self {
            now: start,
            start,
            setup,
            random,
            weather: Weather::default(),
            nodes: stations.map(Node::new).collect(),
            proxy: Proxy::new(start, UNIX + ahead, setup, 0),
            ahead,
            home_agent,
            visited: ForeignAgents::open(start, UNIX, seed, |place| setup.foreign_agent(place)),
            is_denied: false,
            revoked: BTreeSet::new(),
            left: BTreeMap::new(),
            overheard: Overheard::default(),
            queue: BTreeMap::new(),
            sequence: 0,
            busy: (start, 0),
            trace: Trace::default(),
            story: Vec::new(),
        };
        for at in 0..NODES {
            world.drain(at);
        }
        world.foreign_agents_say();
        world
    }

    // --- what a history does -----------------------------------------------------------------------

    /// It says nothing to anybody, and the kernel takes its tunnels apart.
    pub fn restart_proxy(&mut self, after: Duration) {
        self.tell(&format_args!("the proxy agent starts anew in {after:?}"));
        let life = self.proxy.next_life();
        self.proxy = Proxy::new(self.now, self.proxy_time(), self.setup, life);
        self.proxy.silent_until = self.now + after;
        self.overheard = Overheard::default();
        self.left.clear();
    }

    pub fn set_proxy_clock(&mut self, ahead: Duration) {
        self.tell(&format_args!(
            "the proxy agent's clock is {ahead:?} ahead now"
        ));
        self.ahead = ahead;
        let time = whole_seconds(self.proxy_time());
        self.proxy.room.handle(self.now, time);
        self.proxy_says();
    }

    fn proxy_time(&self) -> Duration {
        UNIX + self.ahead + (self.now - self.start)
    }

    /// Also of foreign agents.
    pub fn nodes_time(&self) -> Duration {
        UNIX + (self.now - self.start)
    }

    pub fn restart_home_agent(&mut self) {
        self.tell(&"the home agent starts anew");
        self.home_agent.restart(self.now);
    }

    /// Nobody is granted a reverse tunnel, and surrogates need one; or everybody is again.
    pub fn deny_inside(&mut self, denies: bool) {
        self.tell(&format_args!("the home agent denies: {denies}"));
        self.is_denied = denies;
        self.home_agent.reconfigure(self.now, |settings| {
            settings.reverse_tunnel = if denies {
                ReverseTunnel::Refused
            } else {
                ReverseTunnel::Allowed
            };
        });
    }

    pub fn silence_home_agent(&mut self, span: Duration) {
        self.tell(&format_args!("the home agent is silent for {span:?}"));
        self.home_agent.silent_until = self.now + span;
    }

    pub fn revoke(&mut self, at: usize) {
        self.tell(&format_args!("the home agent revokes {}", home(at)));
        if self.home_agent.bound.contains_key(&home(at)) {
            self.revoked.insert(home(at));
        }
        let sent = self.home_agent.revoke(self.now, home(at));
        self.home_agent_says(sent);
    }

    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(next) = self.next().filter(|at| *at <= end) {
            // No timer comes at its nanosecond: what is made of the time of day is never made twice.
            let late = Duration::from_nanos(u64::from(self.random.u32() % 1_000_000));
            self.now = (self.now.max(next) + late).min(end);
            self.count();
            self.step();
        }
        self.now = end;
        self.check();
    }

    // --- time --------------------------------------------------------------------------------------

    fn next(&self) -> Option<Instant> {
        let nodes = self.nodes.iter().map(Node::poll_timeout);
        let others = [
            self.proxy.room.poll_timeout(),
            self.home_agent.poll_timeout(),
            self.visited.poll_timeout(),
            self.queue.first_key_value().map(|((at, _), _)| *at),
        ];
        nodes.chain(others).flatten().min()
    }

    fn step(&mut self) {
        let now = self.now;
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.queue.first_key_value().map(|((at, _), _)| *at)) {
            let (_, happening) = self.queue.pop_first().expect("it was there");
            return self.happens(happening);
        }
        for at in 0..self.nodes.len() {
            if is_due(self.nodes[at].poll_timeout()) {
                self.nodes[at].station.handle_timeout(now);
                self.drain(at);
            }
        }
        if is_due(self.proxy.room.poll_timeout()) {
            self.proxy.room.handle_timeout(now);
            self.proxy_says();
        }
        if is_due(self.home_agent.poll_timeout()) {
            let sent = self.home_agent.handle_timeout(now);
            self.home_agent_says(sent);
        }
        if is_due(self.visited.poll_timeout()) {
            self.visited.handle_timeout(now);
            self.foreign_agents_say();
        }
    }

    fn happens(&mut self, happening: Happening) {
        self.trace.note(self.now - self.start, &happening);
        match happening {
            Happening::Proxy(datagram) => self.at_proxy(datagram),
            Happening::HomeAgent(datagram) => self.at_home_agent(datagram),
            Happening::Nodes(datagram) => self.at_nodes(&datagram),
            Happening::Passes(at, passing) => self.passes(at, passing),
        }
    }

    pub fn later(&mut self, after: Duration, happening: Happening) {
        self.sequence += 1;
        let key = (self.now + after, self.sequence);
        self.queue.insert(key, happening);
    }

    /// Nothing may keep anybody busy: neither a timer that never rests, nor a storm of requests.
    pub fn count(&mut self) {
        let (since, steps) = &mut self.busy;
        if self.now >= *since + Duration::from_secs(1) {
            (*since, *steps) = (self.now, 0);
        }
        *steps += 1;
        assert!(*steps < 300, "no rest for a second: {}", self.told());
    }

    pub fn percent(&mut self, chance: u32) -> bool {
        percent(&mut self.random, chance)
    }

    // --- the story of a failure --------------------------------------------------------------------

    pub fn tell(&mut self, what: &dyn std::fmt::Display) {
        let at = self.now - self.start;
        self.trace.note(at, &what.to_string());
        self.story.push(format!("{at:?} {what}"));
    }

    pub fn told(&self) -> String {
        let last = self.story.len().saturating_sub(60);
        let plugged: Vec<_> = self.nodes.iter().map(|node| &node.plugged).collect();
        format!(
            "{}\nat {:?}: {:?}\n{plugged:?}\nstitched {:?}\nbound {:?}\n{:#?}",
            self.story[last..].join("\n"),
            self.now - self.start,
            self.setup,
            self.proxy.stitched,
            self.home_agent.bound,
            self.proxy.room.view(),
        )
    }
}
