//! How the agent recognises its own objects after a restart. Everything else is foreign and is
//! never touched.
//!
//! | object | mark of ownership |
//! | --- | --- |
//! | policy | [`INDICES`] and a priority of a [`Band`], both |
//! | SA | [`REQIDS`] |
//! | link | [`LINK_ALIAS`] |
//! | address | that of its link, where the kernel did not give it itself |
//! | route, rule, proxy neighbour | [`ROUTE_PROTOCOL`] |
//! | nftables tables | [`NFT_TABLE`], [`DECAPSULATION_TABLE`] |

use super::desired::Direction;
use super::netlink::policy::direction_code;
use super::observed::{ObservedPolicy, ObservedSa};
use std::ops::Range;

/// Policy indices that we choose. The kernel counts its own up from 8.
pub const INDICES: Range<u32> = 0x5800_0000..0x5c00_0000;

/// The low three bits of an index are the policy's direction.
const INDEX_STEP: u32 = 8;

/// Requests that our SAs belong to. Other key daemons count theirs up from 1.
pub const REQIDS: Range<u32> = TUNNEL_REQIDS.start..CONTACT_REQIDS.end;

/// One for each tunnel.
pub const TUNNEL_REQIDS: Range<u32> = 0x5800_0000..0x5810_0000;

/// One for each address of a contact.
pub const CONTACT_REQIDS: Range<u32> = 0x5810_0000..0x5820_0000;

/// `proto 88` in `ip route`, `ip rule` and `ip neigh`.
pub const ROUTE_PROTOCOL: u8 = 88;

/// `alias xfrm-agent` in `ip link`.
pub const LINK_ALIAS: &str = "xfrm-agent";

/// `nft list table inet xfrm-agent`.
pub const NFT_TABLE: &str = "xfrm-agent";

/// `nft list table ip xfrm-agent-tunnels`.
pub const DECAPSULATION_TABLE: &str = "xfrm-agent-tunnels";

/// What a policy is for decides which of two that match is looked at: bands in strict order, the
/// smaller priority wins. Policies written by hand (priority 0) come before all of them, those of
/// other key daemons (above 100,000) after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Band {
    /// Always in the clear: neighbour discovery, local to local.
    Bypass,
    /// What presence says of the packets between us and a contact now.
    Presence,
    /// What holds between us and a contact where nothing better is known: lies underneath always,
    /// so that it takes over by itself when a relaxation has run out.
    PresenceStrict,
    Tunnel,
    /// What a failed discovery left: block, or clear for a while.
    Failure,
    /// Holds the packets of one destination while its gateway is looked for.
    NarrowTrap,
    /// Asks for a gateway.
    Trap,
    /// Refuses clear packets that should have been protected.
    Enforce,
    /// Refuses what nobody's policy has taken: behind those of all key daemons.
    Last,
}

impl Band {
    const WIDTH: u32 = 1000;
    const FIRST: u32 = 8_000;
    /// racoon counts down from 0x8000_0000.
    const LAST: u32 = 0xffff_0000;

    pub const ALL: [Self; 9] = [
        Self::Bypass,
        Self::Presence,
        Self::PresenceStrict,
        Self::Tunnel,
        Self::Failure,
        Self::NarrowTrap,
        Self::Trap,
        Self::Enforce,
        Self::Last,
    ];

    fn start(self) -> u32 {
        match self {
            Self::Last => Self::LAST,
            _ => Self::FIRST + self as u32 * Self::WIDTH,
        }
    }

    /// Within a band the more specific selector wins: the more address, protocol and port bits are
    /// fixed (at most 296), the smaller the priority.
    pub fn priority(self, specificity: u32) -> u32 {
        self.start() + (Self::WIDTH - 1) - specificity.min(Self::WIDTH - 1)
    }

    /// The band that a priority lies in.
    pub fn of(priority: u32) -> Option<Self> {
        let of_band = |band: &Self| (band.start()..band.start() + Self::WIDTH).contains(&priority);
        Self::ALL.into_iter().find(of_band)
    }
}

pub fn owns_policy(policy: &ObservedPolicy) -> bool {
    INDICES.contains(&policy.index) && Band::of(policy.policy.priority).is_some()
}

pub fn owns_sa(sa: &ObservedSa) -> bool {
    REQIDS.contains(&sa.reqid)
}

/// Hands out policy indices, one after the other and round again, so that an index is not reused
/// while events about its last policy may still be on the way.
#[derive(Clone, Debug)]
pub struct Indices {
    next: u32,
}

impl Default for Indices {
    fn default() -> Self {
        Self {
            next: INDICES.start,
        }
    }
}

impl Indices {
    /// `None` where eight million policies are in use.
    pub fn allocate(&mut self, direction: Direction, in_use: impl Fn(u32) -> bool) -> Option<u32> {
        for _ in INDICES.step_by(INDEX_STEP as usize) {
            let index = self.next | u32::from(direction_code(direction));
            self.next += INDEX_STEP;
            if self.next >= INDICES.end {
                self.next = INDICES.start;
            }
            if !in_use(index) {
                return Some(index);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_are_disjoint_and_in_order_and_the_more_specific_wins_within_one() {
        for pair in Band::ALL.windows(2) {
            assert!(pair[0].priority(0) < pair[1].priority(u32::MAX), "{pair:?}");
        }
        for band in Band::ALL {
            assert!(band.priority(296) < band.priority(295));
            for specificity in [0, 296, u32::MAX] {
                assert_eq!(Band::of(band.priority(specificity)), Some(band));
            }
        }
        assert_eq!(Band::of(0), None);
        assert_eq!(Band::of(Band::Enforce.priority(0) + 1), None);
        assert_eq!(Band::of(u32::MAX), None);
    }

    #[test]
    fn indices_carry_their_direction_and_skip_those_in_use() {
        let mut indices = Indices::default();
        let first = indices.allocate(Direction::Out, |_| false).unwrap();
        assert_eq!(first & 7, 1);
        let taken = first + 8;
        let second = indices.allocate(Direction::Out, |i| i == taken).unwrap();
        assert_eq!(second, first + 16);
        assert_eq!(indices.allocate(Direction::Fwd, |_| false).unwrap() & 7, 2);
    }

    #[test]
    fn indices_come_round_and_end_where_all_are_taken() {
        let mut indices = Indices {
            next: INDICES.end - INDEX_STEP,
        };
        assert!(indices.allocate(Direction::In, |_| false).is_some());
        assert_eq!(
            indices.allocate(Direction::In, |_| false),
            Some(INDICES.start)
        );
        assert_eq!(indices.allocate(Direction::In, |_| true), None);
    }
}
