//! Children that authenticate and do not encrypt: AH, alone and beside ESP.

use super::network::{
    A, B, CLEAN, Network, Packet, ROUGH, address, assert_twins, connect, hosts_alone,
};
use crate::ike::effects::{ChildKeys, ChildSa, ConnectError, DownReason};
use crate::ike::negotiation;
use crate::ike::settings::{ChildProtocol, Connect, Mode, RequestId};
use crate::ike::wire::{
    Delete, Exchange, Notify, NotifyKind, Payload, Payloads, ProtocolId, TrafficSelector,
};
use crate::net::Spi;
use std::time::Duration;

const ESP: ChildProtocol = ChildProtocol::Esp;
const AH: ChildProtocol = ChildProtocol::Ah;

fn of(net: &Network, host: usize, protocol: ChildProtocol) -> Vec<&ChildSa> {
    let sending = net.hosts[host].sending();
    sending.filter(|c| c.protocol == protocol).collect()
}

fn both(seed: u64) -> Network {
    let mut net = Network::new(2, seed);
    net.connect(A, hosts_alone(1, A, B, AH));
    net.connect(A, hosts_alone(2, A, B, ESP));
    net.run_seconds(2);
    assert_pair(&net);
    net
}

/// Exactly one child of each protocol, the same at both ends.
fn assert_pair(net: &Network) {
    net.assert_consistent();
    for protocol in [AH, ESP] {
        let (a, b) = (of(net, A, protocol), of(net, B, protocol));
        assert_eq!((a.len(), b.len()), (1, 1), "{protocol:?}");
        assert_twins(a[0], b[0]);
        assert_eq!(a[0].mode, Mode::Transport);
        let is_ah = matches!(a[0].keys_in, ChildKeys::AhHmac { .. });
        assert_eq!(is_ah, protocol == AH);
    }
    assert!(net.hosts.iter().all(|h| h.children.len() == 2));
}

#[test]
fn either_exchange_carries_ah_or_esp_in_either_order() {
    // The first goes into IKE_AUTH, the second into CREATE_CHILD_SA.
    for order in [[AH, ESP], [ESP, AH]] {
        let mut net = Network::new(2, 1);
        net.connect(A, hosts_alone(1, A, B, order[0]));
        net.run(Duration::from_millis(50));
        assert_eq!(of(&net, A, order[0]).len(), 1);
        assert_eq!(of(&net, B, order[0]).len(), 1);
        net.connect(A, hosts_alone(2, A, B, order[1]));
        net.run_seconds(1);
        assert_pair(&net);
        assert_eq!(net.hosts[A].ikes.len(), 1);
    }
}

#[test]
fn tunnels_too_can_be_of_ah() {
    let mut net = Network::new(2, 1);
    let tunnel = Connect {
        protocol: AH,
        ..connect(1, A, B)
    };
    net.connect(A, tunnel);
    net.run_seconds(1);
    net.assert_one_tunnel();
    assert_eq!(of(&net, B, AH).len(), 1);
}

#[test]
fn under_loss_and_when_both_ends_ask_at_once_one_child_of_each_protocol_stays() {
    for seed in 0..100 {
        let mut net = Network::new(2, seed);
        net.conditions = ROUGH;
        for (request, protocol) in [(1, AH), (2, ESP)] {
            net.connect(A, hosts_alone(request, A, B, protocol));
            net.connect(B, hosts_alone(request, B, A, protocol));
            net.run(Duration::from_millis(seed % 30));
        }
        net.run_seconds(40);
        net.conditions = CLEAN;
        net.run_seconds(60);
        assert_pair(&net);
        assert!(net.hosts.iter().all(|h| h.failures.is_empty()));
    }
}

#[test]
fn a_replacement_keeps_the_protocol_under_loss() {
    for seed in 0..40 {
        let mut net = both(seed);
        net.conditions = ROUGH;
        for round in 0..4 {
            let host = (seed as usize + round) % 2;
            let (now, child) = (net.now, of(&net, host, AH)[0].id);
            net.act(host, |e| e.rekey_child(now, child));
            net.run_seconds(4);
            for host in [A, B] {
                assert!(!of(&net, host, AH).is_empty(), "seed {seed}");
                assert!(!of(&net, host, ESP).is_empty(), "seed {seed}");
            }
        }
        net.conditions = CLEAN;
        net.run_seconds(60);
        assert_pair(&net);
        let replaced = |h: usize| net.hosts[h].downs.len();
        assert!(
            replaced(A) >= 2 && replaced(A) == replaced(B),
            "seed {seed}"
        );
    }
}

