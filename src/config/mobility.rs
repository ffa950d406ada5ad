//! `[mobility]` and `[[mobility-site]]`: we as a mobile node, with an inner system and outer ones.

use super::association::{ENCAPSULATIONS, association};
use super::file::ReadSecret;
use super::foreign_agent::AgentKeys;
use super::report::Report;
use super::section::Section;
use super::values::{self, Reason};
use crate::agent::mobility::settings::{AdapterNames, MobilitySettings, Tables as Numbers};
use crate::agent::vpn::settings::{GatewaySettings, OtherVpn, Start, VpnSettings};
use crate::kernel::desired::LinkName;
use crate::mobile_ip::client::Delivery;
use crate::mobile_ip::domain::Ranges;
use crate::mobile_ip::dual_client::station::Agreement;
use crate::mobile_ip::dual_client::{
    ClearProbes, ForeignAgents, InsideProtection, Reach, Reverse, Settings, Site, System,
    T_MONITOR, T_MONITOR_LEAST, Tunnelling, Vpn,
};
use crate::mobile_ip::wire::TunnelKind;
use crate::net::Ipv4Net;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use toml::de::DeValue;

/// RFC 5944 §1.8.
const PORT: u16 = 434;
/// Default of `lifetime`.
const LIFETIME: Duration = Duration::from_secs(600);
/// 65535 seconds would be for ever (RFC 5944 §3.3).
const LONGEST: Duration = Duration::from_secs(65_534);
/// Default of `vpn-patience`.
const PATIENCE: Duration = Duration::from_secs(20);
const SECOND: Duration = Duration::from_secs(1);

pub(super) struct Tables<'r, 't> {
    pub(super) mobility: Option<Section<'r, 't>>,
    pub(super) sites: Vec<Section<'r, 't>>,
    pub(super) agent_keys: &'r AgentKeys,
}

/// What of the rest of the file it must fit to.
pub(super) struct Surroundings<'s> {
    pub(super) vpns: &'s VpnSettings,
    pub(super) interception_table: u32,
}

pub(super) fn read(
    report: &Report<'_>,
    tables: &Tables<'_, '_>,
    around: &Surroundings<'_>,
    read_secret: ReadSecret<'_>,
) -> Option<MobilitySettings> {
    let read_site = |section| Some((section, site(report, section, read_secret)?));
    let read: Vec<_> = tables.sites.iter().filter_map(read_site).collect();
    let Some(section) = &tables.mobility else {
        if let Some(site) = tables.sites.first() {
            let message = "there is no [mobility], so there is nothing that could move";
            report.error(site.at(), message);
        }
        return None;
    };
    let inner = system(section, read_secret);
    let home_agent = inner.as_ref().map(|(system, _)| system.home_agent);
    let mut sites = Vec::new();
    let mut outer = BTreeMap::new();
    check_given(
        report,
        section,
        inner.as_ref().map(|(system, _)| system),
        &read,
    );
    for (section, (mut site, agreement)) in read {
        if let Some(vpn) = &site.gateway {
            site.reach = reach(around.vpns, vpn);
            check_vpn(report, section, around.vpns, vpn, home_agent);
            check_kept(report, section, around.vpns, vpn, &site);
        }
        outer.extend(agreement.map(|agreement| (sites.len(), agreement)));
        sites.push(site);
    }
    let has_vpn = |site: &Site| site.gateway.is_some();
    if sites.iter().any(has_vpn) && !sites.iter().all(has_vpn) {
        let message =
            "some [[mobility-site]] have a `vpn` and some have none: outside, all or none";
        report.error(section.at(), message);
    }
    let mut vpn = (true, PATIENCE);
    section.set("vpn-warm", &mut vpn.0, values::truth);
    section.set("vpn-patience", &mut vpn.1, |v| {
        values::duration(v, SECOND..=600 * SECOND)
    });
    let (warm, patience) = vpn;
    let is_protected = sites.iter().any(has_vpn);
    if tables.sites.is_empty() {
        // One system, and nothing to find out.
        sites.push(Site {
            name: String::new(),
            outer: None,
            gateway: None,
            near: Vec::new(),
            reach: Reach::Ipv4,
        });
    }
    let names = adapter_names(report, section);
    let is_ours = |name: &&LinkName| names.all().contains(name);
    if let Some(name) = around.vpns.interfaces().iter().find(is_ours) {
        let message = format!("{name} is an adapter of ours and the `interface` of a [[vpn]]");
        report.error(section.at(), message);
    }
    let numbers = numbers(report, section, around, sites.len());
    let rest = rest(section);
    let (system, mut agreement) = inner?;
    for agreement in outer.values_mut().chain([&mut agreement]) {
        agreement.foreign_agents = tables.agent_keys.with_foreign_agents();
    }
    let settings = Settings {
        inner: system,
        sites,
        vpn: if is_protected {
            Vpn::Present { warm, patience }
        } else {
            Vpn::Absent
        },
        ..rest
    };
    // What was left out because it was reported would only be reported once more.
    if !report.has_errors()
        && let Err(error) = settings.check()
    {
        report.error(section.at(), error);
    }
    Some(MobilitySettings {
        dual: settings,
        inner: agreement,
        outer,
        adapters: names,
        tables: numbers,
    })
}

