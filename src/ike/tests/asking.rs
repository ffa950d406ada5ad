//! Questions between agents.

use super::network::{
    A, B, CLEAN, Network, ROUGH, address, backwards, connect, name, question, settings,
};
use crate::ike::effects::{AskError, DownReason};
use crate::ike::settings::{Connect, MAX_DATA, Question, QuestionId};
use crate::ike::wire::{Delete, Exchange, NotifyKind, Payload, ProtocolId};
use std::time::Duration;

fn up(seed: u64) -> Network {
    let mut net = Network::new(2, seed);
    net.connect(A, connect(1, A, B));
    net.run_seconds(2);
    net.assert_one_tunnel();
    net
}

#[test]
fn a_question_is_answered_when_the_agent_answers() {
    // A                                          B
    // INFORMATIONAL {N(QUESTION)}       ──→      Asked
    //   again, after half a second      ──→      passed over
    //                                            answer
    // Answered                          ←──
    let mut net = up(1);
    for (asker, other) in [(A, B), (B, A)] {
        let sent = net.sent.len();
        net.ask(asker, question(7, asker, other));
        net.run(Duration::from_millis(900));
        let asked = &net.hosts[other].asked;
        assert_eq!(asked.len(), 1);
        assert_eq!(
            (&asked[0].peer, &asked[0].data[..]),
            (&name(asker), &b"question 7"[..])
        );
        assert!(net.hosts[asker].answers.is_empty());
        net.answer(other, Some(b"that"));
        // What comes twice is not answered twice.
        net.answer(other, Some(b"this"));
        net.run(Duration::from_millis(50));
        let answer = (QuestionId(7), Some(b"that".to_vec()));
        assert_eq!(net.hosts[asker].answers, [answer]);
        assert_eq!(net.sent.len(), sent + 3);
    }
    net.assert_one_tunnel();
}

#[test]
fn an_agent_that_knows_nothing_or_says_nothing_or_too_much_leaves_the_answer_empty() {
    let too_much = vec![0; MAX_DATA + 1];
    for answer in [None, Some(&too_much[..])] {
        let mut net = up(1);
        net.ask(A, question(1, A, B));
        net.run(Duration::from_millis(10));
        net.answer(B, answer);
        net.run(Duration::from_millis(10));
        assert_eq!(net.hosts[A].answers, [(QuestionId(1), None)]);
    }
    let mut net = up(1);
    net.ask(A, question(1, A, B));
    net.run(Duration::from_millis(4990));
    assert!(net.hosts[A].answers.is_empty());
    net.run(Duration::from_millis(50));
    assert_eq!(net.hosts[A].answers, [(QuestionId(1), None)]);
    // Too late.
    net.answer(B, Some(b"that"));
    net.run_seconds(1);
    assert_eq!(net.hosts[A].answers.len(), 1);
    assert_eq!(net.hosts[B].asked.len(), 1);
}

#[test]
fn under_loss_every_question_of_both_ends_is_asked_once_and_answered_once() {
    for seed in 0..60 {
        let mut net = up(seed);
        net.conditions = ROUGH;
        for host in &mut net.hosts {
            host.answers_at_once = true;
        }
        let count = 12;
        for id in 0..count {
            net.ask(A, question(id, A, B));
            net.ask(B, question(100 + id, B, A));
            net.run(Duration::from_millis(seed % 40));
        }
        net.run_seconds(120);
        for (host, other, first) in [(A, B, 0), (B, A, 100)] {
            let expected: Vec<_> = (first..first + count)
                .map(|id| {
                    let answer = backwards(&question(id, host, other).data);
                    (QuestionId(id), Some(answer))
                })
                .collect();
            assert_eq!(net.hosts[host].answers, expected, "seed {seed}");
            let asked: Vec<_> = net.hosts[other].asked.iter().map(|a| &a.data).collect();
            let sent: Vec<_> = (first..first + count)
                .map(|id| question(id, host, other).data)
                .collect();
            assert_eq!(asked, sent.iter().collect::<Vec<_>>(), "seed {seed}");
            assert!(net.hosts[host].ask_failures.is_empty());
        }
        net.conditions = CLEAN;
        net.run_seconds(60);
        net.assert_one_tunnel();
    }
}

