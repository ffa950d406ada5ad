//! `[[proxy]]`: what this gateway protects, and that no two of them contradict each other.

use super::report::{Report, Span};
use super::section::Section;
use super::values::{self, Reason};
use crate::agent::settings::{FailureAction, ProxyGroup, TunnelMode};
use crate::net::{Family, MaskedAddr, Port, Protocol, Selector};
use crate::ted::proxies::Proxy;
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use toml::de::DeValue;

/// Default of `failure-lifetime`.
const FAILURE_LIFETIME: Duration = Duration::from_secs(30);

const MAX_NAME: usize = 64;

pub(super) struct ReadProxy {
    pub(super) group: ProxyGroup,
    pub(super) at: Span,
    pub(super) remotes: Vec<(MaskedAddr, Span)>,
}

/// `None` where something essential was reported.
pub(super) fn read(
    report: &Report<'_>,
    section: &Section<'_, '_>,
    max_prefixes: usize,
) -> Option<ReadProxy> {
    let name = section.required("name", name);
    let locals = section.required_list("local", "what does this gateway protect?", values::masked);
    let remotes = section.required_list("remote", "where does the traffic go?", values::masked);
    let protocol = section.optional("protocol", values::protocol);
    let local_port = section.optional("local-port", values::port);
    let remote_port = section.optional("remote-port", values::port);
    let on_failure = section.optional("on-failure", |v| {
        values::word(
            v,
            &[
                ("block", FailureAction::Block),
                ("clear", FailureAction::Clear),
            ],
        )
    });
    let failure_lifetime = section.optional("failure-lifetime", |v| {
        values::duration(v, Duration::from_secs(1)..=Duration::from_secs(86_400))
    });
    let mode = section.optional("mode", |v| {
        values::word(
            v,
            &[
                ("tunnel", TunnelMode::Tunnel),
                ("transport", TunnelMode::Transport),
            ],
        )
    });

    let protocol = protocol.unwrap_or_default();
    let (local_port, remote_port) = (
        local_port.unwrap_or_default(),
        remote_port.unwrap_or_default(),
    );
    for (key, port) in [("local-port", local_port), ("remote-port", remote_port)] {
        if port != Port::Any && protocol != Protocol::Any && !protocol.has_ports() {
            let message = format!("{key}: protocol {protocol} has no ports");
            report.error(&section.span(key), message);
        }
    }
    for (half, at) in locals.iter().chain(&remotes) {
        if let Err(error) = half.to_prefixes(max_prefixes) {
            report.error(at, error);
            return None;
        }
        if half.family() == Family::V6 && protocol == Protocol::ICMP {
            report.warning(
                at,
                "protocol icmp is that of IPv4: this IPv6 address needs icmpv6",
            );
        }
    }

    let mut proxies = Vec::new();
    for (local, _) in &locals {
        for (remote, _) in remotes.iter().filter(|(r, _)| r.family() == local.family()) {
            proxies.push(Proxy {
                local: *local,
                remote: *remote,
                protocol,
                local_port,
                remote_port,
            });
        }
    }
    check_halves(report, section, &locals, &remotes);
    for proxy in &proxies {
        if let Err(error) = proxy.selectors(max_prefixes) {
            let message = format!("local and remote together: {error}");
            report.error(&section.span("local"), message);
            return None;
        }
    }
    if proxies.is_empty() {
        return None;
    }
    Some(ReadProxy {
        group: ProxyGroup {
            name: name?,
            proxies,
            on_failure: on_failure.unwrap_or(FailureAction::Block),
            failure_lifetime: failure_lifetime.unwrap_or(FAILURE_LIFETIME),
            mode: mode.unwrap_or(TunnelMode::Tunnel),
        },
        at: section.at().clone(),
        remotes,
    })
}

fn name(value: &DeValue<'_>) -> Result<String, Reason> {
    let name = values::text(value, "a name")?;
    let printable = name.chars().all(|c| !c.is_control() && !c.is_whitespace());
    if name.is_empty() || name.len() > MAX_NAME || !printable {
        return Err(format!(
            "a name is 1 to {MAX_NAME} octets without blanks: it stands in tables and logs"
        ));
    }
    Ok(name.to_owned())
}

