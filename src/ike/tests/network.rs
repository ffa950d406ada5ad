//! Two or more endpoints in virtual time, with a seeded network between them that loses, delays,
//! reorders and duplicates; and what the kernels of those hosts would hold.

use crate::ike::configuration::Assigned;
use crate::ike::effects::{
    AskError, ChildId, ChildKeys, ChildSa, ClientRefusal, ConnectError, DownReason, Effect, IkeId,
    Outbound, Token,
};
use crate::ike::endpoint::Endpoint;
use crate::ike::settings::{
    ChildProtocol, Connect, Mode, Peer, Question, QuestionId, RequestId, Settings, Timing,
};
use crate::net::random::Seeded;
use crate::net::{Flow, Identity, IpNet, Random, Secret, Selector, Spi};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

pub(super) const A: usize = 0;
pub(super) const B: usize = 1;

pub(super) fn address(host: usize) -> IpAddr {
    format!("192.0.2.{}", host + 1).parse().unwrap()
}

pub(super) fn name(host: usize) -> Identity {
    format!("gw{host}.example").parse().unwrap()
}

/// What a host behind the translator is called outside.
pub(super) fn outside() -> IpAddr {
    "203.0.113.9".parse().unwrap()
}

/// What host `host` protects: 10.HOST.0.0/16.
pub(super) fn site(host: usize) -> IpNet {
    format!("10.{host}.0.0/16").parse().unwrap()
}

pub(super) fn between(from: usize, to: usize) -> Selector {
    Selector::between(site(from), site(to))
}

pub(super) fn settings(host: usize, hosts: usize) -> Settings {
    Settings {
        identity: name(host),
        peers: (0..hosts)
            .filter(|other| *other != host)
            .map(|other| Peer {
                id: name(other),
                psk: Secret::from(&b"swordfish"[..]),
                may_protect: vec![site(other)],
                may_protect_itself: true,
                contact: false,
            })
            .collect(),
        protects: vec![
            Selector::between(site(host), "10.0.0.0/8".parse().unwrap()),
            Selector::between(address(host).into(), "192.0.2.0/24".parse().unwrap()),
        ],
        timing: Timing::default(),
        compression: true,
        gateway: None,
        kept_with: BTreeMap::new(),
    }
}

pub(super) fn connect(request: u64, from: usize, to: usize) -> Connect {
    Connect {
        request: RequestId(request),
        local: address(from),
        remote: address(to),
        peer: name(to),
        selectors: vec![between(from, to)],
        flow: Some(Flow {
            src: format!("10.{from}.0.5").parse().unwrap(),
            dst: format!("10.{to}.0.7").parse().unwrap(),
            protocol: 6,
            ports: Some((40_000, 80)),
        }),
        mode: Mode::Tunnel,
        protocol: ChildProtocol::Esp,
        transport_only: false,
        compression: false,
        initial_contact: false,
        address: None,
    }
}

pub(super) fn question(id: u64, from: usize, to: usize) -> Question {
    Question {
        id: QuestionId(id),
        peer: name(to),
        local: address(from),
        remote: address(to),
        data: format!("question {id}").into_bytes(),
    }
}

/// A question that came.
pub(super) struct Asked {
    pub(super) ike: IkeId,
    pub(super) token: Token,
    pub(super) peer: Identity,
    pub(super) data: Vec<u8>,
}

/// What hosts answer that answer at once: the question backwards.
pub(super) fn backwards(question: &[u8]) -> Vec<u8> {
    question.iter().rev().copied().collect()
}

/// For what two hosts say themselves.
pub(super) fn hosts_alone(
    request: u64,
    from: usize,
    to: usize,
    protocol: ChildProtocol,
) -> Connect {
    Connect {
        selectors: vec![Selector::between(address(from).into(), address(to).into())],
        flow: None,
        mode: Mode::Transport,
        protocol,
        transport_only: true,
        ..connect(request, from, to)
    }
}

