//! Everything outside that becomes an event of the agent.

use super::sockets::{Received, UdpSocket};
use crate::agent::event::{Event, KernelEvent};
use crate::agent::snapshot::RefusalView;
use crate::kernel::events::{self, Limit};
use crate::kernel::ownership::Band;
use crate::kernel::writer::Report;
use nix::net::if_::InterfaceFlags;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use tokio::sync::mpsc;

/// Larger than any datagram.
const BUFFER: usize = 65_536;

/// RFC 3948 §2.2: what stands before IKE on port 4500, where ESP has its SPI.
pub(super) const NON_ESP_MARKER: [u8; 4] = [0; 4];

/// Which event a socket's datagrams are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    Ike,
    NatTraversal,
    Transparent,
}

/// Reads a socket until nobody wants its datagrams any more.
pub(super) async fn read(socket: Rc<UdpSocket>, source: Source, events: mpsc::Sender<Event>) {
    let mut buffer = vec![0; BUFFER];
    loop {
        let received = match socket.receive(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::error!(%error, port = socket.port(), "a socket is lost");
                return;
            }
        };
        let payload = &buffer[..received.len];
        if let Some(event) = event(source, received, payload)
            && events.send(event).await.is_err()
        {
            return;
        }
    }
}

fn event(source: Source, received: Received, payload: &[u8]) -> Option<Event> {
    let Received {
        local,
        remote,
        hop_limit,
        ..
    } = received;
    match source {
        Source::Ike => Some(Event::Datagram {
            local,
            remote,
            payload: payload.to_vec(),
        }),
        // What is left here is not ESP; a NAT keepalive is one octet and says nothing.
        Source::NatTraversal => {
            payload
                .strip_prefix(&NON_ESP_MARKER)
                .map(|payload| Event::Datagram {
                    local,
                    remote,
                    payload: payload.to_vec(),
                })
        }
        // The socket's own port is not secret; only what was diverted was meant for port 500.
        Source::Transparent => (local.port() == 500).then(|| Event::Diverted {
            local,
            remote,
            hop_limit,
            payload: payload.to_vec(),
        }),
    }
}

/// `None` for what the agent need not know.
pub(super) fn of_report(report: Report) -> Option<Event> {
    let event = match report {
        Report::Applied { revision } => KernelEvent::Applied { revision },
        Report::Refused { refusal, .. } => KernelEvent::Refused {
            key: refusal.key,
            refusal: RefusalView {
                attempt: refusal.attempt,
                error: refusal.error.to_string(),
                advice: refusal.advice,
            },
        },
        Report::Accepted { key } => KernelEvent::Accepted { key },
        Report::Event(event) => return of_kernel(event),
    };
    Some(Event::Kernel(event))
}

pub(super) fn of_kernel(event: events::KernelEvent) -> Option<Event> {
    let event = match event {
        events::KernelEvent::Acquire(acquire) if acquire.own => KernelEvent::Acquire {
            trap: Band::of(acquire.priority) != Some(Band::Tunnel),
            policy: acquire.policy,
            flow: acquire.flow,
        },
        events::KernelEvent::SaExpired { key, limit, .. } => KernelEvent::SaExpired {
            sa: key,
            hard: limit == Limit::Hard,
        },
        events::KernelEvent::SaLost { key } => KernelEvent::SaLost { sa: key },
        events::KernelEvent::PolicyExpired { key } => KernelEvent::PolicyExpired { policy: key },
        events::KernelEvent::AddressChanged => return own_addresses().map(Event::Addresses),
        events::KernelEvent::PolicyRepaired { key } => {
            tracing::warn!(?key, "somebody altered a policy of ours; it is as it was");
            return None;
        }
        events::KernelEvent::Overrun => {
            tracing::warn!("the kernel's events came faster than they were read; some are lost");
            return None;
        }
        events::KernelEvent::Acquire(_) => return None,
    };
    Some(Event::Kernel(event))
}

/// Every address of this machine; `None` where they cannot be read, which does not mean that they
/// have gone.
pub(super) fn own_addresses() -> Option<Vec<IpAddr>> {
    let interfaces = nix::ifaddrs::getifaddrs()
        .inspect_err(|error| tracing::error!(%error, "our own addresses cannot be read"))
        .ok()?;
    let address = |storage: nix::sys::socket::SockaddrStorage| -> Option<IpAddr> {
        match storage.as_sockaddr_in() {
            Some(v4) => Some(v4.ip().into()),
            None => storage.as_sockaddr_in6().map(|v6| v6.ip().into()),
        }
    };
    let addresses = interfaces.filter_map(|interface| interface.address.and_then(address));
    Some(addresses.collect())
}

/// Name and state of an interface.
pub(super) type Link = (String, bool);

/// The interfaces that lead anywhere, and whether they are up and have a carrier; sorted.
pub(super) fn links() -> Vec<Link> {
    let flags = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
    let mut links: Vec<Link> = nix::ifaddrs::getifaddrs()
        .into_iter()
        .flatten()
        .filter(|i| !i.flags.contains(InterfaceFlags::IFF_LOOPBACK))
        .map(|i| (i.interface_name, i.flags.contains(flags)))
        .collect();
    links.sort_unstable();
    links.dedup();
    links
}

/// Local half of a datagram that is about to leave.
pub(super) fn uses_nat_traversal(local: SocketAddr) -> bool {
    local.port() == 4500
}
