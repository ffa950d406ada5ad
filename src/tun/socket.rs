//! Sockets that send and receive many datagrams with one call.
#![expect(
    unsafe_code,
    reason = "nix sends no segments with control messages of their own each"
)]

use super::control::{Came, Control};
use super::outbox::Outbox;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, connect, getsockname, setsockopt, sockopt,
};
use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// RFC 2003 §3.1: what delivers to the other end.
const HOP_LIMIT: u8 = 64;
/// Octets, as the kernel counts them.
const BUFFER: usize = 4 << 20;
/// Messages that one call receives. With segments each may fill its share of the buffer.
pub const MOST_RECEIVED: usize = 4;
pub const SHARE: usize = 1 << 16;

/// What goes through a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketKind {
    Udp,
    /// Raw: what comes in minimal encapsulation, and, with its outer header, all that is sent beside UDP.
    Minimal,
    /// Raw: what comes in IP in IP beside minimal encapsulation, which is fragments.
    Fragments,
}

#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    bound: SocketAddrV4,
}

/// One message, which may hold several datagrams.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    pub remote: SocketAddrV4,
    pub came: Came,
    pub len: usize,
}

impl Socket {
    /// Takes a bound IPv4 socket for itself alone as far as reading goes; others may send.
    pub fn adopt(kind: SocketKind, fd: OwnedFd) -> io::Result<Self> {
        setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?;
        if kind == SocketKind::Udp {
            setsockopt(&fd, sockopt::UdpGroSegment, &true)?;
        } else {
            set(fd.as_fd(), libc::IPPROTO_IP, libc::IP_HDRINCL, 1)?;
        }
        set(fd.as_fd(), libc::IPPROTO_IP, libc::IP_RECVTOS, 1)?;
        // Fragments of the outer packet do not get through a NAT (RFC 3519 §4.8).
        let always = libc::IP_PMTUDISC_DO;
        set(fd.as_fd(), libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, always)?;
        setsockopt(&fd, sockopt::RcvBufForce, &BUFFER)
            .or_else(|_| setsockopt(&fd, sockopt::RcvBuf, &BUFFER))?;
        setsockopt(&fd, sockopt::SndBufForce, &BUFFER)
            .or_else(|_| setsockopt(&fd, sockopt::SndBuf, &BUFFER))?;
        let name: SockaddrIn = getsockname(fd.as_raw_fd())?;
        let bound = SocketAddrV4::from(name);
        Ok(Self { fd, bound })
    }

    pub fn bound(&self) -> SocketAddrV4 {
        self.bound
    }

    /// The messages of these numbers, in their order. Returns how many have left; the error is that
    /// of the next one.
    pub fn send(
        &self,
        outbox: &Outbox,
        slab: &[u8],
        messages: &[usize],
    ) -> (usize, io::Result<()>) {
        let all = || messages.iter().map(|at| &outbox.messages[*at]);
        let mut addresses: Vec<_> = all().map(|message| sockaddr(message.remote())).collect();
        let mut controls = vec![Control::default(); messages.len()];
        let vector = |octets: &[u8]| libc::iovec {
            // The kernel only reads what it sends.
            iov_base: octets.as_ptr().cast_mut().cast(),
            iov_len: octets.len(),
        };
        let parts = all().flat_map(|message| &outbox.parts[message.parts.clone()]);
        let mut vectors: Vec<_> = parts
            .map(|part| vector(outbox.octets(part, slab)))
            .collect();
        let mut headers = Vec::with_capacity(messages.len());
        let mut vectors_left = &mut vectors[..];
        for ((message, address), control) in all().zip(&mut addresses).zip(&mut controls) {
            control.from(message.outer.local());
            control.tos(message.tos);
            control.ttl(HOP_LIMIT);
            if message.count > 1 {
                control.segments(message.size as u16);
            }
            let (own, rest) = std::mem::take(&mut vectors_left).split_at_mut(message.parts.len());
            vectors_left = rest;
            headers.push(header(address, own, control.written()));
        }
        let mut sent = 0;
        while sent < headers.len() {
            let left = &mut headers[sent..];
            let fd = self.fd.as_raw_fd();
            // SAFETY: each header names an address, parts and control messages, none of which is
            // moved or dropped before the end of this function; the kernel writes the lengths only.
            let done = unsafe { libc::sendmmsg(fd, left.as_mut_ptr(), left.len() as u32, 0) };
            match Errno::result(done) {
                Ok(many) => sent += usize::try_from(many).expect("errors are negative"),
                Err(Errno::EINTR) => {}
                Err(error) => return (sent, Err(error.into())),
            }
        }
        (sent, Ok(()))
    }

