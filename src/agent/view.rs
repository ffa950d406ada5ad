//! What the agent shows of itself. Nothing here holds a key.

use super::Agent;
use super::foundation;
use super::home_agent::OwnHomeAgent;
use super::presence::Relations;
use super::settings::FailureAction;
use super::snapshot::{
    DiscoveryView, FailureView, PolicyView, ProxyView, RefusedProbeView, SaView, Snapshot,
    TunnelView,
};
use super::tunnels::{State, Tunnel};
use super::wishes::{Owner, TunnelId};
use crate::kernel::desired::{
    Action, Algorithms, Direction, IpsecProtocol, Key, Mode, Policy, Sa, SaDirection, Template,
};
use crate::kernel::ownership::Band;
use crate::ted::initiator::{Failure, Pending, Phase};
use crate::ted::proxies::ProxyId;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Instant;

impl Agent {
    pub fn snapshot(&self, now: Instant) -> Snapshot {
        Snapshot {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            identity: self.settings.identity.to_string(),
            uptime_seconds: now.saturating_duration_since(self.started).as_secs(),
            proxies: self.proxy_views(),
            tunnels: self
                .tunnels
                .iter()
                .map(|tunnel| self.tunnel_view(now, tunnel))
                .collect(),
            vpn: self.vpn_view(now),
            mobility: self.mobility_view(now),
            home_agent: self.home_agent_view(now),
            foreign_agent: self.foreign_agent_view(),
            proxy_agent: self.proxy_agent_view(),
            discoveries: self
                .initiator
                .pending()
                .map(|p| self.discovery_view(&p))
                .collect(),
            failures: self
                .initiator
                .failures()
                .map(|f| self.failure_view(now, f))
                .collect(),
            refused_probes: self
                .responder
                .refused_probes()
                .map(|refused| RefusedProbeView {
                    from: refused.from.to_string(),
                    flow: refused.flow.to_string(),
                    reason: refused.what.to_string(),
                })
                .collect(),
            refusals: self.refusals.values().cloned().collect(),
            policies: self
                .wishes
                .policies()
                .map(|(owner, p)| policy_view(owner, p))
                .collect(),
            sas: self.wishes.sas().map(sa_view).collect(),
            counters: self.counters(),
        }
    }

    /// How many entries each table has, of the agent and of the rooms below. Cheap enough to be
    /// asked after every event: whoever suspects a leak looks here.
    pub fn tables(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let own = [
            ("agent-timers", self.timers.len()),
            ("messages-awaiting-kernel", self.awaiting.len()),
            ("inquiries-awaited", self.discovering.len()),
            ("once-protected", self.once_protected.selectors().len()),
            ("refusals", self.refusals.len()),
            ("effects", self.effects.len()),
        ];
        own.into_iter()
            .chain(self.wishes.tables())
            .chain(self.tunnels.tables())
            .chain(self.negotiations.tables())
            .chain(self.renumbering.tables())
            .chain(self.held.tables())
            .chain(self.first_packets.tables())
            .chain(self.initiator.tables())
            .chain(self.responder.tables())
            .chain(self.ike.tables())
            .chain(self.relations.iter().flat_map(Relations::tables))
            .chain(self.home.iter().flat_map(OwnHomeAgent::tables))
    }

    fn proxy_views(&self) -> Vec<ProxyView> {
        foundation::proxies(&self.settings)
            .map(|(group, proxy)| ProxyView {
                name: group.name.clone(),
                local: proxy.local.to_string(),
                remote: proxy.remote.to_string(),
                protocol: proxy.protocol.to_string(),
                local_port: proxy.local_port.to_string(),
                remote_port: proxy.remote_port.to_string(),
                on_failure: action_name(group.on_failure).to_owned(),
            })
            .collect()
    }

    fn proxy_name(&self, id: ProxyId) -> String {
        self.proxy(id)
            .map(|(group, _)| group.name.clone())
            .unwrap_or_default()
    }

    fn tunnel_view(&self, now: Instant, tunnel: &Tunnel) -> TunnelView {
        let mark = foundation::without(self.settings.interception.pass_mark);
        let proxy = self
            .traps
            .iter()
            .filter(|(key, _)| key.mark == mark)
            .find(|(key, _)| tunnel.selectors.iter().all(|s| key.selector.contains(s)))
            .map(|(_, id)| self.proxy_name(*id));
        TunnelView {
            proxy: proxy.unwrap_or_default(),
            peer: tunnel
                .peer
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            local: tunnel.local.to_string(),
            remote: tunnel.remote.to_string(),
            mode: mode_name(tunnel.mode).to_owned(),
            state: match tunnel.state() {
                State::Up if self.is_refused(tunnel.id) => "refused",
                State::Opening => "opening",
                State::Up => "up",
                State::Adopted => "adopted",
                State::Closing => "closing",
            }
            .to_owned(),
            selectors: tunnel.selectors.iter().map(ToString::to_string).collect(),
            reqid: tunnel.reqid,
            since_seconds: now.saturating_duration_since(tunnel.since).as_secs(),
        }
    }

