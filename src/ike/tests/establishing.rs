//! From nothing to a child SA: the two exchanges, and what the two ends may disagree about.

use super::hostile::{init_request, message};
use super::network::{
    A, B, CLEAN, Network, ROUGH, address, between, connect, name, settings, site,
};
use crate::ike::effects::{ConnectError, Effect, Outbound};
use crate::ike::endpoint::Endpoint;
use crate::ike::exchanges::Awaiting;
use crate::ike::sa::InFlight;
use crate::ike::settings::{Connect, Mode, RequestId};
use crate::ike::wire::{Exchange, Header, NotifyKind, Payload, Payloads};
use crate::net::random::Seeded;
use crate::net::{IpNet, Port, Protocol, Secret, Selector};
use std::net::SocketAddr;
use std::time::Duration;

pub(super) fn init_payloads(datagram: &[u8]) -> Payloads {
    let (header, body) = Header::decode(datagram).unwrap();
    assert_eq!(header.exchange, Exchange::IKE_SA_INIT);
    Payloads::decode(header.next, body).unwrap()
}

#[test]
fn two_endpoints_agree_on_a_child_in_two_round_trips() {
    let mut net = Network::new(2, 1);
    net.connect(A, connect(1, A, B));
    // IKE_SA_INIT and IKE_AUTH there and back, 10 ms each way.
    net.run(Duration::from_millis(39));
    assert!(net.hosts[A].children.is_empty());
    net.run(Duration::from_millis(1));
    assert_eq!(net.hosts[A].children.len(), 1);
    let (at_b, outbound) = net.hosts[B].children.values().next().unwrap();
    assert_eq!(at_b.selectors, [between(B, A)]);
    assert_eq!(at_b.request, None);
    assert_eq!(*outbound, Outbound::AfterConfirmation);
    net.run(Duration::from_millis(10));
    net.assert_one_tunnel();
    let at_a = &net.hosts[A].children.values().next().unwrap().0;
    assert_eq!(at_a.request, Some(RequestId(1)));
    assert_eq!((at_a.local, at_a.remote), (address(A), address(B)));
    assert_eq!(at_a.encapsulation, None);
    assert!(at_a.esn);
    // IKE_SA_INIT, IKE_AUTH, and the INFORMATIONAL that confirms.
    net.run_seconds(1);
    assert_eq!(net.sent.len(), 6);
}

