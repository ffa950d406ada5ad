//! A laptop's agent in virtual time, between the room of a home agent and a kernel that answers.

mod given;
mod kept;
mod others;
mod signals;

use super::given::GivenHome;
use super::layout::tests::{S, S_HA, T, X, adapter, agreement, settings};
use super::settings::MobilitySettings;
use crate::agent::Agent;
use crate::agent::effect::{Effect, Reply};
use crate::agent::event::{Command, Event, KernelEvent, Token};
use crate::agent::settings::Settings;
use crate::agent::stand_in::{Kernel, NoRoutes, seeded};
use crate::agent::vpn::VpnCommand;
use crate::agent::vpn::commands;
use crate::agent::vpn::settings::VpnSettings;
use crate::kernel::adapters::Adapter;
use crate::kernel::desired::{Change, DecapsulationEntry, Key, Object, Route, Way};
use crate::mobile_ip::domain::{Context, Domain};
use crate::mobile_ip::dual_client::station::Agreement;
use crate::mobile_ip::dual_client::{Reach, Site, Vpn};
use crate::mobile_ip::home_agent::HomeAgent;
use crate::mobile_ip::home_agent::effects::{Effect as Answer, Input as Heard};
use crate::mobile_ip::home_agent::settings::{
    HomeLink, Limits, MobileNode, NatTraversal, ReverseTunnel, Settings as Serving,
};
use crate::mobile_ip::replay::Clock;
use crate::mobile_ip::wire::TunnelKind;
use crate::mobile_ip::{Datagram, Via};
use crate::net::random::Seeded;
use crate::presence::Timestamp;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::Level;

const UNIX: u64 = 1_700_000_000;
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 138);

/// One system and no VPN.
fn single() -> MobilitySettings {
    let mut settings = settings();
    settings.dual.vpn = Vpn::Absent;
    settings.dual.sites = vec![Site {
        name: String::new(),
        outer: None,
        gateway: None,
        near: Vec::new(),
        reach: Reach::Ipv4,
    }];
    settings.outer = BTreeMap::new();
    settings
}

fn agent_settings(mobility: MobilitySettings, vpn: VpnSettings) -> Settings {
    Settings {
        vpn,
        mobility: Some(mobility),
        ..Settings::bare("laptop.example".parse().unwrap())
    }
}

fn serving() -> Serving {
    Serving {
        address: S_HA,
        home_network: "10.20.0.0/24".parse().unwrap(),
        home_link: HomeLink::Virtual,
        mobile_nodes: vec![Arc::new(MobileNode {
            home: Some(S),
            nai: None,
            security: vec![agreement().association],
            networks: Vec::new(),
            networks6: Vec::new(),
        })],
        foreign_agents: Vec::new(),
        pool: None,
        trusted: Vec::new(),
        encapsulations: Vec::new(),
        reverse_tunnel: ReverseTunnel::Allowed,
        nat: NatTraversal {
            allowed: false,
            ..NatTraversal::default()
        },
        limits: Limits::default(),
    }
}

struct Laptop {
    agent: Agent,
    now: Instant,
    home_agent: HomeAgent,
    /// Whether requests get there.
    is_reached: bool,
    /// Whether those do that follow the routing table.
    is_reached_routed: bool,
    kernel: Kernel,
    replies: Vec<Reply>,
    told: Vec<String>,
    given: Vec<GivenHome>,
    /// In the order in which they were to run.
    commands: Vec<(commands::Run, commands::Command)>,
    stopped: Vec<commands::Run>,
}

impl Laptop {
    fn start(mobility: MobilitySettings) -> Self {
        Self::with_vpn(mobility, VpnSettings::default())
    }

