//! What can be seen of our own home agent.

use super::{OwnHomeAgent, no_home_agent};
use crate::agent::Agent;
use crate::agent::effect::Reply;
use crate::agent::snapshot::{BindingView, HomeAgentView};
use crate::mobile_ip::home_agent;
use crate::mobile_ip::wire::TunnelKind;
use std::time::Instant;

impl Agent {
    pub(in crate::agent) fn home_agent_view(&self, now: Instant) -> Option<HomeAgentView> {
        let settings = self.settings.home_agent.as_ref()?;
        let own = self.home.as_ref();
        Some(HomeAgentView {
            address: settings.protocol.address.to_string(),
            home_network: settings.protocol.home_network.to_string(),
            link: settings
                .link
                .map(|link| link.to_string())
                .unwrap_or_default(),
            pool: settings.protocol.pool.map(|pool| pool.to_string()),
            mobile_nodes: settings.protocol.mobile_nodes.len(),
            bindings: own.map_or(0, |own| own.room.view(now).count()),
        })
    }

    pub(in crate::agent) fn bindings(&self, now: Instant) -> Reply {
        match (&self.home, &self.surrogates) {
            (Some(own), _) => Reply::Bindings(own.room.view(now).map(|b| binding(&b)).collect()),
            (None, Some(proxy)) => Reply::Bindings(proxy.bindings(now)),
            (None, None) => no_home_agent(),
        }
    }
}

impl OwnHomeAgent {
    pub(in crate::agent) fn counters(&self) -> [(&'static str, u64); 7] {
        let counters = self.room.counters();
        [
            ("registrations-accepted", counters.accepted),
            ("registrations-denied", counters.denied),
            ("registrations-malformed", counters.malformed),
            ("registrations-of-strangers", counters.strangers),
            ("registrations-untrusted", counters.untrusted),
            ("registrations-too-many", counters.too_many),
            ("foreign-agents-unknown", counters.unknown_foreign_agents),
        ]
    }

    pub(in crate::agent) fn tables(&self) -> [(&'static str, usize); 2] {
        [
            ("bindings", self.bound.len()),
            ("registrations-awaiting-store", self.outbox.len()),
        ]
    }
}

fn binding(binding: &home_agent::BindingView) -> BindingView {
    let v4 = binding.tunnel.networks.iter().map(ToString::to_string);
    let v6 = binding.tunnel.networks6.iter().map(ToString::to_string);
    BindingView {
        home: binding.home.to_string(),
        nai: binding.nai.as_deref().map(name),
        care_of: binding.care_of.to_string(),
        agent: binding.tunnel.local.to_string(),
        encapsulation: match (binding.tunnel.kind, binding.tunnel.udp) {
            (TunnelKind::IpIp, None) => "ipip",
            (TunnelKind::IpIp, Some(_)) => "ipip in UDP",
            (TunnelKind::Minimal, _) => "minimal",
            (TunnelKind::Gre, _) => "gre",
        }
        .to_owned(),
        reverse: binding.tunnel.reverse,
        networks: v4.chain(v6).collect(),
        left_seconds: binding.left.map(|left| left.as_secs()),
    }
}

/// A network access identifier as text.
pub(super) fn name(nai: &[u8]) -> String {
    String::from_utf8_lossy(nai).into_owned()
}
