//! A mobile node, a home agent, and what leaves the foreign agent between them, in order.

use super::settings::{ForeignAgentSettings, LINK, Tables};
use crate::agent::Agent;
use crate::agent::effect::{Effect, Reply};
use crate::agent::event::{Command, Event, Token, Undelivered};
use crate::agent::on_link::{Frame, Overheard, Packet, Payload, Receiver};
use crate::agent::settings::Settings;
use crate::agent::stand_in::{Kernel, NoRoutes, seeded};
use crate::kernel::desired::{
    DecapsulationEntry, Key, LinkName, NeighbourKey, Object, RouteKey, RuleKey,
};
use crate::mobile_ip::foreign_agent::{self, ReverseTunnels};
use crate::mobile_ip::security::{Algorithm, ReplayProtection, SecurityAssociation};
use crate::mobile_ip::wire::advertisement::{CommonTraffic, Discovery as Message};
use crate::mobile_ip::wire::{
    AuthenticationKind, Code, Extension, Flags, Identification, RegistrationReply,
    RegistrationRequest, TunnelKind,
};
use crate::mobile_ip::{Datagram, LinkId, Via};
use crate::net::{Family, Secret, host};
use crate::tun::tunnels::{Binding, Outer, Side};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

const ETH1: LinkName = LinkName::literal("eth1");
const XA_MINIMAL: LinkName = LinkName::literal("xa-minimal");
const AGENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const CARE_OF: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const HOME_AGENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const HOME: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 5);
const OTHER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 6);
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

fn key() -> SecurityAssociation {
    SecurityAssociation {
        spi: 256,
        algorithm: Algorithm::HmacSha256,
        key: Secret::from(&b"0123456789abcdef"[..]),
        replay: ReplayProtection::default(),
    }
}

fn settings() -> Settings {
    Settings {
        foreign_agent: Some(ForeignAgentSettings {
            protocol: foreign_agent::Settings {
                link: LINK,
                address: AGENT,
                prefix_len: None,
                care_of: CARE_OF,
                own: Vec::new(),
                lifetime: 600,
                interval: Some(Duration::from_secs(10)),
                required: true,
                traffic: CommonTraffic::Routed,
                reverse: ReverseTunnels::Available,
                tunnels: vec![TunnelKind::Gre, TunnelKind::Minimal],
                challenge: false,
                mobile_nodes: Vec::new(),
                home_agents: Vec::new(),
                most_visitors: 10,
                most_pending: 10,
            },
            link: ETH1,
            tables: Tables::default(),
        }),
        ..Settings::bare("fa.example".parse().unwrap())
    }
}

struct Scene {
    agent: Agent,
    now: Instant,
    kernel: Kernel,
    frames: Vec<Frame>,
    relayed: Vec<Datagram>,
    /// In user space.
    carried: BTreeMap<Ipv4Addr, Binding>,
    identification: u64,
}

impl Scene {
    fn new() -> Self {
        let now = Instant::now();
        let agent = Agent::new(now, settings(), &[], Box::new(NoRoutes), seeded()).unwrap();
        let mut scene = Self {
            agent,
            now,
            kernel: Kernel::default(),
            frames: Vec::new(),
            relayed: Vec::new(),
            carried: BTreeMap::new(),
            identification: 1 << 32,
        };
        scene.hand(Event::Found(Vec::new()));
        scene.hand(Event::Addresses(vec![AGENT.into(), CARE_OF.into()]));
        scene.kernel_is_ready();
        scene
    }

    fn hand(&mut self, event: Event) -> Option<Reply> {
        self.agent.handle(self.now, event);
        self.drain()
    }

    fn drain(&mut self) -> Option<Reply> {
        let mut answer = None;
        while let Some(effect) = self.agent.poll_effect() {
            match effect {
                Effect::Kernel(change) => self.kernel.write(change),
                Effect::OnLink(frame) => self.frames.push(frame),
                Effect::SendRegistration(datagram) => self.relayed.push(datagram),
                Effect::Reply { reply, .. } => answer = Some(reply),
                Effect::Carry { adapter, binding } => {
                    assert_eq!(adapter, XA_MINIMAL);
                    self.carried.insert(binding.home, binding);
                }
                Effect::CarryNoMore { side, home } => {
                    let binding = self.carried.remove(&home);
                    assert_eq!(binding.map(|binding| binding.side), Some(side));
                }
                _ => {}
            }
        }
        answer
    }

    fn kernel_is_ready(&mut self) {
        self.hand(self.kernel.is_ready());
    }

