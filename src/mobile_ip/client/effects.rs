//! What the mobile node wants done, and what became of its registration.

use super::settings::Delivery;
use crate::mobile_ip::wire::{Code, code::Denier};
use crate::mobile_ip::{Datagram, LinkId, Via};
use crate::net::{Ipv4Net, Ipv6Net};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// With a time to live of 255: foreign agents demand it (RFC 3024 §4.1.1).
    Send(Datagram),
    Outcome(Outcome),
    /// Ask for an advertisement on this link: its foreign agent wants a fresh challenge (RFC 4721
    /// §3.5), and the answer belongs into a new attachment.
    Solicit(LinkId),
    /// What an operator may want to know; at most one for a datagram.
    Suspicious(Suspicion),
}

/// How the present attachment stands. `epoch` is that of the attachment which it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The home agent has a binding. Said again with every renewal.
    Registered(Registered),
    /// It has none of that care-of address any more; of none at all, if we are at home.
    /// Without an answer nobody was asked, since nothing was ever given.
    Deregistered {
        epoch: u64,
        answer: Option<Farewell>,
    },
    /// Refused in a way that no other request could mend. Tried again at `retry`.
    Denied {
        epoch: u64,
        code: Code,
        by: Denier,
        /// Signed by who denies. What is not may be anybody's on the link.
        authenticated: bool,
        retry: Instant,
    },
    /// Several requests have found no answer. Said once; the asking goes on.
    Unreachable { epoch: u64 },
    /// There was a binding, and there is none any more. The asking goes on.
    Lost { epoch: u64, why: Loss },
    /// A probe was answered: the home agent is reachable from `via`, and nothing has changed there.
    /// A hint, no proof: nothing says that the network is a trusted one.
    Reachable { round_trip: Duration, via: Via },
}

/// To a request for the end of bindings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Farewell {
    /// When the request left.
    pub asked: Instant,
    pub round_trip: Duration,
    /// At home in the clear that proves as much as a registration from elsewhere.
    pub proof: Option<TrustedNetwork>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    pub epoch: u64,
    pub home: Ipv4Addr,
    pub home_agent: Ipv4Addr,
    pub care_of: Ipv4Addr,
    /// As granted, from the moment when the request was sent (RFC 5944 §3.6.2.2); `None` is for ever.
    pub lifetime: Option<Duration>,
    pub tunnel: Tunnel,
    /// Whether a reverse tunnel was granted (RFC 3024 §4.1.2).
    pub reverse: bool,
    /// Earlier bindings were kept, as asked (code 0 and not 1).
    pub keeps_others: bool,
    /// Which networks move with us (RFC 5177 §5.2).
    pub networks: Vec<Ipv4Net>,
    pub networks6: Vec<Ipv6Net>,
    pub proof: Option<TrustedNetwork>,
    /// When the request left that was answered.
    pub asked: Instant,
    /// From then to the answer.
    pub round_trip: Duration,
}

/// What was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunnel {
    IpIp,
    Minimal,
    Gre,
    /// RFC 3519: from and to the ports of the registration.
    Udp {
        local_port: u16,
        remote_port: u16,
        keepalive: Duration,
    },
    /// The foreign agent unwraps; packets come as they are, and go to it in this style.
    ByForeignAgent(Delivery),
}

/// The home agent has said that it knows which networks are trusted, and took our request for one
/// from there (RFC 5265 §3.4): signed, in answer to our newest request, which left in the clear over
/// `link`, and no address of it was translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustedNetwork {
    pub link: LinkId,
    /// When the request left: nothing is proved of what happened later.
    pub asked: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Its lifetime is over.
    Expired,
    /// RFC 3543.
    Revoked,
    /// RFC 3519 §4.10.
    MappingLost,
}

/// Datagrams that were ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Suspicion {
    /// RFC 5944 §3.6.2.1: exactly one.
    #[error("a reply of the home agent without exactly one authenticator of it")]
    NotAuthenticated,
    #[error("a reply with a wrong authenticator of the home agent")]
    WrongAuthenticator,
    #[error("a reply with a wrong authenticator of the foreign agent, or not exactly one")]
    WrongForeignAuthenticator,
    #[error("a revocation that is not signed, not ours, or not new")]
    Revocation,
}
