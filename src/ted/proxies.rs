//! Full proxies and their intersection (FIG. 3A–3C, blocks 216 and 218).

use crate::net::masked::TooManyPrefixes;
use crate::net::{Family, Flow, MaskedAddr, Port, Protocol, Selector};
use std::fmt;

/// Which of our own proxies; chosen by the caller and stable across a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProxyId(pub u32);

/// A full proxy: traffic between what its gateway protects (`local`) and where that traffic goes
/// (`remote`). Both halves have the same IP version.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Proxy {
    pub local: MaskedAddr,
    pub remote: MaskedAddr,
    pub protocol: Protocol,
    pub local_port: Port,
    pub remote_port: Port,
}

/// Which part of two proxies has nothing in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Irreconcilable {
    #[error("protocol could not be reconciled")]
    Protocol,
    #[error("address could not be reconciled")]
    Address,
    #[error("port could not be reconciled")]
    Port,
}

impl Irreconcilable {
    /// Of several reasons, the one that came closest to an agreement: a port is nearer than a
    /// protocol, and that nearer than addresses that have nothing to do with each other.
    #[must_use]
    pub fn nearer(self, other: Self) -> Self {
        let rank = |what| match what {
            Self::Address => 0,
            Self::Protocol => 1,
            Self::Port => 2,
        };
        if rank(other) > rank(self) {
            other
        } else {
            self
        }
    }
}

/// Blocks 216 and 218: the largest common subset of our proxy and one of the responder's that
/// holds `packet`. `offered` is as the responder wrote it: its local half is our destination.
///
/// # Errors
/// What the offer that came closest could not be reconciled over; `Address` where none was made.
pub fn merge(ours: &Proxy, offered: &[Proxy], packet: &Flow) -> Result<Proxy, Irreconcilable> {
    let mut best: Option<Proxy> = None;
    let mut nearest = Irreconcilable::Address;
    for offer in offered {
        let merged = ours
            .intersect(&offer.mirrored())
            .and_then(|merged| merged.admit(packet).map(|()| merged));
        match merged {
            Ok(merged) if best.is_none_or(|b| merged.specificity() < b.specificity()) => {
                best = Some(merged);
            }
            Ok(_) => {}
            Err(what) => nearest = nearest.nearer(what),
        }
    }
    best.ok_or(nearest)
}

impl Proxy {
    pub fn family(&self) -> Family {
        self.local.family()
    }

    /// The same traffic as the gateway at its other end would configure it.
    #[must_use]
    pub fn mirrored(&self) -> Self {
        Self {
            local: self.remote,
            remote: self.local,
            protocol: self.protocol,
            local_port: self.remote_port,
            remote_port: self.local_port,
        }
    }

    /// Whether a packet that leaves this gateway (source local) lies inside.
    pub fn covers(&self, flow: &Flow) -> bool {
        self.admit(flow).is_ok()
    }

    /// Like [`Proxy::covers`], naming the first part of the packet that lies outside.
    pub fn admit(&self, flow: &Flow) -> Result<(), Irreconcilable> {
        if !self.protocol.matches(flow.protocol) {
            return Err(Irreconcilable::Protocol);
        }
        if !self.local.contains_addr(flow.src) || !self.remote.contains_addr(flow.dst) {
            return Err(Irreconcilable::Address);
        }
        if !self.local_port.matches(flow.src_port()) || !self.remote_port.matches(flow.dst_port()) {
            return Err(Irreconcilable::Port);
        }
        Ok(())
    }

    pub fn contains(&self, other: &Self) -> bool {
        self.local.contains(&other.local)
            && self.remote.contains(&other.remote)
            && self.protocol.contains(other.protocol)
            && self.local_port.contains(other.local_port)
            && self.remote_port.contains(other.remote_port)
    }

    /// The largest common subset of two proxies, both seen from the same end: source half with
    /// source half, destination half with destination half.
    pub fn intersect(&self, other: &Self) -> Result<Self, Irreconcilable> {
        Ok(Self {
            protocol: self
                .protocol
                .intersect(other.protocol)
                .ok_or(Irreconcilable::Protocol)?,
            local: self
                .local
                .intersect(&other.local)
                .ok_or(Irreconcilable::Address)?,
            remote: self
                .remote
                .intersect(&other.remote)
                .ok_or(Irreconcilable::Address)?,
            local_port: self
                .local_port
                .intersect(other.local_port)
                .ok_or(Irreconcilable::Port)?,
            remote_port: self
                .remote_port
                .intersect(other.remote_port)
                .ok_or(Irreconcilable::Port)?,
        })
    }

