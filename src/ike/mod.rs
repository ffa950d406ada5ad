//! Layer 1: `IKEv2` (RFC 7296), as much as tunnels between discovered gateways need. Sans-I/O:
//! instants, datagrams and randomness come in; datagrams, child SAs and failures go out.
//!
//! Main type: [`endpoint::Endpoint`]. It refuses to know sockets, the kernel, discovery, and the
//! configuration file.

mod attempt;
pub mod authorization;
mod child_sa;
mod compression;
pub mod configuration;
mod context;
mod cookies;
pub mod counters;
pub mod crypto;
pub mod effects;
pub mod endpoint;
mod exchanges;
mod granting;
mod half_open;
mod leases;
pub mod narrowing;
pub mod nat;
pub mod negotiation;
mod offer;
pub mod opening;
mod retransmission;
mod sa;
pub mod settings;
mod simultaneous;
pub mod wire;

#[cfg(test)]
mod tests;

/// Tells our own kind, who confirms children ([`effects::Outbound`]): the MD5 of
/// `"xfrm-agent IKEv2, children confirmed, 1"`.
pub const VENDOR_ID: [u8; 16] = [
    0xa6, 0x55, 0x2b, 0x59, 0x54, 0x84, 0x0e, 0x1d, 0x9b, 0x44, 0x31, 0x04, 0xfc, 0xe0, 0xb3, 0xa1,
];
