//! A mobile node outside, a home agent inside, and what leaves the proxy agent between them, in order.

use super::settings::{ProxyAgentSettings, Tables};
use crate::agent::Agent;
use crate::agent::effect::{Effect, Reply};
use crate::agent::event::{Command, Event, Token};
use crate::agent::settings::Settings;
use crate::agent::stand_in::{Kernel, NoRoutes, seeded};
use crate::kernel::desired::{
    DecapsulationEntry, Encapsulation, Key, LinkName, Object, RouteKey, RuleKey, Way,
};
use crate::mobile_ip::proxy_agent::{self, Node};
use crate::mobile_ip::security::{Algorithm, ReplayProtection, SecurityAssociation};
use crate::mobile_ip::wire::{
    AuthenticationKind, Code, Decoded, Extension, Flags, Identification, Message,
    RegistrationReply, RegistrationRequest, Timestamp as Stamp, TunnelKind, UdpTunnelRequest,
};
use crate::mobile_ip::{Datagram, Via};
use crate::net::{Family, Secret};
use crate::presence::Timestamp;
use crate::tun::tunnels::Outer;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

const UNIX: u64 = 1_700_000_000;
const OUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 8);
const INNER: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 8);
const HOME_AGENT: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 2);
const HOME: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 5);
const CARE_OF: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 138);
const TABLE: u32 = 7600;

fn key(octets: &[u8]) -> SecurityAssociation {
    SecurityAssociation {
        spi: 256,
        algorithm: Algorithm::HmacSha256,
        key: Secret::from(octets),
        replay: ReplayProtection::default(),
    }
}

fn outside() -> SecurityAssociation {
    key(b"0123456789abcdef")
}

fn inside() -> SecurityAssociation {
    key(b"fedcba9876543210")
}

fn settings() -> Settings {
    Settings {
        proxy_agent: Some(ProxyAgentSettings {
            protocol: proxy_agent::Settings {
                outer: OUTER,
                inner: INNER,
                port: 434,
                home_agent: HOME_AGENT,
                encapsulations: vec![TunnelKind::Gre],
                inside: Vec::new(),
                lifetime: 300,
                keepalive: 20,
                nodes: vec![Node {
                    home: HOME,
                    outer: outside(),
                    inner: inside(),
                }],
                foreign_agents: Vec::new(),
            },
            tables: Tables::default(),
        }),
        ..Settings::bare("proxy.example".parse().unwrap())
    }
}

struct Scene {
    agent: Agent,
    start: Instant,
    now: Instant,
    asked: u64,
    /// What else the mobile node asks for.
    flags: Flags,
    kernel: Kernel,
    /// What has left by port 434.
    sent: Vec<Datagram>,
    /// What user space was told.
    carrying: Vec<String>,
}

impl Scene {
    fn new() -> Self {
        let now = Instant::now();
        let agent = Agent::new(now, settings(), &[], Box::new(NoRoutes), seeded()).unwrap();
        let mut scene = Self {
            agent,
            start: now,
            now,
            asked: 0,
            flags: Flags::NONE,
            kernel: Kernel::default(),
            sent: Vec::new(),
            carrying: Vec::new(),
        };
        scene.hand(Event::Found(Vec::new()));
        scene.kernel_is_ready();
        scene
    }

