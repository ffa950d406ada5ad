//! What the agent is told about presence: the validated configuration.

use crate::kernel::desired::Mark;
use crate::net::Identity;
use crate::presence::rules::Rulebook;
use crate::presence::{Entity, Location, Protection, UserName};
use std::net::IpAddr;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceSettings {
    /// Who this machine speaks for.
    pub entity: Entity,
    pub user: Option<UserName>,
    /// Where it is while nothing proves better; never the name of a site.
    pub location: Location,
    /// Rules, sites, and what holds of those of whom nothing can be believed. The sites' anchors are
    /// peers, or this machine itself, which has no anchor address then.
    pub rulebook: Rulebook,
    /// How long a weaker verdict must stand before it is followed.
    pub dwell: Duration,
    /// Whole seconds: the kernel drops a relaxed policy after this unless it is renewed.
    pub lifetime: Duration,
    /// Of what is published.
    pub expiry: Duration,
    /// One bit, which must be clear in packets that a relaxed policy applies to.
    pub mark: Mark,
    pub max_contacts: usize,
    /// In the order of the file; no entity twice.
    pub contacts: Vec<Contact>,
}

/// Somebody whose presence counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    pub entity: Entity,
    /// The IKE identity that speaks for it: one of the peers.
    pub peer: Identity,
    /// Where to find it until its presence says so.
    pub addresses: Vec<IpAddr>,
    /// Nothing less is ever done for its packets.
    pub floor: Protection,
    pub tell: Tell,
    /// Whether it is asked to tell us when its presence changes.
    pub subscribe: bool,
}

/// What a contact may learn from us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tell {
    pub policy: bool,
    pub presence: bool,
}
