//! What the dual client orders: a client of Mobile IP for each slot, attached, renewed, let go of.

use super::derived::Derived;
use super::translation::{attachment_of, home_input};
use super::{Effect, Registrar, Station};
use crate::mobile_ip::client::{self, Client, ReverseTunnel, UdpTunnel};
use crate::mobile_ip::dual_client::registration::{
    Attachment, Generation, NatTraversal, Order, Point, Slot,
};
use crate::mobile_ip::replay::SERIES;
use crate::mobile_ip::{LinkId, Via};
use std::time::Instant;

impl Station {
    pub(super) fn order(&mut self, now: Instant, order: Order) {
        match order {
            Order::Attach {
                slot,
                generation,
                attachment,
            } => self.attach(now, slot, generation, attachment),
            Order::Renew { slot } => {
                let Some(registrar) = self.registrars.get_mut(&slot) else {
                    return;
                };
                let input = match registrar.attachment.point {
                    // What was agreed to is over for it: asked anew.
                    Point::AtHome(_) => home_input(registrar.generation, &registrar.attachment),
                    _ => client::Input::Renew,
                };
                registrar.client.handle(now, input);
            }
            Order::Repeat { slot } => {
                if let Some(registrar) = self.registrars.get_mut(&slot) {
                    registrar.client.handle(now, client::Input::Opened);
                }
            }
            Order::Detach { slot, release } => {
                let agents = self.agents.offers();
                let Some(registrar) = self.registrars.get_mut(&slot) else {
                    return;
                };
                let there = attachment_of(registrar.generation, &registrar.attachment, agents);
                let input = match there {
                    Some(there) if release => client::Input::Deregister(there),
                    _ => client::Input::Detach,
                };
                // Its outcomes are of no interest any more.
                registrar.generation = Generation::default();
                registrar.client.handle(now, input);
                if matches!(slot, Slot::Clear(_))
                    && !self
                        .smoke_outs
                        .keys()
                        .any(|link| slot == Slot::Clear(*link))
                {
                    self.registrars.remove(&slot);
                }
            }
        }
    }

    fn attach(&mut self, now: Instant, slot: Slot, generation: Generation, attachment: Attachment) {
        self.equip(now, slot, generation, attachment);
        if let (Point::AtHome(_), Via::Link(link)) = (attachment.point, attachment.via)
            && self.is_announced_before(slot, link)
        {
            let address = attachment.home;
            self.effects.push_back(Effect::Announce { link, address });
        }
        let input = match attachment.point {
            Point::AtHome(_) => Some(home_input(generation, &attachment)),
            _ => attachment_of(generation, &attachment, self.agents.offers())
                .map(client::Input::Attach),
        };
        if let (Some(registrar), Some(input)) = (self.registrars.get_mut(&slot), input) {
            registrar.client.handle(now, input);
        }
    }

    /// Whether the home network hears that the home address is here before the request (RFC 5944 §4.6), so that what is
    /// underway need not wait for the home agent. S waits for the proof that this is its home, unless the answer would go
    /// to another card of ours, by which it is known there.
    fn is_announced_before(&self, slot: Slot, link: LinkId) -> bool {
        matches!(slot, Slot::Outer(_)) || self.known_by.is_some_and(|known| known != link)
    }

    /// A client with what this attachment asks for. One that exists is kept while it would be the same: it
    /// knows the home agent's clock.
    pub(super) fn equip(
        &mut self,
        now: Instant,
        slot: Slot,
        generation: Generation,
        attachment: Attachment,
    ) {
        if let Some(registrar) = self.registrars.get_mut(&slot)
            && is_alike(&registrar.attachment, &attachment)
        {
            registrar.generation = generation;
            registrar.attachment = attachment;
            registrar.is_announced = false;
            return;
        }
        let series = self.series(slot);
        let agreement = match slot {
            Slot::Clear(_) | Slot::Inner => &self.inner,
            // Each outer slot is of a site whose agreement was checked for.
            Slot::Outer(site) => match self.outer.get(&site) {
                Some(agreement) => agreement,
                None => return,
            },
        };
        let settings = client::Settings {
            home: Some(attachment.home),
            home_agent: client::HomeAgent::Known(attachment.home_agent),
            nai: agreement.nai.clone(),
            association: agreement.association.clone(),
            series,
            foreign_agents: agreement.foreign_agents.clone(),
            port: agreement.port,
            lifetime: u16::try_from(attachment.lifetime.as_secs()).unwrap_or(u16::MAX),
            renewal: None,
            reverse: match (slot, attachment.reverse) {
                (Slot::Inner, true) => ReverseTunnel::Required,
                (_, true) => ReverseTunnel::Wanted,
                (_, false) => ReverseTunnel::Unwanted,
            },
            encapsulation: agreement.encapsulation,
            delivery: agreement.delivery,
            udp: match attachment.nat_traversal {
                NatTraversal::Detected => UdpTunnel::WhereTranslated,
                NatTraversal::Forced => UdpTunnel::Forced,
            },
            revocation: agreement.revocation,
            broadcasts: false,
            networks: match slot {
                Slot::Clear(_) | Slot::Inner => self.settings.mobile_networks.clone(),
                Slot::Outer(_) => Vec::new(),
            },
            networks6: match slot {
                Slot::Clear(_) | Slot::Inner => self.settings.mobile_networks6.clone(),
                Slot::Outer(_) => Vec::new(),
            },
        };
        let random = Box::new(Derived::new(&mut *self.random));
        let registrar = Registrar {
            client: Client::new(now, settings, self.clock, random),
            series,
            generation,
            attachment,
            is_announced: false,
        };
        self.registrars.insert(slot, registrar);
    }

    /// One each of those that ask the inner home agent. A request in the clear counts as later than one over the VPN.
    /// What was free is used again as late as can be: an answer that was overheard then must not suit a question of now.
    pub(super) fn series(&mut self, slot: Slot) -> u8 {
        if !matches!(slot, Slot::Clear(_)) {
            return 0;
        }
        let others = self.registrars.iter().filter(|(other, _)| **other != slot);
        let taken: Vec<_> = others.map(|(_, registrar)| registrar.series).collect();
        let all = SERIES - 1;
        let mut following = (0..all).map(|after| (self.series + after) % all + 1);
        self.series = following.find(|it| !taken.contains(it)).unwrap_or(all);
        self.series
    }
}

/// Whether one client can serve both.
fn is_alike(a: &Attachment, b: &Attachment) -> bool {
    (a.home, a.home_agent, a.lifetime, a.reverse, a.nat_traversal)
        == (b.home, b.home_agent, b.lifetime, b.reverse, b.nat_traversal)
}
