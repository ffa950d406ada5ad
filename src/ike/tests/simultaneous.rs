//! Both ends begin at once; one of them has restarted.

use super::network::{A, B, CLEAN, Network, ROUGH, between, connect, settings, site};
use crate::ike::effects::DownReason;
use crate::ike::settings::{Connect, RequestId};
use crate::net::Selector;
use std::time::Duration;

#[test]
fn of_two_ike_sas_set_up_at_once_the_same_one_stays_at_both_ends() {
    for seed in 0..200 {
        let mut net = Network::new(2, seed);
        if seed % 2 == 1 {
            net.conditions = ROUGH;
        }
        net.connect(A, connect(1, A, B));
        net.run(Duration::from_millis(seed % 40));
        net.connect(B, connect(1, B, A));
        net.run_seconds(25);
        net.conditions = CLEAN;
        net.run_seconds(40);
        net.assert_one_tunnel();
        let reasons: Vec<_> = net.hosts.iter().flat_map(|h| &h.downs).collect();
        let redundant = |(_, r): &&&(_, DownReason)| *r == DownReason::Redundant;
        assert!(
            reasons.iter().filter(redundant).count() <= 1,
            "seed {seed}: {reasons:?}"
        );
    }
}

#[test]
fn of_two_equal_children_asked_for_at_once_on_one_ike_sa_one_stays() {
    for seed in 0..100 {
        let mut net = Network::new(2, seed);
        let mut first = connect(1, A, B);
        first.selectors = vec![Selector::between(site(A), "10.1.99.0/24".parse().unwrap())];
        first.flow = None;
        net.connect(A, first);
        net.run_seconds(2);
        if seed % 2 == 1 {
            net.conditions = ROUGH;
        }
        net.connect(A, connect(2, A, B));
        net.run(Duration::from_millis(seed % 12));
        net.connect(B, connect(2, B, A));
        net.run_seconds(25);
        net.conditions = CLEAN;
        net.run_seconds(30);
        net.assert_consistent();
        for (from, to) in [(A, B), (B, A)] {
            let whole = |c: &&crate::ike::effects::ChildSa| c.selectors == [between(from, to)];
            assert_eq!(
                net.hosts[from].sending().filter(whole).count(),
                1,
                "seed {seed}"
            );
        }
    }
}

#[test]
fn the_one_that_lost_is_closed_by_whoever_began_it_after_a_while() {
    let mut net = Network::new(2, 1);
    net.connect(A, connect(1, A, B));
    net.connect(B, connect(1, B, A));
    net.run_seconds(2);
    // Nothing is torn down in a hurry.
    assert_eq!(net.hosts[A].children.len(), 2);
    assert_eq!(net.hosts[B].sending().count(), 2);
    net.run_seconds(3);
    net.assert_one_tunnel();
    let mut reasons: Vec<_> = net
        .hosts
        .iter()
        .map(|h| (h.downs[0].1.clone(), h.ike_downs[0].clone()))
        .collect();
    reasons.sort_by_key(|(child, _)| *child != DownReason::Redundant);
    let (redundant, deleted) = (DownReason::Redundant, DownReason::DeletedByPeer);
    assert_eq!(
        reasons,
        [(redundant.clone(), redundant), (deleted.clone(), deleted)]
    );
}

#[test]
fn two_ike_sas_for_different_traffic_both_stay() {
    let mut net = Network::new(2, 1);
    let half = |n: u8, from: usize, to: usize| Connect {
        selectors: vec![Selector::between(
            format!("10.{from}.{n}.0/24").parse().unwrap(),
            site(to),
        )],
        flow: None,
        ..connect(1, from, to)
    };
    net.connect(A, half(1, A, B));
    net.connect(B, half(2, B, A));
    net.run_seconds(20);
    net.assert_consistent();
    assert_eq!(
        (net.hosts[A].ikes.len(), net.hosts[A].children.len()),
        (2, 2)
    );
    // What comes next goes on the one that would stay, and covers it all: the other one goes.
    net.connect(A, connect(3, A, B));
    net.run_seconds(20);
    net.assert_consistent();
    assert_eq!(net.hosts[A].ikes.len(), 1);
    assert!(
        net.hosts[A]
            .sending()
            .any(|c| c.selectors == [between(A, B)])
    );
}

#[test]
fn after_a_restart_initial_contact_takes_the_old_ones_away() {
    let mut net = Network::new(2, 1);
    net.connect(A, connect(1, A, B));
    net.run_seconds(5);
    net.restart(A, settings(A, 2));
    net.connect(
        A,
        Connect {
            initial_contact: true,
            ..connect(1, A, B)
        },
    );
    net.run_seconds(1);
    net.assert_one_tunnel();
    let (_, reason) = &net.hosts[B].downs[0];
    assert_eq!(*reason, DownReason::InitialContact);
    assert_eq!(net.hosts[B].ike_downs, [DownReason::InitialContact]);
}

#[test]
fn initial_contact_from_both_ends_at_once_leaves_one_tunnel() {
    for seed in 0..200 {
        let mut net = Network::new(2, seed);
        net.connect(A, connect(1, A, B));
        net.run_seconds(2);
        net.restart(A, settings(A, 2));
        net.restart(B, settings(B, 2));
        if seed % 2 == 1 {
            net.conditions = ROUGH;
        }
        let fresh = |from, to| Connect {
            initial_contact: true,
            ..connect(9, from, to)
        };
        net.connect(A, fresh(A, B));
        net.run(Duration::from_millis(seed % 60));
        net.connect(B, fresh(B, A));
        net.run_seconds(25);
        net.conditions = CLEAN;
        net.run_seconds(40);
        net.assert_one_tunnel();
        for host in &net.hosts {
            assert!(
                !host.ike_downs.contains(&DownReason::InitialContact),
                "seed {seed}"
            );
        }
    }
}

#[test]
fn an_agent_that_cancels_what_the_peer_set_up_meanwhile_keeps_one_tunnel() {
    for seed in 0..200 {
        let mut net = Network::new(2, seed);
        if seed % 2 == 1 {
            net.conditions = ROUGH;
        }
        net.connect(A, connect(1, A, B));
        net.run(Duration::from_millis(seed % 30));
        net.connect(B, connect(1, B, A));
        for _ in 0..6000 {
            net.run(Duration::from_millis(5));
            for host in [A, B] {
                let own = &net.hosts[host];
                let waiting = own.failures.is_empty() && own.ups.iter().all(|(_, r)| r.is_none());
                if waiting && !own.children.is_empty() {
                    let now = net.now;
                    net.act(host, |e| e.cancel(now, RequestId(1)));
                }
            }
        }
        net.conditions = CLEAN;
        net.run_seconds(40);
        net.assert_one_tunnel();
    }
}
