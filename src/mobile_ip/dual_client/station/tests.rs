//! The dual client over octets: two home agents that answer what is signed, each where it is reached.

use super::*;
use crate::mobile_ip::dual_client::{
    ClearProbes, InsideProtection, Reach, Reverse, Site, System, T_MONITOR, Tunnelling, Vpn,
    VpnState,
};
use crate::mobile_ip::replay::SERIES;
use crate::mobile_ip::security::{Algorithm, ReplayProtection};
use crate::mobile_ip::wire::{
    AuthenticationKind, Code, Decoded, Extension, Message, RegistrationReply,
};
use crate::mobile_ip::{Link, Path, Place, Through};
use crate::net::Secret;
use crate::net::random::Seeded;

const S: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 5);
const S_AGENT: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 2);
const T: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 5);
const T_AGENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const V: Ipv4Addr = Ipv4Addr::new(10, 30, 0, 5);
const UNIX: Duration = Duration::from_secs(1_700_000_000);
const LINK: LinkId = LinkId(2);

fn association(key: &[u8]) -> SecurityAssociation {
    SecurityAssociation {
        spi: 256,
        algorithm: Algorithm::HmacMd5,
        key: Secret::from(key),
        replay: ReplayProtection::default(),
    }
}

fn agreement(key: &[u8]) -> Agreement {
    Agreement {
        association: association(key),
        nai: None,
        foreign_agents: Vec::new(),
        port: 434,
        encapsulation: TunnelKind::IpIp,
        delivery: client::Delivery::Direct,
        revocation: false,
    }
}

fn system(home: Ipv4Addr, home_agent: Ipv4Addr, home_network: Option<&str>) -> System {
    System {
        home,
        home_agent,
        home_network: home_network.map(|net| net.parse().unwrap()),
        lifetime: Duration::from_secs(300),
        reverse: Reverse::Always,
    }
}

fn settings() -> Settings {
    Settings {
        inner: system(S, S_AGENT, Some("10.10.0.0/24")),
        sites: vec![Site {
            name: "main".into(),
            outer: Some(system(T, T_AGENT, Some("198.51.100.0/24"))),
            gateway: None,
            near: Vec::new(),
            reach: Reach::Ipv4,
        }],
        vpn: Vpn::Present {
            warm: true,
            patience: Duration::from_secs(30),
        },
        inside_protection: InsideProtection::Clear,
        tunnelling: Tunnelling::Full,
        ranges: crate::mobile_ip::domain::Ranges::default(),
        clear_probes: ClearProbes::Everywhere,
        t_monitor: T_MONITOR,
        mobile_networks: Vec::new(),
        mobile_networks6: Vec::new(),
        destinations6: Vec::new(),
        foreign_agents: crate::mobile_ip::dual_client::ForeignAgents::Known,
    }
}

/// What the inner home agent is like where we are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inner {
    Trusting,
    /// Its key, but no trusted networks.
    Untrusting,
    /// Somebody else with its address.
    Forged,
    /// Behind the VPN.
    Unreached,
}

struct World {
    now: Instant,
    station: Station,
    inner: Inner,
    address: &'static str,
    sent: Vec<Datagram>,
    arrangement: Option<Arrangement>,
    vpn: Vec<VpnCommand>,
    /// By gratuitous ARP, and how much had been sent before.
    announced: Vec<(usize, Ipv4Addr)>,
    told: Vec<Tell>,
    /// Percent of datagrams that are lost, each way.
    loss: u32,
    random: Seeded,
}

impl World {
    fn new(inner: Inner) -> Self {
        Self::with(inner, settings())
    }

    fn with(inner: Inner, settings: Settings) -> Self {
        let now = Instant::now();
        let outer = BTreeMap::from([(0, agreement(b"outer"))]);
        let clock = Clock::new(now, UNIX);
        let random = Box::new(Seeded(7));
        let station =
            Station::new(now, settings, agreement(b"inner"), outer, clock, random).unwrap();
        Self {
            now,
            station,
            inner,
            address: "",
            sent: Vec::new(),
            arrangement: None,
            vpn: Vec::new(),
            announced: Vec::new(),
            told: Vec::new(),
            loss: 0,
            random: Seeded(3),
        }
    }

    fn plug(&mut self, address: &'static str, inner: Inner) {
        self.plug_into(LINK, address, inner);
    }

