//! `IKE_SA_INIT` that goes along with what looks for the peer, and comes back with its address.

use super::hostile::{error_answer, forged_answer, init_request};
use super::network::{A, B, CLEAN, Network, ROUGH, address, connect, settings};
use crate::ike::opening::OpeningId;
use crate::ike::wire::{NotifyKind, Payload};
use std::time::Duration;

const ONE: OpeningId = OpeningId(1);

/// A's request, as it goes along.
fn opened(net: &mut Network) -> Vec<u8> {
    let (now, endpoint) = (net.now, &mut net.hosts[A].endpoint);
    endpoint.open(now, ONE, address(A)).unwrap().to_vec()
}

/// What B says to it.
fn answered(net: &mut Network, request: &[u8]) -> Option<Vec<u8>> {
    let (now, endpoint) = (net.now, &mut net.hosts[B].endpoint);
    endpoint.answer_opening(now, address(B), address(A), request)
}

/// A has heard `answer` along with B's address, and wants a child.
fn go_on(net: &mut Network, answer: Vec<u8>) {
    let endpoint = &mut net.hosts[A].endpoint;
    endpoint.opening_answered(ONE, address(B), answer);
    net.connect(A, connect(1, A, B));
}

#[test]
fn a_round_trip_is_saved() {
    let mut net = Network::new(2, 1);
    let request = opened(&mut net);
    let answer = answered(&mut net, &request).unwrap();
    assert!(answer.len() <= request.len(), "nobody's answer is longer");
    go_on(&mut net, answer);
    net.run(Duration::from_millis(20));
    assert_eq!(net.hosts[A].children.len(), 1);
    net.run_seconds(1);
    net.assert_one_tunnel();
    // IKE_AUTH, and the INFORMATIONAL that confirms.
    assert_eq!(net.sent.len(), 4);
    let [a, b] = [A, B].map(|host| net.hosts[host].endpoint.counters());
    assert_eq!((a.openings_used, b.openings_answered), (1, 1));
    assert_eq!(
        net.hosts[A]
            .children
            .values()
            .next()
            .unwrap()
            .0
            .encapsulation,
        None
    );
}

#[test]
fn under_loss_one_tunnel_comes_of_it() {
    for seed in 0..300 {
        let mut net = Network::new(2, seed);
        net.conditions = ROUGH;
        let request = opened(&mut net);
        let answer = answered(&mut net, &request).unwrap();
        go_on(&mut net, answer);
        net.run_seconds(25);
        net.conditions = CLEAN;
        net.run_seconds(5);
        net.assert_one_tunnel();
        assert_eq!(net.hosts[B].ups.len(), 1, "seed {seed}");
    }
}

/// Nonsense, another's, a refusal, a demand: whatever came along, the peer is asked itself.
#[test]
fn what_is_no_answer_costs_the_round_trip_and_no_more() {
    type Forger = fn(&[u8]) -> Vec<u8>;
    let answers: [Forger; 5] = [
        |_| Vec::new(),
        |_| vec![0x55; 200],
        |request| request.to_vec(),
        |_| forged_answer(&init_request(|_| {}), 7),
        |request| {
            let wrong = Payload::notify(NotifyKind::NO_PROPOSAL_CHOSEN, []);
            error_answer(&forged_answer(request, 7), wrong)
        },
    ];
    for answer in answers {
        let mut net = Network::new(2, 1);
        let request = opened(&mut net);
        go_on(&mut net, answer(&request));
        net.run(Duration::from_millis(40));
        assert_eq!(net.hosts[A].children.len(), 1);
        net.run_seconds(1);
        net.assert_one_tunnel();
        assert_eq!(net.hosts[A].endpoint.counters().openings_used, 0);
    }
}

#[test]
fn a_demand_that_came_along_is_gone_along_with_once() {
    let mut net = Network::new(2, 1);
    let request = opened(&mut net);
    let group = Payload::notify(NotifyKind::INVALID_KE_PAYLOAD, 19u16.to_be_bytes());
    go_on(&mut net, error_answer(&forged_answer(&request, 7), group));
    assert_eq!(net.sent.len(), 1);
    net.run_seconds(1);
    net.assert_one_tunnel();
}

