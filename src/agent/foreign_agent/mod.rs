//! Our own foreign agent: `mobile_ip::foreign_agent` between one link, port 434 and the kernel.
//!
//! ```text
//!  link: solicitations, requests ─→ room ─┬─ Advertise, Reply ─→ OnLink
//!  port 434: replies ─────────────→       ├─ Relay ────────────→ SendRegistration
//!                                         └─ Visit, Leave ─────→ wishes ─→ kernel
//! ```
//! A mobile node hears that it is registered when the kernel has its ways.

mod kernel;
pub mod settings;
mod view;

#[cfg(test)]
mod tests;

use super::Agent;
use super::effect::Effect;
use super::event::{Doubt, Undelivered};
use super::on_link::{Frame, Payload, Receiver};
use super::wishes::Wishes;
use crate::kernel::desired::{Key, Object};
use crate::mobile_ip::foreign_agent::{
    Effect as RoomEffect, ForeignAgent, Input, Revoker, Unreachable, Visit, VisitorKey,
};
use crate::mobile_ip::wire::TunnelKind;
use crate::mobile_ip::{Datagram, Via};
use crate::net::Random;
use crate::presence::Timestamp;
use crate::tun::tunnels::Binding;
use settings::{ForeignAgentSettings, LINK};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct OwnForeignAgent {
    room: ForeignAgent,
    settings: ForeignAgentSettings,
    own: Vec<Ipv4Addr>,
    /// What the kernel should hold of each.
    visits: BTreeMap<VisitorKey, Visit>,
    /// The table of each home agent that somebody's packets go to, by how they are wrapped.
    tables: BTreeMap<(Ipv4Addr, TunnelKind), u32>,
    /// Who has asked for an advertisement last, and its MAC.
    asked_by: Option<(Ipv4Addr, [u8; 6])>,
    knows_time: bool,
}

impl OwnForeignAgent {
    pub(super) fn new(
        now: Instant,
        settings: &ForeignAgentSettings,
        random: Box<dyn Random>,
    ) -> Self {
        Self {
            room: ForeignAgent::new(now, settings.protocol.clone(), random),
            settings: settings.clone(),
            own: Vec::new(),
            visits: BTreeMap::new(),
            tables: BTreeMap::new(),
            asked_by: None,
            knows_time: false,
        }
    }

