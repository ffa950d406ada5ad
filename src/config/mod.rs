//! Layer 4: the configuration file, from TOML to validated settings.
//!
//! ```text
//! trusted ─→ section ─→ file ─→ Loaded ─→ difference (on reload)
//! (owner,    (keys,     (proxies, peers,
//!  mode)      spans)     timers, marks, presence)
//! ```
//!
//! Nothing is half accepted: either every key is known and every value allowed, and the result is
//! [`Loaded`], or [`Error`] says for each problem where it stands and what is allowed there.
//! Secrets are read from files of their own ([`secrets`]) and appear in no message.

pub mod difference;
pub mod keys;
pub mod report;
pub mod secrets;
pub mod trusted;

mod association;
mod file;
mod foreign_agent;
mod home_agent;
mod mobility;
mod other_vpn;
mod peers;
mod presence;
mod proxies;
mod proxy_agent;
mod section;
#[cfg(test)]
mod tests;
mod values;
mod vpn;

pub use file::{ReadSecret, parse};
pub use values::{parse_duration, show_duration};

use crate::agent::settings::Settings;
use report::Problem;
use std::fmt;
use std::path::{Path, PathBuf};
use trusted::Untrusted;

/// Where `run` and `check` look when no file is named.
pub const DEFAULT_PATH: &str = "/etc/xfrm-agent/xfrm-agent.toml";
/// Default of `agent.runtime-dir`.
pub const DEFAULT_RUNTIME_DIR: &str = "/run/xfrm-agent";
/// Default of `agent.state-dir`.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/xfrm-agent";
/// Name of the control socket in the runtime directory.
pub const CONTROL_SOCKET: &str = "control.sock";

/// Large enough for 50,000 proxies; small enough to read at once.
const MAX_FILE: u64 = 16 << 20;

/// A file that holds together.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub agent: Settings,
    pub daemon: Daemon,
    /// What is allowed but probably not meant, in the order of the file.
    pub warnings: Vec<Problem>,
}

/// What the process around the agent needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    pub runtime_dir: PathBuf,
    pub state_dir: PathBuf,
    /// Whose members may read from the control socket; `None` leaves it to root.
    pub control_group: Option<ControlGroup>,
    pub log_level: tracing::Level,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlGroup {
    pub name: String,
    pub gid: u32,
}

impl Daemon {
    pub fn control_socket(&self) -> PathBuf {
        self.runtime_dir.join(CONTROL_SOCKET)
    }
}

/// Why a file was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    #[error("{}: the file is not UTF-8 text", .0.display())]
    NotText(PathBuf),
    #[error("{}", listed(path, problems))]
    Invalid {
        path: PathBuf,
        /// In the order of the file; never empty.
        problems: Vec<Problem>,
    },
}

/// Reads and validates a file and the secrets that it names, and looks at its programs.
///
/// # Errors
/// The file, a secret or a program could have been written by somebody else than its owner, or what they
/// say is not allowed. Every problem of the file is reported, not only the first.
pub fn load(path: &Path) -> Result<Loaded, Error> {
    let bytes = trusted::read(path, trusted::Readers::Anyone, MAX_FILE)?;
    let text = String::from_utf8(bytes.to_vec()).map_err(|_| Error::NotText(path.to_owned()))?;
    let directory = path.parent().unwrap_or(Path::new(""));
    let read_secret = |name: &Path| secrets::read(&directory.join(name));
    let loaded = parse(&text, &read_secret).map_err(|problems| Error::Invalid {
        path: path.to_owned(),
        problems,
    })?;
    for program in loaded.agent.vpn.programs() {
        trusted::check_program(Path::new(program))?;
    }
    Ok(loaded)
}

/// One line for each problem: `file:line:column: what is wrong`.
pub fn listed(path: &Path, problems: &[Problem]) -> impl fmt::Display {
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| match problem.position {
            Some(at) => format!("{}:{at}: {}", path.display(), problem.message),
            None => format!("{}: {}", path.display(), problem.message),
        })
        .collect();
    lines.join("\n")
}
