//! Our own proxy agent. Who is registered with it is listed as a home agent's bindings are.

use super::{Table, count};
use crate::agent::snapshot::ProxyAgentView;

pub fn proxy_agent(view: &ProxyAgentView, width: usize) -> String {
    let mut table = Table::bare(2);
    let away = count(view.bindings, "binding");
    let away = match view.asking {
        0 => away,
        asking => format!("{away}, and {asking} that the home agent has not answered"),
    };
    table.row(["address", &view.address]);
    let inside = format!("{} from {}", view.home_agent, view.inside_address);
    table.row(["home agent", &inside]);
    table.row(["mobile nodes", &view.mobile_nodes.to_string()]);
    table.row(["away", &away]);
    format!("Proxy agent\n{}", table.render(width))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_the_home_agent_has_not_answered_is_counted_beside_the_bindings() {
        let mut view = ProxyAgentView {
            address: "192.0.2.8".into(),
            inside_address: "10.10.0.8".into(),
            home_agent: "10.10.0.2".into(),
            mobile_nodes: 3,
            bindings: 1,
            asking: 0,
        };
        let text = proxy_agent(&view, 100);
        assert!(text.contains("10.10.0.2 from 10.10.0.8"), "{text}");
        assert!(text.contains("1 binding\n"), "{text}");
        view.asking = 2;
        let text = proxy_agent(&view, 100);
        assert!(
            text.contains("1 binding, and 2 that the home agent"),
            "{text}"
        );
    }
}
