//! Initiators and responders together: who is found, by how many datagrams, and who is not believed.

use super::initiator::{
    Acquire, AcquireError, Acquired, Effect, Ended, FailureReason, PATIENCE, Phase, RequestId,
    ResponseError, WAIT_MAX,
};
use super::network::*;
use super::proxies::{Irreconcilable, Proxy, ProxyId};
use super::wire::{Capabilities, Cookie, PROBE_LEN, Probe, Response};
use crate::net::{Flow, Identity, Port, Protocol};
use std::net::IpAddr;
use std::time::Duration;

const W: &str = "10.1.0.0/16";
const X: &str = "10.2.0.0/16";

/// FIG. 1: gateway 0 is the initiator 104, gateway 1 the responder 106.
fn fig_1() -> Network {
    fig_1_seeded(1)
}

fn fig_1_seeded(seed: u64) -> Network {
    let mut net = Network::new(seed);
    let initiator = net.gateway("192.0.2.104", &[proxy(W, X)], Ike::Authenticates);
    let responder = net.gateway("198.51.100.106", &[proxy(X, W)], Ike::Authenticates);
    net.route(X, &[responder]);
    net.route(W, &[initiator]);
    net
}

/// Host `n` of X.
fn to_x(n: u32) -> Flow {
    let dst = std::net::Ipv4Addr::from(0x0a02_0000 + n).to_string();
    ping("10.1.0.102", &dst)
}