#[test]
fn while_a_question_waits_the_other_direction_goes_on_and_its_own_queues() {
    let mut net = up(1);
    net.ask(A, question(1, A, B));
    net.run(Duration::from_millis(20));
    // Our own requests have a window of their own.
    let (now, child) = (net.now, *net.hosts[B].children.keys().next().unwrap());
    net.act(B, |e| e.rekey_child(now, child));
    net.ask(B, question(2, B, A));
    net.ask(A, question(3, A, B));
    net.run_seconds(1);
    // The replacement is there; its Delete waits behind the question of the same end.
    assert_eq!(net.hosts[B].ups.len(), 2);
    assert_eq!(net.hosts[A].asked.len(), 1);
    assert_eq!(net.hosts[B].asked.len(), 1);
    net.answer(B, Some(b"one"));
    net.answer(A, Some(b"two"));
    net.run_seconds(1);
    net.answer(B, Some(b"three"));
    net.run_seconds(1);
    let said = |data: &[u8]| Some(data.to_vec());
    assert_eq!(
        net.hosts[A].answers,
        [
            (QuestionId(1), said(b"one")),
            (QuestionId(3), said(b"three"))
        ]
    );
    assert_eq!(net.hosts[B].answers, [(QuestionId(2), said(b"two"))]);
    assert_eq!(net.hosts[B].downs, [(child, DownReason::Replaced)]);
    net.assert_one_tunnel();
}

#[test]
fn a_question_that_cannot_be_asked_fails_at_once() {
    let mut net = Network::new(2, 1);
    net.ask(A, question(1, A, B));
    let nobody = AskError::NotInContact(name(B));
    assert_eq!(net.hosts[A].ask_failures, [(QuestionId(1), nobody.clone())]);
    net.connect(A, connect(1, A, B));
    net.run_seconds(2);
    net.ask(
        A,
        Question {
            local: "192.0.2.99".parse().unwrap(),
            ..question(2, A, B)
        },
    );
    let long = |octets| Question {
        data: vec![1; octets],
        ..question(3, A, B)
    };
    net.ask(A, long(MAX_DATA + 1));
    assert_eq!(
        net.hosts[A].ask_failures[1..],
        [
            (QuestionId(2), nobody),
            (QuestionId(3), AskError::TooLong(MAX_DATA + 1))
        ]
    );
    net.hosts[B].answers_at_once = true;
    net.ask(A, long(MAX_DATA));
    net.run_seconds(1);
    assert_eq!(
        net.hosts[A].answers,
        [(QuestionId(3), Some(vec![1; MAX_DATA]))]
    );
}

#[test]
fn of_too_many_questions_the_last_are_refused() {
    let mut net = up(1);
    net.hosts[B].answers_at_once = true;
    // One is on its way, 64 wait.
    for id in 0..70 {
        net.ask(A, question(id, A, B));
    }
    let refused: Vec<u64> = net.hosts[A].ask_failures.iter().map(|(q, _)| q.0).collect();
    assert_eq!(refused, [65, 66, 67, 68, 69]);
    assert_eq!(net.hosts[A].ask_failures[0].1, AskError::Busy(name(B)));
    net.run_seconds(5);
    assert_eq!(net.hosts[A].answers.len(), 65);
}

