//! The data path in user space, once something has to be carried there.
//!
//! ```text
//!  Carry, CarryNoMore ──→ carrier ←──→ adapters, as soon as the kernel has them
//!                            ↕   ╰──→ registrations, which come in by the same sockets
//!                     sockets of port 434
//! ```
//! From then on only the carrier reads those sockets, and hands on what is not a tunnel's data.

use super::sockets;
use crate::kernel::desired::LinkName;
use crate::mobile_ip::{Datagram, Via};
use crate::tun::carrier::{self, Handle, Heard, SocketId, SocketKind};
use crate::tun::counts::Counts;
use crate::tun::device::Device;
use crate::tun::tunnels::{AdapterId, Binding, Outer, Side, Tunnel};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use std::cell::RefCell;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};
use tokio::sync::mpsc::Receiver;

/// More addresses than a machine has had of late; beyond it the oldest is closed.
const MOST_IN_IP: usize = 64;

#[derive(Debug)]
pub struct Carrying {
    handle: Handle,
    heard: RefCell<Receiver<Heard>>,
    /// The place is the number that the carrier knows it by.
    adapters: RefCell<Vec<Adapter>>,
    /// Of tunnels that are not in UDP, the oldest first.
    in_ip: RefCell<Vec<SocketId>>,
    mark: u32,
}

#[derive(Debug)]
struct Adapter {
    name: LinkName,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Missing,
    /// It is there, and is not ours to read; that was told.
    Failed,
    Attached,
}

/// What comes from the carrier, for whoever has the sockets.
#[derive(Debug)]
pub enum Came {
    Datagram(Datagram),
    SocketLost(Via),
}

impl Carrying {
    /// `mark` is that of sockets of links.
    pub fn start(mark: u32) -> io::Result<Self> {
        let (handle, heard) = carrier::start()?;
        Ok(Self {
            handle,
            heard: RefCell::new(heard),
            adapters: RefCell::default(),
            in_ip: RefCell::default(),
            mark,
        })
    }

    pub fn put(&self, adapter: LinkName, binding: Binding) {
        let id = self.number_of(adapter);
        for tunnel in binding.tunnels.iter().chain(&binding.receives) {
            self.open_in_ip(binding.side, tunnel);
        }
        self.handle.put(id, binding);
        self.attach_missing();
    }

    pub fn remove(&self, side: Side, home: Ipv4Addr) {
        self.handle.remove(side, home);
    }

    /// A socket of port 434 that is bound; whoever gives it goes on sending through it.
    pub fn registrations(&self, via: Via, socket: OwnedFd) -> io::Result<()> {
        self.handle.socket(SocketKind::Udp, via, socket)
    }

    pub fn no_registrations(&self, via: Via, local: Ipv4Addr) {
        let kind = SocketKind::Udp;
        self.handle.no_socket(SocketId { kind, via, local });
    }

    /// What a tunnel needs beside the sockets of port 434. Does nothing where it is there.
    fn open_in_ip(&self, side: Side, tunnel: &Tunnel) {
        let Outer::Minimal { local, .. } = tunnel.outer else {
            return;
        };
        // At a mobile node, what comes in IP in IP is let out of the device for it.
        let kinds = match side {
            Side::HomeAgent => &[SocketKind::Minimal, SocketKind::Fragments][..],
            Side::MobileNode => &[SocketKind::Minimal],
        };
        let via = tunnel.via;
        let mut open = self.in_ip.borrow_mut();
        for id in kinds.iter().map(|kind| SocketId {
            kind: *kind,
            via,
            local,
        }) {
            if open.contains(&id) {
                continue;
            }
            let socket = sockets::open_in_ip(self.mark, id).map_err(io::Error::other);
            if let Err(error) = socket.and_then(|fd| self.handle.socket(id.kind, via, fd)) {
                tracing::error!(%error, %local, "tunnels of minimal encapsulation carry nothing");
                continue;
            }
            open.push(id);
            if open.len() > MOST_IN_IP {
                self.handle.no_socket(open.remove(0));
            }
        }
    }

    /// The kernel makes adapters in its own time, and again when somebody has deleted one. Does nothing
    /// where all are attached.
    pub fn attach_missing(&self) {
        for (id, adapter) in (0..).zip(self.adapters.borrow_mut().iter_mut()) {
            if adapter.state == State::Attached {
                continue;
            }
            adapter.state = match self.attach(AdapterId(id), adapter.name) {
                Ok(()) => State::Attached,
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => State::Missing,
                Err(error) => {
                    if adapter.state != State::Failed {
                        let name = adapter.name;
                        tracing::error!(%error, %name, "cannot read an adapter: its tunnels in UDP carry nothing");
                    }
                    State::Failed
                }
            };
        }
    }

    pub fn counts(&self) -> Counts {
        self.handle.counts()
    }

    pub fn poll_heard(&self, context: &mut Context<'_>) -> Poll<Came> {
        loop {
            match self.heard.borrow_mut().poll_recv(context) {
                Poll::Ready(Some(Heard::Datagram(datagram))) => {
                    return Poll::Ready(Came::Datagram(datagram));
                }
                Poll::Ready(Some(Heard::SocketLost { socket, error })) => {
                    tracing::error!(%error, ?socket, "a socket is lost");
                    if socket.kind == SocketKind::Udp {
                        return Poll::Ready(Came::SocketLost(socket.via));
                    }
                    self.in_ip.borrow_mut().retain(|other| *other != socket);
                }
                Poll::Ready(Some(Heard::AdapterLost { adapter, error })) => {
                    let mut adapters = self.adapters.borrow_mut();
                    let place = usize::try_from(adapter.0).unwrap_or(usize::MAX);
                    if let Some(adapter) = adapters.get_mut(place) {
                        tracing::warn!(%error, name = %adapter.name, "an adapter is lost");
                        adapter.state = State::Missing;
                    }
                }
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn number_of(&self, name: LinkName) -> AdapterId {
        let mut adapters = self.adapters.borrow_mut();
        let known = adapters.iter().position(|adapter| adapter.name == name);
        let place = known.unwrap_or_else(|| {
            let state = State::Missing;
            adapters.push(Adapter { name, state });
            adapters.len() - 1
        });
        AdapterId(u32::try_from(place).expect("a handful"))
    }

    fn attach(&self, id: AdapterId, name: LinkName) -> io::Result<()> {
        // Attaching to what is not there would make it, and nobody would know whose it is.
        if_nametoindex(name.as_str()).map_err(|_| io::Error::from(Errno::ENODEV))?;
        self.handle.adapter(id, Device::attach(name.as_str())?);
        Ok(())
    }
}

/// For `status`.
pub fn counters(counts: Counts) -> [(&'static str, u64); 11] {
    let dropped = counts.dropped;
    [
        ("udp-tunnel-packets-sent", counts.sent.packets),
        ("udp-tunnel-packets-received", counts.received.packets),
        ("udp-tunnel-no-tunnel", dropped.no_tunnel),
        ("udp-tunnel-other-version", dropped.other_version),
        ("udp-tunnel-malformed", dropped.malformed),
        ("udp-tunnel-too-big", dropped.too_big),
        ("udp-tunnel-unsent", dropped.unsent),
        ("udp-tunnel-not-admitted", dropped.not_admitted),
        ("udp-tunnel-congested", dropped.congested),
        ("udp-tunnel-undelivered", dropped.undelivered),
        ("registrations-not-heard", counts.not_heard),
    ]
}
