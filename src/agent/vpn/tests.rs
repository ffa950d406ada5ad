//! A client and its gateway, each a whole agent, in virtual time through loss; and what their
//! kernels hold.

mod keeping;

use super::settings::{GatewaySettings, Served, SpeaksFrom, Start, VpnSettings};
use super::{VpnCommand, VpnState};
use crate::agent::Agent;
use crate::agent::effect::{Effect, Reply, Routes};
use crate::agent::event::{Command, Event, KernelEvent, Token};
use crate::agent::settings::Settings;
use crate::ike::settings::{AddressRange, Client, Gateway, Peer};
use crate::kernel::desired::{Action, Direction, Key, Mode, Object, Policy, PolicyKey};
use crate::kernel::ownership::Band;
use crate::net::random::Seeded;
use crate::net::{Flow, Random, Secret, Selector};
use std::collections::BTreeMap;
use std::collections::btree_map::OccupiedEntry;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

const CLIENT: usize = 0;
const GATEWAY: usize = 1;
const ADDRESSES: [&str; 2] = ["203.0.113.9", "192.0.2.1"];
const V: &str = "10.30.0.1";

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn settings(of: usize, start: Start) -> Settings {
    let names = ["laptop.example", "gw.example"];
    let intranet = "10.10.0.0/16".parse().unwrap();
    let vpn = match of {
        CLIENT => VpnSettings {
            others: Vec::new(),
            gateways: vec![GatewaySettings {
                name: "north".into(),
                peer: names[GATEWAY].parse().unwrap(),
                addresses: vec![addr(ADDRESSES[GATEWAY])],
                local: None,
                subnets: vec![intranet],
                speaks_from: SpeaksFrom::Given,
                start,
            }],
            serves: None,
        },
        _ => VpnSettings {
            gateways: Vec::new(),
            others: Vec::new(),
            serves: Some(Served {
                gateway: Gateway {
                    clients: [(names[CLIENT].parse().unwrap(), Client::default())].into(),
                    pool: AddressRange::new(addr(V), addr("10.30.0.9"))
                        .into_iter()
                        .collect(),
                    subnets: vec![intranet],
                    dns: vec![addr("10.10.0.53")],
                    liveness: Duration::from_secs(1800),
                },
                pool: vec!["10.30.0.0/28".parse().unwrap()],
            }),
        },
    };
    Settings {
        peers: vec![Peer {
            id: names[1 - of].parse().unwrap(),
            psk: Secret::from(&b"swordfish"[..]),
            may_protect: (of == CLIENT).then_some(intranet).into_iter().collect(),
            may_protect_itself: false,
            contact: false,
        }],
        vpn,
        ..Settings::bare(names[of].parse().unwrap())
    }
}

struct Way(IpAddr);

impl Routes for Way {
    fn source_towards(&mut self, to: IpAddr) -> Option<IpAddr> {
        (to.is_ipv4() == self.0.is_ipv4()).then_some(self.0)
    }
}

struct Host {
    agent: Agent,
    policies: BTreeMap<PolicyKey, Policy>,
    remembered: Vec<Selector>,
    /// Kinds of events told.
    told: Vec<String>,
}

struct Datagram {
    to: usize,
    local: SocketAddr,
    remote: SocketAddr,
    payload: Vec<u8>,
}

struct World {
    now: Instant,
    hosts: Vec<Host>,
    /// By when they are due, and a number.
    on_the_way: BTreeMap<(Instant, u64), Datagram>,
    serial: u64,
    rng: Seeded,
    /// Of a thousand datagrams.
    loss: u32,
}

fn host(now: Instant, of: usize, settings: Settings, remembered: &[Selector], seed: u64) -> Host {
    let mut seeds = Seeded(seed);
    let routes = Box::new(Way(addr(ADDRESSES[of])));
    let agent = Agent::new(now, settings, remembered, routes, || {
        Box::new(Seeded(seeds.u64()))
    });
    Host {
        agent: agent.unwrap(),
        policies: BTreeMap::new(),
        remembered: remembered.to_vec(),
        told: Vec::new(),
    }
}

