//! What the endpoint is told before and while it runs.

use crate::net::{Family, Flow, Identity, IpNet, Secret, Selector};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Settings {
    /// Our IKE identity (`IDi` as initiator, `IDr` as responder).
    pub identity: Identity,
    /// The peer authorization database (RFC 4301 §4.4.3).
    pub peers: Vec<Peer>,
    /// What a peer may ask us to protect: outbound selectors (source local, destination remote).
    /// Traffic selectors that a peer proposes are narrowed to these.
    pub protects: Vec<Selector>,
    pub timing: Timing,
    /// Whether contacts may compress what they send (RFC 7296 §2.22).
    pub compression: bool,
    /// `None`: nobody is given an address.
    pub gateway: Option<Gateway>,
    /// Gateways that we are a client of without an address of theirs, and what we reach through each: a
    /// child with one of them may be for the address that its IKE SA runs from.
    pub kept_with: BTreeMap<Identity, Vec<IpNet>>,
}

/// One entry of the peer authorization database: who is believed, and for what.
#[derive(Clone, Debug)]
pub struct Peer {
    pub id: Identity,
    pub psk: Secret,
    pub may_protect: Vec<IpNet>,
    /// `may-protect = ["self"]`: exactly the address that the IKE SA runs from.
    pub may_protect_itself: bool,
    /// Its traffic with us is protected as its presence demands: what is between exactly its address
    /// and ours is granted, in either mode, whatever [`Settings::protects`] holds.
    pub contact: bool,
}

impl Peer {
    /// Whether it may speak for nothing that the configuration names.
    pub(super) fn is_host(&self) -> bool {
        self.may_protect.is_empty() && !self.may_protect_itself && !self.contact
    }

    /// Whether the peer, reached at `address`, may speak for every address of `net`.
    pub fn may_speak_for(&self, net: IpNet, address: IpAddr) -> bool {
        self.may_protect
            .iter()
            .any(|allowed| allowed.contains(&net))
            || (self.may_protect_itself && net == IpNet::from(address))
    }
}

/// What this host is to clients of remote access (RFC 7296 §2.19).
#[derive(Clone, Debug, Default)]
pub struct Gateway {
    /// Who may ask for an address. A client speaks for exactly the addresses that it was given.
    pub clients: BTreeMap<Identity, Client>,
    pub pool: Vec<AddressRange>,
    /// What clients may reach.
    pub subnets: Vec<IpNet>,
    /// Told to clients.
    pub dns: Vec<IpAddr>,
    /// In place of [`Timing::liveness`]: clients that keep their tunnel while they need none are
    /// silent for long.
    pub liveness: Duration,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// Given to it and to nobody else: at most one of each IP version.
    pub reserved: Vec<IpAddr>,
    /// Where an address of its own may lie, which it keeps in place of one of ours: then it speaks for
    /// exactly that from which its IKE comes. In nobody else's, nor in what is given away.
    pub keeps: Vec<IpNet>,
}

impl Gateway {
    pub(super) fn holds(&self, addr: IpAddr) -> bool {
        self.pool.iter().any(|range| range.holds(addr))
    }

    pub(super) fn is_reserved(&self, addr: IpAddr) -> bool {
        let mut reserved = self.clients.values().flat_map(|client| &client.reserved);
        reserved.any(|a| *a == addr)
    }

    pub(super) fn lets_keep(&self, client: &Identity, addr: IpAddr) -> bool {
        let client = self.clients.get(client);
        client.is_some_and(|client| client.keeps.iter().any(|net| net.contains(&addr)))
    }
}

/// First and last address, of one IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    first: IpAddr,
    last: IpAddr,
}

impl AddressRange {
    /// `None` where the last comes before the first, or is of another IP version.
    pub fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        let ordered = first <= last && Family::of(first) == Family::of(last);
        ordered.then_some(Self { first, last })
    }

    pub fn family(&self) -> Family {
        Family::of(self.first)
    }

    pub fn holds(&self, addr: IpAddr) -> bool {
        Family::of(addr) == self.family() && (self.first..=self.last).contains(&addr)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let number = |addr| match addr {
            IpAddr::V4(a) => u128::from(a.to_bits()),
            IpAddr::V6(a) => a.to_bits(),
        };
        let family = self.family();
        (number(self.first)..=number(self.last)).map(move |n| match family {
            Family::V4 => IpAddr::V4((n as u32).into()),
            Family::V6 => IpAddr::V6(n.into()),
        })
    }
}

