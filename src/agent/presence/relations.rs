//! All contacts, and what is known and wanted of them. A state machine of its own: inputs with the
//! time, [`Effect`]s out; the agent carries them to IKE, the store and the control socket.

use super::links::{Links, Pair};
use super::policies::Ground;
use super::relation::Relation;
use super::reloading;
use super::settings::{Contact, PresenceSettings};
use crate::agent::effect::Reply;
use crate::agent::event::Token;
use crate::agent::wishes::Wishes;
use crate::ike::effects::Token as AskToken;
use crate::ike::effects::{ChildId, DownReason, IkeId};
use crate::ike::settings::{Connect, RequestId};
use crate::ike::settings::{Question, QuestionId};
use crate::kernel::ownership::CONTACT_REQIDS;
use crate::net::{Identity, IpNet, Timers};
use crate::presence::database::Database;
use crate::presence::decisions::Decision;
use crate::presence::own::Own;
use crate::presence::row::Mode;
use crate::presence::rules::{Clause, Moment, protection_of};
use crate::presence::{Class, Entity, Keep, Location, Row, Timestamp};
use indexmap::IndexMap;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::{self, Write};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Addresses of one contact that are watched at once.
pub(super) const MAX_ADDRESSES: usize = 16;

/// How long a former address of a contact stays protected.
pub(super) const FORMER: Duration = Duration::from_secs(3600);

/// Bits of a number that tell apart those of one second.
const NUMBERS_A_SECOND: u32 = 16;

/// Numbers are kept in the store so many at a time: once a minute at most.
const RESERVED: u64 = 60 << NUMBERS_A_SECOND;

