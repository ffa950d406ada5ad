//! What the configuration alone wants in the kernel, before any packet has come.
//!
//! ```text
//!  band      direction     selector                       what
//!  bypass    in out        ICMPv6 133–137                 neighbour discovery
//!  bypass    in out fwd    local ↔ local                  the gateway's own LAN
//!  bypass    out           local → link-scoped            DHCP answers, multicast of the link
//!  trap      out           local → remote                 ESP wanted: raises ACQUIRE
//!  enforce   in fwd        remote → local                 block, where on-failure is `block`
//! ```
//!
//! Traps and enforcement exclude packets with the pass mark, so that discovery and IKE of others
//! get through a gateway that stands in the middle.

use super::settings::{FailureAction, ProxyGroup, Settings};
use super::wishes::{Owner, Wishes};
use crate::kernel::desired::{
    Action, Direction, IpsecProtocol, Level, Lifetime, Mark, Mode, Object, Policy, PolicyKey,
    RouteKey, RuleKey, Sysctl, Template,
};
use crate::kernel::ownership::Band;
use crate::net::masked::TooManyPrefixes;
use crate::net::{Family, IpNet, Port, Protocol, Selector, intersect_nets};
use crate::ted::proxies::Proxy;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

/// Seconds until the kernel raises another ACQUIRE for a flow whose tunnel is still missing.
const ACQUIRE_EXPIRES: u32 = 2;

pub(super) fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

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
    let any = unspecified(selector.family());
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
        lifetime: Lifetime::default(),
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
        lifetime: Lifetime::default(),
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
    wanted.extend(bypassed.into_iter().map(|(direction, selector)| {
        let clear = Action::Allow(Vec::new());
        (
            Owner::Bypass,
            verdict(direction, selector, Mark::default(), Band::Bypass, clear),
        )
    }));
    Ok(wanted)
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
    let mut nets = Vec::new();
    let halves: BTreeSet<_> = proxies(settings).map(|(_, proxy)| proxy.local).collect();
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
        wishes.want(Object::Route(RouteKey {
            table: interception.table,
            local: family.any(),
        }));
        wishes.want(Object::Rule(RuleKey {
            family,
            priority: interception.rule_priority,
            mark: interception.divert_mark,
            table: interception.table,
        }));
    }
}
