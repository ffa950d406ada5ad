//! The first packet between two hosts, before the kernel looks at policies.
//!
//! ```text
//!  prerouting ─ between two that are known ─────────────────→ forwarded
//!             └ the first between two ─→ known ─→ queue ─→ whoever reads it ─→ forwarded
//! ```
//!
//! What the kernel itself holds it lets go at a tick, up to 10 ms later (100 ticks a second); what waits in a queue of
//! nftables' goes at once. Nothing depends on it: where nobody listens, where the queue is full or the kernel has none,
//! packets go on to the policies, whose traps hold them.

use super::input::awaiting_input;
use super::interception::{self, known_set};
use super::netlink::error::{self, KernelError};
use super::netlink::message::{Batch, Messages, NLMSG_ERROR};
use super::netlink::{nftables, queue};
use crate::net::{Flow, header};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send,
    setsockopt, socket, sockopt,
};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::task::{Context, Poll, ready};
use tokio::io::unix::AsyncFd;

/// The first of the numbers that are tried. Administrators count theirs up from 0.
const FIRST_NUMBER: u16 = 0x7861;
const NUMBERS: u16 = 16;
/// Packets that wait at once.
const MOST: u32 = 512;
/// Room for the kernel's message to each of them.
const BUFFER: usize = 1 << 20;
/// Of each packet: enough for its headers.
const OCTETS: u32 = 256;

/// Names a packet that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(pub u32);

/// One that waits for [`FirstPackets::let_go`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstPacket {
    pub id: PacketId,
    /// `None` where its headers do not say it.
    pub flow: Option<Flow>,
}

/// The queue. Packets that wait in it are dropped when this is.
#[derive(Debug)]
pub struct FirstPackets {
    socket: AsyncFd<OwnedFd>,
    number: u16,
}

impl FirstPackets {
    /// Within a tokio runtime. In the network namespace of the calling thread.
    ///
    /// # Errors
    /// The kernel has no such queues, or none is free.
    pub fn open() -> Result<Self, KernelError> {
        interception::takes_first_packets()?;
        let (fd, number) = bound()?;
        let socket = awaiting_input(fd)?;
        Ok(Self { socket, number })
    }

    /// What rules of nftables call it.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The next one. The task is woken when one has come.
    pub fn poll_receive(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<FirstPacket>> {
        loop {
            let mut ready = ready!(self.socket.poll_read_ready(context))?;
            let fd = self.socket.get_ref().as_raw_fd();
            let read = |_: &_| recv(fd, buffer, MsgFlags::empty()).map_err(io::Error::from);
            match ready.try_io(read) {
                Ok(Ok(len)) => {
                    let mut messages = Messages(buffer.get(..len).unwrap_or_default());
                    let packet = messages.find_map(|message| queue::read(&message));
                    if let Some((id, octets)) = packet {
                        return Poll::Ready(Ok(FirstPacket {
                            id: PacketId(id),
                            flow: header::flow(octets),
                        }));
                    }
                }
                Err(_) => {}
                Ok(Err(error)) => match error.raw_os_error() {
                    // Of what could not be told the packets went on.
                    Some(libc::EINTR | libc::ENOBUFS) => {}
                    _ => return Poll::Ready(Err(error)),
                },
            }
        }
    }

    /// The packet goes on to where it was going: policies are next.
    ///
    /// # Errors
    /// It goes on waiting.
    pub fn let_go(&self, id: PacketId) -> io::Result<()> {
        let mut batch = Batch::new(1);
        queue::accept(&mut batch, self.number, id.0);
        let fd = self.socket.get_ref().as_raw_fd();
        Ok(send(fd, batch.bytes(), MsgFlags::empty()).map(drop)?)
    }
}

/// To the first number that nobody else has.
fn bound() -> Result<(OwnedFd, u16), KernelError> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let netfilter = SockProtocol::NetlinkNetFilter;
    let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, netfilter)?;
    // Nobody but the kernel is heard.
    connect(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    setsockopt(&fd, sockopt::RcvBufForce, &BUFFER)?;
    let mut taken = Errno::EPERM.into();
    for number in FIRST_NUMBER..FIRST_NUMBER + NUMBERS {
        match bind(&fd, number) {
            Ok(()) => return Ok((fd, number)),
            // Whose queue it is the kernel does not say.
            Err(error) if error.errno == Errno::EPERM => taken = error,
            Err(error) => return Err(error),
        }
    }
    Err(taken)
}

/// Whether this kernel has all that is needed.
pub fn try_out() -> Result<(), KernelError> {
    bound().map(drop)?;
    interception::takes_first_packets()
}

fn bind(fd: &OwnedFd, number: u16) -> Result<(), KernelError> {
    let mut batch = Batch::new(1);
    queue::bind(&mut batch, number, OCTETS, MOST);
    batch.acknowledge_last();
    let fd = fd.as_raw_fd();
    send(fd, batch.bytes(), MsgFlags::empty())?;
    let mut buffer = [0; 4096];
    loop {
        // The kernel answers within the call that asks.
        let len = recv(fd, &mut buffer, MsgFlags::empty())?;
        for message in Messages(&buffer[..len]) {
            if message.kind == NLMSG_ERROR {
                return error::parse(&message);
            }
            // Sent there by the table of an earlier run.
            if let Some((id, _)) = queue::read(&message) {
                let mut batch = Batch::new(2);
                queue::accept(&mut batch, number, id);
                send(fd, batch.bytes(), MsgFlags::empty())?;
            }
        }
    }
}

/// The next packet between these two is a first one again. Whether they are known makes no difference.
pub fn forget(src: IpAddr, dst: IpAddr) -> Result<(), KernelError> {
    let set = known_set(crate::net::Family::of(src));
    match nftables::delete_pair(set, src, dst) {
        Err(error) if error.is_gone() => Ok(()),
        other => other,
    }
}
