//! Children are replaced before their lifetime ends; IKE SAs by a peer that wants it.

use super::network::{A, B, CLEAN, Network, ROUGH, assert_twins, between, connect, settings};
use crate::ike::effects::{ChildId, DownReason, Outbound};
use crate::ike::settings::Settings;
use std::time::Duration;

fn up(seed: u64) -> Network {
    let mut net = Network::new(2, seed);
    net.connect(A, connect(1, A, B));
    net.run_seconds(2);
    net.assert_one_tunnel();
    net
}

fn only_child(net: &Network, host: usize) -> ChildId {
    *net.hosts[host].children.keys().next().unwrap()
}

fn rekey(net: &mut Network, host: usize) {
    let (now, child) = (net.now, only_child(net, host));
    net.act(host, |e| e.rekey_child(now, child));
}

#[test]
fn the_new_child_is_up_before_the_old_one_goes() {
    // A                                          B
    // CREATE_CHILD_SA {N(REKEY_SA), …}  ──→      new one in, sends on the old
    // new one in and out                ←──
    // INFORMATIONAL {D(old)}            ──→      sends on the new; old one gone
    // old one gone                      ←──
    let mut net = up(1);
    let old = [only_child(&net, A), only_child(&net, B)];
    rekey(&mut net, A);
    net.run(Duration::from_millis(10));
    let new_at_b = net.hosts[B].children.values().nth(1).unwrap();
    assert_eq!(new_at_b.1, Outbound::AfterConfirmation);
    assert_eq!(new_at_b.0.replaces, Some(old[B]));
    assert_eq!(net.hosts[B].sending().count(), 1);
    net.run(Duration::from_millis(10));
    assert_eq!(net.hosts[A].sending().count(), 2);
    net.run(Duration::from_millis(10));
    assert_eq!(net.hosts[B].downs, [(old[B], DownReason::Replaced)]);
    net.run(Duration::from_millis(10));
    assert_eq!(net.hosts[A].downs, [(old[A], DownReason::Replaced)]);
    net.assert_one_tunnel();
    assert_eq!(net.sent.len(), 10);
}

#[test]
fn a_child_that_is_closed_while_it_is_being_replaced_leaves_nothing() {
    for wait in [0, 5, 15, 25] {
        let mut net = up(1);
        let old = only_child(&net, A);
        rekey(&mut net, A);
        net.run(Duration::from_millis(wait));
        let now = net.now;
        let all: Vec<ChildId> = net.hosts[A].children.keys().copied().collect();
        assert!(all.contains(&old));
        for child in all {
            net.act(A, |e| e.close_child(now, child, DownReason::Closed));
        }
        net.run_seconds(2);
        assert!(
            net.hosts.iter().all(|h| h.children.is_empty()),
            "after {wait} ms"
        );
    }
}

#[test]
fn either_end_replaces_under_loss_again_and_again() {
    for seed in 0..60 {
        let mut net = up(seed);
        net.conditions = ROUGH;
        for round in 0..6 {
            let host = (round + seed as usize) % 2;
            rekey(&mut net, host);
            net.run_seconds(4);
            for host in &net.hosts {
                assert!(
                    host.sending().count() >= 1,
                    "seed {seed}: nothing to send on"
                );
            }
        }
        net.conditions = CLEAN;
        net.run_seconds(60);
        net.assert_one_tunnel();
    }
}

#[test]
fn both_ends_replace_at_once_and_one_new_child_stays() {
    for seed in 0..200 {
        let mut net = up(seed);
        if seed % 2 == 1 {
            net.conditions = ROUGH;
        }
        rekey(&mut net, A);
        net.run(Duration::from_millis(seed % 25));
        if net.hosts[B].children.len() <= 2 {
            rekey(&mut net, B);
        }
        for _ in 0..2000 {
            net.run(Duration::from_millis(10));
            for host in &net.hosts {
                assert!(
                    host.sending().count() >= 1,
                    "seed {seed}: nothing to send on"
                );
            }
        }
        net.conditions = CLEAN;
        net.run_seconds(60);
        net.assert_one_tunnel();
    }
}

#[test]
fn lifetimes_end_in_replacement_for_days() {
    let mut both: Vec<Settings> = vec![settings(A, 2), settings(B, 2)];
    for s in &mut both {
        s.timing.child_lifetime = Duration::from_secs(600);
    }
    let mut net = Network::with(both, 3);
    net.conditions = ROUGH;
    net.connect(A, connect(1, A, B));
    for _ in 0..24 * 60 {
        net.run_seconds(60);
        net.sent.clear();
        assert!(net.hosts[A].sending().count() >= 1);
        assert!(net.hosts[B].sending().count() >= 1);
    }
    net.conditions = CLEAN;
    net.run_seconds(60);
    net.assert_one_tunnel();
    let replaced = net.hosts[A].downs.len();
    assert!((140..200).contains(&replaced), "{replaced}");
    let expired = |(_, r): &(ChildId, DownReason)| *r == DownReason::Expired;
    assert!(!net.hosts[A].downs.iter().any(expired));
}

#[test]
fn a_child_that_cannot_be_replaced_ends_with_its_lifetime() {
    let mut both: Vec<Settings> = vec![settings(A, 2), settings(B, 2)];
    for s in &mut both {
        s.timing.child_lifetime = Duration::from_secs(100);
    }
    let mut net = Network::with(both, 3);
    net.connect(A, connect(1, A, B));
    net.run_seconds(2);
    let (child, _) = net.hosts[A].children.values().next().unwrap();
    assert_eq!(child.hard_lifetime, Some(Duration::from_secs(120)));
    // Neither end grants it any more, though both keep what there is.
    for host in &mut net.hosts {
        host.endpoint.ctx.settings.protects.clear();
    }
    net.run_seconds(130);
    let reasons: Vec<_> = net.hosts.iter().map(|h| h.downs[0].1.clone()).collect();
    assert!(reasons.contains(&DownReason::Expired), "{reasons:?}");
    assert!(net.hosts.iter().all(|h| h.children.is_empty()));
}

#[test]
fn replacements_have_a_key_exchange_of_their_own() {
    let mut net = up(1);
    rekey(&mut net, A);
    net.run_seconds(1);
    let a = &net.hosts[A].children.values().next().unwrap().0;
    let b = &net.hosts[B].children.values().next().unwrap().0;
    assert_twins(a, b);
    assert_eq!(a.selectors, [between(A, B)]);
    // CREATE_CHILD_SA with KE is longer by 40 octets than without: both directions carry one.
    let longest = net.sent[6..].iter().map(|(_, _, p)| p.len()).max();
    assert!(longest > Some(280), "{longest:?}");
}
