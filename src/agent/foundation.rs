//! What the configuration alone wants in the kernel, before any packet has come.
//!
//! ```text
//!  band      direction     selector                       what
//!  bypass    in out        ICMPv6 133–137                 neighbour discovery
//!  bypass    in out fwd    local ↔ local                  the gateway's own LAN
//!  bypass    out           local → link-scoped            DHCP answers, multicast of the link
//!  trap      out           local → remote                 ESP wanted: raises ACQUIRE
//!  enforce   in fwd        remote → local                 block, where on-failure is `block`
//!  enforce   in out fwd    subnets ↔ pool                 block: VPN clients that have no tunnel
//! ```
//!
//! Traps and enforcement exclude packets with the pass mark, so that discovery and IKE of others
//! get through a gateway that stands in the middle.

use super::settings::{FailureAction, ProxyGroup, Settings};
use super::wishes::{Owner, Wishes};
use crate::kernel::desired::{
    Action, Direction, IpsecProtocol, Level, Mark, Mode, Object, Policy, PolicyKey, Route,
    RouteKey, RuleKey, Sysctl, Template, Way,
};
use crate::kernel::ownership::Band;
use crate::net::masked::TooManyPrefixes;
use crate::net::{Family, IpNet, MaskedAddr, Port, Protocol, Selector, intersect_nets};
use crate::ted::proxies::Proxy;
use std::collections::BTreeSet;

/// Router and neighbour solicitation and advertisement, redirect (RFC 4861 §4).
const NEIGHBOUR_DISCOVERY: std::ops::RangeInclusive<u16> = 133..=137;

/// Destinations that never leave the link, so that a wide `remote` does not mean them: multicast
/// of the link, limited broadcast, link-local addresses.
const LINK_SCOPED: &[&str] = &[
    "224.0.0.0/24",
    "255.255.255.255/32",
    "169.254.0.0/16",
    "ff02::/16",
    "fe80::/10",
];

/// Prefixes in the set of those to whom first packets wait.
const MOST_TOWARDS: usize = 256;

/// Seconds until the kernel raises another ACQUIRE for a flow whose tunnel is still missing.
pub(super) const ACQUIRE_EXPIRES: u32 = 2;

/// Matches packets that do not carry the pass mark.
pub(super) fn without(pass: Mark) -> Mark {
    Mark {
        value: 0,
        mask: pass.mask,
    }
}

/// The outbound policy that raises ACQUIRE: a transport-mode template, since with a tunnel-mode
/// one a single larval SA would keep every further flow from being announced.
pub(super) fn trap(selector: Selector, mark: Mark, band: Band) -> Policy {
    let any = selector.family().unspecified();
    Policy {
        key: PolicyKey {
            direction: Direction::Out,
            selector,
            mark,
            if_id: 0,
        },
        priority: band.priority(selector.specificity()),
        action: Action::Allow(vec![Template {
            protocol: IpsecProtocol::Esp,
            mode: Mode::Transport,
            level: Level::Required,
            src: any,
            dst: any,
            reqid: 0,
            spi: None,
        }]),
        lifetime: None,
    }
}

pub(super) fn verdict(
    direction: Direction,
    selector: Selector,
    mark: Mark,
    band: Band,
    action: Action,
) -> Policy {
    Policy {
        key: PolicyKey {
            direction,
            selector,
            mark,
            if_id: 0,
        },
        priority: band.priority(selector.specificity()),
        action,
        lifetime: None,
    }
}

/// Every policy that follows from the configuration alone, each key once.
///
/// # Errors
/// A non-contiguous mask stands for more prefixes than [`Settings::max_prefixes`].
pub(super) fn policies(settings: &Settings) -> Result<Vec<(Owner, Policy)>, TooManyPrefixes> {
    let mut wanted = Vec::new();
    neighbour_discovery(&mut wanted);
    let locals = locals(settings)?;
    let mut bypassed = BTreeSet::new();
    let mark = without(settings.interception.pass_mark);
    for group in &settings.proxies {
        for proxy in &group.proxies {
            for selector in proxy.selectors(settings.max_prefixes)? {
                wanted.push((Owner::Base, trap(selector, mark, Band::Trap)));
                if group.on_failure == FailureAction::Block {
                    for direction in [Direction::In, Direction::Fwd] {
                        let policy = verdict(
                            direction,
                            selector.reversed(),
                            mark,
                            Band::Enforce,
                            Action::Block,
                        );
                        wanted.push((Owner::Base, policy));
                    }
                }
                bypass_own(&selector, &locals, &mut bypassed);
            }
        }
    }
    wanted.extend(pool(settings));
    wanted.extend(bypassed.into_iter().map(|(direction, selector)| {
        let clear = Action::Allow(Vec::new());
        (
            Owner::Bypass,
            verdict(direction, selector, Mark::default(), Band::Bypass, clear),
        )
    }));
    Ok(wanted)
}

