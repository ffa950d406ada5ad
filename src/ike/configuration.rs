//! Addresses of remote access (RFC 7296 §2.19): what a client asks for and believes, and what a
//! gateway gives away.
//!
//! ```text
//! client   CP(CFG_REQUEST), TSi 0.0.0.0/0, TSr subnets  -->
//! gateway                       <--  CP(CFG_REPLY: V), TSi V/32, TSr subnets
//! ```
//!
//! A client that keeps an address of its own asks for none, and says in TSi where its IKE comes from.

use super::context::Context;
use super::sa::IkeSa;
use super::settings::{AddressRequest, Gateway, Settings};
use super::wire::configuration::ConfigurationAttribute as Attribute;
use super::wire::{Configuration, ConfigurationKind, NotifyKind, Payload, Payloads};
use crate::net::{Family, IpNet, Selector, host};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// What a gateway has given us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assigned {
    pub addresses: Vec<IpAddr>,
    pub dns: Vec<IpAddr>,
    /// Reachable through it, as it says.
    pub subnets: Vec<IpNet>,
}

impl Assigned {
    fn read(reply: &Configuration) -> Self {
        let mut assigned = Self {
            addresses: reply.addresses().collect(),
            ..Self::default()
        };
        for attribute in &reply.attributes {
            match *attribute {
                Attribute::Ip4Dns(Some(addr)) => assigned.dns.push(addr.into()),
                Attribute::Ip6Dns(Some(addr)) => assigned.dns.push(addr.into()),
                Attribute::Ip4Subnet(Some((net, mask))) => {
                    let length = mask.to_bits().leading_ones();
                    let contiguous = length + mask.to_bits().trailing_zeros() >= 32;
                    let net = IpNet::new(net.into(), length as u8).ok();
                    assigned.subnets.extend(net.filter(|_| contiguous));
                }
                Attribute::Ip6Subnet(Some((net, length))) => {
                    assigned.subnets.extend(IpNet::new(net.into(), length).ok());
                }
                _ => {}
            }
        }
        assigned
    }
}

/// What asks for an address of each IP version that the traffic has.
pub(super) fn request(wanted: &AddressRequest, selectors: &[Selector]) -> Payload {
    let families: BTreeSet<Family> = selectors.iter().map(Selector::family).collect();
    let again = |family| wanted.again.iter().find(|a| Family::of(**a) == family);
    let mut attributes = Vec::new();
    for family in families {
        match family {
            Family::V4 => {
                let addr = again(family).and_then(|a| match a {
                    IpAddr::V4(a) => Some(*a),
                    IpAddr::V6(_) => None,
                });
                attributes.extend([
                    Attribute::Ip4Address(addr),
                    Attribute::Ip4Dns(None),
                    Attribute::Ip4Subnet(None),
                ]);
            }
            Family::V6 => {
                let addr = again(family).and_then(|a| match a {
                    IpAddr::V6(a) => Some((*a, 128)),
                    IpAddr::V4(_) => None,
                });
                attributes.extend([
                    Attribute::Ip6Address(addr),
                    Attribute::Ip6Dns(None),
                    Attribute::Ip6Subnet(None),
                ]);
            }
        }
    }
    Payload::Configuration(Configuration {
        kind: ConfigurationKind::REQUEST,
        attributes,
    })
}

/// What the gateway's answer gives us; `None` where it gives no address.
pub(super) fn assigned(answer: &Payloads) -> Option<Assigned> {
    let reply = answer.configuration()?;
    (reply.kind == ConfigurationKind::REPLY)
        .then(|| Assigned::read(reply))
        .filter(|assigned| !assigned.addresses.is_empty())
}

impl Gateway {
    fn reply(&self, addresses: &[IpAddr]) -> Payload {
        let mut attributes = Vec::new();
        for addr in addresses {
            attributes.push(match addr {
                IpAddr::V4(addr) => Attribute::Ip4Address(Some(*addr)),
                IpAddr::V6(addr) => Attribute::Ip6Address(Some((*addr, 128))),
            });
            if addr.is_ipv4() {
                attributes.push(Attribute::Ip4Netmask(Some(Ipv4Addr::BROADCAST)));
            }
        }
        let given = |family| addresses.iter().any(|a| Family::of(*a) == family);
        for dns in self.dns.iter().filter(|dns| given(Family::of(**dns))) {
            attributes.push(match dns {
                IpAddr::V4(addr) => Attribute::Ip4Dns(Some(*addr)),
                IpAddr::V6(addr) => Attribute::Ip6Dns(Some(*addr)),
            });
        }
        for net in self
            .subnets
            .iter()
            .filter(|net| given(Family::of(net.addr())))
        {
            attributes.push(match (net.network(), net.netmask()) {
                (IpAddr::V4(net), IpAddr::V4(mask)) => Attribute::Ip4Subnet(Some((net, mask))),
                (IpAddr::V6(addr), _) => Attribute::Ip6Subnet(Some((addr, net.prefix_len()))),
                (IpAddr::V4(_), IpAddr::V6(_)) => continue,
            });
        }
        Payload::Configuration(Configuration {
            kind: ConfigurationKind::REPLY,
            attributes,
        })
    }

