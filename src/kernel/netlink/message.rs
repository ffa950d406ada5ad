//! Message headers and attributes (`struct nlmsghdr`, `struct nlattr`), read and written.
//!
//! ```text
//!  0               4       6       8               12              16
//!  | length        | kind  | flags | sequence      | port          | payload …
//!  0       2       4
//!  | length | kind | value …            (padded to 4 octets)
//! ```

use netlink_packet_core::Emitable;
use zeroize::Zeroizing;

pub const HEADER_LEN: usize = 16;

pub mod flags {
    pub const REQUEST: u16 = 0x1;
    pub const ACK: u16 = 0x4;
    /// Take the place of the object that is there.
    pub const REPLACE: u16 = 0x100;
    /// Fail where the object is there already.
    pub const EXCLUSIVE: u16 = 0x200;
    pub const CREATE: u16 = 0x400;
    pub const DUMP: u16 = 0x300;
    /// In a dump's answer: objects changed meanwhile, the dump may have holes.
    pub const DUMP_INTERRUPTED: u16 = 0x10;
    /// In an error: the request is not repeated after the header.
    pub const CAPPED: u16 = 0x100;
    /// In an error: attributes follow.
    pub const ACK_TLVS: u16 = 0x200;
}

/// In an attribute's kind.
const NESTED: u16 = 0x8000;

pub const NLMSG_ERROR: u16 = 2;
pub const NLMSG_DONE: u16 = 3;

/// One received message.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    /// Socket whose request caused it; 0 is the kernel itself.
    pub port: u32,
    pub payload: &'a [u8],
}

impl std::fmt::Debug for Message<'_> {
    /// Without the payload, which may hold keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            kind,
            flags,
            sequence,
            port,
            payload,
        } = self;
        let len = payload.len();
        write!(
            f,
            "Message(kind {kind:#x} flags {flags:#x} sequence {sequence} port {port}, {len} octets)"
        )
    }
}

/// The messages of one datagram; ends at the first that is cut short.
#[derive(Clone, Debug)]
pub struct Messages<'a>(pub &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let header = self.0.first_chunk::<HEADER_LEN>()?;
        let word = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().expect("4 octets"));
        let half = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let length = word(0) as usize;
        let payload = self.0.get(HEADER_LEN..length)?;
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        Some(Message {
            kind: half(4),
            flags: half(6),
            sequence: word(8),
            port: word(12),
            payload,
        })
    }
}

/// The attributes of one payload; ends at the first that is cut short.
#[derive(Clone, Debug)]
pub struct Attributes<'a>(pub &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let [l0, l1, k0, k1] = *self.0.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        // The two topmost bits say "nested" and "network byte order".
        Some((u16::from_ne_bytes([k0, k1]) & 0x3fff, value))
    }
}

impl<'a> Attributes<'a> {
    /// The last attribute of that kind, as the kernel reads them.
    pub fn find(&self, kind: u16) -> Option<&'a [u8]> {
        self.clone()
            .filter(|(k, _)| *k == kind)
            .last()
            .map(|(_, value)| value)
    }

    pub fn find_u8(&self, kind: u16) -> Option<u8> {
        self.find(kind)?.first().copied()
    }

    /// Text, with or without a zero at its end.
    pub fn find_str(&self, kind: u16) -> Option<&'a str> {
        let octets = self.find(kind)?;
        std::str::from_utf8(octets.strip_suffix(&[0]).unwrap_or(octets)).ok()
    }

    pub fn find_u32(&self, kind: u16) -> Option<u32> {
        Some(u32::from_ne_bytes(
            self.find(kind)?.get(..4)?.try_into().ok()?,
        ))
    }
}

/// What follows a fixed structure of `len` octets: its attributes.
pub fn attributes_after(payload: &[u8], len: usize) -> Attributes<'_> {
    Attributes(payload.get(aligned(len)..).unwrap_or_default())
}

const fn aligned(len: usize) -> usize {
    (len + 3) & !3
}

/// Messages that are sent together, wiped when dropped because they may hold keys.
pub struct Batch {
    bytes: Zeroizing<Vec<u8>>,
    messages: usize,
    /// Where the last message begins.
    last: usize,
    next_sequence: u32,
    first_sequence: u32,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Batch({} messages)", self.messages)
    }
}

impl Batch {
    /// `kernel-facts`: more a system call brings nothing, and the answers to 64 failures fit the
    /// default receive buffer.
    pub const MESSAGES: usize = 64;
    /// A message with the longest key and six templates is shorter than a kilobyte, so the buffer
    /// never moves and leaves no key behind.
    const CAPACITY: usize = Self::MESSAGES * 2048;

    /// Sequence numbers count up from `first_sequence`, one for each message.
    pub fn new(first_sequence: u32) -> Self {
        Self {
            bytes: Zeroizing::new(Vec::with_capacity(Self::CAPACITY)),
            messages: 0,
            last: 0,
            next_sequence: first_sequence,
            first_sequence,
        }
    }

    pub fn len(&self) -> usize {
        self.messages
    }

    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    pub fn is_full(&self) -> bool {
        self.messages >= Self::MESSAGES || self.bytes.len() > Self::CAPACITY - 8192
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn first_sequence(&self) -> u32 {
        self.first_sequence
    }

    pub fn last_sequence(&self) -> u32 {
        self.next_sequence.wrapping_sub(1)
    }

    pub fn next_sequence(&self) -> u32 {
        self.next_sequence
    }

    /// Forgets the messages and goes on counting, so that late answers are not mistaken for new.
    pub fn clear(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.bytes[..]);
        self.bytes.clear();
        self.messages = 0;
        self.last = 0;
        self.first_sequence = self.next_sequence;
    }

