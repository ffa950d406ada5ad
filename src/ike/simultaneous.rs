//! Both ends set up the same thing with each other at once: which one stays.
//!
//! The rule of RFC 7296 §2.8.1 for IKE SAs that are replaced at once: of the four nonces the
//! lowest loses. Both ends know all four and come to the same result. The IKE SA that lost is
//! closed by the end that began it, when two things hold:
//!
//! - the other one's children cover every selector of its children, so that nothing that was
//!   protected stops being so (the two ends may have asked for different traffic);
//! - a few seconds have passed, in which both ends have moved to the other one's children, and
//!   what was sent on this one's has arrived.
//!
//! The same goes for two children with equal selectors that both ends asked for at once on one IKE
//! SA. (Children that both ends *replace* at once are settled by their exchange.)

use super::child_sa::{AskedBy, Child};
use super::context::Timer;
use super::effects::{ChildId, DownReason, IkeId};
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
                    && (other.protocol, other.mode) == (child.protocol, child.mode)
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

/// Something happened to the IKE SA `changed`: is it, a child of it, or an IKE SA beside it
/// redundant now?
pub(super) fn review(endpoint: &mut Endpoint, now: Instant, changed: IkeId) {
    let Some(sa) = endpoint.sas.get(&changed) else {
        return;
    };
    for child in sa.children.values().filter(|c| is_redundant_child(sa, c)) {
        let timer = Timer::RedundantChild(child.id);
        if endpoint.ctx.timers.deadline(&timer).is_none() {
            endpoint.ctx.set_timer(timer, now + DELAY);
        }
    }
    let peer = &sa.peer;
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
    if sa.is_busy() {
        endpoint.ctx.set_timer(Timer::Redundant(id), now + DELAY);
    } else if is_redundant(endpoint, sa) {
        endpoint.end(now, id, &DownReason::Redundant);
    }
}

fn is_redundant_child(sa: &IkeSa, child: &Child) -> bool {
    let stays = |c: &Child| c.closing.is_none() && !c.replaced;
    let equals = |other: &Child| {
        (other.protocol, other.mode) == (child.protocol, child.mode)
            && other.selectors.len() == child.selectors.len()
            && other.selectors.iter().all(|s| child.selectors.contains(s))
    };
    child.asked_by == AskedBy::Us
        && stays(child)
        && sa.children.values().any(|other| {
            other.asked_by == AskedBy::Peer
                && stays(other)
                && equals(other)
                && other.lowest_nonce > child.lowest_nonce
        })
}

pub(super) fn retire_if_redundant(sa: &mut IkeSa, id: ChildId) {
    let child = sa.children.get(&id);
    if child.is_some_and(|child| is_redundant_child(sa, child)) {
        sa.retire_child(id, DownReason::Redundant);
    }
}
