//! Our own VPN, and the clients of this gateway.

use super::{Table, blocks, span};
use crate::agent::snapshot::VpnView;

pub fn vpn(vpn: &VpnView, width: usize) -> String {
    let mut table = Table::bare(2);
    let state = match vpn.reason.as_str() {
        "" => vpn.state.clone(),
        reason => format!("{}: {reason}", vpn.state),
    };
    table.row([
        "state",
        &format!("{state}, for {}", span(vpn.since_seconds)),
    ]);
    for (name, value) in [
        ("vpn", vpn.name.clone()),
        ("gateway", vpn.gateway.clone()),
        ("from", vpn.local.clone()),
        ("address", vpn.addresses.join(", ")),
        ("dns", vpn.dns.join(", ")),
        ("subnets", vpn.subnets.join(", ")),
    ] {
        if !value.is_empty() {
            table.row([name, &value]);
        }
    }
    let mut parts = vec![format!("VPN\n{}", table.render(width))];
    if !vpn.clients.is_empty() {
        let mut table = Table::new(&["client", "address", "from", "for"]);
        for client in &vpn.clients {
            let addresses = client.addresses.join(", ");
            let since = span(client.since_seconds);
            table.row([&client.peer, &addresses, &client.from, &since]);
        }
        parts.push(format!("VPN clients\n{}", table.render(width)));
    }
    blocks(&parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::snapshot::VpnClientView;

    #[test]
    fn a_vpn_that_failed_says_why_and_clients_say_where_they_are() {
        let view = VpnView {
            name: "north".into(),
            state: "failed".into(),
            reason: "no answer from 192.0.2.1".into(),
            since_seconds: 61,
            clients: vec![VpnClientView {
                peer: "laptop.example".into(),
                from: "203.0.113.9".into(),
                addresses: vec!["10.30.0.5".into()],
                since_seconds: 5,
            }],
            ..VpnView::default()
        };
        let text = vpn(&view, 100);
        assert!(
            text.contains("failed: no answer from 192.0.2.1, for 1m 1s"),
            "{text}"
        );
        assert!(text.contains("laptop.example"), "{text}");
    }
}
