//! Clients that are given an address, and gateways that give them away (RFC 7296 §2.19).

use super::network::*;
use crate::ike::effects::{ClientRefusal, ConnectError, DownReason};
use crate::ike::settings::{
    AddressRange, AddressRequest, Client, Connect, Gateway, RequestId, Settings,
};
use crate::net::{Identity, IpNet, Selector, host};
use std::net::IpAddr;
use std::time::Duration;

/// The gateway; every other host is a client of it.
pub(super) const GATEWAY: usize = B;

pub(super) fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

pub(super) fn gateway(hosts: usize) -> Settings {
    let mut of_gateway = settings(GATEWAY, hosts);
    for peer in &mut of_gateway.peers {
        peer.may_protect.clear();
        peer.may_protect_itself = false;
    }
    let clients: Vec<Identity> = of_gateway.peers.iter().map(|p| p.id.clone()).collect();
    of_gateway.protects.clear();
    of_gateway.gateway = Some(Gateway {
        clients: clients
            .into_iter()
            .map(|id| (id, Client::default()))
            .collect(),
        pool: vec![
            AddressRange::new(addr("10.30.0.5"), addr("10.30.0.6")).unwrap(),
            AddressRange::new(addr("2001:db8:30::5"), addr("2001:db8:30::ffff")).unwrap(),
        ],
        subnets: vec![net("10.10.0.0/16"), net("2001:db8:10::/48")],
        dns: vec![addr("10.10.0.53"), addr("2001:db8:10::53")],
        liveness: Duration::from_secs(1800),
    });
    of_gateway
}

pub(super) fn client(host: usize, hosts: usize) -> Settings {
    let mut of_client = settings(host, hosts);
    for peer in &mut of_client.peers {
        peer.may_protect = vec![net("0.0.0.0/0"), net("::/0")];
    }
    of_client.protects.clear();
    of_client
}

fn network(hosts: usize, seed: u64) -> Network {
    let settings = |h| match h {
        GATEWAY => gateway(hosts),
        h => client(h, hosts),
    };
    Network::with((0..hosts).map(settings).collect(), seed)
}

/// Everything from us, to what lies behind the gateway.
fn wish(request: u64, from: usize, subnets: &[&str]) -> Connect {
    let selector = |subnet: &&str| {
        let subnet = net(subnet);
        let any = if subnet.addr().is_ipv4() {
            net("0.0.0.0/0")
        } else {
            net("::/0")
        };
        Selector::between(any, subnet)
    };
    Connect {
        selectors: subnets.iter().map(selector).collect(),
        flow: None,
        address: Some(AddressRequest::default()),
        ..connect(request, from, GATEWAY)
    }
}

const SPLIT: &[&str] = &["10.10.0.0/16"];

pub(super) fn selectors_of(net: &Network, host: usize) -> Vec<Selector> {
    let mut all: Vec<Selector> = net.hosts[host]
        .sending()
        .flat_map(|c| c.selectors.clone())
        .collect();
    all.sort_unstable();
    all
}

#[test]
fn a_client_is_given_an_address_and_a_tunnel_for_that_alone() {
    let mut net_ = network(2, 1);
    net_.connect(A, wish(1, A, SPLIT));
    net_.run(Duration::from_secs(1));
    let assigned = &net_.hosts[A].assigned[0];
    assert_eq!(assigned.addresses, [addr("10.30.0.5")]);
    assert_eq!(assigned.dns, [addr("10.10.0.53")]);
    assert_eq!(assigned.subnets, [net("10.10.0.0/16")]);
    let own = Selector::between(host(addr("10.30.0.5")), net("10.10.0.0/16"));
    assert_eq!(selectors_of(&net_, A), [own]);
    assert_eq!(selectors_of(&net_, GATEWAY), [own.reversed()]);
    let leased: Vec<_> = net_.hosts[GATEWAY].endpoint.ike_sas().collect();
    assert_eq!(leased[0].leased, [addr("10.30.0.5")]);
}

#[test]
fn a_gateway_sends_as_soon_as_it_has_answered() {
    let mut net_ = network(2, 1);
    net_.connect(A, wish(1, A, SPLIT));
    while net_.hosts[GATEWAY].children.is_empty() {
        net_.run(Duration::from_millis(1));
    }
    assert_eq!(net_.hosts[A].children.len(), 0, "it has not heard yet");
    assert_eq!(net_.hosts[GATEWAY].sending().count(), 1);
}

#[test]
fn both_ip_versions_are_asked_for_at_once() {
    let mut net_ = network(2, 2);
    net_.connect(A, wish(1, A, &["10.10.0.0/16", "2001:db8:10::/48"]));
    net_.run(Duration::from_secs(1));
    let assigned = &net_.hosts[A].assigned[0];
    assert_eq!(
        assigned.addresses,
        [addr("10.30.0.5"), addr("2001:db8:30::5")]
    );
    assert_eq!(selectors_of(&net_, A).len(), 2);
}

#[test]
fn of_everything_a_client_gets_what_lies_behind_the_gateway() {
    let mut net_ = network(2, 3);
    net_.connect(A, wish(1, A, &["0.0.0.0/0"]));
    net_.run(Duration::from_secs(1));
    let own = Selector::between(host(addr("10.30.0.5")), net("10.10.0.0/16"));
    assert_eq!(selectors_of(&net_, A), [own]);
}