/// One host: its endpoint, and what its kernel and agent would have made of the effects.
pub(super) struct Host {
    pub(super) endpoint: Endpoint,
    pub(super) children: BTreeMap<ChildId, (ChildSa, Outbound)>,
    pub(super) ikes: BTreeMap<IkeId, Identity>,
    pub(super) ups: Vec<(ChildId, Option<RequestId>)>,
    pub(super) downs: Vec<(ChildId, DownReason)>,
    pub(super) ike_downs: Vec<DownReason>,
    pub(super) failures: Vec<(RequestId, ConnectError)>,
    /// When the last child came up.
    pub(super) up_at: Option<Instant>,
    pub(super) asked: Vec<Asked>,
    pub(super) assigned: Vec<Assigned>,
    pub(super) refused: Vec<ClientRefusal>,
    /// Otherwise the test does.
    pub(super) answers_at_once: bool,
    pub(super) answers: Vec<(QuestionId, Option<Vec<u8>>)>,
    pub(super) ask_failures: Vec<(QuestionId, AskError)>,
}

impl Host {
    fn new(settings: Settings, seed: u64) -> Self {
        Self {
            endpoint: Endpoint::new(settings, Box::new(Seeded(seed))),
            children: BTreeMap::new(),
            ikes: BTreeMap::new(),
            ups: Vec::new(),
            downs: Vec::new(),
            ike_downs: Vec::new(),
            failures: Vec::new(),
            up_at: None,
            asked: Vec::new(),
            assigned: Vec::new(),
            refused: Vec::new(),
            answers_at_once: false,
            answers: Vec::new(),
            ask_failures: Vec::new(),
        }
    }

    /// Children on which this host sends.
    pub(super) fn sending(&self) -> impl Iterator<Item = &ChildSa> {
        let ready = self.children.values();
        ready.filter(|(_, o)| *o == Outbound::Now).map(|(c, _)| c)
    }
}

pub(super) struct Packet {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) payload: Vec<u8>,
}

/// Out of a thousand, and milliseconds.
#[derive(Clone, Copy)]
pub(super) struct Conditions {
    pub(super) loss: u32,
    pub(super) duplicates: u32,
    pub(super) delay: (u64, u64),
}

pub(super) const CLEAN: Conditions = Conditions {
    loss: 0,
    duplicates: 0,
    delay: (10, 10),
};

pub(super) const ROUGH: Conditions = Conditions {
    loss: 300,
    duplicates: 100,
    delay: (5, 120),
};

type Filter = Box<dyn FnMut(&mut Packet) -> bool>;

pub(super) struct Network {
    pub(super) now: Instant,
    pub(super) hosts: Vec<Host>,
    on_the_way: BTreeMap<(Instant, u64), Packet>,
    rng: Seeded,
    pub(super) conditions: Conditions,
    /// May look at and alter every packet; false drops it.
    pub(super) filter: Filter,
    /// Everything that was sent, for ladders and forgeries.
    pub(super) sent: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    serial: u64,
    seed: u64,
}

impl Network {
    pub(super) fn new(hosts: usize, seed: u64) -> Self {
        Self::with((0..hosts).map(|h| settings(h, hosts)).collect(), seed)
    }

    pub(super) fn with(settings: Vec<Settings>, seed: u64) -> Self {
        let mut rng = Seeded(seed);
        Self {
            now: Instant::now(),
            hosts: settings
                .into_iter()
                .map(|s| Host::new(s, rng.u64()))
                .collect(),
            on_the_way: BTreeMap::new(),
            rng,
            conditions: CLEAN,
            filter: Box::new(|_| true),
            sent: Vec::new(),
            serial: 0,
            seed,
        }
    }

    /// Loses the state of a host, as a crash would.
    pub(super) fn restart(&mut self, host: usize, settings: Settings) {
        self.seed += 1;
        let seed = self.rng.u64() ^ self.seed;
        self.hosts[host] = Host::new(settings, seed);
    }

    pub(super) fn connect(&mut self, from: usize, connect: Connect) {
        let now = self.now;
        self.act(from, |e| e.connect(now, connect));
    }

    pub(super) fn ask(&mut self, from: usize, question: Question) {
        let now = self.now;
        self.act(from, |e| e.ask(now, question));
    }

    /// Answers the newest question that came to a host.
    pub(super) fn answer(&mut self, host: usize, data: Option<&[u8]>) {
        let asked = self.hosts[host].asked.last().expect("nobody asked");
        let (now, ike, token) = (self.now, asked.ike, asked.token);
        self.act(host, |e| {
            e.answer(now, ike, token, data.map(<[u8]>::to_vec));
        });
    }

