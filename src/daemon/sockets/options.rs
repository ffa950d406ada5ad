//! What no safe wrapper does to a socket. The only `unsafe` of this room.
#![expect(
    unsafe_code,
    reason = "socket options and an address that nix has no type for, and a registration for reading alone"
)]

use crate::net::Family;
use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// `struct xfrm_userpolicy_info` of linux/xfrm.h, reduced to the two fields that differ from zero
/// in a bypass. The rest is zero: selector "everything", no lifetime, action allow, no template.
#[repr(C, align(8))]
struct BypassPolicy([u8; 168]);

/// Offset of `sel.family` (u16) and of `dir` (u8).
const FAMILY: usize = 40;
const DIRECTION: usize = 160;

/// `XFRM_POLICY_IN` and `XFRM_POLICY_OUT`.
const DIRECTIONS: [u8; 2] = [0, 1];

/// As the policy holds them: two octets.
const AF_INET: u16 = libc::AF_INET as u16;
const AF_INET6: u16 = libc::AF_INET6 as u16;

const IP_XFRM_POLICY: i32 = 17;
const IPV6_XFRM_POLICY: i32 = 35;
const UDP_ENCAP: i32 = 100;
const UDP_ENCAP_ESPINUDP: i32 = 2;

/// Packets of this socket pass every XFRM policy in the clear, in both directions: a probe must
/// not raise the ACQUIRE that it answers, and IKE must get through a `block`.
pub(super) fn bypass_policies(socket: BorrowedFd<'_>, family: Family) -> io::Result<()> {
    let (address_family, level, name) = match family {
        Family::V4 => (AF_INET, libc::IPPROTO_IP, IP_XFRM_POLICY),
        Family::V6 => (AF_INET6, libc::IPPROTO_IPV6, IPV6_XFRM_POLICY),
    };
    for direction in DIRECTIONS {
        let mut policy = BypassPolicy([0; 168]);
        policy.0[FAMILY..FAMILY + 2].copy_from_slice(&address_family.to_ne_bytes());
        policy.0[DIRECTION] = direction;
        set(socket, level, name, &policy)?;
    }
    Ok(())
}

/// Lets the kernel take ESP out of UDP on this socket and leave the rest to us (RFC 3948).
pub(super) fn decapsulate_esp(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, libc::IPPROTO_UDP, UDP_ENCAP, &UDP_ENCAP_ESPINUDP)
}

/// Nothing leaves by another link, and nothing that came in by another one is received. By number,
/// since a link that has gone must be an error: its name could mean another one meanwhile.
pub(super) fn bind_to_link(socket: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, &index)
}

/// For a packet socket: what it sends leaves by this link, as the frame that it is. It receives
/// nothing.
pub(super) fn bind_to_frames(socket: BorrowedFd<'_>, index: i32) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: 0,
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: `address` is valid for reads of its own size for the whole call, and the kernel copies
    // it before it returns.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            std::ptr::from_ref(&address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    outcome(result)
}

/// Within a tokio runtime. Not to be told of room for writing, too, as tokio's own socket is: that
/// comes with every datagram that has left, while the peer may be answering already.
pub(in crate::daemon) fn awaiting_input(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the `AsyncFd` owns the descriptor and gives it away to nobody, so that its number
    // names the same open socket for as long as it is registered.
    Ok(unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?)
}

fn set<T>(socket: BorrowedFd<'_>, level: i32, name: i32, value: &T) -> io::Result<()> {
    // SAFETY: `value` is valid for reads of its own size for the whole call, and the kernel copies
    // it before it returns. The types passed here are plain octets without padding.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of_val(value) as libc::socklen_t,
        )
    };
    outcome(result)
}

fn outcome(result: i32) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