#[test]
fn questions_fail_with_their_ike_sa() {
    let lost = |reason| AskError::Lost {
        peer: name(B),
        reason,
    };
    let ask_two = |net: &mut Network| {
        net.ask(A, question(1, A, B));
        net.ask(A, question(2, A, B));
    };
    let failed = |net: &Network| net.hosts[A].ask_failures.clone();

    let mut net = up(1);
    net.filter = Box::new(|_| false);
    ask_two(&mut net);
    net.run_seconds(40);
    let silent = lost(DownReason::PeerSilent);
    let both = |e: AskError| [(QuestionId(1), e.clone()), (QuestionId(2), e)];
    assert_eq!(failed(&net), both(silent));

    let mut net = up(1);
    ask_two(&mut net);
    let now = net.now;
    net.act(A, |e| e.close_all(now));
    assert_eq!(failed(&net), both(lost(DownReason::Closed)));
    net.run_seconds(2);
    assert!(net.hosts[A].answers.is_empty());

    // The asked end closes: what it has been asked is answered with nothing first.
    let mut net = up(1);
    net.ask(A, question(1, A, B));
    net.run(Duration::from_millis(20));
    let now = net.now;
    net.act(B, |e| e.close_all(now));
    net.answer(B, Some(b"too late"));
    net.run_seconds(1);
    assert_eq!(net.hosts[A].answers, [(QuestionId(1), None)]);

    let mut net = up(1);
    net.ask(B, question(1, B, A));
    net.run(Duration::from_millis(20));
    let (now, sent) = (net.now, net.sent.len());
    net.act(A, |e| e.leave_address(now, address(A)));
    net.answer(A, Some(b"too late"));
    assert_eq!(net.sent.len(), sent, "from where should it have been sent?");
    assert_eq!(net.hosts[A].endpoint.poll_timeout(), None);
}

/// A request of A's made by hand comes to B.
fn slip_in(net: &mut Network, payloads: Vec<Payload>) {
    let endpoint = &mut net.hosts[A].endpoint;
    let sa = endpoint.sas.values_mut().next().unwrap();
    let (from, at) = (sa.local, sa.remote);
    let request = sa.request(&mut endpoint.ctx, Exchange::INFORMATIONAL, payloads);
    let now = net.now;
    net.act(B, |e| e.handle_datagram(now, at, from, &request));
}

#[test]
fn a_question_beside_a_delete_is_answered_with_it() {
    let mut net = up(1);
    let spi = net.hosts[A].children.values().next().unwrap().0.spi_in;
    let payloads = vec![
        Payload::Delete(Delete::Child {
            protocol: ProtocolId::ESP,
            spis: vec![spi],
        }),
        Payload::notify(NotifyKind::QUESTION, b"and you?".to_vec()),
    ];
    slip_in(&mut net, payloads);
    assert_eq!(net.hosts[B].asked.len(), 1);
    assert!(net.hosts[B].children.is_empty());
    let sent = net.sent.len();
    net.answer(B, Some(b"I too"));
    let sa = net.hosts[A].endpoint.sas.values_mut().next().unwrap();
    let answer = sa.open(&net.sent[sent].2).unwrap();
    assert_eq!(answer.deletes().count(), 1);
    let data = &answer.notification(NotifyKind::QUESTION).unwrap().data;
    assert_eq!(data, b"I too");
}

#[test]
fn what_is_asked_too_long_is_not_passed_on() {
    let mut net = up(1);
    let sent = net.sent.len();
    let long = Payload::notify(NotifyKind::QUESTION, vec![0; MAX_DATA + 1]);
    slip_in(&mut net, vec![long]);
    assert!(net.hosts[B].asked.is_empty());
    assert_eq!(net.sent.len(), sent + 1);
}

