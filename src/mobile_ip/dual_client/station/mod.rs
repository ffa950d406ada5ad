//! The dual client with its registrations: what the agent runs. Carries orders out with one mobile node of
//! [`client`] a slot, and hands their outcomes back.
//!
//! ```text
//!  links, VPN ──→ DualClient ── Order ──→ Client ──→ datagrams
//!                     ↑                     │ ↑
//!                     └──── Outcome ────────┘ └────── datagrams
//! ```

mod agents;
mod derived;
mod orders;
mod outcomes;
mod translation;

pub use derived::Derived;

#[cfg(test)]
mod tests;

use super::effect::{self, Effect as Wish, VpnCommand};
use super::registration::{Attachment, Generation, NatTraversal, Point, Slot};
use super::settings::{Settings, SettingsError};
use super::{DualClient, Tell, View};
use crate::mobile_ip::client::{self, Client};
use crate::mobile_ip::domain::Context;
use crate::mobile_ip::replay::Clock;
use crate::mobile_ip::security::SecurityAssociation;
use crate::mobile_ip::wire::TunnelKind;
use crate::mobile_ip::wire::advertisement::Advertisement;
use crate::mobile_ip::{Arrangement, Datagram, LinkId, Via};
use crate::net::{IpNet, Random};
use agents::Agents;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

/// One of the two may be lost.
const SMOKE_OUT_AGAIN: Duration = Duration::from_secs(1);

/// When nobody has refused the second stale request by then either, nobody is there.
const SMOKE_OUT_PATIENCE: Duration = Duration::from_secs(2);

/// A stale request underway.
#[derive(Clone, Copy, Debug)]
enum SmokeOut {
    /// Until it is sent again.
    First(Instant),
    /// Until nobody has answered.
    Second(Instant),
}

impl SmokeOut {
    fn until(self) -> Instant {
        let (Self::First(until) | Self::Second(until)) = self;
        until
    }
}

/// What is agreed with the home agent of one system.
#[derive(Clone, Debug)]
pub struct Agreement {
    pub association: SecurityAssociation,
    pub nai: Option<Vec<u8>>,
    /// With foreign agents, by the address that they advertise from.
    pub foreign_agents: Vec<(Ipv4Addr, SecurityAssociation)>,
    /// Source port of requests, and of UDP tunnels.
    pub port: u16,
    pub encapsulation: TunnelKind,
    pub delivery: client::Delivery,
    /// Ask to be told of revocations (RFC 3543).
    pub revocation: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Dual(effect::Input),
    /// On the registration port of any of our addresses.
    Datagram(Datagram),
    /// As it came, from `source`; nobody has authenticated it.
    Advertisement {
        link: LinkId,
        source: Ipv4Addr,
        advertisement: Advertisement,
    },
    /// Ask the inner home agent with a stale request, over this adapter, without moving the binding.
    SmokeOut(LinkId),
    /// The time of day was set: since 1970.
    Time(Duration),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// To be carried out in order with the others.
    Arrangement(Arrangement),
    Send(Datagram),
    Vpn(VpnCommand),
    /// Ask for an advertisement on this adapter.
    Solicit(LinkId),
    /// Gratuitous ARP: who has sent packets for this home address to its home agent sends them here (RFC 5944 §4.6).
    Announce {
        link: LinkId,
        address: Ipv4Addr,
    },
    /// Every network that is known, for [`effect::Input::Recall`] after a restart.
    Remember(Vec<Context>),
    Tell(Tell),
    Suspicious(Slot, client::Suspicion),
    /// The home agent says, under its signature, that this home address may not be had. One that it has given once may be
    /// somebody else's by now.
    HomeDenied(Ipv4Addr),
}

#[derive(Debug)]
struct Registrar {
    client: Client,
    series: u8,
    generation: Generation,
    attachment: Attachment,
    /// The home network has heard that its home address is here now.
    is_announced: bool,
}

