//! What follows from presence for each address of a contact.

use super::relations::{FORMER, Relations, Timer};
use crate::agent::wishes::Wishes;
use crate::net::Family;
use crate::presence::rules::{Clause, Moment, Standing, Verdict, contradicts, judge};
use crate::presence::{Entity, Presence, Record, Row, Timestamp};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How many times a relaxed policy is renewed within its lifetime.
const RENEWALS: u32 = 3;

/// Timers that come so much too late have not been looked at meanwhile: the process, or the
/// machine, stood still.
const STANDSTILL: Duration = Duration::from_secs(2);

impl Relations {
    /// What holds between us and an address while nothing is known of either end.
    pub(super) fn strangers(&self, entity: &Entity, address: IpAddr) -> Vec<Clause> {
        let floor = self.contacts.get(entity).map(|contact| contact.floor);
        let peer = Standing::unknown(entity, address);
        let nowhere = Family::of(address).unspecified();
        let own = Standing::unknown(&self.settings.entity, nowhere);
        let rows = self.rows_about(address);
        let moment = Moment {
            now: Timestamp::default(),
            minute_of_day: 0,
            weekday: 0,
        };
        let moment = self.last_moment().unwrap_or(moment);
        let book = &self.settings.rulebook;
        judge(book, floor.unwrap_or_default(), &rows, &peer, &own, moment).clauses
    }

    /// Registered by hand, for packets between us and this address.
    fn rows_about(&self, address: IpAddr) -> Vec<Row> {
        let about = |row: &&Row| row.peer_side().contains(&address);
        self.rows.values().filter(about).cloned().collect()
    }

    /// Judges one address of a contact anew, and carries out what follows.
    pub(super) fn judge(&mut self, now: Instant, address: IpAddr, wishes: &mut Wishes) {
        let Some(entity) = self.by_address.get(&address).cloned() else {
            return;
        };
        let dwell = self.settings.dwell;
        let verdict = self.verdict(now, &entity, address);
        let Some(relation) = self.towards.get_mut(&address) else {
            return;
        };
        let changed = match verdict {
            Some(verdict) => relation.judged(now, dwell, verdict),
            None => {
                let strict = self.strangers(&entity, address);
                let relation = self.towards.get_mut(&address);
                relation.is_some_and(|relation| relation.withdraw(now, &strict))
            }
        };
        self.watch_deadlines(now, address);
        if changed {
            self.changed(now, address, wishes);
        }
    }

    pub(super) fn judge_all(&mut self, now: Instant, wishes: &mut Wishes) {
        for address in self.towards.keys().copied().collect::<Vec<_>>() {
            self.judge(now, address, wishes);
        }
    }

    pub(super) fn judge_entity(&mut self, now: Instant, entity: &Entity, wishes: &mut Wishes) {
        let addresses = self.standings.get(entity).map(|s| s.addresses.clone());
        for address in addresses.unwrap_or_default() {
            self.judge(now, address, wishes);
        }
    }

    /// `None` while the time is not known.
    fn verdict(&self, now: Instant, entity: &Entity, address: IpAddr) -> Option<Verdict> {
        let moment = self.moment(now)?;
        let floor = self.contacts.get(entity)?.floor;
        let book = &self.settings.rulebook;
        let entry = self.database.get(entity);
        let former = self.towards.get(&address).is_some_and(|r| r.former);
        let believed = entry
            .filter(|_| !former)
            .and_then(|entry| entry.believed(moment.now))
            .map(|record| &record.presence);
        let mut hints = entry.into_iter().flat_map(|entry| entry.hints(moment.now));
        let says_otherwise =
            |hint: &&Record| believed.is_none_or(|b| contradicts(&hint.presence, b));
        let peer = Standing {
            entity,
            address,
            believed,
            hint: hints.find(says_otherwise).map(|record| &record.presence),
        };
        let presence = self.own_presence(now);
        let own = Standing {
            entity: &self.settings.entity,
            address: self.place(presence.as_ref(), address),
            believed: presence.as_ref(),
            hint: None,
        };
        let rows = self.rows_about(address);
        Some(judge(book, floor, &rows, &peer, &own, moment))
    }

    /// Which of our addresses we are judged by: of those that the site where we are has, if any.
    fn place(&self, own: Option<&Presence>, peer: IpAddr) -> IpAddr {
        let unspecified = Family::of(peer).unspecified();
        let Some(own) = own else {
            return unspecified;
        };
        let sites = self.settings.rulebook.sites.iter();
        let nets: Vec<_> = sites
            .filter(|site| site.location == own.location)
            .flat_map(|site| &site.addresses)
            .collect();
        let inside = |address: &&IpAddr| nets.iter().any(|net| net.contains(*address));
        let first = own.addresses.first();
        let found = own.addresses.iter().find(inside).or(first);
        found.copied().unwrap_or(unspecified)
    }

