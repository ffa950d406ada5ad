//! Gateways that talk to each other in virtual time, over a seeded network that loses packets.
//!
//! IKE is played by the network: a negotiation with a gateway that stands where the candidate says
//! takes two round trips and ends as that gateway's [`Ike`] says; nobody answers anywhere else.

use super::initiator::{
    Acquire, Acquired, Candidate, Config, DiscoveryId, Effect, Initiator, OwnProxy,
};
use super::interception::{Claim, classify};
use super::proxies::{Proxy, ProxyId};
use super::responder::{self, Forward, Intercepted, Responder, Verdict};
use super::wire::{PROBE_LEN, Probe};
use crate::net::random::Seeded;
use crate::net::{Flow, IpNet, Port, Protocol, Random};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

pub(super) const FAILURE_LIFETIME: Duration = Duration::from_secs(10);
/// What IKE does when nobody answers.
const IKE_GIVES_UP: Duration = Duration::from_secs(30);
pub(super) const TIMEOUT: Duration = Duration::from_secs(4);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ike {
    Authenticates,
    Refuses,
}

pub(super) struct Gateway {
    pub(super) addr: IpAddr,
    pub(super) initiator: Initiator,
    pub(super) responder: Responder,
    ike: Ike,
    /// What came up: with whom, and for which traffic.
    pub(super) tunnels: Vec<(IpAddr, Proxy)>,
    /// Every effect that is not a probe, and when.
    pub(super) findings: Vec<(Duration, Effect)>,
    pub(super) candidates: Vec<Candidate>,
}

#[derive(Clone, Debug)]
enum Event {
    /// On its way to the first of `hops`, and then to the end host.
    Probe {
        hops: Vec<usize>,
        src: IpAddr,
        dst: IpAddr,
        payload: Vec<u8>,
    },
    Response {
        from: IpAddr,
        to: IpAddr,
        payload: Vec<u8>,
    },
    Negotiated {
        at: usize,
        discovery: DiscoveryId,
        responder: IpAddr,
        tunnel: Option<Proxy>,
    },
}

