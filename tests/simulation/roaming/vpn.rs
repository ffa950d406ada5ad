//! A VPN that knows nothing of Mobile IP: it binds to T, comes up where its gateway is reached through the
//! tunnel of T, and carries while that stands. Where a network has nothing but IPv6 it binds to an address of that.

use std::net::IpAddr;
use std::time::Duration;

use super::places::Network;
use super::sites;
use super::world::{Happening, World};
use xfrm_agent::mobile_ip::dual_client::station::Input;
use xfrm_agent::mobile_ip::dual_client::{self, VpnCommand, VpnState};
use xfrm_agent::mobile_ip::home_agent::effects::Tunnel;
use xfrm_agent::mobile_ip::{LinkId, Path};

impl World {
    pub(super) fn command(&mut self, command: &VpnCommand) {
        self.tell(&format_args!("{command:?}"));
        match command {
            VpnCommand::Up { over, gateway } => {
                let is_right = |site: &usize| match *over {
                    IpAddr::V4(over) => sites::home(*site) == over,
                    IpAddr::V6(_) => self.over_ipv6(*over).is_some(),
                };
                let site = self.site().filter(is_right);
                let Some(site) = site else {
                    panic!("the VPN is to run over nothing of ours: {}", self.told());
                };
                let right = Some(sites::gateway(site));
                assert_eq!(*gateway, right, "{}", self.told());
                // One to another gateway goes when this one comes. One that stands is found to do so.
                let is_left = std::mem::take(&mut self.vpn_is_left);
                self.vpn_is_up &= (self.vpn_site, self.vpn_over) == (site, Some(*over));
                (self.vpn_site, self.vpn_over) = (site, Some(*over));
                self.note_home();
                self.vpn_carries = true;
                if is_left || !self.vpn_is_up {
                    self.vpn_turn += 1;
                    let turn = self.vpn_turn;
                    self.later(Duration::from_millis(100), Happening::VpnIsUp { turn });
                }
            }
            VpnCommand::Warm => {
                self.check_that_nothing_needs_the_vpn();
                self.vpn_carries = false;
            }
            VpnCommand::Down => {
                self.doubted_home.extend(self.native_on);
                self.check_that_nothing_needs_the_vpn();
                self.vpn_is_left = false;
                (self.vpn_is_up, self.vpn_carries) = (false, false);
                self.vpn_turn += 1;
                let turn = self.vpn_turn;
                self.later(Duration::from_millis(10), Happening::VpnIsDown { turn });
            }
        }
    }

    /// Where the T that the VPN runs over is at home; once its site is left, was.
    pub(super) fn note_home(&mut self) {
        let outer = self.arrangement.as_ref().and_then(|now| now.outer.as_ref());
        if let Some(outer) = outer.filter(|outer| outer.home == sites::home(self.vpn_site)) {
            self.native_on = match outer.path {
                Path::Native { link, .. } => Some(link),
                _ => None,
            };
        }
    }

    pub(super) fn vpn_tries(&mut self, turn: u64) {
        if turn != self.vpn_turn {
            return;
        }
        let comes_up = self.gateway_is_reached() && !self.percent(self.weather.loss);
        if self.vpn_is_up || comes_up {
            self.vpn_is_up = true;
            let has_adapter = self.setup.has_adapter;
            let address = has_adapter.then(|| self.setup.v(self.vpn_site));
            self.vpn_says(VpnState::Up { address });
        } else {
            self.later(Duration::from_secs(1), Happening::VpnIsUp { turn });
        }
    }

    pub(super) fn vpn_falls(&mut self) {
        if self.vpn_is_up {
            self.vpn_is_left = false;
            (self.vpn_is_up, self.vpn_carries) = (false, false);
            self.vpn_turn += 1;
            self.vpn_says(VpnState::Down);
        }
    }

    pub(super) fn vpn_says(&mut self, state: VpnState) {
        self.tell(&format_args!("the VPN is {state:?}"));
        self.input(Input::Dual(dual_client::Input::Vpn(state)));
    }

    pub(super) fn vpn_passes(&self) -> bool {
        self.vpn_is_up && self.vpn_carries && self.gateway_is_reached()
    }

    fn gateway_is_reached(&self) -> bool {
        let is_of_site = self.site() == Some(self.vpn_site);
        let stands = match self.vpn_over {
            Some(over @ IpAddr::V6(_)) => self.over_ipv6(over).is_some(),
            _ => self.outer_stands(),
        };
        is_of_site && !self.ways[self.vpn_site].gateway_is_dead && stands
    }

    /// The adapter that has this address.
    fn over_ipv6(&self, own: IpAddr) -> Option<LinkId> {
        let mut plugged = self.plugged.iter();
        let has_it = |(link, network): &(&LinkId, &Network)| {
            network.ipv6(**link).map(IpAddr::V6) == Some(own)
        };
        plugged.find(has_it).map(|(link, _)| *link)
    }

    /// Whether packets of T pass both ways: both ends agree on where it is, and that is so.
    pub(super) fn outer_stands(&self) -> bool {
        let arrangement = self.arrangement.as_ref();
        let Some(outer) = arrangement.and_then(|arrangement| arrangement.outer.as_ref()) else {
            return false;
        };
        let Some(link) = outer.path.clear_on() else {
            return false;
        };
        let network = self.plugged[&link];
        let Some(site) = sites::of_home(outer.home) else {
            return false;
        };
        let tunnels = self.ways[site].agent.tunnels(outer.home);
        match &outer.path {
            Path::Native { .. } if network.agent().is_some() => {
                let is_here = |tunnel: &Tunnel| Some(tunnel.remote) == network.agent();
                tunnels.iter().any(is_here) && self.is_visited(network, outer.home)
            }
            Path::Native { .. } => network == Network::OuterHome && site == 0 && tunnels.is_empty(),
            Path::Tunnel { .. } => tunnels.iter().any(|tunnel| match tunnel.udp {
                Some(udp) => network
                    .receiver(link, self.visits[&link], udp.remote)
                    .is_some(),
                None => {
                    !network.is_translating()
                        && network.link(link).usable_address() == Some(tunnel.remote)
                }
            }),
            Path::Blocked => false,
        }
    }
}
