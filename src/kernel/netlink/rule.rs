//! Rules that choose a routing table: `struct fib_rule_hdr` and its attributes.

use super::error::KernelError;
use super::fields;
use super::message::{Attributes, Batch, Message, attributes_after, flags};
use super::socket::Requests;
use crate::kernel::desired::{LinkName, Mark, RuleKey};
use crate::kernel::ownership::ROUTE_PROTOCOL;
use crate::net::{Family, IpNet};

const HEADER_LEN: usize = 12;
const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_IIFNAME: u16 = 3;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_SUPPRESS_IFGROUP: u16 = 13;
const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_OIFNAME: u16 = 17;
const FRA_PROTOCOL: u16 = 21;

/// Attributes that narrow what a rule matches, which we never set: realms, tunnel ID, the groups
/// and prefix lengths that are passed over, VRFs, users, protocols and ports.
const NEVER_OURS: [u16; 8] = [11, 12, FRA_SUPPRESS_IFGROUP, 19, 20, 22, 23, 24];

/// `FR_ACT_TO_TBL`.
const TO_TABLE: u8 = 1;
/// `FIB_RULE_INVERT`.
const INVERTED: u32 = 2;
/// `FIB_RULE_FIND_SADDR`.
const FINDS_SOURCE: u32 = 0x1_0000;

pub fn add(batch: &mut Batch, key: &RuleKey) {
    write(
        batch,
        libc::RTM_NEWRULE,
        flags::CREATE | flags::EXCLUSIVE,
        key,
    );
}

pub fn delete(batch: &mut Batch, key: &RuleKey) {
    write(batch, libc::RTM_DELRULE, 0, key);
}

fn write(batch: &mut Batch, kind: u16, flags: u16, key: &RuleKey) {
    let len = |net: Option<IpNet>| net.map_or(0, |net| net.prefix_len());
    let mut header = [0; HEADER_LEN];
    header[0] = fields::family_code(key.family) as u8;
    (header[1], header[2]) = (len(key.to), len(key.from));
    header[7] = TO_TABLE;
    if key.finds_source {
        header[8..].copy_from_slice(&FINDS_SOURCE.to_ne_bytes());
    }
    batch.message(kind, flags, |payload| {
        payload.put_bytes(&header);
        payload.attribute_bytes(FRA_PRIORITY, &[&key.priority.to_ne_bytes()]);
        for (kind, net) in [(FRA_DST, key.to), (FRA_SRC, key.from)] {
            if let Some(net) = net.filter(|net| net.prefix_len() > 0) {
                fields::with_octets(net.network(), |octets| {
                    payload.attribute_bytes(kind, &[octets]);
                });
            }
        }
        if key.mark.mask != 0 {
            payload.attribute_bytes(FRA_FWMARK, &[&key.mark.value.to_ne_bytes()]);
            payload.attribute_bytes(FRA_FWMASK, &[&key.mark.mask.to_ne_bytes()]);
        }
        for (kind, link) in [(FRA_IIFNAME, key.iif), (FRA_OIFNAME, key.oif)] {
            if let Some(link) = link {
                payload.attribute_bytes(kind, &[link.as_str().as_bytes(), &[0]]);
            }
        }
        payload.attribute_bytes(FRA_TABLE, &[&key.table.to_ne_bytes()]);
        payload.attribute_bytes(FRA_PROTOCOL, &[&[ROUTE_PROTOCOL]]);
    });
}

pub fn own(requests: &mut Requests) -> Result<Vec<RuleKey>, KernelError> {
    let mut found = Vec::new();
    for family in [Family::V4, Family::V6] {
        let mut request = [0; HEADER_LEN];
        request[0] = fields::family_code(family) as u8;
        found.extend(requests.dump(libc::RTM_GETRULE, &request, read)?);
    }
    Ok(found)
}

