//! The Internet checksum (RFC 1071), taken of every octet that is carried.

/// A sum under way, in the machine's own order of octets. Of parts that are added up, only the last
/// may have an odd length.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    pub fn of(octets: &[u8]) -> Self {
        // Lanes beside each other, which the compiler makes vectors of.
        let (blocks, rest) = octets.as_chunks::<32>();
        let mut lanes = [0_u64; 8];
        for block in blocks {
            for (lane, word) in lanes.iter_mut().zip(block.as_chunks().0) {
                *lane += u64::from(u32::from_ne_bytes(*word));
            }
        }
        let (words, last) = rest.as_chunks();
        let mut tail = [0; 4];
        tail[..last.len()].copy_from_slice(last);
        let words = words.iter().chain([&tail]);
        let rest: u64 = words.map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
        Self(lanes.iter().sum::<u64>() + rest)
    }

    /// A field of two octets.
    pub fn of_field(value: u16) -> Self {
        Self(u64::from(u16::from_ne_bytes(value.to_be_bytes())))
    }

    /// What TCP and UDP count besides their own octets: both addresses, the protocol, the length.
    pub fn of_pseudo_header(addresses: &[u8], protocol: u8, len: usize) -> Self {
        let (high, low) = ((len >> 16) as u16, len as u16);
        Self::of(addresses)
            .and(Self::of_field(u16::from(protocol)))
            .and(Self::of_field(high))
            .and(Self::of_field(low))
    }

    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The sum itself, as a field of a packet that leaves the rest to somebody else.
    pub fn partial(self) -> [u8; 2] {
        self.folded().to_ne_bytes()
    }

    /// The field of a finished packet.
    pub fn checksum(self) -> [u8; 2] {
        (!self.folded()).to_ne_bytes()
    }

    /// Whether these octets hold their own right checksum.
    pub fn is_right(self) -> bool {
        self.folded() == u16::MAX
    }

    fn folded(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mobile_ip::wire::encapsulation;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_plain_one(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            let plain = encapsulation::checksum(&octets).to_be_bytes();
            prop_assert_eq!(Sum::of(&octets).checksum(), plain);
        }

        #[test]
        fn parts_add_up(
            first in prop::collection::vec(any::<[u8; 2]>(), 0..90),
            second in prop::collection::vec(any::<u8>(), 0..90),
            field in any::<u16>(),
        ) {
            let first = first.concat();
            let whole = [&first, &field.to_be_bytes()[..], &second].concat();
            let sum = Sum::of(&first).and(Sum::of_field(field)).and(Sum::of(&second));
            prop_assert_eq!(sum.checksum(), Sum::of(&whole).checksum());
        }
    }

    #[test]
    fn the_longest_packet_of_ones_does_not_overflow() {
        assert!(Sum::of(&vec![0xff; 65_534]).is_right());
    }
}