    pub(super) fn want_foundation(&self, wishes: &mut Wishes) {
        for object in kernel::foundation(&self.settings) {
            wishes.want(object);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.room.poll_timeout()
    }

    pub(super) fn poll_effect(&mut self) -> Option<RoomEffect> {
        self.room.poll_effect()
    }

    /// Of those of one home agent whose packets are wrapped alike.
    fn table(&mut self, visit: &Visit) -> u32 {
        let tunnel = (visit.home_agent, visit.tunnel);
        if let Some(table) = self.tables.get(&tunnel) {
            return *table;
        }
        let taken: BTreeSet<u32> = self.tables.values().copied().collect();
        let mut all = self.settings.tables.of_home_agents();
        let free = all.find(|table| !taken.contains(table));
        // There are no more of them than visitors.
        let table = free.unwrap_or(u32::MAX - 1);
        self.tables.insert(tunnel, table);
        table
    }

    fn objects(&mut self) -> BTreeMap<Key, Object> {
        let visits: Vec<Visit> = self.visits.values().cloned().collect();
        let mut objects = BTreeMap::new();
        for visit in visits {
            objects.extend(self.objects_of(&visit));
        }
        objects
    }

    fn objects_of(&mut self, visit: &Visit) -> BTreeMap<Key, Object> {
        let table = self.table(visit);
        let objects = kernel::of_visit(&self.settings, visit, table);
        objects.into_iter().map(|o| (o.key(), o)).collect()
    }

    /// What user space should do then, if anything.
    fn visit(&mut self, visit: Visit, wishes: &mut Wishes) -> Option<Effect> {
        let key = VisitorKey {
            home: visit.home,
            home_agent: visit.home_agent,
        };
        let before = self.leave(key, wishes);
        for object in self.objects_of(&visit).into_values() {
            wishes.want(object);
        }
        let carry = kernel::carried(&visit).map(|binding| Effect::Carry {
            adapter: kernel::MINIMAL_TUNNELS,
            binding,
        });
        self.visits.insert(key, visit);
        carry.or(before)
    }

    /// Others may need the same: visitors of one home agent have a table.
    fn leave(&mut self, key: VisitorKey, wishes: &mut Wishes) -> Option<Effect> {
        let visit = self.visits.remove(&key)?;
        let gone = self.objects_of(&visit);
        let stays = self.objects();
        for key in gone.keys().filter(|key| !stays.contains_key(key)) {
            wishes.withdraw(key);
        }
        let visits = self.visits.values();
        let used: BTreeSet<_> = visits
            .map(|visit| (visit.home_agent, visit.tunnel))
            .collect();
        self.tables.retain(|tunnel, _| used.contains(tunnel));
        let Binding { side, home, .. } = kernel::carried(&visit)?;
        let mut others = self.visits.values().filter(|other| other.home == home);
        let is_last = others.all(|other| kernel::carried(other).is_none());
        is_last.then_some(Effect::CarryNoMore { side, home })
    }

    /// Whether a request that was heard on the link is for us: to one of our addresses, or to all.
    fn is_for_us(&self, address: Ipv4Addr) -> bool {
        let protocol = &self.settings.protocol;
        address == protocol.address
            || address == protocol.care_of
            || address.is_broadcast()
            || address.is_multicast()
            || self.own.contains(&address)
    }

    fn frame(
        &self,
        to: Receiver,
        (source, destination): (Ipv4Addr, Ipv4Addr),
        payload: Payload,
    ) -> Frame {
        Frame {
            link: self.settings.link,
            to,
            source,
            destination,
            // RFC 5944 §2.3, §3.7.2.3: it goes no further.
            ttl: 1,
            payload,
        }
    }

    fn advertisement(&self, destination: Ipv4Addr, icmp: Vec<u8>) -> Option<Frame> {
        let to = if destination.is_multicast() || destination.is_broadcast() {
            Receiver::Everybody
        } else {
            let (_, mac) = self.asked_by.filter(|(asked, _)| *asked == destination)?;
            Receiver::Mac(mac)
        };
        let addresses = (self.settings.protocol.address, destination);
        Some(self.frame(to, addresses, Payload::Icmp(icmp)))
    }

    fn reply(&self, datagram: Datagram, mac: Option<[u8; 6]>) -> Frame {
        let to = mac.map_or(Receiver::Everybody, Receiver::Mac);
        let addresses = (*datagram.local.ip(), *datagram.remote.ip());
        let payload = Payload::Udp {
            source: datagram.local.port(),
            destination: datagram.remote.port(),
            payload: datagram.payload,
        };
        self.frame(to, addresses, payload)
    }
}

impl Agent {
    pub(super) fn start_foreign_agent(
        &mut self,
        now: Instant,
        random: impl FnOnce() -> Box<dyn Random>,
    ) {
        if let Some(settings) = &self.settings.foreign_agent {
            let own = OwnForeignAgent::new(now, settings, random());
            own.want_foundation(&mut self.wishes);
            self.foreign = Some(own);
        }
    }

    pub(super) fn foreign_agent_addresses(&mut self, own: &[IpAddr]) {
        if let Some(foreign) = &mut self.foreign {
            let v4 = own.iter().filter_map(|address| match address {
                IpAddr::V4(address) => Some(*address),
                IpAddr::V6(_) => None,
            });
            foreign.own = v4.collect();
            foreign.room.own_addresses(foreign.own.clone());
        }
    }

    /// Whether anybody is registered through us from there.
    pub(super) fn revoke_visitor(&mut self, now: Instant, home: Ipv4Addr) -> bool {
        let Some(foreign) = &mut self.foreign else {
            return false;
        };
        let visits = foreign.visits.keys().any(|key| key.home == home);
        if visits {
            foreign.room.handle(now, Input::Revoke(home));
        }
        visits
    }

    /// From a home agent.
    pub(super) fn foreign_agent_answered(&mut self, now: Instant, datagram: Datagram) {
        let (ttl, mac) = (0, None);
        if let Some(foreign) = &mut self.foreign {
            foreign
                .room
                .handle(now, Input::Datagram { datagram, ttl, mac });
        }
    }

    /// Between two steps, instants tell the time better than whole seconds of the wall clock.
    pub(super) fn foreign_agent_clock(
        &mut self,
        now: Instant,
        unix: Timestamp,
        doubt: Option<Doubt>,
    ) {
        if let Some(foreign) = &mut self.foreign
            && (!foreign.knows_time || matches!(doubt, Some(Doubt::ClockStepped | Doubt::Resumed)))
        {
            foreign.knows_time = true;
            let unix = Duration::from_secs(unix.0);
            foreign.room.handle(now, Input::Time(unix));
        }
    }

