//! Ladders between a mobile node made by hand and the home agent, and what strangers try.

mod dynamic;
mod simultaneous;

use super::effects::{Effect, Input, Kept, Told, Tunnel};
use super::settings::{
    ForeignAgent, HomeLink, Limits, MobileNode, NatTraversal, ReverseTunnel, Settings,
};
use super::*;
use crate::mobile_ip::replay::Issuer;
use crate::mobile_ip::security::{Algorithm, ReplayProtection, SecurityAssociation};
use crate::mobile_ip::wire::{
    AuthenticationKind, Code, Extension, Flags, Identification, Ipv6Prefix, Ipv6ReplyCode,
    MobileNetworkCode, RegistrationReply, RegistrationRequest, RevocationAck, RevocationSupport,
    TunnelKind, UdpTunnelRequest, tunnel_data,
};
use crate::mobile_ip::{LinkId, Via};
use crate::net::Secret;
use crate::net::random::Seeded;
use proptest::prelude::*;
use std::net::SocketAddrV4;
use std::sync::Arc;

const UNIX: Duration = Duration::from_secs(1_700_000_000);
const HA: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 2);
const S: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 5);
const X: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const NAT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const FA: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 66);

fn key(spi: u32) -> SecurityAssociation {
    SecurityAssociation {
        spi,
        algorithm: Algorithm::HmacMd5,
        key: Secret::from(&b"0123456789abcdef"[..]),
        replay: ReplayProtection::default(),
    }
}

fn settings() -> Settings {
    Settings {
        address: HA,
        home_network: "10.20.0.0/16".parse().unwrap(),
        home_link: HomeLink::Virtual,
        mobile_nodes: vec![
            Arc::new(MobileNode {
                home: Some(S),
                nai: None,
                security: vec![key(256)],
                networks: vec!["10.22.0.0/24".parse().unwrap()],
                networks6: Vec::new(),
            }),
            Arc::new(MobileNode {
                home: None,
                nai: Some(b"u@b.c".to_vec()),
                security: vec![key(300)],
                networks: Vec::new(),
                networks6: Vec::new(),
            }),
        ],
        foreign_agents: vec![ForeignAgent {
            address: FA,
            security: key(400),
        }],
        pool: Some("10.20.9.0/29".parse().unwrap()),
        trusted: Vec::new(),
        encapsulations: Vec::new(),
        reverse_tunnel: ReverseTunnel::Allowed,
        nat: NatTraversal::default(),
        limits: Limits {
            bindings_each: 4,
            rate_each: 1000,
            ..Limits::default()
        },
    }
}

/// The home agent, and a mobile node that signs whatever it is told to.
struct Scene {
    now: Instant,
    clock: Clock,
    agent: HomeAgent,
    issuer: Issuer,
    random: Seeded,
    effects: Vec<Effect>,
}

impl Scene {
    fn new(settings: Settings) -> Self {
        let now = Instant::now();
        let clock = Clock::new(now, UNIX);
        let protection = settings.mobile_nodes[0].protection();
        Self {
            now,
            clock,
            agent: HomeAgent::new(now, clock, settings, Vec::new(), Box::new(Seeded(1))),
            issuer: Issuer::new(protection, 0),
            random: Seeded(2),
            effects: Vec::new(),
        }
    }

    fn request(&mut self) -> RegistrationRequest {
        RegistrationRequest {
            flags: Flags::DECAPSULATION | Flags::REVERSE_TUNNEL,
            lifetime: 300,
            home: S,
            home_agent: HA,
            care_of: X,
            identification: self.issuer.issue(self.now, &self.clock, &mut self.random),
            extensions: Vec::new(),
        }
    }

    fn from(&mut self, source: Ipv4Addr, payload: Vec<u8>) -> Option<RegistrationReply> {
        self.datagram((source, 5000), HA, payload)
    }

