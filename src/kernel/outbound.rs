//! What other key daemons and administrators have decided over outbound packets, for whoever relies on it.
//!
//! Policies of one interface (`if_id`), of one user, of a range of ports or with a mark decide over some packets
//! only, and are not among them.

use super::desired::{Direction, Mark, Policy};
use super::netlink::error::KernelError;
use super::netlink::policy;
use super::netlink::socket::{Heard, Listener, Requests};
use super::ownership;
use netlink_packet_xfrm::constants::{XFRM_MSG_GETPOLICY, XFRMNLGRP_POLICY};
use netlink_sys::protocols::NETLINK_XFRM;
use std::io;
use tokio::io::unix::AsyncFd;

/// Says when policies have changed, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Watch {
    events: AsyncFd<Listener>,
}

impl Watch {
    /// Within a tokio runtime.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_ADMIN`, `EPROTONOSUPPORT` on a kernel without XFRM.
    pub fn open() -> io::Result<Self> {
        let events = Listener::open(NETLINK_XFRM, &[XFRMNLGRP_POLICY])?.into_async()?;
        Ok(Self { events })
    }

    /// However many policies have changed meanwhile, they are one occasion to look again.
    ///
    /// # Errors
    /// The socket failed; open a new one.
    pub async fn changed(&mut self) -> io::Result<()> {
        loop {
            let mut guard = self.events.readable_mut().await?;
            let mut changed = false;
            while guard.get_inner_mut().listen(|_| {})? != Heard::Silence {
                changed = true;
            }
            guard.clear_ready();
            if changed {
                return Ok(());
            }
        }
    }
}

/// Those of others, in the calling thread's network namespace.
pub fn of_others() -> Result<Vec<Policy>, KernelError> {
    let policies = Requests::open(NETLINK_XFRM)?.dump(XFRM_MSG_GETPOLICY, &[], policy::read)?;
    let theirs = policies.into_iter().filter(|observed| {
        let key = &observed.policy.key;
        let is_general = key.mark == Mark::default() && key.if_id == 0;
        key.direction == Direction::Out && is_general && !ownership::owns_policy(observed)
    });
    Ok(theirs.map(|observed| observed.policy).collect())
}
