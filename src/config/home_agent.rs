//! `[home-agent]` and `[[mobile-node]]`: whom we serve as a home agent of Mobile IP, and how.

use super::association;
use super::file::ReadSecret;
use super::foreign_agent::AgentKeys;
use super::report::{Report, Span};
use super::secrets::ADVISED_OCTETS;
use super::section::Section;
use super::values::{self, Reason};
use crate::agent::home_agent::settings::HomeAgentSettings;
use crate::mobile_ip::home_agent::settings::{
    ForeignAgent, HomeLink, Limits, MobileNode, NatTraversal, ReverseTunnel, Settings,
};
use crate::mobile_ip::security::{DEFAULT_WINDOW, ReplayProtection, SecurityAssociation};
use crate::net::{IpNet, Ipv4Net};
use std::collections::HashMap;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use toml::de::DeValue;

/// The largest lifetime but one, which stands for ever (RFC 5944 §3.3).
const LONGEST: Duration = Duration::from_secs(65_534);
const SHORTEST: Duration = Duration::from_secs(10);
/// Of one mobile node at a time: each is a copy of every packet.
const MOST_BINDINGS: i128 = 8;

pub(super) struct Tables<'r, 't> {
    pub(super) agent: Option<Section<'r, 't>>,
    pub(super) nodes: Vec<Section<'r, 't>>,
    pub(super) agent_keys: &'r AgentKeys,
}

/// `None` where there is none, or where something essential was reported.
pub(super) fn read(
    report: &Report<'_>,
    tables: &Tables<'_, '_>,
    read_secret: ReadSecret<'_>,
) -> Option<HomeAgentSettings> {
    let nodes: Vec<_> = tables
        .nodes
        .iter()
        .filter_map(|section| Some((node(report, section, read_secret)?, section.at().clone())))
        .collect();
    let Some(section) = &tables.agent else {
        if let Some(node) = tables.nodes.first() {
            let message = "there is no [home-agent], so nobody can be registered";
            report.error(node.at(), message.to_owned());
        }
        return None;
    };
    let settings = agent(section)?;
    check_pool(section, report, &settings.protocol);
    check(report, &settings, &nodes);
    let mut settings = settings;
    let foreign_agents = tables.agent_keys.with_foreign_agents().into_iter();
    let foreign_agents =
        foreign_agents.map(|(address, security)| ForeignAgent { address, security });
    settings.protocol.foreign_agents = foreign_agents.collect();
    settings.protocol.mobile_nodes = nodes.into_iter().map(|(node, _)| Arc::new(node)).collect();
    Some(settings)
}

fn agent(section: &Section<'_, '_>) -> Option<HomeAgentSettings> {
    let address = section.required("address", address);
    let home_network = section.required("home-network", net);
    let link = section.optional("link", |v| {
        let name = values::text(v, "the name of an interface")?;
        name.parse()
            .map_err(|error: crate::kernel::desired::InvalidLinkName| error.to_string())
    });
    let mut limits = Limits::default();
    section.set("bindings-each", &mut limits.bindings_each, |v| {
        let allowed = format!("a whole number from 1 to {MOST_BINDINGS}");
        values::integer(v, 1..=MOST_BINDINGS, &allowed)
    });
    let mut lifetime = Duration::from_secs(limits.lifetime.into());
    section.set("lifetime", &mut lifetime, |v| {
        values::duration(v, SHORTEST..=LONGEST)
    });
    limits.lifetime = u16::try_from(lifetime.as_secs()).unwrap_or(u16::MAX - 1);
    section.set("rate", &mut limits.rate, |v| {
        values::count(v, 1..=1_000_000)
    });
    section.set("rate-each", &mut limits.rate_each, |v| {
        values::count(v, 1..=1000)
    });
    section.set("rate-failures", &mut limits.rate_failures, |v| {
        values::count(v, 0..=1000)
    });
    let mut reverse_tunnel = ReverseTunnel::Allowed;
    section.set("reverse-tunnel", &mut reverse_tunnel, |v| {
        values::word(
            v,
            &[
                ("allowed", ReverseTunnel::Allowed),
                ("refused", ReverseTunnel::Refused),
                ("required", ReverseTunnel::Required),
            ],
        )
    });
    let mut nat = NatTraversal::default();
    section.set("nat-traversal", &mut nat, |v| {
        let translated = NatTraversal {
            forced_allowed: false,
            ..NatTraversal::default()
        };
        let refused = NatTraversal {
            allowed: false,
            ..translated
        };
        let words = [
            ("allowed", NatTraversal::default()),
            ("translated", translated),
            ("refused", refused),
        ];
        values::word(v, &words)
    });
    let encapsulations = association::encapsulations(section, &association::ENCAPSULATIONS);
    let trusted = section.list("trusted-networks", net).unwrap_or_default();
    let pool = section.optional("pool", pool);
    Some(HomeAgentSettings {
        protocol: Settings {
            address: address?,
            home_network: home_network?,
            home_link: if section.has("link") {
                HomeLink::Physical
            } else {
                HomeLink::Virtual
            },
            mobile_nodes: Vec::new(),
            foreign_agents: Vec::new(),
            pool,
            trusted: trusted.into_iter().map(|(net, _)| net).collect(),
            encapsulations,
            reverse_tunnel,
            nat,
            limits,
        },
        link,
    })
}

