//! What the kernel tells the agent.

use super::adapters::{AccessPoints, DefaultRoute};
use super::desired::{IpsecProtocol, PolicyKey, SaKey};
use crate::net::Flow;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelEvent {
    Acquire(Acquire),
    /// One of our SAs came to the end of a lifetime.
    SaExpired {
        key: SaKey,
        reqid: u32,
        limit: Limit,
    },
    /// One of our SAs is gone and we did not remove it. It is not put back: its counter would
    /// start again under the same key. Negotiate afresh, and remove its key from what is wanted.
    SaLost {
        key: SaKey,
    },
    /// A policy of ours has come to the end of its lifetime. It is not wanted any more until it is
    /// asked for again.
    PolicyExpired {
        key: PolicyKey,
    },
    /// Somebody else deleted or altered one of our policies. It has been put right already.
    PolicyRepaired {
        key: PolicyKey,
    },
    /// A link came, went or changed, and addresses may have with it.
    LinkChanged,
    /// An address came, went or changed, and no link did.
    AddressChanged,
    /// A default route of the main table came, went or changed, or it has become known which MAC
    /// address its gateway has. These are all there are now, with their gateways' MACs as far as they
    /// are known.
    GatewayChanged(Vec<DefaultRoute>),
    /// A wireless interface has associated with an access point, or left it. These are all there are now.
    AccessPointsChanged(AccessPoints),
    /// An alarm that whoever manages a wireless network has set: an access point may be weaker or stronger than it was.
    SignalsChanged,
    /// Whether somebody else has policies that come before traps.
    OthersDecide(bool),
    /// Events were lost. ACQUIREs come again while their packets do.
    Overrun,
}

/// Which lifetime ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// It still works and should be replaced.
    Soft,
    /// The kernel has removed it.
    Hard,
}

/// A packet met a policy whose SA does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acquire {
    /// The policy that it met.
    pub policy: PolicyKey,
    pub index: u32,
    /// Tells a trap from a tunnel's policy of the same selector.
    pub priority: u32,
    /// Whether that policy is ours.
    pub own: bool,
    pub flow: Flow,
    /// What the template asks for.
    pub protocol: IpsecProtocol,
    /// The kernel's number of this request.
    pub sequence: u32,
}
