//! Layer 3: where discovery, IKE and the kernel meet. A plain state machine: `handle(now, event)`,
//! `poll_effect()`, `poll_timeout()`; no clock, socket, tokio or randomness of its own.

pub mod settings;
pub mod snapshot;
