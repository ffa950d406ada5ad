//! The foreign agents of each link: who is asked for, who may be registered through, and who has started
//! anew.

use super::derived::Derived;
use crate::mobile_ip::client::{AgentDiscovery, ForeignAgent, Found};
use crate::mobile_ip::dual_client::{self, ForeignAgents, Settings};
use crate::mobile_ip::wire::advertisement::{Advertisement, AgentFlags};
use crate::mobile_ip::{Link, LinkId};
use crate::net::Random;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// That are kept, over all adapters.
const MAX_AGENTS: usize = 64;

#[derive(Debug)]
pub struct Agents {
    allowed: ForeignAgents,
    known: BTreeSet<Ipv4Addr>,
    /// Whether anybody is to be asked for at all.
    is_searching: bool,
    links: BTreeMap<LinkId, (Link, AgentDiscovery)>,
    offers: BTreeMap<(LinkId, Ipv4Addr), ForeignAgent>,
    solicit: VecDeque<LinkId>,
    restarted: VecDeque<(LinkId, Ipv4Addr)>,
}

impl Agents {
    pub fn new(settings: &Settings, known: impl Iterator<Item = Ipv4Addr>) -> Self {
        let known: BTreeSet<_> = known.collect();
        let ranges = &settings.ranges;
        let are_hints = !ranges.inside_agents.is_empty() || !ranges.outside_agents.is_empty();
        Self {
            allowed: settings.foreign_agents,
            is_searching: settings.foreign_agents == ForeignAgents::Any
                || !known.is_empty()
                || are_hints,
            known,
            links: BTreeMap::new(),
            offers: BTreeMap::new(),
            solicit: VecDeque::new(),
            restarted: VecDeque::new(),
        }
    }

    /// On a link that has come, or is another one now, agents are asked for.
    pub fn links_are(&mut self, now: Instant, links: &[Link], random: &mut dyn Random) {
        if !self.is_searching {
            return;
        }
        let connected = |id: &LinkId| links.iter().any(|link| link.id == *id && link.carrier);
        self.links.retain(|id, _| connected(id));
        for link in links.iter().filter(|link| link.carrier) {
            let before = self.links.get(&link.id);
            if before.is_some_and(|(before, _)| !link.is_elsewhere_than(before)) {
                continue;
            }
            let mut discovery = AgentDiscovery::new(Vec::new(), Box::new(Derived::new(random)));
            discovery.search(now);
            self.links.insert(link.id, (link.clone(), discovery));
        }
        self.offers.retain(|(id, _), _| self.links.contains_key(id));
        self.gather();
    }

    /// What the dual client should know of it.
    pub fn hear(
        &mut self,
        now: Instant,
        link: LinkId,
        source: Ipv4Addr,
        advertisement: &Advertisement,
    ) -> dual_client::Advertisement {
        let is_allowed = self.known.contains(&source)
            || self.allowed == ForeignAgents::Any && self.is_neighbour(link, source);
        let offer = ForeignAgent::from_advertisement(source, advertisement);
        let offer = offer.filter(|_| is_allowed);
        let flags = advertisement.agent.as_ref().map(|agent| agent.flags);
        let required = AgentFlags::REGISTRATION_REQUIRED;
        let heard = dual_client::Advertisement {
            link,
            agent: source,
            care_of: offer
                .as_ref()
                .map(|offer| offer.care_of.clone())
                .unwrap_or_default(),
            registration_required: flags.is_some_and(|flags| flags.has(required)),
            lifetime: Duration::from_secs(advertisement.lifetime.into()),
        };
        if let Some(offer) = offer {
            let key = (link, source);
            if self.offers.len() >= MAX_AGENTS && !self.offers.contains_key(&key) {
                self.offers.pop_first();
            }
            self.offers.insert(key, offer);
        }
        // A stranger must not end the search for those who are known.
        if is_allowed && let Some((_, discovery)) = self.links.get_mut(&link) {
            discovery.hear(now, source, advertisement);
            self.gather();
        }
        heard
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        for (_, discovery) in self.links.values_mut() {
            discovery.handle_timeout(now);
        }
        self.gather();
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let discoveries = self.links.values();
        discoveries
            .filter_map(|(_, discovery)| discovery.poll_timeout())
            .min()
    }

    pub fn offers(&self) -> &BTreeMap<(LinkId, Ipv4Addr), ForeignAgent> {
        &self.offers
    }

    pub fn poll_solicit(&mut self) -> Option<LinkId> {
        self.solicit.pop_front()
    }

    pub fn poll_restarted(&mut self) -> Option<(LinkId, Ipv4Addr)> {
        self.restarted.pop_front()
    }

    /// Whoever names an address of elsewhere wants to stand in for it.
    fn is_neighbour(&self, link: LinkId, address: Ipv4Addr) -> bool {
        let Some((link, _)) = self.links.get(&link) else {
            return false;
        };
        link.addresses.is_empty() || link.addresses.iter().any(|own| own.contains(&address))
    }

