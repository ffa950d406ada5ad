//! Netlink as the kernel room speaks it.
//!
//! `netlink-packet-xfrm` gives the layout of each fixed structure, and its structure parsers check
//! their lengths. Its message parsers do not (a short payload panics, EXPIRE loses its attributes,
//! keys are copied into plain vectors), so messages and attributes are walked here.
//!
//! | file | what |
//! | --- | --- |
//! | [`message`] | headers, attributes, batches to send |
//! | [`socket`] | requests, dumps, subscriptions |
//! | [`error`] | errno and the kernel's own explanation |
//! | [`fields`] | addresses, selectors, lifetimes, marks |
//! | [`policy`], [`sa`], [`larval`], [`acquire`], [`spd`], [`link`], [`address`], [`route`], [`rule`], [`neighbour`], [`proxy`], [`nftables`] | one kind of object each |
//! | [`queue`] | packets that wait for a verdict |
//! | [`generic`], [`wireless`], [`signal`] | families of generic netlink, and the one of wireless interfaces |

pub mod acquire;
pub mod address;
pub mod error;
pub mod fields;
pub mod generic;
pub mod larval;
pub mod link;
pub mod message;
pub mod neighbour;
pub mod nftables;
pub mod policy;
pub mod proxy;
pub mod queue;
pub mod route;
pub mod rule;
pub mod sa;
pub mod signal;
pub mod socket;
pub mod spd;
pub mod wireless;
