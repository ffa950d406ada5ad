//! The page an administrator reads first.

use super::{Table, blocks, lists, span};
use crate::agent::snapshot::{ProxyView, RefusalView, Snapshot};
use std::fmt::Write;

/// Rows of a section before it says how many more there are.
const ROWS: usize = 20;

pub fn status(snapshot: &Snapshot, width: usize) -> String {
    let mut parts = vec![format!(
        "{} · xfrm-agent {} · up {}\n",
        snapshot.identity,
        snapshot.version,
        span(snapshot.uptime_seconds)
    )];
    parts.push(section(
        "Proxies",
        &snapshot.proxies,
        "proxy",
        width,
        proxies,
    ));
    let s = snapshot;
    parts.push(section(
        "Tunnels",
        &s.tunnels,
        "tunnel",
        width,
        lists::tunnels,
    ));
    if !s.vpn.name.is_empty() || !s.vpn.clients.is_empty() {
        parts.push(super::vpn(&s.vpn, width));
    }
    if let Some(mobility) = &s.mobility {
        parts.push(super::mobility(mobility, width));
    }
    if let Some(view) = &s.home_agent {
        parts.push(super::home_agent(view, width));
    }
    if let Some(view) = &s.foreign_agent {
        parts.push(super::foreign_agent(view, width));
    }
    if let Some(view) = &s.proxy_agent {
        parts.push(super::proxy_agent(view, width));
    }
    // What follows is there only where something waits or goes wrong.
    if !s.discoveries.is_empty() {
        let table = lists::discoveries;
        parts.push(section(
            "Discoveries",
            &s.discoveries,
            "discovery",
            width,
            table,
        ));
    }
    if !s.failures.is_empty() {
        parts.push(section(
            "Failures",
            &s.failures,
            "failure",
            width,
            lists::failures,
        ));
    }
    if !s.refused_probes.is_empty() {
        let table = lists::refused_probes;
        // The newest first, for they are the last.
        let newest: Vec<_> = s.refused_probes.iter().rev().cloned().collect();
        parts.push(section("Refused probes", &newest, "probe", width, table));
    }
    if !s.refusals.is_empty() {
        parts.push(section(
            "Refused by the kernel",
            &s.refusals,
            "refusal",
            width,
            refusals,
        ));
    }
    parts.push(format!(
        "Kernel\npolicies {}, SAs {}\n",
        s.policies.len(),
        s.sas.len()
    ));
    let counters: Vec<_> = s.counters.iter().filter(|(_, n)| **n != 0).collect();
    if !counters.is_empty() {
        let mut table = Table::bare(2);
        for (name, n) in counters {
            table.row([name, &n.to_string()]);
        }
        parts.push(format!("Counters\n{}", table.render(width)));
    }
    blocks(&parts)
}

fn section<T>(
    title: &str,
    items: &[T],
    noun: &str,
    width: usize,
    table: impl Fn(&[T], usize) -> String,
) -> String {
    if items.is_empty() {
        return format!("{title}\nnone\n");
    }
    let shown = &items[..items.len().min(ROWS)];
    let mut text = format!("{title}\n{}", table(shown, width));
    if items.len() > ROWS {
        let more = items.len() - ROWS;
        let _ = writeln!(text, "and {more} more: `status --json` shows every {noun}");
    }
    text
}

fn proxies(proxies: &[ProxyView], width: usize) -> String {
    let mut table = Table::new(&["NAME", "ON FAILURE", "PROTOCOL", "TRAFFIC"]);
    for proxy in proxies {
        let port = |port: &str| match port {
            "any" => String::new(),
            port => format!(" port {port}"),
        };
        let traffic = format!(
            "{}{} <> {}{}",
            proxy.local,
            port(&proxy.local_port),
            proxy.remote,
            port(&proxy.remote_port)
        );
        table.row([&proxy.name, &proxy.on_failure, &proxy.protocol, &traffic]);
    }
    table.render(width)
}

