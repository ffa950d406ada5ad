//! Finds the gateway behind a packet's destination: from an ACQUIRE to a candidate that IKE may
//! try, or to the reason why there is none.
//!
//! ```text
//! ACQUIRE ─→ failed lately? ─→ pending under its proxy? ─→ probe ─→ answer? ─→ merge ─→ candidate
//!              yes: told         yes: wait for the           ↑ │       │         │        │
//!                                outcome                     └─┘       │         │        ├→ tunnel:
//!                                                        again, until  │         │        │  covered
//!                                                        timeout ──────┴─────────┴────────┴→ failed
//! ```
//!
//! **How many probes.** One flow of a proxy is probed; the others wait, since one gateway mostly
//! serves them all. Those that the merged proxy does not hold are probed while it is negotiated,
//! again one at a time. As long as nothing is heard, each retransmission of the oldest probe lets
//! one more flow be probed beside it, so that a dead destination does not hold up a live one: in
//! the first second of silence a proxy costs at most 8 datagrams. Each flow that fails in silence
//! doubles what may run side by side; each answer brings it back to one beside those still silent.
//!
//! **Whom to believe.** Nobody. Anybody on the way may answer first, so several candidates are
//! kept and tried in turn, each until `candidate_failed` or [`PATIENCE`] is over; answers are heard
//! until a tunnel holds the flow.

mod discovery;
mod effects;
mod failures;
mod flows;
mod input;
mod inquiry;
mod pending;
mod probing;
#[cfg(test)]
mod tests;
mod views;

pub use effects::{Answer, Candidate, Effect, Ended, FailureReason};
pub use failures::Failure;
pub use input::{
    Acquire, AcquireError, Acquired, Config, DiscoverError, DiscoveryId, Heard, OwnProxy,
    RequestId, ResponseError,
};
pub use views::{Counters, Pending, Phase};

use super::is_endpoint;
use super::limits::{Allowance, Limiter};
use super::proxies::{Proxy, ProxyId, merge};
use super::wire::{Capabilities, Cookie, MAKER, Probe, Response};
use crate::net::{Family, Flow, Random, Selector, Timers};
use discovery::{Discovery, NotNew, Offer, OfferState};
use failures::Failures;
use inquiry::Inquiry;
use pending::{FlowKey, Group};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Retransmissions are never further apart: with 30 % of packets lost either way, a second between
/// them would let one discovery in fifty fail.
pub const RETRANSMIT_MAX: Duration = Duration::from_millis(500);
/// Nor closer together than this, whatever is configured.
pub const RETRANSMIT_MIN: Duration = Duration::from_millis(10);
/// A negotiation that takes longer goes on, but holds up nothing any more.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// A flow that waits for its turn and sends no packet for this long is forgotten.
pub const WAIT_MAX: Duration = Duration::from_secs(30);
/// A deadline that is noticed so late means that the process was stopped, and heard nothing.
const INTERRUPTION: Duration = Duration::from_secs(1);
/// Silence is concluded only from this many probes that really left.
const MIN_PROBES: u32 = 3;

const MAX_WAITING: usize = 4096;
/// Under one proxy, of one sender.
const MAX_WAITING_OF_ONE: usize = MAX_WAITING / 2;
const MAX_DISCOVERIES: usize = 1024;
/// Discoveries of unknown outcome under one proxy.
const MAX_PROBED: usize = 64;
/// Cookies of finished discoveries that are still recognised.
const MAX_SPENT: usize = 1024;
/// Probes a second to one destination.
const EACH_DESTINATION: Allowance = Allowance { rate: 8, burst: 8 };
const DESTINATIONS_REMEMBERED: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Retransmit(DiscoveryId),
    Timeout(DiscoveryId),
    Patience(DiscoveryId),
    Stale(ProxyId, FlowKey),
    Inquiry(Cookie),
}

#[derive(Debug)]
pub struct Initiator {
    config: Config,
    rng: Box<dyn Random>,
    groups: BTreeMap<ProxyId, Group>,
    discoveries: BTreeMap<DiscoveryId, Discovery>,
    by_cookie: BTreeMap<Cookie, DiscoveryId>,
    next_id: u64,
    waiting: usize,
    /// Groups that found no room for a further discovery.
    starved: BTreeSet<ProxyId>,
    spent: VecDeque<Cookie>,
    inquiries: Vec<Inquiry>,
    failures: Failures,
    limiter: Limiter<IpAddr>,
    timers: Timers<Timer>,
    effects: VecDeque<Effect>,
    counters: Counters,
}