    fn gather(&mut self) {
        for (id, (_, discovery)) in &mut self.links {
            while let Some(found) = discovery.poll() {
                match found {
                    Found::Solicit => self.solicit.push_back(*id),
                    Found::Restarted(agent) => self.restarted.push_back((*id, agent)),
                    Found::ForeignAgent(_) | Found::HomeAgent(_) | Found::Gone(_) => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mobile_ip::domain::Ranges;
    use crate::mobile_ip::dual_client::{
        ClearProbes, InsideProtection, Reverse, System, T_MONITOR, Tunnelling, Vpn,
    };
    use crate::mobile_ip::wire::advertisement::{CommonTraffic, MobilityAgent, Sequence};
    use crate::net::random::Seeded;

    const LINK: LinkId = LinkId(3);
    const KNOWN: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
    const STRANGER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 66);
    const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    fn agents(allowed: ForeignAgents, known: &[Ipv4Addr]) -> (Agents, Instant) {
        let settings = Settings {
            inner: System {
                home: Ipv4Addr::new(198, 51, 100, 5),
                home_agent: Ipv4Addr::new(192, 0, 2, 2),
                home_network: None,
                lifetime: Duration::from_secs(600),
                reverse: Reverse::Always,
            },
            sites: Vec::new(),
            vpn: Vpn::Absent,
            inside_protection: InsideProtection::Clear,
            tunnelling: Tunnelling::Full,
            ranges: Ranges::default(),
            clear_probes: ClearProbes::Everywhere,
            t_monitor: T_MONITOR,
            mobile_networks: Vec::new(),
            mobile_networks6: Vec::new(),
            destinations6: Vec::new(),
            foreign_agents: allowed,
        };
        let mut agents = Agents::new(&settings, known.iter().copied());
        let now = Instant::now();
        agents.links_are(now, &[link(true)], &mut Seeded(5));
        (agents, now)
    }

    fn link(carrier: bool) -> Link {
        Link {
            id: LINK,
            name: "eth0".into(),
            carrier,
            addresses: vec!["203.0.113.10/25".parse().unwrap()],
            gateway: None,
            gateway_mac: None,
            access_point: None,
            weak: false,
            ipv6: None,
            metric: 100,
        }
    }

    fn advertisement(sequence: u16) -> Advertisement {
        let flags = AgentFlags::FOREIGN_AGENT.with(AgentFlags::REGISTRATION_REQUIRED);
        Advertisement {
            traffic: CommonTraffic::Routed,
            lifetime: 30,
            routers: Vec::new(),
            agent: Some(MobilityAgent {
                sequence: Sequence(sequence),
                registration_lifetime: 600,
                flags,
                care_of: vec![KNOWN],
            }),
            prefix_lengths: None,
            challenge: None,
        }
    }

    fn solicited(agents: &mut Agents) -> usize {
        std::iter::from_fn(|| agents.poll_solicit()).count()
    }

    #[test]
    fn with_nobody_known_nobody_is_asked_for() {
        let (mut agents, _) = agents(ForeignAgents::Known, &[]);
        assert_eq!(solicited(&mut agents), 0);
        assert_eq!(agents.poll_timeout(), None);
    }

    #[test]
    fn a_stranger_offers_nothing_and_does_not_end_the_search() {
        let (mut agents, now) = agents(ForeignAgents::Known, &[KNOWN]);
        assert_eq!(solicited(&mut agents), 1);
        let heard = agents.hear(now, LINK, STRANGER, &advertisement(0));
        assert!(heard.care_of.is_empty() && agents.offers().is_empty());
        agents.handle_timeout(now + Duration::from_secs(2));
        assert_eq!(solicited(&mut agents), 1, "the search goes on");
        let heard = agents.hear(now, LINK, KNOWN, &advertisement(0));
        assert_eq!(heard.care_of, [KNOWN]);
        assert!(heard.registration_required);
        agents.handle_timeout(now + Duration::from_secs(20));
        assert_eq!(solicited(&mut agents), 0);
    }

    #[test]
    fn any_neighbour_will_do_where_that_is_said_and_nobody_from_elsewhere() {
        let (mut agents, now) = agents(ForeignAgents::Any, &[]);
        assert_eq!(solicited(&mut agents), 1);
        let mut offered = |who| agents.hear(now, LINK, who, &advertisement(0)).care_of;
        assert!(offered(ELSEWHERE).is_empty());
        assert_eq!(offered(STRANGER), [KNOWN]);
    }

    #[test]
    fn one_that_starts_anew_is_told_and_one_on_another_network_is_forgotten() {
        let (mut agents, now) = agents(ForeignAgents::Known, &[KNOWN]);
        agents.hear(now, LINK, KNOWN, &advertisement(7));
        assert_eq!(agents.poll_restarted(), None);
        agents.hear(now, LINK, KNOWN, &advertisement(0));
        assert_eq!(agents.poll_restarted(), Some((LINK, KNOWN)));
        solicited(&mut agents);
        agents.links_are(now, &[link(false)], &mut Seeded(5));
        assert!(agents.offers().is_empty());
        agents.links_are(now, &[link(true)], &mut Seeded(5));
        assert_eq!(solicited(&mut agents), 1);
        agents.hear(now, LINK, KNOWN, &advertisement(0));
        assert_eq!(agents.poll_restarted(), None);
    }
}