/// The settings that are of no system; those of systems are put in their place.
fn rest(section: &Section<'_, '_>) -> Settings {
    let mut inside_protection = InsideProtection::Clear;
    section.set("inside-protection", &mut inside_protection, |v| {
        let words = [
            ("clear", InsideProtection::Clear),
            ("esp", InsideProtection::Esp),
        ];
        values::word(v, &words)
    });
    let mut clear_probes = ClearProbes::Everywhere;
    section.set("clear-probes", &mut clear_probes, |v| {
        let words = [
            ("everywhere", ClearProbes::Everywhere),
            ("where-expected", ClearProbes::WhereExpected),
        ];
        values::word(v, &words)
    });
    let mut t_monitor = T_MONITOR;
    section.set("t-monitor", &mut t_monitor, |v| {
        values::duration(v, T_MONITOR_LEAST..=3600 * SECOND)
    });
    let mut foreign_agents = ForeignAgents::Known;
    section.set("foreign-agents", &mut foreign_agents, |v| {
        let words = [("known", ForeignAgents::Known), ("any", ForeignAgents::Any)];
        values::word(v, &words)
    });
    let list = |key| {
        let read = if key == "networks" {
            values::mobile_network
        } else {
            values::net
        };
        let nets = section.list(key, read).unwrap_or_default().into_iter();
        values::by_family(nets.map(|(net, _)| net.trunc()))
    };
    let (destinations, destinations6) = list("destinations");
    let (mobile_networks, mobile_networks6) = list("networks");
    let is_everything = destinations.is_empty() || destinations.iter().any(|n| n.prefix_len() == 0);
    Settings {
        inner: System {
            home: Ipv4Addr::UNSPECIFIED,
            home_agent: Ipv4Addr::UNSPECIFIED,
            home_network: None,
            lifetime: LIFETIME,
            reverse: Reverse::Always,
        },
        sites: Vec::new(),
        vpn: Vpn::Absent,
        inside_protection,
        tunnelling: if is_everything {
            Tunnelling::Full
        } else {
            Tunnelling::Split(destinations)
        },
        ranges: Ranges {
            inside: nets(section, "inside-ranges").unwrap_or_default(),
            inside_agents: addresses(section, "inside-agents"),
            outside_agents: addresses(section, "outside-agents"),
        },
        clear_probes,
        t_monitor,
        mobile_networks,
        mobile_networks6,
        destinations6,
        foreign_agents,
    }
}

