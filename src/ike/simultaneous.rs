//! Both ends set up an IKE SA with each other at once: which one stays.
//!
//! The rule of RFC 7296 §2.8.1 for IKE SAs that are replaced at once: of the four nonces the
//! lowest loses. Both ends know all four and come to the same result. The IKE SA that lost is
//! closed by the end that began it, when two things hold:
//!
//! - the other one's children cover every selector of its children, so that nothing that was
//!   protected stops being so (the two ends may have asked for different traffic);
//! - a few seconds have passed, in which both ends have moved to the other one's children, and
//!   what was sent on this one's has arrived.

use super::context::Timer;
use super::effects::{DownReason, IkeId};
use super::endpoint::Endpoint;
use super::sa::{IkeSa, Role};
use std::time::{Duration, Instant};

const DELAY: Duration = Duration::from_secs(3);

/// The IKE SA that stays while `sa` goes: set up by the peer with the same end at once.
fn survivor<'a>(endpoint: &'a Endpoint, sa: &IkeSa) -> Option<&'a IkeSa> {
    endpoint.sas.values().find(|other| {
        other.is_established()
            && other.role != sa.role
            && other.peer == sa.peer
            && other.local.ip() == sa.local.ip()
            && other.remote.ip() == sa.remote.ip()
            && other.lowest_nonce > sa.lowest_nonce
    })
}

fn covers(survivor: &IkeSa, redundant: &IkeSa) -> bool {
    redundant.children.values().all(|child| {
        child.selectors.iter().all(|selector| {
            survivor.children.values().any(|other| {
                other.closing.is_none()
                    && other.mode == child.mode
                    && other.selectors.iter().any(|s| s.contains(selector))
            })
        })
    })
}

fn is_redundant(endpoint: &Endpoint, sa: &IkeSa) -> bool {
    sa.is_established()
        && sa.role == Role::Initiator
        && survivor(endpoint, sa).is_some_and(|other| covers(other, sa))
}

/// Something happened to the IKE SA `changed`: is it, or one beside it, redundant now?
pub(super) fn review(endpoint: &mut Endpoint, now: Instant, changed: IkeId) {
    let Some(peer) = endpoint.sas.get(&changed).map(|sa| &sa.peer) else {
        return;
    };
    let redundant: Vec<IkeId> = endpoint
        .sas
        .values()
        .filter(|sa| sa.peer == *peer && is_redundant(endpoint, sa))
        .map(|sa| sa.id)
        .collect();
    for id in redundant {
        let timer = Timer::Redundant(id);
        if endpoint.ctx.timers.deadline(&timer).is_none() {
            endpoint.ctx.set_timer(timer, now + DELAY);
        }
    }
}

/// The delay is over. Where something still waits on it, or it is needed after all, it stays; the
/// next change brings it up again.
pub(super) fn close_if_covered(endpoint: &mut Endpoint, now: Instant, id: IkeId) {
    let Some(sa) = endpoint.sas.get(&id) else {
        return;
    };
    let busy = !sa.waiting.is_empty() || !sa.postponed.is_empty() || sa.in_flight.is_some();
    if busy {
        endpoint.ctx.set_timer(Timer::Redundant(id), now + DELAY);
    } else if is_redundant(endpoint, sa) {
        endpoint.end(now, id, &DownReason::Redundant);
    }
}
