//! The file as a whole: which tables it has, and the settings that stand alone.

use super::foreign_agent::AgentKeys;
use super::keys::{self, Keys, Shape};
use super::peers::ReadPeer;
use super::report::{Problem, Report, Span};
use super::secrets::BadSecret;
use super::section::Section;
use super::{
    CONTROL_SOCKET, foreign_agent, home_agent, mobility, peers, presence, proxies, proxy_agent,
    values, vpn,
};
use super::{ControlGroup, DEFAULT_RUNTIME_DIR, DEFAULT_STATE_DIR, Daemon, Loaded};
use crate::agent::foreign_agent::settings::ForeignAgentSettings;
use crate::agent::proxy_agent::settings::ProxyAgentSettings;
use crate::agent::settings::{Discovery, InterceptionSettings, OnStop, Settings};
use crate::ike::settings::Timing;
use crate::kernel::desired::Mark;
use crate::net::{Family, Identity, Secret};
use std::collections::HashSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::{DeTable, DeValue};

/// Default of `agent.max-prefixes`.
const MAX_PREFIXES: u32 = 256;

/// Length of `sun_path` without its final zero (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// Opens the file that a `psk-file` names, as it stands there.
pub type ReadSecret<'f> = &'f dyn Fn(&Path) -> Result<Secret, BadSecret>;

/// What a configuration of this text means.
///
/// # Errors
/// Every problem found, in the order of the file.
pub fn parse(text: &str, read_secret: ReadSecret<'_>) -> Result<Loaded, Vec<Problem>> {
    let report = Report::new(text);
    let (root, syntax) = DeTable::parse_recoverable(text);
    for error in &syntax {
        report.error(&error.span().unwrap_or(0..0), error.message());
    }
    if report.has_errors() {
        // What a broken file means is anybody's guess: no further complaints.
        return Err(report.into_errors());
    }
    let file = File {
        report: &report,
        root: root.get_ref(),
    };
    let settings = file.settings(read_secret);
    match settings {
        Some((agent, daemon)) if !report.has_errors() => Ok(Loaded {
            agent,
            daemon,
            warnings: report.into_warnings(),
        }),
        _ => Err(report.into_errors()),
    }
}

struct File<'r, 't> {
    report: &'r Report<'t>,
    root: &'r DeTable<'t>,
}

impl<'r, 't> File<'r, 't> {
    fn settings(&self, read_secret: ReadSecret<'_>) -> Option<(Settings, Daemon)> {
        self.check_tables();
        let identity = self.identity();
        let (daemon, on_stop, max_prefixes) = self.agent();
        let groups: Vec<_> = self
            .tables(&keys::PROXY)
            .iter()
            .filter_map(|section| proxies::read(self.report, section, max_prefixes))
            .collect();
        proxies::check_overlaps(self.report, &groups, max_prefixes);
        let peers: Vec<_> = self
            .tables(&keys::PEER)
            .iter()
            .filter_map(|section| peers::read(self.report, section, read_secret))
            .collect();
        peers::check(self.report, &peers, identity.as_ref(), &groups);
        let interception = self.interception();
        let presence = presence::read(
            self.report,
            &presence::Tables {
                presence: self.table(&keys::PRESENCE),
                contacts: self.tables(&keys::CONTACT),
                sites: self.tables(&keys::SITE),
                rules: self.tables(&keys::RULE),
            },
            &presence::Surroundings {
                identity: identity.as_ref(),
                peers: peers.iter().map(|read| &read.peer.id).collect(),
                interception: &interception,
            },
        );
        let speaking: HashSet<&Identity> = presence
            .iter()
            .flat_map(|presence| &presence.contacts)
            .map(|contact| &contact.peer)
            .collect();
        let vpn = vpn::read(
            self.report,
            &vpn::Tables {
                gateways: self.tables(&keys::VPN),
                serves: self.table(&keys::VPN_GATEWAY),
                clients: self.tables(&keys::VPN_CLIENT),
            },
            &peers.iter().map(|read| &read.peer).collect::<Vec<_>>(),
        );
        let agent_keys = AgentKeys::read(self.report, &self.tables(&keys::AGENT_KEY), read_secret);
        let home_agent = home_agent::read(
            self.report,
            &home_agent::Tables {
                agent: self.table(&keys::HOME_AGENT),
                nodes: self.tables(&keys::MOBILE_NODE),
                agent_keys: &agent_keys,
            },
            read_secret,
        );
        let mobility = mobility::read(
            self.report,
            &mobility::Tables {
                mobility: self.table(&keys::MOBILITY),
                sites: self.tables(&keys::MOBILITY_SITE),
                agent_keys: &agent_keys,
            },
            &mobility::Surroundings {
                vpns: &vpn,
                interception_table: interception.table,
            },
            read_secret,
        );
        if let (Some(_), Some(moving)) = (&home_agent, self.root.get(keys::MOBILITY.table)) {
            let message = "[mobility] and [home-agent]: a machine that moves is no home agent, so \
                           these are two machines";
            self.report.error(&moving.span(), message);
        }
        let foreign_agent = self.foreign_agent(&agent_keys, interception.table);
        let proxy_agent = self.proxy_agent(&agent_keys, interception.table, read_secret);
        let peers = peers
            .into_iter()
            .map(|ReadPeer { mut peer, .. }| {
                peer.contact = speaking.contains(&peer.id);
                peer
            })
            .collect();
        let settings = Settings {
            ike: self.ike(),
            discovery: self.discovery(),
            interception,
            presence,
            vpn,
            home_agent,
            foreign_agent,
            proxy_agent,
            mobility,
            identity: identity?,
            proxies: groups.into_iter().map(|read| read.group).collect(),
            peers,
            max_prefixes,
            on_stop,
        };
        Some((settings, daemon))
    }

