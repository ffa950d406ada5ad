//! Kernel settings that let traffic past the agent, or stop it before it gets there.

use super::{Check, read};
use std::fs;

pub(super) fn checks() -> Vec<Check> {
    let value = |name: &str| read(&path(name));
    let interfaces = |leaf: &str| {
        let names = fs::read_dir("/proc/sys/net/ipv4/conf")
            .into_iter()
            .flatten()
            .flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let values = names.filter_map(|name| {
            let value =
                fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{name}/{leaf}")).ok()?;
            Some((name, value.trim().to_owned()))
        });
        let mut values: Vec<(String, String)> = values.collect();
        values.sort();
        values
    };
    vec![
        forwarding(
            "net.ipv4.ip_forward",
            value("net.ipv4.ip_forward").as_deref(),
        ),
        forwarding(
            "net.ipv6.conf.all.forwarding",
            value("net.ipv6.conf.all.forwarding").as_deref(),
        ),
        agents_own(
            "net.core.xfrm_larval_drop",
            value("net.core.xfrm_larval_drop").as_deref(),
        ),
        agents_own(
            "net.core.xfrm_acq_expires",
            value("net.core.xfrm_acq_expires").as_deref(),
        ),
        reverse_path(&interfaces("rp_filter")),
        ignored(&interfaces("disable_xfrm"), &interfaces("disable_policy")),
    ]
}

fn path(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}

/// A gateway forwards; an end host that protects only itself need not.
fn forwarding(name: &str, value: Option<&str>) -> Check {
    match value.map(str::trim) {
        None => Check::unknown(name, "not there: this IP version is not in the kernel"),
        Some("0") => Check::warning(
            name,
            "0: nothing is forwarded, so only this machine's own traffic is protected",
            format!("as a gateway: sysctl -w {name}=1, and into /etc/sysctl.d for good"),
        ),
        Some(value) => Check::ok(name, value),
    }
}

/// Set by the agent itself while it runs.
fn agents_own(name: &str, value: Option<&str>) -> Check {
    match value {
        Some(value) => Check::ok(
            name,
            format!("{} (the agent sets its own while it runs)", value.trim()),
        ),
        None => Check::failed(
            name,
            "not there: the kernel is without XFRM",
            "boot a kernel with CONFIG_XFRM",
        ),
    }
}

/// Strict where the larger of `all` and the interface's own is 1 (ip-sysctl).
fn reverse_path(interfaces: &[(String, String)]) -> Check {
    const NAME: &str = "net.ipv4.conf.*.rp_filter";
    let number = |value: &str| value.parse::<u32>().unwrap_or(0);
    let all = interfaces.iter().find(|(name, _)| name == "all");
    let all = all.map_or(0, |(_, value)| number(value));
    let strict: Vec<&str> = interfaces
        .iter()
        .filter(|(name, value)| !is_template(name) && number(value).max(all) == 1)
        .map(|(name, _)| name.as_str())
        .collect();
    if strict.is_empty() {
        return Check::ok(NAME, "not strict");
    }
    Check::warning(
        NAME,
        format!(
            "strict on {}: packets out of a tunnel are dropped where the way back is another",
            strict.join(", ")
        ),
        "where routes are asymmetric: sysctl -w net.ipv4.conf.all.rp_filter=2",
    )
}

fn ignored(no_xfrm: &[(String, String)], no_policy: &[(String, String)]) -> Check {
    const NAME: &str = "net.ipv4.conf.*.disable_xfrm, disable_policy";
    let off = |leaf: &'static str, values: &[(String, String)]| {
        let set = values
            .iter()
            .filter(|(name, value)| value != "0" && name != "lo" && name != "default");
        let set = set.map(|(name, _)| format!("net.ipv4.conf.{name}.{leaf}"));
        set.collect::<Vec<_>>()
    };
    let mut set = off("disable_xfrm", no_xfrm);
    set.extend(off("disable_policy", no_policy));
    if set.is_empty() {
        return Check::ok(NAME, "0");
    }
    let settings: Vec<String> = set.iter().map(|name| format!("{name}=0")).collect();
    Check::failed(
        NAME,
        format!("{} set: policies are not looked at there", set.join(", ")),
        format!("sysctl -w {}", settings.join(" ")),
    )
}

fn is_template(name: &str) -> bool {
    matches!(name, "all" | "default" | "lo")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::State;

    fn values(values: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        values.iter().map(owned).collect()
    }

    #[test]
    fn a_machine_that_does_not_forward_is_told_how() {
        let check = forwarding("net.ipv4.ip_forward", Some("0\n"));
        assert_eq!(check.state, State::Warning);
        assert_eq!(
            check.mend.as_deref(),
            Some("as a gateway: sysctl -w net.ipv4.ip_forward=1, and into /etc/sysctl.d for good")
        );
        assert_eq!(
            forwarding("net.ipv4.ip_forward", Some("1\n")).state,
            State::Ok
        );
        assert_eq!(path("net.ipv4.ip_forward"), "/proc/sys/net/ipv4/ip_forward");
    }

    #[test]
    fn the_larger_reverse_path_filter_counts() {
        let strict = reverse_path(&values(&[("all", "1"), ("eth0", "0"), ("eth1", "2")]));
        assert_eq!(strict.state, State::Warning);
        assert!(
            strict.found.starts_with("strict on eth0: "),
            "{}",
            strict.found
        );
        let loose = reverse_path(&values(&[("all", "2"), ("eth0", "1"), ("lo", "1")]));
        assert_eq!(loose.state, State::Ok);
    }

    #[test]
    fn interfaces_that_ignore_policies_fail() {
        let lo = values(&[("all", "0"), ("lo", "1")]);
        assert_eq!(
            ignored(&lo, &lo).state,
            State::Ok,
            "the kernel's own default"
        );
        let check = ignored(&values(&[("eth0", "1")]), &values(&[("eth1", "1")]));
        assert_eq!(check.state, State::Failed);
        assert_eq!(
            check.mend.as_deref(),
            Some("sysctl -w net.ipv4.conf.eth0.disable_xfrm=0 net.ipv4.conf.eth1.disable_policy=0")
        );
    }

    #[test]
    fn a_kernel_without_xfrm_fails() {
        assert_eq!(
            agents_own("net.core.xfrm_larval_drop", None).state,
            State::Failed
        );
    }
}
