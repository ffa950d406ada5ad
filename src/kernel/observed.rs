//! What the kernel holds, as its dumps and events say: never from memory of what was sent.

pub(super) mod links;

pub use links::{LinkState, Links, ObservedKind, ObservedLink};

use super::desired::{
    AddressKey, DecapsulationEntry, Interception, Judging, Lifetime, Mode, NeighbourKey, Policy,
    PolicyKey, ProxyKey, RouteKey, RuleKey, SaKey, Sysctl, UdpEncapsulation, Way,
};
use super::ownership;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Times are seconds since 1970 on the wall clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedPolicy {
    pub policy: Policy,
    /// It ends by other limits as well, which we never set.
    pub limited: bool,
    pub index: u32,
    pub added: u64,
    /// First use.
    pub used: Option<u64>,
}

impl ObservedPolicy {
    /// Whether it does what is wanted.
    pub fn is(&self, wanted: &Policy) -> bool {
        self.policy == *wanted && !self.limited
    }
}

/// Without keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedSa {
    pub key: SaKey,
    pub src: IpAddr,
    pub mode: Mode,
    pub reqid: u32,
    pub if_id: u32,
    pub encapsulation: Option<UdpEncapsulation>,
    pub lifetime: Lifetime,
    pub bytes: u64,
    pub packets: u64,
    pub added: u64,
    pub first_used: Option<u64>,
    /// Newer kernels say it.
    pub last_used: Option<u64>,
}

/// The agent's nftables table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ObservedInterception {
    #[default]
    Absent,
    /// Just as it was after we wrote this into it.
    Is(Interception),
    /// Of an earlier run, or altered since: to be replaced.
    Unknown,
}

/// The nftables table that judges what is decapsulated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ObservedDecapsulation {
    #[default]
    Absent,
    /// Just as it was after we wrote it, its entries aside.
    AsWritten(Judging),
    /// Of an earlier run, or altered since: to be written again. Its entries stay.
    Unknown,
}

/// A route, as its next hop's index says it.
pub type ObservedWay = Way<u32>;

#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Everybody's, because a key is taken whoever holds it.
    policies: BTreeMap<PolicyKey, ObservedPolicy>,
    indices: BTreeSet<u32>,
    /// Ours only.
    sas: BTreeMap<SaKey, ObservedSa>,
    /// Ours that were there once and are not any more.
    gone: BTreeSet<SaKey>,
    /// Everybody's.
    pub links: Links,
    /// On links of ours.
    pub addresses: BTreeSet<AddressKey>,
    /// Ours. `None` is one of ours that we would not write so.
    pub routes: BTreeMap<RouteKey, Option<ObservedWay>>,
    pub rules: BTreeSet<RuleKey>,
    /// Everybody's, and whether each is ours.
    pub proxies: BTreeMap<ProxyKey, Whose>,
    /// Permanent ones: ours, and `None` for those of others.
    pub neighbours: BTreeMap<NeighbourKey, Option<[u8; 6]>>,
    pub sysctls: BTreeMap<Sysctl, String>,
    /// Sysctls that we have changed and whose earlier value is remembered.
    pub altered: BTreeSet<Sysctl>,
    pub interception: ObservedInterception,
    pub decapsulation: ObservedDecapsulation,
    pub decapsulation_entries: BTreeSet<DecapsulationEntry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Ours,
    Others,
}

impl Observed {
    pub fn policy(&self, key: &PolicyKey) -> Option<&ObservedPolicy> {
        self.policies.get(key)
    }

    /// Everybody's, in the order of their keys.
    pub fn policies(&self) -> impl Iterator<Item = &ObservedPolicy> {
        self.policies.values()
    }

    /// Ours, in the order of their keys.
    pub fn own_policies(&self) -> impl Iterator<Item = &ObservedPolicy> {
        self.policies.values().filter(|p| ownership::owns_policy(p))
    }

    pub fn sa(&self, key: &SaKey) -> Option<&ObservedSa> {
        self.sas.get(key)
    }

    pub fn own_sas(&self) -> impl Iterator<Item = &ObservedSa> {
        self.sas.values()
    }

    pub fn index_in_use(&self, index: u32) -> bool {
        self.indices.contains(&index)
    }

    /// Whether it was in the kernel once and has vanished since.
    pub fn is_gone(&self, key: &SaKey) -> bool {
        self.gone.contains(key)
    }

    /// Nobody wants it any more, so a later SA of the same key is a new one.
    pub fn forget(&mut self, key: &SaKey) {
        self.gone.remove(key);
    }

    /// A policy was added or changed.
    pub fn policy_is(&mut self, policy: ObservedPolicy) {
        self.indices.insert(policy.index);
        let (key, index) = (policy.policy.key, policy.index);
        if let Some(old) = self.policies.insert(key, policy)
            && old.index != index
        {
            self.indices.remove(&old.index);
        }
    }

