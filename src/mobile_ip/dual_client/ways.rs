//! Which way S and T have now.

use super::registration::{Point, Slot};
use super::settings::Vpn;
use super::switch::{Stopped, path_on};
use super::{DualClient, Override};
use crate::mobile_ip::{Arrangement, Carriage, Encapsulation, LinkId, Path, Through, Via};
use std::time::Instant;

impl DualClient {
    /// The walk of [`super::switch`], and what it waits for where it ends early.
    pub(super) fn walk(&self, now: Instant) -> (Arrangement, Option<&'static str>) {
        let stopped = Stopped::new(self.settings.inner.home);
        if self.by_hand == Override::Blocked {
            return (stopped.stay(None), Some("an administrator"));
        }
        if self.is_single() {
            return self.walk_single(stopped);
        }
        let outer = self.site.and_then(|site| self.outer_carriage(site));
        if let Some(inside) = self.inside {
            let proven = self.proofs.proven(now, inside);
            let bound = self.slots.bound(Slot::Clear(inside));
            let (Some(proven), Some(bound)) = (proven, bound) else {
                return (
                    stopped.stay(outer),
                    Some("the inner home agent, in the clear"),
                );
            };
            return match stopped.inside(proven, &bound, outer.clone()) {
                Ok(open) => (open.arrangement(), None),
                Err(stopped) => (
                    stopped.stay(outer),
                    Some("the inner home agent, in the clear"),
                ),
            };
        }
        let Some((site, below)) = self
            .site
            .and_then(|site| Some((site, self.below(now, site)?)))
        else {
            return (stopped.stay(outer), Some("the outer home agent"));
        };
        let has_outer = self.settings.sites[site].outer.is_some();
        let is_carried =
            !has_outer || below.is_ipv6() || self.slots.bound(Slot::Outer(site)).is_some();
        let carried = stopped.carry(outer, below);
        if !is_carried {
            return (carried.stay(), Some("the outer home agent"));
        }
        let inner = self.slots.bound(Slot::Inner);
        if self.settings.vpn == Vpn::Absent {
            return match inner.ok_or(()) {
                Ok(inner) => match carried.without_vpn(&inner) {
                    Ok(open) => (open.arrangement(), None),
                    Err(carried) => (carried.stay(), Some("the inner home agent")),
                },
                Err(()) => (carried.stay(), Some("the inner home agent")),
            };
        }
        let Some(adapter) = self.vpn.carries() else {
            return (carried.stay(), Some("the VPN"));
        };
        let tunnelled = carried.through(adapter);
        let Some(inner) = inner else {
            return (tunnelled.stay(), Some("the inner home agent, over the VPN"));
        };
        match tunnelled.bind(&inner) {
            Ok(open) => (open.arrangement(), None),
            Err(tunnelled) => (tunnelled.stay(), Some("the inner home agent, over the VPN")),
        }
    }

    fn walk_single(&self, stopped: Stopped) -> (Arrangement, Option<&'static str>) {
        let bound_on = |link: LinkId| Some((link, self.slots.bound(Slot::Clear(link))?));
        let chosen = self.choice.current().and_then(bound_on);
        let others = || self.links.keys().find_map(|link| bound_on(*link));
        match chosen.or_else(others) {
            Some((link, bound)) => (stopped.without_vpn(link, &bound).arrangement(), None),
            None => (stopped.stay(None), Some("the home agent")),
        }
    }

    fn outer_carriage(&self, site: usize) -> Option<Carriage> {
        let outer = self.settings.sites[site].outer.as_ref()?;
        if self.inside.is_some() && !self.is_warm() {
            return None;
        }
        let path = self.outer_path(site).unwrap_or(Path::Blocked);
        Some(Carriage {
            home: outer.home,
            path,
        })
    }

    /// As registered; while only asked for, as it will be, so that what the VPN sends can follow right
    /// behind the request. Nothing but the VPN uses T.
    pub(super) fn outer_path(&self, site: usize) -> Option<Path> {
        let state = self.slots.get(Slot::Outer(site))?;
        if let Some(bound) = &state.bound
            && let Via::Link(link) = bound.attachment.via
        {
            return Some(path_on(link, bound));
        }
        let asking = state.asking.as_ref()?;
        let Via::Link(link) = asking.via else {
            return None;
        };
        let gateway = asking.gateway;
        Some(match asking.point {
            Point::AtHome(_) => Path::Native { link, gateway },
            Point::ForeignAgent { agent, .. } => Path::Native {
                link,
                gateway: Some(agent),
            },
            Point::CoLocated(_) if !asking.reverse => Path::Native { link, gateway },
            Point::CoLocated(local) => Path::Tunnel {
                local,
                remote: asking.home_agent,
                encapsulation: Encapsulation::IpIp,
                through: Through::Link { link, gateway },
                reverse: true,
            },
        })
    }
}