    pub(super) fn act(&mut self, host: usize, act: impl FnOnce(&mut Endpoint)) {
        act(&mut self.hosts[host].endpoint);
        self.drain(host);
    }

    fn drain(&mut self, at: usize) {
        while let Some(effect) = self.hosts[at].endpoint.poll_effect() {
            let host = &mut self.hosts[at];
            match effect {
                Effect::Transmit {
                    local,
                    remote,
                    payload,
                } => self.transmit(local, remote, &payload),
                Effect::IkeUp { ike, peer, .. } => {
                    assert!(host.ikes.insert(ike, peer).is_none(), "up twice");
                }
                Effect::IkeDown { ike, reason, .. } => {
                    assert!(host.ikes.remove(&ike).is_some(), "down, never up");
                    assert!(host.children.values().all(|(c, _)| c.ike != ike));
                    host.ike_downs.push(reason);
                }
                Effect::Configured { ike, assigned, .. } => {
                    assert!(host.ikes.contains_key(&ike), "configured, never up");
                    host.assigned.push(assigned);
                }
                Effect::ClientRefused { refusal, .. } => host.refused.push(refusal),
                Effect::ChildUp { child, outbound } => {
                    assert!(
                        host.ikes.contains_key(&child.ike),
                        "child before its IKE SA"
                    );
                    let taken = |(c, _): &(ChildSa, Outbound)| c.spi_in == child.spi_in;
                    assert!(!host.children.values().any(taken), "SPI taken");
                    host.ups.push((child.id, child.request));
                    host.up_at = Some(self.now);
                    host.children.insert(child.id, (*child, outbound));
                }
                Effect::OutboundReady { child } => {
                    let (_, outbound) = host.children.get_mut(&child).expect("ready, never up");
                    assert_eq!(*outbound, Outbound::AfterConfirmation);
                    *outbound = Outbound::Now;
                }
                Effect::ChildDown { child, reason } => {
                    assert!(host.children.remove(&child).is_some(), "down, never up");
                    host.downs.push((child, reason));
                }
                Effect::Failed { request, error } => host.failures.push((request, error)),
                Effect::Answered { id, data } => host.answers.push((id, data)),
                Effect::AskFailed { id, error } => host.ask_failures.push((id, error)),
                Effect::Asked {
                    ike,
                    token,
                    peer,
                    data,
                    ..
                } => {
                    assert_eq!(host.ikes.get(&ike), Some(&peer), "asked by nobody known");
                    if host.answers_at_once {
                        let answer = Some(backwards(&data));
                        host.endpoint.answer(self.now, ike, token, answer);
                    }
                    host.asked.push(Asked {
                        ike,
                        token,
                        peer,
                        data,
                    });
                }
            }
        }
    }

