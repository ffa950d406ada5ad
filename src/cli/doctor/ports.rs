//! Who holds the ports of IKE.

use super::{Check, read};
use std::collections::BTreeSet;
use std::fs;

const OWN_NAME: &str = "xfrm-agent";

/// Programs that hold the ports elsewhere, and the units that run them.
const DAEMONS: [(&str, &str); 6] = [
    ("charon", "strongswan-starter"),
    ("charon-systemd", "strongswan"),
    ("pluto", "ipsec"),
    ("iked", "iked"),
    ("racoon", "racoon"),
    ("isakmpd", "isakmpd"),
];

pub(super) fn checks() -> Vec<Check> {
    let tables: Vec<String> = ["/proc/net/udp", "/proc/net/udp6"]
        .iter()
        .filter_map(|path| read(path))
        .collect();
    let check = |port| {
        let inodes: BTreeSet<u64> = tables.iter().flat_map(|t| inodes(t, port)).collect();
        let holders = if inodes.is_empty() {
            Vec::new()
        } else {
            holders(&inodes)
        };
        judge(port, inodes.len(), &holders)
    };
    [500, 4500].map(check).into()
}

/// Sockets bound to `port`, from `/proc/net/udp` or `udp6`.
fn inodes(table: &str, port: u16) -> Vec<u64> {
    let bound = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, local) = fields.get(1)?.rsplit_once(':')?;
        let local = u16::from_str_radix(local, 16).ok()?;
        (local == port)
            .then(|| fields.get(9)?.parse().ok())
            .flatten()
    });
    bound.collect()
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Holder {
    pid: u32,
    name: String,
}

/// Processes that have one of the sockets open; only those that we may look into.
fn holders(inodes: &BTreeSet<u64>) -> Vec<Holder> {
    let mut holders = Vec::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let files = fs::read_dir(process.path().join("fd"))
            .into_iter()
            .flatten()
            .flatten();
        let holds = files
            .filter_map(|file| fs::read_link(file.path()).ok())
            .filter_map(|target| socket_inode(target.to_str()?))
            .any(|inode| inodes.contains(&inode));
        if holds {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            holders.push(Holder {
                pid,
                name: name.trim().to_owned(),
            });
        }
    }
    holders
}

/// Of a link target like `socket:[12345]`.
fn socket_inode(target: &str) -> Option<u64> {
    target
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

fn judge(port: u16, sockets: usize, holders: &[Holder]) -> Check {
    let name = format!("UDP port {port}");
    if sockets == 0 {
        return Check::ok(name, "free");
    }
    let Some(other) = holders.iter().find(|holder| holder.name != OWN_NAME) else {
        return if holders.is_empty() {
            Check::failed(
                name,
                "taken by a process that cannot be seen",
                format!("ask as root: sudo ss -lunp sport = {port}"),
            )
        } else {
            Check::ok(name, "held by xfrm-agent")
        };
    };
    let found = format!("taken by {} (pid {})", other.name, other.pid);
    let unit = DAEMONS.iter().find(|(daemon, _)| *daemon == other.name);
    let mend = match unit {
        Some((_, unit)) => format!("systemctl disable --now {unit}"),
        None => format!("stop it: kill {}", other.pid),
    };
    Check::failed(name, found, mend)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::State;

    const UDP: &str = "\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  395: 00000000:01F4 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 20111 2 0000000000000000 0
  396: 0100007F:1194 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 20112 2 0000000000000000 0
  397: 00000000:0044 00000000:01F4 07 00000000:00000000 00:00000000 00000000     0        0 20113 2 0000000000000000 0
";
    const UDP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  395: 00000000000000000000000000000000:01F4 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 20222 2 0000000000000000 0
";

    fn holder(name: &str) -> Holder {
        Holder {
            pid: 7,
            name: name.into(),
        }
    }

    #[test]
    fn only_local_ports_count() {
        assert_eq!(inodes(UDP, 500), [20111]);
        assert_eq!(inodes(UDP, 4500), [20112]);
        assert_eq!(inodes(UDP6, 500), [20222]);
        assert!(inodes("heading\nshort line\n", 500).is_empty());
        assert_eq!(socket_inode("socket:[20111]"), Some(20111));
        assert_eq!(socket_inode("pipe:[20111]"), None);
    }

    #[test]
    fn another_ike_daemon_is_named_with_the_unit_to_stop() {
        let check = judge(500, 2, &[holder("charon-systemd")]);
        assert_eq!(check.state, State::Failed);
        assert_eq!(check.found, "taken by charon-systemd (pid 7)");
        assert_eq!(
            check.mend.as_deref(),
            Some("systemctl disable --now strongswan")
        );
        let mend = judge(500, 1, &[holder("nc")]).mend;
        assert_eq!(mend.as_deref(), Some("stop it: kill 7"));
    }

    #[test]
    fn free_ports_and_our_own_are_fine_and_hidden_holders_are_not() {
        assert_eq!(judge(500, 0, &[]).found, "free");
        assert_eq!(judge(500, 1, &[holder("xfrm-agent")]).state, State::Ok);
        assert_eq!(judge(500, 1, &[]).state, State::Failed);
    }

    #[test]
    fn a_socket_of_this_process_is_found() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let table = read("/proc/net/udp").unwrap();
        let inodes: BTreeSet<u64> = inodes(&table, port).into_iter().collect();
        assert_eq!(inodes.len(), 1);
        let pids: Vec<u32> = holders(&inodes).iter().map(|holder| holder.pid).collect();
        assert!(pids.contains(&std::process::id()), "{pids:?}");
    }
}
