//! Whatever is told to the mobile node, in whatever order: it never asks too often, never says what
//! nobody granted, and goes quiet when told to.

use super::super::*;
use super::world::*;
use crate::mobile_ip::security::ReplayProtection;
use crate::mobile_ip::wire::Code;
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Attach(bool),
    Detach,
    Home,
    Deregister,
    Renew,
    Opened,
    Probe,
    Time(u32),
    Wait(u16),
    /// The home agent answers the newest request, with this code.
    Answer(u8),
    /// It answers an older one.
    Late(u8),
    Octets(Vec<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        any::<bool>().prop_map(Step::Attach),
        Just(Step::Detach),
        Just(Step::Home),
        Just(Step::Deregister),
        Just(Step::Renew),
        Just(Step::Opened),
        Just(Step::Probe),
        (0..20_000_u32).prop_map(Step::Time),
        (0..5000_u16).prop_map(Step::Wait),
        (0..5000_u16).prop_map(Step::Wait),
        Just(Step::Answer(0)),
        Just(Step::Answer(0)),
        (128..145_u8).prop_map(Step::Answer),
        any::<u8>().prop_map(Step::Late),
        vec(any::<u8>(), 0..60).prop_map(Step::Octets),
    ]
}

fn take(node: &mut Node, home: &mut Home, step: &Step, millis: &mut u64) {
    let epoch = *millis;
    let datagram = |nth: usize, node: &Node| node.sent.get(nth).cloned();
    match step {
        Step::Attach(keep_others) => {
            let attachment = Attachment {
                keep_others: *keep_others,
                ..co_located(epoch)
            };
            node.input(Input::Attach(attachment));
        }
        Step::Detach => {
            node.input(Input::Detach);
            assert_eq!(node.client.poll_timeout(), None);
        }
        Step::Home => {
            node.input(Input::Home {
                epoch,
                via: LINK,
                local: HOME,
            });
        }
        Step::Deregister => {
            node.input(Input::Deregister(co_located(epoch)));
        }
        Step::Renew => {
            node.input(Input::Renew);
        }
        Step::Opened => {
            node.input(Input::Opened);
        }
        Step::Probe => {
            node.input(Input::Probe {
                via: LINK,
                local: CARE_OF,
            });
        }
        Step::Time(seconds) => {
            let unix = UNIX.saturating_sub(Duration::from_secs(10_000));
            node.input(Input::Time(unix + Duration::from_secs((*seconds).into())));
        }
        Step::Wait(wait) => {
            *millis += u64::from(*wait);
            node.wait_until(Duration::from_millis(*millis).as_secs_f64());
        }
        Step::Answer(code) => {
            let newest = datagram(node.sent.len().wrapping_sub(1), node);
            reply(node, home, newest, Code(*code));
        }
        Step::Late(nth) => {
            let older = datagram(usize::from(*nth), node);
            reply(node, home, older, Code::ACCEPTED);
        }
        Step::Octets(payload) => {
            if !node.sent.is_empty() {
                node.hear(payload.clone());
            }
        }
    }
}

fn reply(node: &mut Node, home: &mut Home, asked: Option<Datagram>, code: Code) {
    let Some(asked) = asked else {
        return;
    };
    let payload = home.reply(node.now, &asked.payload, |request| Answer {
        code,
        ..accept(request)
    });
    node.input(Input::Datagram(Datagram {
        payload: payload.expect("it was signed"),
        ..asked
    }));
}

proptest! {
    #[test]
    fn any_order_of_inputs_is_lived_through(
        steps in vec(step(), 0..80),
        nonces: bool,
    ) {
        let replay = if nonces { ReplayProtection::Nonces } else { ReplayProtection::default() };
        let mut node = Node::new(Settings {
            association: association(replay),
            lifetime: 30,
            ..settings()
        });
        let mut home = Home::new(node.start, replay);
        let mut millis = 0;
        for step in &steps {
            take(&mut node, &mut home, step, &mut millis);
            let granted = node.outcomes.iter().filter(|outcome| {
                matches!(outcome, Outcome::Registered(_) | Outcome::Deregistered { .. })
            });
            prop_assert!(granted.count() <= home.accepted.len());
        }
        // RFC 5944 §2.4.2: one a second on average, after a few.
        prop_assert!(node.sent.len() as u64 <= millis / 1000 + 7);
        // And whatever happened, a link that works ends registered: at once, or when the slow
        // repetition of a denial comes.
        node.input(Input::Attach(co_located(u64::MAX)));
        for _ in 0..100 {
            let newest = node.sent.last().cloned();
            reply(&mut node, &mut home, newest, Code::ACCEPTED);
            if node.client.binding.is_some() {
                break;
            }
            millis += 500;
            node.wait_until(Duration::from_millis(millis).as_secs_f64());
        }
        let view = node.client.view();
        prop_assert_eq!(view.registered.map(|registered| registered.epoch), Some(u64::MAX));
    }
}
