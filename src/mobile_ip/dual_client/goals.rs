//! What is wanted now, from the facts: which registrations, and what of the VPN.

use super::links::{SmokeOut, Tracked};
use super::registration::{Attachment, NatTraversal, Point, Slot};
use super::settings::{ClearProbes, Reverse, Site, System, Vpn};
use super::slots::Bound;
use super::vpn::{Adapter, Leg, VpnGoal, VpnPhase};
use super::{DualClient, Effect, GRACE, Override};
use crate::mobile_ip::domain::{Candidate, Domain, Standing};
use crate::mobile_ip::{LinkId, Via};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

/// Between the requests in the clear on several undecided adapters: each moves the inner binding.
const STAGGER: Duration = Duration::from_millis(200);

/// What leaves right behind an outer request leaves once more after each of these: the home agent, which has no
/// tunnel from here before, has made it by then, also one that is busy.
const HEAD_STARTS: &[Duration] = &[
    Duration::from_millis(1),
    Duration::from_millis(3),
    Duration::from_millis(10),
];

/// A proof that was not renewed is asked for again after this.
const RENEW_AGAIN: Duration = Duration::from_secs(4);

impl DualClient {
    pub(super) fn active(&self) -> Option<LinkId> {
        self.inside.or(self.choice.current())
    }

    pub(super) fn is_single(&self) -> bool {
        self.settings.vpn == Vpn::Absent && self.settings.outer_systems().next().is_none()
    }

    fn detects(&self) -> bool {
        self.settings.detects() && self.by_hand == Override::None
    }

    pub(super) fn is_warm(&self) -> bool {
        matches!(self.settings.vpn, Vpn::Present { warm: true, .. })
    }

    fn candidate(now: Instant, tracked: &Tracked) -> Candidate {
        Candidate {
            link: tracked.link.id,
            standing: if tracked.is_failing(now) {
                Standing::Failing
            } else {
                Standing::Good
            },
            domain: None,
            weak: tracked.link.weak,
            metric: tracked.link.metric,
        }
    }

    fn usable(&self, now: Instant) -> Vec<Candidate> {
        let is_ours = |tracked: &Tracked| {
            let own = tracked.link.usable_address();
            own.is_some_and(|own| self.is_ours(own))
        };
        let usable = self.links.values().filter(|tracked| tracked.is_usable(now));
        let usable = usable
            .filter(|tracked| !is_ours(tracked))
            .map(|tracked| Self::candidate(now, tracked));
        let without_ipv4 = self.links.values().filter_map(|tracked| {
            self.lone_ipv6(now, tracked.link.id)?;
            let candidate = Self::candidate(now, tracked);
            let standing = candidate.standing.max(Standing::WithoutIpv4);
            Some(Candidate {
                standing,
                ..candidate
            })
        });
        usable.chain(without_ipv4).collect()
    }

    /// S, T or V, which we hold whatever the network does. One that gives it to an adapter gives no care-of
    /// address: the tunnel of an address would be within itself, and the way of its packets in the clear.
    pub(super) fn is_ours(&self, address: Ipv4Addr) -> bool {
        let v = match self.vpn.phase() {
            VpnPhase::Up { address } | VpnPhase::Warm { address } => address,
            _ => None,
        };
        let systems = self.settings.outer_systems().chain([&self.settings.inner]);
        let mut ours = systems.map(|system| system.home).chain(v);
        ours.any(|home| home == address)
    }

    // --- registrations ---------------------------------------------------------------------------