/// A home address with its home agent, which both kinds of table name alike.
fn system(section: &Section<'_, '_>, read_secret: ReadSecret<'_>) -> Option<(System, Agreement)> {
    let home = section.optional("home", values::v4);
    let nai = section.optional("nai", super::home_agent::nai);
    if !section.has("home") && !section.has("nai") {
        let heading = section.heading();
        let message =
            format!("{heading} lacks the key `home`, or `nai`, to be given a home address");
        section.error(message);
    }
    let home_agent = section.required("home-agent", values::v4);
    let home_network = section.optional("home-network", values::v4_net);
    let mut lifetime = LIFETIME;
    section.set("lifetime", &mut lifetime, |v| {
        values::duration(v, 10 * SECOND..=LONGEST)
    });
    let mut reverse = Reverse::Always;
    section.set("reverse", &mut reverse, |v| {
        values::word(v, &[("always", Reverse::Always), ("never", Reverse::Never)])
    });
    let mut encapsulation = TunnelKind::IpIp;
    section.set("encapsulation", &mut encapsulation, |v| {
        values::word(v, &ENCAPSULATIONS)
    });
    let harm = "whoever guesses it can prove any network to be inside";
    let association = association(section, read_secret, harm);
    let system = System {
        home: match home {
            None if !section.has("home") && nai.is_some() => Ipv4Addr::UNSPECIFIED,
            home => home?,
        },
        home_agent: home_agent?,
        home_network,
        lifetime,
        reverse,
    };
    let agreement = Agreement {
        association: association?,
        nai,
        foreign_agents: Vec::new(),
        port: PORT,
        encapsulation,
        delivery: Delivery::Direct,
        revocation: true,
    };
    Some((system, agreement))
}

/// `None` where something is missing; the inner `None` for one without an outer system.
fn site(
    report: &Report<'_>,
    section: &Section<'_, '_>,
    read_secret: ReadSecret<'_>,
) -> Option<(Site, Option<Agreement>)> {
    const OF_SYSTEM: [&str; 10] = [
        "home",
        "nai",
        "home-agent",
        "home-network",
        "spi",
        "algorithm",
        "key-file",
        "lifetime",
        "reverse",
        "encapsulation",
    ];
    let name = section.required("name", |v| Ok(values::text(v, "a name")?.to_owned()));
    let gateway = section.optional("vpn", |v| {
        Ok(values::text(v, "the name of a [[vpn]]")?.to_owned())
    });
    let near = nets(section, "near").unwrap_or_default();
    let has_outer = OF_SYSTEM.iter().any(|key| section.has(key));
    let outer = if has_outer {
        system(section, read_secret)
    } else {
        section.pass_over(&OF_SYSTEM);
        if gateway.is_none() {
            let message = "a [[mobility-site]] is a way in: it has a `home` and `home-agent` of its own, \
                           or a `vpn`, or both";
            report.error(section.at(), message);
        }
        None
    };
    if has_outer && outer.is_none() {
        return None;
    }
    let (outer, agreement) = outer.unzip();
    let site = Site {
        name: name?,
        outer,
        gateway,
        near,
        reach: Reach::Ipv4,
    };
    Some((site, agreement))
}

/// What is given is asked for over the link, before anything else begins.
fn check_given(
    report: &Report<'_>,
    section: &Section<'_, '_>,
    inner: Option<&System>,
    sites: &[(&Section<'_, '_>, (Site, Option<Agreement>))],
) {
    if inner.is_some_and(|system| system.home.is_unspecified()) && !sites.is_empty() {
        let message = "home: without one, it would have to be asked for inside: where there is a [[mobility-site]], \
                       only that can be given its home address";
        report.error(section.at(), message);
    }
    if sites.len() < 2 {
        return;
    }
    for (section, (site, _)) in sites {
        let outer = site.outer.as_ref();
        if outer.is_some_and(|system| system.home.is_unspecified()) {
            let message = "home: without one, its home agent would have to answer before anything begins: \
                           among several [[mobility-site]], each needs one";
            report.error(section.at(), message);
        }
    }
}

fn reach(vpns: &VpnSettings, name: &str) -> Reach {
    let ours = vpns
        .gateway(name)
        .map(GatewaySettings::is_reached_over_ipv6);
    let theirs = vpns.other(name).map(OtherVpn::is_reached_over_ipv6);
    match ours.or(theirs) {
        Some(true) => Reach::Either,
        Some(false) | None => Reach::Ipv4,
    }
}

