//! UDP port 434, where registrations of Mobile IP go (RFC 5944 §1.8).
//!
//! ```text
//!  routed  every address ────────── as routes and policies have it ──→ Via::Routed
//!  links   one address on one link ───── past policies, in the clear ──→ Via::Link
//! ```
//! A socket of a link is opened when something is first sent there. From then on it gets what comes
//! to its address over its link; the rest, broadcasts among it, is the routed one's. What a tunnel of
//! IPsec carried never gets into one of a link, since its policy admits only what came in the clear.
//!
//! Tunnels in UDP have the same ports. Once there is one, the data path in user space reads the sockets and
//! hands over what is for the agent.

use super::super::carrying::{Came, Carrying};
use super::udp::{LONGEST, RECEIVE_BUFFER, UdpSocket, receive_addresses, send_from};
use super::{Error, options};
use crate::mobile_ip::{Datagram, LinkId, Via};
use crate::net::Family;
use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn, setsockopt, sockopt};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// RFC 5944 §1.8.
const PORT: u16 = 434;
/// Whoever must know that no router was on the way looks for this one (RFC 5944 §3.6.1.1).
const HOP_LIMIT: i32 = 255;
/// Datagrams that one call reads or sends: of a home agent with thousands a second, each costs less than a call.
const MOST_AT_ONCE: usize = 16;
/// More addresses than a machine has; beyond it the oldest is closed.
const MOST_LINKS: usize = 64;

/// The sockets of all roles. Closed until [`Self::open`]. One reader, and as many who send.
#[derive(Debug)]
pub struct RegistrationSockets {
    port: u16,
    mark: u32,
    /// The routed one comes first.
    sockets: RefCell<Vec<Rc<Socket>>>,
    /// Which is asked first.
    turn: Cell<usize>,
    /// What was read at once with what was received last.
    at_hand: RefCell<VecDeque<Datagram>>,
    buffer: RefCell<Box<[u8]>>,
    /// Who reads all of them, once there is anything to carry.
    carrying: RefCell<Option<Rc<Carrying>>>,
}

#[derive(Debug)]
struct Socket {
    via: Via,
    bound: Ipv4Addr,
    end: End,
}

#[derive(Debug)]
enum End {
    Ours(UdpSocket),
    /// Only to send through.
    Carriers(OwnedFd),
}

impl RegistrationSockets {
    /// `mark` is the pass mark, which only sockets of links carry.
    pub fn new(mark: u32) -> Self {
        Self::of_port(PORT, mark)
    }

    fn of_port(port: u16, mark: u32) -> Self {
        Self {
            port,
            mark,
            sockets: RefCell::new(Vec::new()),
            turn: Cell::new(0),
            at_hand: RefCell::default(),
            // What nothing was ever read into takes no memory.
            buffer: RefCell::new(vec![0; MOST_AT_ONCE * LONGEST].into()),
            carrying: RefCell::new(None),
        }
    }

    /// Does nothing where it is open.
    pub fn open(&self) -> Result<(), Error> {
        if self.routed().is_none() {
            let socket = open_routed(self.port)?;
            let routed = self.equip(Via::Routed, Ipv4Addr::UNSPECIFIED, socket)?;
            self.sockets.borrow_mut().insert(0, routed);
        }
        Ok(())
    }

    /// From now on it reads them, and what it does not carry is received through it.
    pub fn carry(&self, carrying: Rc<Carrying>) -> Result<(), Error> {
        *self.carrying.borrow_mut() = Some(carrying);
        for socket in self.sockets.take() {
            let Some(Socket { via, bound, end }) = Rc::into_inner(socket) else {
                continue;
            };
            let socket = match end {
                End::Ours(socket) => self.equip(via, bound, socket)?,
                end @ End::Carriers(_) => Rc::new(Socket { via, bound, end }),
            };
            self.sockets.borrow_mut().push(socket);
        }
        Ok(())
    }

    /// Nothing leaves before [`Self::open`]. Tells of each that does not leave.
    pub fn send(&self, datagrams: &[Datagram], mut failed: impl FnMut(Error)) {
        let way = |datagram: &Datagram| (datagram.via, *datagram.local.ip());
        for same_way in datagrams.chunk_by(|a, b| way(a) == way(b)) {
            if let Err(error) = self.send_one_way(same_way, &mut failed) {
                failed(error);
            }
        }
    }

