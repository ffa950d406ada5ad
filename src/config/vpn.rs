//! `[[vpn]]`, `[vpn-gateway]` and `[[vpn-client]]`: addresses that a gateway gives away.

use super::other_vpn;
use super::report::Report;
use super::section::Section;
use super::values::{self, Reason};
use crate::agent::vpn::settings::{GatewaySettings, Served, Start, VpnSettings};
use crate::ike::settings::{AddressRange, Gateway, Peer};
use crate::net::{Family, Identity, IpNet, host};
use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use toml::de::DeValue;

/// Default of `vpn-gateway.liveness`.
const LIVENESS: Duration = Duration::from_secs(1800);
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

pub(super) struct Tables<'r, 't> {
    pub(super) gateways: Vec<Section<'r, 't>>,
    pub(super) serves: Option<Section<'r, 't>>,
    pub(super) clients: Vec<Section<'r, 't>>,
}

pub(super) fn read(report: &Report<'_>, tables: &Tables<'_, '_>, peers: &[&Peer]) -> VpnSettings {
    let mut names = HashSet::new();
    let mut named = |section: &Section<'_, '_>, name: &str| {
        if !names.insert(name.to_owned()) {
            let message = format!("name: there is a VPN `{name}` already");
            report.error(&section.span("name"), message);
        }
    };
    let (mut gateways, mut others) = (Vec::new(), Vec::new());
    for section in &tables.gateways {
        if other_vpn::is_other(section) {
            if let Some(other) = other_vpn::read(report, section) {
                named(section, &other.name);
                others.push(other);
            }
        } else if let Some(gateway) = gateway(report, section, peers) {
            named(section, &gateway.name);
            gateways.push(gateway);
        }
    }
    let clients = clients(report, &tables.clients, peers);
    let serves = match (&tables.serves, tables.clients.first()) {
        (Some(section), _) => served(section, clients),
        (None, Some(client)) => {
            let message = "there is no [vpn-gateway], so nobody can be a client";
            report.error(client.at(), message.to_owned());
            None
        }
        (None, None) => None,
    };
    VpnSettings {
        gateways,
        others,
        serves,
    }
}

fn gateway(
    report: &Report<'_>,
    section: &Section<'_, '_>,
    peers: &[&Peer],
) -> Option<GatewaySettings> {
    other_vpn::refuse(report, section);
    let name = section.required("name", name);
    let peer = section.required("peer", values::identity);
    let address = section.required("gateway", values::address);
    let local = section.optional("local", values::address);
    let subnets = section.required_list("subnets", "nothing would go through it", net);
    let mut start = Start::Down;
    section.set("start", &mut start, |v| {
        values::word(v, &[("down", Start::Down), ("up", Start::Up)])
    });
    let known = peer
        .as_ref()
        .and_then(|id| known(report, section, peers, id));
    if let (Some(peer), Some(address)) = (known, address) {
        for (subnet, at) in &subnets {
            if !peer.may_speak_for(*subnet, address) {
                let id = &peer.id;
                report.error(at, format!("subnets: {id} may not protect {subnet}"));
            }
        }
    }
    if let (Some(local), Some(address)) = (local, address)
        && Family::of(local) != Family::of(address)
    {
        let message = format!("local: {local} and {address} are of different IP versions");
        report.error(&section.span("local"), message);
    }
    Some(GatewaySettings {
        name: name?,
        peer: peer?,
        address: address?,
        local,
        subnets: subnets.into_iter().map(|(net, _)| net).collect(),
        start,
    })
}

pub(super) fn name(value: &DeValue<'_>) -> Result<String, Reason> {
    let name = values::text(value, "a name")?;
    let sound = !name.is_empty() && name.len() <= 64 && !name.contains(char::is_whitespace);
    sound
        .then(|| name.to_owned())
        .ok_or_else(|| "a name has up to 64 octets and no blanks".to_owned())
}

fn net(value: &DeValue<'_>) -> Result<IpNet, Reason> {
    values::net(value).map(|net| net.trunc())
}

/// The `[[peer]]` of that identity, or a complaint.
fn known<'p>(
    report: &Report<'_>,
    section: &Section<'_, '_>,
    peers: &[&'p Peer],
    id: &Identity,
) -> Option<&'p Peer> {
    let peer = peers.iter().find(|peer| peer.id == *id).copied();
    if peer.is_none() {
        let message = format!("peer: there is no [[peer]] {id}");
        report.error(&section.span("peer"), message);
    }
    peer
}

fn clients(
    report: &Report<'_>,
    sections: &[Section<'_, '_>],
    peers: &[&Peer],
) -> BTreeMap<Identity, Vec<IpAddr>> {
    let mut clients = BTreeMap::new();
    let mut reserved = HashSet::new();
    for section in sections {
        let peer = section.required("peer", values::identity);
        let addresses = section.list("addresses", values::address);
        let mut own: Vec<IpAddr> = Vec::new();
        for (addr, at) in addresses.unwrap_or_default() {
            if own.iter().any(|a| Family::of(*a) == Family::of(addr)) {
                let message = "addresses: at most one of each IP version".to_owned();
                report.error(&at, message);
            } else if !reserved.insert(addr) {
                report.error(&at, format!("addresses: {addr} is another client's"));
            }
            own.push(addr);
        }
        let Some(id) = peer else { continue };
        known(report, section, peers, &id);
        if clients.insert(id.clone(), own).is_some() {
            let message = format!("peer: {id} is a client already");
            report.error(&section.span("peer"), message);
        }
    }
    clients
}

fn served(section: &Section<'_, '_>, clients: BTreeMap<Identity, Vec<IpAddr>>) -> Option<Served> {
    let pool = section.required_list("pool", "nobody could be given an address", net);
    let subnets = section.required_list("subnets", "clients could reach nothing", net);
    let dns = section.list("dns", values::address).unwrap_or_default();
    let mut liveness = LIVENESS;
    section.set("liveness", &mut liveness, |v| {
        values::duration_or_never(v, SECOND..=DAY)
    });
    let mut pool: Vec<IpNet> = pool.into_iter().map(|(net, _)| net).collect();
    let ranges: Option<Vec<_>> = pool.iter().copied().map(range).collect();
    // What is reserved need not lie in the pool, and is guarded as well.
    let outside = clients.values().flatten().map(|addr| host(*addr));
    let outside: Vec<IpNet> = outside
        .filter(|addr| !pool.iter().any(|net| net.contains(addr)))
        .collect();
    pool.extend(outside);
    Some(Served {
        gateway: Gateway {
            clients,
            pool: ranges?,
            subnets: subnets.into_iter().map(|(net, _)| net).collect(),
            dns: dns.into_iter().map(|(addr, _)| addr).collect(),
            liveness,
        },
        pool,
    })
}

/// What may be given away of a prefix: not the first address, nor over IPv4 the last.
fn range(net: IpNet) -> Option<AddressRange> {
    match net {
        IpNet::V4(v4) if v4.prefix_len() < 31 => {
            let inner = |n: u32| IpAddr::V4(Ipv4Addr::from_bits(n));
            let (first, last) = (v4.network().to_bits() + 1, v4.broadcast().to_bits() - 1);
            AddressRange::new(inner(first), inner(last))
        }
        IpNet::V6(v6) if v6.prefix_len() < 127 => {
            let first = v6.network().to_bits() + 1;
            AddressRange::new(IpAddr::V6(first.into()), v6.broadcast().into())
        }
        net => AddressRange::new(net.network(), net.broadcast()),
    }
}
