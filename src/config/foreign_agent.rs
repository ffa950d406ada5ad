//! `[foreign-agent]`, and the keys of `[[agent-key]]` that agents of Mobile IP have with each other.

use super::association::{ENCAPSULATIONS, association, encapsulations};
use super::file::ReadSecret;
use super::report::{Report, Span};
use super::section::Section;
use super::values;
use crate::agent::foreign_agent::settings::{ForeignAgentSettings, LINK, Tables as Numbers};
use crate::mobile_ip::foreign_agent::{ReverseTunnels, Settings};
use crate::mobile_ip::security::SecurityAssociation;
use crate::mobile_ip::wire::advertisement::CommonTraffic;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Default of `lifetime`.
const LIFETIME: Duration = Duration::from_secs(600);
/// 65535 seconds would be for ever (RFC 5944 §3.3).
const LONGEST: Duration = Duration::from_secs(65_534);
const SECOND: Duration = Duration::from_secs(1);
/// Default of `interval`; RFC 5944 §2.3 wants a third of the lifetime of an advertisement.
const INTERVAL: Duration = Duration::from_secs(10);
/// RFC 1256 §6.2.1.
const LONGEST_INTERVAL: Duration = Duration::from_secs(1800);
/// Requests that wait for home agents.
const MOST_PENDING: usize = 1000;

/// With whom a key of `[[agent-key]]` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum With {
    MobileNode(Ipv4Addr),
    ForeignAgent(Ipv4Addr),
    HomeAgent(Ipv4Addr),
}

/// Those of all roles, with where they stand.
#[derive(Debug, Default)]
pub(super) struct AgentKeys(Vec<(With, SecurityAssociation, Span)>);

impl AgentKeys {
    pub(super) fn read(
        report: &Report<'_>,
        sections: &[Section<'_, '_>],
        read_secret: ReadSecret<'_>,
    ) -> Self {
        let mut keys: Vec<(With, SecurityAssociation, Span)> = Vec::new();
        for section in sections {
            let Some((with, association)) = agent_key(report, section, read_secret) else {
                continue;
            };
            if let Some((.., first)) = keys.iter().find(|(other, ..)| *other == with) {
                let line = report.line(first);
                let message = format!("there is a key with the same agent in line {line}");
                report.error(section.at(), message);
            }
            keys.push((with, association, section.at().clone()));
        }
        Self(keys)
    }

    fn of(
        &self,
        address: impl Fn(With) -> Option<Ipv4Addr>,
    ) -> Vec<(Ipv4Addr, SecurityAssociation)> {
        let keys = self.0.iter();
        keys.filter_map(|(with, association, _)| Some((address(*with)?, association.clone())))
            .collect()
    }

    pub(super) fn with_mobile_nodes(&self) -> Vec<(Ipv4Addr, SecurityAssociation)> {
        self.of(|with| match with {
            With::MobileNode(address) => Some(address),
            With::ForeignAgent(_) | With::HomeAgent(_) => None,
        })
    }

    pub(super) fn with_foreign_agents(&self) -> Vec<(Ipv4Addr, SecurityAssociation)> {
        self.of(|with| match with {
            With::ForeignAgent(address) => Some(address),
            With::MobileNode(_) | With::HomeAgent(_) => None,
        })
    }

    pub(super) fn with_home_agents(&self) -> Vec<(Ipv4Addr, SecurityAssociation)> {
        self.of(|with| match with {
            With::HomeAgent(address) => Some(address),
            With::MobileNode(_) | With::ForeignAgent(_) => None,
        })
    }

    /// Each key is of some use, for the role that this machine has.
    pub(super) fn check(&self, report: &Report<'_>, is_foreign_agent: bool, has_role: bool) {
        for (with, _, at) in &self.0 {
            let is_used = match with {
                With::MobileNode(_) | With::HomeAgent(_) => is_foreign_agent,
                With::ForeignAgent(_) => has_role && !is_foreign_agent,
            };
            if !is_used {
                let message = match with {
                    With::ForeignAgent(_) => {
                        "foreign-agent: a key with one is for [mobility], [home-agent] or [proxy-agent]"
                    }
                    With::MobileNode(_) => "mobile-node: a key with one is for [foreign-agent]",
                    With::HomeAgent(_) => "home-agent: a key with one is for [foreign-agent]",
                };
                report.error(at, message.to_owned());
            }
        }
    }
}

