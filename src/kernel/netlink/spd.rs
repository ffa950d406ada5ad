//! Which policies the kernel finds by hash: both prefixes at least as long as the thresholds.
//! The others lie in trees and lists, which are slower to change and to search.

use super::error::KernelError;
use super::message::{Attributes, attributes_after};
use super::socket::Requests;
use netlink_packet_xfrm::constants::{
    XFRM_MSG_GETSPDINFO, XFRM_MSG_NEWSPDINFO, XFRMA_SPD_HINFO, XFRMA_SPD_IPV4_HTHRESH,
    XFRMA_SPD_IPV6_HTHRESH,
};
use serde::{Deserialize, Serialize};

/// Shortest local and remote prefix that is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Threshold {
    pub local: u8,
    pub remote: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thresholds {
    pub v4: Threshold,
    pub v6: Threshold,
}

pub fn thresholds(requests: &mut Requests) -> Result<Thresholds, KernelError> {
    fetch(requests, |attributes| {
        let threshold = |kind| match attributes.find(kind) {
            Some(&[local, remote, ..]) => Some(Threshold { local, remote }),
            _ => None,
        };
        Some(Thresholds {
            v4: threshold(XFRMA_SPD_IPV4_HTHRESH)?,
            v6: threshold(XFRMA_SPD_IPV6_HTHRESH)?,
        })
    })
}

/// Of the table that finds policies by index.
pub fn index_buckets(requests: &mut Requests) -> Result<u32, KernelError> {
    // `struct xfrmu_spdhinfo` begins with the mask.
    fetch(requests, |info| {
        Some(info.find_u32(XFRMA_SPD_HINFO)?.saturating_add(1))
    })
}

fn fetch<T>(
    requests: &mut Requests,
    read: impl Fn(&Attributes<'_>) -> Option<T>,
) -> Result<T, KernelError> {
    requests.fetch(
        XFRM_MSG_GETSPDINFO,
        |payload| payload.put_bytes(&u32::MAX.to_ne_bytes()),
        |message| read(&attributes_after(message.payload, 4)),
    )
}

/// The kernel sorts its policies anew in the background.
pub fn set_thresholds(requests: &mut Requests, thresholds: Thresholds) -> Result<(), KernelError> {
    requests.request(XFRM_MSG_NEWSPDINFO, 0, |payload| {
        payload.put_bytes(&0u32.to_ne_bytes());
        for (kind, threshold) in [
            (XFRMA_SPD_IPV4_HTHRESH, thresholds.v4),
            (XFRMA_SPD_IPV6_HTHRESH, thresholds.v6),
        ] {
            payload.attribute_bytes(kind, &[&[threshold.local, threshold.remote]]);
        }
    })
}
