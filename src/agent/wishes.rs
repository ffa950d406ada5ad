//! Who wants what in the kernel, and what follows from it for each object.
//!
//! Several owners may want a policy of one key: a trap covers a prefix, and a tunnel for exactly
//! that prefix came up. The kernel holds one policy a key, so the strongest owner's wish stands
//! and the next one takes over when it is withdrawn. To the writer both are an update of one
//! object, never a deletion followed by an addition.

use super::shapes::Shapes;
use crate::kernel::desired::{
    Change, DecapsulationEntry, Direction, Key, Object, Policy, PolicyKey, Revision, Route,
    RouteKey, Sa, SaKey, Way,
};
use crate::net::Flow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Why an object is wanted. The order is the precedence: the first owner of a key decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// What the configuration always wants passed.
    Bypass,
    /// What presence says of a contact.
    Presence,
    /// The newest first: where a peer has moved, the tunnel to where it was still receives for a
    /// while, and must not keep out what comes through the one to where it is.
    Tunnel(Reverse<TunnelId>),
    /// What keeps the address that a VPN gateway gave us from the clear.
    Vpn,
    /// Discovery failed; its action holds for a while.
    Failure,
    /// Confines a pending destination to a hold queue of its own.
    NarrowTrap,
    /// Traps and enforcement of the configuration.
    Base,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TunnelId(pub u64);

#[derive(Debug, Default)]
pub struct Wishes {
    /// Sorted by owner, never empty.
    policies: BTreeMap<PolicyKey, Vec<(Owner, Policy)>>,
    shapes: Shapes,
    /// Everything of other kinds has one owner.
    objects: BTreeMap<Key, Object>,
    /// Of these a home agent has one for each of its bindings, and as objects among the others each
    /// would take five times the room.
    routes: BTreeMap<RouteKey, Way>,
    entries: BTreeSet<DecapsulationEntry>,
    dirty: BTreeSet<Key>,
    release: BTreeSet<PolicyKey>,
    revision: Revision,
}

impl Wishes {
    pub fn want_policy(&mut self, owner: Owner, policy: Policy) {
        let key = policy.key;
        // Few keys have a second wish, and room for four by default is a kilobyte.
        let wishes = self.policies.entry(key).or_insert_with(|| {
            self.shapes.add(&key);
            Vec::with_capacity(1)
        });
        let place = wishes.binary_search_by_key(&owner, |(o, _)| *o);
        let news = matches!(place, Ok(0) | Err(0)) && wishes.first().is_none_or(|w| w.1 != policy);
        match place {
            Ok(at) => wishes[at].1 = policy,
            Err(at) => wishes.insert(at, (owner, policy)),
        }
        if news {
            self.dirty.insert(Key::Policy(key));
        }
    }

    /// Unknown keys and owners are ignored.
    pub fn withdraw_policy(&mut self, owner: Owner, key: PolicyKey) {
        let Some(wishes) = self.policies.get_mut(&key) else {
            return;
        };
        let Ok(at) = wishes.binary_search_by_key(&owner, |(o, _)| *o) else {
            return;
        };
        wishes.remove(at);
        if wishes.is_empty() {
            self.policies.remove(&key);
            self.shapes.remove(&key);
        }
        if at == 0 {
            self.dirty.insert(Key::Policy(key));
        }
    }

    pub fn want(&mut self, object: Object) {
        debug_assert!(!matches!(object, Object::Policy(_)), "policies have owners");
        let key = object.key();
        match object {
            Object::Route(route) => drop(self.routes.insert(route.key, route.way)),
            Object::DecapsulationEntry(entry) => drop(self.entries.insert(entry)),
            object => drop(self.objects.insert(key, object)),
        }
        self.dirty.insert(key);
    }

    pub fn want_sa(&mut self, sa: Sa) {
        self.want(Object::Sa(Box::new(sa)));
    }

    pub fn withdraw(&mut self, key: &Key) {
        let was_wanted = match key {
            Key::Route(key) => self.routes.remove(key).is_some(),
            Key::DecapsulationEntry(entry) => self.entries.remove(entry),
            key => self.objects.remove(key).is_some(),
        };
        if was_wanted {
            self.dirty.insert(*key);
        }
    }

    pub fn withdraw_sa(&mut self, key: SaKey) {
        self.withdraw(&Key::Sa(key));
    }

    /// Has the policy's held packets looked up again with the next change.
    pub fn release(&mut self, key: PolicyKey) {
        self.release.insert(key);
    }

    /// The policy that decides over packets of this flow, of those that are wanted, whatever marks they ask for. One
    /// look-up for each shape, of which there are few however many policies there are.
    pub fn deciding(&self, direction: Direction, flow: &Flow) -> Option<(Owner, &Policy)> {
        let keys = self.shapes.matching(direction, flow);
        let fitting = keys.filter_map(|key| self.policies.get(&key)?.first());
        fitting
            .min_by_key(|(_, policy)| policy.priority)
            .map(|(owner, policy)| (*owner, policy))
    }

    /// The owner whose wish stands for this key.
    pub fn owner_of(&self, key: &PolicyKey) -> Option<Owner> {
        self.policies.get(key)?.first().map(|(owner, _)| *owner)
    }

