//! Files as administrators write them, and the exact line each mistake gets.

mod any_input;
mod documentation;
mod files;
mod foreign_agent;
mod home_agent;
mod mobility;
mod presence;
mod proxy_agent;
mod rules;
mod vpn;

use super::difference::Difference;
use super::secrets::BadSecret;
use super::*;
use crate::agent::settings::{FailureAction, OnStop, TunnelMode};
use crate::net::{Identity, Secret};
use proptest::prelude::*;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

const IDENTITY: &str = "[identity]\nid = \"gw104.example\"\n";
const PROXY: &str = "[[proxy]]\nname = \"w\"\nlocal = \"10.1.0.0/16\"\nremote = \"10.2.0.0/16\"\n";
const PEER: &str =
    "[[peer]]\nid = \"gw106.example\"\npsk-file = \"psk\"\nmay-protect = [\"10.2.0.0/16\"]\n";

fn secret(name: &Path) -> Result<Secret, BadSecret> {
    match name.to_str() {
        Some("short") => Ok(Secret::from(&b"short"[..])),
        Some("psk" | "gw106.psk" | "bob.psk" | "inner.key" | "outer.key") => {
            Ok(Secret::from(&b"a key of more than 16 octets"[..]))
        }
        _ => Err(BadSecret::Empty(name.display().to_string())),
    }
}

fn parse(text: &str) -> Result<Loaded, Vec<Problem>> {
    file::parse(text, &secret)
}

fn load_text(text: &str) -> Loaded {
    parse(text).unwrap_or_else(|problems| panic!("{}", listed(Path::new("x"), &problems)))
}

/// The problems of a file as they are printed.
fn problems(text: &str) -> String {
    match parse(text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(problems) => listed(Path::new("x"), &problems).to_string(),
    }
}

fn warnings(text: &str) -> String {
    listed(Path::new("x"), &load_text(text).warnings).to_string()
}

fn written(files: &[(&str, &str, u32)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text, mode) in files {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(*mode)).unwrap();
    }
    dir
}

fn whole() -> String {
    format!("{IDENTITY}{PROXY}{PEER}")
}

/// A file in order but for one more table; positions count from that table's own first line.
#[track_caller]
fn refused(table: &str, expected: &str) {
    let text = match table.split_once('\n').unwrap().0 {
        "[identity]" => format!("{table}\n{PROXY}{PEER}"),
        _ => format!("{table}\n{IDENTITY}{PROXY}{PEER}"),
    };
    assert_eq!(problems(&text), expected, "for\n{table}");
}

#[track_caller]
fn refused_proxy(lines: &str, expected: &str) {
    let base = "[[proxy]]\nname = \"p\"\n";
    let text = format!("{base}{lines}\n{IDENTITY}{PEER}");
    assert_eq!(problems(&text), expected, "for\n{lines}");
}

#[test]
fn the_smallest_file_and_its_defaults() {
    let loaded = load_text(&format!("{IDENTITY}{PROXY}{PEER}"));
    let settings = &loaded.agent;
    assert_eq!(settings.identity, Identity::Name("gw104.example".into()));
    assert_eq!(settings.on_stop, OnStop::Keep);
    let group = &settings.proxies[0];
    assert_eq!(group.on_failure, FailureAction::Block);
    assert_eq!(group.failure_lifetime, Duration::from_secs(30));
    assert_eq!(group.mode, TunnelMode::Tunnel);
    assert_eq!(
        group.proxies[0].to_string(),
        "10.1.0.0/16 <> 10.2.0.0/16 any"
    );
    assert_eq!(settings.peers[0].may_protect[0].to_string(), "10.2.0.0/16");
    assert_eq!(
        loaded.daemon.control_socket(),
        Path::new("/run/xfrm-agent/control.sock")
    );
    assert_eq!(loaded.warnings, []);
}

