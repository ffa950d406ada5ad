//! What arrives from elsewhere: forgeries, floods, nonsense.

use super::establishing::init_payloads;
use super::network::{A, B, CLEAN, Network, Packet, ROUGH, address, between, connect, settings};
use crate::ike::VENDOR_ID;
use crate::ike::crypto::{Group, PrivateKey};
use crate::ike::effects::ConnectError;
use crate::ike::settings::{ChildProtocol, RequestId};
use crate::ike::wire::payload::tests::payload;
use crate::ike::wire::{Exchange, Header, NotifyKind, Payload, Payloads};
use crate::ike::{narrowing, negotiation};
use crate::net::Random;
use crate::net::random::Seeded;
use proptest::prelude::*;
use std::net::SocketAddr;
use std::time::Duration;

pub(super) fn message(header: Header, payloads: Vec<Payload>) -> Vec<u8> {
    let (next, chain) = Payloads(payloads).encode();
    let mut out = Header { next, ..header }.encode(chain.len());
    out.extend_from_slice(&chain);
    out
}

/// An error in the place of `answer`, as anybody could send it.
pub(super) fn error_answer(answer: &[u8], error: Payload) -> Vec<u8> {
    let (header, _) = Header::decode(answer).unwrap();
    let header = Header { spi_r: 0, ..header };
    message(header, vec![error])
}

/// A sound first message, after `change`.
pub(super) fn init_request(change: impl FnOnce(&mut Vec<Payload>)) -> Vec<u8> {
    let key = PrivateKey::draw(Group::X25519, &mut Seeded(77));
    let mut payloads = vec![
        Payload::Sa(negotiation::offer_ike()),
        Payload::Ke {
            group: 31,
            data: key.public().to_vec(),
        },
        Payload::Nonce(vec![9; 32]),
    ];
    change(&mut payloads);
    let header = Header {
        spi_i: 0x1234,
        spi_r: 0,
        next: crate::ike::wire::PayloadKind::NONE,
        exchange: Exchange::IKE_SA_INIT,
        from_initiator: true,
        response: false,
        message_id: 0,
    };
    message(header, payloads)
}

/// The answer of somebody who saw the request, can compute, and has no key of the peer's.
pub(super) fn forged_answer(request: &[u8], spi_r: u64) -> Vec<u8> {
    let (header, _) = Header::decode(request).unwrap();
    let payloads = init_payloads(request);
    let chosen = negotiation::choose_ike(payloads.proposals().unwrap(), 0, 31).unwrap();
    let key = PrivateKey::draw(Group::X25519, &mut Seeded(spi_r));
    let header = Header {
        spi_r,
        from_initiator: false,
        response: true,
        ..header
    };
    let answer = vec![
        Payload::Sa(vec![chosen.answer]),
        Payload::Ke {
            group: 31,
            data: key.public().to_vec(),
        },
        Payload::Nonce(vec![8; 32]),
        Payload::Vendor(VENDOR_ID.to_vec()),
    ];
    message(header, answer)
}

fn ports() -> (SocketAddr, SocketAddr) {
    (
        SocketAddr::new(address(A), 500),
        SocketAddr::new(address(B), 500),
    )
}

#[test]
pub(super) fn forged_answers_that_come_first_do_not_keep_the_honest_one_from_winning() {
    for forgeries in 1..=3 {
        let mut net = Network::new(2, forgeries);
        net.connect(A, connect(1, A, B));
        let (to, from) = ports();
        for n in 0..forgeries {
            let payload = forged_answer(&net.sent[0].2, 100 + n);
            net.inject(Duration::from_millis(1 + n), Packet { from, to, payload });
        }
        net.run_seconds(1);
        net.assert_one_tunnel();
    }
}

#[test]
fn altered_copies_of_the_honest_answer_change_nothing() {
    // On the path, the attacker sees the answer and is faster: without the vendor ID the peer
    // would look like a stranger, with another address like one behind a NAT.
    for at in [1, 40] {
        let mut net = Network::new(2, 1);
        net.connect(A, connect(1, A, B));
        net.run(Duration::from_millis(10));
        let (to, from) = ports();
        let mut payload = net.sent[1].2.clone();
        let last = payload.len() - at;
        payload[last] ^= 1;
        net.inject(Duration::from_millis(1), Packet { from, to, payload });
        net.run_seconds(2);
        net.assert_one_tunnel();
        assert_eq!(net.hosts[A].endpoint.ike_sas().count(), 1);
    }
}