    /// Presence of a contact came, went or changed: its addresses are watched, and judged.
    pub(super) fn presence_changed(&mut self, now: Instant, entity: &Entity, wishes: &mut Wishes) {
        let Some(contact) = self.contacts.get(entity) else {
            return;
        };
        let mut current = contact.addresses.clone();
        let unix = self.unix(now).unwrap_or_default();
        // Wherever it may be, not only where it is believed to be: whoever raises doubts must not
        // have packets to it left alone.
        let vouched = self.database.get(entity).and_then(|e| e.vouched(unix));
        if let Some(record) = vouched {
            current.clone_from(&record.presence.addresses);
        }
        let linked = self.standings.get(entity).into_iter();
        current.extend(linked.flat_map(|s| s.ikes.values().map(|(_, theirs)| *theirs)));
        for address in &current {
            if !self.watch(now, entity, *address, wishes) {
                let detail = format!("{entity} at {address}: not watched, somebody else has it");
                self.tell("presence-refused", detail);
            }
        }
        let watched = self.standings.get(entity).map(|s| s.addresses.clone());
        for address in watched.unwrap_or_default() {
            let former = !current.contains(&address);
            if let Some(relation) = self.towards.get_mut(&address)
                && relation.former != former
            {
                relation.former = former;
                if former {
                    self.timers.set(Timer::Former(address), now + FORMER);
                } else {
                    self.timers.stop(&Timer::Former(address));
                }
            }
        }
        self.judge_entity(now, entity, wishes);
        self.watch_database(now);
    }

    /// A judgement took effect: the kernel, the peer and whoever listens are told.
    fn changed(&mut self, now: Instant, address: IpAddr, wishes: &mut Wishes) {
        let Some(relation) = self.towards.get_mut(&address) else {
            return;
        };
        relation.install(wishes);
        let clause = relation.decision.applied().last();
        let detail = clause.map(|c| format!("{address}: {} ({})", c.protection, c.because));
        let lag = relation.lags_until();
        let relaxed = relation.is_relaxed();
        self.tell("protection", detail.unwrap_or_default());
        if let Some(until) = lag {
            self.timers.set(Timer::Lag(address), until);
        }
        if relaxed && self.timers.deadline(&Timer::Renew).is_none() {
            let wait = self.settings.lifetime / RENEWALS;
            self.timers.set(Timer::Renew, now + wait);
        }
        self.tell_posture(now, address);
    }

    fn watch_deadlines(&mut self, now: Instant, address: IpAddr) {
        let Some(relation) = self.towards.get(&address) else {
            return;
        };
        let (due, valid) = (relation.decision.due(), relation.valid_until);
        match due {
            Some(at) => self.timers.set(Timer::Decision(address), at),
            None => self.timers.stop(&Timer::Decision(address)),
        }
        match valid.and_then(|time| self.instant_of(now, time)) {
            Some(at) => self.timers.set(Timer::Judge(address), at),
            None => self.timers.stop(&Timer::Judge(address)),
        }
    }

    pub(super) fn watch_database(&mut self, now: Instant) {
        let next = self.database.next_expiry();
        match next.and_then(|time| self.instant_of(now, time)) {
            Some(at) => self.timers.set(Timer::Database, at),
            None => self.timers.stop(&Timer::Database),
        }
    }

    // --- deadlines ------------------------------------------------------------------------------

    pub(super) fn dwelt(&mut self, now: Instant, address: IpAddr, wishes: &mut Wishes) {
        let relation = self.towards.get_mut(&address);
        let changed = relation.is_some_and(|relation| relation.dwelt(now));
        self.watch_deadlines(now, address);
        if changed {
            self.changed(now, address, wishes);
        }
    }

    pub(super) fn stop_lagging(&mut self, address: IpAddr, wishes: &mut Wishes) {
        if let Some(relation) = self.towards.get_mut(&address) {
            relation.stop_lagging();
            relation.install(wishes);
        }
    }

    /// The kernel is told that we still mean it. One that was not looked at in time is not renewed:
    /// who knows what has changed meanwhile.
    pub(super) fn renew(&mut self, now: Instant, due: Instant, wishes: &mut Wishes) {
        if now.saturating_duration_since(due) > STANDSTILL {
            return self.doubt(now, "the machine or the agent stood still", wishes);
        }
        let mut any = false;
        for relation in self.towards.values() {
            any |= relation.is_relaxed();
            relation.renew(wishes);
        }
        if any {
            let wait = self.settings.lifetime / RENEWALS;
            self.timers.set(Timer::Renew, now + wait);
        }
    }

    /// Relaxations go first; what still holds comes back when it has stood for long enough.
    pub(super) fn doubt(&mut self, now: Instant, why: &str, wishes: &mut Wishes) {
        self.own.link_changed();
        let mut withdrawn = 0;
        for address in self.towards.keys().copied().collect::<Vec<_>>() {
            let Some(entity) = self.by_address.get(&address).cloned() else {
                continue;
            };
            let strict = self.strangers(&entity, address);
            let relation = self.towards.get_mut(&address);
            if relation.is_some_and(|r| r.is_relaxed() && r.withdraw(now, &strict)) {
                withdrawn += 1;
                self.changed(now, address, wishes);
            }
        }
        if withdrawn > 0 {
            self.tell("relaxations-withdrawn", format!("{withdrawn}: {why}"));
        }
        self.judge_all(now, wishes);
        self.watch_own(now);
    }

    /// The kernel dropped a relaxed policy. If it should still stand, that is decided afresh: once for
    /// all that end together, since nothing is relaxed any more after the first of them.
    pub(super) fn policy_expired(
        &mut self,
        now: Instant,
        key: &crate::kernel::desired::PolicyKey,
        wishes: &mut Wishes,
    ) {
        let theirs = match key.direction {
            crate::kernel::desired::Direction::Out => key.selector.dst,
            _ => key.selector.src,
        };
        let address = theirs.addr();
        if let Some(relation) = self.towards.get_mut(&address) {
            relation.expired(key, wishes);
            if relation.is_relaxed() {
                let why = "the kernel's lifetime of a relaxed policy was over";
                self.doubt(now, why, wishes);
            }
        }
    }
}