    /// Of a request that was passed on, maybe.
    pub(super) fn foreign_agent_undelivered(&mut self, now: Instant, error: Undelivered) {
        if let Some(foreign) = &mut self.foreign
            && error.local == foreign.settings.protocol.care_of
            && let Some(what) = Unreachable::of_icmp(error.kind, error.code)
        {
            let home_agent = error.remote;
            foreign
                .room
                .handle(now, Input::Unreachable { home_agent, what });
        }
    }

    pub(super) fn foreign_agent_asked(
        &mut self,
        now: Instant,
        (local, remote): (SocketAddrV4, SocketAddrV4),
        (ttl, mac): (u8, [u8; 6]),
        payload: Vec<u8>,
    ) {
        if let Some(foreign) = &mut self.foreign
            && foreign.is_for_us(*local.ip())
        {
            let datagram = Datagram {
                via: Via::Link(LINK),
                local,
                remote,
                payload,
            };
            let mac = Some(mac);
            foreign
                .room
                .handle(now, Input::Datagram { datagram, ttl, mac });
        }
    }

    pub(super) fn foreign_agent_solicited(&mut self, now: Instant, from: Ipv4Addr, mac: [u8; 6]) {
        if let Some(foreign) = &mut self.foreign {
            foreign.asked_by = Some((from, mac));
            foreign.room.handle(now, Input::Solicitation { from });
        }
    }

    pub(super) fn foreign_agent_timeout(&mut self, now: Instant) {
        if let Some(foreign) = &mut self.foreign {
            foreign.room.handle_timeout(now);
        }
    }

    pub(super) fn foreign_agent_effect(&mut self, now: Instant, effect: RoomEffect) {
        let Some(foreign) = &mut self.foreign else {
            return;
        };
        match effect {
            RoomEffect::Relay(datagram) => {
                self.effects.push_back(Effect::SendRegistration(datagram));
            }
            RoomEffect::Advertise { destination, icmp } => {
                let frame = foreign.advertisement(destination, icmp);
                self.effects.extend(frame.map(Effect::OnLink));
            }
            RoomEffect::Inform {
                destination,
                mac,
                icmp,
            } => {
                let to = mac.map_or(Receiver::Everybody, Receiver::Mac);
                let addresses = (foreign.settings.protocol.address, destination);
                let frame = foreign.frame(to, addresses, Payload::Icmp(icmp));
                self.effects.push_back(Effect::OnLink(frame));
            }
            RoomEffect::Reply { datagram, mac } => {
                let effect = Effect::OnLink(foreign.reply(datagram, mac));
                self.wait_for_ways();
                match self.barrier {
                    Some(revision) => self.awaiting.push_back((revision, effect)),
                    None => self.effects.push_back(effect),
                }
            }
            RoomEffect::Visit(visit) => {
                let detail = format!("{} of {}", visit.home, visit.home_agent);
                let carry = foreign.visit(visit, &mut self.wishes);
                self.effects.extend(carry);
                self.publish(now, "visitor-registered", detail);
            }
            RoomEffect::Leave(key) => {
                let carry = foreign.leave(key, &mut self.wishes);
                self.effects.extend(carry);
                let detail = format!("{} of {}", key.home, key.home_agent);
                self.publish(now, "visitor-left", detail);
            }
            RoomEffect::Revoked(key, by) => {
                let detail = match by {
                    Revoker::HomeAgent => format!("{} by {}", key.home, key.home_agent),
                    Revoker::Us => format!("{} of {} by us", key.home, key.home_agent),
                };
                self.tell(now, "visitor-revoked", detail);
            }
            RoomEffect::RevocationAcknowledged(key) => {
                let detail = format!("{} by {}", key.home, key.home_agent);
                self.tell(now, "revocation-acknowledged", detail);
            }
            RoomEffect::RevocationUnanswered(key) => {
                let detail = format!("{} by {}", key.home, key.home_agent);
                self.tell(now, "revocation-unanswered", detail);
            }
            RoomEffect::Suspicious(what) => {
                self.count("registrations-suspicious");
                self.publish(now, "visitor-suspicious", what.to_string());
            }
        }
    }
}
