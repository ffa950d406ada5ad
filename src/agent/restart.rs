//! Start, change of configuration, stop: what stays of what was there.
//!
//! After `kill -9` the kernel still protects: policies and SAs are there, the IKE SAs that could
//! renew them are not. A tunnel that has both directions is kept in use while a new one is
//! negotiated under a fresh IKE SA; it ends when that has taken its place, or after
//! [`ADOPTION`]. Keys are never stored, so nothing else could be done honestly.

use super::effect::Effect;
use super::foundation;
use super::negotiation::{Negotiation, Purpose, eligible};
use super::settings::{OnStop, Settings, TunnelMode};
use super::tunnels::Found;
use super::{Agent, Timer, discovery, tunnelling};
use crate::kernel::desired::{PolicyKey, SaDirection, SaKey};
use crate::net::{Flow, IpNet, Selector};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long a tunnel of before the restart may wait to be replaced, and how long what the peer still
/// sends on its SAs is taken. Shorter than the ten seconds
/// within which everything of before must be in use or gone.
pub(super) const ADOPTION: Duration = Duration::from_secs(8);

impl Agent {
    pub(super) fn adopt(&mut self, now: Instant, found: Vec<Found>) {
        for tunnel in found {
            if !self.may_adopt(&tunnel) {
                continue;
            }
            let (local, remote) = (tunnel.local, tunnel.remote);
            let selectors = tunnel.selectors.clone();
            let peers = eligible(&self.settings, &selectors, remote)
                .map(|p| p.id.clone())
                .collect();
            let mode = self.configured_mode(&selectors);
            let id = self.tunnels.adopt(now, tunnel, &mut self.wishes);
            self.once_protected.remember(&selectors);
            self.timers.set(Timer::AdoptionEnds(id), now + ADOPTION);
            self.tell(now, "adopted", format!("tunnel with {remote}"));
            let purpose = Purpose::Adoption(id);
            let negotiation = Negotiation::new(purpose, (local, remote), selectors, mode, peers);
            self.negotiate(now, negotiation, "");
        }
    }

    /// A tunnel that was found may have ended at its other end meanwhile. What comes through it
    /// proves that it has not.
    pub(super) fn adopted_carried(&mut self, now: Instant, packets: &BTreeMap<SaKey, u64>) {
        let silent = self.tunnels.withhold_silent(packets, &mut self.wishes);
        if !silent.is_empty() {
            let detail = format!("{} selectors wait for new keys", silent.len());
            self.tell(now, "adopted-silent", detail);
        }
    }

    /// Whether it works both ways and is still wanted.
    fn may_adopt(&self, found: &Found) -> bool {
        let has = |wanted| found.sas.iter().any(|sa| sa.direction == wanted);
        has(SaDirection::In)
            && has(SaDirection::Out)
            && !found.selectors.is_empty()
            && found.selectors.iter().all(|s| self.traps_contain(s))
            && eligible(&self.settings, &found.selectors, found.remote)
                .next()
                .is_some()
    }

    /// Of the narrowest proxy that covers them; it may have another mode by now.
    fn configured_mode(&self, selectors: &[Selector]) -> TunnelMode {
        let covering = self
            .traps
            .iter()
            .filter(|(trap, _)| selectors.iter().all(|s| trap.selector.contains(s)));
        let narrowest = covering.max_by_key(|(trap, _)| trap.selector.specificity());
        narrowest
            .and_then(|(_, id)| self.proxy(*id))
            .map_or(TunnelMode::Tunnel, |(group, _)| group.mode)
    }

    fn traps_contain(&self, selector: &Selector) -> bool {
        self.traps
            .keys()
            .any(|trap| trap.selector.contains(selector))
    }

    /// Takes up a changed configuration. What lies in the sockets' options (marks, tables) needs
    /// a restart and stays as it was.
    pub(super) fn reconfigure(&mut self, now: Instant, mut settings: Settings) {
        settings.interception = self.settings.interception.clone();
        settings.mobility.clone_from(&self.settings.mobility);
        settings
            .foreign_agent
            .clone_from(&self.settings.foreign_agent);
        if settings.presence.is_some() != self.settings.presence.is_some() {
            settings.presence.clone_from(&self.settings.presence);
        }
        if settings.home_agent.is_some() != self.settings.home_agent.is_some() {
            settings.home_agent.clone_from(&self.settings.home_agent);
        }
        let new = foundation::policies(&settings).and_then(|policies| {
            Ok((
                policies,
                foundation::policies(&self.settings)?,
                tunnelling::config(&settings)?,
            ))
        });
        let (wanted, before, ike) = match new {
            Ok(new) => new,
            Err(error) => return self.tell(now, "refused", format!("configuration: {error}")),
        };
        let keys: BTreeSet<PolicyKey> = wanted.iter().map(|(_, policy)| policy.key).collect();
        for (owner, policy) in before {
            if !keys.contains(&policy.key) {
                self.wishes.withdraw_policy(owner, policy.key);
                self.held.trap_removed(&policy.key, &mut self.wishes);
            }
        }
        // What failed under the old configuration may work under the new one. Its failure actions
        // end first, while their proxies still have the numbers that they were known by.
        self.initiator.retry(|_, _| true);
        self.drain(now);
        let presence = self.settings.presence.take();
        let gateways = std::mem::take(&mut self.settings.vpn.gateways);
        let home_agent = self.settings.home_agent.take();
        self.settings = settings;
        self.initiator
            .reload(now, discovery::config(&self.settings));
        self.responder.reload(discovery::answers(&self.settings));
        self.ike.reload(now, ike);
        if let Err(error) = self.lay_foundation(&wanted) {
            return self.tell(now, "refused", format!("configuration: {error}"));
        }
        self.let_all_go();
        self.want_interception();
        self.relate_anew(now, presence);
        self.vpn_reload(now, &gateways);
        self.home_agent_reload(now, home_agent.as_ref());
        self.tell(
            now,
            "reloaded",
            format!("{} policies wanted", self.wishes.policy_count()),
        );
    }

    /// With `keep`, tunnels go on without us until their hard lifetime: the peer is not told.
    pub(super) fn stop(&mut self, now: Instant) {
        self.stopping = true;
        self.let_all_go();
        if self.settings.on_stop == OnStop::Remove {
            self.ike.close_all(now);
        }
    }

    pub(super) fn forget(&mut self, prefix: Option<IpNet>) -> Vec<IpNet> {
        let forgotten = self.once_protected.forget(prefix);
        if !forgotten.is_empty() {
            let memory = self.once_protected.selectors().to_vec();
            self.afterwards.push_back(Effect::Remember(memory));
        }
        // What was blocked because it had been protected is looked into afresh.
        let inside = |flow: &Flow| forgotten.iter().any(|net| net.contains(&flow.dst));
        self.initiator.retry(|_, flow| inside(flow));
        forgotten
    }
}
