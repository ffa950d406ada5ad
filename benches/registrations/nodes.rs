//! Many mobile nodes at once: each asks from one of a few places, at most so many are unanswered, and who is not answered
//! asks again after two seconds.

use super::network::Tunnels;
use super::{AGENT, home, security};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, setsockopt, sockopt,
};
use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use xfrm_agent::mobile_ip::security::{Algorithm, SecurityAssociation};
use xfrm_agent::mobile_ip::wire::{
    AuthenticationKind, Extension, Flags, Identification, RegistrationRequest, Timestamp,
    UdpTunnelRequest,
};

/// Addresses that mobile nodes of one area share.
const PLACES: u32 = 16;
/// Datagrams that one call sends or receives.
const MOST_AT_ONCE: usize = 16;
/// Octets; more than an answer has.
const LONGEST: usize = 256;
const WINDOW: usize = 512;
const PATIENCE: Duration = Duration::from_secs(2);

pub struct Nodes {
    count: u32,
    tunnels: Tunnels,
    security: SecurityAssociation,
    sockets: Vec<UdpSocket>,
    places: Vec<Ipv4Addr>,
}

pub struct Registered {
    pub took: Duration,
    /// Requests that had to be sent again.
    pub repeated: u32,
}

impl Nodes {
    /// All of them in one of two areas, 0 and 1. In their network namespace.
    pub fn in_area(area: u8, count: u32, tunnels: Tunnels) -> Self {
        let places = (1..=PLACES).map(|n| Ipv4Addr::from(0xc612_0000 + u32::from(area) * 256 + n));
        let places: Vec<_> = places.collect();
        let socket = |place: &Ipv4Addr| {
            let socket = UdpSocket::bind((*place, 434)).expect("a local route leads there");
            socket.connect((AGENT, 434)).expect("a route to the agent");
            socket.set_nonblocking(true).expect("a socket");
            setsockopt(&socket, sockopt::RcvBufForce, &(4 << 20)).expect("root");
            socket
        };
        Self {
            count,
            tunnels,
            security: security(Algorithm::HmacMd5),
            sockets: places.iter().map(socket).collect(),
            places,
        }
    }

    /// The one at this position: they do not come in the order of their addresses.
    fn node_at(&self, position: u32) -> u32 {
        // A prime, so that each has its turn.
        (u64::from(position) * 2_654_435_761 % u64::from(self.count)) as u32
    }

    fn place_at(&self, position: u32) -> usize {
        (position as usize / MOST_AT_ONCE) % self.places.len()
    }

    /// The first home address, and where it is.
    pub fn first(&self) -> (Ipv4Addr, Ipv4Addr) {
        (home(self.node_at(0)), self.places[self.place_at(0)])
    }

    fn request(&self, position: u32, lifetime: u16) -> Vec<u8> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let timestamp = Timestamp::from_unix(since.expect("after 1970"));
        let extensions = match self.tunnels {
            Tunnels::InKernel => Vec::new(),
            Tunnels::InUdp => vec![Extension::UdpTunnelRequest(UdpTunnelRequest {
                force: true,
                ..UdpTunnelRequest::default()
            })],
        };
        let mut octets = RegistrationRequest {
            flags: Flags::DECAPSULATION | Flags::REVERSE_TUNNEL,
            lifetime,
            home: home(self.node_at(position)),
            home_agent: AGENT,
            care_of: self.places[self.place_at(position)],
            identification: Identification::from(timestamp),
            extensions,
        }
        .encode();
        self.security
            .sign(AuthenticationKind::MobileHome, &mut octets);
        octets
    }

    /// Of positions that share a place.
    fn send(&self, positions: &[u32], lifetime: u16) {
        let Some(first) = positions.first() else {
            return;
        };
        let requests = positions.iter().map(|at| self.request(*at, lifetime));
        let requests: Vec<_> = requests.collect();
        let parts = requests.iter().map(|octets| [IoSlice::new(octets)]);
        let parts: Vec<_> = parts.collect();
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(parts.len(), None);
        let nowhere = vec![None; parts.len()];
        let nothing: [ControlMessage<'_>; 0] = [];
        let socket = self.sockets[self.place_at(*first)].as_raw_fd();
        let flags = MsgFlags::empty();
        // What does not leave is sent again.
        let _ = sendmmsg(socket, &mut headers, &parts, nowhere, nothing, flags);
    }

    /// All of them register, or with a lifetime of 0 are at home again; returns when all are answered.
    pub fn register(&self, lifetime: u16) -> Registered {
        let began = Instant::now();
        let mut answered = vec![false; self.count as usize];
        let mut left = self.count as usize;
        let mut waiting: VecDeque<(Instant, u32)> = VecDeque::new();
        let (mut next, mut unanswered, mut repeated) = (0, 0, 0);
        let mut last = began;
        while left > 0 {
            let now = Instant::now();
            while let Some((sent, position)) = waiting.front().copied() {
                let is_answered = answered[self.node_at(position) as usize];
                if !is_answered && now < sent + PATIENCE {
                    break;
                }
                waiting.pop_front();
                if !is_answered {
                    repeated += 1;
                    self.send(&[position], lifetime);
                    waiting.push_back((now, position));
                }
            }
            while unanswered + MOST_AT_ONCE <= WINDOW && next < self.count {
                let end = self.count.min(next + MOST_AT_ONCE as u32);
                let positions: Vec<_> = (next..end).collect();
                self.send(&positions, lifetime);
                waiting.extend(positions.iter().map(|position| (now, *position)));
                unanswered += positions.len();
                next = end;
            }
            let heard = self.hear(&mut answered);
            if heard > 0 {
                (unanswered, left, last) = (unanswered - heard, left - heard, Instant::now());
            }
        }
        Registered {
            took: last - began,
            repeated,
        }
    }

    /// How many are answered for the first time.
    fn hear(&self, answered: &mut [bool]) -> usize {
        let fds = self.sockets.iter();
        let mut fds: Vec<_> = fds
            .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
            .collect();
        poll(&mut fds, PollTimeout::from(50u8)).expect("they are sockets");
        let mut heard = 0;
        let mut octets = [0; MOST_AT_ONCE * LONGEST];
        for (socket, fd) in self.sockets.iter().zip(&fds) {
            if fd.any() != Some(true) {
                continue;
            }
            let lens = receive(socket, &mut octets);
            for (answer, len) in octets.chunks(LONGEST).zip(lens) {
                let [3, code, _, _, a, b, c, d, ..] = answer[..len] else {
                    continue;
                };
                assert!(code <= 1, "a mobile node was denied with {code}");
                let node = u32::from_be_bytes([a, b, c, d]) - u32::from(home(0));
                let before = std::mem::replace(&mut answered[node as usize], true);
                heard += usize::from(!before);
            }
        }
        heard
    }
}

/// Into shares of [`LONGEST`] octets; gives how long each is.
fn receive(socket: &UdpSocket, octets: &mut [u8]) -> Vec<usize> {
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(MOST_AT_ONCE, None);
    let shares = octets.chunks_mut(LONGEST);
    let mut shares: Vec<_> = shares.map(|share| [IoSliceMut::new(share)]).collect();
    let (socket, flags) = (socket.as_raw_fd(), MsgFlags::empty());
    match recvmmsg(socket, &mut headers, shares.iter_mut(), flags, None) {
        Ok(received) => received.map(|answer| answer.bytes).collect(),
        // Nothing has come, or nobody was there to answer.
        Err(Errno::EAGAIN | Errno::ECONNREFUSED) => Vec::new(),
        Err(error) => panic!("cannot receive: {error}"),
    }
}
