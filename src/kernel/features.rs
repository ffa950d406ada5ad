//! What this kernel and these privileges allow, found by trying: for `doctor`.
//!
//! All is tried in a network namespace that lives for as long as one thread, so nothing is left
//! behind, even if the process is killed half way.

use super::desired::{
    Algorithms, Interception, Lifetime, Mark, Mode, Sa, SaDirection, Sysctl, TransparentPorts,
    UdpEncapsulation,
};
use super::netlink::error::KernelError;
use super::netlink::socket::Requests;
use super::netlink::{sa, spd};
use super::{first_packets, interception, ownership, statistics};
use crate::net::{Secret, Spi};
use netlink_sys::protocols::NETLINK_XFRM;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use std::net::IpAddr;
use std::time::Duration;

/// One thing that the agent needs or can make use of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was tried, for example `ESP with AES-GCM over IPv4`.
    pub what: &'static str,
    pub need: Need,
    /// Why it does not work.
    pub result: Result<(), String>,
    /// What mends it, where it does not work.
    pub remedy: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Without it no tunnel comes up.
    Essential,
    /// Without it part of the traffic, or some peers, are out of reach.
    Useful,
}

/// Tries everything. Takes a fraction of a second; blocks.
pub fn probe() -> Vec<Check> {
    let tried = std::thread::scope(|scope| scope.spawn(in_scratch_namespace).join());
    tried.unwrap_or_default()
}

/// Has the kernel load what a first tunnel needs, so that its packets need not wait for modules:
/// two seconds on a slow machine. Here and not in a scratch namespace, because the agent may not
/// make one: adds SAs that no packet can match, which end by themselves, and deletes them.
///
/// # Errors
/// The kernel cannot do ESP with AES-GCM over IPv4, or over IPv6.
pub fn warm_up() -> Result<(), KernelError> {
    for [src, dst] in [["127.0.0.1", "127.0.0.2"], ["::1", "100::1"]] {
        let mut scratch = sample(src, dst, aes_gcm());
        // Not of our reqids: the writer should not mind it.
        scratch.reqid = 0;
        scratch.lifetime.hard.time = Some(Duration::from_secs(10));
        let mut requests = Requests::open(NETLINK_XFRM)?;
        sa::add(requests.batch(), &scratch);
        let added = requests.flush()?;
        sa::delete(requests.batch(), &scratch.key(), scratch.src);
        requests.flush()?;
        // It may be there already, of a start a moment ago.
        let mut failures = added.into_iter().map(|(_, error)| error);
        if let Some(error) = failures.find(|error| error.errno != Errno::EEXIST) {
            return Err(error);
        }
    }
    Ok(())
}

/// Whether the kernel transforms packets at all: whether it takes an ESP SA.
pub fn has_esp() -> bool {
    let tried = std::thread::scope(|scope| {
        let esp = || {
            unshare(CloneFlags::CLONE_NEWNET).is_ok()
                && try_sa(&sample("192.0.2.1", "192.0.2.2", aes_gcm())).is_ok()
        };
        scope.spawn(esp).join()
    });
    tried.unwrap_or(false)
}

