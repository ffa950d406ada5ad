//! The registrations in use: what each is asked to be and what it has become.

use super::registration::{Accepted, Attachment, Generation, Order, Outcome, Point, Slot};
use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What was refused is asked again after this.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// A registration that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    pub attachment: Attachment,
    pub accepted: Accepted,
}

#[derive(Debug, Default)]
pub struct State {
    generation: Generation,
    /// What the order in force says.
    ordered: Option<Attachment>,
    /// Asked for and not answered.
    pub asking: Option<Attachment>,
    /// What the home agent has last agreed to; make before break: it stays while another is asked for.
    pub bound: Option<Bound>,
    /// Since when nobody answers, where that has been said.
    pub silent_since: Option<Instant>,
    refused: Option<(Attachment, Instant)>,
}

impl State {
    /// When what stands at another place than the one that is asked for is over. At home nothing has to be renewed.
    fn left_until(&self) -> Option<Instant> {
        let Bound {
            attachment,
            accepted,
        } = self.bound.filter(|_| self.asking.is_some())?;
        let is_at_home = matches!(attachment.point, Point::AtHome(_));
        (!is_at_home).then(|| accepted.asked + attachment.lifetime)
    }
}

/// What an outcome means for its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// `is_new`: not merely renewed.
    Accepted {
        bound: Bound,
        is_new: bool,
    },
    Refused {
        code: u8,
        attachment: Attachment,
    },
    Silent {
        attachment: Attachment,
        is_first: bool,
    },
    Expired,
}

#[derive(Debug, Default)]
pub struct Slots {
    states: BTreeMap<Slot, State>,
    last: Generation,
    orders: VecDeque<Order>,
}

impl Slots {
    /// Wants `slot` to be attached so. Nothing happens where it is or is asked for, or was refused just
    /// now; whether it is asked for now.
    pub fn attach(&mut self, now: Instant, slot: Slot, attachment: Attachment) -> bool {
        let state = self.states.entry(slot).or_default();
        let is_alive = state.asking.is_some() || state.bound.is_some();
        let is_asked = is_alive && state.ordered == Some(attachment);
        let was_refused = state
            .refused
            .is_some_and(|(what, at)| what == attachment && now < at + REFUSED_PAUSE);
        if is_asked || was_refused {
            return false;
        }
        self.last = Generation(self.last.0 + 1);
        state.generation = self.last;
        (state.ordered, state.asking) = (Some(attachment), Some(attachment));
        state.refused = None;
        state.silent_since = None;
        self.orders.push_back(Order::Attach {
            slot,
            generation: self.last,
            attachment,
        });
        true
    }

    /// Asks again at once: silence counts from now on. It is not over, since it is said once, and who asks already is not
    /// asked anew.
    pub fn renew(&mut self, now: Instant, slot: Slot) {
        if let Some(state) = self.states.get_mut(&slot) {
            if let Some(since) = &mut state.silent_since {
                *since = now;
            }
            let order = Order::Renew { slot };
            if !self.orders.contains(&order) {
                self.orders.push_back(order);
            }
        }
    }

    /// Its way is open only now: what is unanswered is asked once more.
    pub fn repeat(&mut self, slot: Slot) {
        if self.is_unanswered(slot) {
            self.orders.push_back(Order::Repeat { slot });
        }
    }

    /// As [`Slots::repeat`], and silence counts from now on: nobody can have heard us before.
    pub fn reopen(&mut self, now: Instant, slot: Slot) {
        if let Some(State {
            silent_since: Some(since),
            ..
        }) = self.states.get_mut(&slot)
        {
            *since = now;
        }
        self.repeat(slot);
    }

    /// As [`Slots::renew`], where it stands.
    pub fn renew_bound(&mut self, now: Instant, slot: Slot) {
        if self.bound(slot).is_some() {
            self.renew(now, slot);
        }
    }

    /// What is asked for cannot be answered any more: to be asked for elsewhere.
    pub fn abandon(&mut self, slot: Slot) {
        if let Some(state) = self.states.get_mut(&slot) {
            (state.ordered, state.asking) = (None, None);
            if state.bound.is_none() {
                self.detach(slot, false);
            }
        }
    }

