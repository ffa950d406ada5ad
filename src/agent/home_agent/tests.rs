//! Requests of a mobile node, and what leaves the agent, in order.

use super::settings::HomeAgentSettings;
use crate::agent::Agent;
use crate::agent::effect::{Effect, Reply};
use crate::agent::event::{Command, Event, Token};
use crate::agent::settings::Settings;
use crate::agent::stand_in::{Kernel, NoRoutes, seeded};
use crate::kernel::desired::{
    DecapsulationEntry, Key, LinkName, Object, Revision, RouteKey, Sysctl, Way, embedded,
};
use crate::mobile_ip::home_agent::effects::Kept;
use crate::mobile_ip::home_agent::settings::{
    self as protocol, HomeLink, Limits, MobileNode, NatTraversal, ReverseTunnel,
};
use crate::mobile_ip::security::{Algorithm, ReplayProtection, SecurityAssociation};
use crate::mobile_ip::wire::{
    AuthenticationKind, Code, Decoded, Extension, Flags, Identification, Ipv6Prefix, Message,
    RegistrationRequest, Timestamp, TunnelKind, UdpTunnelRequest,
};
use crate::mobile_ip::{Datagram, Via};
use crate::net::{IpNet, Ipv6Net, Secret};
use crate::tun::tunnels::Outer;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

const UNIX: Duration = Duration::from_secs(1_700_000_000);
const AGENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const HOME: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 5);
const CARE_OF: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 138);

fn key() -> SecurityAssociation {
    SecurityAssociation {
        spi: 256,
        algorithm: Algorithm::HmacSha256,
        key: Secret::from(&b"0123456789abcdef"[..]),
        replay: ReplayProtection::default(),
    }
}

fn mobile_node() -> MobileNode {
    MobileNode {
        home: Some(HOME),
        nai: None,
        security: vec![key()],
        networks: Vec::new(),
        networks6: Vec::new(),
    }
}

/// Of a machine that protects nothing.
fn bare() -> Settings {
    Settings::bare("ha.example".parse().unwrap())
}

fn settings(link: Option<LinkName>, nodes: Vec<MobileNode>) -> Settings {
    let home_link = match link {
        Some(_) => HomeLink::Physical,
        None => HomeLink::Virtual,
    };
    Settings {
        home_agent: Some(HomeAgentSettings {
            link,
            protocol: protocol::Settings {
                address: AGENT,
                home_network: "198.51.100.0/24".parse().unwrap(),
                home_link,
                mobile_nodes: nodes.into_iter().map(Arc::new).collect(),
                foreign_agents: Vec::new(),
                pool: None,
                trusted: Vec::new(),
                encapsulations: Vec::new(),
                reverse_tunnel: ReverseTunnel::Allowed,
                nat: NatTraversal {
                    allowed: false,
                    ..NatTraversal::default()
                },
                limits: Limits {
                    bindings_each: 1,
                    ..Limits::default()
                },
            },
        }),
        ..bare()
    }
}

struct Scene {
    agent: Agent,
    start: Instant,
    now: Instant,
    asked: u64,
    /// What the kernel was told, and what it has said to have.
    kernel: Kernel,
    /// By number.
    store: Vec<(u64, Kept)>,
}

impl Scene {
    fn new(settings: Settings, kept: Vec<Kept>) -> Self {
        let now = Instant::now();
        let agent = Agent::new(now, settings, &[], Box::new(NoRoutes), seeded()).unwrap();
        let mut scene = Self {
            agent,
            start: now,
            now,
            asked: 0,
            kernel: Kernel::default(),
            store: Vec::new(),
        };
        scene.hand(Event::Bindings { unix: UNIX, kept });
        assert!(scene.kernel.objects.is_empty(), "before anything was found");
        scene.hand(Event::Found(Vec::new()));
        scene.kernel_is_ready();
        scene
    }

    /// What leaves, in order, by name; datagrams as the code of the reply.
    fn hand(&mut self, event: Event) -> Vec<String> {
        self.agent.handle(self.now, event);
        self.left()
    }

