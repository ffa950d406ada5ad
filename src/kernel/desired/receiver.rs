//! Devices by which packets come out of tunnels.

use super::{AddressKey, Link, LinkKind, LinkName, LinkSetting, Object, Sysctl, TUNNEL_MTU};
use crate::net::host;
use std::net::Ipv4Addr;

/// Stands for an address where none is needed (RFC 7600: the IPv4 dummy address).
const DUMMY: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);
const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

/// One in each network namespace.
const STRANGERS: LinkName = LinkName::literal("xa-strangers");

/// Packets from it may have their way back elsewhere. On a link without an address the kernel drops these whatever
/// the setting says.
pub fn loose(link: LinkName) -> [Object; 2] {
    [
        Object::Sysctl(Sysctl::Link(link, LinkSetting::RpFilter), "2".to_owned()),
        Object::Address(AddressKey {
            link,
            address: host(DUMMY.into()),
        }),
    ]
}

/// By which a mobile node takes what comes from its home agent out of IP in IP, to whichever of its addresses. Nothing
/// is sent by it.
///
/// [`LinkKind::IpInIp`] would take it too, but gives each packet a record of where it came from, and with that the kernel
/// does not look for a socket before it has looked for a route (docs/performance.md has what that costs).
pub fn from_home_agent(home_agent: Ipv4Addr) -> [Object; 3] {
    receiver(home_agent, ANY, home_agent)
}

/// The same at the home agent, from whichever care-of address.
pub fn by_home_agent(home_agent: Ipv4Addr) -> [Object; 3] {
    receiver(home_agent, home_agent, ANY)
}

/// Of both.
pub fn name(home_agent: Ipv4Addr) -> LinkName {
    let name = format!("xa-in-{:08x}", home_agent.to_bits());
    name.parse().expect("it has 14 letters")
}

/// Where IP in IP ends that no other device takes, so that [`LinkKind::IpInIp`] takes nothing: the kernel prefers this
/// one. What comes in by it has its way back elsewhere, whoever it is from, and on a link without an address the kernel
/// drops that where it looks at all. What it has received is what was refused.
pub fn of_strangers() -> [Object; 2] {
    let link = Object::Link(Link {
        name: STRANGERS,
        kind: LinkKind::IpInIpBetween {
            local: ANY,
            remote: ANY,
        },
        mtu: TUNNEL_MTU,
    });
    let strict = Sysctl::Link(STRANGERS, LinkSetting::RpFilter);
    [link, Object::Sysctl(strict, "1".to_owned())]
}

fn receiver(home_agent: Ipv4Addr, local: Ipv4Addr, remote: Ipv4Addr) -> [Object; 3] {
    let name = name(home_agent);
    let link = Object::Link(Link {
        name,
        kind: LinkKind::IpInIpBetween { local, remote },
        mtu: TUNNEL_MTU,
    });
    let [setting, address] = loose(name);
    [link, setting, address]
}
