//! The thread that carries packets between adapters and sockets, and how the agent talks to it.

use super::counts::Counts;
use super::device::Device;
use super::pump::Pump;
pub use super::pump::SocketId;
use super::socket::Socket;
pub use super::socket::SocketKind;
use super::tunnels::{AdapterId, Binding, Side};
use crate::mobile_ip::{Datagram, Via};
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use tokio::sync::mpsc as agents;

/// Datagrams that wait for the agent. More is a flood, and what matters is sent again.
const MOST_HEARD: usize = 1024;

/// What the agent is told.
#[derive(Debug)]
pub enum Heard {
    /// A message of Mobile IP, or tunnel data that keeps a tunnel alive.
    Datagram(Datagram),
    /// It was deleted, or somebody else has it; nothing is read from it or written to it any more.
    AdapterLost {
        adapter: AdapterId,
        error: io::Error,
    },
    SocketLost {
        socket: SocketId,
        error: io::Error,
    },
}

/// The carrier ends with it.
#[derive(Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    bell: Arc<Bell>,
    counts: Arc<Mutex<Counts>>,
    thread: Option<JoinHandle<()>>,
}

enum Command {
    Adapter(AdapterId, Device),
    NoAdapter(AdapterId),
    Socket(SocketId, Socket),
    NoSocket(SocketId),
    Put(AdapterId, Binding),
    Remove(Side, Ipv4Addr),
    Stop,
}

/// Wakes the thread. Rung once for however many commands.
#[derive(Debug)]
struct Bell {
    rung: AtomicBool,
    end: UnixStream,
}

impl Bell {
    fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // One octet always has room.
            let _ = (&self.end).write(&[0]);
        }
    }
}

/// Starts a thread that has nothing to carry yet.
pub fn start() -> io::Result<(Handle, agents::Receiver<Heard>)> {
    let (commands, queue) = mpsc::channel();
    let (heard, listener) = agents::channel(MOST_HEARD);
    let (near, far) = UnixStream::pair()?;
    far.set_nonblocking(true)?;
    let bell = Arc::new(Bell {
        rung: AtomicBool::new(false),
        end: near,
    });
    let counts = Arc::new(Mutex::new(Counts::default()));
    let carrier = Carrier {
        commands: queue,
        bell: bell.clone(),
        bell_end: far,
        counts: counts.clone(),
        pump: Pump::new(heard),
    };
    let thread = std::thread::Builder::new()
        .name("carrier".into())
        .spawn(move || carrier.run())?;
    let handle = Handle {
        commands,
        bell,
        counts,
        thread: Some(thread),
    };
    Ok((handle, listener))
}

impl Handle {
    pub fn adapter(&self, id: AdapterId, device: Device) {
        self.tell(Command::Adapter(id, device));
    }

    /// Closes it: a persistent one stays, without carrier.
    pub fn no_adapter(&self, id: AdapterId) {
        self.tell(Command::NoAdapter(id));
    }

    /// A socket that is bound. From now on only the carrier reads from it; the agent may go on sending
    /// through its own descriptor. Replaces one of the same kind, way and local address.
    pub fn socket(&self, kind: SocketKind, via: Via, socket: OwnedFd) -> io::Result<()> {
        let socket = Socket::adopt(kind, socket)?;
        let local = *socket.bound().ip();
        self.tell(Command::Socket(SocketId { kind, via, local }, socket));
        Ok(())
    }

    pub fn no_socket(&self, socket: SocketId) {
        self.tell(Command::NoSocket(socket));
    }

    /// Carries packets between this adapter and the tunnels of the binding.
    pub fn put(&self, adapter: AdapterId, binding: Binding) {
        self.tell(Command::Put(adapter, binding));
    }

    pub fn remove(&self, side: Side, home: Ipv4Addr) {
        self.tell(Command::Remove(side, home));
    }

    pub fn counts(&self) -> Counts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, command: Command) {
        // A thread that has panicked hears nothing; there is nobody to tell.
        let _ = self.commands.send(command);
        self.bell.ring();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.tell(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Carrier {
    commands: mpsc::Receiver<Command>,
    bell: Arc<Bell>,
    bell_end: UnixStream,
    counts: Arc<Mutex<Counts>>,
    pump: Pump,
}

impl Carrier {
    fn run(mut self) {
        while self.obey() {
            let rung = self.pump.carry(self.bell_end.as_fd());
            *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = self.pump.counts();
            if rung {
                // Whoever rings has said so before.
                let _ = (&self.bell_end).read(&mut [0; 64]);
            }
        }
    }

    /// Whether to go on.
    fn obey(&mut self) -> bool {
        if !self.bell.rung.swap(false, Ordering::AcqRel) {
            return true;
        }
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Adapter(id, device) => self.pump.open_adapter(id, device),
                Command::NoAdapter(id) => self.pump.close_adapter(id),
                Command::Socket(id, socket) => self.pump.open_socket(id, socket),
                Command::NoSocket(id) => self.pump.close_socket(id),
                Command::Put(adapter, binding) => self.pump.tunnels().put(adapter, binding),
                Command::Remove(side, home) => self.pump.tunnels().remove(side, home),
                Command::Stop => return false,
            }
        }
        true
    }
}