    /// The one of a table that leads anywhere.
    fn way(&self, table: u32) -> String {
        let key = RouteKey {
            table,
            dst: Family::V4.any(),
            metric: 0,
        };
        match self.kernel.objects.get(&Key::Route(key)) {
            Some(Object::Route(route)) => route.to_string(),
            other => panic!("{other:?}"),
        }
    }

    fn later(&mut self, by: Duration) {
        self.now += by;
        self.agent.handle_timeout(self.now);
        self.drain();
    }

    fn overhear(&mut self, ttl: u8, packet: Packet) {
        self.hand(Event::OnLink(Overheard {
            link: LinkId(7),
            name: ETH1,
            mac: MAC,
            ttl,
            packet,
        }));
    }

    fn ask(&mut self, home: Ipv4Addr, to: Ipv4Addr, flags: Flags, more: &[Extension]) {
        self.identification += 1;
        let request = RegistrationRequest {
            flags,
            lifetime: 300,
            home,
            home_agent: HOME_AGENT,
            care_of: CARE_OF,
            identification: Identification(self.identification),
            extensions: Vec::new(),
        };
        let mut payload = request.encode();
        key().sign(AuthenticationKind::MobileHome, &mut payload);
        for extension in more {
            extension.encode(&mut payload);
        }
        let packet = Packet::Request {
            local: SocketAddrV4::new(to, 434),
            remote: SocketAddrV4::new(home, 1000),
            payload,
        };
        self.overhear(255, packet);
    }

    /// The home agent's word for the last request.
    fn answer(&mut self, home: Ipv4Addr, code: Code) {
        let reply = RegistrationReply {
            code,
            lifetime: 300,
            home,
            home_agent: HOME_AGENT,
            identification: Identification(self.identification),
            extensions: Vec::new(),
        };
        let mut payload = reply.encode();
        key().sign(AuthenticationKind::MobileHome, &mut payload);
        self.hand(Event::Registration(Datagram {
            via: Via::Routed,
            local: SocketAddrV4::new(CARE_OF, 434),
            remote: SocketAddrV4::new(HOME_AGENT, 434),
            payload,
        }));
    }

    fn register(&mut self, home: Ipv4Addr, flags: Flags, more: &[Extension]) {
        self.ask(home, AGENT, flags, more);
        self.answer(home, Code::ACCEPTED);
        self.kernel_is_ready();
    }

    fn wants(&self, key: impl Into<Wanted>) -> bool {
        let Wanted(key) = key.into();
        self.kernel.objects.contains_key(&key)
    }

    fn visitors(&mut self) -> Vec<(String, String)> {
        let (token, command) = (Token(1), Command::Visitors);
        match self.hand(Event::Command { token, command }) {
            Some(Reply::Visitors(visitors)) => {
                let named = visitors.into_iter().map(|v| (v.home, v.reverse));
                named.collect()
            }
            other => panic!("{other:?}"),
        }
    }
}

struct Wanted(Key);

impl From<DecapsulationEntry> for Wanted {
    fn from(entry: DecapsulationEntry) -> Self {
        Self(Key::DecapsulationEntry(entry))
    }
}

impl From<RouteKey> for Wanted {
    fn from(key: RouteKey) -> Self {
        Self(Key::Route(key))
    }
}

impl From<RuleKey> for Wanted {
    fn from(key: RuleKey) -> Self {
        Self(Key::Rule(key))
    }
}

fn for_visitor(inner: Ipv4Addr) -> DecapsulationEntry {
    DecapsulationEntry::Visitor {
        src: HOME_AGENT,
        dst: CARE_OF,
        inner,
    }
}

fn rule(home: Ipv4Addr, iif: LinkName) -> RuleKey {
    RuleKey {
        from: Some(host(home.into())),
        iif: Some(iif),
        ..RuleKey::new(Family::V4, 7500, 7501)
    }
}

