//! What the kernel should hold for a foreign agent, and for each who visits it.
//!
//! ```text
//!  to S    ←── table of visitors: S/32 dev LINK, its MAC ←── rule: by xa-ipip ←── let through: (HOME AGENT, CARE-OF, to S) ←── IP in IP
//!  from S  ──→ rule: from S, by LINK ──→ table of its home agent: encap ip dst HOME AGENT src CARE-OF
//! ```
//! Nobody has to prove to us whose address S is, so only what comes out of a tunnel finds S here.
//!
//! Only the packets of visitors that asked for a reverse tunnel take it (RFC 3024 §5.1); those that are
//! wrapped for us, where that was agreed, come by `xa-ipip` instead (§5.2).
//!
//! What home agents send in GRE comes out of `xa-gre`, and goes there; what they send in minimal encapsulation comes out
//! of `xa-minimal`, which user space reads and writes, but for fragments, which are in IP in IP (RFC 2004 §3.1).

use super::settings::ForeignAgentSettings;
use crate::kernel::desired::{
    DecapsulationEntry, Encapsulation, Fragmenting, Judging, Link, LinkKind, LinkName, LinkSetting,
    Neighbour, NeighbourKey, Object, Offload, Route, RouteKey, RuleKey, Sysctl, TUNNEL_MTU, Way,
    receiver,
};
use crate::mobile_ip::Via;
use crate::mobile_ip::foreign_agent::{Reverse, Visit};
use crate::mobile_ip::wire::TunnelKind;
use crate::net::{Family, host};
use crate::tun::tunnels::{Binding, Congestion, MINIMAL_MTU, Outer, Side, Tunnel};

/// All tunnels of IP in IP.
const TUNNELS: LinkName = LinkName::literal("xa-ipip");
/// All tunnels of GRE.
const GRE_TUNNELS: LinkName = LinkName::literal("xa-gre");
/// All tunnels of minimal encapsulation: what is routed there, user space sends.
pub(super) const MINIMAL_TUNNELS: LinkName = LinkName::literal("xa-minimal");
/// Of outer headers, where the inner ones do not say.
const HOPS: u8 = 64;

/// As long as there is a foreign agent.
pub(super) fn foundation(settings: &ForeignAgentSettings) -> Vec<Object> {
    let protocol = &settings.protocol;
    let of_link =
        |link, setting, value: &str| Object::Sysctl(Sysctl::Link(link, setting), value.to_owned());
    let mut objects = vec![
        Object::Decapsulation(Judging::FOREIGN_AGENT),
        of_link(settings.link, LinkSetting::Forwarding, "1"),
        // They come from addresses of elsewhere.
        of_link(settings.link, LinkSetting::RpFilter, "2"),
        // Visitors have nobody else.
        of_link(settings.link, LinkSetting::SendRedirects, "0"),
    ];
    let visitors = settings.tables.visitors();
    objects.push(Object::Route(Route {
        key: RouteKey::end_of(visitors, Family::V4),
        way: Way::Unreachable,
    }));
    let offers = |kind| protocol.tunnels.contains(&kind);
    let has_gre = offers(TunnelKind::Gre);
    let links = [
        Some((TUNNELS, LinkKind::IpInIp, TUNNEL_MTU)),
        has_gre.then_some((GRE_TUNNELS, LinkKind::Gre, TUNNEL_MTU)),
        offers(TunnelKind::Minimal).then_some((
            MINIMAL_TUNNELS,
            LinkKind::Tun(Offload::VirtioHeader),
            MINIMAL_MTU.into(),
        )),
    ];
    for (name, kind, mtu) in links.into_iter().flatten() {
        objects.extend([
            Object::Link(Link { name, kind, mtu }),
            of_link(name, LinkSetting::Forwarding, "1"),
            // What we have to say to a visitor, of packets that are too large, goes to its home network first.
            of_link(name, LinkSetting::AcceptLocal, "1"),
            // Behind those for what a visitor has wrapped for us.
            Object::Rule(RuleKey {
                iif: Some(name),
                ..RuleKey::new(Family::V4, settings.tables.rule_priority + 1, visitors)
            }),
        ]);
        // What comes out of a tunnel is from anybody; to whom it may go is judged before.
        objects.extend(receiver::loose(name));
    }
    let mut ends = vec![protocol.care_of, protocol.address];
    ends.dedup();
    for end in ends {
        objects.push(Object::DecapsulationEntry(DecapsulationEntry::End(end)));
        if has_gre {
            objects.push(Object::DecapsulationEntry(DecapsulationEntry::GreEnd(end)));
        }
    }
    objects
}

/// Of one visitor; `table` is that of its home agent.
pub(super) fn of_visit(settings: &ForeignAgentSettings, visit: &Visit, table: u32) -> Vec<Object> {
    let link = settings.link;
    let Visit {
        home,
        home_agent,
        care_of,
        ..
    } = *visit;
    let mut objects = vec![Object::Route(Route {
        key: RouteKey::to_host(settings.tables.visitors(), home),
        way: Way::Link {
            link,
            gateway: None,
            source: None,
        },
    })];
    // Nobody may ask everybody for it (RFC 5944 §4.2.2).
    objects.extend(visit.mac.map(|mac| {
        let address = home.into();
        let key = NeighbourKey { link, address };
        Object::Neighbour(Neighbour { key, mac })
    }));
    let wrapped = |tunnels, ttl| Way::Encapsulated {
        link: tunnels,
        encapsulation: Encapsulation {
            src: care_of,
            dst: home_agent,
            ttl,
            fragmenting: Fragmenting::Allowed,
        },
        source: None,
    };
    let way = match visit.tunnel {
        TunnelKind::IpIp => wrapped(TUNNELS, 0),
        TunnelKind::Gre => wrapped(GRE_TUNNELS, HOPS),
        TunnelKind::Minimal => Way::Link {
            link: MINIMAL_TUNNELS,
            gateway: None,
            source: None,
        },
    };
    let entry = DecapsulationEntry::Visitor {
        src: home_agent,
        dst: care_of,
        inner: home,
    };
    objects.push(Object::DecapsulationEntry(entry));
    let iif = match visit.reverse {
        Reverse::None => return objects,
        Reverse::Direct => link,
        Reverse::Encapsulating => {
            let entry = DecapsulationEntry::Binding {
                src: home,
                dst: settings.protocol.address,
                inner: home,
            };
            objects.push(Object::DecapsulationEntry(entry));
            TUNNELS
        }
    };
    let key = RouteKey {
        table,
        dst: Family::V4.any(),
        metric: 0,
    };
    objects.extend([
        Object::Route(Route {
            key: RouteKey::end_of(table, Family::V4),
            way: Way::Unreachable,
        }),
        Object::Route(Route { key, way }),
        Object::Rule(RuleKey {
            from: Some(host(home.into())),
            iif: Some(iif),
            ..RuleKey::new(Family::V4, settings.tables.rule_priority, table)
        }),
    ]);
    objects
}

/// What user space has to carry of it: as for the mobile node itself, in whose place we are.
pub(super) fn carried(visit: &Visit) -> Option<Binding> {
    let tunnel = Tunnel {
        via: Via::Routed,
        outer: Outer::Minimal {
            local: visit.care_of,
            remote: visit.home_agent,
        },
        mtu: MINIMAL_MTU,
        reverse: visit.reverse != Reverse::None,
        congestion: Congestion::Normal,
    };
    (visit.tunnel == TunnelKind::Minimal).then(|| Binding {
        side: Side::MobileNode,
        home: visit.home,
        networks: Vec::new(),
        tunnels: vec![tunnel],
        receives: Vec::new(),
    })
}