    fn with_vpn(mobility: MobilitySettings, vpn: VpnSettings) -> Self {
        let now = Instant::now();
        let settings = agent_settings(mobility, vpn);
        let agent = Agent::new(now, settings, &[], Box::new(NoRoutes), seeded()).unwrap();
        let clock = Clock::new(now, Duration::from_secs(UNIX));
        let home_agent = HomeAgent::new(now, clock, serving(), Vec::new(), Box::new(Seeded(99)));
        let mut laptop = Self {
            agent,
            now,
            home_agent,
            is_reached: true,
            is_reached_routed: false,
            kernel: Kernel::default(),
            replies: Vec::new(),
            told: Vec::new(),
            given: Vec::new(),
            commands: Vec::new(),
            stopped: Vec::new(),
        };
        laptop.hand(Event::Found(Vec::new()));
        laptop
    }

    fn clock_is_known(&mut self) {
        self.hand(Event::WallClock {
            unix: Timestamp(UNIX + 1),
            offset: 0,
            doubt: None,
        });
    }

    fn hand(&mut self, event: Event) {
        self.agent.handle(self.now, event);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.agent.poll_effect() {
            match effect {
                Effect::Kernel(change) => self.write(change),
                Effect::SendRegistration(datagram) => {
                    let is_routed = datagram.via == Via::Routed;
                    if self.is_reached || (is_routed && self.is_reached_routed) {
                        self.deliver(&datagram);
                    }
                }
                Effect::Reply { reply, .. } => self.replies.push(reply),
                Effect::Tell { line, level } if level == Level::INFO => {
                    self.told.push(line.kind.into_owned());
                }
                Effect::KeepHome(given) => self.given.push(given),
                Effect::RunCommand { run, command } => self.commands.push((run, command)),
                Effect::StopCommand(run) => self.stopped.push(run),
                _ => {}
            }
        }
    }

    fn write(&mut self, change: Change) {
        self.kernel.write(change);
        self.agent.handle(self.now, self.kernel.is_ready());
    }

