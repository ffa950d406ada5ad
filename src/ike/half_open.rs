//! IKE SAs that a peer began and has not authenticated: the bounded table of what the network may
//! make us remember.

use super::crypto::IkeKeys;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// However many cookies come back, no more than this; the rest is dropped.
const CAPACITY: usize = 1024;
/// No more from one address.
const PER_ADDRESS: usize = 32;

#[derive(Debug)]
pub(super) struct HalfOpen {
    pub(super) spi_i: u64,
    pub(super) spi_r: u64,
    pub(super) remote: SocketAddr,
    /// The peer's `IKE_SA_INIT` and ours: repeated on a retransmission, proven by AUTH.
    pub(super) request: Vec<u8>,
    pub(super) response: Vec<u8>,
    pub(super) nonce_i: Vec<u8>,
    pub(super) nonce_r: Vec<u8>,
    pub(super) keys: IkeKeys,
    pub(super) nat: bool,
    pub(super) ours: bool,
    pub(super) created: Instant,
    /// Our answer to an `IKE_AUTH` that proved nothing.
    pub(super) refusal: Option<Vec<u8>>,
}

/// By our SPI.
#[derive(Debug, Default)]
pub(super) struct HalfOpenTable {
    by_spi: BTreeMap<u64, HalfOpen>,
    per_address: BTreeMap<IpAddr, usize>,
}

impl HalfOpenTable {
    pub(super) fn len(&self) -> usize {
        self.by_spi.len()
    }

    pub(super) fn has_room_for(&self, address: IpAddr) -> bool {
        let held = self.per_address.get(&address).copied().unwrap_or(0);
        self.by_spi.len() < CAPACITY && held < PER_ADDRESS
    }

    pub(super) fn insert(&mut self, entry: HalfOpen) {
        *self.per_address.entry(entry.remote.ip()).or_default() += 1;
        self.by_spi.insert(entry.spi_r, entry);
    }

    pub(super) fn remove(&mut self, spi: u64) -> Option<HalfOpen> {
        let entry = self.by_spi.remove(&spi)?;
        let address = entry.remote.ip();
        if let Some(held) = self.per_address.get_mut(&address) {
            *held -= 1;
            if *held == 0 {
                self.per_address.remove(&address);
            }
        }
        Some(entry)
    }

    pub(super) fn contains(&self, spi: u64) -> bool {
        self.by_spi.contains_key(&spi)
    }

    pub(super) fn entry_mut(&mut self, spi: u64) -> Option<&mut HalfOpen> {
        self.by_spi.get_mut(&spi)
    }

    /// The entry that this very datagram made.
    pub(super) fn made_by(&self, remote: SocketAddr, request: &[u8]) -> Option<&HalfOpen> {
        // Only where the address holds any: a flood from elsewhere costs nothing here.
        self.per_address.get(&remote.ip())?;
        self.by_spi
            .values()
            .find(|e| e.remote == remote && e.request == request)
    }
}