    fn left(&mut self) -> Vec<String> {
        let mut left = Vec::new();
        while let Some(effect) = self.agent.poll_effect() {
            match effect {
                Effect::Kernel(change) => {
                    left.push("kernel".into());
                    self.kernel.write(change);
                }
                Effect::KeepBinding { number, kept } => {
                    left.push(format!("keep {number}"));
                    self.store.push((number, *kept));
                }
                Effect::Announce { link, address } => left.push(format!("{address} on {link}")),
                Effect::SendRegistration(datagram) => left.push(format!("say {}", code(&datagram))),
                Effect::Carry { adapter, binding } => {
                    let ends = binding.tunnels.iter().map(|it| remote(it.outer));
                    let ends = ends.collect::<Vec<_>>().join(" and ");
                    left.push(format!("{} to {ends} on {adapter}", binding.home));
                }
                Effect::CarryNoMore { home, .. } => left.push(format!("{home} no more")),
                _ => {}
            }
        }
        left
    }

    fn kernel_is_ready(&mut self) -> Vec<String> {
        self.hand(self.kernel.is_ready())
    }

    fn store_is_ready(&mut self) -> Vec<String> {
        let number = self.store.last().map_or(0, |(number, _)| *number);
        self.hand(Event::BindingsKept { number })
    }

    /// Whatever is due meanwhile happens when it is due.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.agent.poll_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.agent.handle_timeout(self.now);
            self.left();
        }
        self.now = end;
    }

    fn request(&mut self, alter: impl FnOnce(&mut RegistrationRequest)) -> Datagram {
        self.asked += 1;
        let unix = UNIX + self.now.duration_since(self.start) + Duration::from_millis(self.asked);
        let mut request = RegistrationRequest {
            flags: Flags::DECAPSULATION | Flags::REVERSE_TUNNEL,
            lifetime: 300,
            home: HOME,
            home_agent: AGENT,
            care_of: CARE_OF,
            identification: Identification(Timestamp::from_unix(unix).0),
            extensions: Vec::new(),
        };
        alter(&mut request);
        let mut payload = request.encode();
        key().sign(AuthenticationKind::MobileHome, &mut payload);
        Datagram {
            via: Via::Routed,
            local: SocketAddrV4::new(AGENT, 434),
            remote: SocketAddrV4::new(CARE_OF, 434),
            payload,
        }
    }

    fn ask(&mut self, alter: impl FnOnce(&mut RegistrationRequest)) -> Vec<String> {
        let datagram = self.request(alter);
        self.hand(Event::Registration(datagram))
    }

    /// And all that it waits for.
    fn register(&mut self, alter: impl FnOnce(&mut RegistrationRequest)) {
        self.ask(alter);
        self.store_is_ready();
        self.kernel_is_ready();
    }

    fn care_of(&self) -> Option<Ipv4Addr> {
        let route = Key::Route(RouteKey::to_host(254, HOME));
        match self.kernel.objects.get(&route) {
            Some(Object::Route(route)) => match route.way {
                Way::Encapsulated { encapsulation, .. } => Some(encapsulation.dst),
                other => panic!("{other:?}"),
            },
            _ => None,
        }
    }

    fn comes_out(&self, src: Ipv4Addr) -> bool {
        let entry = DecapsulationEntry::Binding {
            src,
            dst: AGENT,
            inner: HOME,
        };
        self.kernel
            .objects
            .contains_key(&Key::DecapsulationEntry(entry))
    }

    fn listed(&mut self) -> Vec<(String, String)> {
        let (token, command) = (Token(1), Command::Bindings);
        self.agent
            .handle(self.now, Event::Command { token, command });
        while let Some(effect) = self.agent.poll_effect() {
            if let Effect::Reply {
                reply: Reply::Bindings(bindings),
                ..
            } = effect
            {
                let pairs = bindings.into_iter().map(|b| (b.home, b.care_of));
                return pairs.collect();
            }
        }
        panic!("no answer");
    }
}

