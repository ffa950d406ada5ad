//! What two agents tell each other about policy and presence, inside IKE.
//!
//! Each message is the data of one private-use status notify in an INFORMATIONAL request of an
//! authenticated IKE SA, and each [`Answer`] that of one in its response: so both are bound to an IKE
//! identity, in order, and answered once. `docs/policy-exchange.md` has the octets.
//!
//! Refuses to know: who may ask or say what. Names and addresses are checked for their form alone.

mod cbor;
mod codec;

#[cfg(test)]
mod tests;

use super::row::Mode;
use super::{Class, Location, Presence, Protection, Row};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Notify message type, of the private-use status types 40960–65535 (RFC 7296 §3.10.1).
pub const NOTIFY: u16 = 40970;

/// The only one yet.
pub const VERSION: u64 = 1;

/// Octets of notification data: with IKE's own it stays one datagram that IP may have to fragment,
/// and no peer has to keep more for another.
pub const MAX_LEN: usize = 4096;

/// What is asked or said in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// FIG. 4: the policy that the receiver applies to us, where it is, and to be told of changes.
    Ask {
        policy: bool,
        presence: bool,
        /// For so many seconds; zero ends it.
        subscribe: Option<u32>,
    },
    /// The sender says where it is.
    Publish(Presence),
    /// What the sender demands of packets that the receiver sends it.
    Posture(Posture),
    /// Asks a site's anchor to say that it is one, and where from it is asked.
    Attest,
}

/// What comes back in the response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Message::Ask`]: `None` where it was not asked for.
    Told {
        policy: Option<Told<Vec<Row>>>,
        /// There are more rows than fit.
        more: bool,
        presence: Option<Told<Presence>>,
        /// Seconds for which changes are published; zero where they are not.
        subscribed: Option<u32>,
    },
    /// To [`Message::Publish`].
    Accepted,
    Refused(Refusal),
    /// To [`Message::Posture`]: that of the answering side towards the asking one, as it is now.
    Posture(Posture),
    /// To [`Message::Attest`]: the site, and the address that the request came from.
    Attested {
        location: Location,
        address: IpAddr,
    },
}

/// So many classes of packets may be told apart in a posture.
pub const MAX_DEMANDS: usize = 32;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Posture {
    /// Rises with each change.
    pub epoch: u64,
    /// At most [`MAX_DEMANDS`]. Seen from the receiver: `own_port` is the receiver's. The first
    /// whose class contains a packet decides about it; of what none contains, nothing is demanded.
    pub demands: Vec<Demanded>,
}

/// What packets of a class have to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demanded {
    pub class: Class,
    pub protection: Protection,
    /// In a tunnel between the two addresses that the posture is about: with a demand of `require` only.
    pub mode: Mode,
}

impl Demanded {
    pub fn in_transport(class: Class, protection: Protection) -> Self {
        Self {
            class,
            protection,
            mode: Mode::Transport,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told<T> {
    Granted(T),
    /// Its owner does not tell us.
    Refused(Refusal),
}

/// A code, never text: nothing that a peer writes is shown as a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    #[error("its owner does not allow that to us")]
    NotAllowed,
    #[error("it knows a newer sequence of ours already")]
    Replayed,
    #[error("our IKE identity may not speak for that entity")]
    NotYourEntity,
    #[error("it could not read the message")]
    Malformed,
    #[error("it does not know messages of this kind or version")]
    NotUnderstood,
    #[error("it has too much to do: ask again later")]
    Busy,
    #[error("for a reason that this version does not know (code {0})")]
    Other(u8),
}

/// Why octets are no message, or no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("{0} octets are more than the {MAX_LEN} that are allowed")]
    TooLong(usize),
    #[error("not CBOR, nested too deeply, or followed by more")]
    NotCbor,
    #[error("not an array of version, kind and contents")]
    NotAMessage,
    #[error("version {0} is not understood, only {VERSION} is")]
    UnknownVersion(u64),
    #[error("nothing of kind {0} is known in version {VERSION}")]
    UnknownKind(u64),
    #[error("`{0}` is missing, stands there twice, or is not of its form")]
    Field(&'static str),
}

impl Malformed {
    /// What is answered to such a message.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::UnknownVersion(_) | Self::UnknownKind(_) => Refusal::NotUnderstood,
            _ => Refusal::Malformed,
        }
    }
}