#[test]
fn every_key_reaches_its_setting() {
    let loaded = load_text(
        r#"
        [identity]
        id = "ann@example.org"
        [[proxy]]
        name = "all"
        local = ["10.1.0.0 255.255.0.0", "2001:db8:1::/48"]
        remote = ["10.0.1.0 255.255.254.255", "2001:db8:2::/48", "10.9.0.0/16"]
        protocol = "tcp"
        local-port = 80
        remote-port = "any"
        on-failure = "clear"
        failure-lifetime = "5m"
        mode = "transport"
        [[peer]]
        id = "192.0.2.106"
        psk-file = "psk"
        may-protect = ["self", "0.0.0.0/0", "2001:db8:2:: ffff:ffff:ffff::"]
        [agent]
        runtime-dir = "/run/x"
        state-dir = "/var/lib/x"
        control-group = "root"
        log-level = "debug"
        on-stop = "remove"
        max-prefixes = 16
        [ike]
        retransmit = "100ms"
        retransmit-max = "2s"
        give-up = 20
        liveness = 0
        child-lifetime = "2h"
        half-open = "10s"
        cookie-threshold = 7
        [discovery]
        retransmit = "200ms"
        timeout = "3s"
        rate = 10
        answer-rate = 20
        addresses = ["192.0.2.104", "2001:db8::104"]
        [interception]
        pass-mark = 0x1
        divert-mark = 0x2
        table = 100
        rule-priority = 101
        pass-rate = 102
        "#,
    );
    let s = &loaded.agent;
    let proxies: Vec<String> = s.proxies[0]
        .proxies
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        proxies,
        [
            "10.1.0.0/16 <> 10.0.0.0 255.255.254.255 tcp port 80 <> any",
            "10.1.0.0/16 <> 10.9.0.0/16 tcp port 80 <> any",
            "2001:db8:1::/48 <> 2001:db8:2::/48 tcp port 80 <> any",
        ]
    );
    assert_eq!(s.proxies[0].on_failure, FailureAction::Clear);
    assert_eq!(s.proxies[0].failure_lifetime, Duration::from_secs(300));
    assert_eq!(s.proxies[0].mode, TunnelMode::Transport);
    assert!(s.peers[0].may_protect_itself);
    assert_eq!(s.peers[0].may_protect[1].to_string(), "2001:db8:2::/48");
    assert_eq!((s.max_prefixes, s.on_stop), (16, OnStop::Remove));
    let d = &loaded.daemon;
    assert_eq!(d.runtime_dir, Path::new("/run/x"));
    assert_eq!(d.state_dir, Path::new("/var/lib/x"));
    assert_eq!(d.control_group.as_ref().map(|g| g.gid), Some(0));
    assert_eq!(d.log_level, tracing::Level::DEBUG);
    let ms = Duration::from_millis;
    assert_eq!(
        (s.ike.retransmit, s.ike.retransmit_max),
        (ms(100), ms(2000))
    );
    assert_eq!((s.ike.give_up, s.ike.liveness), (ms(20_000), ms(0)));
    assert_eq!(
        (s.ike.child_lifetime, s.ike.half_open),
        (ms(7_200_000), ms(10_000))
    );
    assert_eq!(s.ike.cookie_threshold, 7);
    assert_eq!(
        (s.discovery.retransmit, s.discovery.timeout),
        (ms(200), ms(3000))
    );
    assert_eq!((s.discovery.rate, s.discovery.answer_rate), (10, 20));
    assert_eq!(s.discovery.addresses.len(), 2);
    let i = &s.interception;
    assert_eq!(
        (i.pass_mark.value, i.divert_mark.value, i.divert_mark.mask),
        (1, 3, 3)
    );
    assert_eq!((i.table, i.rule_priority, i.pass_rate), (100, 101, 102));
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_nearest_known_one() {
    refused(
        "[[peer]]\nid = \"b\"\npsk_file = \"psk\"\npsk-file = \"psk\"\nmay-protect = \"self\"",
        "x:3:1: unknown key `psk_file` in [[peer]]: the nearest known key is `psk-file`",
    );
    refused(
        "[agent]\n  on_stop = \"keep\"",
        "x:2:3: unknown key `on_stop` in [agent]: the nearest known key is `on-stop`",
    );
    refused(
        "[ike]\npsk-file = \"psk\"",
        "x:2:1: unknown key `psk-file` in [ike]: it is a key of [[peer]]",
    );
    refused(
        "[peers]\nid = 1",
        "x:1:2: unknown table `peers`: the nearest known one is [[peer]]",
    );
    refused(
        "on-stop = \"keep\"\n",
        "x:1:1: `on-stop` stands outside of every table: it is a key of [agent]",
    );
}

