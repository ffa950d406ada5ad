//! What the agent can be seen to hold: the answers of the control socket. Holds no secrets by
//! construction. Text forms are those of the kernel's tools where they have one.

use super::mobility::view::MobilityView;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Everything, as `status --json` prints it. Lists are in a stable order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub version: String,
    pub identity: String,
    pub uptime_seconds: u64,
    pub proxies: Vec<ProxyView>,
    pub tunnels: Vec<TunnelView>,
    pub vpn: VpnView,
    /// Where we are and which tunnels follow; `None` where nothing moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mobility: Option<MobilityView>,
    /// `None` where the configuration has no `[home-agent]`.
    #[serde(default)]
    pub home_agent: Option<HomeAgentView>,
    /// `None` where the configuration has no `[foreign-agent]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign_agent: Option<ForeignAgentView>,
    /// `None` where the configuration has no `[proxy-agent]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_agent: Option<ProxyAgentView>,
    pub discoveries: Vec<DiscoveryView>,
    pub failures: Vec<FailureView>,
    /// Probes of others that were for us and could not be reconciled, newest last.
    pub refused_probes: Vec<RefusedProbeView>,
    /// What the kernel does not take for now.
    pub refusals: Vec<RefusalView>,
    pub policies: Vec<PolicyView>,
    pub sas: Vec<SaView>,
    /// Name to count; names are stable.
    pub counters: std::collections::BTreeMap<String, u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProxyView {
    pub name: String,
    pub local: String,
    pub remote: String,
    pub protocol: String,
    pub local_port: String,
    pub remote_port: String,
    pub on_failure: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TunnelView {
    /// Name of the `[[proxy]]` that asked for it; empty where none does any more.
    pub proxy: String,
    pub peer: String,
    pub local: String,
    pub remote: String,
    /// `tunnel` or `transport`.
    pub mode: String,
    /// `opening`, `up`, `adopted` (found after a restart, being replaced), `closing`, or `refused`
    /// where the kernel does not take all of its policies.
    pub state: String,
    /// Outbound selectors.
    pub selectors: Vec<String>,
    pub reqid: u32,
    pub since_seconds: u64,
}

/// We as a client of a VPN gateway, and as the gateway of clients.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VpnView {
    /// Name of the `[[vpn]]` that is wanted; empty where none is.
    pub name: String,
    /// `down`, `connecting`, `up`, `warm`, `disconnecting` or `failed`.
    pub state: String,
    /// Why it failed.
    pub reason: String,
    pub since_seconds: u64,
    /// Outer addresses; empty unless it is up.
    pub local: String,
    pub gateway: String,
    /// What the gateway gave us.
    pub addresses: Vec<String>,
    pub dns: Vec<String>,
    /// What is reached through it.
    pub subnets: Vec<String>,
    pub clients: Vec<VpnClientView>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VpnClientView {
    pub peer: String,
    /// Where it is now.
    pub from: String,
    pub addresses: Vec<String>,
    pub since_seconds: u64,
}

/// Our own home agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HomeAgentView {
    pub address: String,
    pub home_network: String,
    /// Empty where the home network is virtual.
    pub link: String,
    /// Where home addresses are given from.
    pub pool: Option<String>,
    pub mobile_nodes: usize,
    pub bindings: usize,
}

/// Our own foreign agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignAgentView {
    pub link: String,
    pub address: String,
    pub care_of: String,
    pub visitors: usize,
    /// Requests without an answer yet.
    pub pending: usize,
}

/// One of its visitors, as `visitors --json` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VisitorView {
    pub home: String,
    pub home_agent: String,
    pub care_of: String,
    pub mac: String,
    /// `ipip`.
    pub encapsulation: String,
    /// `no`, `direct` or `encapsulating`.
    pub reverse: String,
    /// Whether the care-of address is its own, so that the tunnel does not end here.
    pub co_located: bool,
    /// `None` never ends.
    pub left_seconds: Option<u64>,
}

/// Our own proxy agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyAgentView {
    pub address: String,
    /// Our end of the tunnels to the inner home agent.
    pub inside_address: String,
    pub home_agent: String,
    pub mobile_nodes: usize,
    /// Of those that are outside.
    pub bindings: usize,
    /// Those for which the inner home agent has not answered yet.
    pub asking: usize,
}

/// One binding of our own home agent or proxy agent, as `bindings --json` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindingView {
    pub home: String,
    /// The network access identifier of a mobile node that has one.
    pub nai: Option<String>,
    pub care_of: String,
    /// Our own end of the tunnel.
    pub agent: String,
    /// `ipip`, or `ipip in UDP`.
    pub encapsulation: String,
    /// Whether the mobile node may send through the tunnel, too.
    pub reverse: bool,
    /// Behind the mobile node.
    pub networks: Vec<String>,
    /// `None` never ends.
    pub left_seconds: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiscoveryView {
    pub proxy: String,
    pub flow: String,
    /// `probing`, `waiting`, `negotiating`.
    pub state: String,
    pub probes_sent: u32,
    /// Packets known to wait for it: one for each ACQUIRE.
    pub waiting: u64,
    pub candidates: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailureView {
    pub proxy: String,
    pub flow: String,
    /// One line: what failed and with whom.
    pub reason: String,
    /// `block` or `clear`.
    pub action: String,
    pub retry_in_seconds: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefusedProbeView {
    pub from: String,
    pub flow: String,
    pub reason: String,
}

/// The kernel, or somebody else's object in it, stands in the way of an object of ours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefusalView {
    /// In the words of `ip xfrm`.
    pub attempt: String,
    pub error: String,
    /// What a person can do; commands stand in backquotes.
    pub advice: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyView {
    /// `in`, `out` or `fwd`.
    pub direction: String,
    pub selector: String,
    /// What it is for: `bypass`, `tunnel`, `failure`, `trap`, `enforce`.
    pub purpose: String,
    /// `allow`, `block`, or the templates.
    pub action: String,
    pub priority: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SaView {
    /// `in` or `out`.
    pub direction: String,
    pub src: String,
    pub dst: String,
    pub spi: String,
    pub reqid: u32,
    pub mode: String,
    pub algorithm: String,
}

/// What `discover ADDRESS` found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DiscoverReport {
    pub flow: String,
    pub answers: Vec<DiscoverAnswer>,
    /// Empty where everything went well; otherwise why nothing was or could be sent.
    pub error: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiscoverAnswer {
    pub responder: String,
    pub offered: Vec<String>,
    /// The merged proxy, or which of protocol, address or port could not be reconciled.
    pub intersection: String,
    pub after_milliseconds: u64,
}

/// One line of `events`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventView {
    /// Seconds since the agent started.
    pub at: f64,
    /// Stable, for scripts: `acquire`, `probe`, `candidate`, `tunnel-up`, `tunnel-down`,
    /// `discovery-failed`, `probe-answered`, `probe-passed`, `refused`, `kernel-refused`,
    /// `kernel-accepted`, `mobile-registered`, `mobile-deregistered`, `mobile-expired`,
    /// `mobile-revoked`, `mobile-denied`, `revocation-acknowledged`, `revocation-unanswered`,
    /// `surrogate-registered`, `surrogate-left`, `surrogate-suspicious`.
    pub kind: Cow<'static, str>,
    pub detail: String,
}
