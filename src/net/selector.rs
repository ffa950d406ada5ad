//! Which packets: the shape shared by XFRM policies, traffic selectors and merged proxies.

use super::{Family, Flow, IpNet, Port, Protocol, intersect_nets};
use std::fmt;

/// Source and destination prefix (of one IP version, host bits zero), protocol and ports.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Selector {
    pub src: IpNet,
    pub dst: IpNet,
    pub protocol: Protocol,
    pub src_port: Port,
    pub dst_port: Port,
}

impl Selector {
    /// Every protocol and port between two prefixes. Host bits are cleared.
    ///
    /// The two must be of one IP version; a selector that mixes them matches nothing.
    pub fn between(src: IpNet, dst: IpNet) -> Self {
        Self {
            src: src.trunc(),
            dst: dst.trunc(),
            protocol: Protocol::Any,
            src_port: Port::Any,
            dst_port: Port::Any,
        }
    }

    #[must_use]
    pub fn protocol(self, protocol: Protocol) -> Self {
        Self { protocol, ..self }
    }

    #[must_use]
    pub fn ports(self, src_port: Port, dst_port: Port) -> Self {
        Self {
            src_port,
            dst_port,
            ..self
        }
    }

    pub fn family(&self) -> Family {
        Family::of(self.dst.addr())
    }

    /// The same traffic in the other direction.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            protocol: self.protocol,
            src_port: self.dst_port,
            dst_port: self.src_port,
        }
    }

    pub fn matches(&self, flow: &Flow) -> bool {
        self.src.contains(&flow.src)
            && self.dst.contains(&flow.dst)
            && self.protocol.matches(flow.protocol)
            && self.src_port.matches(flow.src_port())
            && self.dst_port.matches(flow.dst_port())
    }

    /// Whether every packet of `other` is in this one.
    pub fn contains(&self, other: &Self) -> bool {
        self.src.contains(&other.src)
            && self.dst.contains(&other.dst)
            && self.protocol.contains(other.protocol)
            && self.src_port.contains(other.src_port)
            && self.dst_port.contains(other.dst_port)
    }

    /// The largest selector inside both, or `None` where they have no packet in common.
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        Some(Self {
            src: intersect_nets(self.src, other.src)?,
            dst: intersect_nets(self.dst, other.dst)?,
            protocol: self.protocol.intersect(other.protocol)?,
            src_port: self.src_port.intersect(other.src_port)?,
            dst_port: self.dst_port.intersect(other.dst_port)?,
        })
    }

    /// How many address, protocol and port bits are fixed, at most 296: of two selectors that
    /// overlap, the more specific one should decide.
    pub fn specificity(&self) -> u32 {
        let fixed = |any: bool, bits: u32| if any { 0 } else { bits };
        u32::from(self.src.prefix_len())
            + u32::from(self.dst.prefix_len())
            + fixed(self.protocol == Protocol::Any, 8)
            + fixed(self.src_port == Port::Any, 16)
            + fixed(self.dst_port == Port::Any, 16)
    }

    pub fn overlaps(&self, other: &Self) -> bool {
        self.intersect(other).is_some()
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {} {}", self.src, self.dst, self.protocol)?;
        if self.src_port != Port::Any || self.dst_port != Port::Any {
            write!(f, " port {} > {}", self.src_port, self.dst_port)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Selector({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv4Addr};

    /// Eight addresses, three ports and three protocols: small enough to enumerate every packet.
    fn universe() -> impl Iterator<Item = Flow> {
        (0..8u32).flat_map(|s| {
            (0..8u32).flat_map(move |d| {
                [1u8, 6, 17].into_iter().flat_map(move |protocol| {
                    let ports: Vec<Option<(u16, u16)>> = if protocol == 1 {
                        vec![None]
                    } else {
                        vec![Some((1, 1)), Some((1, 2)), Some((2, 1)), Some((2, 2))]
                    };
                    ports.into_iter().map(move |ports| Flow {
                        src: IpAddr::V4(Ipv4Addr::from(s)),
                        dst: IpAddr::V4(Ipv4Addr::from(d)),
                        protocol,
                        ports,
                    })
                })
            })
        })
    }

    prop_compose! {
        fn selector()(s in 0u32..8, sl in 29u8..=32, d in 0u32..8, dl in 29u8..=32,
                      protocol in prop_oneof![Just(Protocol::Any), Just(Protocol::TCP), Just(Protocol::ICMP)],
                      ports in prop::array::uniform2(prop_oneof![Just(Port::Any), Just(Port::Is(1)), Just(Port::Is(2))]))
            -> Selector {
            let net = |a: u32, l: u8| IpNet::new(IpAddr::V4(Ipv4Addr::from(a)), l).unwrap();
            Selector::between(net(s, sl), net(d, dl)).protocol(protocol).ports(ports[0], ports[1])
        }
    }

    proptest! {
        #[test]
        fn intersection_holds_exactly_the_packets_of_both(a in selector(), b in selector()) {
            let both = a.intersect(&b);
            for flow in universe() {
                let expected = a.matches(&flow) && b.matches(&flow);
                prop_assert_eq!(both.is_some_and(|s| s.matches(&flow)), expected);
            }
        }

        #[test]
        fn contained_selectors_match_no_other_packets(a in selector(), b in selector()) {
            if a.contains(&b) {
                prop_assert!(universe().all(|flow| !b.matches(&flow) || a.matches(&flow)));
                prop_assert_eq!(a.intersect(&b), Some(b));
            }
        }

        #[test]
        fn reversing_a_selector_matches_the_reversed_packets(a in selector()) {
            for flow in universe() {
                prop_assert_eq!(a.matches(&flow), a.reversed().matches(&flow.reversed()));
            }
        }
    }
}
