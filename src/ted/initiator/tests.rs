//! Any inputs in any order: nothing panics, the tables agree with each other, nothing is left over,
//! and nobody is forgotten. Conversations are in `ted::conversations`.

use super::*;
use crate::net::random::Seeded;
use crate::net::{IpNet, MaskedAddr, Port, Protocol};
use proptest::prelude::*;
use std::net::Ipv4Addr;

#[derive(Clone, Debug)]
enum Step {
    Acquire {
        proxy: u32,
        host: u8,
    },
    /// Somebody answers the n-th latest probe with a proxy of this prefix length.
    Answer {
        probe: usize,
        from: u8,
        len: u8,
        reconcilable: bool,
    },
    /// The n-th latest candidate fails, or its tunnel comes up.
    Refuse(usize),
    TunnelUp(usize),
    /// A tunnel for that host and nothing else.
    Covered(u8),
    Wait(u64),
    Retry(u8),
    Forget(u32),
    AddressGone,
    Reload {
        with_second_proxy: bool,
    },
    Discover(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..2u32, 0..12u8).prop_map(|(proxy, host)| Step::Acquire { proxy, host }),
        6 => (0..6usize, 1..5u8, 28..=32u8, prop::bool::weighted(0.8)).prop_map(
            |(probe, from, len, reconcilable)| Step::Answer { probe, from, len, reconcilable }),
        3 => (0..4usize).prop_map(Step::Refuse),
        2 => (0..4usize).prop_map(Step::TunnelUp),
        1 => (0..12u8).prop_map(Step::Covered),
        4 => (0..3000u64).prop_map(Step::Wait),
        1 => (0..12u8).prop_map(Step::Retry),
        1 => (0..2u32).prop_map(Step::Forget),
        1 => Just(Step::AddressGone),
        1 => any::<bool>().prop_map(|with_second_proxy| Step::Reload { with_second_proxy }),
        1 => (0..12u8).prop_map(Step::Discover),
    ]
}

fn addr(net: u8, host: u8) -> IpAddr {
    Ipv4Addr::new(10, net, 0, host).into()
}

fn flow(host: u8) -> Flow {
    Flow {
        src: addr(1, 1),
        dst: addr(2, host),
        protocol: 1,
        ports: None,
    }
}

fn prefix(addr: IpAddr, len: u8) -> MaskedAddr {
    IpNet::new(addr, len).unwrap().into()
}

fn proxy(local: MaskedAddr, remote: MaskedAddr) -> Proxy {
    Proxy {
        local,
        remote,
        protocol: Protocol::Any,
        local_port: Port::Any,
        remote_port: Port::Any,
    }
}

fn config(with_second_proxy: bool) -> Config {
    let own = |len| OwnProxy {
        proxy: proxy(prefix(addr(1, 0), 16), prefix(addr(2, 0), len)),
        failure_lifetime: Duration::from_secs(5),
    };
    let mut proxies = BTreeMap::from([(ProxyId(0), own(16))]);
    if with_second_proxy {
        proxies.insert(ProxyId(1), own(24));
    }
    Config {
        proxies,
        retransmit: Duration::from_millis(250),
        timeout: Duration::from_secs(4),
        rate: 20,
    }
}

/// The initiator with what it wanted done.
struct Driven {
    initiator: Initiator,
    now: Instant,
    probes: Vec<Probe>,
    candidates: Vec<Candidate>,
}

