//! A file of values in the state directory, which makes the next start better and is not needed for it: one that cannot
//! be used costs what it holds, and no start.

use crate::kernel::remembered::replace;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{} does not hold {holds} ({what})", path.display())]
    Content {
        path: PathBuf,
        holds: &'static str,
        what: String,
    },
}

#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    /// Octets; more is not read.
    largest: u64,
    /// And what becomes of that where it cannot be used.
    holds: &'static str,
}

impl StateFile {
    pub(super) fn new(path: &Path, largest: u64, holds: &'static str) -> Self {
        Self {
            path: path.to_owned(),
            largest,
            holds,
        }
    }

    /// `None` where nothing was ever kept.
    pub(super) fn load<T: DeserializeOwned>(&self) -> Result<Option<T>, Error> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.failed("read", source)),
        };
        let mut text = Vec::new();
        let read = file.take(self.largest + 1).read_to_end(&mut text);
        read.map_err(|source| self.failed("read", source))?;
        if text.len() as u64 > self.largest {
            return Err(self.wrong("it is too large"));
        }
        let value = serde_json::from_slice(&text);
        value
            .map(Some)
            .map_err(|error| self.wrong(error.to_string()))
    }

    /// Replaces what was kept, all or nothing.
    pub(super) fn keep(&self, value: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(value).expect("plain values serialize");
        replace(&self.path, &text).map_err(|source| self.failed("write", source))
    }

    fn failed(&self, action: &'static str, source: io::Error) -> Error {
        Error::Io {
            action,
            path: self.path.clone(),
            source,
        }
    }

    pub(super) fn wrong(&self, what: impl Into<String>) -> Error {
        Error::Content {
            path: self.path.clone(),
            holds: self.holds,
            what: what.into(),
        }
    }
}
