//! What administrators ask and order.

use super::commands::{
    Ask, PolicyCommand, PolicyEntry, PresenceCommand, PresenceEntry, SetPresence,
};
use super::relations::{Effect, Inquiry, Relations, detail};
use super::rows;
use crate::agent::effect::Reply;
use crate::agent::event::Token;
use crate::agent::wishes::Wishes;
use crate::kernel::desired::{self, Policy};
use crate::presence::database::{Accepted, Refusal};
use crate::presence::own::Now;
use crate::presence::row::Direction;
use crate::presence::{Authenticity, Entity, Keep, Presence, Record, Row, Source};
use std::fmt::Write;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long a peer may take to be reached and to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// For what is set by hand without a time.
const BY_HAND: u32 = 3600;
/// Inquiries that wait for a peer to be reached.
const MAX_INQUIRIES: usize = 64;
/// Registered rows.
const MAX_ROWS: usize = 10_000;

impl Relations {
    pub(in crate::agent) fn presence_command(
        &mut self,
        now: Instant,
        token: Token,
        command: PresenceCommand,
        wishes: &mut Wishes,
    ) {
        let reply = match command {
            PresenceCommand::List => Reply::Presence(self.entries(now)),
            PresenceCommand::Show(entity) => match self.entry(now, &entity) {
                Some(entry) => Reply::Presence(vec![entry]),
                None => Reply::Failed(format!("nothing is known of {entity}")),
            },
            PresenceCommand::Set(set) => match self.set(now, set, wishes) {
                Ok(()) => Reply::Done,
                Err(why) => Reply::Failed(why),
            },
            PresenceCommand::Clear(entity) => {
                if self.clear(now, &entity, wishes) {
                    Reply::Done
                } else {
                    Reply::Failed(format!("nothing is known of {entity}"))
                }
            }
        };
        self.effects.push_back(Effect::Reply(token, reply));
    }

    fn entries(&self, now: Instant) -> Vec<PresenceEntry> {
        let own = self.entry(now, &self.settings.entity);
        let unix = self.unix(now).unwrap_or_default();
        let others = self.database.iter().map(|(entity, entry)| PresenceEntry {
            entity: entity.clone(),
            own: false,
            believed: entry.believed(unix).cloned(),
            hint: entry.hints(unix).next().cloned(),
            history: Vec::new(),
        });
        own.into_iter().chain(others).collect()
    }

    fn entry(&self, now: Instant, entity: &Entity) -> Option<PresenceEntry> {
        if *entity == self.settings.entity {
            let presence = self.own_presence(now)?;
            let received = presence.time;
            return Some(PresenceEntry {
                entity: entity.clone(),
                own: true,
                believed: Some(Record {
                    presence,
                    source: Source::Own,
                    authenticity: Authenticity::Authenticated("this machine".to_owned()),
                    received,
                }),
                hint: None,
                history: Vec::new(),
            });
        }
        let unix = self.unix(now)?;
        let entry = self.database.get(entity)?;
        Some(PresenceEntry {
            entity: entity.clone(),
            own: false,
            believed: entry.believed(unix).cloned(),
            hint: entry.hints(unix).next().cloned(),
            history: self.database.history(entity).cloned().collect(),
        })
    }

    fn set(&mut self, now: Instant, set: SetPresence, wishes: &mut Wishes) -> Result<(), String> {
        let unix = self.unix(now).ok_or("the time is not known yet")?;
        let expires = unix.after(Duration::from_secs(set.valid.unwrap_or(BY_HAND).into()));
        if set.entity == self.settings.entity {
            if set.hint || !set.addresses.is_empty() || set.user.is_some() {
                return Err("of this machine itself only the location can be set".to_owned());
            }
            let both = Now {
                instant: now,
                wall: unix,
            };
            self.own.by_hand(both, set.location, expires);
            self.own_changed(now, wishes);
            return Ok(());
        }
        let known = self.database.get(&set.entity).and_then(|e| e.vouched(unix));
        let known = known.map(|record| &record.presence);
        let mut addresses = set.addresses;
        if addresses.is_empty() {
            addresses = known.map(|p| p.addresses.clone()).unwrap_or_default();
        }
        if addresses.is_empty() {
            let contact = self.contacts.get(&set.entity);
            addresses = contact.map(|c| c.addresses.clone()).unwrap_or_default();
        }
        addresses.sort_unstable();
        addresses.dedup();
        let record = Record {
            presence: Presence {
                user: set.user.or_else(|| known.and_then(|p| p.user.clone())),
                entity: set.entity,
                addresses,
                location: set.location,
                time: unix,
                expires,
                sequence: known.map_or(0, |p| p.sequence),
            },
            source: if set.hint { Source::Hint } else { Source::Hand },
            authenticity: if set.hint {
                Authenticity::Unauthenticated
            } else {
                Authenticity::Authenticated("root".to_owned())
            },
            received: unix,
        };
        self.offer(now, record, wishes).map_err(|e| e.to_string())
    }