#[test]
fn somebody_elses_answer_under_the_peers_address_does_not_keep_the_peer_away() {
    for honest_heard in [false, true] {
        let mut net = Network::new(2, 1);
        let request = opened(&mut net);
        if honest_heard {
            answered(&mut net, &request).unwrap();
        }
        go_on(&mut net, forged_answer(&request, 7));
        net.run_seconds(5);
        net.assert_one_tunnel();
    }
}

#[test]
fn another_gateways_answer_is_not_used_for_this_one() {
    let mut net = Network::new(3, 1);
    let request = opened(&mut net);
    let answer = answered(&mut net, &request).unwrap();
    let endpoint = &mut net.hosts[A].endpoint;
    endpoint.opening_answered(ONE, address(2), answer);
    net.connect(A, connect(1, A, B));
    net.run_seconds(1);
    net.assert_one_tunnel();
    assert_eq!(net.hosts[A].endpoint.counters().openings_used, 0);
}

#[test]
fn a_request_stays_the_same_until_it_is_given_up_and_there_are_few() {
    let mut net = Network::new(2, 1);
    let first = opened(&mut net);
    assert_eq!(opened(&mut net), first);
    let (now, endpoint) = (net.now, &mut net.hosts[A].endpoint);
    for id in 2..=4 {
        let further = endpoint.open(now, OpeningId(id), address(A)).unwrap();
        assert_ne!(further[..8], first[..8], "an SPI of its own");
    }
    assert_eq!(endpoint.open(now, OpeningId(5), address(A)), None);
    endpoint.abandon_opening(ONE);
    assert!(endpoint.open(now, OpeningId(5), address(A)).is_some());
    endpoint.leave_address(now, address(A));
    assert_ne!(opened(&mut net), first);
}

#[test]
fn the_same_request_is_answered_the_same_and_makes_one_half_open_sa() {
    let mut net = Network::new(2, 1);
    let request = opened(&mut net);
    let answer = answered(&mut net, &request);
    assert!(answer.is_some());
    assert_eq!(answered(&mut net, &request), answer);
    assert_eq!(net.hosts[B].endpoint.unfinished(), (0, 1));
}

#[test]
fn a_crowd_of_strangers_has_to_ask_itself_and_does_not_make_others_bring_cookies() {
    let mut both = [settings(A, 2), settings(B, 2)];
    both[B].timing.cookie_threshold = 6;
    let mut net = Network::with(both.to_vec(), 1);
    let request = opened(&mut net);
    let answer = answered(&mut net, &request);
    for n in 0..10 {
        let nonce = vec![n; 32];
        let stranger = init_request(|payloads| payloads[2] = Payload::Nonce(nonce));
        let heard = answered(&mut net, &stranger);
        assert_eq!(heard.is_some(), n < 2);
    }
    assert_eq!(answered(&mut net, &request), answer, "known before");
    net.connect(A, connect(1, A, B));
    net.run_seconds(1);
    net.assert_one_tunnel();
    assert_eq!(net.hosts[B].endpoint.counters().cookies_demanded, 0);
}

#[test]
fn what_is_no_first_message_or_has_to_be_refused_is_not_answered() {
    let mut net = Network::new(2, 1);
    let request = opened(&mut net);
    let with = |at: usize, value: u8| {
        let mut octets = request.clone();
        octets[at] = value;
        octets
    };
    // An SPI of ours, another exchange, a response, a second message; a group that nobody knows.
    let mut wrong = vec![with(8, 1), with(18, 35), with(19, 0x28), with(23, 1)];
    wrong.push(init_request(|payloads| {
        payloads[1] = Payload::Ke {
            group: 1,
            data: vec![1; 96],
        };
    }));
    wrong.push(init_request(|payloads| payloads.truncate(1)));
    wrong.push(request[..request.len() - 1].to_vec());
    for octets in wrong {
        assert_eq!(answered(&mut net, &octets), None);
    }
    assert_eq!(net.hosts[B].endpoint.unfinished(), (0, 0));
}
