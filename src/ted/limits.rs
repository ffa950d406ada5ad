//! How often something may happen: token buckets over given instants, in bounded tables.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// `rate` a second on average, `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    pub rate: u32,
    pub burst: u32,
}

/// Kept as the instant at which it will be full again: no rounding accumulates.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    full_at: Option<Instant>,
}

impl Bucket {
    /// `full_at` after one more was taken, or `None` where the bucket is empty.
    fn after_one(self, now: Instant, allowance: Allowance) -> Option<Self> {
        let each = Duration::from_secs(1).checked_div(allowance.rate)?;
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + each;
        (full_at - now <= each * allowance.burst).then_some(Self {
            full_at: Some(full_at),
        })
    }
}

/// A limit for each key and one for all of them together.
///
/// Remembers at most `capacity` keys; the one seen first makes room. A key enters only when the
/// total allows it, so keys cannot be pushed out faster than `total.rate`.
#[derive(Clone, Debug)]
pub struct Limiter<K> {
    each: Allowance,
    total: Allowance,
    capacity: usize,
    all: Bucket,
    buckets: BTreeMap<K, Bucket>,
    order: VecDeque<K>,
}

impl<K: Ord + Copy> Limiter<K> {
    /// A rate of zero allows nothing.
    pub fn new(each: Allowance, total: Allowance, capacity: usize) -> Self {
        Self {
            each,
            total,
            capacity,
            all: Bucket::default(),
            buckets: BTreeMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Takes one for `key`, if both limits allow it.
    pub fn allow(&mut self, now: Instant, key: K) -> bool {
        let known = self.buckets.get(&key).copied();
        let (Some(all), Some(one)) = (
            self.all.after_one(now, self.total),
            known.unwrap_or_default().after_one(now, self.each),
        ) else {
            return false;
        };
        self.all = all;
        if known.is_none() {
            if self.order.len() >= self.capacity
                && let Some(first) = self.order.pop_front()
            {
                self.buckets.remove(&first);
            }
            self.order.push_back(key);
        }
        self.buckets.insert(key, one);
        true
    }

    /// Keys remembered.
    pub fn remembered(&self) -> usize {
        self.buckets.len()
    }

    /// Changes the total from now on; what has been used stays used.
    pub fn set_total(&mut self, total: Allowance) {
        self.total = total;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EACH: Allowance = Allowance { rate: 4, burst: 2 };
    const TOTAL: Allowance = Allowance { rate: 10, burst: 5 };

    fn limiter() -> Limiter<u32> {
        Limiter::new(EACH, TOTAL, 8)
    }

    #[test]
    fn a_key_gets_its_burst_and_then_its_rate() {
        let (mut limiter, start) = (limiter(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert!(limiter.allow(at(0), 1));
        assert!(limiter.allow(at(0), 1));
        assert!(!limiter.allow(at(249), 1));
        assert!(limiter.allow(at(250), 1));
        assert!(!limiter.allow(at(250), 1));
        assert!(limiter.allow(at(5000), 1) && limiter.allow(at(5000), 1));
        assert!(!limiter.allow(at(5000), 1));
    }

    #[test]
    fn all_keys_together_stay_under_the_total() {
        let (mut limiter, start) = (limiter(), Instant::now());
        let sent = |limiter: &mut Limiter<u32>, ms: u64, keys: std::ops::Range<u32>| {
            let now = start + Duration::from_millis(ms);
            keys.filter(|key| limiter.allow(now, *key)).count()
        };
        assert_eq!(sent(&mut limiter, 0, 0..100), 5);
        assert_eq!(sent(&mut limiter, 1000, 100..200), 5);
        assert_eq!(sent(&mut limiter, 1100, 200..300), 1);
    }

    #[test]
    fn memory_is_bounded_and_rate_zero_allows_nothing() {
        let (mut limiter, start) = (limiter(), Instant::now());
        for key in 0..1000 {
            limiter.allow(start + Duration::from_secs(u64::from(key)), key);
        }
        assert_eq!((limiter.buckets.len(), limiter.order.len()), (8, 8));

        let none = Allowance { rate: 0, burst: 9 };
        assert!(!Limiter::new(none, TOTAL, 8).allow(start, 1));
    }
}