/// Each entry has a counterpart of its IP version on the other side, and one that is not bypassed.
fn check_halves(
    report: &Report<'_>,
    section: &Section<'_, '_>,
    locals: &[(MaskedAddr, Span)],
    remotes: &[(MaskedAddr, Span)],
) {
    if locals.is_empty() || remotes.is_empty() {
        return; // reported as such
    }
    let has = |side: &[(MaskedAddr, Span)], family| side.iter().any(|(m, _)| m.family() == family);
    let pairs = |family| has(locals, family) && has(remotes, family);
    if !pairs(Family::V4) && !pairs(Family::V6) {
        let (l, r) = (
            version(locals[0].0.family()),
            version(remotes[0].0.family()),
        );
        report.error(
            &section.span("remote"),
            format!("local holds only {l} and remote only {r}: there is no pair of one IP version"),
        );
        return;
    }
    for (side, other, name) in [(locals, remotes, "remote"), (remotes, locals, "local")] {
        for (half, at) in side {
            if !has(other, half.family()) {
                let version = version(half.family());
                report.warning(
                    at,
                    format!("{half} pairs with nothing: {name} holds no {version}"),
                );
            }
        }
    }
    for (remote, at) in remotes {
        if let Some((local, _)) = locals.iter().find(|(local, _)| local.contains(remote)) {
            report.warning(
                at,
                format!("{remote} lies inside local {local}: traffic between local addresses is never protected"),
            );
        }
    }
}

fn version(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// One packet belongs to one proxy: the most specific that covers it. So nested proxies are fine,
/// the same selector twice is not, and neither is a partial overlap where the two would do
/// different things with a packet of both.
pub(super) fn check_overlaps(report: &Report<'_>, read: &[ReadProxy], max_prefixes: usize) {
    check_names(report, read);
    check_duplicates(report, read, max_prefixes);
    check_contradictions(report, read);
}

fn check_names(report: &Report<'_>, read: &[ReadProxy]) {
    let mut seen = HashMap::new();
    for ReadProxy { group, at, .. } in read {
        if let Some(first) = seen.insert(group.name.as_str(), at) {
            let line = report.line(first);
            let message = format!("proxy `{}` stands in line {line} already", group.name);
            report.error(at, message);
        }
    }
}

fn check_duplicates(report: &Report<'_>, read: &[ReadProxy], max_prefixes: usize) {
    let mut owners: HashMap<Selector, usize> = HashMap::new();
    let mut reported = HashSet::new();
    for (index, ReadProxy { group, at, .. }) in read.iter().enumerate() {
        let selectors = group.proxies.iter();
        // Within the bound: `read` has checked each of them.
        for selector in selectors.flat_map(|p| p.selectors(max_prefixes).unwrap_or_default()) {
            let Some(first) = owners.insert(selector, index) else {
                continue;
            };
            if !reported.insert((first, index)) {
                continue;
            }
            let name = &group.name;
            let message = if first == index {
                format!("proxy `{name}` holds {selector} twice")
            } else {
                let other = &read[first];
                format!(
                    "proxies `{}` (line {}) and `{name}` both hold {selector}: a packet belongs to one proxy",
                    other.group.name,
                    report.line(&other.at),
                )
            };
            report.error(at, message);
        }
    }
}

fn check_contradictions(report: &Report<'_>, read: &[ReadProxy]) {
    let settled: HashSet<&Proxy> = read.iter().flat_map(|r| &r.group.proxies).collect();
    let partial = |a: &Proxy, b: &Proxy| {
        let both = a.intersect(b).ok()?;
        let resolved = a.contains(b) || b.contains(a) || settled.contains(&both);
        (!resolved).then_some(both)
    };
    let (clear, block): (Vec<usize>, Vec<usize>) =
        (0..read.len()).partition(|i| read[*i].group.on_failure == FailureAction::Clear);
    for a in &clear {
        for b in &block {
            let (first, second) = (&read[*a.min(b)], &read[*a.max(b)]);
            let mut pairs = first.group.proxies.iter().flat_map(|a| {
                let seconds = second.group.proxies.iter();
                seconds.filter_map(move |b| partial(a, b))
            });
            if let Some(both) = pairs.next() {
                report.error(
                    &second.at,
                    format!(
                        "proxies `{}` (line {}) and `{}` share {both} and neither contains the other, \
                         but one says on-failure block and the other clear: give both the same, or add \
                         a proxy for exactly that part",
                        first.group.name,
                        report.line(&first.at),
                        second.group.name,
                    ),
                );
            }
        }
    }
}
