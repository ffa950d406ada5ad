//! Security association payloads: proposals of transforms (RFC 7296 §3.3).

use super::reader::{Reader, length};
use super::{ProtocolId, TransformKind, WireError};

/// More than any peer of good will sends (strongSwan's longest default proposal has 35).
const MAX_PROPOSALS: usize = 32;
const MAX_TRANSFORMS: usize = 64;

const LAST: u8 = 0;
const MORE_PROPOSALS: u8 = 2;
const MORE_TRANSFORMS: u8 = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    pub number: u8,
    pub protocol: ProtocolId,
    /// Empty for the first IKE SA; 4 octets for ESP and AH; 8 to replace an IKE SA.
    pub spi: Vec<u8>,
    pub transforms: Vec<Transform>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform {
    pub kind: TransformKind,
    pub id: u16,
    pub attributes: Vec<Attribute>,
}

/// Type/value or type/length/value (RFC 7296 §3.3.5); only the key length is assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    KeyLength(u16),
    /// The 15-bit type.
    Short(u16, u16),
    Long(u16, Vec<u8>),
}

const KEY_LENGTH: u16 = 14;
const SHORT_FORM: u16 = 0x8000;

impl Transform {
    pub fn new(kind: TransformKind, id: u16) -> Self {
        Self {
            kind,
            id,
            attributes: Vec::new(),
        }
    }

    #[must_use]
    pub fn key_bits(mut self, bits: u16) -> Self {
        self.attributes.push(Attribute::KeyLength(bits));
        self
    }

    /// The key length, zero where none is given; `None` where an attribute is not understood, so
    /// that the transform cannot be accepted (RFC 7296 §3.3.6).
    pub fn key_length(&self) -> Option<u16> {
        match self.attributes[..] {
            [] => Some(0),
            [Attribute::KeyLength(bits)] => Some(bits),
            _ => None,
        }
    }
}

impl Proposal {
    /// The body of an SA payload.
    pub fn decode_list(octets: &[u8]) -> Result<Vec<Self>, WireError> {
        let mut r = Reader::new(octets, "proposals");
        let mut list = Vec::new();
        loop {
            let more = r.u8()?;
            r.u8()?;
            let length = r.u16()?;
            let body = r.sub(length, 4, "proposal")?;
            if list.len() == MAX_PROPOSALS {
                return Err(WireError::TooMany(MAX_PROPOSALS, "proposals"));
            }
            list.push(Self::decode(body)?);
            match (more, r.is_empty()) {
                (LAST, true) => return Ok(list),
                (MORE_PROPOSALS, false) => {}
                _ => return Err(WireError::Length("proposals")),
            }
        }
    }

    fn decode(mut r: Reader<'_>) -> Result<Self, WireError> {
        let number = r.u8()?;
        let protocol = ProtocolId(r.u8()?);
        let spi_len = r.u8()?;
        let count = usize::from(r.u8()?);
        let spi = r.take(spi_len.into())?.to_vec();
        if count > MAX_TRANSFORMS {
            return Err(WireError::TooMany(MAX_TRANSFORMS, "transforms"));
        }
        let mut transforms = Vec::with_capacity(count);
        for _ in 0..count {
            // The number of transforms says where the list ends, and so does this octet; that one
            // is believed which cannot run past the proposal.
            r.u8()?;
            r.u8()?;
            let length = r.u16()?;
            transforms.push(Transform::decode(r.sub(length, 4, "transform")?)?);
        }
        if !r.is_empty() {
            return Err(WireError::Length("proposal"));
        }
        Ok(Self {
            number,
            protocol,
            spi,
            transforms,
        })
    }

    pub(super) fn encode_list(list: &[Self], out: &mut Vec<u8>) {
        for (i, proposal) in list.iter().enumerate() {
            let start = out.len();
            let more = if i + 1 < list.len() {
                MORE_PROPOSALS
            } else {
                LAST
            };
            let count = u8::try_from(proposal.transforms.len()).unwrap_or(0);
            let spi_len = u8::try_from(proposal.spi.len()).unwrap_or(0);
            let head = [
                more,
                0,
                0,
                0,
                proposal.number,
                proposal.protocol.0,
                spi_len,
                count,
            ];
            out.extend_from_slice(&head);
            out.extend_from_slice(&proposal.spi);
            for (j, transform) in proposal.transforms.iter().enumerate() {
                let more = if j + 1 < usize::from(count) {
                    MORE_TRANSFORMS
                } else {
                    LAST
                };
                transform.encode(more, out);
            }
            let octets = length(out.len() - start).to_be_bytes();
            out[start + 2..start + 4].copy_from_slice(&octets);
        }
    }
}

impl Transform {
    fn decode(mut r: Reader<'_>) -> Result<Self, WireError> {
        let kind = TransformKind(r.u8()?);
        r.u8()?;
        let id = r.u16()?;
        let mut attributes = Vec::new();
        while !r.is_empty() {
            let head = r.u16()?;
            let value = r.u16()?;
            attributes.push(match head & !SHORT_FORM {
                KEY_LENGTH if head & SHORT_FORM != 0 => Attribute::KeyLength(value),
                kind if head & SHORT_FORM != 0 => Attribute::Short(kind, value),
                kind => Attribute::Long(kind, r.take(value.into())?.to_vec()),
            });
        }
        Ok(Self {
            kind,
            id,
            attributes,
        })
    }

    fn encode(&self, more: u8, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[more, 0, 0, 0, self.kind.0, 0]);
        out.extend_from_slice(&self.id.to_be_bytes());
        for attribute in &self.attributes {
            let (head, value) = match attribute {
                Attribute::KeyLength(bits) => (SHORT_FORM | KEY_LENGTH, *bits),
                Attribute::Short(kind, value) => (SHORT_FORM | kind, *value),
                Attribute::Long(kind, octets) => (*kind, length(octets.len())),
            };
            out.extend_from_slice(&head.to_be_bytes());
            out.extend_from_slice(&value.to_be_bytes());
            if let Attribute::Long(_, octets) = attribute {
                out.extend_from_slice(octets);
            }
        }
        let octets = length(out.len() - start).to_be_bytes();
        out[start + 2..start + 4].copy_from_slice(&octets);
    }
}
