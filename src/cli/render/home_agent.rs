//! Our own home agent, and who is registered with it.

use super::{Table, count, span};
use crate::agent::snapshot::{BindingView, HomeAgentView};

pub fn home_agent(view: &HomeAgentView, width: usize) -> String {
    let mut table = Table::bare(2);
    let network = match view.link.as_str() {
        "" => format!("{}, virtual", view.home_network),
        link => format!("{} on {link}", view.home_network),
    };
    table.row(["address", &view.address]);
    table.row(["home network", &network]);
    if let Some(pool) = &view.pool {
        table.row(["pool", pool]);
    }
    table.row(["mobile nodes", &view.mobile_nodes.to_string()]);
    table.row(["away", &count(view.bindings, "binding")]);
    format!("Home agent\n{}", table.render(width))
}

pub fn bindings(bindings: &[BindingView], width: usize) -> String {
    if bindings.is_empty() {
        return "no bindings\n".into();
    }
    let headings = [
        "HOME", "NAI", "CARE-OF", "LEFT", "TUNNEL", "REVERSE", "NETWORKS",
    ];
    let mut table = Table::new(&headings);
    for b in bindings {
        let left = b.left_seconds.map_or_else(|| "for ever".into(), span);
        let tunnel = format!("{} from {}", b.encapsulation, b.agent);
        let reverse = if b.reverse { "yes" } else { "no" };
        let networks = b.networks.join(" ");
        let nai = b.nai.as_deref().unwrap_or("-");
        table.row([&b.home, nai, &b.care_of, &left, &tunnel, reverse, &networks]);
    }
    table.render(width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_says_where_for_how_long_and_which_ways() {
        assert_eq!(bindings(&[], 100), "no bindings\n");
        let binding = BindingView {
            home: "10.20.0.5".into(),
            nai: Some("alice@example.org".into()),
            care_of: "203.0.113.10".into(),
            agent: "10.10.0.2".into(),
            encapsulation: "ipip".into(),
            reverse: true,
            networks: vec!["10.40.0.0/24".into()],
            left_seconds: Some(290),
        };
        let text = bindings(&[binding], 100);
        let row: Vec<&str> = text.lines().nth(1).unwrap().split("  ").collect();
        let cells: Vec<&str> = row
            .iter()
            .map(|c| c.trim())
            .filter(|c| !c.is_empty())
            .collect();
        let expected = [
            "10.20.0.5",
            "alice@example.org",
            "203.0.113.10",
            "4m 50s",
            "ipip from 10.10.0.2",
            "yes",
        ];
        assert_eq!(cells, [&expected[..], &["10.40.0.0/24"]].concat());
    }

    #[test]
    fn a_virtual_home_network_is_called_so() {
        let mut view = HomeAgentView {
            address: "192.0.2.2".into(),
            home_network: "198.51.100.0/24".into(),
            link: String::new(),
            pool: None,
            mobile_nodes: 3,
            bindings: 1,
        };
        let text = home_agent(&view, 100);
        assert!(text.contains("198.51.100.0/24, virtual"), "{text}");
        assert!(text.contains("1 binding"), "{text}");
        view.link = "eth1".into();
        view.pool = Some("198.51.100.128/25".into());
        let text = home_agent(&view, 100);
        assert!(text.contains("198.51.100.0/24 on eth1"), "{text}");
        assert!(text.contains("198.51.100.128/25"), "{text}");
    }
}