    /// Takes a record into the database, and does what follows.
    pub(super) fn offer(
        &mut self,
        now: Instant,
        record: Record,
        wishes: &mut Wishes,
    ) -> Result<(), Refusal> {
        let unix = self.unix(now).unwrap_or_default();
        let entity = record.presence.entity.clone();
        let kept = record.clone();
        let result = self.database.offer(unix, record);
        if matches!(result, Ok(Accepted::Changed | Accepted::Hinted)) {
            let Presence {
                location,
                addresses,
                ..
            } = &kept.presence;
            let mut detail = detail(format_args!("{entity}: {location}"));
            let mut before = " at ";
            for address in addresses {
                write!(detail, "{before}{address}").expect("a String takes all text");
                before = ", ";
            }
            self.tell("presence", detail);
        }
        match &result {
            Ok(Accepted::Changed | Accepted::Renewed) => {
                self.effects.push_back(Effect::Keep(Keep::Believed(kept)));
            }
            Ok(Accepted::Held { .. }) => {
                // Nor after a restart.
                let sequence = Keep::Sequence(entity.clone(), kept.presence.sequence);
                let forgotten = Keep::Forgotten(entity.clone());
                self.effects.extend([forgotten, sequence].map(Effect::Keep));
                self.tell(
                    "flapping",
                    format!("{entity} changes too often to be believed"),
                );
            }
            Ok(Accepted::Hinted) | Err(_) => {}
        }
        if !matches!(result, Ok(Accepted::Renewed) | Err(_)) {
            self.presence_changed(now, &entity, wishes);
        } else if result.is_ok() {
            self.judge_entity(now, &entity, wishes);
            self.watch_database(now);
        }
        result.map(drop)
    }

    fn clear(&mut self, now: Instant, entity: &Entity, wishes: &mut Wishes) -> bool {
        if *entity == self.settings.entity {
            self.own.forget_hand();
            self.own_changed(now, wishes);
            return true;
        }
        let unix = self.unix(now).unwrap_or_default();
        let known = self.database.clear(unix, entity);
        if known {
            self.effects
                .push_back(Effect::Keep(Keep::Forgotten(entity.clone())));
            self.tell("presence", format!("{entity}: cleared"));
            self.presence_changed(now, entity, wishes);
        }
        known
    }

    /// What expired, and what flapping held back, takes effect.
    pub(super) fn database_timeout(&mut self, now: Instant, wishes: &mut Wishes) {
        let unix = self.unix(now).unwrap_or_default();
        for entity in self.database.expire(unix) {
            let entry = self.database.get(&entity);
            if let Some(record) = entry.and_then(|entry| entry.believed(unix)) {
                let keep = Keep::Believed(record.clone());
                self.effects.push_back(Effect::Keep(keep));
            }
            self.presence_changed(now, &entity, wishes);
        }
        self.watch_database(now);
    }

    // --- policies -------------------------------------------------------------------------------

    pub(in crate::agent) fn policy_command(
        &mut self,
        now: Instant,
        token: Token,
        command: PolicyCommand,
        wishes: &mut Wishes,
    ) {
        let reply = match command {
            PolicyCommand::List => Reply::Policies(self.policy_entries()),
            PolicyCommand::Propose(entity) => match self.standings.get(&entity) {
                Some(standing) => Reply::Policies(
                    standing
                        .addresses
                        .iter()
                        .flat_map(|address| self.derived(*address))
                        .collect(),
                ),
                None => Reply::Failed(format!("{entity} is no [[contact]], or has no address yet")),
            },
            PolicyCommand::Register(row) => match self.register(now, row, wishes) {
                Ok(number) => Reply::Registered(number),
                Err(why) => Reply::Failed(why),
            },
            PolicyCommand::Remove(number) => match self.rows.remove(&number) {
                Some(_) => {
                    self.effects
                        .push_back(Effect::Keep(Keep::RowRemoved(number)));
                    self.tell("policy", format!("row {number} removed"));
                    self.judge_all(now, wishes);
                    Reply::Done
                }
                None => Reply::Failed(format!("no row has the number {number}")),
            },
        };
        self.effects.push_back(Effect::Reply(token, reply));
    }

    fn register(&mut self, now: Instant, row: Row, wishes: &mut Wishes) -> Result<u64, String> {
        let problems = row.problems();
        if !problems.is_empty() {
            let list: Vec<String> = problems.into_iter().map(|p| p.message).collect();
            return Err(list.join("; "));
        }
        if self.rows.len() >= MAX_ROWS {
            return Err(format!("there are {MAX_ROWS} rows already"));
        }
        if let Some((number, _)) = self.rows.iter().find(|(_, known)| **known == row) {
            return Ok(*number);
        }
        let number = self.rows.keys().next_back().map_or(1, |last| last + 1);
        self.effects.push_back(Effect::Keep(Keep::Row {
            number,
            row: row.clone(),
        }));
        self.tell("policy", format!("row {number} registered: {row}"));
        self.rows.insert(number, row);
        self.judge_all(now, wishes);
        Ok(number)
    }

