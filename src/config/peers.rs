//! `[[peer]]`: the peer authorization database (RFC 4301 §4.4.3) as the file writes it.

use super::file::ReadSecret;
use super::proxies::ReadProxy;
use super::report::{Report, Span};
use super::secrets::ADVISED_OCTETS;
use super::section::Section;
use super::values::{self, Reason};
use crate::ike::settings::Peer;
use crate::net::{Identity, IpNet, MaskedAddr};
use std::collections::HashMap;
use std::path::PathBuf;
use toml::de::DeValue;

pub(super) struct ReadPeer {
    pub(super) peer: Peer,
    pub(super) at: Span,
}

enum MayProtect {
    /// Only an address that it is given as a VPN client.
    Nothing,
    Itself,
    Net(IpNet),
}

/// `None` where something essential was reported.
pub(super) fn read(
    report: &Report<'_>,
    section: &Section<'_, '_>,
    read_secret: ReadSecret<'_>,
) -> Option<ReadPeer> {
    let id = section.required("id", values::identity);
    let psk_file = section.required("psk-file", |v| {
        values::text(v, "the name of a file").map(PathBuf::from)
    });
    let may_protect = section.required_list(
        "may-protect",
        "a peer that may protect nothing gets no tunnel; name its prefixes, or \"self\"",
        may_protect,
    );
    let psk = psk_file.and_then(|name| {
        read_secret(&name)
            .map_err(|error| report.error(&section.span("psk-file"), format!("psk-file: {error}")))
            .ok()
    })?;
    if psk.len() < ADVISED_OCTETS {
        let length = psk.len();
        report.warning(
            &section.span("psk-file"),
            format!("psk-file: the key has {length} octets: with fewer than {ADVISED_OCTETS} it can be guessed"),
        );
    }
    let mut peer = Peer {
        id: id?,
        psk,
        may_protect: Vec::new(),
        may_protect_itself: false,
        // `file` knows better, once the contacts are read.
        contact: false,
    };
    for (entry, _) in may_protect {
        match entry {
            MayProtect::Nothing => {}
            MayProtect::Itself => peer.may_protect_itself = true,
            MayProtect::Net(net) => peer.may_protect.push(net),
        }
    }
    Some(ReadPeer {
        peer,
        at: section.at().clone(),
    })
}

fn may_protect(value: &DeValue<'_>) -> Result<MayProtect, Reason> {
    match values::text(value, "a prefix or \"self\"")? {
        "nothing" => Ok(MayProtect::Nothing),
        "self" => Ok(MayProtect::Itself),
        text => values::prefix(text).map(MayProtect::Net).map_err(|reason| {
            format!("{reason}, or \"self\" for the address that the peer itself has")
        }),
    }
}

/// Each identity once, nobody is ourselves, and every remote has somebody who may protect it.
pub(super) fn check(
    report: &Report<'_>,
    read: &[ReadPeer],
    own: Option<&Identity>,
    proxies: &[ReadProxy],
) {
    let mut seen = HashMap::new();
    for ReadPeer { peer, at } in read {
        if let Some(first) = seen.insert(&peer.id, at) {
            let line = report.line(first);
            report.error(
                at,
                format!("peer {} stands in line {line} already", peer.id),
            );
        }
        if Some(&peer.id) == own {
            report.error(
                at,
                format!("peer {} has this gateway's own identity", peer.id),
            );
        }
    }
    // Any address can be that of a peer which protects itself.
    if read.is_empty() || read.iter().any(|read| read.peer.may_protect_itself) {
        return;
    }
    let allowed: Vec<MaskedAddr> = read
        .iter()
        .flat_map(|read| read.peer.may_protect.iter().map(|net| (*net).into()))
        .collect();
    for (remote, at) in proxies.iter().flat_map(|proxy| &proxy.remotes) {
        if !allowed.iter().any(|net| net.intersect(remote).is_some()) {
            report.warning(
                at,
                format!("no peer may protect any part of {remote}: no tunnel to it can come up"),
            );
        }
    }
}
