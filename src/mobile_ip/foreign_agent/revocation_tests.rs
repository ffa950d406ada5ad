//! Our home agent revokes, and our foreign agent obeys it and nobody else; and the other way round.

use super::tests::{association, effects, hear, request, settings, signed};
use super::*;
use crate::mobile_ip::home_agent::effects::{Effect as HomeEffect, Input as HomeInput, Told};
use crate::mobile_ip::home_agent::settings as home;
use crate::mobile_ip::home_agent::{HomeAgent, settings::Limits};
use crate::mobile_ip::wire::advertisement::{AgentFlags, Discovery, Sequence};
use crate::mobile_ip::wire::{
    AuthenticationKind, Extension, Flags, RegistrationRequest, Revocation, RevocationAck,
    RevocationSupport,
};
use crate::net::random::Seeded;
use std::net::SocketAddrV4;
use std::sync::Arc;

const UNIX: Duration = Duration::from_secs(1_800_000_000);

/// Both agents, and a clock that is the same for both.
struct Pair {
    now: Instant,
    foreign: ForeignAgent,
    home: HomeAgent,
}

impl Pair {
    fn new() -> Self {
        let now = Instant::now();
        let asked = request();
        let with_home = settings();
        let care_of = with_home.care_of;
        let foreign = Settings {
            home_agents: vec![(asked.home_agent, association(b"agents"))],
            ..with_home
        };
        let node = home::MobileNode {
            home: Some(asked.home),
            nai: None,
            security: vec![association(b"home")],
            networks: Vec::new(),
            networks6: Vec::new(),
        };
        let home = home::Settings {
            address: asked.home_agent,
            home_network: "10.20.0.0/16".parse().unwrap(),
            home_link: home::HomeLink::Virtual,
            mobile_nodes: vec![Arc::new(node)],
            foreign_agents: vec![home::ForeignAgent {
                address: care_of,
                security: association(b"agents"),
            }],
            pool: None,
            trusted: Vec::new(),
            encapsulations: Vec::new(),
            reverse_tunnel: home::ReverseTunnel::Allowed,
            nat: home::NatTraversal::default(),
            limits: Limits::default(),
        };
        let random = || Box::new(Seeded(5));
        let clock = Clock::new(now, UNIX);
        let mut foreign = ForeignAgent::new(now, foreign, random());
        foreign.handle(now, Input::Time(UNIX));
        while foreign.poll_effect().is_some() {}
        Self {
            now,
            foreign,
            home: HomeAgent::new(now, clock, home, Vec::new(), random()),
        }
    }

    /// What the foreign agent has passed on goes to the home agent, and what that sends comes back.
    fn exchange(&mut self, sent: Vec<Effect>) -> (Vec<Effect>, Vec<Told>) {
        for effect in sent {
            if let Effect::Relay(datagram) = effect {
                let datagram = Datagram {
                    local: datagram.remote,
                    remote: datagram.local,
                    ..datagram
                };
                self.home.handle(self.now, HomeInput::Datagram(datagram));
            }
        }
        let (mut heard, mut told) = (Vec::new(), Vec::new());
        while let Some(effect) = self.home.poll_effect() {
            match effect {
                HomeEffect::Send(datagram) => heard.extend(self.hear(datagram)),
                HomeEffect::Tell(what) => told.push(what),
                _ => {}
            }
        }
        (heard, told)
    }

    /// From the home agent.
    fn hear(&mut self, datagram: Datagram) -> Vec<Effect> {
        let datagram = Datagram {
            local: datagram.remote,
            remote: datagram.local,
            ..datagram
        };
        let (ttl, mac) = (60, None);
        self.foreign
            .handle(self.now, Input::Datagram { datagram, ttl, mac });
        effects(&mut self.foreign)
    }

    /// At a time since the beginning.
    fn register(&mut self, after: Duration) {
        let asked = RegistrationRequest {
            identification: Clock::new(self.now, UNIX + after)
                .timestamp(self.now)
                .into(),
            ..request()
        };
        let relayed = hear(&mut self.foreign, self.now, signed(&asked));
        self.exchange(relayed);
        assert_eq!(self.foreign.view().visitors.len(), 1);
    }

