//! Packets without a tunnel, probes, and what comes of them.

use super::Agent;
use super::effect::{Effect, Reply};
use super::first_packets::Looking;
use super::foundation::{self, verdict, without};
use super::negotiation::{Negotiation, Purpose, eligible};
use super::settings::{FailureAction, ProxyGroup, Settings};
use super::snapshot::{DiscoverAnswer, DiscoverReport};
use super::wishes::Owner;
use crate::ike::effects::DownReason;
use crate::ike::opening::OpeningId;
use crate::kernel::desired::{Action, Direction, IpsecProtocol, PolicyKey};
use crate::kernel::ownership::Band;
use crate::net::masked::TooManyPrefixes;
use crate::net::{Family, Flow, Identity, Port, Protocol, Selector, host};
use crate::ted;
use crate::ted::initiator::{
    Answer, Candidate, DiscoveryId, Effect as Found, Ended, FailureReason, OwnProxy,
};
use crate::ted::interception::{Claim, classify};
use crate::ted::proxies::{Proxy, ProxyId};
use crate::ted::responder::{Forward, Intercepted, Verdict};
use crate::ted::wire::Probe;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// UDP port of IKE and of discovery.
const IKE_PORT: u16 = 500;

/// Hop count of our own probes: the usual one of a host, since they stand for a host's packet.
const HOP_LIMIT: u8 = 64;

/// Every simple proxy with its number, in the order of the configuration.
pub(super) fn numbered(
    settings: &Settings,
) -> impl Iterator<Item = (ProxyId, &ProxyGroup, &Proxy)> {
    foundation::proxies(settings)
        .zip(0..)
        .map(|((group, proxy), n)| (ProxyId(n), group, proxy))
}

pub(super) fn placed(settings: &Settings) -> Vec<(usize, Proxy)> {
    let groups = settings.proxies.iter().enumerate();
    groups
        .flat_map(|(at, group)| group.proxies.iter().map(move |proxy| (at, *proxy)))
        .collect()
}

pub(super) fn config(settings: &Settings) -> ted::initiator::Config {
    let own = |(id, group, proxy): (ProxyId, &ProxyGroup, &Proxy)| {
        (
            id,
            OwnProxy {
                proxy: *proxy,
                failure_lifetime: group.failure_lifetime,
            },
        )
    };
    ted::initiator::Config {
        proxies: numbered(settings).map(own).collect(),
        retransmit: settings.discovery.retransmit,
        timeout: settings.discovery.timeout,
        rate: settings.discovery.rate,
    }
}

pub(super) fn answers(settings: &Settings) -> ted::responder::Config {
    ted::responder::Config {
        proxies: numbered(settings).map(|(_, _, proxy)| *proxy).collect(),
        identity: settings.identity.clone(),
        rate: settings.discovery.answer_rate,
    }
}

/// Which proxy each trap stands for.
pub(super) fn traps(settings: &Settings) -> Result<BTreeMap<PolicyKey, ProxyId>, TooManyPrefixes> {
    let mark = without(settings.interception.pass_mark);
    let mut traps = BTreeMap::new();
    for (id, _, proxy) in numbered(settings) {
        for selector in proxy.selectors(settings.max_prefixes)? {
            traps.insert(foundation::trap(selector, mark, Band::Trap).key, id);
        }
    }
    Ok(traps)
}

impl Agent {
    /// `None` for a number of before the configuration changed.
    pub(super) fn proxy(&self, id: ProxyId) -> Option<(&ProxyGroup, &Proxy)> {
        let (group, proxy) = self.proxies.get(id.0 as usize)?;
        Some((self.settings.proxies.get(*group)?, proxy))
    }

