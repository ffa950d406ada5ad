//! What an administrator asks about presence and policies, and what is answered. These are the words
//! of the control socket too.

pub use crate::presence::exchange::Told;
use crate::presence::{Entity, Location, Presence, Record, Row, UserName};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PresenceCommand {
    List,
    /// With its history.
    Show(Entity),
    Set(SetPresence),
    /// Forgets what is believed of somebody; what follows is as strict as for a stranger.
    Clear(Entity),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetPresence {
    /// Our own entity says where we are, until its time is over.
    pub entity: Entity,
    /// Empty leaves them as they are, which there must be then.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    pub location: Location,
    /// Seconds for which it holds; `None` is one hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid: Option<u32>,
    /// From a source that can be forged: it may only make things stricter.
    #[serde(default)]
    pub hint: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceEntry {
    pub entity: Entity,
    /// This machine's own.
    pub own: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub believed: Option<Record>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<Record>,
    /// Only for [`PresenceCommand::Show`]: the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Record>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyCommand {
    List,
    /// The rows that would be proposed for somebody now, for judging and registering.
    Propose(Entity),
    Register(Row),
    /// By the number that `List` shows.
    Remove(u64),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyEntry {
    /// Of a registered row; `None` for one that follows from rules and presence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    pub row: Row,
    /// Whom it concerns, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<Entity>,
    /// Why it is so.
    pub because: String,
    /// What the kernel holds for it, as `ip xfrm policy` would say; `None` where nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
}

/// FIG. 4: a peer's policy towards us, its presence, or both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    pub address: IpAddr,
    pub policy: bool,
    pub presence: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskReport {
    pub address: IpAddr,
    /// The IKE identity that answered.
    pub peer: String,
    /// `None` where it was not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Told<Vec<Row>>>,
    /// The peer applies more rows than fitted in its answer.
    #[serde(default)]
    pub more: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence: Option<Told<Presence>>,
}
