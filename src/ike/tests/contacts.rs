//! Contacts: transport mode between two hosts, beside what either protects for others.

use super::network::{
    A, B, CLEAN, Network, ROUGH, address, connect, hosts_alone, name, outside, settings,
};
use crate::ike::effects::{ConnectError, DownReason};
use crate::ike::settings::{ChildProtocol, Connect, Mode, RequestId, Settings};
use crate::net::{Port, Protocol, Selector};

const ESP: ChildProtocol = ChildProtocol::Esp;

/// They protect nothing, and are believed about nothing but as contacts.
pub(super) fn contacts() -> [Settings; 2] {
    [A, B].map(|host| {
        let mut s = settings(host, 2);
        s.protects.clear();
        s.peers[0].may_protect.clear();
        s.peers[0].may_protect_itself = false;
        s.peers[0].contact = true;
        s
    })
}

fn between_hosts() -> Selector {
    Selector::between(address(A).into(), address(B).into())
}

#[test]
fn a_contact_gets_transport_mode_for_its_own_traffic() {
    let web = between_hosts()
        .protocol(Protocol::TCP)
        .ports(Port::Any, Port::Is(80));
    for selector in [between_hosts(), web] {
        let mut net = Network::with(contacts().to_vec(), 1);
        let wish = Connect {
            selectors: vec![selector],
            ..hosts_alone(1, A, B, ESP)
        };
        net.connect(A, wish);
        net.run_seconds(1);
        net.assert_consistent();
        let at_b = net.hosts[B].sending().next().unwrap();
        assert_eq!(at_b.mode, Mode::Transport);
        assert_eq!(at_b.selectors, [selector.reversed()]);
    }
}

#[test]
fn a_contact_gets_a_tunnel_for_its_own_traffic_where_it_asks_for_one() {
    for protocol in [ESP, ChildProtocol::Ah] {
        let mut net = Network::with(contacts().to_vec(), 1);
        let wish = Connect {
            mode: Mode::Tunnel,
            transport_only: false,
            ..hosts_alone(1, A, B, protocol)
        };
        net.connect(A, wish);
        net.run_seconds(1);
        net.assert_consistent();
        let at_b = net.hosts[B].sending().next().unwrap();
        assert_eq!((at_b.mode, at_b.protocol), (Mode::Tunnel, protocol));
        assert_eq!(at_b.selectors, [between_hosts().reversed()]);
    }
}

#[test]
fn nothing_else_is_granted_to_a_contact() {
    let wide: Selector = Selector::between(address(A).into(), "192.0.2.0/30".parse().unwrap());
    let other = Selector::between("192.0.2.7/32".parse().unwrap(), address(B).into());
    let two = vec![between_hosts(), other];
    let ask = |selectors: Vec<Selector>, mode| Connect {
        selectors,
        mode,
        transport_only: mode == Mode::Transport,
        ..hosts_alone(1, A, B, ESP)
    };
    let wishes = [
        ask(vec![wide], Mode::Tunnel),
        ask(vec![other], Mode::Tunnel),
        ask(vec![wide], Mode::Transport),
        ask(vec![other], Mode::Transport),
        ask(two, Mode::Transport),
        connect(1, A, B),
    ];
    for wish in wishes {
        let mut net = Network::with(contacts().to_vec(), 1);
        let what = format!("{wish:?}");
        net.connect(A, wish);
        net.run_seconds(1);
        let refused = (RequestId(1), ConnectError::TrafficSelectors(name(B)));
        assert_eq!(net.hosts[A].failures, [refused], "{what}");
        assert!(net.hosts[B].ups.is_empty(), "{what}");
    }
}

