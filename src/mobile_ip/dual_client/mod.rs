//! The dual client: the inner system with S, the outer one with T, and the VPN between them.
//!
//! ```text
//!  links, advertisements, VPN, outcomes ─→ facts ─→ goals ─→ orders to registrations, to the VPN
//!                                            │
//!                                            └─→ switch ─→ Arrangement of S and T
//! ```
//!
//! After every event the goals and the arrangement are worked out anew from the facts, so there is no
//! history that could leave something behind. Effects leave in the order in which they are to be carried
//! out: what stops, who is asked, what the VPN does.
//!
//! Refuses to know: datagrams, keys, replay protection, routes, and whose VPN it is.

mod effect;
mod goals;
mod hearing;
mod links;
pub mod newcomer;
mod registration;
mod settings;
mod slots;
pub mod station;
mod switch;
mod view;
mod vpn;
mod ways;
mod without_ipv4;

pub use effect::{Advertisement, Effect, Input, Override, Tell, VpnCommand, VpnState};
pub use registration::{
    Accepted, Attachment, Carried, Generation, NatTraversal, Order, Outcome, Point, Slot,
};
pub use settings::{
    ClearProbes, ForeignAgents, InsideProtection, Reach, Reverse, Settings, SettingsError, Site,
    System, T_MONITOR, T_MONITOR_LEAST, Tunnelling, Vpn,
};
pub use switch::{Open, Stopped, Tunnelled};
pub use view::{LinkView, RegistrationView, View};
pub use vpn::{Leg, VpnGoal, VpnPhase};
pub use without_ipv4::WITHOUT_IPV4;

use super::domain::{Choice, Context, Contexts, Domain, Hint, Proofs};
use super::{Arrangement, Link, LinkId};
use links::{MAX_LINKS, SmokeOut, Tracked};
use slots::Slots;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use vpn::Supervisor;

/// A renewed proof must be there this long before the old one is over: room for three requests.
const GRACE: Duration = Duration::from_secs(15);