    fn clock_is_known(mut self) -> Self {
        self.hand(Event::WallClock {
            unix: Timestamp(UNIX),
            offset: 0,
            doubt: None,
        });
        self
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
                Effect::SendRegistration(datagram) => self.sent.push(datagram),
                Effect::Carry { adapter, binding } => {
                    let Outer::Udp { remote, .. } = binding.tunnels[0].outer else {
                        panic!("nothing else is offered")
                    };
                    self.carrying.push(format!("{adapter}: {remote}"));
                }
                Effect::CarryNoMore { home, .. } => self.carrying.push(format!("no more {home}")),
                Effect::Reply { reply, .. } => answer = Some(reply),
                _ => {}
            }
        }
        answer
    }

    fn kernel_is_ready(&mut self) {
        self.hand(self.kernel.is_ready());
    }

    fn later(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(at) = self.agent.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.agent.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn heard(&mut self, local: Ipv4Addr, remote: SocketAddrV4, payload: Vec<u8>) {
        self.hand(Event::Registration(Datagram {
            via: Via::Routed,
            local: SocketAddrV4::new(local, 434),
            remote,
            payload,
        }));
    }

    /// The mobile node asks; `lifetime` 0 takes its binding back.
    fn ask(&mut self, care_of: Ipv4Addr, seen: SocketAddrV4, lifetime: u16) {
        self.asked += 1;
        let since = Duration::from_secs(UNIX) + self.now.duration_since(self.start);
        let stamp = Stamp::from_unix(since + Duration::from_millis(self.asked));
        let request = RegistrationRequest {
            flags: Flags::DECAPSULATION | Flags::REVERSE_TUNNEL | self.flags,
            lifetime,
            home: HOME,
            home_agent: OUTER,
            care_of,
            identification: Identification::from(stamp),
            extensions: vec![Extension::UdpTunnelRequest(UdpTunnelRequest {
                force: false,
                through_foreign_agent: false,
                encapsulation: 0,
                reserved: 0,
            })],
        };
        let mut payload = request.encode();
        outside().sign(AuthenticationKind::MobileHome, &mut payload);
        self.heard(OUTER, seen, payload);
    }

    fn ask_from(&mut self, care_of: Ipv4Addr) {
        self.ask(care_of, SocketAddrV4::new(care_of, 434), 300);
    }

    /// The home agent's word for the request that has left for it last.
    fn answer(&mut self, code: Code) {
        let request = self.requests_inside().pop().expect("nobody was asked");
        let reply = RegistrationReply {
            code,
            lifetime: request.lifetime,
            home: HOME,
            home_agent: HOME_AGENT,
            identification: request.identification,
            extensions: Vec::new(),
        };
        let mut payload = reply.encode();
        inside().sign(AuthenticationKind::MobileHome, &mut payload);
        self.heard(INNER, SocketAddrV4::new(HOME_AGENT, 434), payload);
    }

    fn messages(&self, to: Ipv4Addr) -> impl Iterator<Item = Message> {
        let sent = self.sent.iter().filter(move |d| *d.remote.ip() == to);
        sent.map(|d| Decoded::decode(&d.payload).unwrap().message)
    }

    fn requests_inside(&self) -> Vec<RegistrationRequest> {
        let all = self.messages(HOME_AGENT);
        all.filter_map(|message| match message {
            Message::Request(request) => Some(request),
            _ => None,
        })
        .collect()
    }

    fn codes(&self, to: Ipv4Addr) -> Vec<Code> {
        let all = self.messages(to);
        all.filter_map(|message| match message {
            Message::Reply(reply) => Some(reply.code),
            _ => None,
        })
        .collect()
    }

    fn way(&self) -> Option<Way> {
        let key = Key::Route(RouteKey::to_host(TABLE, HOME));
        match self.kernel.objects.get(&key)? {
            Object::Route(route) => Some(route.way),
            _ => None,
        }
    }

    /// Where the tunnel of the mobile node ends.
    fn far_end(&self) -> Option<Ipv4Addr> {
        match self.way()? {
            Way::Encapsulated {
                encapsulation: Encapsulation { dst, .. },
                ..
            } => Some(dst),
            _ => None,
        }
    }

    fn lets_through(&self, entry: DecapsulationEntry) -> bool {
        self.kernel
            .objects
            .contains_key(&Key::DecapsulationEntry(entry))
    }
}

fn from_node(src: Ipv4Addr) -> DecapsulationEntry {
    DecapsulationEntry::Binding {
        src,
        dst: OUTER,
        inner: HOME,
    }
}

const FROM_HOME_AGENT: DecapsulationEntry = DecapsulationEntry::Visitor {
    src: HOME_AGENT,
    dst: INNER,
    inner: HOME,
};

