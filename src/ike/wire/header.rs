//! The fixed header (RFC 7296 §3.1).

use super::reader::Reader;
use super::{Exchange, PayloadKind, WireError};

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                     IKE SA initiator's SPI (8)                |
/// |                     IKE SA responder's SPI (8)                |
/// +---------------+-------+-------+---------------+---------------+
/// | next payload  | major | minor | exchange type |     flags     |
/// +---------------+-------+-------+---------------+---------------+
/// |                          message ID                           |
/// |                            length                             |
/// +---------------------------------------------------------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub spi_i: u64,
    /// Zero in the first message of an IKE SA.
    pub spi_r: u64,
    pub next: PayloadKind,
    pub exchange: Exchange,
    /// Whether the sender is the original initiator of the IKE SA.
    pub from_initiator: bool,
    pub response: bool,
    pub message_id: u32,
}

const VERSION: u8 = 0x20;
const FLAG_INITIATOR: u8 = 0x08;
const FLAG_RESPONSE: u8 = 0x20;

impl Header {
    pub const LEN: usize = 28;

    /// The header of a whole datagram and the payloads after it.
    pub fn decode(datagram: &[u8]) -> Result<(Self, &[u8]), WireError> {
        let mut r = Reader::new(datagram, "header");
        let spi_i = r.u64()?;
        let spi_r = r.u64()?;
        let next = PayloadKind(r.u8()?);
        let version = r.u8()?;
        let exchange = Exchange(r.u8()?);
        let flags = r.u8()?;
        let message_id = r.u32()?;
        let length = r.u32()?;
        // The minor version is ignored on receipt (RFC 7296 §2.5).
        if version >> 4 != VERSION >> 4 {
            return Err(WireError::MajorVersion(version >> 4));
        }
        if usize::try_from(length) != Ok(datagram.len()) {
            return Err(WireError::Length("message"));
        }
        if spi_i == 0 {
            return Err(WireError::Value("initiator's spi"));
        }
        let header = Self {
            spi_i,
            spi_r,
            next,
            exchange,
            from_initiator: flags & FLAG_INITIATOR != 0,
            response: flags & FLAG_RESPONSE != 0,
            message_id,
        };
        Ok((header, r.rest()))
    }

    /// The header of a message whose payloads take `body` octets.
    pub fn encode(&self, body: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::LEN + body);
        out.extend_from_slice(&self.spi_i.to_be_bytes());
        out.extend_from_slice(&self.spi_r.to_be_bytes());
        let initiator = if self.from_initiator {
            FLAG_INITIATOR
        } else {
            0
        };
        let response = if self.response { FLAG_RESPONSE } else { 0 };
        out.extend_from_slice(&[self.next.0, VERSION, self.exchange.0, initiator | response]);
        out.extend_from_slice(&self.message_id.to_be_bytes());
        let length = u32::try_from(Self::LEN + body).unwrap_or(0);
        out.extend_from_slice(&length.to_be_bytes());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_is_these_octets() {
        let header = Header {
            spi_i: 0x0102_0304_0506_0708,
            spi_r: 0,
            next: PayloadKind::SA,
            exchange: Exchange::IKE_SA_INIT,
            from_initiator: true,
            response: false,
            message_id: 0,
        };
        let octets = [
            1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 33, 0x20, 34, 0x08, 0, 0, 0, 0, 0, 0,
            0, 28,
        ];
        assert_eq!(header.encode(0), octets);
        assert_eq!(Header::decode(&octets), Ok((header, &[][..])));
    }

    #[test]
    fn wrong_lengths_and_versions_are_told_apart() {
        let mut octets = vec![1; 8];
        octets.extend_from_slice(&[0; 8]);
        octets.extend_from_slice(&[0, 0x20, 37, 0, 0, 0, 0, 0, 0, 0, 0, 28]);
        assert!(Header::decode(&octets).is_ok());
        assert_eq!(
            Header::decode(&octets[..27]),
            Err(WireError::Truncated("header"))
        );
        octets[17] = 0x10;
        assert_eq!(Header::decode(&octets), Err(WireError::MajorVersion(1)));
        octets[17] = 0x2f;
        assert!(Header::decode(&octets).is_ok());
        octets[27] = 29;
        assert_eq!(Header::decode(&octets), Err(WireError::Length("message")));
    }

    proptest! {
        #[test]
        fn headers_decode_to_what_was_encoded(spi_i in 1u64.., spi_r: u64, next: u8, exchange: u8,
            from_initiator: bool, response: bool, message_id: u32, body in 0usize..64) {
            let header = Header { spi_i, spi_r, next: PayloadKind(next),
                exchange: Exchange(exchange), from_initiator, response, message_id };
            let mut octets = header.encode(body);
            octets.resize(Header::LEN + body, 7);
            prop_assert_eq!(Header::decode(&octets).map(|(h, b)| (h, b.len())), Ok((header, body)));
        }
    }
}
