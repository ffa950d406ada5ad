//! Capabilities of whoever runs the doctor, which is who would run the agent.

use super::{Check, read};

const NEEDED: [(u32, &str); 3] = [
    (10, "CAP_NET_BIND_SERVICE"),
    (12, "CAP_NET_ADMIN"),
    (13, "CAP_NET_RAW"),
];

pub(super) fn check() -> Check {
    let status = read("/proc/self/status");
    judge(status.as_deref().and_then(effective))
}

/// `CapEff` of `/proc/PID/status` (proc_pid_status(5)).
fn effective(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn judge(effective: Option<u64>) -> Check {
    const NAME: &str = "privileges";
    let Some(effective) = effective else {
        return Check::unknown(NAME, "/proc/self/status has no CapEff");
    };
    let missing: Vec<&str> = NEEDED
        .iter()
        .filter(|(bit, _)| effective & 1 << bit == 0)
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() {
        Check::ok(NAME, "all that the agent needs")
    } else {
        let found = format!("without {}", missing.join(", "));
        Check::failed(NAME, found, "run it as root: sudo xfrm-agent doctor")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::State;

    const STATUS: &str = "Name:\tcat\nCapPrm:\t0000000000000000\nCapEff:\t0000000000001400\n";

    #[test]
    fn missing_capabilities_are_named() {
        assert_eq!(effective(STATUS), Some(0x1400));
        let check = judge(effective(STATUS));
        assert_eq!(
            (check.state, check.found.as_str()),
            (State::Failed, "without CAP_NET_RAW")
        );
        assert_eq!(judge(Some(0x1ff_ffff_ffff)).state, State::Ok);
        assert_eq!(judge(effective("Name:\tcat\n")).state, State::Unknown);
    }
}