#[test]
fn tables_and_lists_of_tables_are_told_apart() {
    assert_eq!(
        problems(&format!("{IDENTITY}[peer]\nid = \"b\"\n{PROXY}")),
        "x:3:2: `peer` is written [[peer]]"
    );
    refused(
        "[[agent]]\non-stop = \"keep\"",
        "x:1:3: `agent` is written [agent]",
    );
    refused("ike = 3\n", "x:1:1: `ike` is written [ike]");
}

#[test]
fn every_problem_of_a_file_is_reported_in_its_order() {
    assert_eq!(
        problems(
            "[[proxy]]\nname = \"w\"\nlocal = [\"10.1\", 7]\nremote = []\nmode = \"x\"\n\
             [agent]\nlog-level = \"loud\"\n"
        ),
        "x:3:10: local: `10.1` is neither a prefix like 10.1.0.0/16 nor an address with a mask like \
         `10.1.0.0 255.255.0.0`\n\
         x:3:18: local: a prefix like \"10.1.0.0/16\" is expected, not the number 7\n\
         x:4:10: remote: the list is empty: where does the traffic go?\n\
         x:5:8: mode: \"x\" is not \"tunnel\" or \"transport\"\n\
         x:7:13: log-level: \"loud\" is not \"error\", \"warn\", \"info\", \"debug\" or \"trace\"\n\
         x: [identity] is missing: its `id` says who this gateway is in IKE"
    );
}

#[test]
fn broken_toml_is_reported_where_it_breaks() {
    assert_eq!(
        problems("[identity\nid = 1\n"),
        "x:1:10: unclosed table, expected `]`"
    );
    assert_eq!(
        problems("[identity]\nid = \"a\"\nid = \"b\"\n"),
        "x:3:1: duplicate key"
    );
}

#[test]
fn missing_keys_are_reported_at_their_table() {
    refused("[identity]\n", "x:1:1: [identity] lacks the key `id`");
    refused(
        "[[peer]]\nid = \"b\"",
        "x:1:1: [[peer]] lacks the key `psk-file`\nx:1:1: [[peer]] lacks the key `may-protect`",
    );
    refused_proxy(
        "remote = \"10.2.0.0/16\"",
        "x:1:1: [[proxy]] lacks the key `local`",
    );
}

