//! Ladders: what the mobile node sends, what it is told, what it does next.

use super::super::*;
use super::world::*;
use crate::mobile_ip::security::ReplayProtection;
use crate::mobile_ip::wire::advertisement::AgentFlags;
use crate::mobile_ip::wire::{
    AuthenticationKind, Code, Extension, Flags, RegistrationReply, Revocation, RevocationSupport,
    TunnelKind,
};

fn node_and_home(settings: Settings) -> (Node, Home) {
    let replay = settings.association.replay;
    let node = Node::new(settings);
    let home = Home::new(node.start, replay);
    (node, home)
}

fn answer(node: &mut Node, home: &mut Home, code: Code) {
    let payload = node.sent.last().expect("sent").payload.clone();
    let reply = home.reply(node.now, &payload, |request| Answer {
        code,
        ..accept(request)
    });
    node.hear(reply.expect("a reply"));
}

fn seconds(node: &Node) -> Vec<u64> {
    let sent = node.sent.iter().map(request);
    let first = node.sent.first().map(request).expect("sent");
    let first = first.identification.high();
    sent.map(|request| u64::from(request.identification.high() - first))
        .collect()
}

#[test]
fn a_registration_takes_one_round_trip_and_is_renewed_before_its_end() {
    let (mut node, mut home) = node_and_home(settings());
    node.input(Input::Attach(co_located(1)));
    let asked = node.asked();
    assert_eq!(asked.flags, Flags::DECAPSULATION | Flags::REVERSE_TUNNEL);
    assert_eq!(
        (asked.home, asked.home_agent, asked.care_of),
        (HOME, AGENT, CARE_OF)
    );
    assert_eq!(node.sent[0].local, at(CARE_OF, 40434));
    assert_eq!(node.sent[0].remote, at(AGENT, 434));
    node.wait_until(0.05);
    answer(&mut node, &mut home, Code::ACCEPTED);
    let registered = node.registered();
    assert_eq!(registered.round_trip, Duration::from_millis(50));
    assert_eq!(registered.lifetime, Some(Duration::from_secs(600)));
    assert_eq!((registered.tunnel, registered.proof), (Tunnel::IpIp, None));
    node.wait_until(449.0);
    assert_eq!(node.sent.len(), 1);
    node.wait_until(450.0);
    assert_eq!(node.sent.len(), 2);
    answer(&mut node, &mut home, Code::ACCEPTED);
    assert_eq!(node.outcomes.len(), 2);
}

#[test]
fn unanswered_requests_are_repeated_after_one_two_four_and_eight_seconds() {
    let (mut node, _) = node_and_home(settings());
    node.input(Input::Attach(co_located(1))).wait_until(24.0);
    assert_eq!(seconds(&node), [0, 1, 3, 7, 15, 23]);
    assert_eq!(node.outcomes, [Outcome::Unreachable { epoch: 1 }]);
}

#[test]
fn only_the_newest_request_can_be_answered() {
    let (mut node, mut home) = node_and_home(settings());
    node.input(Input::Attach(co_located(1)));
    let first = home.reply(node.now, &node.sent[0].payload, accept);
    node.wait_until(1.5).hear(first.expect("a reply"));
    assert!(node.outcomes.is_empty());
    answer(&mut node, &mut home, Code::ACCEPTED);
    assert_eq!(node.registered().round_trip, Duration::from_millis(500));
}