    fn foreign_agent(&self, keys: &AgentKeys, taken: u32) -> Option<ForeignAgentSettings> {
        let has = |keys: &Keys| self.root.contains_key(keys.table);
        let is_one = has(&keys::FOREIGN_AGENT);
        let others = [&keys::MOBILITY, &keys::HOME_AGENT];
        let has_role = is_one || has(&keys::PROXY_AGENT) || others.iter().any(|role| has(role));
        keys.check(self.report, is_one, has_role);
        let section = self.table(&keys::FOREIGN_AGENT)?;
        for (other, why) in others.into_iter().zip([
            "a machine that moves has no visitors",
            "what comes out of the tunnels of one is judged unlike that of the other",
        ]) {
            if has(other) {
                let message = format!(
                    "[foreign-agent] and {}: {why}, so these are two machines",
                    other.heading()
                );
                self.report.error(section.at(), message);
            }
        }
        foreign_agent::read(self.report, &section, keys, taken)
    }

    fn proxy_agent(
        &self,
        agent_keys: &AgentKeys,
        taken: u32,
        read_secret: ReadSecret<'_>,
    ) -> Option<ProxyAgentSettings> {
        let tables = proxy_agent::Tables {
            agent: self.table(&keys::PROXY_AGENT),
            surrogates: self.tables(&keys::SURROGATE),
            agent_keys,
            taken,
        };
        let others = [&keys::MOBILITY, &keys::HOME_AGENT, &keys::FOREIGN_AGENT];
        for other in others {
            if let Some(section) = &tables.agent
                && self.root.contains_key(other.table)
            {
                let message = format!(
                    "[proxy-agent] and {}: both hear the same registrations, so these are two machines",
                    other.heading()
                );
                self.report.error(section.at(), message);
            }
        }
        proxy_agent::read(self.report, &tables, read_secret)
    }

    fn check_tables(&self) {
        for (key, value) in self.root {
            let name = key.get_ref().as_ref();
            let Some(keys) = keys::TABLES.iter().find(|keys| keys.table == name) else {
                self.report.error(&key.span(), unknown_table(name));
                continue;
            };
            let fits = match value.get_ref() {
                DeValue::Table(_) => keys.shape == Shape::Once,
                DeValue::Array(array) => {
                    keys.shape == Shape::Repeated
                        && array.iter().all(|element| element.get_ref().is_table())
                }
                _ => false,
            };
            if !fits {
                let message = format!("`{name}` is written {}", keys.heading());
                self.report.error(&key.span(), message);
            }
        }
        for (keys, consequence) in [
            (&keys::PROXY, "nothing is protected"),
            (&keys::PEER, "nobody is believed, and no tunnel can come up"),
        ] {
            let others = [
                &keys::CONTACT,
                &keys::VPN,
                &keys::VPN_GATEWAY,
                &keys::MOBILITY,
                &keys::HOME_AGENT,
                &keys::FOREIGN_AGENT,
                &keys::PROXY_AGENT,
            ];
            // Mobile IP alone has nobody to negotiate keys with.
            let roles = [
                &keys::MOBILITY,
                &keys::HOME_AGENT,
                &keys::FOREIGN_AGENT,
                &keys::PROXY_AGENT,
            ];
            let mobile = roles.iter().any(|role| self.root.contains_key(role.table));
            let elsewhere = (keys == &keys::PROXY || mobile)
                && others
                    .iter()
                    .any(|other| self.root.contains_key(other.table));
            if !self.root.contains_key(keys.table) && !elsewhere {
                let message = format!("there is no {}: {consequence}", keys.heading());
                self.report.warning(&(0..0), message);
            }
        }
    }