    /// Blocks 202 to 208: packet P needs a tunnel; is there one?
    pub(super) fn acquire(
        &mut self,
        now: Instant,
        policy: PolicyKey,
        trap: bool,
        flow: Flow,
        protocol: IpsecProtocol,
    ) {
        self.count("acquires");
        if let Some(relations) = &mut self.relations
            && relations.acquire(now, policy, (flow, protocol), &mut self.wishes)
        {
            return;
        }
        if let Some(tunnel) = self.tunnels.carrying(&flow).map(|t| t.id) {
            if trap {
                // It came up while the kernel was telling us. The packet is in the trap's queue,
                // and nobody else has reason to release that.
                self.wishes.release(policy);
            } else {
                for child in self.tunnels.children_of(tunnel) {
                    self.ike.close_child(now, child, DownReason::Expired);
                }
            }
            return;
        }
        let trap = self.held.wide_of(&policy).unwrap_or(policy);
        let Some(proxy) = self.traps.get(&trap).copied() else {
            self.count("acquires-foreign");
            return;
        };
        self.held.announced(now, policy, flow, &mut self.wishes);
        if self.tunnels.will_carry(&flow) {
            // Typically the answer to the first packet that came in. Should the tunnel end before
            // it opens, what is held is announced afresh.
            return;
        }
        // Its failure action may have taken effect while the kernel was telling us.
        if self.look_into(now, proxy, flow) == Looking::Settled {
            self.settle(now, |waiting| *waiting == flow);
        }
    }

    /// Where answers should come to.
    pub(super) fn own_address_towards(&mut self, dst: IpAddr) -> Option<IpAddr> {
        let family = Family::of(dst);
        let configured = self.settings.discovery.addresses.iter().copied();
        configured
            .into_iter()
            .find(|addr| Family::of(*addr) == family)
            .or_else(|| self.routes.source_towards(dst))
    }

    pub(super) fn datagram(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        payload: &[u8],
    ) {
        match classify(payload) {
            Claim::Response => match self.initiator.response(now, remote.ip(), payload) {
                Ok(heard) => tracing::debug!(?heard, from = %remote, "response"),
                Err(error) => tracing::debug!(%error, from = %remote, "response refused"),
            },
            // One for an address of our own that interception did not divert, because nothing
            // behind us is protected there.
            Claim::Probe => self.count("probes-not-for-us"),
            Claim::Other => self.ike.handle_datagram(now, local, remote, payload),
        }
    }

    /// Blocks 212 and 214, the responder's side.
    pub(super) fn probe(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        hop_limit: u8,
        payload: Vec<u8>,
    ) {
        let intercepted = Intercepted {
            src: remote.ip(),
            dst: local.ip(),
            payload: &payload,
        };
        let passed = match self.responder.judge(now, intercepted) {
            Verdict::Answer(answer, forward) => {
                let to = answer.to;
                let detail = format!("{} to {to}", answer.flow);
                let own = self.own_address_towards(to);
                let encoded = own.and_then(|own| {
                    let opening = answer.ike.as_deref();
                    let ike = opening.and_then(|o| self.ike.answer_opening(now, own, to, o));
                    Some((own, answer.encode(own, ike)?))
                });
                if let Some((own, payload)) = encoded {
                    self.publish(now, "probe-answered", detail);
                    self.effects.push_back(Effect::Send {
                        local: (own, IKE_PORT).into(),
                        remote: (to, IKE_PORT).into(),
                        payload,
                    });
                }
                forward == Forward::PassOn
            }
            Verdict::PassOn => true,
            Verdict::Drop(reason) => {
                tracing::debug!(%reason, from = %remote, "probe dropped");
                false
            }
        };
        // At its own destination, or with no hop left, it has arrived.
        if passed && hop_limit > 1 && !self.own.contains(&local.ip()) {
            let (src, dst) = (remote, local);
            self.effects.push_back(Effect::SendAs {
                src,
                dst,
                hop_limit: hop_limit - 1,
                payload,
            });
        }
    }

