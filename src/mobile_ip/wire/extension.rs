//! Extensions of registration and revocation messages.
//!
//! Type, length and data (RFC 5944 §1.9); only type 36 has the long format (§1.10). An extension of
//! 128 or above whose form is not the known one is kept as [`Extension::Unknown`]: it is skipped, and
//! survives. Below 128 it makes the message an error.

use super::authentication::{AuthenticationKind, Authenticator};
use super::ipv6::{self, Ipv6Prefix, Ipv6PrefixReply};
use super::mobile_network::{self, MobileNetworkAck};
use super::reader::Reader;
use super::revocation::RevocationSupport;
use super::udp_tunnel::{UdpTunnelReply, UdpTunnelRequest};
use super::{MAX_EXTENSIONS, WireError};
use std::net::Ipv4Addr;

pub(super) mod kind {
    /// One octet, without length (RFC 5944 §1.8).
    pub const PADDING: u8 = 0;
    /// RFC 4721 §5: sub-type, then 16 bits of length.
    pub const GENERALIZED_AUTHENTICATION: u8 = 36;
    pub const UDP_TUNNEL_REPLY: u8 = 44;
    pub const ENCAPSULATING_DELIVERY: u8 = 130;
    pub const NAI: u8 = 131;
    pub const CHALLENGE: u8 = 132;
    pub const REVOCATION_SUPPORT: u8 = 137;
    pub const UDP_TUNNEL_REQUEST: u8 = 144;
    pub const MOBILE_NETWORK: u8 = 148;
    pub const TRUSTED_NETWORKS_CONFIGURED: u8 = 149;
    pub const IPV6: u8 = 152;
}

/// From here on an extension may be skipped by who does not know it.
const SKIPPABLE: u8 = 128;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extension {
    Authentication(Authenticator),
    /// RFC 4721 §5, towards an AAA server. The value is at most 65,531 octets.
    GeneralizedAuthentication {
        sub_type: u8,
        spi: u32,
        value: Vec<u8>,
    },
    /// RFC 2794: at most 255 octets.
    Nai(Vec<u8>),
    /// RFC 3024 §3.3: for the foreign agent alone, behind the mobile-home authentication.
    EncapsulatingDelivery,
    /// RFC 4721 §4: at most 255 octets.
    Challenge(Vec<u8>),
    RevocationSupport(RevocationSupport),
    UdpTunnelRequest(UdpTunnelRequest),
    UdpTunnelReply(UdpTunnelReply),
    MobileNetworkRequest {
        prefix: Ipv4Addr,
        prefix_len: u8,
    },
    MobileNetworkAck(MobileNetworkAck),
    /// RFC 5265 §3.4: this home agent knows which networks are trusted, and the request came from one.
    TrustedNetworksConfigured,
    Ipv6PrefixRequest(Ipv6Prefix),
    Ipv6PrefixReply(Ipv6PrefixReply),
    /// RFC 5454 §2.3: IPv6 may be tunnelled to the care-of address.
    Ipv6TunnelingMode,
    /// RFC 5944 §1.8: one octet of zero.
    Padding,
    /// Skippable, kept as it came; at most 255 octets.
    Unknown {
        kind: u8,
        data: Vec<u8>,
    },
}

impl Extension {
    /// Decodes a chain; `each` learns where in `octets` every extension begins.
    pub(super) fn decode_all(
        octets: &[u8],
        mut each: impl FnMut(usize),
    ) -> Result<Vec<Self>, WireError> {
        let mut found = Vec::new();
        let mut r = Reader::new(octets, "extension");
        while !r.rest().is_empty() {
            if found.len() == MAX_EXTENSIONS {
                return Err(WireError::TooMany(MAX_EXTENSIONS, "extensions"));
            }
            each(octets.len() - r.rest().len());
            found.push(Self::decode(&mut r)?);
        }
        Ok(found)
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let kind = r.u8()?;
        match kind {
            kind::PADDING => return Ok(Self::Padding),
            kind::GENERALIZED_AUTHENTICATION => {
                let sub_type = r.u8()?;
                let len = r.u16()?;
                let mut r = Reader::new(r.take(len.into())?, "generalized authentication");
                let spi = r.u32()?;
                let value = r.rest().to_vec();
                return Ok(Self::GeneralizedAuthentication {
                    sub_type,
                    spi,
                    value,
                });
            }
            _ => {}
        }
        let len = r.u8()?;
        let data = r.take(len.into())?;
        if let Some(between) = AuthenticationKind::of_type(kind) {
            return Authenticator::decode(between, data).map(Self::Authentication);
        }
        let known = match kind {
            kind::UDP_TUNNEL_REPLY => Some(Self::UdpTunnelReply(UdpTunnelReply::decode(data)?)),
            kind::ENCAPSULATING_DELIVERY => data.is_empty().then_some(Self::EncapsulatingDelivery),
            kind::NAI => Some(Self::Nai(data.to_vec())),
            kind::CHALLENGE => Some(Self::Challenge(data.to_vec())),
            kind::REVOCATION_SUPPORT => {
                RevocationSupport::decode(data).map(Self::RevocationSupport)
            }
            kind::UDP_TUNNEL_REQUEST => UdpTunnelRequest::decode(data).map(Self::UdpTunnelRequest),
            kind::MOBILE_NETWORK => mobile_network::decode(data).map(|body| match body {
                mobile_network::Body::Request(prefix, prefix_len) => {
                    Self::MobileNetworkRequest { prefix, prefix_len }
                }
                mobile_network::Body::Ack(ack) => Self::MobileNetworkAck(ack),
            }),
            kind::TRUSTED_NETWORKS_CONFIGURED => {
                matches!(data, [0, _]).then_some(Self::TrustedNetworksConfigured)
            }
            kind::IPV6 => ipv6::decode(data).map(|body| match body {
                ipv6::Body::Request(prefix) => Self::Ipv6PrefixRequest(prefix),
                ipv6::Body::Reply(reply) => Self::Ipv6PrefixReply(reply),
                ipv6::Body::TunnelingMode => Self::Ipv6TunnelingMode,
            }),
            SKIPPABLE.. => None,
            _ => return Err(WireError::UnknownExtension(kind)),
        };
        Ok(known.unwrap_or_else(|| Self::Unknown {
            kind,
            data: data.to_vec(),
        }))
    }

