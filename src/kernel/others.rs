//! Whether somebody else has outbound policies that may come before our traps: then only the kernel knows whose
//! decides over a packet. Those written by hand do; those of other key daemons come after ours.

use super::netlink::message::Message;
use super::netlink::policy::direction_code;
use super::netlink::socket::{Listener, Requests};
use super::ownership::{Band, INDICES};
use super::socket_filter::{equals, is_less, statement};
use crate::kernel::desired::Direction;
use libc::{BPF_ABS, BPF_B, BPF_H, BPF_K, BPF_LD, BPF_RET, sock_filter};
use netlink_packet_xfrm::UserPolicyInfo;
use netlink_packet_xfrm::constants::{
    XFRM_MSG_DELPOLICY, XFRM_MSG_GETPOLICY, XFRM_MSG_NEWPOLICY, XFRM_MSG_UPDPOLICY,
    XFRMNLGRP_POLICY,
};
use netlink_sys::protocols::NETLINK_XFRM;
use std::io;

/// The most significant octet of a number of 32 bits.
const TOP: u32 = if cfg!(target_endian = "little") { 3 } else { 0 };
/// Where the index is: behind header, selector, two lifetimes and the priority, or behind header and selector.
const INDEX_OF_POLICY: u32 = 16 + 56 + 64 + 32 + 4;
const INDEX_OF_DELETED: u32 = 16 + 56;

/// Our own policies come and go with each tunnel, and would wake the agent each time.
const NOT_OURS: [sock_filter; 11] = [
    statement(BPF_LD | BPF_H | BPF_ABS, 4),
    // Read in network order, written in the machine's.
    equals(XFRM_MSG_NEWPOLICY.to_be() as u32, 2, 0),
    equals(XFRM_MSG_UPDPOLICY.to_be() as u32, 1, 0),
    equals(XFRM_MSG_DELPOLICY.to_be() as u32, 2, 5),
    statement(BPF_LD | BPF_B | BPF_ABS, INDEX_OF_POLICY + TOP),
    // No octet is.
    equals(u32::MAX, 0, 1),
    statement(BPF_LD | BPF_B | BPF_ABS, INDEX_OF_DELETED + TOP),
    is_less(INDICES.start >> 24, 1, 0),
    is_less(INDICES.end >> 24, 1, 0),
    statement(BPF_RET | BPF_K, u32::MAX),
    statement(BPF_RET | BPF_K, 0),
];

#[derive(Debug)]
pub struct Others {
    requests: Requests,
    decide: bool,
    doubtful: bool,
    told: bool,
}

impl Others {
    /// In the network namespace of the calling thread. Nobody was told of any yet.
    pub fn open() -> io::Result<(Self, Listener)> {
        let mut events = Listener::open(NETLINK_XFRM, &[XFRMNLGRP_POLICY])?;
        events.filter(&NOT_OURS)?;
        let others = Self {
            requests: Requests::open(NETLINK_XFRM)?,
            decide: false,
            doubtful: true,
            told: false,
        };
        Ok((others, events))
    }

    pub fn hear(&mut self, message: &Message<'_>) {
        if comes_first(message) {
            self.decide = true;
        } else {
            // One that did may have gone.
            self.doubtful |= self.decide;
        }
    }

    pub fn lost_track(&mut self) {
        self.doubtful = true;
    }

    /// Whether they do, where that is not what was said before.
    pub fn news(&mut self) -> io::Result<Option<bool>> {
        if std::mem::take(&mut self.doubtful) {
            let theirs = self.requests.dump(XFRM_MSG_GETPOLICY, &[], |message| {
                comes_first(message).then_some(())
            });
            self.decide = !theirs.map_err(|error| error.errno)?.is_empty();
        }
        let is_news = self.decide != self.told;
        self.told = self.decide;
        Ok(is_news.then_some(self.decide))
    }
}

/// Of whatever selector: it may have a form that we do not write.
fn comes_first(message: &Message<'_>) -> bool {
    let written = matches!(message.kind, XFRM_MSG_NEWPOLICY | XFRM_MSG_UPDPOLICY);
    let policy = written.then(|| UserPolicyInfo::parse(message.payload));
    policy.and_then(Result::ok).is_some_and(|policy| {
        policy.direction == direction_code(Direction::Out)
            && !INDICES.contains(&policy.index)
            && policy.priority <= Band::Trap.priority(0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::netlink::message::{Batch, Messages};
    use crate::kernel::socket_filter::passes;
    use netlink_packet_xfrm::UserPolicyId;

    fn written(kind: u16, index: u32, priority: u32, direction: u8) -> Vec<u8> {
        let mut batch = Batch::new(1);
        batch.message(kind, 0, |payload| {
            if kind == XFRM_MSG_DELPOLICY {
                payload.put(&UserPolicyId {
                    index,
                    direction,
                    ..UserPolicyId::default()
                });
            } else {
                payload.put(&UserPolicyInfo {
                    index,
                    priority,
                    direction,
                    ..UserPolicyInfo::default()
                });
            }
        });
        batch.bytes().to_vec()
    }

    #[test]
    fn ours_wake_nobody_and_all_others_do() {
        for kind in [XFRM_MSG_NEWPOLICY, XFRM_MSG_UPDPOLICY, XFRM_MSG_DELPOLICY] {
            for (index, wakes) in [
                (9, true),
                (INDICES.start - 8, true),
                (INDICES.start, false),
                (INDICES.end - 8, false),
                (INDICES.end, true),
                (u32::MAX, true),
            ] {
                let bytes = written(kind, index, 0, 1);
                assert_eq!(passes(&NOT_OURS, &bytes), wakes, "{kind:#x} {index:#x}");
            }
        }
        let flushed = written(0x1d, INDICES.start, 0, 1);
        assert!(passes(&NOT_OURS, &flushed), "all are gone");
    }

    #[test]
    fn outbound_ones_by_hand_come_first_and_those_of_key_daemons_do_not() {
        let first = |index, priority, direction| {
            let bytes = written(XFRM_MSG_NEWPOLICY, index, priority, direction);
            comes_first(&Messages(&bytes).next().unwrap())
        };
        assert!(first(9, 0, 1) && first(9, Band::Trap.priority(296), 1));
        assert!(!first(9, 0, 0), "inbound");
        assert!(!first(9, 100_000, 1), "of another key daemon");
        assert!(!first(INDICES.start, 0, 1), "ours");
    }
}
