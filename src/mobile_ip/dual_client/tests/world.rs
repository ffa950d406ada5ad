//! Home agents, a VPN and a client, in virtual time, with a seeded network between them.

use super::networks::{FOREIGN_AGENT, Network};
use crate::mobile_ip::domain::{Context, Ranges};
use crate::mobile_ip::dual_client::*;
use crate::mobile_ip::{Arrangement, Encapsulation, LinkId, Path, Place, Through, Via};
use crate::net::Random;
use crate::net::random::Seeded;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

pub const S: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 5);
pub const S_AGENT: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 2);
pub const V: Ipv4Addr = Ipv4Addr::new(10, 30, 0, 5);
pub const SECOND: Duration = Duration::from_secs(1);

/// Of the T of a site.
pub fn t(site: usize) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100 + site as u8, 5)
}

pub fn t_agent(site: usize) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100 + site as u8, 2)
}

pub fn settings() -> Settings {
    Settings {
        inner: System {
            home: S,
            home_agent: S_AGENT,
            home_network: Some("10.10.0.0/24".parse().unwrap()),
            lifetime: Duration::from_secs(60),
            reverse: Reverse::Never,
        },
        sites: vec![site(0)],
        vpn: Vpn::Present {
            warm: false,
            patience: SECOND * 10,
        },
        inside_protection: InsideProtection::Clear,
        tunnelling: Tunnelling::Full,
        ranges: Ranges {
            inside: vec!["10.10.0.0/16".parse().unwrap()],
            ..Ranges::default()
        },
        clear_probes: ClearProbes::Everywhere,
        t_monitor: T_MONITOR,
        mobile_networks: Vec::new(),
        mobile_networks6: Vec::new(),
        destinations6: Vec::new(),
        foreign_agents: crate::mobile_ip::dual_client::ForeignAgents::Known,
    }
}

pub fn site(at: usize) -> Site {
    Site {
        name: format!("site-{at}"),
        outer: Some(System {
            home: t(at),
            home_agent: t_agent(at),
            home_network: (at == 0).then(|| "198.51.100.0/24".parse().unwrap()),
            lifetime: Duration::from_secs(60),
            reverse: Reverse::Always,
        }),
        gateway: Some(format!("gateway-{at}")),
        near: Vec::new(),
        reach: Reach::Either,
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The inner home agent does not answer.
    InnerSilent,
    /// Outer home agents do not answer.
    OuterSilent,
    /// The inner home agent does not send the extension.
    Untrusting,
    /// The VPN's hook hangs.
    VpnHangs,
}

/// What a test may do to the world.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Percent of datagrams that are lost, each way.
    pub loss: u8,
    pub troubles: &'static [Trouble],
    pub has_adapter: bool,
}

impl Weather {
    pub const FAIR: Self = Self {
        loss: 0,
        troubles: &[],
        has_adapter: true,
    };

    fn has(&self, trouble: Trouble) -> bool {
        self.troubles.contains(&trouble)
    }
}

