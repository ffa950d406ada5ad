//! Where this machine is, and which addresses it has.

use super::links::Needs;
use super::relations::{Asked, Effect, Relations, Timer};
use crate::agent::event::Doubt;
use crate::agent::wishes::Wishes;
use crate::net::Identity;
use crate::presence::database::{Database, Limits};
use crate::presence::exchange::{Answer, Message, Refusal};
use crate::presence::own::{Anchor, Basis, Now, Whereabouts};
use crate::presence::rules::Site;
use crate::presence::{Entity, Kept, Location, Presence, Protocols, Timestamp};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// What is due at once is looked at again no sooner.
const OWN_PAUSE: Duration = Duration::from_millis(200);

/// Between one contact that is asked to tell us of changes, and the next.
const NEXT_CONTACT: Duration = Duration::from_millis(10);

/// What proves that we are at a site; `None` for one that nobody can prove.
pub(super) fn anchor(site: &Site) -> Option<Anchor> {
    Some(Anchor {
        location: site.location.clone(),
        addresses: site.addresses.clone(),
        identity: site.anchor.clone()?,
        address: site.anchor_address?,
    })
}

impl Relations {
    pub(in crate::agent) fn wall_clock(
        &mut self,
        now: Instant,
        unix: Timestamp,
        offset: i32,
        doubt: Option<Doubt>,
        wishes: &mut Wishes,
    ) {
        let first = self.unix(now).is_none();
        self.set_wall(now, unix, offset);
        match doubt {
            Some(Doubt::ClockStepped) => {
                self.doubt(now, "the clock was set", wishes);
                self.times_changed(now, wishes);
            }
            Some(Doubt::Resumed) => self.doubt(now, "the machine stood still", wishes),
            Some(Doubt::LinkChanged) => self.doubt(now, "a link has changed", wishes),
            None if first => self.own_changed(now, wishes),
            None => {}
        }
        self.watch_database(now);
    }

    pub(in crate::agent) fn stored(&mut self, now: Instant, mut kept: Kept, wishes: &mut Wishes) {
        self.rows = kept.rows.iter().cloned().collect();
        let ours = |(entity, _): &mut (Entity, u64)| *entity == self.settings.entity;
        let used = kept.sequences.extract_if(.., ours).map(|(_, used)| used);
        if let Some(used) = used.max() {
            self.go_on_from(used);
        }
        let entities: BTreeSet<_> = kept
            .records
            .iter()
            .map(|record| record.presence.entity.clone())
            .collect();
        let unix = self.unix(now).unwrap_or_default();
        self.database = Database::restore(
            unix,
            Limits::default(),
            kept.records,
            kept.sequences,
            kept.history,
        );
        for entity in entities {
            self.presence_changed(now, &entity, wishes);
        }
    }

    /// Records carry times of the clock as it was: ours are said, and those of others asked for, anew.
    fn times_changed(&mut self, now: Instant, wishes: &mut Wishes) {
        self.own_changed(now, wishes);
        self.subscribe_again(now);
    }

    /// As [`Relations::own_presence`], to be told: with a time of its own, and so with a sequence.
    pub(super) fn say_own_presence(&mut self, now: Instant) -> Option<Presence> {
        self.own_sequence = self.next_number(now);
        self.own_presence(now)
    }

    /// What we publish of ourselves; `None` before the time is known, and where we have no address.
    pub(super) fn own_presence(&self, now: Instant) -> Option<Presence> {
        let now = self.both(now)?;
        let unix = now.wall;
        let published = self.own.presence(
            now,
            self.settings.entity.clone(),
            self.settings.user.clone(),
            &self.own_addresses,
            self.own_sequence,
        )?;
        Some(Presence {
            expires: published.expires.min(unix.after(self.settings.expiry)),
            ..published
        })
    }

    /// `None` before the wall clock was read.
    fn both(&self, now: Instant) -> Option<Now> {
        let wall = self.unix(now)?;
        Some(Now { instant: now, wall })
    }

    /// Our own location or addresses have changed, or may have.
    pub(super) fn own_changed(&mut self, now: Instant, wishes: &mut Wishes) {
        if let Some(both) = self.both(now) {
            let Whereabouts {
                location, basis, ..
            } = self.own.location(both);
            let why = match basis {
                Basis::Hand => "set by hand",
                Basis::Anchor(_) => "attested by its anchor",
                Basis::Default => "nothing proves better",
            };
            if self.own_location.as_ref() != Some(&location) {
                self.tell("own-presence", format!("{location}: {why}"));
            }
            self.own_location = Some(location);
        }
        self.judge_all(now, wishes);
        self.publish(now);
        self.watch_own(now);
    }

