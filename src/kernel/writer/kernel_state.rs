//! The sockets of the writer, and `observed` as they fill it.

use super::StartError;
use super::paths::Paths;
use crate::kernel::desired::{Interception, Judging, Key, PolicyKey, SaKey, Sysctl};
use crate::kernel::netlink::error::KernelError;
use crate::kernel::netlink::message::Message;
use crate::kernel::netlink::socket::{Heard, Listener, Requests};
use crate::kernel::netlink::{policy, sa};
use crate::kernel::observed::{
    Observed, ObservedDecapsulation, ObservedInterception, ObservedPolicy, ObservedSa,
};
use crate::kernel::{decapsulation, interception, ownership};
use netlink_packet_xfrm::constants::{
    XFRM_MSG_DELPOLICY, XFRM_MSG_DELSA, XFRM_MSG_EXPIRE, XFRM_MSG_FLUSHPOLICY, XFRM_MSG_FLUSHSA,
    XFRM_MSG_GETPOLICY, XFRM_MSG_GETSA, XFRM_MSG_NEWPOLICY, XFRM_MSG_NEWSA, XFRM_MSG_POLEXPIRE,
    XFRM_MSG_UPDPOLICY, XFRM_MSG_UPDSA, XFRMNLGRP_EXPIRE, XFRMNLGRP_POLICY, XFRMNLGRP_SA,
};
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE, NETLINK_XFRM};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// Who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Us,
    Others,
}

/// One event, decoded.
#[derive(Debug)]
pub(super) enum Seen {
    Policy(ObservedPolicy),
    PolicyGone(PolicyKey),
    /// Its own lifetime has ended.
    PolicyExpired(PolicyKey),
    Sa(ObservedSa),
    SaGone(SaKey),
    /// Somebody flushed, or events were lost: everything has to be listed again.
    Unknown,
}

#[derive(Debug)]
pub(super) struct Sockets {
    pub xfrm: Requests,
    pub route: Requests,
    pub nftables: Option<Requests>,
    pub events: Listener,
    pub paths: Paths,
    /// In the order they happened; collected while a plan is carried out.
    pub seen: Vec<(By, Seen)>,
}

impl Sockets {
    pub(super) fn open() -> Result<Self, StartError> {
        let socket = |name| move |error| StartError::Socket(name, error);
        // Listening comes before listing, so that nothing falls between.
        let groups = [XFRMNLGRP_SA, XFRMNLGRP_POLICY, XFRMNLGRP_EXPIRE];
        let events = Listener::open(NETLINK_XFRM, &groups).map_err(socket("XFRM events"))?;
        let xfrm = Requests::open(NETLINK_XFRM).map_err(socket("XFRM"))?;
        let route = Requests::open_strict(NETLINK_ROUTE).map_err(socket("routes"))?;
        // A kernel without nftables refuses what needs it, when it is wanted.
        let nftables = Requests::open(NETLINK_NETFILTER).ok();
        let paths = Paths::open().map_err(socket("route events"))?;
        Ok(Self {
            xfrm,
            route,
            nftables,
            events,
            paths,
            seen: Vec::new(),
        })
    }

    /// Those that events come by.
    fn listeners(&self) -> impl Iterator<Item = &Listener> {
        let paths = [Some(&self.paths.events), self.paths.tables.as_ref()];
        std::iter::once(&self.events).chain(paths.into_iter().flatten())
    }

    /// Copies of them, which wait for the same.
    pub(super) fn event_sockets(&self) -> io::Result<Vec<OwnedFd>> {
        let copies = self.listeners().map(|l| l.as_fd().try_clone_to_owned());
        copies.collect()
    }

