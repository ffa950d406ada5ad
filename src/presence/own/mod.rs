//! Where is this machine? Proofs of a site anchor, hints, and what was set by hand.
//!
//! ```text
//!  by_hand ──────────────────────────────┐ until its expiry
//!  due_attestations ─→ anchor ─→ proved ─┼→ the site, for 60 s after it was asked for
//!  link, clock, resume: proofs dropped ──┘
//!  hints_against ─→ that site is not believed, whoever says it
//!  otherwise ──────→ the default, as strict as anywhere
//! ```
//!
//! A proof is an authenticated exchange with the site's anchor from a local address inside the
//! site's addresses. It counts from when it was asked for, not from when the answer came. Ranges and
//! gateways can be imitated, so they never prove anything: a site none of whose addresses is ours, or
//! against which a hint speaks, is not where we are, even if it was set by hand.
//!
//! Refuses to know: IKE, and how hints are found.

use super::database::is_usable;
use super::record::MAX_ADDRESSES;
use super::{Entity, Location, Presence, Timestamp, UserName};
use crate::net::{Identity, IpNet};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Each anchor is asked so often.
pub const ATTEST_EVERY: Duration = Duration::from_secs(20);

/// After a failure it is asked again after this.
pub const ATTEST_RETRY: Duration = Duration::from_secs(5);

/// A proof is good for this long after it was asked for.
pub const PROOF_LIFETIME: Duration = Duration::from_secs(60);

/// How long others may believe that we are at the default location, which is the strict one.
pub const DEFAULT_PUBLISHED: Duration = Duration::from_secs(60 * 60);

/// The present on both clocks. The first stands still while the machine sleeps and is never set; the
/// second is the other way round. What is set by hand ends with whichever says so first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    pub instant: Instant,
    pub wall: Timestamp,
}

/// Somebody in a site who can say that we are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// At most one anchor a location.
    pub location: Location,
    /// The site's.
    pub addresses: Vec<IpNet>,
    pub identity: Identity,
    pub address: IpAddr,
}

impl Anchor {
    fn holds(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|net| net.contains(&address))
    }
}

