//! The agent's nftables table: text for `nft`, and what `nft` says of it.
//!
//! ```text
//! prerouting (mangle) ── probe (udp dport 500, exchange 240), not through IPsec ──→ divert
//!            │                  divert: to a protected address → tproxy, divert mark
//!            └─ discovery and clear IKE headers of others, and what divert left ──→ pass
//!                               pass: within the rate → pass mark, otherwise counted
//!            └─ everything else ──→ first: from a protected address, not through IPsec ──→ ours
//!                               ours: between two that are not known yet → queue
//! ```
//!
//! The pass mark is the one hole in traps and enforcement: whoever makes a packet look like the
//! head of an ISAKMP message gets it through, at `pass_rate` packets a second altogether.

use super::desired::{FirstPackets, Interception, Mark};
use super::netlink::error::KernelError;
use super::netlink::nftables;
use super::nft::{self, Counters};
use super::ownership::NFT_TABLE;
use crate::net::{Family, IpNet};
use std::fmt::Write as _;

/// In offsets from the UDP header, in bits: octet 17 of the ISAKMP header is its version, octet 18
/// its exchange type. Behind the non-ESP marker (RFC 3948 §2.2) all lies four octets further.
const VERSION: &str = "@th,200,8";
const VERSION_AND_EXCHANGE: &str = "@th,200,16";
const MARKER: &str = "@th,64,32";
const VERSION_AFTER_MARKER: &str = "@th,232,8";
/// Version 1.0 with exchange 240 (probe) and 241 (response).
const PROBE: &str = "0x10f0";
const DISCOVERY: &str = "{ 0x10f0, 0x10f1 }";
/// ISAKMP 1.0 (IKEv1, discovery) and IKEv2.
const VERSIONS: &str = "{ 0x10, 0x20 }";

/// First packets a second that wait in a queue; more are left to the policies.
const FIRST_RATE: u32 = 500;
/// For so long the next packet between two hosts is not their first; and so many pairs are known at once.
const KNOWN: &str = "timeout 10m; size 65536";

/// Up to so many prefixes are compared one by one, which is less than to look for one in a set.
const FEW: usize = 4;

/// The whole table in one transaction: made where it is missing, so that it can be deleted, so that
/// it is new.
pub fn script(wanted: &Interception) -> String {
    let mut text = String::new();
    write_script(&mut text, wanted).expect("writing to a String does not fail");
    text
}

fn write_script(out: &mut String, wanted: &Interception) -> std::fmt::Result {
    let divert_mark = set_mark(wanted.divert_mark);
    let pass_mark = set_mark(wanted.pass_mark);
    let rate = wanted.pass_rate.max(1);
    writeln!(out, "table inet {NFT_TABLE}")?;
    writeln!(out, "delete table inet {NFT_TABLE}")?;
    writeln!(out, "table inet {NFT_TABLE} {{")?;
    for name in ["diverted", "passed-discovery", "passed-ike", "over-rate"] {
        writeln!(out, "  counter {name} {{}}")?;
    }
    writeln!(
        out,
        "  limit pass {{ rate {rate}/second burst {rate} packets; }}"
    )?;
    for family in FAMILIES {
        write_nets(out, set_name(family), family, &wanted.protected)?;
    }
    let others = match &wanted.first_packets {
        Some(first) => {
            write_first(out, first, &wanted.protected, wanted.pass_mark)?;
            "goto first"
        }
        None => "accept",
    };
    writeln!(out, "  chain divert {{")?;
    let ports = [
        (Family::V4, Some(wanted.divert_to.v4)),
        (Family::V6, wanted.divert_to.v6),
    ];
    for (family, port) in ports {
        let (Some(port), ip) = (port, ip_word(family)) else {
            continue;
        };
        // Where no socket listens, tproxy ends the rule and the probe goes on to the next gateway.
        writeln!(
            out,
            "    {ip} daddr @{} meta l4proto udp tproxy {ip} to :{port} {divert_mark} counter name diverted accept",
            set_name(family)
        )?;
    }
    writeln!(out, "  }}")?;
    writeln!(
        out,
        "  chain pass {{
    limit name pass {pass_mark} goto count
    counter name over-rate
  }}
  chain count {{
    udp dport 500 {VERSION_AND_EXCHANGE} {DISCOVERY} counter name passed-discovery return
    udp sport 500 {VERSION_AND_EXCHANGE} {DISCOVERY} counter name passed-discovery return
    counter name passed-ike
  }}
  chain prerouting {{
    type filter hook prerouting priority mangle; policy accept;
    meta l4proto != udp {others}
    udp dport 500 {VERSION_AND_EXCHANGE} {PROBE} meta ipsec missing iifname != \"lo\" jump divert
    udp dport 500 {VERSION} {VERSIONS} goto pass
    udp sport 500 {VERSION} {VERSIONS} goto pass
    udp dport 4500 {MARKER} 0 {VERSION_AFTER_MARKER} {VERSIONS} goto pass
    udp sport 4500 {MARKER} 0 {VERSION_AFTER_MARKER} {VERSIONS} goto pass
    {others}
  }}
}}"
    )
}

