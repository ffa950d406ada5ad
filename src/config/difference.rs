//! What a reload changes.

use super::Loaded;
use crate::agent::foreign_agent::settings::{ForeignAgentSettings, same_keys};
use crate::agent::home_agent::settings::HomeAgentSettings;
use crate::agent::mobility::settings::MobilitySettings;
use crate::agent::presence::settings::PresenceSettings;
use crate::agent::proxy_agent::settings::ProxyAgentSettings;
use crate::agent::settings::Settings;
use crate::ike::settings::{Peer, Timing};
use crate::mobile_ip::home_agent::settings::MobileNode;
use std::collections::BTreeMap;
use std::fmt;

/// Names of what was added, removed or altered; each list in a stable order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    pub proxies: Changes,
    pub peers: Changes,
    pub contacts: Changes,
    pub mobile_nodes: Changes,
    /// Other keys that take effect at once, as `table.key`.
    pub settings: Vec<&'static str>,
    /// Keys that differ and keep their old value until the agent is restarted.
    pub needs_restart: Vec<&'static str>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub added: Vec<String>,
    pub removed: Vec<String>,
    pub altered: Vec<String>,
}

impl Changes {
    fn between<T>(
        old: &BTreeMap<String, T>,
        new: &BTreeMap<String, T>,
        same: impl Fn(&T, &T) -> bool,
    ) -> Self {
        let missing_in = |a: &BTreeMap<String, T>, b: &BTreeMap<String, T>| {
            let missing = a.keys().filter(|name| !b.contains_key(*name));
            missing.cloned().collect()
        };
        let altered = old
            .iter()
            .filter(|(name, old)| new.get(*name).is_some_and(|new| !same(old, new)));
        Self {
            added: missing_in(new, old),
            removed: missing_in(old, new),
            altered: altered.map(|(name, _)| name.clone()).collect(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.altered.is_empty()
    }
}

impl Difference {
    pub fn between(old: &Loaded, new: &Loaded) -> Self {
        let proxies = |settings: &Settings| {
            let named = settings.proxies.iter().map(|g| (g.name.clone(), g.clone()));
            named.collect::<BTreeMap<_, _>>()
        };
        let peers = |settings: &Settings| {
            let named = settings.peers.iter().map(|p| (p.id.to_string(), p.clone()));
            named.collect::<BTreeMap<_, _>>()
        };
        let contacts = |settings: &Settings| {
            let all = settings.presence.iter().flat_map(|p| &p.contacts);
            let named = all.map(|c| (c.entity.to_string(), c.clone()));
            named.collect::<BTreeMap<_, _>>()
        };
        let mobile_nodes = |settings: &Settings| {
            let agents = settings.home_agent.iter();
            let all = agents.flat_map(|agent| &agent.protocol.mobile_nodes);
            let named = all.map(|node| (node_name(node), node.as_ref().clone()));
            named.collect::<BTreeMap<_, _>>()
        };
        let (a, b) = (&old.agent, &new.agent);
        let home_agents = a.home_agent.as_ref().zip(b.home_agent.as_ref());
        // Where one of them has none, that alone is said.
        let presence = a.presence.as_ref().zip(b.presence.as_ref());
        let of_presence = |differs: fn(&PresenceSettings, &PresenceSettings) -> bool| {
            presence.is_some_and(|(a, b)| differs(a, b))
        };
        let differing = |keys: &[(&'static str, bool)]| {
            let keys = keys.iter().filter(|(_, differs)| *differs);
            keys.map(|(key, _)| *key).collect()
        };
        Self {
            proxies: Changes::between(&proxies(a), &proxies(b), PartialEq::eq),
            peers: Changes::between(&peers(a), &peers(b), same_peer),
            contacts: match presence {
                Some(_) => Changes::between(&contacts(a), &contacts(b), PartialEq::eq),
                None => Changes::default(),
            },
            mobile_nodes: match home_agents {
                Some(_) => Changes::between(&mobile_nodes(a), &mobile_nodes(b), same_mobile_node),
                None => Changes::default(),
            },
            settings: differing(&[
                (
                    "agent.log-level",
                    old.daemon.log_level != new.daemon.log_level,
                ),
                ("agent.on-stop", a.on_stop != b.on_stop),
                ("agent.max-prefixes", a.max_prefixes != b.max_prefixes),
                ("ike", timing(&a.ike) != timing(&b.ike)),
                ("discovery", a.discovery != b.discovery),
                ("presence", of_presence(|a, b| general(a) != general(b))),
                (
                    "home-agent",
                    home_agents.is_some_and(|(a, b)| {
                        let keys = |agent: &HomeAgentSettings| {
                            let all = agent.protocol.foreign_agents.iter();
                            all.map(|agent| (agent.address, agent.security.clone()))
                                .collect::<Vec<_>>()
                        };
                        served(a) != served(b) || !same_keys(&keys(a), &keys(b))
                    }),
                ),
                (
                    "site",
                    of_presence(|a, b| a.rulebook.sites != b.rulebook.sites),
                ),
                (
                    "rule",
                    of_presence(|a, b| a.rulebook.rules != b.rulebook.rules),
                ),
            ]),
            needs_restart: differing(&[
                ("identity.id", a.identity != b.identity),
                (
                    "agent.runtime-dir",
                    old.daemon.runtime_dir != new.daemon.runtime_dir,
                ),
                (
                    "agent.state-dir",
                    old.daemon.state_dir != new.daemon.state_dir,
                ),
                (
                    "agent.control-group",
                    old.daemon.control_group != new.daemon.control_group,
                ),
                ("interception", a.interception != b.interception),
                (
                    "mobility",
                    !same_mobility(a.mobility.as_ref(), b.mobility.as_ref()),
                ),
                ("presence", a.presence.is_some() != b.presence.is_some()),
                (
                    "home-agent",
                    a.home_agent.is_some() != b.home_agent.is_some(),
                ),
                (
                    "foreign-agent",
                    !same_foreign_agent(a.foreign_agent.as_ref(), b.foreign_agent.as_ref()),
                ),
                (
                    "proxy-agent",
                    !same_proxy_agent(a.proxy_agent.as_ref(), b.proxy_agent.as_ref()),
                ),
                ("presence.entity", of_presence(|a, b| a.entity != b.entity)),
                ("presence.mark", of_presence(|a, b| a.mark != b.mark)),
            ]),
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One line for each thing that differs; "nothing has changed" where none does.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing has changed");
        }
        let mut lines = Vec::new();
        for (kind, changes) in [
            ("proxy", &self.proxies),
            ("peer", &self.peers),
            ("contact", &self.contacts),
            ("mobile node", &self.mobile_nodes),
        ] {
            for (what, names) in [
                ("added", &changes.added),
                ("removed", &changes.removed),
                ("altered", &changes.altered),
            ] {
                lines.extend(names.iter().map(|name| format!("{kind} {name} {what}")));
            }
        }
        lines.extend(self.settings.iter().map(|key| format!("{key} altered")));
        let restart = self.needs_restart.iter();
        lines.extend(restart.map(|key| format!("{key} altered: takes effect at a restart")));
        f.write_str(&lines.join("\n"))
    }
}

fn same_peer(a: &Peer, b: &Peer) -> bool {
    // Whether it is a contact's is told with the contacts.
    // Exposed to be compared with each other: both come from files that only root can choose.
    a.psk.expose() == b.psk.expose()
        && a.may_protect == b.may_protect
        && a.may_protect_itself == b.may_protect_itself
}

fn same_mobility(a: Option<&MobilitySettings>, b: Option<&MobilitySettings>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => a.is_same(b),
        _ => false,
    }
}

fn same_foreign_agent(a: Option<&ForeignAgentSettings>, b: Option<&ForeignAgentSettings>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => a.is_same(b),
        _ => false,
    }
}

fn same_proxy_agent(a: Option<&ProxyAgentSettings>, b: Option<&ProxyAgentSettings>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => a.is_same(b),
        _ => false,
    }
}