fn check_vpn(
    report: &Report<'_>,
    section: &Section<'_, '_>,
    vpns: &VpnSettings,
    name: &str,
    home_agent: Option<Ipv4Addr>,
) {
    let at = section.span("vpn");
    let Some(vpn) = vpns.gateway(name) else {
        // Of other software nothing else can be wrong.
        if vpns.names().contains(&name) {
            return;
        }
        return report.error(
            &at,
            format!("vpn: there is no [[vpn]] with the name `{name}`"),
        );
    };
    if vpn.start == Start::Up {
        let message =
            format!("vpn: [[vpn]] `{name}` has start = \"up\": mobility starts it, leave that out");
        report.error(&at, message);
    }
    if !vpn.keeps_own() && !vpn.addresses.iter().any(IpAddr::is_ipv4) {
        let message = format!(
            "vpn: [[vpn]] `{name}` has no `gateway` of IPv4, so where there is IPv4 nothing would lead to it"
        );
        report.error(&at, message);
    }
    if vpn.local.is_some() {
        let message = format!(
            "vpn: [[vpn]] `{name}` has `local`: mobility says where it begins, leave it out"
        );
        report.error(&at, message);
    }
    if let Some(agent) = home_agent
        && !vpn
            .subnets
            .iter()
            .any(|net| net.contains(&IpAddr::V4(agent)))
    {
        let message = format!(
            "vpn: the inner home agent {agent} is in none of the subnets of [[vpn]] `{name}`, so S could \
             never be registered through it"
        );
        report.error(&at, message);
    }
}

/// A VPN without an adapter protects T, which is of IPv4 and stays the same.
fn check_kept(
    report: &Report<'_>,
    section: &Section<'_, '_>,
    vpns: &VpnSettings,
    name: &str,
    site: &Site,
) {
    let vpn = vpns.gateway(name).filter(|vpn| vpn.keeps_own());
    let Some(vpn) = vpn else { return };
    let at = section.span("vpn");
    if site.outer.is_none() {
        let message = format!(
            "vpn: [[vpn]] `{name}` has address = \"none\", so it protects the `home` of this site: give it \
             that, and a `home-agent`"
        );
        report.error(&at, message);
    }
    if let Some(address) = vpn.addresses.iter().find(|address| address.is_ipv6()) {
        let message = format!(
            "vpn: [[vpn]] `{name}` has address = \"none\" and the gateway {address}: it protects the `home` of this \
             site, which is of IPv4"
        );
        report.error(&at, message);
    }
}

fn adapter_names(report: &Report<'_>, section: &Section<'_, '_>) -> AdapterNames {
    let mut names = AdapterNames::default();
    let link = |v: &DeValue<'_>| -> Result<LinkName, Reason> {
        let text = values::text(v, "the name of an interface")?;
        text.parse()
            .map_err(|error: crate::kernel::desired::InvalidLinkName| error.to_string())
    };
    section.set("intranet-adapter", &mut names.intranet, link);
    section.set("mobility-adapter", &mut names.mobility, link);
    section.set("vpn-adapter", &mut names.vpn, link);
    let [intranet, mobility, vpn] = names.all();
    if intranet == mobility || intranet == vpn || mobility == vpn {
        let message =
            "intranet-adapter, mobility-adapter and vpn-adapter must have different names";
        report.error(section.at(), message);
    }
    names
}

fn numbers(
    report: &Report<'_>,
    section: &Section<'_, '_>,
    around: &Surroundings<'_>,
    sites: usize,
) -> Numbers {
    let mut numbers = Numbers::default();
    section.set("table", &mut numbers.first, |v| {
        let allowed = "256–4294900000: it is the first of several";
        values::integer(v, 256..=4_294_900_000, allowed)
    });
    section.set("rule-priority", &mut numbers.rule_priority, |v| {
        let allowed = "1–32760, which is after `local` and before `main`";
        values::integer(v, 1..=32_760, allowed)
    });
    let last = numbers.last(sites);
    if (numbers.first..=last).contains(&around.interception_table) {
        let (first, taken) = (numbers.first, around.interception_table);
        let message =
            format!("table: {first} to {last} are used, and {taken} is that of [interception]");
        report.error(&section.span("table"), message);
    }
    numbers
}

fn nets(section: &Section<'_, '_>, key: &'static str) -> Option<Vec<Ipv4Net>> {
    let nets = section.list(key, values::v4_net)?;
    Some(nets.into_iter().map(|(net, _)| net).collect())
}

fn addresses(section: &Section<'_, '_>, key: &'static str) -> Vec<Ipv4Addr> {
    let addresses = section.list(key, values::v4).unwrap_or_default();
    addresses.into_iter().map(|(address, _)| address).collect()
}
