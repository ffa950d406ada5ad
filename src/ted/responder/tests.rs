//! What is done with a single probe. Conversations are in `ted::conversations`.

use super::*;
use crate::net::random::Seeded;
use crate::net::{MaskedAddr, Port, Protocol};
use crate::ted::wire::MAKER;
use std::time::Duration;

const OWN: &str = "198.51.100.106";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn proxy(local: &str, remote: &str) -> Proxy {
    Proxy {
        local: local.parse().unwrap(),
        remote: remote.parse().unwrap(),
        protocol: Protocol::Any,
        local_port: Port::Any,
        remote_port: Port::Any,
    }
}

fn config(proxies: Vec<Proxy>) -> Config {
    Config {
        proxies,
        identity: "gw106.example".parse().unwrap(),
        rate: 100,
    }
}

fn responder() -> Responder {
    let proxies = vec![proxy("10.2.0.0/16", "10.1.0.0/16")];
    Responder::new(config(proxies), vec![ip(OWN)], &mut Seeded(1))
}

fn probe() -> Probe {
    Probe {
        cookie: Cookie([1; 8]),
        capabilities: Capabilities::IKEV2,
        id: ip("192.0.2.104"),
        source: None,
        maker: MAKER,
        flow: Flow {
            src: ip("10.1.0.102"),
            dst: ip("10.2.0.108"),
            protocol: 1,
            ports: None,
        },
        ike: None,
    }
}

fn judge(responder: &mut Responder, now: Instant, probe: &Probe) -> Verdict {
    let intercepted = Intercepted {
        src: probe.flow.src,
        dst: probe.flow.dst,
        payload: &probe.encode(),
    };
    responder.judge(now, intercepted)
}

fn answered(verdict: Verdict) -> (Response, Forward) {
    let Verdict::Answer(answer, forward) = verdict else {
        panic!("{verdict:?}");
    };
    let octets = answer.encode(ip(OWN), None).unwrap();
    (Response::decode(&octets).unwrap(), forward)
}

#[test]
fn an_answer_carries_the_cookie_our_address_and_the_proxy() {
    let verdict = judge(&mut responder(), Instant::now(), &probe());
    let (response, forward) = answered(verdict);
    assert_eq!(forward, Forward::Consume);
    assert_eq!(response.initiator, probe().cookie);
    assert_eq!(response.id, ip(OWN));
    assert_eq!(response.proxies, [proxy("10.2.0.0/16", "10.1.0.0/16")]);
    let claimed = response.claimed_identity().unwrap();
    assert!(claimed.is(&"gw106.example".parse().unwrap()));
}

#[test]
fn a_message_of_ike_is_handed_on_where_a_proxy_holds_the_packet_and_its_answer_goes_along() {
    let proxies = vec![proxy("10.2.0.0/16", "10.1.0.0/16")];
    let mut responder = Responder::new(config(proxies), vec![ip(OWN)], &mut Seeded(1));
    let probe = Probe {
        ike: Some(vec![1, 2, 3]),
        ..probe()
    };
    let Verdict::Answer(answer, _) = judge(&mut responder, Instant::now(), &probe) else {
        panic!("not answered");
    };
    assert_eq!(answer.ike, probe.ike);
    let octets = answer.encode(ip(OWN), Some(vec![4, 5])).unwrap();
    assert_eq!(Response::decode(&octets).unwrap().ike, Some(vec![4, 5]));

    let from_elsewhere = Probe {
        flow: Flow {
            src: ip("10.9.0.1"),
            ..probe.flow
        },
        ..probe
    };
    let verdict = judge(&mut responder, Instant::now(), &from_elsewhere);
    let Verdict::Answer(answer, Forward::PassOn) = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(answer.ike, None, "a further gateway may agree");
}

#[test]
fn an_answer_is_not_written_for_an_address_of_the_other_ip_version() {
    let Verdict::Answer(answer, _) = judge(&mut responder(), Instant::now(), &probe()) else {
        panic!("not answered");
    };
    assert_eq!(answer.encode(ip("2001:db8::106"), None), None);
}

