//! What is said between agents: postures, presence, policies, and where an anchor sees us.

use super::commands::AskReport;
use super::links::Pair;
use super::relations::{Asked, Effect, Inquiry, Relations, Timer};
use super::rows;
use crate::agent::effect::Reply;
use crate::agent::wishes::Wishes;
use crate::ike::effects::IkeId;
use crate::ike::effects::Token as AskToken;
use crate::ike::settings::{Question, QuestionId};
use crate::net::Identity;
use crate::presence::database;
use crate::presence::exchange::{Answer, Message, Posture, Refusal, Told};
use crate::presence::row::Direction;
use crate::presence::{Authenticity, Entity, Record, Row, Source};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// For how long we ask to be told of changes, and how often that is renewed.
const SUBSCRIPTION: Duration = Duration::from_secs(3600);
const RENEWAL: Duration = Duration::from_secs(1200);
/// Somebody who does not answer, or is not there, is asked again after this.
const ASK_AGAIN: Duration = Duration::from_secs(15);

impl Relations {
    // --- asking ---------------------------------------------------------------------------------

    /// Over the IKE SA with whoever is at `address`; `false` where there is none.
    pub(super) fn ask(&mut self, address: IpAddr, message: &Message, asked: Asked) -> bool {
        let contact = self
            .holder(address)
            .and_then(|entity| self.contacts.get(entity));
        let (Some(contact), Some(ends)) = (contact, self.line_at(address)) else {
            return false;
        };
        self.ask_peer(contact.peer.clone(), ends, message, asked);
        true
    }

    /// Fails at once where there is no IKE SA with this peer between these addresses.
    pub(super) fn ask_peer(
        &mut self,
        peer: Identity,
        (local, remote): Pair,
        message: &Message,
        asked: Asked,
    ) {
        let data = message.encode();
        let id = self.question_id(asked);
        self.effects.push_back(Effect::Ask(Question {
            id,
            peer,
            local,
            remote,
            data,
        }));
    }

    /// To whoever has the address.
    pub(super) fn tell_posture(&mut self, now: Instant, address: IpAddr) {
        let epoch = self.next_number(now);
        let Some(relation) = self.towards.get_mut(&address) else {
            return;
        };
        let message = Message::Posture(relation.tell(epoch));
        self.ask(address, &message, Asked::Posture(address, epoch));
    }

    /// Asks to be told of changes, and for what is so now.
    pub(super) fn subscribe(&mut self, now: Instant, entity: &Entity) {
        if !self.contacts.get(entity).is_some_and(|c| c.subscribe) {
            return;
        }
        let again = Timer::Subscribe(entity.clone());
        if let Some((_, (_, address))) = self.line_to(entity) {
            let message = Message::Ask {
                policy: false,
                presence: true,
                subscribe: Some(SUBSCRIPTION.as_secs() as u32),
            };
            self.ask(address, &message, Asked::Subscription(entity.clone()));
            self.timers.set(again, now + RENEWAL);
            return;
        }
        let addresses = self.standings.get(entity).map(|s| s.addresses.clone());
        for address in addresses.unwrap_or_default() {
            self.effects.push_back(Effect::Reach(address));
        }
        self.timers.set(again, now + ASK_AGAIN);
    }

    /// Tells whoever wants to know that our presence has changed.
    pub(super) fn publish(&mut self, now: Instant) {
        for entity in self.contacts.keys().cloned().collect::<Vec<_>>() {
            self.publish_to(now, &entity);
        }
    }

    pub(super) fn publish_to(&mut self, now: Instant, entity: &Entity) {
        let may_know = self.contacts.get(entity).is_some_and(|c| c.tell.presence);
        let subscribed = self.standings.get(entity).and_then(|s| s.subscribed);
        if !may_know || subscribed.is_none_or(|until| until < now) {
            return;
        }
        let Some((_, (_, address))) = self.line_to(entity) else {
            return;
        };
        let Some(presence) = self.say_own_presence(now) else {
            return;
        };
        let asked = Asked::Publication(entity.clone());
        self.ask(address, &Message::Publish(presence), asked);
    }

    // --- answers --------------------------------------------------------------------------------

