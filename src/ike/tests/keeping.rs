//! Clients that keep the address that they have: nothing is given to them, and they speak for exactly the
//! one that their IKE comes from.

use super::network::*;
use super::remote_access::{GATEWAY, addr, client, gateway, net, selectors_of};
use crate::ike::effects::{ClientRefusal, ConnectError, DownReason};
use crate::ike::settings::{AddressRequest, Client, Connect, RequestId, Settings};
use crate::net::{IpNet, Selector, host};
use std::time::Duration;

const INSIDE: &str = "10.10.0.0/16";

/// The gateway, where each client keeps these.
fn lets_keep(hosts: usize, keeps: impl Fn(usize) -> Vec<IpNet>) -> Settings {
    let mut of_gateway = gateway(hosts);
    if let Some(gateway) = &mut of_gateway.gateway {
        gateway.clients = (0..hosts)
            .filter(|host| *host != GATEWAY)
            .map(|host| {
                let client = Client {
                    keeps: keeps(host),
                    ..Client::default()
                };
                (name(host), client)
            })
            .collect();
    }
    of_gateway
}

/// Each keeps its own.
fn its_own(host_: usize) -> Vec<IpNet> {
    vec![host(address(host_))]
}

fn keeping(host: usize, hosts: usize) -> Settings {
    let mut of_client = client(host, hosts);
    of_client.kept_with = [(name(GATEWAY), vec![net(INSIDE)])].into();
    of_client
}

fn network(hosts: usize, seed: u64, keeps: impl Fn(usize) -> Vec<IpNet>) -> Network {
    let settings = |h| match h {
        GATEWAY => lets_keep(hosts, &keeps),
        h => keeping(h, hosts),
    };
    Network::with((0..hosts).map(settings).collect(), seed)
}

fn own(host_: usize) -> Selector {
    Selector::between(host(address(host_)), net(INSIDE))
}

fn wish(request: u64, from: usize) -> Connect {
    Connect {
        selectors: vec![own(from)],
        flow: None,
        ..connect(request, from, GATEWAY)
    }
}

/// One end of the tunnel between A and the gateway asks for new keys.
fn rekey(net_: &mut Network, at: usize) {
    let remote = address(if at == A { GATEWAY } else { A });
    let between = net_.hosts[at].sending().find(|c| c.remote == remote);
    let child = between.unwrap().id;
    let now = net_.now;
    net_.act(at, |e| e.rekey_child(now, child));
    net_.run(Duration::from_secs(40));
}

#[test]
fn a_client_keeps_its_address_over_restarts_and_new_keys_of_either_end() {
    for seed in 0..20 {
        let mut net_ = network(3, seed, its_own);
        net_.conditions = ROUGH;
        for from in [A, 2] {
            net_.connect(from, wish(1, from));
        }
        net_.run(Duration::from_secs(40));
        let stands = |net_: &Network, what: &str| {
            assert_eq!(selectors_of(net_, A), [own(A)], "seed {seed}: {what}");
            let mut both = [own(A).reversed(), own(2).reversed()];
            both.sort_unstable();
            assert_eq!(selectors_of(net_, GATEWAY), both, "seed {seed}: {what}");
            net_.assert_consistent();
        };
        stands(&net_, "set up");
        assert!(net_.hosts[A].assigned.is_empty());
        rekey(&mut net_, A);
        stands(&net_, "new keys, asked for by the client");
        rekey(&mut net_, GATEWAY);
        stands(&net_, "new keys, asked for by the gateway");
        assert!(net_.hosts[A].ups.len() >= 3, "seed {seed}: replaced twice");
        net_.restart(A, keeping(A, 3));
        let again = Connect {
            initial_contact: true,
            ..wish(2, A)
        };
        net_.connect(A, again);
        net_.run(Duration::from_secs(60));
        stands(&net_, "the client has started afresh");
    }
}

/// And what it was given may get new keys from either end as well.
#[test]
fn a_client_that_was_given_an_address_gets_new_keys_from_its_gateway() {
    let mut net_ = network(2, 3, its_own);
    let asks = Connect {
        selectors: vec![Selector::between(net("0.0.0.0/0"), net(INSIDE))],
        address: Some(AddressRequest::default()),
        ..wish(1, A)
    };
    net_.connect(A, asks);
    net_.run(Duration::from_secs(1));
    let given = Selector::between(host(addr("10.30.0.5")), net(INSIDE));
    assert_eq!(selectors_of(&net_, A), [given], "and not what it may keep");
    let before = net_.hosts[A].sending().next().unwrap().spi_in;
    rekey(&mut net_, GATEWAY);
    assert_eq!(selectors_of(&net_, A), [given]);
    let after = net_.hosts[A].sending().next().unwrap().spi_in;
    assert_ne!(before, after);
    assert_eq!(net_.hosts[GATEWAY].downs.len(), 1, "the old one alone");
}

