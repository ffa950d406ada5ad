//! What this machine has: its clock, links and addresses, adapters that lead out, gateways.

use super::Daemon;
use crate::agent::event::{Doubt, Event};
use crate::agent::mobility::settings::MobilitySettings;
use crate::daemon::clock;
use crate::kernel::adapters::{AccessPoints, Adapter, DefaultRoute};
use crate::kernel::desired::LinkName;
use crate::kernel::listing;
use std::time::{Instant, SystemTime};

impl Daemon {
    pub(super) fn look_at_clock(&mut self) {
        if self.clock.went_back(Instant::now(), SystemTime::now()) {
            tracing::warn!("the clock was set back");
            self.writer.forget_acquires();
        }
    }

    /// What this machine has now. Where `addresses` may have changed everybody hears of them, and a link that
    /// came, went or changed makes doubtful where this machine is.
    pub(super) fn look_around(&mut self, addresses: bool) {
        // Which does not mean that they have gone.
        if let Err(error) = self.look.around() {
            tracing::error!(%error, "our own links and addresses cannot be read");
            return;
        }
        if addresses {
            let links = self.look.links();
            if links != self.links {
                self.links = links;
                self.handle(clock::reading(Some(Doubt::LinkChanged)));
            }
            self.addresses_are_others();
        } else {
            self.look_at_vpns();
            self.look_at_adapters();
        }
    }

    /// The links are what they were.
    pub(super) fn look_at_addresses(&mut self) {
        match self.look.at_addresses() {
            Ok(()) => self.addresses_are_others(),
            Err(error) => tracing::error!(%error, "our own addresses cannot be read"),
        }
    }

    fn addresses_are_others(&mut self) {
        self.look_at_gateways();
        self.handle(Event::Addresses(self.look.addresses()));
        self.look_at_vpns();
        self.look_at_adapters();
    }

    /// Their links and addresses are what they were: a change of those is an event of its own, which comes before
    /// the routes that need it.
    pub(super) fn default_routes_are(&mut self, routes: Vec<DefaultRoute>) {
        self.look.default_routes_are(routes);
        self.look_at_vpns();
        self.look_at_adapters();
    }

    /// Its carrier goes with an access point, which the kernel may tell a second later.
    pub(super) fn access_points_are(&mut self, access_points: AccessPoints) {
        self.look.access_points_are(access_points);
        self.look_at_signals();
        self.look_around(false);
    }

    /// Somebody's alarm says so.
    pub(super) fn signals_are_others(&mut self) {
        self.look_at_signals();
        self.look_at_adapters();
    }

    /// Where the configuration chooses between adapters by them.
    pub(super) fn look_at_signals(&mut self) {
        if self.loaded.agent.mobility.is_some()
            && let Err(error) = self.look.at_signals()
        {
            tracing::debug!(%error, "cannot tell how strong access points are");
        }
    }

    /// Where the configuration tells places by them.
    pub(super) fn look_at_gateways(&mut self) {
        let presence = self.loaded.agent.presence.iter();
        let mut sites = presence.flat_map(|presence| &presence.rulebook.sites);
        if sites.all(|site| site.gateway_macs.is_empty()) {
            return;
        }
        match listing::gateways() {
            Ok(macs) => self.handle(Event::Gateways(macs)),
            Err(error) => tracing::warn!(%error, "cannot tell who the gateways are"),
        }
    }

    /// Where the configuration lets this machine move.
    pub(super) fn look_at_adapters(&mut self) {
        if !self.loaded.agent.has_mobile_ip_role() {
            return;
        }
        match self.look.adapters() {
            Ok(adapters) if adapters == self.adapters => {}
            Ok(adapters) => {
                self.sockets.listen_on(&self.listened_on(&adapters));
                self.adapters.clone_from(&adapters);
                self.handle(Event::Adapters(adapters));
            }
            Err(error) => tracing::warn!(%error, "cannot tell which adapters there are"),
        }
    }

    /// Where mobility agents, and those who look for them, are heard.
    fn listened_on(&self, adapters: &[Adapter]) -> Vec<(LinkName, u32)> {
        let settings = &self.loaded.agent;
        let looks = settings
            .mobility
            .as_ref()
            .is_some_and(MobilitySettings::looks_for_agents);
        let visited = settings.foreign_agent.as_ref().map(|agent| agent.link);
        if let Some(link) = visited
            && adapters.iter().all(|adapter| adapter.name != link)
        {
            tracing::warn!(%link, "[foreign-agent]: there is no such Ethernet, so nobody can visit");
        }
        let wanted = |adapter: &&Adapter| looks || visited == Some(adapter.name);
        let adapters = adapters.iter().filter(wanted);
        adapters
            .map(|adapter| (adapter.name, adapter.index))
            .collect()
    }

    /// Where other software makes them.
    pub(super) fn look_at_vpns(&mut self) {
        let settings = &self.loaded.agent.vpn;
        if let Some(event) = self.vpns.interfaces(&mut self.look, settings) {
            self.handle(event);
        }
    }
}
