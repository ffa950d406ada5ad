//! nftables without running `nft`, which takes 5 ms: whether a table is there, and the elements of
//! the sets that say what may be decapsulated.
//!
//! A batch of messages is one transaction. All of it is done, or nothing.

use super::error::KernelError;
use super::fields;
use super::message::{Attributes, Batch, Message, Payload, attributes_after, flags};
use super::socket::Requests;
use crate::kernel::desired::DecapsulationEntry;
use crate::kernel::ownership::{DECAPSULATION_TABLE, NFT_TABLE};
use crate::net::Ipv6Net;
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `NFNLGRP_NFTABLES`.
pub const CHANGES: u32 = 7;

const SUBSYSTEM: u16 = 0x0a << 8;
const GET_TABLE: u16 = SUBSYSTEM | 1;
const NEW_ELEMENT: u16 = SUBSYSTEM | 0x0c;
const GET_ELEMENT: u16 = SUBSYSTEM | 0x0d;
const DELETE_ELEMENT: u16 = SUBSYSTEM | 0x0e;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// `struct nfgenmsg`: family, version 0, no resource; and with the subsystem in network order.
const INET: [u8; 4] = [1, 0, 0, 0];
const IPV4: [u8; 4] = [2, 0, 0, 0];
const IN_BATCH: [u8; 4] = [0, 0, 0, 10];

/// The table, in messages of every kind.
const TABLE: u16 = 1;
const SET: u16 = 2;
const ELEMENTS: u16 = 3;
const ELEMENT: u16 = 1;
const KEY: u16 = 1;
/// The last of an interval.
const KEY_END: u16 = 10;
const VALUE: u16 = 1;

/// In the table [`DECAPSULATION_TABLE`].
pub const SETS: [&str; 8] = [
    "ends",
    "peers",
    "bindings",
    "visitors",
    "gre-ends",
    "ipv6-ends",
    "ipv6-prefixes",
    "user-space",
];

/// In the table [`NFT_TABLE`]: sources and destinations whose first packet has come, of each IP version.
pub const KNOWN: [&str; 2] = ["known4", "known6"];

/// In family `inet` of the calling thread's network namespace.
pub fn has_inet_table(name: &str) -> Result<bool, KernelError> {
    has_table(INET, name)
}

/// In family `ip`, there as well.
pub fn has_ip_table(name: &str) -> Result<bool, KernelError> {
    has_table(IPV4, name)
}

fn has_table(family: [u8; 4], name: &str) -> Result<bool, KernelError> {
    let mut requests = Requests::open(NETLINK_NETFILTER)?;
    let there = requests.fetch(
        GET_TABLE,
        |payload| {
            payload.put_bytes(&family);
            payload.attribute_bytes(TABLE, &[name.as_bytes(), &[0]]);
        },
        |_| Some(()),
    );
    match there {
        Ok(()) => Ok(true),
        Err(error) if error.errno == Errno::ENOENT => Ok(false),
        Err(error) => Err(error),
    }
}

/// What is done with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Where it is there already, nothing.
    Add,
    /// Where it is not there, the transaction fails.
    Delete,
}

/// The first message of a transaction; [`end`] is the last.
pub fn begin(batch: &mut Batch) {
    batch.message(BATCH_BEGIN, 0, |payload| payload.put_bytes(&IN_BATCH));
}

pub fn end(batch: &mut Batch) {
    batch.trailer(BATCH_END, &IN_BATCH);
}

pub fn put(batch: &mut Batch, write: Write, entry: &DecapsulationEntry) {
    let (kind, flags) = match write {
        Write::Add => (NEW_ELEMENT, flags::CREATE),
        Write::Delete => (DELETE_ELEMENT, 0),
    };
    let (set, key, last) = element(entry);
    batch.message(kind, flags, |payload| {
        put_set(payload, set);
        payload.nested(ELEMENTS, |payload| {
            payload.nested(ELEMENT, |payload| {
                payload.nested(KEY, |payload| payload.attribute_bytes(VALUE, &[&key]));
                if let Some(last) = &last {
                    payload.nested(KEY_END, |payload| payload.attribute_bytes(VALUE, &[last]));
                }
            });
        });
    });
}

