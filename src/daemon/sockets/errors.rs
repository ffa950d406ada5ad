//! ICMP errors that come back for requests that a foreign agent has passed on (RFC 5944 §3.7.3).
//!
//! ```text
//!  IP header │ type │ code │ checksum │ 4 octets │ what was sent: IP header │ ports 434 and 434 …
//! ```
//! A raw socket hears them, because those that the socket of port 434 would tell of itself take the place of what
//! it should send next. A filter in the kernel lets nothing else wake the agent.

use super::options;
use crate::agent::event::Undelivered;
use crate::kernel::input::awaiting_input;
use crate::kernel::socket_filter::{equals, statement};
use libc::sock_filter;
use libc::{BPF_B, BPF_IND, BPF_K, BPF_LD, BPF_LDX, BPF_MSH, BPF_RET, BPF_W};
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::task::{Context, Poll, ready};
use tokio::io::unix::AsyncFd;

const IP_HEADER: usize = 20;
const ICMP_HEADER: usize = 8;
const UDP: u8 = 17;
/// 434 (RFC 5944 §1.8), twice: a foreign agent passes requests on from it.
const PORTS: u32 = 0x01b2_01b2;

/// From the IP header on: what could not be delivered, for want of a way, of time, or of sense, between those ports.
const FILTER: [sock_filter; 9] = [
    // Where the header ends.
    statement(BPF_LDX | BPF_B | BPF_MSH, 0),
    statement(BPF_LD | BPF_B | BPF_IND, 0),
    equals(3, 2, 0),
    equals(11, 1, 0),
    equals(12, 0, 3),
    statement(BPF_LD | BPF_W | BPF_IND, (ICMP_HEADER + IP_HEADER) as u32),
    equals(PORTS, 0, 1),
    statement(BPF_RET | BPF_K, u16::MAX as u32),
    statement(BPF_RET | BPF_K, 0),
];

#[derive(Debug)]
pub struct ErrorSocket(AsyncFd<OwnedFd>);

impl ErrorSocket {
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let icmp = SockProtocol::Icmp;
        let fd = socket::socket(AddressFamily::Inet, SockType::Raw, flags, icmp)?;
        options::filter(fd.as_fd(), &FILTER)?;
        awaiting_input(fd).map(Self)
    }

    /// The next one. The task is woken when one has come.
    pub fn poll_receive(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<Undelivered>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(context))?;
            let fd = self.0.get_ref().as_raw_fd();
            let read = |_: &_| socket::recv(fd, buffer, MsgFlags::empty()).map_err(io::Error::from);
            match ready.try_io(read) {
                Ok(Ok(len)) => {
                    if let Some(error) = buffer.get(..len).and_then(decode) {
                        return Poll::Ready(Ok(error));
                    }
                }
                Err(_) => {}
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
    }
}

/// `None` where it is about nothing that we have sent so.
fn decode(packet: &[u8]) -> Option<Undelivered> {
    let header_len = usize::from(packet.first()? & 0xf) * 4;
    let (icmp, sent): (&[u8; ICMP_HEADER], _) = packet.get(header_len..)?.split_first_chunk()?;
    let (sent, udp): (&[u8; IP_HEADER], _) = sent.split_first_chunk()?;
    let ports: &[u8; 4] = udp.first_chunk()?;
    // We send no options, and whole.
    if sent[0] != 0x45 || sent[9] != UDP || u32::from_be_bytes(*ports) != PORTS {
        return None;
    }
    let address = |at: usize| Ipv4Addr::new(sent[at], sent[at + 1], sent[at + 2], sent[at + 3]);
    Some(Undelivered {
        local: address(12),
        remote: address(16),
        kind: icmp[0],
        code: icmp[1],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::socket_filter::passes;
    use proptest::prelude::*;

    fn packet(kind: u8, code: u8, ports: [u16; 2]) -> Vec<u8> {
        let mut packet = vec![0; IP_HEADER + ICMP_HEADER + IP_HEADER + 8];
        packet[0] = 0x45;
        packet[20..22].copy_from_slice(&[kind, code]);
        let sent = &mut packet[28..];
        (sent[0], sent[9]) = (0x45, UDP);
        sent[12..16].copy_from_slice(&[192, 0, 2, 9]);
        sent[16..20].copy_from_slice(&[10, 10, 0, 2]);
        for (at, port) in ports.iter().enumerate() {
            sent[20 + 2 * at..22 + 2 * at].copy_from_slice(&port.to_be_bytes());
        }
        packet
    }

    #[test]
    fn an_error_says_between_whom_the_request_was_and_what_is_wrong() {
        let read = Undelivered {
            local: Ipv4Addr::new(192, 0, 2, 9),
            remote: Ipv4Addr::new(10, 10, 0, 2),
            kind: 3,
            code: 1,
        };
        assert_eq!(decode(&packet(3, 1, [434, 434])), Some(read));
        assert_eq!(decode(&packet(3, 1, [434, 53])), None);
        assert_eq!(decode(&packet(3, 1, [434, 434])[..50]), None);
    }

    #[test]
    fn only_errors_between_those_ports_wake_anybody() {
        for kind in [3, 11, 12] {
            assert!(passes(&FILTER, &packet(kind, 0, [434, 434])));
            assert!(!passes(&FILTER, &packet(kind, 0, [500, 434])));
        }
        for kind in [0, 4, 5, 8] {
            assert!(!passes(&FILTER, &packet(kind, 0, [434, 434])));
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_panic(packet in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode(&packet);
        }
    }
}