    /// Appends it. What is longer than its length field can say is cut off at that length.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let long = match self {
            Self::Padding => {
                out.push(kind::PADDING);
                return;
            }
            Self::GeneralizedAuthentication {
                sub_type,
                spi,
                value,
            } => {
                let value = &value[..value.len().min(usize::from(u16::MAX) - 4)];
                out.extend([kind::GENERALIZED_AUTHENTICATION, *sub_type]);
                out.extend((4 + value.len() as u16).to_be_bytes());
                out.extend(spi.to_be_bytes());
                out.extend(value);
                return;
            }
            other => other,
        };
        let start = out.len();
        out.extend([long.extension_type(), 0]);
        long.encode_data(out);
        out.truncate(start + 2 + usize::from(u8::MAX));
        out[start + 1] = (out.len() - start - 2) as u8;
    }

    pub fn extension_type(&self) -> u8 {
        match self {
            Self::Authentication(authenticator) => authenticator.kind.extension_type(),
            Self::GeneralizedAuthentication { .. } => kind::GENERALIZED_AUTHENTICATION,
            Self::Nai(_) => kind::NAI,
            Self::EncapsulatingDelivery => kind::ENCAPSULATING_DELIVERY,
            Self::Challenge(_) => kind::CHALLENGE,
            Self::RevocationSupport(_) => kind::REVOCATION_SUPPORT,
            Self::UdpTunnelRequest(_) => kind::UDP_TUNNEL_REQUEST,
            Self::UdpTunnelReply(_) => kind::UDP_TUNNEL_REPLY,
            Self::MobileNetworkRequest { .. } | Self::MobileNetworkAck(_) => kind::MOBILE_NETWORK,
            Self::TrustedNetworksConfigured => kind::TRUSTED_NETWORKS_CONFIGURED,
            Self::Ipv6PrefixRequest(_) | Self::Ipv6PrefixReply(_) | Self::Ipv6TunnelingMode => {
                kind::IPV6
            }
            Self::Padding => kind::PADDING,
            Self::Unknown { kind, .. } => *kind,
        }
    }

    fn encode_data(&self, out: &mut Vec<u8>) {
        match self {
            Self::Authentication(authenticator) => {
                out.extend(authenticator.spi.to_be_bytes());
                out.extend(&authenticator.value);
            }
            Self::Nai(data) | Self::Challenge(data) | Self::Unknown { data, .. } => {
                out.extend(data);
            }
            Self::RevocationSupport(support) => support.encode(out),
            Self::UdpTunnelRequest(request) => request.encode(out),
            Self::UdpTunnelReply(reply) => reply.encode(out),
            Self::MobileNetworkRequest { prefix, prefix_len } => {
                out.extend([0, *prefix_len]);
                out.extend(prefix.octets());
            }
            Self::MobileNetworkAck(ack) => ack.encode(out),
            Self::TrustedNetworksConfigured => out.extend([0, 0]),
            Self::Ipv6PrefixRequest(prefix) => prefix.encode_request(out),
            Self::Ipv6PrefixReply(reply) => reply.encode(out),
            Self::Ipv6TunnelingMode => out.extend([3, 0]),
            // The last two are written by `encode` itself.
            Self::EncapsulatingDelivery
            | Self::Padding
            | Self::GeneralizedAuthentication { .. } => {}
        }
    }
}
