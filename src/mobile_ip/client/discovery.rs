//! Which mobility agents a link has (RFC 5944 §2.4): asks for them, keeps those that are heard, and
//! notices when one has started anew or fallen silent.
//!
//! Advertisements are not authenticated. What comes of them is a place to register at, and never a
//! belief about where we are.

use super::ForeignAgent;
use crate::mobile_ip::wire::advertisement::{Advertisement, AgentFlags, Sequence};
use crate::net::{Random, Timers};
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// RFC 5944 §2.4: three a second apart, then each after twice the time, up to a minute.
const INITIAL: u32 = 3;
const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(60);
/// More agents than any link has; beyond them a stranger is making them up.
const MOST_AGENTS: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Send a router solicitation over the link, with a time to live of 1.
    Solicit,
    /// An agent that takes nodes is there, or says something else than before.
    ForeignAgent(ForeignAgent),
    /// One of these home agents is on this very link: we are at home (RFC 5944 §2.4.3).
    HomeAgent(Ipv4Addr),
    /// It has started anew and forgotten us: register again (RFC 5944 §2.4.4).
    Restarted(Ipv4Addr),
    /// Not heard any more (RFC 5944 §2.4.2.1).
    Gone(Ipv4Addr),
}

#[derive(Debug)]
pub struct AgentDiscovery {
    random: Box<dyn Random>,
    home_agents: Vec<Ipv4Addr>,
    agents: BTreeMap<Ipv4Addr, Heard>,
    /// Solicitations since the search began; `None`: nobody searches.
    asked: Option<u32>,
    timers: Timers<Timer>,
    found: VecDeque<Found>,
}

#[derive(Clone, Debug)]
struct Heard {
    sequence: Sequence,
    offer: Option<ForeignAgent>,
    at_home: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Solicit,
    Silence(Ipv4Addr),
}

impl AgentDiscovery {
    pub fn new(home_agents: Vec<Ipv4Addr>, random: Box<dyn Random>) -> Self {
        Self {
            random,
            home_agents,
            agents: BTreeMap::new(),
            asked: None,
            timers: Timers::default(),
            found: VecDeque::new(),
        }
    }

    /// The link has come up, or no care-of address is to be had otherwise: ask until an agent is heard.
    pub fn search(&mut self, now: Instant) {
        self.asked = Some(0);
        self.solicit(now);
    }

    /// The link has gone, or is another one: whom it had is forgotten without a word.
    pub fn forget(&mut self) {
        self.agents.clear();
        self.asked = None;
        self.timers = Timers::default();
        self.found.clear();
    }

