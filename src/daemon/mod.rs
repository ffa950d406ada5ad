//! Layer 4.

pub mod sockets;
