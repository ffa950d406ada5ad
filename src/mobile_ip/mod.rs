//! Mobile IPv4: home agents, the mobile node, and the dual client with a VPN between two of its systems.
//!
//! Layer 1, sans-I/O: instants, datagrams and randomness come in, datagrams and wishes go out.
//!
//! | room | owns |
//! | --- | --- |
//! | [`wire`] | messages and extensions as octets, and packets inside tunnels |
//! | [`security`] | security associations: who may sign what |
//! | [`foreign_home`] | what a foreign agent signs for a home agent |
//! | [`replay`] | the clock, and which identification is fresh |
//! | [`unacknowledged`] | a revocation on its way |
//! | [`client`] | the mobile node towards one home agent, and the agents of a link |
//! | [`home_agent`] | bindings: who is where, and who may say so |
//! | [`foreign_agent`] | who visits a link, and whose registrations are passed on |
//! | [`proxy_agent`] | a home agent outside and a surrogate mobile node inside, in one (FIG. 4) |
//! | [`domain`] | inside or outside: guesses that only order the work, proofs, the choice of an adapter |
//! | [`dual_client`] | two registrations with a VPN between them, and what S and T may use |

pub mod arrangement;
pub mod client;
pub mod domain;
pub mod dual_client;
pub mod foreign_agent;
pub mod foreign_home;
pub mod home_agent;
pub mod link;
pub mod proxy_agent;
pub mod replay;
pub mod security;
pub mod unacknowledged;
pub mod wire;

pub use arrangement::{Arrangement, Carriage, Encapsulation, Path, Place, Through};
pub use link::{Datagram, Link, LinkId, Via};