    /// All by the same socket and from the same address.
    fn send_one_way(
        &self,
        datagrams: &[Datagram],
        failed: &mut impl FnMut(Error),
    ) -> Result<(), Error> {
        let (Some(first), Some(routed)) = (datagrams.first(), self.routed()) else {
            return Ok(());
        };
        let local = *first.local.ip();
        let socket = match first.via {
            Via::Routed => routed,
            Via::Link(link) => self.on_link(link, local)?,
        };
        let fd = match &socket.end {
            End::Ours(socket) => socket.as_fd(),
            End::Carriers(fd) => fd.as_fd(),
        };
        if let [
            Datagram {
                remote, payload, ..
            },
        ] = datagrams
        {
            let (local, remote) = (IpAddr::V4(local), SocketAddr::V4(*remote));
            return send_from(fd, local, remote, &[IoSlice::new(payload)]);
        }
        for datagrams in datagrams.chunks(MOST_AT_ONCE) {
            let messages = datagrams.iter().map(|it| (it.remote, &it.payload[..]));
            let messages: Vec<_> = messages.collect();
            let mut left = &messages[..];
            while let [_, ..] = left {
                let (sent, outcome) = options::send_many(fd, local, left);
                left = &left[sent..];
                // The next one is at fault, and those behind it are not.
                if let (Err(source), Some(((remote, _), rest))) = (outcome, left.split_first()) {
                    let (local, remote) = (IpAddr::V4(local), SocketAddr::V4(*remote));
                    failed(Error::Send {
                        local,
                        remote,
                        source,
                    });
                    left = rest;
                }
            }
        }
        Ok(())
    }

    /// The next datagram. The task is woken when one has come.
    pub fn poll_receive(&self, context: &mut Context<'_>) -> Poll<Datagram> {
        if let Some(datagram) = self.at_hand.borrow_mut().pop_front() {
            return Poll::Ready(datagram);
        }
        if let Some(carrying) = self.carrying.borrow().clone() {
            return self.poll_heard(context, &carrying);
        }
        let sockets = self.sockets.borrow().clone();
        let first = self.turn.get();
        let mut buffer = self.buffer.borrow_mut();
        for at in (first..sockets.len()).chain(0..first.min(sockets.len())) {
            let Socket { via, end, .. } = &*sockets[at];
            let End::Ours(socket) = end else { continue };
            match socket.poll_receive_many(context, &mut buffer) {
                Poll::Pending => {}
                Poll::Ready(Err(error)) => {
                    tracing::error!(%error, port = self.port, "a socket is lost");
                    let is_other = |other: &Rc<Socket>| !Rc::ptr_eq(other, &sockets[at]);
                    self.sockets.borrow_mut().retain(is_other);
                }
                Poll::Ready(Ok(received)) => {
                    self.turn.set(at + 1);
                    let shares = buffer.chunks_exact(LONGEST).zip(received);
                    let datagrams = shares.filter_map(|(share, received)| {
                        let received = received?;
                        let (SocketAddr::V4(local), SocketAddr::V4(remote)) =
                            (received.local, received.remote)
                        else {
                            return None;
                        };
                        Some(Datagram {
                            via: *via,
                            local,
                            remote,
                            payload: share[..received.len].to_vec(),
                        })
                    });
                    let mut at_hand = self.at_hand.borrow_mut();
                    at_hand.extend(datagrams);
                    if let Some(datagram) = at_hand.pop_front() {
                        return Poll::Ready(datagram);
                    }
                }
            }
        }
        Poll::Pending
    }

    /// What was read at once with what was received last, one by one.
    pub fn at_hand(&self) -> Option<Datagram> {
        self.at_hand.borrow_mut().pop_front()
    }

    fn poll_heard(&self, context: &mut Context<'_>, carrying: &Carrying) -> Poll<Datagram> {
        loop {
            match ready!(carrying.poll_heard(context)) {
                Came::Datagram(datagram) => return Poll::Ready(datagram),
                Came::SocketLost(via) => {
                    self.sockets.borrow_mut().retain(|other| other.via != via);
                }
            }
        }
    }

    fn routed(&self) -> Option<Rc<Socket>> {
        let sockets = self.sockets.borrow();
        let routed = sockets.iter().find(|socket| socket.via == Via::Routed);
        routed.cloned()
    }

    fn on_link(&self, link: LinkId, local: Ipv4Addr) -> Result<Rc<Socket>, Error> {
        let via = Via::Link(link);
        let is_it = |socket: &&Rc<Socket>| (socket.via, socket.bound) == (via, local);
        if let Some(socket) = self.sockets.borrow().iter().find(is_it) {
            return Ok(socket.clone());
        }
        let socket = open_on_link(self.port, self.mark, link, local)?;
        let socket = self.equip(via, local, socket)?;
        let mut sockets = self.sockets.borrow_mut();
        if sockets.len() > MOST_LINKS {
            let oldest = sockets.remove(1);
            if let Some(carrying) = &*self.carrying.borrow() {
                carrying.no_registrations(oldest.via, oldest.bound);
            }
        }
        sockets.push(socket.clone());
        Ok(socket)
    }

