//! Presence decides protection: where people are, what follows for the packets between us and them,
//! and how both ends get there without losing one.

pub mod commands;
pub mod settings;
