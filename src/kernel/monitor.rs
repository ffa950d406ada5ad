//! What the kernel asks for and what comes to its end: ACQUIRE, EXPIRE, changes of addresses, gateways and access
//! points, and whether others' policies come before ours.
//!
//! Objects of ours that others alter or delete are the writer's business, which listens for itself.
//! Events that nobody reads stay in the socket, 8 MiB of them; beyond that they are lost and
//! [`KernelEvent::Overrun`] says so. So memory stays bounded however slowly the agent reads.

use super::events::{KernelEvent, Limit};
use super::netlink::message::Message;
use super::netlink::neighbour::{self, DefaultRoute};
use super::netlink::socket::{Heard, Listener, Requests};
use super::netlink::wireless::AccessPoints;
use super::netlink::{acquire, sa};
use super::others::Others;
use super::ownership;
use super::radio::Radio;
use super::socket_filter::{equals, statement};
use crate::net::Family;
use libc::{BPF_ABS, BPF_B, BPF_H, BPF_K, BPF_LD, BPF_RET, sock_filter};
use netlink_packet_xfrm::constants::{
    XFRM_MSG_ACQUIRE, XFRM_MSG_EXPIRE, XFRMNLGRP_ACQUIRE, XFRMNLGRP_EXPIRE,
};
use netlink_sys::protocols::{NETLINK_ROUTE, NETLINK_XFRM};
use std::collections::VecDeque;
use std::io;
use tokio::io::unix::AsyncFd;

/// `RTNLGRP_LINK`, `RTNLGRP_IPV4_IFADDR`, `RTNLGRP_IPV6_IFADDR`.
const ADDRESS_GROUPS: [u32; 3] = [1, 5, 9];
/// `RTNLGRP_NEIGH`, `RTNLGRP_IPV4_ROUTE`, `RTNLGRP_IPV6_ROUTE`.
const GATEWAY_GROUPS: [u32; 3] = [3, 7, 11];

/// Of routes, only default ones concern gateways. A home agent makes thousands of others a second, and each
/// would wake the thread that answers registrations.
///
/// ```text
///  0       4      6                16     17
///  length  kind   flags …          family dst_len …
/// ```
const DEFAULT_ROUTES: [sock_filter; 7] = [
    statement(BPF_LD | BPF_H | BPF_ABS, 4),
    // Read in network order, written in the machine's.
    equals(libc::RTM_NEWROUTE.to_be() as u32, 1, 0),
    equals(libc::RTM_DELROUTE.to_be() as u32, 0, 2),
    statement(BPF_LD | BPF_B | BPF_ABS, 17),
    equals(0, 0, 1),
    statement(BPF_RET | BPF_K, u32::MAX),
    statement(BPF_RET | BPF_K, 0),
];

#[derive(Debug)]
pub struct Monitor {
    xfrm: AsyncFd<Listener>,
    addresses: AsyncFd<Listener>,
    gateways: AsyncFd<Listener>,
    known: Gateways,
    policies: AsyncFd<Listener>,
    others: Others,
    wireless: AsyncFd<Listener>,
    radio: Radio,
    ready: VecDeque<KernelEvent>,
}

impl Monitor {
    /// Within a tokio runtime. Listens in the network namespace of the calling thread.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_ADMIN`, `EPROTONOSUPPORT` on a kernel without XFRM.
    pub fn open() -> io::Result<Self> {
        let listen = |protocol, groups: &[u32]| Listener::open(protocol, groups)?.into_async();
        let mut gateways = Listener::open(NETLINK_ROUTE, &GATEWAY_GROUPS)?;
        gateways.filter(&DEFAULT_ROUTES)?;
        let (radio, wireless) = Radio::open()?;
        let (mut others, policies) = Others::open()?;
        let ready = others.news()?.map(KernelEvent::OthersDecide);
        Ok(Self {
            xfrm: listen(NETLINK_XFRM, &[XFRMNLGRP_ACQUIRE, XFRMNLGRP_EXPIRE])?,
            addresses: listen(NETLINK_ROUTE, &ADDRESS_GROUPS)?,
            gateways: gateways.into_async()?,
            known: Gateways::open()?,
            policies: policies.into_async()?,
            others,
            wireless: wireless.into_async()?,
            radio,
            ready: ready.into_iter().collect(),
        })
    }