/// One of ours, that is there or that is gone.
pub fn read(message: &Message<'_>) -> Option<RuleKey> {
    let &[
        family,
        to_len,
        from_len,
        tos,
        _,
        _,
        _,
        action,
        f0,
        f1,
        f2,
        f3,
        ..,
    ] = message.payload
    else {
        return None;
    };
    if !matches!(message.kind, libc::RTM_NEWRULE | libc::RTM_DELRULE) {
        return None;
    }
    let family = fields::family(u16::from(family))?;
    let attributes = attributes_after(message.payload, HEADER_LEN);
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    let inverted = flags & INVERTED != 0;
    let ours = attributes.find_u8(FRA_PROTOCOL) == Some(ROUTE_PROTOCOL);
    if !ours || action != TO_TABLE || tos != 0 || inverted || has_more(&attributes) {
        return None;
    }
    Some(RuleKey {
        family,
        priority: attributes.find_u32(FRA_PRIORITY).unwrap_or(0),
        from: net(family, attributes.find(FRA_SRC), from_len)?,
        to: net(family, attributes.find(FRA_DST), to_len)?,
        mark: Mark {
            value: attributes.find_u32(FRA_FWMARK).unwrap_or(0),
            mask: attributes.find_u32(FRA_FWMASK).unwrap_or(0),
        },
        iif: link(attributes.find_str(FRA_IIFNAME))?,
        oif: link(attributes.find_str(FRA_OIFNAME))?,
        finds_source: flags & FINDS_SOURCE != 0,
        table: attributes.find_u32(FRA_TABLE)?,
    })
}

fn has_more(attributes: &Attributes<'_>) -> bool {
    // All ones is none.
    let suppresses = attributes.find_u32(FRA_SUPPRESS_PREFIXLEN);
    let narrowed = NEVER_OURS
        .iter()
        .any(|kind| attributes.find(*kind).is_some());
    suppresses.is_some_and(|len| len != u32::MAX) || narrowed
}

/// The inner `None` is any.
#[expect(clippy::option_option, reason = "unreadable, any, and one")]
fn net(family: Family, octets: Option<&[u8]>, len: u8) -> Option<Option<IpNet>> {
    let Some(octets) = octets else {
        return Some(None);
    };
    let addr = fields::ip(octets).filter(|addr| Family::of(*addr) == family)?;
    Some(Some(IpNet::new(addr, len).ok()?.trunc()))
}

#[expect(clippy::option_option, reason = "unreadable, any, and one")]
fn link(name: Option<&str>) -> Option<Option<LinkName>> {
    name.map(str::parse).transpose().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::netlink::message::Messages;
    use proptest::prelude::*;

    fn read_back(key: &RuleKey) -> Option<RuleKey> {
        let mut batch = Batch::new(1);
        add(&mut batch, key);
        let message = Messages(batch.bytes()).next().unwrap();
        read(&message)
    }

    #[test]
    fn rules_read_back_as_written() {
        let mark = Mark {
            value: 0xc000_0000,
            mask: 0xc000_0000,
        };
        let by_mark = RuleKey::new(Family::V6, 7370, 7370).mark(mark);
        let of_us = RuleKey::new(Family::V4, 100, 7400).from("10.20.0.5/32".parse().unwrap());
        let to_them = RuleKey {
            iif: Some("lo".parse().unwrap()),
            oif: Some("eth0.100".parse().unwrap()),
            ..RuleKey::new(Family::V4, 101, 7400).to("10.0.0.0/8".parse().unwrap())
        };
        let from_ours = RuleKey {
            finds_source: true,
            ..RuleKey::new(Family::V6, 102, 7400).from("2001:db8::5/128".parse().unwrap())
        };
        for key in [by_mark, of_us, to_them, from_ours] {
            assert_eq!(read_back(&key), Some(key));
        }
    }

    #[test]
    fn a_rule_that_matches_less_than_we_could_have_written_is_not_ours() {
        let key = RuleKey::new(Family::V4, 100, 7400);
        for (kind, value) in [(FRA_SUPPRESS_PREFIXLEN, 0u32), (20, 1), (FRA_PROTOCOL, 4)] {
            let mut batch = Batch::new(1);
            add(&mut batch, &key);
            let message = Messages(batch.bytes()).next().unwrap();
            let mut payload = message.payload.to_vec();
            payload.extend([8, 0, kind as u8, 0]);
            payload.extend(value.to_ne_bytes());
            let payload = payload.as_slice();
            assert_eq!(read(&Message { payload, ..message }), None, "{kind}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_panic(payload in prop::collection::vec(any::<u8>(), 0..96)) {
            let message = Message { kind: libc::RTM_NEWRULE, flags: 0, sequence: 0, port: 0, payload: &payload };
            let _ = read(&message);
        }
    }
}