    pub(super) fn watch_own(&mut self, now: Instant) {
        match self.own.poll_timeout(now) {
            Some(at) => self.timers.set(Timer::Own, at.max(now + OWN_PAUSE)),
            None => self.timers.stop(&Timer::Own),
        }
    }

    /// Anchors are asked, proofs and what was set by hand run out.
    pub(super) fn own_timeout(&mut self, now: Instant, wishes: &mut Wishes) {
        for due in self.own.due_attestations(now) {
            let asked = Asked::Attestation {
                location: due.site,
                local: due.local,
                anchor: (due.identity.clone(), due.anchor),
            };
            let ends = (due.local, due.anchor);
            self.ask_peer(due.identity, ends, &Message::Attest, asked);
        }
        self.place_changed(now, wishes);
    }

    /// What follows where our location has become another by now.
    fn place_changed(&mut self, now: Instant, wishes: &mut Wishes) {
        let location = self.both(now).map(|both| self.own.location(both).location);
        if location.is_some() && location != self.own_location {
            self.own_changed(now, wishes);
        }
        self.watch_own(now);
    }

    /// With this anchor there may be an IKE SA now.
    pub(super) fn ask_anchor_again(&mut self, now: Instant, address: IpAddr) {
        self.own.ask_again(now, address);
        self.watch_own(now);
    }

    pub(super) fn attested(
        &mut self,
        now: Instant,
        (location, local): (&Location, IpAddr),
        anchor: IpAddr,
        seen: (&Location, IpAddr),
        wishes: &mut Wishes,
    ) {
        if (location, local) == seen && self.own.proved(now, location, local) {
            self.links.forgive(anchor);
            // What was published before holds no longer than the proof that it rested on.
            self.publish(now);
            return self.place_changed(now, wishes);
        }
        self.own.failed(now, location);
        let (elsewhere, other) = seen;
        let detail = format!("{location} from {local}: the anchor sees {other} in {elsewhere}");
        self.tell("not-attested", detail);
        self.watch_own(now);
    }

    /// The first question of all finds no IKE SA with the anchor, so one is asked for. An anchor
    /// need not protect what goes between us: it may refuse the child that comes with it.
    pub(super) fn not_attested(
        &mut self,
        now: Instant,
        (location, local): (&Location, IpAddr),
        anchor: (Identity, IpAddr),
        why: &str,
    ) {
        self.own.failed(now, location);
        let (identity, address) = anchor;
        let pair = (local, address);
        let needs = Needs {
            protocols: Protocols::ESP,
            tunnel: false,
        };
        let connects = self.links.want(now, pair, &identity, needs, true);
        for connect in connects {
            self.effects.push_back(Effect::Connect(Box::new(connect)));
        }
        self.tell("not-attested", format!("{location}: {why}"));
        self.watch_own(now);
    }

    /// As an anchor: whoever stands inside a site of ours, and not behind a NAT, is told so.
    pub(super) fn attest(&self, address: IpAddr, nat: bool) -> Answer {
        let ours = |site: &&Site| {
            site.anchor.as_ref() == Some(&self.identity)
                && site.addresses.iter().any(|net| net.contains(&address))
        };
        match self.settings.rulebook.sites.iter().find(ours) {
            Some(site) if !nat => Answer::Attested {
                location: site.location.clone(),
                address,
            },
            _ => Answer::Refused(Refusal::NotAllowed),
        }
    }

    /// We are at no site whose gateways these are not. That one of them is the site's proves nothing,
    /// and neither does a gateway that nobody has heard of yet.
    pub(in crate::agent) fn gateways(
        &mut self,
        now: Instant,
        macs: &[[u8; 6]],
        wishes: &mut Wishes,
    ) {
        let foreign = |site: &&Site| {
            let theirs = &site.gateway_macs;
            !theirs.is_empty() && !macs.is_empty() && !macs.iter().any(|mac| theirs.contains(mac))
        };
        let sites = self.settings.rulebook.sites.iter();
        let against = sites.filter(foreign).map(|site| site.location.clone());
        self.own.hints_against(against.collect());
        self.place_changed(now, wishes);
    }

