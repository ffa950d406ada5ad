//! Mobile IPv4: home agents, the mobile node, and the dual client with a VPN between two of its systems.
//!
//! Layer 1, sans-I/O: instants, datagrams and randomness come in, datagrams and wishes go out.
//!
//! | room | owns |
//! | --- | --- |
//! | [`wire`] | messages and extensions as octets, and packets inside tunnels |
//! | [`security`] | security associations: who may sign what |
//! | [`replay`] | the clock, and which identification is fresh |
//! | [`home_agent`] | the bindings of mobile nodes |

pub mod home_agent;
pub mod link;
pub mod replay;
pub mod security;
pub mod wire;

pub use link::{Datagram, Link, LinkId, Via};
