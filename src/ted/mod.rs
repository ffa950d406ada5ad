//! Layer 1: Tunnel Endpoint Discovery, version 3. Sans-I/O: instants and randomness come in,
//! datagrams and findings go out.

pub mod proxies;
