//! What stands before each packet that is read from the adapter or written to it (`struct
//! virtio_net_hdr` of linux/virtio_net.h): what is left to do for whom it is handed to.
//!
//! ```text
//! │ flags │ type of segments │ header length (2) │ segment size (2) │ sum from (2) │ sum at (2) │ packet
//! ```
//! In the machine's own order of octets.

pub const LEN: usize = 10;

const NEEDS_CHECKSUM: u8 = 1;
const SEGMENTS_NONE: u8 = 0;
const SEGMENTS_TCP4: u8 = 1;
const SEGMENTS_UDP: u8 = 5;
/// Congestion was told to the sender: whoever segments looks after the flag CWR.
const ECN: u8 = 0x80;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    pub partial: Option<Partial>,
    pub segments: Segments,
}

/// A checksum that holds the sum of the pseudo header so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    /// The first octet that it covers, counted from the beginning of the packet.
    pub start: u16,
    /// Where it belongs, counted from there.
    pub offset: u16,
}

/// What the packet stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segments {
    Itself,
    /// TCP segments with so many octets of payload, the last with what is left.
    Tcp(u16),
    /// Datagrams with so many.
    Udp(u16),
}

impl FrameHeader {
    pub const PLAIN: Self = Self {
        partial: None,
        segments: Segments::Itself,
    };

    /// `None` where it asks for something that was never offered.
    pub fn decode(octets: &[u8; LEN]) -> Option<Self> {
        let field = |at: usize| u16::from_ne_bytes([octets[at], octets[at + 1]]);
        let partial = (octets[0] & NEEDS_CHECKSUM != 0).then(|| Partial {
            start: field(6),
            offset: field(8),
        });
        let segments = match (octets[1] & !ECN, field(4)) {
            (SEGMENTS_NONE, _) => Segments::Itself,
            (SEGMENTS_TCP4, size) if size > 0 => Segments::Tcp(size),
            (SEGMENTS_UDP, size) if size > 0 => Segments::Udp(size),
            _ => return None,
        };
        Some(Self { partial, segments })
    }

    /// `headers` is the length of all headers of the packet, which the kernel takes as a hint.
    pub fn encode(self, headers: usize) -> [u8; LEN] {
        let mut octets = [0; LEN];
        let mut put = |at: usize, value: u16| {
            octets[at..at + 2].copy_from_slice(&value.to_ne_bytes());
        };
        if let Some(partial) = self.partial {
            put(6, partial.start);
            put(8, partial.offset);
        }
        let kind = match self.segments {
            Segments::Itself => SEGMENTS_NONE,
            Segments::Tcp(size) | Segments::Udp(size) => {
                put(2, headers as u16);
                put(4, size);
                match self.segments {
                    Segments::Udp(_) => SEGMENTS_UDP,
                    _ => SEGMENTS_TCP4,
                }
            }
        };
        octets[1] = kind;
        octets[0] = self.partial.map_or(0, |_| NEEDS_CHECKSUM);
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_and_what_was_never_offered_is_refused() {
        let partial = Some(Partial {
            start: 20,
            offset: 16,
        });
        for segments in [Segments::Itself, Segments::Tcp(1400), Segments::Udp(9)] {
            let header = FrameHeader { partial, segments };
            assert_eq!(FrameHeader::decode(&header.encode(40)), Some(header));
        }
        assert_eq!(FrameHeader::decode(&[0; LEN]), Some(FrameHeader::PLAIN));
        // Segments of no size, and TCP over IPv6.
        assert_eq!(FrameHeader::decode(&[0, 1, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(FrameHeader::decode(&[0, 4, 0, 0, 9, 9, 0, 0, 0, 0]), None);
    }
}
