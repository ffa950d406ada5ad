//! Between the agent and its relations: events in, effects to IKE, the store and the control socket.

use super::relations::{Effect as Wanted, Relations};
use super::settings::PresenceSettings;
use crate::agent::Agent;
use crate::agent::effect::{Effect, Reply};
use crate::agent::event::{Doubt, Token};
use crate::agent::foundation;
use crate::agent::presence::commands::{Ask, PolicyCommand, PresenceCommand};
use crate::ike::effects::Token as AskToken;
use crate::ike::effects::{AskError, ChildId, ChildSa, ConnectError, IkeId, Outbound};
use crate::ike::settings::QuestionId;
use crate::ike::settings::RequestId;
use crate::kernel::desired::{PolicyKey, SaKey};
use crate::net::{Identity, IpNet};
use crate::presence::{Kept, Timestamp};
use std::net::SocketAddr;
use std::time::Instant;

const NOT_CONFIGURED: &str =
    "presence is not configured: there is no [presence] in the configuration";

impl Agent {
    /// Has relations where the configuration has presence.
    pub(in crate::agent) fn relate(&mut self, now: Instant) {
        let Some(settings) = self.settings.presence.clone() else {
            return;
        };
        self.hold(now, &settings, true);
        let protected = self.protected_otherwise();
        let mut relations = Relations::new(settings, self.settings.identity.clone(), protected);
        relations.start(now, &mut self.wishes);
        self.relations = Some(relations);
    }

    /// Takes up what `settings` says by now of presence; `before` is what they said. To have relations
    /// or not is decided at the start.
    pub(in crate::agent) fn relate_anew(&mut self, now: Instant, before: Option<PresenceSettings>) {
        let (Some(before), Some(settings)) = (before, self.settings.presence.clone()) else {
            return;
        };
        self.hold(now, &before, false);
        self.hold(now, &settings, true);
        let protected = self.protected_otherwise();
        if let Some(relations) = &mut self.relations {
            relations.reload(now, settings, protected, &mut self.wishes);
        }
    }

    /// IKE SAs with contacts and anchors are kept, or closed when nothing needs them.
    fn hold(&mut self, now: Instant, settings: &PresenceSettings, held: bool) {
        let sites = settings.rulebook.sites.iter();
        let anchors = sites.filter_map(|site| site.anchor.as_ref());
        for peer in settings.contacts.iter().map(|c| &c.peer).chain(anchors) {
            self.ike.hold(now, peer, held);
        }
    }

    /// What discovery protects already.
    fn protected_otherwise(&self) -> Vec<IpNet> {
        foundation::proxies(&self.settings)
            .flat_map(|(_, proxy)| proxy.remote.to_prefixes(self.settings.max_prefixes))
            .flatten()
            .collect()
    }

    pub(in crate::agent) fn relations_effect(&mut self, now: Instant, effect: Wanted) {
        match effect {
            Wanted::Connect(mut connect) => {
                connect.initial_contact &= !self.ike.is_in_contact(&connect.peer);
                self.ike.connect(now, *connect);
            }
            Wanted::Cancel(request) => self.ike.cancel(now, request),
            Wanted::Ask(question) => {
                self.speak_after_the_kernel();
                self.ike.ask(now, question);
            }
            Wanted::Answer { ike, token, data } => {
                self.speak_after_the_kernel();
                self.ike.answer(now, ike, token, Some(data));
            }
            Wanted::Compress(child) => self.ike.compress_child(now, child),
            Wanted::CloseChild(child, reason) => self.ike.close_child(now, child, reason),
            Wanted::Reach(address) => {
                if let Some(own) = self.routes.source_towards(address)
                    && let Some(relations) = &mut self.relations
                {
                    relations.link(now, (own, address));
                }
            }
            Wanted::LeaveAddress(address) => self.ike.leave_address(now, address),
            Wanted::Keep(keep) => self.effects.push_back(Effect::Keep(keep)),
            Wanted::Tell(kind, detail) => self.tell(now, kind, detail),
            Wanted::Count(name) => self.count(name),
            Wanted::Reply(token, reply) => self.effects.push_back(Effect::Reply { token, reply }),
        }
    }

    /// What we say of our policies must be true in the kernel when it arrives.
    fn speak_after_the_kernel(&mut self) {
        let wanted = self.wishes.revision();
        if self.wishes.is_dirty() {
            self.barrier = Some(wanted);
        }
    }

    pub(in crate::agent) fn wall_clock(
        &mut self,
        now: Instant,
        unix: Timestamp,
        offset: i32,
        doubt: Option<Doubt>,
    ) {
        if let Some(relations) = &mut self.relations {
            relations.wall_clock(now, unix, offset, doubt, &mut self.wishes);
        }
    }

