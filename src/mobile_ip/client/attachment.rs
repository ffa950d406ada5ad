//! Over what the mobile node registers.

use crate::mobile_ip::Via;
use crate::mobile_ip::wire::advertisement::{Advertisement, AgentFlags};
use std::net::Ipv4Addr;

/// A point of attachment. Told anew whenever anything about the link has changed, even if it looks
/// the same: what was sent before then proves nothing any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Chosen by the caller, and repeated in each outcome.
    pub epoch: u64,
    pub via: Via,
    pub care_of: CareOf,
    /// Make before break: the earlier bindings stay (RFC 5944 §3.6.1.2).
    pub keep_others: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CareOf {
    /// An address of ours, registered with the home agent itself.
    CoLocated {
        address: Ipv4Addr,
    },
    /// An address of ours, where the foreign agent wants to know (RFC 5944 §2.4.1).
    CoLocatedThrough {
        address: Ipv4Addr,
        agent: ForeignAgent,
    },
    ForeignAgent(ForeignAgent),
}

/// What an advertisement has said, as far as a registration needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignAgent {
    /// The source of the advertisement; requests go there.
    pub address: Ipv4Addr,
    /// In its order of preference, at least one.
    pub care_of: Vec<Ipv4Addr>,
    /// The longest registration that it takes.
    pub lifetime: u16,
    pub flags: AgentFlags,
    pub challenge: Option<Vec<u8>>,
}

impl ForeignAgent {
    /// From an advertisement, if it is one of a foreign agent that takes further nodes.
    pub fn from_advertisement(source: Ipv4Addr, advertisement: &Advertisement) -> Option<Self> {
        let agent = advertisement.agent.as_ref()?;
        let serves = agent.flags.has(AgentFlags::FOREIGN_AGENT);
        (serves && !agent.flags.has(AgentFlags::BUSY)).then(|| Self {
            address: source,
            care_of: agent.care_of.clone(),
            lifetime: agent.registration_lifetime,
            flags: agent.flags,
            challenge: advertisement.challenge.clone(),
        })
    }
}

impl CareOf {
    pub fn agent(&self) -> Option<&ForeignAgent> {
        match self {
            Self::CoLocated { .. } => None,
            Self::CoLocatedThrough { agent, .. } | Self::ForeignAgent(agent) => Some(agent),
        }
    }

    /// The address of ours; `None` with a foreign agent's.
    pub fn own(&self) -> Option<Ipv4Addr> {
        match self {
            Self::CoLocated { address } | Self::CoLocatedThrough { address, .. } => Some(*address),
            Self::ForeignAgent(_) => None,
        }
    }
}
