//! What holds after every event, and what must be there when all has been quiet for long.

use super::agreed::{HOME_AGENT, NODES, PROXY};
use super::node::Node;
use super::visiting::leads_to;
use super::world::World;
use crate::roaming::Network;
use std::net::SocketAddrV4;
use xfrm_agent::mobile_ip::client::Doing;
use xfrm_agent::mobile_ip::dual_client::Override;
use xfrm_agent::mobile_ip::home_agent::effects::Tunnel;
use xfrm_agent::mobile_ip::proxy_agent::{End, View};
use xfrm_agent::mobile_ip::{Arrangement, Encapsulation, LinkId, Path, Place};

impl World {
    pub(super) fn check(&mut self) {
        let bound = &self.home_agent.bound;
        self.revoked.retain(|home| !bound.contains_key(home));
        let views = self.proxy.room.view();
        assert_eq!(views.len(), NODES);
        for view in views {
            // Nobody is asked for inside who may have gone long ago.
            let asks = matches!(view.inner.doing, Doing::Registering(_));
            assert!(
                !asks || view.until.is_some(),
                "without end: {}",
                self.told()
            );
            self.check_stitch(&view);
            if let Some(tunnels) = self.home_agent.bound.get(&view.home) {
                self.check_inside(tunnels);
            }
        }
    }

    /// Two tunnels are one way as long as both sides have granted theirs.
    fn check_stitch(&self, view: &View) {
        let told = || self.told();
        let stitched = self.proxy.stitched.get(&view.home).copied();
        assert_eq!(view.stitched, stitched, "{}", told());
        let Some(stitch) = stitched else { return };
        assert_eq!(stitch.home, view.home, "{}", told());
        assert_eq!(
            (stitch.outer_local, stitch.inner_local, stitch.inner_remote),
            (PROXY, self.setup.care_of, HOME_AGENT),
            "{}",
            told()
        );
        if let (Some(left), End::IpIp(care_of)) = (self.left.get(&view.home), stitch.outer_remote) {
            assert_ne!(*left, care_of, "it was taken back: {}", told());
            assert_ne!(*left, view.home, "all was taken back: {}", told());
        }
        assert!(view.inner.registered.is_some(), "{}", told());
        let is_bound = self.home_agent.bound.contains_key(&view.home);
        let is_taken_back = self.revoked.contains(&view.home);
        assert!(is_bound || is_taken_back, "not inside: {}", told());
    }

    /// Nobody is registered inside but through the proxy agent.
    fn check_inside(&self, tunnels: &[Tunnel]) {
        let [tunnel] = tunnels else {
            panic!("{} tunnels are not one: {}", tunnels.len(), self.told());
        };
        let ends = (tunnel.local, tunnel.remote);
        let told = || self.told();
        assert_eq!(ends, (HOME_AGENT, self.setup.care_of), "{}", told());
        assert_eq!((tunnel.udp, tunnel.reverse), (None, true), "{}", told());
    }

    pub(super) fn check_end(&self) {
        self.check_visits();
        for (node, view) in self.nodes.iter().zip(self.proxy.room.view()) {
            if self.is_denied && is_away(node) {
                assert_eq!(view.stitched, None, "{}", self.told());
                assert!(!self.home_agent.bound.contains_key(&view.home));
                continue;
            }
            let path = node.arrangement.as_ref().map(|now| &now.inner.path);
            if let Some(Path::Native { link, .. }) = path
                && let network = node.plugged[link]
                && network.agent().is_none()
            {
                assert_eq!(network, Network::InsideHome, "{}", self.told());
                self.check_nothing_is_left(&view);
                continue;
            }
            match node.best() {
                Some((link, network)) if !network.is_inside() && is_away(node) => {
                    self.check_outside(node, &view, link);
                }
                // It may have gone out by another adapter.
                Some(_) if view.stitched.is_some() && is_away(node) => {
                    let path = &self.arrangement(node).inner.path;
                    let link = path.clear_on();
                    let link = link.unwrap_or_else(|| panic!("S goes nowhere: {}", self.told()));
                    self.check_outside(node, &view, link);
                }
                _ => self.check_nothing_is_left(&view),
            }
        }
    }

