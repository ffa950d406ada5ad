//! Mobile nodes, foreign agents, the proxy agent of FIG. 4 and the inner home agent, in virtual time, over random histories of
//! links.
//!
//! ```text
//!  Stations ── datagrams ──→ networks: loss, delay, copies, NAT ──→ ProxyAgent ── datagrams ──→ HomeAgent inside
//!     ↑                          │  ForeignAgents, strangers ───────→  │  ↑                          │
//!     └──────── replies ─────────┘←─────────────────────────────────── ┘  └────────── replies ───────┘
//! ```

mod agreed;
mod histories;
mod invariants;
mod node;
mod passing;
mod proxy;
mod strangers;
mod visiting;
mod world;