    pub fn policy_is_gone(&mut self, key: &PolicyKey) {
        if let Some(old) = self.policies.remove(key) {
            self.indices.remove(&old.index);
        }
    }

    pub fn sa_is(&mut self, sa: ObservedSa) {
        if ownership::owns_sa(&sa) {
            self.gone.remove(&sa.key);
            self.sas.insert(sa.key, sa);
        }
    }

    pub fn sa_is_gone(&mut self, key: &SaKey) {
        if self.sas.remove(key).is_some() {
            self.gone.insert(*key);
        }
    }

    /// A new dump takes the place of all that was known of policies and SAs.
    pub fn replace(&mut self, policies: Vec<ObservedPolicy>, sas: Vec<ObservedSa>) {
        self.indices = policies.iter().map(|p| p.index).collect();
        // The kernel lists the newest first. Many that were put in at once, in the order of their
        // keys and the directions in turns, are thus in order again and need no sorting: a seventh
        // of the writer's own time in a profile of `benches/policies.rs`.
        let mut directions: [Vec<_>; 3] = Default::default();
        for policy in policies {
            let key = policy.policy.key;
            directions[key.direction as usize].push((key, policy));
        }
        let oldest_first = directions.map(|policies| policies.into_iter().rev());
        self.policies = oldest_first.into_iter().flatten().collect();
        let before = std::mem::take(&mut self.sas);
        for sa in sas {
            self.sa_is(sa);
        }
        let vanished = before.into_keys().filter(|key| !self.sas.contains_key(key));
        self.gone.extend(vanished.collect::<Vec<_>>());
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::kernel::desired::{Action, Direction, IpsecProtocol, Mark};
    use crate::net::{Selector, Spi};

    pub(in crate::kernel) fn policy(index: u32, priority: u32) -> ObservedPolicy {
        let selector = Selector::between(
            "10.1.0.0/16".parse().unwrap(),
            "10.2.0.0/16".parse().unwrap(),
        );
        ObservedPolicy {
            policy: Policy {
                key: PolicyKey {
                    direction: Direction::Out,
                    selector,
                    mark: Mark::default(),
                    if_id: 0,
                },
                priority,
                action: Action::Block,
                lifetime: None,
            },
            limited: false,
            index,
            added: 0,
            used: None,
        }
    }

    pub(in crate::kernel) fn sa(spi: u32, reqid: u32) -> ObservedSa {
        ObservedSa {
            key: SaKey {
                dst: "192.0.2.2".parse().unwrap(),
                spi: Spi(spi),
                protocol: IpsecProtocol::Esp,
                mark: Mark::default(),
            },
            src: "192.0.2.1".parse().unwrap(),
            mode: Mode::Tunnel,
            reqid,
            if_id: 0,
            encapsulation: None,
            lifetime: Lifetime::default(),
            bytes: 0,
            packets: 0,
            added: 0,
            first_used: None,
            last_used: None,
        }
    }

    #[test]
    fn a_policy_is_ours_only_where_index_and_priority_agree() {
        let (index, priority) = (
            ownership::INDICES.start | 1,
            ownership::Band::Bypass.priority(u32::MAX),
        );
        for (index, priority, own) in [
            (index, priority, 1),
            (index, 0, 0),
            (9, priority, 0),
            (9, 0, 0),
        ] {
            let mut observed = Observed::default();
            observed.policy_is(policy(index, priority));
            assert_eq!(observed.own_policies().count(), own, "{index} {priority}");
            assert!(observed.index_in_use(index));
        }
    }

    #[test]
    fn a_replaced_policy_frees_the_index_of_the_old_one() {
        let mut observed = Observed::default();
        observed.policy_is(policy(9, 5));
        observed.policy_is(policy(17, 5));
        assert!(!observed.index_in_use(9) && observed.index_in_use(17));
        observed.policy_is_gone(&policy(17, 5).policy.key);
        assert!(!observed.index_in_use(17));
    }

    #[test]
    fn an_sa_that_vanished_is_remembered_until_nobody_wants_it() {
        let reqid = ownership::REQIDS.start;
        let mut observed = Observed::default();
        observed.sa_is(sa(1, reqid));
        observed.sa_is(sa(2, reqid));
        observed.sa_is(sa(3, 1));
        assert_eq!(observed.own_sas().count(), 2, "foreign ones are not held");
        observed.sa_is_gone(&sa(1, reqid).key);
        observed.replace(Vec::new(), Vec::new());
        assert!(observed.is_gone(&sa(1, reqid).key) && observed.is_gone(&sa(2, reqid).key));
        assert!(!observed.is_gone(&sa(3, 1).key));
        observed.forget(&sa(1, reqid).key);
        assert!(!observed.is_gone(&sa(1, reqid).key));
    }
}