#[test]
fn identities_protocols_and_ports_say_what_is_allowed() {
    refused(
        "[identity]\nid = \"a b\"",
        "x:2:6: id: `a b` is not an identity: use a host name, an IP address, or the form user@host",
    );
    let halves = "local = \"10.1.0.0/16\"\nremote = \"10.2.0.0/16\"";
    for (line, expected) in [
        (
            "protocol = \"tpc\"",
            "x:5:12: protocol: `tpc` is not a protocol: use `any`, icmp, tcp, udp, another \
             well-known name, or 1–255",
        ),
        (
            "protocol = 256",
            "x:5:12: protocol: 256 is out of bounds: a protocol number is 1–255, or \"any\"",
        ),
        (
            "local-port = 0",
            "x:5:14: local-port: 0 is out of bounds: a port is 1–65535, or \"any\"",
        ),
        (
            "remote-port = 65536",
            "x:5:15: remote-port: 65536 is out of bounds: a port is 1–65535, or \"any\"",
        ),
        (
            "remote-port = \"http\"",
            "x:5:15: remote-port: `http` is not a port: a port is 1–65535, or \"any\"",
        ),
        (
            "remote-port = true",
            "x:5:15: remote-port: not true: a port is 1–65535, or \"any\"",
        ),
        (
            "protocol = \"icmp\"\nlocal-port = 8",
            "x:6:14: local-port: protocol icmp has no ports",
        ),
        (
            "on-failure = \"drop\"",
            "x:5:14: on-failure: \"drop\" is not \"block\" or \"clear\"",
        ),
        (
            "on-failure = false",
            "x:5:14: on-failure: \"block\" or \"clear\" is expected, not false",
        ),
    ] {
        refused_proxy(&format!("{halves}\n{line}"), expected);
    }
    refused(
        "[[proxy]]\nname = \"a b\"\nlocal = \"10.9.0.0/16\"\nremote = \"10.2.0.0/16\"",
        "x:2:8: name: a name is 1 to 64 octets without blanks: it stands in tables and logs",
    );
}

#[test]
fn durations_counts_and_marks_say_their_bounds() {
    let allowed = "seconds as a number, or a text like \"250ms\", \"30s\", \"5m\" or \"1h\"";
    for (line, expected) in [
        (
            "[ike]\ngive-up = \"soon\"",
            format!("x:2:11: give-up: `soon` is not a duration: {allowed}"),
        ),
        (
            "[ike]\ngive-up = -1",
            format!("x:2:11: give-up: -1 is out of bounds: {allowed}"),
        ),
        (
            "[ike]\ngive-up = 1.5",
            format!("x:2:11: give-up: not the number 1.5: {allowed}"),
        ),
        (
            "[ike]\ngive-up = \"2h\"",
            "x:2:11: give-up: 2h is out of bounds: from 1s to 10m".into(),
        ),
        (
            "[ike]\nliveness = \"10ms\"",
            "x:2:12: liveness: 10ms is out of bounds: from 1s to 1d, or 0 for never".into(),
        ),
        (
            "[ike]\nretransmit = \"40s\"\nretransmit-max = \"41s\"",
            "x:2:14: give-up: 30s is shorter than retransmit, which is 40s".into(),
        ),
        (
            "[discovery]\ntimeout = \"200ms\"",
            "x:2:11: timeout: 200ms is shorter than retransmit, which is 250ms".into(),
        ),
        (
            "[discovery]\nrate = 0",
            "x:2:8: rate: 0 is out of bounds: a whole number from 1 to 1000000".into(),
        ),
        (
            "[discovery]\naddresses = [\"192.0.2.1\", \"192.0.2.2\"]",
            "x:2:27: addresses: 192.0.2.2 after 192.0.2.1: at most one of each IP version".into(),
        ),
        (
            "[discovery]\naddresses = \"224.0.0.1\"",
            "x:2:13: addresses: 224.0.0.1 is not an address that others can answer to".into(),
        ),
        (
            "[interception]\npass-mark = 3",
            "x:2:13: pass-mark: 0x3 has several bits: a mark is one bit of 32, like 0x80000000"
                .into(),
        ),
        (
            "[interception]\npass-mark = 0x4000_0000",
            "x:2:13: pass-mark: pass-mark and divert-mark are both 0x40000000: use two bits".into(),
        ),
        (
            "[interception]\ntable = 254",
            "x:2:9: table: 254 is out of bounds: 1–4294967295 without 253–255, which are the \
             system's own"
                .into(),
        ),
        (
            "[interception]\nrule-priority = 32766",
            "x:2:17: rule-priority: 32766 is out of bounds: 1–32765, which is after `local` and \
             before `main`"
                .into(),
        ),
        (
            "[agent]\nruntime-dir = \"run\"",
            "x:2:15: runtime-dir: `run` is not an absolute path".into(),
        ),
        (
            "[agent]\ncontrol-group = \"no-such-group\"",
            "x:2:17: control-group: there is no group `no-such-group`: groupadd --system \
             no-such-group"
                .into(),
        ),
    ] {
        refused(line, &expected);
    }
    let long = format!("[agent]\nruntime-dir = \"/{}\"", "x".repeat(95));
    let expected = "x:2:15: runtime-dir: too long for the control socket in it: at most 94 octets";
    refused(&long, expected);
}