    /// Ends also what is neither asked for nor bound, since whoever asks for it would go on. `release`: the home agent is told,
    /// where it has, or may have, agreed.
    pub fn detach(&mut self, slot: Slot, release: bool) {
        if let Some(state) = self.states.remove(&slot) {
            let release = release && (state.asking.is_some() || state.bound.is_some());
            self.orders.push_back(Order::Detach { slot, release });
        }
    }

    /// What stands may not stand any more: each is asked for again.
    pub fn distrust(&mut self) {
        for slot in self.states.keys().copied().collect::<Vec<_>>() {
            self.detach(slot, false);
        }
    }

    /// What its link carried is gone with the link: nobody is to renew it there.
    pub fn unbind(&mut self, slot: Slot) {
        if let Some(state) = self.states.get_mut(&slot) {
            state.bound = None;
            if state.asking.is_none() {
                self.detach(slot, false);
            }
        }
    }

    pub fn get(&self, slot: Slot) -> Option<&State> {
        self.states.get(&slot)
    }

    pub fn bound(&self, slot: Slot) -> Option<Bound> {
        self.states.get(&slot)?.bound
    }

    pub fn is_asking(&self, slot: Slot) -> bool {
        self.states
            .get(&slot)
            .is_some_and(|state| state.asking.is_some())
    }

    /// Whether it has been said that nobody answers.
    pub fn is_silent(&self, slot: Slot) -> bool {
        let state = self.states.get(&slot);
        state.is_some_and(|state| state.silent_since.is_some())
    }

    /// Whether something asked for, anew or again, has found no answer so far.
    pub fn is_unanswered(&self, slot: Slot) -> bool {
        let is_silent = |state: &State| state.asking.is_some() || state.silent_since.is_some();
        self.states.get(&slot).is_some_and(is_silent)
    }

    pub fn all(&self) -> impl Iterator<Item = (Slot, &State)> {
        self.states.iter().map(|(slot, state)| (*slot, state))
    }

    pub fn slots(&self) -> Vec<Slot> {
        self.states.keys().copied().collect()
    }

    /// `None` where the outcome answers an order that is not in force any more.
    pub fn hear(
        &mut self,
        now: Instant,
        slot: Slot,
        generation: Generation,
        outcome: &Outcome,
    ) -> Option<Heard> {
        let state = self.states.get_mut(&slot)?;
        if state.generation != generation {
            return None;
        }
        let attachment = state.ordered?;
        Some(match *outcome {
            Outcome::Accepted(accepted) => {
                let bound = Bound {
                    attachment,
                    accepted,
                };
                let is_new = state.asking.take().is_some();
                state.bound = Some(bound);
                state.silent_since = None;
                Heard::Accepted { bound, is_new }
            }
            Outcome::Refused { code } => {
                (state.ordered, state.asking) = (None, None);
                if state
                    .bound
                    .is_some_and(|bound| bound.attachment == attachment)
                {
                    state.bound = None;
                }
                state.refused = Some((attachment, now));
                Heard::Refused { code, attachment }
            }
            Outcome::Silent => {
                let is_first = state.silent_since.is_none();
                state.silent_since.get_or_insert(now);
                Heard::Silent {
                    attachment,
                    is_first,
                }
            }
            Outcome::Expired => {
                state.bound = None;
                state.asking = Some(attachment);
                Heard::Expired
            }
        })
    }

    /// While another place is asked for in vain, nobody renews what stood before: it ends with its lifetime.
    pub fn expire(&mut self, now: Instant) {
        for state in self.states.values_mut() {
            if state.left_until().is_some_and(|until| until <= now) {
                state.bound = None;
            }
        }
    }