    fn datagram(
        &mut self,
        source: (Ipv4Addr, u16),
        to: Ipv4Addr,
        payload: Vec<u8>,
    ) -> Option<RegistrationReply> {
        let datagram = Datagram {
            via: Via::Link(LinkId(2)),
            local: SocketAddrV4::new(to, 434),
            remote: SocketAddrV4::new(source.0, source.1),
            payload,
        };
        self.agent.handle(self.now, Input::Datagram(datagram));
        self.drain()
    }

    /// The registration reply among the effects, if there is one; it must be signed.
    fn drain(&mut self) -> Option<RegistrationReply> {
        self.effects.clear();
        while let Some(effect) = self.agent.poll_effect() {
            self.effects.push(effect);
        }
        self.sent().into_iter().find_map(|sent| {
            let decoded = Decoded::decode(&sent.payload).unwrap();
            let Message::Reply(reply) = decoded.message.clone() else {
                return None;
            };
            let placed = decoded
                .only_authenticator(AuthenticationKind::MobileHome)
                .unwrap();
            assert!(key(placed.authenticator.spi).verify(&placed));
            if reply.code == Code::HA_IDENTIFICATION {
                self.issuer
                    .mismatched(self.now, &self.clock, reply.identification);
            } else {
                self.issuer.replied(reply.identification);
            }
            Some(reply)
        })
    }

    fn sent(&self) -> Vec<Datagram> {
        let sent = |effect: &Effect| match effect {
            Effect::Send(datagram) => Some(datagram.clone()),
            _ => None,
        };
        self.effects.iter().filter_map(sent).collect()
    }

    fn bound(&self) -> Option<Vec<Tunnel>> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Bind { tunnels, .. } => Some(tunnels.clone()),
            _ => None,
        })
    }

    fn kept(&self) -> Option<Kept> {
        self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Keep(kept) => Some(kept.clone()),
            _ => None,
        })
    }

    /// A request of S from X, changed, signed and answered.
    fn ask(&mut self, change: impl FnOnce(&mut RegistrationRequest)) -> RegistrationReply {
        let mut request = self.request();
        change(&mut request);
        let source = request.care_of;
        self.from(source, signed(&request)).expect("an answer")
    }
}

fn signed(request: &RegistrationRequest) -> Vec<u8> {
    let mut payload = request.encode();
    let spi = if request.nai().is_some() { 300 } else { 256 };
    key(spi).sign(AuthenticationKind::MobileHome, &mut payload);
    payload
}

#[test]
fn a_registration_binds_is_refreshed_and_ends() {
    let mut scene = Scene::new(settings());
    let reply = scene.ask(|_| {});
    assert_eq!((reply.code, reply.lifetime), (Code::ACCEPTED, 300));
    let tunnels = scene.bound().unwrap();
    assert_eq!((tunnels[0].local, tunnels[0].remote), (HA, X));
    assert!(tunnels[0].reverse && tunnels[0].udp.is_none());
    // The store knows before anybody else does.
    assert!(matches!(scene.effects[0], Effect::Keep(_)));

    scene.now += Duration::from_secs(200);
    assert_eq!(scene.ask(|_| {}).code, Code::ACCEPTED);
    scene.now += Duration::from_secs(200);
    scene.agent.handle_timeout(scene.now);
    scene.drain();
    assert_eq!(scene.effects, []);

    scene.now += Duration::from_secs(100);
    assert_eq!(scene.agent.poll_timeout(), Some(scene.now));
    scene.agent.handle_timeout(scene.now);
    scene.drain();
    assert!(scene.effects.contains(&Effect::Unbind { home: S }));
    assert_eq!(scene.agent.view(scene.now).count(), 0);
}

