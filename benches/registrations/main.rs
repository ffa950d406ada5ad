//! How many registrations a second our home agent takes, by the number of its bindings, and what they cost.
//!
//! `cargo bench --bench registrations -- room` for the protocol room alone, which needs no root. `-- daemon ipip` for
//! the daemon `$XFRM_AGENT` with its store and the kernel's routes, on a kernel with IP in IP; `-- daemon udp` with
//! tunnels in UDP on any other. As root, with iperf3. `scripts/bench-registrations` does all of it.

#[path = "../common/host.rs"]
mod host;
#[path = "../common/machine.rs"]
mod machine;
#[path = "../common/spread.rs"]
mod spread;

mod daemon;
mod network;
mod nodes;
mod room;

use machine::machine;
use network::Tunnels;
use std::net::Ipv4Addr;
use xfrm_agent::mobile_ip::security::{Algorithm, ReplayProtection, SecurityAssociation};
use xfrm_agent::net::Secret;

const AGENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// Of all mobile nodes.
const KEY: [u8; 16] = *b"0123456789abcdef";

fn main() {
    // cargo's own, `--bench`, comes last.
    let mut words = std::env::args().skip(1);
    let words = [words.next(), words.next()];
    let counts: Vec<u32> = std::env::var("BINDINGS")
        .unwrap_or_else(|_| "1000 10000 80000".to_owned())
        .split_whitespace()
        .map(|count| count.parse().expect("BINDINGS are numbers"))
        .collect();
    let rounds = number("ROUNDS", 3);
    println!("{}", machine());
    match words.each_ref().map(Option::as_deref) {
        [Some("daemon"), Some("ipip")] => daemon::measure(Tunnels::InKernel, &counts, rounds),
        [Some("daemon"), Some("udp")] => daemon::measure(Tunnels::InUdp, &counts, rounds),
        _ => room::measure(&counts, rounds),
    }
}

fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |n| n.parse().expect("a number"))
}

fn home(n: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a40_0001 + n)
}

fn security(algorithm: Algorithm) -> SecurityAssociation {
    SecurityAssociation {
        spi: 256,
        algorithm,
        key: Secret::from(&KEY[..]),
        replay: ReplayProtection::default(),
    }
}