/// The first may have arrived all the same, so that both have to be one request.
#[test]
fn when_its_way_opens_what_is_unanswered_is_asked_once_more_in_the_same_octets() {
    let (mut node, mut home) = node_and_home(settings());
    node.input(Input::Opened);
    assert!(node.sent.is_empty(), "nothing was asked");
    node.input(Input::Attach(co_located(1))).wait_until(0.05);
    node.input(Input::Opened);
    assert_eq!(node.sent.len(), 2);
    assert_eq!(node.sent[0].payload, node.sent[1].payload);
    let reply = home.reply(node.now, &node.sent[0].payload, accept);
    node.hear(reply.expect("a reply"));
    assert_eq!(node.outcomes.len(), 1);
    node.input(Input::Opened).wait_until(3.0);
    assert_eq!(node.sent.len(), 2, "it is answered");

    // After a while the home agent would not take the old one any more.
    let (mut node, _) = node_and_home(settings());
    node.input(Input::Attach(co_located(1))).wait_until(6.5);
    assert_eq!(seconds(&node), [0, 1, 3]);
    node.input(Input::Opened);
    assert_eq!(seconds(&node), [0, 1, 3, 6]);
}

#[test]
fn a_clock_that_is_hours_wrong_costs_one_more_round_trip() {
    let hours = Duration::from_secs(7200);
    for time in [UNIX + hours, UNIX.saturating_sub(hours)] {
        let (mut node, mut home) = node_and_home(settings());
        home.clock = Clock::new(node.start, time);
        node.input(Input::Attach(co_located(1)));
        answer(&mut node, &mut home, Code::ACCEPTED);
        assert!(node.outcomes.is_empty(), "133");
        answer(&mut node, &mut home, Code::ACCEPTED);
        node.registered();
        assert_eq!(node.sent.len(), 2);
    }
}

#[test]
fn nonces_begin_with_a_refusal_and_then_follow_each_other() {
    let association = association(ReplayProtection::Nonces);
    let (mut node, mut home) = node_and_home(Settings {
        association,
        ..settings()
    });
    node.input(Input::Attach(co_located(1)));
    answer(&mut node, &mut home, Code::ACCEPTED);
    answer(&mut node, &mut home, Code::ACCEPTED);
    node.registered();
    // A repetition is the same octets, so that a lost reply costs nothing (RFC 5944 §3.6.3).
    node.wait_until(451.5);
    assert_eq!(node.sent.len(), 4);
    assert_eq!(node.sent[2], node.sent[3]);
    answer(&mut node, &mut home, Code::ACCEPTED);
    assert_eq!(home.accepted.len(), 2);
}

#[test]
fn what_was_refused_is_left_out_once() {
    let minimal = Settings {
        encapsulation: TunnelKind::Minimal,
        reverse: ReverseTunnel::Wanted,
        ..settings()
    };
    let (mut node, mut home) = node_and_home(minimal);
    node.input(Input::Attach(Attachment {
        keep_others: true,
        ..co_located(1)
    }));
    let all = Flags::DECAPSULATION | Flags::REVERSE_TUNNEL | Flags::MINIMAL | Flags::SIMULTANEOUS;
    assert_eq!(node.asked().flags, all);
    answer(&mut node, &mut home, Code::HA_ENCAPSULATION);
    assert_eq!(node.asked().flags, all.without(Flags::MINIMAL));
    answer(&mut node, &mut home, Code::HA_TOO_MANY_BINDINGS);
    assert_eq!(
        node.asked().flags,
        Flags::DECAPSULATION | Flags::REVERSE_TUNNEL
    );
    answer(&mut node, &mut home, Code::HA_REVERSE_TUNNEL);
    assert_eq!(node.asked().flags, Flags::DECAPSULATION);
    // Wanting it back now would go on for ever.
    answer(&mut node, &mut home, Code::HA_REVERSE_TUNNEL_MANDATORY);
    let Some(Outcome::Denied {
        code,
        retry,
        authenticated: true,
        ..
    }) = node.outcomes.last()
    else {
        panic!("{:?}", node.outcomes);
    };
    assert_eq!(*code, Code::HA_REVERSE_TUNNEL_MANDATORY);
    assert_eq!(*retry, node.now + Duration::from_secs(60));
}

