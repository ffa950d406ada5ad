//! What an earlier run of ours may have left standing of other software: it was killed, or stopped, and nobody has run `down`.
//!
//! Whether such a VPN stands cannot be told by what is seen: one that is being dialled shows nothing yet. So whoever wants no VPN
//! has each taken down once, and those that are asked for are taken over instead.

use super::commands::Below;
use super::other::Other;
use super::{Phase, Wanted};
use crate::agent::Agent;
use crate::agent::effect::Effect;
use crate::mobile_ip::dual_client::Vpn;
use std::net::IpAddr;
use std::time::Instant;

impl Agent {
    /// Those that mobility would have brought up.
    pub(super) fn vpn_may_be_left(&mut self) {
        let mobility = self.settings.mobility.iter().map(|m| &m.dual);
        let sites = mobility
            .filter(|dual| dual.vpn != Vpn::Absent)
            .flat_map(|dual| &dual.sites);
        let mut names: Vec<_> = sites
            .filter_map(|site| site.gateway.clone())
            .filter(|name| self.settings.vpn.other(name).is_some())
            .collect();
        names.sort_unstable();
        names.dedup();
        self.vpn.left = names;
    }

    /// Ends one of them, while nothing is there and nothing is wanted; the next one follows when it has gone.
    pub(super) fn end_what_is_left(&mut self, now: Instant) {
        while self.vpn.wanted == Wanted::Down
            && matches!(self.vpn.phase, Phase::Down)
            && let Some(name) = self.vpn.left.pop()
        {
            let Some(vpn) = self.settings.vpn.other(&name).cloned() else {
                continue;
            };
            let below = Below {
                local: self.below_left(&name),
                adapter: None,
            };
            let run = self.vpn.next_run();
            let (other, command) = Other::left(vpn, below, run);
            self.effects.push_back(Effect::RunCommand { run, command });
            self.vpn.enter(now, Phase::Other(Box::new(other)));
            self.vpn_rely();
        }
    }

    /// T, that it was bound to. Which address of the network it was without an outer system, nobody knows any more.
    fn below_left(&self, name: &str) -> Option<IpAddr> {
        let mut sites = self.settings.mobility.iter().flat_map(|m| &m.dual.sites);
        let site = sites.find(|site| site.gateway.as_deref() == Some(name))?;
        site.outer.as_ref().map(|outer| outer.home.into())
    }
}