fn in_scratch_namespace() -> Vec<Check> {
    if let Err(errno) = unshare(CloneFlags::CLONE_NEWNET) {
        return vec![Check {
            what: "trying things out in a network namespace",
            need: Need::Useful,
            result: Err(errno.desc().to_owned()),
            remedy: "run `xfrm-agent doctor` as root",
        }];
    }
    let check = |what, need, result: Result<(), String>, remedy| Check {
        what,
        need,
        result,
        remedy,
    };
    let (v4, v6) = (["192.0.2.1", "192.0.2.2"], ["2001:db8::1", "2001:db8::2"]);
    let try_sa = |[src, dst]: [&str; 2], algorithms, remedy, what, need| {
        let result = try_sa(&sample(src, dst, algorithms)).map_err(|error| error.to_string());
        check(what, need, result, remedy)
    };
    let (essential, useful) = (Need::Essential, Need::Useful);
    let mut in_udp = sample(v4[0], v4[1], aes_gcm());
    in_udp.encapsulation = Some(UdpEncapsulation {
        src_port: 4500,
        dst_port: 4500,
    });
    vec![
        check(
            "XFRM policies",
            essential,
            try_policies().map_err(|error| error.to_string()),
            "modprobe xfrm_user, or use a kernel with CONFIG_XFRM_USER",
        ),
        try_sa(
            v4,
            aes_gcm(),
            "modprobe esp4 gcm",
            "ESP with AES-GCM over IPv4",
            essential,
        ),
        try_sa(
            v6,
            aes_gcm(),
            "modprobe esp6 gcm",
            "ESP with AES-GCM over IPv6",
            useful,
        ),
        try_sa(
            v4,
            aes_cbc(),
            "modprobe cbc hmac sha256_generic authenc",
            "ESP with AES-CBC and HMAC-SHA-256",
            useful,
        ),
        try_sa(v4, ah(), "modprobe ah4", "AH over IPv4", useful),
        try_sa(v6, ah(), "modprobe ah6", "AH over IPv6", useful),
        check(
            "IPComp with deflate over IPv4",
            useful,
            self::try_sa(&compression(v4)).map_err(|error| error.to_string()),
            "modprobe ipcomp deflate",
        ),
        check(
            "IPComp with deflate over IPv6",
            useful,
            self::try_sa(&compression(v6)).map_err(|error| error.to_string()),
            "modprobe ipcomp6 deflate",
        ),
        check(
            "ESP in UDP (NAT traversal)",
            useful,
            self::try_sa(&in_udp).map_err(|error| error.to_string()),
            "modprobe esp4",
        ),
        check(
            "interception by nftables with TPROXY",
            essential,
            interception::install(&sample_interception()).map_err(|error| error.to_string()),
            "install nftables, then modprobe nft_tproxy nft_socket",
        ),
        check(
            "letting a first packet go as soon as its tunnel is up",
            useful,
            first_packets::try_out().map_err(|error| error.to_string()),
            "modprobe nfnetlink_queue nft_queue nft_fib_inet; without them it goes at the kernel's next tick",
        ),
        check(
            "holding packets while a tunnel comes up",
            useful,
            std::fs::read("/proc/sys/net/core/xfrm_larval_drop")
                .map(drop)
                .map_err(|error| format!("{}: {error}", Sysctl::XfrmLarvalDrop)),
            "use a kernel with CONFIG_XFRM and CONFIG_SYSCTL",
        ),
        check(
            "counters of refused packets",
            useful,
            statistics::read()
                .map(drop)
                .map_err(|error| error.to_string()),
            "use a kernel with CONFIG_XFRM_STATISTICS",
        ),
    ]
}

fn try_policies() -> Result<(), KernelError> {
    let mut requests = Requests::open(NETLINK_XFRM)?;
    spd::thresholds(&mut requests).map(drop)
}

fn try_sa(wanted: &Sa) -> Result<(), KernelError> {
    let mut requests = Requests::open(NETLINK_XFRM)?;
    sa::add(requests.batch(), wanted);
    match requests.flush()?.pop() {
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}

fn sample(src: &str, dst: &str, algorithms: Algorithms) -> Sa {
    let addr = |text: &str| text.parse::<IpAddr>().expect("written above as an address");
    Sa {
        src: addr(src),
        dst: addr(dst),
        spi: Spi(Spi::FIRST),
        direction: SaDirection::In,
        mode: Mode::Tunnel,
        reqid: ownership::REQIDS.start,
        algorithms,
        replay_window: 64,
        esn: false,
        encapsulation: None,
        lifetime: Lifetime::default(),
        mark: Mark::default(),
        if_id: 0,
        selector: None,
    }
}

fn aes_gcm() -> Algorithms {
    Algorithms::Aead {
        name: "rfc4106(gcm(aes))",
        key: Secret::new(vec![1; 20]),
        icv_bits: 128,
    }
}

fn aes_cbc() -> Algorithms {
    Algorithms::EncryptThenAuth {
        cipher: "cbc(aes)",
        cipher_key: Secret::new(vec![1; 16]),
        auth: "hmac(sha256)",
        auth_key: Secret::new(vec![1; 32]),
        truncation_bits: 128,
    }
}

fn ah() -> Algorithms {
    Algorithms::Ah {
        auth: "hmac(sha256)",
        auth_key: Secret::new(vec![1; 32]),
        truncation_bits: 128,
    }
}

fn compression([src, dst]: [&str; 2]) -> Sa {
    Sa {
        mode: Mode::Transport,
        replay_window: 0,
        ..sample(src, dst, Algorithms::Deflate)
    }
}

fn sample_interception() -> Interception {
    let bit = |value| Mark { value, mask: value };
    Interception {
        protected: Vec::new(),
        divert_to: TransparentPorts { v4: 1, v6: Some(1) },
        divert_mark: bit(1),
        pass_mark: bit(2),
        pass_rate: 1,
        first_packets: None,
    }
}
