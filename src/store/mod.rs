//! What survives a restart: what was believed of whom and its history, the sequences that were used,
//! and the registered rows. `docs/store.md` has the schema.
//!
//! ```text
//!  Keep* ─→ apply ─→ one transaction ─→ FILE ─→ load ─→ Kept
//! ```
//!
//! One file of `redb`, of this process alone. A transaction is on the disk when [`Store::apply`]
//! returns, or nothing of it is. Blocks for as long as the disk takes.
//!
//! Refuses to know: what the values mean, and what is done where the disk is full.

mod error;
mod file;
mod schema;

#[cfg(test)]
mod tests;

pub use error::StoreError;
pub use schema::{HISTORY, SCHEMA};

use crate::presence::{Keep, Kept};
use redb::Database;
use std::fmt;
use std::path::{Path, PathBuf};

type Open = fn(&Path) -> Result<Database, StoreError>;

pub struct Store {
    path: PathBuf,
    open: Open,
    /// `None` after a failure: what is in memory of a file that could not be written is not trusted.
    database: Option<Database>,
}

impl Store {
    /// Makes the file where there is none. One that cannot be understood stays as it is.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_by(path, file::open)
    }

    fn open_by(path: &Path, open: Open) -> Result<Self, StoreError> {
        let database = file::guarded(path, || {
            let database = open(path)?;
            schema::prepare(path, &database)?;
            Ok(database)
        })?;
        Ok(Self {
            path: path.to_owned(),
            open,
            database: Some(database),
        })
    }

    /// Of the history, the `most_history` records that were received last.
    pub fn load(&mut self, most_history: usize) -> Result<Kept, StoreError> {
        self.with(|path, database| schema::load(path, database, most_history))
    }

    /// All of it or, after an error, nothing. The same changes can be applied again later.
    pub fn apply(&mut self, changes: &[Keep]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.with(|path, database| schema::apply(path, database, changes))
    }

    fn with<T>(
        &mut self,
        work: impl FnOnce(&Path, &Database) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (path, open) = (&self.path, self.open);
        let database = self.database.take();
        let (database, done) = file::guarded(path, || {
            let database = match database {
                Some(database) => database,
                None => open(path)?,
            };
            let done = work(path, &database)?;
            Ok((database, done))
        })?;
        self.database = Some(database);
        Ok(done)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
