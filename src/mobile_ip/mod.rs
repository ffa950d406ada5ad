//! Layer 1: Mobile IPv4 (RFC 5944). Sans-I/O: instants, datagrams and randomness come in, datagrams
//! and effects go out.

pub mod wire;
