//! The program as a shell sees it: exit status, and which stream says what.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

fn agent(arguments: &[&str], directory: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xfrm-agent"))
        .args(arguments)
        .current_dir(directory)
        .env("XFRM_AGENT_SOCKET", directory.join("control.sock"))
        .env("COLUMNS", "100")
        .output()
        .expect("the program runs")
}

fn directory(config: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text, mode) in [
        ("c.toml", config, 0o644),
        ("gw106.psk", "0123456789abcdef\n", 0o600),
    ] {
        fs::write(dir.path().join(name), text).unwrap();
        fs::set_permissions(dir.path().join(name), Permissions::from_mode(mode)).unwrap();
    }
    dir
}

fn text(stream: &[u8]) -> &str {
    std::str::from_utf8(stream).unwrap()
}

#[test]
fn the_example_configuration_passes_check() {
    let dir = directory(include_str!("../dist/xfrm-agent.toml"));
    let output = agent(&["check", "-c", "c.toml"], dir.path());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(
        text(&output.stdout).ends_with("c.toml: accepted\n"),
        "{output:?}"
    );
}

#[test]
fn a_bad_configuration_fails_check_in_both_forms() {
    let dir = directory("[identity]\nid = \"a\"\nidd = 1\n");
    let output = agent(&["check", "-c", "c.toml"], dir.path());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stdout),
        "c.toml:3:1: unknown key `idd` in [identity]: the nearest known key is `id`\n\
         1 problem: not accepted\n"
    );
    let output = agent(&["check", "-c", "c.toml", "--json"], dir.path());
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["problems"][0]["position"]["line"], 3);
}

#[test]
fn commands_without_an_agent_fail_and_say_where_they_looked() {
    let dir = directory("");
    let socket = dir.path().join("control.sock");
    let expected = format!(
        "xfrm-agent: is xfrm-agent running? no socket at {}\n",
        socket.display()
    );
    for command in [
        &["status"][..],
        &["policies"],
        &["sas"],
        &["tunnels"],
        &["discover", "10.2.0.8"],
        &["events"],
        &["reload"],
        &["forget", "--all"],
    ] {
        let output = agent(command, dir.path());
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        assert_eq!(text(&output.stderr), expected, "{command:?}");
        assert!(output.stdout.is_empty(), "{command:?}");
    }
}

#[test]
fn a_command_line_that_is_not_understood_has_its_own_status() {
    let dir = directory("");
    for command in [&[][..], &["levitate"], &["discover", "here"], &["forget"]] {
        assert_eq!(
            agent(command, dir.path()).status.code(),
            Some(2),
            "{command:?}"
        );
    }
}
