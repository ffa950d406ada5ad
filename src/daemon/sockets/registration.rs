//! UDP port 434, where registrations of Mobile IP go (RFC 5944 §1.8).
//!
//! ```text
//!  routed  every address ────────── as routes and policies have it ──→ Via::Routed
//!  links   one address on one link ───── past policies, in the clear ──→ Via::Link
//! ```
//! A socket of a link is opened when something is first sent there. From then on it gets what comes
//! to its address over its link; the rest, broadcasts among it, is the routed one's. What a tunnel of
//! IPsec carried never gets into one of a link, since its policy admits only what came in the clear.

use super::udp::{RECEIVE_BUFFER, UdpSocket, receive_addresses};
use super::{Error, options};
use crate::mobile_ip::{Datagram, LinkId, Via};
use crate::net::Family;
use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn, setsockopt, sockopt};
use std::cell::{Cell, RefCell};
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll};

/// RFC 5944 §1.8.
const PORT: u16 = 434;
/// Whoever must know that no router was on the way looks for this one (RFC 5944 §3.6.1.1).
const HOP_LIMIT: i32 = 255;
/// More addresses than a machine has; beyond it the oldest is closed.
const MOST_LINKS: usize = 64;

/// The sockets of all roles. Closed until [`Self::open`]. One reader, and as many who send.
#[derive(Debug)]
pub struct RegistrationSockets {
    port: u16,
    mark: u32,
    routed: RefCell<Option<Rc<UdpSocket>>>,
    links: RefCell<Vec<OnLink>>,
    /// Which socket is asked first.
    turn: Cell<usize>,
}

#[derive(Debug)]
struct OnLink {
    link: LinkId,
    local: Ipv4Addr,
    socket: Rc<UdpSocket>,
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
            routed: RefCell::new(None),
            links: RefCell::new(Vec::new()),
            turn: Cell::new(0),
        }
    }

    /// Does nothing where it is open.
    pub fn open(&self) -> Result<(), Error> {
        let mut routed = self.routed.borrow_mut();
        if routed.is_none() {
            *routed = Some(Rc::new(open_routed(self.port)?));
        }
        Ok(())
    }

    /// Nothing leaves before [`Self::open`].
    pub fn send(&self, datagram: &Datagram) -> Result<(), Error> {
        let Some(routed) = self.routed.borrow().clone() else {
            return Ok(());
        };
        let socket = match datagram.via {
            Via::Routed => routed,
            Via::Link(link) => self.on_link(link, *datagram.local.ip())?,
        };
        let (local, remote) = (*datagram.local.ip(), datagram.remote);
        socket.send(
            IpAddr::V4(local),
            SocketAddr::V4(remote),
            &[IoSlice::new(&datagram.payload)],
        )
    }

    /// The next datagram; `buffer` should be larger than any. The task is woken when one has come.
    pub fn poll_receive(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Datagram> {
        let sockets = self.all();
        let first = self.turn.get();
        for at in (first..sockets.len()).chain(0..first.min(sockets.len())) {
            let (via, socket) = &sockets[at];
            match socket.poll_receive(context, buffer) {
                Poll::Pending => {}
                Poll::Ready(Err(error)) => {
                    tracing::error!(%error, port = self.port, "a socket is lost");
                    self.lose(socket);
                }
                Poll::Ready(Ok(received)) => {
                    self.turn.set(at + 1);
                    if let (SocketAddr::V4(local), SocketAddr::V4(remote)) =
                        (received.local, received.remote)
                    {
                        return Poll::Ready(Datagram {
                            via: *via,
                            local,
                            remote,
                            payload: buffer[..received.len].to_vec(),
                        });
                    }
                }
            }
        }
        Poll::Pending
    }

    fn all(&self) -> Vec<(Via, Rc<UdpSocket>)> {
        let routed = self.routed.borrow().clone();
        let routed = routed.map(|socket| (Via::Routed, socket));
        let links = self.links.borrow();
        let of_links = links
            .iter()
            .map(|on| (Via::Link(on.link), on.socket.clone()));
        routed.into_iter().chain(of_links).collect()
    }

    fn lose(&self, lost: &Rc<UdpSocket>) {
        self.routed
            .borrow_mut()
            .take_if(|routed| Rc::ptr_eq(routed, lost));
        let mut links = self.links.borrow_mut();
        links.retain(|on| !Rc::ptr_eq(&on.socket, lost));
    }

    fn on_link(&self, link: LinkId, local: Ipv4Addr) -> Result<Rc<UdpSocket>, Error> {
        let mut links = self.links.borrow_mut();
        if let Some(on) = links.iter().find(|on| (on.link, on.local) == (link, local)) {
            return Ok(on.socket.clone());
        }
        let socket = Rc::new(open_on_link(self.port, self.mark, link, local)?);
        if links.len() >= MOST_LINKS {
            links.remove(0);
        }
        links.push(OnLink {
            link,
            local,
            socket: socket.clone(),
        });
        Ok(socket)
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
    setsockopt(&fd, sockopt::Mark, &mark).map_err(failed(port, "mark the socket"))?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)
        .map_err(failed(port, "share the port with the routed socket"))?;
    bind(&fd, SocketAddrV4::new(local, port)).map_err(failed(port, "bind the socket"))?;
    UdpSocket::bound(fd, port, Family::V4)
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
        let mut buffer = [0; 2000];
        let next = poll_fn(|context| sockets.poll_receive(context, &mut buffer));
        timeout(Duration::from_millis(200), next).await.ok()
    }

    fn loopback_link() -> LinkId {
        LinkId(nix::net::if_::if_nametoindex("lo").unwrap())
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
        sockets
            .send(&datagram(Via::Routed, second, address))
            .unwrap();
        let (_, from) = peer.recv_from(&mut [0; 100]).unwrap();
        assert_eq!(from, (second, sockets.port).into());
    }

    #[tokio::test]
    async fn an_answer_to_what_left_by_a_link_comes_back_by_it_and_others_do_not() {
        let Some(sockets) = opened() else { return };
        let (peer, address) = peer();
        let via = Via::Link(loopback_link());
        sockets.send(&datagram(via, LOOPBACK, address)).unwrap();
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
        sockets
            .send(&datagram(Via::Routed, LOOPBACK, address))
            .unwrap();
        assert_eq!(heard(&sockets).await, None);
    }

    #[tokio::test]
    async fn a_link_that_is_gone_is_an_error_and_no_other_way() {
        let Some(sockets) = opened() else { return };
        let (_peer, address) = peer();
        let gone = Via::Link(LinkId(999_999));
        let sent = sockets.send(&datagram(gone, LOOPBACK, address));
        assert!(matches!(sent, Err(Error::Send { .. })), "{sent:?}");
    }
}