#[derive(Clone, Debug)]
pub struct Timing {
    /// First retransmission of a request; doubles up to `retransmit_max`.
    pub retransmit: Duration,
    pub retransmit_max: Duration,
    /// A request unanswered for this long is given up, and its IKE SA with it.
    pub give_up: Duration,
    /// An IKE SA that heard nothing for this long is asked whether it lives; zero never asks.
    pub liveness: Duration,
    /// A child SA is replaced after this (less a random tenth); zero never replaces.
    pub child_lifetime: Duration,
    /// A half-open SA of a peer that never authenticates is forgotten after this.
    pub half_open: Duration,
    /// From this many half-open SAs on, `IKE_SA_INIT` must return a cookie (RFC 7296 §2.6).
    pub cookie_threshold: usize,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            retransmit: Duration::from_millis(500),
            // 17 tries in all: at 30 % loss both ways one attempt in 100,000 fails.
            retransmit_max: Duration::from_secs(2),
            give_up: Duration::from_secs(30),
            liveness: Duration::from_secs(30),
            child_lifetime: Duration::from_secs(3600),
            half_open: Duration::from_secs(30),
            cookie_threshold: 30,
        }
    }
}

/// Chosen by the caller; comes back in every effect that concerns the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Chosen by the caller; comes back with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QuestionId(pub u64);

/// Something to be asked of the agent at the other end, over the established IKE SA with this peer
/// between these addresses.
#[derive(Clone, Debug)]
pub struct Question {
    pub id: QuestionId,
    pub peer: Identity,
    pub local: IpAddr,
    pub remote: IpAddr,
    /// At most [`MAX_DATA`] octets.
    pub data: Vec<u8>,
}

/// Octets of a question or of its answer.
pub const MAX_DATA: usize = 4096;

/// A child SA that should exist. Runs over the established IKE SA with the same peer at the same
/// address where there is one (`CREATE_CHILD_SA`), otherwise over a new one.
#[derive(Clone, Debug)]
pub struct Connect {
    pub request: RequestId,
    pub local: IpAddr,
    pub remote: IpAddr,
    /// Whom we authenticate as what: an entry of [`Settings::peers`]. A peer that proves to be
    /// somebody else is refused.
    pub peer: Identity,
    /// Outbound selectors, all of one merged proxy.
    pub selectors: Vec<Selector>,
    /// The packet that wants out; proposed first, so that narrowing keeps it (RFC 7296 §2.9).
    pub flow: Option<Flow>,
    pub mode: Mode,
    pub protocol: ChildProtocol,
    /// In transport mode or not at all, through a NAT too: between contacts. Otherwise a peer that
    /// does not agree to it, or a NAT on the way, gives tunnel mode.
    pub transport_only: bool,
    /// Compressed where the peer agrees, in transport mode only.
    pub compression: bool,
    /// Tells the peer to forget earlier SAs with us (RFC 7296 §2.4): after a restart.
    pub initial_contact: bool,
    /// Asks the peer for an address of each IP version of the selectors, whose local side then is
    /// everything: the child will be for that address alone. Goes over an IKE SA that has one, or
    /// over a new one.
    pub address: Option<AddressRequest>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressRequest {
    /// What we had before and would like to have again.
    pub again: Vec<IpAddr>,
}

impl Connect {
    /// Whether it can be had where addresses are translated on the way: AH covers them (RFC 3948
    /// §1).
    pub(super) fn crosses_nat(&self) -> bool {
        self.protocol == ChildProtocol::Esp
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    Tunnel,
    /// Asked for with `USE_TRANSPORT_MODE`.
    Transport,
}

/// What a child SA does to packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChildProtocol {
    /// Encrypts and authenticates (RFC 4303).
    Esp,
    /// Authenticates, addresses included, and hides nothing (RFC 4302).
    Ah,
}
