//! Layer 1: `IKEv2` (RFC 7296), as much as tunnels between discovered gateways need. Sans-I/O:
//! instants, datagrams and randomness come in; datagrams, child SAs and failures go out.

pub mod authorization;
pub mod crypto;
pub mod effects;
pub mod narrowing;
pub mod nat;
pub mod negotiation;
pub mod settings;
pub mod wire;

#[cfg(test)]
mod tests;