pub(super) struct Network {
    start: Instant,
    pub(super) now: Duration,
    pub(super) gateways: Vec<Gateway>,
    /// Which gateways a packet to a prefix passes, in their order.
    routes: Vec<(IpNet, Vec<usize>)>,
    /// Between any two.
    pub(super) delay: Duration,
    pub(super) loss_percent: u32,
    random: Seeded,
    events: BTreeMap<(Duration, u64), Event>,
    sequence: u64,
    /// One line for each datagram, as it is sent.
    pub(super) ladder: Vec<String>,
    pub(super) probes: usize,
    /// Probes that reached an end host.
    pub(super) leaked: usize,
    /// The last probe that was sent.
    pub(super) last_probe: Vec<u8>,
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn proxy(local: &str, remote: &str) -> Proxy {
    Proxy {
        local: local.parse().unwrap(),
        remote: remote.parse().unwrap(),
        protocol: Protocol::Any,
        local_port: Port::Any,
        remote_port: Port::Any,
    }
}

pub(super) fn ping(src: &str, dst: &str) -> Flow {
    let (src, dst) = (ip(src), ip(dst));
    Flow {
        src,
        dst,
        protocol: if src.is_ipv4() { 1 } else { 58 },
        ports: None,
    }
}

pub(super) fn tcp(src: &str, dst: &str, port: u16) -> Flow {
    Flow {
        protocol: 6,
        ports: Some((40000, port)),
        ..ping(src, dst)
    }
}

impl Network {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            start: Instant::now(),
            now: Duration::ZERO,
            gateways: Vec::new(),
            routes: Vec::new(),
            delay: Duration::from_millis(10),
            loss_percent: 0,
            random: Seeded(seed),
            events: BTreeMap::new(),
            sequence: 0,
            ladder: Vec::new(),
            probes: 0,
            leaked: 0,
            last_probe: Vec::new(),
        }
    }

    /// Its first proxy is number 0.
    pub(super) fn gateway(&mut self, addr: &str, proxies: &[Proxy], ike: Ike) -> usize {
        let own = ip(addr);
        let number = self.gateways.len();
        let responder = responder::Config {
            proxies: proxies.to_vec(),
            identity: crate::net::Identity::Address(own),
            rate: 200,
        };
        let mut random = Seeded(self.random.u64());
        self.gateways.push(Gateway {
            addr: own,
            responder: Responder::new(responder, vec![own], &mut random),
            initiator: Initiator::new(config(proxies), Box::new(random)),
            ike,
            tunnels: Vec::new(),
            findings: Vec::new(),
            candidates: Vec::new(),
        });
        number
    }

    pub(super) fn route(&mut self, prefix: &str, hops: &[usize]) {
        self.routes.push((prefix.parse().unwrap(), hops.to_vec()));
    }

    /// From now on nobody answers.
    pub(super) fn routes_nowhere(&mut self) {
        self.routes.clear();
    }

    pub(super) fn instant(&self) -> Instant {
        self.start + self.now
    }

    pub(super) fn reload(&mut self, at: usize, config: Config) {
        let now = self.instant();
        self.gateways[at].initiator.reload(now, config);
        self.drain(at);
    }

    pub(super) fn acquire(&mut self, at: usize, flow: Flow) -> Acquired {
        let now = self.instant();
        let gateway = &mut self.gateways[at];
        let acquire = Acquire {
            proxy: ProxyId(0),
            flow,
            own: gateway.addr,
        };
        let acquired = gateway.initiator.acquire(now, acquire).unwrap();
        self.drain(at);
        acquired
    }

    pub(super) fn candidate_failed(
        &mut self,
        at: usize,
        discovery: DiscoveryId,
        responder: IpAddr,
    ) {
        let now = self.instant();
        let initiator = &mut self.gateways[at].initiator;
        initiator.candidate_failed(now, discovery, responder, "authentication failed");
        self.drain(at);
    }

    /// Delivers a response that nobody in the network sent.
    pub(super) fn forge(&mut self, from: IpAddr, to: IpAddr, payload: Vec<u8>) {
        self.schedule(Duration::ZERO, Event::Response { from, to, payload });
    }

    /// Runs until then, or until nothing happens any more.
    pub(super) fn run_until(&mut self, end: Duration) {
        loop {
            let timer = self
                .gateways
                .iter()
                .enumerate()
                .filter_map(|(n, g)| Some((g.initiator.poll_timeout()?, n)))
                .min()
                .map(|(at, n)| (at - self.start, n));
            let event = self.events.keys().next().map(|(at, _)| *at);
            let due = [timer.map(|(at, _)| at), event].into_iter().flatten().min();
            match due {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => break,
            }
            match timer {
                Some((at, n)) if event.is_none_or(|event| at < event) => {
                    let now = self.instant();
                    self.gateways[n].initiator.handle_timeout(now);
                    self.drain(n);
                }
                _ => {
                    let (_, event) = self.events.pop_first().unwrap();
                    self.deliver(event);
                }
            }
        }
        self.now = self.now.max(end);
    }

    pub(super) fn run_ms(&mut self, ms: u64) {
        self.run_until(self.now + Duration::from_millis(ms));
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.sequence += 1;
        self.events.insert((self.now + after, self.sequence), event);
    }

    fn is_lost(&mut self) -> bool {
        self.random.u32() % 100 < self.loss_percent
    }

    fn send(&mut self, line: String, event: Event) {
        self.ladder.push(line);
        if !self.is_lost() {
            self.schedule(self.delay, event);
        }
    }

    fn deliver(&mut self, event: Event) {
        match event {
            Event::Probe {
                hops,
                src,
                dst,
                payload,
            } => self.deliver_probe(&hops, src, dst, payload),
            Event::Response { from, to, payload } => {
                assert_eq!(classify(&payload), Claim::Response);
                let now = self.instant();
                if let Some(n) = self.gateways.iter().position(|g| g.addr == to) {
                    // Refusals are seen in the counters.
                    let _ = self.gateways[n].initiator.response(now, from, &payload);
                    self.drain(n);
                }
            }
            Event::Negotiated {
                at,
                discovery,
                responder,
                tunnel,
            } => match tunnel {
                None => self.candidate_failed(at, discovery, responder),
                Some(merged) => {
                    let now = self.instant();
                    let gateway = &mut self.gateways[at];
                    gateway.tunnels.push((responder, merged));
                    gateway
                        .initiator
                        .covered(now, &merged.selectors(256).unwrap());
                    self.drain(at);
                }
            },
        }
    }

    fn deliver_probe(&mut self, hops: &[usize], src: IpAddr, dst: IpAddr, payload: Vec<u8>) {
        assert_eq!(classify(&payload), Claim::Probe);
        assert_eq!(payload.len(), PROBE_LEN);
        let Some((first, rest)) = hops.split_first() else {
            self.leaked += 1;
            return;
        };
        let now = self.instant();
        let gateway = &mut self.gateways[*first];
        let own = gateway.addr;
        let intercepted = Intercepted {
            src,
            dst,
            payload: &payload,
        };
        let forward = match gateway.responder.judge(now, intercepted) {
            Verdict::Drop(_) => return,
            Verdict::PassOn => Forward::PassOn,
            Verdict::Answer(answer, forward) => {
                let to = answer.to;
                let octets = answer.encode(own, None).unwrap();
                assert!(octets.len() <= payload.len());
                let line = format!("response {own} > {to}");
                let response = Event::Response {
                    from: own,
                    to,
                    payload: octets,
                };
                self.send(line, response);
                forward
            }
        };
        if forward == Forward::PassOn {
            let onward = Event::Probe {
                hops: rest.to_vec(),
                src,
                dst,
                payload,
            };
            if !self.is_lost() {
                self.schedule(self.delay, onward);
            }
        }
    }

    fn drain(&mut self, at: usize) {
        while let Some(effect) = self.gateways[at].initiator.poll_effect() {
            match effect {
                Effect::SendProbe { probe, .. } => {
                    let (src, dst) = (probe.flow.src, probe.flow.dst);
                    let (src_port, payload) = (Probe::src_port(&probe.flow), probe.encode());
                    self.probes += 1;
                    self.last_probe.clone_from(&payload);
                    let hops = self.hops(dst);
                    let line = format!("probe {src} port {src_port} > {dst} port 500");
                    let probe = Event::Probe {
                        hops,
                        src,
                        dst,
                        payload,
                    };
                    self.send(line, probe);
                }
                Effect::Candidate(candidate) => {
                    self.negotiate(at, &candidate);
                    self.gateways[at].candidates.push(candidate);
                }
                other => self.gateways[at].findings.push((self.now, other)),
            }
        }
    }

    fn hops(&self, dst: IpAddr) -> Vec<usize> {
        let route = self.routes.iter().find(|(prefix, _)| prefix.contains(&dst));
        route.map_or_else(Vec::new, |(_, hops)| hops.clone())
    }

    fn negotiate(&mut self, at: usize, candidate: &Candidate) {
        let peer = self.gateways.iter().find(|g| g.addr == candidate.responder);
        let (after, tunnel) = match peer.map(|g| g.ike) {
            Some(Ike::Authenticates) => (self.delay * 4, Some(candidate.merged)),
            Some(Ike::Refuses) => (self.delay * 4, None),
            None => (IKE_GIVES_UP, None),
        };
        let negotiated = Event::Negotiated {
            at,
            discovery: candidate.discovery,
            responder: candidate.responder,
            tunnel,
        };
        self.schedule(after, negotiated);
    }
}

pub(super) fn config(proxies: &[Proxy]) -> Config {
    let own = |proxy: &Proxy| OwnProxy {
        proxy: *proxy,
        failure_lifetime: FAILURE_LIFETIME,
    };
    Config {
        proxies: (0..).map(ProxyId).zip(proxies.iter().map(own)).collect(),
        retransmit: Duration::from_millis(250),
        timeout: TIMEOUT,
        rate: 100,
    }
}
