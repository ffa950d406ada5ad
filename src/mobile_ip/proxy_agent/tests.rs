use super::*;
use crate::mobile_ip::LinkId;
use crate::mobile_ip::security::{Algorithm, ReplayProtection, SecurityAssociation};
use crate::mobile_ip::wire::{AuthenticationKind, RegistrationReply};
use crate::net::Secret;
use crate::net::random::Seeded;
use std::net::SocketAddrV4;

const HOME: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 5);
const OUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 8);
const INNER: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 8);
const HOME_AGENT: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 2);
const CARE_OF: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const FOREIGN_AGENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const NAT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 77);
const UNIX: Duration = Duration::from_secs(1_700_000_000);

fn association(key: &[u8]) -> SecurityAssociation {
    SecurityAssociation {
        spi: 256,
        algorithm: Algorithm::HmacSha256,
        key: Secret::from(key),
        replay: ReplayProtection::default(),
    }
}

/// The mobile node outside, the proxy agent, and the inner home agent, joined without loss.
struct Stage {
    now: Instant,
    node: Client,
    proxy: ProxyAgent,
    guard: Guard,
    /// What the inner home agent answers with; `None`: nothing.
    inside: Option<Code>,
    translated: bool,
    said: Vec<Effect>,
    outcomes: Vec<Outcome>,
    asked_inside: usize,
}

impl Stage {
    fn new() -> Self {
        Self::with(Vec::new(), TunnelKind::IpIp)
    }

    /// What the proxy agent offers, and what the mobile node asks for.
    fn with(encapsulations: Vec<TunnelKind>, encapsulation: TunnelKind) -> Self {
        let now = Instant::now();
        let clock = Clock::new(now, UNIX);
        let settings = Settings {
            outer: OUTER,
            inner: INNER,
            port: 434,
            home_agent: HOME_AGENT,
            encapsulations,
            inside: vec!["10.0.0.0/8".parse().expect("a prefix")],
            lifetime: 300,
            keepalive: 20,
            nodes: vec![Node {
                home: HOME,
                outer: association(b"outer"),
                inner: association(b"inner"),
            }],
            foreign_agents: vec![(FOREIGN_AGENT, association(b"agents"))],
        };
        let node = client::Settings {
            home: Some(HOME),
            home_agent: HomeAgent::Known(OUTER),
            encapsulation,
            udp: UdpTunnel::WhereTranslated,
            port: 40434,
            lifetime: 600,
            association: association(b"outer"),
            ..inner_settings(&settings, &settings.nodes[0])
        };
        Self {
            now,
            node: Client::new(now, node, clock, Box::new(Seeded(1))),
            proxy: ProxyAgent::new(now, settings, clock, || Box::new(Seeded(2))),
            guard: Guard::new(ReplayProtection::default()),
            inside: Some(Code::ACCEPTED),
            translated: false,
            said: Vec::new(),
            outcomes: Vec::new(),
            asked_inside: 0,
        }
    }

    fn node(&mut self, input: client::Input) -> &mut Self {
        self.node.handle(self.now, input);
        self.settle();
        self
    }

    fn attach(&mut self, address: Ipv4Addr) -> &mut Self {
        self.node(client::Input::Attach(Attachment {
            epoch: 1,
            via: Via::Link(LinkId(2)),
            care_of: CareOf::CoLocated { address },
            keep_others: false,
        }))
    }