    /// With whoever reads it.
    fn equip(&self, via: Via, bound: Ipv4Addr, socket: UdpSocket) -> Result<Rc<Socket>, Error> {
        let end = match &*self.carrying.borrow() {
            None => End::Ours(socket),
            Some(carrying) => {
                let fd = socket.into_fd();
                let theirs = fd.try_clone();
                theirs
                    .and_then(|theirs| carrying.registrations(via, theirs))
                    .map_err(|source| Error::Open {
                        port: self.port,
                        family: Family::V4,
                        what: "hand the socket to the data path",
                        source,
                    })?;
                End::Carriers(fd)
            }
        };
        Ok(Rc::new(Socket { via, bound, end }))
    }
}

fn failed(port: u16, what: &'static str) -> impl FnOnce(Errno) -> Error {
    move |errno| Error::Open {
        port,
        family: Family::V4,
        what,
        source: errno.into(),
    }
}

fn open_routed(port: u16) -> Result<UdpSocket, Error> {
    let fd = socket(port)?;
    bind(&fd, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))
        .map_err(|errno| taken_or_failed(port, errno))?;
    // Only now: whoever else has the port was to be noticed.
    setsockopt(&fd, sockopt::ReuseAddr, &true)
        .map_err(failed(port, "let sockets of links have the same port"))?;
    UdpSocket::bound(fd, port, Family::V4)
}

fn open_on_link(port: u16, mark: u32, link: LinkId, local: Ipv4Addr) -> Result<UdpSocket, Error> {
    let fd = socket(port)?;
    keep_to_link(&fd, port, mark, link)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)
        .map_err(failed(port, "share the port with the routed socket"))?;
    bind(&fd, SocketAddrV4::new(local, port)).map_err(failed(port, "bind the socket"))?;
    UdpSocket::bound(fd, port, Family::V4)
}

/// And in the clear. Of a socket that is not bound yet.
pub(super) fn keep_to_link(fd: &OwnedFd, port: u16, mark: u32, link: LinkId) -> Result<(), Error> {
    let failed_to = |what| {
        move |source| Error::Open {
            port,
            family: Family::V4,
            what,
            source,
        }
    };
    options::bind_to_link(fd.as_fd(), link.0).map_err(failed_to("bind the socket to a link"))?;
    options::bypass_policies(fd.as_fd(), Family::V4)
        .map_err(failed_to("exempt the socket from XFRM policies"))?;
    setsockopt(fd, sockopt::Mark, &mark).map_err(failed(port, "mark the socket"))
}

/// Before it is bound.
fn socket(port: u16) -> Result<OwnedFd, Error> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket::socket(AddressFamily::Inet, SockType::Datagram, flags, None)
        .map_err(failed(port, "open a UDP socket"))?;
    setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_BUFFER)
        .map_err(failed(port, "enlarge the receive buffer"))?;
    setsockopt(&fd, sockopt::Ipv4Ttl, &HOP_LIMIT).map_err(failed(port, "set the hop limit"))?;
    // A mobile node that knows no home agent asks the whole home network (RFC 5944 §3.6.1.2).
    setsockopt(&fd, sockopt::Broadcast, &true).map_err(failed(port, "allow broadcasts"))?;
    receive_addresses(&fd, Family::V4).map_err(failed(port, "ask for packet information"))?;
    Ok(fd)
}

fn bind(fd: &OwnedFd, local: SocketAddrV4) -> Result<(), Errno> {
    socket::bind(fd.as_raw_fd(), &SockaddrIn::from(local))
}

