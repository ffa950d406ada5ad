//! All input and output of packets: from adapters into sockets and back, a batch at a time.

use super::carrier::Heard;
use super::counts::Counts;
use super::device::Device;
use super::forwarder::{Forwarder, Handling};
use super::frame::{self, FrameHeader};
use super::outbox::Message;
use super::socket::{MOST_RECEIVED, Received, SHARE, Socket, SocketKind};
use super::tunnels::{AdapterId, Origin, Outer, Tunnels};
use crate::mobile_ip::{Datagram, Via};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, ErrorKind, IoSlice};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;
use tokio::sync::mpsc::Sender;

/// A packet of the largest size and what stands before it.
const MOST_READ: usize = frame::LEN + (1 << 16);
const SEND_BUFFER: usize = 4 * MOST_READ;
/// Packets of one batch.
const MOST_PACKETS: usize = 128;
/// Milliseconds to wait for room in a socket before a message is dropped.
const PATIENCE: u8 = 10;

/// With its bound address, which of UDP may be any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketId {
    pub kind: SocketKind,
    pub via: Via,
    pub local: Ipv4Addr,
}

/// Who has something, as far as was looked at: in the order of adapters and sockets.
#[derive(Debug, Default)]
struct Ready {
    adapters: Vec<bool>,
    sockets: Vec<bool>,
}

pub(super) struct Pump {
    heard: Sender<Heard>,
    adapters: Vec<(AdapterId, Device)>,
    sockets: Vec<(SocketId, Socket)>,
    ready: Ready,
    forwarder: Forwarder,
    send_buffer: Vec<u8>,
    receive_buffer: Vec<u8>,
    received: Vec<Received>,
}

impl Pump {
    pub(super) fn new(heard: Sender<Heard>) -> Self {
        Self {
            heard,
            adapters: Vec::new(),
            sockets: Vec::new(),
            ready: Ready::default(),
            forwarder: Forwarder::default(),
            send_buffer: vec![0; SEND_BUFFER],
            receive_buffer: vec![0; MOST_RECEIVED * SHARE],
            received: Vec::new(),
        }
    }

    pub(super) fn tunnels(&mut self) -> &mut Tunnels {
        &mut self.forwarder.tunnels
    }

    pub(super) fn counts(&self) -> Counts {
        self.forwarder.counts
    }

    pub(super) fn open_adapter(&mut self, id: AdapterId, device: Device) {
        self.close_adapter(id);
        self.adapters.push((id, device));
    }

    pub(super) fn close_adapter(&mut self, id: AdapterId) {
        self.adapters.retain(|(other, _)| *other != id);
    }

    pub(super) fn open_socket(&mut self, id: SocketId, socket: Socket) {
        self.close_socket(id);
        self.sockets.push((id, socket));
    }

    pub(super) fn close_socket(&mut self, id: SocketId) {
        self.sockets.retain(|(other, _)| *other != id);
    }

    /// A batch of everybody who has something. Waits until somebody has, or the bell rings; whether it
    /// did.
    pub(super) fn carry(&mut self, bell: BorrowedFd<'_>) -> bool {
        let rung = self.look(bell);
        for at in (0..self.adapters.len()).rev() {
            if self.ready.adapters[at] {
                match self.carry_out(at) {
                    Ok(more) => self.ready.adapters[at] = more,
                    Err(error) => {
                        let (adapter, _) = self.adapters.remove(at);
                        self.ready.adapters.remove(at);
                        self.tell(Heard::AdapterLost { adapter, error });
                    }
                }
            }
        }
        for at in (0..self.sockets.len()).rev() {
            if self.ready.sockets[at] {
                match self.carry_in(at) {
                    Ok(more) => self.ready.sockets[at] = more,
                    Err(error) => {
                        let (socket, _) = self.sockets.remove(at);
                        self.ready.sockets.remove(at);
                        self.tell(Heard::SocketLost { socket, error });
                    }
                }
            }
        }
        rung
    }

