//! What the endpoint wants done, in order.

pub use super::compression::Compression;
use super::configuration::Assigned;
use super::settings::{ChildProtocol, Mode, QuestionId, RequestId};
use crate::net::{Identity, Secret, Selector, Spi};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IkeId(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChildId(pub u64);

/// A peer's question that waits for `Endpoint::answer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// Drained with `Endpoint::poll_effect` after every input. The order matters: a `Transmit` that
/// follows a `ChildUp` must leave after that child's inbound SA is in the kernel.
#[derive(Debug)]
pub enum Effect {
    /// Send from `local` to `remote`. On port 4500 the caller puts the four zero octets in front
    /// (RFC 3948 §2.2).
    Transmit {
        local: SocketAddr,
        remote: SocketAddr,
        payload: Vec<u8>,
    },
    /// The peer has authenticated, and is authorized for something or part of a question.
    IkeUp {
        ike: IkeId,
        peer: Identity,
        local: SocketAddr,
        remote: SocketAddr,
        /// Addresses are translated on the way.
        nat: bool,
    },
    /// Every child of it has been reported down before.
    IkeDown {
        ike: IkeId,
        peer: Identity,
        reason: DownReason,
    },
    /// The peer has given us addresses, for as long as the IKE SA lives. Comes before the child that
    /// was asked for with them.
    Configured {
        ike: IkeId,
        request: Option<RequestId>,
        assigned: Assigned,
    },
    /// A client of ours asked for a child and was given none.
    ClientRefused {
        peer: Identity,
        remote: IpAddr,
        refusal: ClientRefusal,
    },
    /// Install it: inbound first. While `outbound` is `AfterConfirmation`, the outbound SA and
    /// the policies wait for `OutboundReady`, so that nothing is sent that the peer cannot read
    /// or, over IPv6, could not answer. A `Transmit` that follows `OutboundReady` must leave after
    /// the outbound SA is in the kernel.
    /// It may never come: a child that lost against one that the peer set up at the same time is
    /// there to receive until it goes down again.
    ChildUp {
        child: Box<ChildSa>,
        outbound: Outbound,
    },
    OutboundReady {
        child: ChildId,
    },
    /// Remove it: outbound at once, inbound when packets in flight have had time to arrive.
    ChildDown {
        child: ChildId,
        reason: DownReason,
    },
    /// The request is over; nothing of it is left. Where its IKE SA had authenticated, that may
    /// live on.
    Failed {
        request: RequestId,
        error: ConnectError,
    },
    /// What the peer says to a question of ours; `None` where it does not know what was asked.
    Answered {
        id: QuestionId,
        data: Option<Vec<u8>>,
    },
    /// Whether the peer has heard the question is not known.
    AskFailed {
        id: QuestionId,
        error: AskError,
    },
    /// An authenticated peer asks. Its exchange stays open until `Endpoint::answer`, a few seconds
    /// at most; until then it can ask nothing else. A `Transmit` of the answer that follows other
    /// effects waits for them as every other does.
    Asked {
        ike: IkeId,
        token: Token,
        peer: Identity,
        local: SocketAddr,
        remote: SocketAddr,
        /// Addresses are translated on the way.
        nat: bool,
        data: Vec<u8>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outbound {
    Now,
    AfterConfirmation,
}

#[derive(Debug)]
pub struct ChildSa {
    pub id: ChildId,
    pub ike: IkeId,
    pub peer: Identity,
    /// Present where we asked for it; `None` where the peer did.
    pub request: Option<RequestId>,
    /// The child that this one takes the place of (RFC 7296 §2.8): send on this one from the
    /// moment that its `outbound` is ready, although the old one is still there to receive.
    pub replaces: Option<ChildId>,
    pub local: IpAddr,
    pub remote: IpAddr,
    /// Local and remote UDP port, where a NAT was found on the way.
    pub encapsulation: Option<(u16, u16)>,
    pub protocol: ChildProtocol,
    pub mode: Mode,
    /// Outbound selectors (source local, destination remote): what both ends agreed on.
    pub selectors: Vec<Selector>,
    pub spi_in: Spi,
    pub spi_out: Spi,
    /// Agreed on beside it, and gone with it.
    pub compression: Option<Compression>,
    pub keys_in: ChildKeys,
    pub keys_out: ChildKeys,
    pub esn: bool,
    /// After this the kernel should drop it by itself, in case nobody replaced it.
    pub hard_lifetime: Option<Duration>,
}

#[derive(Clone, Debug)]
pub enum ChildKeys {
    /// AES-GCM with a 16-octet ICV (RFC 4106). Key includes the 4-octet salt.
    AesGcm16 { key: Secret },
    /// AES-CBC with HMAC-SHA2 (RFC 3602, RFC 4868).
    AesCbcHmac {
        cipher: Secret,
        auth: Secret,
        hash: Sha2,
    },
    /// AH with HMAC-SHA2 (RFC 4868).
    AhHmac { auth: Secret, hash: Sha2 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sha2 {
    Sha256,
    Sha384,
    Sha512,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DownReason {
    #[error("deleted by the peer")]
    DeletedByPeer,
    #[error("closed here")]
    Closed,
    #[error("the peer no longer answers")]
    PeerSilent,
    #[error("replaced by a newer one")]
    Replaced,
    #[error("not needed beside the one that the peer set up at the same time")]
    Redundant,
    #[error("the peer started afresh")]
    InitialContact,
    #[error("our address has gone")]
    AddressGone,
    #[error("its lifetime has ended")]
    Expired,
    #[error("no longer allowed by the configuration")]
    Configuration,
}

/// Why a client of ours that asked for no address was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientRefusal {
    #[error("it asked for no address, and may keep none of its own")]
    KeepsNone,
    #[error("it asked for no address, and {0} is none that it may keep")]
    NotItsOwn(IpAddr),
    #[error("it asked for no address, and its own is translated on the way")]
    Translated,
    #[error("nothing of what it asked for lies behind us")]
    NothingBehind,
}

/// Why no child SA came of a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    #[error("no answer from {0}")]
    NoAnswer(IpAddr),
    #[error("{0} is not in the peer authorization database")]
    UnknownPeer(Identity),
    #[error("authentication with {0} failed: the pre-shared keys differ or the peer is another")]
    Authentication(Identity),
    #[error("{peer} is not allowed to protect {selector}")]
    NotAuthorized { peer: Identity, selector: Selector },
    #[error("addresses are translated on the way to {0}, which AH does not survive")]
    BehindNat(IpAddr),
    #[error("no common algorithms with {0}")]
    NoProposalChosen(IpAddr),
    #[error("{0} does not agree to transport mode")]
    TunnelOnly(Identity),
    #[error("{0} does not protect this traffic")]
    TrafficSelectors(Identity),
    #[error("{0} gives us no address")]
    NoAddress(Identity),
    #[error("{0} lets us keep no address of ours: it wants to be asked for one")]
    AddressDemanded(Identity),
    #[error("{peer} refused: notification {code}")]
    Refused { peer: Identity, code: u16 },
    #[error("{0} answered nonsense: {1}")]
    Protocol(IpAddr, &'static str),
    #[error("cancelled")]
    Cancelled,
}

/// Why there is no answer to a question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    #[error("there is no IKE SA with {0} to ask over")]
    NotInContact(Identity),
    #[error("{0} octets are too many for a question")]
    TooLong(usize),
    #[error("too many questions to {0} wait already")]
    Busy(Identity),
    #[error("the IKE SA with {peer} ended: {reason}")]
    Lost { peer: Identity, reason: DownReason },
}