    /// Whether events wait that were not read, or the loss of some.
    pub(super) fn has_events(&self) -> bool {
        let fds = self.listeners().map(AsFd::as_fd);
        let mut fds: Vec<PollFd<'_>> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut fds, PollTimeout::ZERO) {
            Ok(_) => fds.iter().any(|fd| fd.any() != Some(false)),
            // Whoever reads is told why.
            Err(_) => true,
        }
    }

    /// Hears no more of policies and routes, until everything is listed again.
    pub(super) fn stop_listening(&mut self) -> io::Result<()> {
        self.events.leave(XFRMNLGRP_POLICY)?;
        self.paths.stop_listening()
    }

    /// Reads all events that wait.
    pub(super) fn listen(&mut self) -> io::Result<()> {
        let nftables_port = self.nftables.as_ref().map(Requests::port);
        self.paths.listen(self.route.port(), nftables_port)?;
        let our_port = self.xfrm.port();
        let Self { events, seen, .. } = self;
        loop {
            let heard = events.listen(|message| {
                let by = if message.port == our_port {
                    By::Us
                } else {
                    By::Others
                };
                seen.extend(decode(message).map(|event| (by, event)));
            })?;
            match heard {
                Heard::Something => {}
                Heard::Overrun => seen.push((By::Others, Seen::Unknown)),
                Heard::Silence => return Ok(()),
            }
        }
    }

    /// Lists policies and SAs again; events tell what becomes of them from then on.
    pub(super) fn list(&mut self, observed: &mut Observed) -> Result<(), StartError> {
        let failed = |what| move |error| StartError::Dump(what, error);
        let joined = self.events.join(XFRMNLGRP_POLICY);
        joined.map_err(|error| StartError::Socket("XFRM events", error))?;
        let policies = self.xfrm.dump(XFRM_MSG_GETPOLICY, &[], policy::read);
        let policies = policies.map_err(failed("policies"))?;
        let sas = self.xfrm.dump(XFRM_MSG_GETSA, &[], sa::read);
        let sas = sas.map_err(failed("SAs"))?;
        observed.replace(policies, sas);
        Ok(())
    }
}

fn decode(message: &Message<'_>) -> Option<Seen> {
    match message.kind {
        XFRM_MSG_NEWPOLICY | XFRM_MSG_UPDPOLICY => policy::read(message).map(Seen::Policy),
        XFRM_MSG_DELPOLICY => policy::read(message).map(|p| Seen::PolicyGone(p.policy.key)),
        XFRM_MSG_POLEXPIRE if policy::is_hard_expiry(message) => {
            policy::read(message).map(|p| Seen::PolicyExpired(p.policy.key))
        }
        XFRM_MSG_NEWSA | XFRM_MSG_UPDSA => sa::read(message).map(Seen::Sa),
        XFRM_MSG_DELSA => sa::read(message).map(|sa| Seen::SaGone(sa.key)),
        XFRM_MSG_EXPIRE if sa::is_hard_expiry(message) => {
            sa::read(message).map(|sa| Seen::SaGone(sa.key))
        }
        XFRM_MSG_FLUSHPOLICY | XFRM_MSG_FLUSHSA => Some(Seen::Unknown),
        _ => None,
    }
}

/// Our tables, and what we wrote when they last looked like this.
#[derive(Debug, Default)]
pub(super) struct Table {
    written: Option<(Interception, interception::Listing)>,
    judging: Option<(Judging, String)>,
}

impl Table {
    pub(super) fn wrote(&mut self, wanted: &Interception) -> Result<(), KernelError> {
        self.written = interception::listing()?.map(|listing| (wanted.clone(), listing));
        Ok(())
    }

    pub(super) fn wrote_decapsulation(&mut self, judging: Judging) -> Result<(), KernelError> {
        self.judging = decapsulation::listing()?.map(|listing| (judging, listing));
        Ok(())
    }

    pub(super) fn observe_decapsulation(&self) -> Result<ObservedDecapsulation, KernelError> {
        Ok(match (decapsulation::listing()?, &self.judging) {
            (None, _) => ObservedDecapsulation::Absent,
            (Some(now), Some((judging, then))) if now == *then => {
                ObservedDecapsulation::AsWritten(*judging)
            }
            (Some(_), _) => ObservedDecapsulation::Unknown,
        })
    }

    pub(super) fn observe(&self) -> Result<ObservedInterception, KernelError> {
        Ok(match (interception::listing()?, &self.written) {
            (None, _) => ObservedInterception::Absent,
            (Some(now), Some((wanted, then))) if now == *then => {
                ObservedInterception::Is(wanted.clone())
            }
            (Some(_), _) => ObservedInterception::Unknown,
        })
    }
}

fn path(name: Sysctl) -> PathBuf {
    // Network sysctls are those of the calling thread's namespace.
    let swapped = name
        .to_string()
        .chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect::<String>();
    PathBuf::from("/proc/sys").join(swapped)
}

pub(super) fn read_sysctl(name: Sysctl) -> io::Result<String> {
    Ok(std::fs::read_to_string(path(name))?.trim_end().to_owned())
}

pub(super) fn write_sysctl(name: Sysctl, value: &str) -> io::Result<()> {
    std::fs::write(path(name), value)
}

/// Whether a policy of ours stands where it should.
pub(super) fn is_own(observed: &Observed, key: &Key) -> bool {
    match key {
        Key::Policy(key) => observed.policy(key).is_some_and(ownership::owns_policy),
        _ => false,
    }
}
