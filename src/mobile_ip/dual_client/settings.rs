//! What an administrator decides, checked as far as it can be without a network.

use crate::mobile_ip::domain::Ranges;
use crate::net::{Ipv4Net, Ipv6Net};
use std::net::Ipv4Addr;
use std::time::Duration;

/// `T_MONITOR` of RFC 5265 §3.2.4, where nothing else is configured.
pub const T_MONITOR: Duration = Duration::from_secs(60);

/// Shorter and a proof would be over before it could be renewed with one loss.
pub const T_MONITOR_LEAST: Duration = Duration::from_secs(10);

/// One Mobile IP system as the mobile node has it. Keys belong to whoever sends the requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// S or T; 0.0.0.0 before its home agent has given one.
    pub home: Ipv4Addr,
    pub home_agent: Ipv4Addr,
    /// Where the address needs no tunnel. `None` for a virtual home network.
    pub home_network: Option<Ipv4Net>,
    /// Asked for; the home agent may grant less.
    pub lifetime: Duration,
    /// Whether what is sent goes through the home agent too. Over the VPN the inner system always does
    /// that (RFC 5265 §2.3).
    pub reverse: Reverse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reverse {
    Never,
    Always,
}

/// A way into the enterprise from outside: an outer home agent with the VPN gateway that is near it
/// (FIG. 16).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    pub name: String,
    /// `None`: the VPN runs over the physical address and is set up anew with each move (FIG. 2).
    pub outer: Option<System>,
    /// What the VPN calls its gateway; `None` where there is only one.
    pub gateway: Option<String>,
    /// From these addresses it is used first.
    pub near: Vec<Ipv4Net>,
    /// What the VPN can run over.
    pub reach: Reach,
}

/// Where the gateway of a VPN is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    #[default]
    Ipv4,
    /// Over IPv6 as well, where a network has nothing else.
    Either,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vpn {
    /// The null case: no security between the systems.
    Absent,
    Present {
        /// Inside, the SA and the outer registration are kept, so that leaving costs one round trip.
        warm: bool,
        /// How long it may take to come up: for one of the dial type, the patience of its user.
        patience: Duration,
    },
}

/// How S is protected inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsideProtection {
    /// As the document has it: nothing, on proof.
    Clear,
    /// The VPN stays on, whatever is proved. Closes the relay by an accomplice inside.
    Esp,
}

/// Which destinations use S. For whoever makes routes of an arrangement: it has the same shape either way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tunnelling {
    Full,
    /// Everything else leaves from the physical address.
    Split(Vec<Ipv4Net>),
}

/// Whether the inner home agent is asked in the clear from networks that are not known. It shows them
/// its address and ours (RFC 5265 §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClearProbes {
    Everywhere,
    /// Only where a conjecture says inside.
    WhereExpected,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub inner: System,
    /// At least one, in the order of preference where nothing else decides. With [`Vpn::Absent`] and no
    /// outer system there is one Mobile IP system and nothing to detect.
    pub sites: Vec<Site>,
    pub vpn: Vpn,
    pub inside_protection: InsideProtection,
    pub tunnelling: Tunnelling,
    pub ranges: Ranges,
    pub clear_probes: ClearProbes,
    pub t_monitor: Duration,
    /// Networks behind us that move along (RFC 5177): we are a mobile router, and what comes from them has
    /// the ways of S.
    pub mobile_networks: Vec<Ipv4Net>,
    /// IPv6 prefixes that do (RFC 5454), in IPv4 from S.
    pub mobile_networks6: Vec<Ipv6Net>,
    /// Where this machine speaks from an address of those.
    pub destinations6: Vec<Ipv6Net>,
    pub foreign_agents: ForeignAgents,
}