#[test]
fn before_anybody_is_registered_both_ends_are_judged_and_tunnels_lead_to_the_home_agent() {
    let scene = Scene::new();
    for end in [OUTER, INNER] {
        assert!(scene.lets_through(DecapsulationEntry::End(end)), "{end}");
    }
    assert!(scene.lets_through(DecapsulationEntry::GreEnd(OUTER)));
    assert!(!scene.lets_through(DecapsulationEntry::GreEnd(INNER)));
    for link in ["xa-ipip", "xa-udp", "xa-gre"] {
        let rule = RuleKey {
            iif: Some(LinkName::literal(link)),
            ..RuleKey::new(Family::V4, 7600, TABLE)
        };
        assert!(
            scene.kernel.objects.contains_key(&Key::Rule(rule)),
            "{link}"
        );
    }
    let end = Key::Route(RouteKey::end_of(TABLE, Family::V4));
    assert!(scene.kernel.objects.contains_key(&end));
    assert!(!scene.lets_through(FROM_HOME_AGENT));
    assert_eq!(scene.way(), None);
}

#[test]
fn a_node_hears_that_it_is_registered_when_both_agents_agree_and_the_kernel_has_its_ways() {
    let mut scene = Scene::new().clock_is_known();
    scene.ask_from(CARE_OF);
    let asked = scene.requests_inside();
    assert_eq!((asked[0].home, asked[0].care_of), (HOME, INNER));
    assert_eq!(scene.codes(CARE_OF), []);
    assert_eq!(scene.way(), None);
    scene.answer(Code::ACCEPTED);
    assert_eq!(scene.far_end(), Some(CARE_OF));
    assert!(scene.lets_through(from_node(CARE_OF)) && scene.lets_through(FROM_HOME_AGENT));
    assert_eq!(scene.codes(CARE_OF), [], "before the kernel has it");
    scene.kernel_is_ready();
    assert_eq!(scene.codes(CARE_OF), [Code::ACCEPTED]);
}

#[test]
fn a_move_outside_changes_one_tunnel_and_asks_nobody_inside() {
    let mut scene = Scene::new().clock_is_known();
    scene.ask_from(CARE_OF);
    scene.answer(Code::ACCEPTED);
    scene.kernel_is_ready();
    scene.ask_from(ELSEWHERE);
    scene.kernel_is_ready();
    assert_eq!(scene.codes(ELSEWHERE), [Code::ACCEPTED]);
    assert_eq!(scene.requests_inside().len(), 1);
    assert_eq!(scene.far_end(), Some(ELSEWHERE));
    assert!(scene.lets_through(from_node(ELSEWHERE)) && !scene.lets_through(from_node(CARE_OF)));
}

#[test]
fn behind_a_nat_user_space_carries_the_outer_tunnel_until_it_is_none_of_udp() {
    let mut scene = Scene::new().clock_is_known();
    let seen = SocketAddrV4::new(ELSEWHERE, 61000);
    scene.ask(Ipv4Addr::new(192, 168, 7, 9), seen, 300);
    scene.answer(Code::ACCEPTED);
    scene.kernel_is_ready();
    assert_eq!(scene.codes(ELSEWHERE), [Code::ACCEPTED]);
    assert_eq!(scene.carrying, [format!("xa-udp: {seen}")]);
    assert!(matches!(scene.way(), Some(Way::Link { link, .. }) if link.as_str() == "xa-udp"));
    assert!(scene.lets_through(FROM_HOME_AGENT));
    scene.ask_from(CARE_OF);
    assert_eq!(scene.carrying[1..], [format!("no more {HOME}")]);
    assert_eq!(scene.far_end(), Some(CARE_OF));
}

