//! The data path in user space: packets between TUN adapters and tunnels in UDP (RFC 3519) or minimal
//! encapsulation (RFC 2004), for kernels and ways that have no other. It knows who is at the other end of
//! which tunnel, and not why.
//!
//! ```text
//!            ┌────────────────────── pump (a thread) ──────────────────────┐
//!  adapter ──→ device ─→ forwarder ─→ segments ─→ outbox ─→ socket ──→ UDP │
//!          ←── device ←─ coalesce ←── forwarder ←────────── socket ←── UDP │
//!            └──────────────────────────┬──────────────────────────────────┘
//!                    carrier::Handle ───┘──→ Heard: datagrams for the agent
//! ```
//! [`carrier::start`] starts the thread; its [`Handle`](carrier::Handle) takes adapters, sockets and
//! bindings, and ends it when it is dropped. What decides about packets is without input and output
//! and works on ranges of a buffer; payload is never copied between reading and writing.

pub mod carrier;
mod checksum;
pub mod coalesce;
mod control;
pub mod counts;
pub mod device;
mod ecn;
pub mod forwarder;
mod fragments;
pub mod frame;
pub mod ipv4;
mod minimal;
pub mod outbox;
mod pump;
pub mod segments;
mod socket;
#[cfg(test)]
mod tests;
pub mod tunnels;
