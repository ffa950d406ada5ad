//! One client, both its home agents, and what happens to them in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::agreed::{Setup, unix};
use super::home::Home;
use super::lives::Life;
use super::places::Network;
use super::sites::Way;
use super::visited::{ForeignAgents, Passing};
use super::weather::{self, Weather};
use crate::trace::Trace;
use xfrm_agent::mobile_ip::dual_client::station::{Effect, Input, Station};
use xfrm_agent::mobile_ip::dual_client::{self, VpnState};

use xfrm_agent::mobile_ip::{Arrangement, Datagram, Link, LinkId};
use xfrm_agent::net::Random;
use xfrm_agent::net::random::Seeded;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Inner,
    /// Of this site.
    Outer(usize),
}

#[derive(Clone, Debug)]
pub enum Happening {
    AtAgent(Which, Datagram),
    AtClient(Datagram),
    /// At this foreign agent, or at the client from it.
    Passes(usize, Passing),
    VpnIsUp {
        turn: u64,
    },
    VpnIsDown {
        turn: u64,
    },
}

pub struct World {
    pub now: Instant,
    pub start: Instant,
    pub setup: Setup,
    pub random: Seeded,
    pub weather: Weather,
    pub station: Station,
    pub life: Life,
    pub inner: Home,
    pub ways: Vec<Way>,
    pub visited: ForeignAgents,
    pub plugged: BTreeMap<LinkId, Network>,
    /// Of these, those that are received so.
    pub weak: BTreeSet<LinkId>,
    pub visits: BTreeMap<LinkId, u64>,
    /// Put elsewhere without noticing, when.
    pub moved_silently: BTreeMap<LinkId, Instant>,
    /// Adapters on which the inner home agent has said, signed, that they are inside; and when it was asked.
    pub witnessed: BTreeSet<LinkId>,
    /// Where nobody answered over the VPN while T was at home: T has a tunnel from there, since somebody else's network
    /// may have the same prefix.
    pub doubted_home: BTreeSet<LinkId>,
    /// Where the T that the VPN runs over is at home, or was last.
    pub native_on: Option<LinkId>,
    pub arrangement: Option<Arrangement>,
    pub vpn_is_up: bool,
    /// It has outlived the client that wanted it, and nobody has asked for it since.
    pub vpn_is_left: bool,
    /// It carries: told `Up` last, not `Warm`.
    pub vpn_carries: bool,
    pub vpn_turn: u64,
    /// Through whose gateway it was asked for last.
    pub vpn_site: usize,
    /// And where it begins.
    pub vpn_over: Option<IpAddr>,
    queue: BTreeMap<(Instant, u64), Happening>,
    sequence: u64,
    /// Of the second that runs: when it began, timers and datagrams in it.
    busy: (Instant, u32),
    /// The last signed reply of the inner home agent, for those who try it again.
    pub overheard: Option<Vec<u8>>,
    pub trace: Trace,
    pub story: Vec<String>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let setup = Setup::of(seed);
        let start = Instant::now();
        let mut random = Seeded(seed);
        let mut ahead = || Duration::from_secs(u64::from(random.u32() % 30));
        let inner = Home::new(start, setup.inner_agent(), ahead(), seed ^ 1);
        let ways = (0..setup.sites).map(|site| Way {
            agent: Home::new(
                start,
                setup.outer_agent(site),
                ahead(),
                seed ^ 2 ^ ((site as u64) << 40),
            ),
            gateway_is_dead: false,
        });
        let ways = ways.collect();
        let settings = |place| setup.foreign_agent(place);
        let visited = ForeignAgents::open(start, unix(Duration::ZERO), setup.seed, settings);
        let mut world = Self {
            now: start,
            start,
            setup,
            random,
            weather: Weather::default(),
            station: setup.station(start, Duration::ZERO, seed ^ 3),
            life: Life::default(),
            inner,
            ways,
            visited,
            plugged: BTreeMap::new(),
            weak: BTreeSet::new(),
            visits: BTreeMap::new(),
            moved_silently: BTreeMap::new(),
            witnessed: BTreeSet::new(),
            doubted_home: BTreeSet::new(),
            native_on: None,
            arrangement: None,
            vpn_is_up: false,
            vpn_is_left: false,
            vpn_carries: false,
            vpn_turn: 0,
            vpn_site: 0,
            vpn_over: None,
            queue: BTreeMap::new(),
            sequence: 0,
            busy: (start, 0),
            overheard: None,
            trace: Trace::default(),
            story: Vec::new(),
        };
        world.foreign_agents_say();
        world.drain();
        world
    }

    // --- what a history does -----------------------------------------------------------------------

    /// Pulled out first, so that it is noticed even where the new network looks like the old one.
    pub fn plug(&mut self, link: LinkId, network: Network) {
        let before = self.plugged.get(&link).copied();
        if before.is_some_and(|before| before != Network::Unplugged) {
            self.put(link, Network::Unplugged);
            self.links_changed();
        }
        self.put(link, network);
        self.links_changed();
    }

    /// As [`World::plug`], without any event: something upstream has changed.
    pub fn plug_silently(&mut self, link: LinkId, network: Network) {
        self.put(link, network);
        self.moved_silently.insert(link, self.now);
    }

    /// It becomes weak where it was not, and no more where it was, whatever it is plugged in.
    pub fn carry_about(&mut self, link: LinkId) {
        if !self.weak.remove(&link) {
            self.weak.insert(link);
        }
        let weak = self.weak.contains(&link);
        self.tell(&format_args!("{link} weak: {weak}"));
        self.links_changed();
    }

    fn put(&mut self, link: LinkId, network: Network) {
        self.tell(&format_args!("{link} in {network:?}"));
        self.plugged.insert(link, network);
        *self.visits.entry(link).or_default() += 1;
    }

    pub(super) fn links_changed(&mut self) {
        let links = self.plugged.iter();
        let links = links.map(|(id, network)| Link {
            weak: self.weak.contains(id),
            ..network.link(*id)
        });
        let links = links.collect();
        self.input(Input::Dual(dual_client::Input::Links(links)));
        // Once that is carried out, nothing of before counts there any more.
        for (id, network) in &self.plugged {
            if *network == Network::Unplugged {
                self.witnessed.remove(id);
                self.moved_silently.remove(id);
                self.doubted_home.remove(id);
            }
        }
        self.check();
    }

    pub fn home(&mut self, which: Which) -> &mut Home {
        match which {
            Which::Inner => &mut self.inner,
            Which::Outer(site) => &mut self.ways[site].agent,
        }
    }

    pub fn restart(&mut self, which: Which) {
        self.tell(&format_args!("{which:?} starts anew"));
        let now = self.now;
        self.home(which).restart(now);
    }

    pub fn silence(&mut self, which: Which, span: Duration) {
        self.tell(&format_args!("{which:?} is silent for {span:?}"));
        self.home(which).silent_until = self.now + span;
    }

    pub fn input(&mut self, input: Input) {
        if self.life.is_over {
            return;
        }
        self.station.handle(self.now, input);
        self.drain();
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
        let event = self.queue.first_key_value().map(|((at, _), _)| *at);
        let outer = self.ways.iter().map(|way| way.agent.poll_timeout());
        let others = [
            self.client_timeout(),
            self.inner.poll_timeout(),
            self.visited.poll_timeout(),
            event,
        ];
        outer.chain(others).flatten().min()
    }

    fn client_timeout(&self) -> Option<Instant> {
        let at = self.station.poll_timeout();
        at.filter(|_| !self.life.is_over)
    }

    fn step(&mut self) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= self.now);
        let first = self.queue.first_key_value().map(|((at, _), _)| *at);
        if is_due(first) {
            let (_, happening) = self.queue.pop_first().expect("it was there");
            self.happens(happening);
        } else if is_due(self.client_timeout()) {
            self.station.handle_timeout(self.now);
            self.drain();
        } else {
            let now = self.now;
            self.foreign_agents_are_due();
            let outer = (0..self.ways.len()).map(Which::Outer);
            for which in outer.chain([Which::Inner]) {
                for datagram in self.home(which).handle_timeout(now) {
                    self.replies(which, datagram);
                }
            }
        }
    }

    /// Nothing may keep the client busy: neither a timer that never rests, nor a storm of requests.
    pub fn count(&mut self) {
        let (since, steps) = &mut self.busy;
        if self.now >= *since + Duration::from_secs(1) {
            (*since, *steps) = (self.now, 0);
        }
        *steps += 1;
        assert!(*steps < 300, "no rest for a second: {}", self.told());
    }

    pub fn later(&mut self, after: Duration, happening: Happening) {
        self.sequence += 1;
        let key = (self.now + after, self.sequence);
        self.queue.insert(key, happening);
    }

    fn happens(&mut self, happening: Happening) {
        self.trace.note(self.now - self.start, &happening);
        match happening {
            Happening::AtAgent(which, datagram) => self.reaches(which, datagram),
            Happening::AtClient(datagram) => self.returns(datagram),
            Happening::Passes(at, passing) => self.passes(at, passing),
            Happening::VpnIsUp { turn } => self.vpn_tries(turn),
            Happening::VpnIsDown { turn } if turn == self.vpn_turn => {
                self.vpn_says(VpnState::Down);
            }
            Happening::VpnIsDown { .. } => {}
        }
    }

    pub(super) fn drain(&mut self) {
        while let Some(effect) = self.station.poll_effect() {
            match effect {
                Effect::Arrangement(arrangement) => {
                    self.tell(&format_args!("{arrangement:?}"));
                    self.arrangement = Some(arrangement);
                    self.note_home();
                }
                Effect::Send(datagram) => self.leaves(datagram),
                Effect::Vpn(command) => self.command(&command),
                Effect::Tell(what) => self.tell(&format_args!("{what}")),
                Effect::Suspicious(slot, what) => self.tell(&format_args!("{slot}: {what:?}")),
                Effect::Remember(contexts) => self.life.remembered = contexts,
                Effect::Solicit(link) => self.solicits(link),
                Effect::Announce { .. } | Effect::HomeDenied(_) => {}
            }
            // Effects are carried out in order, so what holds must hold between any two of them.
            self.check();
        }
    }

    pub fn percent(&mut self, chance: u32) -> bool {
        weather::percent(&mut self.random, chance)
    }

    // --- the story of a failure --------------------------------------------------------------------

    pub fn tell(&mut self, what: &dyn std::fmt::Display) {
        let at = self.now - self.start;
        self.trace.note(at, &what.to_string());
        self.story.push(format!("{at:?} {what}"));
    }

    pub fn told(&self) -> String {
        let last = self.story.len().saturating_sub(60);
        format!(
            "{}\n{:?} {:?}\ninner {:?}\nouter {:?}\n{:#?}",
            self.story[last..].join("\n"),
            self.setup,
            self.plugged,
            self.inner.bound,
            self.ways
                .iter()
                .map(|way| &way.agent.bound)
                .collect::<Vec<_>>(),
            self.station.view(self.now),
        )
    }
}