#[test]
fn both_ends_must_know_the_other_as_a_contact() {
    let [mut a, b] = contacts();
    a.peers[0].contact = false;
    let mut net = Network::with(vec![a, b], 1);
    net.connect(A, hosts_alone(1, A, B, ESP));
    net.run_seconds(1);
    let error = ConnectError::NotAuthorized {
        peer: name(B),
        selector: between_hosts(),
    };
    assert_eq!(net.hosts[A].failures, [(RequestId(1), error)]);
    assert!(net.hosts.iter().all(|h| h.children.is_empty()));

    let [a, mut b] = contacts();
    b.peers[0].contact = false;
    let mut net = Network::with(vec![a, b], 1);
    net.connect(A, hosts_alone(1, A, B, ESP));
    net.run_seconds(1);
    let error = ConnectError::TrafficSelectors(name(B));
    assert_eq!(net.hosts[A].failures, [(RequestId(1), error)]);
}

#[test]
fn what_a_contact_has_is_replaced_and_ends_when_it_is_one_no_more() {
    let mut net = Network::with(contacts().to_vec(), 1);
    net.connect(A, hosts_alone(1, A, B, ESP));
    net.run_seconds(1);
    for host in [A, B] {
        let (now, child) = (net.now, *net.hosts[host].children.keys().next().unwrap());
        net.act(host, |e| e.rekey_child(now, child));
        net.run_seconds(1);
        net.assert_consistent();
        assert_eq!(net.hosts[A].sending().next().unwrap().mode, Mode::Transport);
    }
    assert_eq!(net.hosts[B].ups.len(), 3);
    let [_, mut b] = contacts();
    let now = net.now;
    net.act(B, |e| e.reload(now, b.clone()));
    net.run_seconds(1);
    assert_eq!(net.hosts[B].children.len(), 1);
    b.peers[0].contact = false;
    let now = net.now;
    net.act(B, |e| e.reload(now, b));
    net.run_seconds(1);
    assert!(net.hosts.iter().all(|h| h.children.is_empty()));
    let (_, last) = net.hosts[B].downs.last().unwrap();
    assert_eq!(*last, DownReason::Configuration);
}

#[test]
fn contacts_that_want_each_other_at_once_end_with_one_child() {
    for seed in 0..60 {
        let mut net = Network::with(contacts().to_vec(), seed);
        net.conditions = ROUGH;
        net.connect(A, hosts_alone(1, A, B, ESP));
        net.connect(B, hosts_alone(1, B, A, ESP));
        net.run_seconds(40);
        net.conditions = CLEAN;
        net.run_seconds(60);
        net.assert_consistent();
        assert!(net.hosts.iter().all(|h| h.children.len() == 1), "{seed}");
    }
}

#[test]
fn who_wants_transport_mode_alone_gets_no_tunnel_instead() {
    // B protects a part of what A asks for, which are not the two ends alone.
    let mut net = Network::new(2, 1);
    let wish = Connect {
        mode: Mode::Transport,
        transport_only: true,
        ..connect(1, A, B)
    };
    net.connect(A, wish);
    net.run_seconds(2);
    let error = ConnectError::TunnelOnly(name(B));
    assert_eq!(net.hosts[A].failures, [(RequestId(1), error)]);
    assert!(net.hosts.iter().all(|h| h.children.is_empty()));
}

/// The host that B knows as a contact, and another behind the same translator.
fn three_contacts() -> Vec<Settings> {
    (0..3)
        .map(|host| {
            let mut s = settings(host, 3);
            s.protects.clear();
            for peer in &mut s.peers {
                peer.may_protect.clear();
                peer.may_protect_itself = false;
                peer.contact = true;
            }
            s
        })
        .collect()
}