#[test]
fn the_responder_cookie_is_repeated_for_a_repeated_probe_and_unique_otherwise() {
    let now = Instant::now();
    let mut one = responder();
    let mut cookie = |probe: &Probe| answered(judge(&mut one, now, probe)).0.responder;
    let first = cookie(&probe());
    assert_eq!(first, cookie(&probe()));
    let other_cookie = Probe {
        cookie: Cookie([2; 8]),
        ..probe()
    };
    let other_id = Probe {
        id: ip("192.0.2.105"),
        ..probe()
    };
    assert_ne!(first, cookie(&other_cookie));
    assert_ne!(first, cookie(&other_id));

    let proxies = vec![proxy("10.2.0.0/16", "10.1.0.0/16")];
    let mut another = Responder::new(config(proxies), vec![ip(OWN)], &mut Seeded(2));
    let theirs = answered(judge(&mut another, now, &probe())).0.responder;
    assert_ne!(first, theirs);
}

#[test]
fn ids_that_an_answer_must_not_go_to_are_refused() {
    let mut responder = responder();
    let now = Instant::now();
    let mut reason = |id: &str| {
        let verdict = judge(
            &mut responder,
            now,
            &Probe {
                id: ip(id),
                ..probe()
            },
        );
        let Verdict::Drop(reason) = verdict else {
            panic!("{id}: {verdict:?}");
        };
        reason
    };
    for id in [
        "224.0.0.5",
        "0.0.0.0",
        "127.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
    ] {
        assert_eq!(reason(id), DropReason::NotAnEndpoint(ip(id)));
    }
    assert_eq!(reason(OWN), DropReason::OurOwn(ip(OWN)));
    assert_eq!(reason("10.2.7.7"), DropReason::Protected(ip("10.2.7.7")));
    assert_eq!(responder.counters().refused, 7);

    responder.set_own_addresses(vec![ip("192.0.2.104")]);
    let verdict = judge(&mut responder, now, &probe());
    assert_eq!(
        verdict,
        Verdict::Drop(DropReason::OurOwn(ip("192.0.2.104")))
    );
}

#[test]
fn a_probe_that_describes_another_packet_than_its_own_header_is_dropped() {
    let mut responder = responder();
    let payload = probe().encode();
    let (src, dst) = (ip("203.0.113.9"), ip("10.2.0.108"));
    let intercepted = Intercepted {
        src,
        dst,
        payload: &payload,
    };
    let dropped = DropReason::NotItsHeader {
        described: probe().flow,
        src,
        dst,
    };
    assert_eq!(
        responder.judge(Instant::now(), intercepted),
        Verdict::Drop(dropped)
    );
}

#[test]
fn malformed_oversized_and_short_probes_are_dropped_and_another_makers_passed_on() {
    let mut responder = responder();
    let mut verdict = |payload: &[u8]| {
        let Flow { src, dst, .. } = probe().flow;
        responder.judge(Instant::now(), Intercepted { src, dst, payload })
    };
    let whole = probe().encode();
    let mut oversized = whole.clone();
    oversized.resize(1201, 0);
    let error = DropReason::Malformed(DecodeError::Oversized(1201));
    assert_eq!(verdict(&oversized), Verdict::Drop(error));
    assert!(matches!(
        verdict(&whole[..300]),
        Verdict::Drop(DropReason::Malformed(_))
    ));

    // Without its padding: the summary ends at 96 and names no following payload.
    let mut short = whole[..96].to_vec();
    short[24..28].copy_from_slice(&96u32.to_be_bytes());
    short[64] = 0;
    assert_eq!(verdict(&short), Verdict::Drop(DropReason::TooShort(96)));

    let mut foreign = whole;
    foreign[32] ^= 1;
    assert_eq!(verdict(&foreign), Verdict::PassOn);
    let counters = responder.counters();
    assert_eq!((counters.malformed, counters.passed_on), (3, 1));
}

#[test]
fn a_shorter_probe_gets_no_longer_answer() {
    let many = (0..200).map(|n| Proxy {
        remote_port: Port::Is(n),
        ..proxy("10.2.0.0/16", "10.1.0.0/16")
    });
    let mut responder = Responder::new(config(many.collect()), vec![ip(OWN)], &mut Seeded(1));
    let flow = Flow {
        protocol: 6,
        ports: Some((7, 443)),
        ..probe().flow
    };
    let whole = Probe { flow, ..probe() }.encode();
    for len in [200usize, 400, 800, 1200] {
        let mut payload = whole[..len].to_vec();
        payload[24..28].copy_from_slice(&(len as u32).to_be_bytes());
        // The padding starts after a summary of 36 octets at 64.
        payload[102..104].copy_from_slice(&(len as u16 - 100).to_be_bytes());
        let (src, dst) = (flow.src, flow.dst);
        let payload = &payload;
        let verdict = responder.judge(Instant::now(), Intercepted { src, dst, payload });
        let Verdict::Answer(answer, Forward::Consume) = verdict else {
            panic!("{verdict:?}");
        };
        let octets = answer.encode(ip(OWN), None).unwrap();
        assert!(octets.len() <= len && octets.len() + 28 > len);
        let first = Response::decode(&octets).unwrap().proxies[0];
        assert_eq!(
            first.remote_port,
            Port::Is(7),
            "the one that holds the packet"
        );
    }
}

