//! Why a claim is not taken in.

use super::{CLOCK_SKEW, LONGEST};
use crate::presence::Timestamp;
use crate::presence::record::MAX_ADDRESSES;
use std::net::IpAddr;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "sequence {sequence} is a replay: the entity has used {known} already, and each must be \
         higher than the one before"
    )]
    Replayed { sequence: u64, known: u64 },
    #[error("it expired at {} (seconds since 1970)", expired.0)]
    Expired { expired: Timestamp },
    /// Not shortened: the sender would go on believing that it is known for longer.
    #[error(
        "it would hold until {} (seconds since 1970), which is more than {} hours ahead",
        expires.0, LONGEST.as_secs() / 3600
    )]
    TooLong { expires: Timestamp },
    #[error(
        "its time, {} (seconds since 1970), is more than {} minutes ahead: compare the clocks of both machines",
        time.0, CLOCK_SKEW.as_secs() / 60
    )]
    FromTheFuture { time: Timestamp },
    #[error("it names no address")]
    NoAddress,
    #[error("it names {found} addresses, more than the {MAX_ADDRESSES} that are allowed")]
    TooManyAddresses { found: usize },
    #[error("no other machine can send packets to {address}")]
    UnusableAddress { address: IpAddr },
    #[error("there is room for {most} entities of this kind, and it is taken")]
    Full { most: usize },
}
