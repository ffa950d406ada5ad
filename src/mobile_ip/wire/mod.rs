//! Mobile IPv4 on the wire: what is sent to and from UDP port 434 (RFC 5944 §1.8), and the packets
//! inside its tunnels.
//!
//! Knows shapes, not meanings: no keys, no bindings. [`Decoded::decode`] is the way in; it keeps the
//! octets beside the [`Message`], since authenticators cover octets (RFC 5944 §3.5.1) and a foreign
//! agent relays them unchanged (§3.7.2.2). Codes are open: what this agent does not know survives
//! decoding and encoding.
//!
//! To send: encode the message, then append what must follow it in the order of RFC 5944 §3.6.1.3,
//! where [`SecurityAssociation::sign`](super::security::SecurityAssociation::sign) appends an
//! authentication extension and [`Extension::encode`] any other.

pub mod advertisement;
pub mod authentication;
pub mod code;
mod decoded;
pub mod echo;
pub mod encapsulation;
pub mod extension;
pub mod flags;
pub mod identification;
pub mod ipv6;
pub mod mobile_network;
mod reader;
pub mod registration;
pub mod revocation;
pub mod tunnel_data;
pub mod udp_tunnel;

#[cfg(test)]
mod tests;

pub use authentication::{AuthenticationKind, Authenticator, Placed};
pub use code::Code;
pub use decoded::{Decoded, Message};
pub use extension::Extension;
pub use flags::Flags;
pub use identification::{Identification, Timestamp};
pub use ipv6::{Ipv6Prefix, Ipv6PrefixReply, Ipv6ReplyCode};
pub use mobile_network::{MobileNetworkAck, MobileNetworkCode, NetworkMode};
pub use registration::{INFINITE, RegistrationReply, RegistrationRequest};
pub use revocation::{Revocation, RevocationAck, RevocationSupport};
pub use tunnel_data::TunnelKind;
pub use udp_tunnel::{UdpTunnelReply, UdpTunnelRequest};

/// Destination of every request; data in UDP tunnels has it at the home agent's end (RFC 3519 §4.9).
pub const PORT: u16 = 434;

/// More extensions than any message needs; beyond them it is refused.
pub const MAX_EXTENSIONS: usize = 64;

/// Why octets are not a message of Mobile IP. RFC 5944 §1.8: such a message is silently discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("{0} is cut short")]
    Truncated(&'static str),
    #[error("length field of {0} does not fit its contents")]
    Length(&'static str),
    #[error("more than {0} {1}")]
    TooMany(usize, &'static str),
    /// Only a skippable extension, 128 and above, may be passed over (RFC 5944 §1.8).
    #[error("extension of type {0} is unknown and must not be skipped")]
    UnknownExtension(u8),
    #[error("message of type {0} is unknown")]
    UnknownMessage(u8),
}