/// Whom to ask now, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    pub site: Location,
    pub identity: Identity,
    pub anchor: IpAddr,
    pub local: IpAddr,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Basis {
    Hand,
    Anchor(Location),
    Default,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    pub location: Location,
    pub basis: Basis,
    /// `None` for the default, which needs no proof.
    pub valid_until: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Hand {
    location: Location,
    until: Instant,
    expires: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Proof {
    local: IpAddr,
    asked: Instant,
}

#[derive(Clone, Debug)]
struct Site {
    anchor: Anchor,
    proof: Option<Proof>,
    /// Asked and not answered.
    asked: Option<Proof>,
    /// `None`: as soon as possible.
    ask_at: Option<Instant>,
}

impl Site {
    fn withdraw(&mut self) {
        (self.proof, self.asked, self.ask_at) = (None, None, None);
    }

    fn proved_until(&self) -> Option<Instant> {
        Some(self.proof?.asked + PROOF_LIFETIME)
    }
}

#[derive(Debug)]
pub struct Own {
    default: Location,
    sites: Vec<Site>,
    addresses: BTreeSet<IpAddr>,
    hand: Option<Hand>,
    against: BTreeSet<Location>,
}

impl Own {
    /// Where several sites are proved at once, the first of `anchors` counts.
    pub fn new(default: Location, anchors: Vec<Anchor>) -> Self {
        let sites = anchors.into_iter().map(|anchor| Site {
            anchor,
            proof: None,
            asked: None,
            ask_at: None,
        });
        Self {
            default,
            sites: sites.collect(),
            addresses: BTreeSet::new(),
            hand: None,
            against: BTreeSet::new(),
        }
    }

    // --- what happens -----------------------------------------------------------------------------

    /// An administrator says where we are. Replaces what was said before; with an expiry that is over
    /// it only takes that back.
    pub fn by_hand(&mut self, now: Now, location: Location, expires: Timestamp) {
        let left = Duration::from_secs(expires.0.saturating_sub(now.wall.0));
        self.hand = now.instant.checked_add(left).map(|until| Hand {
            location,
            until,
            expires,
        });
    }

    pub fn forget_hand(&mut self) {
        self.hand = None;
    }

    /// The anchor of `site` has answered, by its IKE identity, what was asked from `local`. Whether
    /// that proves anything: not where nothing was asked, or proofs were dropped since then.
    pub fn proved(&mut self, now: Instant, site: &Location, local: IpAddr) -> bool {
        let Some(site) = self.site_mut(site) else {
            return false;
        };
        let Some(asked) = site.asked.take_if(|asked| asked.local == local) else {
            return false;
        };
        if now >= asked.asked + PROOF_LIFETIME {
            site.ask_at = Some(now);
            return false;
        }
        site.proof = Some(asked);
        site.ask_at = Some(asked.asked + ATTEST_EVERY);
        true
    }

    /// The anchor did not answer, or not so that it proves anything. A proof of before holds until
    /// its time is over.
    pub fn failed(&mut self, now: Instant, site: &Location) {
        if let Some(site) = self.site_mut(site) {
            site.asked = None;
            site.ask_at = Some(now + ATTEST_RETRY);
        }
    }

    /// There may be a way to the anchor at this address now: asked again at once.
    pub fn ask_again(&mut self, now: Instant, anchor: IpAddr) {
        let waiting = |site: &&mut Site| site.anchor.address == anchor && site.asked.is_none();
        for site in self.sites.iter_mut().filter(waiting) {
            site.ask_at = Some(now);
        }
    }

    /// All addresses that this machine has now. Proofs from others are dropped.
    pub fn addresses_changed(&mut self, addresses: &[IpAddr]) {
        self.addresses = addresses.iter().copied().collect();
        let gone = |proof: Option<Proof>| proof.is_some_and(|p| !self.addresses.contains(&p.local));
        for site in &mut self.sites {
            if gone(site.proof) || gone(site.asked) {
                site.withdraw();
            }
        }
    }

    /// A cable, an access point, a route: whatever was proved was proved elsewhere.
    pub fn link_changed(&mut self) {
        self.sites.iter_mut().for_each(Site::withdraw);
    }

    /// Somebody has set the wall clock.
    pub fn clock_stepped(&mut self) {
        self.link_changed();
    }

    /// The machine, or this process, stood still for an unknown time.
    pub fn resumed(&mut self) {
        self.link_changed();
    }

    /// Every location that something speaks against now, such as a gateway that is not the site's.
    pub fn hints_against(&mut self, locations: BTreeSet<Location>) {
        self.against = locations;
    }

    // --- what follows -----------------------------------------------------------------------------

    pub fn location(&self, now: Now) -> Whereabouts {
        if let Some(hand) = &self.hand
            && now.instant < hand.until
            && now.wall < hand.expires
            && self.is_possible(&hand.location)
        {
            return Whereabouts {
                location: hand.location.clone(),
                basis: Basis::Hand,
                valid_until: Some(hand.until),
            };
        }
        for site in &self.sites {
            if let Some(until) = site.proved_until()
                && now.instant < until
                && self.is_possible(&site.anchor.location)
            {
                let location = site.anchor.location.clone();
                return Whereabouts {
                    basis: Basis::Anchor(location.clone()),
                    location,
                    valid_until: Some(until),
                };
            }
        }
        Whereabouts {
            location: self.default.clone(),
            basis: Basis::Default,
            valid_until: None,
        }
    }

    /// Nothing that can be seen speaks against it.
    fn is_possible(&self, location: &Location) -> bool {
        let mut sites = self.sites.iter().map(|site| &site.anchor);
        let inside = match sites.find(|anchor| anchor.location == *location) {
            Some(anchor) => self.addresses.iter().any(|address| anchor.holds(*address)),
            None => true,
        };
        inside && !self.against.contains(location)
    }

    /// Takes what is to be asked now. Each is due again only after [`Own::proved`] or
    /// [`Own::failed`], or after [`ATTEST_EVERY`] without either.
    pub fn due_attestations(&mut self, now: Instant) -> Vec<Attestation> {
        let mut due = Vec::new();
        for site in &mut self.sites {
            if site.ask_at.is_some_and(|at| at > now) {
                continue;
            }
            let mut inside = self.addresses.iter().filter(|a| site.anchor.holds(**a));
            let Some(local) = inside.next().copied() else {
                continue;
            };
            site.asked = Some(Proof { local, asked: now });
            site.ask_at = Some(now + ATTEST_EVERY);
            due.push(Attestation {
                site: site.anchor.location.clone(),
                identity: site.anchor.identity.clone(),
                anchor: site.anchor.address,
                local,
            });
        }
        due
    }

    /// When to ask for [`Own::due_attestations`] and [`Own::location`] again, unless something
    /// happens before. In the past where something is due already.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let in_reach = |site: &&Site| self.addresses.iter().any(|a| site.anchor.holds(*a));
        let asks = self.sites.iter().filter(in_reach);
        let asks = asks.map(|site| site.ask_at.unwrap_or(now));
        let proofs = self.sites.iter().filter_map(Site::proved_until);
        let hand = self.hand.as_ref().map(|hand| hand.until);
        let ends = proofs.chain(hand).filter(|end| *end > now);
        asks.chain(ends).min()
    }

    /// What is published of us; `None` while we have no address that others can use. It expires no
    /// later than what it rests on.
    pub fn presence(
        &self,
        now: Now,
        entity: Entity,
        user: Option<UserName>,
        addresses: &[IpAddr],
        sequence: u64,
    ) -> Option<Presence> {
        let mut usable: Vec<_> = addresses
            .iter()
            .copied()
            .filter(|a| is_usable(*a))
            .collect();
        usable.sort_unstable();
        usable.dedup();
        usable.truncate(MAX_ADDRESSES);
        let whereabouts = self.location(now);
        let valid = match whereabouts.valid_until {
            Some(until) => until.saturating_duration_since(now.instant),
            None => DEFAULT_PUBLISHED,
        };
        (!usable.is_empty()).then(|| Presence {
            entity,
            addresses: usable,
            user,
            location: whereabouts.location,
            time: now.wall,
            expires: now.wall.after(valid),
            sequence,
        })
    }

    fn site_mut(&mut self, location: &Location) -> Option<&mut Site> {
        let mut sites = self.sites.iter_mut();
        sites.find(|site| site.anchor.location == *location)
    }
}

#[cfg(test)]
mod tests;