/// A set of prefixes: those of this IP version.
fn write_nets(out: &mut String, name: &str, family: Family, nets: &[IpNet]) -> std::fmt::Result {
    let kind = kind(family);
    writeln!(
        out,
        "  set {name} {{ type {kind}; flags interval; auto-merge;"
    )?;
    let nets = nets.iter().filter(|net| Family::of(net.addr()) == family);
    let elements: Vec<_> = nets.map(IpNet::to_string).collect();
    if !elements.is_empty() {
        writeln!(out, "    elements = {{ {} }}", elements.join(", "))?;
    }
    writeln!(out, "  }}")
}

/// What comes out of IPsec has its tunnel. What the policies do not look at, because it is for this machine or not from
/// where its source is, is no matter of ours, and neither is what has the mark that traps exclude. What most packets meet
/// comes first.
fn write_first(
    out: &mut String,
    wanted: &FirstPackets,
    protected: &[IpNet],
    pass_mark: Mark,
) -> std::fmt::Result {
    writeln!(out, "  counter queued {{}}")?;
    writeln!(
        out,
        "  limit first {{ rate {FIRST_RATE}/second burst {FIRST_RATE} packets; }}"
    )?;
    for family in FAMILIES {
        let (kind, known) = (kind(family), known_set(family));
        write_nets(out, towards_name(family), family, &wanted.towards)?;
        writeln!(
            out,
            "  set {known} {{ type {kind} . {kind}; flags dynamic, timeout; {KNOWN}; }}"
        )?;
    }
    writeln!(out, "  chain ours {{")?;
    for family in FAMILIES {
        let (ip, known) = (ip_word(family), known_set(family));
        writeln!(out, "    {ip} saddr . {ip} daddr @{known} accept")?;
    }
    let Mark { value, mask } = pass_mark;
    writeln!(out, "    meta mark & {mask:#x} == {value:#x} accept")?;
    for family in FAMILIES {
        let (ip, known, towards) = (ip_word(family), known_set(family), towards_name(family));
        let queue = wanted.queue;
        writeln!(
            out,
            "    {ip} daddr @{towards} fib daddr type unicast fib saddr . iif oif exists limit name first \
             add @{known} {{ {ip} saddr . {ip} daddr }} counter name queued queue flags bypass to {queue}"
        )?;
    }
    writeln!(out, "  }}\n  chain first {{\n    meta ipsec exists accept")?;
    for family in FAMILIES {
        let (ip, set) = (ip_word(family), set_name(family));
        let nets = protected.iter().filter(|n| Family::of(n.addr()) == family);
        if nets.clone().count() > FEW {
            writeln!(out, "    {ip} saddr @{set} goto ours")?;
        } else {
            for net in nets {
                writeln!(out, "    {ip} saddr {net} goto ours")?;
            }
        }
    }
    writeln!(out, "  }}")
}

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

fn kind(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4_addr",
        Family::V6 => "ipv6_addr",
    }
}

/// Of those who have sent to one another.
pub fn known_set(family: Family) -> &'static str {
    let [v4, v6] = nftables::KNOWN;
    match family {
        Family::V4 => v4,
        Family::V6 => v6,
    }
}

fn towards_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "towards4",
        Family::V6 => "towards6",
    }
}

fn set_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "protected4",
        Family::V6 => "protected6",
    }
}

