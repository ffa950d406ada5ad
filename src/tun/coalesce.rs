//! TCP segments that came through a tunnel, put together into one packet for the adapter, so that
//! the network stack is gone through once for all of them.
//!
//! ```text
//! buffer  …│IP│TCP│ payload │…│IP│TCP│ payload │…│IP│TCP│ payload │…
//! frame    └──── first ─────┘        └─ part ──┘        └─ part ──┘   written with one call
//! ```
//! Nothing is copied: a frame names ranges of the buffer, and the first headers are changed in place.
//! What the frame is cut into again is what came, but for identifications that say nothing. Checksums
//! are looked at before: nobody does so afterwards.

use super::checksum::Sum;
use super::frame::{FrameHeader, Partial, Segments};
use super::ipv4::{self, Ipv4};
use super::tunnels::AdapterId;
use std::ops::Range;

const PUSH: u8 = 0x08;
const ACK: u8 = 0x10;
/// Congestion was seen by the other end; as long as that is said by all segments it goes along.
const ECHO: u8 = 0x40;
const MOST_OPEN: usize = 16;
/// One call writes at most 1,024 ranges.
const MOST_PARTS: usize = 1000;

/// One packet for an adapter.
#[derive(Clone, Debug)]
pub struct Frame {
    pub adapter: AdapterId,
    pub header: FrameHeader,
    /// Octets of all headers of the packet.
    pub headers: usize,
    /// Of the buffer: the first packet, then what belongs behind it.
    pub parts: Vec<Range<usize>>,
}

/// Of one batch. Order is kept within each TCP connection and among all else.
#[derive(Debug, Default)]
pub struct Coalescer {
    frames: Vec<Frame>,
    /// So many of them are in use; the rest keep their memory.
    used: usize,
    open: Vec<Open>,
}

/// A frame that may grow.
#[derive(Debug)]
struct Open {
    frame: usize,
    first: Segment,
    next_sequence: u32,
    next_id: u16,
    total: usize,
    first_is_sound: bool,
}

/// A segment with payload and nothing special about it.
#[derive(Clone, Copy, Debug)]
struct Segment {
    start: usize,
    headers: usize,
    end: usize,
}

impl Segment {
    fn of(slab: &[u8], packet: &Range<usize>) -> Option<Self> {
        let parsed = Ipv4::head(&slab[packet.clone()])?;
        let tcp = parsed.payload;
        let plain = parsed.header.len() == ipv4::HEADER_LEN
            && parsed.protocol() == ipv4::TCP
            && !parsed.is_fragment();
        let header_len = usize::from(*tcp.get(12)? >> 4) * 4;
        let acknowledges = tcp.get(13)? & !(PUSH | ECHO) == ACK;
        let has_payload = header_len >= 20 && tcp.len() > header_len;
        (plain && acknowledges && has_payload).then(|| Self {
            start: packet.start,
            headers: ipv4::HEADER_LEN + header_len,
            end: packet.end,
        })
    }

    fn octets(self, slab: &[u8]) -> &[u8] {
        &slab[self.start..self.end]
    }

    fn payload(self) -> Range<usize> {
        self.start + self.headers..self.end
    }

    fn sequence(self, slab: &[u8]) -> u32 {
        let field = &slab[self.start + 24..self.start + 28];
        u32::from_be_bytes([field[0], field[1], field[2], field[3]])
    }

    fn id(self, slab: &[u8]) -> u16 {
        u16::from_be_bytes([slab[self.start + 4], slab[self.start + 5]])
    }

    fn pushes(self, slab: &[u8]) -> bool {
        slab[self.start + 33] & PUSH != 0
    }

    fn is_sound(self, slab: &[u8]) -> bool {
        let (ip, tcp) = self.octets(slab).split_at(ipv4::HEADER_LEN);
        Sum::of(ip).is_right()
            && Sum::of_pseudo_header(&ip[12..20], ipv4::TCP, tcp.len())
                .and(Sum::of(tcp))
                .is_right()
    }

    /// Whether the headers are the same but for lengths, identification, sequence number, push and
    /// checksums.
    fn continues(self, slab: &[u8], first: Self) -> bool {
        let (this, first) = (self.octets(slab), first.octets(slab));
        let same = |range: Range<usize>| this[range.clone()] == first[range];
        same(0..2)
            && same(6..10)
            && same(12..24)
            && same(28..33)
            && (this[33] ^ first[33]) & !PUSH == 0
            && same(34..36)
            && same(38..self.headers)
    }
}