    /// Chooses the adapter and sees to the outer system.
    pub(super) fn pursue_registrations(&mut self, now: Instant) {
        if !self.detects()
            && let Some(inside) = self.inside
        {
            self.slots.detach(Slot::Clear(inside), false);
            self.proofs.withdraw(inside);
            self.leave_inside();
        }
        self.stay_failing(now);
        let usable = self.usable(now);
        match self.inside {
            Some(inside) => self.choice.take(inside),
            None => {
                self.choice.choose(now, &usable);
            }
        }
        let idle = (self.inside.is_some() && !self.is_warm()) || self.by_hand == Override::Blocked;
        if idle {
            for slot in self.slots.slots() {
                if matches!(slot, Slot::Outer(_)) {
                    self.slots.detach(slot, true);
                }
            }
            if self.inside.is_some() {
                self.site = None;
            }
            return;
        }
        let Some(active) = self.active() else { return };
        if self.lone_ipv6(now, active).is_some() {
            return self.choose_site_in_ipv6();
        }
        if !self.outer_is_due(now, active) {
            return;
        }
        for site in self.sites_to_ask(now, active) {
            let Some(outer) = self.settings.sites[site].outer.clone() else {
                continue;
            };
            if let Some(attachment) = self.attachment_on(now, active, &outer) {
                self.slots.attach(now, Slot::Outer(site), attachment);
            }
        }
    }

    /// Silence is said once. As long as it goes on, the adapter stays the last choice.
    fn stay_failing(&mut self, now: Instant) {
        let single = self.is_single();
        for (slot, state) in self.slots.all() {
            let counts = matches!(slot, Slot::Outer(_)) || single;
            if let (true, Some(asking), Some(_)) = (counts, state.asking, state.silent_since)
                && let Via::Link(link) = asking.via
                && let Some(tracked) = self.links.get_mut(&link)
                && !tracked.is_failing(now)
            {
                tracked.fails(now);
            }
        }
    }

    /// Both home agents are asked at once (RFC 5265 §3.3), unless inside is expected.
    fn outer_is_due(&self, now: Instant, active: LinkId) -> bool {
        let Some(tracked) = self.links.get(&active) else {
            return false;
        };
        let is_decided = tracked.found.is_some() || !self.detects();
        is_decided || now >= tracked.began + tracked.evidence.conjecture().outer_delay()
    }

    /// The one that answered first; while none has, those near here. Where there are none, or they say nothing, all; and
    /// where the gateways of those that are left have failed lately, those too.
    fn sites_to_ask(&mut self, now: Instant, active: LinkId) -> Vec<usize> {
        // Its silence may have been said while it still stood.
        let is_silent = |site: &usize| self.slots.is_silent(Slot::Outer(*site));
        let is_over_ipv6 = self.site_in_ipv6().is_some();
        if !is_over_ipv6 {
            self.site = self
                .site
                .filter(|site| !(is_silent(site) && self.is_lost(*site)));
            if let Some(site) = self.site {
                return vec![site];
            }
        }
        let sites = &self.settings.sites;
        let address = self
            .links
            .get(&active)
            .and_then(|t| t.link.usable_address());
        let is_near =
            |site: &Site| address.is_some_and(|a| site.near.iter().any(|net| net.contains(&a)));
        let is_shunned = |at: &usize| self.shunned[*at].is_some_and(|until| now < until);
        let all = (0..sites.len()).filter(|at| !is_shunned(at));
        let mut asked: Vec<_> = all.clone().filter(|at| is_near(&sites[*at])).collect();
        if asked.iter().all(is_silent) {
            asked = all.collect();
        }
        if asked.iter().all(is_silent) {
            asked = (0..sites.len()).collect();
        }
        // The nearest of before first, as far as that was measured.
        asked.sort_by_key(|at| self.round_trips[*at].unwrap_or(Duration::MAX));
        if is_over_ipv6 {
            return asked;
        }
        if let [only] = asked[..] {
            self.site = Some(only);
        } else if asked.iter().all(|at| sites[*at].outer.is_none()) {
            self.site = asked.first().copied();
        }
        asked
    }

    /// Nothing stands there, and there are others.
    pub(super) fn is_lost(&self, site: usize) -> bool {
        self.settings.sites.len() > 1 && self.slots.bound(Slot::Outer(site)).is_none()
    }

