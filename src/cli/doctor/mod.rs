//! `doctor`: what on this machine is missing or in the way, and the command that mends it.
//!
//! Each file looks at one thing. Looking and judging are apart: readers hand the text of `/proc`
//! to pure functions, and those are tested.

mod agent;
mod kernel;
mod ports;
mod privileges;
mod sysctls;
mod tools;

use super::render::wrap;
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::path::Path;

/// One thing looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub name: String,
    pub state: State,
    pub found: String,
    /// The command, or the step, that puts it right.
    pub mend: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Ok,
    /// Works, but perhaps not as meant.
    Warning,
    /// The agent cannot do its work.
    Failed,
    /// Could not be found out.
    Unknown,
}

impl Check {
    pub fn ok(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(name, State::Ok, found, None)
    }

    pub fn warning(
        name: impl Into<String>,
        found: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self::new(name, State::Warning, found, Some(mend.into()))
    }

    pub fn failed(
        name: impl Into<String>,
        found: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self::new(name, State::Failed, found, Some(mend.into()))
    }

    pub fn unknown(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(name, State::Unknown, found, None)
    }

    fn new(
        name: impl Into<String>,
        state: State,
        found: impl Into<String>,
        mend: Option<String>,
    ) -> Self {
        Self {
            name: name.into(),
            state,
            found: found.into(),
            mend,
        }
    }
}

/// Everything, in the order in which it should be mended. Changes nothing.
pub fn examine(socket: &Path, config: Option<&Path>) -> Vec<Check> {
    let mut checks = vec![privileges::check()];
    checks.extend(kernel::checks());
    checks.push(tools::nft());
    checks.extend(sysctls::checks());
    checks.extend(ports::checks());
    checks.push(tools::clock());
    checks.extend(config.map(agent::configuration));
    checks.push(agent::runtime_directory(socket));
    checks.extend(agent::running(socket));
    checks
}

/// Column at which what was found begins.
const INDENT: usize = 9;

pub fn any_failed(checks: &[Check]) -> bool {
    checks.iter().any(|check| check.state == State::Failed)
}

pub fn render(checks: &[Check], width: usize) -> String {
    let mut text = String::new();
    for check in checks {
        let state = match check.state {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Failed => "FAILED",
            State::Unknown => "unknown",
        };
        let found = format!("{}: {}", check.name, check.found);
        let room = width.saturating_sub(INDENT);
        let mut lines = found.lines().flat_map(|line| wrap(line, room));
        let first = lines.next().unwrap_or_default();
        let _ = writeln!(text, "{state:<INDENT$}{first}");
        for line in lines {
            let _ = writeln!(text, "{:INDENT$}{line}", "");
        }
        if let Some(mend) = &check.mend {
            // Not wrapped: it is there to be copied.
            let _ = writeln!(text, "{:INDENT$}mend: {mend}", "");
        }
    }
    let number = |state| checks.iter().filter(|check| check.state == state).count();
    let _ = writeln!(
        text,
        "\n{} failed, {} to look at, {} unknown, {} in order",
        number(State::Failed),
        number(State::Warning),
        number(State::Unknown),
        number(State::Ok)
    );
    text
}

/// A file of `/proc` or `/sys`; `None` where it cannot be read.
fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_read_as_a_list_with_what_mends_them() {
        let checks = [
            Check::ok("nft", "nftables v1.0.6"),
            Check::failed(
                "port 500",
                "taken by charon (pid 7)",
                "systemctl disable --now strongswan",
            ),
            Check::unknown("modules", "no /lib/modules\nnot even an empty one"),
            Check::ok(
                "sysctl",
                "a long story about what was found there, and what it means to you",
            ),
        ];
        assert_eq!(
            render(&checks, 80),
            "\
ok       nft: nftables v1.0.6
FAILED   port 500: taken by charon (pid 7)
         mend: systemctl disable --now strongswan
unknown  modules: no /lib/modules
         not even an empty one
ok       sysctl: a long story about what was found there, and what it means to
         you

1 failed, 0 to look at, 1 unknown, 2 in order
"
        );
        assert!(any_failed(&checks));
        assert!(!any_failed(&checks[..1]));
    }

    #[test]
    fn this_machine_can_be_examined_without_changing_it() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("run/control.sock");
        let checks = examine(&socket, Some(Path::new("/nonexistent/c.toml")));
        let names: Vec<_> = checks.iter().map(|check| check.name.as_str()).collect();
        for expected in [
            "privileges",
            "nft",
            "UDP port 500",
            "UDP port 4500",
            "configuration",
        ] {
            assert!(names.contains(&expected), "{names:?}");
        }
        let config = checks
            .iter()
            .find(|check| check.name == "configuration")
            .unwrap();
        assert_eq!(config.state, State::Failed);
        assert!(!dir.path().join("run").exists());
        for check in checks.iter().filter(|check| check.state == State::Failed) {
            assert!(check.mend.is_some(), "{check:?}");
        }
    }
}