impl Driven {
    fn take(&mut self, step: &Step) {
        let now = self.now;
        let own = Ipv4Addr::new(192, 0, 2, 104).into();
        match *step {
            Step::Acquire { proxy, host } => {
                let (proxy, flow) = (ProxyId(proxy), flow(host));
                let _ = self.initiator.acquire(now, Acquire { proxy, flow, own });
            }
            Step::Answer {
                probe,
                from,
                len,
                reconcilable,
            } => {
                let Some(probe) = self.probes.iter().rev().nth(probe) else {
                    return;
                };
                let id = Ipv4Addr::new(198, 51, 100, from).into();
                let remote = if reconcilable { 1 } else { 9 };
                let response = Response {
                    initiator: probe.cookie,
                    responder: Cookie([from; 8]),
                    capabilities: Capabilities::IKEV2,
                    id,
                    hint: None,
                    proxies: vec![proxy(
                        prefix(probe.flow.dst, len),
                        prefix(addr(remote, 0), 16),
                    )],
                    ike: None,
                };
                let octets = response.encode(1200).unwrap();
                let _ = self.initiator.response(now, id, &octets);
            }
            Step::Refuse(nth) => {
                if let Some(c) = self.candidates.iter().rev().nth(nth) {
                    let (discovery, responder) = (c.discovery, c.responder);
                    self.initiator
                        .candidate_failed(now, discovery, responder, "no");
                }
            }
            Step::TunnelUp(nth) => {
                if let Some(c) = self.candidates.iter().rev().nth(nth) {
                    self.initiator.covered(now, &c.merged.selectors(1).unwrap());
                }
            }
            Step::Covered(host) => {
                let only = proxy(prefix(addr(1, 0), 16), prefix(addr(2, host), 32));
                self.initiator.covered(now, &only.selectors(1).unwrap());
            }
            Step::Wait(ms) => self.wait(Duration::from_millis(ms)),
            Step::Retry(host) => self.initiator.retry(|_, f| f.dst == addr(2, host)),
            Step::Forget(proxy) => self.initiator.forget(now, |p, _| p == ProxyId(proxy)),
            Step::AddressGone => {
                self.initiator.address_gone(now, own);
                assert!(self.initiator.discoveries.is_empty());
                assert_eq!(self.initiator.waiting, 0);
            }
            Step::Reload { with_second_proxy } => {
                self.initiator.reload(now, config(with_second_proxy));
            }
            Step::Discover(host) => {
                let request = RequestId(host.into());
                let proxy = Some(ProxyId(0));
                let _ = self
                    .initiator
                    .discover(now, request, proxy, flow(host), own);
            }
        }
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.initiator.poll_timeout().filter(|at| *at <= end) {
            assert!(at >= self.now, "a timer in the past was not handled");
            self.now = at;
            self.initiator.handle_timeout(at);
            self.drain();
        }
        self.now = end;
    }

    fn drain(&mut self) {
        while let Some(effect) = self.initiator.poll_effect() {
            match effect {
                Effect::SendProbe { probe, .. } => self.probes.push(probe),
                Effect::Candidate(candidate) => self.candidates.push(candidate),
                _ => {}
            }
        }
        self.check();
    }

    fn check(&self) {
        let i = &self.initiator;
        let active: Vec<_> = i.groups.values().flat_map(|g| &g.active).collect();
        assert_eq!(active.len(), i.discoveries.len());
        assert!(active.iter().all(|id| i.discoveries.contains_key(id)));
        assert_eq!(i.by_cookie.len(), i.discoveries.len());
        let waiting: usize = i.groups.values().map(|g| g.waiting().count()).sum();
        assert_eq!(waiting, i.waiting);
        for (id, discovery) in &i.discoveries {
            let idle = discovery.is_idle();
            let asks = i.timers.deadline(&Timer::Retransmit(*id)).is_some();
            assert!(
                !idle || discovery.timed_out || asks,
                "{id:?} stopped asking"
            );
            let ends = i.timers.deadline(&Timer::Timeout(*id)).is_some();
            assert!(ends || discovery.is_negotiating(), "{id:?} never ends");
            assert!(
                !idle || discovery.next_untried().is_none(),
                "{id:?} left an offer untried"
            );
            for offer in &discovery.candidates {
                if let OfferState::Negotiating { by } = offer.state {
                    let negotiator = &i.discoveries[&by];
                    assert_eq!(negotiator.proxy, discovery.proxy);
                    assert!(negotiator.candidates.iter().any(|o| o.is_negotiated_by(by)
                        && o.responder == offer.responder
                        && o.merged.contains(&offer.merged)));
                }
            }
        }
        for (proxy, group) in &i.groups {
            assert!(!group.is_empty());
            let of_proxy: Vec<_> = i
                .discoveries
                .values()
                .filter(|d| d.proxy == *proxy)
                .collect();
            let probing = of_proxy.iter().filter(|d| d.is_probing()).count();
            let all_wait_for_something = group
                .waiting()
                .all(|(_, w)| of_proxy.iter().any(|d| d.may_cover(&w.flow)));
            assert!(
                probing >= group.allowance || all_wait_for_something,
                "{proxy:?} is stuck"
            );
        }
    }
}

