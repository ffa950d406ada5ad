//! Which of our addresses the route towards somebody would use.

use super::{Error, options};
use crate::net::Family;
use nix::sys::socket::{
    self, AddressFamily, SockFlag, SockType, SockaddrStorage, setsockopt, sockopt,
};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Connecting a datagram socket sends nothing, but makes the kernel look the route up.
#[derive(Debug)]
pub struct SourceAddresses {
    mark: u32,
}

impl SourceAddresses {
    pub fn new(mark: u32) -> Self {
        Self { mark }
    }

    /// `None` where there is no route.
    pub fn towards(&self, dst: IpAddr) -> Option<IpAddr> {
        let socket = self.open(Family::of(dst)).ok()?;
        // Port 9 (discard) is never sent to.
        let to = SockaddrStorage::from(SocketAddr::new(dst, 9));
        socket::connect(socket.as_raw_fd(), &to).ok()?;
        let own: SockaddrStorage = socket::getsockname(socket.as_raw_fd()).ok()?;
        match own.as_sockaddr_in() {
            Some(v4) => Some(v4.ip().into()),
            None => own.as_sockaddr_in6().map(|v6| v6.ip().into()),
        }
    }

    fn open(&self, family: Family) -> Result<OwnedFd, Error> {
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
        let fd = socket::socket(domain, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
            .map_err(|e| failed("open a UDP socket", e.into()))?;
        options::bypass_policies(fd.as_fd(), family)
            .map_err(|e| failed("exempt the socket from XFRM policies", e))?;
        setsockopt(&fd, sockopt::Mark, &self.mark)
            .map_err(|e| failed("mark the socket", e.into()))?;
        Ok(fd)
    }
}