fn put_set(payload: &mut Payload<'_>, set: &str) {
    put_set_of(payload, (IPV4, DECAPSULATION_TABLE), set);
}

fn put_set_of(payload: &mut Payload<'_>, (family, table): ([u8; 4], &str), set: &str) {
    payload.put_bytes(&family);
    payload.attribute_bytes(TABLE, &[table.as_bytes(), &[0]]);
    payload.attribute_bytes(SET, &[set.as_bytes(), &[0]]);
}

/// Both addresses have the same version, which is that of the set, one of [`KNOWN`].
///
/// # Errors
/// `ENOENT` where the two are not in it.
pub fn delete_pair(set: &str, src: IpAddr, dst: IpAddr) -> Result<(), KernelError> {
    let key = fields::with_octets(src, |src| {
        fields::with_octets(dst, |dst| [src, dst].concat())
    });
    let mut requests = Requests::open(NETLINK_NETFILTER)?;
    let batch = requests.batch();
    begin(batch);
    batch.message(DELETE_ELEMENT, 0, |payload| {
        put_set_of(payload, (INET, NFT_TABLE), set);
        payload.nested(ELEMENTS, |payload| {
            payload.nested(ELEMENT, |payload| {
                payload.nested(KEY, |payload| payload.attribute_bytes(VALUE, &[&key]));
            });
        });
    });
    end(batch);
    match requests.flush()?.pop() {
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}

/// The elements of a set of [`NFT_TABLE`], in the kernel's own words and order; none where the set is not there.
pub fn octets(set: &str) -> Result<Vec<u8>, KernelError> {
    let lists = dump(
        &mut Requests::open(NETLINK_NETFILTER)?,
        |payload| put_set_of(payload, (INET, NFT_TABLE), set),
        |message| {
            let attributes = attributes_after(message.payload, INET.len());
            attributes.find(ELEMENTS).map(<[u8]>::to_vec)
        },
    );
    Ok(lists?.concat())
}

/// The set, the element in it, and the last where it is an interval.
fn element(entry: &DecapsulationEntry) -> (&'static str, Vec<u8>, Option<Vec<u8>>) {
    let octets = |addresses: &[&Ipv4Addr]| addresses.iter().flat_map(|a| a.octets()).collect();
    let (set, key) = match entry {
        DecapsulationEntry::End(end) => (SETS[0], octets(&[end])),
        DecapsulationEntry::Peer { src, dst } => (SETS[1], octets(&[src, dst])),
        DecapsulationEntry::Binding { src, dst, inner } => (SETS[2], octets(&[src, dst, inner])),
        DecapsulationEntry::Visitor { src, dst, inner } => (SETS[3], octets(&[src, dst, inner])),
        DecapsulationEntry::UserSpace { src, dst } => (SETS[7], octets(&[src, dst])),
        DecapsulationEntry::GreEnd(end) => (SETS[4], octets(&[end])),
        DecapsulationEntry::Ipv6End(end) => (SETS[5], octets(&[end])),
        DecapsulationEntry::Ipv6Prefix { home, prefix } => {
            let end = |inner: Ipv6Addr| [&home.octets()[..], &inner.octets()].concat();
            let (first, last) = (end(prefix.network()), end(prefix.broadcast()));
            return (SETS[6], first, Some(last));
        }
    };
    (set, key, None)
}

/// All entries, in one of [`SETS`]; none where the set is not there.
pub fn entries(requests: &mut Requests, set: &str) -> Result<Vec<DecapsulationEntry>, KernelError> {
    let lists = dump(
        requests,
        |payload| put_set(payload, set),
        |message| Some(read_entries(message).collect::<Vec<_>>()),
    );
    Ok(lists?.into_iter().flatten().collect())
}

/// What `read` makes of each message about the elements of a set; nothing where the set is not there.
fn dump<T>(
    requests: &mut Requests,
    name: impl FnOnce(&mut Payload<'_>),
    read: impl FnMut(&Message<'_>) -> Option<T>,
) -> Result<Vec<T>, KernelError> {
    // As a message would have it, its header aside.
    let mut batch = Batch::new(0);
    batch.message(GET_ELEMENT, 0, name);
    let request = batch.bytes().get(super::message::HEADER_LEN..);
    match requests.dump(GET_ELEMENT, request.unwrap_or_default(), read) {
        Err(error) if error.errno == Errno::ENOENT => Ok(Vec::new()),
        other => other,
    }
}

/// What happened to one of our tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    Added(Vec<DecapsulationEntry>),
    Deleted(Vec<DecapsulationEntry>),
    /// Something else.
    Altered,
}

/// `None` for everybody else's tables.
pub fn read(message: &Message<'_>) -> Option<Happened> {
    if message.kind & 0xff00 != SUBSYSTEM {
        return None;
    }
    let attributes = attributes_after(message.payload, IPV4.len());
    let table = attributes.find_str(TABLE)?;
    let family = message.payload.first()?;
    if table == NFT_TABLE && *family == INET[0] {
        // Those who are known change by themselves, and by us.
        let is_pair = message.kind == DELETE_ELEMENT
            && attributes
                .find_str(SET)
                .is_some_and(|set| KNOWN.contains(&set));
        return (!is_pair).then_some(Happened::Altered);
    }
    if table != DECAPSULATION_TABLE || *family != IPV4[0] {
        return None;
    }
    let entries = || read_entries(message).collect();
    Some(match message.kind {
        NEW_ELEMENT => Happened::Added(entries()),
        DELETE_ELEMENT => Happened::Deleted(entries()),
        _ => Happened::Altered,
    })
}

fn read_entries<'a>(message: &Message<'a>) -> impl Iterator<Item = DecapsulationEntry> + use<'a> {
    let attributes = attributes_after(message.payload, IPV4.len());
    let set = attributes.find_str(SET);
    let elements = Attributes(attributes.find(ELEMENTS).unwrap_or_default());
    elements.filter_map(move |(_, element)| {
        let octets = |kind| Attributes(Attributes(element).find(kind)?).find(VALUE);
        match octets(KEY_END) {
            Some(last) => read_prefix(set?, octets(KEY)?, last),
            None => read_entry(set?, octets(KEY)?),
        }
    })
}

