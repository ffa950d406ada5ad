//! Events of links, addresses, routes, rules and our nftables tables.

use super::kernel_state::By;
use crate::kernel::desired::RuleKey;
use crate::kernel::netlink::address::{self, AddressAt};
use crate::kernel::netlink::message::Message;
use crate::kernel::netlink::nftables::{self, Happened};
use crate::kernel::netlink::route::{self, AnyRoute};
use crate::kernel::netlink::socket::{Heard, Listener};
use crate::kernel::netlink::{link, rule};
use crate::kernel::observed::ObservedLink;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use std::io;

/// `RTNLGRP_LINK`, `RTNLGRP_IPV4_IFADDR`, `RTNLGRP_IPV4_RULE`, `RTNLGRP_IPV6_IFADDR`,
/// `RTNLGRP_IPV6_RULE`.
const GROUPS: [u32; 5] = [1, 5, 8, 9, 19];
/// `RTNLGRP_IPV4_ROUTE`, `RTNLGRP_IPV6_ROUTE`.
const ROUTES: [u32; 2] = [7, 11];

#[derive(Debug)]
pub(super) enum PathSeen {
    Link(ObservedLink),
    LinkGone(u32),
    Address(AddressAt),
    AddressGone(AddressAt),
    Route(AnyRoute),
    RouteGone(AnyRoute),
    Rule(RuleKey),
    RuleGone(RuleKey),
    Table(Happened),
    /// Events were lost.
    Unknown,
}

#[derive(Debug)]
pub(super) struct Paths {
    pub events: Listener,
    /// `None` on a kernel without nftables.
    pub tables: Option<Listener>,
    /// In the order they happened.
    pub seen: Vec<(By, PathSeen)>,
}

impl Paths {
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self {
            events: Listener::open(NETLINK_ROUTE, &[&GROUPS[..], &ROUTES].concat())?,
            tables: Listener::open(NETLINK_NETFILTER, &[nftables::CHANGES]).ok(),
            seen: Vec::new(),
        })
    }

    /// Hears no more of routes, until they are listed again.
    pub(super) fn stop_listening(&mut self) -> io::Result<()> {
        ROUTES
            .iter()
            .try_for_each(|group| self.events.leave(*group))
    }

    pub(super) fn listen_again(&mut self) -> io::Result<()> {
        ROUTES.iter().try_for_each(|group| self.events.join(*group))
    }

    /// Reads all events that wait. The ports are those of the sockets that we write with.
    pub(super) fn listen(&mut self, routes: u32, tables: Option<u32>) -> io::Result<()> {
        let by = |ours| if ours { By::Us } else { By::Others };
        let Self { events, seen, .. } = self;
        drain(events, seen, |message| {
            let seen = decode(message)?;
            Some((by(message.port == routes), seen))
        })?;
        let Some(events) = &mut self.tables else {
            return Ok(());
        };
        drain(events, &mut self.seen, |message| {
            let seen = PathSeen::Table(nftables::read(message)?);
            Some((by(Some(message.port) == tables), seen))
        })
    }
}

fn drain(
    events: &mut Listener,
    seen: &mut Vec<(By, PathSeen)>,
    decode: impl Fn(&Message<'_>) -> Option<(By, PathSeen)>,
) -> io::Result<()> {
    loop {
        match events.listen(|message| seen.extend(decode(message)))? {
            Heard::Something => {}
            Heard::Overrun => seen.push((By::Others, PathSeen::Unknown)),
            Heard::Silence => return Ok(()),
        }
    }
}

fn decode(message: &Message<'_>) -> Option<PathSeen> {
    match message.kind {
        libc::RTM_NEWLINK => link::read(message).map(PathSeen::Link),
        libc::RTM_DELLINK => link::read_gone(message).map(PathSeen::LinkGone),
        libc::RTM_NEWADDR => address::read(message).map(PathSeen::Address),
        libc::RTM_DELADDR => address::read(message).map(PathSeen::AddressGone),
        libc::RTM_NEWROUTE => route::read(message).map(PathSeen::Route),
        libc::RTM_DELROUTE => route::read(message).map(PathSeen::RouteGone),
        libc::RTM_NEWRULE => rule::read(message).map(PathSeen::Rule),
        libc::RTM_DELRULE => rule::read(message).map(PathSeen::RuleGone),
        _ => None,
    }
}
