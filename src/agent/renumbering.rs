//! Our own addresses come and go.
//!
//! ```text
//!  address gone ──→ astray ──┬─ it comes back (its link was down) ──→ all is as it was
//!                            └─ another way to a peer ──→ left; its tunnels are uprooted
//!  uprooted ──→ asked for again from the new address ──→ tunnel, or the peer gave up first
//! ```
//!
//! Over an address that has gone nothing can be sent, so no peer can be told. While there is no
//! other way either, nothing is lost by waiting. When there is, tunnels give way to the traps below
//! them, and are asked for again at once: a peer that alone has something to send would otherwise
//! go on sending into the void until it notices our silence.

use super::negotiation::{Negotiation, Purpose};
use super::settings::TunnelMode;
use super::{Agent, Timer};
use crate::net::{Identity, Selector, host};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How soon and how often is looked for another way: a new address may follow the old one's end,
/// and its routes follow it.
const LOOK: Duration = Duration::from_millis(500);

/// Until then the peer has noticed by itself (liveness and giving up, a minute together by
/// default), and traffic of our own has raised a discovery.
const PERSISTENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Renumbering {
    /// Addresses that have gone, as long as something would run over them.
    astray: BTreeSet<IpAddr>,
    uprooted: Vec<Uprooted>,
}

/// A tunnel that lost its local end.
#[derive(Debug)]
struct Uprooted {
    peer: Identity,
    remote: IpAddr,
    selectors: Vec<Selector>,
    until: Instant,
}

impl Renumbering {
    pub(super) fn tables(&self) -> [(&'static str, usize); 2] {
        [
            ("addresses-astray", self.astray.len()),
            ("tunnels-uprooted", self.uprooted.len()),
        ]
    }
}

impl Agent {
    pub(super) fn addresses(&mut self, now: Instant, own: Vec<IpAddr>) {
        let before = std::mem::replace(&mut self.own, own);
        self.responder.set_own_addresses(self.own.clone());
        if let Some(relations) = &mut self.relations {
            relations.addresses(now, &self.own, &mut self.wishes);
        }
        let gone = before.iter().filter(|addr| !self.own.contains(addr));
        for addr in gone.copied().collect::<Vec<_>>() {
            self.abandon_negotiations(now, addr);
            self.renumbering.astray.insert(addr);
            self.timers.set(Timer::LookForWay, now + LOOK);
        }
        let back = |addr: &IpAddr| self.own.contains(addr);
        self.renumbering.astray.retain(|addr| !back(addr));
        // Every device that appears has an address of its link, which leads nowhere else.
        let of_link = |addr: &IpAddr| match addr {
            IpAddr::V4(addr) => addr.is_link_local(),
            IpAddr::V6(addr) => addr.is_unicast_link_local(),
        };
        let new = |addr: &IpAddr| !before.contains(addr) && !of_link(addr);
        if !before.is_empty() && self.own.iter().any(new) {
            // What failed while there was no way may work now.
            self.initiator.retry(|_, _| true);
            self.vpn_addresses(now);
        }
    }

    /// What began from an address that has gone begins anew from another.
    fn abandon_negotiations(&mut self, now: Instant, addr: IpAddr) {
        for request in self.negotiations.abandon(addr) {
            self.ike.cancel(now, request);
        }
        self.ike.abandon_attempts(now, addr);
        self.initiator.address_gone(now, addr);
    }

    /// Where tunnels and IKE SAs over this address of ours lead.
    fn peers_over(&self, addr: IpAddr) -> BTreeSet<IpAddr> {
        let tunnels = self.tunnels.iter().filter(|t| t.local == addr);
        let sas = self.ike.ike_sas().filter(|sa| sa.local.ip() == addr);
        tunnels
            .map(|t| t.remote)
            .chain(sas.map(|sa| sa.remote.ip()))
            .collect()
    }

    pub(super) fn look_for_way(&mut self, now: Instant) {
        for addr in std::mem::take(&mut self.renumbering.astray) {
            let peers = self.peers_over(addr);
            let other_way = |agent: &mut Self, peer| {
                let own = agent.own_address_towards(peer);
                own.is_some_and(|own| agent.own.contains(&own))
            };
            if peers.iter().any(|peer| other_way(self, *peer)) {
                self.leave(now, addr);
            } else if !peers.is_empty() {
                self.renumbering.astray.insert(addr);
            }
        }
        self.replant(now);
        if self.renumbering.tables().iter().any(|(_, len)| *len > 0) {
            self.timers.set(Timer::LookForWay, now + LOOK);
        }
    }

    fn leave(&mut self, now: Instant, addr: IpAddr) {
        let lost: Vec<_> = self.tunnels.iter().filter(|t| t.local == addr).collect();
        let detail = format!("{addr}, and {} tunnels with it", lost.len());
        let mut ids = Vec::new();
        for tunnel in lost {
            ids.push(tunnel.id);
            if tunnel.selectors.iter().any(|s| s.src == host(addr)) {
                // It protected that very address, which nobody has any more.
                continue;
            }
            // A VPN's is asked for with its address; a client's, by the client.
            let client = |peer| self.settings.vpn.has_client(peer);
            if self.vpn.carries(&tunnel.selectors) || tunnel.peer.as_ref().is_some_and(client) {
                continue;
            }
            // One that was adopted and not replaced yet is nobody's.
            let uprooted = tunnel.peer.clone().map(|peer| Uprooted {
                peer,
                remote: tunnel.remote,
                selectors: tunnel.selectors.clone(),
                until: now + PERSISTENCE,
            });
            self.renumbering.uprooted.extend(uprooted);
        }
        self.tell(now, "address-gone", detail);
        self.ike.leave_address(now, addr);
        for id in ids {
            self.tunnels.end_adoption(id, &mut self.wishes);
        }
        // The tunnels must be known to be down before others are asked for.
        self.drain(now);
    }

    /// Asks for the tunnels that lost their address, where there is another by now.
    fn replant(&mut self, now: Instant) {
        for tunnel in std::mem::take(&mut self.renumbering.uprooted) {
            if now >= tunnel.until || self.tunnels.serve(&tunnel.selectors) {
                continue;
            }
            let local = self
                .own_address_towards(tunnel.remote)
                .filter(|local| self.own.contains(local));
            if let Some(local) = local
                && !self.negotiations.wants(&tunnel.selectors)
            {
                let negotiation = Negotiation::new(
                    Purpose::Replanting,
                    (local, tunnel.remote),
                    tunnel.selectors.clone(),
                    TunnelMode::Tunnel,
                    [tunnel.peer.clone()].into(),
                );
                self.negotiate(now, negotiation, "");
            }
            self.renumbering.uprooted.push(tunnel);
        }
    }
}
