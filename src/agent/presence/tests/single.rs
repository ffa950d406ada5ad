//! One agent's relations and a kernel; a test says what peers say, and what IKE does.

use super::kernel::{Kernel, Output};
use super::settings::{identity, in_office};
use crate::agent::effect::Reply;
use crate::agent::event::{Doubt, KernelEvent, Token};
use crate::agent::presence::commands::{
    Ask, PolicyCommand, PolicyEntry, PresenceCommand, SetPresence,
};
use crate::agent::presence::relations::{Effect, Relations};
use crate::agent::settings::Settings;
use crate::agent::wishes::Wishes;
use crate::ike::effects::{IkeId, Token as AskToken};
use crate::ike::settings::Question;
use crate::kernel::desired::Direction;
use crate::net::Flow;
use crate::presence::exchange::{Answer, Message};
use crate::presence::{Presence, Protection, Timestamp};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

const BEGINNING: u64 = 1_800_000_000;

/// Questions to one peer that IKE lets wait.
const WAITING: usize = 64;

pub(super) struct Single {
    relations: Relations,
    wishes: Wishes,
    kernel: Kernel,
    start: Instant,
    now: Instant,
    stepped: i64,
    own: IpAddr,
    answer: Option<Answer>,
    /// Asked of peers, and not answered.
    pub(super) questions: Vec<Question>,
    replies: Vec<Reply>,
    tells: Vec<(&'static str, String)>,
}

impl Single {
    /// The first of `settings`' people, at its place in the office.
    pub(super) fn new(settings: Settings) -> Self {
        let presence = settings.presence.unwrap();
        let now = Instant::now();
        let mut single = Self {
            relations: Relations::new(presence, settings.identity, Vec::new()),
            wishes: Wishes::default(),
            kernel: Kernel::default(),
            start: now,
            now,
            stepped: 0,
            own: in_office(super::settings::ALICE),
            answer: None,
            questions: Vec::new(),
            replies: Vec::new(),
            tells: Vec::new(),
        };
        single.relations.start(now, &mut single.wishes);
        single.read_clock(None);
        let own = [single.own];
        single.relations.addresses(now, &own, &mut single.wishes);
        single.drain();
        single
    }

    pub(super) fn wall(&self) -> Timestamp {
        let passed = self.now.duration_since(self.start).as_secs();
        Timestamp((BEGINNING + passed).saturating_add_signed(self.stepped))
    }

    pub(super) fn step_clock(&mut self, seconds: i64) {
        self.stepped += seconds;
        self.read_clock(Some(Doubt::ClockStepped));
    }

    pub(super) fn read_clock(&mut self, doubt: Option<Doubt>) {
        let wall = self.wall();
        let Self {
            relations, wishes, ..
        } = self;
        relations.wall_clock(self.now, wall, 0, doubt, wishes);
        self.drain();
    }

    // --- what is said ---------------------------------------------------------------------------

    /// What is answered to a question of this peer.
    pub(super) fn hears(&mut self, who: usize, from: IpAddr, data: &[u8]) -> Answer {
        let exchange = (IkeId(who as u64), AskToken(0));
        let Self {
            relations, wishes, ..
        } = self;
        relations.asked(
            self.now,
            exchange,
            &identity(who),
            (from, false),
            data,
            wishes,
        );
        self.drain();
        self.answer.take().expect("every question is answered")
    }

    pub(super) fn publishes(&mut self, who: usize, presence: Presence) -> Answer {
        self.hears(who, in_office(who), &Message::Publish(presence).encode())
    }

    /// Everything that was asked is answered so.
    pub(super) fn answers(&mut self, answer: &Answer) {
        for question in std::mem::take(&mut self.questions) {
            let data = answer.encode();
            let wishes = &mut self.wishes;
            self.relations
                .answered(self.now, question.id, Some(&data), wishes);
        }
        self.drain();
    }

    pub(super) fn ike_up(&mut self, who: usize, from: IpAddr, nat: bool) {
        let (ike, peer) = (IkeId(who as u64), identity(who));
        let ends = (SocketAddr::new(self.own, 500), SocketAddr::new(from, 500));
        let wishes = &mut self.wishes;
        self.relations
            .ike_up(self.now, ike, &peer, ends, nat, wishes);
        self.drain();
    }