    /// Registered rows, then what follows from rules and presence.
    fn policy_entries(&self) -> Vec<PolicyEntry> {
        let registered = self.rows.iter().map(|(number, row)| PolicyEntry {
            number: Some(*number),
            row: row.clone(),
            entity: self.entity_of(row),
            because: "registered".to_owned(),
            kernel: self.policy_of(row).map(ToString::to_string),
        });
        let derived = self
            .towards
            .keys()
            .flat_map(|address| self.derived(*address));
        registered.chain(derived).collect()
    }

    /// What decides about its packets, at the first address that it is about.
    fn policy_of(&self, row: &Row) -> Option<&Policy> {
        let mut relations = self.towards.iter();
        let (_, relation) = relations.find(|(address, _)| row.peer_side().contains(*address))?;
        relation.policy(kernel_direction(row.direction), row.class())
    }

    fn entity_of(&self, row: &Row) -> Option<Entity> {
        let mut relations = self.towards.iter();
        relations
            .find(|(address, _)| row.peer_side().contains(*address))
            .map(|(_, relation)| relation.entity.clone())
    }

    /// The rows of one address, each with what the kernel has for it.
    fn derived(&self, address: IpAddr) -> Vec<PolicyEntry> {
        let Some(relation) = self.towards.get(&address) else {
            return Vec::new();
        };
        let own = self.line_at(address).map(|(own, _)| own);
        let sends = relation.sends();
        let out = sends.iter().map(|clause| (clause, Direction::Out));
        let applied = relation.decision.applied().iter();
        let into = applied.map(|clause| (clause, Direction::In));
        out.chain(into)
            .map(|(clause, direction)| {
                let policy = relation.policy(kernel_direction(direction), clause.class);
                PolicyEntry {
                    number: None,
                    row: rows::row(clause, own, address, direction),
                    entity: Some(relation.entity.clone()),
                    because: relation.because(clause),
                    kernel: policy.map(ToString::to_string),
                }
            })
            .collect()
    }

    // --- FIG. 4 ---------------------------------------------------------------------------------

    pub(in crate::agent) fn ask_command(&mut self, now: Instant, token: Token, ask: Ask) {
        let Some(entity) = self.holder(ask.address) else {
            let why = format!(
                "{} is no address of a [[contact]]: name one in the configuration, or set its presence",
                ask.address
            );
            let reply = Reply::Asked(Err(why));
            self.effects.push_back(Effect::Reply(token, reply));
            return;
        };
        tracing::debug!(%entity, "asked for policy and presence");
        if self.inquiries.len() >= MAX_INQUIRIES {
            let why = format!("{MAX_INQUIRIES} inquiries wait already: ask again later");
            let reply = Reply::Asked(Err(why));
            self.effects.push_back(Effect::Reply(token, reply));
            return;
        }
        let address = ask.address;
        let until = now + PATIENCE;
        self.inquiries.push(Inquiry { token, ask, until });
        if self.line_at(address).is_none() {
            self.links.forgive(address);
            self.effects.push_back(Effect::Reach(address));
            self.timers.set(super::relations::Timer::Inquiries, until);
        }
        self.inquire(now);
    }
}

fn kernel_direction(direction: Direction) -> desired::Direction {
    match direction {
        Direction::Out => desired::Direction::Out,
        Direction::In => desired::Direction::In,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::presence::own_place::relations;

    #[test]
    fn a_tunnel_ends_at_the_contacts_own_address() {
        let (now, mut wishes) = (Instant::now(), Wishes::default());
        let mut relations = relations(now, &mut wishes);
        let row = |mode: &str| {
            format!("out 192.168.1.1[any] 192.168.1.2[any] udp ipsec esp {mode} require")
                .parse()
                .unwrap()
        };
        let refused = relations.register(now, row("tunnel 192.0.2.1"), &mut wishes);
        assert!(refused.unwrap_err().contains("the peer's own address"));
        let own = row("tunnel 192.168.1.2");
        assert_eq!(relations.register(now, own, &mut wishes), Ok(1));
    }

    #[test]
    fn a_registered_row_is_shown_beside_what_the_kernel_has_for_its_packets() {
        let (now, mut wishes) = (Instant::now(), Wishes::default());
        let mut relations = relations(now, &mut wishes);
        let row = "out 192.168.1.1[any] 192.168.1.2[any] udp discard";
        relations
            .register(now, row.parse().unwrap(), &mut wishes)
            .unwrap();
        let entries = relations.policy_entries();
        let kernel = entries[0].kernel.as_deref().unwrap();
        assert!(
            kernel.contains("dst 192.168.1.2/32 proto udp dir out action block"),
            "{kernel}"
        );
    }
}
