//! From which prefix lengths on the kernel finds policies by hash.

use crate::kernel::netlink::error::KernelError;
use crate::kernel::netlink::socket::Requests;
use crate::kernel::netlink::spd::{self, Threshold, Thresholds};
use crate::kernel::remembered::Remembered;

/// Policies between prefixes at least this long are found by hash. 50,000 policies between /24s,
/// best of three on a busy machine: put in within 113 ms, with the kernel's own 32 and 128 within
/// 206 ms, with 16 and 48 within 270 ms. Runs differed by more than a factor of three.
const THRESHOLDS: Thresholds = Thresholds {
    v4: Threshold {
        local: 24,
        remote: 24,
    },
    v6: Threshold {
        local: 64,
        remote: 64,
    },
};

pub(super) fn set(xfrm: &mut Requests, remembered: &mut Remembered) -> Result<(), KernelError> {
    let before = spd::thresholds(xfrm)?;
    if before == THRESHOLDS {
        return Ok(());
    }
    remembered.thresholds(before, THRESHOLDS)?;
    spd::set_thresholds(xfrm, THRESHOLDS)
}

/// Where somebody has changed them since, they stay as they want them.
pub(super) fn restore(xfrm: &mut Requests, remembered: &mut Remembered) -> Result<(), KernelError> {
    if let Some(altered) = remembered.settings().thresholds.clone() {
        if spd::thresholds(xfrm)? == altered.ours {
            spd::set_thresholds(xfrm, altered.before)?;
        }
        remembered.forget_thresholds();
    }
    Ok(())
}
