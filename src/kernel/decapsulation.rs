//! The nftables table that judges what is decapsulated (RFC 3024 §4.3.2).
//!
//! ```text
//!  input ── IP in IP ─┬─ first what comes in the greatest number, then
//!        │            ├─ outer addresses in `peers` ───────────────────→ accept
//!        │            ├─ those and the inner source in `bindings` ──────→ accept
//!        │            ├─ those and the inner destination in `visitors` ─→ accept
//!        │            ├─ outer addresses in `user-space` ───────────────→ marked, accept
//!        │            └─ otherwise, to one of `ends` ───────────────────→ counted and dropped
//!        ── GRE, to one of `gre-ends`: the same, where it is IPv4 and nothing else (RFC 2784)
//!        ── IPv6 in IPv4, to one of `ipv6-ends`: out of a tunnel, and the outer and inner source in `ipv6-prefixes`
//! ```
//!
//! What is marked is heard by a raw socket of user space. What the device makes of it is dropped before the kernel
//! puts fragments together, half of which would be that.
//!
//! `nft` writes the table once; its elements are written without it, see [`super::netlink::nftables`].

use super::desired::{Judging, Mostly, Takers};
use super::netlink::error::KernelError;
use super::netlink::nftables;
use super::nft;
use super::ownership::DECAPSULATION_TABLE;

/// The mark of IP in IP that user space takes.
pub const IN_USER_SPACE: u32 = 0x7861_2d34;

// Of packets of IP in IP.
const PEERS: &str = "ip saddr . ip daddr @peers";
const BINDINGS: &str = "ip saddr . ip daddr . @th,96,32 @bindings";
const VISITORS: &str = "ip saddr . ip daddr . @th,128,32 @visitors";

/// In one transaction; elements that are there stay.
fn script(judging: Judging) -> String {
    // The inner header is where a transport header would be, its source 12 octets into it and its
    // destination 16; with GRE 4 octets later. That of IPv6 has its source 8 octets into it. What comes in the
    // greatest number takes the fewest lookups: whether an address is an end at all is asked last.
    let first = match judging.mostly {
        Mostly::Peers => PEERS,
        Mostly::Bindings => BINDINGS,
        Mostly::Visitors => VISITORS,
    };
    let inner = match judging.takers {
        Takers::Kernel => format!("delete chain ip {DECAPSULATION_TABLE} inner"),
        Takers::UserSpaceToo => format!(
            "table ip {DECAPSULATION_TABLE} {{
  chain inner {{
    iifname \"xa-i*\" meta mark {IN_USER_SPACE} drop
  }}
}}"
        ),
    };
    format!(
        "table ip {DECAPSULATION_TABLE} {{
  set ends {{ type ipv4_addr; }}
  set gre-ends {{ type ipv4_addr; }}
  set peers {{ type ipv4_addr . ipv4_addr; }}
  set bindings {{ typeof ip saddr . ip daddr . @th,96,32; }}
  set visitors {{ typeof ip saddr . ip daddr . @th,128,32; }}
  set user-space {{ type ipv4_addr . ipv4_addr; }}
  set ipv6-ends {{ type ipv4_addr; }}
  set ipv6-prefixes {{ typeof ip saddr . @th,64,128; flags interval; }}
  counter refused {{}}
  chain input {{ type filter hook input priority filter; policy accept; }}
  chain inner {{ type filter hook prerouting priority -450; policy accept; }}
  chain ipip {{ }}
  chain gre {{ }}
  chain ipv6 {{ }}
}}
flush chain ip {DECAPSULATION_TABLE} input
flush chain ip {DECAPSULATION_TABLE} inner
flush chain ip {DECAPSULATION_TABLE} ipip
flush chain ip {DECAPSULATION_TABLE} gre
flush chain ip {DECAPSULATION_TABLE} ipv6
table ip {DECAPSULATION_TABLE} {{
  chain ipip {{
    {PEERS} accept
    {BINDINGS} accept
    {VISITORS} accept
    ip saddr . ip daddr @user-space meta mark set {IN_USER_SPACE} accept
    ip daddr @ends counter name refused drop
  }}
  chain gre {{
    @th,0,32 != 0x00000800 counter name refused drop
    ip saddr . ip daddr @peers accept
    ip saddr . ip daddr . @th,128,32 @bindings accept
    ip saddr . ip daddr . @th,160,32 @visitors accept
    counter name refused drop
  }}
  chain ipv6 {{
    iifname \"xa-*\" ip saddr . @th,64,128 @ipv6-prefixes accept
    counter name refused drop
  }}
  chain input {{
    ip protocol 4 {first} accept
    ip protocol 4 goto ipip
    ip protocol 47 ip daddr @gre-ends goto gre
    ip protocol 41 ip daddr @ipv6-ends goto ipv6
  }}
}}
{inner}
"
    )
}

pub fn install(judging: Judging) -> Result<(), KernelError> {
    nft::run(&["-f", "-"], &script(judging)).map(drop)
}

/// Already gone is success.
pub fn remove() -> Result<(), KernelError> {
    nft::run(&["-f", "-"], &nft::removal("ip", DECAPSULATION_TABLE)).map(drop)
}

/// The table as it is, without elements, handles and counts; `None` where there is none.
pub fn listing() -> Result<Option<String>, KernelError> {
    if !nftables::has_ip_table(DECAPSULATION_TABLE)? {
        return Ok(None);
    }
    let table = nft::run(
        &["-j", "-t", "list", "table", "ip", DECAPSULATION_TABLE],
        "",
    )?;
    nft::settled(&table).map(Some)
}

/// How many packets were refused; 0 where there is no table.
pub fn refused() -> Result<u64, KernelError> {
    if !nftables::has_ip_table(DECAPSULATION_TABLE)? {
        return Ok(0);
    }
    let counters = nft::run(
        &["-j", "list", "counters", "table", "ip", DECAPSULATION_TABLE],
        "",
    )?;
    let counted = nft::counted(&counters)?;
    Ok(counted.get("refused").copied().unwrap_or_default())
}
