//! What must survive a restart: which prefixes were once protected, in the state directory.

use crate::kernel::remembered::replace;
use crate::net::{IpNet, Port, Protocol, Selector};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const FILE: &str = "once-protected.json";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "{} does not hold what was once protected ({source}): restore it, or delete it to let \
         `on-failure = \"clear\"` apply to everything again", path.display()
    )]
    Content {
        path: PathBuf,
        source: serde_json::Error,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    src: IpNet,
    dst: IpNet,
    /// 0 is any.
    protocol: u8,
    src_port: Option<u16>,
    dst_port: Option<u16>,
}

#[derive(Debug)]
pub(super) struct Memory {
    path: PathBuf,
    /// What the disk had no room for.
    unkept: Option<Vec<Selector>>,
}

impl Memory {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self {
            path: state_dir.join(FILE),
            unkept: None,
        }
    }

    /// Empty where nothing was ever kept.
    pub(super) fn load(&self) -> Result<Vec<Selector>, Error> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(self.failed("read", source)),
        };
        let entries: Vec<Entry> =
            serde_json::from_slice(&text).map_err(|source| Error::Content {
                path: self.path.clone(),
                source,
            })?;
        Ok(entries.into_iter().map(Selector::from).collect())
    }

    /// Replaces what was kept, all or nothing. What could not be kept is not lost yet: see
    /// [`Self::try_again`].
    pub(super) fn keep(&mut self, selectors: Vec<Selector>) -> Result<(), Error> {
        let entries: Vec<Entry> = selectors.iter().map(Entry::from).collect();
        let text = serde_json::to_vec_pretty(&entries).expect("plain values serialize");
        let kept = replace(&self.path, &text);
        self.unkept = kept.is_err().then_some(selectors);
        kept.map_err(|source| self.failed("write", source))
    }

    /// Whether what could not be kept before is kept now; `None` where nothing is left to keep.
    pub(super) fn try_again(&mut self) -> Option<Result<(), Error>> {
        let selectors = self.unkept.take()?;
        Some(self.keep(selectors))
    }

    fn failed(&self, action: &'static str, source: io::Error) -> Error {
        Error::Io {
            action,
            path: self.path.clone(),
            source,
        }
    }
}

impl From<Entry> for Selector {
    fn from(entry: Entry) -> Self {
        let port = |port: Option<u16>| port.map_or(Port::Any, Port::Is);
        Self::between(entry.src, entry.dst)
            .protocol(Protocol::from_number(entry.protocol))
            .ports(port(entry.src_port), port(entry.dst_port))
    }
}

impl From<&Selector> for Entry {
    fn from(selector: &Selector) -> Self {
        let port = |port: Port| match port {
            Port::Any => None,
            Port::Is(port) => Some(port),
        };
        Self {
            src: selector.src,
            dst: selector.dst,
            protocol: selector.protocol.number(),
            src_port: port(selector.src_port),
            dst_port: port(selector.dst_port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut memory = Memory::new(dir.path());
        assert_eq!(memory.load().unwrap(), []);
        let selectors = [
            Selector::between(
                "10.1.0.0/16".parse().unwrap(),
                "10.2.0.0/16".parse().unwrap(),
            ),
            Selector::between("::/0".parse().unwrap(), "2001:db8::/32".parse().unwrap())
                .protocol(Protocol::TCP)
                .ports(Port::Any, Port::Is(443)),
        ];
        memory.keep(selectors.to_vec()).unwrap();
        assert_eq!(Memory::new(dir.path()).load().unwrap(), selectors);
        memory.keep(Vec::new()).unwrap();
        assert_eq!(memory.load().unwrap(), []);
    }

    #[test]
    fn a_damaged_file_is_an_error_that_names_it_and_never_an_empty_memory() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::new(dir.path());
        fs::write(dir.path().join(FILE), "[{\"src\":").unwrap();
        let error = memory.load().unwrap_err().to_string();
        assert!(
            error.contains(FILE) && error.contains("delete it"),
            "{error}"
        );
    }

    #[test]
    fn what_a_full_or_missing_state_directory_does_not_take_is_kept_when_it_does() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("missing");
        let mut memory = Memory::new(&state);
        assert!(memory.try_again().is_none());
        let (src, dst) = ("10.1.0.0/16", "10.2.0.0/16");
        let selectors = vec![Selector::between(
            src.parse().unwrap(),
            dst.parse().unwrap(),
        )];
        let written = |error| matches!(error, Error::Io { action, .. } if action == "write");
        assert!(written(memory.keep(selectors.clone()).unwrap_err()));
        assert!(memory.try_again().is_some_and(|kept| kept.is_err()));
        fs::create_dir(&state).unwrap();
        assert!(memory.try_again().is_some_and(|kept| kept.is_ok()));
        assert!(memory.try_again().is_none());
        assert_eq!(memory.load().unwrap(), selectors);
    }
}
