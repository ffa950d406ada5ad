//! The dual client and real home agents, in virtual time, over random histories of links.
//!
//! ```text
//!  Station ── datagrams ──→ networks: loss, delay, copies, NAT, walls, liars ──→ HomeAgent inside
//!     ↑                          │        ForeignAgents                    └──→ HomeAgents outside
//!     └───── replies ────────────┘        VPN: over T, while its tunnel stands
//! ```

mod agreed;
mod histories;
mod home;
mod invariants;
mod lives;
mod network;
mod places;
mod revoking;
mod sites;
mod visited;
mod visiting;
mod vpn;
mod weather;
mod world;

pub use agreed::UNIX;
pub use home::Home;
pub use places::{ALL, Network};
pub use visited::settings as foreign_agent_settings;
pub use visited::{ForeignAgents, Heard, Passing, Said, Told};
pub use weather::{Weather, percent};
