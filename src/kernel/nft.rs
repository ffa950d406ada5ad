//! Running `nft`, and understanding what it lists.

use super::netlink::error::KernelError;
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

/// What a table's named counters have counted, in packets.
pub type Counters = BTreeMap<String, u64>;

/// A script that removes a table whether it is there or not.
pub fn removal(family: &str, table: &str) -> String {
    format!("table {family} {table}\ndelete table {family} {table}\n")
}

/// A listing of `nft -j` without handles and counts.
pub fn settled(table: &[u8]) -> Result<String, KernelError> {
    let mut table = understand(table)?;
    settle(&mut table);
    Ok(table.to_string())
}

/// The named counters of a listing of `nft -j`.
pub fn counted(table: &[u8]) -> Result<Counters, KernelError> {
    let table = understand(table)?;
    let objects = table["nftables"].as_array().map_or(&[][..], Vec::as_slice);
    Ok(objects
        .iter()
        .map(|object| &object["counter"])
        .filter_map(|c| Some((c["name"].as_str()?.to_owned(), c["packets"].as_u64()?)))
        .collect())
}

fn understand(json: &[u8]) -> Result<serde_json::Value, KernelError> {
    serde_json::from_slice(json).map_err(|error| KernelError {
        errno: Errno::EBADMSG,
        text: Some(format!("nft -j: {error}")),
    })
}

/// Removes what changes by itself.
fn settle(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            for name in ["handle", "packets", "bytes", "metainfo"] {
                fields.remove(name);
            }
            fields.values_mut().for_each(settle);
        }
        serde_json::Value::Array(values) => values.iter_mut().for_each(settle),
        _ => {}
    }
}

/// Runs `nft` with `input` and returns what it says.
pub fn run(arguments: &[&str], input: &str) -> Result<Vec<u8>, KernelError> {
    let Output {
        status,
        stdout,
        stderr,
    } = execute(arguments, input).map_err(|error| KernelError {
        errno: Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)),
        text: Some(format!("nft: {error}")),
    })?;
    if status.success() {
        return Ok(stdout);
    }
    let said = String::from_utf8_lossy(&stderr);
    Err(KernelError {
        errno: if said.contains("not permitted") {
            Errno::EPERM
        } else {
            Errno::EINVAL
        },
        text: Some(format!(
            "nft: {}",
            said.lines().next().unwrap_or_default().trim()
        )),
    })
}

fn execute(arguments: &[&str], input: &str) -> std::io::Result<Output> {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // An nft that refuses to read says why on stderr.
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settling_keeps_all_that_a_person_could_change() {
        let mut value = serde_json::json!({"rule": {"handle": 4, "expr": [{"counter": {"packets": 3, "bytes": 9}}, {"accept": null}]}});
        settle(&mut value);
        assert_eq!(
            value,
            serde_json::json!({"rule": {"expr": [{"counter": {}}, {"accept": null}]}})
        );
    }
}