    /// Appends a message; `write` fills in its payload.
    pub fn message(&mut self, kind: u16, flags: u16, write: impl FnOnce(&mut Payload<'_>)) {
        self.last = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        let flags = flags | flags::REQUEST;
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes
            .extend_from_slice(&self.next_sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        write(&mut Payload {
            bytes: &mut self.bytes,
        });
        let length = (self.bytes.len() - self.last) as u32;
        self.bytes[self.last..self.last + 4].copy_from_slice(&length.to_ne_bytes());
        pad(&mut self.bytes);
        self.messages += 1;
        self.next_sequence = self.next_sequence.wrapping_add(1);
    }

    /// Appends a message that is neither counted nor answered: the end of a transaction.
    pub fn trailer(&mut self, kind: u16, payload: &[u8]) {
        let (last, sequence) = (self.last, self.next_sequence);
        self.message(kind, 0, |it| it.put_bytes(payload));
        self.messages -= 1;
        self.last = last;
        self.next_sequence = sequence;
    }

    /// Asks for an answer to the last message although it succeeds. Failures are always answered,
    /// and in order, so its answer ends the batch.
    pub fn acknowledge_last(&mut self) {
        if let Some(flags) = self.bytes.get_mut(self.last + 6..self.last + 8) {
            let set = u16::from_ne_bytes([flags[0], flags[1]]) | flags::ACK;
            flags.copy_from_slice(&set.to_ne_bytes());
        }
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(aligned(bytes.len()), 0);
}

/// The payload of the message that is being written.
#[derive(Debug)]
pub struct Payload<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Payload<'_> {
    pub fn put(&mut self, structure: &impl Emitable) {
        let start = self.bytes.len();
        self.bytes.resize(start + structure.buffer_len(), 0);
        structure.emit(&mut self.bytes[start..]);
        pad(self.bytes);
    }

    pub fn put_bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        pad(self.bytes);
    }

    pub fn attribute(&mut self, kind: u16, value: &impl Emitable) {
        self.attribute_header(kind, value.buffer_len());
        self.put(value);
    }

    /// An attribute made of several parts one after the other.
    pub fn attribute_bytes(&mut self, kind: u16, parts: &[&[u8]]) {
        self.attribute_header(kind, parts.iter().map(|p| p.len()).sum());
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        pad(self.bytes);
    }

    /// An attribute that consists of attributes.
    pub fn nested(&mut self, kind: u16, write: impl FnOnce(&mut Payload<'_>)) {
        let start = self.bytes.len();
        self.attribute_header(kind | NESTED, 0);
        write(&mut Payload { bytes: self.bytes });
        let length = u16::try_from(self.bytes.len() - start)
            .expect("attributes written here are below a kilobyte");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    fn attribute_header(&mut self, kind: u16, len: usize) {
        let length = u16::try_from(4 + len).expect("attributes written here are below a kilobyte");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_batch_reads_back_as_the_messages_put_in_and_only_the_last_asks_for_an_answer() {
        let mut batch = Batch::new(7);
        for kind in 0x10..0x13 {
            batch.message(kind, flags::CREATE, |payload| {
                payload.put_bytes(&[1, 2, 3, 4]);
                payload.attribute_bytes(5, &[b"ab", b"c"]);
                payload.attribute_bytes(6, &[b"d"]);
            });
        }
        batch.acknowledge_last();
        let messages: Vec<_> = Messages(batch.bytes()).collect();
        assert_eq!(messages.len(), 3);
        for (i, message) in messages.iter().enumerate() {
            assert_eq!(message.kind, 0x10 + i as u16);
            assert_eq!(message.sequence, 7 + i as u32);
            assert_eq!(message.flags & flags::ACK != 0, i == 2);
            let attributes = attributes_after(message.payload, 4);
            assert_eq!(attributes.find(5), Some(&b"abc"[..]));
            assert_eq!(attributes.find(6), Some(&b"d"[..]));
        }
        assert_eq!((batch.first_sequence(), batch.last_sequence()), (7, 9));
        batch.clear();
        assert_eq!((batch.first_sequence(), batch.len()), (10, 0));
    }

    #[test]
    fn a_nested_attribute_reads_back_and_a_trailer_is_sent_and_not_counted() {
        let mut batch = Batch::new(1);
        batch.message(0x10, 0, |payload| {
            payload.nested(3, |payload| payload.attribute_bytes(4, &[b"abcde"]));
            payload.attribute_bytes(5, &[b"f"]);
        });
        batch.trailer(0x11, &[0; 4]);
        batch.acknowledge_last();
        let messages: Vec<_> = Messages(batch.bytes()).collect();
        let attributes = Attributes(messages[0].payload);
        let inner = Attributes(attributes.find(3).unwrap());
        assert_eq!(inner.find(4), Some(&b"abcde"[..]));
        assert_eq!(attributes.find(5), Some(&b"f"[..]));
        assert_eq!(messages[0].flags & flags::ACK, flags::ACK);
        assert_eq!(messages[1].flags & flags::ACK, 0);
        assert_eq!((batch.len(), batch.last_sequence()), (1, 1));
    }

    #[test]
    fn lengths_shorter_than_a_header_or_longer_than_the_datagram_end_the_walk() {
        assert_eq!(Messages(&[0; 16]).count(), 0);
        assert_eq!(Messages(&[255; 64]).count(), 0);
        assert_eq!(Attributes(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(Attributes(&[9, 0, 1, 0, 0, 0, 0, 0]).count(), 0);
    }

    proptest! {
        #[test]
        fn any_octets_are_walked_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            for message in Messages(&bytes) {
                prop_assert!(Attributes(message.payload).count() <= message.payload.len() / 4);
            }
            prop_assert!(Attributes(&bytes).count() <= bytes.len() / 4);
        }
    }
}
