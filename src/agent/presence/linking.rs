//! SAs with contacts: asked for when packets or words wait for them, and kept.

use super::links::Pair;
use super::relations::{Effect, Relations, Timer};
use crate::agent::tunnels::LINGER;
use crate::agent::wishes::Wishes;
use crate::ike::effects::{ChildId, ChildSa, ConnectError, DownReason, IkeId, Outbound};
use crate::ike::settings::{Mode, RequestId};
use crate::kernel::desired::{IpsecProtocol, PolicyKey, SaKey};
use crate::net::{Flow, Identity, host};
use crate::presence::Protocols;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

impl Relations {
    /// A packet met a policy of ours and no SA.
    pub(in crate::agent) fn acquire(
        &mut self,
        now: Instant,
        policy: PolicyKey,
        (flow, protocol): (Flow, IpsecProtocol),
        wishes: &mut Wishes,
    ) -> bool {
        let address = flow.dst;
        let Some(relation) = self.towards.get(&address) else {
            return false;
        };
        if !relation.installed().any(|own| own.key == policy) {
            return false;
        }
        let pair = (flow.src, address);
        let needs = relation.needs();
        if protocol == IpsecProtocol::Comp && self.links.carries(pair, needs) {
            // Nothing waits for compression. Where the peer was not asked yet, it is now.
            for child in self.links.offer_compression(pair, needs.protocols) {
                self.effects.push_back(Effect::Compress(child));
            }
        } else if self.links.carries(pair, needs) {
            // They came up while the kernel was telling us.
            relation.release(wishes);
        } else {
            self.link(now, pair);
        }
        true
    }

    /// Sees to it that there are SAs between these two.
    pub(super) fn link(&mut self, now: Instant, pair: Pair) {
        let (own, address) = pair;
        let Some(entity) = self.holder(address) else {
            return;
        };
        let (Some(contact), Some(relation)) =
            (self.contacts.get(entity), self.towards.get(&address))
        else {
            return;
        };
        if !self.own_addresses.contains(&own) {
            return;
        }
        let mut needs = relation.needs();
        if needs.protocols.is_empty() {
            needs.protocols = Protocols::ESP;
        }
        let peer = contact.peer.clone();
        let stranger = self.standings.get(entity).is_none_or(|s| s.ikes.is_empty());
        for connect in self.links.want(now, pair, &peer, needs, stranger) {
            self.effects.push_back(Effect::Connect(Box::new(connect)));
        }
    }

    // --- what IKE says --------------------------------------------------------------------------

    /// Whether a child is between us and a contact. A tunnel to an address that discovery protects
    /// is discovery's.
    pub(in crate::agent) fn takes(&self, child: &ChildSa) -> bool {
        (child.mode == Mode::Transport || !self.is_protected_otherwise(child.remote))
            && self.by_identity.contains_key(&child.peer)
            && child
                .selectors
                .iter()
                .all(|s| (s.src, s.dst) == (host(child.local), host(child.remote)))
    }

    pub(in crate::agent) fn owns(&self, child: ChildId) -> bool {
        self.links.owns(child)
    }

    pub(in crate::agent) fn child_of_sa(&self, sa: &SaKey) -> Option<ChildId> {
        self.links.child_of_sa(sa)
    }

    pub(in crate::agent) fn ike_up(
        &mut self,
        now: Instant,
        ike: IkeId,
        peer: &Identity,
        (local, remote): (SocketAddr, SocketAddr),
        nat: bool,
        wishes: &mut Wishes,
    ) {
        let Some(entity) = self.by_identity.get(peer).cloned() else {
            return;
        };
        let pair = (local.ip(), remote.ip());
        let standing = self.standings.entry(entity.clone()).or_default();
        standing.ikes.insert(ike, pair);
        self.links.forgive(pair.1);
        // Authenticated, and there: whatever it says of itself, packets to it are ours to protect.
        self.presence_changed(now, &entity, wishes);
        if let Some(relation) = self.relation_of(&entity, pair.1)
            && relation.ground.nat != nat
        {
            relation.ground.nat = nat;
            relation.install(wishes);
        }
        if nat {
            let detail = format!("{entity} at {}: AH cannot pass", pair.1);
            self.tell("behind-nat", detail);
        }
        self.tell_posture(now, pair.1);
        self.subscribe(now, &entity);
        self.publish_to(now, &entity);
        self.inquire(now);
    }