fn code(datagram: &Datagram) -> u8 {
    match Decoded::decode(&datagram.payload).unwrap().message {
        Message::Reply(reply) => reply.code.0,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reply_leaves_when_the_store_and_the_kernel_have_what_it_says() {
    for store_first in [true, false] {
        let mut scene = Scene::new(settings(None, vec![mobile_node()]), Vec::new());
        assert_eq!(scene.ask(|_| {}), ["keep 1", "kernel"]);
        assert_eq!(scene.care_of(), Some(CARE_OF));
        assert!(scene.comes_out(CARE_OF));
        let [first, second] = if store_first {
            [scene.store_is_ready(), scene.kernel_is_ready()]
        } else {
            [scene.kernel_is_ready(), scene.store_is_ready()]
        };
        assert!(first.is_empty(), "{first:?}");
        assert_eq!(second, ["say 1"]);
    }
}

#[test]
fn what_is_not_authentic_changes_nothing_and_is_told_so() {
    let mut scene = Scene::new(settings(None, vec![mobile_node()]), Vec::new());
    let mut forged = scene.request(|_| {});
    *forged.payload.last_mut().unwrap() ^= 1;
    assert_eq!(scene.hand(Event::Registration(forged)), ["say 131"]);
    let mut stranger = scene.request(|request| request.home = ELSEWHERE);
    stranger.payload.truncate(24);
    assert!(scene.hand(Event::Registration(stranger)).is_empty());
    assert!(scene.store.is_empty() && scene.care_of().is_none());
}

#[test]
fn a_renewal_is_kept_and_leaves_the_kernel_alone_and_a_move_is_one_change() {
    let mut scene = Scene::new(settings(None, vec![mobile_node()]), Vec::new());
    scene.register(|_| {});
    assert_eq!(scene.ask(|_| {}), ["keep 2"]);
    assert_eq!(scene.store_is_ready(), ["say 1"]);
    let moved = scene.ask(|request| request.care_of = ELSEWHERE);
    assert_eq!(moved, ["keep 3", "kernel"]);
    assert_eq!(scene.care_of(), Some(ELSEWHERE));
    assert!(scene.comes_out(ELSEWHERE));
}

#[test]
fn what_was_on_its_way_from_the_former_place_is_let_through_and_soon_no_more() {
    let mut scene = Scene::new(settings(None, vec![mobile_node()]), Vec::new());
    scene.register(|_| {});
    scene.register(|request| request.care_of = ELSEWHERE);
    assert!(scene.comes_out(ELSEWHERE) && scene.comes_out(CARE_OF));
    scene.pass(super::ON_ITS_WAY);
    assert!(scene.comes_out(ELSEWHERE) && !scene.comes_out(CARE_OF));
    // To and fro: where it is stays, whichever end is due first.
    scene.register(|_| {});
    scene.pass(super::ON_ITS_WAY / 2);
    scene.register(|request| request.care_of = ELSEWHERE);
    assert!(scene.comes_out(ELSEWHERE) && scene.comes_out(CARE_OF));
    scene.pass(super::ON_ITS_WAY / 2);
    assert!(scene.comes_out(ELSEWHERE) && scene.comes_out(CARE_OF));
    scene.pass(super::ON_ITS_WAY / 2);
    assert!(scene.comes_out(ELSEWHERE) && !scene.comes_out(CARE_OF));
    // Whoever is registered nowhere sends nothing.
    scene.register(|_| {});
    scene.register(|request| (request.lifetime, request.care_of) = (0, HOME));
    assert!(!scene.comes_out(ELSEWHERE) && !scene.comes_out(CARE_OF));
    scene.pass(super::ON_ITS_WAY);
}

#[test]
fn a_deregistration_and_an_expiry_withdraw_what_was_wanted() {
    let mut scene = Scene::new(settings(None, vec![mobile_node()]), Vec::new());
    let before: Vec<Key> = scene.kernel.objects.keys().copied().collect();
    let left = |scene: &Scene| scene.kernel.objects.keys().copied().collect::<Vec<_>>();
    scene.register(|_| {});
    assert_ne!(left(&scene), before);
    scene.register(|request| (request.lifetime, request.care_of) = (0, HOME));
    assert_eq!(left(&scene), before);
    scene.register(|request| request.flags = Flags::DECAPSULATION);
    assert!(!scene.comes_out(CARE_OF), "no reverse tunnel was asked for");
    scene.now = scene.agent.poll_timeout().unwrap();
    scene.agent.handle_timeout(scene.now);
    scene.left();
    assert_eq!(left(&scene), before);
    let last = scene.store.last().unwrap();
    assert!(last.1.bindings.is_empty(), "{last:?}");
}

#[test]
fn after_a_restart_bindings_are_wanted_at_once_and_old_requests_are_refused() {
    let mut before = Scene::new(settings(None, vec![mobile_node()]), Vec::new());
    let used = before.request(|_| {});
    before.hand(Event::Registration(used.clone()));
    let kept = before.store.pop().unwrap().1;
    let mut scene = Scene::new(settings(None, vec![mobile_node()]), vec![kept]);
    // The first change is all that is wanted: what is not in it would be removed.
    assert_eq!(scene.kernel.revision, Revision(1));
    assert_eq!(scene.care_of(), Some(CARE_OF));
    assert_eq!(scene.listed(), [(HOME.to_string(), CARE_OF.to_string())]);
    let mut replayed = used;
    replayed.remote = SocketAddrV4::new(ELSEWHERE, 434);
    let refused = format!("say {}", Code::HA_IDENTIFICATION.0);
    assert_eq!(scene.hand(Event::Registration(replayed)), [refused]);
}

#[test]
fn what_asks_for_gre_has_it_where_it_is_offered_and_the_other_way_when_it_asks_otherwise() {
    let mut settings = settings(None, vec![mobile_node()]);
    if let Some(agent) = &mut settings.home_agent {
        agent.protocol.encapsulations = vec![TunnelKind::Gre];
    }
    let mut scene = Scene::new(settings, Vec::new());
    let link = Key::Link("xa-gre".parse().unwrap());
    let end = Key::DecapsulationEntry(DecapsulationEntry::GreEnd(AGENT));
    let way = |scene: &Scene| {
        let route = Key::Route(RouteKey::to_host(254, HOME));
        match &scene.kernel.objects[&route] {
            Object::Route(route) => route.to_string(),
            other => panic!("{other:?}"),
        }
    };
    scene.register(|request| request.flags |= Flags::GRE);
    assert!(scene.kernel.objects.contains_key(&end));
    let Some(Object::Link(made)) = scene.kernel.objects.get(&link) else {
        panic!("no device for it");
    };
    assert_eq!(made.to_string(), "xa-gre mtu 1476 type gre external");
    assert!(
        way(&scene).ends_with("ttl 64 dev xa-gre"),
        "{}",
        way(&scene)
    );
    assert!(scene.comes_out(CARE_OF));
    scene.register(|_| {});
    assert!(way(&scene).ends_with("dev xa-ipip"), "{}", way(&scene));
}

/// Behind a NAT, which gives it the address of [`ELSEWHERE`] and this port.
fn translated(scene: &mut Scene, port: u16) -> Vec<String> {
    in_udp(scene, port, |_| {})
}

fn in_udp(
    scene: &mut Scene,
    port: u16,
    alter: impl FnOnce(&mut RegistrationRequest),
) -> Vec<String> {
    let mut datagram = scene.request(|request| {
        alter(request);
        let udp = UdpTunnelRequest {
            force: false,
            through_foreign_agent: false,
            encapsulation: 0,
            reserved: 0,
        };
        request.extensions.push(Extension::UdpTunnelRequest(udp));
    });
    datagram.remote = SocketAddrV4::new(ELSEWHERE, port);
    scene.hand(Event::Registration(datagram))
}

#[test]
fn behind_a_nat_user_space_carries_and_follows_the_port_and_is_told_when_it_is_over() {
    let mut settings = settings(None, vec![mobile_node()]);
    if let Some(agent) = &mut settings.home_agent {
        agent.protocol.nat = NatTraversal::default();
    }
    let mut scene = Scene::new(settings, Vec::new());
    let way = |scene: &Scene| match scene
        .kernel
        .objects
        .get(&Key::Route(RouteKey::to_host(254, HOME)))
    {
        Some(Object::Route(route)) => Some(route.to_string()),
        _ => None,
    };
    let on = "198.51.100.5 to 203.0.113.138:40000 on xa-udp";
    assert_eq!(translated(&mut scene, 40000), ["keep 1", on, "kernel"]);
    assert!(
        way(&scene).is_some_and(|way| way.ends_with("dev xa-udp")),
        "{:?}",
        way(&scene)
    );
    assert!(!scene.comes_out(CARE_OF) && !scene.comes_out(ELSEWHERE));
    let on = "198.51.100.5 to 203.0.113.138:40001 on xa-udp";
    assert_eq!(translated(&mut scene, 40001), ["keep 2", on, "kernel"]);
    // The same after a restart.
    let kept = scene.store.pop().unwrap().1;
    let again = Scene::new(scene.agent.settings.clone(), vec![kept]);
    assert_eq!(way(&again), way(&scene));
    // In front of it the kernel carries again.
    let over = "198.51.100.5 no more";
    assert_eq!(scene.ask(|_| {}), ["keep 3", over, "kernel"]);
    assert_eq!(scene.care_of(), Some(CARE_OF));
}

fn remote(outer: Outer) -> String {
    match outer {
        Outer::Udp { remote, .. } => remote.to_string(),
        Outer::Minimal { remote, .. } => format!("{remote}, minimal"),
    }
}

#[test]
fn in_minimal_encapsulation_user_space_carries_and_fragments_are_let_through_to_it() {
    let mut settings = settings(None, vec![mobile_node()]);
    if let Some(agent) = &mut settings.home_agent {
        agent.protocol.encapsulations = vec![TunnelKind::Minimal];
        agent.protocol.limits.bindings_each = 2;
    }
    let mut scene = Scene::new(settings, Vec::new());
    let minimal = |request: &mut RegistrationRequest| {
        request.flags |= Flags::MINIMAL | Flags::REVERSE_TUNNEL;
    };
    let on = "198.51.100.5 to 203.0.113.10, minimal on xa-udp";
    assert_eq!(scene.ask(minimal), ["keep 1", on, "kernel"]);
    let is_heard = |scene: &Scene, src| {
        let entry = DecapsulationEntry::UserSpace { src, dst: AGENT };
        let there = &scene.kernel.objects;
        there.contains_key(&Key::DecapsulationEntry(entry))
    };
    assert!(is_heard(&scene, CARE_OF) && !scene.comes_out(CARE_OF));
    // The same after a restart.
    let kept = scene.store.pop().unwrap().1;
    let again = Scene::new(scene.agent.settings.clone(), vec![kept]);
    let there = |scene: &Scene| format!("{:?}", scene.kernel.objects);
    assert_eq!(there(&again), there(&scene));
    // It moves, with a copy to where it was; then it stays in one place.
    let both = "198.51.100.5 to 203.0.113.10, minimal and 203.0.113.138, minimal on xa-udp";
    let moved = scene.ask(|request| {
        minimal(request);
        request.flags |= Flags::SIMULTANEOUS;
        request.care_of = ELSEWHERE;
    });
    assert!(moved.contains(&both.to_owned()), "{moved:?}");
    assert!(is_heard(&scene, CARE_OF) && is_heard(&scene, ELSEWHERE));
    let plain = scene.ask(|_| {});
    assert!(
        plain.contains(&"198.51.100.5 no more".to_owned()),
        "{plain:?}"
    );
}

#[test]
fn several_care_of_addresses_have_one_way_and_user_space_sends_to_each() {
    let mut settings = settings(None, vec![mobile_node()]);
    if let Some(agent) = &mut settings.home_agent {
        agent.protocol.nat = NatTraversal::default();
        agent.protocol.limits.bindings_each = 2;
    }
    let mut scene = Scene::new(settings, Vec::new());
    let beside = |last: u8| {
        move |request: &mut RegistrationRequest| {
            request.flags |= Flags::SIMULTANEOUS;
            request.care_of = Ipv4Addr::new(10, 0, 0, last);
        }
    };
    in_udp(&mut scene, 40000, beside(1));
    let first = "203.0.113.138:40000";
    let second = "203.0.113.138:40001";
    let both = format!("198.51.100.5 to {first} and {second} on xa-udp");
    assert!(in_udp(&mut scene, 40001, beside(2)).contains(&both));
    let way = Key::Route(RouteKey::to_host(254, HOME));
    assert!(scene.kernel.objects.contains_key(&way));
    // The same after a restart.
    let kept = scene.store.pop().unwrap().1;
    let listed = Scene::new(scene.agent.settings.clone(), vec![kept]).listed();
    let care_of: Vec<_> = listed.iter().map(|(_, care_of)| &care_of[..]).collect();
    assert_eq!(care_of, ["10.0.0.1", "10.0.0.2"]);
    // One leaves, and what it sends is on its way for a while.
    let only = format!("198.51.100.5 to {second} on xa-udp");
    let left = in_udp(&mut scene, 40000, |request| {
        beside(1)(request);
        request.lifetime = 0;
    });
    assert!(left.contains(&only), "{left:?}");
}

#[test]
fn on_a_physical_home_network_arp_is_answered_while_the_mobile_node_is_away() {
    let link = LinkName::literal("eth1");
    let mut scene = Scene::new(settings(Some(link), vec![mobile_node()]), Vec::new());
    let proxy = Key::Proxy(super::kernel::standing_in(HOME, link));
    assert!(!scene.kernel.objects.contains_key(&proxy));
    let left = scene.ask(|_| {});
    assert_eq!(left, ["keep 1", "kernel", "198.51.100.5 on eth1"]);
    assert!(scene.kernel.objects.contains_key(&proxy));
    let renewed = scene.ask(|_| {});
    assert_eq!(renewed, ["keep 2"], "said once");
    scene.register(|request| (request.lifetime, request.care_of) = (0, HOME));
    assert!(!scene.kernel.objects.contains_key(&proxy));
}

#[test]
fn what_comes_in_has_a_device_of_its_own_unless_the_reverse_path_has_to_judge_it() {
    let router = MobileNode {
        networks: vec!["10.40.0.0/24".parse().unwrap()],
        ..mobile_node()
    };
    for (node, expected) in [
        (
            mobile_node(),
            Some("xa-in-c0000202 mtu 1476 type ipip local 192.0.2.2 remote 0.0.0.0 ttl 64"),
        ),
        (router, None),
    ] {
        let scene = Scene::new(settings(None, vec![node]), Vec::new());
        let link = Key::Link("xa-in-c0000202".parse().unwrap());
        let link = scene.kernel.objects.get(&link).map(|object| match object {
            Object::Link(link) => link.to_string(),
            other => panic!("{other:?}"),
        });
        assert_eq!(link.as_deref(), expected);
    }
}

#[test]
fn networks_behind_a_mobile_router_move_with_it() {
    let router = MobileNode {
        networks: vec!["10.40.0.0/24".parse().unwrap()],
        ..mobile_node()
    };
    let mut scene = Scene::new(settings(None, vec![router]), Vec::new());
    scene.register(|_| {});
    let network = |object: &Object| match object {
        Object::Route(route) => route.key.dst.to_string() == "10.40.0.0/24",
        _ => false,
    };
    assert_eq!(
        scene.kernel.objects.values().filter(|o| network(o)).count(),
        1
    );
    let peer = DecapsulationEntry::Peer {
        src: CARE_OF,
        dst: AGENT,
    };
    assert!(
        scene
            .kernel
            .objects
            .contains_key(&Key::DecapsulationEntry(peer))
    );
}

#[test]
fn ipv6_of_a_mobile_node_goes_to_its_home_address_and_comes_from_there_alone() {
    let prefix: Ipv6Net = "2001:db8:5::/64".parse().unwrap();
    let node = MobileNode {
        networks6: vec![prefix],
        ..mobile_node()
    };
    let mut scene = Scene::new(settings(None, vec![node]), Vec::new());
    let of_prefix = |scene: &Scene| -> Vec<String> {
        let objects = scene.kernel.objects.values();
        let routes = objects.filter_map(|object| match object {
            Object::Route(route) if route.key.dst == IpNet::V6(prefix) => Some(route.to_string()),
            _ => None,
        });
        routes.collect()
    };
    let end = "unreachable 2001:db8:5::/64 table 254 proto 88 metric 4294967295".to_owned();
    assert_eq!(of_prefix(&scene), std::slice::from_ref(&end));
    let forwarding = Key::Sysctl(Sysctl::Ipv6Forwarding);
    assert!(scene.kernel.objects.contains_key(&forwarding));
    let asked = Extension::Ipv6PrefixRequest(Ipv6Prefix {
        prefix: prefix.network(),
        len: prefix.prefix_len(),
    });
    scene.register(|request| request.extensions.push(asked.clone()));
    let to_home = embedded(HOME);
    let way = format!("2001:db8:5::/64 table 254 proto 88 via {to_home} dev xa-6in4 onlink");
    assert_eq!(of_prefix(&scene), [way, end.clone()]);
    let entry = Key::DecapsulationEntry(DecapsulationEntry::Ipv6Prefix { home: HOME, prefix });
    assert!(scene.kernel.objects.contains_key(&entry));
    // Without being asked for.
    scene.register(|_| {});
    assert_eq!(of_prefix(&scene), [end]);
    assert!(!scene.kernel.objects.contains_key(&entry));
}

#[test]
fn a_reload_keeps_the_bindings_of_who_is_still_a_mobile_node() {
    let mut scene = Scene::new(settings(None, vec![mobile_node()]), Vec::new());
    scene.register(|_| {});
    let mut longer = settings(None, vec![mobile_node()]);
    if let Some(agent) = &mut longer.home_agent {
        agent.protocol.limits.lifetime = 60;
    }
    scene.hand(Event::Configuration(Box::new(longer)));
    assert_eq!(scene.care_of(), Some(CARE_OF));
    scene.hand(Event::Configuration(Box::new(settings(None, Vec::new()))));
    assert_eq!(scene.care_of(), None);
    assert!(scene.listed().is_empty());
}

#[test]
fn a_revocation_by_hand_withdraws_the_binding_and_another_one_finds_nobody() {
    let mut scene = Scene::new(settings(None, vec![mobile_node()]), Vec::new());
    scene.register(|_| {});
    let revoke = |scene: &mut Scene| {
        let (token, command) = (Token(1), Command::Revoke(HOME));
        scene
            .agent
            .handle(scene.now, Event::Command { token, command });
        std::iter::from_fn(|| scene.agent.poll_effect()).find_map(|effect| match effect {
            Effect::Reply { reply, .. } => Some(reply),
            _ => None,
        })
    };
    assert!(matches!(revoke(&mut scene), Some(Reply::Done)));
    assert!(scene.listed().is_empty());
    assert!(matches!(revoke(&mut scene), Some(Reply::Failed(why)) if why.contains("nobody")));
}

#[test]
fn without_a_home_agent_registrations_are_counted_and_nothing_else() {
    let mut scene = Scene::new(bare(), Vec::new());
    assert!(scene.ask(|_| {}).is_empty());
    let snapshot = scene.agent.snapshot(scene.now);
    assert_eq!(snapshot.counters["registrations-ignored"], 1);
    assert_eq!(snapshot.home_agent, None);
}
