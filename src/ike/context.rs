//! What every exchange needs of the endpoint around it: settings, randomness, deadlines, and the
//! queue of effects.

use super::counters::Counters;
use super::crypto::{Group, PrivateKey};
use super::effects::{ChildId, ConnectError, Effect, IkeId};
use super::leases::Leases;
use super::settings::{Connect, RequestId, Settings};
use crate::net::{Cpi, Identity, Random, Spi, Timers};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// How much later the key for the next exchange is drawn: a peer that is near has answered this one by then.
const NEXT_KEY: Duration = Duration::from_millis(30);

/// Number of an attempt to set up an IKE SA; never on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AttemptId(pub(super) u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// An unanswered `IKE_SA_INIT` or `IKE_AUTH` is sent again, or given up.
    Attempt(AttemptId),
    /// A half-open SA, by our SPI, is forgotten.
    HalfOpen(u64),
    /// The keys of a half-open SA, by our SPI, are made while its answer is underway: at once.
    Agreement(u64),
    /// A private key for the next key exchange is drawn, so that nobody waits for it then.
    Key,
    /// The request in flight is sent again, or given up.
    Request(IkeId),
    /// A peer that was not heard is asked whether it lives.
    Liveness(IkeId),
    /// A peer that rested is asked whether it lives.
    Awake(IkeId),
    /// An IKE SA without children is closed; one that is closed is forgotten.
    Idle(IkeId),
    /// What a busy peer refused is asked for again.
    Postponed(IkeId),
    /// An IKE SA that lost against one set up by the peer at the same time is looked at again.
    Redundant(IkeId),
    /// A child that lost against an equal one is looked at again.
    RedundantChild(ChildId),
    /// A child is replaced.
    Rekey(ChildId),
    /// A child that nobody replaced is given up.
    Expire(ChildId),
    /// Whoever asked for the child has had time to install it, though it never said so.
    Confirmed(ChildId),
    /// The agent has not answered what a peer asked.
    Answer(IkeId),
}

/// A wish and whether anybody still waits for it.
#[derive(Debug)]
pub(super) struct Wanted {
    /// `None` after it was cancelled.
    pub(super) request: Option<RequestId>,
    pub(super) connect: Connect,
    /// How often the peer was too busy.
    pub(super) tries: u8,
}

impl From<Connect> for Wanted {
    fn from(connect: Connect) -> Self {
        Self {
            request: Some(connect.request),
            connect,
            tries: 0,
        }
    }
}

#[derive(Debug)]
pub(super) struct Context {
    pub(super) settings: Settings,
    pub(super) rng: Box<dyn Random>,
    pub(super) timers: Timers<Timer>,
    pub(super) counters: Counters,
    effects: VecDeque<Effect>,
    /// Of the group that is preferred; used by one exchange, and never again.
    key: Option<PrivateKey>,
    /// Inbound SPIs in use or on offer.
    spis: BTreeSet<Spi>,
    /// Those that we receive compressed packets by, and the inbound SPIs of their children.
    cpis: BTreeMap<Cpi, Spi>,
    /// Which IKE SA a child belongs to.
    pub(super) owners: BTreeMap<ChildId, IkeId>,
    /// Identities with an established IKE SA, and how many.
    pub(super) in_contact: BTreeMap<Identity, usize>,
    /// Who has children in transport mode at an address, and how many.
    pub(super) at_address: BTreeMap<IpAddr, BTreeMap<Identity, usize>>,
    /// Identities whose IKE SAs are not closed for want of children.
    pub(super) held: BTreeSet<Identity>,
    /// Identities that nothing is asked of by ourselves.
    pub(super) resting: BTreeSet<Identity>,
    /// What we gave to clients.
    pub(super) leases: Leases,
    last_id: u64,
}

impl Context {
    pub(super) fn new(settings: Settings, rng: Box<dyn Random>) -> Self {
        let mut context = Self {
            settings,
            rng,
            timers: Timers::default(),
            counters: Counters::default(),
            effects: VecDeque::new(),
            key: None,
            spis: BTreeSet::new(),
            cpis: BTreeMap::new(),
            owners: BTreeMap::new(),
            in_contact: BTreeMap::new(),
            at_address: BTreeMap::new(),
            held: BTreeSet::new(),
            resting: BTreeSet::new(),
            leases: Leases::default(),
            last_id: 0,
        };
        context.prepare_key();
        context
    }

