//! The agent itself: its file, its directory, and whether it runs.

use super::Check;
use crate::cli::render::{count, span};
use crate::config::{self, trusted};
use crate::control::client::ClientError;
use crate::control::{Client, Request, Response};
use std::path::Path;

pub(super) fn configuration(path: &Path) -> Check {
    const NAME: &str = "configuration";
    let check = format!("xfrm-agent check -c {}", path.display());
    match config::load(path) {
        Err(error) => Check::failed(NAME, error.to_string(), format!("edit it, then {check}")),
        Ok(loaded) if loaded.warnings.is_empty() => {
            Check::ok(NAME, format!("{} is in order", path.display()))
        }
        Ok(loaded) => {
            let warnings = config::listed(path, &loaded.warnings).to_string();
            Check::warning(NAME, warnings, check)
        }
    }
}

/// Where the socket is or would be. Missing is fine: the agent makes it.
pub(super) fn runtime_directory(socket: &Path) -> Check {
    const NAME: &str = "runtime directory";
    let directory = socket.parent().unwrap_or(Path::new("/"));
    let shown = directory.display();
    if !directory.exists() {
        return Check::ok(NAME, format!("{shown} will be made at start"));
    }
    match trusted::check_directory(directory) {
        Ok(()) => Check::ok(NAME, format!("{shown} belongs to root alone")),
        Err(error) => Check::failed(
            NAME,
            error.to_string(),
            format!("chown root {shown} && chmod 755 {shown}"),
        ),
    }
}

pub(super) fn running(socket: &Path) -> Vec<Check> {
    const NAME: &str = "agent";
    let answer = Client::connect(socket).and_then(|client| client.call(&Request::Status));
    let snapshot = match answer {
        Ok(Response::Status(snapshot)) => snapshot,
        Ok(_) => return vec![Check::unknown(NAME, ClientError::Mismatch.to_string())],
        Err(error @ (ClientError::NoSocket(_) | ClientError::NobodyListens(_))) => {
            let mend = "systemctl start xfrm-agent";
            return vec![Check::warning(NAME, error.to_string(), mend)];
        }
        Err(error) => return vec![Check::unknown(NAME, error.to_string())],
    };
    let up = span(snapshot.uptime_seconds);
    let tunnels = count(snapshot.tunnels.len(), "tunnel");
    let found = format!("{} has run for {up} with {tunnels}", snapshot.identity);
    let mut checks = vec![Check::ok(NAME, found)];
    if !snapshot.failures.is_empty() {
        let failures = count(snapshot.failures.len(), "failure");
        checks.push(Check::warning("tunnels", failures, "xfrm-agent status"));
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::State;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_that_others_can_write_to_fails_and_a_missing_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("control.sock");
        assert_eq!(runtime_directory(&socket).state, State::Ok);
        assert_eq!(
            runtime_directory(Path::new("/nonexistent/x.sock")).state,
            State::Ok
        );
        fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
        assert_eq!(runtime_directory(&socket).state, State::Failed);
    }

    #[test]
    fn an_agent_that_does_not_run_is_only_a_warning() {
        let checks = running(Path::new("/nonexistent/control.sock"));
        assert_eq!(checks[0].state, State::Warning);
        assert_eq!(
            checks[0].found,
            "is xfrm-agent running? no socket at /nonexistent/control.sock"
        );
    }
}