    fn plug_into(&mut self, id: LinkId, address: &'static str, inner: Inner) {
        self.links(Vec::new());
        (self.address, self.inner) = (address, inner);
        self.links(vec![Link {
            id,
            name: format!("eth{}", id.0),
            carrier: true,
            addresses: vec![address.parse().unwrap()],
            gateway: None,
            gateway_mac: None,
            access_point: None,
            weak: false,
            ipv6: None,
            metric: 100,
        }]);
    }

    fn links(&mut self, links: Vec<Link>) {
        self.input(Input::Dual(effect::Input::Links(links)));
    }

    fn input(&mut self, input: Input) {
        self.station.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(effect) = self.station.poll_effect() {
            match effect {
                Effect::Send(datagram) => self.sent.push(datagram),
                Effect::Arrangement(arrangement) => self.arrangement = Some(arrangement),
                Effect::Vpn(command) => self.vpn.push(command),
                Effect::Announce { address, .. } => self.announced.push((self.sent.len(), address)),
                Effect::Tell(tell) => self.told.push(tell),
                Effect::Solicit(_)
                | Effect::Remember(_)
                | Effect::HomeDenied(_)
                | Effect::Suspicious(..) => {}
            }
        }
    }

    /// Answers what was sent, and lets time pass, until nothing happens for `span`.
    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            for datagram in std::mem::take(&mut self.sent) {
                if let Some(answer) = self.answer(&datagram)
                    && self.random.u32() % 100 >= self.loss
                {
                    self.input(Input::Datagram(answer));
                }
            }
            if let Some(VpnCommand::Up { .. }) = self.vpn.last()
                && self.place() == Place::Blocked
            {
                self.input(Input::Dual(effect::Input::Vpn(VpnState::Up {
                    address: Some(V),
                })));
            }
            self.now += Duration::from_millis(20);
            if self.station.poll_timeout().is_some_and(|at| at <= self.now) {
                self.station.handle_timeout(self.now);
                self.drain();
            }
        }
    }

    fn answer(&self, datagram: &Datagram) -> Option<Datagram> {
        let decoded = Decoded::decode(&datagram.payload).expect("what we send can be decoded");
        let Message::Request(request) = &decoded.message else {
            return None;
        };
        let is_inner = *datagram.remote.ip() == S_AGENT;
        let in_clear = datagram.via != Via::Routed;
        if is_inner && in_clear && self.inner == Inner::Unreached {
            return None;
        }
        let forged = is_inner && in_clear && self.inner == Inner::Forged;
        let key: &[u8] = match (is_inner, forged) {
            (true, true) => b"a guess",
            (true, false) => b"inner",
            (false, _) => b"outer",
        };
        let placed = decoded.only_authenticator(AuthenticationKind::MobileHome)?;
        assert!(forged || association(key).verify(&placed));
        let trusts = is_inner && in_clear && self.inner != Inner::Untrusting;
        let extensions = if trusts {
            vec![Extension::TrustedNetworksConfigured]
        } else {
            Vec::new()
        };
        let mut payload = RegistrationReply {
            code: Code::ACCEPTED,
            lifetime: request.lifetime,
            home: request.home,
            home_agent: request.home_agent,
            identification: request.identification,
            extensions,
        }
        .encode();
        association(key).sign(AuthenticationKind::MobileHome, &mut payload);
        Some(Datagram {
            payload,
            ..datagram.clone()
        })
    }

    /// Of the only link.
    fn hints(&self) -> impl Iterator<Item = String> {
        let view = self.station.view(self.now);
        let hints: Vec<_> = view.links[0]
            .hints
            .iter()
            .map(ToString::to_string)
            .collect();
        hints.into_iter()
    }

    fn place(&self) -> Place {
        self.arrangement
            .as_ref()
            .expect("one is said at once")
            .place
    }
}

#[test]
fn an_adapter_has_a_series_of_its_own_that_none_before_it_had_for_long() {
    let mut world = World::new(Inner::Trusting);
    let mut had = Vec::new();
    for link in 0..u32::from(SERIES) * 3 {
        let series = world.station.series(Slot::Clear(LinkId(link)));
        assert!((1..SERIES).contains(&series));
        let lately = had.iter().rev().take(usize::from(SERIES) - 2);
        assert!(lately.into_iter().all(|before| *before != series));
        had.push(series);
    }
    assert_eq!(world.station.series(Slot::Inner), 0);
}