#[test]
fn forged_errors_do_not_end_an_attempt() {
    let errors = [
        Payload::notify(NotifyKind::NO_PROPOSAL_CHOSEN, []),
        Payload::notify(NotifyKind::INVALID_SYNTAX, []),
        Payload::notify(NotifyKind::INVALID_KE_PAYLOAD, 14u16.to_be_bytes()),
        Payload::notify(NotifyKind::INVALID_KE_PAYLOAD, 19u16.to_be_bytes()),
        Payload::notify(NotifyKind::COOKIE, vec![5; 33]),
        Payload::notify(NotifyKind::INVALID_MAJOR_VERSION, []),
    ];
    for (case, error) in errors.into_iter().enumerate() {
        let mut net = Network::new(2, 1);
        net.connect(A, connect(1, A, B));
        let (to, from) = ports();
        let template = forged_answer(&net.sent[0].2, 100);
        for n in 0..20 {
            let payload = error_answer(&template, error.clone());
            net.inject(Duration::from_millis(n), Packet { from, to, payload });
        }
        net.run_seconds(5);
        net.assert_one_tunnel();
        assert!(net.sent.len() < 30, "case {case}");
    }
}

#[test]
fn restarts_that_anybody_can_cause_are_bounded() {
    let mut net = Network::new(2, 1);
    net.filter = Box::new(|_| false);
    net.connect(A, connect(1, A, B));
    let (to, from) = ports();
    let template = forged_answer(&net.sent[0].2, 100);
    for n in 0..100u8 {
        let cookie = Payload::notify(NotifyKind::COOKIE, vec![n; 20]);
        let payload = error_answer(&template, cookie);
        net.inject(
            Duration::from_millis(n.into()),
            Packet { from, to, payload },
        );
    }
    net.run(Duration::from_millis(200));
    assert_eq!(net.sent.len(), 6);
}

#[test]
fn an_impostor_that_answers_alone_is_an_authentication_failure_in_the_end() {
    // The impostor is an endpoint like ours that lacks only the key.
    let mut both = [settings(A, 2), settings(B, 2)];
    both[B].peers[0].psk = crate::net::Secret::from(&b"guess"[..]);
    let mut net = Network::with(both.to_vec(), 1);
    net.connect(A, connect(1, A, B));
    net.run_seconds(10);
    assert!(matches!(
        net.hosts[A].failures[..],
        [(RequestId(1), ConnectError::Authentication(_))]
    ));
    // The honest gateway, a second later at the same address, would still have won.
    let mut net = Network::with(both.to_vec(), 2);
    net.connect(A, connect(1, A, B));
    net.run_seconds(1);
    assert!(net.hosts[A].failures.is_empty());
    net.restart(B, settings(B, 2));
    net.run_seconds(5);
    net.assert_one_tunnel();
}

#[test]
fn a_flood_of_first_messages_stays_within_its_bounds() {
    let mut net = Network::new(2, 1);
    let mut rng = Seeded(3);
    let to = SocketAddr::new(address(B), 500);
    let now = net.now;
    for n in 0..3000u32 {
        let from = SocketAddr::new(std::net::Ipv4Addr::from(0x0a00_0000 + n).into(), 500);
        let mut request = init_request(|_| ());
        rng.fill(&mut request[..8]);
        net.act(B, |e| e.handle_datagram(now, to, from, &request));
        let answer = net.sent.pop().unwrap().2;
        // RFC 7296 §2.6, and no amplifier: a nonce may be longer, the rest is an echo.
        assert!(answer.len() <= request.len(), "{}", answer.len());
    }
    let counters = net.hosts[B].endpoint.counters();
    assert_eq!(counters.cookies_demanded, 3000 - 30);
    // Everything is forgotten in the end, and an honest peer gets in meanwhile.
    net.connect(A, connect(1, A, B));
    net.run_seconds(2);
    net.assert_one_tunnel();
    net.run_seconds(40);
    assert_eq!(net.hosts[B].endpoint.counters().half_open_expired, 30);
}

#[test]
fn one_address_cannot_fill_the_table_even_with_cookies_off() {
    let mut both = [settings(A, 2), settings(B, 2)];
    both[B].timing.cookie_threshold = usize::MAX;
    let mut net = Network::with(both.to_vec(), 1);
    let mut rng = Seeded(3);
    let (from, to) = ports();
    let from = SocketAddr::new("203.0.113.1".parse().unwrap(), from.port());
    let now = net.now;
    for _ in 0..100 {
        let mut request = init_request(|_| ());
        rng.fill(&mut request[..8]);
        net.act(B, |e| e.handle_datagram(now, to, from, &request));
    }
    assert_eq!(net.sent.len(), 64);
    assert_eq!(net.hosts[B].endpoint.counters().half_open_full, 36);
}

#[test]
fn a_first_message_that_comes_again_is_answered_from_memory() {
    let mut net = Network::new(2, 1);
    let (from, to) = ports();
    let now = net.now;
    let request = init_request(|_| ());
    for _ in 0..3 {
        net.act(B, |e| e.handle_datagram(now, to, from, &request));
    }
    assert_eq!(net.sent[0], net.sent[1]);
    assert_eq!(net.sent[0], net.sent[2]);
    assert_eq!(net.hosts[B].endpoint.counters().replayed, 2);
}