    fn attachment_on(&self, now: Instant, link: LinkId, system: &System) -> Option<Attachment> {
        let tracked = self.links.get(&link)?;
        let point = tracked.point(now, system)?;
        if matches!(point, Point::CoLocated(own) if self.is_ours(own)) {
            return None;
        }
        Some(Attachment {
            via: Via::Link(link),
            point,
            home: system.home,
            home_agent: system.home_agent,
            lifetime: system.lifetime,
            reverse: system.reverse == Reverse::Always,
            nat_traversal: NatTraversal::Detected,
            gateway: tracked.link.gateway,
        })
    }

    /// The inner registration in the clear: on the one adapter that is inside, and on whichever might be.
    /// It is the last in each burst: if we are inside, it holds, however the others arrive.
    pub(super) fn pursue_clear(&mut self, now: Instant) {
        let mut wanted = Vec::new();
        if self.is_single() && self.by_hand != Override::Blocked {
            wanted.extend(self.choice.current());
        } else if self.detects() {
            match self.inside {
                Some(inside) => {
                    wanted.push(inside);
                    wanted.extend(self.challenger(now, inside));
                }
                None => {
                    let due = self.staggered(now).into_iter().filter(|(_, at)| *at <= now);
                    wanted.extend(due.map(|(link, _)| link));
                }
            }
        }
        let single = self.is_single();
        for slot in self.slots.slots() {
            let Slot::Clear(link) = slot else { continue };
            // Make before break: without anything to detect, the old adapter carries on until the new
            // one is registered.
            let carries = single && self.slots.bound(slot).is_some() && self.none_bound(&wanted);
            if !wanted.contains(&link) && !carries {
                self.slots.detach(slot, false);
            }
        }
        let inner = self.settings.inner.clone();
        for link in wanted {
            if let Some(attachment) = self.attachment_on(now, link, &inner) {
                self.slots.attach(now, Slot::Clear(link), attachment);
            }
        }
        if let (Some(inside), Some(at)) = (self.inside, self.renew_at)
            && now >= at
        {
            self.slots.renew(now, Slot::Clear(inside));
            self.renew_at = Some(now + RENEW_AGAIN);
        }
    }

    fn none_bound(&self, links: &[LinkId]) -> bool {
        let bound = |link: &LinkId| self.slots.bound(Slot::Clear(*link)).is_some();
        !links.is_empty() && !links.iter().any(bound)
    }

    /// An adapter that would be better than the one inside, if it is inside too. Registering over it moves
    /// the binding, so the home agent must have been smoked out there before.
    fn challenger(&mut self, now: Instant, inside: LinkId) -> Option<LinkId> {
        let may_be = |t: &&Tracked| {
            let is_due = t.smoke_out == SmokeOut::Answered && now >= t.ask_from;
            t.is_usable(now) && (t.link.id == inside || is_due)
        };
        let candidates: Vec<_> = self
            .links
            .values()
            .filter(may_be)
            .map(|t| Self::candidate(now, t))
            .collect();
        let best = self.inside_choice.choose(now, &candidates);
        best.filter(|best| *best != inside)
    }

    /// While we are inside, adapters that might be better are asked without moving the binding.
    pub(super) fn pursue_smoke_outs(&mut self, now: Instant) {
        let Some(inside) = self.inside.filter(|_| self.detects()) else {
            return;
        };
        let rank = |tracked: &Tracked| (tracked.link.weak, tracked.link.metric);
        let Some(present) = self.links.get(&inside).map(rank) else {
            return;
        };
        let everywhere = self.settings.clear_probes == ClearProbes::Everywhere;
        for (link, tracked) in &mut self.links {
            let is_better = *link != inside && rank(tracked) < present;
            let is_due = tracked.smoke_out == SmokeOut::NotAsked && now >= tracked.ask_from;
            let is_allowed = everywhere || tracked.evidence.conjecture().domain == Domain::Inside;
            if is_better && is_due && is_allowed && tracked.is_usable(now) {
                tracked.smoke_out = SmokeOut::Asked;
                self.effects.push_back(Effect::SmokeOut(*link));
            }
        }
    }