    pub fn hear(&mut self, now: Instant, source: Ipv4Addr, advertisement: &Advertisement) {
        let Some(agent) = &advertisement.agent else {
            return;
        };
        if source.is_unspecified() || source.is_multicast() || source.is_broadcast() {
            return;
        }
        if advertisement.lifetime == 0 {
            return self.silence(source);
        }
        let heard = Heard {
            sequence: agent.sequence,
            offer: ForeignAgent::from_advertisement(source, advertisement),
            at_home: agent.flags.has(AgentFlags::HOME_AGENT) && self.home_agents.contains(&source),
        };
        let before = self.agents.get(&source);
        if before.is_none() && self.agents.len() >= MOST_AGENTS {
            return;
        }
        let restarted =
            before.is_some_and(|before| heard.sequence.restarted_since(before.sequence));
        let was_home = before.is_some_and(|before| before.at_home);
        let offered = before.and_then(|before| before.offer.as_ref());
        let new_offer = heard.offer.clone().filter(|offer| Some(offer) != offered);
        if restarted {
            self.found.push_back(Found::Restarted(source));
        }
        self.found.extend(new_offer.map(Found::ForeignAgent));
        if heard.at_home && !was_home {
            self.found.push_back(Found::HomeAgent(source));
        }
        self.agents.insert(source, heard);
        let lifetime = Duration::from_secs(advertisement.lifetime.into());
        self.timers.set(Timer::Silence(source), now + lifetime);
        // RFC 5944 §2.4: only in the absence of advertisements.
        self.asked = None;
        self.timers.stop(&Timer::Solicit);
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.expired(now) {
            match timer {
                Timer::Solicit => self.solicit(now),
                Timer::Silence(agent) => self.silence(agent),
            }
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    pub fn poll(&mut self) -> Option<Found> {
        self.found.pop_front()
    }

    /// Those that take nodes, heard lately.
    pub fn foreign_agents(&self) -> impl Iterator<Item = &ForeignAgent> {
        self.agents
            .values()
            .filter_map(|heard| heard.offer.as_ref())
    }

    fn solicit(&mut self, now: Instant) {
        let Some(asked) = &mut self.asked else {
            return;
        };
        *asked = asked.saturating_add(1);
        let doublings = asked.saturating_sub(INITIAL).min(6);
        let pause = (LEAST * (1 << doublings)).min(MOST);
        // RFC 5944 §2.4: around the nominal time, yet never more than one a second.
        let noise = pause.mul_f64(f64::from(self.random.u32()) / f64::from(u32::MAX) / 10.0);
        self.timers.set(Timer::Solicit, now + pause + noise);
        self.found.push_back(Found::Solicit);
    }

    fn silence(&mut self, agent: Ipv4Addr) {
        self.timers.stop(&Timer::Silence(agent));
        if self.agents.remove(&agent).is_some() {
            self.found.push_back(Found::Gone(agent));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mobile_ip::wire::advertisement::{CommonTraffic, MobilityAgent};
    use crate::net::random::Seeded;

    const AGENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
    const HOME_AGENT: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 1);

    fn advertisement(sequence: u16, flags: AgentFlags) -> Advertisement {
        Advertisement {
            traffic: CommonTraffic::Routed,
            lifetime: 9,
            routers: Vec::new(),
            agent: Some(MobilityAgent {
                sequence: Sequence(sequence),
                registration_lifetime: 600,
                flags,
                care_of: vec![AGENT],
            }),
            prefix_lengths: None,
            challenge: None,
        }
    }

    fn discovery() -> (AgentDiscovery, Instant) {
        let random = Box::new(Seeded(3));
        (
            AgentDiscovery::new(vec![HOME_AGENT], random),
            Instant::now(),
        )
    }

    fn found(discovery: &mut AgentDiscovery) -> Vec<Found> {
        std::iter::from_fn(|| discovery.poll()).collect()
    }

    #[test]
    fn a_search_asks_three_times_then_ever_more_rarely_until_somebody_answers() {
        let (mut discovery, start) = discovery();
        discovery.search(start);
        let (mut now, mut pauses) = (start, Vec::new());
        for _ in 0..10 {
            assert_eq!(found(&mut discovery), [Found::Solicit]);
            let next = discovery.poll_timeout().expect("the next one");
            pauses.push((next - now).as_secs());
            now = next;
            discovery.handle_timeout(now);
        }
        assert_eq!(pauses[..5], [1, 1, 1, 2, 4]);
        assert!(pauses[9] >= 60);
        found(&mut discovery);
        discovery.hear(now, AGENT, &advertisement(0, AgentFlags::FOREIGN_AGENT));
        assert!(matches!(
            found(&mut discovery)[..],
            [Found::ForeignAgent(_)]
        ));
        discovery.handle_timeout(now + Duration::from_secs(8));
        assert_eq!(found(&mut discovery), []);
    }

    #[test]
    fn an_agent_is_told_once_and_again_when_it_restarts_or_falls_silent() {
        let (mut discovery, now) = discovery();
        let flags = AgentFlags::FOREIGN_AGENT;
        discovery.hear(now, AGENT, &advertisement(0xffff, flags));
        found(&mut discovery);
        discovery.hear(now, AGENT, &advertisement(256, flags));
        assert_eq!(found(&mut discovery), [], "an overflow is no restart");
        discovery.hear(now, AGENT, &advertisement(0, flags));
        assert_eq!(found(&mut discovery), [Found::Restarted(AGENT)]);
        discovery.handle_timeout(now + Duration::from_secs(9));
        assert_eq!(found(&mut discovery), [Found::Gone(AGENT)]);
        assert_eq!(discovery.foreign_agents().count(), 0);
    }

    #[test]
    fn a_busy_agent_is_no_offer_and_only_our_home_agent_is_home() {
        let (mut discovery, now) = discovery();
        let busy = AgentFlags::FOREIGN_AGENT.with(AgentFlags::BUSY);
        discovery.hear(now, AGENT, &advertisement(0, busy));
        discovery.hear(now, AGENT, &advertisement(1, AgentFlags::HOME_AGENT));
        assert_eq!(found(&mut discovery), []);
        discovery.hear(now, HOME_AGENT, &advertisement(1, AgentFlags::HOME_AGENT));
        assert_eq!(found(&mut discovery), [Found::HomeAgent(HOME_AGENT)]);
    }

    #[test]
    fn made_up_agents_fill_no_memory() {
        let (mut discovery, now) = discovery();
        for n in 0..1000_u32 {
            let source = Ipv4Addr::from(0x0a00_0001 + n);
            discovery.hear(now, source, &advertisement(0, AgentFlags::FOREIGN_AGENT));
        }
        assert_eq!(discovery.foreign_agents().count(), MOST_AGENTS);
    }
}