fn node(
    report: &Report<'_>,
    section: &Section<'_, '_>,
    read_secret: ReadSecret<'_>,
) -> Option<MobileNode> {
    let home = section.optional("home", address);
    let nai = section.optional("nai", nai);
    if !section.has("home") && !section.has("nai") {
        let message =
            "[[mobile-node]] lacks the key `home`, or `nai`, to be given an address of the pool";
        report.error(section.at(), message.to_owned());
    }
    let spi = association::spi(section, "an SPI is 256–4294967295 (RFC 5944 §1.6)");
    let key_file = section.required("key-file", |v| {
        values::text(v, "the name of a file").map(PathBuf::from)
    });
    let algorithm = association::algorithm(section);
    let timestamps = ReplayProtection::Timestamps {
        window: DEFAULT_WINDOW,
    };
    let mut replay = timestamps;
    section.set("replay", &mut replay, |v| {
        values::word(
            v,
            &[
                ("timestamps", timestamps),
                ("nonces", ReplayProtection::Nonces),
            ],
        )
    });
    let networks = section.list("networks", values::mobile_network);
    let networks = networks.unwrap_or_default().into_iter();
    let (networks, networks6) = values::by_family(networks.map(|(net, _)| net));
    let key = key_file.and_then(|name| {
        read_secret(&name)
            .map_err(|error| report.error(&section.span("key-file"), format!("key-file: {error}")))
            .ok()
    })?;
    if key.len() < ADVISED_OCTETS {
        let length = key.len();
        report.warning(
            &section.span("key-file"),
            format!("key-file: the key has {length} octets: with fewer than {ADVISED_OCTETS} it can be guessed"),
        );
    }
    Some(MobileNode {
        home,
        nai,
        security: vec![SecurityAssociation {
            spi: spi?,
            algorithm,
            key,
            replay,
        }],
        networks,
        networks6,
    })
}

/// Each address, each name and each network is of one mobile node, and at home in the home network.
fn check(report: &Report<'_>, settings: &HomeAgentSettings, nodes: &[(MobileNode, Span)]) {
    let protocol = &settings.protocol;
    let mut homes: HashMap<Ipv4Addr, &Span> = HashMap::new();
    let mut names: HashMap<&[u8], &Span> = HashMap::new();
    let mut networks: HashMap<IpNet, &Span> = HashMap::new();
    for (node, at) in nodes {
        let of_another = |what: &dyn Display, first: Option<&Span>| {
            if let Some(first) = first {
                let line = report.line(first);
                let message = format!("{what} is that of the mobile node in line {line}");
                report.error(at, message);
            }
        };
        if let Some(home) = node.home {
            check_home(report, protocol, home, at);
            of_another(&format_args!("home: {home}"), homes.insert(home, at));
        } else if protocol.pool.is_none() {
            let message = "home: without one, [home-agent] needs a `pool` of addresses to give";
            report.error(at, message.to_owned());
        }
        if let Some(nai) = &node.nai {
            let name = String::from_utf8_lossy(nai);
            of_another(&format_args!("nai: {name}"), names.insert(nai, at));
        }
        let v4 = node.networks.iter().copied().map(IpNet::V4);
        let v6 = node.networks6.iter().copied().map(IpNet::V6);
        for net in v4.chain(v6) {
            of_another(&format_args!("networks: {net}"), networks.insert(net, at));
        }
    }
}

fn check_home(report: &Report<'_>, settings: &Settings, home: Ipv4Addr, at: &Span) {
    let network = settings.home_network;
    if !network.contains(&home) {
        let message = format!("home: {home} is not in the home network {network}");
        report.error(at, message);
    }
    if home == settings.address {
        report.error(at, format!("home: {home} is the home agent's own address"));
    }
    if let Some(pool) = settings.pool.filter(|pool| pool.contains(&home)) {
        let message = format!(
            "home: {home} is in the pool {pool}, of which others are given addresses: take one outside of it"
        );
        report.error(at, message);
    }
}

/// What is given away is at home here, and nobody's already.
fn check_pool(section: &Section<'_, '_>, report: &Report<'_>, settings: &Settings) {
    let Some(pool) = settings.pool else { return };
    let (network, agent) = (settings.home_network, settings.address);
    let at = section.span("pool");
    if !network.contains(&pool) {
        let message = format!("pool: {pool} is not in the home network {network}");
        report.error(&at, message);
    }
    if pool.contains(&agent) {
        let message = format!("pool: {pool} contains the home agent's own address {agent}");
        report.error(&at, message);
    }
}

fn address(value: &DeValue<'_>) -> Result<Ipv4Addr, Reason> {
    match values::address(value)? {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(address) => Err(format!(
            "{address} is an IPv6 address: Mobile IPv4 has none"
        )),
    }
}

/// Whole, as its first and its last address name the network and everybody in it.
fn pool(value: &DeValue<'_>) -> Result<Ipv4Net, Reason> {
    let pool = net(value)?;
    if pool.prefix_len() > 30 {
        return Err(format!(
            "{pool} has no address to give: its first and its last are not given"
        ));
    }
    Ok(pool)
}

/// A network access identifier (RFC 4282 §2), which goes octet by octet into an extension of 255.
pub(super) fn nai(value: &DeValue<'_>) -> Result<Vec<u8>, Reason> {
    let nai = values::text(value, "a name like \"alice@example.org\"")?;
    let blank = |c: char| c.is_whitespace() || c.is_control();
    if nai.is_empty() || nai.len() > 255 || nai.contains(blank) {
        return Err("a network access identifier has up to 255 octets and no blanks".to_owned());
    }
    Ok(nai.as_bytes().to_vec())
}

fn net(value: &DeValue<'_>) -> Result<Ipv4Net, Reason> {
    match values::net(value)? {
        IpNet::V4(net) => Ok(net.trunc()),
        IpNet::V6(net) => Err(format!("{net} is an IPv6 prefix: Mobile IPv4 has none")),
    }
}