#[test]
fn halves_without_a_counterpart_of_their_ip_version_make_no_proxy() {
    refused_proxy(
        "local = \"10.1.0.0/16\"\nremote = \"2001:db8::/32\"",
        "x:4:10: local holds only IPv4 and remote only IPv6: there is no pair of one IP version",
    );
    let text = format!(
        "{IDENTITY}[[proxy]]\nname = \"w\"\nlocal = \"10.1.0.0/16\"\n\
         remote = [\"10.2.0.0/16\", \"2001:db8::/32\"]\n{PEER}"
    );
    assert_eq!(
        warnings(&text),
        "x:6:26: 2001:db8::/32 pairs with nothing: local holds no IPv6\n\
         x:6:26: no peer may protect any part of 2001:db8::/32: no tunnel to it can come up"
    );
}

#[test]
fn masks_that_stand_for_too_many_prefixes_are_refused() {
    refused_proxy(
        "local = \"10.0.0.1 255.0.0.255\"\nremote = \"10.2.0.0/16\"",
        "x:3:9: 10.0.0.1 255.0.0.255 stands for 65536 prefixes, more than the 256 that are allowed: \
         use fewer zero bits between the ones of its mask",
    );
    refused_proxy(
        "local = \"10.1.1.0 255.255.15.0\"\nremote = \"10.2.1.0 255.255.7.0\"",
        "x:3:9: local and remote together: 10.2.1.0 255.255.7.0 stands for 32 prefixes, more than \
         the 16 that are allowed: use fewer zero bits between the ones of its mask",
    );
}

fn proxy(name: &str, local: &str, remote: &str, on_failure: &str) -> String {
    format!(
        "[[proxy]]\nname = \"{name}\"\nlocal = \"{local}\"\nremote = \"{remote}\"\n\
         on-failure = \"{on_failure}\"\n"
    )
}

fn proxies(all: &[String]) -> String {
    format!("{}{IDENTITY}{PEER}", all.concat())
}

#[test]
fn the_same_selector_in_two_proxies_is_refused_and_both_are_named() {
    let text = proxies(&[
        proxy("a", "10.1.0.0/16", "10.2.0.0/16", "block"),
        proxy("b", "10.1.0.0 255.255.0.0", "10.2.0.0/16", "block"),
    ]);
    assert_eq!(
        problems(&text),
        "x:6:1: proxies `a` (line 1) and `b` both hold 10.1.0.0/16 > 10.2.0.0/16 any: a packet \
         belongs to one proxy"
    );
    // One prefix of a mask with a hole is another proxy's whole half.
    let text = proxies(&[
        proxy("a", "10.1.1.0/24", "10.2.0.0/16", "block"),
        proxy("b", "10.1.1.0 255.255.253.0", "10.2.0.0/16", "block"),
    ]);
    assert_eq!(
        problems(&text),
        "x:6:1: proxies `a` (line 1) and `b` both hold 10.1.1.0/24 > 10.2.0.0/16 any: a packet \
         belongs to one proxy"
    );
    refused_proxy(
        "local = [\"10.1.0.0/16\", \"10.1.2.3/16\"]\nremote = \"10.2.0.0/16\"",
        "x:1:1: proxy `p` holds 10.1.0.0/16 > 10.2.0.0/16 any twice",
    );
    let text = proxies(&[
        proxy("a", "10.1.0.0/16", "10.2.0.0/16", "block"),
        proxy("a", "10.3.0.0/16", "10.2.0.0/16", "block"),
    ]);
    assert_eq!(problems(&text), "x:6:1: proxy `a` stands in line 1 already");
}

