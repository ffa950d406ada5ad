//! What outcomes of registrations mean.

use super::effect::VpnCommand;
use super::links::Tracked;
use super::registration::{Generation, Outcome, Point, Slot};
use super::settings::Vpn;
use super::slots::{Bound, Heard};
use super::{DualClient, Tell};
use crate::mobile_ip::domain::{Domain, Proof};
use crate::mobile_ip::{LinkId, Via};
use std::time::{Duration, Instant};

/// When nobody inside has answered for this long, a VPN that says it is up is not believed.
const SILENCE_OF_A_DEAD_VPN: Duration = Duration::from_secs(20);

impl DualClient {
    pub(super) fn registration(
        &mut self,
        now: Instant,
        slot: Slot,
        generation: Generation,
        outcome: &Outcome,
    ) {
        let Some(heard) = self.slots.hear(now, slot, generation, outcome) else {
            return;
        };
        match heard {
            Heard::Refused { code, .. } => self.tell(Tell::Refused { slot, code }),
            Heard::Silent {
                attachment,
                is_first: true,
            } if !matches!(slot, Slot::Clear(_)) && !self.has_failed(attachment.via) => {
                self.tell(Tell::Silent { slot });
            }
            _ => {}
        }
        // Outside, the inner home agent does not answer in the clear, whoever asks it.
        let says_of_agent = matches!(slot, Slot::Outer(_)) || self.is_single();
        if says_of_agent && self.does_without_agent(now, heard) {
            return;
        }
        match slot {
            Slot::Clear(link) => self.clear(now, link, heard),
            Slot::Outer(site) => self.outer(now, site, heard),
            Slot::Inner => self.inner_answered(outcome),
        }
    }

    /// What becomes of registrations through a foreign agent says something of the agent first. Where it
    /// fails and the link has an address of its own, that is tried next.
    fn does_without_agent(&mut self, now: Instant, heard: Heard) -> bool {
        let (attachment, is_good) = match heard {
            Heard::Accepted { bound, .. } => (bound.attachment, true),
            Heard::Refused { attachment, .. } | Heard::Silent { attachment, .. } => {
                (attachment, false)
            }
            Heard::Expired => return false,
        };
        if let (Point::ForeignAgent { .. }, Via::Link(link)) = (attachment.point, attachment.via)
            && let Some(tracked) = self.links.get_mut(&link)
        {
            if is_good {
                tracked.agent_works();
            } else {
                return tracked.agent_fails(now);
            }
        }
        false
    }

    fn clear(&mut self, now: Instant, link: LinkId, heard: Heard) {
        if !self.settings.detects() {
            // One system and nothing to find out: only which adapter works.
            match heard {
                Heard::Refused { .. } | Heard::Silent { .. } => {
                    self.nobody_answers(now, link, heard);
                }
                Heard::Accepted { .. } | Heard::Expired => {}
            }
            return;
        }
        match heard {
            Heard::Accepted { bound, .. } if bound.accepted.trusted => {
                self.answered_inside(now, link, bound);
            }
            Heard::Accepted { .. } => {
                // RFC 5265 §3.4: without the extension, success means nothing. The binding has moved.
                self.tell(Tell::NotTrusted { link });
                self.proofs.withdraw(link);
                self.not_inside(now, link);
                if let Some(tracked) = self.links.get_mut(&link) {
                    tracked.is_not_trusted(now);
                }
                self.slots.renew(now, Slot::Inner);
            }
            Heard::Refused { attachment, .. } if is_at_home(attachment.point) => {
                self.is_away(now, link);
            }
            Heard::Refused { .. } | Heard::Expired => {
                self.proofs.withdraw(link);
                self.not_inside(now, link);
            }
            // While the proof holds it is only late.
            Heard::Silent { .. } if self.inside == Some(link) => {}
            Heard::Silent { attachment, .. } if is_at_home(attachment.point) => {
                self.is_away(now, link);
            }
            Heard::Silent { .. } => {
                self.not_inside(now, link);
                // Its request may have arrived all the same, and moved the binding.
                if let Some(inside) = self.inside {
                    self.slots.renew(now, Slot::Clear(inside));
                } else {
                    self.slots.renew_bound(now, Slot::Inner);
                }
            }
        }
    }

    fn answered_inside(&mut self, now: Instant, link: LinkId, bound: Bound) {
        let Some(epoch) = self.proofs.epoch(link) else {
            return;
        };
        let asked = bound.accepted.asked;
        if !self.proofs.prove(now, link, Proof { epoch, asked }) {
            return;
        }
        self.renew_at = Some(self.renewal(&bound));
        if self.inside == Some(link) {
            return;
        }
        // Whoever else asked for S may have asked later than this request, and arrive later.
        let mut is_contended = self.slots.is_asking(Slot::Inner);
        for slot in self.slots.slots() {
            if matches!(slot, Slot::Clear(other) if other != link) {
                is_contended |= self.slots.is_asking(slot);
                self.slots.detach(slot, false);
            }
        }
        if let Some(before) = self.inside.replace(link) {
            self.proofs.withdraw(before);
            if let Some(tracked) = self.links.get_mut(&before) {
                tracked.found = None;
            }
        }
        self.slots.detach(Slot::Inner, false);
        self.inside_choice.take(link);
        if is_contended {
            self.slots.renew(now, Slot::Clear(link));
        }
        if let Some(tracked) = self.links.get_mut(&link) {
            tracked.found = Some(Domain::Inside);
            tracked.works();
        }
        self.tell(Tell::Found {
            link,
            domain: Domain::Inside,
        });
        self.found(link, Domain::Inside);
    }