#[test]
fn a_refusal_for_good_is_told_and_tried_again_slowly() {
    for code in [
        Code::HA_PROHIBITED,
        Code::HA_MOBILE_NODE_AUTHENTICATION,
        Code::HA_POORLY_FORMED,
        Code::HA_UNKNOWN_HOME_AGENT,
        Code(177),
    ] {
        let (mut node, mut home) = node_and_home(settings());
        node.input(Input::Attach(co_located(1)));
        answer(&mut node, &mut home, code);
        assert!(matches!(
            node.outcomes[..],
            [Outcome::Denied {
                authenticated: true,
                ..
            }]
        ));
        node.wait_until(59.9);
        assert_eq!(node.sent.len(), 1);
        node.wait_until(60.1);
        assert_eq!(node.sent.len(), 2);
    }
}

#[test]
fn an_unknown_home_agent_is_found_by_broadcast() {
    let unknown = Settings {
        home_agent: HomeAgent::Somewhere(home_network()),
        ..settings()
    };
    let (mut node, mut home) = node_and_home(unknown);
    node.input(Input::Attach(co_located(1)));
    assert_eq!(node.sent[0].remote, at(Ipv4Addr::new(10, 20, 0, 255), 434));
    answer(&mut node, &mut home, Code::HA_UNKNOWN_HOME_AGENT);
    assert_eq!(node.sent[1].remote, at(AGENT, 434));
    answer(&mut node, &mut home, Code::ACCEPTED);
    assert_eq!(node.registered().home_agent, AGENT);
}

#[test]
fn an_address_is_given_to_who_has_only_a_name() {
    let named = Settings {
        home: None,
        nai: Some(b"alice@example.com".to_vec()),
        ..settings()
    };
    let (mut node, mut home) = node_and_home(named);
    node.input(Input::Attach(co_located(1)));
    assert_eq!(node.asked().home, Ipv4Addr::UNSPECIFIED);
    assert_eq!(node.asked().nai(), Some(&b"alice@example.com"[..]));
    answer(&mut node, &mut home, Code::ACCEPTED);
    assert_eq!(node.registered().home, HOME);
    node.input(Input::Attach(co_located(2)));
    assert_eq!(node.asked().home, HOME);
}

#[test]
fn at_home_every_binding_is_taken_back() {
    let (mut node, mut home) = node_and_home(settings());
    node.input(Input::Attach(co_located(1)));
    answer(&mut node, &mut home, Code::ACCEPTED);
    node.input(Input::Home {
        epoch: 2,
        via: LINK,
        local: HOME,
    });
    let asked = node.asked();
    assert_eq!(
        (asked.care_of, asked.lifetime, asked.flags),
        (HOME, 0, Flags::NONE)
    );
    assert_eq!(node.sent[1].local, at(HOME, 40434));
    node.wait_until(2.0);
    answer(&mut node, &mut home, Code::ACCEPTED);
    let last = node.outcomes.last();
    assert!(matches!(
        last,
        Some(Outcome::Deregistered {
            epoch: 2,
            answer: Some(_)
        })
    ));
    node.wait_until(10_000.0);
    assert_eq!(node.sent.len(), 3, "and nothing more");
}

#[test]
fn leaving_is_asked_for_three_times_at_most() {
    let (mut node, _) = node_and_home(settings());
    node.input(Input::Deregister(co_located(1)))
        .wait_until(100.0);
    assert_eq!(node.sent.len(), 3);
    assert_eq!(node.asked().care_of, CARE_OF);
    assert_eq!(node.outcomes, [Outcome::Unreachable { epoch: 1 }]);
}

#[test]
fn the_lifetime_counts_from_the_request_and_its_end_is_told() {
    let (mut node, mut home) = node_and_home(Settings {
        lifetime: 20,
        ..settings()
    });
    node.input(Input::Attach(co_located(1))).wait_until(0.2);
    answer(&mut node, &mut home, Code::ACCEPTED);
    node.wait_until(19.9);
    assert_eq!(node.outcomes.len(), 2, "{:?}", node.outcomes);
    node.wait_until(20.0);
    let lost = Outcome::Lost {
        epoch: 1,
        why: Loss::Expired,
    };
    assert_eq!(node.outcomes.last(), Some(&lost));
}

