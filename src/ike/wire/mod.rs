//! `IKEv2` messages as octets (RFC 7296 §3). Knows shapes, not meanings: no keys, no negotiation.
//!
//! Two levels. [`Header`] and [`RawPayloads`] are checked accessors over borrowed octets;
//! [`Payload`] is the owned representation. Codes are open: what this agent does not know survives
//! decoding and encoding.

pub mod codes;
pub mod configuration;
pub mod header;
pub mod id;
pub mod notify;
pub mod payload;
pub mod proposal;
mod reader;
pub mod traffic_selector;

pub use codes::{ConfigurationKind, Exchange, NotifyKind, PayloadKind, ProtocolId, TransformKind};
pub use configuration::{Configuration, ConfigurationAttribute};
pub use header::Header;
pub use id::IdBody;
pub use notify::{Delete, Notify};
pub use payload::{Payload, Payloads, RawPayload, RawPayloads};
pub use proposal::{Attribute, Proposal, Transform};
pub use traffic_selector::TrafficSelector;

/// Why octets are not an IKE message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("{0} is cut short")]
    Truncated(&'static str),
    #[error("length field of {0} does not fit its contents")]
    Length(&'static str),
    #[error("major version {0} is not 2")]
    MajorVersion(u8),
    #[error("more than {0} {1}")]
    TooMany(usize, &'static str),
    #[error("value of {0} is out of range")]
    Value(&'static str),
    /// To be answered with `UNSUPPORTED_CRITICAL_PAYLOAD` (RFC 7296 §2.5).
    #[error("payload type {0} is critical and unknown")]
    UnknownCritical(u8),
}