    fn not_inside(&mut self, now: Instant, link: LinkId) {
        self.slots.detach(Slot::Clear(link), false);
        if self.inside == Some(link) {
            self.leave_inside();
        }
        let Some(tracked) = self.links.get_mut(&link) else {
            return;
        };
        let is_news = tracked.found != Some(Domain::Outside);
        tracked.found_outside(now);
        if is_news {
            self.tell(Tell::Found {
                link,
                domain: Domain::Outside,
            });
            if self.outer_is_bound_on(link) {
                self.found(link, Domain::Outside);
            }
        }
    }

    /// It is not the home network that it looks like: asked for as a foreign one.
    fn is_away(&mut self, now: Instant, link: LinkId) {
        if let Some(tracked) = self.links.get_mut(&link) {
            tracked.is_not_home(now);
        }
    }

    fn nobody_answers(&mut self, now: Instant, link: LinkId, heard: Heard) {
        if let Heard::Refused { attachment, .. } | Heard::Silent { attachment, .. } = heard
            && is_at_home(attachment.point)
        {
            self.is_away(now, link);
        } else if let Some(tracked) = self.links.get_mut(&link) {
            tracked.fails(now);
        }
    }

    fn outer(&mut self, now: Instant, site: usize, heard: Heard) {
        match heard {
            Heard::Accepted { bound, is_new } => self.outer_answered(now, site, &bound, is_new),
            Heard::Refused { attachment, .. } | Heard::Silent { attachment, .. } => {
                if let Via::Link(link) = attachment.via {
                    self.nobody_answers(now, link, heard);
                }
                // Another home agent may be reached where this one is not.
                if self.is_lost(site) && self.over_ipv6().is_none() {
                    self.site = None;
                }
            }
            Heard::Expired => {}
        }
    }

    fn outer_answered(&mut self, now: Instant, site: usize, bound: &Bound, is_new: bool) {
        self.round_trips[site] = Some(bound.accepted.round_trip);
        if self.site_in_ipv6().is_some() {
            self.site = Some(site);
        }
        if *self.site.get_or_insert(site) != site {
            self.slots.detach(Slot::Outer(site), true);
            return;
        }
        for slot in self.slots.slots() {
            if matches!(slot, Slot::Outer(other) if other != site) {
                self.slots.detach(slot, true);
            }
        }
        let Via::Link(link) = bound.attachment.via else {
            return;
        };
        let is_outside = match self.links.get_mut(&link) {
            Some(tracked) => {
                tracked.works();
                tracked.found == Some(Domain::Outside)
            }
            None => false,
        };
        if is_outside {
            self.found(link, Domain::Outside);
        }
        // What left right behind the request may still have come before the home agent had the binding, and behind
        // a NAT there was no way for it at all.
        if is_new {
            self.inner_again = None;
            self.slots.reopen(now, Slot::Inner);
        }
    }

    /// When the VPN is not believed any more, if nothing is heard until then.
    pub(super) fn distrust_at(&self) -> Option<Instant> {
        let since = self.slots.get(Slot::Inner)?.silent_since?;
        let is_up = self.vpn.is_alive() || self.settings.vpn == Vpn::Absent;
        let may_be_dead = is_up && (self.is_outer_bound() || self.over_ipv6().is_some());
        may_be_dead.then(|| since + SILENCE_OF_A_DEAD_VPN)
    }

    /// Nobody inside answers over a VPN that says it is up.
    pub(super) fn distrust_vpn(&mut self, now: Instant) -> Option<VpnCommand> {
        if self.distrust_at().is_none_or(|at| now < at) {
            return None;
        }
        self.ipv6_fails(now);
        let command = self.vpn.distrust(now);
        self.slots.detach(Slot::Inner, false);
        self.outer_home_is_none();
        command
    }

    /// The VPN does not work over T at home. Somebody else's network has the same prefix: the home agent
    /// was told over the Internet that we are at home, and agreed.
    pub(super) fn outer_home_is_none(&mut self) {
        let bound = self
            .site
            .and_then(|site| self.slots.bound(Slot::Outer(site)));
        if let Some(bound) = bound
            && is_at_home(bound.attachment.point)
            && let Via::Link(link) = bound.attachment.via
            && let Some(tracked) = self.links.get_mut(&link)
        {
            tracked.is_never_home();
        }
    }

    fn has_failed(&self, via: Via) -> bool {
        match via {
            Via::Link(link) => self.links.get(&link).is_some_and(Tracked::has_failed),
            Via::Routed => false,
        }
    }

    pub(super) fn is_outer_bound(&self) -> bool {
        self.site
            .is_some_and(|site| self.slots.bound(Slot::Outer(site)).is_some())
    }

    fn outer_is_bound_on(&self, link: LinkId) -> bool {
        let bound = self
            .site
            .and_then(|site| self.slots.bound(Slot::Outer(site)));
        bound.is_some_and(|bound| bound.attachment.via == Via::Link(link))
    }
}

fn is_at_home(point: Point) -> bool {
    matches!(point, Point::AtHome(_))
}
