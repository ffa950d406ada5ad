//! What mobility agents and those who look for them say on one link (RFC 5944 §2): router
//! advertisements and solicitations, and registrations that visitors ask for.
//!
//! ```text
//!  frame ──→ filter in the kernel: ICMP 9 and 10, requests to port 434 ──→ Overheard
//!  Frame ──→ IP header ──→ to everybody, or to one MAC
//! ```
//! Frames, because whoever visits has an address of elsewhere: a route back to it, which the kernel
//! wants to see before a socket gets a packet, is what it asks for, and nobody may ask for its MAC
//! (RFC 5944 §4.6). Nothing else of the link is copied.

use super::options;
use crate::agent::on_link::{Frame, Overheard, Packet, Payload, Receiver};
use crate::kernel::desired::LinkName;
use crate::kernel::input::awaiting_input;
use crate::mobile_ip::LinkId;
use libc::{BPF_ABS, BPF_B, BPF_H, BPF_IND, BPF_JEQ, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_LDX};
use libc::{BPF_MSH, BPF_RET, sock_filter};
use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType};
use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio::io::unix::AsyncFd;

const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const ICMP: u8 = 1;
const UDP: u8 = 17;
/// RFC 5944 §1.8.
const PORT: u16 = 434;
/// RFC 1256 §4.1: hosts, and routers. Every host hears the first one; the second has to be joined.
const ALL_SYSTEMS: [u8; 6] = [0x01, 0, 0x5e, 0, 0, 1];
const ALL_ROUTERS: [u8; 6] = [0x01, 0, 0x5e, 0, 0, 2];
const EVERYBODY: [u8; 6] = [0xff; 6];

/// From the IP header on: ICMP of types 9 and 10, and UDP to port 434 with a registration request;
/// whole packets only.
const FILTER: [sock_filter; 15] = [
    load(BPF_H | BPF_ABS, 6),
    // More fragments, or not the first one.
    jump(BPF_JSET, 0x3fff, 12, 0),
    // Where the header ends.
    statement(BPF_LDX | BPF_B | BPF_MSH, 0),
    load(BPF_B | BPF_ABS, 9),
    jump(BPF_JEQ, ICMP as u32, 0, 3),
    load(BPF_B | BPF_IND, 0),
    jump(BPF_JEQ, 9, 6, 0),
    jump(BPF_JEQ, 10, 5, 6),
    jump(BPF_JEQ, UDP as u32, 0, 5),
    load(BPF_H | BPF_IND, 2),
    jump(BPF_JEQ, PORT as u32, 0, 3),
    load(BPF_B | BPF_IND, 8),
    jump(BPF_JEQ, 1, 0, 1),
    statement(BPF_RET | BPF_K, u16::MAX as u32),
    statement(BPF_RET | BPF_K, 0),
];

const fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

const fn load(what: u32, k: u32) -> sock_filter {
    statement(BPF_LD | what, k)
}

const fn jump(test: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        code: (BPF_JMP | test | BPF_K) as u16,
        jt,
        jf,
        k,
    }
}

#[derive(Debug, Default)]
pub struct OnLinkSockets {
    open: RefCell<Vec<Rc<Socket>>>,
    /// Of whoever waits, since a socket may be opened meanwhile.
    waker: RefCell<Option<Waker>>,
}

#[derive(Debug)]
struct Socket {
    name: LinkName,
    index: u32,
    fd: AsyncFd<OwnedFd>,
}

