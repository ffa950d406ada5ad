//! The dual client in the agent: what happens to adapters and to the VPN goes in, and what it wants of
//! the kernel, of the VPN and of home agents comes out.
//!
//! ```text
//!  adapters, datagrams, clock ─→ Station ─┬─→ Arrangement ─→ layout ─→ wishes
//!            VPN ────────────────→  ↑     ├─→ datagrams
//!             ↑                     │     └─→ VPN commands ─┐
//!             └─────────────────────┴───────────────────────┘
//! ```
//!
//! S is blocked before the first adapter is known, and whenever nothing is known.

mod driving;
pub mod given;
pub mod layout;
pub mod receiving;
pub mod settings;
#[cfg(test)]
mod tests;
pub mod turns;
pub mod view;

use super::foundation::verdict;
use super::vpn::{Connection, VpnState};
use super::wishes::{Owner, Wishes};
use crate::kernel::adapters::Adapter;
use crate::kernel::desired::{Action, Direction, LinkName, Mark, Object, Policy};
use crate::kernel::ownership::Band;
use crate::mobile_ip::domain::{Context, Reception};
use crate::mobile_ip::dual_client::station::{Effect, Input, Station};
use crate::mobile_ip::dual_client::{self, ForeignAgents};
use crate::mobile_ip::replay::Clock;
use crate::mobile_ip::wire::advertisement::Advertisement;
use crate::mobile_ip::{Arrangement, Carriage, Datagram, Link, LinkId, Path, Place, Through, Via};
use crate::net::{Random, Selector};
use crate::tun::tunnels::Binding;
use given::{AskingForHome, News};
use layout::{Around, Carried, Objects, VpnAdapter, VpnEnd};
use receiving::{Receiver, Receivers};
use settings::{Given, MobilitySettings};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};
use turns::Turns;

/// The address of a network comes before its gateway. A request that leaves between the two is lost,
/// and the next one has to wait; so for this long an address alone is none.
const SETTLING: Duration = Duration::from_millis(250);

/// Agents whose MACs are kept; beyond them a stranger is making them up.
const MOST_MACS: usize = 64;

/// Of an adapter without a default route: the last choice.
const NO_METRIC: u32 = u32::MAX;

#[derive(Debug)]
pub struct Mobility {
    settings: MobilitySettings,
    is_alone: bool,
    /// The system whose home address is given to us.
    given: Option<Given>,
    /// When that was asked for last.
    asked_for_home: Option<Instant>,
    station: Standing,
    /// What earlier runs knew of networks, for the station that begins.
    known: Vec<Context>,
    adapters: Vec<Adapter>,
    /// How strong access points are, by adapter.
    receptions: BTreeMap<u32, Reception>,
    /// Those with an address and no gateway, and until when one is waited for.
    settling: BTreeMap<u32, Instant>,
    /// When the dual client was told of adapters last.
    told_at: Option<Instant>,
    /// What the VPN protects, from when it is up first until it is not wanted any more.
    vpn: Option<VpnEnd>,
    /// What was said of it last, for a dual client that begins.
    vpn_was: Option<dual_client::VpnState>,
    arrangement: Arrangement,
    /// Where home agents send besides.
    receivers: Receivers,
    turns: Turns,
    wanted: Objects,
    carried: Carried,
    /// For user space.
    carrying: VecDeque<Carrying>,
    outgoing: VecDeque<Datagram>,
    news: VecDeque<News>,
    /// What does not leave although a rule leads past the table of S.
    kept_in: Vec<Selector>,
    /// Whom we ask on the link itself; one for each home address.
    agents: Vec<layout::Agent>,
    /// From which MAC agents advertise themselves.
    macs: BTreeMap<(LinkId, Ipv4Addr), [u8; 6]>,
}

/// An advertisement, and from where it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub link: LinkId,
    pub source: Ipv4Addr,
    pub mac: [u8; 6],
    pub advertisement: Advertisement,
}

/// What user space should do for a home address of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carrying {
    Carry(LinkName, Binding),
    CarryNoMore(Ipv4Addr),
}

