//! One change to the kernel, and what it is called.

use crate::kernel::desired::{
    AddressKey, DecapsulationEntry, Interception, Judging, Key, Link, LinkKind, LinkName,
    Neighbour, NeighbourKey, Policy, PolicyKey, ProxyKey, Route, RouteKey, RuleKey, Sa, SaKey,
    Sysctl, Way,
};
use crate::kernel::observed::ObservedWay;
use crate::kernel::ownership;
use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    SetSysctl(Sysctl, &'a str),
    AddLink(&'a Link),
    /// Up, and with its MTU.
    SetLink(&'a Link),
    AddAddress(AddressKey),
    AddRoute(&'a Route),
    /// In one step.
    ReplaceRoute(&'a Route),
    AddRule(RuleKey),
    AddProxy(ProxyKey),
    /// In place of whatever was known of it.
    PutNeighbour(Neighbour),
    Intercept(&'a Interception),
    Judge(Judging),
    AddEntry(DecapsulationEntry),
    AddSa(&'a Sa),
    AddPolicy(&'a Policy),
    /// In one step and keeping `index`; held packets move over and are looked up again.
    UpdatePolicy {
        policy: &'a Policy,
        index: u32,
    },
    DeletePolicy {
        key: PolicyKey,
        index: u32,
    },
    DeleteSa {
        key: SaKey,
        src: IpAddr,
    },
    DeleteEntry(DecapsulationEntry),
    StopJudging,
    RemoveInterception,
    DeleteProxy(ProxyKey),
    DeleteNeighbour(NeighbourKey),
    DeleteAddress(AddressKey),
    DeleteRule(RuleKey),
    DeleteRoute {
        key: RouteKey,
        way: Option<ObservedWay>,
    },
    DeleteLink {
        name: LinkName,
        index: u32,
    },
    RestoreSysctl(Sysctl),
}

impl Step<'_> {
    pub fn key(&self) -> Key {
        match *self {
            Self::SetSysctl(name, _) | Self::RestoreSysctl(name) => Key::Sysctl(name),
            Self::AddLink(link) | Self::SetLink(link) => Key::Link(link.name),
            Self::DeleteLink { name, .. } => Key::Link(name),
            Self::AddAddress(key) | Self::DeleteAddress(key) => Key::Address(key),
            Self::AddRoute(route) | Self::ReplaceRoute(route) => Key::Route(route.key),
            Self::DeleteRoute { key, .. } => Key::Route(key),
            Self::AddRule(key) | Self::DeleteRule(key) => Key::Rule(key),
            Self::AddProxy(key) | Self::DeleteProxy(key) => Key::Proxy(key),
            Self::PutNeighbour(Neighbour { key, .. }) | Self::DeleteNeighbour(key) => {
                Key::Neighbour(key)
            }
            Self::Intercept(_) | Self::RemoveInterception => Key::Interception,
            Self::Judge(_) | Self::StopJudging => Key::Decapsulation,
            Self::AddEntry(entry) | Self::DeleteEntry(entry) => Key::DecapsulationEntry(entry),
            Self::AddSa(sa) => Key::Sa(sa.key()),
            Self::DeleteSa { key, .. } => Key::Sa(key),
            Self::AddPolicy(policy) | Self::UpdatePolicy { policy, .. } => Key::Policy(policy.key),
            Self::DeletePolicy { key, .. } => Key::Policy(key),
        }
    }

    /// Whether it takes an object out.
    pub fn is_removal(&self) -> bool {
        matches!(
            self,
            Self::DeletePolicy { .. }
                | Self::DeleteSa { .. }
                | Self::DeleteEntry(_)
                | Self::DeleteProxy(_)
                | Self::DeleteNeighbour(_)
                | Self::DeleteAddress(_)
                | Self::DeleteRule(_)
                | Self::DeleteRoute { .. }
                | Self::DeleteLink { .. }
        )
    }
}

impl Display for Step<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetSysctl(name, value) => write!(f, "sysctl {name}={value}"),
            Self::RestoreSysctl(name) => write!(f, "sysctl {name}=(as before)"),
            Self::AddLink(link) => match link.kind {
                LinkKind::Tun(_) => write!(f, "ip tuntap add {link}"),
                _ => write!(f, "ip link add {link}"),
            },
            Self::SetLink(link) => write!(f, "ip link set {} mtu {} up", link.name, link.mtu),
            Self::DeleteLink { name, .. } => write!(f, "ip link del {name}"),
            Self::AddAddress(key) => write!(f, "ip address add {key}"),
            Self::DeleteAddress(key) => write!(f, "ip address del {key}"),
            Self::AddRoute(route) => write!(f, "ip route add {route}"),
            Self::ReplaceRoute(route) => write!(f, "ip route replace {route}"),
            Self::DeleteRoute { key, way } => match way {
                Some(Way::Local) => write!(f, "ip route del local {key}"),
                Some(Way::Unreachable) => write!(f, "ip route del unreachable {key}"),
                _ => write!(f, "ip route del {key}"),
            },
            Self::AddRule(key) => write!(f, "ip rule add {key}"),
            Self::DeleteRule(key) => write!(f, "ip rule del {key}"),
            Self::AddProxy(key) => write!(f, "ip neigh add {key}"),
            Self::DeleteProxy(key) => write!(f, "ip neigh del {key}"),
            Self::PutNeighbour(neighbour) => write!(f, "ip neigh replace {neighbour}"),
            Self::DeleteNeighbour(key) => write!(f, "ip neigh del {key}"),
            Self::Intercept(_) => write!(f, "nft table inet {}", ownership::NFT_TABLE),
            Self::RemoveInterception => {
                write!(f, "nft delete table inet {}", ownership::NFT_TABLE)
            }
            Self::Judge(_) => write!(f, "nft table ip {}", ownership::DECAPSULATION_TABLE),
            Self::StopJudging => {
                write!(f, "nft delete table ip {}", ownership::DECAPSULATION_TABLE)
            }
            Self::AddEntry(entry) => {
                let table = ownership::DECAPSULATION_TABLE;
                write!(f, "nft add element ip {table} {entry}")
            }
            Self::DeleteEntry(entry) => {
                let table = ownership::DECAPSULATION_TABLE;
                write!(f, "nft delete element ip {table} {entry}")
            }
            Self::AddSa(sa) => write!(f, "ip xfrm state add {sa}"),
            Self::DeleteSa { key, src } => write!(f, "ip xfrm state delete src {src} {key}"),
            Self::AddPolicy(policy) => write!(f, "ip xfrm policy add {policy}"),
            Self::UpdatePolicy { policy, .. } => write!(f, "ip xfrm policy update {policy}"),
            Self::DeletePolicy { key, index } => {
                write!(
                    f,
                    "ip xfrm policy delete dir {} index {index}",
                    key.direction
                )
            }
        }
    }
}
