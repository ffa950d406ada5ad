//! The file itself: whose it is, and what happens where it is not what it should be.

use super::StoreError;
use redb::{Builder, Database};
use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Once;

/// The library's own default is 1 GiB.
const CACHE: usize = 4 << 20;

/// Every page is checked against its checksum, so that damage is found now and not when something
/// rests on it.
pub(super) fn open(path: &Path) -> Result<Database, StoreError> {
    let file = trusted(path)?;
    let mut database = Builder::new()
        .set_cache_size(CACHE)
        .create_file(file)
        .map_err(|error| StoreError::of(path, error))?;
    match database.check_integrity() {
        Ok(true) => Ok(database),
        Ok(false) => Err(StoreError::damaged(path, "a checksum is wrong")),
        Err(error) => Err(StoreError::of(path, error)),
    }
}

/// Nobody else can have written to it.
fn trusted(path: &Path) -> Result<File, StoreError> {
    let untrusted = |what| StoreError::Untrusted {
        path: path.to_owned(),
        what,
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(|error| match error.raw_os_error() {
            Some(libc::ELOOP) => untrusted("it is a symbolic link"),
            _ => StoreError::disk(path, error),
        })?;
    let metadata = file.metadata().map_err(|e| StoreError::disk(path, e))?;
    if !metadata.is_file() {
        Err(untrusted("it is no regular file"))
    } else if metadata.uid() != nix::unistd::geteuid().as_raw() {
        Err(untrusted("it belongs to somebody else"))
    } else if metadata.mode() & 0o077 != 0 {
        Err(untrusted("others may read or write it"))
    } else {
        Ok(file)
    }
}

thread_local! {
    /// The file that this thread is at work on.
    static AT_WORK: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
}

/// `redb` panics over some damage. Where panics unwind that becomes an error like any other; where
/// they abort, as in a release, the last words say what to do.
pub(super) fn guarded<T>(
    path: &Path,
    work: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            match AT_WORK.with_borrow(Clone::clone) {
                Some(path) => eprintln!("{}", StoreError::damaged(&path, panic.to_string())),
                None => before(panic),
            }
        }));
    });
    AT_WORK.set(Some(path.to_owned()));
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    AT_WORK.set(None);
    done.unwrap_or_else(|_| Err(StoreError::damaged(path, "its structure makes no sense")))
}