/// Registrations need the time of day.
#[derive(Debug)]
enum Standing {
    /// With the randomness that it will need.
    AwaitingClock(Option<Box<dyn Random>>),
    /// And they need a home address.
    AskingForHome(Box<AskingForHome>),
    Running(Box<Station>),
}

impl Mobility {
    /// Wants the adapters, and that nothing leaves from them.
    /// `is_alone`: as [`Around::is_alone`].
    pub fn new(
        settings: MobilitySettings,
        is_alone: bool,
        random: Box<dyn Random>,
        wishes: &mut Wishes,
    ) -> Self {
        let arrangement = blocked(&settings);
        let mut mobility = Self {
            is_alone,
            given: settings.given(),
            asked_for_home: None,
            news: VecDeque::new(),
            settings,
            station: Standing::AwaitingClock(Some(random)),
            known: Vec::new(),
            adapters: Vec::new(),
            receptions: BTreeMap::new(),
            settling: BTreeMap::new(),
            told_at: None,
            vpn: None,
            vpn_was: None,
            arrangement,
            receivers: Receivers::default(),
            turns: Turns::default(),
            wanted: Objects::new(),
            carried: Carried::new(),
            carrying: VecDeque::new(),
            outgoing: VecDeque::new(),
            kept_in: Vec::new(),
            agents: Vec::new(),
            macs: BTreeMap::new(),
        };
        mobility.lay_out(wishes);
        mobility
    }

    /// Before the time of day is known.
    pub fn recall(&mut self, known: Vec<Context>) {
        self.known = known;
    }

    pub fn knows_time(&self) -> bool {
        !matches!(self.station, Standing::AwaitingClock(_))
    }

