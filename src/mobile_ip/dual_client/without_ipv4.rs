//! Networks that have no IPv4. They are always outside, since only a registration proves anything; T has no way
//! there, so the VPN runs over the address that the network gives, as it does without an outer system, and S through
//! the VPN as everywhere.
//!
//! ```text
//!  link with IPv6, and nothing else for WITHOUT_IPV4 ─→ VPN over that ─→ inner registration of V
//!  IPv4 there again ─→ outer registration, while the VPN stays ─→ VPN over T
//! ```

use super::links::Tracked;
use super::registration::Slot;
use super::settings::{Reach, Vpn};
use super::{DualClient, Outcome};
use crate::mobile_ip::LinkId;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// A network says what it has of IPv6 at once, and gives an address of IPv4 some messages later. One that has not
/// given any in this time has none. Should it give one all the same, the VPN is made once more, over T: S rests for
/// the round trips of that, and has been open since.
pub const WITHOUT_IPV4: Duration = Duration::from_secs(1);

impl DualClient {
    /// Where the VPN begins on this link, if there is nothing but IPv6.
    pub(super) fn lone_ipv6(&self, now: Instant, link: LinkId) -> Option<Ipv6Addr> {
        let is_of_use = self.settings.vpn != Vpn::Absent
            && self
                .settings
                .sites
                .iter()
                .any(|site| site.reach == Reach::Either);
        let tracked = self.links.get(&link).filter(|_| is_of_use)?;
        tracked.lone_ipv6(now)
    }

    /// The same of the link in use. Where that has IPv4 now, the VPN stays where it is until T is registered.
    pub(super) fn below_in_ipv6(&self, now: Instant, site: usize) -> Option<Ipv6Addr> {
        if self.inside.is_some() || self.settings.sites[site].reach != Reach::Either {
            return None;
        }
        let lone = self.lone_ipv6(now, self.active()?);
        lone.or_else(|| self.stays_in_ipv6(site))
    }

    fn stays_in_ipv6(&self, site: usize) -> Option<Ipv6Addr> {
        let waits = self.settings.sites[site].outer.is_some()
            && self.slots.bound(Slot::Outer(site)).is_none();
        let own = self.over_ipv6().filter(|_| waits)?;
        let mut links = self.links.values();
        let is_there = |tracked: &Tracked| tracked.link.carrier && tracked.link.ipv6 == Some(own);
        links.any(is_there).then_some(own)
    }

    /// Whose VPN stays until T is registered: of any site, since nobody has chosen this one by answering.
    pub(super) fn site_in_ipv6(&self) -> Option<usize> {
        let stays = |site: &usize| self.stays_in_ipv6(*site).is_some();
        self.site.filter(stays)
    }

    /// Where the VPN that is up begins, if that is an address of IPv6.
    pub(super) fn over_ipv6(&self) -> Option<Ipv6Addr> {
        match self.vpn.over()? {
            IpAddr::V6(own) => Some(own),
            IpAddr::V4(_) => None,
        }
    }

    /// There is no outer home agent to answer first, so it is the first site whose gateway has not failed lately.
    pub(super) fn choose_site_in_ipv6(&mut self) {
        for slot in self.slots.slots() {
            if matches!(slot, Slot::Outer(_)) {
                self.slots.detach(slot, true);
            }
        }
        let sites = &self.settings.sites;
        let is_reached = |site: &usize| sites[*site].reach == Reach::Either;
        self.site = self.site.filter(is_reached).or_else(|| {
            let reached = (0..sites.len()).filter(is_reached);
            reached.min_by_key(|site| self.shunned[*site])
        });
    }

    /// The VPN does not come up, or carries nothing: another link may be better.
    pub(super) fn ipv6_fails(&mut self, now: Instant) {
        if let Some(active) = self.active()
            && self.lone_ipv6(now, active).is_some()
            && let Some(tracked) = self.links.get_mut(&active)
        {
            tracked.fails(now);
        }
    }

    pub(super) fn inner_answered(&mut self, outcome: &Outcome) {
        let own = self.over_ipv6();
        if own.is_some() && matches!(outcome, Outcome::Accepted(_)) {
            let mut links = self.links.values_mut();
            if let Some(tracked) = links.find(|tracked| tracked.link.ipv6 == own) {
                tracked.works();
            }
        }
    }
}