impl Initiator {
    pub fn new(config: Config, rng: Box<dyn Random>) -> Self {
        Self {
            limiter: Limiter::new(
                EACH_DESTINATION,
                total(config.rate),
                DESTINATIONS_REMEMBERED,
            ),
            config,
            rng,
            groups: BTreeMap::new(),
            discoveries: BTreeMap::new(),
            by_cookie: BTreeMap::new(),
            next_id: 0,
            waiting: 0,
            starved: BTreeSet::new(),
            spent: VecDeque::new(),
            inquiries: Vec::new(),
            failures: Failures::default(),
            timers: Timers::default(),
            effects: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// What should be done next, in order. Drain it after every input.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to call [`Initiator::handle_timeout`]; `None` while nothing waits.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let ends = [self.timers.next(), self.failures.next_end()];
        ends.into_iter().flatten().min()
    }

    /// The kernel holds a packet that needs a tunnel (blocks 202–212). May be called for every
    /// ACQUIRE; the repeated ones are counted.
    pub fn acquire(&mut self, now: Instant, acquire: Acquire) -> Result<Acquired, AcquireError> {
        let Acquire { proxy, flow, own } = acquire;
        self.counters.acquires += 1;
        let known = self.config.proxies.get(&proxy);
        let ours = known.ok_or(AcquireError::UnknownProxy(proxy))?.proxy;
        ours.admit(&flow).map_err(AcquireError::Outside)?;
        if !may_be_own(own, &flow) {
            return Err(AcquireError::OwnAddress(own));
        }
        let key = FlowKey::from(&flow);
        if self.failures.holds(proxy, &key) {
            return Ok(Acquired::Failed);
        }
        if let Some(id) = self.find(proxy, &key) {
            self.discovery(id).packets += 1;
            return Ok(Acquired::Probing(id));
        }
        let group = self.groups.get(&proxy);
        let of_sender = group.map_or(0, |group| group.waiting_from(flow.src));
        let group = self.groups.get_mut(&proxy);
        if let Some(waiting) = group.and_then(|group| group.waiting_mut(&key)) {
            waiting.packets += 1;
        } else if self.waiting < MAX_WAITING && of_sender < MAX_WAITING_OF_ONE {
            let group = self.groups.entry(proxy).or_insert_with(Group::new);
            group.push(flow, own);
            self.waiting += 1;
            // Those that came before have had their chance; only this one may start.
            if !self.active_in(proxy).any(|d| d.may_cover(&flow)) {
                self.start_waiting(now, proxy);
            }
            if let Some(id) = self.find(proxy, &key) {
                return Ok(Acquired::Probing(id));
            }
        } else {
            self.counters.acquires_refused += 1;
            return Err(AcquireError::Full);
        }
        self.timers.set(Timer::Stale(proxy, key), now + WAIT_MAX);
        Ok(Acquired::Waiting)
    }

    /// A datagram that [claims](super::interception::classify) to be a response arrived from
    /// `src` (blocks 214–218).
    pub fn response(
        &mut self,
        now: Instant,
        src: IpAddr,
        payload: &[u8],
    ) -> Result<Heard, ResponseError> {
        let heard = self.hear(now, src, payload);
        let counters = &mut self.counters;
        *match heard {
            Ok(_) => &mut counters.answers,
            Err(ResponseError::Malformed(_)) => &mut counters.answers_malformed,
            Err(ResponseError::Unasked) => &mut counters.answers_unasked,
            Err(ResponseError::Replayed) => &mut counters.answers_replayed,
            Err(ResponseError::ForeignId { .. }) => &mut counters.answers_foreign,
            Err(ResponseError::Repeated) => &mut counters.answers_repeated,
            Err(ResponseError::Excess) => &mut counters.answers_excess,
        } += 1;
        heard
    }

    fn hear(&mut self, now: Instant, src: IpAddr, payload: &[u8]) -> Result<Heard, ResponseError> {
        let response = Response::decode(payload)?;
        if response.id != src || !is_endpoint(src) {
            return Err(ResponseError::ForeignId { id: response.id });
        }
        let cookie = response.initiator;
        if let Some(inquiry) = self.inquiries.iter_mut().find(|i| i.cookie == cookie) {
            inquiry.hear(now, src, response);
            return Ok(Heard::ForInquiry(inquiry.request));
        }
        let Some(&id) = self.by_cookie.get(&cookie) else {
            return Err(if self.spent.contains(&cookie) {
                ResponseError::Replayed
            } else {
                ResponseError::Unasked
            });
        };
        let discovery = self.discovery(id);
        let proxy = discovery.proxy;
        if src == discovery.own {
            return Err(ResponseError::Unasked);
        }
        let merged = match merge(&discovery.ours.proxy, &response.proxies, &discovery.flow) {
            Ok(merged) => merged,
            Err(what) => {
                // Another gateway may still agree, so the answer is only remembered.
                discovery.irreconcilable = Some((src, what));
                return Ok(Heard::Irreconcilable(id, what));
            }
        };
        let offer = Offer {
            responder: src,
            cookie: response.responder,
            merged,
            claimed: response.claimed_identity(),
            ike: response.ike,
            state: OfferState::Untried,
        };
        self.discovery(id).add(offer).map_err(|not| match not {
            NotNew::Repeated => ResponseError::Repeated,
            NotNew::TooMany => ResponseError::Excess,
        })?;
        self.offer_next(now, id);
        self.narrow(proxy);
        self.start_waiting(now, proxy);
        Ok(Heard::Candidate(id))
    }

    /// IKE with a candidate failed: no answer, not authentic, not authorized, or its tunnel does
    /// not hold the flow. `why` names it for people.
    pub fn candidate_failed(
        &mut self,
        now: Instant,
        id: DiscoveryId,
        responder: IpAddr,
        why: &str,
    ) {
        let Some(discovery) = self.discoveries.get(&id) else {
            return;
        };
        let proxy = discovery.proxy;
        let mut refused = Vec::new();
        for sharing in self.active(proxy) {
            for offer in &mut self.discovery(sharing).candidates {
                if offer.responder == responder && offer.is_negotiated_by(id) {
                    offer.state = OfferState::Refused(why.to_owned());
                    refused.push(sharing);
                }
            }
        }
        for id in refused {
            self.advance(now, id);
        }
        self.start_waiting(now, proxy);
    }

    /// A tunnel for these outbound selectors is up, whoever asked for it.
    pub fn covered(&mut self, now: Instant, selectors: &[Selector]) {
        self.drop_matching(now, Ended::Covered, |_, flow| {
            selectors.iter().any(|selector| selector.matches(flow))
        });
    }

    /// Drops everything known of matching flows: discoveries, waiting ones and failures.
    pub fn forget(&mut self, now: Instant, matching: impl Fn(ProxyId, &Flow) -> bool) {
        self.drop_matching(now, Ended::Forgotten, matching);
    }

    /// Answers can no longer come to this address of ours: discoveries that gave it are dropped. The
    /// next packet of their flows is looked into afresh.
    pub fn address_gone(&mut self, now: Instant, own: IpAddr) {
        let active = self.discoveries.values().filter(|d| d.own == own);
        let mut flows: BTreeSet<_> = active.map(|d| (d.proxy, d.key)).collect();
        for (proxy, group) in &self.groups {
            let waiting = group.waiting().filter(|(_, w)| w.own == own);
            flows.extend(waiting.map(|(key, _)| (*proxy, *key)));
        }
        self.forget(now, |proxy, flow| flows.contains(&(proxy, flow.into())));
    }

    /// Ends the failures of matching flows, so that their next packet is looked into afresh. Where
    /// a discovery is under way, candidates that were refused may be offered again.
    pub fn retry(&mut self, matching: impl Fn(ProxyId, &Flow) -> bool) {
        for discovery in self.discoveries.values_mut() {
            if matching(discovery.proxy, &discovery.flow) {
                discovery.forgive();
            }
        }
        for failure in self.failures.remove_where(matching) {
            self.failure_ended(&failure);
        }
    }

    /// Flows under proxies that have changed or gone are forgotten.
    pub fn reload(&mut self, now: Instant, config: Config) {
        let old = std::mem::replace(&mut self.config, config);
        self.limiter.set_total(total(self.config.rate));
        let changed: BTreeSet<ProxyId> = old
            .proxies
            .iter()
            .filter(|(id, was)| self.config.proxies.get(id).map(|p| p.proxy) != Some(was.proxy))
            .map(|(id, _)| *id)
            .collect();
        self.forget(now, |proxy, _| changed.contains(&proxy));
    }

    /// Probes once, whatever is cached or pending, and reports every answer of the next two
    /// seconds. `proxy` is what the answers are merged with.
    pub fn discover(
        &mut self,
        now: Instant,
        request: RequestId,
        proxy: Option<ProxyId>,
        flow: Flow,
        own: IpAddr,
    ) -> Result<(), DiscoverError> {
        if !may_be_own(own, &flow) {
            return Err(DiscoverError::OwnAddress(own));
        }
        if self.inquiries.len() >= inquiry::MAX_INQUIRIES {
            return Err(DiscoverError::Busy);
        }
        let ours = proxy.and_then(|id| Some(self.config.proxies.get(&id)?.proxy));
        let cookie = self.new_cookie();
        if !self.send_probe(now, None, (cookie, flow, own), ours.as_ref()) {
            return Err(DiscoverError::Limited);
        }
        self.inquiries
            .push(Inquiry::new(now, request, cookie, flow, ours));
        let end = now + inquiry::DURATION;
        self.timers.set(Timer::Inquiry(cookie), end);
        Ok(())
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let due = self.poll_timeout();
        if due.is_some_and(|due| now.saturating_duration_since(due) > INTERRUPTION) {
            self.listen_again(now);
        }
        while let Some(timer) = self.timers.expired(now) {
            match timer {
                Timer::Retransmit(id) => self.retransmit(now, id),
                Timer::Timeout(id) => self.time_out(now, id),
                Timer::Patience(id) => self.lose_patience(now, id),
                Timer::Stale(proxy, key) => self.drop_waiting(proxy, &key, Ended::Stale),
                Timer::Inquiry(cookie) => self.report(cookie),
            }
        }
        while let Some(failure) = self.failures.ended(now) {
            self.failure_ended(&failure);
        }
    }

    /// Whether the rate limits let it go.
    fn send_probe(
        &mut self,
        now: Instant,
        discovery: Option<DiscoveryId>,
        (cookie, flow, own): (Cookie, Flow, IpAddr),
        ours: Option<&Proxy>,
    ) -> bool {
        if !self.limiter.allow(now, flow.dst) {
            self.counters.probes_limited += 1;
            return false;
        }
        self.counters.probes_sent += 1;
        let source = ours.map(|proxy| proxy.local);
        let probe = Probe {
            cookie,
            capabilities: Capabilities::IKEV2,
            id: own,
            source: source.filter(|source| source.family() == flow.family()),
            maker: MAKER,
            flow,
            ike: None,
        };
        self.effects
            .push_back(Effect::SendProbe { discovery, probe });
        true
    }

    fn new_cookie(&mut self) -> Cookie {
        let mut cookie = Cookie::ZERO;
        while cookie == Cookie::ZERO {
            self.rng.fill(&mut cookie.0);
        }
        cookie
    }

    fn spend(&mut self, cookie: Cookie) {
        if self.spent.len() == MAX_SPENT {
            self.spent.pop_front();
        }
        self.spent.push_back(cookie);
    }

    fn report(&mut self, cookie: Cookie) {
        let Some(at) = self.inquiries.iter().position(|i| i.cookie == cookie) else {
            return;
        };
        let inquiry = self.inquiries.swap_remove(at);
        self.spend(cookie);
        self.effects.push_back(Effect::Report {
            request: inquiry.request,
            answers: inquiry.answers,
        });
    }

    fn failure_ended(&mut self, failure: &Failure) {
        let Failure { proxy, flow, .. } = *failure;
        self.effects.push_back(Effect::FailureEnded { proxy, flow });
    }
}

fn total(rate: u32) -> Allowance {
    Allowance { rate, burst: rate }
}

/// Whether answers about `flow` can come to `own`.
fn may_be_own(own: IpAddr, flow: &Flow) -> bool {
    is_endpoint(own) && Family::of(own) == flow.family() && Family::of(flow.src) == flow.family()
}
