//! Our own foreign agent, and who visits it.

use super::{Table, count, span};
use crate::agent::snapshot::{ForeignAgentView, VisitorView};

pub fn foreign_agent(view: &ForeignAgentView, width: usize) -> String {
    let mut table = Table::bare(2);
    let here = count(view.visitors, "visitor");
    let here = match view.pending {
        0 => here,
        pending => format!("{here}, and {pending} asking"),
    };
    table.row(["address", &format!("{} on {}", view.address, view.link)]);
    table.row(["care-of address", &view.care_of]);
    table.row(["here", &here]);
    format!("Foreign agent\n{}", table.render(width))
}

pub fn visitors(visitors: &[VisitorView], width: usize) -> String {
    if visitors.is_empty() {
        return "no visitors\n".into();
    }
    let headings = ["HOME", "HOME AGENT", "LEFT", "TUNNEL", "REVERSE", "MAC"];
    let mut table = Table::new(&headings);
    for v in visitors {
        let left = v.left_seconds.map_or_else(|| "for ever".into(), span);
        let tunnel = if v.co_located {
            format!("{} to {}, its own", v.encapsulation, v.care_of)
        } else {
            format!("{} to {}", v.encapsulation, v.care_of)
        };
        table.row([&v.home, &v.home_agent, &left, &tunnel, &v.reverse, &v.mac]);
    }
    table.render(width)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visitor() -> VisitorView {
        VisitorView {
            home: "198.51.100.5".into(),
            home_agent: "192.0.2.2".into(),
            care_of: "203.0.113.1".into(),
            mac: "02:00:00:00:00:07".into(),
            encapsulation: "ipip".into(),
            reverse: "direct".into(),
            co_located: false,
            left_seconds: Some(290),
        }
    }

    #[test]
    fn a_visitor_says_whose_it_is_and_which_ways_it_has() {
        assert_eq!(visitors(&[], 120), "no visitors\n");
        let text = visitors(&[visitor()], 120);
        for cell in ["192.0.2.2", "4m 50s", "ipip to 203.0.113.1 ", "direct"] {
            assert!(text.contains(cell), "{cell}: {text}");
        }
        let own = VisitorView {
            co_located: true,
            ..visitor()
        };
        assert!(visitors(&[own], 120).contains("203.0.113.1, its own"));
    }

    #[test]
    fn who_asks_is_counted_beside_who_is_here() {
        let mut view = ForeignAgentView {
            link: "eth1".into(),
            address: "203.0.113.1".into(),
            care_of: "192.0.2.7".into(),
            visitors: 1,
            pending: 0,
        };
        assert!(foreign_agent(&view, 100).contains("1 visitor\n"));
        view.pending = 2;
        assert!(foreign_agent(&view, 100).contains("1 visitor, and 2 asking"));
    }
}
