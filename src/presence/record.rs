//! One entry of the presence database (FIG. 6).

use super::{Entity, Location, Timestamp, UserName};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A machine has so many addresses at most that presence can name.
pub const MAX_ADDRESSES: usize = 8;

/// What is claimed of somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Presence {
    pub entity: Entity,
    /// Sorted, each once, 1 to [`MAX_ADDRESSES`].
    pub addresses: Vec<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    pub location: Location,
    /// When it was so.
    pub time: Timestamp,
    /// Nothing is believed of it from then on.
    pub expires: Timestamp,
    /// Rises with everything that the entity says of itself; an older or equal one is a replay.
    pub sequence: u64,
}

impl Presence {
    /// Whether only times and sequence tell the two apart.
    pub fn says_the_same(&self, other: &Self) -> bool {
        (&self.location, &self.user, &self.addresses)
            == (&other.location, &other.user, &other.addresses)
    }
}

/// Where a claim came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// An administrator of this machine said so.
    Hand,
    /// The entity's own agent, over IKE.
    Peer,
    /// This machine's own presence agent.
    Own,
    /// Something that can be forged: it may only make things stricter.
    Hint,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Authenticity {
    /// By whom: an IKE identity, or `root` for what was set by hand.
    Authenticated(String),
    Unauthenticated,
}

/// A claim, and what is known about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    pub presence: Presence,
    pub source: Source,
    pub authenticity: Authenticity,
    pub received: Timestamp,
}