    fn is_refused(&self, tunnel: TunnelId) -> bool {
        self.refusals.keys().any(|key| match key {
            Key::Policy(key) => self.wishes.owner_of(key) == Some(Owner::Tunnel(Reverse(tunnel))),
            _ => false,
        })
    }

    fn discovery_view(&self, pending: &Pending) -> DiscoveryView {
        DiscoveryView {
            proxy: self.proxy_name(pending.proxy),
            flow: pending.flow.to_string(),
            state: match pending.phase {
                Phase::Probing => "probing",
                Phase::Waiting => "waiting",
                Phase::Negotiating => "negotiating",
            }
            .to_owned(),
            probes_sent: pending.probes_sent,
            waiting: pending.packets,
            candidates: pending.candidates.iter().map(ToString::to_string).collect(),
        }
    }

    fn failure_view(&self, now: Instant, failure: &Failure) -> FailureView {
        let action = self.failure_action(failure.proxy, &failure.flow, &failure.reason);
        FailureView {
            proxy: self.proxy_name(failure.proxy),
            flow: failure.flow.to_string(),
            reason: failure.reason.to_string(),
            action: action_name(action).to_owned(),
            retry_in_seconds: failure.until.saturating_duration_since(now).as_secs(),
        }
    }

    fn counters(&self) -> BTreeMap<String, u64> {
        let own = self.counters.iter().map(|(name, n)| (*name, *n));
        let held = [
            ("held-destinations", self.held.destinations() as u64),
            ("held-overflow", self.held.overflow()),
        ];
        own.chain(self.initiator.counters().named())
            .chain(self.responder.counters().named())
            .chain(self.ike.counters().iter())
            .chain(held)
            .chain(self.home.iter().flat_map(OwnHomeAgent::counters))
            .chain(self.foreign_agent_counters())
            .map(|(name, n)| (name.replace('_', "-"), n))
            .collect()
    }
}

fn action_name(action: FailureAction) -> &'static str {
    match action {
        FailureAction::Block => "block",
        FailureAction::Clear => "clear",
    }
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Tunnel => "tunnel",
        Mode::Transport => "transport",
    }
}

fn policy_view(owner: Owner, policy: &Policy) -> PolicyView {
    let purpose = match owner {
        Owner::Bypass => "bypass",
        Owner::Presence => "presence",
        Owner::Tunnel(_) => "tunnel",
        Owner::Vpn => "vpn",
        Owner::Failure => "failure",
        Owner::NarrowTrap => "trap",
        Owner::Base => match Band::of(policy.priority) {
            Some(Band::Enforce) => "enforce",
            Some(Band::Last) => "last",
            _ => "trap",
        },
    };
    PolicyView {
        direction: match policy.key.direction {
            Direction::In => "in",
            Direction::Out => "out",
            Direction::Fwd => "fwd",
        }
        .to_owned(),
        selector: policy.key.selector.to_string(),
        purpose: purpose.to_owned(),
        action: match &policy.action {
            Action::Block => "block".to_owned(),
            Action::Allow(templates) if templates.is_empty() => "allow".to_owned(),
            Action::Allow(templates) => templates
                .iter()
                .map(template_text)
                .collect::<Vec<_>>()
                .join(", "),
        },
        priority: policy.priority,
    }
}

fn template_text(template: &Template) -> String {
    let protocol = match template.protocol {
        IpsecProtocol::Esp => "esp",
        IpsecProtocol::Ah => "ah",
        IpsecProtocol::Comp => "ipcomp",
    };
    let mode = mode_name(template.mode);
    if template.dst.is_unspecified() {
        return format!("{protocol} {mode}");
    }
    let Template {
        src, dst, reqid, ..
    } = template;
    format!("{protocol} {mode} {src} > {dst} reqid {reqid}")
}

fn sa_view(sa: &Sa) -> SaView {
    SaView {
        direction: match sa.direction {
            SaDirection::In => "in",
            SaDirection::Out => "out",
        }
        .to_owned(),
        src: sa.src.to_string(),
        dst: sa.dst.to_string(),
        spi: sa.spi.to_string(),
        reqid: sa.reqid,
        mode: mode_name(sa.mode).to_owned(),
        algorithm: match &sa.algorithms {
            Algorithms::Aead { name, .. } => (*name).to_owned(),
            Algorithms::EncryptThenAuth { cipher, auth, .. } => format!("{cipher}, {auth}"),
            Algorithms::Ah { auth, .. } => (*auth).to_owned(),
            Algorithms::Deflate => "deflate".to_owned(),
        },
    }
}