fn failures(net: &Network, at: usize) -> Vec<FailureReason> {
    let findings = net.gateways[at].findings.iter();
    let reasons = findings.filter_map(|(_, effect)| match effect {
        Effect::Failed { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    reasons.collect()
}

/// A response to the last probe, from wherever.
fn answer(net: &Network, id: &str, cookie: u8, proxies: Vec<Proxy>) -> Vec<u8> {
    let probe = Probe::decode(&net.last_probe).unwrap();
    let response = Response {
        initiator: probe.cookie,
        responder: Cookie([cookie; 8]),
        capabilities: Capabilities::IKEV2,
        id: ip(id),
        hint: None,
        proxies,
        ike: None,
    };
    response.encode(PROBE_LEN).unwrap()
}

// --- who is found -------------------------------------------------------------------------------

#[test]
fn a_ping_finds_the_gateway_behind_its_destination() {
    let mut net = fig_1();
    net.acquire(0, to_x(108));
    net.run_ms(1000);
    assert_eq!(
        net.ladder,
        [
            "probe 10.1.0.102 port 500 > 10.2.0.108 port 500",
            "response 198.51.100.106 > 192.0.2.104",
        ]
    );
    assert_eq!(
        net.gateways[0].tunnels,
        [(ip("198.51.100.106"), proxy(W, X))]
    );
    assert_eq!(net.leaked, 0);
    assert_eq!(net.gateways[0].initiator.pending().count(), 0);
    assert_eq!(net.gateways[0].initiator.poll_timeout(), None);

    let claimed = net.gateways[0].candidates[0].claimed.unwrap();
    assert!(claimed.is(&Identity::Address(ip("198.51.100.106"))));
}

#[test]
fn the_probe_of_a_tcp_packet_leaves_from_its_source_port() {
    let mut net = fig_1();
    net.acquire(0, tcp("10.1.0.102", "10.2.0.108", 443));
    assert_eq!(
        net.ladder,
        ["probe 10.1.0.102 port 40000 > 10.2.0.108 port 500"]
    );
}

#[test]
fn the_same_over_ipv6() {
    let mut net = Network::new(1);
    let (w, x) = ("2001:db8:1::/48", "2001:db8:2::/48");
    net.gateway("2001:db8::104", &[proxy(w, x)], Ike::Authenticates);
    let responder = net.gateway("2001:db8::106", &[proxy(x, w)], Ike::Authenticates);
    net.route(x, &[responder]);
    net.acquire(0, ping("2001:db8:1::102", "2001:db8:2::108"));
    net.run_ms(1000);
    assert_eq!(
        net.gateways[0].tunnels,
        [(ip("2001:db8::106"), proxy(w, x))]
    );
    assert_eq!(net.probes, 1);
}

#[test]
fn gateways_that_are_the_end_hosts_find_each_other() {
    let mut net = Network::new(1);
    let here = proxy("192.0.2.104", "192.0.2.0/24");
    let there = proxy("192.0.2.106", "192.0.2.0/24");
    net.gateway("192.0.2.104", &[here], Ike::Authenticates);
    let responder = net.gateway("192.0.2.106", &[there], Ike::Authenticates);
    net.route("192.0.2.106/32", &[responder]);
    net.acquire(0, ping("192.0.2.104", "192.0.2.106"));
    net.run_ms(1000);
    let merged = proxy("192.0.2.104", "192.0.2.106");
    assert_eq!(net.gateways[0].tunnels, [(ip("192.0.2.106"), merged)]);
}

#[test]
fn both_sides_starting_at_once_find_each_other() {
    let mut net = fig_1();
    net.acquire(0, to_x(108));
    net.acquire(1, ping("10.2.0.108", "10.1.0.102"));
    net.run_ms(1000);
    assert_eq!(
        net.gateways[0].tunnels,
        [(ip("198.51.100.106"), proxy(W, X))]
    );
    assert_eq!(net.gateways[1].tunnels, [(ip("192.0.2.104"), proxy(X, W))]);
    assert_eq!(net.probes, 2);
}

#[test]
fn a_gateway_in_the_middle_that_protects_something_else_lets_the_probe_pass() {
    let mut net = Network::new(2);
    net.gateway("192.0.2.104", &[proxy(W, X)], Ike::Authenticates);
    let middle = net.gateway(
        "203.0.113.5",
        &[proxy("10.5.0.0/16", W)],
        Ike::Authenticates,
    );
    let responder = net.gateway("198.51.100.106", &[proxy(X, W)], Ike::Authenticates);
    net.route(X, &[middle, responder]);
    net.acquire(0, to_x(108));
    net.run_ms(1000);
    assert_eq!(
        net.gateways[0].tunnels,
        [(ip("198.51.100.106"), proxy(W, X))]
    );
    assert_eq!(net.gateways[middle].responder.counters().passed_on, 1);
    assert_eq!(net.leaked, 0);
}

#[test]
fn a_gateway_in_the_middle_that_does_not_agree_leaves_the_probe_to_the_next() {
    let mut net = Network::new(1);
    net.gateway("192.0.2.104", &[proxy(W, X)], Ike::Authenticates);
    let udp_only = Proxy {
        protocol: Protocol::UDP,
        ..proxy(X, W)
    };
    let middle = net.gateway("203.0.113.5", &[udp_only], Ike::Authenticates);
    let responder = net.gateway("198.51.100.106", &[proxy(X, W)], Ike::Authenticates);
    net.route(X, &[middle, responder]);
    net.acquire(0, to_x(108));
    net.run_ms(1000);
    assert_eq!(
        net.gateways[0].tunnels,
        [(ip("198.51.100.106"), proxy(W, X))]
    );
    let refused: Vec<_> = net.gateways[middle].responder.refused_probes().collect();
    assert_eq!(refused.len(), 1);
    assert_eq!(
        (refused[0].from, refused[0].what),
        (ip("192.0.2.104"), Irreconcilable::Protocol)
    );
}

#[test]
fn of_nested_gateways_the_outer_one_answers() {
    let mut net = Network::new(1);
    net.gateway("192.0.2.104", &[proxy(W, X)], Ike::Authenticates);
    let outer = net.gateway("198.51.100.106", &[proxy(X, W)], Ike::Authenticates);
    let inner = net.gateway("10.2.0.1", &[proxy("10.2.0.0/24", W)], Ike::Authenticates);
    net.route(X, &[outer, inner]);
    net.acquire(0, to_x(108));
    net.run_ms(1000);
    assert_eq!(
        net.gateways[0].tunnels,
        [(ip("198.51.100.106"), proxy(W, X))]
    );
    assert_eq!(net.gateways[inner].responder.counters().answered, 0);
}

#[test]
fn irreconcilable_proxies_fail_with_the_part_that_differs() {
    let port_80 = Proxy {
        protocol: Protocol::TCP,
        local_port: Port::Is(80),
        ..proxy(X, W)
    };
    let cases = [
        (
            Proxy {
                protocol: Protocol::UDP,
                ..proxy(X, W)
            },
            Irreconcilable::Protocol,
        ),
        (proxy(X, "10.1.9.0/24"), Irreconcilable::Address),
        (port_80, Irreconcilable::Port),
    ];
    for (theirs, what) in cases {
        let mut net = Network::new(1);
        net.gateway("192.0.2.104", &[proxy(W, X)], Ike::Authenticates);
        let responder = net.gateway("198.51.100.106", &[theirs], Ike::Authenticates);
        net.route(X, &[responder]);
        net.acquire(0, tcp("10.1.0.102", "10.2.0.108", 443));
        net.run_until(TIMEOUT);
        let responder = ip("198.51.100.106");
        assert_eq!(
            failures(&net, 0),
            [FailureReason::Irreconcilable { responder, what }]
        );
        assert!(net.gateways[0].candidates.is_empty());
    }
}

// --- how many datagrams -------------------------------------------------------------------------

#[test]
fn two_thousand_flows_to_one_gateway_cost_one_probe() {
    let mut net = fig_1();
    for n in 0..2000 {
        net.acquire(0, to_x(n));
        // Somebody insists.
        net.acquire(0, to_x(n));
    }
    assert_eq!(net.gateways[0].initiator.pending().count(), 2000);
    net.run_ms(5000);
    assert_eq!(net.probes, 1);
    assert_eq!(net.gateways[0].tunnels.len(), 1);
    assert_eq!(net.gateways[0].initiator.pending().count(), 0);
    let covered = net.gateways[0].findings.iter().filter(|(_, effect)| {
        matches!(
            effect,
            Effect::Ended {
                why: Ended::Covered,
                ..
            }
        )
    });
    assert_eq!(covered.count(), 2000);
}

#[test]
fn two_thousand_flows_cost_eight_datagrams_in_a_first_second_of_silence() {
    let mut net = fig_1();
    net.delay = Duration::from_millis(505);
    for n in 0..2000 {
        net.acquire(0, to_x(n));
    }
    net.run_ms(1000);
    assert_eq!(net.probes, 8);
    // Three of the flows are answered, but one negotiation is enough, and stops the probing.
    net.run_ms(4000);
    assert_eq!((net.probes, net.gateways[0].candidates.len()), (8, 1));
    assert_eq!(net.gateways[0].tunnels.len(), 1);
    assert_eq!(net.gateways[0].initiator.pending().count(), 0);
}

#[test]
fn a_dead_destination_holds_up_neither_of_two_gateways_behind_one_prefix() {
    let mut net = Network::new(1);
    net.gateway("192.0.2.104", &[proxy(W, X)], Ike::Authenticates);
    let first = net.gateway(
        "198.51.100.106",
        &[proxy("10.2.1.0/24", W)],
        Ike::Authenticates,
    );
    let second = net.gateway(
        "198.51.100.107",
        &[proxy("10.2.2.0/24", W)],
        Ike::Authenticates,
    );
    net.route("10.2.1.0/24", &[first]);
    net.route("10.2.2.0/24", &[second]);
    net.acquire(0, to_x(0x0909));
    net.acquire(0, to_x(0x0101));
    net.acquire(0, to_x(0x0201));
    net.run_ms(500);
    let found: Vec<IpAddr> = net.gateways[0]
        .tunnels
        .iter()
        .map(|(peer, _)| *peer)
        .collect();
    assert_eq!(found, [ip("198.51.100.106"), ip("198.51.100.107")]);
    net.run_until(TIMEOUT);
    assert_eq!(failures(&net, 0), [FailureReason::Silence]);
}

#[test]
fn many_gateways_behind_one_prefix_are_found_while_others_are_negotiated() {
    let mut net = Network::new(1);
    net.gateway("192.0.2.104", &[proxy(W, X)], Ike::Authenticates);
    for n in 0..20 {
        let prefix = format!("10.2.{n}.0/24");
        let own = format!("198.51.100.{}", n + 1);
        let gateway = net.gateway(&own, &[proxy(&prefix, W)], Ike::Authenticates);
        net.route(&prefix, &[gateway]);
        net.acquire(0, to_x(n * 256 + 1));
        net.acquire(0, to_x(n * 256 + 2));
    }
    net.run_ms(1000);
    assert_eq!((net.gateways[0].tunnels.len(), net.probes), (20, 20));
}

#[test]
fn silence_widens_the_search_so_that_many_dead_destinations_fail_soon() {
    let mut net = fig_1();
    net.route("0.0.0.0/0", &[]);
    net.reload(0, config(&[proxy(W, "172.16.0.0/12")]));
    for n in 0..50 {
        net.acquire(0, ping("10.1.0.102", &format!("172.16.0.{n}")));
    }
    net.run_ms(10_000);
    assert_eq!(failures(&net, 0), vec![FailureReason::Silence; 50]);
    assert!(net.probes <= 1000, "{} probes at 100 a second", net.probes);
}

#[test]
fn discoveries_that_got_the_same_offer_share_one_negotiation_and_its_failure() {
    let mut net = fig_1();
    net.gateways.pop();
    net.gateway("198.51.100.106", &[proxy(X, W)], Ike::Refuses);
    net.delay = Duration::from_millis(400);
    net.acquire(0, to_x(1));
    net.acquire(0, to_x(2));
    net.run_ms(1500);
    assert_eq!(net.gateways[0].candidates.len(), 1);
    let negotiating = net.gateways[0].initiator.pending();
    assert_eq!(
        negotiating
            .filter(|p| p.phase == Phase::Negotiating)
            .count(),
        2
    );
    net.run_ms(8000);
    assert_eq!(net.gateways[0].candidates.len(), 1);
    assert_eq!(failures(&net, 0).len(), 2);
}

#[test]
fn with_three_packets_in_ten_lost_every_run_ends_with_the_tunnel() {
    let mut failed_once = 0;
    for seed in 0..300 {
        let mut net = fig_1_seeded(seed);
        net.loss_percent = 30;
        net.delay = Duration::from_millis(50);
        net.acquire(0, to_x(108));
        net.run_until(TIMEOUT);
        failed_once += failures(&net, 0).len();
        net.run_until(TIMEOUT + FAILURE_LIFETIME);
        if net.gateways[0].tunnels.is_empty() {
            net.acquire(0, to_x(108));
            net.run_ms(5000);
        }
        assert_eq!(net.gateways[0].tunnels.len(), 1, "seed {seed}");
    }
    assert!(
        failed_once <= 6,
        "{failed_once} of 300 at the first attempt"
    );
}

// --- failures -----------------------------------------------------------------------------------

#[test]
fn silence_fails_after_the_timeout_and_is_forgotten_after_its_lifetime() {
    let mut net = fig_1();
    net.routes_nowhere();
    let flow = to_x(108);
    net.acquire(0, flow);
    net.run_ms(2000);
    assert!(matches!(net.acquire(0, flow), Acquired::Probing(_)));
    net.run_until(TIMEOUT);
    let (at, effect) = &net.gateways[0].findings[0];
    assert_eq!(*at, TIMEOUT);
    let Effect::Failed {
        packets, reason, ..
    } = effect
    else {
        panic!("{effect:?}");
    };
    assert_eq!((*packets, reason), (2, &FailureReason::Silence));

    let probes = net.probes;
    assert_eq!(net.acquire(0, flow), Acquired::Failed);
    assert_eq!(net.gateways[0].initiator.failures().count(), 1);
    net.run_until(TIMEOUT + FAILURE_LIFETIME);
    assert_eq!(net.probes, probes);
    let ended = Effect::FailureEnded {
        proxy: ProxyId(0),
        flow,
    };
    assert_eq!(
        net.gateways[0].findings[1],
        (TIMEOUT + FAILURE_LIFETIME, ended)
    );
    assert!(matches!(net.acquire(0, flow), Acquired::Probing(_)));
}

#[test]
fn a_gateway_that_does_not_authenticate_is_not_silence() {
    let mut net = fig_1();
    net.gateways.pop();
    net.gateway("198.51.100.106", &[proxy(X, W)], Ike::Refuses);
    net.acquire(0, to_x(108));
    net.run_ms(5000);
    let refused = FailureReason::CandidatesRefused {
        responder: ip("198.51.100.106"),
        why: "authentication failed".to_owned(),
    };
    assert_eq!(failures(&net, 0), [refused]);
}

#[test]
fn a_flow_that_a_gateway_under_negotiation_claims_does_not_fail_as_silent() {
    let mut net = fig_1();
    net.routes_nowhere();
    net.acquire(0, to_x(1));
    let claims_all = answer(&net, "203.0.113.66", 9, vec![proxy(X, W)]);
    net.acquire(0, to_x(2));
    net.run_ms(300);
    assert_eq!(net.probes, 3, "the second flow is probed too");
    // Where nobody speaks IKE.
    net.forge(ip("203.0.113.66"), ip("192.0.2.104"), claims_all);
    net.run_until(Duration::from_secs(29));
    assert_eq!(failures(&net, 0), []);
    net.run_until(Duration::from_secs(32));
    assert!(matches!(
        failures(&net, 0)[..],
        [
            FailureReason::CandidatesRefused { .. },
            FailureReason::Silence
        ]
    ));
}

#[test]
fn probes_that_our_own_limits_held_back_are_not_silence() {
    let mut net = fig_1();
    let none = super::initiator::Config {
        rate: 0,
        ..config(&[proxy(W, X)])
    };
    net.reload(0, none);
    net.acquire(0, to_x(108));
    net.run_ms(60_000);
    assert_eq!((net.probes, failures(&net, 0).len()), (0, 0));
    let pending: Vec<_> = net.gateways[0].initiator.pending().collect();
    assert_eq!((pending.len(), pending[0].phase), (1, Phase::Probing));
}

#[test]
fn a_failure_ends_when_asked_for_or_when_a_tunnel_covers_it() {
    let mut net = fig_1();
    net.routes_nowhere();
    net.acquire(0, to_x(1));
    net.acquire(0, to_x(2));
    net.run_ms(6000);
    assert_eq!(net.gateways[0].initiator.failures().count(), 2);

    let now = net.instant();
    let initiator = &mut net.gateways[0].initiator;
    initiator.retry(|_, flow| *flow == to_x(1));
    let ended = |n| Effect::FailureEnded {
        proxy: ProxyId(0),
        flow: to_x(n),
    };
    assert_eq!(initiator.poll_effect(), Some(ended(1)));
    initiator.covered(now, &proxy(W, X).selectors(1).unwrap());
    assert_eq!(initiator.poll_effect(), Some(ended(2)));
    assert_eq!(initiator.poll_effect(), None);
    assert_eq!(initiator.poll_timeout(), None);
}

#[test]
fn a_changed_proxy_forgets_its_flows_and_an_unchanged_one_keeps_them() {
    let mut net = fig_1();
    net.acquire(0, to_x(1));
    net.acquire(0, to_x(2));
    let now = net.instant();
    let initiator = &mut net.gateways[0].initiator;
    initiator.reload(now, config(&[proxy(W, X)]));
    assert_eq!(initiator.pending().count(), 2);
    initiator.reload(now, config(&[proxy(W, "10.0.0.0/8")]));
    let ended: Vec<Effect> = std::iter::from_fn(|| initiator.poll_effect()).collect();
    assert_eq!(ended.len(), 2);
    assert!(ended.iter().all(|e| matches!(
        e,
        Effect::Ended {
            why: Ended::Forgotten,
            ..
        }
    )));
    assert_eq!(
        (initiator.pending().count(), initiator.poll_timeout()),
        (0, None)
    );
}

// --- whom to believe ----------------------------------------------------------------------------

#[test]
fn a_forged_answer_that_comes_first_does_not_keep_the_honest_one_from_winning() {
    let mut net = fig_1();
    let forger = net.gateway("203.0.113.66", &[], Ike::Refuses);
    net.acquire(0, to_x(108));
    let forged = answer(
        &net,
        "203.0.113.66",
        9,
        vec![proxy("0.0.0.0/0", "0.0.0.0/0")],
    );
    net.forge(net.gateways[forger].addr, ip("192.0.2.104"), forged);
    net.run_ms(1000);
    let tried: Vec<IpAddr> = net.gateways[0]
        .candidates
        .iter()
        .map(|c| c.responder)
        .collect();
    assert_eq!(tried, [ip("203.0.113.66"), ip("198.51.100.106")]);
    assert_eq!(
        net.gateways[0].tunnels,
        [(ip("198.51.100.106"), proxy(W, X))]
    );
}

#[test]
fn a_forged_answer_from_where_nobody_is_delays_the_honest_one_only_so_long() {
    let mut net = fig_1();
    net.acquire(0, to_x(108));
    let forged = answer(
        &net,
        "203.0.113.66",
        9,
        vec![proxy("0.0.0.0/0", "0.0.0.0/0")],
    );
    net.forge(ip("203.0.113.66"), ip("192.0.2.104"), forged);
    net.run_until(PATIENCE + Duration::from_millis(100));
    assert_eq!(
        net.gateways[0].tunnels,
        [(ip("198.51.100.106"), proxy(W, X))]
    );
    assert_eq!(net.gateways[0].initiator.pending().count(), 0);
}

#[test]
fn a_forged_answer_under_the_honest_address_does_not_take_its_place() {
    let mut net = fig_1();
    net.acquire(0, to_x(108));
    let forged = answer(&net, "198.51.100.106", 9, vec![proxy("10.2.0.108", W)]);
    net.forge(ip("198.51.100.106"), ip("192.0.2.104"), forged);
    net.run_ms(15);
    let candidate = net.gateways[0].candidates[0].clone();
    net.candidate_failed(0, candidate.discovery, candidate.responder);
    net.run_ms(1000);
    assert!(
        net.gateways[0]
            .tunnels
            .contains(&(ip("198.51.100.106"), proxy(W, X)))
    );
}

#[test]
fn answers_that_nobody_should_believe_are_counted_and_change_nothing() {
    let mut net = fig_1();
    net.routes_nowhere();
    net.acquire(0, to_x(108));
    let all = || vec![proxy("0.0.0.0/0", "0.0.0.0/0")];
    let honest = answer(&net, "198.51.100.106", 1, all());
    let now = net.instant();
    let initiator = &mut net.gateways[0].initiator;
    let mut hear = |src: &str, payload: &[u8]| initiator.response(now, ip(src), payload).err();

    let mut unasked = honest.clone();
    unasked[0] ^= 1;
    assert_eq!(
        hear("198.51.100.106", &unasked),
        Some(ResponseError::Unasked)
    );
    let id = ip("198.51.100.106");
    assert_eq!(
        hear("198.51.100.107", &honest),
        Some(ResponseError::ForeignId { id })
    );
    let mut oversized = honest.clone();
    oversized.resize(PROBE_LEN + 1, 0);
    assert!(matches!(
        hear("198.51.100.106", &oversized),
        Some(ResponseError::Malformed(_))
    ));
    assert!(matches!(
        hear("198.51.100.106", &honest[..40]),
        Some(ResponseError::Malformed(_))
    ));
    assert_eq!(initiator.poll_effect(), None);

    for from in [
        "0.0.0.0",
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.104",
    ] {
        let strange = answer(&net, from, 1, all());
        let initiator = &mut net.gateways[0].initiator;
        assert!(
            initiator.response(now, ip(from), &strange).is_err(),
            "{from}"
        );
        assert_eq!(initiator.poll_effect(), None);
    }
    let counters = net.gateways[0].initiator.counters();
    assert_eq!((counters.answers, counters.answers_malformed), (0, 2));
    assert_eq!((counters.answers_unasked, counters.answers_foreign), (2, 5));
}

#[test]
fn a_cookie_is_worth_nothing_once_its_discovery_is_over() {
    let mut net = fig_1();
    net.acquire(0, to_x(108));
    let again = answer(&net, "203.0.113.66", 9, vec![proxy(X, W)]);
    net.run_ms(1000);
    let now = net.instant();
    let heard = net.gateways[0]
        .initiator
        .response(now, ip("203.0.113.66"), &again);
    assert_eq!(heard, Err(ResponseError::Replayed));
    assert_eq!(net.gateways[0].initiator.poll_effect(), None);
}

#[test]
fn of_many_answers_to_one_probe_four_are_tried_one_a_source() {
    let mut net = fig_1();
    net.routes_nowhere();
    net.acquire(0, to_x(108));
    for n in 1..=6 {
        let from = format!("203.0.113.{n}");
        for _ in 0..2 {
            let forged = answer(&net, &from, n, vec![proxy(X, W)]);
            net.forge(ip(&from), ip("192.0.2.104"), forged);
        }
    }
    net.run_ms(10);
    assert_eq!(net.gateways[0].candidates.len(), 1, "one at a time");
    let counters = net.gateways[0].initiator.counters();
    assert_eq!(
        (
            counters.answers,
            counters.answers_repeated,
            counters.answers_excess
        ),
        (4, 4, 4)
    );
    for n in 0..4 {
        let candidate = net.gateways[0].candidates[n].clone();
        net.candidate_failed(0, candidate.discovery, candidate.responder);
    }
    assert_eq!(net.gateways[0].candidates.len(), 4);
    net.run_ms(5000);
    assert_eq!(failures(&net, 0).len(), 1);
}

// --- bounds -------------------------------------------------------------------------------------

#[test]
fn flows_beyond_the_bound_are_refused_and_those_that_fell_silent_are_forgotten() {
    let mut net = fig_1();
    net.routes_nowhere();
    let now = net.instant();
    let own = ip("192.0.2.104");
    let initiator = &mut net.gateways[0].initiator;
    let mut refused = |src: &str| {
        let flow = |n| Flow {
            src: ip(src),
            ..to_x(n)
        };
        let acquire = |n| Acquire {
            proxy: ProxyId(0),
            flow: flow(n),
            own,
        };
        let results = (0..2500).map(|n| initiator.acquire(now, acquire(n)));
        results.filter(|r| *r == Err(AcquireError::Full)).count()
    };
    // One is begun. One sender alone cannot fill the table, two can.
    assert_eq!(refused("10.1.0.102"), 2500 - 2048 - 1);
    assert_eq!(refused("10.1.0.103"), 2500 - 2048);
    assert_eq!(refused("10.1.0.104"), 2500);
    let refused = 2500 * 3 - 4096 - 1;
    assert_eq!(initiator.counters().acquires_refused, refused);
    net.run_until(WAIT_MAX + TIMEOUT + FAILURE_LIFETIME * 2);
    assert_eq!(net.gateways[0].initiator.pending().count(), 0);
    assert_eq!(net.gateways[0].initiator.poll_timeout(), None);
    let stale = net.gateways[0].findings.iter().filter(|(_, effect)| {
        matches!(
            effect,
            Effect::Ended {
                why: Ended::Stale,
                ..
            }
        )
    });
    assert!(stale.count() > 3000);
}

#[test]
fn an_acquire_that_cannot_be_answered_is_refused() {
    let mut net = fig_1();
    let now = net.instant();
    let mut acquire = |proxy, flow, own: &str| {
        let acquire = Acquire {
            proxy: ProxyId(proxy),
            flow,
            own: ip(own),
        };
        net.gateways[0].initiator.acquire(now, acquire).unwrap_err()
    };
    let own = "192.0.2.104";
    assert_eq!(
        acquire(7, to_x(1), own),
        AcquireError::UnknownProxy(ProxyId(7))
    );
    let outside = ping("10.1.0.102", "10.9.0.1");
    assert_eq!(
        acquire(0, outside, own),
        AcquireError::Outside(Irreconcilable::Address)
    );
    for own in ["2001:db8::1", "0.0.0.0", "127.0.0.1"] {
        assert_eq!(acquire(0, to_x(1), own), AcquireError::OwnAddress(ip(own)));
    }
    assert_eq!(net.gateways[0].initiator.pending().count(), 0);
}

// --- discover -----------------------------------------------------------------------------------

#[test]
fn discover_probes_once_and_reports_every_answer() {
    let mut net = Network::new(1);
    net.gateway("192.0.2.104", &[proxy(W, X)], Ike::Authenticates);
    let elsewhere = proxy(X, "10.7.0.0/16");
    let middle = net.gateway("203.0.113.5", &[elsewhere], Ike::Authenticates);
    let responder = net.gateway("198.51.100.106", &[proxy(X, W)], Ike::Authenticates);
    net.route(X, &[middle, responder]);
    let now = net.instant();
    let own = ip("192.0.2.104");
    let request = RequestId(5);
    let asked = net.gateways[0]
        .initiator
        .discover(now, request, Some(ProxyId(0)), to_x(108), own);
    assert_eq!(asked, Ok(()));
    net.run_ms(0);
    // Effects are drained with the next input.
    net.acquire(0, to_x(109));
    net.run_ms(2000);
    let report = net.gateways[0]
        .findings
        .iter()
        .find_map(|(at, effect)| match effect {
            Effect::Report { request, answers } => Some((*at, *request, answers.clone())),
            _ => None,
        });
    let (at, reported, answers) = report.unwrap();
    assert_eq!((at, reported), (Duration::from_secs(2), request));
    let summary: Vec<_> = answers.iter().map(|a| (a.responder, a.merged)).collect();
    assert_eq!(
        summary,
        [
            (ip("203.0.113.5"), Err(Irreconcilable::Address)),
            (ip("198.51.100.106"), Ok(proxy(W, X))),
        ]
    );
    assert_eq!(answers[1].offered, [proxy(X, W)]);
    assert_eq!(answers[1].after, Duration::from_millis(30));
}
