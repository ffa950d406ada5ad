//! What holds after every event, and what must be there when all has been quiet for long.

use std::net::{IpAddr, Ipv4Addr};

use super::agreed::{S, S_AGENT};
use super::places::Network;
use super::sites::{self, site_of};
use super::world::World;
use xfrm_agent::mobile_ip::domain::MAX_CONTEXTS;
use xfrm_agent::mobile_ip::dual_client::T_MONITOR;
use xfrm_agent::mobile_ip::home_agent::effects::Tunnel;
use xfrm_agent::mobile_ip::{Arrangement, Encapsulation, LinkId, Path, Place, Through};

impl World {
    /// S is in the clear only where that is proved and, but for what nobody could notice, true.
    pub(super) fn check(&self) {
        let Some(arrangement) = &self.arrangement else {
            return;
        };
        assert_eq!(arrangement.inner.home, S, "{}", self.told());
        assert!(
            arrangement.outer.is_none() || site_of(arrangement).is_some(),
            "T of nobody: {}",
            self.told()
        );
        assert!(self.station.networks().len() <= MAX_CONTEXTS);
        assert!(
            arrangement.place == Place::Blocked || self.life.is_answered,
            "S is open and the inner home agent has agreed to nothing in this life: {}",
            self.told()
        );
        match (arrangement.place, arrangement.inner.path.clear_on()) {
            (Place::Inside, Some(link)) => self.check_inside(link),
            (Place::Inside, None) | (_, Some(_)) => {
                panic!("S is in the clear elsewhere than inside: {}", self.told())
            }
            (Place::Blocked, None) => {
                assert_eq!(arrangement.inner.path, Path::Blocked, "{}", self.told());
            }
            (_, None) => assert!(
                is_through_vpn(&arrangement.inner.path),
                "S skips the VPN: {}",
                self.told()
            ),
        }
    }

    fn check_inside(&self, link: LinkId) {
        let view = self.station.view(self.now);
        let shown = view.links.iter().find(|shown| shown.link == link);
        // Between two effects of one event the view may be ahead of what was carried out.
        let is_latest = self.arrangement.as_ref() == Some(&view.arrangement);
        let is_proved = shown.is_some_and(|shown| shown.proved_for.is_some());
        assert!(!is_latest || is_proved, "no proof: {}", self.told());
        assert!(
            self.witnessed.contains(&link),
            "the inner home agent never said so on {link}: {}",
            self.told()
        );
        let moved = self.moved_silently.get(&link);
        let nobody_knew = moved.is_some_and(|at| self.now < *at + T_MONITOR);
        assert!(
            self.plugged[&link].is_inside() || nobody_knew || !is_latest,
            "S is in the clear outside: {}",
            self.told()
        );
    }

    /// The VPN stops carrying: inside, or nothing of S leaves at all.
    pub(super) fn check_that_nothing_needs_the_vpn(&self) {
        let path = self.arrangement.as_ref().map(|now| &now.inner.path);
        assert!(
            !path.is_some_and(is_through_vpn),
            "the VPN goes from under S: {}",
            self.told()
        );
    }

    /// The right domain, and exactly the tunnels of its figure, at the client and at both home agents.
    pub(super) fn check_end(&self) {
        let arrangement = self.arrangement.as_ref().expect("one is said at once");
        self.check_visits(arrangement);
        let first = |may_be: &dyn Fn(Network) -> bool| {
            let links = self.plugged.iter().filter(|(_, network)| may_be(**network));
            links
                .map(|(link, _)| *link)
                .min_by_key(|link| self.rank(*link))
        };
        let told = || self.told();
        if first(&Network::is_inside).is_some() {
            self.check_figure_11(arrangement);
        } else if let Some(link) = first(&has_ipv4) {
            self.check_outer(arrangement, link);
            self.check_figures_9_and_10(arrangement);
        } else if let Some(link) =
            first(&|network| network == Network::OutsideIpv6 && self.setup.has_adapter)
        {
            self.check_without_ipv4(arrangement, link);
        } else {
            assert_eq!(arrangement.place, Place::Blocked, "{}", self.told());
            let path = arrangement.outer.as_ref().map(|outer| &outer.path);
            assert!(
                path.is_none_or(|path| *path == Path::Blocked),
                "{}",
                self.told()
            );
            assert!(self.inner.bound.is_empty(), "{}", told());
            for way in &self.ways {
                assert!(way.agent.bound.is_empty(), "{}", told());
            }
        }
    }

    /// The smaller, the better: their numbers are in the order of their metrics.
    pub(super) fn rank(&self, link: LinkId) -> (bool, LinkId) {
        (self.weak.contains(&link), link)
    }

    /// The VPN begins on the best link, T has no way and no binding.
    fn check_without_ipv4(&self, arrangement: &Arrangement, link: LinkId) {
        let own = self.plugged[&link].ipv6(link).map(IpAddr::V6);
        assert_eq!(self.vpn_over, own, "{}", self.told());
        let path = arrangement.outer.as_ref().map(|outer| &outer.path);
        assert_eq!(path, Some(&Path::Blocked), "{}", self.told());
        for way in &self.ways {
            assert!(way.agent.bound.is_empty(), "{}", self.told());
        }
        self.check_figures_9_and_10(arrangement);
    }

