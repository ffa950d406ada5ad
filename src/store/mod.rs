//! What survives a restart. `docs/store.md` has the schemas.
//!
//! ```text
//!  Keep* ─→ apply ─→ one transaction ─→ FILE ─→ load ─→ Kept
//! ```
//!
//! Two files of `redb`, of this process alone: [`Store`] has what was believed of whom and its
//! history, the sequences that were used, and the registered rows; [`Bindings`] has what a home agent
//! answered. A transaction is on the disk when `apply` returns, or nothing of it is. Blocks for as
//! long as the disk takes.
//!
//! Refuses to know: what the values mean, and what is done where the disk is full.

mod bindings;
mod error;
mod file;
mod open_file;
mod schema;

#[cfg(test)]
mod tests;

pub use bindings::Bindings;
pub use error::StoreError;
pub use schema::{HISTORY, SCHEMA};

use crate::presence::{Keep, Kept};
use open_file::{Open, OpenFile};
use std::path::Path;

#[derive(Debug)]
pub struct Store {
    file: OpenFile,
}

impl Store {
    /// Makes the file where there is none. One that cannot be understood stays as it is.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_by(path, file::open)
    }

    fn open_by(path: &Path, open: Open) -> Result<Self, StoreError> {
        let file = OpenFile::open(path, open, schema::prepare)?;
        Ok(Self { file })
    }

    /// Of the history, the `most_history` records that were received last.
    pub fn load(&mut self, most_history: usize) -> Result<Kept, StoreError> {
        self.file
            .with(|path, database| schema::load(path, database, most_history))
    }

    /// All of it or, after an error, nothing. The same changes can be applied again later.
    pub fn apply(&mut self, changes: &[Keep]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.file
            .with(|path, database| schema::apply(path, database, changes))
    }
}