#[test]
fn an_accepted_request_opens_ways_for_this_visitor_before_it_hears_of_it() {
    let mut scene = Scene::new();
    scene.ask(HOME, AGENT, Flags::REVERSE_TUNNEL, &[]);
    let [relayed] = &scene.relayed[..] else {
        panic!("{:?}", scene.relayed)
    };
    let (from, to) = (
        SocketAddrV4::new(CARE_OF, 434),
        SocketAddrV4::new(HOME_AGENT, 434),
    );
    assert_eq!(
        (relayed.via, relayed.local, relayed.remote),
        (Via::Routed, from, to)
    );
    assert!(!scene.wants(for_visitor(HOME)));
    scene.frames.clear();
    scene.answer(HOME, Code::ACCEPTED);
    assert!(scene.frames.is_empty(), "the kernel is not ready");
    scene.kernel_is_ready();
    let [frame] = &scene.frames[..] else {
        panic!("{:?}", scene.frames)
    };
    assert_eq!((frame.link, frame.to), (ETH1, Receiver::Mac(MAC)));
    assert_eq!(
        (frame.source, frame.destination, frame.ttl),
        (AGENT, HOME, 1)
    );
    assert!(scene.wants(for_visitor(HOME)) && scene.wants(rule(HOME, ETH1)));
    assert!(scene.wants(RouteKey::to_host(7500, HOME)));
    let (link, address) = (ETH1, HOME.into());
    let key = Key::Neighbour(NeighbourKey { link, address });
    assert!(matches!(scene.kernel.objects.get(&key), Some(Object::Neighbour(n)) if n.mac == MAC));
    assert_eq!(
        scene.way(7501),
        "0.0.0.0/0 table 7501 proto 88 encap ip src 192.0.2.7 dst 192.0.2.2 ttl 0 dev xa-ipip"
    );
    assert!(scene.wants(RouteKey::end_of(7501, Family::V4)));
    assert_eq!(scene.visitors(), [(HOME.to_string(), "direct".to_owned())]);
}

#[test]
fn without_a_reverse_tunnel_packets_of_a_visitor_are_routed_as_everybodys() {
    let mut scene = Scene::new();
    scene.register(HOME, Flags::NONE, &[]);
    assert!(scene.wants(for_visitor(HOME)));
    assert!(!scene.wants(rule(HOME, ETH1)));
    scene.register(HOME, Flags::REVERSE_TUNNEL, &[]);
    assert!(scene.wants(rule(HOME, ETH1)));
    scene.register(HOME, Flags::NONE, &[]);
    assert!(!scene.wants(rule(HOME, ETH1)) && scene.wants(for_visitor(HOME)));
}

#[test]
fn what_is_wrapped_for_us_is_the_only_thing_that_goes_through_the_tunnel() {
    let mut scene = Scene::new();
    let delivery = [Extension::EncapsulatingDelivery];
    scene.register(HOME, Flags::REVERSE_TUNNEL, &delivery);
    assert!(!scene.wants(rule(HOME, ETH1)));
    assert!(scene.wants(rule(HOME, LinkName::literal("xa-ipip"))));
    assert!(scene.wants(DecapsulationEntry::Binding {
        src: HOME,
        dst: AGENT,
        inner: HOME,
    }));
}

#[test]
fn visitors_of_one_home_agent_who_are_wrapped_otherwise_have_a_table_of_their_own() {
    let mut scene = Scene::new();
    scene.register(HOME, Flags::REVERSE_TUNNEL, &[]);
    scene.register(OTHER, Flags::REVERSE_TUNNEL | Flags::GRE, &[]);
    assert!(scene.wants(DecapsulationEntry::GreEnd(CARE_OF)));
    assert!(scene.way(7501).ends_with("dev xa-ipip"));
    assert!(scene.way(7502).ends_with("ttl 64 dev xa-gre"));
    scene.register(HOME, Flags::REVERSE_TUNNEL | Flags::GRE, &[]);
    assert!(!scene.wants(RouteKey::end_of(7501, Family::V4)));
}

#[test]
fn minimal_encapsulation_is_carried_in_user_space_and_fragments_beside_it_by_the_kernel() {
    let mut scene = Scene::new();
    scene.register(HOME, Flags::REVERSE_TUNNEL | Flags::MINIMAL, &[]);
    scene.register(OTHER, Flags::MINIMAL, &[]);
    assert!(scene.way(7501).ends_with("dev xa-minimal"));
    assert!(scene.wants(RuleKey {
        iif: Some(XA_MINIMAL),
        ..RuleKey::new(Family::V4, 7501, 7500)
    }));
    for (home, reverse) in [(HOME, true), (OTHER, false)] {
        let binding = &scene.carried[&home];
        assert_eq!(binding.side, Side::MobileNode);
        let [tunnel] = &binding.tunnels[..] else {
            panic!("{binding:?}")
        };
        let (local, remote) = (CARE_OF, HOME_AGENT);
        assert_eq!(tunnel.outer, Outer::Minimal { local, remote });
        assert_eq!(tunnel.reverse, reverse);
        assert!(scene.wants(DecapsulationEntry::Visitor {
            src: HOME_AGENT,
            dst: CARE_OF,
            inner: home,
        }));
    }
    scene.register(HOME, Flags::REVERSE_TUNNEL, &[]);
    assert!(!scene.carried.contains_key(&HOME), "it is the kernel's now");
    scene.later(Duration::from_secs(400));
    assert!(scene.carried.is_empty());
}

