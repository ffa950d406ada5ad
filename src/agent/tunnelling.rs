//! IKE's effects: tunnels come up, change their keys and go.

use super::effect::Effect;
use super::negotiation::{Negotiation, Purpose};
use super::presence::Relations;
use super::restart::ADOPTION;
use super::settings::Settings;
use super::tunnels::LINGER;
use super::{Agent, Timer};
use crate::ike;
use crate::ike::effects::{
    ChildId, ChildSa, ConnectError, DownReason, Effect as IkeEffect, Outbound,
};
use crate::ike::settings::RequestId;
use crate::kernel::desired::{Revision, SaKey};
use crate::net::masked::TooManyPrefixes;
use crate::net::{Identity, Selector};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

/// What IKE is told of the configuration.
pub(super) fn config(settings: &Settings) -> Result<ike::settings::Settings, TooManyPrefixes> {
    let mut protects = Vec::new();
    for (_, proxy) in super::foundation::proxies(settings) {
        protects.extend(proxy.selectors(settings.max_prefixes)?);
    }
    let mut peers = settings.peers.clone();
    let contacts = settings.presence.iter().flat_map(|p| &p.contacts);
    let contacts: BTreeSet<&Identity> = contacts.map(|contact| &contact.peer).collect();
    for peer in &mut peers {
        peer.contact = contacts.contains(&peer.id);
    }
    Ok(ike::settings::Settings {
        identity: settings.identity.clone(),
        peers,
        protects,
        timing: settings.ike.clone(),
        compression: true,
        gateway: settings.vpn.serves.as_ref().map(|s| s.gateway.clone()),
        kept_with: settings.vpn.kept_with(),
    })
}

impl Agent {
    pub(super) fn ike_effect(&mut self, now: Instant, effect: IkeEffect) {
        match effect {
            IkeEffect::Transmit {
                local,
                remote,
                payload,
            } => self.transmit(local, remote, payload),
            IkeEffect::IkeUp {
                ike,
                peer,
                local,
                remote,
                nat,
            } => {
                self.tell(now, "peer-up", format!("{peer} at {}", remote.ip()));
                if let Some(relations) = &mut self.relations {
                    relations.ike_up(now, ike, &peer, (local, remote), nat, &mut self.wishes);
                }
            }
            IkeEffect::IkeDown { ike, peer, reason } => {
                self.tell(now, "peer-down", format!("{peer}: {reason}"));
                if let Some(relations) = &mut self.relations {
                    relations.ike_down(now, ike, &peer, &mut self.wishes);
                }
            }
            IkeEffect::Configured {
                ike,
                request,
                assigned,
            } => self.vpn_configured(ike, request, assigned),
            IkeEffect::ClientRefused {
                peer,
                remote,
                refusal,
            } => {
                let detail = format!("{peer} at {remote}: {refusal}");
                self.tell(now, "vpn-client-refused", detail);
            }
            IkeEffect::ChildUp { child, outbound } if self.is_contacts(&child) => {
                self.contact_child_up(now, &child, outbound);
            }
            IkeEffect::ChildUp { child, outbound } => self.child_up(now, &child, outbound),
            IkeEffect::OutboundReady { child } if self.is_contacts_child(child) => {
                self.contact_outbound_ready(child);
            }
            IkeEffect::OutboundReady { child } => self.outbound_ready(now, child),
            IkeEffect::ChildDown { child, .. } if self.is_contacts_child(child) => {
                self.contact_child_down(now, child);
            }
            IkeEffect::ChildDown { child, reason } => self.child_down(now, child, &reason),
            IkeEffect::Failed { request, error } => self.connect_failed(now, request, &error),
            IkeEffect::Asked {
                ike,
                token,
                peer,
                local,
                remote,
                nat,
                data,
            } => self.asked(now, (ike, token), &peer, (local, remote), nat, &data),
            IkeEffect::Answered { id, data } => self.answered(now, id, data.as_deref()),
            IkeEffect::AskFailed { id, error } => self.ask_failed(now, id, &error),
        }
    }

    /// After a `ChildUp` or `OutboundReady`, IKE messages wait until the kernel has its SAs: what
    /// they promise must be true when they arrive.
    fn transmit(&mut self, local: SocketAddr, remote: SocketAddr, payload: Vec<u8>) {
        let effect = Effect::Send {
            local,
            remote,
            payload,
        };
        match self.barrier {
            Some(revision) => self.awaiting.push_back((revision, effect)),
            None => self.effects.push_back(effect),
        }
    }

    pub(super) fn applied(&mut self, revision: Revision) {
        self.applied = self.applied.max(revision);
        self.send_ready();
        while self
            .awaiting
            .front()
            .is_some_and(|(awaited, _)| *awaited <= revision)
        {
            self.effects
                .extend(self.awaiting.pop_front().map(|(_, effect)| effect));
        }
        self.barrier = self.barrier.filter(|awaited| *awaited > revision);
    }

