//! A mobile node and a home agent with a bad network between them, in virtual time.

use super::super::*;
use super::world::*;
use crate::mobile_ip::security::ReplayProtection;
use crate::net::random::Seeded;
use std::collections::BTreeMap;

/// How long datagrams are lost and doubled.
const BAD: Duration = Duration::from_secs(180);

/// What arrives when, and at whom.
#[derive(Default)]
struct Network {
    under_way: BTreeMap<(Duration, u32), (bool, Datagram)>,
    count: u32,
}

impl Network {
    /// A fifth is lost, a fifth comes twice, and everything takes 5 to 400 ms; in the end only the
    /// delay is left.
    fn send(&mut self, random: &mut Seeded, at: Duration, to_home: bool, datagram: &Datagram) {
        let copies = match random.u32() % 5 {
            0 if at < BAD => 0,
            1 if at < BAD => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let delay = Duration::from_millis(5 + u64::from(random.u32() % 396));
            self.count += 1;
            self.under_way
                .insert((at + delay, self.count), (to_home, datagram.clone()));
        }
    }
}

/// Runs for `seconds`, with a move at each of `moves`.
fn run(seed: u64, replay: ReplayProtection, moves: &[u64], seconds: u64) -> (Node, Home) {
    let mut random = Seeded(seed);
    let mut node = Node::new(Settings {
        association: association(replay),
        lifetime: 40,
        ..settings()
    });
    let mut home = Home::new(node.start, replay);
    // Within the window of RFC 5944 §5.7.1.
    let ahead = Duration::from_millis(u64::from(random.u32() % 4000));
    home.clock = Clock::new(node.start, UNIX + ahead);
    let mut network = Network::default();
    let mut moves: Vec<_> = moves.iter().map(|at| Duration::from_secs(*at)).collect();
    moves.reverse();
    let (mut sent, mut epoch) = (0, 0);
    loop {
        let timeout = node.client.poll_timeout().map(|at| at - node.start);
        let arrival = network.under_way.keys().next().map(|(at, _)| *at);
        let next = [timeout, arrival, moves.last().copied()];
        let Some(next) = next.into_iter().flatten().min() else {
            break;
        };
        if next > Duration::from_secs(seconds) {
            break;
        }
        node.now = node.now.max(node.start + next);
        if moves.last().is_some_and(|at| *at <= next) {
            moves.pop();
            epoch += 1;
            node.input(Input::Attach(co_located(epoch)));
        }
        while let Some(entry) = network
            .under_way
            .first_entry()
            .filter(|entry| entry.key().0 <= next)
        {
            let (to_home, datagram) = entry.remove();
            if !to_home {
                node.input(Input::Datagram(datagram));
            } else if let Some(payload) = home.reply(node.now, &datagram.payload, accept) {
                let reply = Datagram {
                    payload,
                    ..datagram
                };
                network.send(&mut random, next, false, &reply);
            }
        }
        let now = next.as_secs_f64();
        if node.client.poll_timeout().is_some_and(|at| at <= node.now) {
            node.wait_until(now);
        }
        for datagram in &node.sent[sent..] {
            network.send(&mut random, next, true, datagram);
        }
        sent = node.sent.len();
    }
    (node, home)
}

fn registered_at_the_end(seed: u64, node: &Node, epoch: u64) {
    let view = node.client.view();
    let registered = view
        .registered
        .unwrap_or_else(|| panic!("seed {seed}: {:?}", node.outcomes));
    assert_eq!(registered.epoch, epoch, "seed {seed}");
}

#[test]
fn a_bad_network_ends_registered_with_growing_identifications() {
    for seed in 0..1000 {
        let (node, home) = run(seed, ReplayProtection::default(), &[0, 21, 47], 200);
        registered_at_the_end(seed, &node, 3);
        let ids = node.sent.iter().map(|sent| request(sent).identification.0);
        assert!(ids.is_sorted_by(|a, b| a < b), "seed {seed}");
        assert!(!home.accepted.is_empty());
    }
}

#[test]
fn nonces_live_through_a_bad_network_too() {
    for seed in 0..300 {
        let (node, _) = run(seed, ReplayProtection::Nonces, &[0, 21, 47], 200);
        registered_at_the_end(seed, &node, 3);
    }
}

#[test]
fn unanswered_requests_over_one_link_are_a_second_apart_at_least() {
    let mut node = Node::new(settings());
    let mut last = None;
    node.input(Input::Attach(co_located(1)));
    for step in 1..400 {
        let before = node.sent.len();
        node.wait_until(f64::from(step) * 0.1);
        if node.sent.len() > before {
            assert!(last.is_none_or(|last| node.now - last >= pacing::LEAST));
            last = Some(node.now);
        }
    }
}

#[test]
fn a_link_that_flaps_ten_times_a_second_is_asked_over_once_a_second() {
    let mut node = Node::new(settings());
    for flap in 0_u32..600 {
        node.wait_until(f64::from(flap) * 0.1);
        node.input(Input::Attach(co_located(u64::from(flap))));
    }
    assert!((50..=65).contains(&node.sent.len()), "{}", node.sent.len());
}

#[test]
fn two_nodes_with_one_association_and_clocks_that_were_set_apart_both_come_through() {
    let mut first = Node::new(settings());
    let mut home = Home::new(first.start, ReplayProtection::default());
    home.clock = Clock::new(first.start, UNIX + Duration::from_secs(100));
    let mut second = Node::new(settings());
    second.client.handle(
        second.now,
        Input::Time(UNIX + Duration::from_millis(98_900)),
    );
    for round in 0..20 {
        for node in [&mut first, &mut second] {
            node.wait_until(f64::from(round) * 2.0);
            node.input(Input::Attach(co_located(1)));
            for _ in 0..3 {
                let payload = node.sent.last().expect("sent").payload.clone();
                let reply = home.reply(node.now, &payload, accept).expect("a reply");
                node.hear(reply);
                if node.client.binding.is_some() {
                    break;
                }
            }
            node.registered();
        }
    }
}