    /// The tables of this name; none where it is absent or of the wrong shape.
    fn tables(&self, keys: &'static Keys) -> Vec<Section<'r, 't>> {
        let Some(value) = self.root.get(keys.table) else {
            return Vec::new();
        };
        let open = |table: &'r DeTable<'t>, at: Span| Section::open(self.report, keys, table, at);
        match value.get_ref() {
            DeValue::Table(table) if keys.shape == Shape::Once => vec![open(table, value.span())],
            DeValue::Array(array) if keys.shape == Shape::Repeated => array
                .iter()
                .filter_map(|element| Some(open(element.get_ref().as_table()?, element.span())))
                .collect(),
            _ => Vec::new(),
        }
    }

    fn table(&self, keys: &'static Keys) -> Option<Section<'r, 't>> {
        self.tables(keys).pop()
    }

    fn identity(&self) -> Option<Identity> {
        match self.table(&keys::IDENTITY) {
            Some(section) => section.required("id", values::identity),
            None => {
                self.report
                    .missing("[identity] is missing: its `id` says who this gateway is in IKE");
                None
            }
        }
    }

    fn agent(&self) -> (Daemon, OnStop, usize) {
        let mut daemon = Daemon {
            runtime_dir: PathBuf::from(DEFAULT_RUNTIME_DIR),
            state_dir: PathBuf::from(DEFAULT_STATE_DIR),
            control_group: None,
            log_level: tracing::Level::INFO,
        };
        let mut on_stop = OnStop::Keep;
        let mut max_prefixes = MAX_PREFIXES;
        if let Some(section) = self.table(&keys::AGENT) {
            section.set("runtime-dir", &mut daemon.runtime_dir, runtime_dir);
            section.set("state-dir", &mut daemon.state_dir, values::absolute_path);
            daemon.control_group = section.optional("control-group", control_group);
            section.set("log-level", &mut daemon.log_level, |v| {
                values::word(
                    v,
                    &[
                        ("error", tracing::Level::ERROR),
                        ("warn", tracing::Level::WARN),
                        ("info", tracing::Level::INFO),
                        ("debug", tracing::Level::DEBUG),
                        ("trace", tracing::Level::TRACE),
                    ],
                )
            });
            section.set("on-stop", &mut on_stop, |v| {
                values::word(v, &[("keep", OnStop::Keep), ("remove", OnStop::Remove)])
            });
            section.set("max-prefixes", &mut max_prefixes, |v| {
                values::count(v, 1..=65_536)
            });
        }
        (daemon, on_stop, max_prefixes as usize)
    }

    fn ike(&self) -> Timing {
        let mut timing = Timing::default();
        let Some(section) = self.table(&keys::IKE) else {
            return timing;
        };
        let second = Duration::from_secs(1);
        let shortest = Duration::from_millis(50);
        section.set("retransmit", &mut timing.retransmit, |v| {
            values::duration(v, shortest..=MINUTE)
        });
        section.set("retransmit-max", &mut timing.retransmit_max, |v| {
            values::duration(v, shortest..=5 * MINUTE)
        });
        section.set("give-up", &mut timing.give_up, |v| {
            values::duration(v, second..=10 * MINUTE)
        });
        section.set("liveness", &mut timing.liveness, |v| {
            values::duration_or_never(v, second..=DAY)
        });
        section.set("child-lifetime", &mut timing.child_lifetime, |v| {
            values::duration_or_never(v, 5 * second..=30 * DAY)
        });
        section.set("half-open", &mut timing.half_open, |v| {
            values::duration(v, second..=10 * MINUTE)
        });
        let mut threshold = timing.cookie_threshold as u32;
        section.set("cookie-threshold", &mut threshold, |v| {
            values::count(v, 0..=1_000_000)
        });
        timing.cookie_threshold = threshold as usize;
        self.ordered(
            &section,
            ("retransmit", timing.retransmit),
            ("retransmit-max", timing.retransmit_max),
        );
        self.ordered(
            &section,
            ("retransmit", timing.retransmit),
            ("give-up", timing.give_up),
        );
        timing
    }

