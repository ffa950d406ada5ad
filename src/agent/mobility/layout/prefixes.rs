//! IPv6 prefixes that move with us (RFC 5454): in IPv4 from S to its home agent, whatever way S has.
//!
//! ```text
//!  xa-6in4   its addresses of 128 bits   from PREFIX              default dev xa-6in4, then unreachable
//!            from S to the home agent    from S                   the way of S, then unreachable
//! ```
//!
//! A move changes nothing here, and where S is blocked its packets are refused, so those in them are.

use super::{Layout, NESTED_UDP_MTU};
use crate::kernel::desired::{
    AddressKey, Link, LinkKind, LinkName, Object, RouteKey, RuleKey, Way,
};
use crate::net::{Family, IpNet};

/// The tunnel of S for IPv6.
pub const IPV6_TUNNEL: LinkName = LinkName::literal("xa-6in4");

/// What fits whatever way S has, behind one more header.
const MTU: u32 = NESTED_UDP_MTU as u32 - 20;
/// RFC 8200 §5.
const _: () = assert!(MTU >= 1280);

impl Layout<'_> {
    pub(super) fn prefixes(&mut self) {
        let (dual, table) = (&self.settings.dual, self.settings.tables.intranet());
        if dual.mobile_networks6.is_empty() {
            return;
        }
        self.route(RouteKey::end_of(table, Family::V6), Way::Unreachable);
        for net in &dual.mobile_networks6 {
            let net = IpNet::V6(*net);
            self.rule6(0, RouteKey::MAIN, |key| key.to(net));
            self.rule6(1, table, |key| key.from(net));
        }
        for (net, address) in dual.destinations6.iter().flat_map(|net| {
            let addresses = dual.addresses6();
            addresses.map(move |address| (*net, address))
        }) {
            // Whoever binds to another address keeps that.
            self.rule6(2, table, |key| RuleKey {
                finds_source: true,
                ..key.from(IpNet::V6(address)).to(IpNet::V6(net))
            });
        }
        // Before it is given, there is nobody to send.
        if dual.inner.home.is_unspecified() {
            return;
        }
        self.want(Object::Link(Link {
            name: IPV6_TUNNEL,
            kind: LinkKind::Ipv6InIpBetween {
                local: dual.inner.home,
                remote: dual.inner.home_agent,
            },
            mtu: MTU,
        }));
        for address in dual.addresses6() {
            self.want(Object::Address(AddressKey {
                link: IPV6_TUNNEL,
                address: IpNet::V6(address),
            }));
        }
        let way = Way::Link {
            link: IPV6_TUNNEL,
            gateway: None,
            source: None,
        };
        let key = RouteKey {
            table,
            dst: Family::V6.any(),
            metric: 0,
        };
        self.route(key, way);
    }

    fn rule6(&mut self, order: u32, table: u32, narrowed: impl FnOnce(RuleKey) -> RuleKey) {
        let priority = self.settings.tables.rule_priority + order;
        let key = RuleKey::new(Family::V6, priority, table);
        self.want(Object::Rule(narrowed(key)));
    }
}
