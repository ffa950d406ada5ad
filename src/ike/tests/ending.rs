//! How children and IKE SAs end.

use super::network::{A, B, Network, address, connect, name, settings};
use crate::ike::effects::{ConnectError, DownReason};
use crate::ike::settings::{Connect, RequestId, Settings};
use std::time::Duration;

fn up() -> Network {
    let mut net = Network::new(2, 1);
    net.connect(A, connect(1, A, B));
    net.run_seconds(2);
    net.assert_one_tunnel();
    net
}

fn reasons(net: &Network) -> [Vec<DownReason>; 2] {
    [A, B].map(|h| net.hosts[h].downs.iter().map(|(_, r)| r.clone()).collect())
}

#[test]
fn a_closed_child_goes_at_both_ends_and_its_idle_ike_sa_follows() {
    for (closer, other) in [(A, B), (B, A)] {
        let mut net = up();
        let (now, child) = (net.now, *net.hosts[closer].children.keys().next().unwrap());
        net.act(closer, |e| {
            e.close_child(now, child, DownReason::Configuration);
        });
        net.run_seconds(1);
        assert_eq!(reasons(&net)[closer], [DownReason::Configuration]);
        assert_eq!(reasons(&net)[other], [DownReason::DeletedByPeer]);
        assert_eq!(net.hosts[A].ikes.len(), 1);
        net.run_seconds(40);
        assert_eq!(net.hosts[A].ike_downs, [DownReason::Closed]);
        assert_eq!(net.hosts[B].ike_downs, [DownReason::DeletedByPeer]);
        // Nothing is left that would ever do anything again.
        net.run_seconds(60);
        for host in &net.hosts {
            assert_eq!(host.endpoint.poll_timeout(), None);
        }
    }
}

#[test]
fn both_ends_close_the_same_child_at_once() {
    let mut net = up();
    for host in [A, B] {
        let (now, child) = (net.now, *net.hosts[host].children.keys().next().unwrap());
        net.act(host, |e| e.close_child(now, child, DownReason::Closed));
    }
    net.run_seconds(1);
    assert_eq!(reasons(&net), [[DownReason::Closed], [DownReason::Closed]]);
    assert_eq!(net.hosts[A].ikes.len(), 1);
}

#[test]
fn closing_everything_says_so_at_once_and_to_the_peer() {
    let mut net = up();
    let now = net.now;
    net.act(A, |e| e.close_all(now));
    assert_eq!(reasons(&net)[A], [DownReason::Closed]);
    assert!(net.hosts[A].ikes.is_empty());
    net.run_seconds(1);
    assert_eq!(reasons(&net)[B], [DownReason::DeletedByPeer]);
    assert_eq!(net.hosts[B].ike_downs, [DownReason::DeletedByPeer]);
    // Both ends may set up anew at once.
    net.connect(B, connect(2, B, A));
    net.run_seconds(2);
    net.assert_one_tunnel();
}

#[test]
fn a_peer_that_fell_silent_is_noticed() {
    let mut net = up();
    net.filter = Box::new(|_| false);
    net.run_seconds(58);
    assert_eq!(reasons(&net), [[], []]);
    net.run_seconds(10);
    assert_eq!(
        reasons(&net),
        [[DownReason::PeerSilent], [DownReason::PeerSilent]]
    );
    assert_eq!(net.hosts[A].ike_downs, [DownReason::PeerSilent]);
    assert_eq!(net.hosts[A].endpoint.poll_timeout(), None);
}

#[test]
fn a_peer_that_answers_is_left_in_peace() {
    let mut net = up();
    let sent = net.sent.len();
    net.run_seconds(600);
    net.assert_one_tunnel();
    // One question every half minute, from whichever end asks first, and its answer.
    let said = net.sent.len() - sent;
    assert!((30..=80).contains(&said), "{said}");
}

#[test]
fn a_peer_that_rested_is_asked_soon_but_what_goes_through_the_tunnel_goes_first() {
    let (mut net, gateway) = (up(), name(B));
    let rests = |net: &mut Network, rests| {
        let now = net.now;
        net.act(A, |e| e.rest(now, &gateway, rests));
    };
    rests(&mut net, true);
    net.run_seconds(300);
    let sent = net.sent.len();
    rests(&mut net, false);
    net.run(Duration::from_millis(49));
    assert_eq!(net.sent.len(), sent);
    rests(&mut net, true);
    net.run_seconds(1);
    assert_eq!(net.sent.len(), sent, "it rests again");
    rests(&mut net, false);
    net.run_seconds(1);
    assert_eq!(net.sent.len(), sent + 2);
}