#[test]
fn a_signed_answer_in_the_clear_with_the_extension_opens_the_link() {
    let mut world = World::new(Inner::Trusting);
    world.plug("10.10.1.7/24", Inner::Trusting);
    world.run(Duration::from_secs(1));
    assert_eq!(world.place(), Place::Inside);
    // Renewed before it is over, for as long as we are there.
    world.run(Duration::from_secs(200));
    assert_eq!(world.place(), Place::Inside);
    world.inner = Inner::Unreached;
    world.run(T_MONITOR);
    assert_ne!(world.place(), Place::Inside);
}

#[test]
fn a_network_that_the_home_agent_leaves_out_is_told_once() {
    let network: IpNet = "2001:db8:5::/64".parse().unwrap();
    let mut settings = settings();
    settings.mobile_networks6 = vec!["2001:db8:5::/64".parse().unwrap()];
    let mut world = World::with(Inner::Trusting, settings);
    world.plug("10.10.1.7/24", Inner::Trusting);
    world.run(Duration::from_secs(200));
    assert_eq!(world.place(), Place::Inside);
    let left_out = Tell::LeftOut { network };
    let told = world.told.iter().filter(|told| **told == left_out);
    assert_eq!(told.count(), 1);
}

#[test]
fn at_home_the_end_of_bindings_is_asked_for_from_the_home_address_and_proves_as_much() {
    let mut world = World::new(Inner::Trusting);
    world.plug("10.10.0.77/24", Inner::Trusting);
    let first = world
        .sent
        .iter()
        .find(|datagram| *datagram.remote.ip() == S_AGENT);
    assert_eq!(*first.expect("the inner home agent is asked").local.ip(), S);
    world.run(Duration::from_secs(200));
    assert_eq!(world.place(), Place::Inside);
    let path = world.arrangement.unwrap().inner.path;
    assert!(matches!(path, Path::Native { link: LINK, .. }));
}

#[test]
fn the_home_network_of_t_hears_of_it_before_the_home_agent_and_that_of_s_after_the_proof() {
    let mut world = World::new(Inner::Unreached);
    world.plug("203.0.113.10/24", Inner::Unreached);
    world.run(Duration::from_secs(10));
    assert_eq!(world.announced, []);
    world.sent.clear();
    world.plug("198.51.100.77/24", Inner::Unreached);
    assert_eq!(world.announced, [(0, T)]);
    // Once more when the home agent has agreed, and not with each renewal.
    world.run(Duration::from_secs(600));
    let all: Vec<_> = world.announced.drain(..).map(|(_, home)| home).collect();
    assert_eq!(all, [T, T]);

    world.plug("10.10.0.77/24", Inner::Forged);
    world.run(Duration::from_secs(20));
    assert_eq!(world.announced, []);
    world.plug("10.10.0.77/24", Inner::Trusting);
    world.run(Duration::from_secs(200));
    let all: Vec<_> = world.announced.drain(..).map(|(_, home)| home).collect();
    assert_eq!(all, [S]);
}

/// Whoever knows S by the card before answers to that.
#[test]
fn at_home_by_another_card_the_network_hears_of_it_before_the_home_agent() {
    let mut world = World::new(Inner::Trusting);
    world.plug("10.10.0.77/24", Inner::Trusting);
    world.run(Duration::from_secs(20));
    let other = LinkId(LINK.0 + 1);
    for link in [other, LINK] {
        world.announced.clear();
        world.sent.clear();
        world.plug_into(link, "10.10.0.78/24", Inner::Trusting);
        let [(before, S)] = world.announced[..] else {
            panic!("{:?}", world.announced)
        };
        let asked = |datagram: &Datagram| *datagram.remote.ip() == S_AGENT;
        assert_eq!(world.sent.iter().position(asked), Some(before));
        world.run(Duration::from_secs(20));
        assert_eq!(world.place(), Place::Inside);
    }
}

#[test]
fn a_forged_or_untrusting_answer_opens_nothing() {
    for inner in [Inner::Forged, Inner::Untrusting] {
        let mut world = World::new(inner);
        world.plug("10.10.1.7/24", inner);
        for _ in 0..100 {
            world.run(Duration::from_secs(1));
            assert_ne!(world.place(), Place::Inside);
        }
        assert_eq!(world.place(), Place::OutsideWithAdapter);
    }
}