    pub(super) fn ike_down(&mut self, who: usize) {
        let (ike, peer) = (IkeId(who as u64), identity(who));
        self.relations
            .ike_down(self.now, ike, &peer, &mut self.wishes);
        self.drain();
    }

    // --- commands -------------------------------------------------------------------------------

    pub(super) fn command(&mut self, command: PresenceCommand) -> Reply {
        let Self {
            relations, wishes, ..
        } = self;
        relations.presence_command(self.now, Token(0), command, wishes);
        self.drain();
        self.replies.pop().expect("every command is answered")
    }

    pub(super) fn set(&mut self, set: SetPresence) -> Result<(), String> {
        match self.command(PresenceCommand::Set(set)) {
            Reply::Done => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }

    pub(super) fn be(&mut self, location: &str) {
        let entity = super::settings::entity(super::settings::ALICE);
        self.set(super::world::said(entity, location)).unwrap();
    }

    pub(super) fn policy_command(&mut self, command: PolicyCommand) -> Reply {
        let Self {
            relations, wishes, ..
        } = self;
        relations.policy_command(self.now, Token(0), command, wishes);
        self.drain();
        self.replies.pop().expect("every command is answered")
    }

    pub(super) fn policies(&mut self) -> Vec<PolicyEntry> {
        match self.policy_command(PolicyCommand::List) {
            Reply::Policies(entries) => entries,
            other => panic!("{other:?}"),
        }
    }

    /// FIG. 4, for somebody at the control socket.
    pub(super) fn asks(&mut self, address: IpAddr) {
        let ask = Ask {
            address,
            policy: true,
            presence: true,
        };
        self.relations.ask_command(self.now, Token(0), ask);
        self.drain();
    }

    // --- time -----------------------------------------------------------------------------------

    pub(super) fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let timers = [self.relations.poll_timeout(), self.kernel.poll_timeout()];
            let Some(next) = timers.into_iter().flatten().min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            let outputs = self.kernel.handle_timeout(self.now, self.wall().0);
            self.noticed(outputs);
            self.relations.handle_timeout(self.now, &mut self.wishes);
            self.drain();
        }
        self.now = end;
    }

    fn noticed(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            if let Output::Event(KernelEvent::PolicyExpired { policy }) = output {
                let wishes = &mut self.wishes;
                self.relations.policy_expired(self.now, &policy, wishes);
            }
        }
    }

    fn drain(&mut self) {
        while let Some(effect) = self.relations.poll_effect() {
            match effect {
                Effect::Answer { data, .. } => self.answer = Some(Answer::decode(&data).unwrap()),
                Effect::Ask(question) if self.questions.len() < WAITING => {
                    self.questions.push(question);
                }
                Effect::Ask(question) => self.relations.ask_failed(self.now, question.id, "busy"),
                Effect::Reply(_, reply) => self.replies.push(reply),
                Effect::Tell(kind, detail) => self.tells.push((kind, detail)),
                _ => {}
            }
        }
        if let Some(change) = self.wishes.take_change() {
            let wall = self.wall().0;
            let outputs = self.kernel.apply(self.now, wall, change);
            self.noticed(outputs);
        }
    }

    // --- what came of it ------------------------------------------------------------------------

    pub(super) fn sends(&self, flow: &Flow) -> Protection {
        self.kernel.protection(Direction::Out, flow)
    }

    pub(super) fn accepts(&self, flow: &Flow) -> Protection {
        self.kernel.protection(Direction::In, flow)
    }

    pub(super) fn policy_count(&self) -> usize {
        self.kernel.policies().count()
    }

    pub(super) fn told(&self, kind: &str, words: &str) -> bool {
        let mut tells = self.tells.iter();
        tells.any(|(of, detail)| *of == kind && detail.contains(words))
    }

    pub(super) fn replies(&self) -> &[Reply] {
        &self.replies
    }

    pub(super) fn tables(&self) -> Vec<(&'static str, usize)> {
        self.relations.tables().collect()
    }
}
