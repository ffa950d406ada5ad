//! The local routes and the rules that bring diverted packets to the agent.

use super::error::KernelError;
use super::fields;
use super::message::{Batch, Message, attributes_after, flags};
use super::socket::Requests;
use crate::kernel::desired::{Mark, RouteKey, RuleKey};
use crate::kernel::ownership::ROUTE_PROTOCOL;
use crate::net::{Family, IpNet};
use netlink_packet_core::Emitable;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleHeader, RuleMessage};
use std::net::IpAddr;

const RTM_NEWROUTE: u16 = libc::RTM_NEWROUTE;
const RTM_DELROUTE: u16 = libc::RTM_DELROUTE;
const RTM_GETROUTE: u16 = libc::RTM_GETROUTE;
const RTM_NEWRULE: u16 = libc::RTM_NEWRULE;
const RTM_DELRULE: u16 = libc::RTM_DELRULE;
const RTM_GETRULE: u16 = libc::RTM_GETRULE;

/// `struct rtmsg` and `struct fib_rule_hdr`.
const HEADER_LEN: usize = 12;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_PROTOCOL: u16 = 21;

/// The loopback device is the first of every network namespace.
const LOOPBACK: u32 = 1;

fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

pub fn add_route(batch: &mut Batch, key: &RouteKey) {
    let flags = flags::CREATE | flags::EXCLUSIVE;
    batch.message(RTM_NEWROUTE, flags, |payload| payload.put(&route(key)));
}

pub fn delete_route(batch: &mut Batch, key: &RouteKey) {
    batch.message(RTM_DELROUTE, 0, |payload| payload.put(&route(key)));
}

pub fn add_rule(batch: &mut Batch, key: &RuleKey) {
    let flags = flags::CREATE | flags::EXCLUSIVE;
    batch.message(RTM_NEWRULE, flags, |payload| payload.put(&rule(key)));
}

pub fn delete_rule(batch: &mut Batch, key: &RuleKey) {
    batch.message(RTM_DELRULE, 0, |payload| payload.put(&rule(key)));
}

fn route(key: &RouteKey) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: address_family(Family::of(key.local.addr())),
        destination_prefix_length: key.local.prefix_len(),
        protocol: RouteProtocol::from(ROUTE_PROTOCOL),
        scope: RouteScope::Host,
        kind: RouteType::Local,
        ..RouteHeader::default()
    };
    message.attributes = vec![
        RouteAttribute::Destination(key.local.network().into()),
        RouteAttribute::Oif(LOOPBACK),
        RouteAttribute::Table(key.table),
    ];
    message
}

fn rule(key: &RuleKey) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header = RuleHeader {
        family: address_family(key.family),
        action: RuleAction::ToTable,
        ..RuleHeader::default()
    };
    message.attributes = vec![
        RuleAttribute::Priority(key.priority),
        RuleAttribute::FwMark(key.mark.value),
        RuleAttribute::FwMask(key.mark.mask),
        RuleAttribute::Table(key.table),
        RuleAttribute::Protocol(RouteProtocol::from(ROUTE_PROTOCOL)),
    ];
    message
}

/// Our routes: the kernel itself is asked for those of our protocol only, so that a full Internet
/// table beside them costs nothing.
pub fn own_routes(requests: &mut Requests) -> Result<Vec<RouteKey>, KernelError> {
    let mut found = Vec::new();
    for family in [Family::V4, Family::V6] {
        let header = RouteHeader {
            address_family: address_family(family),
            protocol: RouteProtocol::from(ROUTE_PROTOCOL),
            ..RouteHeader::default()
        };
        let request = emitted(&header);
        found.extend(requests.dump(RTM_GETROUTE, &request, read_route)?);
    }
    Ok(found)
}

pub fn own_rules(requests: &mut Requests) -> Result<Vec<RuleKey>, KernelError> {
    let mut found = Vec::new();
    for family in [Family::V4, Family::V6] {
        let header = RuleHeader {
            family: address_family(family),
            ..RuleHeader::default()
        };
        let request = emitted(&header);
        found.extend(requests.dump(RTM_GETRULE, &request, read_rule)?);
    }
    Ok(found)
}