    /// Waits only if nobody had more than one batch the last time.
    fn look(&mut self, bell: BorrowedFd<'_>) -> bool {
        let all = || self.ready.adapters.iter().chain(&self.ready.sockets);
        let patience = if all().any(|ready| *ready) {
            PollTimeout::ZERO
        } else {
            PollTimeout::NONE
        };
        let devices = self.adapters.iter().map(|(_, device)| device.as_fd());
        let sockets = self.sockets.iter().map(|(_, socket)| socket.as_fd());
        let fds = [bell].into_iter().chain(devices).chain(sockets);
        let mut fds: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        // Interrupted is as good as woken.
        let _ = poll(&mut fds, patience);
        let mut any = fds.iter().map(|fd| fd.any() == Some(true));
        let rung = any.next() == Some(true);
        self.ready.adapters = any.by_ref().take(self.adapters.len()).collect();
        self.ready.sockets = any.collect();
        rung
    }

    /// Whether there may be more.
    fn carry_out(&mut self, at: usize) -> io::Result<bool> {
        let (adapter, device) = &self.adapters[at];
        let now = Instant::now();
        let buffer = &mut self.send_buffer;
        let mut used = 0;
        let mut packets = 0;
        while packets < MOST_PACKETS && used + MOST_READ <= buffer.len() {
            match device.read(&mut buffer[used..]) {
                Ok(len) => {
                    let read = used..used + len;
                    self.forwarder.send(now, *adapter, buffer, read);
                    used += len;
                    packets += 1;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // It is switched off.
                Err(error) if error.raw_os_error() == Some(libc::EIO) => break,
                Err(error) => return Err(error),
            }
        }
        self.send(now);
        self.deliver_answers();
        Ok(packets == MOST_PACKETS || used + MOST_READ > self.send_buffer.len())
    }

    /// All of the outbox, socket by socket.
    fn send(&mut self, now: Instant) {
        let mut left: Vec<_> = (0..self.forwarder.outbox.messages.len()).collect();
        while let Some(first) = left.first() {
            let Some(socket) = self.socket_of(&self.forwarder.outbox.messages[*first]) else {
                self.forwarder.counts.dropped.unsent += 1;
                left.remove(0);
                continue;
            };
            let same =
                |at: &usize| self.socket_of(&self.forwarder.outbox.messages[*at]) == Some(socket);
            let (mine, others): (Vec<_>, Vec<_>) = left.iter().partition(|at| same(at));
            self.send_through(now, socket, mine);
            left = others;
        }
        self.forwarder.outbox.clear();
    }

    fn socket_of(&self, message: &Message) -> Option<usize> {
        let is = |local: Ipv4Addr| {
            let id = SocketId {
                kind: message.socket_kind(),
                via: message.via,
                local,
            };
            self.sockets.iter().position(|(other, _)| *other == id)
        };
        is(message.outer.local()).or_else(|| is(Ipv4Addr::UNSPECIFIED))
    }

    fn send_through(&mut self, now: Instant, socket: usize, messages: Vec<usize>) {
        let (_, socket) = &self.sockets[socket];
        let slab = &self.send_buffer;
        let forwarder = &mut self.forwarder;
        let mut left = messages;
        while !left.is_empty() {
            let (sent, result) = socket.send(&forwarder.outbox, slab, &left);
            left.drain(..sent);
            let Err(error) = result else {
                return;
            };
            let message = forwarder.outbox.messages[left[0]].clone();
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
            match errno {
                Errno::EAGAIN if has_room(socket) => continue,
                Errno::EIO | Errno::EINVAL | Errno::EMSGSIZE => {
                    if let Some(outer) = narrower(socket, &message) {
                        forwarder.learn_path_mtu(now, &message, outer, slab);
                    } else if message.count > 1 {
                        // Not through IPsec.
                        forwarder.send_one_by_one(&message);
                        let single = forwarder.outbox.split(&message);
                        left.splice(..1, single);
                        continue;
                    } else {
                        forwarder.counts.dropped.unsent += 1;
                    }
                }
                _ => forwarder.counts.dropped.unsent += message.count as u64,
            }
            tracing::trace!(remote = %message.remote(), count = message.count, %errno, "not sent");
            left.remove(0);
        }
    }

    /// Whether there may be more.
    fn carry_in(&mut self, at: usize) -> io::Result<bool> {
        let (SocketId { kind, via, .. }, socket) = &self.sockets[at];
        let (kind, via) = (*kind, *via);
        let port = socket.bound().port();
        match socket.receive(&mut self.receive_buffer, &mut self.received) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if is_of_an_earlier_datagram(&error) => return Ok(true),
            Err(error) => return Err(error),
        }
        for (share, received) in self.received.iter().enumerate() {
            let Some(local) = received.came.local.filter(|_| received.len > 0) else {
                continue;
            };
            let start = share * SHARE;
            if kind != SocketKind::Udp {
                let remote = *received.remote.ip();
                let outer = Outer::Minimal { local, remote };
                let (origin, datagram) = (Origin { via, outer }, start..start + received.len);
                self.forwarder
                    .receive_ip(&origin, &mut self.receive_buffer, datagram);
                continue;
            }
            let (local, remote) = (SocketAddrV4::new(local, port), received.remote);
            let outer = Outer::Udp { local, remote };
            let origin = Origin { via, outer };
            let size = received.came.size.unwrap_or(received.len);
            for from in (0..received.len).step_by(size) {
                let datagram = start + from..start + (from + size).min(received.len);
                let buffer = &mut self.receive_buffer;
                let tos = received.came.tos;
                let handling = self
                    .forwarder
                    .receive(&origin, tos, buffer, datagram.clone());
                if handling == Handling::Agents {
                    let datagram = Datagram {
                        via,
                        local,
                        remote,
                        payload: buffer[datagram].to_vec(),
                    };
                    match self.heard.try_send(Heard::Datagram(datagram)) {
                        Ok(()) => self.forwarder.counts.handed_over += 1,
                        Err(_) => self.forwarder.counts.not_heard += 1,
                    }
                }
            }
        }
        self.deliver_frames();
        Ok(self.received.len() == MOST_RECEIVED)
    }