/// What a request says, and the code of the standard for it.
#[test]
fn each_denial_has_the_code_of_the_standard() {
    type Change = fn(&mut RegistrationRequest);
    let udp = |reserved, encapsulation| {
        Extension::UdpTunnelRequest(UdpTunnelRequest {
            force: true,
            through_foreign_agent: false,
            encapsulation,
            reserved,
        })
    };
    let mut scene = Scene::new(settings());
    let table: [(Code, Change); 8] = [
        (Code::HA_POORLY_FORMED, |r| r.flags.0 |= 1),
        (Code::HA_POORLY_FORMED, |r| r.flags.0 |= 4),
        (Code::HA_UNKNOWN_HOME_AGENT, |r| r.home_agent = X),
        (Code::HA_UNKNOWN_HOME_AGENT, |r| {
            r.home_agent = Ipv4Addr::BROADCAST;
        }),
        (Code::HA_ENCAPSULATION, |r| r.flags |= Flags::GRE),
        (Code::HA_ENCAPSULATION, |r| r.flags |= Flags::MINIMAL),
        (Code::HA_PROHIBITED, |r| r.care_of = HA),
        (Code::HA_MOBILE_NETWORK, |r| {
            let (prefix, prefix_len) = (Ipv4Addr::new(10, 23, 0, 0), 24);
            r.extensions
                .push(Extension::MobileNetworkRequest { prefix, prefix_len });
        }),
    ];
    for (code, change) in table {
        let reply = scene.ask(change);
        assert_eq!((reply.code, reply.home_agent), (code, HA));
        assert_eq!(scene.bound(), None, "{code}");
    }
    let mut ask = |extension: Extension, flags: Flags| {
        scene.ask(|request| {
            request.extensions.push(extension);
            request.flags = flags;
        })
    };
    let d = Flags::DECAPSULATION;
    assert_eq!(ask(udp(1, 0), d).code, Code::HA_POORLY_FORMED);
    assert_eq!(ask(udp(0, 0), Flags::NONE).code, Code::HA_POORLY_FORMED);
    assert_eq!(ask(udp(0, 47), d).code, Code::HA_UDP_ENCAPSULATION);

    let with = |change: fn(&mut Settings)| {
        let mut settings = settings();
        change(&mut settings);
        Scene::new(settings)
    };
    let refused = |s: &mut Settings| s.reverse_tunnel = ReverseTunnel::Refused;
    assert_eq!(with(refused).ask(|_| {}).code, Code::HA_REVERSE_TUNNEL);
    let required = |s: &mut Settings| s.reverse_tunnel = ReverseTunnel::Required;
    let reply = with(required).ask(|request| request.flags = d);
    assert_eq!(reply.code, Code::HA_REVERSE_TUNNEL_MANDATORY);
    let full = |s: &mut Settings| s.limits.bindings = 0;
    assert_eq!(with(full).ask(|_| {}).code, Code::HA_RESOURCES);
    let no_router = |s: &mut Settings| Arc::make_mut(&mut s.mobile_nodes[0]).networks.clear();
    let reply = with(no_router).ask(|request| {
        let (prefix, prefix_len) = (Ipv4Addr::new(10, 22, 0, 0), 24);
        request
            .extensions
            .push(Extension::MobileNetworkRequest { prefix, prefix_len });
    });
    assert_eq!(reply.code, Code::HA_MOBILE_ROUTER);
}

#[test]
fn a_request_to_everybody_is_told_the_address_of_the_home_agent() {
    let mut scene = Scene::new(settings());
    let request = scene.request();
    let broadcast = Ipv4Addr::new(10, 20, 255, 255);
    let reply = scene
        .datagram((X, 5000), broadcast, signed(&request))
        .unwrap();
    assert_eq!(
        (reply.code, reply.home_agent),
        (Code::HA_UNKNOWN_HOME_AGENT, HA)
    );
    assert_eq!(*scene.sent()[0].local.ip(), HA);
}

