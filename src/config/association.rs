//! The keys of a mobility security association (RFC 5944 §1.6), as several tables have them: `spi`,
//! `algorithm` and `key-file`.

use super::file::ReadSecret;
use super::section::Section;
use super::values;
use crate::mobile_ip::security::{Algorithm, FIRST_SPI, ReplayProtection, SecurityAssociation};
use crate::mobile_ip::wire::TunnelKind;
use std::path::Path;

/// Of tunnels between a home agent and a mobile node, or a foreign agent.
pub(super) const ENCAPSULATIONS: [(&str, TunnelKind); 3] = [
    ("ipip", TunnelKind::IpIp),
    ("gre", TunnelKind::Gre),
    ("minimal", TunnelKind::Minimal),
];

/// Of those that lead on into another tunnel: the kernel carries them, and has no minimal encapsulation.
pub(super) const OF_KERNEL: &[(&str, TunnelKind)] = ENCAPSULATIONS.split_at(2).0;

/// `encapsulations`: those of `possible` that are offered; IP in IP is never refused (RFC 5944 §4.1).
pub(super) fn encapsulations(
    section: &Section<'_, '_>,
    possible: &[(&str, TunnelKind)],
) -> Vec<TunnelKind> {
    let offered = section.list("encapsulations", |v| values::word(v, possible));
    let offered = offered.unwrap_or_default().into_iter();
    offered.map(|(kind, _)| kind).collect()
}

/// Octets of a key: RFC 5944 §3.5.1 wants 128 bits.
const LEAST_KEY: usize = 16;

/// What the three are called in a table that has two associations.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    pub(super) spi: &'static str,
    pub(super) algorithm: &'static str,
    pub(super) key_file: &'static str,
}

const ALONE: Names = Names {
    spi: "spi",
    algorithm: "algorithm",
    key_file: "key-file",
};

/// All three. `harm` is what whoever guesses the key can do. `None` where something was reported.
pub(super) fn association(
    section: &Section<'_, '_>,
    read_secret: ReadSecret<'_>,
    harm: &str,
) -> Option<SecurityAssociation> {
    association_of(section, ALONE, read_secret, harm)
}

/// The same by other names.
pub(super) fn association_of(
    section: &Section<'_, '_>,
    names: Names,
    read_secret: ReadSecret<'_>,
    harm: &str,
) -> Option<SecurityAssociation> {
    let spi = spi_of(
        section,
        names.spi,
        "256–4294967295, as the other end has it",
    );
    let algorithm = algorithm_of(section, names.algorithm);
    let key = section.required(names.key_file, |v| {
        let name = values::text(v, "the name of a file")?;
        let key = read_secret(Path::new(name)).map_err(|error| error.to_string())?;
        if key.expose().len() < LEAST_KEY {
            return Err(format!(
                "{name} holds a key of less than {LEAST_KEY} octets: {harm}; make one with \
                 `openssl rand -hex 32 | sed 's/^/0x/'`"
            ));
        }
        Ok(key)
    });
    Some(SecurityAssociation {
        spi: spi?,
        algorithm,
        key: key?,
        replay: ReplayProtection::default(),
    })
}

pub(super) fn spi(section: &Section<'_, '_>, allowed: &str) -> Option<u32> {
    spi_of(section, ALONE.spi, allowed)
}

fn spi_of(section: &Section<'_, '_>, name: &'static str, allowed: &str) -> Option<u32> {
    section.required(name, |v| {
        values::integer(v, i128::from(FIRST_SPI)..=i128::from(u32::MAX), allowed)
    })
}

pub(super) fn algorithm(section: &Section<'_, '_>) -> Algorithm {
    algorithm_of(section, ALONE.algorithm)
}

fn algorithm_of(section: &Section<'_, '_>, name: &'static str) -> Algorithm {
    let mut algorithm = Algorithm::HmacMd5;
    section.set(name, &mut algorithm, |v| {
        let words = [
            ("hmac-md5", Algorithm::HmacMd5),
            ("hmac-sha256", Algorithm::HmacSha256),
        ];
        values::word(v, &words)
    });
    algorithm
}