    fn wait(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some(at) = [self.node.poll_timeout(), self.proxy.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
            .filter(|at| *at <= until)
        {
            self.now = self.now.max(at);
            self.node.handle_timeout(self.now);
            self.proxy.handle_timeout(self.now);
            self.settle();
        }
        self.now = until;
    }

    fn settle(&mut self) {
        loop {
            if let Some(effect) = self.node.poll_effect() {
                match effect {
                    client::Effect::Send(datagram) => self.carry_to_proxy(datagram),
                    client::Effect::Outcome(outcome) => self.outcomes.push(outcome),
                    other => panic!("{other:?}"),
                }
            } else if let Some(effect) = self.proxy.poll_effect() {
                match effect {
                    Effect::Send(datagram) if *datagram.local.ip() == INNER => {
                        self.inside(&datagram);
                    }
                    Effect::Send(datagram) => {
                        let back = Datagram {
                            via: Via::Link(LinkId(2)),
                            local: SocketAddrV4::new(CARE_OF, 40434),
                            remote: datagram.local,
                            payload: datagram.payload,
                        };
                        self.node.handle(self.now, client::Input::Datagram(back));
                    }
                    other => self.said.push(other),
                }
            } else {
                break;
            }
        }
    }

    fn carry_to_proxy(&mut self, datagram: Datagram) {
        let from = if self.translated {
            SocketAddrV4::new(NAT, 61000)
        } else {
            datagram.local
        };
        let seen = Datagram {
            via: Via::Routed,
            local: datagram.remote,
            remote: from,
            payload: datagram.payload,
        };
        self.proxy.handle(self.now, Input::Datagram(seen));
    }

    fn inside(&mut self, datagram: &Datagram) {
        self.asked_inside += 1;
        let decoded = Decoded::decode(&datagram.payload).expect("a request");
        let Message::Request(request) = &decoded.message else {
            panic!("no request");
        };
        let placed = decoded.only_authenticator(AuthenticationKind::MobileHome);
        assert!(association(b"inner").verify(&placed.expect("signed")));
        assert_eq!((request.care_of, request.home_agent), (INNER, HOME_AGENT));
        let Some(code) = self.inside else {
            return;
        };
        let mut payload = RegistrationReply {
            code,
            lifetime: request.lifetime,
            home: request.home,
            home_agent: HOME_AGENT,
            identification: self.guard.accept(request.identification, &mut Seeded(3)),
            extensions: Vec::new(),
        }
        .encode();
        association(b"inner").sign(AuthenticationKind::MobileHome, &mut payload);
        let reply = Datagram {
            via: Via::Routed,
            local: datagram.local,
            remote: datagram.remote,
            payload,
        };
        self.proxy.handle(self.now, Input::Datagram(reply));
    }

    fn stitched(&self) -> Option<Stitch> {
        self.proxy.view()[0].stitched
    }
}

#[test]
fn a_node_outside_is_registered_on_both_sides_and_its_tunnels_are_stitched() {
    let mut stage = Stage::new();
    stage.attach(CARE_OF);
    let [Outcome::Registered(registered)] = &stage.outcomes[..] else {
        panic!("{:?}", stage.outcomes);
    };
    assert_eq!(registered.lifetime, Some(Duration::from_secs(300)));
    let stitch = Stitch {
        home: HOME,
        outer_local: OUTER,
        outer_remote: End::IpIp(CARE_OF),
        inner_local: INNER,
        inner_remote: HOME_AGENT,
        reverse: true,
    };
    assert_eq!(stage.said, [Effect::Stitch(stitch)]);
    assert_eq!(stage.asked_inside, 1);
}

#[test]
fn who_hears_that_it_is_registered_finds_its_tunnels_stitched() {
    let mut stage = Stage::new();
    let attached = Attachment {
        epoch: 1,
        via: Via::Link(LinkId(2)),
        care_of: CareOf::CoLocated { address: CARE_OF },
        keep_others: false,
    };
    stage
        .node
        .handle(stage.now, client::Input::Attach(attached));
    let Some(client::Effect::Send(request)) = stage.node.poll_effect() else {
        panic!("nobody asks");
    };
    stage.carry_to_proxy(request);
    let Some(Effect::Send(inner)) = stage.proxy.poll_effect() else {
        panic!("nobody is asked inside");
    };
    stage.inside(&inner);
    assert!(matches!(stage.proxy.poll_effect(), Some(Effect::Stitch(_))));
    assert!(matches!(stage.proxy.poll_effect(), Some(Effect::Send(_))));
}

#[test]
fn a_move_outside_changes_nothing_inside() {
    let mut stage = Stage::new();
    stage.attach(CARE_OF);
    stage.wait(Duration::from_secs(5));
    stage.attach(NAT);
    assert_eq!(stage.asked_inside, 1);
    assert_eq!(
        stage.stitched().map(|stitch| stitch.outer_remote),
        Some(End::IpIp(NAT))
    );
}

#[test]
fn behind_a_nat_the_outer_tunnel_is_over_udp() {
    let mut stage = Stage::new();
    stage.translated = true;
    stage.attach(CARE_OF);
    let end = End::Udp(SocketAddrV4::new(NAT, 61000));
    assert_eq!(
        stage.stitched().map(|stitch| stitch.outer_remote),
        Some(end)
    );
    let [Outcome::Registered(registered)] = &stage.outcomes[..] else {
        panic!("{:?}", stage.outcomes);
    };
    assert!(matches!(registered.tunnel, client::Tunnel::Udp { .. }));
    // Nobody vouches for the address that the NAT shows.
    assert_eq!(registered.lifetime, Some(Duration::from_secs(60)));
}

#[test]
fn a_node_that_asks_for_gre_has_it_where_it_is_offered_and_no_nat_is_there() {
    let gre = TunnelKind::Gre;
    let mut stage = Stage::with(vec![gre], gre);
    stage.attach(CARE_OF);
    assert_eq!(stage.stitched().unwrap().outer_remote, End::Gre(CARE_OF));
    let [Outcome::Registered(registered)] = &stage.outcomes[..] else {
        panic!("{:?}", stage.outcomes);
    };
    assert!(
        matches!(registered.tunnel, client::Tunnel::Gre),
        "{registered:?}"
    );

    let mut stage = Stage::with(vec![gre], gre);
    stage.translated = true;
    stage.attach(CARE_OF);
    let end = stage.stitched().map(|stitch| stitch.outer_remote);
    assert!(matches!(end, Some(End::Udp(_))), "{end:?}");
}

#[test]
fn a_node_that_is_denied_what_it_asks_for_has_ip_in_ip() {
    for (offered, asked) in [
        (vec![], TunnelKind::Gre),
        (vec![TunnelKind::Gre], TunnelKind::Minimal),
    ] {
        let mut stage = Stage::with(offered, asked);
        stage.attach(CARE_OF);
        assert_eq!(stage.stitched().unwrap().outer_remote, End::IpIp(CARE_OF));
        assert_eq!(stage.asked_inside, 1, "of what was denied nobody hears");
    }
}

#[test]
fn a_tunnel_through_a_nat_is_kept_alive_and_through_no_other_is_answered() {
    let mut stage = Stage::new();
    stage.translated = true;
    stage.attach(CARE_OF);
    stage.wait(Duration::from_secs(300));
    let renewed = |outcome: &Outcome| matches!(outcome, Outcome::Registered(_));
    assert!(stage.outcomes.iter().all(renewed), "{:?}", stage.outcomes);
    let kept_alive = loop {
        stage.now = stage.node.poll_timeout().expect("it goes on");
        stage.node.handle_timeout(stage.now);
        let Some(client::Effect::Send(datagram)) = stage.node.poll_effect() else {
            continue;
        };
        if matches!(Decoded::decode(&datagram.payload), Ok(decoded) if matches!(decoded.message, Message::TunnelData { .. }))
        {
            break datagram;
        }
    };
    for (port, answered) in [(61000, true), (61001, false)] {
        let seen = Datagram {
            via: Via::Routed,
            local: kept_alive.remote,
            remote: SocketAddrV4::new(NAT, port),
            payload: kept_alive.payload.clone(),
        };
        stage.proxy.handle(stage.now, Input::Datagram(seen));
        let answer = stage.proxy.poll_effect();
        assert_eq!(answer.is_some(), answered, "{answer:?}");
    }
}

#[test]
fn both_sides_are_renewed_for_as_long_as_the_node_is_there() {
    let mut stage = Stage::new();
    stage.attach(CARE_OF);
    stage.wait(Duration::from_secs(3600));
    assert!(stage.stitched().is_some());
    let renewed = |outcome: &Outcome| matches!(outcome, Outcome::Registered(_));
    assert!(stage.outcomes.iter().all(renewed), "{:?}", stage.outcomes);
    assert_eq!(stage.said.len(), 1, "{:?}", stage.said);
    // Then it is gone, without a word.
    stage.node(client::Input::Detach);
    stage.wait(Duration::from_secs(301));
    assert_eq!(stage.said.last(), Some(&Effect::Unstitch { home: HOME }));
    assert_eq!(stage.proxy.poll_timeout(), None);
}

/// At the second attachment, which the node has been answered, and nothing is left here.
fn assert_taken_back(stage: &Stage) {
    assert!(matches!(
        stage.outcomes.last(),
        Some(Outcome::Deregistered {
            epoch: 2,
            answer: Some(_)
        })
    ));
    assert_eq!(stage.said.last(), Some(&Effect::Unstitch { home: HOME }));
}

#[test]
fn a_node_that_takes_its_binding_back_is_taken_back_inside_too() {
    let mut stage = Stage::new();
    stage.attach(CARE_OF);
    stage.node(client::Input::Deregister(Attachment {
        epoch: 2,
        via: Via::Link(LinkId(2)),
        care_of: CareOf::CoLocated { address: CARE_OF },
        keep_others: false,
    }));
    assert_taken_back(&stage);
    assert_eq!(stage.asked_inside, 2);
}

#[test]
fn a_node_that_has_come_home_takes_its_binding_back_from_inside() {
    let mut stage = Stage::new();
    stage.attach(CARE_OF);
    stage.node(client::Input::Home {
        epoch: 2,
        via: Via::Link(LinkId(2)),
        local: HOME,
    });
    assert_taken_back(&stage);
    assert_eq!((stage.asked_inside, stage.proxy.poll_timeout()), (2, None));
}

#[test]
fn a_binding_of_before_a_restart_can_be_taken_back() {
    let mut stage = Stage::new();
    stage.attach(CARE_OF);
    let clock = Clock::new(stage.now, UNIX);
    let settings = stage.proxy.settings.clone();
    stage.proxy = ProxyAgent::new(stage.now, settings, clock, || Box::new(Seeded(4)));
    stage.node(client::Input::Deregister(Attachment {
        epoch: 2,
        via: Via::Link(LinkId(2)),
        care_of: CareOf::CoLocated { address: CARE_OF },
        keep_others: false,
    }));
    assert_eq!(stage.said.len(), 1, "{:?}", stage.said);
    assert_eq!((stage.asked_inside, stage.proxy.poll_timeout()), (2, None));
}

#[test]
fn what_is_taken_back_before_it_is_granted_is_not_granted_any_more() {
    for care_of in [CARE_OF, HOME] {
        let mut stage = Stage::new();
        stage.inside = None;
        stage.attach(CARE_OF);
        stage.node(if care_of == HOME {
            client::Input::Home {
                epoch: 2,
                via: Via::Link(LinkId(2)),
                local: HOME,
            }
        } else {
            client::Input::Deregister(Attachment {
                epoch: 2,
                via: Via::Link(LinkId(2)),
                care_of: CareOf::CoLocated { address: care_of },
                keep_others: false,
            })
        });
        stage.inside = Some(Code::ACCEPTED);
        stage.wait(Duration::from_secs(60));
        assert_eq!((stage.said, stage.proxy.poll_timeout()), (vec![], None));
    }
}

#[test]
fn who_waits_for_the_inner_home_agent_waits_no_longer_than_it_has_asked_for() {
    let mut stage = Stage::new();
    stage.inside = None;
    stage.attach(CARE_OF);
    stage.node(client::Input::Detach);
    stage.wait(Duration::from_secs(299));
    assert!(stage.proxy.poll_timeout().is_some());
    // Some farewells later.
    stage.wait(Duration::from_secs(61));
    assert_eq!(stage.proxy.poll_timeout(), None);
}

#[test]
fn what_the_inner_home_agent_denies_is_denied_outside() {
    let mut stage = Stage::new();
    stage.inside = Some(Code::HA_PROHIBITED);
    stage.attach(CARE_OF);
    let [
        Outcome::Denied {
            code,
            authenticated: true,
            ..
        },
    ] = &stage.outcomes[..]
    else {
        panic!("{:?}", stage.outcomes);
    };
    assert_eq!(*code, Code::HA_PROHIBITED);
    assert_eq!(stage.said, []);
}

#[test]
fn a_mobile_node_changes_nothing_of_its_own_for_what_is_wrong_inside() {
    let mut stage = Stage::new();
    stage.inside = Some(Code::HA_REVERSE_TUNNEL);
    stage.attach(CARE_OF);
    assert!(matches!(
        stage.outcomes[..],
        [Outcome::Denied {
            code: Code::HA_UNSPECIFIED,
            authenticated: true,
            ..
        }]
    ));
    stage.inside = Some(Code::ACCEPTED);
    stage.wait(Duration::from_secs(120));
    assert!(stage.stitched().is_some_and(|stitch| stitch.reverse));
}

#[test]
fn nobody_is_asked_for_again_who_was_denied_and_has_gone() {
    let mut stage = Stage::new();
    stage.inside = Some(Code::HA_PROHIBITED);
    stage.attach(CARE_OF);
    stage.node(client::Input::Detach);
    stage.inside = Some(Code::ACCEPTED);
    stage.wait(Duration::from_secs(600));
    assert_eq!((stage.asked_inside, stage.proxy.poll_timeout()), (1, None));
    // And who comes back is asked for at once.
    stage.attach(NAT);
    assert_eq!(stage.asked_inside, 2);
    assert!(stage.stitched().is_some());
}

#[test]
fn while_the_inner_home_agent_is_silent_so_is_the_proxy_and_the_newest_request_counts() {
    let mut stage = Stage::new();
    stage.inside = None;
    stage.attach(CARE_OF);
    stage.wait(Duration::from_secs(8));
    assert_eq!(stage.outcomes, [Outcome::Unreachable { epoch: 1 }]);
    stage.inside = Some(Code::ACCEPTED);
    stage.wait(Duration::from_secs(8));
    assert!(matches!(
        stage.outcomes.last(),
        Some(Outcome::Registered(_))
    ));
    assert!(stage.stitched().is_some());
}

#[test]
fn a_request_that_the_node_has_not_signed_is_not_answered() {
    let mut stage = Stage::new();
    stage.attach(CARE_OF);
    let stitched = stage.stitched();
    let mut payload = RegistrationRequest {
        flags: Flags::DECAPSULATION,
        lifetime: 0,
        home: HOME,
        home_agent: OUTER,
        care_of: HOME,
        identification: Clock::new(stage.now, UNIX)
            .timestamp(stage.now + Duration::from_secs(1))
            .into(),
        extensions: Vec::new(),
    }
    .encode();
    association(b"guessed").sign(AuthenticationKind::MobileHome, &mut payload);
    let forged = Datagram {
        via: Via::Routed,
        local: SocketAddrV4::new(OUTER, 434),
        remote: SocketAddrV4::new(NAT, 434),
        payload,
    };
    stage.proxy.handle(stage.now, Input::Datagram(forged));
    let effect = stage.proxy.poll_effect();
    assert_eq!(effect, Some(Effect::Suspicious { home: HOME }));
    assert_eq!(
        (stage.proxy.poll_effect(), stage.stitched()),
        (None, stitched)
    );
}

#[test]
fn who_is_inside_is_sent_to_the_inner_home_agent() {
    let mut stage = Stage::new();
    stage.attach(Ipv4Addr::new(10, 10, 0, 77));
    let [Outcome::Denied { code, .. }] = &stage.outcomes[..] else {
        panic!("{:?}", stage.outcomes);
    };
    assert_eq!(*code, Code::HA_UNKNOWN_HOME_AGENT);
    assert_eq!(stage.asked_inside, 0);
}

/// A request of this second from the node, which comes by `from`; signed besides with what the agents share, or
/// with what somebody else believes.
fn relayed(stage: &Stage, second: u64, from: Ipv4Addr, key: Option<&[u8]>) -> Datagram {
    let mut payload = RegistrationRequest {
        flags: Flags::REVERSE_TUNNEL,
        lifetime: 300,
        home: HOME,
        home_agent: OUTER,
        care_of: from,
        identification: Clock::new(stage.now, UNIX)
            .timestamp(stage.now + Duration::from_secs(second))
            .into(),
        extensions: Vec::new(),
    }
    .encode();
    association(b"outer").sign(AuthenticationKind::MobileHome, &mut payload);
    if let Some(key) = key {
        association(key).sign(AuthenticationKind::ForeignHome, &mut payload);
    }
    Datagram {
        via: Via::Routed,
        local: SocketAddrV4::new(OUTER, 434),
        remote: SocketAddrV4::new(from, 434),
        payload,
    }
}

/// The reply, and whether it is signed with what the agents share.
fn reply_to(stage: &mut Stage, request: Datagram) -> Option<(Code, bool)> {
    stage.proxy.handle(stage.now, Input::Datagram(request));
    while let Some(effect) = stage.proxy.poll_effect() {
        let Effect::Send(datagram) = effect else {
            continue;
        };
        if *datagram.local.ip() == INNER {
            stage.inside(&datagram);
            continue;
        }
        let decoded = Decoded::decode(&datagram.payload).expect("a reply");
        let Message::Reply(reply) = &decoded.message else {
            panic!("no reply");
        };
        let placed = decoded.only_authenticator(AuthenticationKind::ForeignHome);
        let signed = placed.is_some_and(|placed| association(b"agents").verify(&placed));
        return Some((reply.code, signed));
    }
    None
}

#[test]
fn a_foreign_agent_with_a_key_signs_what_it_passes_on_and_its_replies_are_signed() {
    let mut stage = Stage::new();
    // Refused, and not used up.
    let wrong = Code::HA_FOREIGN_AGENT_AUTHENTICATION;
    for key in [None, Some(&b"guessed"[..])] {
        let request = relayed(&stage, 1, FOREIGN_AGENT, key);
        assert_eq!(reply_to(&mut stage, request), Some((wrong, false)));
    }
    assert_eq!((stage.asked_inside, stage.stitched()), (0, None));
    let request = relayed(&stage, 1, FOREIGN_AGENT, Some(b"agents"));
    let granted = Some((Code::ACCEPTED, true));
    assert_eq!(reply_to(&mut stage, request.clone()), granted);
    assert!(stage.stitched().is_some());
    let old = Some((Code::HA_IDENTIFICATION, true));
    assert_eq!(reply_to(&mut stage, request), old);

    // One without a key signs nothing; one that pretends to have one is not answered.
    let request = relayed(&stage, 2, NAT, None);
    assert_eq!(reply_to(&mut stage, request), Some((Code::ACCEPTED, false)));
    let request = relayed(&stage, 3, NAT, Some(b"agents"));
    assert_eq!(reply_to(&mut stage, request), None);
}
