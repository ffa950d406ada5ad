//! What mobility and the rest of the agent say to each other.

use super::given::{GivenHome, News};
use super::{Carrying, Heard};
use crate::agent::Agent;
use crate::agent::effect::Effect;
use crate::agent::event::Doubt;
use crate::agent::on_link::{ALL_ROUTERS, Frame, Payload, Receiver};
use crate::agent::vpn::VpnState;
use crate::kernel::adapters::Adapter;
use crate::mobile_ip::domain::Context;
use crate::mobile_ip::dual_client::station::Effect as Wish;
use crate::mobile_ip::dual_client::{Tell, Vpn, VpnCommand};
use crate::mobile_ip::wire::advertisement::Discovery;
use crate::mobile_ip::{Arrangement, Datagram, LinkId};
use crate::net::Ipv4Net;
use crate::tun::tunnels::Side;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

impl Agent {
    pub(in crate::agent) fn networks_known(&mut self, known: Vec<Context>) {
        if let Some(mobility) = &mut self.mobility {
            mobility.recall(known);
        }
    }

    pub(in crate::agent) fn home_known(&mut self, kept: &GivenHome) {
        if let Some(mobility) = &mut self.mobility {
            mobility.recall_home(kept, &mut self.wishes);
        }
    }

    pub(in crate::agent) fn adapters(&mut self, now: Instant, mut adapters: Vec<Adapter>) {
        let vpns = self.settings.vpn.interfaces();
        adapters.retain(|adapter| !vpns.contains(&adapter.name));
        if let Some(mobility) = &mut self.mobility {
            mobility.adapters_are(now, adapters, &mut self.wishes);
            self.wait_for_ways();
        }
    }

    /// Whether the VPN is its business.
    pub(in crate::agent) fn mobility_has_vpn(&self) -> bool {
        let mobility = self.settings.mobility.as_ref();
        mobility.is_some_and(|m| m.dual.vpn != Vpn::Absent)
    }

    pub(in crate::agent) fn mobility_clock(
        &mut self,
        now: Instant,
        unix: Duration,
        doubt: Option<Doubt>,
    ) {
        let Some(mobility) = &mut self.mobility else {
            return;
        };
        let is_doubtful = matches!(doubt, Some(Doubt::ClockStepped | Doubt::Resumed));
        // Between two steps, instants tell the time better than whole seconds of the wall clock.
        if mobility.knows_time() && !is_doubtful {
            return;
        }
        if let Err(error) = mobility.time_is(now, unix) {
            self.tell(now, "refused", format!("[mobility]: {error}"));
        } else if doubt == Some(Doubt::Resumed) {
            mobility.resumed(now);
        }
    }

    /// For the mobile node: it looks itself at who sent it.
    pub(in crate::agent) fn registration_heard(&mut self, now: Instant, datagram: Datagram) {
        if let Some(mobility) = &mut self.mobility {
            mobility.datagram(now, datagram);
        }
    }

    pub(in crate::agent) fn mobility_advertised(&mut self, now: Instant, heard: Heard) {
        if let Some(mobility) = &mut self.mobility {
            mobility.advertised(now, heard);
        }
    }

    /// From an address of that link, or from nowhere (RFC 1256 §4.2) where a network has given it one of ours.
    fn solicit(&mut self, link: LinkId) {
        let Some(mobility) = &self.mobility else {
            return;
        };
        let mut adapters = mobility.adapters.iter();
        let Some(adapter) = adapters.find(|adapter| adapter.index == link.0) else {
            return;
        };
        let address = adapter.addresses.first().map(Ipv4Net::addr);
        let address = address.filter(|own| !mobility.holds(*own));
        let effect = Effect::OnLink(Frame {
            link: adapter.name,
            to: Receiver::Everybody,
            source: address.unwrap_or(Ipv4Addr::UNSPECIFIED),
            destination: ALL_ROUTERS,
            ttl: 1,
            payload: Payload::Icmp(Discovery::Solicitation.encode()),
        });
        self.effects.push_back(effect);
    }

    fn announce(&mut self, link: LinkId, address: Ipv4Addr) {
        let mobility = self.mobility.as_ref();
        let mut adapters = mobility.into_iter().flat_map(|mobility| &mobility.adapters);
        if let Some(adapter) = adapters.find(|adapter| adapter.index == link.0) {
            let link = adapter.name;
            self.effects.push_back(Effect::Announce { link, address });
        }
    }

    pub(in crate::agent) fn mobility_vpn(&mut self, now: Instant, state: &VpnState) {
        if let Some(mobility) = &mut self.mobility {
            mobility.vpn_is(now, state, &mut self.wishes);
            self.wait_for_ways();
        }
    }