    pub(in crate::agent) fn answered(
        &mut self,
        now: Instant,
        id: QuestionId,
        data: Option<&[u8]>,
        wishes: &mut Wishes,
    ) {
        let Some(asked) = self.questions.remove(&id) else {
            return;
        };
        let answer = match data.map(Answer::decode) {
            Some(Ok(answer)) => answer,
            Some(Err(error)) => {
                return self.unanswered(now, asked, &format!("its answer is malformed: {error}"));
            }
            None => return self.unanswered(now, asked, "it does not speak of presence"),
        };
        match (asked, answer) {
            (Asked::Posture(address, ours), Answer::Posture(theirs)) => {
                self.acknowledged(address, ours, theirs, wishes);
            }
            // Something that we said later was heard before, an answer of ours say.
            (Asked::Posture(address, ours), Answer::Refused(Refusal::Replayed)) => {
                if let Some(relation) = self.towards.get_mut(&address) {
                    relation.acknowledged(ours);
                    relation.install(wishes);
                }
            }
            (Asked::Subscription(entity), Answer::Told { presence, .. }) => match presence {
                Some(Told::Granted(presence)) => self.told(now, &entity, presence, wishes),
                Some(Told::Refused(why)) => {
                    self.tell("presence-refused", format!("{entity}: {why}"));
                }
                None => {}
            },
            (Asked::Publication(_), Answer::Accepted) => {}
            (
                Asked::Attestation {
                    location,
                    local,
                    anchor,
                },
                Answer::Attested {
                    location: of,
                    address,
                },
            ) => self.attested(now, (&location, local), anchor.1, (&of, address), wishes),
            (
                Asked::Inquiry(token, address),
                Answer::Told {
                    policy,
                    more,
                    presence,
                    ..
                },
            ) => {
                let report = AskReport {
                    address,
                    peer: self.name_of(address),
                    policy,
                    more,
                    presence,
                };
                let reply = Reply::Asked(Ok(report));
                self.effects.push_back(Effect::Reply(token, reply));
            }
            (asked, Answer::Refused(refusal)) => self.unanswered(now, asked, &refusal.to_string()),
            (asked, _) => self.unanswered(now, asked, "it answered something else"),
        }
    }

    pub(in crate::agent) fn ask_failed(&mut self, now: Instant, id: QuestionId, error: &str) {
        if let Some(asked) = self.questions.remove(&id) {
            self.unanswered(now, asked, error);
        }
    }

    fn unanswered(&mut self, now: Instant, asked: Asked, why: &str) {
        match asked {
            Asked::Inquiry(token, _) => {
                let reply = Reply::Asked(Err(why.to_owned()));
                self.effects.push_back(Effect::Reply(token, reply));
            }
            Asked::Attestation {
                location,
                local,
                anchor,
            } => self.not_attested(now, (&location, local), anchor, why),
            Asked::Publication(entity) | Asked::Subscription(entity) => {
                self.tell("presence-refused", format!("{entity}: {why}"));
            }
            Asked::Posture(..) => self.count("postures-unanswered"),
        }
    }

    fn name_of(&self, address: IpAddr) -> String {
        let entity = self.holder(address);
        let contact = entity.and_then(|entity| self.contacts.get(entity));
        contact.map(|c| c.peer.to_string()).unwrap_or_default()
    }

    // --- questions of others --------------------------------------------------------------------

    pub(in crate::agent) fn asked(
        &mut self,
        now: Instant,
        (ike, token): (IkeId, AskToken),
        peer: &Identity,
        (remote, nat): (IpAddr, bool),
        data: &[u8],
        wishes: &mut Wishes,
    ) {
        let answer = match Message::decode(data) {
            Err(error) => {
                self.count("questions-malformed");
                tracing::debug!(%peer, %error, "question refused");
                Answer::Refused(error.refusal())
            }
            Ok(Message::Attest) => self.attest(remote, nat),
            Ok(message) => match self.by_identity.get(peer).cloned() {
                None => Answer::Refused(Refusal::NotAllowed),
                Some(entity) => self.answer(now, &entity, remote, message, wishes),
            },
        };
        let data = answer.encode();
        self.effects.push_back(Effect::Answer { ike, token, data });
    }

    fn answer(
        &mut self,
        now: Instant,
        entity: &Entity,
        address: IpAddr,
        message: Message,
        wishes: &mut Wishes,
    ) -> Answer {
        match message {
            Message::Ask {
                policy,
                presence,
                subscribe,
            } => self.answer_ask(now, entity, address, (policy, presence, subscribe)),
            Message::Publish(presence) => {
                if presence.entity != *entity {
                    self.count("presence-of-others-claimed");
                    let detail = format!("{entity} claims to be {}", presence.entity);
                    self.tell("presence-refused", detail);
                    return Answer::Refused(Refusal::NotYourEntity);
                }
                match self.offered(now, entity, presence, wishes) {
                    Ok(()) => Answer::Accepted,
                    Err(refusal) => Answer::Refused(refusal),
                }
            }
            Message::Posture(posture) => {
                let epoch = self.next_number(now);
                let Some(relation) = self.relation_of(entity, address) else {
                    return Answer::Refused(Refusal::NotAllowed);
                };
                if !relation.heard(posture) {
                    return Answer::Refused(Refusal::Replayed);
                }
                relation.install(wishes);
                let demands = relation.demands();
                Answer::Posture(Posture { epoch, demands })
            }
            Message::Attest => self.attest(address, false),
        }
    }

