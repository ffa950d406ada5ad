//! One list a command.

use super::{Table, escape, span};
use crate::agent::snapshot::{
    DiscoverReport, DiscoveryView, EventView, FailureView, PolicyView, RefusedProbeView, SaView,
    TunnelView,
};
use crate::control::protocol::{Forgotten, Reloaded};
use crate::daemon::Withdrawn;
use std::fmt::Write;

pub fn policies(policies: &[PolicyView], width: usize) -> String {
    if policies.is_empty() {
        return "no policies\n".into();
    }
    let mut table = Table::new(&["DIR", "PRIORITY", "FOR", "TRAFFIC", "ACTION"]);
    for p in policies {
        let priority = p.priority.to_string();
        table.row([&p.direction, &priority, &p.purpose, &p.selector, &p.action]);
    }
    table.render(width)
}

pub fn sas(sas: &[SaView], width: usize) -> String {
    if sas.is_empty() {
        return "no SAs\n".into();
    }
    let mut table = Table::new(&["DIR", "SPI", "REQID", "MODE", "FROM", "TO", "ALGORITHM"]);
    for sa in sas {
        let reqid = sa.reqid.to_string();
        table.row([
            &sa.direction,
            &sa.spi,
            &reqid,
            &sa.mode,
            &sa.src,
            &sa.dst,
            &sa.algorithm,
        ]);
    }
    table.render(width)
}

pub fn tunnels(tunnels: &[TunnelView], width: usize) -> String {
    if tunnels.is_empty() {
        return "no tunnels\n".into();
    }
    let headings = ["PEER", "STATE", "SINCE", "MODE", "PROXY", "ENDS", "TRAFFIC"];
    let mut table = Table::new(&headings);
    for t in tunnels {
        let ends = format!("{} <> {}", t.local, t.remote);
        let since = span(t.since_seconds);
        let mut selectors = t.selectors.iter();
        let first = selectors.next().map_or("", String::as_str);
        table.row([&t.peer, &t.state, &since, &t.mode, &t.proxy, &ends, first]);
        for selector in selectors {
            table.row(["", "", "", "", "", "", selector]);
        }
    }
    table.render(width)
}

pub(super) fn discoveries(discoveries: &[DiscoveryView], width: usize) -> String {
    let headings = [
        "PROXY",
        "STATE",
        "PROBES",
        "WAITING",
        "FLOW",
        "ANSWERS FROM",
    ];
    let mut table = Table::new(&headings);
    for d in discoveries {
        let (probes, waiting) = (d.probes_sent.to_string(), d.waiting.to_string());
        let candidates = d.candidates.join(" ");
        table.row([&d.proxy, &d.state, &probes, &waiting, &d.flow, &candidates]);
    }
    table.render(width)
}

pub(super) fn failures(failures: &[FailureView], width: usize) -> String {
    let mut table = Table::new(&["PROXY", "ACTION", "RETRY IN", "FLOW", "REASON"]);
    for f in failures {
        let retry = span(f.retry_in_seconds);
        table.row([&f.proxy, &f.action, &retry, &f.flow, &f.reason]);
    }
    table.render(width)
}

pub(super) fn refused_probes(probes: &[RefusedProbeView], width: usize) -> String {
    let mut table = Table::new(&["FROM", "FLOW", "REASON"]);
    for p in probes {
        table.row([&p.from, &p.flow, &p.reason]);
    }
    table.render(width)
}

pub fn discovery(report: &DiscoverReport, width: usize) -> String {
    let mut text = format!("probe for {}\n", report.flow);
    if report.answers.is_empty() && report.error.is_empty() {
        text.push_str("nobody answered\n");
    }
    for answer in &report.answers {
        let after = answer.after_milliseconds;
        let _ = writeln!(
            text,
            "
{} answered after {after} ms",
            answer.responder
        );
        let mut table = Table::bare(2);
        for (index, offered) in answer.offered.iter().enumerate() {
            table.row([if index == 0 { "  offers" } else { "" }, offered]);
        }
        table.row(["  intersection", &answer.intersection]);
        text.push_str(&table.render(width));
    }
    if !report.error.is_empty() {
        let _ = writeln!(text, "failed: {}", report.error);
    }
    text
}

pub fn reloaded(reloaded: &Reloaded) -> String {
    let mut lines: Vec<String> = reloaded.changes.clone();
    if lines.is_empty() {
        lines.push("nothing has changed".into());
    }
    let warnings = reloaded.warnings.iter();
    lines.extend(warnings.map(|warning| format!("warning: {warning}")));
    lines.join("\n") + "\n"
}

pub fn forgotten(forgotten: &Forgotten) -> String {
    if forgotten.prefixes.is_empty() {
        return "nothing there was ever protected\n".into();
    }
    let lines = forgotten
        .prefixes
        .iter()
        .map(|net| format!("let go of {net}\n"));
    lines.collect()
}

pub fn withdrawn(withdrawn: Withdrawn) -> String {
    let Withdrawn { policies, sas } = withdrawn;
    format!("removed {policies} policies and {sas} SAs; what they protected is not any more\n")
}

/// Without a newline.
pub fn event(event: &EventView) -> String {
    let (kind, detail) = (escape::safe(&event.kind), escape::safe(&event.detail));
    format!("{:>10.3}  {kind:<16}  {detail}", event.at)
}