    pub(in crate::agent) fn ike_down(
        &mut self,
        now: Instant,
        ike: IkeId,
        peer: &Identity,
        wishes: &mut Wishes,
    ) {
        let Some(entity) = self.by_identity.get(peer).cloned() else {
            return;
        };
        let Some(standing) = self.standings.get_mut(&entity) else {
            return;
        };
        let Some((_, address)) = standing.ikes.remove(&ike) else {
            return;
        };
        if standing.ikes.values().any(|(_, theirs)| *theirs == address) {
            return;
        }
        // What it demanded is not known any more. What we demand ourselves stands.
        if let Some(relation) = self.relation_of(&entity, address) {
            relation.fell_silent();
            relation.install(wishes);
        }
        self.presence_changed(now, &entity, wishes);
        self.timers.set(Timer::Subscribe(entity), now);
    }

    pub(in crate::agent) fn child_up(
        &mut self,
        now: Instant,
        child: &ChildSa,
        outbound: Outbound,
        wishes: &mut Wishes,
    ) {
        let entity = self.by_identity.get(&child.peer).cloned();
        let reqid = entity.and_then(|entity| {
            self.watch(now, &entity, child.remote, wishes);
            let relation = self.relation_of(&entity, child.remote)?;
            Some(relation.ground.reqid)
        });
        let Some(reqid) = reqid else {
            // Nor with keys of somebody else than whom the packets there are for.
            let close = Effect::CloseChild(child.id, DownReason::Configuration);
            self.effects.push_back(close);
            return;
        };
        if self.links.child_up(child, outbound, reqid, wishes) {
            self.opened(child.id, wishes);
        }
    }

    pub(in crate::agent) fn outbound_ready(&mut self, child: ChildId, wishes: &mut Wishes) {
        if self.links.outbound_ready(child, wishes) {
            self.opened(child, wishes);
        }
    }

    /// With the last protocol that packets waited for, they go.
    fn opened(&mut self, child: ChildId, wishes: &mut Wishes) {
        let Some(pair) = self.links.pair_of(child) else {
            return;
        };
        let Some(relation) = self.towards.get(&pair.1) else {
            return;
        };
        if self.links.carries(pair, relation.needs()) {
            relation.release(wishes);
            self.tell("contact-protected", format!("{} and {}", pair.0, pair.1));
        }
    }

    pub(in crate::agent) fn child_down(
        &mut self,
        now: Instant,
        child: ChildId,
        wishes: &mut Wishes,
    ) {
        self.links.child_down(child, wishes);
        self.timers.set(Timer::ChildGone(child), now + LINGER);
    }

    pub(in crate::agent) fn connect_failed(
        &mut self,
        now: Instant,
        request: RequestId,
        error: &ConnectError,
        wishes: &mut Wishes,
    ) {
        let Some((pair, again)) = self.links.failed(now, request) else {
            return;
        };
        let (_, address) = pair;
        if matches!(error, ConnectError::BehindNat(_))
            && let Some(relation) = self.towards.get_mut(&address)
        {
            relation.ground.nat = true;
            relation.install(wishes);
        }
        if *error != ConnectError::Cancelled {
            self.count("contacts-not-reached");
            self.tell("refused", format!("{address}: {error}"));
        }
        self.timers.set(Timer::Link(pair), again);
        self.ask_anchor_again(now, address);
        self.give_up_inquiries(now, address, &error.to_string());
    }

    /// The kernel has lost, or used up, an SA.
    pub(in crate::agent) fn is_link_request(request: RequestId) -> bool {
        super::links::Links::is_request(request)
    }

    /// Where a link is still wanted after a failure: somebody is to be talked to, or packets wait,
    /// which the kernel announces again by itself.
    pub(super) fn link_again(&mut self, now: Instant, pair: Pair) {
        let wanted = self.holder(pair.1).is_some_and(|entity| {
            let contact = self.contacts.get(entity);
            contact.is_some_and(|c| c.subscribe)
                && self.standings.get(entity).is_none_or(|s| s.ikes.is_empty())
        });
        if wanted {
            self.link(now, pair);
        }
    }

    /// An IKE SA with this contact, over which it can be asked: our address and theirs.
    pub(super) fn line_to(&self, entity: &crate::presence::Entity) -> Option<(IkeId, Pair)> {
        let standing = self.standings.get(entity)?;
        let newest = standing.ikes.iter().next_back()?;
        Some((*newest.0, *newest.1))
    }

    pub(super) fn line_at(&self, address: IpAddr) -> Option<Pair> {
        let standing = self.standings.get(self.holder(address)?)?;
        let mut pairs = standing.ikes.values().rev();
        pairs.find(|(_, theirs)| *theirs == address).copied()
    }
}