    pub(in crate::agent) fn mobility_timeout(&mut self, now: Instant) {
        if let Some(mobility) = &mut self.mobility {
            mobility.handle_timeout(now, &mut self.wishes);
        }
    }

    pub(in crate::agent) fn mobility_effect(&mut self, now: Instant, wish: Wish) {
        match wish {
            Wish::Arrangement(arrangement) => self.arrange(now, arrangement),
            Wish::Send(datagram) => {
                if let Some(mobility) = &mut self.mobility {
                    mobility.outgoing.push_back(datagram);
                }
            }
            Wish::Vpn(VpnCommand::Up { gateway, over }) => {
                let over = Some(over);
                if let Err(error) = self.vpn_up_over(now, gateway.as_deref(), over) {
                    self.tell(now, "refused", format!("[mobility]: {error}"));
                }
            }
            Wish::Vpn(VpnCommand::Warm) => self.vpn_warm(now),
            Wish::Vpn(VpnCommand::Down) => self.vpn_down(now),
            Wish::Tell(tell) => self.mobility_tells(now, &tell),
            Wish::Suspicious(slot, what) => {
                self.count("registrations-suspicious");
                self.publish(now, "mobility-suspicious", format!("{slot}: {what:?}"));
            }
            Wish::Solicit(link) => self.solicit(link),
            Wish::Announce { link, address } => self.announce(link, address),
            Wish::Remember(known) => self.afterwards.push_back(Effect::KeepNetworks(known)),
            Wish::HomeDenied(home) => self.home_denied(now, home),
        }
    }

    fn home_denied(&mut self, now: Instant, home: Ipv4Addr) {
        if let Some(mobility) = &mut self.mobility
            && mobility.home_denied(now, home, &mut self.wishes)
        {
            self.wait_for_ways();
            // It would be set up over what nobody registers any more.
            if self.mobility_has_vpn() {
                self.vpn_down(now);
            }
            let detail = format!("{home} may not be had any more: a home address is asked for");
            self.tell(now, "mobility-home", detail);
        }
    }

    pub(in crate::agent) fn mobility_news(&mut self, now: Instant, news: News) {
        match news {
            News::Given(given) => {
                let GivenHome {
                    nai,
                    home_agent,
                    home,
                } = &given;
                let detail = format!("{home} was given to {nai} by {home_agent}");
                self.tell(now, "mobility-home", detail);
                self.afterwards.push_back(Effect::KeepHome(given));
            }
            News::Unusable(why) => self.tell(now, "refused", format!("[mobility]: {why}")),
        }
    }

    pub(in crate::agent) fn mobility_carries(&mut self, carrying: Carrying) {
        self.effects.push_back(match carrying {
            Carrying::Carry(adapter, binding) => Effect::Carry { adapter, binding },
            Carrying::CarryNoMore(home) => Effect::CarryNoMore {
                side: Side::MobileNode,
                home,
            },
        });
    }

    fn arrange(&mut self, now: Instant, arrangement: Arrangement) {
        let Some(mobility) = &mut self.mobility else {
            return;
        };
        mobility.arrange(now, arrangement, &mut self.wishes);
        self.wait_for_ways();
    }

    fn mobility_tells(&mut self, now: Instant, tell: &Tell) {
        let kind = match tell {
            Tell::Moved { .. } => "mobility-moved",
            Tell::Guess { .. } => return self.publish(now, "mobility-guess", tell.to_string()),
            Tell::Found { .. } => "mobility-found",
            Tell::ProofOver { .. } => "mobility-proof-over",
            _ => "mobility",
        };
        self.tell(now, kind, tell.to_string());
    }

    /// When all is known that is wanted of the kernel. What follows the routing table leaves when the kernel has
    /// it, and so does what comes from a home address: the kernel drops the answer where it finds no way back
    /// for that address. What is bound to an adapter and comes from its address needs neither, unless another
    /// adapter carries meanwhile: then nothing is lost of what the home agent sends before its answer.
    pub(in crate::agent) fn register(&mut self, now: Instant, datagram: Datagram) {
        let Some(mobility) = &mut self.mobility else {
            return;
        };
        let waits = mobility.asks(now, &datagram, &mut self.wishes);
        self.wait_for_ways();
        let effect = Effect::SendRegistration(datagram);
        match self.barrier {
            Some(revision) if waits => self.awaiting.push_back((revision, effect)),
            _ => self.effects.push_back(effect),
        }
    }

    /// IKE messages from T, and registrations over the VPN, are lost where their way is not there yet.
    pub(in crate::agent) fn wait_for_ways(&mut self) {
        if self.wishes.is_dirty() {
            self.barrier = Some(self.wishes.revision());
        }
    }
}
