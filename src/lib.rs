//! `xfrm-agent`: traffic protected by IPsec without anybody having configured a tunnel.
//!
//! ```text
//! sockets  ─┐                      ┌→ sockets
//! monitor  ─┼→ Event → Agent → Effect ─→ Change → writer → kernel
//! control  ─┤     ↑                └→ control replies           │
//! timer    ─┘     └──────────── KernelEvent ← monitor ←─────────┘
//! ```
//!
//! Layers, imports point downward only (`tests/architecture.rs` holds the table):
//!
//! | layer | rooms | know about |
//! | --- | --- | --- |
//! | 0 | [`net`] | addresses, selectors, secrets, timers: values only |
//! | 1 | [`ted`], [`ike`], [`presence`], [`mobile_ip`], [`vici`] | one subject each; no clock, no sockets, no randomness of their own |
//! | 2 | [`store`] | what survives a restart |
//! | 2 | [`kernel`] | XFRM, routes, rules, sysctls, interception: what is wanted, what is there, how to get there |
//! | 2 | [`tun`] | packets between TUN adapters and tunnels in UDP |
//! | 3 | [`agent`] | where the rooms below meet: a state machine from events to effects |
//! | 4 | [`config`], [`control`], [`cli`], [`daemon`] | files, sockets, people |

pub mod agent;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod ike;
pub mod kernel;
pub mod mobile_ip;
pub mod net;
pub mod presence;
pub mod store;
pub mod ted;
pub mod tun;
pub mod vici;
