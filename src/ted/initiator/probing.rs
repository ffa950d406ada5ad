//! The course of one discovery: probe, offers in turn, failure.

use super::discovery::{Discovery, OfferState, Patience};
use super::effects::{Candidate, Effect, FailureReason};
use super::pending::FlowKey;
use super::{DiscoveryId, Failure, Initiator, MIN_PROBES, PATIENCE, Timer};
use crate::ted::proxies::ProxyId;
use std::time::Instant;

impl Initiator {
    /// Callers hold an id that they have just found in a table.
    pub(super) fn discovery(&mut self, id: DiscoveryId) -> &mut Discovery {
        self.discoveries
            .get_mut(&id)
            .expect("a discovery in a table exists")
    }

    pub(super) fn find(&self, proxy: ProxyId, key: &FlowKey) -> Option<DiscoveryId> {
        let active = &self.groups.get(&proxy)?.active;
        active
            .iter()
            .copied()
            .find(|id| self.discoveries[id].key == *key)
    }

    pub(super) fn active(&self, proxy: ProxyId) -> Vec<DiscoveryId> {
        let group = self.groups.get(&proxy);
        group.map_or_else(Vec::new, |g| g.active.iter().copied().collect())
    }

    pub(super) fn active_in(&self, proxy: ProxyId) -> impl Iterator<Item = &Discovery> {
        let group = self.groups.get(&proxy).into_iter();
        group
            .flat_map(|group| &group.active)
            .filter_map(|id| self.discoveries.get(id))
    }

    /// The other discoveries under its proxy.
    fn others(&self, id: DiscoveryId) -> impl Iterator<Item = &Discovery> {
        let this = self.discoveries.get(&id).into_iter();
        this.flat_map(move |this| {
            let active = self.active_in(this.proxy);
            active.filter(move |other| other.key != this.key)
        })
    }

    pub(super) fn retransmit(&mut self, now: Instant, id: DiscoveryId) {
        let discovery = self.discovery(id);
        let (proxy, flow) = (discovery.proxy, discovery.flow);
        let again = now + discovery.interval;
        if self.others(id).any(|other| other.may_cover(&flow)) {
            self.timers.set(Timer::Retransmit(id), again);
            return;
        }
        let oldest = self
            .active(proxy)
            .into_iter()
            .find(|id| self.discoveries[id].is_probing());
        self.probe(now, id);
        if oldest == Some(id) {
            if let Some(group) = self.groups.get_mut(&proxy) {
                group.hedge();
            }
            self.start_waiting(now, proxy);
        }
    }

    /// Sends the probe of a discovery and sets its next retransmission.
    pub(super) fn probe(&mut self, now: Instant, id: DiscoveryId) {
        let discovery = self.discovery(id);
        let (cookie, flow, own) = (discovery.cookie, discovery.flow, discovery.own);
        let next = now + discovery.back_off();
        let ours = discovery.ours.proxy;
        self.timers.set(Timer::Retransmit(id), next);
        if self.send_probe(now, Some(id), (cookie, flow, own), Some(&ours)) {
            self.discovery(id).probes_sent += 1;
        }
    }

    pub(super) fn time_out(&mut self, now: Instant, id: DiscoveryId) {
        let discovery = self.discovery(id);
        let flow = discovery.flow;
        let again = now + discovery.interval;
        // Probes that the rate limits put off are our silence, not theirs; and where a gateway
        // found for another flow claims this one too, it is not silence at all.
        if discovery.probes_sent < MIN_PROBES
            || self.others(id).any(|other| other.would_cover(&flow))
        {
            self.timers.set(Timer::Timeout(id), again);
            return;
        }
        self.discovery(id).timed_out = true;
        self.timers.stop(&Timer::Retransmit(id));
        self.advance(now, id);
    }

    /// Nobody was there to hear answers, which may still wait in a socket: their time begins anew.
    pub(super) fn listen_again(&mut self, now: Instant) {
        let again = now + self.config.timeout;
        for (id, _) in self.discoveries.iter().filter(|(_, d)| !d.timed_out) {
            self.timers.set(Timer::Timeout(*id), again);
        }
    }

    pub(super) fn lose_patience(&mut self, now: Instant, id: DiscoveryId) {
        let discovery = self.discovery(id);
        let proxy = discovery.proxy;
        discovery.patience = Patience::Lost;
        self.advance(now, id);
        self.start_waiting(now, proxy);
    }

