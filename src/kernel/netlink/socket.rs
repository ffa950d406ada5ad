//! Sockets: one that asks and is answered, one that listens.

use super::error::{self, KernelError};
use super::message::{Batch, Message, Messages, NLMSG_DONE, NLMSG_ERROR, Payload, flags};
use netlink_sys::Socket;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, NetlinkAddr, recvmmsg, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use zeroize::{Zeroize, Zeroizing};

/// The kernel fills at most 32 KiB a datagram in a dump; events are far shorter.
const RECEIVE_LEN: usize = 64 * 1024;
/// `kernel-facts`: holds about 13,000 unread ACQUIREs.
const LISTEN_BUFFER: usize = 8 << 20;
const REQUEST_BUFFER: usize = 1 << 20;
/// Events that one call reads: each change of a route, say, comes as a datagram of its own.
const MOST_EVENTS: usize = 16;
/// A dump that keeps being disturbed is tried this often.
const DUMP_ATTEMPTS: usize = 8;

fn open(protocol: isize, buffer: usize) -> io::Result<(Socket, u32)> {
    let mut socket = Socket::new(protocol)?;
    let port = socket.bind_auto()?.port_number();
    setsockopt(&socket, sockopt::RcvBufForce, &buffer)?;
    Ok((socket, port))
}

