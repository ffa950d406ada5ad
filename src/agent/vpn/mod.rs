//! We as a client of a VPN gateway, over our own IKE.
//!
//! ```text
//!          up                 Configured, ChildUp
//!  Down ───────→ Connecting ──────────────────────→ Up
//!   ↑ down          ↑   │ refused, or no answer      │ lost: silence, expiry, address gone
//!   │               │   ↓                            │
//!   └── any ──── (retry) Failed            Connecting ←┘
//! ```
//!
//! What the gateway gives us (V) is guarded from then on: while the VPN is wanted, packets between V
//! and what lies behind the gateway are carried by the tunnel or held, and clear ones from there
//! are refused. The guard survives a restart, in what was once protected.
//!
//! A gateway may let us keep the address that the tunnel begins at: then it gives none, there is no
//! Configured, and that address is guarded from before the gateway is asked.

pub mod commands;
mod connecting;
mod guard;
mod left;
mod other;
mod others;
mod protection;
pub mod settings;
#[cfg(test)]
mod tests;
mod view;

use crate::ike::configuration::Assigned;
use crate::ike::effects::{ChildId, IkeId};
use crate::ike::settings::RequestId;
use crate::kernel::adapters::Adapter;
use crate::kernel::desired::{LinkName, Policy};
use crate::net::{IpNet, Selector};
use other::Other;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

/// Requests of ours, apart from those for tunnels and for links.
const REQUESTS: u64 = 1 << 62;

/// After a failure: doubles from the first to the last.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// What an administrator can ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VpnCommand {
    Up {
        /// Of a `[[vpn]]`; otherwise the first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    Down,
    Warm,
}

/// What whoever follows the VPN is told, whenever it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VpnState {
    Down,
    Connecting,
    Up(Connection),
    Disconnecting,
    /// Why; it is tried again while it is wanted.
    Failed(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The name of its `[[vpn]]`.
    pub name: String,
    /// `None` where other software knows it.
    pub gateway: Option<IpAddr>,
    pub local: Option<IpAddr>,
    /// V: at most one of each IP version. None where it protects what `local` sends.
    pub addresses: Vec<IpAddr>,
    /// What V is sent from goes into this interface of other software; `None` where policies of the
    /// kernel take it.
    pub interface: Option<LinkName>,
    pub dns: Vec<IpAddr>,
    /// What the tunnel carries.
    pub subnets: Vec<IpNet>,
}

impl Connection {
    pub fn v4(&self) -> Option<Ipv4Addr> {
        self.addresses.iter().find_map(|addr| match addr {
            IpAddr::V4(addr) => Some(*addr),
            IpAddr::V6(_) => None,
        })
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(gateway) = self.gateway {
            write!(f, " at {gateway}")?;
        }
        f.write_str(": ")?;
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        match (addresses.is_empty(), self.local) {
            (false, _) => f.write_str(&addresses.join(", ")),
            (true, Some(local)) => write!(f, "no address, it protects {local}"),
            (true, None) => f.write_str("no address"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    Down,
    Up {
        name: String,
    },
    /// It may stay as it is, and says nothing by itself: there may be no way to the gateway now.
    Warm {
        name: String,
    },
}

#[derive(Debug)]
enum Phase {
    Down,
    Connecting {
        request: RequestId,
        local: IpAddr,
        given: Option<(IkeId, Assigned)>,
    },
    Up {
        ike: IkeId,
        child: ChildId,
        connection: Connection,
    },
    Failed {
        reason: String,
    },
    /// Of other software, until it is down.
    Other(Box<Other>),
}

#[derive(Debug)]
pub(super) struct Vpn {
    wanted: Wanted,
    phase: Phase,
    since: Instant,
    /// Where it begins, where whoever wants it says so.
    over: Option<IpAddr>,
    /// Outbound selectors that packets never leave by in the clear.
    guarded: Vec<Selector>,
    /// What else must not leave unprotected, where other software is to protect it.
    relied_on: Vec<Selector>,
    /// VPNs of other software that may stand from an earlier run of ours, by name.
    left: Vec<String>,
    /// The interfaces of other software's VPNs.
    interfaces: Vec<Adapter>,
    /// Outbound policies of others.
    outbound: Vec<Policy>,
    next_request: u64,
    next_run: u64,
    failures: u32,
    retry: Option<Instant>,
    /// The failure that was told last, since it was up.
    told: Option<String>,
    changes: VecDeque<VpnState>,
}

impl Vpn {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            wanted: Wanted::Down,
            phase: Phase::Down,
            since: now,
            over: None,
            guarded: Vec::new(),
            relied_on: Vec::new(),
            left: Vec::new(),
            interfaces: Vec::new(),
            outbound: Vec::new(),
            next_request: 0,
            next_run: 0,
            failures: 0,
            retry: None,
            told: None,
            changes: VecDeque::new(),
        }
    }

    pub(super) fn is_request(request: RequestId) -> bool {
        request.0 & REQUESTS != 0 && request.0 < REQUESTS << 1
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.retry
    }

    pub(super) fn poll_change(&mut self) -> Option<VpnState> {
        self.changes.pop_front()
    }

    pub(super) fn state(&self) -> VpnState {
        match &self.phase {
            Phase::Down => VpnState::Down,
            Phase::Connecting { .. } => VpnState::Connecting,
            Phase::Up { connection, .. } => VpnState::Up(connection.clone()),
            Phase::Failed { reason } => VpnState::Failed(reason.clone()),
            Phase::Other(other) => other.state(),
        }
    }

    /// Name and since when; `None` where it is neither wanted nor there.
    pub(super) fn name(&self) -> Option<&str> {
        match &self.wanted {
            Wanted::Down => None,
            Wanted::Up { name } | Wanted::Warm { name } => Some(name),
        }
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    pub(super) fn is_warm(&self) -> bool {
        matches!(self.wanted, Wanted::Warm { .. })
    }

    /// Whether a tunnel for these selectors is the VPN's.
    pub(super) fn carries(&self, selectors: &[Selector]) -> bool {
        let guards = |s: &Selector| self.guarded.iter().any(|g| g.contains(s));
        !selectors.is_empty() && selectors.iter().all(guards)
    }

    fn enter(&mut self, now: Instant, phase: Phase) {
        let before = self.state();
        self.phase = phase;
        self.changed(now, &before);
    }

    fn changed(&mut self, now: Instant, before: &VpnState) {
        let after = self.state();
        if *before != after {
            self.since = now;
            self.changes.push_back(after);
        }
    }

    fn next_request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(REQUESTS | self.next_request)
    }

    /// How long to wait after one more failure.
    fn backoff(&mut self) -> Duration {
        let wait = FIRST_RETRY * 2u32.saturating_pow(self.failures.min(10));
        self.failures += 1;
        wait.min(LAST_RETRY)
    }
}