    /// Hands out the next offer; where there is none, asks for more, and gives up when nothing can
    /// come any more.
    pub(super) fn advance(&mut self, now: Instant, id: DiscoveryId) {
        // The failure of one may have ended others that shared its negotiation.
        let Some(discovery) = self.discoveries.get(&id) else {
            return;
        };
        if !discovery.is_idle() || self.offer_next(now, id) {
            return;
        }
        let discovery = self.discovery(id);
        if !discovery.timed_out {
            let again = now + discovery.interval;
            self.timers.set(Timer::Retransmit(id), again);
        } else if !discovery.is_negotiating() {
            self.fail(now, id);
        }
    }

    /// Whether a further offer is being negotiated now. One that another discovery of the proxy
    /// negotiates already is not handed out twice.
    pub(super) fn offer_next(&mut self, now: Instant, id: DiscoveryId) -> bool {
        let discovery = self.discovery(id);
        if !discovery.is_idle() {
            return false;
        }
        let Some(at) = discovery.next_untried() else {
            return false;
        };
        let offer = &mut discovery.candidates[at];
        let candidate = Candidate {
            discovery: id,
            proxy: discovery.proxy,
            flow: discovery.flow,
            own: discovery.own,
            responder: offer.responder,
            merged: offer.merged,
            claimed: offer.claimed,
            ike: offer.ike.take(),
        };
        let by = self.active(candidate.proxy).into_iter().find(|other| {
            let offers = &self.discoveries[other].candidates;
            offers.iter().any(|o| {
                o.is_negotiated_by(*other)
                    && o.responder == candidate.responder
                    && o.merged.contains(&candidate.merged)
            })
        });
        let discovery = self.discovery(id);
        let by = by.unwrap_or(id);
        discovery.candidates[at].state = OfferState::Negotiating { by };
        discovery.patience = Patience::Left;
        self.timers.stop(&Timer::Retransmit(id));
        self.timers.set(Timer::Patience(id), now + PATIENCE);
        if by == id {
            self.effects.push_back(Effect::Candidate(candidate));
        }
        true
    }

    pub(super) fn fail(&mut self, now: Instant, id: DiscoveryId) {
        let Some(discovery) = self.remove_discovery(id) else {
            return;
        };
        let Discovery { proxy, flow, .. } = discovery;
        let reason = discovery.failure();
        if reason == FailureReason::Silence
            && let Some(group) = self.groups.get_mut(&proxy)
        {
            group.widen();
        }
        let until = now + discovery.ours.failure_lifetime;
        let evicted = self.failures.insert(Failure {
            proxy,
            flow,
            reason: reason.clone(),
            until,
        });
        if let Some(evicted) = evicted {
            self.failure_ended(&evicted);
        }
        self.effects.push_back(Effect::Failed {
            discovery: id,
            proxy,
            flow,
            packets: discovery.packets,
            reason,
            until,
        });
        self.hand_over(now, proxy, id);
        self.start_waiting(now, proxy);
        self.start_starved(now);
    }

    /// Takes a discovery out of every table.
    pub(super) fn remove_discovery(&mut self, id: DiscoveryId) -> Option<Discovery> {
        let discovery = self.discoveries.remove(&id)?;
        self.by_cookie.remove(&discovery.cookie);
        self.spend(discovery.cookie);
        for timer in [
            Timer::Retransmit(id),
            Timer::Timeout(id),
            Timer::Patience(id),
        ] {
            self.timers.stop(&timer);
        }
        if let Some(group) = self.groups.get_mut(&discovery.proxy) {
            group.active.remove(&id);
        }
        Some(discovery)
    }

    /// What `gone` negotiated for others too, they negotiate themselves from now on.
    pub(super) fn hand_over(&mut self, now: Instant, proxy: ProxyId, gone: DiscoveryId) {
        let mut orphaned = Vec::new();
        for id in self.active(proxy) {
            for offer in &mut self.discovery(id).candidates {
                if offer.is_negotiated_by(gone) {
                    offer.state = OfferState::Untried;
                    orphaned.push(id);
                }
            }
        }
        for id in orphaned {
            self.advance(now, id);
        }
    }
}