#[derive(Debug)]
enum Happening {
    Send {
        slot: Slot,
        generation: Generation,
        turn: u64,
    },
    AtAgent(Request),
    Reply(Request, Accepted),
    SmokedOut {
        link: LinkId,
        answered: bool,
        visit: u64,
    },
    Release {
        site: usize,
        identification: u64,
    },
    Vpn {
        turn: u64,
        state: VpnState,
    },
    VpnTries {
        turn: u64,
    },
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
struct Request {
    slot: Slot,
    generation: Generation,
    attachment: Attachment,
    asked: Instant,
    identification: u64,
    /// Over which adapter, in which visit of a network.
    link: LinkId,
    visit: u64,
    round_trip: Duration,
}

#[derive(Debug)]
struct Registrar {
    generation: Generation,
    attachment: Attachment,
    /// Sending again and again; another turn ends the one before.
    turn: u64,
    unanswered: u32,
    answered_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Agent {
    last_identification: u64,
    /// A care-of address; the home address itself at home.
    pub binding: Option<Ipv4Addr>,
}

pub struct World {
    pub now: Instant,
    pub start: Instant,
    pub client: DualClient,
    pub weather: Weather,
    pub random: Seeded,
    pub plugged: BTreeMap<LinkId, Network>,
    pub access_points: BTreeMap<LinkId, [u8; 6]>,
    pub weak: BTreeSet<LinkId>,
    visits: BTreeMap<LinkId, u64>,
    /// When an adapter was put elsewhere without its noticing.
    moved_silently: BTreeMap<LinkId, Instant>,
    registrars: BTreeMap<Slot, Registrar>,
    pub inner: Agent,
    pub outer: Vec<Agent>,
    /// Whose outer home agent does not answer.
    pub silent_site: Option<usize>,
    pub vpn_is_up: bool,
    /// Where it was told to begin.
    vpn_over: Option<IpAddr>,
    vpn_turn: u64,
    pub vpn_commands: Vec<VpnCommand>,
    queue: BTreeMap<(Instant, u64), Happening>,
    sequence: u64,
    pub tells: Vec<(Duration, Tell)>,
    pub arrangements: Vec<(Duration, Arrangement)>,
    /// What a restart would be given.
    pub remembered: Vec<Context>,
    /// Requests in the clear to the inner home agent, from outside.
    pub clear_requests: u32,
    has_vpn: bool,
    pub orders: Vec<(Duration, Order)>,
}

impl World {
    pub fn new(seed: u64, settings: Settings) -> Self {
        let start = Instant::now();
        let has_vpn = settings.vpn != Vpn::Absent;
        let sites = settings.sites.len();
        let mut world = Self {
            now: start,
            start,
            client: DualClient::new(settings).expect("settings are right"),
            weather: Weather::FAIR,
            random: Seeded(seed),
            plugged: BTreeMap::new(),
            access_points: BTreeMap::new(),
            weak: BTreeSet::new(),
            visits: BTreeMap::new(),
            moved_silently: BTreeMap::new(),
            registrars: BTreeMap::new(),
            inner: Agent::default(),
            outer: vec![Agent::default(); sites],
            silent_site: None,
            vpn_is_up: false,
            vpn_over: None,
            vpn_turn: 0,
            vpn_commands: Vec::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            tells: Vec::new(),
            arrangements: Vec::new(),
            remembered: Vec::new(),
            clear_requests: 0,
            has_vpn,
            orders: Vec::new(),
        };
        world.drain();
        world
    }

    // --- what a test does --------------------------------------------------------------------------

    /// Pulled out first, so that it is noticed even where the new network looks like the old one.
    pub fn plug(&mut self, link: u32, network: Network) {
        if self
            .plugged
            .get(&LinkId(link))
            .is_some_and(|before| *before != Network::Unplugged)
        {
            self.put(LinkId(link), Network::Unplugged);
            self.links_changed();
        }
        self.put(LinkId(link), network);
        self.moved_silently.remove(&LinkId(link));
        self.links_changed();
        if network == Network::OutsideForeignAgent {
            self.advertise(link, FOREIGN_AGENT, SECOND * 9000);
        }
    }

    /// As [`World::plug`], without any event: a router upstream has changed.
    pub fn plug_silently(&mut self, link: u32, network: Network) {
        let since = self.now;
        self.put(LinkId(link), network);
        self.moved_silently.entry(LinkId(link)).or_insert(since);
    }

    /// To that access point; see also [`World::plug_silently`].
    pub fn roam(&mut self, link: u32, access_point: u8) {
        self.access_points.insert(LinkId(link), [access_point; 6]);
        self.links_changed();
    }

    fn put(&mut self, link: LinkId, network: Network) {
        self.plugged.insert(link, network);
        *self.visits.entry(link).or_default() += 1;
    }

    pub fn links_changed(&mut self) {
        let links = self
            .plugged
            .iter()
            .map(|(id, network)| Link {
                access_point: self.access_points.get(id).copied(),
                weak: self.weak.contains(id),
                ..network.link(*id)
            })
            .collect();
        self.input(Input::Links(links));
    }

