//! UDP sockets that know which address and hop count a datagram came with.

use super::{Error, options};
use crate::kernel::input::awaiting_input;
use crate::net::Family;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg,
    SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrStorage, setsockopt, sockopt,
};
use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, Interrupted, NetworkUnreachable};
use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};
use tokio::io::unix::AsyncFd;

/// Octets, as the kernel counts them: some nine hundred probes of 1,200 octets at once. The usual
/// buffer holds a tenth of that.
pub(super) const RECEIVE_BUFFER: usize = 2 << 20;

/// Octets; more than any datagram has.
pub(super) const LONGEST: usize = 1 << 16;

/// What a socket is for; decides its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// IKE and answers to probes.
    Ike,
    /// IKE and ESP in UDP, port 4500.
    NatTraversal,
    /// Probes for others that interception diverts to us; bound to a port of the kernel's choice.
    Transparent,
}

#[derive(Debug)]
pub struct UdpSocket {
    socket: AsyncFd<OwnedFd>,
    port: u16,
}

/// One datagram, as it was addressed on the wire: for a diverted probe `local` is where it was
/// going.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub hop_limit: u8,
    pub len: usize,
}

impl UdpSocket {
    /// Bound to every address of the family, with options that keep XFRM policies off it.
    pub fn open(family: Family, purpose: Purpose, mark: u32) -> Result<Self, Error> {
        let port = match purpose {
            Purpose::Ike => 500,
            Purpose::NatTraversal => 4500,
            Purpose::Transparent => 0,
        };
        let failed = |what, errno: Errno| Error::Open {
            port,
            family,
            what,
            source: errno.into(),
        };
        let domain = match family {
            Family::V4 => AddressFamily::Inet,
            Family::V6 => AddressFamily::Inet6,
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket::socket(domain, SockType::Datagram, flags, None)
            .map_err(|e| failed("open a UDP socket", e))?;
        options::bypass_policies(fd.as_fd(), family).map_err(|source| Error::Open {
            port,
            family,
            what: "exempt the socket from XFRM policies",
            source,
        })?;
        setsockopt(&fd, sockopt::Mark, &mark).map_err(|e| failed("mark the socket", e))?;
        setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_BUFFER)
            .map_err(|e| failed("enlarge the receive buffer", e))?;
        receive_addresses(&fd, family).map_err(|e| failed("ask for packet information", e))?;
        if purpose == Purpose::Transparent {
            setsockopt(&fd, sockopt::IpTransparent, &true)
                .map_err(|e| failed("make the socket transparent", e))?;
            receive_original_destination(&fd, family)
                .map_err(|e| failed("ask for original destinations", e))?;
        }
        if purpose == Purpose::NatTraversal {
            options::decapsulate_esp(fd.as_fd()).map_err(|source| Error::Open {
                port,
                family,
                what: "receive ESP in UDP",
                source,
            })?;
        }
        let any: SocketAddr = match family {
            Family::V4 => (Ipv4Addr::UNSPECIFIED, port).into(),
            Family::V6 => (Ipv6Addr::UNSPECIFIED, port).into(),
        };
        socket::bind(fd.as_raw_fd(), &SockaddrStorage::from(any)).map_err(|e| match e {
            Errno::EADDRINUSE => Error::PortTaken { port, family },
            e => failed("bind the socket", e),
        })?;
        let bound: SockaddrStorage =
            socket::getsockname(fd.as_raw_fd()).map_err(|e| failed("read the bound port", e))?;
        let port = to_std(&bound).map_or(port, |addr| addr.port());
        Self::bound(fd, port, family)
    }

    /// One that is open, bound, and told to say where datagrams were addressed to.
    pub(super) fn bound(fd: OwnedFd, port: u16, family: Family) -> Result<Self, Error> {
        let socket = awaiting_input(fd).map_err(|source| Error::Open {
            port,
            family,
            what: "register the socket",
            source,
        })?;
        Ok(Self { socket, port })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.get_ref().as_fd()
    }

    /// Not read any more.
    pub(super) fn into_fd(self) -> OwnedFd {
        self.socket.into_inner()
    }