impl Coalescer {
    /// A packet that is whole, with the length that it says.
    pub fn push(&mut self, slab: &[u8], adapter: AdapterId, packet: Range<usize>) {
        let addresses = |start: usize| &slab[start + 12..start + 20];
        let Some(segment) = Segment::of(slab, &packet) else {
            // It must not be overtaken by what came before it between the same two.
            let ends = addresses(packet.start);
            self.open.retain(|open| addresses(open.first.start) != ends);
            self.add(adapter, packet);
            return;
        };
        let ports = |start: usize| &slab[start + 20..start + 24];
        let flow = |start: usize| (addresses(start), ports(start));
        let found = self
            .open
            .iter()
            .position(|open| flow(open.first.start) == flow(packet.start));
        if let Some(at) = found {
            let open = &mut self.open[at];
            let frame = &mut self.frames[open.frame];
            if frame.adapter == adapter && open.takes(slab, segment, frame.parts.len()) {
                frame.parts.push(segment.payload());
                if open.ends_with(slab, segment) {
                    self.open.swap_remove(at);
                }
                return;
            }
            self.open.swap_remove(at);
        }
        let frame = self.add(adapter, packet.clone());
        if segment.pushes(slab) {
            return;
        }
        if self.open.len() == MOST_OPEN {
            self.open.remove(0);
        }
        self.open.push(Open {
            frame,
            first: segment,
            next_sequence: (segment.sequence(slab)).wrapping_add(segment.payload().len() as u32),
            next_id: segment.id(slab).wrapping_add(1),
            total: packet.len(),
            first_is_sound: false,
        });
    }

    /// Changes the headers of what was put together, and gives all frames.
    pub fn finish(&mut self, slab: &mut [u8]) -> &[Frame] {
        self.open.clear();
        let frames = &mut self.frames[..self.used];
        for frame in frames.iter_mut().filter(|frame| frame.parts.len() > 1) {
            let first = frame.parts[0].clone();
            let total: usize = frame.parts.iter().map(Range::len).sum();
            let last = frame.parts.last().expect("there are two").end;
            let headers = usize::from(slab[first.start + 32] >> 4) * 4 + ipv4::HEADER_LEN;
            let pushes = frame.pushes(slab, last);
            let packet = &mut slab[first.clone()];
            let id = u16::from_be_bytes([packet[4], packet[5]]);
            let (ip, tcp) = packet.split_at_mut(ipv4::HEADER_LEN);
            ipv4::set_length_and_id(ip, total, id);
            tcp[13] |= pushes;
            let sum =
                Sum::of_pseudo_header(&ip[12..20], ipv4::TCP, total - ipv4::HEADER_LEN).partial();
            tcp[16..18].copy_from_slice(&sum);
            frame.headers = headers;
            frame.header = FrameHeader {
                partial: Some(Partial {
                    start: ipv4::HEADER_LEN as u16,
                    offset: 16,
                }),
                segments: Segments::Tcp((first.len() - headers) as u16),
            };
        }
        frames
    }

    pub fn clear(&mut self) {
        self.open.clear();
        self.used = 0;
    }

    fn add(&mut self, adapter: AdapterId, packet: Range<usize>) -> usize {
        let at = self.used;
        self.used += 1;
        match self.frames.get_mut(at) {
            Some(frame) => {
                frame.adapter = adapter;
                frame.header = FrameHeader::PLAIN;
                frame.headers = 0;
                frame.parts.clear();
                frame.parts.push(packet);
            }
            None => self.frames.push(Frame {
                adapter,
                header: FrameHeader::PLAIN,
                headers: 0,
                parts: vec![packet],
            }),
        }
        at
    }
}

impl Frame {
    /// The last segment's flag, whose headers stand before its payload.
    fn pushes(&self, slab: &[u8], last_end: usize) -> u8 {
        let first = &self.parts[0];
        let headers = usize::from(slab[first.start + 32] >> 4) * 4 + ipv4::HEADER_LEN;
        let last = self.parts.last().map_or(last_end, |part| part.start);
        slab[last - headers + 33] & PUSH
    }
}

impl Open {
    fn takes(&mut self, slab: &[u8], segment: Segment, parts: usize) -> bool {
        let payload = segment.payload().len();
        // Where fragments are forbidden an identification says nothing (RFC 6864 §4.1), and some
        // stacks send the same one always.
        let id = segment.id(slab);
        let fixed = slab[segment.start + 6] & 0x40 != 0 && id == self.first.id(slab);
        let fits = segment.sequence(slab) == self.next_sequence
            && (id == self.next_id || fixed)
            && payload <= self.first.payload().len()
            && u16::try_from(self.total + payload).is_ok()
            && parts < MOST_PARTS
            && segment.headers == self.first.headers
            && segment.continues(slab, self.first);
        if !fits || !segment.is_sound(slab) {
            return false;
        }
        self.first_is_sound = self.first_is_sound || self.first.is_sound(slab);
        self.first_is_sound
    }

    /// Counts a segment that was taken; whether none may follow.
    fn ends_with(&mut self, slab: &[u8], segment: Segment) -> bool {
        let payload = segment.payload().len();
        self.next_sequence = self.next_sequence.wrapping_add(payload as u32);
        self.next_id = self.next_id.wrapping_add(1);
        self.total += payload;
        payload < self.first.payload().len() || segment.pushes(slab)
    }
}
