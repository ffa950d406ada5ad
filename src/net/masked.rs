//! An address under any mask, as the discovery document writes half proxies.

use super::{Family, IpNet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Address A with mask B: a zero bit in the mask is ignored when membership is decided. The mask
/// need not be contiguous. Bits of the address outside the mask are stored as zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MaskedAddr {
    family: Family,
    addr: u128,
    mask: u128,
}

impl MaskedAddr {
    /// `None` where address and mask are of different IP versions.
    pub fn new(addr: IpAddr, mask: IpAddr) -> Option<Self> {
        let family = Family::of(addr);
        let (addr, mask_bits) = (bits(addr), bits(mask));
        (family == Family::of(mask)).then_some(Self {
            family,
            addr: addr & mask_bits,
            mask: mask_bits,
        })
    }

    pub fn family(&self) -> Family {
        self.family
    }

    pub fn addr(&self) -> IpAddr {
        address(self.family, self.addr)
    }

    pub fn mask(&self) -> IpAddr {
        address(self.family, self.mask)
    }

    pub fn contains_addr(&self, addr: IpAddr) -> bool {
        Family::of(addr) == self.family && bits(addr) & self.mask == self.addr
    }

    /// Whether every address of `other` is in this one.
    pub fn contains(&self, other: &Self) -> bool {
        self.family == other.family
            && self.mask & other.mask == self.mask
            && other.addr & self.mask == self.addr
    }

    /// Number of mask bits set: the larger, the more specific.
    pub fn specificity(&self) -> u32 {
        self.mask.count_ones()
    }

    /// FIG. 3B: `A&B&D == C&B&D` gives `(A&B)|(C&D)` under `B|D` (blocks 320, 324), otherwise
    /// there is no intersection (block 322).
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let common = self.mask & other.mask;
        (self.family == other.family && self.addr & common == other.addr & common).then_some(Self {
            family: self.family,
            addr: self.addr | other.addr,
            mask: self.mask | other.mask,
        })
    }

    /// The prefix with the same addresses, where the mask is contiguous.
    pub fn to_prefix(&self) -> Option<IpNet> {
        let len = self.prefix_len();
        (self.free_bits_above(len) == 0).then(|| self.prefix(self.addr, len))
    }

    /// The prefixes that together hold the same addresses, in ascending order: one for each
    /// combination of the mask's zero bits above its lowest one bit.
    ///
    /// # Errors
    /// More than `bound` prefixes would be needed.
    pub fn to_prefixes(&self, bound: usize) -> Result<Vec<IpNet>, TooManyPrefixes> {
        let len = self.prefix_len();
        let free = self.free_bits_above(len);
        let needed = 1u128.checked_shl(free.count_ones()).unwrap_or(u128::MAX);
        if needed > bound as u128 {
            return Err(TooManyPrefixes {
                proxy: *self,
                needed,
                bound,
            });
        }
        let mut prefixes = Vec::with_capacity(needed as usize);
        // Counts through the subsets of `free` in ascending order.
        let mut subset = 0u128;
        loop {
            prefixes.push(self.prefix(self.addr | subset, len));
            subset = subset.wrapping_sub(free) & free;
            if subset == 0 {
                return Ok(prefixes);
            }
        }
    }

    /// Length of the shortest prefix whose netmask covers every one bit of the mask.
    fn prefix_len(&self) -> u8 {
        let trailing = self
            .mask
            .trailing_zeros()
            .min(u32::from(self.family.bits()));
        self.family.bits() - trailing as u8
    }

    /// The zero bits of the mask that lie within the first `len` bits.
    fn free_bits_above(&self, len: u8) -> u128 {
        let host_bits = u32::from(self.family.bits() - len);
        let all = u128::MAX >> (128 - u32::from(self.family.bits()));
        !self.mask & all & u128::MAX.checked_shl(host_bits).unwrap_or(0)
    }

    fn prefix(&self, addr: u128, len: u8) -> IpNet {
        IpNet::new_assert(address(self.family, addr), len)
    }
}

impl From<IpNet> for MaskedAddr {
    fn from(net: IpNet) -> Self {
        Self::new(net.network(), net.netmask()).expect("a prefix has one IP version")
    }
}

impl From<IpAddr> for MaskedAddr {
    fn from(addr: IpAddr) -> Self {
        IpNet::from(addr).into()
    }
}

fn bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(a) => u32::from(a).into(),
        IpAddr::V6(a) => a.into(),
    }
}

fn address(family: Family, bits: u128) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from(bits as u32).into(),
        Family::V6 => Ipv6Addr::from(bits).into(),
    }
}

/// A non-contiguous mask stands for more prefixes than the kernel should be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{proxy} stands for {needed} prefixes, more than the {bound} that are allowed: use fewer zero bits between the ones of its mask"
)]
pub struct TooManyPrefixes {
    pub proxy: MaskedAddr,
    pub needed: u128,
    pub bound: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is neither a prefix like 10.1.0.0/16 nor an address with a mask like `10.1.0.0 255.255.0.0`"
)]
pub struct InvalidMaskedAddr(pub String);

impl FromStr for MaskedAddr {
    type Err = InvalidMaskedAddr;