    /// Whether an answer of the inner home agent is awaited there, as the link is now.
    pub fn smokes_out(&self, link: LinkId) -> bool {
        let tracked = self.links.get(&link);
        tracked.is_some_and(|tracked| tracked.smoke_out == SmokeOut::Asked)
    }

    /// Undecided adapters in the order in which they are asked, and when each is.
    fn staggered(&self, now: Instant) -> Vec<(LinkId, Instant)> {
        let may_ask = |tracked: &&Tracked| {
            let expected = || tracked.evidence.conjecture();
            let is_allowed = match self.settings.clear_probes {
                ClearProbes::Everywhere => true,
                ClearProbes::WhereExpected => {
                    expected().domain == Domain::Inside && expected().confidence.0 > 50
                }
            };
            tracked.is_usable(now) && is_allowed
        };
        let mut asked: Vec<_> = self.links.values().filter(may_ask).collect();
        let order = |tracked: &&Tracked| {
            let conjecture = tracked.evidence.conjecture();
            let certainty = match conjecture.domain {
                Domain::Inside => 100 - i16::from(conjecture.confidence.0),
                Domain::Outside => i16::from(conjecture.confidence.0),
            };
            (
                tracked.found.is_some(),
                certainty,
                tracked.link.weak,
                tracked.link.metric,
                tracked.link.id,
            )
        };
        asked.sort_by_key(order);
        let mut turn = 0;
        let times = asked.into_iter().map(|tracked| {
            let at = if tracked.ask_from > tracked.began {
                tracked.ask_from
            } else {
                turn += 1;
                let delay = tracked.evidence.conjecture().clear_delay();
                tracked.ask_from + delay + STAGGER * (turn - 1)
            };
            (tracked.link.id, at)
        });
        times.collect()
    }

    pub(super) fn next_staggered(&self, now: Instant) -> Option<Instant> {
        if self.inside.is_some() || !self.detects() {
            return None;
        }
        let times = self.staggered(now).into_iter().map(|(_, at)| at);
        times.filter(|at| *at > now).min()
    }

    /// The inner registration over the VPN, or over T where there is none.
    pub(super) fn pursue_inner(&mut self, now: Instant) {
        let Some(care_of) = self.inner_care_of(now) else {
            if self.inside.is_some() || self.by_hand == Override::Blocked || !self.vpn.is_alive() {
                self.slots.detach(Slot::Inner, false);
            }
            return;
        };
        let inner = &self.settings.inner;
        let is_translated = self.vpn.carries() == Some(Adapter::None);
        let attachment = Attachment {
            via: Via::Routed,
            point: Point::CoLocated(care_of),
            home: inner.home,
            home_agent: inner.home_agent,
            lifetime: inner.lifetime,
            reverse: true,
            nat_traversal: if is_translated {
                NatTraversal::Forced
            } else {
                NatTraversal::Detected
            },
            gateway: None,
        };
        let follows = !self.is_outer_bound() && self.over_ipv6().is_none();
        if self.slots.attach(now, Slot::Inner, attachment) && follows {
            self.inner_again = Some((now, HEAD_STARTS));
        }
    }

    /// The home agent has had its head start.
    pub(super) fn repeat_inner(&mut self, now: Instant) {
        if let Some((asked, [_, later @ ..])) = self.inner_again
            && self.inner_again_at().is_some_and(|at| now >= at)
        {
            self.inner_again = Some((asked, later));
            self.slots.repeat(Slot::Inner);
        }
    }

    pub(super) fn inner_again_at(&self) -> Option<Instant> {
        let (asked, head_starts) = self.inner_again?;
        head_starts.first().map(|after| asked + *after)
    }

