//! Our own home agent: `mobile_ip::home_agent` between port 434, the store and the kernel.
//!
//! ```text
//!  Registration ─→ room ─┬─ Keep ───→ KeepBinding(n) ─→ store ─→ BindingsKept(n) ─┐
//!                        ├─ Bind ─┬─→ wishes ─────────→ kernel ─→ Applied(r) ─────┤
//!                        │        └─→ Carry, where the kernel does not           │
//!                        └─ Send ───→ outbox ── waits for n and for r ────────────┴→ SendRegistration
//! ```
//! So a reply that was heard is true, and stays true through a restart. Where the disk takes nothing,
//! nobody is answered.

mod kernel;
pub mod settings;
mod view;

#[cfg(test)]
mod tests;

use super::Agent;
use super::effect::{Effect, Reply};
use super::event::Doubt;
use super::wishes::Wishes;
use crate::kernel::desired::{DecapsulationEntry, Key, LinkName, Object, Revision};
use crate::mobile_ip::Datagram;
use crate::mobile_ip::home_agent::HomeAgent;
use crate::mobile_ip::home_agent::effects::{Effect as RoomEffect, Input, Kept, Told, Tunnel};
use crate::mobile_ip::replay::Clock;
use crate::net::Random;
use crate::presence::Timestamp;
use crate::tun::tunnels::Side;
use kernel::Carried;
use settings::HomeAgentSettings;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Answers that wait for the disk; beyond them the oldest is lost, and asked for again.
const MOST_WAITING: usize = 65_536;

/// For so long, what a mobile node sent from its care-of address before is let through: it goes on sending from
/// there until it has read the answer, and some of that is on its way for longer.
const ON_ITS_WAY: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct OwnHomeAgent {
    room: HomeAgent,
    link: Option<LinkName>,
    /// What the kernel should hold of each.
    bound: BTreeMap<Ipv4Addr, Carried>,
    /// Where they were before: what comes from there is let through until then.
    former: BTreeMap<Ipv4Addr, (Instant, Carried)>,
    /// Whose is over when, in this order; some have another one by then, or none.
    former_ends: VecDeque<(Instant, Ipv4Addr)>,
    intercepted: BTreeSet<Ipv4Addr>,
    /// The number of the last change that the store was given, and of the last that it has.
    given: u64,
    kept: u64,
    /// Of our last wish.
    wanted: Revision,
    outbox: VecDeque<Outgoing>,
}

#[derive(Debug)]
struct Outgoing {
    kept: u64,
    applied: Revision,
    datagram: Datagram,
}

