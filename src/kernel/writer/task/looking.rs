//! What the kernel holds: listed where it has no events or they were missed, and otherwise heard.

use super::Task;
use crate::kernel::desired::{Key, PolicyKey, Sysctl};
use crate::kernel::events::KernelEvent;
use crate::kernel::netlink::error::KernelError;
use crate::kernel::ownership;
use crate::kernel::writer::carry_out::Looks;
use crate::kernel::writer::kernel_state::{By, Seen, read_sysctl};
use crate::kernel::writer::{Report, StartError};
use std::collections::BTreeSet;

impl Task {
    pub(super) fn listen(&mut self) {
        if let Err(error) = self.sockets.listen() {
            tracing::error!(%error, "kernel events cannot be read");
            self.failed = true;
            self.lose_track();
        }
        self.digest();
        self.digest_paths();
    }

    pub(super) fn look_at(&mut self, looks: Looks) {
        self.listen();
        let mut look = || {
            if looks.tables {
                self.tables_altered = false;
                self.look_at_tables()?;
            }
            self.look_at_neighbours(&looks.neighbours)?;
            self.look_at_proxies(&looks.proxies)
        };
        if let Err(error) = look() {
            tracing::error!(%error, "the kernel cannot be listed");
        }
        for key in looks.gone {
            self.observed.routes.remove(&key);
            if self.desired.contains(&Key::Route(key)) {
                self.pending.keys.push(Key::Route(key));
            }
        }
        if looks.sysctls {
            self.look_at_sysctls();
        }
    }

    pub(super) fn look_at_everything(&mut self) -> Result<(), StartError> {
        let looked = self.look_at_what_has_no_events();
        looked.map_err(|error| StartError::Dump("routes and rules", error))?;
        self.sockets.list(&mut self.observed)?;
        self.out_of_date = false;
        Ok(())
    }

    pub(super) fn look_at_what_has_no_events(&mut self) -> Result<(), KernelError> {
        self.look_at_sysctls();
        if let Err(error) = self.look_at_tables() {
            // Without nft there is no table; if one is wanted, its refusal says so.
            tracing::debug!(%error, "nftables cannot be listed");
        }
        self.list_paths()
    }

    pub(super) fn look_at_tables(&mut self) -> Result<(), KernelError> {
        self.observed.interception = self.table.observe()?;
        self.observed.decapsulation = self.table.observe_decapsulation()?;
        Ok(())
    }

    fn look_at_sysctls(&mut self) {
        self.observed.altered = self.remembered.sysctls().collect();
        let wanted = self.desired.sysctls();
        let all: BTreeSet<_> = wanted
            .chain(Sysctl::OF_THE_HOST)
            .chain(self.observed.altered.iter().copied())
            .collect();
        let values = all.into_iter();
        let values = values.filter_map(|name| Some((name, read_sysctl(name).ok()?)));
        self.observed.sysctls = values.collect();
    }

    /// Takes what was heard into `observed`, and notes what has to be put right.
    fn digest(&mut self) {
        for (by, seen) in std::mem::take(&mut self.sockets.seen) {
            match seen {
                Seen::Policy(policy) => {
                    let key = policy.policy.key;
                    let wanted = self.desired.policy(&key);
                    let differs = wanted.is_some_and(|wanted| !policy.is(wanted));
                    if by == By::Others && differs {
                        self.disturbed(key);
                    }
                    self.observed.policy_is(policy);
                }
                Seen::PolicyGone(key) => {
                    if by == By::Others && self.desired.contains(&Key::Policy(key)) {
                        self.disturbed(key);
                    }
                    self.observed.policy_is_gone(&key);
                }
                Seen::PolicyExpired(key) => self.policy_expired(key),
                Seen::Sa(sa) => self.observed.sa_is(sa),
                Seen::SaGone(key) => {
                    let was_ours = self.observed.sa(&key).is_some();
                    self.observed.sa_is_gone(&key);
                    if !self.desired.contains(&Key::Sa(key)) {
                        self.observed.forget(&key);
                    } else if by == By::Others && was_ours {
                        self.report(Report::Event(KernelEvent::SaLost { key }));
                    }
                }
                Seen::Unknown => {
                    self.lose_track();
                    self.report(Report::Event(KernelEvent::Overrun));
                }
            }
        }
    }

    /// Wanted for so long and no longer: it is not put back, which would be the opposite of what
    /// its lifetime is for.
    fn policy_expired(&mut self, key: PolicyKey) {
        self.observed.policy_is_gone(&key);
        match self.desired.policy(&key) {
            Some(policy) if policy.lifetime.is_some() => {
                self.desired.remove(&Key::Policy(key));
                self.report(Report::Event(KernelEvent::PolicyExpired { key }));
            }
            Some(_) => self.pending.keys.push(Key::Policy(key)),
            None => {}
        }
    }

    fn disturbed(&mut self, key: PolicyKey) {
        self.pending.keys.push(Key::Policy(key));
        if self
            .observed
            .policy(&key)
            .is_some_and(ownership::owns_policy)
        {
            self.pending.disturbed.insert(key);
        }
    }
}