#[test]
fn strangers_and_the_unsigned_get_silence_and_forgers_a_signed_131() {
    let mut scene = Scene::new(settings());
    let request = scene.request();
    assert_eq!(scene.from(X, request.encode()), None);
    let stranger = RegistrationRequest {
        home: X,
        ..request.clone()
    };
    assert_eq!(scene.from(X, signed(&stranger)), None);
    let whole = signed(&request);
    for cut in 0..whole.len() {
        let reply = scene.from(X, whole[..cut].to_vec());
        assert_eq!(reply, None, "cut at {cut}");
    }
    let mut forged = whole.clone();
    *forged.last_mut().unwrap() ^= 1;
    let reply = scene.from(X, forged.clone()).unwrap();
    assert_eq!(reply.code, Code::HA_MOBILE_NODE_AUTHENTICATION);
    // An answer to everything would be a tool: there are few a second.
    let answers = (0..100)
        .filter(|_| scene.from(X, forged.clone()).is_some())
        .count();
    assert!(answers < 25, "{answers}");
    // The genuine request is as good as before.
    assert_eq!(scene.from(X, whole).unwrap().code, Code::ACCEPTED);
}

#[test]
fn a_replay_gets_133_with_our_time_and_changes_nothing() {
    let mut settings = settings();
    Arc::make_mut(&mut settings.mobile_nodes[0])
        .networks
        .clear();
    let mut scene = Scene::new(settings);
    let first = scene.request();
    assert_eq!(scene.from(X, signed(&first)).unwrap().code, Code::ACCEPTED);
    let reply = scene.from(NAT, signed(&first)).unwrap();
    assert_eq!(reply.code, Code::HA_IDENTIFICATION);
    assert_eq!(reply.identification.low(), first.identification.low());
    let seconds = scene.clock.timestamp(scene.now).seconds();
    assert_eq!(reply.identification.high(), seconds);
    assert_eq!(scene.bound(), None);

    // From the same place it is a repetition: the same answer, and no longer a lifetime.
    scene.now += Duration::from_secs(5);
    let reply = scene.from(X, signed(&first)).unwrap();
    assert_eq!((reply.code, reply.lifetime), (Code::ACCEPTED, 295));
    assert_eq!(scene.bound(), None);

    let old = RegistrationRequest {
        identification: Identification(first.identification.0 - (8 << 32)),
        ..scene.request()
    };
    assert_eq!(
        scene.from(X, signed(&old)).unwrap().code,
        Code::HA_IDENTIFICATION
    );
}

#[test]
fn nonces_are_handed_out_and_work_once() {
    let mut settings = settings();
    Arc::make_mut(&mut settings.mobile_nodes[0]).security[0].replay = ReplayProtection::Nonces;
    let mut scene = Scene::new(settings);
    assert_eq!(scene.ask(|_| {}).code, Code::HA_IDENTIFICATION);
    let second = scene.request();
    assert_eq!(scene.from(X, signed(&second)).unwrap().code, Code::ACCEPTED);
    assert_eq!(scene.ask(|_| {}).code, Code::ACCEPTED);
    assert_eq!(
        scene.from(NAT, signed(&second)).unwrap().code,
        Code::HA_IDENTIFICATION
    );
}

#[test]
fn a_restart_knows_the_bindings_and_refuses_what_was_used() {
    let mut scene = Scene::new(settings());
    let first = scene.request();
    scene.from(X, signed(&first)).unwrap();
    let kept = scene.kept().unwrap();
    scene.now += Duration::from_secs(3);
    let random = Box::new(Seeded(9));
    scene.agent = HomeAgent::new(
        scene.now,
        scene.clock,
        settings(),
        vec![kept.clone()],
        random,
    );
    scene.drain();
    assert_eq!(scene.bound().unwrap()[0].remote, X);
    let left = scene.agent.view(scene.now).next().unwrap().left;
    assert_eq!(left, Some(Duration::from_secs(297)));
    assert_eq!(
        scene.from(NAT, signed(&first)).unwrap().code,
        Code::HA_IDENTIFICATION
    );
    assert_eq!(scene.ask(|_| {}).code, Code::ACCEPTED);

    let later = scene.now + Duration::from_secs(1000);
    let random = Box::new(Seeded(9));
    let agent = HomeAgent::new(later, scene.clock, settings(), vec![kept], random);
    assert_eq!(agent.view(later).count(), 0);
}

