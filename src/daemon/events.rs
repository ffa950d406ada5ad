//! What the kernel says, as events of the agent.

use crate::agent::event::{Event, KernelEvent};
use crate::agent::snapshot::RefusalView;
use crate::kernel::events::{self, Limit};
use crate::kernel::ownership::Band;
use crate::kernel::writer::Report;
use nix::net::if_::InterfaceFlags;
use std::net::IpAddr;

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

/// Whether other adapters may lead out of this machine now.
pub(super) fn moves_adapters(event: &events::KernelEvent) -> bool {
    matches!(
        event,
        events::KernelEvent::AddressChanged
            | events::KernelEvent::GatewayChanged
            | events::KernelEvent::Overrun
    )
}

pub(super) fn of_kernel(event: events::KernelEvent) -> Option<Event> {
    let event = match event {
        events::KernelEvent::Acquire(acquire) if acquire.own => KernelEvent::Acquire {
            trap: Band::of(acquire.priority) != Some(Band::Tunnel),
            policy: acquire.policy,
            flow: acquire.flow,
            protocol: acquire.protocol,
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
        events::KernelEvent::Acquire(_) | events::KernelEvent::GatewayChanged => return None,
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
