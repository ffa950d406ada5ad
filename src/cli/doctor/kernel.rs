//! What the kernel can do, as far as `/proc` and the module directory tell.
//!
//! Probing over netlink says more, and belongs to the kernel room: [`checks`] is where its
//! findings join.

use super::{Check, State, read};
use std::process::Command;

/// Kernel modules, what each is for, and how much depends on it.
const MODULES: [(&str, &str, State); 8] = [
    ("xfrm_user", "policies and SAs over netlink", State::Failed),
    ("esp4", "ESP over IPv4", State::Failed),
    ("esp6", "ESP over IPv6", State::Warning),
    ("gcm", "AES-GCM", State::Failed),
    ("authenc", "AES-CBC with HMAC", State::Warning),
    ("nf_tables", "interception of probes", State::Failed),
    ("nft_tproxy", "interception of probes", State::Failed),
    ("nft_socket", "interception of probes", State::Warning),
];

pub(super) fn checks() -> Vec<Check> {
    let release = read("/proc/sys/kernel/osrelease").unwrap_or_default();
    let directory = format!("/lib/modules/{}", release.trim());
    let lists = ModuleLists {
        loaded: read("/proc/modules"),
        builtin: read(&format!("{directory}/modules.builtin")),
        loadable: read(&format!("{directory}/modules.dep")),
    };
    let mut checks = vec![xfrm(read("/proc/net/xfrm_stat").as_deref())];
    checks.extend(modules(&lists, release.trim()));
    checks.push(policies());
    checks
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

struct ModuleLists {
    loaded: Option<String>,
    builtin: Option<String>,
    loadable: Option<String>,
}

impl ModuleLists {
    /// `None` where there is no list to look in.
    fn has(&self, module: &str) -> Option<bool> {
        let loaded = self.loaded.as_deref().unwrap_or_default();
        let mut loaded = loaded.lines().filter_map(|line| line.split(' ').next());
        if loaded.any(|name| name == module) {
            return Some(true);
        }
        let (builtin, loadable) = (self.builtin.as_deref()?, self.loadable.as_deref()?);
        let files = builtin.lines().chain(loadable.lines());
        let mut names = files
            .map(|line| line.split(':').next().unwrap_or_default())
            .filter_map(|path| path.rsplit('/').next()?.split('.').next());
        Some(names.any(|name| name.replace('-', "_") == module))
    }
}

fn modules(lists: &ModuleLists, release: &str) -> Vec<Check> {
    if lists.builtin.is_none() || lists.loadable.is_none() {
        let found = format!("no lists in /lib/modules/{release}: what is built in cannot be told");
        return vec![Check::unknown("kernel modules", found)];
    }
    let mut checks = Vec::new();
    for (module, purpose, weight) in MODULES {
        if lists.has(module) == Some(false) {
            checks.push(Check {
                name: format!("kernel module {module}"),
                state: weight,
                found: format!("missing from Linux {release}: no {purpose}"),
                mend: Some("apt install linux-image-amd64, or another kernel that has it".into()),
            });
        }
    }
    if checks.is_empty() {
        let found = format!("Linux {release} has all that the agent uses");
        checks.push(Check::ok("kernel modules", found));
    }
    checks
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

    fn lists(builtin: &str, loadable: &str) -> ModuleLists {
        ModuleLists {
            loaded: Some("nft_tproxy 16384 0 - Live 0x0000000000000000\n".into()),
            builtin: Some(builtin.into()),
            loadable: Some(loadable.into()),
        }
    }

    #[test]
    fn modules_are_found_loaded_built_in_and_loadable() {
        let lists = lists(
            "kernel/crypto/gcm.ko\nkernel/crypto/authenc.ko\nkernel/net/netfilter/nft-socket.ko\n",
            "kernel/net/ipv4/esp4.ko.xz: kernel/net/xfrm/xfrm_algo.ko.xz\n\
             kernel/net/ipv6/esp6.ko.xz:\nkernel/net/xfrm/xfrm_user.ko:\n\
             kernel/net/netfilter/nf_tables.ko:\n",
        );
        let checks = modules(&lists, "6.1.0");
        assert_eq!(checks.len(), 1, "{checks:?}");
        assert_eq!(checks[0].found, "Linux 6.1.0 has all that the agent uses");
        // Only named as what another one depends on: not there itself.
        assert_eq!(lists.has("xfrm_algo"), Some(false));
    }

    #[test]
    fn a_kernel_without_esp_fails_and_says_what_is_missing() {
        let checks = modules(&lists("", ""), "6.1.0");
        let esp = checks
            .iter()
            .find(|c| c.name == "kernel module esp4")
            .unwrap();
        assert_eq!(esp.state, State::Failed);
        assert_eq!(esp.found, "missing from Linux 6.1.0: no ESP over IPv4");
        assert!(
            !checks.iter().any(|c| c.name == "kernel module nft_tproxy"),
            "it is loaded"
        );
    }

    #[test]
    fn without_lists_nothing_is_claimed() {
        let none = ModuleLists {
            loaded: None,
            builtin: None,
            loadable: None,
        };
        assert_eq!(modules(&none, "6.1.0")[0].state, State::Unknown);
    }

    #[test]
    fn policies_of_all_directions_are_counted() {
        assert_eq!(policy_count("\t SPD IN  1 OUT 20 FWD 300\n"), Some(321));
        assert_eq!(policy_count("nonsense"), None);
    }
}
