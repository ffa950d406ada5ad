//! Why something could not be kept, or found again.

use super::SCHEMA;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "{} is damaged ({what}): restore it from a backup, or move it away and start again; \
         without it presence is not believed until it is heard again, policies have to be registered \
         again, and mobile nodes, too", path.display()
    )]
    Damaged { path: PathBuf, what: String },
    #[error(
        "{} was written by a newer version (schema {found}, this one knows {SCHEMA}): use that \
         version, or move the file away", path.display()
    )]
    Newer { path: PathBuf, found: u64 },
    #[error("{}: {what}; it has to be a file of the user the agent runs as, with mode 0600", path.display())]
    Untrusted { path: PathBuf, what: &'static str },
    #[error("{} is in use: is another agent running?", path.display())]
    InUse { path: PathBuf },
    #[error("{}: {source}", path.display())]
    Disk {
        path: PathBuf,
        source: std::io::Error,
    },
}

impl StoreError {
    pub(super) fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            what: what.into(),
        }
    }

    pub(super) fn disk(path: &Path, source: std::io::Error) -> Self {
        Self::Disk {
            path: path.to_owned(),
            source,
        }
    }

    /// Every error of `redb`: the disk's fault where it says so, otherwise the file's.
    pub(super) fn of(path: &Path, error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::Io(source) if source.kind() == std::io::ErrorKind::InvalidData => {
                Self::damaged(path, "it does not look like a store")
            }
            redb::Error::Io(source) if source.kind() == std::io::ErrorKind::UnexpectedEof => {
                Self::damaged(path, "it ends too early")
            }
            redb::Error::Io(source) => Self::disk(path, source),
            redb::Error::DatabaseAlreadyOpen => Self::InUse {
                path: path.to_owned(),
            },
            other => Self::damaged(path, other.to_string()),
        }
    }
}
