//! A database that is open, and opened anew after a failure.

use super::{StoreError, file};
use redb::Database;
use std::fmt;
use std::path::{Path, PathBuf};

pub(super) type Open = fn(&Path) -> Result<Database, StoreError>;

pub(super) struct OpenFile {
    path: PathBuf,
    open: Open,
    /// `None` after a failure: what is in memory of a file that could not be written is not trusted.
    pub(super) database: Option<Database>,
}

impl OpenFile {
    pub(super) fn open(
        path: &Path,
        open: Open,
        prepare: impl FnOnce(&Path, &Database) -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        let database = file::guarded(path, || {
            let database = open(path)?;
            prepare(path, &database)?;
            Ok(database)
        })?;
        Ok(Self {
            path: path.to_owned(),
            open,
            database: Some(database),
        })
    }

    pub(super) fn with<T>(
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

impl fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
