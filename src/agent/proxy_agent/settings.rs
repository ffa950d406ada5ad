//! What the configuration says of our own proxy agent.

use crate::mobile_ip::proxy_agent::{Node, Settings};
use crate::mobile_ip::security::SecurityAssociation;
use std::net::Ipv4Addr;

type ForeignAgent = (Ipv4Addr, SecurityAssociation);

#[derive(Clone, Debug)]
pub struct ProxyAgentSettings {
    pub protocol: Settings,
    pub tables: Tables,
}

/// The one table of what comes out of tunnels, and the priority of the rules that lead there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tables {
    pub table: u32,
    pub rule_priority: u32,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            table: 7600,
            rule_priority: 7600,
        }
    }
}

impl ProxyAgentSettings {
    /// Keys and all.
    pub fn is_same(&self, other: &Self) -> bool {
        let of = |settings: &Self| {
            let p = &settings.protocol;
            (
                (p.outer, p.inner, p.home_agent, p.inside.clone()),
                p.encapsulations.clone(),
                (p.port, p.lifetime, p.keepalive),
                settings.tables,
            )
        };
        let (a, b) = (&self.protocol, &other.protocol);
        of(self) == of(other)
            && a.nodes.len() == b.nodes.len()
            && a.nodes.iter().zip(&b.nodes).all(is_same_node)
            && a.foreign_agents.len() == b.foreign_agents.len()
            && a.foreign_agents
                .iter()
                .zip(&b.foreign_agents)
                .all(is_same_agent)
    }
}

fn is_same_agent((a, b): (&ForeignAgent, &ForeignAgent)) -> bool {
    a.0 == b.0 && is_same_key(&a.1, &b.1)
}

fn is_same_node((a, b): (&Node, &Node)) -> bool {
    a.home == b.home && is_same_key(&a.outer, &b.outer) && is_same_key(&a.inner, &b.inner)
}

/// Exposed to be compared with each other: both come from files that only root can choose.
fn is_same_key(a: &SecurityAssociation, b: &SecurityAssociation) -> bool {
    (a.spi, a.algorithm, a.replay, a.key.expose()) == (b.spi, b.algorithm, b.replay, b.key.expose())
}