    pub(super) fn discovery_effect(&mut self, now: Instant, effect: Found) {
        match effect {
            Found::SendProbe { discovery, probe } => self.send_probe(now, discovery, probe),
            Found::Candidate(candidate) => self.candidate(now, candidate),
            Found::Failed {
                discovery,
                proxy,
                flow,
                reason,
                ..
            } => {
                self.ike.abandon_opening(opening(discovery));
                self.failed(now, proxy, flow, &reason);
            }
            Found::FailureEnded { proxy, flow } => self.failure_ended(proxy, flow),
            Found::Ended {
                flow,
                discovery,
                why,
                ..
            } => {
                if let Some(discovery) = discovery {
                    self.ike.abandon_opening(opening(discovery));
                }
                if let Some(request) = discovery.and_then(|d| self.negotiations.of_discovery(d)) {
                    self.negotiations.finish(request);
                    self.ike.cancel(now, request);
                }
                // A tunnel releases what it takes when it can send.
                if why != Ended::Covered {
                    self.settle(now, |waiting| *waiting == flow);
                }
            }
            Found::Report { request, answers } => self.report(request.0, &answers),
        }
    }

    /// With the `IKE_SA_INIT` that would follow the answer, unless an IKE SA with a peer that could be
    /// behind there is up already: then it would be for nothing.
    fn send_probe(&mut self, now: Instant, discovery: Option<DiscoveryId>, mut probe: Probe) {
        let flow = probe.flow;
        if let Some(discovery) = discovery
            && !self.is_in_contact_towards(flow, probe.id)
        {
            let request = self.ike.open(now, opening(discovery), probe.id);
            probe.ike = request.map(<[u8]>::to_vec);
        }
        self.effects.push_back(Effect::SendAs {
            src: (flow.src, Probe::src_port(&flow)).into(),
            dst: (flow.dst, IKE_PORT).into(),
            hop_limit: HOP_LIMIT,
            payload: probe.encode(),
        });
    }

    fn is_in_contact_towards(&self, flow: Flow, own: IpAddr) -> bool {
        let there = [Selector::between(host(flow.src), host(flow.dst))];
        let peers = eligible(&self.settings, &there, flow.dst);
        let mut known = peers.filter(|peer| self.ike.is_in_contact(&peer.id));
        known.any(|peer| {
            let mut sas = self.ike.ike_sas();
            sas.any(|sa| *sa.peer == peer.id && sa.local.ip() == own)
        })
    }

    /// Block 218 has been passed: P lies inside what both protect. Now the claim must be proved.
    fn candidate(&mut self, now: Instant, candidate: Candidate) {
        let Candidate {
            discovery,
            proxy,
            flow,
            own,
            responder,
            merged,
            claimed,
            ike,
        } = candidate;
        self.tell(
            now,
            "candidate",
            format!("{responder} for {flow}: {merged}"),
        );
        let refuse = |agent: &mut Self, why: String| {
            agent
                .initiator
                .candidate_failed(now, discovery, responder, &why);
        };
        let selectors = match merged.selectors(self.settings.max_prefixes) {
            Ok(selectors) => selectors,
            Err(error) => return refuse(self, error.to_string()),
        };
        let mut peers: VecDeque<Identity> = eligible(&self.settings, &selectors, responder)
            .map(|peer| peer.id.clone())
            .collect();
        if peers.is_empty() {
            return refuse(self, format!("no [[peer]] may protect {}", merged.remote));
        }
        if let Some(claimed) = claimed {
            // What it says is tried first; that it lies about it must not matter.
            peers
                .make_contiguous()
                .sort_by_key(|peer| !claimed.is(peer));
        }
        let Some(mode) = self.proxy(proxy).map(|(group, _)| group.mode) else {
            return refuse(self, "its proxy is no longer configured".to_owned());
        };
        let purpose = Purpose::Discovery {
            discovery,
            proxy,
            flow,
        };
        if let Some(answer) = ike {
            self.ike
                .opening_answered(opening(discovery), responder, answer);
        }
        let negotiation = Negotiation::new(purpose, (own, responder), selectors, mode, peers);
        self.negotiate(now, negotiation, "contacted too often");
    }