impl OwnHomeAgent {
    fn new(
        now: Instant,
        unix: Duration,
        settings: &HomeAgentSettings,
        kept: Vec<Kept>,
        random: Box<dyn Random>,
    ) -> Self {
        let clock = Clock::new(now, unix);
        let protocol = settings.protocol.clone();
        Self {
            room: HomeAgent::new(now, clock, protocol, kept, random),
            link: settings.link,
            bound: BTreeMap::new(),
            former: BTreeMap::new(),
            former_ends: VecDeque::new(),
            intercepted: BTreeSet::new(),
            given: 0,
            kept: 0,
            wanted: Revision::default(),
            outbox: VecDeque::new(),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let former = self.former_ends.front().map(|(until, _)| *until);
        self.room.poll_timeout().into_iter().chain(former).min()
    }

    /// Gives what user space has to do.
    fn handle_timeout(&mut self, now: Instant, wishes: &mut Wishes) -> Vec<Effect> {
        let mut carry = Vec::new();
        while let Some((until, home)) = self.former_ends.front().copied()
            && until <= now
        {
            self.former_ends.pop_front();
            if self.former.get(&home).is_some_and(|(at, _)| *at == until) {
                self.forget_former(home, wishes);
                carry.extend(self.carry(home));
            }
        }
        self.room.handle_timeout(now);
        carry
    }

    pub(super) fn poll_effect(&mut self) -> Option<RoomEffect> {
        self.room.poll_effect()
    }

    /// Gives what user space has to do.
    fn bind(
        &mut self,
        now: Instant,
        home: Ipv4Addr,
        tunnels: &[Tunnel],
        wishes: &mut Wishes,
    ) -> Option<Effect> {
        let Some(carried) = Carried::of(tunnels) else {
            return self.unbind(home, wishes);
        };
        if self.bound.get(&home) == Some(&carried) {
            return None;
        }
        let new = kernel::of_binding(home, &carried);
        let mut keys: Vec<Key> = new.iter().map(Object::key).collect();
        let left = self.admission(home).into_iter();
        keys.extend(left.map(Key::DecapsulationEntry));
        self.keep_former(now, home, &carried.admission(home), wishes);
        let before = self.withdraw(home, &keys, wishes);
        for object in new {
            wishes.want(object);
        }
        self.bound.insert(home, carried);
        self.carry(home).or(before)
    }

    /// What user space has to do for who is there.
    fn carry(&self, home: Ipv4Addr) -> Option<Effect> {
        let mut binding = self.bound.get(&home)?.binding(home)?;
        if let Some((_, former)) = self.former.get(&home) {
            let former = former.binding(home).into_iter().flat_map(|it| it.tunnels);
            let gone = former.filter(|tunnel| !binding.tunnels.contains(tunnel));
            binding.receives.extend(gone.collect::<Vec<_>>());
        }
        let adapter = kernel::UDP_TUNNELS;
        Some(Effect::Carry { adapter, binding })
    }

    /// What is let through of a mobile node now.
    fn admission(&self, home: Ipv4Addr) -> Vec<DecapsulationEntry> {
        let bound = self.bound.get(&home);
        bound.map_or(Vec::new(), |carried| carried.admission(home))
    }

    /// Before a mobile node is somewhere else, and `next` is let through.
    fn keep_former(
        &mut self,
        now: Instant,
        home: Ipv4Addr,
        next: &[DecapsulationEntry],
        wishes: &mut Wishes,
    ) {
        let Some(left) = self.bound.get(&home).cloned() else {
            return;
        };
        let until = now + ON_ITS_WAY;
        let stays = left.admission(home);
        let older = self.former.insert(home, (until, left));
        self.former_ends.push_back((until, home));
        let older = older.map_or(Vec::new(), |(_, older)| older.admission(home));
        for entry in older {
            if !stays.contains(&entry) && !next.contains(&entry) {
                wishes.withdraw(&Key::DecapsulationEntry(entry));
            }
        }
    }

    /// From where it was before nothing is let through any more, unless it is there again.
    fn forget_former(&mut self, home: Ipv4Addr, wishes: &mut Wishes) {
        let Some((_, former)) = self.former.remove(&home) else {
            return;
        };
        let stays = self.admission(home);
        for entry in former.admission(home) {
            if !stays.contains(&entry) {
                wishes.withdraw(&Key::DecapsulationEntry(entry));
            }
        }
    }

    /// Nobody is registered there any more. Gives what user space has to do.
    fn unbind(&mut self, home: Ipv4Addr, wishes: &mut Wishes) -> Option<Effect> {
        let carry = self.withdraw(home, &[], wishes);
        self.forget_former(home, wishes);
        carry
    }

    /// What was wanted for a mobile node, but for `stays`. Gives what user space has to do.
    fn withdraw(&mut self, home: Ipv4Addr, stays: &[Key], wishes: &mut Wishes) -> Option<Effect> {
        let before = self.bound.remove(&home)?;
        for object in kernel::of_binding(home, &before) {
            let key = object.key();
            if !stays.contains(&key) {
                wishes.withdraw(&key);
            }
        }
        let side = Side::HomeAgent;
        before
            .binding(home)
            .map(|_| Effect::CarryNoMore { side, home })
    }

    /// Gives the link on which it is to be said.
    fn intercept(&mut self, home: Ipv4Addr, wishes: &mut Wishes) -> Option<LinkName> {
        let link = self.link?;
        self.intercepted.insert(home);
        wishes.want(Object::Proxy(kernel::standing_in(home, link)));
        Some(link)
    }

    fn release(&mut self, home: Ipv4Addr, wishes: &mut Wishes) {
        if let Some(link) = self.link
            && self.intercepted.remove(&home)
        {
            wishes.withdraw(&Key::Proxy(kernel::standing_in(home, link)));
        }
    }

    /// Gives what user space has to do.
    fn withdraw_all(&mut self, wishes: &mut Wishes) -> Vec<Effect> {
        for home in self.intercepted.clone() {
            self.release(home, wishes);
        }
        let bound: Vec<_> = self.bound.keys().copied().collect();
        let mut unbind = |home| self.unbind(home, wishes);
        bound.into_iter().filter_map(&mut unbind).collect()
    }

    /// What waits no longer, since the kernel has everything up to `applied`.
    fn ready(&mut self, applied: Revision) -> Option<Datagram> {
        let next = self.outbox.front()?;
        if next.kept > self.kept || next.applied > applied {
            return None;
        }
        self.outbox.pop_front().map(|next| next.datagram)
    }

    fn post(&mut self, datagram: Datagram) {
        if self.outbox.len() >= MOST_WAITING {
            self.outbox.pop_front();
        }
        self.outbox.push_back(Outgoing {
            kept: self.given,
            applied: self.wanted,
            datagram,
        });
    }
}

fn no_home_agent() -> Reply {
    Reply::Failed("the configuration has no [home-agent]".to_owned())
}

impl Agent {
    /// What a home agent needs before anybody is registered.
    pub(super) fn want_home_agent(&mut self) {
        for object in self.settings.home_agent.iter().flat_map(kernel::foundation) {
            self.wishes.want(object);
        }
    }

