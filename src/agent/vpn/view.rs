//! What `status` and `vpn show` say.

use super::VpnState;
use crate::agent::Agent;
use crate::agent::snapshot::{VpnClientView, VpnView};
use crate::ike::endpoint::IkeView;
use std::net::IpAddr;
use std::time::Instant;

impl Agent {
    pub(in crate::agent) fn vpn_view(&self, now: Instant) -> VpnView {
        let seconds = |since| now.saturating_duration_since(since).as_secs();
        let is_client = |sa: &IkeView<'_>| !sa.leased.is_empty() || sa.kept.is_some();
        let clients = self.ike.ike_sas().filter(is_client);
        let mut view = VpnView {
            name: self.vpn.name().unwrap_or_default().to_owned(),
            state: "down".to_owned(),
            since_seconds: seconds(self.vpn.since()),
            clients: clients
                .map(|sa| VpnClientView {
                    peer: sa.peer.to_string(),
                    from: sa.remote.ip().to_string(),
                    addresses: sa
                        .leased
                        .iter()
                        .chain(&sa.kept)
                        .map(ToString::to_string)
                        .collect(),
                    since_seconds: seconds(sa.established),
                })
                .collect(),
            ..VpnView::default()
        };
        match self.vpn.state() {
            VpnState::Down => {}
            VpnState::Connecting => "connecting".clone_into(&mut view.state),
            VpnState::Disconnecting => "disconnecting".clone_into(&mut view.state),
            VpnState::Failed(reason) => {
                "failed".clone_into(&mut view.state);
                view.reason = reason;
            }
            VpnState::Up(connection) => {
                let state = if self.vpn.is_warm() { "warm" } else { "up" };
                state.clone_into(&mut view.state);
                let known = |address: Option<IpAddr>| address.map(|it| it.to_string());
                view.local = known(connection.local).unwrap_or_default();
                view.gateway = known(connection.gateway).unwrap_or_default();
                view.addresses = text(&connection.addresses);
                view.dns = text(&connection.dns);
                view.subnets = text(&connection.subnets);
            }
        }
        view
    }
}

fn text(all: &[impl ToString]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}
