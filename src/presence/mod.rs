//! Layer 1: from where people are to what their packets need.
//!
//! ```text
//!  Publish, Set ──→ database ──→ Standing ─┐
//!  own location ───────────→ Standing ─────┼─→ rules::judge ─→ Clause* ─→ (agent: policies)
//!  contact's floor, sites ─────────────────┘
//! ```
//!
//! Pure: the time is a parameter ([`Timestamp`], wall clock), nothing is read or sent.

pub mod database;
pub mod decisions;
pub mod exchange;
pub mod kept;
pub mod names;
pub mod own;
pub mod protection;
pub mod record;
pub mod row;
pub mod rules;
pub mod time;

pub use kept::{Keep, Kept};
pub use names::{Entity, InvalidName, Location, UserName};
pub use protection::{Class, Demand, Protection, Protocols};
pub use record::{Authenticity, Presence, Record, Source};
pub use row::Row;
pub use time::Timestamp;
