//! Up, down, warm; and what IKE says of it.

use super::settings::{GatewaySettings, Start, reached_from};
use super::{Connection, Phase, Vpn, VpnState, Wanted};
use crate::agent::Agent;
use crate::agent::effect::Effect;
use crate::ike::configuration::Assigned;
use crate::ike::effects::{ChildId, ChildSa, ConnectError, DownReason, IkeId, Outbound};
use crate::ike::settings::{AddressRequest, ChildProtocol, Connect, Mode, RequestId};
use crate::net::{Family, Identity, IpNet, Selector, host};
use std::net::IpAddr;
use std::time::Instant;

impl Agent {
    /// Wants the VPN of this name, or the first one. What is up to another gateway ends.
    ///
    /// # Errors
    /// There is none of this name; says which there are.
    pub fn vpn_up(&mut self, now: Instant, name: Option<&str>) -> Result<(), String> {
        self.vpn_up_over(now, name, None)
    }

    /// The same, from that address of ours; one that is up is left as it is.
    ///
    /// # Errors
    /// As [`Agent::vpn_up`].
    pub(in crate::agent) fn vpn_up_over(
        &mut self,
        now: Instant,
        name: Option<&str>,
        over: Option<IpAddr>,
    ) -> Result<(), String> {
        let names = self.settings.vpn.names();
        let found = match name {
            Some(name) => names.iter().find(|known| **known == name),
            None => names.first(),
        };
        let Some(name) = found.map(|name| (*name).to_owned()) else {
            return Err(match names[..] {
                [] => "the configuration has no [[vpn]]".to_owned(),
                _ => format!("there is no such VPN; there are {}", names.join(", ")),
            });
        };
        if self.vpn.name().is_some_and(|wanted| wanted != name) {
            self.vpn_end(now);
        }
        self.vpn_rest(now, false);
        self.vpn.left.retain(|left| *left != name);
        self.vpn.wanted = Wanted::Up { name };
        self.vpn.over = over;
        let is_idle = match &self.vpn.phase {
            Phase::Down | Phase::Failed { .. } => true,
            Phase::Other(other) => other.is_idle(),
            Phase::Connecting { .. } | Phase::Up { .. } => false,
        };
        if is_idle {
            self.vpn.failures = 0;
            self.vpn_connect(now);
        }
        self.drain(now);
        Ok(())
    }

    /// Does not want it any more: the gateway is told, and V is guarded no longer.
    pub fn vpn_down(&mut self, now: Instant) {
        self.vpn_rest(now, false);
        self.vpn.wanted = Wanted::Down;
        self.vpn_end(now);
        self.end_what_is_left(now);
        self.vpn_guard(Vec::new());
        self.drain(now);
    }

    /// Leaves the tunnel as it is, without a word to the gateway, until it is wanted up again: there
    /// may be no way to the gateway meanwhile. One that is not up stays down.
    pub fn vpn_warm(&mut self, now: Instant) {
        let Some(name) = self.vpn.name().map(str::to_owned) else {
            return;
        };
        self.vpn.wanted = Wanted::Warm { name };
        match &self.vpn.phase {
            Phase::Up { .. } => self.vpn_rest(now, true),
            Phase::Other(other) if other.is_up() => {}
            _ => self.vpn_end(now),
        }
        self.drain(now);
    }

    pub fn vpn_state(&self) -> VpnState {
        self.vpn.state()
    }

    /// Where the configuration wants it from the beginning.
    pub(in crate::agent) fn vpn_start(&mut self, now: Instant) {
        self.vpn_may_be_left();
        let gateways = &self.settings.vpn.gateways;
        let first = gateways.iter().find(|g| g.start == Start::Up);
        if let Some(name) = first.map(|g| g.name.clone()) {
            self.vpn.wanted = Wanted::Up { name };
            self.vpn_connect(now);
        }
    }

    /// After a change of the configuration.
    pub(in crate::agent) fn vpn_reload(&mut self, now: Instant, before: &[GatewaySettings]) {
        self.vpn_rely();
        let Some(name) = self.vpn.name().map(str::to_owned) else {
            return;
        };
        if let Some(other) = self.settings.vpn.other(&name) {
            if !matches!(&self.vpn.phase, Phase::Other(running) if running.is_of(other)) {
                self.vpn_end(now);
                if matches!(self.vpn.wanted, Wanted::Up { .. }) {
                    self.vpn_connect(now);
                }
            }
            return;
        }
        match self.settings.vpn.gateway(&name).cloned() {
            None => self.vpn_down(now),
            Some(gateway) if before.contains(&gateway) => {}
            Some(_) => {
                self.vpn_end(now);
                if matches!(self.vpn.wanted, Wanted::Up { .. }) {
                    self.vpn_connect(now);
                }
            }
        }
    }

    pub(in crate::agent) fn vpn_timeout(&mut self, now: Instant) {
        if self.vpn.retry.is_some_and(|at| at <= now) {
            self.vpn_connect(now);
        }
    }

