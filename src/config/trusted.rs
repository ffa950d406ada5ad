//! Files that decide over keys and policies, read or run only where nobody but their owner could have
//! written them.

use nix::fcntl::OFlag;
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Who may read the file beside its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    Anyone,
    /// A secret. It must not be a symbolic link either: its name is what was checked.
    OwnerOnly,
}

#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    #[error("cannot open {}: {error}", path.display())]
    Open {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    #[error("cannot read {}: {error}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    #[error("cannot make the directory {}: {error}", path.display())]
    Make {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    #[error("{} is a symbolic link: name the file itself", .0.display())]
    SymbolicLink(PathBuf),
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    #[error("{p} belongs to uid {owner}: it must belong to root: chown root {p}", p = path.display())]
    Owner { path: PathBuf, owner: u32 },
    #[error("{p} can be written by others (mode {mode:04o}): chmod go-w {p}", p = path.display())]
    Writable { path: PathBuf, mode: u32 },
    #[error("{p} can be read by others (mode {mode:04o}): chmod 600 {p}", p = path.display())]
    Readable { path: PathBuf, mode: u32 },
    #[error("{p} is not executable: chmod u+x {p}", p = .0.display())]
    NotExecutable(PathBuf),
    #[error("{} is larger than {limit} octets", path.display())]
    TooLarge { path: PathBuf, limit: u64 },
}

/// Reads the whole file, wiped when dropped. Checks are made on the open file, so that it cannot
/// be exchanged between check and reading.
///
/// # Errors
/// The file or its directory belongs to neither root nor this user, or others can write to it; or
/// it is a secret and others can read it.
pub fn read(path: &Path, readers: Readers, limit: u64) -> Result<Zeroizing<Vec<u8>>, Untrusted> {
    let mut flags = OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    if readers == Readers::OwnerOnly {
        flags |= OFlag::O_NOFOLLOW;
    }
    let cannot_open = |path: &Path, error: io::Error| match error.raw_os_error() {
        Some(libc::ELOOP) if readers == Readers::OwnerOnly => Untrusted::SymbolicLink(path.into()),
        _ => Untrusted::Open {
            path: path.into(),
            error,
        },
    };
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)
        .map_err(|e| cannot_open(path, e))?;
    let failed = |error| Untrusted::Read {
        path: path.into(),
        error,
    };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Untrusted::NotAFile(path.into()));
    }
    check(path, &metadata)?;
    if readers == Readers::OwnerOnly && metadata.mode() & 0o077 != 0 {
        return Err(Untrusted::Readable {
            path: path.into(),
            mode: metadata.mode() & 0o7777,
        });
    }
    check_directory_of(path)?;

    // One buffer of the final size: a growing one would leave copies of a secret behind.
    let too_large = || Untrusted::TooLarge {
        path: path.into(),
        limit,
    };
    if metadata.len() > limit {
        return Err(too_large());
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(metadata.len() as usize + 1));
    Read::take(&file, metadata.len() + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(too_large());
    }
    Ok(bytes)
}

/// Whether only its owner decides what running it does. Who could exchange it between this and the run could
/// write to its directory, which is looked at too.
///
/// # Errors
/// It is no program, or it or its directory belongs to neither root nor this user, or others can write
/// to it.
pub fn check_program(path: &Path) -> Result<(), Untrusted> {
    let metadata = path.metadata().map_err(|error| Untrusted::Open {
        path: path.into(),
        error,
    })?;
    if !metadata.is_file() {
        return Err(Untrusted::NotAFile(path.into()));
    }
    check(path, &metadata)?;
    if metadata.mode() & 0o111 == 0 {
        return Err(Untrusted::NotExecutable(path.into()));
    }
    check_directory_of(path)
}