    /// What the store has kept is known: bindings are wanted, and requests are heard from now on.
    pub(super) fn start_home_agent(&mut self, now: Instant, unix: Duration, kept: Vec<Kept>) {
        if let Some(settings) = &self.settings.home_agent
            && let Some(random) = self.home_random.take()
        {
            self.home = Some(OwnHomeAgent::new(now, unix, settings, kept, random));
        }
    }

    /// Other settings, the same bindings. Those of who is no mobile node of ours any more go.
    pub(super) fn home_agent_reload(&mut self, now: Instant, before: Option<&HomeAgentSettings>) {
        let stays: Vec<Key> = {
            let new = self.settings.home_agent.iter();
            new.flat_map(kernel::foundation).map(|o| o.key()).collect()
        };
        for object in before.into_iter().flat_map(kernel::foundation) {
            let key = object.key();
            if !stays.contains(&key) {
                self.wishes.withdraw(&key);
            }
        }
        self.want_home_agent();
        if let (Some(settings), Some(own)) = (&self.settings.home_agent, &mut self.home) {
            self.effects.extend(own.withdraw_all(&mut self.wishes));
            own.link = settings.link;
            own.room.reconfigure(now, settings.protocol.clone());
        }
    }

    pub(super) fn registration(&mut self, now: Instant, datagram: Datagram) {
        match &mut self.home {
            // The configuration has one of the roles.
            _ if self.mobility.is_some() => self.registration_heard(now, datagram),
            Some(own) => own.room.handle(now, Input::Datagram(datagram)),
            None if self.foreign.is_some() => self.foreign_agent_answered(now, datagram),
            None if self.surrogates.is_some() => self.proxy_agent_heard(now, datagram),
            None => self.count("registrations-ignored"),
        }
    }

    /// Between two steps, instants tell the time better than whole seconds of the wall clock.
    pub(super) fn home_agent_clock(&mut self, now: Instant, unix: Timestamp, doubt: Option<Doubt>) {
        if let Some(own) = &mut self.home
            && let Some(Doubt::ClockStepped | Doubt::Resumed) = doubt
        {
            let unix = Duration::from_secs(unix.0);
            own.room.handle(now, Input::Clock { unix });
        }
    }