    pub fn poll_order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// When something that was refused may be asked again, or what was left is over.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let refused = self.states.values().filter_map(|state| state.refused);
        let again = refused.map(|(_, at)| at + REFUSED_PAUSE);
        let left = self.states.values().filter_map(State::left_until);
        again.chain(left).filter(|at| *at > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mobile_ip::Via;
    use crate::mobile_ip::dual_client::{Carried, NatTraversal};
    use std::net::Ipv4Addr;

    fn attachment(last: u8) -> Attachment {
        Attachment {
            via: Via::Routed,
            point: Point::CoLocated(Ipv4Addr::new(10, 0, 0, last)),
            home: Ipv4Addr::new(10, 0, 1, 1),
            home_agent: Ipv4Addr::new(10, 0, 1, 2),
            lifetime: Duration::from_secs(60),
            reverse: true,
            nat_traversal: NatTraversal::Detected,
            gateway: None,
        }
    }

    fn accepted(asked: Instant) -> Outcome {
        Outcome::Accepted(Accepted {
            asked,
            round_trip: Duration::ZERO,
            trusted: false,
            carried: Carried::AtHome,
        })
    }

    #[test]
    fn what_its_link_carried_is_not_asked_for_any_more_when_nobody_wants_it() {
        let mut slots = Slots::default();
        slots.attach(Instant::now(), Slot::Outer(0), attachment(1));
        slots.abandon(Slot::Outer(0));
        slots.detach(Slot::Outer(0), true);
        let orders: Vec<_> = std::iter::from_fn(|| slots.poll_order()).collect();
        let detached = Order::Detach {
            slot: Slot::Outer(0),
            release: false,
        };
        assert_eq!(orders[1..], [detached]);
    }

    #[test]
    fn what_stood_over_a_link_that_is_gone_is_not_renewed_there() {
        let now = Instant::now();
        let mut slots = Slots::default();
        slots.attach(now, Slot::Outer(0), attachment(1));
        let generation = slots.last;
        slots.hear(now, Slot::Outer(0), generation, &accepted(now));
        slots.unbind(Slot::Outer(0));
        let expired = slots.hear(now, Slot::Outer(0), generation, &Outcome::Expired);
        assert_eq!(expired, None);
        let detached = Order::Detach {
            slot: Slot::Outer(0),
            release: false,
        };
        let orders: Vec<_> = std::iter::from_fn(|| slots.poll_order()).collect();
        assert_eq!(orders[1..], [detached]);
    }

    #[test]
    fn asking_again_does_not_end_a_silence_that_is_said_once() {
        let now = Instant::now();
        let mut slots = Slots::default();
        slots.attach(now, Slot::Inner, attachment(1));
        let generation = slots.last;
        slots.hear(now, Slot::Inner, generation, &accepted(now));
        slots.hear(now, Slot::Inner, generation, &Outcome::Silent);
        let later = now + Duration::from_secs(5);
        slots.renew_bound(later, Slot::Inner);
        let state = slots.get(Slot::Inner).unwrap();
        assert_eq!(state.silent_since, Some(later));
    }

    #[test]
    fn what_stood_elsewhere_is_over_with_its_lifetime_unless_it_is_at_home() {
        let now = Instant::now();
        let (before_end, end) = (now + Duration::from_secs(59), now + Duration::from_secs(60));
        let at_home = Attachment {
            point: Point::AtHome(Ipv4Addr::new(10, 0, 0, 1)),
            ..attachment(1)
        };
        for (before, is_over) in [(attachment(1), true), (at_home, false)] {
            let mut slots = Slots::default();
            slots.attach(now, Slot::Inner, before);
            let generation = slots.last;
            slots.hear(now, Slot::Inner, generation, &accepted(now));
            assert_eq!(slots.poll_timeout(now), None);
            slots.attach(now, Slot::Inner, attachment(2));
            assert_eq!(slots.poll_timeout(now), is_over.then_some(end));
            slots.expire(before_end);
            assert!(slots.bound(Slot::Inner).is_some());
            slots.expire(end);
            assert_eq!(slots.bound(Slot::Inner).is_none(), is_over);
        }
    }

    #[test]
    fn an_outcome_of_an_earlier_order_says_nothing_of_the_present_one() {
        let now = Instant::now();
        let mut slots = Slots::default();
        let mut ordered = |last| {
            slots.attach(now, Slot::Inner, attachment(last));
            match slots.poll_order() {
                Some(Order::Attach { generation, .. }) => generation,
                other => panic!("{other:?} is no attachment"),
            }
        };
        let (before, present) = (ordered(1), ordered(2));
        let outcome = Outcome::Silent;
        assert_eq!(slots.hear(now, Slot::Inner, before, &outcome), None);
        assert!(slots.hear(now, Slot::Inner, present, &outcome).is_some());
    }
}
