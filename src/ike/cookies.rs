//! Stateless cookies (RFC 7296 §2.6): proof that a sender receives at the address it sends from,
//! before anything is remembered about it.

use super::crypto::{Prf, constant_time_eq};
use super::effects::Sha2;
use crate::net::{Random, Secret};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Secrets change this often; the last but one is still good.
const ROTATION: Duration = Duration::from_secs(60);

/// `<version> | prf(secret, Ni | address, port | SPIi)`.
#[derive(Debug, Default)]
pub(super) struct Cookies {
    current: Option<(u8, Secret, Instant)>,
    previous: Option<(u8, Secret)>,
}

impl Cookies {
    pub(super) fn make(
        &mut self,
        now: Instant,
        rng: &mut dyn Random,
        nonce: &[u8],
        remote: SocketAddr,
        spi: u64,
    ) -> Vec<u8> {
        let stale = |since: &Instant| now.saturating_duration_since(*since) >= ROTATION;
        if self
            .current
            .as_ref()
            .is_none_or(|(_, _, since)| stale(since))
        {
            let mut octets = vec![0; 32];
            rng.fill(&mut octets);
            let version = self
                .current
                .as_ref()
                .map_or(0, |(v, _, _)| v.wrapping_add(1));
            self.previous = self.current.take().map(|(v, secret, _)| (v, secret));
            self.current = Some((version, Secret::new(octets), now));
        }
        let (version, secret) = self
            .current
            .as_ref()
            .map(|(version, secret, _)| (*version, secret))
            .expect("drawn above where there was none");
        cookie(version, secret, nonce, remote, spi)
    }

    pub(super) fn is_valid(
        &self,
        offered: &[u8],
        nonce: &[u8],
        remote: SocketAddr,
        spi: u64,
    ) -> bool {
        let current = self.current.as_ref().map(|(v, secret, _)| (*v, secret));
        let previous = self.previous.as_ref().map(|(v, secret)| (*v, secret));
        [current, previous]
            .into_iter()
            .flatten()
            .any(|(version, secret)| {
                constant_time_eq(&cookie(version, secret, nonce, remote, spi), offered)
            })
    }
}

fn cookie(version: u8, secret: &Secret, nonce: &[u8], remote: SocketAddr, spi: u64) -> Vec<u8> {
    let address = match remote.ip() {
        IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
        IpAddr::V6(a) => a.octets(),
    };
    let parts: [&[u8]; 4] = [
        nonce,
        &address,
        &remote.port().to_be_bytes(),
        &spi.to_be_bytes(),
    ];
    let code = Prf(Sha2::Sha256).compute(secret.expose(), &parts);
    [&[version][..], code.expose()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::random::Seeded;

    #[test]
    fn a_cookie_is_good_for_its_sender_and_for_two_rotations() {
        let mut cookies = Cookies::default();
        let mut rng = Seeded(1);
        let start = Instant::now();
        let remote: SocketAddr = "192.0.2.1:500".parse().unwrap();
        let other: SocketAddr = "192.0.2.2:500".parse().unwrap();
        let made = cookies.make(start, &mut rng, b"nonce", remote, 7);
        assert!(made.len() <= 64);
        assert!(cookies.is_valid(&made, b"nonce", remote, 7));
        assert!(!cookies.is_valid(&made, b"nonce", other, 7));
        assert!(!cookies.is_valid(&made, b"other", remote, 7));
        assert!(!cookies.is_valid(&made, b"nonce", remote, 8));
        assert!(!cookies.is_valid(&made[1..], b"nonce", remote, 7));
        assert!(!cookies.is_valid(&[], b"nonce", remote, 7));
        cookies.make(start + ROTATION, &mut rng, b"nonce", remote, 7);
        assert!(cookies.is_valid(&made, b"nonce", remote, 7));
        cookies.make(start + 2 * ROTATION, &mut rng, b"nonce", remote, 7);
        assert!(!cookies.is_valid(&made, b"nonce", remote, 7));
    }
}
