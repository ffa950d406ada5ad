//! Room in the kernel's policy tables, while they grow.

use crate::kernel::desired::Direction;
use crate::kernel::netlink::socket::Requests;
use crate::kernel::netlink::spd;
use std::time::Duration;

/// How long the kernel's worker needs for a doubling where grace periods are short.
const PAUSE: Duration = Duration::from_micros(100);

/// There is a table for each direction and one for indices. An insertion that finds its table full
/// has a worker double it, once, and further ones search longer and longer chains until it gets its
/// turn: on a machine busy with other things 50,000 policies took 101 to 1,845 ms with a mere yield
/// instead of the pauses, and 91 to 129 ms with them (four runs each).
#[derive(Debug, Default)]
pub(super) struct Room {
    written: [u32; 3],
    /// Of the table for indices, which is doubled whenever the fullest of the others is.
    buckets: u32,
}

impl Room {
    pub(super) fn written(&mut self, direction: Direction) {
        self.written[direction as usize] += 1;
    }

    /// To be called from time to time between insertions.
    pub(super) fn await_growth(&mut self, xfrm: &mut Requests) {
        let fullest = self.written.into_iter().max().unwrap_or_default();
        if fullest > self.buckets {
            // A kernel that does not say is not waited for.
            self.buckets = spd::index_buckets(xfrm).unwrap_or(u32::MAX);
        }
        if fullest > self.buckets {
            std::thread::sleep(PAUSE);
        }
    }
}
