//! From presence to protection: which rule holds, and the stricter of both ends.
//!
//! ```text
//!  peer's Standing ─→ View ─┐
//!  own Standing ────→ View ─┼─→ per class of packets: first rule that holds ─→ join ─→ Clause*
//!  floor, registered rows ──┴──────────────────────────────────────────────────↗
//! ```
//!
//! Everything here is monotone: whoever takes knowledge away (an expiry, a signature, an address
//! that leaves its site) gets at least the protection that there was before. Three things see to
//! it. Parts are only ever joined. What is not known may be so, so that a rule counts already if
//! it *may* hold. And whoever is not known to be where a site proves it gets `unknown` besides.

mod clause;
mod hours;
mod judge;
mod problems;
mod standing;
mod why;

#[cfg(test)]
mod properties;
#[cfg(test)]
pub(in crate::presence) mod universe;

pub use clause::{Clause, Treatment, classes, covers, protection_of, same_effect};
pub(in crate::presence) use clause::{compose, deciding};
pub use hours::{Hours, Moment, Weekdays};
pub use judge::{Verdict, judge};
pub use problems::RulebookProblem;
pub use standing::{Standing, contradicts, worth_keeping};

use super::row::{Level, Mode};
use super::{Class, Entity, Location, Protection, UserName};
use crate::net::{Identity, IpNet};
use std::net::IpAddr;

/// Under which circumstances a rule holds. What is `None` or empty holds always.
///
/// Entity, user and addresses are the peer's. The location is asked twice, once with the peer's
/// and once with our own: the stricter answer counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct When {
    pub location: Option<Location>,
    pub entity: Option<Entity>,
    pub user: Option<UserName>,
    pub addresses: Vec<IpNet>,
    pub hours: Option<Hours>,
}

/// `when location = "external" then ipsec ah+esp transport require`, for a class of packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub when: When,
    pub class: Class,
    pub then: Protection,
    pub mode: Mode,
    /// With [`Mode::Tunnel`] only, and the peer's own address, which it is too where it is left out.
    pub end_point: Option<IpAddr>,
    /// AH cannot cross a NAT; where IKE detects one, ESP alone will do.
    pub esp_behind_nat: bool,
}

/// A place, and what shows that one is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    pub location: Location,
    pub addresses: Vec<IpNet>,
    /// The IKE identity that attests our own presence there.
    pub anchor: Option<Identity>,
    pub anchor_address: Option<IpAddr>,
    pub gateway_macs: Vec<[u8; 6]>,
}

/// What the administrator has decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rulebook {
    /// Of those that hold, the first whose class contains a packet decides about it.
    pub rules: Vec<Rule>,
    pub sites: Vec<Site>,
    /// For those of whom nothing is known, and for packets that no rule is about.
    pub unknown: Protection,
    /// What a row means that says level `default`, or none.
    pub default_level: Level,
}
