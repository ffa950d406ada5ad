//! Layer 2: what the kernel should hold, what it holds, and how to get from one to the other.
//!
//! Pure: [`desired`], [`observed`], [`ownership`], [`plan`], [`events`]. I/O: [`netlink`],
//! [`writer`] (the only sender of mutations) and [`monitor`].

pub mod desired;
