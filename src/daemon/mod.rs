//! Layer 4: connects the agent to sockets, the kernel, the clock and people.

mod carrying;
mod charon;
mod clock;
mod commands;
mod control;
mod datagrams;
mod events;
mod heap;
mod home_address;
mod keeper;
mod logging;
mod memory;
mod networks;
pub mod privileges;
mod run;
pub mod sockets;
mod state_file;
mod urgency;
mod vpns;
mod wiring;
mod withdraw;

pub use run::{Error, run};
pub use withdraw::{Withdrawn, withdraw};
