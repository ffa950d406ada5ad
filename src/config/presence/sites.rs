//! `[[site]]`: which addresses a location has, and who attests that a machine is there.

use super::super::report::{Report, Span};
use super::super::section::Section;
use super::super::values::{self, Reason};
use super::Surroundings;
use crate::net::{Identity, IpNet, Mac};
use crate::presence::rules::Site;
use std::collections::HashMap;
use std::net::IpAddr;
use toml::de::DeValue;

pub(super) struct ReadSite {
    pub(super) site: Site,
    pub(super) at: Span,
}

/// `None` where something essential was reported.
pub(super) fn read(
    report: &Report<'_>,
    section: &Section<'_, '_>,
    around: &Surroundings<'_>,
) -> Option<ReadSite> {
    let location = section.required("location", values::name);
    let addresses = section.required_list(
        "addresses",
        "a claim to be there is believed from these addresses only",
        range,
    );
    let (anchor, anchor_address) = anchor(report, section, around);
    let gateway_macs = section.list("gateway-macs", mac).unwrap_or_default();
    Some(ReadSite {
        site: Site {
            location: location?,
            addresses: addresses.into_iter().map(|(net, _)| net).collect(),
            anchor,
            anchor_address,
            gateway_macs: gateway_macs.into_iter().map(|(mac, _)| mac).collect(),
        },
        at: section.at().clone(),
    })
}

/// Who is asked, and where. This machine itself, which attests to others, is asked nowhere.
fn anchor(
    report: &Report<'_>,
    section: &Section<'_, '_>,
    around: &Surroundings<'_>,
) -> (Option<Identity>, Option<IpAddr>) {
    let anchor = section.optional("anchor", values::identity);
    let address = section.optional("anchor-address", values::address);
    let (given, named) = (section.has("anchor-address"), section.has("anchor"));
    let complain = |wrong: bool, key: &str, message: &str| {
        if wrong {
            report.error(&section.span(key), format!("{key}: {message}"));
        }
    };
    match &anchor {
        Some(anchor) if around.identity == Some(anchor) => {
            let message = "the anchor is this machine itself, which asks nobody";
            complain(given, "anchor-address", message);
        }
        Some(anchor) => {
            let known = around.peers.contains(anchor);
            complain(!known, "anchor", &super::no_peer(anchor));
            let message = "needs the key `anchor-address`: where is it asked?";
            complain(!given, "anchor", message);
        }
        None => {
            let message = "whose? the key `anchor` names it";
            complain(given && !named, "anchor-address", message);
        }
    }
    (anchor, address)
}

fn range(value: &DeValue<'_>) -> Result<IpNet, Reason> {
    let net = values::net(value)?;
    if net.prefix_len() == 0 {
        return Err(format!("{net} is every address: it tells no place apart"));
    }
    Ok(net.trunc())
}

fn mac(value: &DeValue<'_>) -> Result<[u8; 6], Reason> {
    let text = values::text(value, "a MAC address")?;
    let mac: Result<Mac, _> = text.parse();
    mac.map(|mac| mac.0).map_err(|error| error.to_string())
}

/// Each location once.
pub(super) fn check(report: &Report<'_>, read: &[ReadSite]) {
    let mut seen = HashMap::new();
    for ReadSite { site, at } in read {
        if let Some(first) = seen.insert(&site.location, at) {
            let (location, line) = (&site.location, report.line(first));
            report.error(
                at,
                format!("site `{location}` stands in line {line} already"),
            );
        }
    }
}