    /// Fills `buffer` with a datagram, or has the task woken when one has come. A datagram whose
    /// addresses the kernel did not tell, or that does not fit, is skipped.
    pub fn poll_receive(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<Received, Error>> {
        let mut read = |fd: BorrowedFd<'_>| receive(fd, self.port, buffer);
        self.poll_read(context, &mut read)
    }

    /// Reads what waits, up to one datagram for each [`LONGEST`] octets of the buffer, into such shares of it.
    /// Otherwise as [`Self::poll_receive`].
    pub fn poll_receive_many(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<Vec<Option<Received>>, Error>> {
        let mut read = |fd: BorrowedFd<'_>| {
            let received = receive_many(fd, self.port, buffer)?;
            let any = received.iter().any(Option::is_some);
            Ok(any.then_some(received))
        };
        self.poll_read(context, &mut read)
    }

    fn poll_read<T>(
        &self,
        context: &mut Context<'_>,
        read: &mut dyn FnMut(BorrowedFd<'_>) -> Result<Option<T>, Errno>,
    ) -> Poll<Result<T, Error>> {
        loop {
            let mut ready = ready!(self.socket.poll_read_ready(context)).map_err(Error::Receive)?;
            let read = |fd: &AsyncFd<OwnedFd>| read(fd.as_fd()).map_err(Into::into);
            match ready.try_io(read) {
                Ok(Ok(Some(received))) => return Poll::Ready(Ok(received)),
                Ok(Ok(None)) | Err(_) => {}
                // An ICMP error that an earlier datagram drew is reported on the next call.
                Ok(Err(e))
                    if matches!(
                        e.kind(),
                        ConnectionRefused | HostUnreachable | NetworkUnreachable
                    ) => {}
                Ok(Err(e)) if e.kind() == Interrupted => {}
                Ok(Err(e)) => return Poll::Ready(Err(Error::Receive(e))),
            }
        }
    }

    /// Sends from a chosen local address.
    pub fn send(
        &self,
        local: IpAddr,
        remote: SocketAddr,
        parts: &[IoSlice<'_>],
    ) -> Result<(), Error> {
        send_from(self.as_fd(), local, remote, parts)
    }
}

pub(super) fn send_from(
    socket: BorrowedFd<'_>,
    local: IpAddr,
    remote: SocketAddr,
    parts: &[IoSlice<'_>],
) -> Result<(), Error> {
    let to = SockaddrStorage::from(remote);
    let send = |control| {
        let (socket, flags) = (socket.as_raw_fd(), MsgFlags::empty());
        socket::sendmsg(socket, parts, &[control], flags, Some(&to))
    };
    let sent = match local {
        IpAddr::V4(addr) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: u32::from(addr).to_be(),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            send(ControlMessage::Ipv4PacketInfo(&info))
        }
        IpAddr::V6(addr) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: addr.octets(),
                },
                ipi6_ifindex: 0,
            };
            send(ControlMessage::Ipv6PacketInfo(&info))
        }
    };
    sent.map(drop).map_err(|errno| Error::Send {
        local,
        remote,
        source: errno.into(),
    })
}

pub(super) fn receive_addresses(fd: &OwnedFd, family: Family) -> Result<(), Errno> {
    match family {
        Family::V4 => {
            setsockopt(fd, sockopt::Ipv4PacketInfo, &true)?;
            setsockopt(fd, sockopt::Ipv4RecvTtl, &true)
        }
        Family::V6 => {
            setsockopt(fd, sockopt::Ipv6V6Only, &true)?;
            setsockopt(fd, sockopt::Ipv6RecvPacketInfo, &true)?;
            setsockopt(fd, sockopt::Ipv6RecvHopLimit, &true)
        }
    }
}

fn receive_original_destination(fd: &OwnedFd, family: Family) -> Result<(), Errno> {
    match family {
        Family::V4 => setsockopt(fd, sockopt::Ipv4OrigDstAddr, &true),
        Family::V6 => setsockopt(fd, sockopt::Ipv6OrigDstAddr, &true),
    }
}

fn receive(fd: BorrowedFd<'_>, port: u16, buffer: &mut [u8]) -> Result<Option<Received>, Errno> {
    let mut control = cmsg_space!(libc::in6_pktinfo, libc::sockaddr_in6, libc::c_int);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = socket::recvmsg::<SockaddrStorage>(
        fd.as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::empty(),
    )?;
    understood(&message, port)
}

fn receive_many(
    fd: BorrowedFd<'_>,
    port: u16,
    buffer: &mut [u8],
) -> Result<Vec<Option<Received>>, Errno> {
    let shares = buffer.chunks_exact_mut(LONGEST);
    let mut shares: Vec<_> = shares.map(|share| [IoSliceMut::new(share)]).collect();
    let control = cmsg_space!(libc::in6_pktinfo, libc::sockaddr_in6, libc::c_int);
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(shares.len(), Some(control));
    let flags = MsgFlags::MSG_DONTWAIT;
    let fd = fd.as_raw_fd();
    let messages = socket::recvmmsg(fd, &mut headers, shares.iter_mut(), flags, None)?;
    messages.map(|message| understood(&message, port)).collect()
}

/// `None` where the kernel did not tell its addresses, or it did not fit.
fn understood(
    message: &RecvMsg<'_, '_, SockaddrStorage>,
    port: u16,
) -> Result<Option<Received>, Errno> {
    let Some(remote) = message.address.as_ref().and_then(to_std) else {
        return Ok(None);
    };
    if message.flags.contains(MsgFlags::MSG_TRUNC) {
        return Ok(None);
    }
    let mut local = None;
    let mut original = None;
    let mut hop_limit = 0;
    for control in message.cmsgs()? {
        match control {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                let addr = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
                local = Some(SocketAddr::from((addr, port)));
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                local = Some((Ipv6Addr::from(info.ipi6_addr.s6_addr), port).into());
            }
            ControlMessageOwned::Ipv4OrigDstAddr(addr) => {
                let addr = SocketAddrV4::from(SockaddrIn::from(addr));
                original = Some(SocketAddr::V4(addr));
            }
            ControlMessageOwned::Ipv6OrigDstAddr(addr) => {
                let addr = SocketAddrV6::from(SockaddrIn6::from(addr));
                original = Some((*addr.ip(), addr.port()).into());
            }
            ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => {
                hop_limit = u8::try_from(ttl).unwrap_or(0);
            }
            _ => {}
        }
    }
    let len = message.bytes;
    Ok(original.or(local).map(|local| Received {
        local,
        remote,
        hop_limit,
        len,
    }))
}

fn to_std(addr: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = addr.as_sockaddr_in() {
        return Some(SocketAddr::V4(SocketAddrV4::from(*v4)));
    }
    // Flow label and scope do not belong to the peer's identity.
    addr.as_sockaddr_in6().map(|v6| (v6.ip(), v6.port()).into())
}