fn receive<'a>(socket: &Socket, buffer: &'a mut [u8], flags: MsgFlags) -> io::Result<&'a mut [u8]> {
    loop {
        match nix::sys::socket::recv(socket.as_raw_fd(), buffer, flags) {
            Ok(len) => return Ok(&mut buffer[..len]),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Asks the kernel and waits for its answers, which it gives within the very system call that
/// asked; the wait never lasts.
pub struct Requests {
    socket: Socket,
    port: u32,
    batch: Batch,
    /// Dumped SAs carry their keys, so it is wiped after every datagram.
    buffer: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Requests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Requests(port {})", self.port)
    }
}

impl Requests {
    /// # Errors
    /// `EPERM` without `CAP_NET_ADMIN`, `EPROTONOSUPPORT` where the kernel lacks the protocol.
    pub fn open(protocol: isize) -> io::Result<Self> {
        let (socket, port) = open(protocol, REQUEST_BUFFER)?;
        setsockopt(&socket, sockopt::SndBufForce, &REQUEST_BUFFER)?;
        // Without it a refused NEWSA comes back with its key.
        socket.set_cap_ack(true)?;
        socket.set_ext_ack(true)?;
        // Only a fence against a kernel that never answers.
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(10))?;
        Ok(Self {
            socket,
            port,
            batch: Batch::new(1),
            buffer: Zeroizing::new(vec![0; RECEIVE_LEN]),
        })
    }

    /// With requests and filters of dumps checked, rather than ignored.
    pub fn open_strict(protocol: isize) -> io::Result<Self> {
        let requests = Self::open(protocol)?;
        requests.socket.set_netlink_get_strict_chk(true)?;
        Ok(requests)
    }

    /// Stands in events that our own requests caused.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// The messages that [`Requests::flush`] will send. Check [`Batch::is_full`] after each.
    pub fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// Sends what has been put into the batch and returns the position and reason of each message
    /// that the kernel refused, in order.
    ///
    /// # Errors
    /// The answers themselves could not be read: what was done is then unknown.
    pub fn flush(&mut self) -> io::Result<Vec<(usize, KernelError)>> {
        if self.batch.is_empty() {
            return Ok(Vec::new());
        }
        self.batch.acknowledge_last();
        let sent = self.socket.send(self.batch.bytes(), 0);
        let (first, last) = (self.batch.first_sequence(), self.batch.last_sequence());
        self.batch.clear();
        sent?;
        let mut refused = Vec::new();
        loop {
            let datagram = receive(&self.socket, &mut self.buffer, MsgFlags::empty())?;
            let mut finished = false;
            for message in Messages(datagram).filter(|m| m.kind == NLMSG_ERROR) {
                // An answer to an older request, whose reading was given up.
                let position = message.sequence.wrapping_sub(first);
                if position > last.wrapping_sub(first) {
                    continue;
                }
                if let Err(error) = error::parse(&message) {
                    refused.push((position as usize, error));
                }
                finished |= message.sequence == last;
            }
            datagram.zeroize();
            if finished {
                return Ok(refused);
            }
        }
    }

    /// One message, answered. Whatever waits in the batch is sent before it.
    pub fn request(
        &mut self,
        kind: u16,
        flags: u16,
        write: impl FnOnce(&mut Payload<'_>),
    ) -> Result<(), KernelError> {
        self.flush()?;
        self.batch.message(kind, flags, write);
        match self.flush()?.pop() {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    /// Asks for a list and keeps what `read` makes of each message. Asks again where objects
    /// changed meanwhile.
    pub fn dump<T>(
        &mut self,
        kind: u16,
        request: &[u8],
        mut read: impl FnMut(&Message<'_>) -> Option<T>,
    ) -> Result<Vec<T>, KernelError> {
        self.flush()?;
        for _ in 0..DUMP_ATTEMPTS {
            let mut found = Vec::new();
            if self.dump_once(kind, request, &mut |m| found.extend(read(m)))? {
                return Ok(found);
            }
        }
        Err(Errno::EAGAIN.into())
    }

    /// `false` where the kernel says that the list may have holes.
    fn dump_once(
        &mut self,
        kind: u16,
        request: &[u8],
        read: &mut dyn FnMut(&Message<'_>),
    ) -> Result<bool, KernelError> {
        self.batch
            .message(kind, flags::DUMP, |payload| payload.put_bytes(request));
        let sequence = self.batch.last_sequence();
        let sent = self.socket.send(self.batch.bytes(), 0);
        self.batch.clear();
        sent?;
        let mut whole = true;
        loop {
            let datagram = receive(&self.socket, &mut self.buffer, MsgFlags::empty())?;
            let mut end = None;
            for message in Messages(datagram).filter(|m| m.sequence == sequence) {
                whole &= message.flags & flags::DUMP_INTERRUPTED == 0;
                match message.kind {
                    // Both begin with an error code.
                    NLMSG_DONE | NLMSG_ERROR => end = Some(error::parse(&message)),
                    _ => read(&message),
                }
            }
            datagram.zeroize();
            if let Some(end) = end {
                return end.map(|()| whole);
            }
        }
    }

    /// Asks for one object and keeps what `read` makes of the answer.
    pub fn fetch<T>(
        &mut self,
        kind: u16,
        write: impl FnOnce(&mut Payload<'_>),
        mut read: impl FnMut(&Message<'_>) -> Option<T>,
    ) -> Result<T, KernelError> {
        self.flush()?;
        self.batch.message(kind, 0, write);
        let sequence = self.batch.last_sequence();
        let sent = self.socket.send(self.batch.bytes(), 0);
        self.batch.clear();
        sent?;
        loop {
            let datagram = receive(&self.socket, &mut self.buffer, MsgFlags::empty())?;
            let mut answer = None;
            for message in Messages(datagram).filter(|m| m.sequence == sequence) {
                answer = Some(match message.kind {
                    NLMSG_ERROR => error::parse(&message).and(Err(Errno::ENODATA.into())),
                    _ => read(&message).ok_or(Errno::EBADMSG.into()),
                });
            }
            datagram.zeroize();
            if let Some(answer) = answer {
                return answer;
            }
        }
    }
}

/// What came of one attempt to listen.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    Something,
    /// Nothing more for now.
    Silence,
    /// Events were lost: only a new dump tells what is there.
    Overrun,
}

/// Multicast groups, read without blocking.
pub struct Listener {
    socket: Socket,
    /// Events about SAs carry their keys, so it is wiped after every datagram.
    buffer: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Listener({})", self.socket.as_raw_fd())
    }
}

impl Listener {
    pub fn open(protocol: isize, groups: &[u32]) -> io::Result<Self> {
        let (socket, _) = open(protocol, LISTEN_BUFFER)?;
        for group in groups {
            socket.add_membership(*group)?;
        }
        socket.set_non_blocking(true)?;
        Ok(Self {
            socket,
            buffer: Zeroizing::new(vec![0; MOST_EVENTS * RECEIVE_LEN]),
        })
    }

    pub fn join(&mut self, group: u32) -> io::Result<()> {
        self.socket.add_membership(group)
    }

    pub fn leave(&mut self, group: u32) -> io::Result<()> {
        self.socket.drop_membership(group)
    }

    /// From now on only what passes wakes anybody (classic BPF, from the first message's header on).
    #[expect(unsafe_code, reason = "nix has no option that attaches a filter")]
    pub fn filter(&mut self, program: &[libc::sock_filter]) -> io::Result<()> {
        let program = libc::sock_fprog {
            len: u16::try_from(program.len()).unwrap_or(0),
            // The kernel only reads it.
            filter: program.as_ptr().cast_mut(),
        };
        // SAFETY: `program` and the instructions that it points to are valid for reads for the whole
        // call, and the kernel copies them before it returns.
        let result = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                std::ptr::from_ref(&program).cast(),
                size_of_val(&program) as libc::socklen_t,
            )
        };
        Ok(Errno::result(result).map(drop)?)
    }

    /// For a tokio runtime, within which it must be called.
    #[expect(
        unsafe_code,
        reason = "tokio has no safe registration of a foreign socket"
    )]
    pub fn into_async(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the socket is private and never replaced, and closes when the listener drops,
        // which the `AsyncFd` owns. So `as_raw_fd` names the same open socket all its life.
        Ok(unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) }?)
    }

    /// Reads a few datagrams and hands on their messages. Only the kernel's own are heard: any process
    /// may send to this socket.
    pub fn listen(&mut self, mut handle: impl FnMut(&Message<'_>)) -> io::Result<Heard> {
        let received = loop {
            match receive_events(&self.socket, &mut self.buffer) {
                Ok(received) => break received,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(Heard::Silence),
                Err(Errno::ENOBUFS) => return Ok(Heard::Overrun),
                Err(errno) => return Err(errno.into()),
            }
        };
        for (share, (len, is_kernels)) in self.buffer.chunks_mut(RECEIVE_LEN).zip(received) {
            let datagram = &mut share[..len];
            if is_kernels {
                Messages(datagram).for_each(|message| handle(&message));
            }
            datagram.zeroize();
        }
        Ok(Heard::Something)
    }
}

/// Each into its share of the buffer: how long it is, and whether the kernel sent it.
fn receive_events(socket: &Socket, buffer: &mut [u8]) -> Result<Vec<(usize, bool)>, Errno> {
    let mut headers = MultiHeaders::<NetlinkAddr>::preallocate(MOST_EVENTS, None);
    let shares = buffer.chunks_mut(RECEIVE_LEN);
    let mut shares: Vec<_> = shares.map(|share| [IoSliceMut::new(share)]).collect();
    let flags = MsgFlags::MSG_DONTWAIT;
    let received = recvmmsg(
        socket.as_raw_fd(),
        &mut headers,
        shares.iter_mut(),
        flags,
        None,
    )?;
    let is_kernels = |sender: NetlinkAddr| sender.pid() == 0;
    Ok(received
        .map(|event| (event.bytes, event.address.is_some_and(is_kernels)))
        .collect())
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.socket.as_raw_fd()
    }
}
