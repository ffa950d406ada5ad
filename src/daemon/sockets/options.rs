//! What no safe wrapper does to a socket. The only `unsafe` of this room.
#![expect(
    unsafe_code,
    reason = "socket options and an address that nix has no type for, and messages that nix sends one by one"
)]

use crate::net::Family;
use nix::errno::Errno;
use nix::sys::socket::SockaddrIn;
use std::io;
use std::mem::{offset_of, size_of_val, zeroed};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

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

/// A raw socket of IPv4, of a protocol that nix has no name for.
pub(super) fn raw(protocol: u8) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: integers only.
    let fd = unsafe { libc::socket(libc::AF_INET, kind, protocol.into()) };
    outcome(fd.min(0))?;
    // SAFETY: it was opened just now, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
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
    bind_packets(socket, &packets_of(index, 0))
}

/// For a packet socket: it receives what comes in by this link and is IPv4.
pub(super) fn bind_to_packets(socket: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    let index = i32::try_from(index).unwrap_or(-1);
    bind_packets(socket, &packets_of(index, IPV4_FRAMES))
}

/// In network order.
const IPV4_FRAMES: u16 = (libc::ETH_P_IP as u16).to_be();

fn packets_of(index: i32, protocol: u16) -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol,
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}

fn bind_packets(socket: BorrowedFd<'_>, address: &libc::sockaddr_ll) -> io::Result<()> {
    // SAFETY: `address` is valid for reads of its own size for the whole call, and the kernel copies
    // it before it returns.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            std::ptr::from_ref(address).cast(),
            size_of_val(address) as libc::socklen_t,
        )
    };
    outcome(result)
}

/// Of the Ethernet that a packet socket is bound to; `None` of another kind of link. (nix takes the kernel's answer for cut
/// off, which ends behind the last octet that counts.)
pub(super) fn hardware_address(socket: BorrowedFd<'_>) -> io::Result<Option<[u8; 6]>> {
    let mut address = packets_of(0, 0);
    let mut len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the kernel writes into `address` as many octets as `len` says at most, and both outlive the call; any octets
    // are a `sockaddr_ll`.
    let result =
        unsafe { libc::getsockname(socket.as_raw_fd(), (&raw mut address).cast(), &raw mut len) };
    outcome(result)?;
    let octets = &address.sll_addr[..usize::from(address.sll_halen).min(8)];
    Ok(octets.try_into().ok())
}

/// Only what passes is ever copied (classic BPF).
pub(super) fn filter(socket: BorrowedFd<'_>, program: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap_or(0),
        // The kernel only reads it.
        filter: program.as_ptr().cast_mut(),
    };
    set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// For a packet socket: frames to this group are received too.
pub(super) fn join(socket: BorrowedFd<'_>, index: u32, group: [u8; 6]) -> io::Result<()> {
    let mut address = [0; 8];
    address[..6].copy_from_slice(&group);
    let membership = libc::packet_mreq {
        mr_ifindex: i32::try_from(index).unwrap_or(-1),
        mr_type: libc::PACKET_MR_MULTICAST as u16,
        mr_alen: 6,
        mr_address: address,
    };
    let name = libc::PACKET_ADD_MEMBERSHIP;
    set(socket, libc::SOL_PACKET, name, &membership)
}

/// An IPv4 packet, in a frame to `mac`.
pub(super) fn send_packet(
    socket: BorrowedFd<'_>,
    index: u32,
    mac: [u8; 6],
    packet: &[u8],
) -> io::Result<()> {
    let mut to = packets_of(i32::try_from(index).unwrap_or(-1), IPV4_FRAMES);
    to.sll_halen = 6;
    to.sll_addr[..6].copy_from_slice(&mac);
    // SAFETY: `packet` and `to` are valid for reads of the sizes given for the whole call, and the
    // kernel copies both before it returns.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            packet.as_ptr().cast(),
            packet.len(),
            0,
            std::ptr::from_ref(&to).cast(),
            size_of_val(&to) as libc::socklen_t,
        )
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// How long the next packet is, to whom its frame was addressed (`PACKET_HOST` and so on) and from whom.
/// What does not fit into `buffer` is cut.
pub(super) fn receive_packet(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> io::Result<(usize, u8, [u8; 6])> {
    let mut from = packets_of(0, 0);
    let mut len = size_of_val(&from) as libc::socklen_t;
    // SAFETY: `buffer`, `from` and `len` are valid for writes of the sizes given for the whole call, and
    // nobody else has them.
    let received = unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            0,
            std::ptr::from_mut(&mut from).cast(),
            &raw mut len,
        )
    };
    // Negative where it failed.
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    let mut mac = [0; 6];
    mac.copy_from_slice(&from.sll_addr[..6]);
    Ok((received, from.sll_pkttype, mac))
}

/// `IP_PKTINFO`, as it lies in memory.
#[repr(C)]
struct PacketInfo {
    header: libc::cmsghdr,
    info: libc::in_pktinfo,
}

/// Each to its own address, all from the same one of ours. Returns how many have left; the error is that of
/// the next one.
pub(super) fn send_many(
    socket: BorrowedFd<'_>,
    from: Ipv4Addr,
    messages: &[(SocketAddrV4, &[u8])],
) -> (usize, io::Result<()>) {
    // SAFETY: structures of integers and pointers, for which zeros are a value.
    let (mut control, empty) = unsafe { (zeroed::<PacketInfo>(), zeroed::<libc::mmsghdr>()) };
    control.header.cmsg_len = (offset_of!(PacketInfo, info) + size_of::<libc::in_pktinfo>()) as _;
    control.header.cmsg_level = libc::IPPROTO_IP;
    control.header.cmsg_type = libc::IP_PKTINFO;
    control.info.ipi_spec_dst.s_addr = u32::from(from).to_be();
    let to = messages
        .iter()
        .map(|(to, _)| *SockaddrIn::from(*to).as_ref());
    let mut to: Vec<libc::sockaddr_in> = to.collect();
    let parts = messages.iter().map(|(_, octets)| libc::iovec {
        // The kernel only reads what it sends.
        iov_base: octets.as_ptr().cast_mut().cast(),
        iov_len: octets.len(),
    });
    let mut parts: Vec<_> = parts.collect();
    let ends = to.iter_mut().zip(&mut parts);
    let mut headers: Vec<_> = ends
        .map(|(to, part)| {
            let mut header = empty;
            header.msg_hdr.msg_name = std::ptr::from_mut(to).cast();
            header.msg_hdr.msg_namelen = size_of_val(to) as libc::socklen_t;
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = (&raw mut control).cast();
            header.msg_hdr.msg_controllen = size_of::<PacketInfo>() as _;
            header
        })
        .collect();
    let mut sent = 0;
    while sent < headers.len() {
        let left = &mut headers[sent..];
        // SAFETY: each header names an address, a part and the one control message, none of which is moved
        // or dropped before the end of this function; the kernel writes the lengths only.
        let done =
            unsafe { libc::sendmmsg(socket.as_raw_fd(), left.as_mut_ptr(), left.len() as u32, 0) };
        match Errno::result(done) {
            Ok(many) => sent += usize::try_from(many).expect("errors are negative"),
            Err(Errno::EINTR) => {}
            Err(error) => return (sent, Err(error.into())),
        }
    }
    (sent, Ok(()))
}

fn set<T>(socket: BorrowedFd<'_>, level: i32, name: i32, value: &T) -> io::Result<()> {
    // SAFETY: `value` is valid for reads of its own size for the whole call, and the kernel copies
    // it before it returns. The types passed here are plain octets, or
    // structures of the kernel's whose pointers are valid for as long.
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