fn taken_or_failed(port: u16, errno: Errno) -> Error {
    match errno {
        Errno::EADDRINUSE => Error::PortTaken {
            port,
            family: Family::V4,
        },
        errno => failed(port, "bind the socket")(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::net::UdpSocket as Peer;
    use std::time::Duration;
    use tokio::time::timeout;

    const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

    /// Open, on a port that is free now; the options need privileges.
    fn opened() -> Option<RegistrationSockets> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("not run: needs root for sockets that pass policies");
            return None;
        }
        let free = Peer::bind((LOOPBACK, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let sockets = RegistrationSockets::of_port(port, 0);
        sockets.open().unwrap();
        Some(sockets)
    }

    fn peer() -> (Peer, SocketAddrV4) {
        let peer = Peer::bind((LOOPBACK, 0)).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let SocketAddr::V4(address) = peer.local_addr().unwrap() else {
            unreachable!("bound to IPv4")
        };
        (peer, address)
    }

    async fn heard(sockets: &RegistrationSockets) -> Option<Datagram> {
        let next = poll_fn(|context| sockets.poll_receive(context));
        timeout(Duration::from_millis(200), next).await.ok()
    }

    fn loopback_link() -> LinkId {
        LinkId(nix::net::if_::if_nametoindex("lo").unwrap())
    }

    fn send(sockets: &RegistrationSockets, datagrams: &[Datagram]) -> Result<(), Error> {
        let mut outcome = Ok(());
        sockets.send(datagrams, |error| outcome = Err(error));
        outcome
    }

    fn datagram(via: Via, local: Ipv4Addr, remote: SocketAddrV4) -> Datagram {
        Datagram {
            via,
            local: SocketAddrV4::new(local, PORT),
            remote,
            payload: b"request".to_vec(),
        }
    }

    #[tokio::test]
    async fn what_comes_says_where_it_was_addressed_to_and_what_leaves_has_the_address_that_was_said()
     {
        let Some(sockets) = opened() else { return };
        let (peer, address) = peer();
        let second = Ipv4Addr::new(127, 0, 0, 2);
        peer.send_to(b"hello", (second, sockets.port)).unwrap();
        let came = heard(&sockets).await.unwrap();
        assert_eq!(came.via, Via::Routed);
        assert_eq!(came.local, SocketAddrV4::new(second, sockets.port));
        assert_eq!((came.remote, came.payload), (address, b"hello".to_vec()));
        send(&sockets, &[datagram(Via::Routed, second, address)]).unwrap();
        let (_, from) = peer.recv_from(&mut [0; 100]).unwrap();
        assert_eq!(from, (second, sockets.port).into());
    }

    #[tokio::test]
    async fn an_answer_to_what_left_by_a_link_comes_back_by_it_and_others_do_not() {
        let Some(sockets) = opened() else { return };
        let (peer, address) = peer();
        let via = Via::Link(loopback_link());
        send(&sockets, &[datagram(via, LOOPBACK, address)]).unwrap();
        let (_, from) = peer.recv_from(&mut [0; 100]).unwrap();
        peer.send_to(b"answer", from).unwrap();
        assert_eq!(heard(&sockets).await.unwrap().via, via);
        peer.send_to(b"other", (Ipv4Addr::new(127, 0, 0, 2), sockets.port))
            .unwrap();
        assert_eq!(heard(&sockets).await.unwrap().via, Via::Routed);
    }

    #[tokio::test]
    async fn a_second_agent_is_told_that_the_port_is_taken() {
        let Some(sockets) = opened() else { return };
        let second = RegistrationSockets::of_port(sockets.port, 0);
        assert!(matches!(second.open(), Err(Error::PortTaken { .. })));
    }

    #[tokio::test]
    async fn nothing_is_heard_or_sent_while_no_role_wants_it() {
        let sockets = RegistrationSockets::of_port(PORT, 0);
        let (_peer, address) = peer();
        send(&sockets, &[datagram(Via::Routed, LOOPBACK, address)]).unwrap();
        assert_eq!(heard(&sockets).await, None);
    }

    #[tokio::test]
    async fn a_link_that_is_gone_is_an_error_and_no_other_way() {
        let Some(sockets) = opened() else { return };
        let (_peer, address) = peer();
        let gone = Via::Link(LinkId(999_999));
        let sent = send(&sockets, &[datagram(gone, LOOPBACK, address)]);
        assert!(matches!(sent, Err(Error::Send { .. })), "{sent:?}");
    }

    #[tokio::test]
    async fn many_are_read_and_sent_at_once_in_their_order_and_one_that_cannot_leave_takes_none_with_it()
     {
        let Some(sockets) = opened() else { return };
        let (peer, address) = peer();
        for number in 0..40u8 {
            peer.send_to(&[number], (LOOPBACK, sockets.port)).unwrap();
        }
        let first = heard(&sockets).await.unwrap();
        let with_it = std::iter::from_fn(|| sockets.at_hand());
        let mut came: Vec<_> = std::iter::once(first).chain(with_it).collect();
        assert_eq!(came.len(), MOST_AT_ONCE);
        while let Some(datagram) = heard(&sockets).await {
            came.push(datagram);
        }
        let payloads: Vec<_> = came.iter().flat_map(|it| it.payload.clone()).collect();
        assert_eq!(payloads, (0..40).collect::<Vec<u8>>());
        let nowhere = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        let answer = |number: u8| Datagram {
            payload: vec![number],
            remote: if number == 20 { nowhere } else { address },
            ..datagram(Via::Routed, LOOPBACK, address)
        };
        let answers: Vec<_> = (0..40).map(answer).collect();
        let mut failures = 0;
        sockets.send(&answers, |_| failures += 1);
        assert_eq!(failures, 1);
        for number in (0..40).filter(|number| *number != 20) {
            let mut octet = [0];
            peer.recv_from(&mut octet).unwrap();
            assert_eq!(octet, [number]);
        }
    }
}
