//! Small changes, carried out by whoever has them rather than by the thread.
//!
//! To hand a change to a thread and to have its answer takes two changes of threads, which is more
//! than all the system calls of a tunnel's plan. A request to the kernel is done within the system
//! call that sends it, so what is small blocks its sender for no longer than sending a few
//! datagrams would.

use super::{Aftermath, Task};
use crate::kernel::desired::{Change, Key, Object, Revision};
use std::time::Instant;

/// More than a tunnel of a dozen selectors needs, and half a millisecond where a request takes ten
/// microseconds.
const FEW: usize = 48;

/// Who wants more than this has others move, many at a time: what waits for the thread becomes one batch, which costs
/// much less than as many single ones. A mobile node wants some dozens.
const LITTLE: usize = 256;

impl Task {
    /// Carries it out, where it is small and nothing stands before it but events that nobody has read yet. What
    /// there is to say of it is in the outbox then, and events of it wait for the thread.
    ///
    /// # Errors
    /// Gives it back to be queued.
    pub(in crate::kernel::writer) fn at_once(
        &mut self,
        now: Instant,
        change: Change,
    ) -> Result<(), Change> {
        let wants_much = self.desired.len() > LITTLE;
        if !is_small(&change, wants_much) || !self.has_nothing_to_do() {
            return Err(change);
        }
        // Of policies and SAs an event may come between any look and the writing; whatever it says
        // is put right when the thread has read it. So who wants little need not pay for the look.
        if (wants_much || !is_of_tunnels(&change)) && self.sockets.has_events() {
            if wants_much {
                return Err(change);
            }
            self.listen();
            // They may want something put right.
            if !self.has_nothing_to_do() {
                return Err(change);
            }
        }
        self.merge(change);
        self.carry_out_pending(now);
        if self.aftermath.as_ref().is_some_and(Aftermath::has_looks) {
            self.look_again();
        }
        // The thread is woken by the events of what was written.
        self.aftermath = None;
        Ok(())
    }

    /// Whether something is left that the thread would not come to by itself: events are not.
    pub(in crate::kernel::writer) fn needs_thread(&self) -> bool {
        self.failed || !self.pending.is_empty() || !self.refused.is_empty()
    }

    /// Without the thread's help a plan must begin from what the kernel holds, and neither wait nor
    /// grow by what was refused before.
    fn has_nothing_to_do(&self) -> bool {
        let begun = self.revision != Revision::default();
        let knows = !self.out_of_date && !self.tables_altered;
        begun && knows && !self.needs_thread()
    }
}

/// Only what packets that wait for their tunnel wait for.
fn is_of_tunnels(change: &Change) -> bool {
    keys(change).all(|key| matches!(key, Key::Sa(_) | Key::Policy(_)))
}

/// Few objects, all of those kinds that are written in batches and have events: others may run a program, read and
/// write files, or have to be asked for.
fn is_small(change: &Change, wants_much: bool) -> bool {
    let few = change.put.len() + change.remove.len() + change.release.len() <= FEW;
    few && keys(change).all(|key| match key {
        Key::Sa(_) | Key::Policy(_) => true,
        Key::Route(_) | Key::Rule(_) | Key::Address(_) | Key::DecapsulationEntry(_) => !wants_much,
        _ => false,
    })
}

fn keys(change: &Change) -> impl Iterator<Item = Key> {
    let put = change.put.iter().map(Object::key);
    put.chain(change.remove.iter().copied())
}