    /// There may be a way now.
    pub(in crate::agent) fn vpn_addresses(&mut self, now: Instant) {
        if matches!(self.vpn.phase, Phase::Failed { .. }) && self.vpn.retry.is_some() {
            self.vpn_connect(now);
        }
    }

    fn vpn_peer(&self) -> Option<Identity> {
        let gateway = self.settings.vpn.gateway(self.vpn.name()?)?;
        Some(gateway.peer.clone())
    }

    fn vpn_rest(&mut self, now: Instant, rests: bool) {
        if let Some(peer) = self.vpn_peer() {
            self.ike.rest(now, &peer, rests);
        }
    }

    pub(super) fn vpn_connect(&mut self, now: Instant) {
        self.vpn.retry = None;
        let name = self.vpn.name().unwrap_or_default().to_owned();
        if let Some(other) = self.settings.vpn.other(&name).cloned() {
            // It may be to protect what was ours to guard.
            self.vpn_guard(Vec::new());
            return self.other_rise(now, other);
        }
        if matches!(self.vpn.phase, Phase::Other(_)) {
            return;
        }
        let Some(gateway) = self.settings.vpn.gateway(&name).cloned() else {
            return;
        };
        let begins = self.vpn.over.or(gateway.local);
        let way = match begins {
            Some(local) => reached_from(local, &gateway.addresses).map(|remote| (local, remote)),
            None => gateway.addresses.iter().find_map(|remote| {
                let local = self.routes.source_towards(*remote)?;
                Some((local, *remote))
            }),
        };
        let Some((local, remote)) = way else {
            let all: Vec<String> = gateway.addresses.iter().map(IpAddr::to_string).collect();
            let from = begins.map_or_else(String::new, |local| format!(" from {local}"));
            let reason = format!("no route{from} to {}", all.join(" or "));
            return self.vpn_failed(now, reason);
        };
        let request = self.vpn.next_request();
        let selectors = asked_for(&gateway, local);
        if gateway.keeps_own() {
            // Before it is asked: the address has a way already.
            self.vpn_guard(selectors.clone());
        }
        let connect = Connect {
            request,
            local,
            remote,
            selectors,
            flow: None,
            mode: Mode::Tunnel,
            protocol: ChildProtocol::Esp,
            compression: false,
            transport_only: false,
            initial_contact: !self.ike.is_in_contact(&gateway.peer),
            address: (!gateway.keeps_own()).then(|| AddressRequest {
                again: self.vpn.had(),
            }),
            peer: gateway.peer,
        };
        let given = None;
        let phase = Phase::Connecting {
            request,
            local,
            given,
        };
        self.vpn.enter(now, phase);
        self.ike.connect(now, connect);
    }

    /// Takes down what there is; what is guarded stays so.
    fn vpn_end(&mut self, now: Instant) {
        self.vpn.retry = None;
        match &self.vpn.phase {
            Phase::Connecting { request, given, .. } => {
                let (request, ike) = (*request, given.as_ref().map(|(ike, _)| *ike));
                self.vpn.enter(now, Phase::Down);
                self.ike.cancel(now, request);
                if let Some(ike) = ike {
                    self.ike.close(now, ike);
                }
            }
            Phase::Up { ike, .. } => {
                let ike = *ike;
                self.vpn.enter(now, Phase::Down);
                self.ike.close(now, ike);
            }
            Phase::Down | Phase::Failed { .. } => self.vpn.enter(now, Phase::Down),
            Phase::Other(_) => self.other_fall(now),
        }
    }

    fn vpn_failed(&mut self, now: Instant, reason: String) {
        let wait = self.vpn.backoff();
        self.vpn.retry = Some(now + wait);
        self.vpn.enter(now, Phase::Failed { reason });
    }

    /// Guards these instead of what was guarded before, over a restart as well.
    fn vpn_guard(&mut self, selectors: Vec<Selector>) {
        let unguarded = self.vpn.guard(selectors, &mut self.wishes);
        let forgotten = self.once_protected.forget_exactly(&unguarded);
        if self.once_protected.remember(&self.vpn.guarded) || forgotten {
            let memory = self.once_protected.selectors().to_vec();
            self.afterwards.push_back(Effect::Remember(memory));
        }
    }

    // --- what IKE says --------------------------------------------------------------------------

    /// The gateway has given us addresses: they are guarded before anything can use them.
    pub(in crate::agent) fn vpn_configured(
        &mut self,
        ike: IkeId,
        request: Option<RequestId>,
        assigned: Assigned,
    ) {
        let subnets = self.vpn.name().and_then(|n| self.settings.vpn.gateway(n));
        let subnets = subnets.map(|g| g.subnets.clone()).unwrap_or_default();
        let Phase::Connecting {
            request: awaited,
            given,
            ..
        } = &mut self.vpn.phase
        else {
            return;
        };
        if Some(*awaited) != request {
            return;
        }
        let guarded = subnets
            .iter()
            .flat_map(|net| assigned.addresses.iter().map(|a| (*net, *a)))
            .filter(|(net, addr)| Family::of(net.addr()) == Family::of(*addr))
            .map(|(net, addr)| Selector::between(host(addr), net))
            .collect();
        *given = Some((ike, assigned));
        self.vpn_guard(guarded);
    }