    /// V, or T or the physical address in its place; `None` while that is no way to the inner home agent.
    fn inner_care_of(&self, now: Instant) -> Option<Ipv4Addr> {
        if self.inside.is_some() || self.by_hand == Override::Blocked || self.is_single() {
            return None;
        }
        let site = self.site?;
        let below = self.below(now, site)?;
        match self.settings.vpn {
            Vpn::Absent => {
                let bound = self.slots.bound(Slot::Outer(site));
                bound.map(|bound| bound.attachment.home)
            }
            Vpn::Present { .. } => self.vpn.carries()?.address(below),
        }
    }

    /// What the VPN binds to: T, or the physical address without an outer system and where there is no IPv4.
    /// `None` while that goes nowhere.
    pub(super) fn below(&self, now: Instant, site: usize) -> Option<IpAddr> {
        if let Some(own) = self.below_in_ipv6(now, site) {
            return Some(own.into());
        }
        match &self.settings.sites[site].outer {
            Some(outer) => self.outer_path(site).map(|_| outer.home.into()),
            None => {
                let tracked = self.links.get(&self.active()?)?;
                let own = tracked.link.usable_address();
                own.filter(|own| !self.is_ours(*own)).map(IpAddr::V4)
            }
        }
    }

    // --- the VPN ---------------------------------------------------------------------------------

    pub(super) fn vpn_goal(&self, now: Instant) -> VpnGoal {
        let Vpn::Present { warm, .. } = self.settings.vpn else {
            return VpnGoal::AsIs;
        };
        let is_inside = self.inside.is_some();
        if self.by_hand == Override::Blocked || (is_inside && !warm) {
            return VpnGoal::Off;
        }
        let (Some(site), Some(active)) = (self.site, self.active()) else {
            return VpnGoal::AsIs;
        };
        let settings = &self.settings.sites[site];
        let below = self.below(now, site);
        let (over, is_ready) = match (&settings.outer, below) {
            (Some(outer), None | Some(IpAddr::V4(_))) => (
                Some(outer.home.into()),
                self.slots.bound(Slot::Outer(site)).is_some(),
            ),
            _ => (below, below.is_some()),
        };
        let Some(over) = over else {
            return VpnGoal::AsIs;
        };
        let leg = Leg {
            gateway: settings.gateway.clone(),
            over,
        };
        if is_inside {
            // Without an outer system the SA would be bound to an address of the inside.
            let keeps = settings.outer.is_some() && (is_ready || self.vpn.is_alive());
            return match (keeps, settings.outer.is_some()) {
                (true, _) => VpnGoal::Warm(leg),
                (false, true) => VpnGoal::AsIs,
                (false, false) => VpnGoal::Off,
            };
        }
        let is_running = self.vpn.is_alive() || self.vpn.is_coming();
        if is_running || (is_ready && self.vpn_is_due(now, active)) {
            VpnGoal::Up(leg)
        } else {
            VpnGoal::AsIs
        }
    }

    /// Setting up a VPN is dear to abort, so the inner home agent gets a moment to answer.
    fn vpn_is_due(&self, now: Instant, active: LinkId) -> bool {
        let Some(tracked) = self.links.get(&active) else {
            return false;
        };
        let is_decided = tracked.found == Some(Domain::Outside)
            || tracked.lone_ipv6(now).is_some()
            || !self.detects();
        is_decided || now >= tracked.began + tracked.evidence.conjecture().vpn_delay()
    }

    // --- what is remembered ----------------------------------------------------------------------

    /// `link` is `domain`, by more than a guess.
    pub(super) fn found(&mut self, link: LinkId, domain: Domain) {
        let Some(tracked) = self.links.get_mut(&link) else {
            return;
        };
        tracked.unrecorded = tracked.link.gateway_mac.is_none().then_some(domain);
        if self.contexts.record(&tracked.link, domain).is_some() {
            let all = self.contexts.all().to_vec();
            self.effects.push_back(Effect::Remember(all));
        }
    }

    /// When the proof that `bound` brought is to be renewed.
    pub(super) fn renewal(&self, bound: &Bound) -> Instant {
        let monitor = self.settings.t_monitor;
        bound.accepted.asked + monitor.saturating_sub(GRACE.min(monitor / 3))
    }
}