    pub fn advertise(&mut self, link: u32, agent: Ipv4Addr, lifetime: Duration) {
        self.input(Input::Advertisement(Advertisement {
            link: LinkId(link),
            agent,
            care_of: vec![agent],
            registration_required: true,
            lifetime,
        }));
    }

    pub fn vpn_falls(&mut self) {
        if self.vpn_is_up {
            self.vpn_is_up = false;
            self.vpn_turn += 1;
            self.input(Input::Vpn(VpnState::Down));
        }
    }

    pub fn input(&mut self, input: Input) {
        self.client.handle(self.now, input);
        self.drain();
    }

    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        let mut steps = 0;
        loop {
            let event = self.queue.first_key_value().map(|((at, _), _)| *at);
            let timeout = self.client.poll_timeout();
            let Some(next) = [event, timeout]
                .into_iter()
                .flatten()
                .min()
                .filter(|at| *at <= end)
            else {
                break;
            };
            steps += 1;
            assert!(steps < 200_000, "the client never rests: {}", self.story());
            self.now = self.now.max(next);
            if event == Some(next) {
                let (_, happening) = self.queue.pop_first().expect("it was there");
                self.happens(happening);
            } else {
                self.client.handle_timeout(self.now);
                self.drain();
            }
        }
        self.now = end;
        self.check();
    }

    pub fn place(&self) -> Place {
        self.client.arrangement().place
    }

    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    pub fn story(&self) -> String {
        let tells = self.tells.iter().map(|(at, tell)| format!("{at:?} {tell}"));
        let last: Vec<_> = tells.rev().take(40).collect();
        let lines = last.into_iter().rev().collect::<Vec<_>>().join("\n");
        let view = self.client.view(self.now);
        format!(
            "{lines}\nplugged {:?} weak {:?}\ninner {:?} outer {:?} vpn {}\n{view:#?}",
            self.plugged, self.weak, self.inner, self.outer, self.vpn_is_up
        )
    }

    // --- the rest of the world ---------------------------------------------------------------------

    fn at(&mut self, when: Instant, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((when, self.sequence), happening);
    }

    fn drain(&mut self) {
        while let Some(effect) = self.client.poll_effect() {
            let at = self.elapsed();
            match effect {
                Effect::Arrangement(arrangement) => self.arrangements.push((at, arrangement)),
                Effect::Registration(order) => {
                    self.orders.push((at, order));
                    self.order(order);
                }
                Effect::Vpn(command) => self.command(&command),
                Effect::SmokeOut(link) => self.smoke_out(link),
                Effect::Remember(contexts) => self.remembered = contexts,
                Effect::Tell(tell) => self.tells.push((at, tell)),
            }
        }
        self.check();
    }

    /// After every event: S is in the clear only where that is proved, and, but for what nobody could
    /// notice, true.
    fn check(&self) {
        let arrangement = self.client.arrangement();
        assert_eq!(arrangement.inner.home, S);
        if arrangement.place == Place::Blocked {
            assert_eq!(arrangement.inner.path, Path::Blocked);
        }
        let Some(link) = arrangement.inner.path.clear_on() else {
            if matches!(
                arrangement.inner.path,
                Path::Tunnel {
                    through: Through::OuterHome,
                    ..
                }
            ) {
                assert!(!self.has_vpn, "S skips the VPN: {}", self.story());
            }
            return;
        };
        if !self.has_vpn {
            return;
        }
        assert!(
            self.client.is_proven_inside(self.now, link),
            "no proof of {link}: {}",
            self.story()
        );
        let is_true = self
            .plugged
            .get(&link)
            .is_some_and(|network| network.is_inside());
        let moved = self.moved_silently.get(&link);
        let nobody_knew = moved.is_some_and(|at| self.now < *at + T_MONITOR);
        assert!(
            is_true || nobody_knew,
            "S is in the clear outside: {}",
            self.story()
        );
    }

