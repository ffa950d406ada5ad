//! What enters a home agent and what leaves it.

use crate::mobile_ip::replay::Guard;
use crate::mobile_ip::wire::{Code, Identification, TunnelKind};
use crate::mobile_ip::{Datagram, Via};
use crate::net::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

#[derive(Clone, Debug)]
pub enum Input {
    /// To port 434 of ours; `local` is the address it was sent to, a broadcast one too.
    Datagram(Datagram),
    /// An administrator withdraws the bindings of a home address (RFC 3543).
    Revoke(Ipv4Addr),
    /// The time of day was set; `unix` is the time since 1970.
    Clock { unix: Duration },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// To be stored before the effects behind it, so that a restart knows what was answered.
    Keep(Kept),
    /// Packets for `home` go into each of these tunnels, and come out of them. Whole: replaces what
    /// was said before.
    Bind {
        home: Ipv4Addr,
        tunnels: Vec<Tunnel>,
    },
    Unbind {
        home: Ipv4Addr,
    },
    /// The mobile node left a physical home network: answer ARP for it there, and say so with
    /// gratuitous ARP (RFC 5944 §4.6).
    Intercept {
        home: Ipv4Addr,
    },
    /// It is back: no longer answer ARP for it.
    Release {
        home: Ipv4Addr,
    },
    Send(Datagram),
    Tell(Told),
}

/// One binding as the data path needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnel {
    /// Outer source.
    pub local: Ipv4Addr,
    /// Outer destination, and the only outer source that is accepted (RFC 3024 §4.3.2).
    pub remote: Ipv4Addr,
    pub kind: TunnelKind,
    /// RFC 3519: in UDP, between these two.
    pub udp: Option<UdpEnds>,
    /// T: the mobile node may send through it.
    pub reverse: bool,
    /// Networks behind the mobile node.
    pub networks: Vec<Ipv4Net>,
    pub networks6: Vec<Ipv6Net>,
}

impl Tunnel {
    /// Beside others of the same mobile node: in what the kernel carries one copy is sent.
    pub fn is_copied(&self) -> bool {
        self.udp.is_some() || self.kind == TunnelKind::Minimal
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UdpEnds {
    pub local: SocketAddrV4,
    pub remote: SocketAddrV4,
}

/// What a store holds of one mobile node; replaces what it held. Without bindings it still keeps a
/// restart from accepting old requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// 0.0.0.0 of one that has none yet.
    pub home: Ipv4Addr,
    /// Of one whose home address is from the pool.
    pub nai: Option<Vec<u8>>,
    pub guard: Guard,
    pub bindings: Vec<KeptBinding>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptBinding {
    pub care_of: Ipv4Addr,
    pub identification: Identification,
    /// Since 1970; `None` never ends.
    pub expires: Option<Duration>,
    pub tunnel: Tunnel,
    /// A UDP tunnel whose port is not known before the first keep-alive (RFC 3519 §4.11).
    pub half_bound: bool,
    pub from: SocketAddrV4,
    pub to: SocketAddrV4,
    pub via: Via,
    pub revocation: Option<Revocable>,
}

/// The other end understands revocation (RFC 3543 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocable {
    /// The mobile node itself, or the foreign agent in between.
    pub direct: bool,
    pub inform: bool,
    /// Of its extension: an older revocation is a replay.
    pub timestamp: u32,
}

/// For the log and for who watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Registered {
        home: Ipv4Addr,
        care_of: Ipv4Addr,
        lifetime: u16,
    },
    Deregistered {
        home: Ipv4Addr,
    },
    Expired {
        home: Ipv4Addr,
        care_of: Ipv4Addr,
    },
    /// By an administrator, or by the foreign agent.
    Revoked {
        home: Ipv4Addr,
        care_of: Ipv4Addr,
    },
    /// The other end has said that it knows.
    RevocationAcknowledged {
        home: Ipv4Addr,
    },
    RevocationUnanswered {
        home: Ipv4Addr,
    },
    Denied {
        /// As the request named it.
        home: Ipv4Addr,
        nai: Option<Vec<u8>>,
        from: SocketAddrV4,
        code: Code,
    },
}