    /// As they are at the start; changes of them are events.
    pub fn access_points(&self) -> &AccessPoints {
        self.radio.access_points()
    }

    /// The next event. May be dropped while it waits without losing one.
    ///
    /// # Errors
    /// A socket failed; open a new monitor and take everything as lost.
    pub async fn next(&mut self) -> io::Result<KernelEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            let ready = &mut self.ready;
            tokio::select! {
                biased;
                guard = self.xfrm.readable_mut() => {
                    let mut guard = guard?;
                    match guard.get_inner_mut().listen(|m| ready.extend(decode(m)))? {
                        Heard::Something => {}
                        Heard::Overrun => ready.push_back(KernelEvent::Overrun),
                        Heard::Silence => guard.clear_ready(),
                    }
                }
                guard = self.policies.readable_mut() => {
                    let mut guard = guard?;
                    let others = &mut self.others;
                    match guard.get_inner_mut().listen(|message| others.hear(message))? {
                        Heard::Something => {}
                        Heard::Overrun => others.lost_track(),
                        Heard::Silence => guard.clear_ready(),
                    }
                    ready.extend(others.news()?.map(KernelEvent::OthersDecide));
                }
                // Before its carrier, so that an interface and its access point come together.
                guard = self.wireless.readable_mut() => {
                    let mut guard = guard?;
                    let radio = &mut self.radio;
                    match guard.get_inner_mut().listen(|message| radio.hear(message))? {
                        Heard::Something => {}
                        Heard::Overrun => radio.lost_track(),
                        Heard::Silence => guard.clear_ready(),
                    }
                    if let Some(news) = radio.news(guard.get_inner_mut()) {
                        self.known.doubt();
                        ready.push_back(KernelEvent::AccessPointsChanged(news));
                    }
                    if radio.is_alarmed() {
                        ready.push_back(KernelEvent::SignalsChanged);
                    }
                }
                guard = self.addresses.readable_mut() => {
                    let mut guard = guard?;
                    // However many there are, they are one occasion to look again.
                    let mut changed = None;
                    loop {
                        let heard = guard.get_inner_mut().listen(|message| {
                            changed = changed.max(change(message));
                        })?;
                        match heard {
                            Heard::Something => {}
                            Heard::Overrun => changed = Some(Changed::Link),
                            Heard::Silence => break,
                        }
                    }
                    guard.clear_ready();
                    if let Some(changed) = changed {
                        self.known.doubt();
                        ready.push_back(match changed {
                            Changed::Address => KernelEvent::AddressChanged,
                            Changed::Link => KernelEvent::LinkChanged,
                        });
                    }
                }
                guard = self.gateways.readable_mut() => {
                    let mut guard = guard?;
                    let known = &mut self.known;
                    match guard.get_inner_mut().listen(|message| known.hear(message))? {
                        Heard::Something => {}
                        Heard::Overrun => known.lost_track(),
                        Heard::Silence => guard.clear_ready(),
                    }
                    ready.extend(known.news()?.map(KernelEvent::GatewayChanged));
                }
            }
        }
    }
}

/// What has to be looked at again: with a link, addresses too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Changed {
    Address,
    Link,
}

fn change(message: &Message<'_>) -> Option<Changed> {
    match message.kind {
        libc::RTM_NEWADDR | libc::RTM_DELADDR => Some(Changed::Address),
        libc::RTM_NEWLINK | libc::RTM_DELLINK => Some(Changed::Link),
        _ => None,
    }
}