#[test]
fn behind_a_nat_the_tunnel_is_udp_to_where_the_request_came_from() {
    let mut scene = Scene::new(settings());
    let mut request = scene.request();
    request
        .extensions
        .push(Extension::UdpTunnelRequest(UdpTunnelRequest::default()));
    let reply = scene.from(NAT, signed(&request)).unwrap();
    assert_eq!((reply.code, reply.lifetime), (Code::ACCEPTED, 60));
    assert!(
        matches!(reply.extensions[0], Extension::UdpTunnelReply(r) if r.is_assent() && r.keepalive == 110)
    );
    let tunnel = &scene.bound().unwrap()[0];
    assert_eq!(tunnel.udp.unwrap().remote, SocketAddrV4::new(NAT, 5000));

    // Without a NAT it is declined, and the tunnel is plain.
    let reply = scene.ask(|request| {
        let extension = Extension::UdpTunnelRequest(UdpTunnelRequest::default());
        request.extensions.push(extension);
    });
    assert!(matches!(reply.extensions[0], Extension::UdpTunnelReply(r) if !r.is_assent()));
    assert_eq!(scene.bound().unwrap()[0].udp, None);
}

#[test]
fn other_encapsulations_are_served_where_they_are_offered_and_never_in_udp() {
    let offering = || Settings {
        encapsulations: vec![TunnelKind::Gre],
        ..settings()
    };
    let mut scene = Scene::new(offering());
    let minimal = scene.ask(|request| request.flags |= Flags::MINIMAL);
    assert_eq!(minimal.code, Code::HA_ENCAPSULATION);
    let in_udp = |encapsulation| {
        Extension::UdpTunnelRequest(UdpTunnelRequest {
            force: true,
            encapsulation,
            ..UdpTunnelRequest::default()
        })
    };
    for (encapsulation, code, kind) in [
        (0, Code::HA_UDP_ENCAPSULATION, None),
        (47, Code::HA_UDP_ENCAPSULATION, None),
        (55, Code::HA_UDP_ENCAPSULATION, None),
        (4, Code::ACCEPTED, Some(TunnelKind::IpIp)),
    ] {
        let reply = scene.ask(|request| {
            request.flags |= Flags::GRE;
            request.extensions.push(in_udp(encapsulation));
        });
        let bound = scene.bound().map(|tunnels| tunnels[0].kind);
        assert_eq!((reply.code, bound), (code, kind), "{encapsulation}");
    }
    let reply = scene.ask(|request| request.flags |= Flags::GRE);
    assert_eq!(reply.code, Code::ACCEPTED);
    assert_eq!(scene.bound().unwrap()[0].kind, TunnelKind::Gre);

    // What is not offered any more is over, since nothing carries it.
    let kept = vec![scene.kept().unwrap()];
    let count = |settings| {
        let random = Box::new(Seeded(9));
        let agent = HomeAgent::new(scene.now, scene.clock, settings, kept.clone(), random);
        agent.view(scene.now).count()
    };
    assert_eq!((count(offering()), count(settings())), (1, 0));
}