    pub(super) fn emit(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    pub(super) fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub(super) fn transmit(&mut self, local: SocketAddr, remote: SocketAddr, payload: &[u8]) {
        self.emit(Effect::Transmit {
            local,
            remote,
            payload: payload.to_vec(),
        });
    }

    pub(super) fn fail(&mut self, wanted: &Wanted, error: ConnectError) {
        if let Some(request) = wanted.request {
            self.emit(Effect::Failed { request, error });
        }
    }

    /// Unique among everything that this endpoint numbers.
    pub(super) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// 32 octets: at least half the key of every PRF we offer, and no fewer than 16 (RFC 7296
    /// §2.10).
    pub(super) fn nonce(&mut self) -> Vec<u8> {
        let mut nonce = vec![0; 32];
        self.rng.fill(&mut nonce);
        nonce
    }

    /// A fresh one, drawn before where that was of use.
    pub(super) fn private_key(&mut self, now: Instant, group: Group) -> PrivateKey {
        self.set_timer(Timer::Key, now + NEXT_KEY);
        let ready = self.key.take_if(|key| key.group() == group);
        ready.unwrap_or_else(|| PrivateKey::draw(group, &mut self.rng))
    }

    pub(super) fn prepare_key(&mut self) {
        let rng = &mut self.rng;
        let preferred = Group::ALL[0];
        self.key
            .get_or_insert_with(|| PrivateKey::draw(preferred, rng));
    }

    /// An inbound SPI for a child, to be given back with [`Context::release_spi`].
    pub(super) fn reserve_spi(&mut self) -> Spi {
        loop {
            let spi = Spi(self.rng.u32());
            if spi.0 >= Spi::FIRST && self.spis.insert(spi) {
                return spi;
            }
        }
    }

    pub(super) fn release_spi(&mut self, spi: Spi) {
        self.spis.remove(&spi);
        self.cpis.retain(|_, of| *of != spi);
    }

    /// A CPI for the child that receives on `spi`, given back with it; `None` where compression is
    /// off, or so many are in use that one is not found soon.
    pub(super) fn reserve_cpi(&mut self, spi: Spi) -> Option<Cpi> {
        const TRIES: usize = 64;
        let choices = u32::from(Cpi::LAST.0 - Cpi::FIRST.0) + 1;
        if !self.settings.compression {
            return None;
        }
        for _ in 0..TRIES {
            let cpi = Cpi(Cpi::FIRST.0 + (self.rng.u32() % choices) as u16);
            if let Entry::Vacant(free) = self.cpis.entry(cpi) {
                free.insert(spi);
                return Some(cpi);
            }
        }
        None
    }

    /// Counts a child in transport mode between us and `address`.
    pub(super) fn enter_address(&mut self, address: IpAddr, peer: &Identity) {
        let there = self.at_address.entry(address).or_default();
        *there.entry(peer.clone()).or_default() += 1;
    }

    pub(super) fn leave_address(&mut self, address: IpAddr, peer: &Identity) {
        let Some(there) = self.at_address.get_mut(&address) else {
            return;
        };
        if let Some(count) = there.get_mut(peer) {
            *count -= 1;
            if *count == 0 {
                there.remove(peer);
            }
        }
        if there.is_empty() {
            self.at_address.remove(&address);
        }
    }

    /// Two hosts behind one translator have one address here, and nothing in a packet would tell
    /// whose it is (RFC 3948 §5.2).
    pub(super) fn is_address_of_another(&self, address: IpAddr, peer: &Identity) -> bool {
        let there = self.at_address.get(&address);
        there.is_some_and(|there| there.keys().any(|other| other != peer))
    }

    /// `whole` less a random part of up to a tenth, so that two ends do not act at once.
    pub(super) fn jittered(&mut self, whole: Duration) -> Duration {
        let share = f64::from(self.rng.u32()) / f64::from(u32::MAX);
        whole.mul_f64(1.0 - share / 10.0)
    }

    pub(super) fn tables(&self) -> [(&'static str, usize); 6] {
        [
            ("ike-children", self.owners.len()),
            ("ike-child-spis", self.spis.len()),
            ("ike-peers", self.in_contact.len()),
            ("ike-addresses-of-hosts", self.at_address.len()),
            ("ike-leases", self.leases.len()),
            ("ike-timers", self.timers.len()),
        ]
    }

    pub(super) fn set_timer(&mut self, timer: Timer, at: Instant) {
        self.timers.set(timer, at);
    }
}