fn agent_key(
    report: &Report<'_>,
    section: &Section<'_, '_>,
    read_secret: ReadSecret<'_>,
) -> Option<(With, SecurityAssociation)> {
    let all = [
        section
            .optional("mobile-node", values::v4)
            .map(With::MobileNode),
        section
            .optional("foreign-agent", values::v4)
            .map(With::ForeignAgent),
        section
            .optional("home-agent", values::v4)
            .map(With::HomeAgent),
    ];
    let named = ["mobile-node", "foreign-agent", "home-agent"];
    if named.iter().filter(|key| section.has(key)).count() != 1 {
        let message =
            "[[agent-key]] is with one agent: `mobile-node`, `foreign-agent` or `home-agent`";
        report.error(section.at(), message.to_owned());
    }
    let with = all.into_iter().flatten().next();
    let association = association(section, read_secret, "it can be guessed")?;
    Some((with?, association))
}

/// `None` where something essential was reported.
pub(super) fn read(
    report: &Report<'_>,
    section: &Section<'_, '_>,
    keys: &AgentKeys,
    taken: u32,
) -> Option<ForeignAgentSettings> {
    let link = section.required("link", |v| {
        let name = values::text(v, "the name of an interface")?;
        name.parse()
            .map_err(|error: crate::kernel::desired::InvalidLinkName| error.to_string())
    });
    let address = section.required("address", values::v4);
    let prefix_len = section.optional("prefix-length", |v| {
        let allowed = "1–31: the bits of the link's prefix";
        values::integer(v, 1..=31, allowed)
    });
    let care_of = section.optional("care-of", values::v4);
    let mut lifetime = LIFETIME;
    section.set("lifetime", &mut lifetime, |v| {
        values::duration(v, 10 * SECOND..=LONGEST)
    });
    let mut interval = INTERVAL;
    section.set("interval", &mut interval, |v| {
        values::duration(v, SECOND..=LONGEST_INTERVAL)
    });
    let (mut required, mut challenge, mut routes) = (true, false, true);
    section.set("registration-required", &mut required, values::truth);
    section.set("challenge", &mut challenge, values::truth);
    section.set("routes-others", &mut routes, values::truth);
    let mut reverse = ReverseTunnels::Available;
    section.set("reverse-tunnel", &mut reverse, |v| {
        let words = [
            ("allowed", ReverseTunnels::Available),
            ("refused", ReverseTunnels::Unavailable),
            ("required", ReverseTunnels::Mandatory),
        ];
        values::word(v, &words)
    });
    let tunnels = encapsulations(section, &ENCAPSULATIONS);
    let mut most_visitors: u16 = 1000;
    section.set("visitors", &mut most_visitors, |v| {
        values::integer(v, 1..=10_000, "1–10000")
    });
    let mut tables = Numbers::default();
    section.set("table", &mut tables.first, |v| {
        let allowed = "256–4294900000: it is the first of several";
        values::integer(v, 256..=4_294_900_000, allowed)
    });
    section.set("rule-priority", &mut tables.rule_priority, |v| {
        let allowed = "1–32759: it is the first of two";
        values::integer(v, 1..=32_759, allowed)
    });
    if (tables.first..=tables.first + u32::from(most_visitors)).contains(&taken) {
        let message = format!(
            "table: from {} on there is one for visitors and one for each home agent, and {taken} is that of [interception]",
            tables.first
        );
        report.error(&section.span("table"), message);
    }
    let address = address?;
    Some(ForeignAgentSettings {
        protocol: Settings {
            link: LINK,
            address,
            prefix_len,
            care_of: care_of.unwrap_or(address),
            own: Vec::new(),
            lifetime: u16::try_from(lifetime.as_secs()).unwrap_or(u16::MAX - 1),
            interval: Some(interval),
            required,
            traffic: if routes {
                CommonTraffic::Routed
            } else {
                CommonTraffic::NotRouted
            },
            reverse,
            tunnels,
            challenge,
            mobile_nodes: keys.with_mobile_nodes(),
            home_agents: keys.with_home_agents(),
            most_visitors: most_visitors.into(),
            most_pending: MOST_PENDING,
        },
        link: link?,
        tables,
    })
}
