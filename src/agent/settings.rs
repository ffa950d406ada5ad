//! What the agent is told to do: the validated configuration, without files and paths.

use super::foreign_agent::settings::ForeignAgentSettings;
use super::home_agent::settings::HomeAgentSettings;
use super::mobility::settings::MobilitySettings;
use super::presence::settings::PresenceSettings;
use super::proxy_agent::settings::ProxyAgentSettings;
use super::vpn::settings::VpnSettings;
use crate::ike;
use crate::kernel::desired::Mark;
use crate::net::Identity;
use crate::ted::proxies::Proxy;
use std::net::IpAddr;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Settings {
    pub identity: Identity,
    pub proxies: Vec<ProxyGroup>,
    pub peers: Vec<ike::settings::Peer>,
    pub ike: ike::settings::Timing,
    pub discovery: Discovery,
    pub interception: InterceptionSettings,
    /// A non-contiguous mask may stand for at most this many prefixes.
    pub max_prefixes: usize,
    pub on_stop: OnStop,
    /// `None`: presence is off.
    pub presence: Option<PresenceSettings>,
    pub vpn: VpnSettings,
    /// `None`: we are no home agent.
    pub home_agent: Option<HomeAgentSettings>,
    /// `None`: we are no foreign agent.
    pub foreign_agent: Option<ForeignAgentSettings>,
    /// `None`: we are no proxy agent.
    pub proxy_agent: Option<ProxyAgentSettings>,
    /// `None`: this machine does not move.
    pub mobility: Option<MobilitySettings>,
}

impl Settings {
    /// Of a machine that protects nothing, knows nobody and has no role: what more it is stands out where it is
    /// written.
    pub fn bare(identity: Identity) -> Self {
        Self {
            identity,
            proxies: Vec::new(),
            peers: Vec::new(),
            ike: ike::settings::Timing::default(),
            discovery: Discovery::default(),
            interception: InterceptionSettings::default(),
            max_prefixes: 256,
            on_stop: OnStop::Keep,
            presence: None,
            vpn: VpnSettings::default(),
            home_agent: None,
            foreign_agent: None,
            proxy_agent: None,
            mobility: None,
        }
    }

    /// Whether registrations are sent or heard.
    pub fn has_mobile_ip_role(&self) -> bool {
        self.serves_mobile_nodes() || self.mobility.is_some()
    }

    /// As an agent of Mobile IP, of whichever kind.
    pub fn serves_mobile_nodes(&self) -> bool {
        let at_an_end = self.home_agent.is_some() || self.foreign_agent.is_some();
        at_an_end || self.proxy_agent.is_some()
    }
}

/// One `[[proxy]]` of the file: the cross product of its local and remote entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyGroup {
    /// Unique.
    pub name: String,
    pub proxies: Vec<Proxy>,
    pub on_failure: FailureAction,
    /// How long the failure action holds before discovery is tried again.
    pub failure_lifetime: Duration,
    pub mode: TunnelMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureAction {
    Block,
    Clear,
}

/// Transport is used only where both ends of a merged proxy are the gateways themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelMode {
    Tunnel,
    Transport,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// First retransmission of a probe; doubles.
    pub retransmit: Duration,
    /// A probe that nobody answered for this long has failed.
    pub timeout: Duration,
    /// Probes a second, in total.
    pub rate: u32,
    /// Answers a second, in total.
    pub answer_rate: u32,
    /// Where answers should come to, instead of the address that the route would choose. At most
    /// one of each IP version.
    pub addresses: Vec<IpAddr>,
}

impl Default for Discovery {
    fn default() -> Self {
        Self {
            retransmit: Duration::from_millis(250),
            timeout: Duration::from_secs(4),
            rate: 100,
            answer_rate: 200,
            addresses: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterceptionSettings {
    /// One bit; policies exclude packets that carry it.
    pub pass_mark: Mark,
    /// One further bit, together with the first; routes a diverted probe to the agent.
    pub divert_mark: Mark,
    /// Routing table for diverted probes, and the priority of the rule that leads there.
    pub table: u32,
    pub rule_priority: u32,
    /// Discovery and IKE packets of others let through, a second.
    pub pass_rate: u32,
}

impl Default for InterceptionSettings {
    fn default() -> Self {
        const PASS: u32 = 0x8000_0000;
        const DIVERT: u32 = 0xc000_0000;
        Self {
            pass_mark: Mark {
                value: PASS,
                mask: PASS,
            },
            divert_mark: Mark {
                value: DIVERT,
                mask: DIVERT,
            },
            table: 7370,
            rule_priority: 7370,
            pass_rate: 500,
        }
    }
}

/// What happens to the kernel's objects when the agent is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStop {
    /// Protected traffic stays protected or blocked: tunnels, enforcement and traps stay.
    Keep,
    /// Everything the agent put in is taken out; traffic flows as if it had never run.
    Remove,
}