    /// After the tunnel knows of the child.
    pub(in crate::agent) fn vpn_child_up(
        &mut self,
        now: Instant,
        child: &ChildSa,
        outbound: Outbound,
    ) {
        let keeps_own = self.vpn.name().and_then(|n| self.settings.vpn.gateway(n));
        let keeps_own = keeps_own.is_some_and(GatewaySettings::keeps_own);
        match &mut self.vpn.phase {
            Phase::Up { child: current, .. } if child.replaces == Some(*current) => {
                *current = child.id;
            }
            Phase::Connecting {
                request,
                local,
                given,
            } if child.request == Some(*request) => {
                let (ike, addresses, dns) = match given {
                    Some((ike, assigned)) => {
                        (*ike, assigned.addresses.clone(), assigned.dns.clone())
                    }
                    None if keeps_own => (child.ike, Vec::new(), Vec::new()),
                    None => return,
                };
                let name = match &self.vpn.wanted {
                    Wanted::Up { name } | Wanted::Warm { name } => name.clone(),
                    Wanted::Down => return,
                };
                let mut subnets: Vec<_> = child.selectors.iter().map(|s| s.dst).collect();
                subnets.sort_unstable();
                subnets.dedup();
                let connection = Connection {
                    name,
                    gateway: Some(child.remote),
                    local: Some(*local),
                    addresses,
                    interface: None,
                    dns,
                    subnets,
                };
                let phase = Phase::Up {
                    ike,
                    child: child.id,
                    connection,
                };
                self.vpn.failures = 0;
                self.vpn.enter(now, phase);
                if outbound == Outbound::Now {
                    self.vpn.release(&mut self.wishes);
                }
            }
            _ => {}
        }
    }

    pub(in crate::agent) fn vpn_outbound_ready(&mut self, selectors: &[Selector]) {
        if self.vpn.carries(selectors) {
            self.vpn.release(&mut self.wishes);
        }
    }

    pub(in crate::agent) fn vpn_child_down(
        &mut self,
        now: Instant,
        child: ChildId,
        reason: &DownReason,
    ) {
        let Phase::Up {
            ike,
            child: current,
            ..
        } = &self.vpn.phase
        else {
            return;
        };
        if *current != child {
            return;
        }
        let ike = *ike;
        match self.vpn.wanted {
            // Nothing of it is left; it is asked for when it is wanted up.
            Wanted::Down | Wanted::Warm { .. } => self.vpn.enter(now, Phase::Down),
            Wanted::Up { .. } => {
                self.vpn_failed(now, reason.to_string());
                // It was there a moment ago.
                self.vpn.retry = Some(now);
            }
        }
        self.ike.close(now, ike);
    }

    /// Whether the request was the VPN's.
    pub(in crate::agent) fn vpn_refused(
        &mut self,
        now: Instant,
        request: RequestId,
        error: &ConnectError,
    ) -> bool {
        if !Vpn::is_request(request) {
            return false;
        }
        if matches!(&self.vpn.phase, Phase::Connecting { request: r, .. } if *r == request) {
            self.vpn_failed(now, error.to_string());
        }
        true
    }

    /// For whoever follows the VPN.
    pub(in crate::agent) fn vpn_changed(&mut self, now: Instant, state: &VpnState) {
        let (kind, detail) = match state {
            VpnState::Down => ("vpn-down", String::new()),
            VpnState::Connecting => {
                let name = self.vpn.name().unwrap_or_default().to_owned();
                ("vpn-connecting", name)
            }
            VpnState::Up(connection) => ("vpn-up", connection.to_string()),
            VpnState::Disconnecting => ("vpn-disconnecting", String::new()),
            VpnState::Failed(reason) => ("vpn-failed", reason.clone()),
        };
        // What fails over and over is told once.
        let is_known = self.vpn.told.is_some();
        match state {
            VpnState::Failed(reason) if self.vpn.told.as_ref() != Some(reason) => {
                self.vpn.told = Some(reason.clone());
                self.tell(now, kind, detail);
            }
            VpnState::Up(_) => {
                self.vpn.told = None;
                self.tell(now, kind, detail);
            }
            _ if is_known => self.publish(now, kind, detail),
            _ => self.tell(now, kind, detail),
        }
        self.mobility_vpn(now, state);
    }
}

/// Everything from us to what lies behind the gateway: it gives us the address, or lets us keep that one.
fn asked_for(gateway: &GatewaySettings, local: IpAddr) -> Vec<Selector> {
    let subnets = gateway.subnets.iter();
    if gateway.keeps_own() {
        let alike = subnets.filter(|net| Family::of(net.addr()) == Family::of(local));
        return alike
            .map(|net| Selector::between(host(local), *net))
            .collect();
    }
    let any = |net: &IpNet| Family::of(net.addr()).any();
    subnets
        .map(|net| Selector::between(any(net), *net))
        .collect()
}