#[test]
fn unknown_critical_payloads_are_named_and_others_skipped() {
    let (from, to) = ports();
    let mut request = init_request(|_| ());
    // An unknown payload in front: next payload SA, and length 4.
    let first = std::mem::replace(&mut request[16], 200);
    let len = request.len() as u32 + 4;
    request[24..28].copy_from_slice(&len.to_be_bytes());
    for (flags, answered) in [(0, false), (0x80, true)] {
        let mut request = request.clone();
        request.splice(28..28, [first, flags, 0, 4]);
        let mut net = Network::new(2, 1);
        let now = net.now;
        net.act(B, |e| e.handle_datagram(now, to, from, &request));
        let answer = init_payloads(&net.sent[0].2);
        let error = answer.notification(NotifyKind::UNSUPPORTED_CRITICAL_PAYLOAD);
        assert_eq!(error.map(|n| n.data.clone()), answered.then_some(vec![200]));
    }
}

#[test]
fn every_message_replayed_at_the_end_changes_nothing() {
    let mut net = Network::new(2, 1);
    net.connect(A, connect(1, A, B));
    net.run_seconds(5);
    let before = net.sent.clone();
    for (from, to, payload) in before {
        net.inject(Duration::from_millis(1), Packet { from, to, payload });
    }
    net.run_seconds(5);
    net.assert_one_tunnel();
    assert_eq!((net.hosts[A].ups.len(), net.hosts[B].ups.len()), (1, 1));
}

#[test]
fn damaged_messages_among_the_sound_ones_do_no_harm() {
    for seed in 0..100 {
        let mut net = Network::new(2, seed);
        let mut rng = Seeded(seed);
        net.conditions = ROUGH;
        // A third of what passes is damaged in one octet; what is lost is sent again.
        net.filter = Box::new(move |packet| {
            if rng.u32().is_multiple_of(3) {
                let at = rng.u32() as usize % packet.payload.len();
                packet.payload[at] ^= 1 << (rng.u32() % 8);
            }
            true
        });
        net.connect(A, connect(1, A, B));
        net.run_seconds(25);
        net.filter = Box::new(|_| true);
        net.conditions = CLEAN;
        net.run_seconds(30);
        net.assert_consistent();
    }
}

/// Any payload, or one that gets further.
fn plausible_payload() -> impl Strategy<Value = Payload> {
    let spi = any::<u32>().prop_map(crate::net::Spi);
    prop_oneof![
        payload(),
        (any::<bool>(), spi).prop_map(|(ah, spi)| {
            let protocol = if ah {
                ChildProtocol::Ah
            } else {
                ChildProtocol::Esp
            };
            Payload::Sa(negotiation::offer_child(protocol, spi))
        }),
        any::<u8>().prop_map(|n| Payload::Nonce(vec![n; 32])),
        any::<[u8; 32]>().prop_map(|public| Payload::Ke {
            group: 31,
            data: public.to_vec(),
        }),
        Just(Payload::TsI(narrowing::payloads(&[between(A, B)]).0)),
        Just(Payload::TsR(narrowing::payloads(&[between(A, B)]).1)),
    ]
}

proptest! {
    #[test]
    fn an_authenticated_peer_gone_mad_panics_nothing(
        messages in prop::collection::vec((35u8..39, prop::collection::vec(plausible_payload(), 0..7)), 1..6)) {
        let mut net = Network::new(2, 1);
        net.connect(A, connect(1, A, B));
        net.run_seconds(2);
        let (a, b) = ports();
        for (exchange, payloads) in messages {
            net.act(A, |e| {
                if let Some(sa) = e.sas.values_mut().next() {
                    let request = sa.request(&mut e.ctx, Exchange(exchange), payloads);
                    e.ctx.transmit(a, b, &request);
                }
            });
            let before = net.hosts[B].endpoint.counters().out_of_window;
            net.run(Duration::from_millis(50));
            // Everything was taken for the next request and answered.
            prop_assert_eq!(net.hosts[B].endpoint.counters().out_of_window, before);
        }
        net.run_seconds(200);
    }

    #[test]
    fn no_datagram_panics_the_endpoint(mut octets in prop::collection::vec(any::<u8>(), 0..400), plausible: bool) {
        let mut net = Network::new(2, 1);
        net.connect(A, connect(1, A, B));
        if plausible && octets.len() >= 28 {
            let len = octets.len() as u32;
            octets[..8].copy_from_slice(&net.sent[0].2[..8]);
            octets[8..16].fill(0);
            octets[17] = 0x20;
            octets[18] = 34;
            octets[24..28].copy_from_slice(&len.to_be_bytes());
        }
        let (a, b) = ports();
        let now = net.now;
        net.act(A, |e| e.handle_datagram(now, a, b, &octets));
        net.act(B, |e| e.handle_datagram(now, b, a, &octets));
        net.run_seconds(1);
        net.assert_one_tunnel();
    }
}
