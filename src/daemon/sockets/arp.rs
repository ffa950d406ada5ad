//! Gratuitous ARP: who listens on a link learns at once that an address is here now (RFC 5944 §4.6).

use super::options;
use crate::kernel::desired::LinkName;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockType};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};

const BROADCAST: [u8; 6] = [0xff; 6];

/// Once, from the link's own hardware address.
pub fn announce(link: LinkName, address: Ipv4Addr) -> io::Result<()> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, "no such Ethernet");
    let index = if_nametoindex(link.as_str()).map_err(|_| missing())?;
    let flags = SockFlag::SOCK_CLOEXEC;
    let fd = socket::socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
    options::bind_to_frames(fd.as_fd(), index.cast_signed())?;
    // A list of all interfaces would say it too, and a move would wait for that.
    let mac = options::hardware_address(fd.as_fd())?.ok_or_else(missing)?;
    socket::send(fd.as_raw_fd(), &frame(mac, address), MsgFlags::empty())?;
    Ok(())
}

/// A request for the address by the address itself, which everybody reads (RFC 826).
///
/// ```text
/// │ to all │ from MAC │ 0806 │ Ethernet, IPv4, request │ MAC │ address │ 0 │ address │
/// ```
fn frame(mac: [u8; 6], address: Ipv4Addr) -> [u8; 42] {
    let address = address.octets();
    let mut frame = [0; 42];
    frame[..6].copy_from_slice(&BROADCAST);
    frame[6..12].copy_from_slice(&mac);
    frame[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame[22..28].copy_from_slice(&mac);
    frame[28..32].copy_from_slice(&address);
    frame[38..].copy_from_slice(&address);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_asks_for_its_own_sender() {
        let frame = frame([2, 0, 0, 0, 0, 7], Ipv4Addr::new(198, 51, 100, 5));
        let expected = "ffffffffffff020000000007080600010800060400010200000000\
                        07c633640500000000000\
                        0c6336405";
        let mut hex = String::new();
        for octet in frame {
            use std::fmt::Write;
            write!(hex, "{octet:02x}").unwrap();
        }
        assert_eq!(hex, expected);
    }

    #[test]
    fn a_link_that_is_not_there_is_an_error() {
        let missing = LinkName::literal("missing");
        let error = announce(missing, Ipv4Addr::LOCALHOST).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