/// So long another site is preferred to one whose gateway has failed.
const SHUNNED: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub struct DualClient {
    settings: Settings,
    links: BTreeMap<LinkId, Tracked>,
    proofs: Proofs,
    contexts: Contexts,
    /// Which adapter is used outside.
    choice: Choice,
    /// Which adapter should be used inside: challenges the present one.
    inside_choice: Choice,
    /// The adapter of the last registration that proved anything. At most one: it moved the binding.
    inside: Option<LinkId>,
    renew_at: Option<Instant>,
    /// When an inner request left right behind an outer one, and after how long it leaves once more each time.
    inner_again: Option<(Instant, &'static [Duration])>,
    slots: Slots,
    vpn: Supervisor,
    /// The adapter that was in use last, and since when it has been where it is.
    network: Option<(LinkId, Instant)>,
    /// Which site is used, once one has answered.
    site: Option<usize>,
    /// Measured round trips of outer registrations, by site.
    round_trips: Vec<Option<Duration>>,
    /// Sites whose gateway failed lately, until when they are left out.
    shunned: Vec<Option<Instant>>,
    by_hand: Override,
    arrangement: Arrangement,
    waits_for: Option<&'static str>,
    effects: VecDeque<Effect>,
    /// When goals and arrangement were last worked out.
    settled: Option<Instant>,
}

impl DualClient {
    /// Starts blocked, knowing no adapter.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        settings.check()?;
        let patience = match settings.vpn {
            Vpn::Absent => Duration::ZERO,
            Vpn::Present { patience, .. } => patience,
        };
        let arrangement = Stopped::new(settings.inner.home).stay(None);
        let mut effects = VecDeque::from([Effect::Arrangement(arrangement.clone())]);
        let agent = settings.inner.home_agent;
        if settings
            .outer_systems()
            .any(|outer| outer.home_agent == agent)
        {
            effects.push_back(Effect::Tell(Tell::SameHomeAgent { address: agent }));
        }
        Ok(Self {
            proofs: Proofs::new(settings.t_monitor),
            round_trips: vec![None; settings.sites.len()],
            shunned: vec![None; settings.sites.len()],
            links: BTreeMap::new(),
            contexts: Contexts::default(),
            choice: Choice::default(),
            inside_choice: Choice::default(),
            inside: None,
            renew_at: None,
            inner_again: None,
            slots: Slots::default(),
            vpn: Supervisor::new(patience),
            network: None,
            site: None,
            by_hand: Override::None,
            arrangement,
            waits_for: None,
            effects,
            settled: None,
            settings,
        })
    }

    pub fn handle(&mut self, now: Instant, input: Input) {
        let mut command = None;
        match input {
            Input::Links(links) => self.links_are(now, links),
            Input::Advertisement(advertisement) => self.advertised(now, advertisement),
            Input::SmokeOut { link, answered } => self.smoked_out(now, link, answered),
            Input::Vpn(state) => {
                if matches!(state, VpnState::Failed(_)) && self.vpn.is_coming() {
                    self.ipv6_fails(now);
                    self.leave_site(now);
                }
                let (rests, tell) = self.vpn.hear(now, state);
                command = rests;
                self.effects.extend(tell.map(Effect::Tell));
            }
            Input::Registration {
                slot,
                generation,
                outcome,
            } => self.registration(now, slot, generation, &outcome),
            Input::Recall(contexts) => self.contexts.recall(contexts),
            Input::Resumed => self.resumed(now),
            Input::Override(by_hand) => self.by_hand = by_hand,
        }
        self.settle(now);
        self.effects.extend(command.map(Effect::Vpn));
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let (command, tell) = self.vpn.handle_timeout(now);
        if command == Some(VpnCommand::Down) {
            self.outer_home_is_none();
            self.ipv6_fails(now);
            self.leave_site(now);
        }
        self.effects.extend(tell.map(Effect::Tell));
        self.settle(now);
        self.effects.extend(command.map(Effect::Vpn));
    }

    /// When to call [`DualClient::handle_timeout`]: in the past where that was missed.
    pub fn poll_timeout(&self) -> Option<Instant> {
        // Everything that was due then has been looked at then.
        let now = self.settled?;
        let links = self
            .links
            .values()
            .flat_map(|tracked| tracked.deadlines(now));
        let others = [
            self.proofs.next_expiry(),
            self.renew_at,
            self.inner_again_at(),
            self.choice.poll_timeout(),
            self.inside_choice.poll_timeout(),
            self.vpn.poll_timeout(),
            self.slots.poll_timeout(now),
            self.distrust_at(),
            self.next_staggered(now),
        ];
        let all = links.chain(others.into_iter().flatten());
        all.filter(|at| *at > now).min()
    }

    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub fn arrangement(&self) -> &Arrangement {
        &self.arrangement
    }

    /// What is known of networks, oldest first.
    pub fn networks(&self) -> &[Context] {
        self.contexts.all()
    }

    /// Whether packets of S may be in the clear on `link` now.
    pub fn is_proven_inside(&self, now: Instant, link: LinkId) -> bool {
        self.proofs.holds(now, link)
    }

    pub fn view(&self, now: Instant) -> View {
        let used = self.active();
        let links = self.links.values().map(|tracked| {
            let link = tracked.link.id;
            let until = self.proofs.until(link);
            let lone = tracked.lone_ipv6(now);
            let v4 = tracked.link.usable_address().map(IpAddr::V4);
            LinkView {
                link,
                name: tracked.link.name.clone(),
                address: v4.or(lone.map(IpAddr::V6)),
                domain: tracked.found.or(lone.map(|_| Domain::Outside)),
                guess: tracked.evidence.conjecture(),
                hints: tracked.evidence.hints().to_vec(),
                proved_for: until.and_then(|until| until.checked_duration_since(now)),
                is_flapping: tracked.damping.is_held(now),
                is_weak: tracked.link.weak,
                is_in_use: used == Some(link),
            }
        });
        let registrations = self.slots.all().map(|(slot, state)| RegistrationView {
            slot,
            bound: state.bound.map(|bound| bound.attachment),
            asking: state.asking,
            round_trip: state.bound.map(|bound| bound.accepted.round_trip),
        });
        View {
            arrangement: self.arrangement.clone(),
            waits_for: self.waits_for,
            links: links.collect(),
            registrations: registrations.collect(),
            vpn: self.vpn.phase(),
            site: self.site.map(|site| self.settings.sites[site].name.clone()),
            by_hand: self.by_hand,
        }
    }

    // --- what happens to adapters ----------------------------------------------------------------

    fn links_are(&mut self, now: Instant, mut links: Vec<Link>) {
        if links.len() > MAX_LINKS {
            links.sort_by_key(|link| (!link.carrier, link.weak, link.metric, link.id));
            let beyond = links.len() - MAX_LINKS;
            links.truncate(MAX_LINKS);
            self.tell(Tell::TooManyLinks { beyond });
        }
        let gone: Vec<_> = self.links.keys().copied().collect();
        for id in gone {
            if !links.iter().any(|link| link.id == id) {
                self.links.remove(&id);
                self.proofs.forget(id);
                self.lost(id, &[]);
            }
        }
        for link in links {
            self.link_is(now, link);
        }
    }

    fn link_is(&mut self, now: Instant, link: Link) {
        let id = link.id;
        let Some(tracked) = self.links.get_mut(&id) else {
            self.links.insert(id, Tracked::new(now, link));
            self.begin(now, id);
            return;
        };
        let is_elsewhere = link.is_elsewhere_than(&tracked.link);
        let has_roamed = link.has_roamed_since(&tracked.link);
        let is_flapping = tracked.link.carrier && !link.carrier && tracked.damping.lost(now);
        let has_new_context = link.gateway_mac != tracked.link.gateway_mac;
        tracked.link = link;
        let late = tracked
            .unrecorded
            .filter(|domain| tracked.found == Some(*domain));
        if is_flapping {
            self.tell(Tell::Flapping { link: id });
        }
        if has_roamed {
            self.roamed(now, id);
        } else if is_elsewhere {
            self.begin(now, id);
        } else if has_new_context {
            self.observe_context(now, id);
            if let Some(domain) = late {
                self.found(id, domain);
            }
        }
    }

    /// Outside, what is in the outer tunnel goes on while the home agent is asked, since it can only be lost. What is in the
    /// clear stops as in any other network.
    fn roamed(&mut self, now: Instant, id: LinkId) {
        let is_tunnelled = |bound: slots::Bound| {
            bound.attachment.via == super::Via::Link(id)
                && matches!(bound.attachment.point, Point::CoLocated(_))
        };
        let mut kept = self.slots.slots();
        kept.retain(|slot| {
            let is_outer = matches!(slot, Slot::Outer(_)) && self.inside != Some(id);
            is_outer && self.slots.bound(*slot).is_some_and(is_tunnelled)
        });
        self.begin_with(now, id, &kept);
        for slot in kept {
            self.slots.renew(now, slot);
        }
    }

    /// RFC 5265 §3.2.2: whatever is known of it was known of another connection.
    fn begin(&mut self, now: Instant, id: LinkId) {
        self.begin_with(now, id, &[]);
    }

    fn begin_with(&mut self, now: Instant, id: LinkId, kept: &[Slot]) {
        self.proofs.begin(id);
        self.lost(id, kept);
        let Some(tracked) = self.links.get_mut(&id) else {
            return;
        };
        tracked.begin(now);
        if let Some(hint) = self.settings.ranges.hint(&tracked.link) {
            tracked.evidence.add(hint);
        }
        let own = tracked.link.usable_address();
        if let Some(address) = own.filter(|own| self.is_ours(*own)) {
            self.tell(Tell::OwnAddress { link: id, address });
        }
        self.observe_context(now, id);
    }

    fn observe_context(&mut self, now: Instant, id: LinkId) {
        let Some(tracked) = self.links.get_mut(&id) else {
            return;
        };
        let context = self.contexts.look_up(&tracked.link);
        tracked.evidence.know(context);
        if context.is_some() && !tracked.damping.is_held(now) {
            self.effects.push_back(Effect::Tell(Tell::Guess {
                link: id,
                conjecture: tracked.evidence.conjecture(),
            }));
        }
    }

    /// What ran over the adapter does not any more, but for what is kept.
    fn lost(&mut self, id: LinkId, kept: &[Slot]) {
        self.slots.detach(Slot::Clear(id), false);
        if self.inside == Some(id) {
            self.leave_inside();
        }
        for slot in self.slots.slots() {
            let runs_there = |bound: slots::Bound| bound.attachment.via == super::Via::Link(id);
            if !kept.contains(&slot) && self.slots.bound(slot).is_some_and(runs_there) {
                self.slots.unbind(slot);
            }
            let asks_there =
                |state: &slots::State| state.asking.is_some_and(|a| a.via == super::Via::Link(id));
            if self.slots.get(slot).is_some_and(asks_there) {
                self.slots.abandon(slot);
            }
        }
    }

    fn leave_inside(&mut self) {
        (self.inside, self.renew_at) = (None, None);
        self.inside_choice = Choice::default();
    }

    fn resumed(&mut self, now: Instant) {
        self.slots.distrust();
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            self.begin(now, id);
        }
    }

    fn advertised(&mut self, now: Instant, advertisement: Advertisement) {
        let hint = self.settings.ranges.agent_hint(advertisement.agent);
        let Some(tracked) = self.links.get_mut(&advertisement.link) else {
            return;
        };
        tracked.advertised(now, advertisement);
        if let Some(hint) = hint
            && !tracked.evidence.hints().contains(&hint)
        {
            tracked.evidence.add(hint);
            if tracked.found == Some(Domain::Outside)
                && tracked.evidence.conjecture().domain == Domain::Inside
            {
                tracked.ask_again(now);
            }
        }
    }

    fn smoked_out(&mut self, now: Instant, link: LinkId, answered: bool) {
        let Some(tracked) = self.links.get_mut(&link) else {
            return;
        };
        let domain = if answered {
            Domain::Inside
        } else {
            Domain::Outside
        };
        tracked.evidence.add(Hint::SmokeOut(domain));
        if answered {
            tracked.smoke_out = SmokeOut::Answered;
        } else {
            tracked.put_off(now);
        }
        if answered && tracked.found == Some(Domain::Outside) {
            tracked.ask_again(now);
        }
    }

    /// Its gateway does not let us in: another one may (FIG. 16).
    fn leave_site(&mut self, now: Instant) {
        if let Some(site) = self.site
            && self.settings.sites.len() > 1
            && self.inside.is_none()
        {
            self.shunned[site] = Some(now + SHUNNED);
            self.site = None;
            self.slots.detach(Slot::Outer(site), true);
        }
    }

    // --- what follows ----------------------------------------------------------------------------

    fn settle(&mut self, now: Instant) {
        self.settled = Some(now);
        for link in self.proofs.expire(now) {
            self.proof_is_over(now, link);
        }
        self.slots.expire(now);
        let distrusted = self.distrust_vpn(now);
        self.pursue_registrations(now);
        self.is_network_new(now);
        let goal = self.vpn_goal(now);
        // A warm VPN carries again the moment it is asked to, and the inner request leaves right behind
        // the outer one.
        let command = self.vpn.pursue(now, &goal);
        self.pursue_inner(now);
        self.repeat_inner(now);
        self.pursue_clear(now);
        self.arrange(now);
        self.pursue_smoke_outs(now);
        while let Some(order) = self.slots.poll_order() {
            self.effects.push_back(Effect::Registration(order));
        }
        // S has left it by then.
        self.effects.extend(distrusted.or(command).map(Effect::Vpn));
    }

    /// What failed over another one may not fail here.
    fn is_network_new(&mut self, now: Instant) {
        let active = self.active();
        let network = active.and_then(|link| Some((link, self.links.get(&link)?.began)));
        if network.is_some() && network != self.network {
            self.network = network;
            self.vpn.hurry(now);
        }
    }

    fn proof_is_over(&mut self, now: Instant, link: LinkId) {
        self.tell(Tell::ProofOver { link });
        self.slots.detach(Slot::Clear(link), false);
        if self.inside == Some(link) {
            self.leave_inside();
        }
        // RFC 5265 §3.3: detection begins again.
        self.proofs.begin(link);
        if let Some(tracked) = self.links.get_mut(&link) {
            (tracked.found, tracked.began) = (None, now);
            tracked.ask_again(now);
        }
    }

    fn arrange(&mut self, now: Instant) {
        let (arrangement, waits_for) = self.walk(now);
        self.waits_for = waits_for;
        if arrangement == self.arrangement {
            return;
        }
        let (from, to) = (self.arrangement.place, arrangement.place);
        self.arrangement = arrangement.clone();
        self.effects.push_back(Effect::Arrangement(arrangement));
        if from != to {
            self.tell(Tell::Moved { from, to });
        }
    }

    fn tell(&mut self, tell: Tell) {
        self.effects.push_back(Effect::Tell(tell));
    }
}

#[cfg(test)]
mod tests;
