//! What the configuration says of our own foreign agent.

use crate::kernel::desired::LinkName;
use crate::mobile_ip::LinkId;
use crate::mobile_ip::foreign_agent::Settings;
use crate::mobile_ip::security::SecurityAssociation;
use std::net::Ipv4Addr;

/// The one link of its room, whatever its index is now.
pub const LINK: LinkId = LinkId(0);

#[derive(Clone, Debug)]
pub struct ForeignAgentSettings {
    /// Whose link is [`LINK`], and which does not know our own addresses yet.
    pub protocol: Settings,
    /// Where visitors are.
    pub link: LinkName,
    pub tables: Tables,
}

/// The first of the tables, and of the two priorities of the rules that lead there: that of visitors, and
/// one for each home agent, in which their packets find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tables {
    pub first: u32,
    pub rule_priority: u32,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            first: 7500,
            rule_priority: 7500,
        }
    }
}

impl Tables {
    pub fn visitors(self) -> u32 {
        self.first
    }

    pub fn of_home_agents(self) -> impl Iterator<Item = u32> {
        self.first + 1..
    }
}

impl ForeignAgentSettings {
    /// Keys and all.
    pub fn is_same(&self, other: &Self) -> bool {
        let of = |settings: &Self| {
            let p = &settings.protocol;
            (
                (p.address, p.prefix_len, p.care_of, p.lifetime, p.interval),
                (p.required, p.traffic, p.reverse, p.challenge),
                (p.most_visitors, p.most_pending),
                (settings.link, settings.tables, p.tunnels.clone()),
            )
        };
        of(self) == of(other)
            && same_keys(&self.protocol.mobile_nodes, &other.protocol.mobile_nodes)
            && same_keys(&self.protocol.home_agents, &other.protocol.home_agents)
    }
}

type Keys = [(Ipv4Addr, SecurityAssociation)];

/// Exposed to be compared with each other: both come from files that only root can choose.
pub fn same_keys(a: &Keys, b: &Keys) -> bool {
    let same = |((with, a), (other, b)): (&Keyed, &Keyed)| {
        (with, a.spi, a.algorithm, a.key.expose()) == (other, b.spi, b.algorithm, b.key.expose())
    };
    a.len() == b.len() && a.iter().zip(b).all(same)
}

type Keyed = (Ipv4Addr, SecurityAssociation);