#[test]
fn a_revocation_is_acknowledged_and_registered_anew() {
    let (mut node, mut home) = node_and_home(Settings {
        revocation: true,
        ..settings()
    });
    node.input(Input::Attach(co_located(1)));
    let time = home.clock.timestamp(node.now).seconds();
    let payload = node.sent[0].payload.clone();
    let support = RevocationSupport {
        inform: true,
        timestamp: time,
    };
    let reply = home.reply(node.now, &payload, |request| Answer {
        extensions: vec![Extension::RevocationSupport(support)],
        ..accept(request)
    });
    node.hear(reply.expect("a reply")).wait_until(100.0);
    let revoke = |identifier| {
        let mut octets = Revocation {
            by_home_agent: true,
            inform: true,
            home: HOME,
            home_domain: AGENT,
            foreign_domain: CARE_OF,
            identifier,
            extensions: Vec::new(),
        }
        .encode();
        home.association
            .sign(AuthenticationKind::MobileHome, &mut octets);
        octets
    };
    node.hear(revoke(time - 1));
    assert_eq!(node.suspicions, [Suspicion::Revocation], "of before");
    node.hear(revoke(time + 100));
    let lost = Outcome::Lost {
        epoch: 1,
        why: Loss::Revoked,
    };
    assert_eq!(node.outcomes.last(), Some(&lost));
    let decoded = Decoded::decode(&node.sent[1].payload).expect("an acknowledgement");
    assert!(
        matches!(&decoded.message, Message::RevocationAck(ack) if ack.identifier == time + 100)
    );
    assert!(
        decoded
            .only_authenticator(AuthenticationKind::MobileHome)
            .is_some()
    );
    assert_eq!(node.asked().lifetime, 600);
    // The acknowledgement was lost.
    node.hear(revoke(time + 100));
    assert_eq!(
        (node.sent.len(), &node.sent[3].payload),
        (4, &node.sent[1].payload)
    );
}

// --- foreign agents ---------------------------------------------------------------------------------

fn visited() -> ForeignAgent {
    ForeignAgent {
        address: FOREIGN,
        care_of: vec![FOREIGN, Ipv4Addr::new(203, 0, 113, 2)],
        lifetime: 300,
        flags: AgentFlags::FOREIGN_AGENT.with(AgentFlags::REVERSE_TUNNEL),
        challenge: Some(vec![1, 2, 3, 4]),
    }
}

fn visiting(epoch: u64) -> Attachment {
    Attachment {
        epoch,
        via: LINK,
        care_of: CareOf::ForeignAgent(visited()),
        keep_others: false,
    }
}

fn denial(node: &Node, code: Code, lifetime: u16) -> RegistrationReply {
    let asked = node.asked();
    RegistrationReply {
        code,
        lifetime,
        home: asked.home,
        home_agent: asked.home_agent,
        identification: asked.identification,
        extensions: Vec::new(),
    }
}

#[test]
fn a_foreign_agent_gets_what_it_has_advertised() {
    let encapsulating = Settings {
        delivery: Delivery::Encapsulating,
        encapsulation: TunnelKind::Gre,
        foreign_agents: vec![(FOREIGN, association(ReplayProtection::default()))],
        ..settings()
    };
    let (mut node, _) = node_and_home(encapsulating);
    node.input(Input::Attach(visiting(1)));
    let asked = node.asked();
    assert_eq!(
        asked.flags,
        Flags::REVERSE_TUNNEL,
        "no D, and no G that it cannot"
    );
    assert_eq!((asked.care_of, asked.lifetime), (FOREIGN, 300));
    assert_eq!(node.sent[0].local, at(HOME, 40434));
    assert_eq!(node.sent[0].remote, at(FOREIGN, 434));
    let kinds: Vec<_> = asked
        .extensions
        .iter()
        .map(Extension::extension_type)
        .collect();
    assert_eq!(
        kinds,
        [32, 130, 132, 33],
        "in the order of RFC 5944 §3.6.1.3"
    );
}