#[derive(Debug)]
pub struct Station {
    dual: DualClient,
    settings: Settings,
    inner: Agreement,
    /// One a site that has an outer system, by its place in the settings.
    outer: BTreeMap<usize, Agreement>,
    registrars: BTreeMap<Slot, Registrar>,
    /// Of the last request in the clear over another adapter than before.
    series: u8,
    agents: Agents,
    smoke_outs: BTreeMap<LinkId, SmokeOut>,
    /// What of it the inner home agent does not carry, as it was told last.
    left_out: Vec<IpNet>,
    /// To be announced when their ways are open.
    come_home: Vec<(LinkId, Ipv4Addr)>,
    /// By whose card the home network knows S, since it was there last.
    known_by: Option<LinkId>,
    clock: Clock,
    random: Box<dyn Random>,
    effects: VecDeque<Effect>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StationError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("site `{0}` has an outer system and nothing is agreed with its home agent")]
    NoAgreement(String),
}

impl Station {
    pub fn new(
        now: Instant,
        settings: Settings,
        inner: Agreement,
        outer: BTreeMap<usize, Agreement>,
        clock: Clock,
        random: Box<dyn Random>,
    ) -> Result<Self, StationError> {
        for (at, site) in settings.sites.iter().enumerate() {
            if site.outer.is_some() && !outer.contains_key(&at) {
                return Err(StationError::NoAgreement(site.name.clone()));
            }
        }
        let dual = DualClient::new(settings.clone())?;
        let agreements = outer.values().chain([&inner]);
        let known = agreements.flat_map(|agreed| agreed.foreign_agents.iter().map(|(at, _)| *at));
        let agents = Agents::new(&settings, known);
        let mut station = Self {
            dual,
            settings,
            inner,
            outer,
            registrars: BTreeMap::new(),
            series: 0,
            agents,
            smoke_outs: BTreeMap::new(),
            left_out: Vec::new(),
            come_home: Vec::new(),
            known_by: None,
            clock,
            random,
            effects: VecDeque::new(),
        };
        station.carry_out(now);
        Ok(station)
    }

    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Dual(input) => {
                if let effect::Input::Links(links) = &input {
                    self.agents.links_are(now, links, &mut *self.random);
                }
                self.dual.handle(now, input);
                // Where a link is somewhere else now, nobody can refuse what was asked before.
                let dual = &self.dual;
                self.smoke_outs.retain(|link, _| dual.smokes_out(*link));
            }
            Input::Datagram(datagram) => self.received(now, &datagram),
            Input::Advertisement {
                link,
                source,
                advertisement,
            } => self.advertised(now, link, source, &advertisement),
            Input::SmokeOut(link) => self.smoke_out(now, link),
            Input::Time(unix) => {
                self.clock.set(now, unix);
                for registrar in self.registrars.values_mut() {
                    registrar.client.handle(now, client::Input::Time(unix));
                }
            }
        }
        self.carry_out(now);
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.agents.handle_timeout(now);
        self.smoke_out_again(now);
        for registrar in self.registrars.values_mut() {
            if registrar.client.poll_timeout().is_some_and(|at| at <= now) {
                registrar.client.handle_timeout(now);
            }
        }
        if self.dual.poll_timeout().is_some_and(|at| at <= now) {
            self.dual.handle_timeout(now);
        }
        self.carry_out(now);
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let clients = self.registrars.values();
        let clients = clients.filter_map(|registrar| registrar.client.poll_timeout());
        let smoke_outs = self.smoke_outs.values().map(|asked| asked.until());
        clients
            .chain(smoke_outs)
            .chain(self.dual.poll_timeout())
            .chain(self.agents.poll_timeout())
            .min()
    }

    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub fn networks(&self) -> &[Context] {
        self.dual.networks()
    }

    /// What another one needs in its place.
    pub fn into_parts(self) -> (Clock, Box<dyn Random>, Vec<Context>) {
        (self.clock, self.random, self.dual.networks().to_vec())
    }

    pub fn view(&self, now: Instant) -> View {
        self.dual.view(now)
    }

    pub fn registration(&self, slot: Slot) -> Option<client::View> {
        Some(self.registrars.get(&slot)?.client.view())
    }

    // --- what comes in -----------------------------------------------------------------------------

    /// Several slots may share an adapter and an agent: each believes only what answers itself.
    fn received(&mut self, now: Instant, datagram: &Datagram) {
        for (slot, registrar) in &mut self.registrars {
            let Attachment {
                via,
                point,
                home_agent,
                ..
            } = registrar.attachment;
            let is_near = via == datagram.via
                || matches!(slot, Slot::Clear(link) if Via::Link(*link) == datagram.via);
            let from = *datagram.remote.ip();
            let is_agent = matches!(point, Point::ForeignAgent { agent, .. } if agent == from);
            if is_near && (from == home_agent || is_agent) {
                registrar
                    .client
                    .handle(now, client::Input::Datagram(datagram.clone()));
            }
        }
    }

    fn advertised(
        &mut self,
        now: Instant,
        link: LinkId,
        source: Ipv4Addr,
        advertisement: &Advertisement,
    ) {
        let heard = self.agents.hear(now, link, source, advertisement);
        self.dual.handle(now, effect::Input::Advertisement(heard));
        while let Some((link, agent)) = self.agents.poll_restarted() {
            // RFC 5944 §2.4.4: it has forgotten us.
            for registrar in self.registrars.values_mut() {
                if registrar.attachment.via == Via::Link(link)
                    && matches!(registrar.attachment.point, Point::ForeignAgent { agent: ours, .. } if ours == agent)
                {
                    registrar.client.handle(now, client::Input::Renew);
                }
            }
        }
    }

    fn smoke_out(&mut self, now: Instant, link: LinkId) {
        // Whatever comes of it, there is an answer.
        let asked = SmokeOut::First(now + SMOKE_OUT_AGAIN);
        self.smoke_outs.insert(link, asked);
        self.ask_stale(now, link);
    }

    fn smoke_out_again(&mut self, now: Instant) {
        let asked: Vec<_> = self.smoke_outs.iter().map(|(l, a)| (*l, *a)).collect();
        for (link, asked) in asked.into_iter().filter(|(_, asked)| asked.until() <= now) {
            match asked {
                SmokeOut::First(_) => {
                    let asked = SmokeOut::Second(now + SMOKE_OUT_PATIENCE);
                    self.smoke_outs.insert(link, asked);
                    self.ask_stale(now, link);
                }
                SmokeOut::Second(_) => {
                    self.smoke_outs.remove(&link);
                    let answered = false;
                    let input = effect::Input::SmokeOut { link, answered };
                    self.dual.handle(now, input);
                }
            }
        }
    }

    fn ask_stale(&mut self, now: Instant, link: LinkId) {
        let view = self.dual.view(now);
        let mut links = view.links.iter();
        let Some(IpAddr::V4(local)) = links
            .find(|seen| seen.link == link)
            .and_then(|seen| seen.address)
        else {
            return;
        };
        let via = Via::Link(link);
        let attachment = Attachment {
            via,
            point: Point::CoLocated(local),
            home: self.settings.inner.home,
            home_agent: self.settings.inner.home_agent,
            lifetime: self.settings.inner.lifetime,
            reverse: false,
            nat_traversal: NatTraversal::Detected,
            gateway: None,
        };
        let slot = Slot::Clear(link);
        if !self.registrars.contains_key(&slot) {
            self.equip(now, slot, Generation::default(), attachment);
        }
        if let Some(registrar) = self.registrars.get_mut(&slot) {
            registrar
                .client
                .handle(now, client::Input::Probe { via, local });
        }
    }

    // --- what goes out -----------------------------------------------------------------------------

    /// Until nobody has anything to say any more.
    fn carry_out(&mut self, now: Instant) {
        loop {
            let mut is_quiet = true;
            while let Some(wish) = self.dual.poll_effect() {
                is_quiet = false;
                match wish {
                    Wish::Arrangement(arrangement) => {
                        self.effects.push_back(Effect::Arrangement(arrangement));
                    }
                    Wish::Registration(order) => {
                        self.order(now, order);
                        self.drain_clients(now);
                    }
                    Wish::Vpn(command) => self.effects.push_back(Effect::Vpn(command)),
                    Wish::SmokeOut(link) => self.smoke_out(now, link),
                    Wish::Remember(contexts) => self.effects.push_back(Effect::Remember(contexts)),
                    Wish::Tell(tell) => self.effects.push_back(Effect::Tell(tell)),
                }
            }
            is_quiet &= !self.drain_clients(now);
            if is_quiet {
                let come_home = self.come_home.drain(..);
                self.effects
                    .extend(come_home.map(|(link, address)| Effect::Announce { link, address }));
            }
            while let Some(link) = self.agents.poll_solicit() {
                self.effects.push_back(Effect::Solicit(link));
            }
            if is_quiet {
                return;
            }
        }
    }
}