/// Of the default routes, so that no other neighbour's coming and going wakes anybody.
#[derive(Debug)]
struct Gateways {
    requests: Requests,
    routes: Vec<DefaultRoute>,
    /// Whether they may be others by now.
    doubtful: bool,
    /// Whether something that concerns them was heard since somebody was told.
    concerned: bool,
}

impl Gateways {
    fn open() -> io::Result<Self> {
        let mut gateways = Self {
            requests: Requests::open_strict(NETLINK_ROUTE)?,
            routes: Vec::new(),
            doubtful: false,
            concerned: false,
        };
        gateways.list()?;
        Ok(gateways)
    }

    /// Routes go with a link or an address without a word, and neighbours with a carrier.
    fn doubt(&mut self) {
        self.doubtful = true;
        // Who answers again with the MAC of before is news.
        for route in &mut self.routes {
            route.mac = None;
        }
    }

    fn hear(&mut self, message: &Message<'_>) {
        if neighbour::default_route(message).is_some() {
            self.lost_track();
        } else if let Some((at, mac)) = neighbour::neighbour(message) {
            let known = self.routes.iter_mut();
            for route in known.filter(|r| (r.link, r.gateway) == at && r.mac != Some(mac)) {
                route.mac = Some(mac);
                self.concerned = true;
            }
        }
    }

    fn lost_track(&mut self) {
        (self.doubtful, self.concerned) = (true, true);
    }

    /// The routes, where they may not be what they were when this was asked before.
    fn news(&mut self) -> io::Result<Option<Vec<DefaultRoute>>> {
        if !std::mem::take(&mut self.concerned) {
            return Ok(None);
        }
        if std::mem::take(&mut self.doubtful) {
            self.list()?;
        }
        Ok(Some(self.routes.clone()))
    }

    fn list(&mut self) -> io::Result<()> {
        let routes = neighbour::default_routes(&mut self.requests, &[Family::V4, Family::V6]);
        self.routes = routes.map_err(|error| error.errno)?;
        Ok(())
    }
}

fn decode(message: &Message<'_>) -> Option<KernelEvent> {
    match message.kind {
        XFRM_MSG_ACQUIRE => acquire::read(message).map(KernelEvent::Acquire),
        XFRM_MSG_EXPIRE => {
            let sa = sa::read(message).filter(ownership::owns_sa)?;
            Some(KernelEvent::SaExpired {
                key: sa.key,
                reqid: sa.reqid,
                limit: if sa::is_hard_expiry(message) {
                    Limit::Hard
                } else {
                    Limit::Soft
                },
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::desired::{RouteKey, Way};
    use crate::kernel::netlink::message::Batch;
    use crate::kernel::netlink::route;
    use crate::kernel::socket_filter::passes;

    #[test]
    fn of_routes_only_default_ones_wake_anybody_and_of_neighbours_all_may() {
        let written = |dst: &str, deleted: bool| {
            let key = RouteKey {
                table: RouteKey::MAIN,
                dst: dst.parse().unwrap(),
                metric: 7,
            };
            let mut batch = Batch::new(1);
            if deleted {
                route::delete(&mut batch, &key, None);
            } else {
                route::add(&mut batch, &key, &Way::Unreachable);
            }
            batch.bytes().to_vec()
        };
        for deleted in [false, true] {
            assert!(passes(&DEFAULT_ROUTES, &written("0.0.0.0/0", deleted)));
            assert!(passes(&DEFAULT_ROUTES, &written("::/0", deleted)));
            assert!(!passes(&DEFAULT_ROUTES, &written("10.64.0.1/32", deleted)));
            assert!(!passes(&DEFAULT_ROUTES, &written("10.0.0.0/8", deleted)));
        }
        let mut neighbour = written("10.64.0.1/32", false);
        neighbour[4..6].copy_from_slice(&libc::RTM_NEWNEIGH.to_ne_bytes());
        assert!(passes(&DEFAULT_ROUTES, &neighbour));
    }
}