#[test]
fn what_a_foreign_agent_cannot_is_left_out() {
    let (mut node, mut home) = node_and_home(settings());
    node.input(Input::Attach(visiting(1)));
    node.hear(denial(&node, Code::FA_LIFETIME, 120).encode());
    assert_eq!(node.asked().lifetime, 120);
    node.hear(denial(&node, Code::FA_CARE_OF_ADDRESS, 0).encode());
    assert_eq!(node.asked().care_of, Ipv4Addr::new(203, 0, 113, 2));
    let fresh = RegistrationReply {
        extensions: vec![Extension::Challenge(vec![9, 9])],
        ..denial(&node, Code::FA_STALE_CHALLENGE, 0)
    };
    node.hear(fresh.encode());
    assert!(
        node.asked()
            .extensions
            .contains(&Extension::Challenge(vec![9, 9]))
    );
    answer(&mut node, &mut home, Code::ACCEPTED);
    assert_eq!(
        node.registered().tunnel,
        Tunnel::ByForeignAgent(Delivery::Direct)
    );
}

#[test]
fn an_unsigned_denial_of_a_foreign_agent_only_waits_for_the_repetition() {
    let (mut node, mut home) = node_and_home(settings());
    node.input(Input::Attach(visiting(1)));
    node.hear(denial(&node, Code::FA_PROHIBITED, 0).encode());
    assert!(matches!(
        node.outcomes[..],
        [Outcome::Denied {
            authenticated: false,
            ..
        }]
    ));
    node.wait_until(1.0);
    answer(&mut node, &mut home, Code::ACCEPTED);
    node.registered();
}

#[test]
fn a_missing_challenge_is_solicited() {
    let (mut node, _) = node_and_home(settings());
    node.input(Input::Attach(visiting(1)));
    node.hear(denial(&node, Code::FA_UNKNOWN_CHALLENGE, 0).encode());
    assert_eq!(node.solicited, 1);
}

fn challenges(node: &mut Node, code: Code, challenge: &[u8]) {
    let denial = RegistrationReply {
        extensions: vec![Extension::Challenge(challenge.to_vec())],
        ..denial(node, code, 0)
    };
    node.hear(denial.encode());
}

fn is_answered(node: &Node, challenge: &[u8]) -> bool {
    let answered = Extension::Challenge(challenge.to_vec());
    node.asked().extensions.contains(&answered)
}

#[test]
fn a_challenge_that_is_too_old_at_a_renewal_is_replaced_each_time() {
    let (mut node, mut home) = node_and_home(settings());
    node.input(Input::Attach(visiting(1)));
    answer(&mut node, &mut home, Code::ACCEPTED);
    for round in 1..4 {
        let renewal = node.client.poll_timeout().expect("it is renewed");
        node.wait_until((renewal - node.start).as_secs_f64() + 0.1);
        challenges(&mut node, Code::FA_UNKNOWN_CHALLENGE, &[round; 4]);
        assert!(is_answered(&node, &[round; 4]), "{:?}", node.outcomes);
        answer(&mut node, &mut home, Code::ACCEPTED);
        node.registered();
    }
}

#[test]
fn a_challenge_that_was_used_up_by_a_request_that_was_lost_is_replaced_with_the_repetition() {
    let (mut node, mut home) = node_and_home(settings());
    node.input(Input::Attach(visiting(1)));
    challenges(&mut node, Code::FA_STALE_CHALLENGE, &[9; 4]);
    assert!(is_answered(&node, &[9; 4]));
    node.wait_until(1.1);
    challenges(&mut node, Code::FA_STALE_CHALLENGE, &[8; 4]);
    assert_eq!((node.sent.len(), &node.outcomes[..]), (3, &[][..]));
    node.wait_until(3.1);
    assert!(is_answered(&node, &[8; 4]));
    answer(&mut node, &mut home, Code::ACCEPTED);
    node.registered();
}
