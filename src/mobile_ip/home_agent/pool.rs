//! Home addresses for mobile nodes that have none of their own (RFC 2794).
//!
//! An address that was given stays with its mobile node, registered or not, until all the others have
//! been given, too: then who has been away for the longest loses it. Main type: [`Pool`]. It knows
//! addresses only, not whose they are.

use crate::net::Ipv4Net;
use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

#[derive(Debug)]
pub(super) struct Pool {
    net: Ipv4Net,
    /// The next address nobody has had.
    next: u32,
    /// Given, and nobody is registered there: by when that began, and the way back.
    idle: BTreeMap<u64, Ipv4Addr>,
    since: HashMap<Ipv4Addr, u64>,
    /// Counts what became idle.
    turn: u64,
}

impl Pool {
    pub(super) fn new(net: Ipv4Net) -> Self {
        Self {
            net,
            next: 1,
            idle: BTreeMap::new(),
            since: HashMap::new(),
            turn: 0,
        }
    }

    /// Whether it may be given: not those that name the network, or everybody in it.
    pub(super) fn contains(&self, home: Ipv4Addr) -> bool {
        let (first, last) = (self.net.network(), self.net.broadcast());
        self.net.contains(&home) && home != first && home != last
    }

    /// One that nobody has, or else the one that is idle for the longest.
    pub(super) fn take(&mut self, is_free: impl Fn(Ipv4Addr) -> bool) -> Option<Ipv4Addr> {
        let first = u32::from(self.net.network());
        loop {
            let home = first.checked_add(self.next).map(Ipv4Addr::from);
            let Some(home) = home.filter(|home| self.contains(*home)) else {
                break;
            };
            self.next += 1;
            if is_free(home) {
                return Some(home);
            }
        }
        let (_, home) = self.idle.pop_first()?;
        self.since.remove(&home);
        Some(home)
    }

    /// Somebody is registered there.
    pub(super) fn used(&mut self, home: Ipv4Addr) {
        if let Some(since) = self.since.remove(&home) {
            self.idle.remove(&since);
        }
    }

    /// Nobody is registered there any more.
    pub(super) fn idle(&mut self, home: Ipv4Addr) {
        if !self.since.contains_key(&home) {
            self.turn += 1;
            self.since.insert(home, self.turn);
            self.idle.insert(self.turn, home);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn pool(net: &str) -> Pool {
        Pool::new(net.parse().unwrap())
    }

    #[test]
    fn all_are_given_before_one_is_given_again_and_then_the_longest_idle_one() {
        let mut pool = pool("10.20.9.0/29");
        let all: Vec<_> = std::iter::from_fn(|| pool.take(|_| true)).collect();
        let expected: Vec<_> = (1..=6).map(|n| Ipv4Addr::new(10, 20, 9, n)).collect();
        assert_eq!(all, expected);
        for home in [all[3], all[1], all[5]] {
            pool.idle(home);
        }
        pool.used(all[3]);
        pool.idle(all[3]);
        let again: Vec<_> = std::iter::from_fn(|| pool.take(|_| true)).collect();
        assert_eq!(again, [all[1], all[5], all[3]]);
    }

    #[test]
    fn the_end_of_all_addresses_is_an_end() {
        let mut pool = pool("255.255.255.252/30");
        assert_eq!(pool.take(|_| true), Some(Ipv4Addr::new(255, 255, 255, 253)));
        assert_eq!(pool.take(|_| true), Some(Ipv4Addr::new(255, 255, 255, 254)));
        assert_eq!(pool.take(|_| true), None);
    }

    proptest! {
        /// Whatever comes and goes, nobody gets what somebody is registered at.
        #[test]
        fn nobody_gets_what_is_in_use(steps in proptest::collection::vec(any::<(bool, prop::sample::Index)>(), 1..60)) {
            let mut pool = pool("10.20.9.0/29");
            let mut used = BTreeSet::new();
            for (comes, which) in steps {
                if comes {
                    match pool.take(|_| true) {
                        Some(home) => prop_assert!(pool.contains(home) && used.insert(home)),
                        None => prop_assert_eq!(used.len(), 6),
                    }
                } else if !used.is_empty() {
                    let home = *used.iter().nth(which.index(used.len())).unwrap();
                    used.remove(&home);
                    pool.idle(home);
                }
            }
        }
    }
}
