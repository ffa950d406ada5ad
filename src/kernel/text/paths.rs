//! Links, addresses, routes, rules and what else decides where packets go, in the words of `ip`.

use crate::kernel::desired::{
    AddressKey, DecapsulationEntry, Encapsulation, Fragmenting, Link, LinkKind, Neighbour,
    NeighbourKey, Offload, ProxyKey, Route, RouteKey, RuleKey, Way,
};
use crate::kernel::ownership::ROUTE_PROTOCOL;
use crate::net::{Family, IpNet, Mac};
use std::fmt::{self, Display, Formatter};
use std::net::Ipv4Addr;

/// As `ip link add` takes it; a TUN is made with `ip tuntap add` instead.
impl Display for Link {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { name, kind, mtu } = self;
        let between = |f: &mut Formatter<'_>, kind, local: &Ipv4Addr, remote: &Ipv4Addr| {
            write!(
                f,
                "{name} mtu {mtu} type {kind} local {local} remote {remote} ttl 64"
            )?;
            // Otherwise it would be the one that the kernel has itself.
            let takes_all = local.is_unspecified() && remote.is_unspecified();
            f.write_str(if takes_all { " dev lo" } else { "" })
        };
        match kind {
            LinkKind::Tun(Offload::None) => write!(f, "{name} mode tun mtu {mtu}"),
            LinkKind::Tun(Offload::VirtioHeader) => write!(f, "{name} mode tun vnet_hdr mtu {mtu}"),
            LinkKind::IpInIp => write!(f, "{name} mtu {mtu} type ipip external"),
            LinkKind::IpInIpBetween { local, remote } => between(f, "ipip", local, remote),
            LinkKind::Gre => write!(f, "{name} mtu {mtu} type gre external"),
            LinkKind::GreBetween { local, remote } => between(f, "gre", local, remote),
            LinkKind::Ipv6InIp { local } => {
                write!(f, "{name} mtu {mtu} type sit local {local} ttl 64")
            }
            LinkKind::Ipv6InIpBetween { local, remote } => between(f, "sit", local, remote),
        }
    }
}

impl Display for AddressKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} dev {}", self.address, self.link)
    }
}

impl Display for ProxyKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { link, address } = self;
        write!(f, "proxy {address} dev {link} protocol {ROUTE_PROTOCOL}")
    }
}

impl Display for NeighbourKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { link, address } = self;
        write!(f, "{address} dev {link}")
    }
}

impl Display for Neighbour {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} lladdr {}", self.key, Mac(self.mac))?;
        write!(f, " nud permanent protocol {ROUTE_PROTOCOL}")
    }
}

impl Display for Encapsulation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            src,
            dst,
            ttl,
            fragmenting,
        } = self;
        write!(f, "encap ip src {src} dst {dst} ttl {ttl}")?;
        match fragmenting {
            Fragmenting::Allowed => Ok(()),
            // The kernel's flag 0x0100, for which `ip` 6.1 has no word.
            Fragmenting::Forbidden => f.write_str(" dont-fragment"),
        }
    }
}

impl Display for RouteKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { table, dst, metric } = self;
        write!(f, "{dst} table {table} proto {ROUTE_PROTOCOL}")?;
        match metric {
            0 => Ok(()),
            metric => write!(f, " metric {metric}"),
        }
    }
}

impl Display for Route {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match self.way {
            Way::Local => write!(f, "local {key} dev lo"),
            Way::Unreachable => write!(f, "unreachable {key}"),
            Way::Link { link, gateway, .. } => {
                write!(f, "{key}")?;
                if let Some(gateway) = gateway {
                    write!(f, " via {gateway}")?;
                }
                write!(f, " dev {link}")?;
                if gateway.is_some() {
                    f.write_str(" onlink")?;
                }
                Ok(())
            }
            Way::Encapsulated {
                link,
                encapsulation,
                ..
            } => write!(f, "{key} {encapsulation} dev {link}"),
        }?;
        match self.way.source() {
            Some(source) => write!(f, " src {source}"),
            None => Ok(()),
        }
    }
}

impl Display for RuleKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            family,
            priority,
            from,
            to,
            mark,
            iif,
            oif,
            finds_source,
            table,
        } = self;
        if *family == Family::V6 {
            f.write_str("-6 ")?;
        }
        write!(f, "priority {priority}")?;
        let word = |f: &mut Formatter<'_>, word, net: &Option<IpNet>| match net {
            Some(net) => write!(f, " {word} {net}"),
            None => Ok(()),
        };
        word(f, "from", from)?;
        // The kernel's flag 0x10000, for which `ip` has no word.
        if *finds_source {
            f.write_str(" or-none-yet")?;
        }
        word(f, "to", to)?;
        if mark.mask != 0 {
            write!(f, " fwmark {:#x}/{:#x}", mark.value, mark.mask)?;
        }
        for (word, link) in [("iif", iif), ("oif", oif)] {
            if let Some(link) = link {
                write!(f, " {word} {link}")?;
            }
        }
        write!(f, " lookup {table} proto {ROUTE_PROTOCOL}")
    }
}

/// The set, and the element in it.
impl Display for DecapsulationEntry {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::End(end) => write!(f, "ends {{ {end} }}"),
            Self::GreEnd(end) => write!(f, "gre-ends {{ {end} }}"),
            Self::Ipv6End(end) => write!(f, "ipv6-ends {{ {end} }}"),
            Self::Ipv6Prefix { home, prefix } => {
                let (first, last) = (prefix.network().to_bits(), prefix.broadcast().to_bits());
                write!(f, "ipv6-prefixes {{ {home} . {first:#x}-{last:#x} }}")
            }
            Self::Peer { src, dst } => write!(f, "peers {{ {src} . {dst} }}"),
            Self::UserSpace { src, dst } => write!(f, "user-space {{ {src} . {dst} }}"),
            Self::Binding { src, dst, inner } => {
                write!(f, "bindings {{ {src} . {dst} . {:#x} }}", u32::from(*inner))
            }
            Self::Visitor { src, dst, inner } => {
                write!(f, "visitors {{ {src} . {dst} . {:#x} }}", u32::from(*inner))
            }
        }
    }
}