#[test]
fn the_same_seed_gives_the_same_octets() {
    let run = |seed| {
        let mut net = Network::new(2, seed);
        net.connect(A, connect(1, A, B));
        net.run_seconds(1);
        net.sent.into_iter().map(|(_, _, p)| p).collect::<Vec<_>>()
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn loss_delay_reordering_and_duplicates_end_with_one_tunnel() {
    for seed in 0..300 {
        let mut net = Network::new(2, seed);
        net.conditions = ROUGH;
        net.connect(A, connect(1, A, B));
        net.run_seconds(25);
        net.conditions = CLEAN;
        net.run_seconds(5);
        net.assert_one_tunnel();
        assert_eq!(net.hosts[B].ups.len(), 1, "seed {seed}");
    }
}

#[test]
fn an_answer_names_exactly_what_both_protect_ports_included() {
    let mut both = [settings(A, 2), settings(B, 2)];
    let web = |s: Selector| s.protocol(Protocol::TCP).ports(Port::Is(80), Port::Any);
    let inner: IpNet = "10.1.3.0/24".parse().unwrap();
    both[B].protects = vec![web(Selector::between(inner, "10.0.0.0/8".parse().unwrap()))];
    let mut net = Network::with(both.to_vec(), 1);
    net.connect(
        A,
        Connect {
            flow: None,
            ..connect(1, A, B)
        },
    );
    net.run_seconds(1);
    net.assert_consistent();
    let (at_b, _) = net.hosts[B].children.values().next().unwrap();
    assert_eq!(at_b.selectors, [web(Selector::between(inner, site(A)))]);
}

#[test]
fn further_children_go_on_the_same_ike_sa_with_keys_of_their_own() {
    let mut net = Network::new(2, 1);
    let narrow = |request, third: u8| Connect {
        selectors: vec![Selector::between(
            format!("10.0.{third}.0/24").parse().unwrap(),
            site(B),
        )],
        flow: None,
        ..connect(request, A, B)
    };
    // Two wishes while the IKE SA is being set up, one afterwards.
    net.connect(A, narrow(1, 1));
    net.connect(A, narrow(2, 2));
    net.run_seconds(1);
    net.connect(A, narrow(3, 3));
    net.run_seconds(1);
    net.assert_consistent();
    assert_eq!(net.hosts[A].ikes.len(), 1);
    let requests: Vec<_> = net.hosts[A].ups.iter().filter_map(|(_, r)| *r).collect();
    assert_eq!(requests, [RequestId(1), RequestId(2), RequestId(3)]);
    assert_eq!(net.hosts[B].sending().count(), 3);
    // The responder may ask for a child on it, too.
    net.connect(
        B,
        Connect {
            selectors: vec![Selector::between("10.1.9.0/24".parse().unwrap(), site(A))],
            flow: None,
            ..connect(7, B, A)
        },
    );
    net.run_seconds(1);
    net.assert_consistent();
    assert_eq!(net.hosts[B].ikes.len(), 1);
    assert_eq!(net.hosts[A].sending().count(), 4);
}

#[test]
fn wrong_keys_unknown_names_and_foreign_addresses_give_no_child() {
    type Change = fn(&mut [crate::ike::settings::Settings; 2]);
    let changes: [(Change, ConnectError); 5] = [
        (
            |s| s[A].peers[0].psk = Secret::from(&b"sardine"[..]),
            ConnectError::Authentication(name(B)),
        ),
        (
            |s| s[A].identity = "stranger.example".parse().unwrap(),
            ConnectError::Authentication(name(B)),
        ),
        (
            |s| s[B].peers[0].may_protect = vec!["10.0.0.0/17".parse().unwrap()],
            ConnectError::TrafficSelectors(name(B)),
        ),
        (
            |s| s[B].protects.clear(),
            ConnectError::TrafficSelectors(name(B)),
        ),
        (
            |s| s[A].peers[0].may_protect.clear(),
            ConnectError::NotAuthorized {
                peer: name(B),
                selector: between(A, B),
            },
        ),
    ];
    for (case, (change, error)) in changes.into_iter().enumerate() {
        let mut both = [settings(A, 2), settings(B, 2)];
        change(&mut both);
        let mut net = Network::with(both.to_vec(), 1);
        net.connect(A, connect(1, A, B));
        net.run_seconds(40);
        assert_eq!(
            net.hosts[A].failures,
            [(RequestId(1), error)],
            "case {case}"
        );
        assert!(net.hosts[A].ups.is_empty(), "case {case}");
        for host in &net.hosts {
            assert!(
                host.children.is_empty() && host.ikes.is_empty(),
                "case {case}"
            );
        }
    }
}

#[test]
fn a_wrong_key_and_an_unknown_name_are_answered_alike() {
    let answer = |change: fn(&mut crate::ike::settings::Settings)| {
        let mut both = vec![settings(A, 2), settings(B, 2)];
        change(&mut both[A]);
        let mut net = Network::with(both, 1);
        net.connect(A, connect(1, A, B));
        net.run(Duration::from_millis(100));
        let counted = net.hosts[B].endpoint.counters().authentication_failed;
        let lens: Vec<_> = net.sent.iter().map(|(_, _, p)| p.len()).collect();
        (counted, lens[3])
    };
    let wrong_key = answer(|s| s.peers[0].psk = Secret::from(&b"sardine"[..]));
    let wrong_name = answer(|s| s.identity = "gw9.example".parse().unwrap());
    assert_eq!(wrong_key, wrong_name);
    assert_eq!(wrong_key.0, 1);
}

#[test]
fn a_gateway_that_proves_to_be_another_known_one_is_refused() {
    // A expects host 1 at its address; host 2's settings run there, with a good key.
    let mut net = Network::with(vec![settings(A, 3), settings(2, 3)], 1);
    net.connect(A, connect(1, A, B));
    net.run_seconds(5);
    let error = ConnectError::Authentication(name(B));
    assert_eq!(net.hosts[A].failures, [(RequestId(1), error)]);
    assert!(net.hosts[A].ups.is_empty());
}

#[test]
fn a_peer_that_is_not_in_the_database_is_not_even_asked() {
    let mut net = Network::new(2, 1);
    net.connect(A, connect(1, A, 7));
    assert_eq!(
        net.hosts[A].failures,
        [(RequestId(1), ConnectError::UnknownPeer(name(7)))]
    );
    assert!(net.sent.is_empty());
}

#[test]
fn silence_is_reported_when_the_time_is_up() {
    let mut net = Network::new(2, 1);
    net.filter = Box::new(|_| false);
    net.connect(A, connect(1, A, B));
    net.connect(A, connect(2, A, B));
    net.run_seconds(29);
    assert!(net.hosts[A].failures.is_empty());
    net.run_seconds(2);
    let error = ConnectError::NoAnswer(address(B));
    assert_eq!(
        net.hosts[A].failures,
        [(RequestId(1), error.clone()), (RequestId(2), error)]
    );
    assert_eq!(net.hosts[A].endpoint.poll_timeout(), None);
    assert_eq!(net.sent.len(), 17);
}

/// Its process was stopped with the answer under way; when it goes on, the peer has forgotten.
#[test]
fn an_attempt_that_was_interrupted_begins_anew() {
    for answered in [false, true] {
        let mut net = Network::new(2, 1);
        net.connect(A, connect(1, A, B));
        net.run(Duration::from_millis(if answered { 25 } else { 15 }));
        net.now += Duration::from_secs(40);
        net.run_seconds(2);
        net.assert_one_tunnel();
        assert_eq!(net.hosts[A].ups.len(), 1);
        assert!(net.hosts[A].failures.is_empty());
    }
}

#[test]
fn transport_mode_is_for_the_two_ends_themselves() {
    let host_to_host = Selector::between(address(A).into(), address(B).into());
    for (selector, mode) in [
        (host_to_host, Mode::Transport),
        (between(A, B), Mode::Tunnel),
    ] {
        let mut net = Network::new(2, 1);
        net.connect(
            A,
            Connect {
                selectors: vec![selector],
                flow: None,
                mode: Mode::Transport,
                ..connect(1, A, B)
            },
        );
        net.run_seconds(1);
        net.assert_consistent();
        let (child, _) = net.hosts[A].children.values().next().unwrap();
        assert_eq!((child.mode, &child.selectors[..]), (mode, &[selector][..]));
    }
}

#[test]
fn behind_a_nat_both_move_to_port_4500_and_esp_goes_in_udp() {
    let mut net = Network::new(2, 1);
    net.translate();
    net.connect(
        A,
        Connect {
            mode: Mode::Transport,
            selectors: vec![Selector::between(address(A).into(), address(B).into())],
            flow: None,
            ..connect(1, A, B)
        },
    );
    net.run_seconds(1);
    net.assert_consistent();
    let ports = |host: usize| {
        let (child, _) = net.hosts[host].children.values().next().unwrap();
        (child.encapsulation, child.mode)
    };
    assert_eq!(ports(A), (Some((4500, 4500)), Mode::Tunnel));
    assert_eq!(ports(B), (Some((4500, 24_500)), Mode::Tunnel));
}

#[test]
fn a_cookie_is_demanded_under_load_and_brought() {
    let mut both = [settings(A, 2), settings(B, 2)];
    both[B].timing.cookie_threshold = 0;
    let mut net = Network::with(both.to_vec(), 1);
    net.connect(A, connect(1, A, B));
    net.run(Duration::from_millis(60));
    assert_eq!(net.hosts[A].children.len(), 1);
    assert_eq!(net.hosts[B].endpoint.counters().cookies_demanded, 1);
    let (demand, again) = (&net.sent[1].2, &net.sent[2].2);
    assert!(demand.len() < net.sent[0].2.len());
    assert!(
        init_payloads(demand)
            .notification(NotifyKind::COOKIE)
            .is_some()
    );
    // RFC 7296 §2.6: the cookie first, the rest as it was.
    let (first, second) = (init_payloads(&net.sent[0].2), init_payloads(again));
    assert!(matches!(&second.0[0], Payload::Notify(n) if n.kind == NotifyKind::COOKIE));
    assert_eq!(first.0[..], second.0[1..]);
    assert_eq!(net.sent[0].2[..8], again[..8]);
    net.run_seconds(1);
    net.assert_one_tunnel();
}

#[test]
fn another_group_is_asked_for_and_used() {
    // Initiator's side: B, so it seems, wants P-256.
    let mut net = Network::new(2, 1);
    let mut asked = false;
    net.filter = Box::new(move |packet| {
        if !asked && packet.from.ip() == address(B) {
            asked = true;
            packet.payload = super::hostile::error_answer(
                &packet.payload,
                Payload::notify(NotifyKind::INVALID_KE_PAYLOAD, 19u16.to_be_bytes()),
            );
        }
        true
    });
    net.connect(A, connect(1, A, B));
    net.run_seconds(1);
    net.assert_one_tunnel();
    let groups: Vec<_> = net
        .sent
        .iter()
        .filter(|(from, _, p)| from.ip() == address(A) && p[18] == 34)
        .map(|(_, _, p)| init_payloads(p).key_exchange().unwrap().0)
        .collect();
    assert_eq!(groups, [31, 19]);

    // Responder's side: a key exchange in a group that it does not know, though it knows others.
    let mut net = Network::new(2, 1);
    let request = super::hostile::init_request(|payloads| {
        for payload in payloads {
            if let Payload::Ke { group, data } = payload {
                (*group, *data) = (14, vec![7; 256]);
            }
        }
    });
    let from = SocketAddr::new("192.0.2.77".parse().unwrap(), 500);
    let now = net.now;
    let to = SocketAddr::new(address(B), 500);
    net.act(B, |e| e.handle_datagram(now, to, from, &request));
    let answer = init_payloads(&net.sent[0].2);
    let error = answer.error().unwrap();
    assert_eq!(error.kind, NotifyKind::INVALID_KE_PAYLOAD);
    assert_eq!(error.data, 31u16.to_be_bytes());
    assert!(net.sent[0].2.len() < request.len());
}

#[test]
fn a_wish_can_be_cancelled_before_and_after_it_is_on_its_way() {
    // Before anybody answered: nothing is left.
    let mut net = Network::new(2, 1);
    net.filter = Box::new(|_| false);
    net.connect(A, connect(1, A, B));
    let now = net.now;
    net.act(A, |e| e.cancel(now, RequestId(1)));
    assert_eq!(
        net.hosts[A].failures,
        [(RequestId(1), ConnectError::Cancelled)]
    );
    net.run(Duration::from_millis(50));
    assert_eq!(net.hosts[A].endpoint.poll_timeout(), None);

    // With IKE_AUTH under way the child comes up, and belongs to nobody.
    let mut net = Network::new(2, 1);
    net.connect(A, connect(1, A, B));
    net.run(Duration::from_millis(25));
    let now = net.now;
    net.act(A, |e| e.cancel(now, RequestId(1)));
    net.run_seconds(1);
    assert_eq!(net.hosts[A].failures.len(), 1);
    assert_eq!(net.hosts[A].ups.len(), 1);
    assert_eq!(net.hosts[A].ups[0].1, None);
    net.assert_one_tunnel();
}

/// Whoever waits for the answer does not wait for what the answer does not need.
#[test]
fn the_first_message_is_answered_before_keys_are_made_and_with_a_key_drawn_before() {
    let mut net = Network::new(2, 1);
    let now = net.now;
    let (to, from) = (
        SocketAddr::new(address(B), 500),
        SocketAddr::new(address(A), 500),
    );
    let mut public = Vec::new();
    for spi in [1, 2] {
        let mut request = init_request(|_| {});
        request[7] = spi;
        let endpoint = &mut net.hosts[B].endpoint;
        endpoint.handle_datagram(now, to, from, &request);
        let Some(Effect::Transmit { payload, .. }) = endpoint.poll_effect() else {
            panic!("it is answered")
        };
        let (header, _) = Header::decode(&payload).unwrap();
        let keys = |endpoint: &mut Endpoint| {
            let entry = endpoint.half_open.entry_mut(header.spi_r).unwrap();
            entry.keys.is_some()
        };
        assert!(!keys(endpoint));
        assert_eq!(endpoint.poll_timeout(), Some(now));
        endpoint.handle_timeout(now);
        assert!(keys(endpoint));
        public.push(init_payloads(&payload).key_exchange().unwrap().1.to_vec());
    }
    assert_ne!(public[0], public[1], "a key serves once");
}

/// Of small order: the secret would be known to everybody.
#[test]
fn a_public_value_that_is_none_comes_to_nothing() {
    let mut net = Network::new(2, 1);
    let now = net.now;
    let request = init_request(|payloads| {
        payloads[1] = Payload::Ke {
            group: 31,
            data: vec![0; 32],
        };
    });
    let (to, from) = (
        SocketAddr::new(address(B), 500),
        SocketAddr::new(address(A), 500),
    );
    let endpoint = &mut net.hosts[B].endpoint;
    endpoint.handle_datagram(now, to, from, &request);
    let Some(Effect::Transmit { payload, .. }) = endpoint.poll_effect() else {
        panic!("it is answered, since nobody has looked yet")
    };
    endpoint.handle_timeout(now);
    let (header, _) = Header::decode(&payload).unwrap();
    let header = Header {
        exchange: Exchange::IKE_AUTH,
        from_initiator: true,
        response: false,
        message_id: 1,
        ..header
    };
    let before = endpoint.counters().malformed;
    endpoint.handle_datagram(now, to, from, &message(header, Vec::new()));
    assert_eq!(endpoint.counters().malformed, before + 1);
    assert!(endpoint.poll_effect().is_none());
}

/// The `IKE_SA_INIT` request of strongSwan 5.9.8 with its default proposals, as it was received.
#[test]
fn strongswans_first_message_decodes_encodes_back_and_is_answered() {
    let request = super::hex(include_str!("strongswan-init.hex"));
    let (header, body) = Header::decode(&request).unwrap();
    let payloads = Payloads::decode(header.next, body).unwrap();
    let (first, chain) = payloads.encode();
    assert_eq!((first, &chain[..]), (header.next, body));
    let transforms: Vec<_> = payloads
        .proposals()
        .unwrap()
        .iter()
        .map(|p| p.transforms.len())
        .collect();
    assert_eq!(transforms, [34, 36]);
    let mut net = Network::new(2, 1);
    let (from, to) = (
        SocketAddr::new("192.0.2.77".parse().unwrap(), 500),
        SocketAddr::new(address(B), 500),
    );
    let now = net.now;
    net.act(B, |e| e.handle_datagram(now, to, from, &request));
    let answer = init_payloads(&net.sent[0].2);
    assert_eq!(answer.error(), None);
    assert_eq!(
        answer.key_exchange().map(|(group, _)| group),
        payloads.key_exchange().map(|(group, _)| group)
    );
    assert!(net.sent[0].2.len() < request.len());
}

#[test]
fn ipv6_sites_and_gateways_get_a_child_that_is_used_when_both_can() {
    let gateways: [std::net::IpAddr; 2] =
        ["2001:db8::1", "2001:db8::2"].map(|a| a.parse().unwrap());
    let sites: [IpNet; 2] = ["2001:db8:1::/48", "2001:db8:2::/48"].map(|n| n.parse().unwrap());
    let mut both = [settings(A, 2), settings(B, 2)];
    for (host, own) in both.iter_mut().enumerate() {
        own.protects = vec![Selector::between(sites[host], "::/0".parse().unwrap())];
        own.peers[0].may_protect = vec![sites[1 - host]];
    }
    let mut net = Network::with(both.to_vec(), 1);
    // The network knows hosts by their IPv4 addresses.
    let mut ends = [A, B].map(|h| std::mem::replace(&mut net.hosts[h].endpoint, blank()));
    let now = net.now;
    ends[A].connect(
        now,
        Connect {
            local: gateways[A],
            remote: gateways[B],
            selectors: vec![Selector::between(sites[A], sites[B])],
            flow: None,
            ..connect(1, A, B)
        },
    );
    let (mut children, mut ready) = (Vec::new(), Vec::new());
    for turn in 0..10 {
        let (from, to) = (turn % 2, 1 - turn % 2);
        while let Some(effect) = ends[from].poll_effect() {
            match effect {
                Effect::Transmit {
                    local,
                    remote,
                    payload,
                } => ends[to].handle_datagram(now, remote, local, &payload),
                Effect::ChildUp { child, outbound } => {
                    // Neither sends before the other has said that it can receive and answer.
                    assert_eq!(outbound, Outbound::AfterConfirmation);
                    children.push(child);
                }
                Effect::OutboundReady { .. } => ready.push(from),
                _ => {}
            }
        }
    }
    assert_eq!(ready, [B, A]);
    let [b, a] = &children[..] else {
        panic!("not two children: {children:?}");
    };
    super::network::assert_twins(a, b);
    assert_eq!(a.selectors, [Selector::between(sites[A], sites[B])]);
}

fn blank() -> Endpoint {
    Endpoint::new(settings(A, 1), Box::new(Seeded(0)))
}

#[test]
fn a_busy_peer_is_asked_again() {
    let mut net = Network::new(2, 1);
    net.connect(A, connect(1, A, B));
    net.run_seconds(2);
    let now = net.now;
    net.filter = Box::new(|_| false);
    net.connect(A, connect(2, A, B));
    // The answer that B would have sent while it replaces the IKE SA.
    net.act(A, |e| {
        let sa = e.sas.values_mut().next().unwrap();
        let Some(InFlight {
            awaiting: Awaiting::Child(offer),
            ..
        }) = sa.in_flight.take()
        else {
            panic!("nothing asked");
        };
        let busy = Payloads(vec![Payload::notify(NotifyKind::TEMPORARY_FAILURE, [])]);
        sa.on_child_answer(&mut e.ctx, now, *offer, &busy);
        sa.next_request -= 1;
    });
    net.filter = Box::new(|_| true);
    net.run(Duration::from_millis(900));
    assert_eq!(net.hosts[A].children.len(), 1);
    net.run(Duration::from_millis(200));
    assert!(
        net.hosts[A]
            .ups
            .iter()
            .any(|(_, r)| *r == Some(RequestId(2)))
    );
    net.assert_consistent();
}