/// Whom we register through. An advertisement is not authenticated, so whoever is not known is anybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForeignAgents {
    /// Those with whom a key is agreed.
    #[default]
    Known,
    /// Whoever advertises itself. It can do what any router of that link can.
    Any,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error(
        "the outer home address of `{site}` is {address}, which is the inner one: they must differ"
    )]
    SameHomeAddress { site: String, address: Ipv4Addr },
    #[error("no site is configured: at least one way in from outside is needed")]
    NoSite,
    #[error("two sites are called `{0}`")]
    SameName(String),
    #[error(
        "t-monitor of {0:?} is less than {T_MONITOR_LEAST:?}: a proof could not be renewed in time"
    )]
    MonitorTooShort(Duration),
    #[error("the home network {network} does not hold the home address {address}")]
    NotInHomeNetwork { network: Ipv4Net, address: Ipv4Addr },
    #[error("{address} cannot be a home address or a home agent")]
    Unusable { address: Ipv4Addr },
    #[error(
        "networks: {network} is of IPv6, which the home agent takes out of a reverse tunnel only: reverse = \"always\""
    )]
    NoReverseTunnel { network: Ipv6Net },
    #[error(
        "destinations: {destination} is of IPv6, and no prefix in `networks` is an address to speak from (/128)"
    )]
    NoAddress { destination: Ipv6Net },
    #[error("the mobile network {network} holds the home address {address}")]
    HomeInMobileNetwork { network: Ipv4Net, address: Ipv4Addr },
}

impl Settings {
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.sites.is_empty() {
            return Err(SettingsError::NoSite);
        }
        if self.t_monitor < T_MONITOR_LEAST {
            return Err(SettingsError::MonitorTooShort(self.t_monitor));
        }
        check_system(&self.inner)?;
        for (at, site) in self.sites.iter().enumerate() {
            if self.sites[..at]
                .iter()
                .any(|before| before.name == site.name)
            {
                return Err(SettingsError::SameName(site.name.clone()));
            }
            let Some(outer) = &site.outer else { continue };
            check_system(outer)?;
            if outer.home == self.inner.home {
                return Err(SettingsError::SameHomeAddress {
                    site: site.name.clone(),
                    address: outer.home,
                });
            }
        }
        if let Some(network) = self.mobile_networks6.first()
            && self.inner.reverse == Reverse::Never
        {
            let network = *network;
            return Err(SettingsError::NoReverseTunnel { network });
        }
        if let Some(destination) = self.destinations6.first()
            && self.addresses6().next().is_none()
        {
            let destination = *destination;
            return Err(SettingsError::NoAddress { destination });
        }
        let homes = self.outer_systems().map(|outer| outer.home);
        for address in homes.chain([self.inner.home]) {
            let mut networks = self.mobile_networks.iter();
            if let Some(network) = networks.find(|net| net.contains(&address)) {
                return Err(SettingsError::HomeInMobileNetwork {
                    network: *network,
                    address,
                });
            }
        }
        Ok(())
    }

    pub fn outer_systems(&self) -> impl Iterator<Item = &System> {
        self.sites.iter().filter_map(|site| site.outer.as_ref())
    }

    /// Of the prefixes, those that are one address, which we hold ourselves.
    pub fn addresses6(&self) -> impl Iterator<Item = Ipv6Net> {
        let prefixes = self.mobile_networks6.iter().copied();
        prefixes.filter(|net| net.prefix_len() == 128)
    }

    /// Whether there is anything to find out. Where both home agents have one address nothing an answer
    /// says would tell the domains apart, so it is outside (RFC 5265 §3.5).
    pub fn detects(&self) -> bool {
        let agent = self.inner.home_agent;
        let is_shared = self.outer_systems().any(|outer| outer.home_agent == agent);
        let has_outside = self.vpn != Vpn::Absent || self.outer_systems().next().is_some();
        has_outside && !is_shared && self.inside_protection == InsideProtection::Clear
    }
}

fn check_system(system: &System) -> Result<(), SettingsError> {
    let is_given = !system.home.is_unspecified();
    let home = is_given.then_some(system.home);
    for address in home.into_iter().chain([system.home_agent]) {
        if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
            return Err(SettingsError::Unusable { address });
        }
    }
    match system.home_network {
        Some(network) if is_given && !network.contains(&system.home) => {
            Err(SettingsError::NotInHomeNetwork {
                network,
                address: system.home,
            })
        }
        _ => Ok(()),
    }
}