    fn revocation(&self, change: impl FnOnce(&mut Revocation), key: &[u8]) -> Datagram {
        let asked = request();
        let mut revocation = Revocation {
            by_home_agent: true,
            inform: false,
            home: asked.home,
            home_domain: asked.home_agent,
            foreign_domain: asked.care_of,
            identifier: Clock::new(self.now, UNIX).timestamp(self.now).seconds(),
            extensions: Vec::new(),
        };
        change(&mut revocation);
        let mut payload = revocation.encode();
        association(key).sign(AuthenticationKind::ForeignHome, &mut payload);
        Datagram {
            via: Via::Routed,
            local: SocketAddrV4::new(asked.home_agent, 434),
            remote: SocketAddrV4::new(asked.care_of, 434),
            payload,
        }
    }
}

#[test]
fn a_revoked_visitor_is_dropped_and_told_and_the_home_agent_hears_so() {
    let mut pair = Pair::new();
    pair.register(Duration::ZERO);
    let home = request().home;
    pair.home.handle(pair.now, HomeInput::Revoke(home));
    let (done, told) = pair.exchange(Vec::new());
    let revoked = |told: &Told| matches!(told, Told::Revoked { .. });
    assert!(told.iter().any(revoked), "{told:?}");
    let key = VisitorKey {
        home,
        home_agent: request().home_agent,
    };
    let [
        Effect::Inform {
            destination, icmp, ..
        },
        Effect::Leave(left),
        Effect::Revoked(gone, Revoker::HomeAgent),
        Effect::Relay(_),
    ] = &done[..]
    else {
        panic!("{done:?}");
    };
    assert_eq!((left, gone, *destination), (&key, &key, home));
    let Ok(Discovery::Advertisement(advertisement)) = Discovery::decode(icmp) else {
        panic!("no advertisement");
    };
    let said = advertisement.agent.expect("it is of a mobility agent");
    assert_eq!(said.sequence, Sequence(0));
    assert!(said.flags.has(AgentFlags::REVOCATION));
    assert_eq!(pair.foreign.view().visitors, []);
    let (_, told) = pair.exchange(done);
    assert_eq!(told, [Told::RevocationAcknowledged { home }]);
}

#[test]
fn one_that_comes_again_is_acknowledged_again() {
    let mut pair = Pair::new();
    pair.register(Duration::ZERO);
    let revocation = pair.revocation(|_| {}, b"agents");
    assert_eq!(pair.hear(revocation.clone()).len(), 4);
    let again = pair.hear(revocation);
    assert!(matches!(&again[..], [Effect::Relay(_)]), "{again:?}");
}

#[test]
fn forged_reflected_and_older_ones_drop_nobody_and_are_not_acknowledged() {
    let mut pair = Pair::new();
    pair.register(Duration::ZERO);
    let elsewhere = Ipv4Addr::new(192, 0, 2, 77);
    for revocation in [
        pair.revocation(|_| {}, b"stolen"),
        pair.revocation(|it| it.by_home_agent = false, b"agents"),
        pair.revocation(|it| it.home_domain = elsewhere, b"agents"),
        pair.revocation(|it| it.foreign_domain = elsewhere, b"agents"),
        pair.revocation(|it| it.identifier -= 1, b"agents"),
    ] {
        let done = pair.hear(revocation);
        let quiet = |effect: &Effect| matches!(effect, Effect::Suspicious(_));
        assert!(done.iter().all(quiet), "{done:?}");
        assert_eq!(pair.foreign.view().visitors.len(), 1);
    }
    // An earlier one does not end a later registration.
    let earlier = pair.revocation(|_| {}, b"agents");
    let passed = Duration::from_secs(2);
    pair.now += passed;
    pair.register(passed);
    assert_eq!(pair.hear(earlier), []);
}

#[test]
fn nobody_agrees_on_it_for_who_unwraps_itself_and_a_visitor_may_not_ask_for_it() {
    let mut pair = Pair::new();
    let supports = |effects: &[Effect]| {
        effects.iter().any(|effect| match effect {
            Effect::Relay(datagram) => Decoded::decode(&datagram.payload).is_ok_and(|decoded| {
                let mut all = decoded.extensions().iter();
                all.any(|extension| matches!(extension, Extension::RevocationSupport(_)))
            }),
            _ => false,
        })
    };
    let relayed = hear(&mut pair.foreign, pair.now, signed(&request()));
    assert!(supports(&relayed));
    let co_located = RegistrationRequest {
        flags: Flags::DECAPSULATION,
        ..request()
    };
    let relayed = hear(&mut pair.foreign, pair.now, signed(&co_located));
    assert!(matches!(&relayed[..], [Effect::Relay(_)]), "{relayed:?}");
    assert!(!supports(&relayed));
    let asking = RegistrationRequest {
        extensions: vec![Extension::RevocationSupport(RevocationSupport {
            inform: false,
            timestamp: 1,
        })],
        ..request()
    };
    assert_eq!(hear(&mut pair.foreign, pair.now, signed(&asking)), []);
}