impl OnLinkSockets {
    /// Listens on these links and no others. One that cannot be listened on is told once it is new.
    pub fn links(&self, links: &[(LinkName, u32)]) {
        let is_wanted = |socket: &Rc<Socket>| links.contains(&(socket.name, socket.index));
        let mut open = self.open.borrow_mut();
        open.retain(is_wanted);
        for &(name, index) in links {
            if open.iter().any(|socket| socket.index == index) {
                continue;
            }
            match Socket::open(name, index) {
                Ok(socket) => open.push(Rc::new(socket)),
                Err(error) => tracing::warn!(%error, %name, "no mobility agents are heard there"),
            }
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub fn send(&self, frame: &Frame) -> io::Result<()> {
        let open = self.open.borrow();
        let on_it = |socket: &&Rc<Socket>| socket.name == frame.link;
        let missing = || io::Error::from(Errno::ENODEV);
        let socket = open.iter().find(on_it).ok_or_else(missing)?;
        socket.send(frame)
    }

    /// The next packet. The task is woken when one has come.
    pub fn poll_receive(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Overheard> {
        let sockets = self.open.borrow().clone();
        for socket in &sockets {
            match socket.poll_receive(context, buffer) {
                Poll::Ready(Ok(overheard)) => return Poll::Ready(overheard),
                Poll::Ready(Err(error)) => {
                    let name = socket.name;
                    tracing::warn!(%error, %name, "mobility agents are heard there no more");
                    let is_other = |other: &Rc<Socket>| !Rc::ptr_eq(other, socket);
                    self.open.borrow_mut().retain(is_other);
                }
                Poll::Pending => {}
            }
        }
        *self.waker.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Socket {
    fn open(name: LinkName, index: u32) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        // Of no protocol, so that nothing comes before the filter is there.
        let fd = socket::socket(AddressFamily::Packet, SockType::Datagram, flags, None)?;
        options::filter(fd.as_fd(), &FILTER)?;
        for group in [ALL_SYSTEMS, ALL_ROUTERS] {
            options::join(fd.as_fd(), index, group)?;
        }
        options::bind_to_packets(fd.as_fd(), index)?;
        let fd = awaiting_input(fd)?;
        Ok(Self { name, index, fd })
    }

    fn send(&self, frame: &Frame) -> io::Result<()> {
        let mac = match frame.to {
            Receiver::Mac(mac) => mac,
            Receiver::Everybody if frame.destination.is_multicast() => group(frame.destination),
            Receiver::Everybody => EVERYBODY,
        };
        options::send_packet(self.fd.get_ref().as_fd(), self.index, mac, &encode(frame))
    }

    fn poll_receive(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Overheard>> {
        loop {
            let mut ready = std::task::ready!(self.fd.poll_read_ready(context))?;
            let read = |fd: &AsyncFd<OwnedFd>| options::receive_packet(fd.as_fd(), buffer);
            match ready.try_io(read) {
                Ok(Ok((len, kind, mac))) => {
                    let ours = kind == libc::PACKET_HOST
                        || kind == libc::PACKET_BROADCAST
                        || kind == libc::PACKET_MULTICAST;
                    let packet = buffer.get(..len).filter(|_| ours).and_then(decode);
                    if let Some((ttl, packet)) = packet {
                        return Poll::Ready(Ok(Overheard {
                            link: LinkId(self.index),
                            name: self.name,
                            mac,
                            ttl,
                            packet,
                        }));
                    }
                }
                Err(_) => {}
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                // Switched off for now: it goes on when the link does.
                Ok(Err(error)) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
    }
}

/// The MAC of a group (RFC 1112 §6.4).
fn group(address: Ipv4Addr) -> [u8; 6] {
    let [_, b, c, d] = address.octets();
    [0x01, 0, 0x5e, b & 0x7f, c, d]
}

/// With its time to live; `None` for what is not whole.
fn decode(packet: &[u8]) -> Option<(u8, Packet)> {
    let header: &[u8; IP_HEADER] = packet.first_chunk()?;
    let header_len = usize::from(header[0] & 0xf) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[0] >> 4 != 4 || header_len < IP_HEADER {
        return None;
    }
    // Behind it, an Ethernet has padding.
    let body = packet.get(header_len..total)?;
    let address = |at: usize| {
        let [a, b, c, d] = [header[at], header[at + 1], header[at + 2], header[at + 3]];
        Ipv4Addr::new(a, b, c, d)
    };
    let (source, destination) = (address(12), address(16));
    let packet = match header[9] {
        ICMP => Packet::Icmp {
            source,
            destination,
            message: body.to_vec(),
        },
        UDP => {
            let (udp, payload): (&[u8; UDP_HEADER], _) = body.split_first_chunk()?;
            let of = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
            let len = usize::from(of(4)).checked_sub(UDP_HEADER)?;
            Packet::Request {
                remote: SocketAddrV4::new(source, of(0)),
                local: SocketAddrV4::new(destination, of(2)),
                payload: payload.get(..len)?.to_vec(),
            }
        }
        _ => return None,
    };
    Some((header[8], packet))
}

/// The whole packet.
fn encode(frame: &Frame) -> Vec<u8> {
    let mut body = Vec::new();
    let protocol = match &frame.payload {
        Payload::Icmp(message) => {
            body.extend_from_slice(message);
            ICMP
        }
        Payload::Udp {
            source,
            destination,
            payload,
        } => {
            let len = u16::try_from(UDP_HEADER + payload.len()).unwrap_or(u16::MAX);
            for word in [*source, *destination, len, 0] {
                body.extend_from_slice(&word.to_be_bytes());
            }
            body.extend_from_slice(payload);
            let pseudo = [frame.source.octets(), frame.destination.octets()].concat();
            let sum = sum(&pseudo) + u32::from(UDP) + u32::from(len) + sum(&body);
            // A sum of zero would say that there is none (RFC 768).
            let checksum = match folded(sum) {
                0 => 0xffff,
                checksum => checksum,
            };
            body[6..8].copy_from_slice(&checksum.to_be_bytes());
            UDP
        }
    };
    let total = u16::try_from(IP_HEADER + body.len()).unwrap_or(u16::MAX);
    let mut packet = Vec::with_capacity(total.into());
    packet.extend_from_slice(&[0x45, 0]);
    packet.extend_from_slice(&total.to_be_bytes());
    // Not to be fragmented, so that it needs no identification (RFC 6864 §4.1).
    packet.extend_from_slice(&[0, 0, 0x40, 0, frame.ttl, protocol, 0, 0]);
    packet.extend_from_slice(&frame.source.octets());
    packet.extend_from_slice(&frame.destination.octets());
    let checksum = folded(sum(&packet));
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend_from_slice(&body);
    packet
}

/// Of the 16-bit words, an odd last octet padded with zero (RFC 1071).
fn sum(octets: &[u8]) -> u32 {
    let (pairs, odd) = octets.as_chunks::<2>();
    let whole: u32 = pairs
        .iter()
        .map(|pair| u32::from(u16::from_be_bytes(*pair)))
        .sum();
    whole + odd.first().map_or(0, |octet| u32::from(*octet) << 8)
}

fn folded(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn frame(payload: Payload) -> Frame {
        Frame {
            link: LinkName::literal("eth1"),
            to: Receiver::Everybody,
            source: Ipv4Addr::new(203, 0, 113, 1),
            destination: Ipv4Addr::new(224, 0, 0, 1),
            ttl: 1,
            payload,
        }
    }

    #[test]
    fn what_is_sent_reads_back_and_its_sums_are_right() {
        for payload in [vec![], vec![1], vec![1, 2, 3, 4, 5]] {
            let udp = Payload::Udp {
                source: 434,
                destination: 1000,
                payload: payload.clone(),
            };
            let frame = frame(udp);
            let mut packet = encode(&frame);
            assert_eq!(folded(sum(&packet[..IP_HEADER])), 0);
            let len = packet.len() - IP_HEADER;
            let pseudo = sum(&packet[12..20]) + u32::from(UDP) + u32::try_from(len).unwrap();
            assert_eq!(folded(pseudo + sum(&packet[IP_HEADER..])), 0);
            packet.extend_from_slice(&[0; 18]);
            let read = Packet::Request {
                remote: SocketAddrV4::new(frame.source, 434),
                local: SocketAddrV4::new(frame.destination, 1000),
                payload,
            };
            assert_eq!(decode(&packet), Some((1, read)));
        }
        let message = vec![10, 0, 0xf5, 0xff, 0, 0, 0, 0];
        let frame = frame(Payload::Icmp(message.clone()));
        let read = Packet::Icmp {
            source: frame.source,
            destination: frame.destination,
            message,
        };
        assert_eq!(decode(&encode(&frame)), Some((1, read)));
    }

    /// Runs the filter as the kernel would.
    fn passes(packet: &[u8]) -> bool {
        let octet = |at: usize| packet.get(at).copied().map(u32::from);
        let half = |at: usize| Some(octet(at)? << 8 | octet(at + 1)?);
        let (mut a, mut x, mut at) = (0, 0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = FILTER[at];
            let place = usize::try_from(k).unwrap();
            at += 1;
            let loaded = match u32::from(code) {
                c if c == BPF_LD | BPF_H | BPF_ABS => half(place),
                c if c == BPF_LD | BPF_B | BPF_ABS => octet(place),
                c if c == BPF_LD | BPF_H | BPF_IND => half(x + place),
                c if c == BPF_LD | BPF_B | BPF_IND => octet(x + place),
                c if c == BPF_LDX | BPF_B | BPF_MSH => {
                    x = usize::from(packet[place] & 0xf) * 4;
                    Some(a)
                }
                c if c == BPF_JMP | BPF_JEQ | BPF_K => {
                    at += usize::from(if a == k { jt } else { jf });
                    Some(a)
                }
                c if c == BPF_JMP | BPF_JSET | BPF_K => {
                    at += usize::from(if a & k != 0 { jt } else { jf });
                    Some(a)
                }
                _ => return k != 0,
            };
            match loaded {
                Some(loaded) => a = loaded,
                None => return false,
            }
        }
    }

    #[test]
    fn only_discovery_and_requests_pass_the_filter() {
        let icmp = |kind: u8| encode(&frame(Payload::Icmp(vec![kind, 0, 0, 0, 0, 0, 0, 0])));
        let udp = |destination, first: u8| {
            encode(&frame(Payload::Udp {
                source: 434,
                destination,
                payload: vec![first; 24],
            }))
        };
        assert!(passes(&icmp(9)) && passes(&icmp(10)) && passes(&udp(434, 1)));
        assert!(!passes(&icmp(8)) && !passes(&icmp(0)) && !passes(&udp(434, 3)));
        assert!(!passes(&udp(435, 1)) && !passes(&udp(434, 4)));
        let mut fragment = icmp(9);
        fragment[7] = 1;
        assert!(!passes(&fragment));
        fragment[6..8].copy_from_slice(&[0x20, 0]);
        assert!(!passes(&fragment));
        let mut tcp = udp(434, 1);
        tcp[9] = 6;
        assert!(!passes(&tcp));
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_passed_over(octets in vec(any::<u8>(), 0..80)) {
            let _ = decode(&octets);
            let mut octets = octets;
            if let Some(first) = octets.first_mut() {
                *first = 0x45;
            }
            let _ = decode(&octets);
        }
    }
}
