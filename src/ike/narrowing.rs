//! Which traffic: traffic selectors from selectors, and back (RFC 7296 §2.9).
//!
//! A TS pair is a cross product: every entry of one payload with every entry of the other. What
//! this agent can install is a list of [`Selector`]s: prefixes, one protocol or any, one port or
//! any. Computations are done on ranges; what is left at the end and cannot be said as selectors
//! is left out, so that an answer is never wider than what was asked.

use super::wire::TrafficSelector;
use super::wire::traffic_selector::MAX_SELECTORS;
use crate::net::{Family, Flow, IpNet, Port, Protocol, Selector};
use std::net::IpAddr;

const ANY_PORT: (u16, u16) = (0, u16::MAX);

/// One side of a selector.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Local,
    Remote,
}

fn half(selector: &Selector, side: Side) -> TrafficSelector {
    let (net, port) = match side {
        Side::Local => (selector.src, selector.src_port),
        Side::Remote => (selector.dst, selector.dst_port),
    };
    TrafficSelector {
        protocol: selector.protocol.number(),
        // An ICMP type or code is not said as a port (RFC 7296 §3.13.1); an answer is checked
        // against the selectors that were meant, so saying more than they do grants nothing.
        ports: match port {
            Port::Is(p) if selector.protocol.has_ports() => (p, p),
            _ => ANY_PORT,
        },
        addrs: range(net),
    }
}

fn range(net: IpNet) -> (IpAddr, IpAddr) {
    (net.network(), net.broadcast())
}

fn exactly(flow: &Flow) -> Selector {
    let has_ports = Protocol::from_number(flow.protocol).has_ports();
    let port = |port: Option<u16>| port.filter(|_| has_ports).map_or(Port::Any, Port::Is);
    Selector::between(flow.src.into(), flow.dst.into())
        .protocol(Protocol::from_number(flow.protocol))
        .ports(port(flow.src_port()), port(flow.dst_port()))
}

/// TSi and TSr for outbound selectors: local sides, remote sides.
pub fn payloads(selectors: &[Selector]) -> (Vec<TrafficSelector>, Vec<TrafficSelector>) {
    let side = |side| {
        let mut list = Vec::new();
        for ts in selectors.iter().map(|s| half(s, side)) {
            if !list.contains(&ts) {
                list.push(ts);
            }
        }
        list
    };
    (side(Side::Local), side(Side::Remote))
}

/// As [`payloads`], the packet that wants out in front of each, so that whoever narrows knows
/// which part must stay (RFC 7296 §2.9).
pub fn proposal(
    selectors: &[Selector],
    flow: Option<&Flow>,
) -> (Vec<TrafficSelector>, Vec<TrafficSelector>) {
    let mut all: Vec<Selector> = flow.map(exactly).into_iter().collect();
    all.extend_from_slice(selectors);
    let (mut local, mut remote) = payloads(&all);
    local.truncate(MAX_SELECTORS);
    remote.truncate(MAX_SELECTORS);
    (local, remote)
}

/// The selectors of an answer: what both payloads together stand for.
pub fn selectors(local: &[TrafficSelector], remote: &[TrafficSelector]) -> Vec<Selector> {
    let mut list = Vec::new();
    for (l, r) in pairs(local, remote) {
        extend(&mut list, selectors_of(l, r));
    }
    list
}

/// The traffic of a proposal that we protect, seen from here: `local` is what the peer calls its
/// remote side. Empty where there is none.
///
/// The result is a set that a TS pair can express. Where the whole intersection is not, as much is
/// kept as can be together with the part that holds the proposal's first pair: the packet.
pub fn narrow(
    local: &[TrafficSelector],
    remote: &[TrafficSelector],
    protects: &[Selector],
) -> Vec<Selector> {
    let mut all = Vec::new();
    let mut packet = None;
    for (l, r) in pairs(local, remote) {
        for own in protects {
            let Some(l) = intersect(l, half(own, Side::Local)) else {
                continue;
            };
            let Some(r) = intersect(r, half(own, Side::Remote)) else {
                continue;
            };
            let common = selectors_of(l, r);
            if packet.is_none() {
                packet = common.first().copied();
            }
            extend(&mut all, common);
        }
    }
    let Some(packet) = packet else {
        return Vec::new();
    };
    let mut kept: Vec<Selector> = all
        .iter()
        .filter(|s| s.contains(&packet))
        .take(1)
        .copied()
        .collect();
    for candidate in &all {
        let fits = kept
            .iter()
            .all(|k| crosses_inside(k, candidate, &all) && crosses_inside(candidate, k, &all));
        if fits && !kept.contains(candidate) {
            kept.push(*candidate);
        }
    }
    // The other end hears the cross product, so that is what both install.
    let (local, remote) = payloads(&kept);
    selectors(&local, &remote)
}

