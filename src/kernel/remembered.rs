//! What the kernel's settings were before the agent changed them, in a file, so that they can be
//! given back even after `kill -9`.

use super::desired::Sysctl;
use super::netlink::spd::Thresholds;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const FILE_NAME: &str = "kernel-settings.json";

/// One setting that we changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Altered<T> {
    pub before: T,
    /// What we wrote. Where the kernel holds something else by now, an administrator has decided
    /// and it is left alone.
    pub ours: T,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    #[serde(default)]
    pub sysctls: BTreeMap<String, Altered<String>>,
    #[serde(default)]
    pub thresholds: Option<Altered<Thresholds>>,
    /// They were as long as ever before.
    #[serde(default)]
    pub short_grace_periods: bool,
}

#[derive(Debug)]
pub struct Remembered {
    path: PathBuf,
    settings: Settings,
}

impl Remembered {
    /// Reads what an earlier run left in `directory`. A file that cannot be understood is treated
    /// as absent: the settings found now are then the ones given back.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join(FILE_NAME);
        let settings = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "earlier kernel settings unreadable");
                Settings::default()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Settings::default(),
            Err(error) => return Err(error),
        };
        Ok(Self { path, settings })
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Call before `name` is written. The value of before the first change is the one that stays.
    ///
    /// # Errors
    /// It could not be kept, and is not remembered: leave `name` as it is.
    pub fn sysctl(&mut self, name: Sysctl, before: &str, ours: &str) -> io::Result<()> {
        let mut settings = self.settings.clone();
        let ours = ours.to_owned();
        settings
            .sysctls
            .entry(name.to_string())
            .and_modify(|altered| altered.ours.clone_from(&ours))
            .or_insert_with(|| Altered {
                before: before.to_owned(),
                ours,
            });
        self.keep(settings)
    }

    /// Call before the thresholds are written.
    ///
    /// # Errors
    /// As for [`Self::sysctl`].
    pub fn thresholds(&mut self, before: Thresholds, ours: Thresholds) -> io::Result<()> {
        let mut settings = self.settings.clone();
        settings
            .thresholds
            .get_or_insert(Altered { before, ours })
            .ours = ours;
        self.keep(settings)
    }

    /// Call before grace periods are shortened, and after they are as they were.
    ///
    /// # Errors
    /// As for [`Self::sysctl`].
    pub fn grace_periods(&mut self, short: bool) -> io::Result<()> {
        self.keep(Settings {
            short_grace_periods: short,
            ..self.settings.clone()
        })
    }

    /// Those that we changed.
    pub fn sysctls(&self) -> impl Iterator<Item = Sysctl> {
        let names = self.settings.sysctls.keys();
        names.filter_map(|name| name.parse().ok())
    }

    /// It has its earlier value again. [`Self::save`] when all have: an empty memory needs no room.
    pub fn forget_sysctl(&mut self, name: Sysctl) {
        self.settings.sysctls.remove(&name.to_string());
    }

    /// As [`Self::forget_sysctl`].
    pub fn forget_thresholds(&mut self) {
        self.settings.thresholds = None;
    }

    fn keep(&mut self, settings: Settings) -> io::Result<()> {
        let before = std::mem::replace(&mut self.settings, settings);
        self.save().inspect_err(|_| self.settings = before)
    }

    /// Nothing to remember is no file.
    pub fn save(&self) -> io::Result<()> {
        if self.settings == Settings::default() {
            return match std::fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let text = serde_json::to_vec_pretty(&self.settings)?;
        // A reboot empties the directory and resets the settings, so the disk need not be waited
        // for: 4 to 50 ms on a busy one, three times in a first change.
        write_beside(&self.path, &text, |_| Ok(()))
    }
}

/// Writes a file of the agent's own, whole or not at all: where there is no room, what was there
/// before stays, and nothing else does. It is on the disk afterwards.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    write_beside(path, content, File::sync_all)
}

/// `finish` comes before the new content takes the place of the old.
fn write_beside(
    path: &Path,
    content: &[u8],
    finish: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    let write = || {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?;
        file.write_all(content)?;
        finish(&file)?;
        std::fs::rename(&unfinished, path)
    };
    write().inspect_err(|_| {
        // It may not even have been made; the first error is the one to know.
        let _ = std::fs::remove_file(&unfinished);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_before_the_first_change_survives_further_changes_and_restarts() {
        let directory = tempfile::tempdir().unwrap();
        let name = Sysctl::XfrmLarvalDrop;
        let mut first = Remembered::open(directory.path()).unwrap();
        first.sysctl(name, "1", "0").unwrap();
        drop(first);
        let mut second = Remembered::open(directory.path()).unwrap();
        second.sysctl(name, "0", "0").unwrap();
        let altered = &second.settings().sysctls[&name.to_string()];
        assert_eq!((altered.before.as_str(), altered.ours.as_str()), ("1", "0"));
        second.forget_sysctl(name);
        second.save().unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_file_is_as_good_as_none() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE_NAME), "{").unwrap();
        let remembered = Remembered::open(directory.path()).unwrap();
        assert_eq!(remembered.settings(), &Settings::default());
    }

    #[test]
    fn what_cannot_be_kept_is_not_remembered_and_what_was_kept_before_stays() {
        let directory = tempfile::tempdir().unwrap();
        let mut remembered = Remembered::open(directory.path()).unwrap();
        remembered.sysctl(Sysctl::XfrmLarvalDrop, "1", "0").unwrap();
        let before = remembered.settings().clone();
        // In the way of the file that the new content is written to.
        std::fs::create_dir(directory.path().join("kernel-settings.new")).unwrap();
        remembered
            .sysctl(Sysctl::XfrmAcqExpires, "30", "2")
            .unwrap_err();
        assert_eq!(remembered.settings(), &before);
        let reopened = Remembered::open(directory.path()).unwrap();
        assert_eq!(reopened.settings(), &before);
    }

    #[test]
    fn a_file_that_cannot_be_written_to_its_end_leaves_nothing_unfinished() {
        let directory = tempfile::tempdir().unwrap();
        // Stands where a directory is: renaming onto it fails, after everything was written.
        let path = directory.path().join("there.json");
        std::fs::create_dir_all(path.join("inside")).unwrap();
        replace(&path, b"content").unwrap_err();
        let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}
