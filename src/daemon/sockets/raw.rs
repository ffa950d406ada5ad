//! Packets whose source is not ours: probes carry the addresses of the packet that they stand for,
//! and probes of others are passed on as they came, one hop count less.

use super::{Error, options};
use crate::net::Family;
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, setsockopt,
    sockopt,
};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Raw sockets to which the IP header is given too (`IPPROTO_RAW` implies it).
#[derive(Debug)]
pub struct RawSockets {
    v4: OwnedFd,
    v6: OwnedFd,
}

impl RawSockets {
    pub fn open(mark: u32) -> Result<Self, Error> {
        Ok(Self {
            v4: open(Family::V4, mark)?,
            v6: open(Family::V6, mark)?,
        })
    }

    pub fn send(&self, packet: &Datagram<'_>) -> Result<(), Error> {
        let bytes = packet.encode()?;
        let socket = match packet.dst.ip() {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => &self.v6,
        };
        // A raw IPv6 socket refuses a port in the address; the header inside has it.
        let to = SockaddrStorage::from(SocketAddr::new(packet.dst.ip(), 0));
        socket::sendto(socket.as_raw_fd(), &bytes, &to, MsgFlags::empty())
            .map(drop)
            .map_err(|errno| Error::Send {
                local: packet.src.ip(),
                remote: packet.dst,
                source: errno.into(),
            })
    }
}

fn open(family: Family, mark: u32) -> Result<OwnedFd, Error> {
    let failed = |what, source| Error::Open {
        port: 0,
        family,
        what,
        source,
    };
    let domain = match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket::socket(domain, SockType::Raw, flags, SockProtocol::Raw)
        .map_err(|e| failed("open a raw socket", e.into()))?;
    options::bypass_policies(fd.as_fd(), family)
        .map_err(|e| failed("exempt the socket from XFRM policies", e))?;
    setsockopt(&fd, sockopt::Mark, &mark).map_err(|e| failed("mark the socket", e.into()))?;
    Ok(fd)
}

/// A UDP datagram with the IP header that it should have.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    pub src: SocketAddr,
    pub dst: SocketAddr,
    pub hop_limit: u8,
    pub payload: &'a [u8],
}

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const UDP_HEADER: usize = 8;
const UDP: u8 = 17;

impl Datagram<'_> {
    /// The whole packet. The kernel fills in the IPv4 identification and header checksum.
    fn encode(&self) -> Result<Vec<u8>, Error> {
        let udp_len = u16::try_from(UDP_HEADER + self.payload.len())
            .ok()
            .filter(|len| len.checked_add(IPV6_HEADER as u16).is_some())
            .ok_or(Error::TooLong(self.payload.len()))?;
        let mut packet = Vec::with_capacity(IPV6_HEADER + usize::from(udp_len));
        let pseudo_header_sum = match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let total = udp_len + IPV4_HEADER as u16;
                packet.extend([0x45, 0]);
                packet.extend(total.to_be_bytes());
                packet.extend([0, 0, 0, 0, self.hop_limit, UDP, 0, 0]);
                packet.extend(src.octets());
                packet.extend(dst.octets());
                sum(&src.octets()) + sum(&dst.octets())
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                packet.extend([0x60, 0, 0, 0]);
                packet.extend(udp_len.to_be_bytes());
                packet.extend([UDP, self.hop_limit]);
                packet.extend(src.octets());
                packet.extend(dst.octets());
                sum(&src.octets()) + sum(&dst.octets())
            }
            (src, dst) => return Err(Error::MixedFamilies { src, dst }),
        };
        let udp = packet.len();
        packet.extend(self.src.port().to_be_bytes());
        packet.extend(self.dst.port().to_be_bytes());
        packet.extend(udp_len.to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(self.payload);
        let total = pseudo_header_sum + u32::from(UDP) + u32::from(udp_len) + sum(&packet[udp..]);
        packet[udp + 6..udp + 8].copy_from_slice(&checksum(total).to_be_bytes());
        Ok(packet)
    }
}

/// Sum of the 16-bit words, an odd last octet padded with zero (RFC 1071).
fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum()
}

/// Zero means "no checksum" in UDP, so a sum of zero is sent as all ones (RFC 768).
fn checksum(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    match !(sum as u16) {
        0 => 0xffff,
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(src: &str, dst: &str, payload: &[u8]) -> Vec<u8> {
        let (src, dst) = (src.parse().unwrap(), dst.parse().unwrap());
        Datagram {
            src,
            dst,
            hop_limit: 64,
            payload,
        }
        .encode()
        .unwrap()
    }

    /// The receiver's check: everything including the checksum sums to all ones.
    fn verifies(addresses: &[u8], udp: &[u8]) -> bool {
        let mut total = sum(addresses) + u32::from(UDP) + udp.len() as u32 + sum(udp);
        while total > 0xffff {
            total = (total & 0xffff) + (total >> 16);
        }
        total == 0xffff
    }

    #[test]
    fn checksums_verify_at_the_receiver_for_odd_and_even_lengths() {
        for payload in [&b""[..], b"a", b"ab", b"abc"] {
            let v4 = encode("10.1.0.2:4321", "10.2.0.8:500", payload);
            assert!(verifies(&v4[12..20], &v4[20..]));
            let v6 = encode("[2001:db8:1::2]:4321", "[2001:db8:2::8]:500", payload);
            assert!(verifies(&v6[8..40], &v6[40..]));
        }
    }

    #[test]
    fn headers_carry_addresses_ports_and_hop_count() {
        let packet = encode("10.1.0.2:4321", "10.2.0.8:500", b"xy");
        assert_eq!(packet[..12], [0x45, 0, 0, 30, 0, 0, 0, 0, 64, 17, 0, 0]);
        assert_eq!(packet[12..20], [10, 1, 0, 2, 10, 2, 0, 8]);
        assert_eq!(packet[20..26], [0x10, 0xe1, 0x01, 0xf4, 0, 10]);
    }

    #[test]
    fn mixed_versions_and_giants_are_refused() {
        let v4 = "10.1.0.2:1".parse().unwrap();
        let v6 = "[::1]:1".parse().unwrap();
        let mixed = Datagram {
            src: v4,
            dst: v6,
            hop_limit: 1,
            payload: b"",
        };
        assert!(matches!(mixed.encode(), Err(Error::MixedFamilies { .. })));
        let giant = Datagram {
            src: v4,
            dst: v4,
            hop_limit: 1,
            payload: &vec![0; 65_536],
        };
        assert!(matches!(giant.encode(), Err(Error::TooLong(65_536))));
    }
}