/// What B answers to a request of A's made by hand.
fn slip_in(net: &mut Network, exchange: Exchange, payloads: Vec<Payload>) -> Payloads {
    let endpoint = &mut net.hosts[A].endpoint;
    let sa = endpoint.sas.values_mut().next().unwrap();
    let (from, at) = (sa.local, sa.remote);
    let request = sa.request(&mut endpoint.ctx, exchange, payloads);
    let (now, sent) = (net.now, net.sent.len());
    net.act(B, |e| e.handle_datagram(now, at, from, &request));
    let sa = net.hosts[A].endpoint.sas.values_mut().next().unwrap();
    sa.open(&net.sent[sent].2).unwrap()
}

#[test]
fn a_replacement_names_its_protocol_and_keeps_it() {
    let refusals = [
        // AH is to be replaced with ESP.
        (ProtocolId::AH, NotifyKind::NO_PROPOSAL_CHOSEN),
        // There is no ESP with this number.
        (ProtocolId::ESP, NotifyKind::CHILD_SA_NOT_FOUND),
    ];
    for (named, refusal) in refusals {
        let mut net = both(1);
        let old = of(&net, A, AH)[0].spi_in;
        let ends = |host| {
            vec![TrafficSelector {
                protocol: 0,
                ports: (0, u16::MAX),
                addrs: (address(host), address(host)),
            }]
        };
        let request = vec![
            Payload::Notify(Notify::about(NotifyKind::REKEY_SA, named, old)),
            Payload::notify(NotifyKind::USE_TRANSPORT_MODE, []),
            Payload::Sa(negotiation::offer_child(ESP, Spi(0x1234))),
            Payload::Nonce(vec![7; 32]),
            Payload::TsI(ends(A)),
            Payload::TsR(ends(B)),
        ];
        let answer = slip_in(&mut net, Exchange::CREATE_CHILD_SA, request);
        assert_eq!(answer.error().unwrap().kind, refusal);
        assert_eq!(net.hosts[B].ups.len(), 2);
    }
}

#[test]
fn a_closed_child_takes_the_other_protocols_not_with_it() {
    for protocol in [AH, ESP] {
        for closer in [A, B] {
            let mut net = both(1);
            let (now, child) = (net.now, of(&net, closer, protocol)[0].id);
            net.act(closer, |e| e.close_child(now, child, DownReason::Closed));
            net.run_seconds(1);
            for host in [A, B] {
                assert!(of(&net, host, protocol).is_empty());
                assert_eq!(net.hosts[host].children.len(), 1);
            }
        }
    }
}

/// ESP and AH number their SAs apart (RFC 4301 §4.1), so a peer may use one number twice.
#[test]
fn a_delete_names_one_protocol_and_is_answered_for_each() {
    let mut net = both(1);
    let twice = Spi(0x0102_0304);
    let at_b = net.hosts[B].endpoint.sas.values_mut().next().unwrap();
    for child in at_b.children.values_mut() {
        child.spi_out = twice;
    }
    let delete = |protocol| {
        Payload::Delete(Delete::Child {
            protocol,
            spis: vec![twice],
        })
    };
    let mut again = both(1);
    let answer = slip_in(
        &mut net,
        Exchange::INFORMATIONAL,
        vec![delete(ProtocolId::AH)],
    );
    assert_eq!(answer.deletes().count(), 1);
    assert!(of(&net, B, AH).is_empty());
    assert_eq!(of(&net, B, ESP).len(), 1);
    assert_eq!(net.hosts[B].children.len(), 1);

    let spis: Vec<(ProtocolId, Spi)> = again.hosts[B]
        .endpoint
        .sas
        .values()
        .flat_map(|sa| sa.children.values().map(|c| (c.protocol.id(), c.spi_out)))
        .collect();
    let deletes = spis.iter().map(|(protocol, spi)| {
        Payload::Delete(Delete::Child {
            protocol: *protocol,
            spis: vec![*spi],
        })
    });
    let deletes = deletes.collect();
    let answer = slip_in(&mut again, Exchange::INFORMATIONAL, deletes);
    let mut named: Vec<ProtocolId> = answer
        .deletes()
        .filter_map(|d| match d {
            Delete::Child { protocol, spis } if spis.len() == 1 => Some(*protocol),
            _ => None,
        })
        .collect();
    named.sort();
    assert_eq!(named, [ProtocolId::AH, ProtocolId::ESP]);
}