/// Without a newline.
pub fn lost(count: u64) -> String {
    format!(
        "{:>10}  {:<16}  {count} events came too fast and were left out",
        "", "lost"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::snapshot::DiscoverAnswer;

    fn policy(direction: &str, purpose: &str, action: &str) -> PolicyView {
        PolicyView {
            direction: direction.into(),
            selector: "10.1.0.0/16 > 10.2.0.0/16 any".into(),
            purpose: purpose.into(),
            action: action.into(),
            priority: 2000,
        }
    }

    #[test]
    fn policies_stand_in_columns() {
        let esp = "esp tunnel 192.0.2.104 > 192.0.2.106 reqid 7";
        let list = [
            policy("out", "tunnel", esp),
            policy("fwd", "enforce", "block"),
        ];
        assert_eq!(
            policies(&list, 80),
            "\
DIR  PRIORITY  FOR      TRAFFIC                        ACTION
out  2000      tunnel   10.1.0.0/16 > 10.2.0.0/16 any  esp tunnel 192.0.2.104 >
                                                       192.0.2.106 reqid 7
fwd  2000      enforce  10.1.0.0/16 > 10.2.0.0/16 any  block
"
        );
        assert_eq!(policies(&[], 80), "no policies\n");
    }

    #[test]
    fn sas_stand_in_columns() {
        let sa = SaView {
            direction: "out".into(),
            src: "192.0.2.104".into(),
            dst: "192.0.2.106".into(),
            spi: "0xc0ffee00".into(),
            reqid: 7,
            mode: "tunnel".into(),
            algorithm: "rfc4106(gcm(aes)) 128".into(),
        };
        assert_eq!(
            sas(&[sa], 100),
            "\
DIR  SPI         REQID  MODE    FROM         TO           ALGORITHM
out  0xc0ffee00  7      tunnel  192.0.2.104  192.0.2.106  rfc4106(gcm(aes)) 128
"
        );
        assert_eq!(sas(&[], 80), "no SAs\n");
    }

    #[test]
    fn a_discovery_shows_each_answer_with_its_intersection() {
        let report = DiscoverReport {
            flow: "10.1.0.2 > 10.2.0.8 icmp".into(),
            answers: vec![
                DiscoverAnswer {
                    responder: "192.0.2.106".into(),
                    offered: vec![
                        "10.2.0.0/16 <> 10.0.0.0/8 any".into(),
                        "10.2.0.0/16 <> 0.0.0.0/0 tcp".into(),
                    ],
                    intersection: "10.1.0.0/16 <> 10.2.0.0/16 any".into(),
                    after_milliseconds: 12,
                },
                DiscoverAnswer {
                    responder: "192.0.2.107".into(),
                    offered: vec!["10.2.0.0/16 <> 10.0.0.0/8 udp".into()],
                    intersection: "protocol could not be reconciled".into(),
                    after_milliseconds: 40,
                },
            ],
            error: String::new(),
        };
        assert_eq!(
            discovery(&report, 80),
            "\
probe for 10.1.0.2 > 10.2.0.8 icmp

192.0.2.106 answered after 12 ms
  offers        10.2.0.0/16 <> 10.0.0.0/8 any
                10.2.0.0/16 <> 0.0.0.0/0 tcp
  intersection  10.1.0.0/16 <> 10.2.0.0/16 any

192.0.2.107 answered after 40 ms
  offers        10.2.0.0/16 <> 10.0.0.0/8 udp
  intersection  protocol could not be reconciled
"
        );
    }

    #[test]
    fn a_discovery_without_answers_says_why() {
        let silent = DiscoverReport {
            flow: "10.1.0.2 > 10.2.0.8 icmp".into(),
            ..DiscoverReport::default()
        };
        let probe = "probe for 10.1.0.2 > 10.2.0.8 icmp\n";
        assert_eq!(discovery(&silent, 80), format!("{probe}nobody answered\n"));
        let failed = DiscoverReport {
            error: "no proxy covers it".into(),
            ..silent
        };
        assert_eq!(
            discovery(&failed, 80),
            format!("{probe}failed: no proxy covers it\n")
        );
    }

    #[test]
    fn events_stand_one_a_line() {
        let up = EventView {
            at: 12.3456,
            kind: "tunnel-up".into(),
            detail: "gw106.example".into(),
        };
        assert_eq!(event(&up), "    12.346  tunnel-up         gw106.example");
        let missed = "            lost              3 events came too fast and were left out";
        assert_eq!(lost(3), missed);
    }

    #[test]
    fn reload_and_forget_say_what_they_did() {
        assert_eq!(reloaded(&Reloaded::default()), "nothing has changed\n");
        let changed = Reloaded {
            changes: vec!["proxy a added".into()],
            warnings: vec!["c.toml:1:1: short".into()],
        };
        assert_eq!(
            reloaded(&changed),
            "proxy a added\nwarning: c.toml:1:1: short\n"
        );
        assert_eq!(
            forgotten(&Forgotten::default()),
            "nothing there was ever protected\n"
        );
        let prefixes = vec!["10.2.0.0/16".parse().unwrap()];
        assert_eq!(
            forgotten(&Forgotten { prefixes }),
            "let go of 10.2.0.0/16\n"
        );
    }
}