#[test]
fn a_restarted_peer_that_says_nothing_is_noticed_and_wishes_fail() {
    let mut net = up();
    net.restart(B, settings(B, 2));
    net.connect(
        A,
        Connect {
            flow: None,
            ..connect(2, A, B)
        },
    );
    net.run_seconds(40);
    let error = ConnectError::NoAnswer(address(B));
    assert_eq!(net.hosts[A].failures, [(RequestId(2), error)]);
    assert_eq!(reasons(&net)[A], [DownReason::PeerSilent]);
}

#[test]
fn what_the_kernel_refused_is_taken_back() {
    let mut net = up();
    let (now, child) = (net.now, *net.hosts[B].children.keys().next().unwrap());
    net.act(B, |e| e.child_refused(now, child));
    net.run_seconds(1);
    assert!(net.hosts.iter().all(|h| h.children.is_empty()));
    assert_eq!(reasons(&net)[A], [DownReason::DeletedByPeer]);
}

#[test]
fn new_settings_close_what_they_no_longer_allow() {
    type Change = fn(&mut Settings);
    let changes: [(Change, bool); 4] = [
        (|_| (), true),
        (|s| s.peers.clear(), false),
        (|s| s.peers[0].may_protect.clear(), false),
        (|s| s.protects.clear(), false),
    ];
    for (change, stays) in changes {
        let mut net = up();
        let mut new = settings(B, 2);
        change(&mut new);
        let now = net.now;
        net.act(B, |e| e.reload(now, new));
        net.run_seconds(1);
        if stays {
            net.assert_one_tunnel();
        } else {
            assert_eq!(reasons(&net)[B], [DownReason::Configuration]);
            assert_eq!(reasons(&net)[A], [DownReason::DeletedByPeer]);
        }
    }
}

#[test]
fn a_wish_on_an_ike_sa_that_the_peer_closes_is_tried_on_a_new_one() {
    let mut net = up();
    let now = net.now;
    net.act(B, |e| e.close_all(now));
    net.connect(A, connect(2, A, B));
    net.run(Duration::from_millis(1500));
    net.assert_one_tunnel();
    let requests: Vec<_> = net.hosts[A].ups.iter().filter_map(|(_, r)| *r).collect();
    assert_eq!(requests, [RequestId(1), RequestId(2)]);
}

#[test]
fn a_request_that_nobody_heard_the_answer_to_is_sent_again() {
    let mut net = up();
    // Both ask whether the other lives; the process of one is stopped before it hears.
    net.run_seconds(28);
    net.filter = Box::new(|_| false);
    net.run_seconds(2);
    net.filter = Box::new(|_| true);
    net.now += Duration::from_secs(60);
    net.run_seconds(5);
    net.assert_one_tunnel();
    assert_eq!(reasons(&net), [[], []]);
}

#[test]
fn what_runs_over_an_address_that_has_gone_ends_without_a_word() {
    let mut net = up();
    net.connect(B, connect(2, B, A));
    let (now, sent) = (net.now, net.sent.len());
    net.act(A, |e| e.leave_address(now, address(B)));
    assert!(
        reasons(&net)[A].is_empty(),
        "that is not an address of ours"
    );
    net.act(A, |e| e.leave_address(now, address(A)));
    assert_eq!(reasons(&net)[A], [DownReason::AddressGone]);
    assert_eq!(net.hosts[A].ike_downs, [DownReason::AddressGone]);
    assert!(!net.hosts[A].endpoint.is_in_contact(&name(B)));
    assert_eq!(net.sent.len(), sent, "from where should it have been sent?");
    assert_eq!(net.hosts[A].endpoint.poll_timeout(), None);
}

#[test]
fn an_attempt_from_an_address_that_has_gone_is_given_up() {
    let mut net = Network::new(2, 1);
    net.connect(A, connect(1, A, B));
    let now = net.now;
    net.act(A, |e| e.abandon_attempts(now, address(A)));
    let failed = (RequestId(1), ConnectError::Cancelled);
    assert_eq!(net.hosts[A].failures, [failed]);
    net.run_seconds(60);
    assert!(net.hosts[A].ups.is_empty() && net.hosts[B].ups.is_empty());
}