    /// The more address, protocol and port bits are fixed, the more specific.
    pub fn specificity(&self) -> u32 {
        let fixed = |any: bool, bits: u32| if any { 0 } else { bits };
        self.local.specificity()
            + self.remote.specificity()
            + fixed(self.protocol == Protocol::Any, 8)
            + fixed(self.local_port == Port::Any, 16)
            + fixed(self.remote_port == Port::Any, 16)
    }

    /// The outbound selectors (source local, destination remote) that hold exactly its packets:
    /// one where both masks are contiguous.
    ///
    /// # Errors
    /// A half would need more than `bound` prefixes, or both together would.
    pub fn selectors(&self, bound: usize) -> Result<Vec<Selector>, TooManyPrefixes> {
        let locals = self.local.to_prefixes(bound)?;
        let remotes = self.remote.to_prefixes(bound / locals.len())?;
        let pairs = locals
            .iter()
            .flat_map(|l| remotes.iter().map(move |r| (*l, *r)));
        Ok(pairs
            .map(|(l, r)| {
                Selector::between(l, r)
                    .protocol(self.protocol)
                    .ports(self.local_port, self.remote_port)
            })
            .collect())
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} <> {} {}", self.local, self.remote, self.protocol)?;
        if self.local_port != Port::Any || self.remote_port != Port::Any {
            write!(f, " port {} <> {}", self.local_port, self.remote_port)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn proxy(local: &str, remote: &str) -> Proxy {
        Proxy {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            protocol: Protocol::Any,
            local_port: Port::Any,
            remote_port: Port::Any,
        }
    }

    fn flow(src: &str, dst: &str, protocol: u8, ports: Option<(u16, u16)>) -> Flow {
        Flow {
            src: src.parse().unwrap(),
            dst: dst.parse().unwrap(),
            protocol,
            ports,
        }
    }

    #[test]
    fn the_documents_worked_example() {
        let ours = proxy("10.11.0.0 255.255.0.0", "192.168.0.0/16");
        let theirs = proxy("192.168.0.0/16", "10.0.0.0 255.0.0.0");
        let merged = ours.intersect(&theirs.mirrored()).unwrap();
        assert_eq!(merged.local.addr().to_string(), "10.11.0.0");
        assert_eq!(merged.local.mask().to_string(), "255.255.0.0");
    }

    #[test]
    fn halves_nested_either_way_give_the_smaller_of_each() {
        let ours = proxy("10.1.0.0/16", "10.2.3.0/24");
        let theirs = proxy("10.2.0.0/16", "10.1.7.0/24");
        let p = flow("10.1.7.1", "10.2.3.1", 1, None);
        assert_eq!(
            merge(&ours, &[theirs], &p).unwrap(),
            proxy("10.1.7.0/24", "10.2.3.0/24")
        );
    }

    #[test]
    fn one_side_tcp_and_one_side_tcp_to_port_80_give_tcp_to_port_80() {
        let tcp = |p: Proxy| Proxy {
            protocol: Protocol::TCP,
            ..p
        };
        let ours = tcp(proxy("10.1.0.0/16", "10.2.0.0/16"));
        let theirs = Proxy {
            local_port: Port::Is(80),
            ..tcp(proxy("10.2.0.0/16", "10.1.0.0/16"))
        };
        let web = flow("10.1.0.1", "10.2.0.1", 6, Some((40000, 80)));
        let merged = merge(&ours, &[theirs], &web).unwrap();
        assert_eq!(
            (merged.local_port, merged.remote_port),
            (Port::Any, Port::Is(80))
        );

        let ssh = flow("10.1.0.1", "10.2.0.1", 6, Some((40000, 22)));
        assert_eq!(merge(&ours, &[theirs], &ssh), Err(Irreconcilable::Port));
    }

    #[test]
    fn of_several_offers_the_largest_that_holds_the_packet_wins() {
        let ours = proxy("10.0.0.0/8", "10.0.0.0/8");
        let offers = [
            proxy("10.2.0.5", "10.1.0.0/16"),
            proxy("10.2.0.0/16", "10.1.0.0/16"),
            proxy("10.3.0.0/16", "0.0.0.0/0"),
        ];
        let p = flow("10.1.0.1", "10.2.0.5", 1, None);
        assert_eq!(
            merge(&ours, &offers, &p).unwrap(),
            proxy("10.1.0.0/16", "10.2.0.0/16")
        );
    }

    #[test]
    fn each_reason_is_told_and_the_nearest_offer_gives_it() {
        let ours = Proxy {
            protocol: Protocol::TCP,
            remote_port: Port::Is(443),
            ..proxy("10.1.0.0/16", "10.2.0.0/16")
        };
        let p = flow("10.1.0.1", "10.2.0.1", 6, Some((40000, 443)));
        let back = proxy("10.2.0.0/16", "10.1.0.0/16");
        let udp = Proxy {
            protocol: Protocol::UDP,
            ..back
        };
        let port = Proxy {
            local_port: Port::Is(80),
            ..back
        };
        let elsewhere = proxy("10.2.0.0/16", "10.9.0.0/16");
        assert_eq!(merge(&ours, &[udp], &p), Err(Irreconcilable::Protocol));
        assert_eq!(merge(&ours, &[elsewhere], &p), Err(Irreconcilable::Address));
        assert_eq!(merge(&ours, &[port], &p), Err(Irreconcilable::Port));
        assert_eq!(merge(&ours, &[], &p), Err(Irreconcilable::Address));
        assert_eq!(
            merge(&ours, &[udp, port, elsewhere], &p),
            Err(Irreconcilable::Port)
        );
        assert_eq!(
            merge(&ours, &[elsewhere, udp], &p),
            Err(Irreconcilable::Protocol)
        );
        let wrong_version = proxy("2001:db8::/32", "2001:db8::/32");
        assert_eq!(
            merge(&ours, &[wrong_version], &p),
            Err(Irreconcilable::Address)
        );
    }

    fn addr(low: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(255, 255, 255, low))
    }

