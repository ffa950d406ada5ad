//! `[proxy-agent]` and `[[surrogate]]`: for whom we stand between the outside and an inner home agent.

use super::association::{Names, OF_KERNEL, association, association_of, encapsulations};
use super::file::ReadSecret;
use super::foreign_agent::AgentKeys;
use super::report::{Report, Span};
use super::section::Section;
use super::values;
use crate::agent::proxy_agent::settings::{ProxyAgentSettings, Tables as Numbers};
use crate::mobile_ip::home_agent::settings::NatTraversal;
use crate::mobile_ip::proxy_agent::{Node, Settings};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Default of `lifetime`.
const LIFETIME: Duration = Duration::from_secs(600);
const SHORTEST: Duration = Duration::from_secs(20);
/// 65535 seconds would be for ever (RFC 5944 §3.3).
const LONGEST: Duration = Duration::from_secs(65_534);
/// RFC 5944 §1.8.
const PORT: u16 = 434;

/// With the inner home agent.
const INSIDE: Names = Names {
    spi: "inside-spi",
    algorithm: "inside-algorithm",
    key_file: "inside-key-file",
};

pub(super) struct Tables<'r, 't> {
    pub(super) agent: Option<Section<'r, 't>>,
    pub(super) surrogates: Vec<Section<'r, 't>>,
    pub(super) agent_keys: &'r AgentKeys,
    /// The table of `[interception]`.
    pub(super) taken: u32,
}

/// `None` where there is none, or where something essential was reported.
pub(super) fn read(
    report: &Report<'_>,
    tables: &Tables<'_, '_>,
    read_secret: ReadSecret<'_>,
) -> Option<ProxyAgentSettings> {
    let nodes: Vec<_> = tables
        .surrogates
        .iter()
        .filter_map(|section| Some((node(section, read_secret)?, section.at().clone())))
        .collect();
    let Some(section) = &tables.agent else {
        if let Some(node) = tables.surrogates.first() {
            let message = "there is no [proxy-agent], so nobody needs a surrogate";
            report.error(node.at(), message.to_owned());
        }
        return None;
    };
    let mut settings = agent(report, section, tables.taken)?;
    check(report, &settings.protocol, &nodes);
    settings.protocol.foreign_agents = tables.agent_keys.with_foreign_agents();
    settings.protocol.nodes = nodes.into_iter().map(|(node, _)| node).collect();
    Some(settings)
}

fn agent(report: &Report<'_>, section: &Section<'_, '_>, taken: u32) -> Option<ProxyAgentSettings> {
    let address = section.required("address", values::v4);
    let inside_address = section.optional("inside-address", values::v4);
    let home_agent = section.required("home-agent", values::v4);
    let inside = section
        .list("inside-networks", values::v4_net)
        .unwrap_or_default();
    let encapsulations = encapsulations(section, OF_KERNEL);
    let mut lifetime = LIFETIME;
    section.set("lifetime", &mut lifetime, |v| {
        values::duration(v, SHORTEST..=LONGEST)
    });
    let mut tables = Numbers::default();
    section.set("table", &mut tables.table, |v| {
        values::integer(v, 256..=4_294_900_000, "256–4294900000")
    });
    section.set("rule-priority", &mut tables.rule_priority, |v| {
        values::integer(v, 1..=32_759, "1–32759")
    });
    if tables.table == taken {
        let message = format!("table: {taken} is that of [interception]");
        report.error(&section.span("table"), message);
    }
    let (outer, home_agent) = (address?, home_agent?);
    let inner = inside_address.unwrap_or(outer);
    if home_agent == outer || home_agent == inner {
        let message = format!("home-agent: {home_agent} is an address of this machine");
        report.error(&section.span("home-agent"), message);
    }
    Some(ProxyAgentSettings {
        protocol: Settings {
            outer,
            inner,
            port: PORT,
            home_agent,
            encapsulations,
            inside: inside.into_iter().map(|(net, _)| net).collect(),
            lifetime: u16::try_from(lifetime.as_secs()).unwrap_or(u16::MAX - 1),
            keepalive: NatTraversal::default().keepalive,
            nodes: Vec::new(),
            foreign_agents: Vec::new(),
        },
        tables,
    })
}

fn node(section: &Section<'_, '_>, read_secret: ReadSecret<'_>) -> Option<Node> {
    let home = section.required("home", values::v4);
    let harm = "whoever guesses it gets the packets of the mobile node";
    let outer = association(section, read_secret, harm);
    let inner = association_of(section, INSIDE, read_secret, harm);
    Some(Node {
        home: home?,
        outer: outer?,
        inner: inner?,
    })
}

/// Each address is of one mobile node, and none is an agent's.
fn check(report: &Report<'_>, protocol: &Settings, nodes: &[(Node, Span)]) {
    let mut homes: HashMap<Ipv4Addr, &Span> = HashMap::new();
    for (node, at) in nodes {
        let home = node.home;
        if [protocol.outer, protocol.inner, protocol.home_agent].contains(&home) {
            report.error(at, format!("home: {home} is the address of an agent"));
        }
        if let Some(first) = homes.insert(home, at) {
            let line = report.line(first);
            let message = format!("home: {home} is that of the surrogate in line {line}");
            report.error(at, message);
        }
    }
}
