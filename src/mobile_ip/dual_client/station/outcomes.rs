//! What comes of registrations, as the dual client and whoever watches should know it.

use super::translation::translate;
use super::{Effect, Station};
use crate::mobile_ip::Via;
use crate::mobile_ip::client;
use crate::mobile_ip::dual_client::registration::{Point, Slot};
use crate::mobile_ip::dual_client::settings::Settings;
use crate::mobile_ip::dual_client::{Tell, effect};
use crate::mobile_ip::wire::Code;
use crate::net::IpNet;
use std::time::Instant;

impl Station {
    /// Whether there was anything.
    pub(super) fn drain_clients(&mut self, now: Instant) -> bool {
        let mut outcomes = Vec::new();
        let mut had_any = false;
        for (slot, registrar) in &mut self.registrars {
            while let Some(effect) = registrar.client.poll_effect() {
                had_any = true;
                match effect {
                    client::Effect::Send(datagram) => {
                        self.effects.push_back(Effect::Send(datagram));
                    }
                    client::Effect::Solicit(link) => self.effects.push_back(Effect::Solicit(link)),
                    client::Effect::Suspicious(what) => {
                        self.effects.push_back(Effect::Suspicious(*slot, what));
                    }
                    client::Effect::Outcome(outcome) => outcomes.push((*slot, outcome)),
                }
            }
        }
        for (slot, outcome) in outcomes {
            self.came_out(now, slot, &outcome);
        }
        had_any
    }

    fn came_out(&mut self, now: Instant, slot: Slot, outcome: &client::Outcome) {
        if let client::Outcome::Reachable {
            via: Via::Link(link),
            ..
        } = outcome
        {
            self.smoke_outs.remove(link);
            let (link, answered) = (*link, true);
            return self
                .dual
                .handle(now, effect::Input::SmokeOut { link, answered });
        }
        let Some(registrar) = self.registrars.get_mut(&slot) else {
            return;
        };
        let generation = registrar.generation;
        let attachment = &registrar.attachment;
        if let client::Outcome::Deregistered {
            answer: Some(_), ..
        } = outcome
            && let (Point::AtHome(_), Via::Link(link)) = (attachment.point, attachment.via)
            && !registrar.is_announced
        {
            registrar.is_announced = true;
            self.come_home.push((link, attachment.home));
            if !matches!(slot, Slot::Outer(_)) {
                self.known_by = Some(link);
            }
        }
        if let client::Outcome::Denied {
            epoch,
            code: Code::HA_PROHIBITED,
            authenticated: true,
            ..
        } = outcome
            && *epoch == generation.0
        {
            let home = registrar.attachment.home;
            self.effects.push_back(Effect::HomeDenied(home));
        }
        let translated = translate(slot, registrar, outcome);
        if let client::Outcome::Registered(registered) = outcome
            && !matches!(slot, Slot::Outer(_))
        {
            self.tell_left_out(registered);
        }
        if let Some(outcome) = translated {
            self.dual.handle(
                now,
                effect::Input::Registration {
                    slot,
                    generation,
                    outcome,
                },
            );
        }
    }

    /// Of the networks that should move with us; once each time.
    fn tell_left_out(&mut self, registered: &client::Registered) {
        let Settings {
            mobile_networks,
            mobile_networks6,
            ..
        } = &self.settings;
        let v4 = mobile_networks.iter();
        let v4 = v4.filter(|net| !registered.networks.contains(net));
        let v6 = mobile_networks6.iter();
        let v6 = v6.filter(|net| !registered.networks6.contains(net));
        let left_out: Vec<IpNet> = v4
            .map(|net| IpNet::V4(*net))
            .chain(v6.map(|net| IpNet::V6(*net)))
            .collect();
        if left_out != self.left_out {
            let told = left_out.iter().map(|net| Tell::LeftOut { network: *net });
            self.effects.extend(told.map(Effect::Tell));
            self.left_out = left_out;
        }
    }
}
