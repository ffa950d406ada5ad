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
use crate::mobile_ip::wire::TunnelKind;
use crate::net::{IpNet, Ipv4Net};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use toml::de::DeValue;

/// The largest lifetime but one, which stands for ever (RFC 5944 §3.3).
const LONGEST: Duration = Duration::from_secs(65_534);
const SHORTEST: Duration = Duration::from_secs(10);

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
    // The kernel sends one copy of each packet, so that nobody has two bindings at once.
    let mut limits = Limits {
        bindings_each: 1,
        ..Limits::default()
    };
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
    let encapsulations = section.list("encapsulations", encapsulation);
    let trusted = section.list("trusted-networks", net).unwrap_or_default();
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
            pool: None,
            trusted: trusted.into_iter().map(|(net, _)| net).collect(),
            encapsulations: encapsulations
                .into_iter()
                .flatten()
                .map(|(kind, _)| kind)
                .collect(),
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
    let home = section.required("home", address);
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
    let networks = section.list("networks", net).unwrap_or_default();
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
        home: Some(home?),
        nai: None,
        security: vec![SecurityAssociation {
            spi: spi?,
            algorithm,
            key,
            replay,
        }],
        networks: networks.into_iter().map(|(net, _)| net).collect(),
        networks6: Vec::new(),
    })
}

/// Each address and each network is of one mobile node, and at home in the home network.
fn check(report: &Report<'_>, settings: &HomeAgentSettings, nodes: &[(MobileNode, Span)]) {
    let network = settings.protocol.home_network;
    let mut homes: HashMap<Ipv4Addr, &Span> = HashMap::new();
    let mut networks: HashMap<Ipv4Net, &Span> = HashMap::new();
    for (node, at) in nodes {
        let Some(home) = node.home else { continue };
        if !network.contains(&home) {
            let message = format!("home: {home} is not in the home network {network}");
            report.error(at, message);
        }
        if home == settings.protocol.address {
            report.error(at, format!("home: {home} is the home agent's own address"));
        }
        if let Some(first) = homes.insert(home, at) {
            let line = report.line(first);
            let message = format!("home: {home} is that of the mobile node in line {line}");
            report.error(at, message);
        }
        for net in &node.networks {
            if let Some(first) = networks.insert(*net, at) {
                let line = report.line(first);
                let message = format!("networks: {net} is that of the mobile node in line {line}");
                report.error(at, message);
            }
        }
    }
}

/// One of a list; IP in IP is never refused (RFC 5944 §4.1).
fn encapsulation(value: &DeValue<'_>) -> Result<TunnelKind, Reason> {
    values::word(value, &association::ENCAPSULATIONS)
}

fn address(value: &DeValue<'_>) -> Result<Ipv4Addr, Reason> {
    match values::address(value)? {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(address) => Err(format!(
            "{address} is an IPv6 address: Mobile IPv4 has none"
        )),
    }
}

fn net(value: &DeValue<'_>) -> Result<Ipv4Net, Reason> {
    match values::net(value)? {
        IpNet::V4(net) => Ok(net.trunc()),
        IpNet::V6(net) => Err(format!("{net} is an IPv6 prefix: Mobile IPv4 has none")),
    }
}
