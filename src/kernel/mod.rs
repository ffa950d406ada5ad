//! Layer 2: what the kernel should hold, what it holds, and how to get from one to the other.
//!
//! Pure: [`desired`], [`observed`], [`ownership`], [`plan`], [`events`]. I/O: [`netlink`],
//! [`writer`] (the only sender of mutations) and [`monitor`].

pub mod adapters;
pub mod decapsulation;
pub mod desired;
pub mod events;
pub mod features;
pub mod first_packets;
pub mod input;
pub mod interception;
pub mod listing;
pub mod monitor;
pub mod netlink;
pub mod nft;
pub mod observed;
mod others;
pub mod outbound;
pub mod ownership;
pub mod plan;
mod radio;
pub mod remembered;
pub mod socket_filter;
pub mod source_addresses;
pub mod statistics;
mod text;
pub mod timer;
mod tun;
pub mod writer;
