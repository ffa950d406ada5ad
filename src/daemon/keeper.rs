//! The thread that waits for the disk, so that no peer and no packet does: the answer to IKE_AUTH
//! leaves while what it protects is still being synced.

use super::home_address::HomeAddress;
use super::memory::Memory;
use super::networks::Networks;
use crate::agent::mobility::given::GivenHome;
use crate::mobile_ip::domain::Context;
use crate::mobile_ip::home_agent::effects::Kept;
use crate::net::Selector;
use crate::presence::Keep;
use crate::store::{Bindings, Store};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::mpsc::UnboundedSender;

/// Dropping it without [`Keeper::finish`] leaves the thread to the end of the process.
#[derive(Debug)]
pub(super) struct Keeper {
    orders: Arc<Orders>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Orders {
    waiting: Mutex<Waiting>,
    came: Condvar,
}

/// However slow the disk is, no more waits than the newest.
#[derive(Debug, Default)]
struct Waiting {
    newest: Option<Vec<Selector>>,
    networks: Option<Vec<Context>>,
    home: Option<GivenHome>,
    /// For the store, in order.
    presence: Vec<Keep>,
    bindings: Unkept,
    try_again: bool,
    finish: bool,
}

/// Of each mobile node the newest, so that no more waits than there are.
#[derive(Debug, Default)]
struct Unkept {
    by_node: HashMap<Vec<u8>, Kept>,
    /// The last one's number.
    number: u64,
}

/// Where bindings go, and who is told the number of the last that is there.
#[derive(Debug)]
pub(super) struct KeptBindings {
    store: Bindings,
    told: UnboundedSender<u64>,
    /// Said already.
    failing: bool,
}

impl Keeper {
    pub(super) fn start(
        memory: Memory,
        (networks, home): (Networks, HomeAddress),
        store: Option<Store>,
        bindings: Option<KeptBindings>,
    ) -> io::Result<Self> {
        let orders = Arc::new(Orders::default());
        let thread = std::thread::Builder::new().name("keeper".into()).spawn({
            let orders = orders.clone();
            move || carry_out(memory, (&networks, &home), store, bindings, &orders)
        })?;
        Ok(Self { orders, thread })
    }

    /// Replaces what was kept.
    pub(super) fn keep(&self, selectors: Vec<Selector>) {
        self.order(|waiting| waiting.newest = Some(selectors));
    }

    /// Replaces what was kept.
    pub(super) fn keep_networks(&self, known: Vec<Context>) {
        self.order(|waiting| waiting.networks = Some(known));
    }

    /// Replaces what was kept.
    pub(super) fn keep_home(&self, given: GivenHome) {
        self.order(|waiting| waiting.home = Some(given));
    }

    /// Where presence is configured.
    pub(super) fn keep_presence(&self, keep: Keep) {
        self.order(|waiting| waiting.presence.push(keep));
    }

    /// Where there is a home agent. Numbers rise.
    pub(super) fn keep_binding(&self, number: u64, kept: Kept) {
        self.order(|waiting| {
            let node = Bindings::key(&kept);
            waiting.bindings.by_node.insert(node, kept);
            waiting.bindings.number = number;
        });
    }

    /// What the state directory had no room for.
    pub(super) fn try_again(&self) {
        self.order(|waiting| waiting.try_again = true);
    }

    /// Returns when all is kept, or tried once more in vain.
    pub(super) fn finish(self) {
        self.order(|waiting| waiting.finish = true);
        if self.thread.join().is_err() {
            tracing::error!("the next start may not know what was once protected");
        }
    }

    fn order(&self, give: impl FnOnce(&mut Waiting)) {
        give(&mut self.orders.lock());
        self.orders.came.notify_one();
    }
}

impl Orders {
    /// Nobody panics while holding it, and half an order cannot be given.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Waiting {
        let nothing = |w: &mut Waiting| {
            let unkept = !w.presence.is_empty() || !w.bindings.by_node.is_empty();
            let replaced = w.newest.is_some() || w.networks.is_some() || w.home.is_some();
            !replaced && !unkept && !w.try_again && !w.finish
        };
        let waiting = self.came.wait_while(self.lock(), nothing);
        std::mem::take(&mut *waiting.unwrap_or_else(PoisonError::into_inner))
    }
}

fn carry_out(
    mut memory: Memory,
    (networks, home): (&Networks, &HomeAddress),
    mut store: Option<Store>,
    mut bindings: Option<KeptBindings>,
    orders: &Orders,
) {
    let mut presence = Vec::new();
    let mut unkept = Unkept::default();
    loop {
        let mut order = orders.next();
        if let Some(bindings) = &mut bindings {
            unkept.newer(std::mem::take(&mut order.bindings));
            bindings.keep(&mut unkept);
        }
        presence.append(&mut order.presence);
        if let Some(store) = &mut store {
            keep_presence(store, &mut presence);
        }
        // The next one is kept with all of before.
        if let Some(known) = order.networks
            && let Err(error) = networks.keep(&known)
        {
            tracing::warn!(%error, "a restart would not know this network");
        }
        if let Some(given) = order.home
            && let Err(error) = home.keep(&given)
        {
            tracing::warn!(%error, "a restart has to ask for the home address");
        }
        let try_again = order.try_again && order.newest.is_none();
        if let Some(selectors) = order.newest
            && let Err(error) = memory.keep(selectors)
        {
            tracing::error!(
                %error,
                "a restart would not know what was once protected; it is tried again"
            );
        }
        if try_again {
            match memory.try_again() {
                None => {}
                Some(Ok(())) => {
                    tracing::info!("what was once protected is kept for a restart again");
                }
                Some(Err(error)) => tracing::debug!(%error, "still not kept"),
            }
        }
        if order.finish {
            if let Some(Err(error)) = memory.try_again() {
                tracing::error!(%error, "the next start will not know what was once protected");
            }
            return;
        }
    }
}