/// Each end has the addresses of the packets that it sends and receives (RFC 7296 §2.23.1).
#[test]
fn through_a_nat_esp_in_transport_mode_has_the_addresses_that_each_end_sees() {
    let mut net = Network::with(three_contacts(), 1);
    net.translate_addresses();
    let web = between_hosts()
        .protocol(Protocol::TCP)
        .ports(Port::Any, Port::Is(80));
    let wish = Connect {
        selectors: vec![web],
        ..hosts_alone(1, A, B, ESP)
    };
    net.connect(A, wish);
    net.run_seconds(1);
    let check = |net: &Network| {
        let at_a = net.hosts[A].sending().next().unwrap();
        let at_b = net.hosts[B].sending().next().unwrap();
        assert_eq!((at_a.spi_in, at_a.spi_out), (at_b.spi_out, at_b.spi_in));
        assert_eq!((at_a.mode, at_b.mode), (Mode::Transport, Mode::Transport));
        assert_eq!((at_a.local, at_a.remote), (address(A), address(B)));
        assert_eq!((at_b.local, at_b.remote), (address(B), outside()));
        assert_eq!(at_a.selectors, [web]);
        let seen = Selector::between(address(B).into(), outside().into())
            .protocol(Protocol::TCP)
            .ports(Port::Is(80), Port::Any);
        assert_eq!(at_b.selectors, [seen]);
        assert_eq!(at_a.encapsulation, Some((4500, 4500)));
        assert_eq!(at_b.encapsulation, Some((4500, 14_500)));
        assert!(net.hosts.iter().all(|h| h.children.len() <= 1));
    };
    check(&net);
    // Either end replaces it, and it stays what it is.
    for host in [A, B] {
        let (now, child) = (net.now, *net.hosts[host].children.keys().next().unwrap());
        net.act(host, |e| e.rekey_child(now, child));
        net.run_seconds(1);
        check(&net);
    }
    assert_eq!(net.hosts[A].ups.len(), 3);
}

#[test]
fn through_a_nat_ah_is_refused_and_esp_is_had_over_the_same_ike_sa() {
    let mut net = Network::with(three_contacts(), 1);
    net.translate_addresses();
    net.connect(A, hosts_alone(1, A, B, ChildProtocol::Ah));
    net.run_seconds(1);
    let error = ConnectError::BehindNat(address(B));
    assert_eq!(net.hosts[A].failures, [(RequestId(1), error)]);
    net.connect(A, hosts_alone(2, A, B, ESP));
    net.run_seconds(1);
    assert_eq!(net.hosts[A].ups.len(), 1);
    assert_eq!(net.hosts[A].ikes.len(), 1);
}

#[test]
fn two_hosts_behind_one_address_cannot_both_be_protected() {
    let c = 2;
    let mut net = Network::with(three_contacts(), 1);
    net.translate_addresses();
    net.connect(A, hosts_alone(1, A, B, ESP));
    net.run_seconds(1);
    net.connect(c, hosts_alone(1, c, B, ESP));
    net.run_seconds(1);
    let refused = (RequestId(1), ConnectError::TrafficSelectors(name(B)));
    assert_eq!(net.hosts[c].failures, [refused]);
    assert_eq!(net.hosts[B].children.len(), 1);
    // When the first has gone, the address is free.
    let now = net.now;
    net.act(A, |e| e.close_all(now));
    net.run_seconds(1);
    net.connect(c, hosts_alone(2, c, B, ESP));
    net.run_seconds(1);
    assert_eq!(net.hosts[c].children.len(), 1);
    let seen = Selector::between(address(B).into(), outside().into());
    let at_b = net.hosts[B].sending().next().unwrap();
    assert_eq!((&at_b.peer, &at_b.selectors[..]), (&name(c), &[seen][..]));
}

#[test]
fn behind_a_nat_a_contact_is_granted_its_outside_address_and_no_network() {
    let mut net = Network::with(three_contacts(), 1);
    net.translate_addresses();
    let wide = Selector::between("10.0.0.0/24".parse().unwrap(), address(B).into());
    let wish = Connect {
        selectors: vec![wide],
        ..hosts_alone(1, A, B, ESP)
    };
    net.connect(A, wish);
    net.run_seconds(1);
    let refused = (RequestId(1), ConnectError::TrafficSelectors(name(B)));
    assert_eq!(net.hosts[A].failures, [refused]);
}