    pub(in crate::agent) fn gateways(&mut self, now: Instant, macs: &[[u8; 6]]) {
        if let Some(relations) = &mut self.relations {
            relations.gateways(now, macs, &mut self.wishes);
        }
    }

    pub(in crate::agent) fn stored(&mut self, now: Instant, kept: Kept) {
        if let Some(relations) = &mut self.relations {
            relations.stored(now, kept, &mut self.wishes);
        }
    }

    pub(in crate::agent) fn policy_expired(&mut self, now: Instant, policy: &PolicyKey) {
        if let Some(relations) = &mut self.relations {
            relations.policy_expired(now, policy, &mut self.wishes);
        }
    }

    // --- children -------------------------------------------------------------------------------

    pub(in crate::agent) fn is_contacts(&self, child: &ChildSa) -> bool {
        self.relations.as_ref().is_some_and(|r| r.takes(child))
    }

    pub(in crate::agent) fn is_contacts_child(&self, child: ChildId) -> bool {
        self.relations.as_ref().is_some_and(|r| r.owns(child))
    }

    pub(in crate::agent) fn child_of_sa(&self, sa: &SaKey) -> Option<ChildId> {
        let of_contact = self.relations.as_ref().and_then(|r| r.child_of_sa(sa));
        of_contact.or_else(|| self.tunnels.child_of_sa(sa))
    }

    pub(in crate::agent) fn contact_child_up(
        &mut self,
        now: Instant,
        child: &ChildSa,
        outbound: Outbound,
    ) {
        if let Some(relations) = &mut self.relations {
            relations.child_up(now, child, outbound, &mut self.wishes);
            self.barrier = Some(self.wishes.revision());
        }
    }

    pub(in crate::agent) fn contact_outbound_ready(&mut self, child: ChildId) {
        if let Some(relations) = &mut self.relations {
            relations.outbound_ready(child, &mut self.wishes);
            self.barrier = Some(self.wishes.revision());
        }
    }

    pub(in crate::agent) fn contact_child_down(&mut self, now: Instant, child: ChildId) {
        if let Some(relations) = &mut self.relations {
            relations.child_down(now, child, &mut self.wishes);
        }
    }

    pub(in crate::agent) fn link_failed(
        &mut self,
        now: Instant,
        request: RequestId,
        error: &ConnectError,
    ) {
        if let Some(relations) = &mut self.relations {
            relations.connect_failed(now, request, error, &mut self.wishes);
        }
    }

    // --- words ----------------------------------------------------------------------------------

    pub(in crate::agent) fn asked(
        &mut self,
        now: Instant,
        exchange: (IkeId, AskToken),
        peer: &Identity,
        ends: (SocketAddr, SocketAddr),
        nat: bool,
        data: &[u8],
    ) {
        match &mut self.relations {
            Some(relations) => {
                let from = (ends.1.ip(), nat);
                relations.asked(now, exchange, peer, from, data, &mut self.wishes);
            }
            // An answer without words: we do not speak of presence.
            None => self.ike.answer(now, exchange.0, exchange.1, None),
        }
    }

    pub(in crate::agent) fn answered(&mut self, now: Instant, id: QuestionId, data: Option<&[u8]>) {
        if let Some(relations) = &mut self.relations {
            relations.answered(now, id, data, &mut self.wishes);
        }
    }

    pub(in crate::agent) fn ask_failed(&mut self, now: Instant, id: QuestionId, error: &AskError) {
        if let Some(relations) = &mut self.relations {
            relations.ask_failed(now, id, &error.to_string());
        }
    }

    // --- commands -------------------------------------------------------------------------------

    pub(in crate::agent) fn presence_command(
        &mut self,
        now: Instant,
        token: Token,
        command: PresenceCommand,
    ) {
        match &mut self.relations {
            Some(relations) => {
                relations.presence_command(now, token, command, &mut self.wishes);
            }
            None => self.not_configured(token),
        }
    }

    pub(in crate::agent) fn policy_command(
        &mut self,
        now: Instant,
        token: Token,
        command: PolicyCommand,
    ) {
        match &mut self.relations {
            Some(relations) => relations.policy_command(now, token, command, &mut self.wishes),
            None => self.not_configured(token),
        }
    }

    pub(in crate::agent) fn ask_command(&mut self, now: Instant, token: Token, ask: Ask) {
        match &mut self.relations {
            Some(relations) => relations.ask_command(now, token, ask),
            None => self.not_configured(token),
        }
    }

    fn not_configured(&mut self, token: Token) {
        let reply = Reply::Failed(NOT_CONFIGURED.to_owned());
        self.effects.push_back(Effect::Reply { token, reply });
    }
}