#[test]
fn the_address_is_the_same_after_the_ike_sa_was_lost_and_the_child_after_it_was_replaced() {
    for seed in 0..20 {
        let mut net_ = network(3, seed);
        net_.conditions = ROUGH;
        net_.connect(A, wish(1, A, SPLIT));
        net_.run(Duration::from_secs(40));
        let before = selectors_of(&net_, A);
        assert_eq!(before.len(), 1, "seed {seed}");
        let child = net_.hosts[A].sending().next().unwrap().id;
        let now = net_.now;
        net_.act(A, |e| e.rekey_child(now, child));
        net_.run(Duration::from_secs(40));
        assert_eq!(selectors_of(&net_, A), before, "seed {seed}");
        net_.restart(A, client(A, 3));
        net_.connect(2, wish(1, 2, SPLIT));
        let again = Connect {
            initial_contact: true,
            ..wish(2, A, SPLIT)
        };
        net_.connect(A, again);
        net_.run(Duration::from_secs(60));
        assert_eq!(selectors_of(&net_, A), before, "seed {seed}");
        assert_ne!(selectors_of(&net_, 2), before, "seed {seed}");
    }
}

#[test]
fn a_client_is_told_when_the_pool_is_empty_and_served_when_it_is_not_any_more() {
    let mut net_ = network(4, 5);
    for from in [A, 2, 3] {
        net_.connect(from, wish(1, from, SPLIT));
        net_.run(Duration::from_secs(1));
    }
    let refused = ConnectError::NoAddress(name(GATEWAY));
    assert_eq!(net_.hosts[3].failures, [(RequestId(1), refused)]);
    let now = net_.now;
    net_.act(A, |e| e.close_all(now));
    net_.run(Duration::from_secs(1));
    net_.connect(3, wish(2, 3, SPLIT));
    net_.run(Duration::from_secs(1));
    assert_eq!(net_.hosts[3].assigned[0].addresses, [addr("10.30.0.5")]);
}

#[test]
fn a_client_speaks_for_no_other_address_and_asks_before_it_speaks() {
    let mut net_ = network(2, 6);
    let forged = Connect {
        selectors: vec![Selector::between(
            host(addr("10.30.0.6")),
            net("10.10.0.0/16"),
        )],
        address: None,
        ..wish(1, A, SPLIT)
    };
    net_.connect(A, forged.clone());
    net_.run(Duration::from_secs(1));
    let demanded = ConnectError::AddressDemanded(name(GATEWAY));
    assert_eq!(net_.hosts[A].failures, [(RequestId(1), demanded)]);
    assert_eq!(net_.hosts[GATEWAY].refused, [ClientRefusal::KeepsNone]);
    net_.connect(A, wish(2, A, SPLIT));
    net_.run(Duration::from_secs(1));
    net_.connect(
        A,
        Connect {
            request: RequestId(3),
            ..forged
        },
    );
    net_.run(Duration::from_secs(1));
    assert!(net_.hosts[A].failures.len() == 2 && net_.hosts[A].children.len() == 1);
    assert_eq!(net_.hosts[GATEWAY].children.len(), 1);
}

#[test]
fn whoever_is_no_client_is_given_nothing() {
    let mut of_gateway = gateway(3);
    of_gateway
        .gateway
        .as_mut()
        .unwrap()
        .clients
        .remove(&name(2));
    let settings = vec![client(A, 3), of_gateway, client(2, 3)];
    let mut net_ = Network::with(settings, 7);
    net_.connect(2, wish(1, 2, SPLIT));
    net_.run(Duration::from_secs(1));
    assert!(net_.hosts[2].assigned.is_empty() && net_.hosts[GATEWAY].children.is_empty());
    assert_eq!(net_.hosts[2].failures.len(), 1);
}

#[test]
fn a_client_that_is_none_any_more_loses_its_tunnel() {
    let mut net_ = network(2, 8);
    net_.connect(A, wish(1, A, SPLIT));
    net_.run(Duration::from_secs(1));
    let now = net_.now;
    net_.act(GATEWAY, |e| e.reload(now, gateway(2)));
    net_.act(A, |e| e.reload(now, client(A, 2)));
    assert_eq!(net_.hosts[GATEWAY].children.len(), 1, "nothing has changed");
    let mut none = gateway(2);
    none.gateway = None;
    net_.act(GATEWAY, |e| e.reload(now, none));
    net_.run(Duration::from_secs(1));
    assert!(net_.hosts[A].children.is_empty());
    assert_eq!(net_.hosts[GATEWAY].downs[0].1, DownReason::Configuration);
}

#[test]
fn a_silent_client_keeps_its_address_for_as_long_as_the_gateway_says() {
    let mut net_ = network(2, 9);
    net_.connect(A, wish(1, A, SPLIT));
    net_.run(Duration::from_secs(1));
    net_.filter = Box::new(|packet| packet.from.ip() != address(A) && packet.to.ip() != address(A));
    net_.run(Duration::from_secs(1700));
    assert_eq!(net_.hosts[GATEWAY].children.len(), 1);
    net_.run(Duration::from_secs(300));
    assert!(net_.hosts[GATEWAY].children.is_empty());
}
