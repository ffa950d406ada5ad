//! What is on the wire: `docs/ted.md` octet by octet.
//!
//! [`Probe`] and [`Response`] can only hold what may be sent; decoding refuses everything else
//! with a [`DecodeError`] and never panics. Payloads nobody knows are skipped, unless they are
//! marked critical.

pub mod header;
mod hint;
mod payload;
mod probe;
mod proxy;
mod response;
#[cfg(test)]
mod tests;

pub use header::{Cookie, Exchange};
pub use hint::ClaimedIdentity;
pub use probe::Probe;
pub use response::Response;

/// Destination of every probe; both ends of every response.
pub const PORT: u16 = 500;

/// Length of every probe that we send, and the longest message that is looked at. With IPv6 and UDP
/// headers it stays below 1,280 octets, which every IPv6 link carries (RFC 8200 §5).
pub const PROBE_LEN: usize = 1200;

/// Of Tunnel Endpoint Discovery as a whole.
pub const DISCOVERY_VERSION: u8 = 3;

/// MD5 of [`VENDOR_STRING`]: what gives the private payload numbers below their meaning. Whoever
/// implements `docs/ted.md` sends the same.
pub const VENDOR_ID: [u8; 16] = [
    0xef, 0xb2, 0xdc, 0xf1, 0x9a, 0x4a, 0x6e, 0x6e, 0x17, 0x8a, 0x13, 0x61, 0x55, 0x16, 0xce, 0xe0,
];
pub const VENDOR_STRING: &str = "xfrm-agent tunnel endpoint discovery, wire format 1";

/// MD5 of [`MAKER_STRING`]: names who made the initiator; nothing is decided by it.
pub const MAKER: [u8; 16] = [
    0x80, 0x2a, 0x85, 0x9f, 0xc3, 0xc1, 0x2e, 0x9c, 0x13, 0x66, 0xcd, 0xb9, 0x14, 0xd7, 0x13, 0x1c,
];
pub const MAKER_STRING: &str = "xfrm-agent TED probe version 3";

/// What the sender can do; unknown bits are kept and ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub u32);

impl Capabilities {
    /// Speaks IKEv2 at the address of its ID payload.
    pub const IKEV2: Self = Self(1);
}

/// Payload numbers: 5 and 13 are ISAKMP's own (RFC 2408 §3.1), the rest lies in its private
/// range, above what other makers have used there (tshark knows them).
mod kind {
    pub(super) const NONE: u8 = 0;
    pub(super) const ID: u8 = 5;
    pub(super) const VENDOR: u8 = 13;
    pub(super) const SOURCE_PROXY: u8 = 200;
    pub(super) const SUMMARY: u8 = 201;
    pub(super) const TED_RESPONSE: u8 = 202;
    pub(super) const IDENTITY_HINT: u8 = 203;
    pub(super) const PADDING: u8 = 204;
    pub(super) const IKE: u8 = 205;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("{what} is cut short")]
    Truncated { what: &'static str },
    #[error("octets are left over after {what}")]
    Trailing { what: &'static str },
    #[error("{0} octets are more than the {PROBE_LEN} that a discovery message may have")]
    Oversized(usize),
    #[error("the header says {header} octets, the datagram has {datagram}")]
    Length { header: u32, datagram: usize },
    #[error("ISAKMP version {0:#04x} is not 1.0")]
    IsakmpVersion(u8),
    #[error("exchange {0} is not the one expected here")]
    Exchange(u8),
    #[error("flags {0:#04x}: discovery messages are neither encrypted nor authenticated")]
    Flags(u8),
    #[error("message ID {0} is not zero")]
    MessageId(u32),
    #[error("{0} cookie has a value that this exchange does not allow")]
    Cookie(&'static str),
    #[error("the vendor ID is another maker's: its payload numbers mean something else")]
    ForeignVendor,
    #[error("discovery version {0} is not {DISCOVERY_VERSION}")]
    DiscoveryVersion(u8),
    #[error("IP version {0} is neither 4 nor 6")]
    IpVersion(u8),
    #[error("IDs of type {0} are not addresses")]
    IdType(u8),
    #[error("addresses of both IP versions in one message")]
    MixedVersions,
    #[error("ports for protocol {0}, which has none")]
    Ports(u8),
    #[error("payload {0} is unknown and critical")]
    Critical(u8),
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} is there twice")]
    Repeated(&'static str),
}