    fn failed(&mut self, now: Instant, proxy: ProxyId, flow: Flow, reason: &FailureReason) {
        self.count("discoveries-failed");
        self.tell(now, "discovery-failed", format!("{flow}: {reason}"));
        if let Some(selector) = self.failure_selector(proxy, &flow) {
            let action = match self.failure_action(proxy, &flow, reason) {
                FailureAction::Block => Action::Block,
                FailureAction::Clear => Action::Allow(Vec::new()),
            };
            let mark = without(self.settings.interception.pass_mark);
            let policy = verdict(Direction::Out, selector, mark, Band::Failure, action);
            self.wishes.want_policy(Owner::Failure, policy);
        }
        self.settle(now, |waiting| *waiting == flow);
    }

    /// `clear` answers silence, and answers that fit nothing: never a gateway that failed to prove
    /// itself, and never what was once protected.
    pub(super) fn failure_action(
        &self,
        proxy: ProxyId,
        flow: &Flow,
        reason: &FailureReason,
    ) -> FailureAction {
        let refused = matches!(reason, FailureReason::CandidatesRefused { .. });
        let selector = self.failure_selector(proxy, flow);
        let once = selector.is_none_or(|selector| self.once_protected.holds(&selector));
        match self.proxy(proxy).map(|(group, _)| group.on_failure) {
            Some(FailureAction::Clear) if !refused && !once => FailureAction::Clear,
            _ => FailureAction::Block,
        }
    }

    fn failure_ended(&mut self, proxy: ProxyId, flow: Flow) {
        if let Some(selector) = self.failure_selector(proxy, &flow) {
            let mark = without(self.settings.interception.pass_mark);
            let key = PolicyKey {
                direction: Direction::Out,
                selector,
                mark,
                if_id: 0,
            };
            self.wishes.withdraw_policy(Owner::Failure, key);
            self.first_packets.uncovered(&[selector]);
        }
    }

    /// What is known not to work: this host pair, protocol and destination port. Another port might
    /// be in the peer's proxies, so no more than that; and where another proxy cares about the
    /// source port, not more than this very flow.
    fn failure_selector(&self, proxy: ProxyId, flow: &Flow) -> Option<Selector> {
        let (_, proxy) = self.proxy(proxy)?;
        let exact = Selector::between(host(flow.src), host(flow.dst))
            .protocol(Protocol::from_number(flow.protocol))
            .ports(port(flow.src_port()), port(flow.dst_port()));
        let wide = exact.ports(proxy.local_port, exact.dst_port);
        let particular = |other: &Proxy| {
            other.local_port != proxy.local_port
                && other.local.contains_addr(flow.src)
                && other.remote.contains_addr(flow.dst)
        };
        let shared = self.proxies.iter().any(|(_, other)| particular(other));
        Some(if shared { exact } else { wide })
    }

    fn report(&mut self, request: u64, answers: &[Answer]) {
        let Some((token, flow)) = self.discovering.remove(&request) else {
            return;
        };
        let answers = answers
            .iter()
            .map(|answer| DiscoverAnswer {
                responder: answer.responder.to_string(),
                offered: answer.offered.iter().map(ToString::to_string).collect(),
                intersection: match &answer.merged {
                    Ok(merged) => merged.to_string(),
                    Err(what) => what.to_string(),
                },
                after_milliseconds: answer.after.as_millis() as u64,
            })
            .collect();
        let report = DiscoverReport {
            flow: flow.to_string(),
            answers,
            error: String::new(),
        };
        self.effects.push_back(Effect::Reply {
            token,
            reply: Reply::Discovered(report),
        });
    }
}

fn opening(discovery: DiscoveryId) -> OpeningId {
    OpeningId(discovery.0)
}

fn port(port: Option<u16>) -> Port {
    port.map_or(Port::Any, Port::Is)
}
