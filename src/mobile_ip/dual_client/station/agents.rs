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