fn ip_word(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// Other bits of the packet's mark stay.
fn set_mark(Mark { value, mask }: Mark) -> String {
    format!("meta mark set meta mark & {:#x} | {value:#x}", !mask)
}

/// Whether this kernel's nftables can put first packets into a queue. Nothing is changed.
pub fn takes_first_packets() -> Result<(), KernelError> {
    let mark = Mark { value: 1, mask: 1 };
    let queue = FirstPackets {
        queue: 0,
        towards: Vec::new(),
    };
    let mut text = format!("table inet {NFT_TABLE}-trial {{\n");
    write_first(&mut text, &queue, &[], mark).expect("writing to a String does not fail");
    nft::run(&["-c", "-f", "-"], &format!("{text}}}\n")).map(drop)
}

/// Puts the table in place of whatever has its name.
pub fn install(wanted: &Interception) -> Result<(), KernelError> {
    nft::run(&["-f", "-"], &script(wanted)).map(drop)
}

/// Already gone is success.
pub fn remove() -> Result<(), KernelError> {
    nft::run(&["-f", "-"], &nft::removal("inet", NFT_TABLE)).map(drop)
}

/// The table as it is, without handles and counts, and without what packets have put into its sets: up to 65,536 pairs,
/// 5 MB as `nft` writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    table: String,
    /// Of the sets that are written, as the kernel has them.
    prefixes: Vec<Vec<u8>>,
}

/// `None` where there is none.
pub fn listing() -> Result<Option<Listing>, KernelError> {
    // `nft` does not tell a table that is absent from any other failure.
    if !nftables::has_inet_table(NFT_TABLE)? {
        return Ok(None);
    }
    let table = nft::run(&["-j", "-t", "list", "table", "inet", NFT_TABLE], "")?;
    let sets = FAMILIES.map(|family| [set_name(family), towards_name(family)]);
    let prefixes = sets.as_flattened().iter().map(|set| nftables::octets(set));
    Ok(Some(Listing {
        table: nft::settled(&table)?,
        prefixes: prefixes.collect::<Result<_, _>>()?,
    }))
}

/// For status and `doctor`; empty where there is no table.
pub fn counters() -> Result<Counters, KernelError> {
    if !nftables::has_inet_table(NFT_TABLE)? {
        return Ok(Counters::default());
    }
    let counters = ["-j", "list", "counters", "table", "inet", NFT_TABLE];
    nft::counted(&nft::run(&counters, "")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::desired::TransparentPorts;

    fn wanted() -> Interception {
        Interception {
            protected: vec![
                "10.1.0.0/16".parse().unwrap(),
                "2001:db8:1::/48".parse().unwrap(),
            ],
            divert_to: TransparentPorts {
                v4: 4101,
                v6: Some(4102),
            },
            divert_mark: Mark {
                value: 0xc000_0000,
                mask: 0xc000_0000,
            },
            pass_mark: Mark {
                value: 0x8000_0000,
                mask: 0x8000_0000,
            },
            pass_rate: 500,
            first_packets: Some(FirstPackets {
                queue: 7,
                towards: vec!["10.0.0.0/8".parse().unwrap()],
            }),
        }
    }

    #[test]
    fn where_nobody_reads_a_queue_none_is_filled() {
        let mut wanted = wanted();
        assert!(script(&wanted).contains("queue flags bypass to 7"));
        wanted.first_packets = None;
        let script = script(&wanted);
        assert!(!script.contains("queue") && !script.contains("goto first"));
    }

    #[test]
    fn few_prefixes_are_compared_and_many_looked_for() {
        let mut wanted = wanted();
        let few = script(&wanted);
        assert!(few.contains("ip saddr 10.1.0.0/16 goto ours"));
        assert!(few.contains("ip6 saddr 2001:db8:1::/48 goto ours"));
        let more = (2..8).map(|n| format!("10.{n}.0.0/16").parse::<IpNet>().unwrap());
        wanted.protected.extend(more);
        let many = script(&wanted);
        assert!(many.contains("ip saddr @protected4 goto ours"));
        assert!(many.contains("ip6 saddr 2001:db8:1::/48 goto ours"));
    }

    #[test]
    fn only_the_agents_own_mark_bits_are_set() {
        let script = script(&wanted());
        assert!(script.contains("meta mark set meta mark & 0x3fffffff | 0xc0000000"));
        assert!(script.contains("meta mark set meta mark & 0x7fffffff | 0x80000000"));
    }

    #[test]
    fn without_a_socket_of_that_ip_version_nothing_is_diverted_to_it() {
        let mut wanted = wanted();
        wanted.divert_to.v6 = None;
        let script = script(&wanted);
        assert!(script.contains("tproxy ip to :4101") && !script.contains("tproxy ip6"));
    }
}
