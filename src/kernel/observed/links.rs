//! The network interfaces that are there, everybody's.

use crate::kernel::desired::{Link, LinkKind, LinkName};
use crate::kernel::ownership::LINK_ALIAS;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedLink {
    pub index: u32,
    pub name: LinkName,
    pub kind: ObservedKind,
    /// `ARPHRD_…`: what its hardware addresses are.
    pub hardware: u16,
    pub mtu: u32,
    pub state: LinkState,
    pub loopback: bool,
    /// Part of another one, such as a bridge, which has the addresses.
    pub enslaved: bool,
    pub alias: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkState {
    Off,
    /// Switched on, and nobody is at the other end. A TUN is so while nobody has it open.
    NoCarrier,
    Carrier,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObservedKind {
    /// A device that no program made.
    Hardware,
    Tun,
    /// With outer addresses that come from routes.
    IpInIp,
    IpInIpBetween {
        local: Ipv4Addr,
        remote: Ipv4Addr,
    },
    Gre,
    GreBetween {
        local: Ipv4Addr,
        remote: Ipv4Addr,
    },
    Ipv6InIp {
        local: Ipv4Addr,
    },
    Ipv6InIpBetween {
        local: Ipv4Addr,
        remote: Ipv4Addr,
    },
    /// As `ip -d link` calls it.
    Other(String),
}

impl ObservedLink {
    pub fn is_ours(&self) -> bool {
        self.alias.as_deref() == Some(LINK_ALIAS)
    }

    pub fn is_of_kind(&self, wanted: LinkKind) -> bool {
        match wanted {
            LinkKind::Tun(_) => self.kind == ObservedKind::Tun,
            LinkKind::IpInIp => self.kind == ObservedKind::IpInIp,
            LinkKind::IpInIpBetween { local, remote } => {
                self.kind == ObservedKind::IpInIpBetween { local, remote }
            }
            LinkKind::Gre => self.kind == ObservedKind::Gre,
            LinkKind::GreBetween { local, remote } => {
                self.kind == ObservedKind::GreBetween { local, remote }
            }
            LinkKind::Ipv6InIp { local } => self.kind == ObservedKind::Ipv6InIp { local },
            LinkKind::Ipv6InIpBetween { local, remote } => {
                self.kind == ObservedKind::Ipv6InIpBetween { local, remote }
            }
        }
    }

    /// Whether it is as wanted, given that it is of that kind.
    pub fn is_set_as(&self, wanted: &Link) -> bool {
        self.state != LinkState::Off && self.mtu == wanted.mtu
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    by_index: BTreeMap<u32, ObservedLink>,
    by_name: BTreeMap<LinkName, u32>,
}

impl Links {
    pub fn named(&self, name: LinkName) -> Option<&ObservedLink> {
        self.by_index.get(self.by_name.get(&name)?)
    }

    pub fn index(&self, name: LinkName) -> Option<u32> {
        self.by_name.get(&name).copied()
    }

    pub fn at(&self, index: u32) -> Option<&ObservedLink> {
        self.by_index.get(&index)
    }

    pub fn iter(&self) -> impl Iterator<Item = &ObservedLink> {
        self.by_index.values()
    }

    pub fn own(&self) -> impl Iterator<Item = &ObservedLink> {
        self.iter().filter(|link| link.is_ours())
    }

    /// It is new or was changed; returns it as it was.
    pub fn is(&mut self, link: ObservedLink) -> Option<ObservedLink> {
        let before = self.is_gone(link.index);
        self.by_name.insert(link.name, link.index);
        self.by_index.insert(link.index, link);
        before
    }

    pub fn is_gone(&mut self, index: u32) -> Option<ObservedLink> {
        let before = self.by_index.remove(&index)?;
        if self.by_name.get(&before.name) == Some(&index) {
            self.by_name.remove(&before.name);
        }
        Some(before)
    }
}

impl FromIterator<ObservedLink> for Links {
    fn from_iter<T: IntoIterator<Item = ObservedLink>>(links: T) -> Self {
        let mut all = Self::default();
        for link in links {
            all.is(link);
        }
        all
    }
}

#[cfg(test)]
pub(in crate::kernel) mod tests {
    use super::*;

    pub(in crate::kernel) fn link(index: u32, name: &str, alias: Option<&str>) -> ObservedLink {
        ObservedLink {
            index,
            name: name.parse().unwrap(),
            kind: ObservedKind::Tun,
            hardware: 0xfffe,
            mtu: 1400,
            state: LinkState::NoCarrier,
            loopback: false,
            enslaved: false,
            alias: alias.map(str::to_owned),
        }
    }

    #[test]
    fn a_link_that_was_renamed_is_found_by_its_new_name_only() {
        let mut links: Links = [link(4, "eth0", None), link(5, "eth1", None)]
            .into_iter()
            .collect();
        let (eth0, eth1) = ("eth0".parse().unwrap(), "eth1".parse().unwrap());
        links.is(link(4, "lan", None));
        assert_eq!(links.index(eth0), None);
        // Before the old owner of the name is heard of.
        links.is(link(4, "eth1", None));
        links.is_gone(5);
        assert_eq!(links.index(eth1), Some(4));
    }
}