    /// What a client with these addresses may exchange with us: outbound selectors.
    pub(super) fn allows(&self, addresses: &[IpAddr]) -> Vec<Selector> {
        let pairs = self
            .subnets
            .iter()
            .flat_map(|net| addresses.iter().map(|addr| (*net, host(*addr))));
        pairs
            .filter(|(net, addr)| Family::of(net.addr()) == Family::of(addr.addr()))
            .map(|(net, addr)| Selector::between(net, addr))
            .collect()
    }
}

impl IkeSa {
    /// As the gateway: what answers a client's request for an address, where this is one.
    pub(super) fn lease(
        &mut self,
        ctx: &mut Context,
        request: &Payloads,
    ) -> Result<Option<Payload>, NotifyKind> {
        let Some(gateway) = &ctx.settings.gateway else {
            return Ok(None);
        };
        let Some(client) = gateway.clients.get(&self.peer) else {
            return Ok(None);
        };
        let Some(wanted) = request
            .configuration()
            .filter(|c| c.kind == ConfigurationKind::REQUEST)
        else {
            return Ok(None);
        };
        let named: Vec<IpAddr> = wanted.addresses().collect();
        let asks = |family| {
            wanted.attributes.iter().any(|a| match a {
                Attribute::Ip4Address(_) => family == Family::V4,
                Attribute::Ip6Address(_) => family == Family::V6,
                _ => false,
            })
        };
        for family in [Family::V4, Family::V6].into_iter().filter(|f| asks(*f)) {
            let leased = ctx.leases.lease(
                gateway,
                &client.reserved,
                (self.id, &self.peer),
                family,
                &named,
            );
            self.leased.extend(leased);
        }
        if self.leased.is_empty() {
            // §3.15.4
            ctx.counters.no_address += 1;
            return Err(NotifyKind::INTERNAL_ADDRESS_FAILURE);
        }
        Ok(Some(gateway.reply(&self.leased)))
    }

    /// Whether every selector speaks only for addresses that the gateway at the other end gave us.
    pub(super) fn is_ours_by_assignment(&self, selectors: &[Selector]) -> bool {
        let ours = |s: &Selector| self.assigned.iter().any(|addr| s.src == host(*addr));
        !selectors.is_empty() && selectors.iter().all(ours)
    }

    /// Whether every selector is for us as a client of the gateway at the other end: for what it gave us,
    /// or for the address that we keep.
    pub(super) fn is_ours_as_client(&self, settings: &Settings, selectors: &[Selector]) -> bool {
        let own = host(self.local.ip());
        let reached = settings.kept_with.get(&self.peer);
        let is_kept = |s: &Selector| {
            let mut reached = reached.into_iter().flatten();
            s.src == own && reached.any(|net| net.contains(&s.dst))
        };
        let all_kept = !selectors.is_empty() && selectors.iter().all(is_kept);
        all_kept || self.is_ours_by_assignment(selectors)
    }

    /// As the gateway: the address of its own that the client at the other end keeps. A translator's is
    /// nobody's: others may be behind it.
    pub(super) fn kept(&self, gateway: &Gateway) -> Option<IpAddr> {
        let addr = self.remote.ip();
        let keeps = self.leased.is_empty() && !self.nat && gateway.lets_keep(&self.peer, addr);
        keeps.then_some(addr)
    }

    /// As the gateway: what the client at the other end speaks for.
    pub(super) fn addresses_of_client(&self, gateway: &Gateway) -> Vec<IpAddr> {
        let leased = self.leased.iter().copied();
        leased.chain(self.kept(gateway)).collect()
    }

    /// Whether every selector speaks only for addresses that the client at the other end was given or
    /// keeps, and for what it may reach.
    pub(super) fn is_of_client(&self, gateway: Option<&Gateway>, selectors: &[Selector]) -> bool {
        let Some(gateway) = gateway.filter(|g| g.clients.contains_key(&self.peer)) else {
            return false;
        };
        let allowed = gateway.allows(&self.addresses_of_client(gateway));
        let granted = |s: &Selector| allowed.iter().any(|a| a.contains(s));
        !selectors.is_empty() && selectors.iter().all(granted)
    }
}
