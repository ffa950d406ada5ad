//! Presence decides protection: where people are, what follows for the packets between us and them,
//! and how both ends get there without losing one.
//!
//! ```text
//!  control, peers (IKE) ──→ database ─┐
//!  anchors, hand ──→ own place ───────┼─→ judging ──→ relation ──→ policies (kernel)
//!  configuration: rules, floors ──────┘      │             ↑ demands
//!                                            └─→ talking ──┘ postures (IKE)
//!  ACQUIRE ──→ linking ──→ links: SAs (kernel)
//! ```

mod administering;
pub mod commands;
mod judging;
mod linking;
mod links;
mod own_place;
mod policies;
mod relation;
mod relations;
mod reloading;
mod routing;
mod rows;
pub mod settings;
mod talking;

#[cfg(test)]
mod tests;

pub(super) use relations::Relations;