    fn order(&mut self, order: Order) {
        match order {
            Order::Attach {
                slot,
                generation,
                attachment,
            } => {
                let turn = self
                    .registrars
                    .get(&slot)
                    .map_or(0, |registrar| registrar.turn + 1);
                let registrar = Registrar {
                    generation,
                    attachment,
                    turn,
                    unanswered: 0,
                    answered_at: None,
                };
                self.registrars.insert(slot, registrar);
                self.send(slot);
            }
            Order::Renew { slot } => {
                if let Some(registrar) = self.registrars.get_mut(&slot) {
                    registrar.turn += 1;
                    registrar.unanswered = 0;
                    self.send(slot);
                }
            }
            Order::Repeat { slot } => {
                if self.registrars.contains_key(&slot) {
                    self.send(slot);
                }
            }
            Order::Detach { slot, release } => {
                let gone = self.registrars.remove(&slot);
                if let (true, Slot::Outer(site), Some(gone)) = (release, slot, gone)
                    && let Some(link) = below(&gone.attachment)
                    && self.plugged[&link].has_internet()
                    && !self.is_lost()
                {
                    self.sequence += 1;
                    let identification = self.sequence;
                    let arrival = self.now + Duration::from_millis(40);
                    self.at(
                        arrival,
                        Happening::Release {
                            site,
                            identification,
                        },
                    );
                }
            }
        }
    }

    fn smoke_out(&mut self, link: LinkId) {
        let is_reached = self.plugged[&link].is_inside() && !self.weather.has(Trouble::InnerSilent);
        let answered = is_reached && !self.is_lost();
        let after = Duration::from_millis(if answered { 50 } else { 2000 });
        let visit = self.visits[&link];
        self.at(
            self.now + after,
            Happening::SmokedOut {
                link,
                answered,
                visit,
            },
        );
    }

    fn is_lost(&mut self) -> bool {
        self.random.u32() % 100 < u32::from(self.weather.loss)
    }

    /// Over which adapter a datagram of this attachment leaves, if it does.
    fn way(&self, attachment: &Attachment) -> Option<LinkId> {
        match attachment.via {
            Via::Link(link) => Some(link),
            Via::Routed => {
                if self.has_vpn && !self.vpn_is_up {
                    return None;
                }
                let outer = self.client.arrangement().outer.as_ref();
                let below = outer.and_then(|outer| outer.path.clear_on());
                self.vpn_over_ipv6().or(below)
            }
        }
    }

    fn send(&mut self, slot: Slot) {
        let registrar = &self.registrars[&slot];
        let (generation, attachment, turn) =
            (registrar.generation, registrar.attachment, registrar.turn);
        let unanswered = registrar.unanswered;
        self.sequence += 1;
        if let Some(link) = self.way(&attachment)
            && self
                .plugged
                .get(&link)
                .is_some_and(|network| *network != Network::Unplugged)
            && !self.is_lost()
        {
            let far = Duration::from_millis(5 + u64::from(self.random.u32() % 75));
            let request = Request {
                slot,
                generation,
                attachment,
                asked: self.now,
                identification: self.sequence,
                link,
                visit: self.visits[&link],
                round_trip: far,
            };
            // What goes through the tunnels cannot overtake the request that makes them.
            let extra = if attachment.via == Via::Routed { 40 } else { 0 };
            let arrival = self.now + far / 2 + Duration::from_millis(extra);
            self.at(arrival, Happening::AtAgent(request));
        }
        if unanswered == 3 {
            self.outcome(slot, generation, Outcome::Silent);
        }
        let pause = SECOND * [1, 1, 2, 4, 8][unanswered.min(4) as usize];
        let again = Happening::Send {
            slot,
            generation,
            turn,
        };
        self.at(self.now + pause, again);
    }