fn same_mobile_node(a: &MobileNode, b: &MobileNode) -> bool {
    let security = |node: &MobileNode| {
        let all = node.security.iter();
        let parts = all.map(|sa| (sa.spi, sa.algorithm, sa.replay, sa.key.expose().to_vec()));
        parts.collect::<Vec<_>>()
    };
    let networks = |node: &MobileNode| (node.networks.clone(), node.networks6.clone());
    security(a) == security(b) && networks(a) == networks(b) && a.nai == b.nai
}

/// By its home address, or by its NAI where it has none of its own.
fn node_name(node: &MobileNode) -> String {
    let nai = || String::from_utf8_lossy(node.nai.as_deref().unwrap_or_default()).into_owned();
    node.home.map_or_else(nai, |home| home.to_string())
}

/// All of `[home-agent]`.
fn served(agent: &HomeAgentSettings) -> impl PartialEq + use<'_> {
    let protocol = &agent.protocol;
    (
        (protocol.address, protocol.home_network, agent.link),
        (protocol.limits, protocol.reverse_tunnel, protocol.nat),
        (&protocol.trusted, protocol.pool),
    )
}

/// Of `[presence]`, what takes effect at once.
fn general(p: &PresenceSettings) -> impl PartialEq + use<'_> {
    (
        (&p.user, &p.location, p.rulebook.unknown),
        p.rulebook.default_level,
        (p.dwell, p.lifetime, p.expiry, p.max_contacts),
    )
}

fn timing(t: &Timing) -> impl PartialEq + use<> {
    (
        (t.retransmit, t.retransmit_max, t.give_up),
        (
            t.liveness,
            t.child_lifetime,
            t.half_open,
            t.cookie_threshold,
        ),
    )
}
