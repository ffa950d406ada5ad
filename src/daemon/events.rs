//! What the kernel says, as events of the agent.

use crate::agent::event::{Event, KernelEvent};
use crate::agent::snapshot::RefusalView;
use crate::kernel::events::{self, Limit};
use crate::kernel::ownership::Band;
use crate::kernel::writer::Report;

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
            protocol: acquire.protocol,
        },
        events::KernelEvent::SaExpired { key, limit, .. } => KernelEvent::SaExpired {
            sa: key,
            hard: limit == Limit::Hard,
        },
        events::KernelEvent::SaLost { key } => KernelEvent::SaLost { sa: key },
        events::KernelEvent::PolicyExpired { key } => KernelEvent::PolicyExpired { policy: key },
        events::KernelEvent::OthersDecide(they_do) => KernelEvent::OthersDecide(they_do),
        events::KernelEvent::PolicyRepaired { key } => {
            tracing::warn!(?key, "somebody altered a policy of ours; it is as it was");
            return None;
        }
        events::KernelEvent::Overrun => {
            tracing::warn!("the kernel's events came faster than they were read; some are lost");
            return None;
        }
        events::KernelEvent::Acquire(_)
        | events::KernelEvent::LinkChanged
        | events::KernelEvent::AddressChanged
        | events::KernelEvent::GatewayChanged(_)
        | events::KernelEvent::AccessPointsChanged(_)
        | events::KernelEvent::SignalsChanged => return None,
    };
    Some(Event::Kernel(event))
}
