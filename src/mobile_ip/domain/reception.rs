//! Whether an access point is received so weakly that it may soon not be at all.

/// In dBm, below which it is weak. A receiver need not understand even the slowest rate of OFDM below -82 (IEEE 802.11
/// §17.3.10.2), so little is left for whoever walks on, and enough to register over another adapter.
pub const WEAK_BELOW: i8 = -80;

/// From which on it is weak no more. Five above the other, because a signal varies by some where nobody moves.
pub const STRONG_FROM: i8 = -75;

/// Of one adapter, with the memory that hysteresis needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reception {
    access_point: Option<[u8; 6]>,
    is_weak: bool,
}

impl Reception {
    /// What it is now. While nobody knows how strong the same access point is, it is what it was; of another one nothing
    /// is known before.
    pub fn heard(&mut self, access_point: Option<[u8; 6]>, dbm: Option<i8>) {
        if access_point != self.access_point {
            *self = Self {
                access_point,
                is_weak: false,
            };
        }
        match dbm {
            Some(dbm) if dbm < WEAK_BELOW => self.is_weak = true,
            Some(dbm) if dbm >= STRONG_FROM => self.is_weak = false,
            _ => {}
        }
    }

    pub fn is_weak(self) -> bool {
        self.is_weak
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ONE: Option<[u8; 6]> = Some([1; 6]);
    const OTHER: Option<[u8; 6]> = Some([2; 6]);

    #[test]
    fn between_the_thresholds_it_stays_what_it_was() {
        let mut reception = Reception::default();
        let mut after = |access_point, dbm| {
            reception.heard(access_point, dbm);
            reception.is_weak()
        };
        assert!(!after(ONE, Some(-60)));
        assert!(!after(ONE, Some(WEAK_BELOW)));
        assert!(after(ONE, Some(WEAK_BELOW - 1)));
        assert!(after(ONE, Some(STRONG_FROM - 1)));
        assert!(after(ONE, None), "nothing new is known");
        assert!(!after(ONE, Some(STRONG_FROM)));
        assert!(!after(ONE, Some(STRONG_FROM - 1)));
    }

    #[test]
    fn another_access_point_begins_anew() {
        let mut reception = Reception::default();
        reception.heard(ONE, Some(-90));
        let mut roamed = reception;
        roamed.heard(OTHER, Some(-78));
        assert!(!roamed.is_weak());
        roamed.heard(OTHER, Some(-81));
        assert!(roamed.is_weak());
        reception.heard(None, None);
        assert!(!reception.is_weak());
    }

    proptest! {
        /// Each change has crossed both thresholds, so what varies by less than they are apart changes at most once.
        #[test]
        fn what_varies_little_does_not_flap(
            middle in -95i8..=-40,
            around in prop::collection::vec(-2i8..=2, 1..60),
        ) {
            let mut reception = Reception::default();
            let mut changes = 0;
            for by in around {
                let before = reception.is_weak();
                reception.heard(ONE, Some(middle + by));
                changes += usize::from(before != reception.is_weak());
            }
            prop_assert!(changes <= 1);
        }

        #[test]
        fn it_is_what_the_last_clear_word_said(
            signals in prop::collection::vec(prop::option::of(any::<i8>()), 0..40),
        ) {
            let mut reception = Reception::default();
            for dbm in &signals {
                reception.heard(ONE, *dbm);
            }
            let clear = |dbm: &&i8| **dbm < WEAK_BELOW || **dbm >= STRONG_FROM;
            let last = signals.iter().flatten().rev().find(clear);
            prop_assert_eq!(reception.is_weak(), last.is_some_and(|dbm| *dbm < WEAK_BELOW));
        }
    }
}