    fn transmit(&mut self, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
        self.sent.push((from, to, payload.to_vec()));
        let copies = if self.chance(self.conditions.duplicates) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let mut packet = Packet {
                from,
                to,
                payload: payload.to_vec(),
            };
            if (self.filter)(&mut packet) && !self.chance(self.conditions.loss) {
                let (least, most) = self.conditions.delay;
                let delay = least + self.rng.u64() % (most - least + 1);
                self.inject(Duration::from_millis(delay), packet);
            }
        }
    }

    /// From now on a translator changes the ports of what A sends: enough to be seen. The address
    /// stays.
    pub(super) fn translate(&mut self) {
        let inside = address(A);
        self.filter = Box::new(move |packet| {
            if packet.from.ip() == inside {
                packet.from.set_port(packet.from.port() + 20_000);
            } else {
                packet.to.set_port(packet.to.port() - 20_000);
            }
            true
        });
    }

    /// From now on hosts A and C stand behind one translator: B sees one address of both.
    pub(super) fn translate_addresses(&mut self) {
        let outside = outside();
        self.filter = Box::new(move |packet| {
            if packet.from.ip() != address(B) {
                let host = if packet.from.ip() == address(A) { 1 } else { 2 };
                packet.from.set_port(packet.from.port() + host * 10_000);
                packet.from.set_ip(outside);
            } else if packet.to.ip() == outside {
                let host = if packet.to.port() < 20_000 { A } else { 2 };
                packet.to.set_port(packet.to.port() % 10_000);
                packet.to.set_ip(address(host));
            }
            true
        });
    }

    /// Puts a packet on the way that nobody of the hosts sent.
    pub(super) fn inject(&mut self, delay: Duration, packet: Packet) {
        self.serial += 1;
        self.on_the_way
            .insert((self.now + delay, self.serial), packet);
    }

    fn chance(&mut self, of_a_thousand: u32) -> bool {
        self.rng.u32() % 1000 < of_a_thousand
    }

    /// Runs until the time has passed, or everything rests.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let deadline = |h: &Host| h.endpoint.poll_timeout();
            let timer = self.hosts.iter().filter_map(deadline).min();
            let packet = self.on_the_way.keys().next().map(|(at, _)| *at);
            let Some(next) = timer.into_iter().chain(packet).min().filter(|n| *n <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            if packet == Some(next) {
                let (_, packet) = self.on_the_way.pop_first().unwrap();
                let host = (0..self.hosts.len()).find(|h| address(*h) == packet.to.ip());
                if let Some(host) = host {
                    let now = self.now;
                    self.act(host, |e| {
                        e.handle_datagram(now, packet.to, packet.from, &packet.payload);
                    });
                }
            } else {
                for host in 0..self.hosts.len() {
                    if self.hosts[host].endpoint.poll_timeout() == Some(next) {
                        let now = self.now;
                        self.act(host, |e| e.handle_timeout(now));
                    }
                }
            }
        }
    }

    pub(super) fn run_seconds(&mut self, seconds: u64) {
        self.run(Duration::from_secs(seconds));
    }

    /// Every child on which one host sends is there at the other, keys and all.
    pub(super) fn assert_consistent(&self) {
        for (at, host) in self.hosts.iter().enumerate() {
            for child in host.sending() {
                let other = self
                    .hosts
                    .iter()
                    .enumerate()
                    .find(|(h, _)| address(*h) == child.remote)
                    .map(|(_, other)| other)
                    .unwrap();
                let twin = other
                    .children
                    .values()
                    .map(|(c, _)| c)
                    .find(|c| c.spi_in == child.spi_out && c.remote == address(at))
                    .unwrap_or_else(|| panic!("seed {}: host {at} sends into the void", self.seed));
                assert_twins(child, twin);
            }
        }
    }

    /// Both hosts send to each other for exactly these selectors, on exactly one child.
    pub(super) fn assert_one_tunnel(&self) {
        self.assert_consistent();
        for (from, to) in [(A, B), (B, A)] {
            let host = &self.hosts[from];
            let sending: Vec<_> = host.sending().map(|c| c.selectors.clone()).collect();
            let all = host.children.len();
            assert_eq!(
                (sending, all),
                (vec![vec![between(from, to)]], 1),
                "seed {}: at host {from}",
                self.seed
            );
        }
    }
}

pub(super) fn key_octets(keys: &ChildKeys) -> Vec<u8> {
    match keys {
        ChildKeys::AesGcm16 { key } => key.expose().to_vec(),
        ChildKeys::AesCbcHmac { cipher, auth, .. } => [cipher.expose(), auth.expose()].concat(),
        ChildKeys::AhHmac { auth, .. } => auth.expose().to_vec(),
    }
}

pub(super) fn assert_twins(a: &ChildSa, b: &ChildSa) {
    assert_eq!((a.spi_in, a.spi_out), (b.spi_out, b.spi_in));
    assert_eq!(key_octets(&a.keys_in), key_octets(&b.keys_out));
    assert_eq!(key_octets(&a.keys_out), key_octets(&b.keys_in));
    assert_ne!(key_octets(&a.keys_in), key_octets(&a.keys_out));
    assert_eq!((a.protocol, a.mode, a.esn), (b.protocol, b.mode, b.esn));
    let cpis = |c: &ChildSa| c.compression.map(|c| (c.cpi_in, c.cpi_out));
    assert_eq!(cpis(a), cpis(b).map(|(received, sent)| (sent, received)));
    let mut mirrored: Vec<Selector> = b.selectors.iter().map(Selector::reversed).collect();
    let mut own = a.selectors.clone();
    mirrored.sort();
    own.sort();
    assert_eq!(own, mirrored);
    assert!(a.spi_in.0 >= Spi::FIRST && a.spi_out.0 >= Spi::FIRST);
}
