//! IKE SAs that a peer began and has not authenticated: the bounded table of what the network may
//! make us remember.

use super::crypto::keymat::Nonces;
use super::crypto::{IkeKeys, PrivateKey};
use super::negotiation::IkeSuite;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// However many cookies come back, no more than this; the rest is dropped.
const CAPACITY: usize = 1024;
/// No more from one address, those that have authenticated lately included.
const PER_ADDRESS: usize = 64;

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
    pub(super) suite: IkeSuite,
    /// Our half of the key exchange and the peer's, until the keys are made of them.
    pub(super) exchange: Option<(PrivateKey, Vec<u8>)>,
    pub(super) keys: Option<IkeKeys>,
    pub(super) nat: bool,
    pub(super) ours: bool,
    pub(super) created: Instant,
    /// Our answer to an `IKE_AUTH` that proved nothing.
    pub(super) refusal: Option<Vec<u8>>,
}

impl HalfOpen {
    /// Makes the keys, where nobody has yet. `None` where what the peer sent is no public value.
    pub(super) fn agree(&mut self) -> Option<&mut IkeKeys> {
        if let Some((key, public)) = self.exchange.take() {
            let IkeSuite { prf, cipher, .. } = self.suite;
            let nonces = Nonces {
                initiator: &self.nonce_i,
                responder: &self.nonce_r,
            };
            let spis = (self.spi_i, self.spi_r);
            let shared = key.agree(&public).ok();
            self.keys = shared.map(|s| IkeKeys::first(prf, cipher, &s, nonces, spis));
        }
        self.keys.as_mut()
    }
}

/// What stays of one that has authenticated: its first message may still come again, and must not
/// make a second.
#[derive(Debug)]
struct Answered {
    remote: SocketAddr,
    request: Vec<u8>,
    response: Vec<u8>,
}

/// By our SPI.
#[derive(Debug, Default)]
pub(super) struct HalfOpenTable {
    by_spi: BTreeMap<u64, HalfOpen>,
    answered: BTreeMap<u64, Answered>,
    /// Every SPI of the two.
    by_address: BTreeMap<IpAddr, Vec<u64>>,
}

impl HalfOpenTable {
    /// Those that have not authenticated.
    pub(super) fn len(&self) -> usize {
        self.by_spi.len()
    }

    /// Those that have not authenticated, and what stays of those that have.
    pub(super) fn remembered(&self) -> usize {
        self.by_spi.len() + self.answered.len()
    }

    pub(super) fn has_room_for(&self, address: IpAddr) -> bool {
        let held = self.by_address.get(&address).map_or(0, Vec::len);
        self.by_spi.len() < CAPACITY && held < PER_ADDRESS
    }

    pub(super) fn insert(&mut self, entry: HalfOpen) {
        let spis = self.by_address.entry(entry.remote.ip()).or_default();
        spis.push(entry.spi_r);
        self.by_spi.insert(entry.spi_r, entry);
    }

    /// Takes one that has authenticated, and its keys; its first message is remembered until
    /// [`HalfOpenTable::forget`].
    pub(super) fn complete(&mut self, spi: u64) -> Option<(HalfOpen, IkeKeys)> {
        let mut entry = self.by_spi.remove(&spi)?;
        let answered = Answered {
            remote: entry.remote,
            request: entry.request.clone(),
            response: entry.response.clone(),
        };
        self.answered.insert(spi, answered);
        let keys = entry.keys.take()?;
        Some((entry, keys))
    }

    /// Whether it had not authenticated.
    pub(super) fn forget(&mut self, spi: u64) -> bool {
        let half_open = self.by_spi.remove(&spi);
        let answered = self.answered.remove(&spi);
        let was_half_open = half_open.is_some();
        let remote = half_open.map(|e| e.remote).or(answered.map(|e| e.remote));
        if let Some(address) = remote.map(|r| r.ip())
            && let Some(spis) = self.by_address.get_mut(&address)
        {
            spis.retain(|s| *s != spi);
            if spis.is_empty() {
                self.by_address.remove(&address);
            }
        }
        was_half_open
    }

    pub(super) fn contains(&self, spi: u64) -> bool {
        self.by_spi.contains_key(&spi)
    }

    pub(super) fn entry_mut(&mut self, spi: u64) -> Option<&mut HalfOpen> {
        self.by_spi.get_mut(&spi)
    }

    /// What this very datagram was answered with before.
    pub(super) fn answer_to(&self, remote: SocketAddr, request: &[u8]) -> Option<&[u8]> {
        self.by_address.get(&remote.ip())?.iter().find_map(|spi| {
            let half_open = self.by_spi.get(spi);
            let half_open = half_open.map(|e| (e.remote, &e.request, &e.response));
            let answered = self.answered.get(spi);
            let answered = answered.map(|e| (e.remote, &e.request, &e.response));
            let (from, asked, response) = half_open.or(answered)?;
            (from == remote && asked == request).then_some(&response[..])
        })
    }
}