    fn outcome(&mut self, slot: Slot, generation: Generation, outcome: Outcome) {
        self.input(Input::Registration {
            slot,
            generation,
            outcome,
        });
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Send {
                slot,
                generation,
                turn,
            } => self.sends_again(slot, generation, turn),
            Happening::AtAgent(request) => self.arrives(request),
            Happening::Reply(request, accepted) => {
                let is_there = self.visits[&request.link] == request.visit;
                let Some(registrar) = self.registrars.get_mut(&request.slot) else {
                    return;
                };
                if is_there && registrar.generation == request.generation {
                    registrar.unanswered = 0;
                    registrar.turn += 1;
                    registrar.answered_at = Some(self.now);
                    let turn = registrar.turn;
                    let (slot, generation) = (request.slot, request.generation);
                    let half = registrar.attachment.lifetime / 2;
                    let renewal = Happening::Send {
                        slot,
                        generation,
                        turn,
                    };
                    self.at(self.now + half, renewal);
                    self.outcome(slot, generation, Outcome::Accepted(accepted));
                }
            }
            Happening::Vpn { turn, state } => {
                if turn == self.vpn_turn {
                    self.vpn_is_up = matches!(state, VpnState::Up { .. });
                    self.input(Input::Vpn(state));
                }
            }
            Happening::Release {
                site,
                identification,
            } => {
                let agent = &mut self.outer[site];
                if identification > agent.last_identification {
                    agent.last_identification = identification;
                    agent.binding = None;
                }
            }
            Happening::SmokedOut {
                link,
                answered,
                visit,
            } => {
                let answered = answered && self.visits[&link] == visit;
                self.input(Input::SmokeOut { link, answered });
            }
            Happening::VpnTries { turn } => self.vpn_tries(turn),
        }
    }

    fn sends_again(&mut self, slot: Slot, generation: Generation, turn: u64) {
        let Some(registrar) = self.registrars.get_mut(&slot) else {
            return;
        };
        if registrar.generation != generation || registrar.turn != turn {
            return;
        }
        registrar.unanswered += 1;
        let lifetime = registrar.attachment.lifetime;
        let is_over = registrar
            .answered_at
            .is_some_and(|at| self.now >= at + lifetime);
        if is_over {
            registrar.answered_at = None;
        }
        self.send(slot);
        if is_over {
            self.outcome(slot, generation, Outcome::Expired);
        }
    }

    fn arrives(&mut self, request: Request) {
        if self.visits[&request.link] != request.visit {
            return;
        }
        let network = self.plugged[&request.link];
        let care_of = request.attachment.point.care_of(request.attachment.home);
        let agent = match request.slot {
            Slot::Clear(_) => {
                let is_reached = !self.has_vpn || network.is_inside();
                self.clear_requests += u32::from(!network.is_inside());
                if !is_reached || self.weather.has(Trouble::InnerSilent) {
                    return;
                }
                &mut self.inner
            }
            Slot::Outer(site) => {
                // Wherever it comes from: who says that he is at home is believed.
                let is_silent =
                    self.weather.has(Trouble::OuterSilent) || self.silent_site == Some(site);
                if !network.has_internet() || is_silent {
                    return;
                }
                &mut self.outer[site]
            }
            Slot::Inner => {
                let is_bound = self
                    .used_site()
                    .is_some_and(|site| self.is_bound_at(site, request.link));
                let is_over_ipv6 = self.vpn_over_ipv6() == Some(request.link);
                let is_reached = is_over_ipv6 || network.has_internet() && is_bound;
                if !is_reached || self.weather.has(Trouble::InnerSilent) {
                    return;
                }
                &mut self.inner
            }
        };
        // RFC 5944 §5.7: one that is not newer is refused, and the client asks again.
        if request.identification <= agent.last_identification {
            return;
        }
        agent.last_identification = request.identification;
        agent.binding = Some(care_of);
        let udp = Encapsulation::Udp {
            local_port: 434,
            remote_port: 434,
            keepalive: Duration::from_secs(110),
        };
        let is_translated = network == Network::OutsideNat && request.attachment.via != Via::Routed;
        let carried = match request.attachment.point {
            Point::AtHome(_) => Carried::AtHome,
            Point::ForeignAgent { agent, .. } => Carried::ForeignAgent(agent),
            Point::CoLocated(_)
                if is_translated || request.attachment.nat_traversal == NatTraversal::Forced =>
            {
                Carried::Tunnel(udp)
            }
            Point::CoLocated(_) => Carried::Tunnel(Encapsulation::IpIp),
        };
        let accepted = Accepted {
            asked: request.asked,
            round_trip: request.round_trip,
            trusted: network.is_inside() && !self.weather.has(Trouble::Untrusting),
            carried,
        };
        if !self.is_lost() {
            let back = self.now + request.round_trip / 2;
            self.at(back, Happening::Reply(request, accepted));
        }
    }

