//! Replies that must change nothing.

use super::super::*;
use super::world::*;
use crate::mobile_ip::security::ReplayProtection;
use crate::mobile_ip::wire::{
    AuthenticationKind, Code, Extension, Identification, RegistrationReply,
};
use crate::net::Secret;
use proptest::prelude::*;

fn asking() -> (Node, Home) {
    let mut node = Node::new(settings());
    let home = Home::new(node.start, ReplayProtection::default());
    node.input(Input::Attach(co_located(1)));
    (node, home)
}

/// Hears `payload` and is afterwards as it was: asking, with the same deadline, and able to be
/// answered.
fn unmoved_by(node: &mut Node, home: &mut Home, payload: Vec<u8>) {
    let before = (
        node.sent.len(),
        node.client.poll_timeout(),
        node.outcomes.clone(),
    );
    node.hear(payload);
    let after = (
        node.sent.len(),
        node.client.poll_timeout(),
        node.outcomes.clone(),
    );
    assert_eq!(before, after);
    assert!(node.client.binding.is_none() && node.client.pending.is_some());
    assert_eq!(node.client.home_agent, Some(home.address));
}

fn right_reply(node: &Node, home: &mut Home) -> Vec<u8> {
    let payload = node.sent.last().expect("sent").payload.clone();
    home.reply(node.now, &payload, accept).expect("a reply")
}

#[test]
fn a_wrong_key_changes_nothing() {
    let (mut node, mut home) = asking();
    home.association.key = Secret::from(&b"guessed"[..]);
    let asked = node.asked();
    for code in [0, 1, 128, 131, 133, 136] {
        let forged = home.sign(
            &asked,
            asked.identification,
            Answer {
                code: Code(code),
                lifetime: 600,
                extensions: Vec::new(),
            },
        );
        unmoved_by(&mut node, &mut home, forged);
    }
    assert_eq!(node.suspicions, [Suspicion::WrongAuthenticator; 6]);
}

#[test]
fn no_authenticator_or_two_of_them_change_nothing() {
    let (mut node, mut home) = asking();
    let right = right_reply(&node, &mut home);
    unmoved_by(&mut node, &mut home, right[..20].to_vec());
    let mut twice = right.clone();
    home.association
        .sign(AuthenticationKind::MobileHome, &mut twice);
    unmoved_by(&mut node, &mut home, twice);
    assert_eq!(node.suspicions, [Suspicion::NotAuthenticated; 2]);
    node.hear(right);
    node.registered();
}

#[test]
fn another_identification_changes_nothing_and_fills_no_log() {
    let (mut node, mut home) = asking();
    let asked = node.asked();
    // The second has the low half of the right one: it was accepted whole seconds before.
    for differing in [1, 1 << 32] {
        let other = Identification(asked.identification.0 ^ differing);
        let stale = home.sign(&asked, other, accept(&asked));
        unmoved_by(&mut node, &mut home, stale);
    }
    assert!(node.suspicions.is_empty());
}

#[test]
fn a_foreign_agent_that_nobody_asked_cannot_deny() {
    let (mut node, mut home) = asking();
    let asked = node.asked();
    for code in [64, 69, 78, 88, 104, 194] {
        let denial = RegistrationReply {
            code: Code(code),
            lifetime: 1,
            home: HOME,
            home_agent: AGENT,
            identification: asked.identification,
            extensions: Vec::new(),
        };
        unmoved_by(&mut node, &mut home, denial.encode());
    }
}

#[test]
fn what_stands_behind_the_authenticator_proves_nothing() {
    let (mut node, mut home) = asking();
    let mut reply = right_reply(&node, &mut home);
    Extension::TrustedNetworksConfigured.encode(&mut reply);
    node.hear(reply);
    assert_eq!(node.registered().proof, None);
}

#[test]
fn a_reply_is_believed_once() {
    let (mut node, mut home) = asking();
    let reply = right_reply(&node, &mut home);
    for _ in 0..3 {
        node.hear(reply.clone());
    }
    assert_eq!(node.outcomes.len(), 1);
}

proptest! {
    #[test]
    fn one_wrong_octet_or_a_cut_changes_nothing(at in 0_usize..58, flip in 1_u8..=255, cut: bool) {
        let (mut node, mut home) = asking();
        let mut reply = right_reply(&node, &mut home);
        let at = at.min(reply.len() - 1);
        if cut {
            reply.truncate(at);
        } else {
            reply[at] ^= flip;
        }
        unmoved_by(&mut node, &mut home, reply);
    }

    #[test]
    fn any_octets_change_nothing(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (mut node, mut home) = asking();
        unmoved_by(&mut node, &mut home, payload);
    }

    #[test]
    fn any_reply_without_the_key_changes_nothing(
        code: u8,
        lifetime: u16,
        high: u32,
        agent: Ipv4Addr,
    ) {
        let (mut node, mut home) = asking();
        let low = node.asked().identification.low();
        let reply = RegistrationReply {
            code: Code(code),
            lifetime,
            home: HOME,
            home_agent: agent,
            identification: Identification::of_halves(high, low),
            extensions: vec![Extension::TrustedNetworksConfigured],
        };
        unmoved_by(&mut node, &mut home, reply.encode());
    }
}
