//! A message together with the octets it came in.

use super::authentication::{AuthenticationKind, Placed};
use super::extension::Extension;
use super::reader::Reader;
use super::registration::{self, RegistrationReply, RegistrationRequest};
use super::revocation::{self, Revocation, RevocationAck};
use super::{WireError, tunnel_data};
use std::ops::Range;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Request(RegistrationRequest),
    Reply(RegistrationReply),
    /// `payload` is where in the octets the packet is.
    TunnelData {
        next_header: u8,
        payload: Range<usize>,
    },
    Revocation(Revocation),
    RevocationAck(RevocationAck),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    pub message: Message,
    /// The UDP payload, unchanged.
    pub octets: Vec<u8>,
    /// Where in the octets each extension begins.
    starts: Vec<u16>,
}

impl Decoded {
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        if payload.len() > usize::from(u16::MAX) {
            return Err(WireError::Length("datagram"));
        }
        let mut r = Reader::new(payload, "message");
        let kind = r.u8()?;
        let (mut message, fixed) = match kind {
            registration::REQUEST => (
                Message::Request(RegistrationRequest::decode_fixed(&mut r)?),
                registration::REQUEST_LEN,
            ),
            registration::REPLY => (
                Message::Reply(RegistrationReply::decode_fixed(&mut r)?),
                registration::REPLY_LEN,
            ),
            tunnel_data::TUNNEL_DATA => {
                let (next_header, _) = tunnel_data::split(payload)?;
                let message = Message::TunnelData {
                    next_header,
                    payload: tunnel_data::HEADER_LEN..payload.len(),
                };
                return Ok(Self {
                    message,
                    octets: payload.to_vec(),
                    starts: Vec::new(),
                });
            }
            revocation::REVOCATION => (
                Message::Revocation(Revocation::decode_fixed(&mut r)?),
                revocation::REVOCATION_LEN,
            ),
            revocation::ACKNOWLEDGEMENT => (
                Message::RevocationAck(RevocationAck::decode_fixed(&mut r)?),
                revocation::ACKNOWLEDGEMENT_LEN,
            ),
            other => return Err(WireError::UnknownMessage(other)),
        };
        let mut starts = Vec::new();
        let found = Extension::decode_all(r.rest(), |at| starts.push((fixed + at) as u16))?;
        if let Some(extensions) = message.extensions_mut() {
            *extensions = found;
        }
        Ok(Self {
            message,
            octets: payload.to_vec(),
            starts,
        })
    }

    pub fn extensions(&self) -> &[Extension] {
        self.message.extensions()
    }

    /// Authentication extensions of one kind, in the order of the message. Where the standard wants
    /// exactly one, count them.
    pub fn authenticators(&self, kind: AuthenticationKind) -> impl Iterator<Item = Placed<'_>> {
        let extensions = self.extensions().iter().enumerate();
        extensions.filter_map(move |(index, extension)| match extension {
            Extension::Authentication(authenticator) if authenticator.kind == kind => {
                Some(Placed {
                    authenticator,
                    index,
                    signed: &self.octets[..usize::from(self.starts[index]) + SPI_END],
                })
            }
            _ => None,
        })
    }

    /// The only authentication extension of that kind; `None` where there is none, or several.
    pub fn only_authenticator(&self, kind: AuthenticationKind) -> Option<Placed<'_>> {
        let mut found = self.authenticators(kind);
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    /// The octets of the extensions before `index`, fixed part included: what a foreign agent relays
    /// unchanged (RFC 5944 §3.7.2.2). All of them where there are not that many.
    pub fn octets_before(&self, index: usize) -> &[u8] {
        match self.starts.get(index) {
            Some(start) => &self.octets[..usize::from(*start)],
            None => &self.octets,
        }
    }
}

/// Type, length and SPI of an authentication extension.
const SPI_END: usize = 6;

impl Message {
    pub fn extensions(&self) -> &[Extension] {
        match self {
            Self::Request(request) => &request.extensions,
            Self::Reply(reply) => &reply.extensions,
            Self::TunnelData { .. } => &[],
            Self::Revocation(revocation) => &revocation.extensions,
            Self::RevocationAck(ack) => &ack.extensions,
        }
    }

    fn extensions_mut(&mut self) -> Option<&mut Vec<Extension>> {
        match self {
            Self::Request(request) => Some(&mut request.extensions),
            Self::Reply(reply) => Some(&mut reply.extensions),
            Self::TunnelData { .. } => None,
            Self::Revocation(revocation) => Some(&mut revocation.extensions),
            Self::RevocationAck(ack) => Some(&mut ack.extensions),
        }
    }
}