    pub(super) fn home_agent_timeout(&mut self, now: Instant) {
        if let Some(own) = &mut self.home {
            let carry = own.handle_timeout(now, &mut self.wishes);
            self.effects.extend(carry);
        }
    }

    /// Whether anybody is registered from there; whoever can be told is told so.
    pub(super) fn revoke_binding(&mut self, now: Instant, home: Ipv4Addr) -> bool {
        let Some(own) = &mut self.home else {
            return false;
        };
        let is_bound = own.room.view(now).any(|binding| binding.home == home);
        if is_bound {
            own.room.handle(now, Input::Revoke(home));
        }
        is_bound
    }

    pub(super) fn bindings_kept(&mut self, number: u64) {
        if let Some(own) = &mut self.home {
            own.kept = own.kept.max(number);
            self.send_ready();
        }
    }

    /// After the store or the kernel has taken more.
    pub(super) fn send_ready(&mut self) {
        if let Some(own) = &mut self.home {
            while let Some(datagram) = own.ready(self.applied) {
                self.effects.push_back(Effect::SendRegistration(datagram));
            }
        }
    }

    pub(super) fn home_agent_effect(&mut self, now: Instant, effect: RoomEffect) {
        let Some(own) = &mut self.home else {
            return;
        };
        match effect {
            RoomEffect::Keep(kept) => {
                own.given += 1;
                let (number, kept) = (own.given, Box::new(kept));
                self.effects.push_back(Effect::KeepBinding { number, kept });
            }
            RoomEffect::Bind { home, tunnels } => {
                let carry = own.bind(now, home, &tunnels, &mut self.wishes);
                self.effects.extend(carry);
            }
            RoomEffect::Unbind { home } => {
                let carry = own.unbind(home, &mut self.wishes);
                self.effects.extend(carry);
            }
            RoomEffect::Intercept { home } => {
                let link = own.intercept(home, &mut self.wishes);
                let address = home;
                let said = link.map(|link| Effect::Announce { link, address });
                self.afterwards.extend(said);
            }
            RoomEffect::Release { home } => own.release(home, &mut self.wishes),
            RoomEffect::Send(datagram) => {
                // Whoever else wants something by now does no harm: it is written as soon.
                own.wanted = own.wanted.max(self.wishes.revision());
                own.post(datagram);
                self.send_ready();
            }
            RoomEffect::Tell(told) => self.tell_of_mobile_node(now, &told),
        }
    }

    /// In the log at `debug`, since there may be thousands a second; what somebody should look at is
    /// told louder.
    fn tell_of_mobile_node(&mut self, now: Instant, told: &Told) {
        match told {
            Told::Registered {
                home,
                care_of,
                lifetime,
            } => {
                let detail = format!("{home} at {care_of} for {lifetime} s");
                self.publish(now, "mobile-registered", detail);
            }
            Told::Deregistered { home } => {
                self.publish(now, "mobile-deregistered", home.to_string());
            }
            Told::Expired { home, care_of } => {
                self.publish(now, "mobile-expired", format!("{home} at {care_of}"));
            }
            Told::Revoked { home, care_of } => {
                self.tell(now, "mobile-revoked", format!("{home} at {care_of}"));
            }
            Told::RevocationAcknowledged { home } => {
                self.tell(now, "revocation-acknowledged", home.to_string());
            }
            Told::RevocationUnanswered { home } => {
                self.tell(now, "revocation-unanswered", home.to_string());
            }
            Told::Denied {
                home,
                nai,
                from,
                code,
            } => {
                let named = nai.as_deref().map(view::name);
                let who = named.unwrap_or_else(|| home.to_string());
                self.publish(now, "mobile-denied", format!("{who} from {from}: {code}"));
            }
        }
    }
}