/// The address that packets to `dst` with this mark leave from, by rules and routes alone: XFRM
/// policies are not looked at.
///
/// # Errors
/// The kernel's word for why there is no way, such as `ENETUNREACH`; `EBADMSG` where the way is
/// none for a peer, as to a broadcast address.
pub fn source_towards(
    requests: &mut Requests,
    dst: IpAddr,
    mark: u32,
) -> Result<IpAddr, KernelError> {
    let host = IpNet::from(dst);
    let header = RouteHeader {
        address_family: address_family(Family::of(dst)),
        destination_prefix_length: host.prefix_len(),
        ..RouteHeader::default()
    };
    let mut message = RouteMessage::default();
    message.header = header;
    message.attributes = vec![
        RouteAttribute::Destination(dst.into()),
        RouteAttribute::Mark(mark),
    ];
    requests.fetch(RTM_GETROUTE, |payload| payload.put(&message), read_source)
}

fn emitted(structure: &impl Emitable) -> Vec<u8> {
    let mut bytes = vec![0; structure.buffer_len()];
    structure.emit(&mut bytes);
    bytes
}

fn read_route(message: &Message<'_>) -> Option<RouteKey> {
    let &[family, prefix_len, _, _, _, protocol, _, kind, ..] = message.payload else {
        return None;
    };
    let attributes = attributes_after(message.payload, HEADER_LEN);
    let ours = message.kind == RTM_NEWROUTE
        && protocol == ROUTE_PROTOCOL
        && kind == u8::from(RouteType::Local);
    if !ours {
        return None;
    }
    let family = fields::family(u16::from(family))?;
    let addr = match attributes.find(libc::RTA_DST) {
        Some(octets) => read_address(octets)?,
        None => family.any().addr(),
    };
    Some(RouteKey {
        table: attributes.find_u32(libc::RTA_TABLE)?,
        local: IpNet::new(addr, prefix_len).ok()?.trunc(),
    })
}

/// Of the route to one destination.
fn read_source(message: &Message<'_>) -> Option<IpAddr> {
    let &[_, _, _, _, _, _, _, kind, ..] = message.payload else {
        return None;
    };
    let leads_to_one = kind == libc::RTN_UNICAST || kind == libc::RTN_LOCAL;
    if message.kind != RTM_NEWROUTE || !leads_to_one {
        return None;
    }
    let attributes = attributes_after(message.payload, HEADER_LEN);
    read_address(attributes.find(libc::RTA_PREFSRC)?)
}

fn read_address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => Some(<[u8; 4]>::try_from(octets).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(octets).ok()?.into()),
        _ => None,
    }
}

fn read_rule(message: &Message<'_>) -> Option<RuleKey> {
    let family = fields::family(u16::from(*message.payload.first()?))?;
    let attributes = attributes_after(message.payload, HEADER_LEN);
    let ours = message.kind == RTM_NEWRULE
        && attributes.find(FRA_PROTOCOL).and_then(<[u8]>::first) == Some(&ROUTE_PROTOCOL);
    if !ours {
        return None;
    }
    Some(RuleKey {
        family,
        priority: attributes.find_u32(FRA_PRIORITY).unwrap_or(0),
        mark: Mark {
            value: attributes.find_u32(FRA_FWMARK).unwrap_or(0),
            mask: attributes.find_u32(FRA_FWMASK).unwrap_or(0),
        },
        table: attributes.find_u32(FRA_TABLE)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::netlink::message::Messages;
    use proptest::prelude::*;

    #[test]
    fn routes_and_rules_read_back_as_written() {
        for local in ["0.0.0.0/0", "::/0", "10.1.0.0/16", "2001:db8::/32"] {
            let key = RouteKey {
                table: 7370,
                local: local.parse().unwrap(),
            };
            let mut batch = Batch::new(1);
            add_route(&mut batch, &key);
            let message = Messages(batch.bytes()).next().unwrap();
            assert_eq!(read_route(&message), Some(key));
        }
        let key = RuleKey {
            family: Family::V6,
            priority: 7370,
            mark: Mark {
                value: 0xc000_0000,
                mask: 0xc000_0000,
            },
            table: 7370,
        };
        let mut batch = Batch::new(1);
        add_rule(&mut batch, &key);
        let message = Messages(batch.bytes()).next().unwrap();
        assert_eq!(read_rule(&message), Some(key));
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_panic(kind in prop_oneof![Just(RTM_NEWROUTE), Just(RTM_NEWRULE)],
                                             payload in prop::collection::vec(any::<u8>(), 0..96)) {
            let message = Message { kind, flags: 0, sequence: 0, port: 0, payload: &payload };
            let _ = (read_route(&message), read_rule(&message), read_source(&message));
        }
    }
}
