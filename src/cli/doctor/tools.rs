//! Programs beside the kernel, and the clock.

use super::Check;
use std::io;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tables with `destroy`, transparent proxying and socket matches in one family.
const OLDEST_NFT: (u32, u32, u32) = (1, 0, 0);

/// 2025-01-01: earlier than any build of this program.
const TOO_EARLY: Duration = Duration::from_secs(1_735_689_600);

pub(super) fn nft() -> Check {
    let output = Command::new("nft").arg("--version").output();
    judge_nft(output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()))
}

fn judge_nft(output: io::Result<String>) -> Check {
    const NAME: &str = "nft";
    const INSTALL: &str = "apt install nftables";
    match output {
        Err(error) => Check::failed(NAME, format!("cannot be run: {error}"), INSTALL),
        Ok(text) => match version(&text) {
            Some(found) if found >= OLDEST_NFT => Check::ok(NAME, text.trim()),
            Some(_) => Check::failed(NAME, format!("{} is too old", text.trim()), INSTALL),
            None => Check::unknown(NAME, "`nft --version` said something unexpected"),
        },
    }
}

/// Of `nftables v1.0.6 (Lester Gooch #5)`.
fn version(text: &str) -> Option<(u32, u32, u32)> {
    let digits = text
        .split_whitespace()
        .find_map(|word| word.strip_prefix('v'))?;
    let mut numbers = digits.split('.').map(|number| number.parse().ok());
    Some((
        numbers.next()??,
        numbers.next()??,
        numbers.next().flatten().unwrap_or(0),
    ))
}

pub(super) fn clock() -> Check {
    judge_clock(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

/// Lifetimes of policies and SAs in the kernel run on the wall clock.
fn judge_clock(now: Duration) -> Check {
    const NAME: &str = "clock";
    if now < TOO_EARLY {
        Check::warning(
            NAME,
            "stands before 2025: lifetimes in the kernel will jump when it is set",
            "timedatectl set-ntp true",
        )
    } else {
        Check::ok(NAME, "is set")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::State;

    #[test]
    fn versions_of_nft_are_compared_as_numbers() {
        assert_eq!(
            version("nftables v1.0.6 (Lester Gooch #5)"),
            Some((1, 0, 6))
        );
        assert_eq!(version("nftables v1.1 (x)"), Some((1, 1, 0)));
        assert_eq!(version("nonsense"), None);
        let state = |text: &str| judge_nft(Ok(text.into())).state;
        assert_eq!(state("nftables v1.0.6 (Lester Gooch #5)\n"), State::Ok);
        assert_eq!(state("nftables v0.9.10 (x)\n"), State::Failed);
        assert_eq!(state("nonsense"), State::Unknown);
        let missing = judge_nft(Err(io::ErrorKind::NotFound.into()));
        assert_eq!(missing.mend.as_deref(), Some("apt install nftables"));
    }

    #[test]
    fn a_clock_that_was_never_set_is_warned_of() {
        assert_eq!(judge_clock(Duration::from_secs(100)).state, State::Warning);
        assert_eq!(judge_clock(TOO_EARLY).state, State::Ok);
    }
}