#[test]
fn a_node_with_gre_has_its_way_over_that_device_and_the_home_agent_none() {
    let mut scene = Scene::new().clock_is_known();
    scene.flags = Flags::GRE;
    scene.ask_from(CARE_OF);
    assert_eq!(
        scene.requests_inside()[0].flags.encapsulation(),
        TunnelKind::IpIp
    );
    scene.answer(Code::ACCEPTED);
    scene.kernel_is_ready();
    assert_eq!(scene.codes(CARE_OF), [Code::ACCEPTED]);
    let Some(Way::Encapsulated {
        link,
        encapsulation,
        ..
    }) = scene.way()
    else {
        panic!("{:?}", scene.way());
    };
    assert_eq!((link.as_str(), encapsulation.dst), ("xa-gre", CARE_OF));
    assert_ne!(encapsulation.ttl, 0);
    assert!(scene.lets_through(from_node(CARE_OF)));
    // Without it, at the same place.
    scene.flags = Flags::NONE;
    scene.ask_from(CARE_OF);
    scene.kernel_is_ready();
    assert!(
        matches!(scene.way(), Some(Way::Encapsulated { link, .. }) if link.as_str() == "xa-ipip")
    );
    assert!(scene.lets_through(from_node(CARE_OF)));
}

#[test]
fn a_node_that_takes_its_binding_back_or_falls_silent_leaves_nothing() {
    for is_silent in [false, true] {
        let mut scene = Scene::new().clock_is_known();
        let before: Vec<Key> = scene.kernel.objects.keys().copied().collect();
        scene.ask_from(CARE_OF);
        scene.answer(Code::ACCEPTED);
        scene.kernel_is_ready();
        if is_silent {
            scene.later(Duration::from_secs(301));
        } else {
            scene.ask(CARE_OF, SocketAddrV4::new(CARE_OF, 434), 0);
        }
        scene.kernel_is_ready();
        let after: Vec<Key> = scene.kernel.objects.keys().copied().collect();
        assert_eq!(after, before);
        let last = scene.requests_inside().pop().unwrap();
        assert_eq!(last.lifetime, 0, "the home agent is told");
    }
}

#[test]
fn what_the_home_agent_denies_opens_nothing() {
    let mut scene = Scene::new().clock_is_known();
    scene.ask_from(CARE_OF);
    scene.answer(Code::HA_PROHIBITED);
    assert_eq!(scene.codes(CARE_OF), [Code::HA_PROHIBITED]);
    assert_eq!(scene.way(), None);
}

#[test]
fn what_is_not_offered_is_denied_and_the_home_agent_not_asked() {
    let mut scene = Scene::new().clock_is_known();
    scene.flags = Flags::MINIMAL;
    scene.ask_from(CARE_OF);
    assert_eq!(scene.codes(CARE_OF), [Code::HA_ENCAPSULATION]);
    // Within UDP it would be GRE as well.
    scene.flags = Flags::GRE;
    scene.ask(
        Ipv4Addr::new(192, 168, 7, 9),
        SocketAddrV4::new(ELSEWHERE, 61000),
        300,
    );
    assert_eq!(scene.codes(ELSEWHERE), [Code::HA_UDP_ENCAPSULATION]);
    assert_eq!(scene.requests_inside(), []);
}

#[test]
fn nobody_is_heard_before_the_time_of_day_is_known() {
    let mut scene = Scene::new();
    scene.ask_from(CARE_OF);
    assert_eq!(scene.sent, []);
}

#[test]
fn the_bindings_are_listed_as_those_of_a_home_agent_and_counted() {
    let mut scene = Scene::new().clock_is_known();
    scene.ask_from(CARE_OF);
    let view = scene.agent.snapshot(scene.now).proxy_agent.unwrap();
    assert_eq!((view.mobile_nodes, view.bindings, view.asking), (1, 0, 1));
    scene.answer(Code::ACCEPTED);
    let view = scene.agent.snapshot(scene.now).proxy_agent.unwrap();
    assert_eq!((view.bindings, view.asking), (1, 0));
    let (token, command) = (Token(1), Command::Bindings);
    let Some(Reply::Bindings(bindings)) = scene.hand(Event::Command { token, command }) else {
        panic!("no list");
    };
    let [binding] = &bindings[..] else {
        panic!("{bindings:?}");
    };
    let shown = (binding.home.as_str(), binding.care_of.as_str());
    assert_eq!(shown, ("10.20.0.5", "203.0.113.10"));
    assert_eq!(binding.left_seconds, Some(300));
}