/// Addresses of VPN clients are never spoken to, or heard, in the clear.
fn pool(settings: &Settings) -> Vec<(Owner, Policy)> {
    let mut wanted = Vec::new();
    let Some(served) = &settings.vpn.serves else {
        return wanted;
    };
    for subnet in &served.gateway.subnets {
        for pool in &served.pool {
            if Family::of(subnet.addr()) != Family::of(pool.addr()) {
                continue;
            }
            let outbound = Selector::between(*subnet, *pool);
            for (direction, selector) in [
                (Direction::Out, outbound),
                (Direction::In, outbound.reversed()),
                (Direction::Fwd, outbound.reversed()),
            ] {
                let (mark, block) = (Mark::default(), Action::Block);
                let policy = verdict(direction, selector, mark, Band::Enforce, block);
                wanted.push((Owner::Base, policy));
            }
        }
    }
    wanted
}

fn neighbour_discovery(wanted: &mut Vec<(Owner, Policy)>) {
    let any = Family::V6.any();
    for kind in NEIGHBOUR_DISCOVERY {
        let selector = Selector::between(any, any)
            .protocol(Protocol::ICMPV6)
            .ports(Port::Is(kind), Port::Any);
        for direction in [Direction::In, Direction::Out] {
            let clear = Action::Allow(Vec::new());
            let policy = verdict(direction, selector, Mark::default(), Band::Bypass, clear);
            wanted.push((Owner::Bypass, policy));
        }
    }
}

/// What lies on our own side of this proxy's remote half, and what never leaves the link.
fn bypass_own(proxy: &Selector, locals: &[IpNet], bypassed: &mut BTreeSet<(Direction, Selector)>) {
    for inside in inside(locals, proxy.dst) {
        let own = Selector::between(proxy.src, inside);
        for direction in [Direction::Out, Direction::In, Direction::Fwd] {
            bypassed.insert((direction, own));
            bypassed.insert((direction, own.reversed()));
        }
    }
    for scoped in LINK_SCOPED
        .iter()
        .filter_map(|net| net.parse::<IpNet>().ok())
    {
        if proxy.dst.contains(&scoped) && proxy.dst != scoped {
            bypassed.insert((Direction::Out, Selector::between(proxy.src, scoped)));
        }
    }
}

/// What `locals`, sorted and disjoint, have in common with `net`. Does not walk all of them: with
/// tens of thousands of proxies that would be the square of it.
fn inside(locals: &[IpNet], net: IpNet) -> impl Iterator<Item = IpNet> {
    let first = locals.partition_point(|local| local.broadcast() < net.network());
    locals[first..]
        .iter()
        .map_while(move |local| intersect_nets(*local, net))
}

/// The prefixes that the gateway protects: sorted, and none inside another.
pub(super) fn locals(settings: &Settings) -> Result<Vec<IpNet>, TooManyPrefixes> {
    disjoint(settings, |proxy| proxy.local)
}

/// Those behind other gateways, or all there are: to whom first packets wait. A set of many takes long to write, and what
/// is let go that no trap is for costs little.
pub(super) fn towards(settings: &Settings) -> Vec<IpNet> {
    disjoint(settings, |proxy| proxy.remote)
        .ok()
        .filter(|nets| nets.len() <= MOST_TOWARDS)
        .unwrap_or_else(|| vec![Family::V4.any(), Family::V6.any()])
}

