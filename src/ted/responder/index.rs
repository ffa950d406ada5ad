//! Finding our proxies for a packet among tens of thousands.
//!
//! Proxies are filed under their masks. A packet's address under each mask in use names the one
//! bucket to look into, so a search costs a lookup for each *different* mask (a few, at most some
//! dozens), however many proxies there are and whether or not the masks are contiguous.

use crate::net::{Flow, MaskedAddr};
use crate::ted::proxies::Proxy;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// In descending order of specificity.
type Bucket = Vec<Proxy>;

#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// By mask, then by masked address, of the local half.
    by_local: BTreeMap<IpAddr, BTreeMap<MaskedAddr, Bucket>>,
    /// The same by both halves: finds the proxies that hold a packet where thousands share one
    /// local half.
    by_both: BTreeMap<(IpAddr, IpAddr), BTreeMap<(MaskedAddr, MaskedAddr), Bucket>>,
}

impl Index {
    pub(super) fn new(proxies: impl IntoIterator<Item = Proxy>) -> Self {
        let mut index = Self::default();
        for proxy in proxies {
            let (local, remote) = (proxy.local, proxy.remote);
            let by_local = index.by_local.entry(local.mask()).or_default();
            by_local.entry(local).or_default().push(proxy);
            let masks = (local.mask(), remote.mask());
            let by_both = index.by_both.entry(masks).or_default();
            by_both.entry((local, remote)).or_default().push(proxy);
        }
        let by_local = index.by_local.values_mut().flat_map(BTreeMap::values_mut);
        let by_both = index.by_both.values_mut().flat_map(BTreeMap::values_mut);
        for bucket in by_local.chain(by_both) {
            most_specific_first(bucket);
        }
        index
    }

    /// Whether the address lies in the local half of any proxy.
    pub(super) fn is_local(&self, addr: IpAddr) -> bool {
        self.buckets(addr).next().is_some()
    }

    /// Up to `bound` proxies whose local half holds the source of `flow` (a packet that leaves
    /// here): those that hold the whole packet, then the others; most specific first in each
    /// group. The number of those in the first group stands beside.
    pub(super) fn protecting(&self, flow: &Flow, bound: usize) -> (Vec<Proxy>, usize) {
        let mut covering: Vec<Proxy> = self
            .by_both
            .iter()
            .filter_map(|((local, remote), filed)| {
                let local = MaskedAddr::new(flow.src, *local)?;
                let remote = MaskedAddr::new(flow.dst, *remote)?;
                filed.get(&(local, remote))
            })
            .flat_map(|bucket| bucket.iter().filter(|p| p.covers(flow)).take(bound))
            .copied()
            .collect();
        most_specific_first(&mut covering);
        covering.truncate(bound);

        let mut others: Vec<Proxy> = self
            .buckets(flow.src)
            .flat_map(|bucket| bucket.iter().filter(|p| !p.covers(flow)).take(bound))
            .copied()
            .collect();
        most_specific_first(&mut others);
        others.truncate(bound - covering.len());

        let count = covering.len();
        covering.append(&mut others);
        (covering, count)
    }

    fn buckets(&self, local: IpAddr) -> impl Iterator<Item = &Bucket> {
        self.by_local
            .iter()
            .filter_map(move |(mask, filed)| filed.get(&MaskedAddr::new(local, *mask)?))
    }
}

/// Ties keep a stable order, so that equal configurations give equal answers.
fn most_specific_first(proxies: &mut [Proxy]) {
    proxies.sort_by_key(|p| (std::cmp::Reverse(p.specificity()), *p));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Port, Protocol};
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    fn addr(low: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(255, 255, 255, low))
    }

    prop_compose! {
        fn proxy()(halves in prop::array::uniform4(0..16u8), tcp in any::<bool>()) -> Proxy {
            let half = |a, mask: u8| MaskedAddr::new(addr(a), addr(mask | 0xf0)).unwrap();
            Proxy {
                local: half(halves[0], halves[1]),
                remote: half(halves[2], halves[3]),
                protocol: if tcp { Protocol::TCP } else { Protocol::Any },
                local_port: Port::Any,
                remote_port: Port::Any,
            }
        }
    }

    proptest! {
        #[test]
        fn the_index_finds_what_a_linear_search_finds(
            proxies in prop::collection::vec(proxy(), 0..24),
            ends in prop::array::uniform2(0..16u8),
            protocol in prop_oneof![Just(1u8), Just(6)],
        ) {
            let flow = Flow { src: addr(ends[0]), dst: addr(ends[1]), protocol, ports: None };
            let index = Index::new(proxies.iter().copied());
            let (found, covering) = index.protecting(&flow, 100);

            let local = |p: &&Proxy| p.local.contains_addr(flow.src);
            prop_assert_eq!(index.is_local(flow.src), proxies.iter().any(|p| local(&p)));
            prop_assert_eq!(found.len(), proxies.iter().filter(local).count());
            prop_assert_eq!(covering, proxies.iter().filter(|p| p.covers(&flow)).count());
            prop_assert!(found[..covering].iter().all(|p| p.covers(&flow)));
            for group in [&found[..covering], &found[covering..]] {
                prop_assert!(group.is_sorted_by(|a, b| a.specificity() >= b.specificity()));
            }
            let (few, _) = index.protecting(&flow, 3);
            prop_assert_eq!(&few[..], &found[..found.len().min(3)]);
        }
    }
}
