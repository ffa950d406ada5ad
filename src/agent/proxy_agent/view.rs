//! What can be seen of our own proxy agent.

use super::OwnProxyAgent;
use crate::agent::Agent;
use crate::agent::snapshot::{BindingView, ProxyAgentView};
use crate::mobile_ip::client::Doing;
use crate::mobile_ip::proxy_agent::{End, Stitch, View};
use std::time::Instant;

impl Agent {
    pub(in crate::agent) fn proxy_agent_view(&self) -> Option<ProxyAgentView> {
        let own = self.surrogates.as_ref()?;
        let protocol = &own.settings.protocol;
        let nodes = own.room.view();
        let asking = |node: &&View| {
            node.inner.registered.is_none() && matches!(node.inner.doing, Doing::Registering(_))
        };
        Some(ProxyAgentView {
            address: protocol.outer.to_string(),
            inside_address: protocol.inner.to_string(),
            home_agent: protocol.home_agent.to_string(),
            mobile_nodes: nodes.len(),
            bindings: own.stitched.len(),
            asking: nodes.iter().filter(asking).count(),
        })
    }
}

impl OwnProxyAgent {
    pub(in crate::agent) fn bindings(&self, now: Instant) -> Vec<BindingView> {
        let nodes = self.room.view().into_iter();
        let stitched = nodes.filter_map(|node| Some((node.stitched?, node.until)));
        stitched
            .map(|(stitch, until)| binding(now, &stitch, until))
            .collect()
    }
}

fn binding(now: Instant, stitch: &Stitch, until: Option<Instant>) -> BindingView {
    let (care_of, encapsulation) = match stitch.outer_remote {
        End::IpIp(care_of) => (care_of, "ipip"),
        End::Gre(care_of) => (care_of, "gre"),
        End::Udp(end) => (*end.ip(), "ipip in UDP"),
    };
    BindingView {
        home: stitch.home.to_string(),
        nai: None,
        care_of: care_of.to_string(),
        agent: stitch.outer_local.to_string(),
        encapsulation: encapsulation.to_owned(),
        reverse: stitch.reverse,
        networks: Vec::new(),
        left_seconds: until.map(|until| until.saturating_duration_since(now).as_secs()),
    }
}