#[test]
fn answers_to_one_id_and_in_total_are_limited() {
    let (mut responder, start) = (responder(), Instant::now());
    let count = |responder: &mut Responder, seconds: u64, ids: &mut dyn Iterator<Item = u8>| {
        let now = start + Duration::from_secs(seconds);
        let mut answers = 0;
        for last in ids {
            let id = IpAddr::from([192, 0, 2, last]);
            let verdict = judge(responder, now, &Probe { id, ..probe() });
            answers += usize::from(matches!(verdict, Verdict::Answer(..)));
        }
        answers
    };
    assert_eq!(
        count(&mut responder, 0, &mut std::iter::repeat_n(1, 100)),
        40
    );
    assert_eq!(count(&mut responder, 0, &mut (2..=200)), 60);
    assert_eq!(
        count(&mut responder, 1, &mut std::iter::repeat_n(1, 100)),
        20
    );
    assert_eq!(responder.counters().limited, 279);
}

#[test]
fn refused_probes_are_listed_once_each_and_only_the_newest() {
    let (mut responder, now) = (responder(), Instant::now());
    for round in 0..100u32 {
        let now = now + Duration::from_secs(u64::from(round));
        for _ in 0..2 {
            let src = IpAddr::from(0x0a09_0000u32.wrapping_add(round).to_be_bytes());
            let flow = Flow {
                src,
                ..probe().flow
            };
            let verdict = judge(&mut responder, now, &Probe { flow, ..probe() });
            assert_eq!(answered(verdict).1, Forward::PassOn);
        }
    }
    let refused: Vec<_> = responder.refused_probes().collect();
    assert_eq!(refused.len(), REFUSED_REMEMBERED);
    assert_eq!(refused[63].flow.src, ip("10.9.0.99"));
    assert!(refused.iter().all(|r| r.what == Irreconcilable::Address));
}

#[test]
fn destinations_that_nobody_protects_here_are_passed_on_and_a_reload_counts_at_once() {
    let (mut responder, now) = (responder(), Instant::now());
    let elsewhere = Flow {
        dst: ip("10.3.0.1"),
        ..probe().flow
    };
    let elsewhere = Probe {
        flow: elsewhere,
        ..probe()
    };
    assert_eq!(judge(&mut responder, now, &elsewhere), Verdict::PassOn);
    responder.reload(config(vec![proxy("10.3.0.0/16", "10.1.0.0/16")]));
    assert_eq!(
        answered(judge(&mut responder, now, &elsewhere)).1,
        Forward::Consume
    );
    assert_eq!(judge(&mut responder, now, &probe()), Verdict::PassOn);
}

/// Generous for a slow machine, and far below what a search through all proxies takes.
#[test]
fn fifty_thousand_proxies_do_not_slow_a_probe_down() {
    let half = |base: u32, n: u32| -> MaskedAddr {
        let net = IpAddr::from((base + (n << 8)).to_be_bytes());
        MaskedAddr::new(net, ip("255.255.255.0")).unwrap()
    };
    let same_local = (0..25_000).map(|n| Proxy {
        remote: half(0x2000_0000, n),
        ..proxy("10.2.0.0/16", "0.0.0.0/0")
    });
    let own_local = (0..25_000).map(|n| Proxy {
        local: half(0x3000_0000, n),
        ..proxy("0.0.0.0/0", "10.1.0.0/16")
    });
    let proxies = same_local.chain(own_local).collect();
    let mut big = Responder::new(config(proxies), vec![ip(OWN)], &mut Seeded(1));
    let flow = Flow {
        src: ip("32.0.77.1"),
        ..probe().flow
    };
    let probe = Probe { flow, ..probe() };
    let start = Instant::now();
    for second in 0..200 {
        let verdict = judge(&mut big, start + Duration::from_secs(second), &probe);
        assert_eq!(answered(verdict).1, Forward::Consume);
    }
    let each = start.elapsed() / 200;
    assert!(each < Duration::from_millis(2), "{each:?} a probe");
}
