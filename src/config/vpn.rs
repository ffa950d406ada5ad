//! `[[vpn]]`, `[vpn-gateway]` and `[[vpn-client]]`: addresses that a gateway gives away.

use super::other_vpn;
use super::report::{Report, Span};
use super::section::Section;
use super::values::{self, Reason};
use crate::agent::vpn::settings::{GatewaySettings, Served, SpeaksFrom, Start, VpnSettings};
use crate::ike::settings::{AddressRange, Client, Gateway, Peer};
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
        (Some(section), _) => served(report, section, clients),
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
    let addresses =
        section.required_list("gateway", "there would be nobody to ask", values::address);
    let addresses = one_of_each(report, section, addresses);
    let local = section.optional("local", values::address);
    let subnets = section.required_list("subnets", "nothing would go through it", net);
    let mut start = Start::Down;
    section.set("start", &mut start, |v| {
        values::word(v, &[("down", Start::Down), ("up", Start::Up)])
    });
    let mut speaks_from = SpeaksFrom::Given;
    section.set("address", &mut speaks_from, |v| {
        values::word(v, &[("none", SpeaksFrom::Own)])
    });
    let known = peer
        .as_ref()
        .and_then(|id| known(report, section, peers, id));
    if let Some(peer) = known {
        for (subnet, at) in &subnets {
            let mut ends = addresses.iter();
            if !ends.all(|address| peer.may_speak_for(*subnet, *address)) {
                let id = &peer.id;
                report.error(at, format!("subnets: {id} may not protect {subnet}"));
            }
        }
    }
    let is_unlike =
        |address: &IpAddr| local.is_some_and(|it| Family::of(it) != Family::of(*address));
    if let (Some(local), Some(address)) = (local, addresses.first())
        && addresses.iter().all(is_unlike)
    {
        let message = format!("local: {local} and {address} are of different IP versions");
        report.error(&section.span("local"), message);
    }
    if let (SpeaksFrom::Own, [_, _, ..]) = (speaks_from, &addresses[..]) {
        let message = "gateway: with address = \"none\" all is spoken from where the tunnel begins: name one address";
        report.error(&section.span("gateway"), message);
    } else if let (SpeaksFrom::Own, Some(address)) = (speaks_from, addresses.first()) {
        let is_other = |net: &IpNet| Family::of(net.addr()) != Family::of(*address);
        for (subnet, at) in subnets.iter().filter(|(net, _)| is_other(net)) {
            let message = format!(
                "subnets: {subnet} is of another IP version than {address}; with address = \"none\" all is \
                 spoken from where the tunnel begins"
            );
            report.error(at, message);
        }
    }
    Some(GatewaySettings {
        name: name?,
        peer: peer?,
        addresses: (!addresses.is_empty()).then_some(addresses)?,
        local,
        subnets: subnets.into_iter().map(|(net, _)| net).collect(),
        speaks_from,
        start,
    })
}

/// Addresses of one gateway.
pub(super) fn one_of_each(
    report: &Report<'_>,
    section: &Section<'_, '_>,
    addresses: Vec<(IpAddr, Span)>,
) -> Vec<IpAddr> {
    let addresses: Vec<IpAddr> = addresses.into_iter().map(|(address, _)| address).collect();
    let v4 = addresses.iter().filter(|address| address.is_ipv4()).count();
    if v4 > 1 || addresses.len() - v4 > 1 {
        let message =
            "gateway: at most one address of each IP version; another gateway is another [[vpn]]";
        report.error(&section.span("gateway"), message);
    }
    addresses
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

/// With the place of each prefix in which an own address may lie.
#[derive(Default)]
struct Clients {
    by_peer: BTreeMap<Identity, Client>,
    kept: Vec<(IpNet, Span)>,
}

fn clients(report: &Report<'_>, sections: &[Section<'_, '_>], peers: &[&Peer]) -> Clients {
    let mut clients = Clients::default();
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
        let keeps = section.list("own-addresses", net).unwrap_or_default();
        let client = Client {
            reserved: own,
            keeps: keeps.iter().map(|(net, _)| *net).collect(),
        };
        for (net, at) in keeps {
            if let Some((other, _)) = clients.kept.iter().find(|(it, _)| overlap(*it, net)) {
                let message = format!("own-addresses: {net} and {other} have addresses in common");
                report.error(&at, message);
            }
            clients.kept.push((net, at));
        }
        let Some(id) = peer else { continue };
        known(report, section, peers, &id);
        if clients.by_peer.insert(id.clone(), client).is_some() {
            let message = format!("peer: {id} is a client already");
            report.error(&section.span("peer"), message);
        }
    }
    clients
}

/// An address that a client keeps can be nobody else's, or what is meant for him would go to the client.
fn check_kept(report: &Report<'_>, clients: &Clients, pool: &[IpNet], subnets: &[IpNet]) {
    for (net, at) in &clients.kept {
        if let Some(given) = pool.iter().find(|given| overlap(**given, *net)) {
            let message = format!("own-addresses: {net}: {given} is given to clients");
            report.error(at, message);
        }
        // Everything is more than what lies here.
        let mut behind = subnets.iter().filter(|subnet| subnet.prefix_len() > 0);
        if let Some(subnet) = behind.find(|subnet| overlap(**subnet, *net)) {
            let message = format!("own-addresses: {net}: {subnet} lies behind this gateway");
            report.error(at, message);
        }
    }
}

fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b) || b.contains(&a)
}

fn served(report: &Report<'_>, section: &Section<'_, '_>, clients: Clients) -> Option<Served> {
    let pool = section.required_list("pool", "nobody could be given an address", net);
    let subnets = section.required_list("subnets", "clients could reach nothing", net);
    let dns = section.list("dns", values::address).unwrap_or_default();
    let mut liveness = LIVENESS;
    section.set("liveness", &mut liveness, |v| {
        values::duration_or_never(v, SECOND..=DAY)
    });
    let mut pool: Vec<IpNet> = pool.into_iter().map(|(net, _)| net).collect();
    let ranges: Option<Vec<_>> = pool.iter().copied().map(range).collect();
    let subnets: Vec<IpNet> = subnets.into_iter().map(|(net, _)| net).collect();
    // What is reserved need not lie in the pool, and is guarded as well; so is what clients keep.
    let by_peer = clients.by_peer.values();
    let outside = by_peer.flat_map(|client| &client.reserved).copied();
    let outside: Vec<IpNet> = outside
        .map(host)
        .filter(|addr| !pool.iter().any(|net| net.contains(addr)))
        .collect();
    pool.extend(outside);
    check_kept(report, &clients, &pool, &subnets);
    pool.extend(clients.kept.iter().map(|(net, _)| *net));
    Some(Served {
        gateway: Gateway {
            clients: clients.by_peer,
            pool: ranges?,
            subnets,
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