/// More than so much, while the disk has no room, is not waited with for better times: a restart
/// knows less then, and less is stricter.
const MOST_WAITING: usize = 100_000;

impl Unkept {
    fn newer(&mut self, newer: Self) {
        self.number = self.number.max(newer.number);
        self.by_node.extend(newer.by_node);
    }
}

impl KeptBindings {
    pub(super) fn new(store: Bindings, told: UnboundedSender<u64>) -> Self {
        Self {
            store,
            told,
            failing: false,
        }
    }

    /// Whatever came while the disk was at work goes in one transaction.
    fn keep(&mut self, unkept: &mut Unkept) {
        if unkept.by_node.is_empty() {
            return;
        }
        match self.store.apply(unkept.by_node.values()) {
            Ok(()) => {
                unkept.by_node.clear();
                if std::mem::take(&mut self.failing) {
                    tracing::info!("registrations are kept, and answered, again");
                }
                // At the end of the daemon nobody listens any more.
                let _ = self.told.send(unkept.number);
            }
            Err(error) if !self.failing => {
                self.failing = true;
                tracing::error!(
                    %error,
                    "registrations are not answered, since a restart would not know of them; it \
                     is tried again"
                );
            }
            Err(error) => tracing::debug!(%error, "registrations are still not kept"),
        }
    }
}

/// In one transaction: all or nothing, and later again.
fn keep_presence(store: &mut Store, waiting: &mut Vec<Keep>) {
    if waiting.is_empty() {
        return;
    }
    match store.apply(waiting) {
        Ok(()) => waiting.clear(),
        Err(error) => {
            tracing::error!(%error, "a restart would not know what was learnt; it is tried again");
            let surplus = waiting.len().saturating_sub(MOST_WAITING);
            waiting.drain(..surplus);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use std::fs;
    use std::net::Ipv4Addr;

    fn towards(remote: &str) -> Vec<Selector> {
        let (src, dst) = ("10.1.0.0/16".parse().unwrap(), remote.parse().unwrap());
        vec![Selector::between(src, dst)]
    }

    #[test]
    fn nobody_waits_for_a_disk_that_stands_still_and_the_newest_is_kept_when_it_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        // Opening a pipe for writing lasts until somebody reads it; syncing it fails.
        let unfinished = dir.path().join("once-protected.new");
        nix::unistd::mkfifo(&unfinished, Mode::S_IRWXU).unwrap();
        let keeper = Keeper::start(
            Memory::new(dir.path()),
            (Networks::new(dir.path()), HomeAddress::new(dir.path())),
            None,
            None,
        )
        .unwrap();
        for remote in ["10.2.0.0/16", "10.3.0.0/16", "10.4.0.0/16"] {
            keeper.keep(towards(remote));
        }
        keeper.try_again();
        drop(fs::File::open(&unfinished).unwrap());
        keeper.finish();
        let kept = Memory::new(dir.path()).load().unwrap();
        assert_eq!(kept, towards("10.4.0.0/16"));
    }

    #[test]
    fn bindings_that_come_together_are_kept_together_and_the_last_number_is_told() {
        use crate::mobile_ip::replay::Guard;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bindings.redb");
        let (told, mut numbers) = tokio::sync::mpsc::unbounded_channel();
        let store = Bindings::open(&path).unwrap();
        let bindings = Some(KeptBindings::new(store, told));
        let keeper = Keeper::start(
            Memory::new(dir.path()),
            (Networks::new(dir.path()), HomeAddress::new(dir.path())),
            None,
            bindings,
        )
        .unwrap();
        for number in 1..=100u8 {
            // One has a name, and another address each time.
            let nai = (number % 10 == 0).then(|| b"alice@example.org".to_vec());
            let last = nai.as_ref().map_or(number % 10, |_| 255 - number);
            let kept = Kept {
                home: Ipv4Addr::new(10, 20, 0, last),
                nai,
                guard: Guard::Nonces(Some(number.into())),
                bindings: Vec::new(),
            };
            keeper.keep_binding(number.into(), kept);
        }
        keeper.finish();
        let mut last = None;
        while let Ok(number) = numbers.try_recv() {
            assert!(last.is_none_or(|last| last < number));
            last = Some(number);
        }
        assert_eq!(last, Some(100));
        let kept = Bindings::open(&path).unwrap().load().unwrap();
        let guards: Vec<Guard> = kept.iter().map(|kept| kept.guard).collect();
        let newest = [91, 92, 93, 94, 95, 96, 97, 98, 99, 100];
        assert_eq!(guards, newest.map(|nonce| Guard::Nonces(Some(nonce))));
    }

    #[test]
    fn what_could_not_be_kept_is_tried_again_when_told_and_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("missing");
        let keeper = Keeper::start(
            Memory::new(&state),
            (Networks::new(&state), HomeAddress::new(&state)),
            None,
            None,
        )
        .unwrap();
        keeper.keep(towards("10.2.0.0/16"));
        fs::create_dir(&state).unwrap();
        keeper.finish();
        let kept = Memory::new(&state).load().unwrap();
        assert_eq!(kept, towards("10.2.0.0/16"));
    }
}