    fn check_outside(&self, node: &Node, view: &View, link: LinkId) {
        if node.plugged[&link].agent().is_some() {
            self.check_visit(node, view, link);
        } else {
            self.check_figure_4(node, view, link);
        }
    }

    /// The tunnel of the proxy agent ends at the foreign agent, and all goes through that one.
    fn check_visit(&self, node: &Node, view: &View, link: LinkId) {
        let told = || self.told();
        let arrangement = self.arrangement(node);
        assert_eq!(arrangement.place, Place::WithoutVpn, "{}", told());
        let (path, network) = (&arrangement.inner.path, node.plugged[&link]);
        assert_eq!(path.clear_on(), Some(link), "{}", told());
        let agent = network.agent().expect("it has one");
        assert!(leads_to(path, Some(agent)), "{}", told());
        assert!(self.visited.is_visited(network, view.home), "{}", told());
        let stitch = view.stitched;
        let stitch = stitch.unwrap_or_else(|| panic!("nothing is stitched: {}", told()));
        assert_eq!(stitch.outer_remote, End::IpIp(agent), "{}", told());
        assert!(stitch.reverse, "{}", told());
        let is_bound = self.home_agent.bound.contains_key(&view.home);
        assert!(is_bound, "{}", told());
    }

    fn check_figure_4(&self, node: &Node, view: &View, link: LinkId) {
        let told = || self.told();
        let arrangement = self.arrangement(node);
        assert_eq!(arrangement.place, Place::WithoutVpn, "{}", told());
        assert_eq!(arrangement.outer, None, "{}", told());
        let Path::Tunnel {
            local,
            remote: PROXY,
            encapsulation,
            reverse: true,
            ..
        } = arrangement.inner.path
        else {
            panic!("S has no tunnel to the proxy agent: {}", told());
        };
        let network = node.plugged[&link];
        assert_eq!(arrangement.inner.path.clear_on(), Some(link), "{}", told());
        let address = network.link(link).usable_address();
        assert_eq!(Some(local), address, "{}", told());
        let is_udp = matches!(encapsulation, Encapsulation::Udp { .. });
        assert_eq!(is_udp, network.is_translating(), "{}", told());
        let end = if is_udp {
            let seen = node.seen(link, SocketAddrV4::new(local, 434));
            End::Udp(seen.expect("it is plugged in"))
        } else {
            End::IpIp(local)
        };
        let stitch = view.stitched;
        let stitch = stitch.unwrap_or_else(|| panic!("nothing is stitched: {}", told()));
        assert_eq!(stitch.outer_remote, end, "{}", told());
        assert!(stitch.reverse, "{}", told());
        let is_bound = self.home_agent.bound.contains_key(&view.home);
        assert!(is_bound, "{}", told());
    }

    /// Neither a binding inside, nor a word about one.
    fn check_nothing_is_left(&self, view: &View) {
        let told = || self.told();
        assert_eq!(view.stitched, None, "{}", told());
        assert_eq!(view.until, None, "{}", told());
        assert_eq!(view.inner.doing, Doing::Nothing, "{}", told());
        assert_eq!(view.inner.next, None, "{}", told());
        let is_bound = self.home_agent.bound.contains_key(&view.home);
        assert!(!is_bound, "{}", told());
    }

    fn arrangement<'a>(&self, node: &'a Node) -> &'a Arrangement {
        let arrangement = node.arrangement.as_ref();
        arrangement.unwrap_or_else(|| panic!("nothing is said: {}", self.told()))
    }
}

fn is_away(node: &Node) -> bool {
    !node.is_over && node.by_hand != Override::Blocked
}