    /// The policies that stand, with their owners, in key order.
    pub fn policies(&self) -> impl Iterator<Item = (Owner, &Policy)> {
        self.policies
            .values()
            .filter_map(|w| w.first().map(|(owner, p)| (*owner, p)))
    }

    pub fn sas(&self) -> impl Iterator<Item = &Sa> {
        self.objects.values().filter_map(|object| match object {
            Object::Sa(sa) => Some(&**sa),
            _ => None,
        })
    }

    pub(super) fn tables(&self) -> [(&'static str, usize); 2] {
        [
            ("policies", self.policies.len()),
            (
                "other-objects",
                self.objects.len() + self.routes.len() + self.entries.len(),
            ),
        ]
    }

    pub fn policy_count(&self) -> usize {
        self.policies.len()
    }

    /// The revision that holds everything wanted so far, whether or not it was taken yet.
    pub fn revision(&self) -> Revision {
        if self.is_dirty() {
            Revision(self.revision.0 + 1)
        } else {
            self.revision
        }
    }

    /// Whether anything is wanted that no change has said yet.
    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() || !self.release.is_empty()
    }

    /// Takes what changed since the last call; `None` where nothing did.
    pub fn take_change(&mut self) -> Option<Change> {
        if !self.is_dirty() {
            return None;
        }
        self.revision.0 += 1;
        let mut change = Change {
            revision: self.revision,
            ..Change::default()
        };
        for key in std::mem::take(&mut self.dirty) {
            let wanted = match &key {
                Key::Policy(policy) => self
                    .policies
                    .get(policy)
                    .map(|w| Object::Policy(w[0].1.clone())),
                Key::Route(key) => {
                    let way = self.routes.get(key);
                    way.map(|way| {
                        Object::Route(Route {
                            key: *key,
                            way: *way,
                        })
                    })
                }
                Key::DecapsulationEntry(entry) => {
                    let wanted = self.entries.contains(entry);
                    wanted.then_some(Object::DecapsulationEntry(*entry))
                }
                other => self.objects.get(other).cloned(),
            };
            match wanted {
                Some(object) => change.put.push(object),
                None => change.remove.push(key),
            }
        }
        change.release = std::mem::take(&mut self.release)
            .into_iter()
            .filter(|key| self.policies.contains_key(key))
            .collect();
        Some(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::desired::{Action, Direction, Mark};
    use crate::net::Selector;

    fn key() -> PolicyKey {
        let net = |s: &str| s.parse().unwrap();
        PolicyKey {
            direction: Direction::Out,
            selector: Selector::between(net("10.1.0.0/16"), net("10.2.0.0/16")),
            mark: Mark::default(),
            if_id: 0,
        }
    }

    fn policy(priority: u32) -> Policy {
        Policy {
            key: key(),
            priority,
            action: Action::Block,
            lifetime: None,
        }
    }

    fn priorities(change: &Change) -> Vec<u32> {
        change
            .put
            .iter()
            .map(|object| match object {
                Object::Policy(p) => p.priority,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn the_trap_takes_over_again_when_the_tunnel_of_the_same_selector_ends() {
        let tunnel = Owner::Tunnel(Reverse(TunnelId(1)));
        let mut wishes = Wishes::default();
        wishes.want_policy(Owner::Base, policy(9));
        assert_eq!(priorities(&wishes.take_change().unwrap()), [9]);
        wishes.want_policy(tunnel, policy(1));
        assert_eq!(priorities(&wishes.take_change().unwrap()), [1]);
        wishes.withdraw_policy(tunnel, key());
        let change = wishes.take_change().unwrap();
        assert_eq!(priorities(&change), [9], "updated back, not removed");
        assert!(change.remove.is_empty());
        wishes.withdraw_policy(Owner::Base, key());
        assert_eq!(wishes.take_change().unwrap().remove, [Key::Policy(key())]);
    }

    #[test]
    fn a_wish_behind_a_stronger_one_changes_nothing() {
        let mut wishes = Wishes::default();
        wishes.want_policy(Owner::Tunnel(Reverse(TunnelId(1))), policy(1));
        wishes.take_change();
        wishes.want_policy(Owner::Base, policy(9));
        assert!(wishes.take_change().is_none());
        wishes.withdraw_policy(Owner::Base, key());
        assert!(wishes.take_change().is_none());
    }

    #[test]
    fn of_two_tunnels_the_newer_decides() {
        let [old, new] = [1, 2].map(|id| Owner::Tunnel(Reverse(TunnelId(id))));
        let mut wishes = Wishes::default();
        wishes.want_policy(old, policy(1));
        wishes.want_policy(new, policy(2));
        assert_eq!(priorities(&wishes.take_change().unwrap()), [2]);
        wishes.withdraw_policy(old, key());
        assert!(wishes.take_change().is_none());
    }

    #[test]
    fn the_revision_to_wait_for_is_the_one_that_the_next_change_carries() {
        let mut wishes = Wishes::default();
        wishes.want_policy(Owner::Base, policy(9));
        let awaited = wishes.revision();
        assert_eq!(wishes.take_change().unwrap().revision, awaited);
        assert_eq!(wishes.revision(), awaited, "nothing new");
    }
}