    /// # Errors
    /// The settings contradict themselves, which their validation should have said.
    pub fn time_is(&mut self, now: Instant, unix: Duration) -> Result<(), String> {
        match &mut self.station {
            Standing::Running(station) => station.handle(now, Input::Time(unix)),
            Standing::AskingForHome(asking) => asking.time_is(now, unix),
            Standing::AwaitingClock(random) => {
                if let Some(random) = random.take() {
                    return self.begin(now, Clock::new(now, unix), random);
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, now: Instant, clock: Clock, random: Box<dyn Random>) -> Result<(), String> {
        if let Some(which) = self.settings.given() {
            self.ask_for_home(now, which, clock, random);
            return Ok(());
        }
        let MobilitySettings {
            dual, inner, outer, ..
        } = self.settings.clone();
        let station = Station::new(now, dual, inner, outer, clock, random);
        let station = station.map_err(|error| error.to_string())?;
        self.station = Standing::Running(Box::new(station));
        // They may look like one of these.
        let known = std::mem::take(&mut self.known);
        self.dual(now, dual_client::Input::Recall(known));
        if let Some(vpn) = self.vpn_was.clone() {
            self.dual(now, dual_client::Input::Vpn(vpn));
        }
        self.tell_links(now);
        Ok(())
    }

    pub fn resumed(&mut self, now: Instant) {
        self.dual(now, dual_client::Input::Resumed);
    }

    pub fn adapters_are(&mut self, now: Instant, adapters: Vec<Adapter>, wishes: &mut Wishes) {
        let waits = |adapter: &&Adapter| !adapter.addresses.is_empty() && adapter.gateway.is_none();
        let indices: Vec<u32> = adapters.iter().filter(waits).map(|a| a.index).collect();
        self.settling.retain(|index, _| indices.contains(index));
        for index in indices {
            self.settling.entry(index).or_insert(now + SETTLING);
        }
        let is_there = |index: &u32| adapters.iter().any(|adapter| adapter.index == *index);
        self.receptions.retain(|index, _| is_there(index));
        for adapter in &adapters {
            let reception = self.receptions.entry(adapter.index).or_default();
            reception.heard(adapter.access_point, adapter.signal);
        }
        self.adapters = adapters;
        self.tell_links(now);
        // Its addresses are ends of tunnels.
        self.lay_out(wishes);
    }

    pub fn vpn_is(&mut self, now: Instant, state: &VpnState, wishes: &mut Wishes) {
        use dual_client::VpnState as Told;
        let told = match state {
            VpnState::Down => {
                self.vpn = None;
                Told::Down
            }
            // It goes on being what it was until it has gone.
            VpnState::Disconnecting => return,
            VpnState::Connecting => Told::Connecting,
            VpnState::Up(connection) => {
                let address = connection.v4();
                self.vpn = vpn_end(connection);
                match self.vpn {
                    Some(_) => Told::Up { address },
                    None => Told::Failed("the gateway gave no IPv4 address".to_owned()),
                }
            }
            VpnState::Failed(reason) => Told::Failed(reason.clone()),
        };
        self.vpn_was = Some(told.clone());
        // V is there before anything is sent from it.
        self.lay_out(wishes);
        self.dual(now, dual_client::Input::Vpn(told));
    }

    /// Whether it is S, a T or V.
    fn holds(&self, address: Ipv4Addr) -> bool {
        let dual = &self.settings.dual;
        let homes = dual.outer_systems().chain([&dual.inner]);
        let with_adapter = self.vpn.filter(|vpn| vpn.adapter != VpnAdapter::None);
        let mut all = homes
            .map(|system| system.home)
            .chain(with_adapter.map(|vpn| vpn.address));
        all.any(|ours| ours == address)
    }

    /// The adapter that packets of this address leave the machine by.
    pub fn leads_out_over(&self, local: Option<IpAddr>) -> Option<LinkName> {
        let path = self.arrangement.outer.as_ref().map(|outer| &outer.path);
        let link = match path {
            Some(
                Path::Native { link, .. }
                | Path::Tunnel {
                    through: Through::Link { link, .. },
                    ..
                },
            ) => Some(*link),
            _ => None,
        };
        let is_it = |adapter: &&Adapter| match link {
            Some(link) => adapter.index == link.0,
            None => {
                let v4 = adapter.addresses.iter().map(|net| net.addr().into());
                let v6 = adapter.ipv6.map(|ipv6| ipv6.address.into());
                v4.chain(v6).any(|own: IpAddr| Some(own) == local)
            }
        };
        self.adapters.iter().find(is_it).map(|adapter| adapter.name)
    }

    pub fn datagram(&mut self, now: Instant, datagram: Datagram) {
        if let Standing::AskingForHome(asking) = &mut self.station {
            asking.newcomer.datagram(now, datagram);
            return self.is_home_given(now);
        }
        self.input(now, Input::Datagram(datagram));
    }

    pub fn advertised(&mut self, now: Instant, heard: Heard) {
        let Heard {
            link,
            source,
            mac,
            advertisement,
        } = heard;
        // Of others nobody is asked.
        let known = &self.settings.inner.foreign_agents;
        let may_be_asked = self.settings.dual.foreign_agents == ForeignAgents::Any
            || known.iter().any(|(agent, _)| *agent == source);
        if may_be_asked {
            let key = (link, source);
            if self.macs.len() >= MOST_MACS && !self.macs.contains_key(&key) {
                self.macs.pop_first();
            }
            self.macs.insert(key, mac);
        }
        let input = Input::Advertisement {
            link,
            source,
            advertisement,
        };
        self.input(now, input);
    }

    /// What leaves from a home address to somebody on the link needs a way there first. Whether it has to
    /// wait for the kernel.
    pub fn asks(&mut self, now: Instant, datagram: &Datagram, wishes: &mut Wishes) -> bool {
        let from = *datagram.local.ip();
        let dual = &self.settings.dual;
        let systems = || dual.outer_systems().chain([&dual.inner]);
        let is_from_home = systems().any(|system| system.home == from);
        let asked_for = home_of(&datagram.payload).filter(|home| !home.is_unspecified());
        let system = systems().find(|system| Some(system.home) == asked_for);
        let waits = is_from_home || datagram.via == Via::Routed;
        let Some((home, home_agent)) = system.map(|system| (system.home, system.home_agent)) else {
            return waits;
        };
        let address = *datagram.remote.ip();
        let agent = match datagram.via {
            Via::Link(link) if from == home && address != home_agent => Some(layout::Agent {
                home,
                link,
                address,
                mac: self.macs.get(&(link, address)).copied(),
            }),
            Via::Link(_) | Via::Routed => None,
        };
        let receives = from != home
            && self.receivers.asked(
                now,
                Receiver {
                    home,
                    home_agent,
                    local: from,
                    link: match datagram.via {
                        Via::Link(link) => Some(link),
                        Via::Routed => None,
                    },
                },
                &self.arrangement,
            );
        let before = self
            .agents
            .iter()
            .find(|before| before.home == home)
            .copied();
        if before != agent {
            self.agents.retain(|before| before.home != home);
            self.agents.extend(agent);
        }
        if before != agent || receives {
            self.lay_out(wishes);
        }
        waits || receives
    }

    pub fn handle_timeout(&mut self, now: Instant, wishes: &mut Wishes) {
        let is_over = [self.receivers.expire(now), self.turns.expire(now)];
        if is_over.contains(&true) {
            self.lay_out(wishes);
        }
        let settles = self.told_at.and_then(|told| self.settles_at(told));
        if settles.is_some_and(|at| at <= now) {
            self.tell_links(now);
        }
        match &mut self.station {
            Standing::Running(station) if station.poll_timeout().is_some_and(|at| at <= now) => {
                station.handle_timeout(now);
            }
            Standing::AskingForHome(asking) => {
                asking.newcomer.handle_timeout(now);
                self.is_home_given(now);
            }
            Standing::Running(_) | Standing::AwaitingClock(_) => {}
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let registers = match &self.station {
            Standing::Running(station) => station.poll_timeout(),
            Standing::AskingForHome(asking) => asking.newcomer.poll_timeout(),
            Standing::AwaitingClock(_) => return None,
        };
        let settles = self.told_at.and_then(|told| self.settles_at(told));
        let receives = self.receivers.poll_timeout();
        let turns = self.turns.poll_timeout();
        [registers, settles, receives, turns]
            .into_iter()
            .flatten()
            .min()
    }

    /// When the next address counts without a gateway, of those that did not at `told`.
    fn settles_at(&self, told: Instant) -> Option<Instant> {
        let waiting = self.settling.values().filter(|until| **until > told);
        waiting.min().copied()
    }

    pub fn poll_effect(&mut self) -> Option<Effect> {
        match &mut self.station {
            Standing::Running(station) => station.poll_effect(),
            Standing::AskingForHome(_) | Standing::AwaitingClock(_) => None,
        }
    }

    /// Of the home address that is given to us.
    pub fn poll_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    pub fn poll_carrying(&mut self) -> Option<Carrying> {
        self.carrying.pop_front()
    }

    pub fn poll_registration(&mut self) -> Option<Datagram> {
        self.outgoing.pop_front()
    }

    pub fn arrange(&mut self, now: Instant, arrangement: Arrangement, wishes: &mut Wishes) {
        self.receivers.moved(now, &self.arrangement, &arrangement);
        self.turns.moved(now, &self.arrangement, &arrangement);
        self.arrangement = arrangement;
        self.lay_out(wishes);
    }

    fn dual(&mut self, now: Instant, input: dual_client::Input) {
        self.input(now, Input::Dual(input));
    }

    fn input(&mut self, now: Instant, input: Input) {
        if let Standing::Running(station) = &mut self.station {
            station.handle(now, input);
        }
    }

    fn tell_links(&mut self, now: Instant) {
        self.told_at = Some(now);
        let is_settling = |index| self.settling.get(&index).is_some_and(|until| now < *until);
        let links = self.adapters.iter().map(|adapter| {
            let mut link = link(adapter);
            let reception = self.receptions.get(&adapter.index);
            link.weak = reception.is_some_and(|reception| reception.is_weak());
            if is_settling(adapter.index) {
                link.addresses.clear();
            }
            link
        });
        let links: Vec<Link> = links.collect();
        if let Standing::AskingForHome(asking) = &mut self.station {
            asking.newcomer.links_are(now, &links);
            return self.is_home_given(now);
        }
        self.dual(now, dual_client::Input::Links(links));
    }

    /// Tells the wishes what is different from before.
    fn lay_out(&mut self, wishes: &mut Wishes) {
        let receivers = self.receivers.all();
        let around = Around {
            adapters: &self.adapters,
            vpn: self.vpn,
            agents: &self.agents,
            receivers: &receivers,
            turns: &self.turns,
            is_alone: self.is_alone,
        };
        let kept_in = layout::kept_in(&self.settings, &self.arrangement, around);
        let (wanted, carried) = layout::lay_out(&self.settings, &self.arrangement, around);
        for selector in &kept_in {
            wishes.want_policy(Owner::Vpn, held_back(*selector));
        }
        for selector in &self.kept_in {
            if !kept_in.contains(selector) {
                wishes.withdraw_policy(Owner::Vpn, held_back(*selector).key);
            }
        }
        self.kept_in = kept_in;
        let before = std::mem::replace(&mut self.wanted, wanted);
        for (key, object) in &self.wanted {
            if !before.get(key).is_some_and(|there| is_same(there, object)) {
                wishes.want(object.clone());
            }
        }
        for key in before.keys().filter(|key| !self.wanted.contains_key(key)) {
            wishes.withdraw(key);
        }
        let before = std::mem::replace(&mut self.carried, carried);
        for home in before
            .keys()
            .filter(|home| !self.carried.contains_key(home))
        {
            self.carrying.push_back(Carrying::CarryNoMore(*home));
        }
        for (home, (adapter, binding)) in &self.carried {
            if before.get(home) != Some(&(*adapter, binding.clone())) {
                let carry = Carrying::Carry(*adapter, binding.clone());
                self.carrying.push_back(carry);
            }
        }
    }
}

fn blocked(settings: &MobilitySettings) -> Arrangement {
    Arrangement {
        place: Place::Blocked,
        inner: Carriage {
            home: settings.dual.inner.home,
            path: Path::Blocked,
        },
        outer: None,
    }
}

/// Of a registration request (RFC 5944 §3.3).
fn home_of(payload: &[u8]) -> Option<Ipv4Addr> {
    let [1, _, _, _, a, b, c, d, ..] = *payload else {
        return None;
    };
    Some(Ipv4Addr::new(a, b, c, d))
}

/// `None` where nothing of IPv4 is protected.
fn vpn_end(connection: &Connection) -> Option<VpnEnd> {
    if let Some(address) = connection.v4() {
        let theirs = connection.interface.map(VpnAdapter::Theirs);
        let adapter = theirs.unwrap_or(VpnAdapter::Ours);
        return Some(VpnEnd { address, adapter });
    }
    match connection.local {
        Some(IpAddr::V4(address)) if connection.addresses.is_empty() => Some(VpnEnd {
            address,
            adapter: VpnAdapter::None,
        }),
        _ => None,
    }
}

fn held_back(selector: Selector) -> Policy {
    let (mark, block) = (Mark::default(), Action::Block);
    verdict(Direction::Out, selector, mark, Band::Bypass, block)
}

/// Of the kinds that a layout has, where the keys are the same.
fn is_same(a: &Object, b: &Object) -> bool {
    match (a, b) {
        (Object::Route(a), Object::Route(b)) => a == b,
        (Object::Link(a), Object::Link(b)) => a == b,
        (Object::Neighbour(a), Object::Neighbour(b)) => a == b,
        (Object::Sysctl(_, a), Object::Sysctl(_, b)) => a == b,
        // Their key is all of them.
        _ => true,
    }
}

fn link(adapter: &Adapter) -> Link {
    let gateway = adapter.gateway;
    let over_ipv6 = adapter.ipv6.map(|ipv6| ipv6.metric);
    let metric = gateway.map(|gateway| gateway.metric).or(over_ipv6);
    Link {
        id: LinkId(adapter.index),
        name: adapter.name.to_string(),
        carrier: adapter.carrier,
        addresses: adapter.addresses.clone(),
        gateway: gateway.map(|gateway| gateway.address),
        gateway_mac: gateway.and_then(|gateway| gateway.mac),
        access_point: adapter.access_point,
        // That is judged by what was before.
        weak: false,
        ipv6: adapter.ipv6.map(|ipv6| ipv6.address),
        metric: metric.unwrap_or(NO_METRIC),
    }
}