#[test]
fn inside_to_outside_sends_outer_and_inner_request_in_one_burst() {
    let mut world = World::new(Inner::Unreached);
    world.plug("203.0.113.10/24", Inner::Unreached);
    world.run(Duration::from_secs(10));
    assert_eq!(world.place(), Place::OutsideWithAdapter);
    world.plug("10.10.1.7/24", Inner::Trusting);
    world.run(Duration::from_secs(5));
    assert_eq!(world.place(), Place::Inside);
    world.sent.clear();
    world.plug("192.0.2.10/24", Inner::Unreached);
    let burst: Vec<_> = world
        .sent
        .iter()
        .map(|d| (d.via, *d.local.ip(), *d.remote.ip()))
        .collect();
    let x = Ipv4Addr::new(192, 0, 2, 10);
    assert_eq!(
        burst,
        [
            (Via::Link(LINK), x, T_AGENT),
            (Via::Routed, V, S_AGENT),
            (Via::Link(LINK), x, S_AGENT),
        ]
    );
    // One round trip later.
    world.run(Duration::from_millis(20));
    assert_eq!(world.place(), Place::OutsideWithAdapter);
    let path = world.arrangement.unwrap().inner.path;
    assert!(matches!(
        path,
        Path::Tunnel {
            local: V,
            through: Through::Vpn,
            reverse: true,
            ..
        }
    ));
}

#[test]
fn a_site_without_agreement_is_refused() {
    let now = Instant::now();
    let clock = Clock::new(now, UNIX);
    let none = BTreeMap::new();
    let station = Station::new(
        now,
        settings(),
        agreement(b"inner"),
        none,
        clock,
        Box::new(Seeded(1)),
    );
    assert_eq!(
        station.unwrap_err(),
        StationError::NoAgreement("main".into())
    );
}

#[test]
fn a_stale_request_is_refused_by_the_home_agent_or_by_nobody() {
    let mut world = World::new(Inner::Unreached);
    world.plug("203.0.113.10/24", Inner::Unreached);
    world.run(Duration::from_secs(20));
    world.input(Input::SmokeOut(LINK));
    world.run(Duration::from_secs(4));
    assert!(world.hints().any(|hint| hint.contains("nobody refuses")));
}

#[test]
fn a_stale_request_that_is_lost_is_sent_once_more() {
    let mut world = World::new(Inner::Trusting);
    world.plug("10.10.1.7/24", Inner::Trusting);
    world.run(Duration::from_secs(5));
    world.loss = 100;
    world.input(Input::SmokeOut(LINK));
    world.run(Duration::from_millis(500));
    assert!(!world.hints().any(|hint| hint.contains("stale")));
    world.loss = 0;
    world.run(Duration::from_secs(1));
    assert!(world.hints().any(|hint| hint.contains("refuses stale")));
}

#[test]
fn that_nobody_refused_where_the_link_was_before_says_nothing_of_where_it_is() {
    let mut world = World::new(Inner::Unreached);
    world.plug("203.0.113.10/24", Inner::Unreached);
    world.run(Duration::from_secs(20));
    world.input(Input::SmokeOut(LINK));
    world.run(Duration::from_secs(1));
    world.plug("192.0.2.10/24", Inner::Unreached);
    world.run(Duration::from_secs(4));
    assert!(!world.hints().any(|hint| hint.contains("nobody refuses")));
}

/// In every step of every history.
#[test]
fn through_loss_and_moves_only_a_trusting_home_agent_opens_the_link() {
    let places = [
        ("10.10.0.77/24", Inner::Trusting),
        ("10.10.1.7/24", Inner::Trusting),
        ("10.10.1.7/24", Inner::Forged),
        ("10.10.1.7/24", Inner::Untrusting),
        ("203.0.113.10/24", Inner::Unreached),
        ("192.0.2.10/24", Inner::Unreached),
    ];
    for seed in 0..30 {
        let mut world = World::new(Inner::Unreached);
        world.random = Seeded(seed);
        world.loss = seed as u32 % 4 * 10;
        let mut last = Inner::Unreached;
        for _ in 0..6 {
            let (address, inner) = places[world.random.u32() as usize % places.len()];
            world.plug(address, inner);
            last = inner;
            for _ in 0..world.random.u32() % 20 {
                world.run(Duration::from_millis(500));
                assert!(
                    world.place() != Place::Inside || inner == Inner::Trusting,
                    "seed {seed}"
                );
            }
        }
        world.loss = 0;
        world.run(Duration::from_secs(120));
        let expected = match last {
            Inner::Trusting => Place::Inside,
            _ => Place::OutsideWithAdapter,
        };
        assert_eq!(world.place(), expected, "seed {seed}");
    }
}
