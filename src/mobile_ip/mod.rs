//! Mobile IPv4: home agents, the mobile node, and the dual client with a VPN between two of its systems.
//!
//! Layer 1, sans-I/O: instants, datagrams and randomness come in, datagrams and wishes go out.
//!
//! | room | owns |
//! | --- | --- |
//! | [`domain`] | inside or outside: guesses that only order the work, proofs, the choice of an adapter |
//! | [`dual_client`] | two registrations with a VPN between them, and what S and T may use |

pub mod arrangement;
pub mod domain;
pub mod dual_client;
pub mod link;
pub mod wire;

pub use arrangement::{Arrangement, Carriage, Encapsulation, Path, Place, Through};
pub use link::{Datagram, Link, LinkId, Via};
