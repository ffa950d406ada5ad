//! Which of our addresses packets towards somebody leave from.

use super::netlink::route;
use super::netlink::socket::Requests;
use netlink_sys::protocols::NETLINK_ROUTE;
use std::io;
use std::net::IpAddr;

/// One socket that stays open: each question is two system calls.
#[derive(Debug)]
pub struct SourceAddresses {
    requests: Requests,
    mark: u32,
}

impl SourceAddresses {
    /// For packets with this mark, in the calling thread's network namespace.
    pub fn open(mark: u32) -> io::Result<Self> {
        let requests = Requests::open_strict(NETLINK_ROUTE)?;
        Ok(Self { requests, mark })
    }

    /// `None` where there is no route.
    pub fn towards(&mut self, dst: IpAddr) -> Option<IpAddr> {
        let source = route::source_towards(&mut self.requests, dst, self.mark);
        source
            .inspect_err(|error| tracing::debug!(%dst, %error, "no route"))
            .ok()
    }
}
