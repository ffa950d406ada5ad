//! VICI, by which other programs speak to strongSwan's charon (README.md of its vici plugin): octets in, octets out.
//!
//! ```text
//!  length, 4 octets │ operation, 1 │ name, 1 + n │ message: elements
//! ```
//! [`packet`] frames and names them, [`message`] is the tree within, [`sas`] what we want to know of one.

pub mod message;
pub mod packet;
pub mod sas;