/// Makes a directory of the agent's own (mode 0755) where it is missing.
///
/// # Errors
/// It cannot be made, or others can write to the one that is there.
pub fn make_directory(path: &Path) -> Result<(), Untrusted> {
    let failed = |error| Untrusted::Make {
        path: path.into(),
        error,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .map_err(failed)?;
    check_directory(path)
}

/// # Errors
/// It is no directory, or others can write to it.
pub fn check_directory(path: &Path) -> Result<(), Untrusted> {
    let metadata = path.metadata().map_err(|error| Untrusted::Open {
        path: path.into(),
        error,
    })?;
    if !metadata.is_dir() {
        return Err(Untrusted::NotADirectory(path.into()));
    }
    check(path, &metadata)
}

/// The file where it really lies: who can write to that directory can replace the file.
fn check_directory_of(path: &Path) -> Result<(), Untrusted> {
    let open = |path: &Path| {
        let real = path.canonicalize()?;
        let directory = real.parent().unwrap_or(Path::new("/")).to_owned();
        let metadata = File::open(&directory)?.metadata()?;
        Ok((directory, metadata))
    };
    let (directory, metadata) = open(path).map_err(|error: io::Error| Untrusted::Open {
        path: path.into(),
        error,
    })?;
    // In a sticky directory like /tmp nobody else can replace a file, and its owner was checked.
    let sticky = metadata.mode() & 0o1000 != 0;
    match check(&directory, &metadata) {
        Err(Untrusted::Writable { .. }) if sticky => Ok(()),
        result => result,
    }
}

fn check(path: &Path, metadata: &Metadata) -> Result<(), Untrusted> {
    let own = nix::unistd::geteuid().as_raw();
    check_values(path, own, metadata.uid(), metadata.mode())
}

fn check_values(path: &Path, own: u32, owner: u32, mode: u32) -> Result<(), Untrusted> {
    if owner != 0 && owner != own {
        return Err(Untrusted::Owner {
            path: path.into(),
            owner,
        });
    }
    if mode & 0o022 != 0 {
        return Err(Untrusted::Writable {
            path: path.into(),
            mode: mode & 0o7777,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn file(dir: &tempfile::TempDir, name: &str, mode: u32) -> PathBuf {
        let path = dir.path().join(name);
        fs::write(&path, "swordfish").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    fn refusal(path: &Path, readers: Readers) -> String {
        read(path, readers, 100).unwrap_err().to_string()
    }

    #[test]
    fn a_private_file_is_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(&dir, "psk", 0o600);
        let bytes = read(&path, Readers::OwnerOnly, 9).unwrap();
        assert_eq!(&bytes[..], b"swordfish");
        assert!(refusal_of_size(&path, 8).contains("is larger than 8 octets"));
    }

    fn refusal_of_size(path: &Path, limit: u64) -> String {
        read(path, Readers::OwnerOnly, limit)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn what_others_can_write_is_refused_and_the_command_that_mends_it_named() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o620, 0o602, 0o666] {
            let path = file(&dir, "config", mode);
            let p = path.display();
            assert_eq!(
                refusal(&path, Readers::Anyone),
                format!("{p} can be written by others (mode {mode:04o}): chmod go-w {p}")
            );
        }
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused_and_a_configuration_is_not() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o640, 0o604, 0o610] {
            let path = file(&dir, "psk", mode);
            let p = path.display();
            assert_eq!(
                refusal(&path, Readers::OwnerOnly),
                format!("{p} can be read by others (mode {mode:04o}): chmod 600 {p}")
            );
            assert!(read(&path, Readers::Anyone, 100).is_ok());
        }
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_refused_unless_it_is_sticky() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(&dir, "config", 0o600);
        let set = |mode| fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
        set(0o777);
        let d = dir.path().display();
        assert_eq!(
            refusal(&path, Readers::Anyone),
            format!("{d} can be written by others (mode 0777): chmod go-w {d}")
        );
        set(0o1777);
        assert!(read(&path, Readers::Anyone, 100).is_ok());
    }

    #[test]
    fn a_secret_behind_a_symbolic_link_is_refused_and_a_link_to_a_configuration_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(&dir, "psk", 0o600);
        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        assert_eq!(
            refusal(&link, Readers::OwnerOnly),
            format!(
                "{} is a symbolic link: name the file itself",
                link.display()
            )
        );
        assert!(read(&link, Readers::Anyone, 100).is_ok());
    }

    #[test]
    fn neither_a_directory_nor_a_fifo_is_a_file_and_neither_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [dir.path(), &fifo] {
            let message = format!("{} is not a regular file", path.display());
            assert_eq!(refusal(path, Readers::OwnerOnly), message);
        }
    }

    #[test]
    fn files_of_other_users_are_refused() {
        let path = Path::new("/etc/psk");
        assert!(check_values(path, 1000, 0, 0o600).is_ok());
        assert!(check_values(path, 1000, 1000, 0o600).is_ok());
        assert_eq!(
            check_values(path, 0, 1000, 0o600).unwrap_err().to_string(),
            "/etc/psk belongs to uid 1000: it must belong to root: chown root /etc/psk"
        );
    }

    #[test]
    fn a_program_is_run_only_where_nobody_else_can_change_it() {
        let dir = tempfile::tempdir().unwrap();
        assert!(check_program(&file(&dir, "up", 0o700)).is_ok());
        let refusal = |mode| {
            let refused = check_program(&file(&dir, "up", mode));
            refused.unwrap_err().to_string()
        };
        assert!(refusal(0o600).ends_with("up"), "not executable");
        assert!(refusal(0o722).contains("chmod go-w"));
        fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
        assert!(refusal(0o700).contains("chmod go-w"));
        assert!(check_program(dir.path()).is_err());
    }

    #[test]
    fn a_missing_file_is_named() {
        assert_eq!(
            refusal(Path::new("/nonexistent/x"), Readers::Anyone),
            "cannot open /nonexistent/x: No such file or directory (os error 2)"
        );
    }
}