    /// `10.1.0.0/16`, `10.1.0.0 255.255.0.0`, `10.1.0.0/255.255.0.0`, or a single address.
    fn from_str(s: &str) -> Result<Self, InvalidMaskedAddr> {
        let invalid = || InvalidMaskedAddr(s.to_owned());
        let (addr, mask) = match s.split_once([' ', '/']) {
            None => (s, None),
            Some((addr, mask)) => (addr, Some(mask.trim())),
        };
        let addr: IpAddr = addr.parse().map_err(|_| invalid())?;
        match mask {
            None => Ok(addr.into()),
            Some(mask) => match mask.parse::<u8>() {
                Ok(len) => Ok(IpNet::new(addr, len).map_err(|_| invalid())?.into()),
                Err(_) => {
                    let mask = mask.parse().map_err(|_| invalid())?;
                    Self::new(addr, mask).ok_or_else(invalid)
                }
            },
        }
    }
}

impl fmt::Display for MaskedAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_prefix() {
            Some(net) => net.fmt(f),
            None => write!(f, "{} {}", self.addr(), self.mask()),
        }
    }
}

impl fmt::Debug for MaskedAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MaskedAddr({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(s: &str) -> MaskedAddr {
        s.parse().unwrap()
    }

    #[test]
    fn the_documents_worked_example_of_figure_3b() {
        let a = parse("10.11.0.0 255.255.0.0");
        let c = parse("10.0.0.0 255.0.0.0");
        let both = a.intersect(&c).unwrap();
        assert_eq!(both.addr().to_string(), "10.11.0.0");
        assert_eq!(both.mask().to_string(), "255.255.0.0");
        assert_eq!(c.intersect(&a), Some(both));
    }

    #[test]
    fn disjoint_addresses_have_no_intersection() {
        assert_eq!(parse("10.1.0.0/16").intersect(&parse("10.2.0.0/16")), None);
        assert_eq!(
            parse("10.1.0.0/16").intersect(&parse("2001:db8::/32")),
            None
        );
    }

    #[test]
    fn a_hole_in_the_mask_becomes_two_prefixes_and_too_many_holes_are_refused() {
        let odd = parse("10.0.1.0 255.0.255.0");
        assert_eq!(odd.to_prefix(), None);
        assert_eq!(odd.to_prefixes(256).unwrap().len(), 256);
        assert_eq!(odd.to_prefixes(256).unwrap()[1].to_string(), "10.1.1.0/24");
        let error = odd.to_prefixes(255).unwrap_err();
        assert_eq!((error.needed, error.bound), (256, 255));
    }

    #[test]
    fn everything_and_single_addresses_are_one_prefix() {
        assert_eq!(
            parse("0.0.0.0/0").to_prefixes(1).unwrap()[0].to_string(),
            "0.0.0.0/0"
        );
        assert_eq!(parse("::/0").to_prefixes(1).unwrap()[0].to_string(), "::/0");
        assert_eq!(
            parse("2001:db8::1").to_prefixes(1).unwrap()[0].to_string(),
            "2001:db8::1/128"
        );
        assert_eq!(parse("10.1.2.3/16").to_string(), "10.1.0.0/16");
    }

    #[test]
    fn nonsense_is_refused() {
        for s in [
            "",
            "10.1/16",
            "10.0.0.0/33",
            "10.0.0.0 ffff::",
            "10.0.0.0 x",
            "::/129",
        ] {
            assert!(s.parse::<MaskedAddr>().is_err(), "{s}");
        }
    }

    /// Masks and addresses within the last 8 bits, so that every address can be tried.
    fn low() -> impl Strategy<Value = MaskedAddr> {
        (any::<u8>(), any::<u8>()).prop_map(|(addr, mask)| {
            let v4 = |b: u8| IpAddr::V4(Ipv4Addr::new(255, 255, 255, b));
            MaskedAddr::new(v4(addr), v4(mask)).unwrap()
        })
    }

    fn every() -> impl Iterator<Item = IpAddr> {
        (0..=255).map(|b| IpAddr::V4(Ipv4Addr::new(255, 255, 255, b)))
    }

    proptest! {
        #[test]
        fn intersection_agrees_with_brute_force_membership(a in low(), b in low()) {
            let both = a.intersect(&b);
            for x in every() {
                let expected = a.contains_addr(x) && b.contains_addr(x);
                prop_assert_eq!(both.is_some_and(|m| m.contains_addr(x)), expected);
            }
        }

        #[test]
        fn prefixes_hold_exactly_the_same_addresses_once(a in low()) {
            let prefixes = a.to_prefixes(256).unwrap();
            for x in every() {
                let holders = prefixes.iter().filter(|p| p.contains(&x)).count();
                prop_assert_eq!(holders, usize::from(a.contains_addr(x)));
            }
        }

        #[test]
        fn containment_agrees_with_membership(a in low(), b in low()) {
            let expected = every().all(|x| !b.contains_addr(x) || a.contains_addr(x));
            prop_assert_eq!(a.contains(&b), expected);
        }

        #[test]
        fn text_parses_back(a in low()) {
            prop_assert_eq!(parse(&a.to_string()), a);
        }
    }
}
