//! Proofs of being inside: one an adapter, each bound to one state of its connection, each ageing.

use crate::mobile_ip::LinkId;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// One state of an adapter's connection. Any change of carrier, address, gateway or access point, and
/// every resume, begins another (RFC 5265 §3.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// The inner home agent has answered in the clear over one adapter, authenticated, and says that it
/// knows which networks are trusted (RFC 5265 §3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    pub epoch: Epoch,
    /// When the request left: the answer proves nothing of what happened later.
    pub asked: Instant,
}

/// An adapter of which the present is proved. Only [`Proofs::proven`] makes one, and whoever opens a
/// link for S in the clear must show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProvenLink {
    link: LinkId,
}

impl ProvenLink {
    pub fn link(self) -> LinkId {
        self.link
    }
}

/// What is proved of which adapter.
#[derive(Debug)]
pub struct Proofs {
    /// `T_MONITOR` of RFC 5265 §3.2.4.
    lifetime: Duration,
    epochs: BTreeMap<LinkId, Epoch>,
    held: BTreeMap<LinkId, Proof>,
    last_epoch: Epoch,
}

impl Proofs {
    pub fn new(lifetime: Duration) -> Self {
        Self {
            lifetime,
            epochs: BTreeMap::new(),
            held: BTreeMap::new(),
            last_epoch: Epoch::default(),
        }
    }

    /// The connection of `link` has changed: what was proved was proved of another one.
    pub fn begin(&mut self, link: LinkId) -> Epoch {
        self.last_epoch = Epoch(self.last_epoch.0 + 1);
        self.held.remove(&link);
        self.epochs.insert(link, self.last_epoch);
        self.last_epoch
    }

    pub fn forget(&mut self, link: LinkId) {
        self.held.remove(&link);
        self.epochs.remove(&link);
    }

    pub fn epoch(&self, link: LinkId) -> Option<Epoch> {
        self.epochs.get(&link).copied()
    }

    /// Takes `proof` for `link`, unless its connection is another one now or the answer took too long.
    /// Whether it counts.
    pub fn prove(&mut self, now: Instant, link: LinkId, proof: Proof) -> bool {
        let counts = self.epoch(link) == Some(proof.epoch) && now < proof.asked + self.lifetime;
        if counts {
            let held = self.held.entry(link).or_insert(proof);
            held.asked = held.asked.max(proof.asked);
        }
        counts
    }

    /// The home agent has refused, or does not say any more that it knows the trusted networks.
    pub fn withdraw(&mut self, link: LinkId) {
        self.held.remove(&link);
    }

    /// Whether S may be in the clear on `link` now.
    pub fn holds(&self, now: Instant, link: LinkId) -> bool {
        self.until(link).is_some_and(|until| now < until)
    }

    pub fn proven(&self, now: Instant, link: LinkId) -> Option<ProvenLink> {
        self.holds(now, link).then_some(ProvenLink { link })
    }

    /// When the proof of `link` is over, if there is one.
    pub fn until(&self, link: LinkId) -> Option<Instant> {
        Some(self.held.get(&link)?.asked + self.lifetime)
    }

    pub fn asked(&self, link: LinkId) -> Option<Instant> {
        Some(self.held.get(&link)?.asked)
    }

    /// Drops what is over; returns of which adapters.
    pub fn expire(&mut self, now: Instant) -> Vec<LinkId> {
        let lifetime = self.lifetime;
        let over = |(_, proof): &(&LinkId, &Proof)| now >= proof.asked + lifetime;
        let gone: Vec<_> = self
            .held
            .iter()
            .filter(over)
            .map(|(link, _)| *link)
            .collect();
        for link in &gone {
            self.held.remove(link);
        }
        gone
    }

    pub fn next_expiry(&self) -> Option<Instant> {
        self.held.keys().filter_map(|link| self.until(*link)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONITOR: Duration = Duration::from_secs(60);
    const A: LinkId = LinkId(2);
    const B: LinkId = LinkId(3);

    #[test]
    fn a_proof_of_one_link_says_nothing_of_another() {
        let now = Instant::now();
        let mut proofs = Proofs::new(MONITOR);
        let epoch = proofs.begin(A);
        proofs.begin(B);
        assert!(proofs.prove(now, A, Proof { epoch, asked: now }));
        assert!(proofs.holds(now, A));
        assert!(!proofs.holds(now, B));
        assert!(!proofs.prove(now, B, Proof { epoch, asked: now }));
    }

    #[test]
    fn an_answer_to_a_request_from_before_the_change_proves_nothing() {
        let now = Instant::now();
        let mut proofs = Proofs::new(MONITOR);
        let before = proofs.begin(A);
        proofs.begin(A);
        assert!(!proofs.prove(
            now,
            A,
            Proof {
                epoch: before,
                asked: now
            }
        ));
        assert!(!proofs.holds(now, A));
    }

    #[test]
    fn a_proof_counts_from_the_request_and_ends_to_the_instant() {
        let asked = Instant::now();
        let answered = asked + Duration::from_secs(5);
        let mut proofs = Proofs::new(MONITOR);
        let epoch = proofs.begin(A);
        assert!(proofs.prove(answered, A, Proof { epoch, asked }));
        assert_eq!(proofs.next_expiry(), Some(asked + MONITOR));
        let end = asked + MONITOR;
        assert!(proofs.holds(asked + (MONITOR.saturating_sub(Duration::from_nanos(1))), A));
        assert!(!proofs.holds(end, A));
        assert_eq!(proofs.expire(end), [A]);
        assert!(!proofs.prove(end, A, Proof { epoch, asked }));
    }

    #[test]
    fn answers_in_the_wrong_order_do_not_shorten_a_proof() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut proofs = Proofs::new(MONITOR);
        let epoch = proofs.begin(A);
        proofs.prove(
            later,
            A,
            Proof {
                epoch,
                asked: later,
            },
        );
        proofs.prove(later, A, Proof { epoch, asked: now });
        assert_eq!(proofs.until(A), Some(later + MONITOR));
    }
}
