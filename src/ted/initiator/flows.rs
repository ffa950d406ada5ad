//! Which flow of a proxy is probed next, and which need not be any more.

use super::discovery::{Discovery, Patience};
use super::effects::{Effect, Ended};
use super::pending::{FlowKey, Group};
use super::{DiscoveryId, Initiator, MAX_DISCOVERIES, OwnProxy, RETRANSMIT_MIN, Timer};
use crate::net::Flow;
use crate::ted::proxies::ProxyId;
use std::collections::BTreeSet;
use std::time::Instant;

impl Initiator {
    /// Probes waiting flows as far as the allowance goes, except those that a negotiation under way
    /// would cover.
    pub(super) fn start_waiting(&mut self, now: Instant, proxy: ProxyId) {
        if self.groups.get(&proxy).is_some_and(Group::is_empty) {
            self.groups.remove(&proxy);
        }
        let Some(&ours) = self.config.proxies.get(&proxy) else {
            return;
        };
        while let Some(group) = self.groups.get(&proxy) {
            if self.probing(proxy) >= group.allowance {
                return;
            }
            let active: Vec<&Discovery> = self.active_in(proxy).collect();
            let next = group
                .waiting()
                .find(|(_, waiting)| !active.iter().any(|d| d.may_cover(&waiting.flow)))
                .map(|(key, _)| *key);
            let Some(key) = next else {
                break;
            };
            if self.discoveries.len() >= MAX_DISCOVERIES {
                self.starved.insert(proxy);
                return;
            }
            self.start(now, proxy, ours, &key);
        }
    }

    /// Discoveries under way whose outcome is unknown.
    fn probing(&self, proxy: ProxyId) -> usize {
        self.active_in(proxy).filter(|d| d.is_probing()).count()
    }

    pub(super) fn narrow(&mut self, proxy: ProxyId) {
        let silent = self.probing(proxy);
        if let Some(group) = self.groups.get_mut(&proxy) {
            group.narrow(silent);
        }
    }

    pub(super) fn start_starved(&mut self, now: Instant) {
        for proxy in std::mem::take(&mut self.starved) {
            self.start_waiting(now, proxy);
        }
    }

    pub(super) fn start(&mut self, now: Instant, proxy: ProxyId, ours: OwnProxy, key: &FlowKey) {
        let cookie = self.new_cookie();
        let Some(group) = self.groups.get_mut(&proxy) else {
            return;
        };
        let Some(waiting) = group.begin(key) else {
            return;
        };
        let id = DiscoveryId(self.next_id);
        self.next_id += 1;
        self.waiting -= 1;
        group.active.insert(id);
        self.timers.stop(&Timer::Stale(proxy, *key));
        self.by_cookie.insert(cookie, id);
        let discovery = Discovery {
            proxy,
            ours,
            key: *key,
            flow: waiting.flow,
            own: waiting.own,
            cookie,
            interval: self.config.retransmit.max(RETRANSMIT_MIN),
            probes_sent: 0,
            packets: waiting.packets,
            candidates: Vec::new(),
            irreconcilable: None,
            patience: Patience::Left,
            timed_out: false,
        };
        self.discoveries.insert(id, discovery);
        self.timers
            .set(Timer::Timeout(id), now + self.config.timeout);
        self.probe(now, id);
    }

    pub(super) fn drop_waiting(&mut self, proxy: ProxyId, key: &FlowKey, why: Ended) {
        let Some(group) = self.groups.get_mut(&proxy) else {
            return;
        };
        let Some(waiting) = group.remove(key) else {
            return;
        };
        if group.is_empty() {
            self.groups.remove(&proxy);
        }
        self.waiting -= 1;
        self.timers.stop(&Timer::Stale(proxy, *key));
        self.effects.push_back(Effect::Ended {
            proxy,
            flow: waiting.flow,
            discovery: None,
            why,
        });
    }

    pub(super) fn drop_matching(
        &mut self,
        now: Instant,
        why: Ended,
        matching: impl Fn(ProxyId, &Flow) -> bool,
    ) {
        let (mut touched, mut handed_over) = (BTreeSet::new(), Vec::new());
        let gone: Vec<DiscoveryId> = self
            .discoveries
            .iter()
            .filter(|(_, d)| matching(d.proxy, &d.flow))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            let Some(Discovery { proxy, flow, .. }) = self.remove_discovery(id) else {
                continue;
            };
            touched.insert(proxy);
            handed_over.push((proxy, id));
            self.effects.push_back(Effect::Ended {
                proxy,
                flow,
                discovery: Some(id),
                why,
            });
        }
        let waiting: Vec<(ProxyId, FlowKey)> = self
            .groups
            .iter()
            .flat_map(|(proxy, group)| group.waiting().map(move |(key, w)| (*proxy, *key, w.flow)))
            .filter(|(proxy, _, flow)| matching(*proxy, flow))
            .map(|(proxy, key, _)| (proxy, key))
            .collect();
        for (proxy, key) in waiting {
            self.drop_waiting(proxy, &key, why);
            touched.insert(proxy);
        }
        self.retry(matching);
        for (proxy, id) in handed_over {
            self.hand_over(now, proxy, id);
        }
        for proxy in touched {
            self.start_waiting(now, proxy);
        }
        self.start_starved(now);
    }
}