#[test]
fn through_a_nat_ah_fails_with_that_reason_and_esp_goes_on() {
    for order in [[AH, ESP], [ESP, AH]] {
        let mut net = Network::new(2, 1);
        net.translate();
        for (request, protocol) in (1..).zip(order) {
            let tunnel = Connect {
                protocol,
                ..connect(request, A, B)
            };
            net.connect(A, tunnel);
        }
        net.run_seconds(1);
        let of_ah = order.iter().position(|p| *p == AH).unwrap() as u64 + 1;
        let error = ConnectError::BehindNat(address(B));
        assert_eq!(net.hosts[A].failures, [(RequestId(of_ah), error)]);
        net.assert_one_tunnel();
        assert_eq!(net.hosts[A].ikes.len(), 1);
    }
}

#[test]
fn a_responder_that_sees_a_nat_refuses_ah() {
    let mut net = Network::new(2, 1);
    net.translate();
    net.connect(A, connect(1, A, B));
    net.run_seconds(1);
    let sa = net.hosts[A].endpoint.sas.values_mut().next().unwrap();
    sa.nat = false;
    let tunnel = Connect {
        protocol: AH,
        ..connect(2, A, B)
    };
    net.connect(A, tunnel);
    net.run_seconds(1);
    let error = ConnectError::NoProposalChosen(address(B));
    assert_eq!(net.hosts[A].failures, [(RequestId(2), error)]);
}

#[test]
fn a_nat_that_somebody_on_the_way_pretends_does_not_keep_ah_away() {
    let mut net = Network::new(2, 1);
    net.connect(A, hosts_alone(1, A, B, AH));
    net.run(Duration::from_millis(10));
    let (from, to) = ((address(B), 500).into(), (address(A), 500).into());
    let mut payload = net.sent[1].2.clone();
    // Behind it only the vendor ID: an octet of the claims about addresses.
    let at = payload.len() - 40;
    payload[at] ^= 1;
    net.inject(Duration::from_millis(1), Packet { from, to, payload });
    net.run_seconds(2);
    net.assert_consistent();
    assert_eq!((of(&net, A, AH).len(), of(&net, B, AH).len()), (1, 1));
    assert!(net.hosts[A].failures.is_empty());
}

#[test]
fn behind_a_nat_a_peer_that_needs_a_first_child_is_given_up_soon() {
    let mut net = Network::new(2, 1);
    net.translate();
    let mut translate = std::mem::replace(&mut net.filter, Box::new(|_| true));
    net.filter = Box::new(move |packet| {
        // N(CHILDLESS_IKEV2_SUPPORTED) becomes something that nobody knows.
        let notify = [0, 0, 0x40, 0x22];
        if let Some(at) = packet.payload.windows(4).position(|w| w == notify) {
            packet.payload[at + 2] = 0xbf;
        }
        translate(packet)
    });
    net.connect(A, hosts_alone(1, A, B, AH));
    net.run_seconds(4);
    let error = ConnectError::BehindNat(address(B));
    assert_eq!(net.hosts[A].failures, [(RequestId(1), error)]);
}

#[test]
fn a_cancelled_first_wish_is_not_asked_for_once_the_ike_sa_is_there() {
    let mut net = Network::new(2, 1);
    net.translate();
    net.connect(A, hosts_alone(1, A, B, AH));
    net.run(Duration::from_millis(25));
    let now = net.now;
    net.act(A, |e| e.cancel(now, RequestId(1)));
    net.run_seconds(1);
    assert_eq!(
        net.hosts[A].failures,
        [(RequestId(1), ConnectError::Cancelled)]
    );
    assert!(net.hosts.iter().all(|h| h.children.is_empty()));
}