#[derive(Debug)]
pub(in crate::agent) enum Effect {
    Connect(Box<Connect>),
    Cancel(RequestId),
    Ask(Question),
    Answer {
        ike: IkeId,
        token: AskToken,
        data: Vec<u8>,
    },
    /// Replace it by one that is compressed, if the peer agrees.
    Compress(ChildId),
    CloseChild(ChildId, DownReason),
    /// Find our address towards this one, and [`Relations::link`] them.
    Reach(IpAddr),
    LeaveAddress(IpAddr),
    Keep(Keep),
    Tell(&'static str, String),
    Count(&'static str),
    Reply(Token, Reply),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Time changes something for this address of a contact.
    Address(IpAddr),
    /// Relaxed policies are renewed.
    Renew,
    /// Our own location wants something.
    Own,
    /// Presence of others expires, or may be taken in now.
    Database,
    /// To be asked again for what it does.
    Subscribe(Entity),
    /// Somebody at the control socket has waited long enough.
    Inquiries,
    /// A link may be tried again.
    Link(Pair),
    /// Packets of a closed child have had time to arrive.
    ChildGone(ChildId),
}

/// What somebody is to us beside what the configuration says.
#[derive(Debug, Default)]
pub(super) struct Standing {
    pub addresses: BTreeSet<IpAddr>,
    /// Its IKE SAs with us: our address and theirs.
    pub ikes: BTreeMap<IkeId, Pair>,
    /// Until when it wants to be told of changes.
    pub subscribed: Option<Instant>,
}

/// What an answer is awaited for.
#[derive(Debug)]
pub(super) enum Asked {
    /// Our own posture of this epoch, at this address of theirs.
    Posture(IpAddr, u64),
    Subscription(Entity),
    Publication(Entity),
    Attestation {
        location: Location,
        local: IpAddr,
        anchor: (Identity, IpAddr),
    },
    /// For somebody at the control socket.
    Inquiry(Token, IpAddr),
}

/// An inquiry that waits for an IKE SA.
#[derive(Debug)]
pub(super) struct Inquiry {
    pub token: Token,
    pub ask: super::commands::Ask,
    pub until: Instant,
}

#[derive(Debug)]
pub(in crate::agent) struct Relations {
    pub(super) settings: PresenceSettings,
    /// Our own, in IKE.
    pub(super) identity: Identity,
    /// Prefixes that discovery protects already.
    pub(super) protected: Vec<IpNet>,
    pub(super) database: Database,
    pub(super) own: Own,
    pub(super) own_addresses: Vec<IpAddr>,
    pub(super) own_sequence: u64,
    /// As it was published last.
    pub(super) own_location: Option<Location>,
    wall: Option<Wall>,
    /// Registered by hand.
    pub(super) rows: BTreeMap<u64, Row>,
    pub(super) contacts: IndexMap<Entity, Contact>,
    pub(super) standings: IndexMap<Entity, Standing>,
    pub(super) by_identity: BTreeMap<Identity, Entity>,
    pub(super) towards: BTreeMap<IpAddr, Relation>,
    pub(super) links: Links,
    pub(super) timers: Timers<Timer>,
    pub(super) questions: BTreeMap<QuestionId, Asked>,
    next_question: u64,
    pub(super) inquiries: Vec<Inquiry>,
    number: u64,
    /// The next run of us begins there.
    reserved: u64,
    free_reqids: BTreeSet<u32>,
    next_reqid: u32,
    pub(super) effects: VecDeque<Effect>,
}

#[derive(Clone, Copy, Debug)]
struct Wall {
    at: Instant,
    unix: Timestamp,
    offset: i32,
}

/// A line of `events`. `format!` begins small and grows, and each growth of memory whose neighbours the
/// writer's thread frees waits for that thread.
pub(super) fn detail(of: fmt::Arguments<'_>) -> String {
    let mut line = String::with_capacity(96);
    line.write_fmt(of).expect("a String takes all text");
    line
}

impl Relations {
    pub(in crate::agent) fn new(
        settings: PresenceSettings,
        identity: Identity,
        protected: Vec<IpNet>,
    ) -> Self {
        let own = reloading::own(&settings);
        Self {
            contacts: reloading::by_entity(&settings.contacts),
            by_identity: reloading::by_identity(&settings.contacts),
            settings,
            identity,
            protected,
            database: Database::default(),
            own,
            own_addresses: Vec::new(),
            own_sequence: 0,
            own_location: None,
            wall: None,
            rows: BTreeMap::new(),
            standings: IndexMap::new(),
            towards: BTreeMap::new(),
            links: Links::default(),
            timers: Timers::default(),
            questions: BTreeMap::new(),
            next_question: 0,
            inquiries: Vec::new(),
            number: 0,
            reserved: 0,
            free_reqids: BTreeSet::new(),
            next_reqid: CONTACT_REQIDS.start,
            effects: VecDeque::new(),
        }
    }

    /// Whoever has a configured address is a stranger there, until more is known.
    pub(in crate::agent) fn start(&mut self, now: Instant, wishes: &mut Wishes) {
        for contact in self.settings.contacts.clone() {
            for address in contact.addresses {
                self.watch(now, &contact.entity, address, wishes);
            }
        }
    }

    pub(in crate::agent) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub(in crate::agent) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    // --- time -----------------------------------------------------------------------------------

    pub(super) fn set_wall(&mut self, at: Instant, unix: Timestamp, offset: i32) {
        self.wall = Some(Wall { at, unix, offset });
    }

    /// What the wall clock says now; `None` before it was read.
    pub(super) fn unix(&self, now: Instant) -> Option<Timestamp> {
        let wall = self.wall?;
        Some(wall.unix.after(now.saturating_duration_since(wall.at)))
    }

    /// When the wall clock will say so.
    pub(super) fn instant_of(&self, now: Instant, time: Timestamp) -> Option<Instant> {
        let wall = self.wall?;
        let after = Duration::from_secs(time.0.saturating_sub(wall.unix.0));
        Some(wall.at.checked_add(after)?.max(now))
    }

    /// When the wall clock was read last.
    pub(super) fn last_moment(&self) -> Option<Moment> {
        self.moment(self.wall?.at)
    }

    pub(super) fn moment(&self, now: Instant) -> Option<Moment> {
        let wall = self.wall?;
        let now = self.unix(now)?;
        let local = now.0.saturating_add_signed(wall.offset.into());
        Some(Moment {
            now,
            minute_of_day: (local / 60 % (24 * 60)) as u16,
            // The first of January 1970 was a Thursday.
            weekday: ((local / (24 * 3600) + 3) % 7) as u8,
        })
    }

    // --- deadlines ------------------------------------------------------------------------------

    pub(in crate::agent) fn handle_timeout(&mut self, now: Instant, wishes: &mut Wishes) {
        while let Some(due) = self.timers.next() {
            let Some(timer) = self.timers.expired(now) else {
                return;
            };
            match timer {
                Timer::Address(address) => self.address_timeout(now, address, wishes),
                Timer::Renew => self.renew(now, due, wishes),
                Timer::Own => self.own_timeout(now, wishes),
                Timer::Database => self.database_timeout(now, wishes),
                Timer::Subscribe(entity) => self.subscribe(now, &entity),
                Timer::Inquiries => self.inquire(now),
                Timer::Link(pair) => self.link_again(now, pair),
                Timer::ChildGone(child) => self.links.child_gone(child, wishes),
            }
        }
    }

    // --- whom and where -------------------------------------------------------------------------

    /// Watches an address of a contact from now on. Whether it may: another contact has it, or
    /// this one has too many.
    pub(super) fn watch(
        &mut self,
        now: Instant,
        entity: &Entity,
        address: IpAddr,
        wishes: &mut Wishes,
    ) -> bool {
        if let Some(relation) = self.towards.get_mut(&address) {
            let ours = relation.entity == *entity;
            if ours && let Some(until) = &mut relation.former {
                *until = now + FORMER;
            }
            return ours;
        }
        let standing = self.standings.entry(entity.clone()).or_default();
        if standing.addresses.len() >= MAX_ADDRESSES {
            return false;
        }
        let Some(reqid) = self.free_reqid() else {
            return false;
        };
        let standing = self.standings.entry(entity.clone()).or_default();
        standing.addresses.insert(address);
        let strict = self.strangers(entity, address);
        let ground = self.ground(address, reqid, &strict);
        let relation = Relation::new(entity.clone(), ground, Decision::new(strict));
        self.towards.insert(address, relation);
        self.judge(now, address, wishes);
        if let Some(relation) = self.towards.get_mut(&address) {
            relation.install(wishes);
        }
        true
    }

    /// How we stand to an address, if it is this contact that has it there: whoever comes from one
    /// behind the same translator, or from where another was, has no part in that.
    pub(super) fn relation_of(
        &mut self,
        entity: &Entity,
        address: IpAddr,
    ) -> Option<&mut Relation> {
        let relation = self.towards.get_mut(&address)?;
        (relation.entity == *entity).then_some(relation)
    }

    /// Whom an address belongs to, as far as we know.
    pub(super) fn holder(&self, address: IpAddr) -> Option<&Entity> {
        self.towards.get(&address).map(|relation| &relation.entity)
    }

    fn ground(&self, address: IpAddr, reqid: u32, strict: &[Clause]) -> Ground {
        Ground {
            address,
            reqid,
            mark: self.settings.mark,
            lifetime: self.settings.lifetime,
            strict: protection_of(strict, Class::ANY),
            nat: false,
            rigid: self.is_protected_otherwise(address),
            tunnels: false,
            last_way: Mode::Transport,
        }
    }

    pub(super) fn is_protected_otherwise(&self, address: IpAddr) -> bool {
        self.protected.iter().any(|net| net.contains(&address))
    }

    /// Nobody is there any more: what is sent to it is nobody's business of ours.
    pub(super) fn unwatch(&mut self, address: IpAddr, wishes: &mut Wishes) {
        let Some(mut relation) = self.towards.remove(&address) else {
            return;
        };
        if let Some(standing) = self.standings.get_mut(&relation.entity) {
            standing.addresses.remove(&address);
        }
        relation.uninstall(wishes);
        self.free_reqids.insert(relation.ground.reqid);
        self.timers.stop(&Timer::Address(address));
    }

    /// Round, so that a reqid is not reused while SAs of its last use linger.
    fn free_reqid(&mut self) -> Option<u32> {
        if self.next_reqid < CONTACT_REQIDS.end {
            self.next_reqid += 1;
            return Some(self.next_reqid - 1);
        }
        self.free_reqids.pop_first()
    }

    // --- numbers --------------------------------------------------------------------------------

    pub(super) fn question_id(&mut self, asked: Asked) -> QuestionId {
        self.next_question += 1;
        let id = QuestionId(self.next_question);
        self.questions.insert(id, asked);
        id
    }

    /// For sequences of our presence and epochs of our postures: higher than any that we have used,
    /// over restarts too. The clock sees to that as long as it is not set back, the store otherwise.
    pub(super) fn next_number(&mut self, now: Instant) -> u64 {
        let unix = self.unix(now).unwrap_or_default().0;
        self.number = (self.number + 1).max(unix << NUMBERS_A_SECOND);
        if self.number >= self.reserved {
            self.reserved = self.number + RESERVED;
            let keep = Keep::Sequence(self.settings.entity.clone(), self.reserved);
            self.effects.push_back(Effect::Keep(keep));
        }
        self.number
    }

    /// An earlier run may have used all below this.
    pub(super) fn go_on_from(&mut self, reserved: u64) {
        self.number = self.number.max(reserved);
    }

    pub(super) fn tell(&mut self, kind: &'static str, detail: String) {
        self.effects.push_back(Effect::Tell(kind, detail));
    }

    pub(super) fn count(&mut self, name: &'static str) {
        self.effects.push_back(Effect::Count(name));
    }

    pub(in crate::agent) fn tables(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let own = [
            ("contact-addresses", self.towards.len()),
            ("contact-timers", self.timers.len()),
            ("contact-questions", self.questions.len()),
            ("contact-inquiries", self.inquiries.len()),
            ("contact-effects", self.effects.len()),
        ];
        own.into_iter().chain(self.links.tables())
    }
}
