//! What the thread is to do, in the order in which it was asked for.
//!
//! A small change is copied in and not handed over: so whoever made it frees it, and the thread touches no
//! memory that another one allocated. glibc locks the arena of whoever did, and in a burst of small
//! changes the two would wait for each other at every turn.

use super::{Refusal, Stop};
use crate::kernel::desired::{Change, Key, Object, PolicyKey, Revision};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

pub(super) type StopRequest = (Stop, oneshot::Sender<Vec<Refusal>>);

#[derive(Debug)]
pub(super) enum Command {
    /// A change of many objects.
    Apply(Change),
    /// A small one begins, and those of the next three kinds that follow belong to it.
    Revise(Revision),
    Remove(Key),
    Put(Object),
    Release(PolicyKey),
    ForgetAcquires,
    Stop(StopRequest),
}

/// Between two ends: who asks, and the thread.
#[derive(Debug, Default)]
pub(super) struct Inbox(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    commands: Vec<Command>,
    /// One of the ends has gone.
    closed: bool,
}

/// The other end has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed;

impl Inbox {
    /// A change of more objects is handed over whole.
    const SMALL: usize = 48;

    pub(super) fn apply(&self, change: Change) -> Result<(), Closed> {
        let Change {
            revision,
            put,
            remove,
            release,
        } = change;
        if put.len() + remove.len() + release.len() > Self::SMALL {
            return self.push([Command::Apply(Change {
                revision,
                put,
                remove,
                release,
            })]);
        }
        let revise = [Command::Revise(revision)].into_iter();
        let remove = remove.into_iter().map(Command::Remove);
        let put = put.into_iter().map(Command::Put);
        let release = release.into_iter().map(Command::Release);
        self.push(revise.chain(remove).chain(put).chain(release))
    }

    pub(super) fn push(&self, commands: impl IntoIterator<Item = Command>) -> Result<(), Closed> {
        let mut waiting = self.waiting();
        if waiting.closed {
            return Err(Closed);
        }
        waiting.commands.extend(commands);
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting().commands.is_empty()
    }

    /// Everything that waits, in exchange for an empty list, whose memory is used from now on.
    pub(super) fn take(&self, empty: &mut Vec<Command>) -> Result<(), Closed> {
        let mut waiting = self.waiting();
        std::mem::swap(&mut waiting.commands, empty);
        if waiting.closed && empty.is_empty() {
            return Err(Closed);
        }
        Ok(())
    }

    /// Nothing is taken in any more, and what waits can still be taken.
    pub(super) fn close(&self) {
        self.waiting().closed = true;
    }

    /// Nobody takes anything any more: whoever waits for an answer hears that there is none.
    pub(super) fn abandon(&self) {
        let mut waiting = self.waiting();
        waiting.closed = true;
        waiting.commands.clear();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that panics is done while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::desired::{LinkName, Sysctl};

    fn key(n: u32) -> Key {
        Key::Link(format!("link{n}").parse::<LinkName>().expect("a name"))
    }

    fn change(revision: u64, many: u32) -> Change {
        Change {
            revision: Revision(revision),
            put: vec![Object::Sysctl(Sysctl::XfrmLarvalDrop, "1".to_owned())],
            remove: (0..many).map(key).collect(),
            release: Vec::new(),
        }
    }

    fn names(commands: &[Command]) -> Vec<String> {
        let name = |command: &Command| {
            let text = format!("{command:?}");
            text.split(['(', ' ']).next().unwrap_or_default().to_owned()
        };
        commands.iter().map(name).collect()
    }

    #[test]
    fn small_changes_are_taken_apart_in_their_order_and_large_ones_stay_whole() {
        let inbox = Inbox::default();
        inbox.apply(change(1, 2)).unwrap();
        inbox.apply(change(2, 48)).unwrap();
        inbox.push([Command::ForgetAcquires]).unwrap();
        assert!(!inbox.is_empty());
        let mut taken = Vec::new();
        inbox.take(&mut taken).unwrap();
        let expected = [
            "Revise",
            "Remove",
            "Remove",
            "Put",
            "Apply",
            "ForgetAcquires",
        ];
        assert_eq!(names(&taken), expected);
        assert!(inbox.is_empty());
    }

    #[test]
    fn what_was_asked_before_the_asker_went_is_still_done() {
        let inbox = Inbox::default();
        inbox.apply(change(1, 1)).unwrap();
        inbox.close();
        assert_eq!(inbox.apply(change(2, 1)), Err(Closed));
        let mut taken = Vec::new();
        assert_eq!(inbox.take(&mut taken), Ok(()));
        assert_eq!(taken.len(), 3);
        taken.clear();
        assert_eq!(inbox.take(&mut taken), Err(Closed));
    }

    #[test]
    fn whoever_waits_for_an_answer_that_nobody_will_give_hears_so() {
        let inbox = Inbox::default();
        let (done, mut answer) = oneshot::channel();
        inbox.push([Command::Stop((Stop::Keep, done))]).unwrap();
        inbox.abandon();
        assert!(
            answer
                .try_recv()
                .is_err_and(|error| error == oneshot::error::TryRecvError::Closed)
        );
        assert_eq!(inbox.push([Command::ForgetAcquires]), Err(Closed));
    }
}