    /// To the home agent, and its answers back the same way.
    fn deliver(&mut self, datagram: &Datagram) {
        let there = Datagram {
            local: datagram.remote,
            remote: datagram.local,
            ..datagram.clone()
        };
        self.home_agent.handle(self.now, Heard::Datagram(there));
        // The binding is in its kernel and its store at once.
        while let Some(effect) = self.home_agent.poll_effect() {
            if let Answer::Send(answer) = effect {
                let back = Datagram {
                    via: datagram.via,
                    local: answer.remote,
                    remote: answer.local,
                    payload: answer.payload,
                };
                self.agent.handle(self.now, Event::Registration(back));
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.agent.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.agent.handle_timeout(self.now);
            self.carry_out();
        }
        self.now = end;
    }

    fn on(&mut self, adapters: Vec<Adapter>) {
        self.hand(Event::Adapters(adapters));
        self.pass(Duration::from_millis(100));
    }

    /// The preferred one first.
    fn ways(&self) -> Vec<String> {
        let routes = self
            .kernel
            .objects
            .values()
            .filter_map(|object| match object {
                Object::Route(Route { key, .. }) if key.table != 7380 => None,
                Object::Route(route) => Some(without_turn(*route).to_string()),
                _ => None,
            });
        routes.collect()
    }
}

/// Where it leads.
fn without_turn(mut route: Route) -> Route {
    if route.way != Way::Unreachable {
        route.key.metric = 0;
    }
    route
}

fn at(address: &str) -> Vec<Adapter> {
    vec![adapter(5, "eth0", address, [203, 0, 113, 1].into())]
}

const END: &str = "unreachable 0.0.0.0/0 table 7380 proto 88 metric 4294967295";

fn tunnel_from(care_of: Ipv4Addr) -> String {
    format!(
        "0.0.0.0/0 table 7380 proto 88 encap ip src {care_of} dst {S_HA} ttl 64 dont-fragment dev \
         xa-ipip src {S}"
    )
}

#[test]
fn s_is_blocked_before_anything_is_known_and_follows_every_move() {
    let mut laptop = Laptop::start(single());
    assert_eq!(laptop.ways(), [END], "before the first adapter is known");
    laptop.hand(Event::Adapters(at("203.0.113.10/25")));
    assert_eq!(laptop.ways(), [END], "before the time of day is known");
    laptop.clock_is_known();
    laptop.pass(Duration::from_millis(100));
    assert_eq!(laptop.ways(), [tunnel_from(X), END.into()]);
    laptop.on(at("203.0.113.138/25"));
    assert_eq!(laptop.ways(), [tunnel_from(ELSEWHERE), END.into()]);
    laptop.on(Vec::new());
    assert_eq!(laptop.ways(), [END]);
}

#[test]
fn of_two_adapters_the_better_one_receives_before_it_is_registered_and_the_other_for_a_while_after()
{
    let receives = |laptop: &Laptop, dst| {
        let entry = DecapsulationEntry::Peer { src: S_HA, dst };
        let key = Key::DecapsulationEntry(entry);
        laptop.kernel.objects.contains_key(&key)
    };
    let both = |metric| {
        let mut better = adapter(6, "wlan0", "203.0.113.138/25", [203, 0, 113, 129].into());
        if let Some(gateway) = &mut better.gateway {
            gateway.metric = metric;
        }
        let mut both = at("203.0.113.10/25");
        both.push(better);
        both
    };
    // Where there is GRE, a table says what is received.
    let mut settings = single();
    let gre = Agreement {
        encapsulation: TunnelKind::Gre,
        ..agreement()
    };
    settings.outer.insert(0, gre);
    let mut laptop = Laptop::start(settings);
    laptop.clock_is_known();
    laptop.on(both(600));
    laptop.pass(Duration::from_secs(5));
    assert!(receives(&laptop, X) && !receives(&laptop, ELSEWHERE));
    laptop.is_reached = false;
    laptop.on(both(50));
    laptop.pass(Duration::from_millis(1200));
    assert_eq!(laptop.ways(), [tunnel_from(X), END.into()], "still");
    assert!(receives(&laptop, X) && receives(&laptop, ELSEWHERE));
    laptop.is_reached = true;
    laptop.pass(Duration::from_millis(1500));
    let (newest, former) = (tunnel_from(ELSEWHERE), tunnel_from(X));
    assert_eq!(laptop.ways(), [newest.clone(), former, END.into()]);
    assert!(receives(&laptop, X) && receives(&laptop, ELSEWHERE));
    laptop.pass(Duration::from_secs(2));
    assert_eq!(laptop.ways(), [newest, END.into()]);
    assert!(!receives(&laptop, X) && receives(&laptop, ELSEWHERE));
}

#[test]
fn a_request_that_is_lost_is_sent_again_and_s_waits() {
    let mut laptop = Laptop::start(single());
    laptop.clock_is_known();
    laptop.is_reached = false;
    laptop.on(at("203.0.113.10/25"));
    assert_eq!(laptop.ways(), [END]);
    laptop.is_reached = true;
    laptop.pass(Duration::from_millis(1500));
    assert_eq!(laptop.ways(), [tunnel_from(X), END.into()]);
}

#[test]
fn an_address_counts_when_its_gateway_is_known_or_none_has_come() {
    let without_gateway = || {
        let mut adapters = at("203.0.113.10/25");
        adapters[0].gateway = None;
        adapters
    };
    let mut laptop = Laptop::start(single());
    laptop.clock_is_known();
    laptop.on(without_gateway());
    assert_eq!(laptop.ways(), [END], "not asked yet");
    laptop.on(at("203.0.113.10/25"));
    assert_eq!(laptop.ways(), [tunnel_from(X), END.into()], "asked at once");
    laptop.on(Vec::new());
    laptop.on(without_gateway());
    assert_eq!(laptop.ways(), [END]);
    laptop.pass(Duration::from_millis(1200));
    assert_eq!(laptop.ways(), [tunnel_from(X), END.into()], "without one");
}

#[test]
fn the_view_says_where_we_are_and_what_carries_s() {
    let mut laptop = Laptop::start(single());
    let waits_for = |laptop: &Laptop| {
        let view = laptop.agent.snapshot(laptop.now).mobility.unwrap();
        view.waits_for
    };
    assert_eq!(waits_for(&laptop), "the time of day");
    laptop.clock_is_known();
    assert_eq!(waits_for(&laptop), "the home agent");
    laptop.on(at("203.0.113.10/25"));
    let view = laptop.agent.snapshot(laptop.now).mobility.unwrap();
    assert_eq!(
        (view.place.as_str(), view.waits_for.as_str()),
        ("without VPN", "")
    );
    assert_eq!(
        view.addresses[0].way,
        format!("tunnel {X} to {S_HA} over eth0, both ways")
    );
    assert_eq!(view.registrations[0].state, "registered");
    assert!(view.adapters[0].in_use);
    assert!(laptop.told.contains(&"mobility-moved".to_owned()));
}

#[test]
fn what_an_earlier_run_knew_of_a_network_is_a_guess_and_opens_nothing() {
    let mut laptop = Laptop::start(settings());
    laptop.is_reached = false;
    laptop.hand(Event::Networks(vec![Context {
        gateway: [2; 6],
        access_point: None,
        prefix: None,
        domain: Domain::Inside,
        times: 3,
    }]));
    laptop.clock_is_known();
    let mut adapters = at("10.11.0.7/24");
    adapters[0].gateway.as_mut().unwrap().mac = Some([2; 6]);
    laptop.on(adapters);
    let view = laptop.agent.snapshot(laptop.now).mobility.unwrap();
    let adapter = &view.adapters[0];
    assert_eq!(adapter.hints, ["this network was inside before"]);
    let (guess, found) = (adapter.guess.as_str(), adapter.domain.as_str());
    assert_eq!((guess, found), ("inside", ""));
    let known = &view.networks[0];
    assert_eq!(known.gateway.to_string(), "02:02:02:02:02:02");
    assert_eq!((known.domain.as_str(), known.times), ("inside", 3));
    assert_eq!(laptop.ways(), [END]);
}

#[test]
fn the_vpn_is_the_business_of_mobility_where_it_has_one() {
    for (settings, refused) in [(settings(), true), (single(), false)] {
        let mut laptop = Laptop::start(settings);
        laptop.hand(Event::Command {
            token: Token(1),
            command: Command::Vpn(VpnCommand::Down),
        });
        let reply = laptop.replies.pop().unwrap();
        assert_eq!(matches!(reply, Reply::Failed(_)), refused, "{reply:?}");
    }
}

#[test]
fn outside_s_stays_blocked_while_only_the_outer_home_agent_answers() {
    let mut laptop = Laptop::start(settings());
    laptop.clock_is_known();
    laptop.on(at("203.0.113.10/25"));
    laptop.pass(Duration::from_secs(30));
    assert_eq!(laptop.ways(), [END]);
}

#[test]
fn a_request_from_a_home_address_leaves_when_the_kernel_has_the_way_back() {
    let mut settings = settings();
    if let Some(outer) = &mut settings.dual.sites[0].outer {
        outer.home_network = Some("198.51.100.0/24".parse().unwrap());
    }
    let mut laptop = Laptop::start(settings);
    laptop.clock_is_known();
    let adapters = at("198.51.100.77/24");
    laptop.agent.handle(laptop.now, Event::Adapters(adapters));
    let mut revision = None;
    let mut left = Vec::new();
    while let Some(effect) = laptop.agent.poll_effect() {
        match effect {
            Effect::Kernel(change) => revision = Some(change.revision),
            Effect::SendRegistration(datagram) => left.push(*datagram.local.ip()),
            _ => {}
        }
    }
    assert!(!left.contains(&T), "{left:?}");
    let revision = revision.expect("the way of T is wanted");
    let applied = Event::Kernel(KernelEvent::Applied { revision });
    laptop.agent.handle(laptop.now, applied);
    let effects = std::iter::from_fn(|| laptop.agent.poll_effect());
    let leaves = |effect| matches!(effect, Effect::SendRegistration(d) if *d.local.ip() == T);
    assert_eq!(effects.map(leaves).filter(|leaves| *leaves).count(), 1);
}
