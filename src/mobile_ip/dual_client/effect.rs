//! What comes in and what goes out.

use super::registration::{Generation, Order, Outcome, Slot};
use crate::mobile_ip::domain::{Conjecture, Context, Domain};
use crate::mobile_ip::{Arrangement, Link, LinkId, Place};
use crate::net::IpNet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Every physical adapter there is now.
    Links(Vec<Link>),
    Advertisement(Advertisement),
    /// A stale, authenticated request to the inner home agent over this adapter was refused so that the
    /// refusal authenticates itself; or nobody did in time.
    SmokeOut {
        link: LinkId,
        answered: bool,
    },
    Vpn(VpnState),
    Registration {
        slot: Slot,
        generation: Generation,
        outcome: Outcome,
    },
    /// Contexts of before a restart, oldest first.
    Recall(Vec<Context>),
    /// The machine stood still for an unknown time: every adapter is unknown.
    Resumed,
    Override(Override),
}

/// An agent advertisement (RFC 5944 §2.1), as far as it matters here. Nobody has authenticated it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertisement {
    pub link: LinkId,
    pub agent: Ipv4Addr,
    /// Empty where it is no foreign agent, or a busy one.
    pub care_of: Vec<Ipv4Addr>,
    /// The R bit: registration through it is wanted even with an address of one's own.
    pub registration_required: bool,
    pub lifetime: Duration,
}

/// What an administrator says. None of it opens anything: inside takes a proof.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Override {
    #[default]
    None,
    /// As if every network were outside.
    Outside,
    /// Nothing of S at all.
    Blocked,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VpnState {
    Down,
    Connecting,
    /// With its adapter's address V, or without an adapter.
    Up {
        address: Option<Ipv4Addr>,
    },
    Failed(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VpnCommand {
    Up {
        gateway: Option<String>,
        /// The address that it binds to: T, or the physical one without an outer system and where there is no IPv4.
        over: IpAddr,
    },
    /// Keep the SA, carry nothing. It stays `Up` as long as the SA lives.
    Warm,
    Down,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// First what stops, then who is asked, then what opens: effects are to be carried out in order.
    Arrangement(Arrangement),
    Registration(Order),
    Vpn(VpnCommand),
    /// Ask the inner home agent with a stale request over this adapter, to be answered in any case with
    /// [`Input::SmokeOut`].
    SmokeOut(LinkId),
    /// Every network that is known, oldest first: to be given back with [`Input::Recall`] after a restart. The newest
    /// list wins.
    Remember(Vec<Context>),
    Tell(Tell),
}

/// What an operator cares about, once each time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tell {
    Moved {
        from: Place,
        to: Place,
    },
    Guess {
        link: LinkId,
        conjecture: Conjecture,
    },
    Found {
        link: LinkId,
        domain: Domain,
    },
    /// A registration in the clear succeeded, but the home agent does not say that it knows which
    /// networks are trusted.
    NotTrusted {
        link: LinkId,
    },
    /// No answer in time: S is stopped until there is one.
    ProofOver {
        link: LinkId,
    },
    Refused {
        slot: Slot,
        code: u8,
    },
    Silent {
        slot: Slot,
    },
    Flapping {
        link: LinkId,
    },
    /// A network that should move with us, and the inner home agent does not carry.
    LeftOut {
        network: IpNet,
    },
    VpnLate {
        after: Duration,
    },
    VpnFailed {
        reason: String,
    },
    VpnStaysUp,
    TooManyLinks {
        beyond: usize,
    },
    /// A network has given an adapter one of our own addresses.
    OwnAddress {
        link: LinkId,
        address: Ipv4Addr,
    },
    /// Both home agents have one address: everything is outside (RFC 5265 §3.5).
    SameHomeAgent {
        address: Ipv4Addr,
    },
}

impl fmt::Display for Tell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moved { from, to } => write!(f, "{from} → {to}"),
            Self::Guess { link, conjecture } => write!(
                f,
                "{link} is probably {} ({} %)",
                conjecture.domain, conjecture.confidence.0
            ),
            Self::Found { link, domain } => write!(f, "{link} is {domain}"),
            Self::NotTrusted { link } => write!(
                f,
                "the inner home agent answers on {link} without knowing which networks are trusted: no proof"
            ),
            Self::ProofOver { link } => {
                write!(f, "{link} could not be proved again to be inside: stopped")
            }
            Self::Refused { slot, code } => write!(f, "{slot}: refused with code {code}"),
            Self::Silent { slot } => write!(f, "{slot}: nobody answers"),
            Self::Flapping { link } => {
                write!(f, "{link} comes and goes: left alone until it stands")
            }
            Self::LeftOut { network } => write!(
                f,
                "the inner home agent registers us without {network}, which is cut off"
            ),
            Self::VpnLate { after } => write!(f, "the VPN is not up after {after:?}"),
            Self::VpnFailed { reason } => write!(f, "the VPN failed: {reason}"),
            Self::VpnStaysUp => f.write_str("the VPN does not go down"),
            Self::TooManyLinks { beyond } => write!(f, "{beyond} adapters are too many: ignored"),
            Self::OwnAddress { link, address } => write!(
                f,
                "{link} was given {address}, which is ours: it is no way to anybody"
            ),
            Self::SameHomeAgent { address } => {
                write!(
                    f,
                    "both home agents are {address}: every network counts as outside"
                )
            }
        }
    }
}
