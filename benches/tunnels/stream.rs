//! A TCP connection that carries as much as it can, while it is let.

use super::host::Host;
use super::{Direction, WIRE};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

const PORT: u16 = 5201;
/// What one call hands over, and reads.
const OCTETS: usize = 128 << 10;

pub struct Stream {
    gate: Arc<Gate>,
    received: Arc<AtomicU64>,
    sender: TcpStream,
    threads: Vec<JoinHandle<()>>,
}

impl Stream {
    /// Between a mobile node and its correspondent; nothing flows yet.
    pub fn between(mobile: &Host, correspondent: &Host, direction: Direction) -> Self {
        let address = SocketAddrV4::new(WIRE[1], PORT);
        let listener = correspondent.run(move || TcpListener::bind(address).expect("a free port"));
        let near = mobile.run(move || TcpStream::connect(address).expect("a tunnel"));
        let (far, _) = listener.accept().expect("it has connected");
        let (sender, receiver) = match direction {
            Direction::Up => (near, far),
            Direction::Down => (far, near),
        };
        let (gate, received) = (Arc::<Gate>::default(), Arc::<AtomicU64>::default());
        let sending = {
            let (gate, socket) = (gate.clone(), clone(&sender));
            std::thread::spawn(move || send(socket, &gate))
        };
        let receiving = {
            let received = received.clone();
            std::thread::spawn(move || receive(receiver, &received))
        };
        let threads = vec![sending, receiving];
        Self {
            gate,
            received,
            sender,
            threads,
        }
    }

    pub fn flow(&self, flow: bool) {
        self.gate
            .set(if flow { State::Flows } else { State::Rests });
    }

    /// Octets that the application has read.
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.gate.set(State::Over);
        // Which ends a call that is being made; the connection may be gone already.
        self.sender.shutdown(Shutdown::Both).ok();
        for thread in self.threads.drain(..) {
            thread.join().expect("it does not panic");
        }
    }
}

fn clone(socket: &TcpStream) -> TcpStream {
    socket.try_clone().expect("a descriptor")
}

fn send(mut socket: TcpStream, gate: &Gate) {
    let octets = vec![0; OCTETS];
    while gate.is_open() && socket.write_all(&octets).is_ok() {}
}

fn receive(mut socket: TcpStream, received: &AtomicU64) {
    let mut octets = vec![0; OCTETS];
    while let Ok(read @ 1..) = socket.read(&mut octets) {
        received.fetch_add(read as u64, Relaxed);
    }
}

#[derive(Default, PartialEq)]
enum State {
    #[default]
    Rests,
    Flows,
    Over,
}

#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, state: State) {
        *self.state.lock().expect("nobody panics") = state;
        self.changed.notify_all();
    }

    /// Waits as long as it rests; not when it is over.
    fn is_open(&self) -> bool {
        let state = self.state.lock().expect("nobody panics");
        let wait = self
            .changed
            .wait_while(state, |state| *state == State::Rests);
        *wait.expect("nobody panics") == State::Flows
    }
}