    /// Whether what an outer home agent tunnels comes out at this adapter.
    fn leads_to(&self, agent: &Agent, link: LinkId) -> bool {
        let network = self.plugged[&link];
        let address = network.link(link).usable_address();
        let Some(binding) = agent.binding else {
            return false;
        };
        let at_home = network == Network::OuterHome && binding == t(0);
        let by_agent = network == Network::OutsideForeignAgent && binding == FOREIGN_AGENT;
        Some(binding) == address || at_home || by_agent
    }

    /// Of the T that the client uses.
    fn used_site(&self) -> Option<usize> {
        let outer = self.client.arrangement().outer.as_ref()?;
        (0..self.outer.len()).find(|site| t(*site) == outer.home)
    }

    pub fn is_bound_at(&self, site: usize, link: LinkId) -> bool {
        self.leads_to(&self.outer[site], link)
    }

    // --- the VPN -----------------------------------------------------------------------------------

    /// The adapter that it runs over without anything of Mobile IP below.
    pub fn vpn_over_ipv6(&self) -> Option<LinkId> {
        let Some(IpAddr::V6(own)) = self.vpn_over else {
            return None;
        };
        let mut plugged = self.plugged.iter();
        let link = plugged.find(|(link, network)| network.link(**link).ipv6 == Some(own));
        link.map(|(link, _)| *link)
    }

    fn command(&mut self, command: &VpnCommand) {
        self.vpn_commands.push(command.clone());
        match command {
            VpnCommand::Up { .. } if self.vpn_is_up => {}
            VpnCommand::Up { over, .. } => {
                self.vpn_over = Some(*over);
                self.vpn_turn += 1;
                let turn = self.vpn_turn;
                self.at(
                    self.now + Duration::from_millis(100),
                    Happening::VpnTries { turn },
                );
            }
            VpnCommand::Warm => {}
            VpnCommand::Down => {
                self.vpn_turn += 1;
                self.vpn_is_up = false;
                if !self.weather.has(Trouble::VpnHangs) {
                    let (turn, state) = (self.vpn_turn, VpnState::Down);
                    self.at(
                        self.now + Duration::from_millis(10),
                        Happening::Vpn { turn, state },
                    );
                }
            }
        }
    }

    fn vpn_tries(&mut self, turn: u64) {
        if turn != self.vpn_turn || self.weather.has(Trouble::VpnHangs) {
            return;
        }
        let outer = self.client.arrangement().outer.clone();
        let link = outer.and_then(|outer| outer.path.clear_on());
        let is_through = link.is_some_and(|link| {
            let site = self.used_site().expect("T has a path");
            self.plugged[&link].has_internet() && self.is_bound_at(site, link)
        });
        let is_through = match self.vpn_over {
            Some(IpAddr::V6(_)) => self.vpn_over_ipv6().is_some(),
            _ => is_through,
        };
        if is_through && !self.is_lost() {
            let address = self.weather.has_adapter.then_some(V);
            let state = VpnState::Up { address };
            self.at(self.now, Happening::Vpn { turn, state });
        } else {
            self.at(self.now + SECOND, Happening::VpnTries { turn });
        }
    }
}

fn below(attachment: &Attachment) -> Option<LinkId> {
    match attachment.via {
        Via::Link(link) => Some(link),
        Via::Routed => None,
    }
}