/// Wider than the page where they must be: commands are there to be pasted.
fn refusals(refusals: &[RefusalView], _width: usize) -> String {
    let lines = refusals.iter().map(|r| {
        let RefusalView {
            attempt,
            error,
            advice,
        } = r;
        format!("{attempt}\n  {error}\n  {advice}\n")
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::snapshot::{DiscoveryView, FailureView, RefusedProbeView, TunnelView};

    fn proxy(name: &str) -> ProxyView {
        ProxyView {
            name: name.into(),
            local: "10.1.0.0/16".into(),
            remote: "10.2.0.0/16".into(),
            protocol: "any".into(),
            local_port: "any".into(),
            remote_port: "any".into(),
            on_failure: "block".into(),
        }
    }

    fn busy() -> Snapshot {
        let web = ProxyView {
            local_port: "443".into(),
            protocol: "tcp".into(),
            on_failure: "clear".into(),
            ..proxy("web")
        };
        Snapshot {
            version: "0.1.0".into(),
            identity: "gw104.example".into(),
            uptime_seconds: 7384,
            proxies: vec![proxy("site-w"), web],
            tunnels: vec![TunnelView {
                proxy: "site-w".into(),
                peer: "gw106.example".into(),
                local: "192.0.2.104".into(),
                remote: "192.0.2.106".into(),
                mode: "tunnel".into(),
                state: "up".into(),
                selectors: vec!["10.1.0.0/16 > 10.2.0.0/16 any".into()],
                reqid: 7,
                since_seconds: 307,
            }],
            discoveries: vec![DiscoveryView {
                proxy: "site-w".into(),
                flow: "10.1.0.2 > 10.2.9.9 icmp".into(),
                state: "probing".into(),
                probes_sent: 2,
                waiting: 1,
                candidates: vec!["192.0.2.107".into()],
            }],
            failures: vec![FailureView {
                proxy: "web".into(),
                flow: "10.1.0.2 port 443 > 10.2.0.8 port 50000 tcp".into(),
                reason: "192.0.2.108: port could not be reconciled".into(),
                action: "clear".into(),
                retry_in_seconds: 12,
            }],
            refused_probes: vec![RefusedProbeView {
                from: "192.0.2.110".into(),
                flow: "10.9.0.2 > 10.1.0.2 icmp".into(),
                reason: "address could not be reconciled".into(),
            }],
            counters: [("probes-sent".into(), 3), ("ike-malformed".into(), 0)].into(),
            ..Snapshot::default()
        }
    }

    #[test]
    fn a_busy_agent_shows_what_works_what_waits_and_what_failed() {
        assert_eq!(
            status(&busy(), 100),
            "\
gw104.example · xfrm-agent 0.1.0 · up 2h 3m

Proxies
NAME    ON FAILURE  PROTOCOL  TRAFFIC
site-w  block       any       10.1.0.0/16 <> 10.2.0.0/16
web     clear       tcp       10.1.0.0/16 port 443 <> 10.2.0.0/16

Tunnels
PEER           STATE  SINCE  MODE    PROXY   ENDS                        TRAFFIC
gw106.example  up     5m 7s  tunnel  site-w  192.0.2.104 <> 192.0.2.106  10.1.0.0/16 > 10.2.0.0/16
                                                                         any

Discoveries
PROXY   STATE    PROBES  WAITING  FLOW                      ANSWERS FROM
site-w  probing  2       1        10.1.0.2 > 10.2.9.9 icmp  192.0.2.107

Failures
PROXY  ACTION  RETRY IN  FLOW                                         REASON
web    clear   12s       10.1.0.2 port 443 > 10.2.0.8 port 50000 tcp  192.0.2.108: port could not be
                                                                      reconciled

Refused probes
FROM         FLOW                      REASON
192.0.2.110  10.9.0.2 > 10.1.0.2 icmp  address could not be reconciled

Kernel
policies 0, SAs 0

Counters
probes-sent  3
"
        );
    }

    #[test]
    fn the_page_fits_eighty_columns() {
        for line in status(&busy(), 80).lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn a_quiet_agent_is_short() {
        let snapshot = Snapshot {
            version: "0.1.0".into(),
            identity: "gw104.example".into(),
            proxies: vec![proxy("site-w")],
            ..Snapshot::default()
        };
        assert_eq!(
            status(&snapshot, 80),
            "\
gw104.example · xfrm-agent 0.1.0 · up 0s

Proxies
NAME    ON FAILURE  PROTOCOL  TRAFFIC
site-w  block       any       10.1.0.0/16 <> 10.2.0.0/16

Tunnels
none

Kernel
policies 0, SAs 0
"
        );
    }

    #[test]
    fn what_the_kernel_refuses_stands_there_with_commands_in_one_piece() {
        let command = format!("`ip xfrm policy delete {}`", "src 10.1.0.0/16 ".repeat(9));
        let snapshot = Snapshot {
            refusals: vec![RefusalView {
                attempt: "ip xfrm policy add src 10.1.0.0/16".into(),
                error: "the selector belongs to somebody".into(),
                advice: format!("it is not the agent's; {command} takes it out"),
            }],
            ..Snapshot::default()
        };
        let page = status(&snapshot, 80);
        let expected = format!(
            "Refused by the kernel\nip xfrm policy add src 10.1.0.0/16\n  the selector belongs to \
             somebody\n  it is not the agent's; {command} takes it out\n\nKernel"
        );
        assert!(page.contains(&expected), "{page}");
    }

    #[test]
    fn long_sections_say_how_much_they_leave_out() {
        let names: Vec<String> = (0..50).map(|n| format!("p{n}")).collect();
        let snapshot = Snapshot {
            proxies: names.iter().map(|name| proxy(name)).collect(),
            ..Snapshot::default()
        };
        let page = status(&snapshot, 80);
        assert!(
            page.contains("\np19 ") && !page.contains("\np20 "),
            "{page}"
        );
        assert!(
            page.contains("\nand 30 more: `status --json` shows every proxy\n"),
            "{page}"
        );
    }
}