    fn discovery(&self) -> Discovery {
        let mut discovery = Discovery::default();
        let Some(section) = self.table(&keys::DISCOVERY) else {
            return discovery;
        };
        section.set("retransmit", &mut discovery.retransmit, |v| {
            values::duration(v, Duration::from_millis(10)..=MINUTE)
        });
        section.set("timeout", &mut discovery.timeout, |v| {
            values::duration(v, Duration::from_millis(100)..=10 * MINUTE)
        });
        section.set("rate", &mut discovery.rate, |v| {
            values::count(v, 1..=1_000_000)
        });
        section.set("answer-rate", &mut discovery.answer_rate, |v| {
            values::count(v, 1..=1_000_000)
        });
        let addresses = section.list("addresses", values::address);
        for (addr, at) in addresses.unwrap_or_default() {
            let family = Family::of(addr);
            let of_family = |a: &&IpAddr| Family::of(**a) == family;
            match discovery.addresses.iter().find(of_family) {
                Some(first) => self.report.error(
                    &at,
                    format!("addresses: {addr} after {first}: at most one of each IP version"),
                ),
                None => discovery.addresses.push(addr),
            }
        }
        self.ordered(
            &section,
            ("retransmit", discovery.retransmit),
            ("timeout", discovery.timeout),
        );
        discovery
    }

    fn interception(&self) -> InterceptionSettings {
        let mut settings = InterceptionSettings::default();
        let Some(section) = self.table(&keys::INTERCEPTION) else {
            return settings;
        };
        let mut pass = settings.pass_mark.value;
        let mut divert = settings.divert_mark.value & !pass;
        section.set("pass-mark", &mut pass, values::bit);
        section.set("divert-mark", &mut divert, values::bit);
        if pass == divert {
            let key = if section.has("divert-mark") {
                "divert-mark"
            } else {
                "pass-mark"
            };
            self.report.error(
                &section.span(key),
                format!("{key}: pass-mark and divert-mark are both 0x{pass:08x}: use two bits"),
            );
        }
        settings.pass_mark = bits(pass);
        settings.divert_mark = bits(pass | divert);
        section.set("table", &mut settings.table, routing_table);
        section.set("rule-priority", &mut settings.rule_priority, |v| {
            values::integer(
                v,
                1..=32_765,
                "1–32765, which is after `local` and before `main`",
            )
        });
        section.set("pass-rate", &mut settings.pass_rate, |v| {
            values::count(v, 1..=1_000_000)
        });
        settings
    }

    fn ordered(
        &self,
        section: &Section<'_, '_>,
        (shorter, a): (&str, Duration),
        (longer, b): (&str, Duration),
    ) {
        if a > b {
            let at = if section.has(longer) { longer } else { shorter };
            let (a, b) = (values::show_duration(a), values::show_duration(b));
            self.report.error(
                &section.span(at),
                format!("{longer}: {b} is shorter than {shorter}, which is {a}"),
            );
        }
    }
}

fn unknown_table(name: &str) -> String {
    match keys::home_of(name) {
        Some(home) => format!(
            "`{name}` stands outside of every table: it is a key of {}",
            home.heading()
        ),
        None => {
            let nearest = keys::nearest(name, keys::TABLES.iter().map(|keys| keys.table));
            let heading = keys::TABLES.iter().find(|keys| keys.table == nearest);
            let heading = heading.map(|keys| keys.heading()).unwrap_or_default();
            format!("unknown table `{name}`: the nearest known one is {heading}")
        }
    }
}

fn runtime_dir(value: &DeValue<'_>) -> Result<PathBuf, values::Reason> {
    let path = values::absolute_path(value)?;
    let length = path.join(CONTROL_SOCKET).as_os_str().len();
    if length > MAX_SOCKET_PATH {
        let most = MAX_SOCKET_PATH - 1 - CONTROL_SOCKET.len();
        return Err(format!(
            "too long for the control socket in it: at most {most} octets"
        ));
    }
    Ok(path)
}

fn control_group(value: &DeValue<'_>) -> Result<ControlGroup, values::Reason> {
    let name = values::text(value, "the name of a group")?;
    match nix::unistd::Group::from_name(name) {
        Ok(Some(group)) => Ok(ControlGroup {
            name: group.name,
            gid: group.gid.as_raw(),
        }),
        Ok(None) => Err(format!(
            "there is no group `{name}`: groupadd --system {name}"
        )),
        Err(errno) => Err(format!("cannot look up group `{name}`: {errno}")),
    }
}

fn routing_table(value: &DeValue<'_>) -> Result<u32, values::Reason> {
    const ALLOWED: &str = "1–4294967295 without 253–255, which are the system's own";
    let table = values::integer(value, 1..=i128::from(u32::MAX), ALLOWED)?;
    if (253..=255).contains(&table) {
        return Err(format!("{table} is out of bounds: {ALLOWED}"));
    }
    Ok(table)
}

fn bits(value: u32) -> Mark {
    Mark { value, mask: value }
}