    fn deliver_frames(&mut self) {
        let buffer = &mut self.receive_buffer;
        let mut undelivered = 0;
        for frame in self.forwarder.frames.finish(buffer) {
            let header = frame.header.encode(frame.headers);
            let parts = frame.parts.iter().map(|part| &buffer[part.clone()]);
            let all = [&header[..]].into_iter().chain(parts);
            let all: Vec<_> = all.map(IoSlice::new).collect();
            let device = self.adapters.iter().find(|(id, _)| *id == frame.adapter);
            if device.is_none_or(|(_, device)| device.write(&all).is_err()) {
                undelivered += frame.parts.len() as u64;
            }
        }
        self.forwarder.counts.dropped.undelivered += undelivered;
        self.forwarder.frames.clear();
    }

    fn deliver_answers(&mut self) {
        let header = FrameHeader::PLAIN.encode(0);
        for (adapter, answer) in self.forwarder.answers.drain(..) {
            let device = self.adapters.iter().find(|(id, _)| *id == adapter);
            if let Some((_, device)) = device {
                // As with any answer of ICMP, nobody waits for it.
                let _ = device.write(&[IoSlice::new(&header), IoSlice::new(&answer)]);
            }
        }
    }

    fn tell(&self, what: Heard) {
        tracing::error!(?what, "the data path lost a descriptor");
        // An agent that hears nothing any more is stopping.
        let _ = self.heard.try_send(what);
    }
}

/// Octets of the largest packet that the path of a message takes, where that is why it did not leave.
fn narrower(socket: &Socket, message: &Message) -> Option<usize> {
    let (local, remote) = (message.outer.local(), message.remote());
    let mtu = socket.path_mtu(local, remote).ok()?;
    (message.size + message.outer.headers_of_kernel() > mtu).then_some(mtu)
}

fn has_room(socket: &Socket) -> bool {
    let mut one = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    poll(&mut one, PollTimeout::from(PATIENCE)).is_ok_and(|ready| ready > 0)
}

/// An ICMP error that it drew, or a signal.
fn is_of_an_earlier_datagram(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::Interrupted
    )
}
