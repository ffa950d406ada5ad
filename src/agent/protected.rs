//! What was once protected. `on-failure = "clear"` means "as long as nobody out there speaks
//! IPsec"; a destination that once did never goes in the clear again because it fell silent, until
//! an administrator says so.

use crate::net::{IpNet, Selector};

/// Selectors kept; beyond it the memory says "protected" for everything (fail closed).
const BOUND: usize = 10_000;

#[derive(Clone, Debug, Default)]
pub(super) struct OnceProtected {
    /// Outbound; none inside another.
    selectors: Vec<Selector>,
}

impl OnceProtected {
    pub(super) fn new(selectors: &[Selector]) -> Self {
        let mut memory = Self::default();
        memory.remember(selectors);
        memory
    }

    /// Whether anything new was learnt, so that it must be kept.
    pub(super) fn remember(&mut self, selectors: &[Selector]) -> bool {
        let mut learnt = false;
        for selector in selectors {
            let full = self.selectors.len() > BOUND;
            if full || self.selectors.iter().any(|known| known.contains(selector)) {
                continue;
            }
            self.selectors.retain(|known| !selector.contains(known));
            self.selectors.push(*selector);
            learnt = true;
        }
        learnt
    }

    /// Whether any packet of `selector` was.
    pub(super) fn holds(&self, selector: &Selector) -> bool {
        self.selectors.len() > BOUND || self.selectors.iter().any(|known| known.overlaps(selector))
    }

    /// Lets go of everything whose remote side lies in the prefix, or of everything. Returns those
    /// remote sides.
    pub(super) fn forget(&mut self, prefix: Option<IpNet>) -> Vec<IpNet> {
        let goes = |known: &mut Selector| prefix.is_none_or(|p| p.contains(&known.dst));
        self.selectors
            .extract_if(.., goes)
            .map(|known| known.dst)
            .collect()
    }

    /// Lets go of exactly these. Whether any of them was there.
    pub(super) fn forget_exactly(&mut self, selectors: &[Selector]) -> bool {
        let before = self.selectors.len();
        self.selectors.retain(|known| !selectors.contains(known));
        self.selectors.len() < before
    }

    pub(super) fn selectors(&self) -> &[Selector] {
        &self.selectors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(dst: &str) -> Selector {
        Selector::between("10.1.0.0/16".parse().unwrap(), dst.parse().unwrap())
    }

    #[test]
    fn a_prefix_once_protected_stays_so_until_it_is_forgotten() {
        let mut memory = OnceProtected::default();
        assert!(memory.remember(&[selector("10.2.0.0/16")]));
        assert!(
            !memory.remember(&[selector("10.2.3.0/24")]),
            "inside a known one"
        );
        assert!(memory.holds(&selector("10.2.9.9/32")));
        assert!(
            memory.holds(&selector("10.0.0.0/8")),
            "partly protected counts"
        );
        assert!(!memory.holds(&selector("10.3.0.0/16")));
        assert_eq!(memory.forget(Some("10.3.0.0/16".parse().unwrap())), []);
        assert_eq!(memory.forget(Some("10.2.0.0/16".parse().unwrap())).len(), 1);
        assert!(!memory.holds(&selector("10.2.9.9/32")));
    }

    #[test]
    fn a_wider_prefix_takes_the_place_of_those_inside() {
        let mut memory = OnceProtected::new(&[selector("10.2.1.0/24"), selector("10.2.2.0/24")]);
        assert!(memory.remember(&[selector("10.2.0.0/16")]));
        assert_eq!(memory.selectors(), [selector("10.2.0.0/16")]);
        assert_eq!(memory.forget(None).len(), 1);
    }
}