    /// On the best link inside. One without an address takes nobody's place, since nobody is smoked out through its agent.
    fn check_figure_11(&self, arrangement: &Arrangement) {
        let told = || self.told();
        assert_eq!(arrangement.place, Place::Inside, "{}", told());
        let link = arrangement.inner.path.clear_on();
        let link = link.unwrap_or_else(|| panic!("S goes nowhere: {}", told()));
        let is_better = |other: &LinkId| self.rank(*other) < self.rank(link);
        let mut better = self.plugged.iter().filter(|(other, _)| is_better(other));
        let is_missed = |network: &Network| network.is_inside() && network.gives_addresses();
        assert!(!better.any(|(_, network)| is_missed(network)), "{}", told());
        let network = self.plugged[&link];
        assert!(network.is_inside(), "{}", told());
        if network == Network::InsideHome {
            assert!(self.inner.bound.is_empty(), "{}", told());
        } else {
            let tunnel = self.only(self.inner.tunnels(S));
            let address = network.care_of(link);
            self.check_agent(network, &arrangement.inner.path, S);
            assert_eq!(Some(tunnel.remote), address, "{}", told());
            assert_eq!(tunnel.udp, None, "{}", told());
        }
        if self.setup.warm {
            self.check_outer(arrangement, link);
        } else {
            assert_eq!(arrangement.outer, None, "{}", told());
            self.check_site(arrangement);
            assert!(!self.vpn_is_up, "{}", told());
        }
        assert!(!self.vpn_passes(), "{}", told());
    }

    /// T is at home without a tunnel, or has one, of the kind that its network lets through.
    fn check_outer(&self, arrangement: &Arrangement, link: LinkId) {
        let told = || self.told();
        self.check_site(arrangement);
        let outer = arrangement.outer.as_ref();
        let path = &outer
            .unwrap_or_else(|| panic!("T is idle: {}", told()))
            .path;
        let site = site_of(arrangement).expect("T is of a site");
        let agent = &self.ways[site].agent;
        let is_native = matches!(path, Path::Native { .. });
        // It stays there while nobody answers over a better link.
        let stays_at_home = is_native && self.outer_stands() && !agent.answers(self.now);
        if stays_at_home {
            return;
        }
        assert_eq!(path.clear_on(), Some(link), "{}", told());
        let network = self.plugged[&link];
        let may_be_away = self.doubted_home.contains(&link);
        if network == Network::OuterHome && site == 0 && (is_native || !may_be_away) {
            assert!(is_native, "{}", told());
            assert!(agent.bound.is_empty(), "{}", told());
            return;
        }
        assert!(self.outer_stands(), "{}", told());
        if network.agent().is_some() {
            self.only(agent.tunnels(sites::home(site)));
            return self.check_agent(network, path, sites::home(site));
        }
        let tunnel = self.only(agent.tunnels(sites::home(site)));
        let Path::Tunnel {
            local,
            remote,
            encapsulation,
            reverse: true,
            ..
        } = path
        else {
            panic!("T has no reverse tunnel: {}", told());
        };
        assert_eq!(*remote, sites::agent(site), "{}", told());
        let address = network.link(link).usable_address();
        assert_eq!(Some(*local), address, "{}", told());
        let is_udp = matches!(encapsulation, Encapsulation::Udp { .. });
        assert_eq!(is_udp, network.is_translating(), "{}", told());
        assert_eq!(tunnel.udp.is_some(), is_udp, "{}", told());
        assert!(tunnel.reverse, "{}", told());
    }

    /// Where the network has a foreign agent, everything goes through that one.
    fn check_agent(&self, network: Network, path: &Path, home: Ipv4Addr) {
        let Some(agent) = network.agent() else { return };
        let is_through = matches!(path, Path::Native { gateway, .. } if *gateway == Some(agent));
        assert!(is_through, "{}", self.told());
        assert!(self.is_visited(network, home), "{}", self.told());
    }

    fn check_figures_9_and_10(&self, arrangement: &Arrangement) {
        let told = || self.told();
        let place = if self.setup.has_adapter {
            Place::OutsideWithAdapter
        } else {
            Place::OutsideWithoutAdapter
        };
        assert_eq!(arrangement.place, place, "{}", told());
        assert!(self.vpn_passes(), "{}", told());
        let tunnel = self.only(self.inner.tunnels(S));
        let Path::Tunnel {
            local,
            remote,
            encapsulation,
            reverse: true,
            ..
        } = arrangement.inner.path
        else {
            panic!("S has no reverse tunnel: {}", told());
        };
        let ends = (self.over_the_vpn(), S_AGENT);
        assert_eq!((local, remote), ends, "{}", told());
        assert_eq!((tunnel.remote, tunnel.local), ends, "{}", told());
        let is_udp = matches!(encapsulation, Encapsulation::Udp { .. });
        assert_eq!(is_udp, !self.setup.has_adapter, "{}", told());
        assert_eq!(tunnel.udp.is_some(), is_udp, "{}", told());
    }

    fn only<'a>(&self, tunnels: &'a [Tunnel]) -> &'a Tunnel {
        match tunnels {
            [tunnel] => tunnel,
            _ => panic!("{} tunnels are not one: {}", tunnels.len(), self.told()),
        }
    }
}

fn has_ipv4(network: Network) -> bool {
    !matches!(network, Network::Unplugged | Network::OutsideIpv6)
}

fn is_through_vpn(path: &Path) -> bool {
    matches!(
        path,
        Path::Tunnel {
            through: Through::Vpn,
            reverse: true,
            ..
        }
    )
}