    /// Sixteen addresses a half, three protocols, two ports: every packet can be tried.
    fn universe() -> impl Iterator<Item = Flow> {
        let ends = (0..16u8).flat_map(|s| (0..16u8).map(move |d| (addr(s), addr(d))));
        ends.flat_map(|(src, dst)| {
            [
                (1, None),
                (6, Some((1, 2))),
                (6, Some((2, 1))),
                (17, Some((1, 1))),
                (17, Some((2, 2))),
            ]
            .map(|(protocol, ports)| Flow {
                src,
                dst,
                protocol,
                ports,
            })
        })
    }

    fn half() -> impl Strategy<Value = MaskedAddr> {
        (0..16u8, 0..16u8)
            .prop_map(|(a, mask)| MaskedAddr::new(addr(a), addr(0xf0 | mask)).unwrap())
    }

    prop_compose! {
        fn any_proxy()(local in half(), remote in half(),
                       protocol in prop_oneof![Just(Protocol::Any), Just(Protocol::TCP), Just(Protocol::UDP)],
                       ports in prop::array::uniform2(prop_oneof![Just(Port::Any), Just(Port::Is(1)), Just(Port::Is(2))]))
            -> Proxy {
            Proxy { local, remote, protocol, local_port: ports[0], remote_port: ports[1] }
        }
    }

    proptest! {
        #[test]
        fn intersection_agrees_with_brute_force_membership(a in any_proxy(), b in any_proxy()) {
            let both = a.intersect(&b);
            for p in universe() {
                let expected = a.covers(&p) && b.covers(&p);
                prop_assert_eq!(both.is_ok_and(|m| m.covers(&p)), expected, "{}", p);
            }
        }

        #[test]
        fn merging_finds_a_proxy_exactly_where_both_sides_cover_the_packet(
            ours in any_proxy(),
            offers in prop::collection::vec(any_proxy(), 0..4),
            pick in 0usize..1280,
        ) {
            let p = universe().nth(pick).unwrap();
            let expected = ours.covers(&p) && offers.iter().any(|o| o.covers(&p.reversed()));
            match merge(&ours, &offers, &p) {
                Ok(merged) => {
                    prop_assert!(expected && merged.covers(&p) && ours.contains(&merged));
                    prop_assert!(offers.iter().any(|o| o.contains(&merged.mirrored())));
                }
                Err(_) => prop_assert!(!expected),
            }
        }

        #[test]
        fn selectors_hold_exactly_the_packets_of_the_proxy(a in any_proxy()) {
            let selectors = a.selectors(256).unwrap();
            for p in universe() {
                prop_assert_eq!(selectors.iter().filter(|s| s.matches(&p)).count(), usize::from(a.covers(&p)));
            }
        }
    }
}