/// An echo request in IPv4, made here.
fn echo(source: Ipv4Addr) -> Vec<u8> {
    let sum = |octets: &[u8]| {
        let words = octets
            .chunks(2)
            .map(|w| u32::from(w[0]) << 8 | u32::from(w[1]));
        let sum: u32 = words.sum();
        (!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes()
    };
    let mut packet = vec![0x45, 0, 0, 28, 0, 7, 0, 0, 64, 1, 0, 0];
    packet.extend(source.octets());
    packet.extend(HA.octets());
    let header = sum(&packet);
    packet[10..12].copy_from_slice(&header);
    packet.extend([8, 0, 0, 0, 1, 2, 3, 4]);
    let icmp = sum(&packet[20..]);
    packet[22..24].copy_from_slice(&icmp);
    packet
}

#[test]
fn a_keepalive_is_answered_through_its_tunnel_and_through_no_other() {
    let mut scene = Scene::new(settings());
    let mut request = scene.request();
    request
        .extensions
        .push(Extension::UdpTunnelRequest(UdpTunnelRequest {
            through_foreign_agent: true,
            ..UdpTunnelRequest::default()
        }));
    scene.from(NAT, signed(&request)).unwrap();
    // Through a foreign agent: the port of the mobile node is not known yet.
    assert_eq!(scene.bound(), Some(Vec::new()));
    let mut keepalive = tunnel_data::header(TunnelKind::IpIp).to_vec();
    keepalive.extend(echo(S));
    scene.datagram((X, 6000), HA, keepalive.clone());
    assert_eq!(scene.effects, []);
    scene.datagram((NAT, 6000), HA, keepalive.clone());
    assert_eq!(scene.bound().unwrap()[0].udp.unwrap().remote.port(), 6000);
    let answer = scene.sent().pop().unwrap().payload;
    assert_eq!(answer[..4], [4, 4, 0, 0]);
    assert_eq!(
        (&answer[16..20], &answer[20..24]),
        (&HA.octets()[..], &S.octets()[..])
    );
    assert_eq!(answer[24..26], [0, 0]);
    // The port is fixed now.
    scene.datagram((NAT, 7000), HA, keepalive);
    assert_eq!(scene.effects, []);
}

#[test]
fn trust_is_asserted_to_trusted_sources_only_and_others_get_silence() {
    let tnc = Extension::TrustedNetworksConfigured;
    let mut scene = Scene::new(settings());
    assert!(!scene.ask(|_| {}).extensions.contains(&tnc));

    let mut settings = settings();
    settings.trusted = vec!["10.0.0.0/8".parse().unwrap()];
    let mut scene = Scene::new(settings);
    let request = scene.request();
    assert_eq!(scene.from(X, signed(&request)), None);
    let inside = Ipv4Addr::new(10, 1, 2, 3);
    assert!(
        scene
            .ask(|request| request.care_of = inside)
            .extensions
            .contains(&tnc)
    );
    // Relayed from inside for a care-of address that is not the source: no.
    let request = scene.request();
    let reply = scene.from(inside, signed(&request)).unwrap();
    assert!(!reply.extensions.contains(&tnc));
    let mut forged = signed(&RegistrationRequest {
        care_of: inside,
        ..scene.request()
    });
    *forged.last_mut().unwrap() ^= 1;
    let reply = scene.from(inside, forged).unwrap();
    assert_eq!(reply.code, Code::HA_MOBILE_NODE_AUTHENTICATION);
    assert!(!reply.extensions.contains(&tnc));
}

#[test]
fn a_foreign_agent_that_shares_a_key_must_sign_and_gets_a_signed_reply() {
    let mut scene = Scene::new(settings());
    let request = RegistrationRequest {
        care_of: FA,
        flags: Flags::NONE,
        ..scene.request()
    };
    let plain = signed(&request);
    assert_eq!(
        scene.from(FA, plain.clone()).unwrap().code,
        Code::HA_FOREIGN_AGENT_AUTHENTICATION
    );
    let mut relayed = plain;
    let support = RevocationSupport {
        inform: true,
        timestamp: 5,
    };
    Extension::RevocationSupport(support).encode(&mut relayed);
    key(400).sign(AuthenticationKind::ForeignHome, &mut relayed);
    let reply = scene.from(FA, relayed.clone()).unwrap();
    assert_eq!(reply.code, Code::ACCEPTED);
    let kinds: Vec<_> = reply
        .extensions
        .iter()
        .map(Extension::extension_type)
        .collect();
    assert!(kinds.ends_with(&[32, 137, 34]), "{kinds:?}");
    // One that shares none must not: silence.
    let mut other = signed(&scene.request());
    key(400).sign(AuthenticationKind::ForeignHome, &mut other);
    assert_eq!(scene.from(X, other), None);

    // It withdraws the binding, once; a copy that is older than the registration does nothing.
    for (identifier, dropped) in [(4, false), (6, true)] {
        let mut payload = crate::mobile_ip::wire::Revocation {
            by_home_agent: false,
            inform: false,
            home: S,
            home_domain: HA,
            foreign_domain: FA,
            identifier,
            extensions: Vec::new(),
        }
        .encode();
        key(400).sign(AuthenticationKind::ForeignHome, &mut payload);
        scene.from(FA, payload);
        assert_eq!(scene.effects.contains(&Effect::Unbind { home: S }), dropped);
        assert_eq!(scene.sent().len(), usize::from(dropped));
    }
}

#[test]
fn a_revocation_is_repeated_until_it_is_acknowledged_by_who_has_the_key() {
    let mut scene = Scene::new(settings());
    let support = Extension::RevocationSupport(RevocationSupport {
        inform: false,
        timestamp: 1,
    });
    scene.ask(|request| request.extensions.push(support));
    scene.agent.handle(scene.now, Input::Revoke(S));
    scene.drain();
    assert!(scene.effects.contains(&Effect::Unbind { home: S }));
    let sent = scene.sent();
    let decoded = Decoded::decode(&sent[0].payload).unwrap();
    let Message::Revocation(revocation) = decoded.message else {
        panic!("{decoded:?}");
    };
    assert!(revocation.by_home_agent && revocation.foreign_domain == X);
    scene.now = scene.agent.poll_timeout().unwrap();
    scene.agent.handle_timeout(scene.now);
    scene.drain();
    assert_eq!(scene.sent(), sent);
    let ack = RevocationAck {
        inform: false,
        home: S,
        identifier: revocation.identifier,
        extensions: Vec::new(),
    };
    scene.from(X, ack.encode());
    assert_eq!(scene.effects, []);
    let mut payload = ack.encode();
    key(256).sign(AuthenticationKind::MobileHome, &mut payload);
    scene.from(X, payload);
    assert_eq!(
        scene.effects,
        [Effect::Tell(Told::RevocationAcknowledged { home: S })]
    );
    assert_eq!(scene.agent.poll_timeout(), None);
}

#[test]
fn networks_are_served_as_configured_or_as_asked() {
    let mut scene = Scene::new(settings());
    scene.ask(|_| {});
    assert_eq!(scene.bound().unwrap()[0].networks.len(), 1);
    let reply = scene.ask(|request| {
        for (third, prefix_len) in [(0, 24), (1, 24), (0, 40)] {
            let prefix = Ipv4Addr::new(10, 22, third, 0);
            request
                .extensions
                .push(Extension::MobileNetworkRequest { prefix, prefix_len });
        }
    });
    assert_eq!(reply.code, Code::ACCEPTED);
    let codes = reply
        .extensions
        .iter()
        .filter_map(|extension| match extension {
            Extension::MobileNetworkAck(ack) => Some(ack.code),
            _ => None,
        });
    let codes: Vec<_> = codes.collect();
    assert_eq!(
        codes,
        [
            MobileNetworkCode::SUCCESS,
            MobileNetworkCode::UNAUTHORIZED,
            MobileNetworkCode::INVALID_PREFIX_LENGTH
        ]
    );
}

#[test]
fn ipv6_prefixes_are_served_in_a_tunnel_of_the_home_address_and_no_other() {
    let prefix = "2001:db8:5::/64".parse().unwrap();
    let mut settings = settings();
    let node = Arc::make_mut(&mut settings.mobile_nodes[0]);
    node.networks6 = vec![prefix];
    let mut scene = Scene::new(settings);
    let mut answers = |flags: Flags, to_care_of: bool| {
        let reply = scene.ask(|request| {
            request.flags = flags;
            let asked = [("2001:db8:5::", 64), ("2001:db8:6::", 64), ("::", 200)];
            let asked = asked.map(|(prefix, len)| {
                let prefix = prefix.parse().unwrap();
                Extension::Ipv6PrefixRequest(Ipv6Prefix { prefix, len })
            });
            request.extensions.extend(asked);
            let mode = to_care_of.then_some(Extension::Ipv6TunnelingMode);
            request.extensions.extend(mode);
        });
        assert_eq!(reply.code, Code::ACCEPTED);
        let answers = reply.extensions.iter().filter_map(|said| match said {
            Extension::Ipv6PrefixReply(reply) => Some(reply.code),
            _ => None,
        });
        let answers: Vec<_> = answers.collect();
        (answers, scene.bound().unwrap()[0].networks6.clone())
    };
    let (tunnelled, clear) = (Flags::REVERSE_TUNNEL, Flags::NONE);
    let [unspecified, prohibited] = [Ipv6ReplyCode::UNSPECIFIED, Ipv6ReplyCode::PROHIBITED];
    let to_home = Ipv6ReplyCode::TO_HOME_ADDRESS;
    for (flags, to_care_of, code, served) in [
        (tunnelled, false, to_home, vec![prefix]),
        (tunnelled, true, unspecified, Vec::new()),
        (clear, false, unspecified, Vec::new()),
    ] {
        let expected = vec![code, prohibited, prohibited];
        assert_eq!(answers(flags, to_care_of), (expected, served));
    }
}

#[test]
fn a_physical_home_network_is_told_who_left_and_who_is_back() {
    let mut settings = settings();
    settings.home_link = HomeLink::Physical;
    let mut scene = Scene::new(settings);
    let home = S;
    scene.ask(|_| {});
    assert!(scene.effects.contains(&Effect::Intercept { home }));
    scene.ask(|_| {});
    assert!(!scene.effects.contains(&Effect::Intercept { home }));
    scene.ask(|request| (request.lifetime, request.care_of) = (0, S));
    assert!(scene.effects.contains(&Effect::Release { home }));
}

proptest! {
    /// Whatever is altered in or done to an honest request: bindings follow a valid authenticator and
    /// an identification that is later than any before.
    #[test]
    fn bindings_follow_authentic_and_fresh_requests_only(
        steps in proptest::collection::vec((0u8..4, any::<prop::sample::Index>(), any::<u8>()), 1..40),
    ) {
        let mut scene = Scene::new(settings());
        let mut honest: Vec<Vec<u8>> = Vec::new();
        let mut last = Identification(0);
        for (what, at, octet) in steps {
            scene.now += Duration::from_millis(u64::from(octet));
            let mut request = scene.request();
            request.care_of = Ipv4Addr::new(203, 0, 113, octet);
            let mut payload = signed(&request);
            match what {
                1 if !honest.is_empty() => payload.clone_from(&honest[at.index(honest.len())]),
                2 => {
                    let at = at.index(payload.len());
                    payload[at] ^= octet;
                }
                3 => payload.truncate(at.index(payload.len())),
                _ => honest.push(payload.clone()),
            }
            let genuine = Decoded::decode(&payload).ok().and_then(|decoded| {
                let placed = decoded.only_authenticator(AuthenticationKind::MobileHome)?;
                let Message::Request(request) = &decoded.message else { return None };
                key(256).verify(&placed).then_some(request.identification)
            });
            scene.from(X, payload);
            if let Some(kept) = scene.kept() {
                prop_assert!(genuine.is_some());
                let id = genuine.unwrap();
                prop_assert!(id.timestamp().is_after(last.timestamp()) || last.0 == 0);
                prop_assert_eq!(kept.guard, super::super::replay::Guard::Timestamps(Some(id)));
                last = id;
            } else {
                prop_assert_eq!(scene.bound(), None);
            }
        }
    }

    /// Nothing that comes in makes it panic, or send more than one datagram.
    #[test]
    fn any_octets_are_borne(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut scene = Scene::new(settings());
        scene.from(X, payload);
        prop_assert!(scene.sent().len() <= 1);
    }
}