    pub(in crate::agent) fn addresses(
        &mut self,
        now: Instant,
        own: &[IpAddr],
        wishes: &mut Wishes,
    ) {
        let before = std::mem::replace(&mut self.own_addresses, own.to_vec());
        if before == own {
            return;
        }
        self.own.addresses_changed(own);
        for gone in before.iter().filter(|address| !own.contains(address)) {
            for request in self.links.abandon(*gone) {
                self.effects.push_back(Effect::Cancel(request));
            }
            if self.links.pairs().any(|(ours, _)| ours == *gone) {
                self.effects.push_back(Effect::LeaveAddress(*gone));
            }
        }
        if !before.is_empty() {
            self.doubt(now, "our addresses have changed", wishes);
        }
        self.own_changed(now, wishes);
        // Whoever knew us where we were should hear where we are.
        self.subscribe_again(now);
    }

    /// One after the other: not ten thousand IKE SAs are asked for at once.
    fn subscribe_again(&mut self, now: Instant) {
        let mut at = now;
        for entity in self.contacts.keys() {
            self.timers.set(Timer::Subscribe(entity.clone()), at);
            at += NEXT_CONTACT;
        }
    }
}

#[cfg(test)]
pub(super) use tests::relations;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::presence::settings::{Contact, PresenceSettings, Tell};
    use crate::kernel::desired::Mark;
    use crate::presence::Protection;
    use crate::presence::row::Level;
    use crate::presence::rules::Rulebook;

    const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const FOREIGN: [u8; 6] = [2, 0, 0, 0, 0, 2];

    /// At 192.168.1.1, with a contact, and an office that has one gateway.
    pub(in crate::agent::presence) fn relations(now: Instant, wishes: &mut Wishes) -> Relations {
        let office = Site {
            location: "office".parse().unwrap(),
            addresses: vec!["192.168.1.0/24".parse().unwrap()],
            anchor: None,
            anchor_address: None,
            gateway_macs: vec![OURS],
        };
        let settings = PresenceSettings {
            entity: "peerA@example.com".parse().unwrap(),
            user: None,
            location: "external".parse().unwrap(),
            rulebook: Rulebook {
                rules: Vec::new(),
                sites: vec![office],
                unknown: Protection::require(Protocols::AH_ESP),
                default_level: Level::Require,
            },
            dwell: Duration::ZERO,
            lifetime: Duration::from_secs(60),
            expiry: Duration::from_secs(3600),
            mark: Mark {
                value: 0,
                mask: 0x2000_0000,
            },
            max_contacts: 1,
            contacts: vec![Contact {
                entity: "peerB@example.com".parse().unwrap(),
                peer: "bob.example".parse().unwrap(),
                addresses: vec![IpAddr::from([192, 168, 1, 2])],
                floor: Protection::CLEAR,
                tell: Tell::default(),
                subscribe: false,
            }],
        };
        let identity = "alice.example".parse().unwrap();
        let mut relations = Relations::new(settings, identity, Vec::new());
        relations.start(now, wishes);
        relations.wall_clock(now, Timestamp(1_000_000), 0, None, wishes);
        relations.addresses(now, &[IpAddr::from([192, 168, 1, 1])], wishes);
        relations
    }

    #[test]
    fn with_a_foreign_gateway_we_are_not_at_a_site_even_by_hand() {
        let (now, mut wishes) = (Instant::now(), Wishes::default());
        let mut relations = relations(now, &mut wishes);
        let both = relations.both(now).unwrap();
        let office: Location = "office".parse().unwrap();
        relations.own.by_hand(
            both,
            office.clone(),
            both.wall.after(Duration::from_secs(600)),
        );
        relations.own_changed(now, &mut wishes);
        let mut seen = |macs: &[[u8; 6]]| {
            relations.gateways(now, macs, &mut wishes);
            relations.own_location.clone().unwrap().to_string()
        };
        assert_eq!(seen(&[]), "office", "nobody has answered yet");
        assert_eq!(seen(&[FOREIGN]), "external");
        assert_eq!(seen(&[FOREIGN, OURS]), "office");
    }

    #[test]
    fn the_gateway_of_a_site_proves_nothing() {
        let (now, mut wishes) = (Instant::now(), Wishes::default());
        let mut relations = relations(now, &mut wishes);
        relations.gateways(now, &[OURS], &mut wishes);
        assert_eq!(relations.own_location.unwrap().to_string(), "external");
    }
}