    fn answer_ask(
        &mut self,
        now: Instant,
        entity: &Entity,
        address: IpAddr,
        (policy, presence, subscribe): (bool, bool, Option<u32>),
    ) -> Answer {
        let tell = self
            .contacts
            .get(entity)
            .map(|c| c.tell)
            .unwrap_or_default();
        let rows = policy.then(|| {
            if tell.policy {
                let has_it = self.holder(address) == Some(entity);
                Told::Granted(if has_it {
                    self.rows_towards(address)
                } else {
                    Vec::new()
                })
            } else {
                Told::Refused(Refusal::NotAllowed)
            }
        });
        let own = presence.then(|| {
            if !tell.presence {
                return Told::Refused(Refusal::NotAllowed);
            }
            let own = self.say_own_presence(now);
            own.map_or(Told::Refused(Refusal::Busy), Told::Granted)
        });
        let mut subscribed = None;
        if tell.presence
            && let Some(seconds) = subscribe
        {
            let seconds = seconds.min(SUBSCRIPTION.as_secs() as u32);
            let standing = self.standings.entry(entity.clone()).or_default();
            standing.subscribed = Some(now + Duration::from_secs(seconds.into()));
            subscribed = Some(seconds);
        }
        Answer::Told {
            policy: rows,
            more: false,
            presence: own,
            subscribed,
        }
    }

    /// What we apply to packets between us and this address, in both directions.
    pub(super) fn rows_towards(&self, address: IpAddr) -> Vec<Row> {
        let Some(relation) = self.towards.get(&address) else {
            return Vec::new();
        };
        let own = self.line_at(address).map(|(own, _)| own);
        let sends = relation.sends();
        let out = sends
            .iter()
            .map(|c| rows::row(c, own, address, Direction::Out));
        let applied = relation.decision.applied().iter();
        let into = applied.map(|c| rows::row(c, own, address, Direction::In));
        out.chain(into).collect()
    }

    fn acknowledged(&mut self, address: IpAddr, ours: u64, theirs: Posture, wishes: &mut Wishes) {
        if let Some(relation) = self.towards.get_mut(&address) {
            relation.heard(theirs);
            relation.acknowledged(ours);
            relation.install(wishes);
        }
    }

    // --- presence -------------------------------------------------------------------------------

    fn told(
        &mut self,
        now: Instant,
        entity: &Entity,
        presence: crate::presence::Presence,
        wishes: &mut Wishes,
    ) {
        if presence.entity != *entity {
            let detail = format!("{entity} claims to be {}", presence.entity);
            return self.tell("presence-refused", detail);
        }
        if let Err(refusal) = self.offered(now, entity, presence, wishes) {
            tracing::debug!(%entity, %refusal, "presence refused");
        }
    }

    /// What the entity's own agent says of it.
    fn offered(
        &mut self,
        now: Instant,
        entity: &Entity,
        presence: crate::presence::Presence,
        wishes: &mut Wishes,
    ) -> Result<(), Refusal> {
        let unix = self.unix(now).ok_or(Refusal::Busy)?;
        let by = self.contacts.get(entity).map(|c| c.peer.to_string());
        let record = Record {
            presence,
            source: Source::Peer,
            authenticity: Authenticity::Authenticated(by.unwrap_or_default()),
            received: unix,
        };
        self.offer(now, record, wishes).map_err(|refusal| {
            // Asked for and published at once, it comes twice.
            let known_already = matches!(&refusal,
                database::Refusal::Replayed { sequence, known } if sequence == known);
            if !known_already {
                self.tell("presence-refused", format!("{entity}: {refusal}"));
            }
            match refusal {
                database::Refusal::Replayed { .. } => Refusal::Replayed,
                database::Refusal::Full { .. } => Refusal::Busy,
                _ => Refusal::Malformed,
            }
        })
    }

    // --- inquiries of the control socket --------------------------------------------------------

    pub(super) fn inquire(&mut self, now: Instant) {
        for inquiry in std::mem::take(&mut self.inquiries) {
            let Inquiry { token, ask, until } = inquiry;
            let message = Message::Ask {
                policy: ask.policy,
                presence: ask.presence,
                subscribe: None,
            };
            let asked = Asked::Inquiry(token, ask.address);
            if self.line_at(ask.address).is_some() {
                self.ask(ask.address, &message, asked);
            } else if now >= until {
                let why = format!("{} did not answer in time", ask.address);
                self.unanswered(now, asked, &why);
            } else {
                self.inquiries.push(Inquiry { token, ask, until });
            }
        }
    }

    pub(super) fn give_up_inquiries(&mut self, now: Instant, address: IpAddr, why: &str) {
        let (over, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.inquiries)
            .into_iter()
            .partition(|inquiry| inquiry.ask.address == address);
        self.inquiries = waiting;
        for inquiry in over {
            self.unanswered(now, Asked::Inquiry(inquiry.token, address), why);
        }
    }
}