/// `None` is an interval that is no prefix, or of several home addresses: none of ours.
fn read_prefix(set: &str, first: &[u8], last: &[u8]) -> Option<DecapsulationEntry> {
    let read = |octets: &[u8]| {
        let (home, inner) = octets.split_first_chunk::<4>()?;
        let inner = Ipv6Addr::from(<[u8; 16]>::try_from(inner).ok()?);
        Some((Ipv4Addr::from(*home), inner))
    };
    let ((home, first), (last_home, last)) = (read(first)?, read(last)?);
    let len = (first.to_bits() ^ last.to_bits()).leading_zeros();
    let prefix = Ipv6Net::new(first, u8::try_from(len).ok()?).ok()?;
    let is_whole = prefix.network() == first && prefix.broadcast() == last;
    let is_ours = set == SETS[6] && home == last_home && is_whole;
    is_ours.then_some(DecapsulationEntry::Ipv6Prefix { home, prefix })
}

fn read_entry(set: &str, key: &[u8]) -> Option<DecapsulationEntry> {
    let (addresses, rest) = key.as_chunks::<4>();
    if !rest.is_empty() || !SETS.contains(&set) || set == SETS[6] {
        return None;
    }
    let address = |at: usize| Ipv4Addr::from(addresses[at]);
    match addresses.len() {
        3 if set == SETS[3] => Some(DecapsulationEntry::Visitor {
            src: address(0),
            dst: address(1),
            inner: address(2),
        }),
        1 if set == SETS[4] => Some(DecapsulationEntry::GreEnd(address(0))),
        1 if set == SETS[5] => Some(DecapsulationEntry::Ipv6End(address(0))),
        1 => Some(DecapsulationEntry::End(address(0))),
        2 if set == SETS[7] => Some(DecapsulationEntry::UserSpace {
            src: address(0),
            dst: address(1),
        }),
        2 => Some(DecapsulationEntry::Peer {
            src: address(0),
            dst: address(1),
        }),
        3 => Some(DecapsulationEntry::Binding {
            src: address(0),
            dst: address(1),
            inner: address(2),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::netlink::message::Messages;
    use proptest::prelude::*;

    fn all() -> [DecapsulationEntry; 10] {
        let prefix = |prefix: &str| DecapsulationEntry::Ipv6Prefix {
            home: "10.20.0.5".parse().unwrap(),
            prefix: prefix.parse().unwrap(),
        };
        let [src, dst, inner] =
            ["203.0.113.10", "192.0.2.2", "10.20.0.5"].map(|a| a.parse().unwrap());
        [
            DecapsulationEntry::End(dst),
            DecapsulationEntry::Peer { src, dst },
            DecapsulationEntry::Binding { src, dst, inner },
            DecapsulationEntry::Visitor { src, dst, inner },
            DecapsulationEntry::UserSpace { src, dst },
            DecapsulationEntry::GreEnd(dst),
            DecapsulationEntry::Ipv6End(dst),
            prefix("2001:db8:40::/48"),
            prefix("2001:db8::5/128"),
            prefix("::/0"),
        ]
    }

    #[test]
    fn entries_read_back_from_what_is_said_of_them() {
        let mut batch = Batch::new(1);
        begin(&mut batch);
        for entry in &all() {
            put(&mut batch, Write::Add, entry);
        }
        put(&mut batch, Write::Delete, &all()[0]);
        end(&mut batch);
        let said: Vec<_> = Messages(batch.bytes()).filter_map(|m| read(&m)).collect();
        let added = all().map(|entry| Happened::Added(vec![entry]));
        assert_eq!(said[..10], added);
        assert_eq!(said[10..], [Happened::Deleted(vec![all()[0]])]);
    }

    #[test]
    fn an_interval_that_is_no_prefix_is_not_ours() {
        let end = |home: u8, inner: u8| {
            let mut octets = [0; 20];
            (octets[3], octets[19]) = (home, inner);
            octets
        };
        let read = |first: [u8; 20], last: [u8; 20]| read_prefix(SETS[6], &first, &last);
        assert!(read(end(1, 4), end(1, 7)).is_some());
        assert_eq!(read(end(1, 4), end(1, 6)), None);
        assert_eq!(read(end(1, 5), end(1, 7)), None);
        assert_eq!(read(end(1, 4), end(2, 7)), None);
        assert_eq!(read_prefix(SETS[2], &end(1, 4), &end(1, 7)), None);
    }

    #[test]
    fn what_is_said_of_other_tables_is_nobodys_business() {
        let mut batch = Batch::new(1);
        put(&mut batch, Write::Add, &all()[0]);
        let message = Messages(batch.bytes()).next().unwrap();
        for (at, octet) in [(0, 1), (9, b'X')] {
            let mut payload = message.payload.to_vec();
            payload[at] = octet;
            let payload = payload.as_slice();
            assert_eq!(read(&Message { payload, ..message }), None);
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_panic(kind: u8, payload in prop::collection::vec(any::<u8>(), 0..96)) {
            let kind = SUBSYSTEM | u16::from(kind);
            let message = Message { kind, flags: 0, sequence: 0, port: 0, payload: &payload };
            let _ = read(&message);
        }
    }
}
