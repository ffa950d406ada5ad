//! Notify and Delete payloads (RFC 7296 §3.10, §3.11).

use super::reader::Reader;
use super::{NotifyKind, ProtocolId, WireError};
use crate::net::Spi;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// Zero unless the notification concerns one SA.
    pub protocol: ProtocolId,
    /// At most 255 octets; empty unless the notification concerns one SA.
    pub spi: Vec<u8>,
    pub kind: NotifyKind,
    pub data: Vec<u8>,
}

impl Notify {
    pub fn new(kind: NotifyKind, data: impl Into<Vec<u8>>) -> Self {
        Self {
            protocol: ProtocolId::NONE,
            spi: Vec::new(),
            kind,
            data: data.into(),
        }
    }

    /// About the child SA with which its receiver sends.
    pub fn about(kind: NotifyKind, protocol: ProtocolId, spi: Spi) -> Self {
        Self {
            protocol,
            spi: spi.0.to_be_bytes().to_vec(),
            kind,
            data: Vec::new(),
        }
    }

    /// The SPI of the child SA that it is about; its protocol stands beside it.
    pub fn child_spi(&self) -> Option<Spi> {
        let octets = <[u8; 4]>::try_from(&self.spi[..]).ok()?;
        Some(Spi(u32::from_be_bytes(octets)))
    }

    pub fn decode(octets: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(octets, "notification");
        let protocol = ProtocolId(r.u8()?);
        let spi_len = r.u8()?;
        let kind = NotifyKind(r.u16()?);
        let spi = r.take(spi_len.into())?.to_vec();
        Ok(Self {
            protocol,
            spi,
            kind,
            data: r.rest().to_vec(),
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let spi_len = u8::try_from(self.spi.len()).unwrap_or(0);
        out.extend_from_slice(&[self.protocol.0, spi_len]);
        out.extend_from_slice(&self.kind.0.to_be_bytes());
        out.extend_from_slice(&self.spi[..spi_len.into()]);
        out.extend_from_slice(&self.data);
    }
}

/// What the sender no longer receives: the IKE SA that carries the message, or its inbound SAs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delete {
    Ike,
    /// Of one protocol: ESP or AH.
    Child {
        protocol: ProtocolId,
        spis: Vec<Spi>,
    },
    /// A protocol of later times.
    Other {
        protocol: ProtocolId,
        spi_len: u8,
        spis: Vec<u8>,
    },
}

impl Delete {
    pub fn decode(octets: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(octets, "delete");
        let protocol = ProtocolId(r.u8()?);
        let spi_len = r.u8()?;
        let count = r.u16()?;
        let spis = r.rest();
        if spis.len() != usize::from(spi_len) * usize::from(count) {
            return Err(WireError::Length("delete"));
        }
        Ok(match (protocol, spi_len) {
            (ProtocolId::IKE, 0) if count == 0 => Self::Ike,
            (ProtocolId::ESP | ProtocolId::AH, 4) => Self::Child {
                protocol,
                spis: spis
                    .as_chunks()
                    .0
                    .iter()
                    .map(|spi| Spi(u32::from_be_bytes(*spi)))
                    .collect(),
            },
            // A zero-length SPI of another protocol names nothing; its count is not kept.
            (_, 0) if count != 0 => return Err(WireError::Length("delete")),
            _ => Self::Other {
                protocol,
                spi_len,
                spis: spis.to_vec(),
            },
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let (protocol, spi_len, spis) = match self {
            Self::Ike => (ProtocolId::IKE, 0, Vec::new()),
            Self::Child { protocol, spis } => {
                let octets = spis.iter().flat_map(|spi| spi.0.to_be_bytes());
                (*protocol, 4, octets.collect())
            }
            Self::Other {
                protocol,
                spi_len,
                spis,
            } => (*protocol, *spi_len, spis.clone()),
        };
        let count = spis.len().checked_div(spi_len.into()).unwrap_or(0);
        out.extend_from_slice(&[protocol.0, spi_len]);
        out.extend_from_slice(&super::reader::length(count).to_be_bytes());
        out.extend_from_slice(&spis);
    }
}