#[test]
fn nested_proxies_are_meant_and_crossing_ones_must_agree_on_failure() {
    load_text(&proxies(&[
        proxy("wide", "10.1.0.0/16", "10.2.0.0/16", "block"),
        proxy("narrow", "10.1.1.0/24", "10.2.2.0/24", "clear"),
    ]));
    let crossing = [
        proxy("a", "10.1.0.0/16", "10.2.2.0/24", "block"),
        proxy("b", "10.1.1.0/24", "10.2.0.0/16", "clear"),
    ];
    assert_eq!(
        problems(&proxies(&crossing)),
        "x:6:1: proxies `a` (line 1) and `b` share 10.1.1.0/24 <> 10.2.2.0/24 any and neither \
         contains the other, but one says on-failure block and the other clear: give both the \
         same, or add a proxy for exactly that part"
    );
    let [a, b] = crossing;
    load_text(&proxies(&[
        a.clone(),
        b,
        proxy("both", "10.1.1.0/24", "10.2.2.0/24", "block"),
    ]));
    load_text(&proxies(&[
        a,
        proxy("b", "10.1.1.0/24", "10.2.0.0/16", "block"),
    ]));
}

#[test]
fn peers_are_unique_are_not_ourselves_and_may_protect_something() {
    let peer = |id: &str, may: &str| {
        format!("[[peer]]\nid = \"{id}\"\npsk-file = \"psk\"\nmay-protect = {may}")
    };
    refused(
        &peer("b", "[]"),
        "x:4:15: may-protect: the list is empty: a peer that may protect nothing gets no tunnel; \
         name its prefixes, or \"self\"",
    );
    refused(
        &peer("b", "\"10.0.1.0 255.0.255.0\""),
        "x:4:15: may-protect: `10.0.1.0 255.0.255.0` has ones and zeros mixed in its mask: use \
         prefixes, or \"self\" for the address that the peer itself has",
    );
    refused(
        &peer("b", "\"itself\""),
        "x:4:15: may-protect: `itself` is neither a prefix like 10.1.0.0/16 nor an address with a \
         mask like `10.1.0.0 255.255.0.0`, or \"self\" for the address that the peer itself has",
    );
    refused(
        &peer("gw104.example", "\"self\""),
        "x:1:1: peer gw104.example has this gateway's own identity",
    );
    assert_eq!(
        problems(&format!(
            "{IDENTITY}{PROXY}{PEER}{}",
            peer("GW106.example", "\"self\"")
        )),
        "x:11:1: peer gw106.example stands in line 7 already"
    );
}

#[test]
fn what_is_allowed_but_hardly_meant_is_warned_of() {
    assert_eq!(
        warnings(IDENTITY),
        "x:1:1: there is no [[proxy]]: nothing is protected\n\
         x:1:1: there is no [[peer]]: nobody is believed, and no tunnel can come up"
    );
    assert_eq!(
        warnings(&format!(
            "{IDENTITY}{PROXY}{}",
            PEER.replace("\"psk\"", "\"short\"")
        )),
        "x:9:12: psk-file: the key has 5 octets: with fewer than 16 it can be guessed"
    );
    assert_eq!(
        warnings(&format!(
            "{IDENTITY}{PROXY}{}",
            PEER.replace("10.2.", "10.3.")
        )),
        "x:6:10: no peer may protect any part of 10.2.0.0/16: no tunnel to it can come up"
    );
    let inside = PROXY.replace("10.1.0.0/16", "10.0.0.0/8");
    assert_eq!(
        warnings(&format!("{IDENTITY}{inside}{PEER}")),
        "x:6:10: 10.2.0.0/16 lies inside local 10.0.0.0/8: traffic between local addresses is \
         never protected"
    );
}