impl Pair {
    /// The administrator of the foreign agent ends it.
    fn revoke_here(&mut self) -> Vec<Effect> {
        self.foreign.handle(self.now, Input::Revoke(request().home));
        effects(&mut self.foreign)
    }

    fn visitor() -> VisitorKey {
        VisitorKey {
            home: request().home,
            home_agent: request().home_agent,
        }
    }

    fn bindings(&self) -> usize {
        self.home.view(self.now).count()
    }

    /// The next time that the foreign agent has asked for.
    fn wait(&mut self) -> Vec<Effect> {
        self.now = self.foreign.poll_timeout().expect("it waits for something");
        self.foreign.handle_timeout(self.now);
        let advertised = |effect: &Effect| matches!(effect, Effect::Advertise { .. });
        let mut done = effects(&mut self.foreign);
        done.retain(|effect| !advertised(effect));
        done
    }
}

#[test]
fn who_is_revoked_here_is_told_and_the_home_agent_drops_the_binding() {
    let mut pair = Pair::new();
    pair.register(Duration::ZERO);
    let done = pair.revoke_here();
    let key = Pair::visitor();
    assert!(
        matches!(&done[..], [
            Effect::Inform { destination, .. },
            Effect::Leave(left),
            Effect::Revoked(gone, Revoker::Us),
            Effect::Relay(_),
        ] if *destination == key.home && (left, gone) == (&key, &key)),
        "{done:?}"
    );
    let (done, told) = pair.exchange(done);
    let care_of = request().care_of;
    let home = key.home;
    assert_eq!(told, [Told::Revoked { home, care_of }]);
    assert_eq!(done, [Effect::RevocationAcknowledged(key)]);
    assert_eq!(pair.bindings(), 0);
    assert_eq!(pair.revoke_here(), [], "nobody is left");
}

#[test]
fn without_an_acknowledgement_the_home_agent_is_told_four_times() {
    let mut pair = Pair::new();
    pair.register(Duration::ZERO);
    let start = pair.now;
    pair.revoke_here();
    let mut after = Vec::new();
    let last = loop {
        match &pair.wait()[..] {
            [] => {}
            [Effect::Relay(_)] => after.push((pair.now - start).as_secs()),
            other => break other.to_vec(),
        }
    };
    assert_eq!(after, [1, 3, 7]);
    assert_eq!(last, [Effect::RevocationUnanswered(Pair::visitor())]);
}

#[test]
fn who_comes_back_at_once_stays_although_the_revocation_was_lost() {
    let mut pair = Pair::new();
    pair.register(Duration::ZERO);
    pair.revoke_here();
    // In the same second, so by its identifier a repeated revocation would be of this registration too.
    pair.now += Duration::from_millis(100);
    pair.register(Duration::from_millis(100));
    for _ in 0..5 {
        let again = pair.wait();
        let revoked = again
            .iter()
            .any(|effect| matches!(effect, Effect::Relay(_)));
        assert!(!revoked, "{again:?}");
    }
    assert_eq!(pair.bindings(), 1);
}

#[test]
fn an_acknowledgement_that_is_forged_or_of_another_ends_nothing() {
    let mut pair = Pair::new();
    pair.register(Duration::ZERO);
    pair.revoke_here();
    let ack = |home, identifier, key: &[u8], from: Ipv4Addr| {
        let mut payload = RevocationAck {
            inform: false,
            home,
            identifier,
            extensions: Vec::new(),
        }
        .encode();
        association(key).sign(AuthenticationKind::ForeignHome, &mut payload);
        Datagram {
            via: Via::Routed,
            local: SocketAddrV4::new(from, 434),
            remote: SocketAddrV4::new(request().care_of, 434),
            payload,
        }
    };
    let key = Pair::visitor();
    let asked = Clock::new(pair.now, UNIX).timestamp(pair.now).seconds();
    for forged in [
        ack(key.home, asked, b"stolen", key.home_agent),
        ack(key.home, asked - 1, b"agents", key.home_agent),
        ack(key.home_agent, asked, b"agents", key.home_agent),
        ack(key.home, asked, b"agents", Ipv4Addr::new(192, 0, 2, 77)),
    ] {
        assert_eq!(pair.hear(forged), []);
    }
    let right = ack(key.home, asked, b"agents", key.home_agent);
    assert_eq!(pair.hear(right), [Effect::RevocationAcknowledged(key)]);
}