#[test]
fn who_asks_for_an_address_that_is_not_its_own_is_refused_and_the_gateway_says_why() {
    let elsewhere = addr("198.51.100.77");
    for (what, keeps, asked, refusal) in [
        ("keeps none", vec![], address(A), ClientRefusal::KeepsNone),
        (
            "another one is its own",
            vec![host(elsewhere)],
            address(A),
            ClientRefusal::NotItsOwn(address(A)),
        ),
        (
            "its own, and its IKE comes from elsewhere",
            vec![host(elsewhere)],
            elsewhere,
            ClientRefusal::NotItsOwn(elsewhere),
        ),
        (
            "another client's",
            its_own(A),
            address(2),
            ClientRefusal::NotItsOwn(address(2)),
        ),
        (
            "one of the pool",
            its_own(A),
            addr("10.30.0.6"),
            ClientRefusal::NotItsOwn(addr("10.30.0.6")),
        ),
        (
            "what lies behind the gateway",
            its_own(A),
            addr("10.10.0.7"),
            ClientRefusal::NotItsOwn(addr("10.10.0.7")),
        ),
    ] {
        let mut net_ = network(3, 5, |h| if h == A { keeps.clone() } else { its_own(h) });
        let forged = Connect {
            selectors: vec![Selector::between(host(asked), net(INSIDE))],
            ..wish(1, A)
        };
        net_.connect(A, forged);
        net_.run(Duration::from_secs(1));
        let error = match refusal {
            ClientRefusal::KeepsNone => ConnectError::AddressDemanded(name(GATEWAY)),
            _ => ConnectError::TrafficSelectors(name(GATEWAY)),
        };
        assert_eq!(net_.hosts[A].failures, [(RequestId(1), error)], "{what}");
        assert_eq!(net_.hosts[GATEWAY].refused, [refusal], "{what}");
        assert!(net_.hosts[GATEWAY].children.is_empty(), "{what}");
    }
}

#[test]
fn what_it_reaches_is_what_lies_behind_the_gateway_and_nothing_else() {
    let mut net_ = network(2, 6, its_own);
    let everything = Connect {
        selectors: vec![Selector::between(host(address(A)), net("0.0.0.0/0"))],
        ..wish(1, A)
    };
    net_.connect(A, everything);
    net_.run(Duration::from_secs(1));
    assert_eq!(selectors_of(&net_, A), [own(A)]);
    let beyond = Connect {
        selectors: vec![Selector::between(host(address(A)), net("10.77.0.0/16"))],
        ..wish(2, A)
    };
    net_.connect(A, beyond);
    net_.run(Duration::from_secs(1));
    assert_eq!(net_.hosts[GATEWAY].refused, [ClientRefusal::NothingBehind]);
    assert_eq!(net_.hosts[GATEWAY].children.len(), 1);
}

/// Whoever else is behind it would have the same address.
#[test]
fn behind_a_translator_nobody_keeps_an_address() {
    let mut net_ = network(2, 7, its_own);
    net_.translate();
    net_.connect(A, wish(1, A));
    net_.run(Duration::from_secs(1));
    assert_eq!(net_.hosts[GATEWAY].refused, [ClientRefusal::Translated]);
    assert!(net_.hosts[A].children.is_empty());
}

#[test]
fn it_is_silent_for_as_long_as_the_gateway_lets_clients() {
    let mut net_ = network(2, 8, its_own);
    net_.connect(A, wish(1, A));
    net_.run(Duration::from_secs(1));
    net_.filter = Box::new(|packet| packet.from.ip() != address(A) && packet.to.ip() != address(A));
    net_.run(Duration::from_secs(1700));
    assert_eq!(net_.hosts[GATEWAY].children.len(), 1);
    net_.run(Duration::from_secs(300));
    assert!(net_.hosts[GATEWAY].children.is_empty());
}

#[test]
fn a_reload_ends_what_is_not_kept_any_more_and_nothing_else() {
    let mut net_ = network(2, 9, its_own);
    net_.connect(A, wish(1, A));
    net_.run(Duration::from_secs(1));
    let now = net_.now;
    net_.act(GATEWAY, |e| e.reload(now, lets_keep(2, its_own)));
    net_.act(A, |e| e.reload(now, keeping(A, 2)));
    net_.run(Duration::from_secs(1));
    assert_eq!(net_.hosts[A].children.len(), 1, "nothing has changed");
    net_.act(GATEWAY, |e| e.reload(now, lets_keep(2, |_| Vec::new())));
    net_.run(Duration::from_secs(1));
    assert!(net_.hosts[A].children.is_empty());
    assert_eq!(net_.hosts[GATEWAY].downs[0].1, DownReason::Configuration);

    let mut net_ = network(2, 10, its_own);
    net_.connect(A, wish(1, A));
    net_.run(Duration::from_secs(1));
    let now = net_.now;
    net_.act(A, |e| e.reload(now, client(A, 2)));
    assert!(net_.hosts[A].children.is_empty(), "it is no VPN any more");
}
