//! Packets that nftables has put into a queue, and what becomes of them (`linux/netfilter/nfnetlink_queue.h`).
//!
//! Every number in these messages is in network order, other than everywhere else in netlink.

use super::message::{Batch, Message, attributes_after};

const SUBSYSTEM: u16 = 3 << 8;
const PACKET: u16 = SUBSYSTEM;
const VERDICT: u16 = SUBSYSTEM | 1;
const CONFIG: u16 = SUBSYSTEM | 2;

/// Of packets and verdicts.
const PACKET_HEADER: u16 = 1;
const VERDICT_HEADER: u16 = 2;
const PAYLOAD: u16 = 10;
/// Of the configuration.
const COMMAND: u16 = 1;
const PARAMETERS: u16 = 2;
const MOST: u16 = 3;
const MASK: u16 = 4;
const FLAGS: u16 = 5;

const BIND: u8 = 1;
const COPY_PACKET: u8 = 2;
/// What finds the queue full goes on as if there were none.
const FAIL_OPEN: u32 = 1;
/// Large packets stay whole: nothing in them is changed, and their checksums are nobody's business here.
const GSO: u32 = 4;
const ACCEPT: u32 = 1;

/// `struct nfgenmsg`: no family, version 0, the queue.
fn general(queue: u16) -> [u8; 4] {
    let [high, low] = queue.to_be_bytes();
    [0, 0, high, low]
}

/// Whoever sends this hears of the queue's packets from then on, `octets` of each. At most `most` wait; those after
/// them go on. `EPERM` where somebody else hears of them.
pub fn bind(batch: &mut Batch, queue: u16, octets: u32, most: u32) {
    batch.message(CONFIG, 0, |payload| {
        payload.put_bytes(&general(queue));
        payload.attribute_bytes(COMMAND, &[&[BIND, 0, 0, 0]]);
        payload.attribute_bytes(PARAMETERS, &[&octets.to_be_bytes(), &[COPY_PACKET]]);
        payload.attribute_bytes(MOST, &[&most.to_be_bytes()]);
        let flags = (FAIL_OPEN | GSO).to_be_bytes();
        payload.attribute_bytes(MASK, &[&flags]);
        payload.attribute_bytes(FLAGS, &[&flags]);
    });
}

/// The packet goes on to where it was going.
pub fn accept(batch: &mut Batch, queue: u16, id: u32) {
    batch.message(VERDICT, 0, |payload| {
        payload.put_bytes(&general(queue));
        payload.attribute_bytes(VERDICT_HEADER, &[&ACCEPT.to_be_bytes(), &id.to_be_bytes()]);
    });
}

/// The packet's number, and as much of it as is copied, from its IP header on.
pub fn read<'a>(message: &Message<'a>) -> Option<(u32, &'a [u8])> {
    if message.kind != PACKET {
        return None;
    }
    let attributes = attributes_after(message.payload, general(0).len());
    let id = attributes.find(PACKET_HEADER)?.first_chunk()?;
    Some((
        u32::from_be_bytes(*id),
        attributes.find(PAYLOAD).unwrap_or_default(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::netlink::message::{Attributes, Messages};
    use proptest::prelude::*;

    fn packet(payload: &[u8]) -> Vec<u8> {
        let mut batch = Batch::new(1);
        batch.message(PACKET, 0, |message| {
            message.put_bytes(&general(5));
            message.attribute_bytes(PACKET_HEADER, &[&7u32.to_be_bytes(), &[8, 0, 0]]);
            message.attribute_bytes(PAYLOAD, &[payload]);
        });
        batch.bytes().to_vec()
    }

    #[test]
    fn a_packet_has_its_number_and_its_octets() {
        let bytes = packet(&[0x45, 1, 2]);
        let message = Messages(&bytes).next().unwrap();
        assert_eq!(read(&message), Some((7, &[0x45, 1, 2][..])));
        let kind = VERDICT;
        assert_eq!(read(&Message { kind, ..message }), None);
    }

    #[test]
    fn what_is_asked_names_the_queue_in_network_order() {
        let mut batch = Batch::new(1);
        bind(&mut batch, 0x7861, 128, 512);
        accept(&mut batch, 0x7861, 9);
        let messages: Vec<_> = Messages(batch.bytes()).collect();
        assert!(
            messages
                .iter()
                .all(|m| m.payload[..4] == [0, 0, 0x78, 0x61])
        );
        let parameters = Attributes(&messages[0].payload[4..]).find(PARAMETERS);
        assert_eq!(parameters, Some(&[0, 0, 0, 128, 2][..]));
        let verdict = Attributes(&messages[1].payload[4..]).find(VERDICT_HEADER);
        assert_eq!(verdict, Some(&[0, 0, 0, 1, 0, 0, 0, 9][..]));
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_panic(payload in prop::collection::vec(any::<u8>(), 0..96)) {
            let message = Message { kind: PACKET, flags: 0, sequence: 0, port: 0, payload: &payload };
            let _ = read(&message);
        }
    }
}