impl World {
    fn new(seed: u64, start: Start) -> Self {
        Self::with(seed, [CLIENT, GATEWAY].map(|of| settings(of, start)))
    }

    /// The client's, and the gateway's.
    fn with(seed: u64, settings: [Settings; 2]) -> Self {
        let now = Instant::now();
        let hosts = (0..)
            .zip(settings)
            .map(|(of, settings)| host(now, of, settings, &[], seed + of as u64))
            .collect();
        let mut world = Self {
            now,
            hosts,
            on_the_way: BTreeMap::new(),
            serial: 0,
            rng: Seeded(seed),
            loss: 0,
        };
        for of in [GATEWAY, CLIENT] {
            world.begin(of);
        }
        world
    }

    fn begin(&mut self, of: usize) {
        self.event(of, Event::Found(Vec::new()));
        self.event(of, Event::Addresses(vec![addr(ADDRESSES[of])]));
    }

    fn event(&mut self, of: usize, event: Event) {
        self.hosts[of].agent.handle(self.now, event);
        self.drain(of);
    }

    fn drain(&mut self, of: usize) {
        while let Some(effect) = self.hosts[of].agent.poll_effect() {
            let host = &mut self.hosts[of];
            match effect {
                Effect::Kernel(change) => {
                    for key in change.remove {
                        if let Key::Policy(key) = key {
                            host.policies.remove(&key);
                        }
                    }
                    for object in change.put {
                        if let Object::Policy(policy) = object {
                            host.policies.insert(policy.key, policy);
                        }
                    }
                    let revision = change.revision;
                    let applied = KernelEvent::Applied { revision };
                    host.agent.handle(self.now, Event::Kernel(applied));
                }
                Effect::Send {
                    local,
                    remote,
                    payload,
                } => {
                    self.serial += 1;
                    let lost = self.rng.u32() % 1000 < self.loss;
                    let to = ADDRESSES.iter().position(|a| addr(a) == remote.ip());
                    if let Some(to) = to.filter(|_| !lost) {
                        let due = self.now + Duration::from_millis(20);
                        let datagram = Datagram {
                            to,
                            local: remote,
                            remote: local,
                            payload,
                        };
                        self.on_the_way.insert((due, self.serial), datagram);
                    }
                }
                Effect::Remember(selectors) => host.remembered = selectors,
                Effect::Tell { line, .. } => host.told.push(line.kind.into_owned()),
                Effect::Reply { reply, .. } => assert!(matches!(reply, Reply::Done), "{reply:?}"),
                Effect::SendAs { .. }
                | Effect::LetGo(_)
                | Effect::Forget { .. }
                | Effect::SendRegistration(_)
                | Effect::Carry { .. }
                | Effect::CarryNoMore { .. }
                | Effect::Announce { .. }
                | Effect::OnLink(_)
                | Effect::RunCommand { .. }
                | Effect::StopCommand(_)
                | Effect::KeepBinding { .. }
                | Effect::KeepNetworks(_)
                | Effect::KeepHome(_)
                | Effect::Keep(_) => {}
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let arrival = self.on_the_way.keys().next().map(|(at, _)| *at);
            let timeouts = self.hosts.iter().filter_map(|h| h.agent.poll_timeout());
            let Some(next) = arrival
                .into_iter()
                .chain(timeouts)
                .min()
                .filter(|n| *n <= end)
            else {
                break;
            };
            self.now = self.now.max(next);
            let due = self
                .on_the_way
                .first_entry()
                .filter(|e| e.key().0 <= self.now);
            if let Some(datagram) = due.map(OccupiedEntry::remove) {
                let event = Event::Datagram {
                    local: datagram.local,
                    remote: datagram.remote,
                    payload: datagram.payload,
                };
                self.event(datagram.to, event);
                continue;
            }
            for of in [CLIENT, GATEWAY] {
                self.hosts[of].agent.handle_timeout(self.now);
                self.drain(of);
            }
        }
        self.now = end;
    }

    fn seconds(&mut self, seconds: u64) {
        self.run(Duration::from_secs(seconds));
    }

    fn command(&mut self, command: VpnCommand) {
        let command = Command::Vpn(command);
        let token = Token(1);
        self.event(CLIENT, Event::Command { token, command });
    }

    /// What the kernel of a host does with a packet.
    fn fate(&self, of: usize, direction: Direction, src: &str, dst: &str) -> Fate {
        let flow = Flow {
            src: addr(src),
            dst: addr(dst),
            protocol: 17,
            ports: Some((9, 9)),
        };
        let matching = self.hosts[of].policies.values();
        let policy = matching
            .filter(|p| p.key.direction == direction && p.key.selector.matches(&flow))
            .min_by_key(|p| p.priority);
        match policy.map(|p| (&p.action, Band::of(p.priority))) {
            Some((Action::Block, _)) => Fate::Blocked,
            Some((Action::Allow(t), _)) if t.first().is_some_and(|t| t.mode == Mode::Tunnel) => {
                Fate::Tunnel
            }
            Some((Action::Allow(_), Some(Band::Trap))) => Fate::Held,
            _ => Fate::Clear,
        }
    }

    fn out(&self) -> Fate {
        self.fate(CLIENT, Direction::Out, V, "10.10.0.7")
    }

    fn is_up(&self) -> bool {
        matches!(self.hosts[CLIENT].agent.vpn_state(), VpnState::Up(_))
    }
}

#[derive(Debug, PartialEq)]
enum Fate {
    Tunnel,
    Held,
    Blocked,
    Clear,
}

#[test]
fn a_client_comes_up_and_both_ends_carry_exactly_its_address() {
    let mut world = World::new(1, Start::Up);
    world.seconds(1);
    let VpnState::Up(connection) = world.hosts[CLIENT].agent.vpn_state() else {
        panic!("{:?}", world.hosts[CLIENT].agent.vpn_state());
    };
    assert_eq!(connection.addresses, [addr(V)]);
    assert_eq!(connection.v4().map(IpAddr::V4), Some(addr(V)));
    assert_eq!(connection.dns, [addr("10.10.0.53")]);
    assert_eq!(world.out(), Fate::Tunnel);
    let back = |dst| world.fate(GATEWAY, Direction::Out, "10.10.0.7", dst);
    assert_eq!(back(V), Fate::Tunnel);
    assert_eq!(back("10.30.0.2"), Fate::Blocked, "nobody has it");
    let forward = |src| world.fate(GATEWAY, Direction::Fwd, src, "10.10.0.7");
    assert_eq!(
        (forward(V), forward("10.30.0.2")),
        (Fate::Tunnel, Fate::Blocked)
    );
    let told = &world.hosts[CLIENT].told;
    assert!(told.contains(&"vpn-connecting".into()) && told.contains(&"vpn-up".into()));
    let view = world.hosts[GATEWAY].agent.snapshot(world.now).vpn;
    assert_eq!(view.clients[0].addresses, [V]);
    assert_eq!(
        world.hosts[CLIENT].agent.snapshot(world.now).vpn.state,
        "up"
    );
}

#[test]
fn while_it_is_wanted_nothing_of_its_address_goes_in_the_clear_and_it_comes_back_by_itself() {
    for seed in 0..10 {
        let mut world = World::new(seed, Start::Up);
        world.loss = 300;
        world.seconds(60);
        assert!(world.is_up(), "seed {seed}");
        // The gateway is gone for three minutes.
        world.loss = 1000;
        for _ in 0..180 {
            world.seconds(1);
            let expected = if world.is_up() {
                Fate::Tunnel
            } else {
                Fate::Held
            };
            assert_eq!(world.out(), expected, "seed {seed}");
            let inward = world.fate(CLIENT, Direction::In, "10.10.0.7", V);
            assert_ne!(inward, Fate::Clear);
        }
        assert!(!world.is_up(), "seed {seed}: liveness");
        world.loss = 300;
        world.seconds(90);
        assert!(
            world.is_up(),
            "seed {seed}: {:?}",
            world.hosts[CLIENT].agent.vpn_state()
        );
        assert_eq!(world.out(), Fate::Tunnel);
    }
}

#[test]
fn what_an_earlier_run_guarded_is_guarded_from_the_first_moment() {
    let mut world = World::new(2, Start::Up);
    world.seconds(1);
    let remembered = world.hosts[CLIENT].remembered.clone();
    world.hosts[CLIENT] = host(
        world.now,
        CLIENT,
        settings(CLIENT, Start::Up),
        &remembered,
        77,
    );
    world.loss = 1000;
    world.begin(CLIENT);
    assert_eq!(world.out(), Fate::Held);
    world.loss = 0;
    world.seconds(5);
    assert_eq!(world.out(), Fate::Tunnel);
}

#[test]
fn down_tells_the_gateway_and_guards_no_longer_and_up_has_the_same_address_again() {
    let mut world = World::new(3, Start::Down);
    world.seconds(1);
    assert_eq!(world.hosts[CLIENT].agent.vpn_state(), VpnState::Down);
    for _ in 0..3 {
        world.command(VpnCommand::Up { name: None });
        world.seconds(1);
        assert_eq!(world.out(), Fate::Tunnel);
        world.command(VpnCommand::Down);
        world.seconds(3);
        assert_eq!(world.out(), Fate::Clear);
        assert!(world.hosts[CLIENT].remembered.is_empty());
        let view = world.hosts[GATEWAY].agent.snapshot(world.now).vpn;
        assert!(view.clients.is_empty());
    }
    let names = world.hosts[CLIENT].agent.vpn_up(world.now, Some("south"));
    assert_eq!(names.unwrap_err(), "there is no such VPN; there are north");
}

#[test]
fn a_warm_tunnel_outlives_a_long_absence_of_any_way_and_is_up_at_once() {
    let mut world = World::new(4, Start::Up);
    world.seconds(1);
    world.command(VpnCommand::Warm);
    world.loss = 1000;
    world.seconds(1500);
    assert!(world.is_up() && world.out() == Fate::Tunnel);
    world.loss = 0;
    world.command(VpnCommand::Up { name: None });
    assert!(world.is_up(), "without a round trip");
    world.seconds(60);
    assert!(world.is_up());
    let ups = |kind: &&String| *kind == "vpn-up";
    assert_eq!(world.hosts[CLIENT].told.iter().filter(ups).count(), 1);
}

#[test]
fn a_gateway_is_asked_where_there_is_a_way_to() {
    let mut client = settings(CLIENT, Start::Up);
    let addresses = &mut client.vpn.gateways[0].addresses;
    addresses.insert(0, addr("2001:db8:106::1"));
    let mut world = World::with(3, [client, settings(GATEWAY, Start::Down)]);
    world.seconds(5);
    assert!(world.is_up());
}

#[test]
fn who_is_refused_says_why_and_tries_again() {
    let mut world = World::new(5, Start::Down);
    let mut wrong = settings(CLIENT, Start::Up);
    wrong.peers[0].psk = Secret::from(&b"marlin"[..]);
    world.hosts[CLIENT] = host(world.now, CLIENT, wrong, &[], 9);
    world.begin(CLIENT);
    world.seconds(60);
    let view = world.hosts[CLIENT].agent.snapshot(world.now).vpn;
    assert!(
        world.hosts[CLIENT].told.contains(&"vpn-failed".into()),
        "{view:?}"
    );
    let right = settings(CLIENT, Start::Up);
    world.event(CLIENT, Event::Configuration(Box::new(right)));
    world.seconds(60);
    assert!(world.is_up(), "{:?}", world.hosts[CLIENT].agent.vpn_state());
}
