//! Raw sockets of tunnels that are not in UDP: minimal encapsulation, and IP in IP for fragments beside it.
//! They have one address of ours each; those of a link are past policies, as those of registrations are.

use super::registration::keep_to_link;
use super::{Error, options};
use crate::kernel::decapsulation::IN_USER_SPACE;
use crate::kernel::socket_filter::{equals, statement};
use crate::mobile_ip::Via;
use crate::mobile_ip::wire::TunnelKind;
use crate::net::Family;
use crate::tun::carrier::{SocketId, SocketKind};
use libc::{BPF_ABS, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};
use nix::sys::socket::{self, SockaddrIn};
use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// What else comes in IP in IP is the kernel's.
const MARKED: [sock_filter; 4] = [
    statement(BPF_LD | BPF_W | BPF_ABS, MARK),
    equals(IN_USER_SPACE, 0, 1),
    statement(BPF_RET | BPF_K, u32::MAX),
    statement(BPF_RET | BPF_K, 0),
];
/// Where a filter finds it.
const MARK: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_MARK).cast_unsigned();

/// For the data path, which is given its outer headers and gives them.
pub fn open_in_ip(mark: u32, id: SocketId) -> Result<OwnedFd, Error> {
    let failed = |what| {
        move |source: io::Error| Error::Open {
            port: 0,
            family: Family::V4,
            what,
            source,
        }
    };
    let protocol = match id.kind {
        SocketKind::Fragments => TunnelKind::IpIp,
        SocketKind::Minimal | SocketKind::Udp => TunnelKind::Minimal,
    };
    let fd = options::raw(protocol.protocol()).map_err(failed("open a raw socket"))?;
    if id.kind == SocketKind::Fragments {
        options::filter(fd.as_fd(), &MARKED).map_err(failed("filter by a mark"))?;
    }
    if let Via::Link(link) = id.via {
        keep_to_link(&fd, 0, mark, link)?;
    }
    let local = SockaddrIn::from(SocketAddrV4::new(id.local, 0));
    socket::bind(fd.as_raw_fd(), &local)
        .map_err(io::Error::from)
        .map_err(failed("bind a raw socket"))?;
    Ok(fd)
}