#[test]
fn what_visitors_of_one_home_agent_share_stays_until_the_last_has_gone() {
    let mut scene = Scene::new();
    let before = scene.kernel.objects.len();
    for home in [HOME, OTHER] {
        scene.register(home, Flags::REVERSE_TUNNEL, &[]);
    }
    scene.later(Duration::from_secs(200));
    scene.register(OTHER, Flags::REVERSE_TUNNEL, &[]);
    scene.later(Duration::from_secs(150));
    assert_eq!(scene.visitors().len(), 1);
    assert!(!scene.wants(for_visitor(HOME)) && scene.wants(for_visitor(OTHER)));
    assert!(scene.wants(RouteKey::end_of(7501, Family::V4)));
    scene.later(Duration::from_secs(200));
    assert_eq!(scene.kernel.objects.len(), before);
}

#[test]
fn a_denied_request_and_one_for_somebody_else_open_nothing() {
    let mut scene = Scene::new();
    scene.ask(HOME, AGENT, Flags::NONE, &[]);
    scene.answer(HOME, Code::HA_MOBILE_NODE_AUTHENTICATION);
    scene.kernel_is_ready();
    assert!(!scene.wants(for_visitor(HOME)));
    scene.relayed.clear();
    scene.ask(HOME, Ipv4Addr::new(203, 0, 113, 9), Flags::NONE, &[]);
    assert!(scene.relayed.is_empty(), "another agent was asked");
    // From port 434 of the routed socket a request proves no link.
    let packet = Datagram {
        via: Via::Routed,
        local: SocketAddrV4::new(AGENT, 434),
        remote: SocketAddrV4::new(HOME, 1000),
        payload: vec![1; 60],
    };
    scene.hand(Event::Registration(packet));
    assert!(scene.relayed.is_empty());
}

#[test]
fn who_asks_for_an_agent_gets_an_advertisement_of_its_own() {
    let mut scene = Scene::new();
    let everybody = scene.frames.pop().expect("it begins with an advertisement");
    assert_eq!(everybody.to, Receiver::Everybody);
    let source = Ipv4Addr::new(203, 0, 113, 10);
    let packet = || Packet::Icmp {
        source,
        destination: Ipv4Addr::new(224, 0, 0, 2),
        message: Message::Solicitation.encode(),
    };
    // It has come over a router.
    scene.overhear(64, packet());
    assert!(scene.frames.is_empty());
    scene.overhear(1, packet());
    let [frame] = &scene.frames[..] else {
        panic!("{:?}", scene.frames)
    };
    assert_eq!((frame.to, frame.destination), (Receiver::Mac(MAC), source));
    let Payload::Icmp(icmp) = &frame.payload else {
        panic!("{frame:?}")
    };
    assert!(matches!(
        Message::decode(icmp),
        Ok(Message::Advertisement(_))
    ));
    scene.overhear(
        1,
        Packet::Icmp {
            source,
            destination: AGENT,
            message: vec![9; 7],
        },
    );
    let (token, command) = (Token(2), Command::Status);
    let Some(Reply::Status(status)) = scene.hand(Event::Command { token, command }) else {
        panic!("no status")
    };
    assert_eq!(status.counters.get("discovery-malformed"), Some(&1));
    assert_eq!(status.counters.get("discovery-ignored"), Some(&1));
    assert_eq!(status.foreign_agent.expect("one").visitors, 0);
}

#[test]
fn who_cannot_be_reached_is_told_at_once_and_errors_for_others_change_nothing() {
    let unreachable = |local, remote, kind, code| {
        let error = Undelivered {
            local,
            remote,
            kind,
            code,
        };
        let mut scene = Scene::new();
        scene.ask(HOME, AGENT, Flags::NONE, &[]);
        let before = scene.frames.len();
        scene.hand(Event::Undelivered(error));
        let said: Vec<u8> = scene.frames[before..]
            .iter()
            .filter_map(|frame| match &frame.payload {
                Payload::Udp { payload, .. } => payload.get(1).copied(),
                Payload::Icmp(_) => None,
            })
            .collect();
        said
    };
    for (kind, code, told) in [(3, 0, 80), (3, 1, 81), (3, 3, 82), (3, 13, 88), (11, 0, 88)] {
        assert_eq!(unreachable(CARE_OF, HOME_AGENT, kind, code), [told]);
    }
    // Too long a packet, somebody else's home agent, and nothing of ours.
    assert!(unreachable(CARE_OF, HOME_AGENT, 3, 4).is_empty());
    assert!(unreachable(CARE_OF, OTHER, 3, 1).is_empty());
    assert!(unreachable(AGENT, HOME_AGENT, 3, 1).is_empty());
}