/// Whether the local side of one with the remote side of another stands for nothing outside
/// `allowed`.
fn crosses_inside(local: &Selector, remote: &Selector, allowed: &[Selector]) -> bool {
    let crossed = selectors_of(half(local, Side::Local), half(remote, Side::Remote));
    crossed
        .iter()
        .all(|s| allowed.iter().any(|allowed| allowed.contains(s)))
}

fn pairs<'a>(
    local: &'a [TrafficSelector],
    remote: &'a [TrafficSelector],
) -> impl Iterator<Item = (TrafficSelector, TrafficSelector)> + 'a {
    local
        .iter()
        .flat_map(|l| remote.iter().map(move |r| (*l, *r)))
}

/// Adds what is not contained yet, within the bound; drops what the new one contains.
fn extend(list: &mut Vec<Selector>, more: Vec<Selector>) {
    for new in more {
        if list.iter().any(|old| old.contains(&new)) {
            continue;
        }
        list.retain(|old| !new.contains(old));
        if list.len() < MAX_SELECTORS {
            list.push(new);
        }
    }
}

fn intersect(a: TrafficSelector, b: TrafficSelector) -> Option<TrafficSelector> {
    let protocol = common_protocol(a, b)?.number();
    let ports = (a.ports.0.max(b.ports.0), a.ports.1.min(b.ports.1));
    let addrs = (a.addrs.0.max(b.addrs.0), a.addrs.1.min(b.addrs.1));
    let same_family = a.addrs.0.is_ipv4() == b.addrs.0.is_ipv4();
    (same_family && ports.0 <= ports.1 && addrs.0 <= addrs.1).then_some(TrafficSelector {
        protocol,
        ports,
        addrs,
    })
}

fn common_protocol(a: TrafficSelector, b: TrafficSelector) -> Option<Protocol> {
    Protocol::from_number(a.protocol).intersect(Protocol::from_number(b.protocol))
}

/// One pair as selectors; none where it cannot be said in few enough.
fn selectors_of(local: TrafficSelector, remote: TrafficSelector) -> Vec<Selector> {
    let list = || {
        if local.addrs.0.is_ipv4() != remote.addrs.0.is_ipv4() {
            return None;
        }
        let protocol = common_protocol(local, remote)?;
        let port = |ports| match ports {
            ANY_PORT => Some(Port::Any),
            (a, b) if a == b && protocol.has_ports() => Some(Port::Is(a)),
            _ => None,
        };
        let (local_port, remote_port) = (port(local.ports)?, port(remote.ports)?);
        let (locals, remotes) = (prefixes(local.addrs), prefixes(remote.addrs));
        if locals.len() * remotes.len() > MAX_SELECTORS {
            return None;
        }
        let pairs = locals
            .iter()
            .flat_map(|l| remotes.iter().map(move |r| (*l, *r)));
        Some(
            pairs
                .map(|(l, r)| {
                    Selector::between(l, r)
                        .protocol(protocol)
                        .ports(local_port, remote_port)
                })
                .collect(),
        )
    };
    list().unwrap_or_default()
}