    /// Into shares of the buffer of [`SHARE`] octets each. `WouldBlock` where nothing has come.
    pub fn receive(&self, slab: &mut [u8], received: &mut Vec<Received>) -> io::Result<()> {
        received.clear();
        let mut addresses = [sockaddr(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)); MOST_RECEIVED];
        let mut controls = [Control::default(); MOST_RECEIVED];
        let shares = slab.chunks_mut(SHARE).map(|share| libc::iovec {
            iov_base: share.as_mut_ptr().cast(),
            iov_len: share.len(),
        });
        let mut vectors: Vec<_> = shares.take(MOST_RECEIVED).collect();
        let mut headers: Vec<_> = vectors
            .iter_mut()
            .zip(&mut addresses)
            .zip(&mut controls)
            .map(|((vector, address), control)| {
                header(address, std::slice::from_mut(vector), control.room())
            })
            .collect();
        // SAFETY: each header names an address, one part and room for control messages, which are
        // exclusively borrowed here and outlive the call.
        let done = unsafe {
            libc::recvmmsg(
                self.fd.as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let many = usize::try_from(Errno::result(done)?).expect("errors are negative");
        for (at, header) in headers[..many].iter().enumerate() {
            let whole = header.msg_hdr.msg_flags & libc::MSG_TRUNC == 0;
            received.push(Received {
                remote: SocketAddrV4::new(
                    Ipv4Addr::from(u32::from_be(addresses[at].sin_addr.s_addr)),
                    u16::from_be(addresses[at].sin_port),
                ),
                came: controls[at].read(header.msg_hdr.msg_controllen),
                len: if whole { header.msg_len as usize } else { 0 },
            });
        }
        Ok(())
    }

    /// Octets of the largest packet on the way from one to the other, as routes and routers had it.
    pub fn path_mtu(&self, local: Ipv4Addr, remote: SocketAddrV4) -> io::Result<usize> {
        let probe = nix::sys::socket::socket(
            AddressFamily::Inet,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        // The same way: the same interface and mark, and so the same routes.
        for name in [libc::SO_BINDTOIFINDEX, libc::SO_MARK] {
            let value = get(self.fd.as_fd(), libc::SOL_SOCKET, name)?;
            if value != 0 {
                set(probe.as_fd(), libc::SOL_SOCKET, name, value)?;
            }
        }
        let from = SockaddrIn::from(SocketAddrV4::new(local, 0));
        nix::sys::socket::bind(probe.as_raw_fd(), &from)?;
        connect(probe.as_raw_fd(), &SockaddrIn::from(remote))?;
        let mtu = get(probe.as_fd(), libc::IPPROTO_IP, libc::IP_MTU)?;
        usize::try_from(mtu).map_err(|_| io::ErrorKind::InvalidData.into())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn header(
    address: &mut libc::sockaddr_in,
    parts: &mut [libc::iovec],
    (control, control_len): (*mut u8, usize),
) -> libc::mmsghdr {
    // SAFETY: a structure of integers and pointers, for which zeros are a value.
    let mut header: libc::mmsghdr = unsafe { zeroed() };
    header.msg_hdr.msg_name = std::ptr::from_mut(address).cast();
    header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
    header.msg_hdr.msg_iov = parts.as_mut_ptr();
    header.msg_hdr.msg_iovlen = parts.len() as _;
    header.msg_hdr.msg_control = control.cast();
    header.msg_hdr.msg_controllen = control_len as _;
    header
}

fn sockaddr(address: SocketAddrV4) -> libc::sockaddr_in {
    *SockaddrIn::from(address).as_ref()
}

fn set(socket: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the value is an integer of the size that is said, and outlives the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<i32>() as u32,
        )
    };
    Ok(Errno::result(done).map(drop)?)
}

fn get(socket: BorrowedFd<'_>, level: i32, name: i32) -> io::Result<i32> {
    let mut value = 0_i32;
    let mut len = size_of::<i32>() as u32;
    // SAFETY: the kernel writes at most `len` octets, which the value has, and both outlive the call.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw mut value).cast(),
            &raw mut len,
        )
    };
    Errno::result(done)?;
    Ok(value)
}
