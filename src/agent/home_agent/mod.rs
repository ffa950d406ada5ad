//! Our own home agent.

pub mod settings;
