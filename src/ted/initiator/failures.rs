//! The negative cache: flows that nothing came of, and until when that holds.

use super::effects::FailureReason;
use super::pending::FlowKey;
use crate::net::{Flow, Timers};
use crate::ted::proxies::ProxyId;
use std::collections::BTreeMap;
use std::time::Instant;

const MAX_FAILURES: usize = 4096;

type Key = (ProxyId, FlowKey);

/// What is known of a flow that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub proxy: ProxyId,
    pub flow: Flow,
    pub reason: FailureReason,
    pub until: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Failures {
    by_flow: BTreeMap<Key, Failure>,
    ends: Timers<Key>,
}

impl Failures {
    pub(super) fn holds(&self, proxy: ProxyId, key: &FlowKey) -> bool {
        self.by_flow.contains_key(&(proxy, *key))
    }

    /// Returns the failure that had to make room: the one that would have ended first.
    pub(super) fn insert(&mut self, failure: Failure) -> Option<Failure> {
        let key = (failure.proxy, (&failure.flow).into());
        let full = self.by_flow.len() >= MAX_FAILURES && !self.by_flow.contains_key(&key);
        let evicted = if full {
            self.next_end().and_then(|end| self.ended(end))
        } else {
            None
        };
        self.ends.set(key, failure.until);
        self.by_flow.insert(key, failure);
        evicted
    }

    pub(super) fn next_end(&self) -> Option<Instant> {
        self.ends.next()
    }

    /// Takes one whose lifetime has ended. Call until `None`.
    pub(super) fn ended(&mut self, now: Instant) -> Option<Failure> {
        let key = self.ends.expired(now)?;
        self.by_flow.remove(&key)
    }

    pub(super) fn remove_where(
        &mut self,
        mut matching: impl FnMut(ProxyId, &Flow) -> bool,
    ) -> Vec<Failure> {
        let mut removed = Vec::new();
        self.by_flow.retain(|_, failure| {
            let matches = matching(failure.proxy, &failure.flow);
            if matches {
                removed.push(failure.clone());
            }
            !matches
        });
        for failure in &removed {
            self.ends.stop(&(failure.proxy, (&failure.flow).into()));
        }
        removed
    }

    pub(super) fn len(&self) -> usize {
        self.by_flow.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Failure> {
        self.by_flow.values()
    }
}
