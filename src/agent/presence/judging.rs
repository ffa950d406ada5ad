//! What follows from presence for each address of a contact.

use super::relation::Relation;
use super::relations::{FORMER, Relations, Timer, detail};
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
        let Some(relation) = self.towards.get(&address) else {
            return;
        };
        let verdict = self.verdict(now, relation).ok_or_else(|| {
            let entity = &relation.entity;
            self.strangers(entity, address)
        });
        let dwell = self.settings.dwell;
        let Some(relation) = self.towards.get_mut(&address) else {
            return;
        };
        let changed = match verdict {
            Ok(verdict) => relation.judged(now, dwell, verdict),
            Err(strict) => relation.withdraw(now, &strict),
        };
        if changed {
            self.changed(now, address, wishes);
        }
        self.watch_deadlines(now, address);
    }

    pub(super) fn judge_all(&mut self, now: Instant, wishes: &mut Wishes) {
        for address in self.towards.keys().copied().collect::<Vec<_>>() {
            self.judge(now, address, wishes);
        }
    }

    pub(super) fn judge_entity(&mut self, now: Instant, entity: &Entity, wishes: &mut Wishes) {
        let standing = self.standings.get(entity).into_iter();
        let addresses: Vec<IpAddr> = standing.flat_map(|s| &s.addresses).copied().collect();
        for address in addresses {
            self.judge(now, address, wishes);
        }
    }

    /// `None` while the time is not known.
    fn verdict(&self, now: Instant, relation: &Relation) -> Option<Verdict> {
        let Relation { entity, ground, .. } = relation;
        let address = ground.address;
        let moment = self.moment(now)?;
        let floor = self.contacts.get(entity)?.floor;
        let book = &self.settings.rulebook;
        let entry = self.database.get(entity);
        let believed = entry
            .filter(|_| relation.former.is_none())
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
        for address in self.standings.get(entity).iter().flat_map(|s| &s.addresses) {
            if let Some(relation) = self.towards.get_mut(address) {
                let former = !current.contains(address);
                relation.former = former.then(|| relation.former.unwrap_or(now + FORMER));
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
        let detail =
            clause.map(|c| detail(format_args!("{address}: {} ({})", c.protection, c.because)));
        let relaxed = relation.is_relaxed();
        self.tell("protection", detail.unwrap_or_default());
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
        let timer = Timer::Address(address);
        match self.due(now, relation) {
            Some(at) => self.timers.set(timer, at),
            None => self.timers.stop(&timer),
        }
    }

    /// When time changes something for an address.
    fn due(&self, now: Instant, relation: &Relation) -> Option<Instant> {
        let judged = self.judged_until(now, relation);
        let times = [
            relation.decision.due(),
            relation.lags_until(),
            relation.former,
            judged,
        ];
        times.into_iter().flatten().min()
    }

    /// When time alone changes the judgement.
    fn judged_until(&self, now: Instant, relation: &Relation) -> Option<Instant> {
        self.instant_of(now, relation.valid_until?)
    }

    pub(super) fn watch_database(&mut self, now: Instant) {
        let next = self.database.next_expiry();
        match next.and_then(|time| self.instant_of(now, time)) {
            Some(at) => self.timers.set(Timer::Database, at),
            None => self.timers.stop(&Timer::Database),
        }
    }

    // --- deadlines ------------------------------------------------------------------------------

    pub(super) fn address_timeout(&mut self, now: Instant, address: IpAddr, wishes: &mut Wishes) {
        let Some(relation) = self.towards.get(&address) else {
            return;
        };
        let over = |until: Option<Instant>| until.is_some_and(|until| until <= now);
        if over(relation.former) {
            return self.unwatch(address, wishes);
        }
        if over(self.judged_until(now, relation)) {
            self.judge(now, address, wishes);
        }
        let Some(relation) = self.towards.get_mut(&address) else {
            return;
        };
        if over(relation.lags_until()) {
            relation.stop_lagging(now);
            relation.install(wishes);
        }
        if relation.dwelt(now) {
            self.changed(now, address, wishes);
        }
        self.watch_deadlines(now, address);
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

    /// Relaxations go first; what still holds comes back when it has stood for long enough. What was about to
    /// be relaxed begins to wait anew as well: who was kept strict by a claim that proves nothing must not be
    /// relaxed before who was not.
    pub(super) fn doubt(&mut self, now: Instant, why: &str, wishes: &mut Wishes) {
        self.own.link_changed();
        let mut withdrawn = 0;
        for address in self.towards.keys().copied().collect::<Vec<_>>() {
            let Some(entity) = self.holder(address) else {
                continue;
            };
            let strict = self.strangers(entity, address);
            let relation = self.towards.get_mut(&address);
            if relation.is_some_and(|r| r.is_to_be_relaxed() && r.withdraw(now, &strict)) {
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
