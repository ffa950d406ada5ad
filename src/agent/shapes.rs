//! Which of many policies a packet may match, without a look at each of them.

use crate::kernel::desired::{Direction, Mark, PolicyKey};
use crate::net::{Family, Flow, IpNet, Port, Protocol, Selector};
use std::collections::BTreeMap;

/// How many policies there are of each shape. Few shapes, however many policies: as many as kinds of proxies are
/// configured, and some.
#[derive(Debug, Default)]
pub(super) struct Shapes(BTreeMap<Shape, usize>);

/// What of a packet a policy looks at. Those of one shape differ in values only, so that a flow matches one of them at
/// most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    direction: Direction,
    family: Family,
    src_len: u8,
    dst_len: u8,
    protocol: bool,
    src_port: bool,
    dst_port: bool,
    mark: Mark,
    if_id: u32,
}

impl Shapes {
    /// Of a policy that was not there.
    pub(super) fn add(&mut self, key: &PolicyKey) {
        *self.0.entry(Shape::of(key)).or_default() += 1;
    }

    /// Of one that was.
    pub(super) fn remove(&mut self, key: &PolicyKey) {
        let shape = Shape::of(key);
        if let Some(count) = self.0.get_mut(&shape) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&shape);
            }
        }
    }

    /// The keys that policies have which match packets of this flow, whatever their marks: those that are there are
    /// among them.
    pub(super) fn matching(
        &self,
        direction: Direction,
        flow: &Flow,
    ) -> impl Iterator<Item = PolicyKey> {
        let shapes = self.0.keys();
        shapes
            .filter(move |shape| shape.direction == direction)
            .filter_map(|shape| shape.key(flow))
    }
}

impl Shape {
    fn of(key: &PolicyKey) -> Self {
        let selector = &key.selector;
        Self {
            direction: key.direction,
            family: selector.family(),
            src_len: selector.src.prefix_len(),
            dst_len: selector.dst.prefix_len(),
            protocol: selector.protocol != Protocol::Any,
            src_port: selector.src_port != Port::Any,
            dst_port: selector.dst_port != Port::Any,
            mark: key.mark,
            if_id: key.if_id,
        }
    }

    /// Of the policy of this shape that matches the flow.
    fn key(&self, flow: &Flow) -> Option<PolicyKey> {
        if self.family != flow.family() {
            return None;
        }
        let port = |looked_at, port: Option<u16>| match (looked_at, port) {
            (false, _) => Some(Port::Any),
            (true, port) => Some(Port::Is(port?)),
        };
        let protocol = if self.protocol { flow.protocol } else { 0 };
        let src = IpNet::new(flow.src, self.src_len).ok()?;
        let dst = IpNet::new(flow.dst, self.dst_len).ok()?;
        let selector = Selector::between(src, dst)
            .protocol(Protocol::from_number(protocol))
            .ports(
                port(self.src_port, flow.src_port())?,
                port(self.dst_port, flow.dst_port())?,
            );
        Some(PolicyKey {
            direction: self.direction,
            selector,
            mark: self.mark,
            if_id: self.if_id,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    prop_compose! {
        /// Of a small world, so that many match.
        fn key()(
            v6: bool, out: bool, ends in any::<[bool; 2]>(), lens in [0u8..=32, 0u8..=32],
            protocol in prop::sample::select(&[0u8, 1, 6, 17][..]), ports in any::<[bool; 2]>(), mark in 0u32..2,
        ) -> PolicyKey {
            let net = |end: bool, len: u8| address(v6, end).and_len(len);
            let port = |is: bool| if is { Port::Is(80) } else { Port::Any };
            let direction = if out { Direction::Out } else { Direction::Fwd };
            PolicyKey {
                direction,
                selector: Selector::between(net(ends[0], lens[0]), net(ends[1], lens[1]))
                    .protocol(Protocol::from_number(protocol))
                    .ports(port(ports[0]), port(ports[1])),
                mark: Mark { value: mark, mask: mark },
                if_id: 0,
            }
        }
    }

    struct Address(std::net::IpAddr);

    fn address(v6: bool, end: bool) -> Address {
        let text = match (v6, end) {
            (false, false) => "10.1.0.2",
            (false, true) => "10.1.0.3",
            (true, false) => "2001:db8::2",
            (true, true) => "2001:db8:8000::2",
        };
        Address(text.parse().unwrap())
    }

    impl Address {
        fn and_len(&self, len: u8) -> IpNet {
            IpNet::new(self.0, len).unwrap()
        }
    }

    proptest! {
        #[test]
        fn whatever_matches_is_found_and_nothing_else(
            keys in prop::collection::btree_set(key(), 0..40), gone in 0usize..10,
            v6: bool, ends in any::<[bool; 2]>(), protocol in prop::sample::select(&[1u8, 6, 17][..]), port in 79u16..82,
        ) {
            let mut shapes = Shapes::default();
            for key in &keys {
                shapes.add(key);
            }
            for key in keys.iter().take(gone) {
                shapes.remove(key);
            }
            let keys: BTreeSet<_> = keys.into_iter().skip(gone).collect();
            let flow = Flow {
                src: address(v6, ends[0]).0,
                dst: address(v6, ends[1]).0,
                protocol,
                ports: (protocol != 1).then_some((80, port)),
            };
            let matches = |key: &&PolicyKey| key.direction == Direction::Out && key.selector.matches(&flow);
            let expected: BTreeSet<_> = keys.iter().filter(matches).copied().collect();
            let found = shapes.matching(Direction::Out, &flow).filter(|key| keys.contains(key)).collect();
            prop_assert_eq!(expected, found);
        }
    }

    #[test]
    fn nothing_stays_of_shapes_that_have_gone() {
        let net = |net: &str| net.parse().unwrap();
        let key = PolicyKey {
            direction: Direction::Out,
            selector: Selector::between(net("10.1.0.0/16"), net("10.0.0.0/8")),
            mark: Mark::default(),
            if_id: 0,
        };
        let mut shapes = Shapes::default();
        shapes.add(&key);
        shapes.remove(&key);
        assert!(shapes.0.is_empty());
    }
}