fn disjoint(
    settings: &Settings,
    half: impl Fn(&Proxy) -> MaskedAddr,
) -> Result<Vec<IpNet>, TooManyPrefixes> {
    let mut nets = Vec::new();
    let halves: BTreeSet<_> = proxies(settings).map(|(_, proxy)| half(proxy)).collect();
    for half in halves {
        nets.extend(half.to_prefixes(settings.max_prefixes)?);
    }
    let mut disjoint = IpNet::aggregate(&nets);
    disjoint.sort_by_key(IpNet::network);
    Ok(disjoint)
}

pub(super) fn proxies(settings: &Settings) -> impl Iterator<Item = (&ProxyGroup, &Proxy)> {
    settings
        .proxies
        .iter()
        .flat_map(|group| group.proxies.iter().map(move |p| (group, p)))
}

/// Sysctls, and the way of a diverted probe to the agent's transparent sockets.
pub(super) fn surroundings(settings: &Settings, wishes: &mut Wishes) {
    wishes.want(Object::Sysctl(Sysctl::XfrmLarvalDrop, "0".to_owned()));
    wishes.want(Object::Sysctl(
        Sysctl::XfrmAcqExpires,
        ACQUIRE_EXPIRES.to_string(),
    ));
    let interception = &settings.interception;
    for family in [Family::V4, Family::V6] {
        let (table, priority) = (interception.table, interception.rule_priority);
        wishes.want(Object::Route(Route {
            key: RouteKey {
                table,
                dst: family.any(),
                metric: 0,
            },
            way: Way::Local,
        }));
        let rule = RuleKey::new(family, priority, table).mark(interception.divert_mark);
        wishes.want(Object::Rule(rule));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::settings::TunnelMode;
    use crate::net::Flow;
    use std::time::Duration;

    fn settings(proxies: &[(&str, &str)], on_failure: FailureAction) -> Settings {
        let proxy = |(local, remote): &(&str, &str)| Proxy {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            protocol: Protocol::Any,
            local_port: Port::Any,
            remote_port: Port::Any,
        };
        Settings {
            proxies: vec![ProxyGroup {
                name: "site".into(),
                proxies: proxies.iter().map(proxy).collect(),
                on_failure,
                failure_lifetime: Duration::from_secs(30),
                mode: TunnelMode::Tunnel,
            }],
            ..Settings::bare("gw.example".parse().unwrap())
        }
    }

    fn flow(src: &str, dst: &str) -> Flow {
        let (src, dst) = (src.parse().unwrap(), dst.parse().unwrap());
        Flow {
            src,
            dst,
            protocol: 17,
            ports: Some((68, 67)),
        }
    }

    /// What the kernel does with a packet: the matching policy of smallest priority.
    fn band(settings: &Settings, direction: Direction, flow: &Flow) -> Option<Band> {
        policies(settings)
            .unwrap()
            .into_iter()
            .map(|(_, policy)| policy)
            .filter(|p| p.key.direction == direction && p.key.selector.matches(flow))
            .min_by_key(|policy| policy.priority)
            .and_then(|policy| Band::of(policy.priority))
    }

    #[test]
    fn first_packets_wait_towards_few_prefixes_or_towards_all() {
        let remotes: Vec<_> = (0..=MOST_TOWARDS)
            .map(|n| format!("10.{}.{}.0/25", n / 200 + 2, n % 200))
            .collect();
        let proxies: Vec<_> = remotes.iter().map(|r| ("10.1.0.0/16", &**r)).collect();
        let some = settings(&proxies[..MOST_TOWARDS], FailureAction::Block);
        assert_eq!(towards(&some).len(), MOST_TOWARDS);
        let all = settings(&proxies, FailureAction::Block);
        assert_eq!(towards(&all), [Family::V4.any(), Family::V6.any()]);
    }

    #[test]
    fn the_documents_local_inside_remote_does_not_cut_the_gateway_off_from_its_lan() {
        let settings = settings(&[("10.11.0.0/16", "10.0.0.0/8")], FailureAction::Block);
        let gateway_to_lan = flow("10.11.0.1", "10.11.3.4");
        for direction in [Direction::Out, Direction::In, Direction::Fwd] {
            assert_eq!(
                band(&settings, direction, &gateway_to_lan),
                Some(Band::Bypass)
            );
        }
        let abroad = flow("10.11.3.4", "10.12.0.1");
        assert_eq!(band(&settings, Direction::Out, &abroad), Some(Band::Trap));
        assert_eq!(band(&settings, Direction::Fwd, &abroad), None);
        assert_eq!(
            band(&settings, Direction::In, &abroad.reversed()),
            Some(Band::Enforce)
        );
        assert_eq!(
            band(&settings, Direction::Fwd, &abroad.reversed()),
            Some(Band::Enforce)
        );
    }

    #[test]
    fn a_remote_that_means_everything_does_not_mean_the_link_itself() {
        let settings = settings(&[("10.1.0.0/16", "0.0.0.0/0")], FailureAction::Block);
        for link_scoped in ["255.255.255.255", "224.0.0.251", "169.254.1.1"] {
            let packet = flow("10.1.0.1", link_scoped);
            assert_eq!(band(&settings, Direction::Out, &packet), Some(Band::Bypass));
        }
        let packet = flow("10.1.0.1", "203.0.113.1");
        assert_eq!(band(&settings, Direction::Out, &packet), Some(Band::Trap));
    }

    #[test]
    fn clear_proxies_accept_what_comes_in_the_clear() {
        let settings = settings(&[("10.1.0.0/16", "10.2.0.0/16")], FailureAction::Clear);
        let incoming = flow("10.2.0.1", "10.1.0.1");
        assert_eq!(band(&settings, Direction::In, &incoming), None);
        assert_eq!(
            band(&settings, Direction::Out, &incoming.reversed()),
            Some(Band::Trap)
        );
    }

    #[test]
    fn neighbour_discovery_passes_between_protected_neighbours() {
        let settings = settings(&[("2001:db8::1", "2001:db8::2")], FailureAction::Block);
        // As the kernel sees it: the ICMPv6 type stands where the source port would be.
        let solicitation = Flow {
            src: "2001:db8::1".parse().unwrap(),
            dst: "2001:db8::2".parse().unwrap(),
            protocol: 58,
            ports: Some((135, 0)),
        };
        let echo = Flow {
            ports: Some((128, 0)),
            ..solicitation
        };
        assert_eq!(
            band(&settings, Direction::Out, &solicitation),
            Some(Band::Bypass)
        );
        assert_eq!(band(&settings, Direction::Out, &echo), Some(Band::Trap));
        let incoming = |packet: Flow| Flow {
            src: packet.dst,
            dst: packet.src,
            ..packet
        };
        let from_peer = |packet| band(&settings, Direction::In, &incoming(packet));
        assert_eq!(from_peer(solicitation), Some(Band::Bypass));
        assert_eq!(from_peer(echo), Some(Band::Enforce));
    }

    #[test]
    fn every_key_is_wanted_once_and_traps_do_not_match_what_carries_the_pass_mark() {
        let proxies = [("10.1.0.0/16", "10.0.0.0/8"), ("10.2.0.0/16", "10.0.0.0/8")];
        let settings = settings(&proxies, FailureAction::Block);
        let wanted = policies(&settings).unwrap();
        let keys: BTreeSet<_> = wanted.iter().map(|(_, policy)| policy.key).collect();
        assert_eq!(keys.len(), wanted.len());
        for (owner, policy) in wanted {
            let excludes = policy.key.mark == without(settings.interception.pass_mark);
            assert_eq!(excludes, owner == Owner::Base, "{policy:?}");
        }
    }

    #[test]
    fn what_locals_share_with_a_prefix_is_found_without_walking_them_all() {
        let nets: Vec<IpNet> = (0..100u8)
            .map(|n| format!("10.{n}.0.0/17").parse().unwrap())
            .collect();
        let shared = |net: &str| inside(&nets, net.parse().unwrap()).collect::<Vec<_>>();
        assert_eq!(shared("10.7.0.0/16"), [nets[7]]);
        assert_eq!(
            shared("10.7.3.0/24"),
            ["10.7.3.0/24".parse::<IpNet>().unwrap()]
        );
        assert_eq!(shared("10.7.128.0/17"), []);
        assert_eq!(shared("0.0.0.0/0").len(), 100);
        assert_eq!(shared("10.98.0.0/15"), [nets[98], nets[99]]);
        assert_eq!(shared("::/0"), []);
    }
}
