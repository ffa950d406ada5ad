//! `[mobility]` and its `[[mobility-site]]`s, validated.

use crate::agent::foreign_agent::settings::same_keys;
use crate::kernel::desired::LinkName;
use crate::mobile_ip::domain::Ranges;
use crate::mobile_ip::dual_client::station::Agreement;
use crate::mobile_ip::dual_client::{self, ForeignAgents, SettingsError, System, Tunnelling};
use crate::mobile_ip::wire::TunnelKind;
use crate::net::Ipv4Net;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

#[derive(Clone, Debug)]
pub struct MobilitySettings {
    pub dual: dual_client::Settings,
    /// With the inner home agent.
    pub inner: Agreement,
    /// With the outer home agent of each site that has one, by its place in the settings.
    pub outer: BTreeMap<usize, Agreement>,
    pub adapters: AdapterNames,
    pub tables: Tables,
}

/// What the adapters that hold our addresses are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdapterNames {
    /// Holds S.
    pub intranet: LinkName,
    /// Holds T.
    pub mobility: LinkName,
    /// Holds V.
    pub vpn: LinkName,
}

impl Default for AdapterNames {
    fn default() -> Self {
        Self {
            intranet: LinkName::literal("intranet0"),
            mobility: LinkName::literal("mobility0"),
            vpn: LinkName::literal("vpn0"),
        }
    }
}

impl AdapterNames {
    pub fn all(&self) -> [LinkName; 3] {
        [self.intranet, self.mobility, self.vpn]
    }
}

/// The first of our routing tables, and the first priority of the rules that lead there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tables {
    pub first: u32,
    pub rule_priority: u32,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            first: 7380,
            rule_priority: 7380,
        }
    }
}

impl Tables {
    /// The table of S.
    pub fn intranet(self) -> u32 {
        self.first
    }

    /// The table of V.
    pub fn vpn(self) -> u32 {
        self.first + 1
    }

    /// Of the way from X to a home agent: the inner one is system 0, those of sites count from 1. There are two,
    /// since the next way is there before the former goes.
    pub fn below(self, system: u32, parity: u32) -> u32 {
        self.first + 2 + 3 * system + parity
    }

    /// The table of a site's T.
    pub fn mobility(self, site: u32) -> u32 {
        self.first + 4 + 3 * site
    }

    /// The last that so many sites use.
    pub fn last(self, sites: usize) -> u32 {
        self.below(u16::try_from(sites).unwrap_or(u16::MAX).into(), 1)
    }
}

/// The system whose home address its home agent gives (RFC 2794).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    Inner,
    /// Of that site.
    Outer(usize),
}

impl MobilitySettings {
    /// The configuration lets there be one.
    pub fn given(&self) -> Option<Given> {
        let is_given = |system: &System| system.home.is_unspecified();
        if is_given(&self.dual.inner) {
            return Some(Given::Inner);
        }
        let mut sites = self.dual.sites.iter();
        let at = sites.position(|site| site.outer.as_ref().is_some_and(is_given));
        at.map(Given::Outer)
    }

    pub fn system(&self, which: Given) -> Option<(&System, &Agreement)> {
        match which {
            Given::Inner => Some((&self.dual.inner, &self.inner)),
            Given::Outer(site) => {
                let outer = self.dual.sites.get(site)?.outer.as_ref()?;
                Some((outer, self.outer.get(&site)?))
            }
        }
    }

    /// With that home address, where nothing speaks against it.
    ///
    /// # Errors
    /// It does not go together with the rest.
    pub fn with_home(&self, which: Given, home: Ipv4Addr) -> Result<Self, SettingsError> {
        let mut settings = self.clone();
        let system = match which {
            Given::Inner => Some(&mut settings.dual.inner),
            Given::Outer(site) => {
                let site = settings.dual.sites.get_mut(site);
                site.and_then(|site| site.outer.as_mut())
            }
        };
        if let Some(system) = system {
            system.home = home;
        }
        settings.dual.check()?;
        Ok(settings)
    }

    /// Keys and all.
    pub fn is_same(&self, other: &Self) -> bool {
        let all = |settings: &Self| (settings.dual.clone(), settings.adapters, settings.tables);
        let agreements = |settings: &Self| settings.outer.len() + 1;
        let mut pairs = self
            .outer
            .iter()
            .map(|(site, mine)| other.outer.get(site).map(|theirs| (mine, theirs)))
            .chain([Some((&self.inner, &other.inner))]);
        all(self) == all(other)
            && agreements(self) == agreements(other)
            && pairs.all(|pair| pair.is_some_and(|(a, b)| is_agreed_alike(a, b)))
    }

    /// Whether a system asks for that encapsulation.
    pub fn wants(&self, encapsulation: TunnelKind) -> bool {
        let mut agreements = self.outer.values().chain([&self.inner]);
        agreements.any(|agreement| agreement.encapsulation == encapsulation)
    }

    /// Whether anything is made of what agents advertise.
    pub fn looks_for_agents(&self) -> bool {
        let Ranges {
            inside_agents,
            outside_agents,
            ..
        } = &self.dual.ranges;
        self.dual.foreign_agents == ForeignAgents::Any
            || !self.inner.foreign_agents.is_empty()
            || !inside_agents.is_empty()
            || !outside_agents.is_empty()
    }

    /// Where applications speak from S unless they say otherwise.
    pub fn destinations(&self) -> Vec<Ipv4Net> {
        match &self.dual.tunnelling {
            Tunnelling::Full => vec![Ipv4Net::default()],
            Tunnelling::Split(networks) => networks.clone(),
        }
    }
}

/// Exposed to be compared with each other: both come from files that only root can choose.
fn is_agreed_alike(a: &Agreement, b: &Agreement) -> bool {
    if a.encapsulation != b.encapsulation
        || a.nai != b.nai
        || !same_keys(&a.foreign_agents, &b.foreign_agents)
    {
        return false;
    }
    let (a, b) = (&a.association, &b.association);
    (a.spi, a.algorithm, a.key.expose()) == (b.spi, b.algorithm, b.key.expose())
}