    fn child_up(&mut self, now: Instant, child: &ChildSa, outbound: Outbound) {
        self.tunnels
            .child_up(now, child, outbound, &mut self.wishes);
        self.barrier = Some(self.wishes.revision());
        if child.replaces.is_none() {
            let selectors = list(&child.selectors);
            let detail = format!("{} at {}: {selectors}", child.peer, child.remote);
            self.tell(now, "tunnel-up", detail);
        }
        if self.once_protected.remember(&child.selectors) {
            let memory = self.once_protected.selectors().to_vec();
            self.afterwards.push_back(Effect::Remember(memory));
        }
        if let Some(request) = child.request {
            self.negotiations.finish(request);
        }
        for request in self.negotiations.superfluous(&child.selectors) {
            self.negotiations.finish(request);
            self.ike.cancel(now, request);
        }
        self.initiator.covered(now, &child.selectors);
        self.vpn_child_up(now, child, outbound);
        if outbound == Outbound::Now {
            self.release(now, &child.selectors);
        }
    }

    fn outbound_ready(&mut self, now: Instant, child: ChildId) {
        let ready = self.tunnels.outbound_ready(child, &mut self.wishes);
        if let Some(selectors) = ready.map(|tunnel| tunnel.selectors.clone()) {
            self.barrier = Some(self.wishes.revision());
            self.vpn_outbound_ready(&selectors);
            self.release(now, &selectors);
        }
    }

    /// Held packets that the tunnel takes are looked up again.
    fn release(&mut self, now: Instant, selectors: &[Selector]) {
        let takes = |flow: &crate::net::Flow| selectors.iter().any(|s| s.matches(flow));
        self.settle(now, takes);
    }

    fn child_down(&mut self, now: Instant, child: ChildId, reason: &DownReason) {
        if let Some(tunnel) = self.tunnels.of_child(child)
            && !matches!(reason, DownReason::Replaced | DownReason::Redundant)
        {
            let peer = tunnel
                .peer
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            let detail = format!("{peer} at {}: {reason}", tunnel.remote);
            self.tell(now, "tunnel-down", detail);
        }
        self.tunnels.child_down(child, &mut self.wishes);
        if let Some(tunnel) = self
            .tunnels
            .of_child(child)
            .filter(|tunnel| !tunnel.sends())
        {
            // What waited for it is announced afresh.
            let selectors = tunnel.selectors.clone();
            self.release(now, &selectors);
            self.held.uncovered(now, &selectors);
            self.first_packets.uncovered(&selectors);
        }
        let linger = match reason {
            // The peer has started afresh and sends on what it found until the new keys are in.
            DownReason::InitialContact => ADOPTION,
            _ => LINGER,
        };
        self.timers.set(Timer::ChildGone(child), now + linger);
        self.vpn_child_down(now, child, reason);
    }

    fn connect_failed(&mut self, now: Instant, request: RequestId, error: &ConnectError) {
        if Relations::is_link_request(request) {
            return self.link_failed(now, request, error);
        }
        if self.vpn_refused(now, request, error) {
            return;
        }
        let Some(negotiation) = self.negotiations.finish(request) else {
            return;
        };
        if *error != ConnectError::Cancelled {
            self.count("negotiations-failed");
            self.tell(now, "refused", format!("{}: {error}", negotiation.remote));
        }
        self.negotiate(now, negotiation, &error.to_string());
    }

    /// Tries the next peer; `why` says what came of the one before.
    pub(super) fn negotiate(&mut self, now: Instant, negotiation: Negotiation, why: &str) {
        let (purpose, remote) = (negotiation.purpose, negotiation.remote);
        let ike = &self.ike;
        match self
            .negotiations
            .start(now, negotiation, |peer| !ike.is_in_contact(peer))
        {
            Some(connect) => self.ike.connect(now, connect),
            None => match purpose {
                Purpose::Discovery { discovery, .. } => {
                    self.initiator.candidate_failed(now, discovery, remote, why);
                }
                Purpose::Adoption(tunnel) => self.timers.set(Timer::AdoptionEnds(tunnel), now),
                // Asked for again by and by.
                Purpose::Replanting => {}
            },
        }
    }

    pub(super) fn sa_expired(&mut self, now: Instant, sa: SaKey, hard: bool) {
        let Some(child) = self.child_of_sa(&sa) else {
            return;
        };
        if hard {
            self.ike.close_child(now, child, DownReason::Expired);
        } else {
            self.ike.rekey_child(now, child);
        }
    }

    /// Somebody deleted an SA of ours. Its key must not be used again, so the child goes too.
    pub(super) fn sa_lost(&mut self, now: Instant, sa: SaKey) {
        if let Some(child) = self.child_of_sa(&sa) {
            self.count("sas-lost");
            self.ike.close_child(now, child, DownReason::Expired);
        }
    }
}

fn list(selectors: &[Selector]) -> String {
    let shown: Vec<_> = selectors.iter().take(4).map(ToString::to_string).collect();
    let more = selectors.len().saturating_sub(shown.len());
    match more {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
