//! What machine this is, and what it says.

use std::process::Command;

pub fn machine() -> String {
    let info = read("/proc/cpuinfo");
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = info.matches("processor\t").count();
    format!(
        "Linux {}\n{cores} x {}",
        read("/proc/sys/kernel/osrelease"),
        model.map_or("?", |(_, name)| name)
    )
}

pub fn read(path: &str) -> String {
    std::fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

pub fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .expect("it is installed");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