#[test]
fn who_has_not_authenticated_cannot_ask() {
    let mut both = [settings(A, 2), settings(B, 2)];
    both[A].peers[0].psk = crate::net::Secret::from(&b"sardine"[..]);
    let mut net = Network::with(both.to_vec(), 1);
    net.connect(A, connect(1, A, B));
    net.run(Duration::from_millis(20));
    // The keys of the IKE SA are known to whoever began it; the pre-shared key is not.
    for exchange in [Exchange::INFORMATIONAL, Exchange::IKE_AUTH] {
        let endpoint = &mut net.hosts[A].endpoint;
        let attempt = endpoint.attempts.values_mut().next().unwrap();
        let sa = &mut attempt.candidates[0].sa;
        sa.next_request = 1;
        let (from, at) = (sa.local, sa.remote);
        let payloads = vec![Payload::notify(NotifyKind::QUESTION, b"?".to_vec())];
        let request = sa.request(&mut endpoint.ctx, exchange, payloads);
        let now = net.now;
        net.act(B, |e| e.handle_datagram(now, at, from, &request));
    }
    net.run_seconds(5);
    assert!(net.hosts[B].asked.is_empty());
    assert!(net.hosts[B].ikes.is_empty());
}

#[test]
fn another_make_is_not_asked_what_it_would_misunderstand() {
    let mut net = up(1);
    let sa = net.hosts[A].endpoint.sas.values_mut().next().unwrap();
    sa.ours = false;
    let sent = net.sent.len();
    net.ask(A, question(1, A, B));
    assert_eq!(net.hosts[A].answers, [(QuestionId(1), None)]);
    assert_eq!(net.sent.len(), sent);
    // Nor is it understood to ask.
    net.ask(B, question(2, B, A));
    net.run_seconds(1);
    assert!(net.hosts[A].asked.is_empty());
    assert_eq!(net.hosts[B].answers, [(QuestionId(2), None)]);
}

/// An IKE SA whose child has gone, and how long it stays after `act`.
fn life_without_children(act: impl FnOnce(&mut Network)) -> u64 {
    let mut net = up(1);
    net.hosts[B].answers_at_once = true;
    let (now, child) = (net.now, *net.hosts[A].children.keys().next().unwrap());
    net.act(A, |e| e.close_child(now, child, DownReason::Closed));
    net.run_seconds(1);
    act(&mut net);
    let mut seconds = 0;
    while !net.hosts[A].ikes.is_empty() && seconds < 600 {
        net.run_seconds(1);
        seconds += 1;
    }
    net.run_seconds(1);
    assert_eq!(net.hosts[A].ikes.len(), net.hosts[B].ikes.len());
    seconds
}

#[test]
fn an_ike_sa_is_kept_a_minute_after_a_question_and_as_long_as_its_peer_is_held() {
    assert!((28..32).contains(&life_without_children(|_| ())));
    let asked = life_without_children(|net| net.ask(A, question(1, A, B)));
    assert!((59..62).contains(&asked), "{asked}");
    let hold = |net: &mut Network, host: usize, held| {
        let (now, other) = (net.now, name(1 - host));
        net.act(host, |e| e.hold(now, &other, held));
    };
    let held = life_without_children(|net| {
        hold(net, A, true);
        hold(net, B, true);
    });
    assert_eq!(held, 600);
    let released = life_without_children(|net| {
        hold(net, A, true);
        net.run_seconds(50);
        hold(net, A, false);
    });
    // The other end would have closed it a minute after the child went.
    assert!((9..32).contains(&released), "{released}");
}

#[test]
fn an_ike_sa_without_a_child_can_be_asked_over() {
    let mut both = [settings(A, 2), settings(B, 2)];
    both[B].protects.clear();
    let mut net = Network::with(both.to_vec(), 1);
    net.hosts[B].answers_at_once = true;
    net.connect(
        A,
        Connect {
            flow: None,
            ..connect(1, A, B)
        },
    );
    net.run_seconds(1);
    assert!(net.hosts[A].ikes.is_empty() && net.hosts[A].failures.len() == 1);
    net.ask(A, question(1, A, B));
    net.run_seconds(1);
    let answer = backwards(b"question 1");
    assert_eq!(net.hosts[A].answers, [(QuestionId(1), Some(answer))]);
    assert_eq!((net.hosts[A].ikes.len(), net.hosts[B].ikes.len()), (1, 1));
}