proptest! {
    #[test]
    fn any_inputs_in_any_order_keep_the_tables_consistent(steps in prop::collection::vec(step(), 1..120)) {
        let start = Instant::now();
        let mut driven = Driven {
            initiator: Initiator::new(config(true), Box::new(Seeded(7))),
            now: start,
            probes: Vec::new(),
            candidates: Vec::new(),
        };
        for step in &steps {
            driven.take(step);
            driven.drain();
        }
        // IKE reports on every candidate in the end; then all that is left are failures, and then
        // nothing.
        for _ in 0..400 {
            driven.wait(Duration::from_secs(1));
            for candidate in std::mem::take(&mut driven.candidates) {
                let Candidate { discovery, responder, .. } = candidate;
                driven.initiator.candidate_failed(driven.now, discovery, responder, "no");
                driven.drain();
            }
            if driven.initiator.poll_timeout().is_none() {
                break;
            }
        }
        prop_assert_eq!(driven.initiator.poll_timeout(), None);
        prop_assert!(driven.initiator.discoveries.is_empty() && driven.initiator.groups.is_empty());
        prop_assert!(driven.initiator.inquiries.is_empty());
        prop_assert_eq!(driven.initiator.failures().count(), 0);
    }
}

/// Whether any of the effects since the last time is a failure.
fn failed(initiator: &mut Initiator) -> bool {
    let effects = std::iter::from_fn(|| initiator.poll_effect());
    let failures = effects.filter(|effect| matches!(effect, Effect::Failed { .. }));
    failures.count() > 0
}

#[test]
fn silence_is_not_concluded_from_a_time_in_which_nobody_listened() {
    let mut initiator = Initiator::new(config(false), Box::new(Seeded(1)));
    let start = Instant::now();
    let acquire = Acquire {
        proxy: ProxyId(0),
        flow: flow(9),
        own: Ipv4Addr::new(192, 0, 2, 104).into(),
    };
    initiator.acquire(start, acquire).unwrap();
    let mut now = start;
    while now < start + Duration::from_secs(2) {
        now = initiator.poll_timeout().unwrap();
        initiator.handle_timeout(now);
    }
    // The process was stopped, long enough for the time to be up.
    now += Duration::from_secs(30);
    initiator.handle_timeout(now);
    assert!(!failed(&mut initiator));
    let heard_again = now;
    while !failed(&mut initiator) {
        now = initiator.poll_timeout().unwrap();
        initiator.handle_timeout(now);
    }
    assert_eq!(now, heard_again + Duration::from_secs(4));
}

#[test]
fn discoveries_whose_answers_cannot_come_any_more_begin_anew_from_another_address() {
    let mut initiator = Initiator::new(config(false), Box::new(Seeded(1)));
    let now = Instant::now();
    let [old, new] = [104, 204].map(|host| IpAddr::from(Ipv4Addr::new(192, 0, 2, host)));
    let mut acquire = |own, host| {
        let (proxy, flow) = (ProxyId(0), flow(host));
        initiator
            .acquire(now, Acquire { proxy, flow, own })
            .unwrap();
        let ids = std::iter::from_fn(|| initiator.poll_effect()).filter_map(|e| match e {
            Effect::SendProbe { probe, .. } => Some(probe.id),
            _ => None,
        });
        let ids: Vec<_> = ids.collect();
        initiator.address_gone(now, old);
        ids
    };
    assert_eq!(acquire(old, 9), [old]);
    assert_eq!(acquire(new, 9), [new]);
    assert!(acquire(new, 9).is_empty(), "under way already");
}
