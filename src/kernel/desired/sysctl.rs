//! Sysctls that the agent changes; the writer remembers what was there before, across `kill -9`.

use super::LinkName;
use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sysctl {
    /// `net.core.xfrm_larval_drop`: 0 holds packets while their SA is negotiated.
    XfrmLarvalDrop,
    /// `net.core.xfrm_acq_expires`: seconds until the kernel asks again.
    XfrmAcqExpires,
    /// `net.ipv6.conf.all.forwarding`: IPv6 has no such setting of one link. 1 makes this machine a router, which takes
    /// no gateway from other routers' advertisements unless a link's `accept_ra` is 2.
    Ipv6Forwarding,
    /// Of IPv4 on one link, or on [`Sysctl::EVERY_LINK`]. Given back where the link still exists.
    Link(LinkName, LinkSetting),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LinkSetting {
    /// 0 takes packets whatever their source, 1 those whose source is routed out of the same link,
    /// 2 those whose source is routed at all. The greater of the link's and of every link's counts.
    RpFilter,
    /// 1 answers ARP for addresses that are routed elsewhere, proxy neighbours or not.
    ProxyArp,
    /// 1 takes packets whose source is an address of ours: a tunnel's inner packet may have one.
    AcceptLocal,
    /// 1 forwards what comes in by this link: a home agent needs it on the home network and on the
    /// tunnel.
    Forwarding,
    /// 0 tells no sender of a better gateway: whoever a home agent forwards for is not on the link.
    SendRedirects,
}

impl Sysctl {
    pub const EVERY_LINK: LinkName = LinkName::literal("all");

    /// Those that are not of one link.
    pub const OF_THE_HOST: [Self; 3] = [
        Self::XfrmLarvalDrop,
        Self::XfrmAcqExpires,
        Self::Ipv6Forwarding,
    ];
}

impl LinkSetting {
    const ALL: [Self; 5] = [
        Self::RpFilter,
        Self::ProxyArp,
        Self::AcceptLocal,
        Self::Forwarding,
        Self::SendRedirects,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::RpFilter => "rp_filter",
            Self::ProxyArp => "proxy_arp",
            Self::AcceptLocal => "accept_local",
            Self::Forwarding => "forwarding",
            Self::SendRedirects => "send_redirects",
        }
    }
}

const OF_LINKS: &str = "net.ipv4.conf.";

/// As `sysctl` has it: a full stop in a link's name is a slash.
impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::XfrmLarvalDrop => f.write_str("net.core.xfrm_larval_drop"),
            Self::XfrmAcqExpires => f.write_str("net.core.xfrm_acq_expires"),
            Self::Ipv6Forwarding => f.write_str("net.ipv6.conf.all.forwarding"),
            Self::Link(link, setting) => {
                let link = link.as_str().replace('.', "/");
                write!(f, "{OF_LINKS}{link}.{}", setting.name())
            }
        }
    }
}

/// It is none that the agent changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a sysctl that the agent changes")]
pub struct UnknownSysctl;

impl FromStr for Sysctl {
    type Err = UnknownSysctl;

    fn from_str(text: &str) -> Result<Self, UnknownSysctl> {
        let Some(of_link) = text.strip_prefix(OF_LINKS) else {
            let mut all = Self::OF_THE_HOST.into_iter();
            return all.find(|s| s.to_string() == text).ok_or(UnknownSysctl);
        };
        let (link, name) = of_link.rsplit_once('.').ok_or(UnknownSysctl)?;
        let link = link.replace('/', ".").parse().map_err(|_| UnknownSysctl)?;
        let mut settings = LinkSetting::ALL.into_iter();
        let setting = settings.find(|s| s.name() == name).ok_or(UnknownSysctl)?;
        Ok(Self::Link(link, setting))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_by_name_is_found_by_it() {
        let vlan = "eth0.100".parse().unwrap();
        let of_links = LinkSetting::ALL.map(|setting| Sysctl::Link(vlan, setting));
        for sysctl in Sysctl::OF_THE_HOST.into_iter().chain(of_links) {
            assert_eq!(sysctl.to_string().parse(), Ok(sysctl));
        }
        let text = of_links[0].to_string();
        assert_eq!(text, "net.ipv4.conf.eth0/100.rp_filter");
        for text in [
            "",
            "net.ipv4.conf.",
            "net.ipv4.conf.eth0.mtu",
            "kernel.panic",
        ] {
            assert_eq!(text.parse::<Sysctl>(), Err(UnknownSysctl), "{text}");
        }
    }
}