/// The fewest prefixes that hold exactly a range: at most 2 × 128.
fn prefixes((first, last): (IpAddr, IpAddr)) -> Vec<IpNet> {
    let family = Family::of(first);
    let number = |addr| match addr {
        IpAddr::V4(a) => u128::from(a.to_bits()),
        IpAddr::V6(a) => a.to_bits(),
    };
    let (mut next, last) = (number(first), number(last));
    let mut list = Vec::new();
    while next <= last {
        // The largest block that begins here, is aligned and does not reach beyond the end.
        let aligned = next.trailing_zeros().min(family.bits().into());
        let fits = (last - next).checked_add(1).map_or(128, u128::ilog2);
        let bits = aligned.min(fits);
        let addr = match family {
            Family::V4 => IpAddr::V4((next as u32).into()),
            Family::V6 => IpAddr::V6(next.into()),
        };
        let length = family.bits() - bits as u8;
        list.push(IpNet::new(addr, length).expect("the length is within the family's"));
        match 1u128
            .checked_shl(bits)
            .and_then(|size| next.checked_add(size))
        {
            Some(n) => next = n,
            None => break,
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn selector(src: &str, dst: &str) -> Selector {
        Selector::between(src.parse().unwrap(), dst.parse().unwrap())
    }

    fn ts(first: &str, last: &str) -> TrafficSelector {
        TrafficSelector {
            protocol: 0,
            ports: ANY_PORT,
            addrs: (first.parse().unwrap(), last.parse().unwrap()),
        }
    }

    fn flow(src: &str, dst: &str, ports: (u16, u16)) -> Flow {
        Flow {
            src: src.parse().unwrap(),
            dst: dst.parse().unwrap(),
            protocol: 6,
            ports: Some(ports),
        }
    }

    #[test]
    fn the_packet_stands_first_and_the_answer_reads_back() {
        let proxy = selector("10.1.0.0/16", "10.2.0.0/16").protocol(Protocol::TCP);
        let packet = flow("10.1.0.5", "10.2.0.7", (1000, 80));
        let (i, r) = proposal(&[proxy], Some(&packet));
        assert_eq!((i.len(), r.len()), (2, 2));
        assert_eq!((i[0].protocol, i[0].ports), (6, (1000, 1000)));
        assert_eq!((r[0].addrs.0, r[0].ports), (packet.dst, (80, 80)));
        assert_eq!(selectors(&i, &r), [proxy]);
    }

    #[test]
    fn a_proposal_is_narrowed_to_what_is_protected_protocol_and_ports_included() {
        let own = selector("10.2.3.0/24", "10.0.0.0/8")
            .protocol(Protocol::TCP)
            .ports(Port::Is(80), Port::Any);
        let (i, r) = payloads(&[selector("10.1.0.0/16", "10.2.0.0/16")]);
        let expected = selector("10.2.3.0/24", "10.1.0.0/16")
            .protocol(Protocol::TCP)
            .ports(Port::Is(80), Port::Any);
        assert_eq!(narrow(&r, &i, &[own]), [expected]);
        let (i, r) = payloads(&[selector("10.1.0.0/16", "10.3.0.0/16")]);
        assert_eq!(narrow(&r, &i, &[own]), []);
    }

    #[test]
    fn of_an_intersection_that_no_pair_can_express_the_part_with_the_packet_stays() {
        let own = [
            selector("10.2.1.0/24", "10.1.1.0/24"),
            selector("10.2.2.0/24", "10.1.2.0/24"),
        ];
        let whole = [selector("10.1.0.0/16", "10.2.0.0/16")];
        for (packet, kept) in [
            (flow("10.1.1.5", "10.2.1.5", (1, 2)), own[0]),
            (flow("10.1.2.5", "10.2.2.5", (1, 2)), own[1]),
        ] {
            let (i, r) = proposal(&whole, Some(&packet));
            assert_eq!(narrow(&r, &i, &own), [kept]);
        }
        let square = [
            own[0],
            own[1],
            selector("10.2.1.0/24", "10.1.2.0/24"),
            selector("10.2.2.0/24", "10.1.1.0/24"),
        ];
        let (i, r) = payloads(&whole);
        assert_eq!(narrow(&r, &i, &square).len(), 4);
    }

    #[test]
    fn ranges_become_prefixes_and_what_cannot_be_said_is_left_out() {
        let local = [ts("10.0.0.1", "10.0.0.6")];
        let nets: Vec<String> = selectors(&local, &[ts("10.9.0.0", "10.9.0.255")])
            .iter()
            .map(|s| s.src.to_string())
            .collect();
        assert_eq!(
            nets,
            ["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/31", "10.0.0.6/32"]
        );
        let remote = [TrafficSelector {
            ports: (1, 1023),
            protocol: 6,
            ..ts("10.9.0.0", "10.9.0.255")
        }];
        assert_eq!(selectors(&local, &remote), []);
        let opaque = [TrafficSelector {
            ports: (u16::MAX, 0),
            ..ts("10.9.0.0", "10.9.0.255")
        }];
        assert_eq!(selectors(&local, &opaque), []);
        assert_eq!(selectors(&local, &[ts("::", "::1")]), []);
        let own = selector("10.9.0.0/24", "10.0.0.0/8")
            .protocol(Protocol::TCP)
            .ports(Port::Is(80), Port::Any);
        let common = narrow(&remote, &[ts("10.0.0.0", "10.0.0.255")], &[own]);
        assert_eq!(
            common,
            [selector("10.9.0.0/24", "10.0.0.0/24")
                .protocol(Protocol::TCP)
                .ports(Port::Is(80), Port::Any)]
        );
    }

    #[test]
    fn the_whole_of_either_version_is_one_prefix() {
        for net in ["0.0.0.0/0", "::/0", "::1/128", "255.255.255.255/32"] {
            let net: IpNet = net.parse().unwrap();
            assert_eq!(prefixes(range(net)), [net]);
        }
    }

    fn small(n: u32) -> IpAddr {
        IpAddr::V4((0x0a00_0000 + n).into())
    }

    prop_compose! {
        fn small_ts()(a in 0u32..16, b in 0u32..16, protocol in prop_oneof![Just(0u8), Just(6), Just(17)], ports in prop_oneof![Just(ANY_PORT), Just((1u16, 1u16)), Just((1, 2))])
            -> TrafficSelector {
            TrafficSelector { protocol, ports, addrs: (small(a.min(b)), small(a.max(b))) }
        }
    }

    prop_compose! {
        fn small_selector()(s in 0u32..16, sl in 28u8..=32, d in 0u32..16, dl in 28u8..=32,
            protocol in prop_oneof![Just(Protocol::Any), Just(Protocol::TCP)], port in prop_oneof![Just(Port::Any), Just(Port::Is(1))]) -> Selector {
            let net = |n, len| IpNet::new(small(n), len).unwrap();
            let port = if protocol == Protocol::Any { Port::Any } else { port };
            Selector::between(net(s, sl), net(d, dl)).protocol(protocol).ports(port, Port::Any)
        }
    }

    fn flows() -> impl Iterator<Item = Flow> {
        (0..16).flat_map(|s| {
            (0..16).flat_map(move |d| {
                [6, 17].into_iter().flat_map(move |protocol| {
                    (1..3).map(move |port| Flow {
                        src: small(s),
                        dst: small(d),
                        protocol,
                        ports: Some((port, 1)),
                    })
                })
            })
        })
    }

    fn ts_matches(ts: &TrafficSelector, addr: IpAddr, protocol: u8, port: u16) -> bool {
        (ts.addrs.0..=ts.addrs.1).contains(&addr)
            && (ts.ports.0..=ts.ports.1).contains(&port)
            && (ts.protocol == 0 || ts.protocol == protocol)
    }

    proptest! {
        #[test]
        fn a_range_is_exactly_its_prefixes(a in 0u32..1000, b in 0u32..1000) {
            let (first, last) = (small(a.min(b)), small(a.max(b)));
            let list = prefixes((first, last));
            for n in 0..1000 {
                let held = list.iter().filter(|net| net.contains(&small(n))).count();
                prop_assert_eq!(held, usize::from((first..=last).contains(&small(n))));
            }
        }

        #[test]
        fn narrowing_grants_nothing_beyond_either_side_and_what_is_said_is_what_is_kept(
            local in prop::collection::vec(small_ts(), 1..3), remote in prop::collection::vec(small_ts(), 1..3),
            own in prop::collection::vec(small_selector(), 1..4)) {
            let kept = narrow(&local, &remote, &own);
            let (said_local, said_remote) = payloads(&kept);
            let heard = selectors(&said_local, &said_remote);
            for f in flows() {
                let granted = kept.iter().any(|s| s.matches(&f));
                prop_assert_eq!(granted, heard.iter().any(|s| s.matches(&f)), "{}", f);
                let allowed = own.iter().any(|s| s.matches(&f))
                    && local.iter().any(|t| ts_matches(t, f.src, f.protocol, f.ports.unwrap().0))
                    && remote.iter().any(|t| ts_matches(t, f.dst, f.protocol, f.ports.unwrap().1));
                prop_assert!(!granted || allowed, "{}", f);
            }
        }
    }
}
