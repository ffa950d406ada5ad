//! Layer 4: connects the agent to sockets, the kernel, the clock and people.

mod control;
mod events;
mod logging;
mod memory;
pub mod privileges;
mod run;
pub mod sockets;
mod wiring;

pub use run::{Error, run};
