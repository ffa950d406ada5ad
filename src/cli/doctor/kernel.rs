//! What the kernel can do, found by trying, and what it has counted.

use super::{Check, read};
use crate::kernel::features::{self, Need};
use std::process::Command;

pub(super) fn checks() -> Vec<Check> {
    let mut checks = vec![xfrm(read("/proc/net/xfrm_stat").as_deref())];
    checks.extend(features::probe().into_iter().map(tried));
    checks.push(policies());
    checks
}

fn tried(check: features::Check) -> Check {
    match (check.result, check.need) {
        (Ok(()), _) => Check::ok(check.what, "works"),
        (Err(why), Need::Essential) => Check::failed(check.what, why, check.remedy),
        (Err(why), Need::Useful) => Check::warning(check.what, why, check.remedy),
    }
}

fn xfrm(statistics: Option<&str>) -> Check {
    const NAME: &str = "XFRM";
    let Some(statistics) = statistics else {
        return Check::unknown(
            NAME,
            "no /proc/net/xfrm_stat: XFRM or its counters are missing",
        );
    };
    let nonzero: Vec<String> = statistics
        .lines()
        .filter_map(|line| line.split_once(char::is_whitespace))
        .map(|(name, n)| (name, n.trim()))
        .filter(|(_, n)| *n != "0")
        .map(|(name, n)| format!("{name} {n}"))
        .collect();
    if nonzero.is_empty() {
        Check::ok(NAME, "no errors counted")
    } else {
        // Old errors need not be news; they help to read what goes wrong now.
        Check::ok(
            NAME,
            format!("errors counted since boot: {}", nonzero.join(", ")),
        )
    }
}

/// How many policies there are, whoever owns them.
fn policies() -> Check {
    const NAME: &str = "XFRM policies";
    let output = Command::new("ip")
        .args(["xfrm", "policy", "count"])
        .output();
    match output {
        Ok(output) if output.status.success() => {
            match policy_count(&String::from_utf8_lossy(&output.stdout)) {
                Some(n) => Check::ok(NAME, format!("{n} in the kernel: ip xfrm policy")),
                None => Check::unknown(NAME, "`ip xfrm policy count` said something unexpected"),
            }
        }
        Ok(output) => {
            let error = String::from_utf8_lossy(&output.stderr);
            Check::unknown(
                NAME,
                format!("`ip xfrm policy count` failed: {}", error.trim()),
            )
        }
        Err(error) => Check::unknown(NAME, format!("cannot run ip: {error}")),
    }
}

/// The sum of `SPD IN 1 OUT 2 FWD 3`.
fn policy_count(text: &str) -> Option<u64> {
    let words: Vec<&str> = text
        .split_whitespace()
        .skip_while(|w| *w != "SPD")
        .collect();
    ["IN", "OUT", "FWD"]
        .iter()
        .map(|direction| {
            let at = words.iter().position(|word| word == direction)?;
            words.get(at + 1)?.parse::<u64>().ok()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn counters_that_are_not_zero_are_shown() {
        let check = xfrm(Some(
            "XfrmInError             \t0\nXfrmInNoPols            \t5\n",
        ));
        assert_eq!(check.found, "errors counted since boot: XfrmInNoPols 5");
        assert_eq!(xfrm(Some("XfrmInError \t0\n")).found, "no errors counted");
        assert_eq!(xfrm(None).state, State::Unknown);
    }

    #[test]
    fn what_no_tunnel_works_without_is_a_failure_and_the_rest_a_warning() {
        let check = |need| features::Check {
            what: "ESP",
            need,
            result: Err("EPROTONOSUPPORT".to_owned()),
            remedy: "modprobe esp4",
        };
        assert_eq!(tried(check(Need::Essential)).state, State::Failed);
        let warning = tried(check(Need::Useful));
        assert_eq!(warning.state, State::Warning);
        assert_eq!(warning.mend.as_deref(), Some("modprobe esp4"));
    }

    #[test]
    fn policies_of_all_directions_are_counted() {
        assert_eq!(policy_count("\t SPD IN  1 OUT 20 FWD 300\n"), Some(321));
        assert_eq!(policy_count("nonsense"), None);
    }
}
