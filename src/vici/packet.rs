//! Packets on a stream: requests and events with a name, and their answers.

use super::message::{Malformed, Message, Reader, put_name};

/// charon's own limit.
const MOST: usize = 512 << 10;

const CMD_REQUEST: u8 = 0;
const CMD_RESPONSE: u8 = 1;
const CMD_UNKNOWN: u8 = 2;
const EVENT_REGISTER: u8 = 3;
const EVENT_UNREGISTER: u8 = 4;
const EVENT_CONFIRM: u8 = 5;
const EVENT_UNKNOWN: u8 = 6;
const EVENT: u8 = 7;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    Request { name: String, message: Message },
    Response(Message),
    UnknownCommand,
    Register { event: String },
    Unregister { event: String },
    Confirm,
    UnknownEvent,
    Event { name: String, message: Message },
}

impl Packet {
    /// With its length.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        let (operation, name, message) = match self {
            Self::Request { name, message } => (CMD_REQUEST, Some(name), Some(message)),
            Self::Response(message) => (CMD_RESPONSE, None, Some(message)),
            Self::UnknownCommand => (CMD_UNKNOWN, None, None),
            Self::Register { event } => (EVENT_REGISTER, Some(event), None),
            Self::Unregister { event } => (EVENT_UNREGISTER, Some(event), None),
            Self::Confirm => (EVENT_CONFIRM, None, None),
            Self::UnknownEvent => (EVENT_UNKNOWN, None, None),
            Self::Event { name, message } => (EVENT, Some(name), Some(message)),
        };
        body.push(operation);
        if let Some(name) = name {
            put_name(&mut body, name);
        }
        if let Some(message) = message {
            message.encode(&mut body);
        }
        let mut packet = u32::try_from(body.len())
            .unwrap_or(u32::MAX)
            .to_be_bytes()
            .to_vec();
        packet.append(&mut body);
        packet
    }

    fn decode(octets: &[u8]) -> Result<Self, Malformed> {
        let (operation, rest) = octets.split_first().ok_or(Malformed::Short)?;
        let mut reader = Reader(rest);
        Ok(match *operation {
            CMD_REQUEST => Self::Request {
                name: reader.name()?,
                message: Message::decode(reader.0)?,
            },
            CMD_RESPONSE => Self::Response(Message::decode(rest)?),
            CMD_UNKNOWN => Self::UnknownCommand,
            EVENT_REGISTER => Self::Register {
                event: reader.name()?,
            },
            EVENT_UNREGISTER => Self::Unregister {
                event: reader.name()?,
            },
            EVENT_CONFIRM => Self::Confirm,
            EVENT_UNKNOWN => Self::UnknownEvent,
            EVENT => Self::Event {
                name: reader.name()?,
                message: Message::decode(reader.0)?,
            },
            other => return Err(Malformed::Operation(other)),
        })
    }
}

/// Cuts what comes from a stream into packets.
#[derive(Debug, Default)]
pub struct Packets(Vec<u8>);

impl Packets {
    pub fn push(&mut self, octets: &[u8]) {
        self.0.extend_from_slice(octets);
    }

    /// `None` until the next one is whole.
    ///
    /// # Errors
    /// After one, the stream means nothing any more.
    pub fn take(&mut self) -> Result<Option<Packet>, Malformed> {
        let Some((len, rest)) = self.0.split_first_chunk() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes(*len) as usize;
        if len > MOST {
            return Err(Malformed::Length(len));
        }
        let Some(octets) = rest.get(..len) else {
            return Ok(None);
        };
        let packet = Packet::decode(octets)?;
        self.0.drain(..4 + len);
        Ok(Some(packet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Packet> {
        let message = || Message::of([("ike", "office")]);
        let name = || "list-sa".to_owned();
        vec![
            Packet::Request {
                name: "initiate".into(),
                message: message(),
            },
            Packet::Response(message()),
            Packet::UnknownCommand,
            Packet::Register { event: name() },
            Packet::Unregister { event: name() },
            Packet::Confirm,
            Packet::UnknownEvent,
            Packet::Event {
                name: name(),
                message: message(),
            },
        ]
    }

    #[test]
    fn packets_come_out_of_a_stream_however_it_is_cut() {
        let stream: Vec<u8> = all().iter().flat_map(Packet::encode).collect();
        for piece in [1, 3, 7, stream.len()] {
            let (mut packets, mut seen) = (Packets::default(), Vec::new());
            for octets in stream.chunks(piece) {
                packets.push(octets);
                while let Some(packet) = packets.take().unwrap() {
                    seen.push(packet);
                }
            }
            assert_eq!(seen, all(), "in pieces of {piece}");
        }
    }

    #[test]
    fn a_request_is_written_as_charon_reads_it() {
        let event = "list-sa".to_owned();
        let octets = Packet::Register { event }.encode();
        assert_eq!(octets, b"\x00\x00\x00\x09\x03\x07list-sa");
    }

    #[test]
    fn what_is_no_packet_ends_the_stream() {
        for (octets, malformed) in [
            (&b"\xff\xff\xff\xff"[..], Malformed::Length(0xffff_ffff)),
            (b"\x00\x00\x00\x00", Malformed::Short),
            (b"\x00\x00\x00\x01\x09", Malformed::Operation(9)),
            (b"\x00\x00\x00\x02\x07\x05", Malformed::Short),
        ] {
            let mut packets = Packets::default();
            packets.push(octets);
            assert_eq!(packets.take(), Err(malformed), "{octets:?}");
        }
    }
}
