//! `IKE_SA_INIT` that leaves before it is known to whom: along with whatever looks for the peer. Its
//! answer comes with the peer's address, and saves the round trip that would begin then.
//!
//! It is as good as one that is sent to the peer, except that it cannot say to which address it goes:
//! of NAT detection it has only the source (RFC 7296 §2.23).

use super::crypto::PrivateKey;
use std::net::IpAddr;

/// Chosen by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpeningId(pub u64);

#[derive(Debug)]
pub(super) struct Opening {
    pub(super) spi: u64,
    pub(super) local: IpAddr,
    pub(super) nonce: Vec<u8>,
    pub(super) key: PrivateKey,
    pub(super) request: Vec<u8>,
    /// Whose, and what it was. The last one heard.
    pub(super) answer: Option<(IpAddr, Vec<u8>)>,
}
