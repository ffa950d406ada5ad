//! What tests of the agent have around it.

use super::effect::Routes;
use super::event::{Event, KernelEvent};
use crate::kernel::desired::{Change, Key, Object, Revision};
use crate::net::Random;
use crate::net::random::Seeded;
use std::collections::BTreeMap;
use std::net::IpAddr;

pub(super) struct NoRoutes;

impl Routes for NoRoutes {
    fn source_towards(&mut self, _: IpAddr) -> Option<IpAddr> {
        None
    }
}

/// A generator for each room.
pub(super) fn seeded() -> impl FnMut() -> Box<dyn Random> {
    let mut seed = 0;
    move || {
        seed += 1;
        Box::new(Seeded(seed))
    }
}

/// What the kernel was told to have. It refuses nothing, and has it once it says so.
#[derive(Default)]
pub(super) struct Kernel {
    pub(super) objects: BTreeMap<Key, Object>,
    pub(super) revision: Revision,
}

impl Kernel {
    pub(super) fn write(&mut self, change: Change) {
        for object in change.put {
            self.objects.insert(object.key(), object);
        }
        for key in change.remove {
            self.objects.remove(&key);
        }
        self.revision = change.revision;
    }

    pub(super) fn is_ready(&self) -> Event {
        let revision = self.revision;
        Event::Kernel(KernelEvent::Applied { revision })
    }
}
