//! Layer 4: the control socket, through which people look at a running agent and steer it.
//!
//! ```text
//! client ── one line of JSON ──→ server ── Call ──→ daemon
//!        ←─ one line of JSON ───        ←─ oneshot ──
//!        ←─ a line for each event ───── ←─ broadcast ─
//! ```
//!
//! One request a connection. [`server`] knows who may ask and how much, and nothing of what the
//! answers mean; [`protocol`] is all that both ends share.

pub mod client;
pub mod protocol;
pub mod server;

pub use client::Client;
pub use protocol::{Request, Response};
pub use server::Call;
