//! What the configuration says of our own proxy agent.

use crate::mobile_ip::proxy_agent::{Node, Settings};
use crate::mobile_ip::security::SecurityAssociation;

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
        let (a, b) = (&self.protocol.nodes, &other.protocol.nodes);
        of(self) == of(other)
            && a.len() == b.len()
            && a.iter().zip(b).all(|(a, b)| is_same_node(a, b))
    }
}

fn is_same_node(a: &Node, b: &Node) -> bool {
    a.home == b.home && is_same_key(&a.outer, &b.outer) && is_same_key(&a.inner, &b.inner)
}

/// Exposed to be compared with each other: both come from files that only root can choose.
fn is_same_key(a: &SecurityAssociation, b: &SecurityAssociation) -> bool {
    (a.spi, a.algorithm, a.replay, a.key.expose()) == (b.spi, b.algorithm, b.replay, b.key.expose())
}
