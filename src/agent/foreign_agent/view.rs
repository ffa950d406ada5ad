//! What can be seen of our own foreign agent.

use crate::agent::Agent;
use crate::agent::effect::Reply;
use crate::agent::snapshot::{ForeignAgentView, VisitorView};
use crate::mobile_ip::foreign_agent::{Visitor, VisitorKey};
use crate::mobile_ip::wire::{Flags, TunnelKind};
use crate::net::Mac;
use std::time::Instant;

impl Agent {
    pub(in crate::agent) fn foreign_agent_view(&self) -> Option<ForeignAgentView> {
        let own = self.foreign.as_ref()?;
        let view = own.room.view();
        Some(ForeignAgentView {
            link: own.settings.link.to_string(),
            address: own.settings.protocol.address.to_string(),
            care_of: own.settings.protocol.care_of.to_string(),
            visitors: view.visitors.len(),
            pending: view.pending,
        })
    }

    pub(in crate::agent) fn visitors(&self, now: Instant) -> Reply {
        match &self.foreign {
            Some(own) => {
                let present = own.room.view().visitors;
                let views = present.iter().map(|(key, who)| visitor(now, *key, who));
                Reply::Visitors(views.collect())
            }
            None => Reply::Failed("the configuration has no [foreign-agent]".to_owned()),
        }
    }

    pub(in crate::agent) fn foreign_agent_counters(&self) -> Vec<(&'static str, u64)> {
        let counts = self.foreign.iter().map(|own| own.room.view().counts);
        let named = counts.flat_map(|counts| {
            [
                ("visitor-requests-relayed", counts.relayed),
                ("visitor-requests-denied", counts.denied),
                ("visitor-messages-ignored", counts.ignored),
                ("advertisements-sent", counts.advertised),
            ]
        });
        named.collect()
    }
}

fn visitor(now: Instant, key: VisitorKey, visitor: &Visitor) -> VisitorView {
    let mac = visitor.neighbour.mac.map(|mac| Mac(mac).to_string());
    let reverse = match (
        visitor.flags.contains(Flags::REVERSE_TUNNEL),
        visitor.encapsulating,
    ) {
        (false, _) => "no",
        (true, false) => "direct",
        (true, true) => "encapsulating",
    };
    VisitorView {
        home: key.home.to_string(),
        home_agent: key.home_agent.to_string(),
        care_of: visitor.care_of.to_string(),
        mac: mac.unwrap_or_default(),
        encapsulation: match visitor.tunnel() {
            TunnelKind::IpIp => "ipip",
            TunnelKind::Minimal => "minimal",
            TunnelKind::Gre => "gre",
        }
        .to_owned(),
        reverse: reverse.to_owned(),
        co_located: !visitor.uses_us(),
        left_seconds: visitor
            .until
            .map(|until| until.saturating_duration_since(now).as_secs()),
    }
}
