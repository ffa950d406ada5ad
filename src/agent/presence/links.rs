//! The SAs between us and the addresses of contacts: for each pair of addresses, of each protocol.
//!
//! ```text
//!  wanted (ACQUIRE, or a contact to talk to) ──→ Connect ESP, Connect AH ──→ ChildUp ×2
//!       ↑                                             │ Failed
//!       └──────────────── a while later ──────────────┘
//! ```
//!
//! They stay while nothing needs them, so that what becomes stricter is protected at once.

use crate::agent::sas;
use crate::agent::wishes::Wishes;
use crate::ike::effects::{ChildId, ChildSa, Outbound};
use crate::ike::settings::{ChildProtocol, Connect, Mode, RequestId};
use crate::kernel::desired::{Mode as KernelMode, Sa, SaKey};
use crate::net::{Identity, Selector, host};
use crate::presence::Protocols;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Requests of ours, apart from those for tunnels.
const REQUESTS: u64 = 1 << 63;

/// After a failure: doubles from the first to the last.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// Our address and theirs.
pub(super) type Pair = (IpAddr, IpAddr);

#[derive(Debug, Default)]
pub(super) struct Links {
    by_pair: BTreeMap<Pair, Link>,
    children: BTreeMap<ChildId, Pair>,
    by_sa: BTreeMap<SaKey, ChildId>,
    requests: BTreeMap<RequestId, (Pair, ChildProtocol)>,
    next_request: u64,
}

#[derive(Debug, Default)]
struct Link {
    children: BTreeMap<ChildId, Child>,
    failures: u32,
    not_before: Option<Instant>,
}

#[derive(Debug)]
struct Child {
    protocol: ChildProtocol,
    sa_in: SaKey,
    sa_out: SaKey,
    outbound: State,
}

#[derive(Debug)]
enum State {
    /// The peer may not be able to read it yet.
    Waiting(Box<Sa>),
    Installed,
    Gone,
}

impl Links {
    pub(super) fn owns(&self, child: ChildId) -> bool {
        self.children.contains_key(&child)
    }

    pub(super) fn child_of_sa(&self, sa: &SaKey) -> Option<ChildId> {
        self.by_sa.get(sa).copied()
    }

    pub(super) fn pair_of(&self, child: ChildId) -> Option<Pair> {
        self.children.get(&child).copied()
    }

    pub(super) fn is_request(request: RequestId) -> bool {
        request.0 & REQUESTS != 0
    }

    /// What has to be asked of the peer so that all `protocols` are there; nothing while it is
    /// being asked, or was in vain a short while ago.
    pub(super) fn want(
        &mut self,
        now: Instant,
        pair: Pair,
        peer: &Identity,
        protocols: Protocols,
        initial_contact: bool,
    ) -> Vec<Connect> {
        let link = self.by_pair.entry(pair).or_default();
        if link.not_before.is_some_and(|at| now < at) {
            return Vec::new();
        }
        let wanted = [
            (protocols.esp, ChildProtocol::Esp),
            (protocols.ah, ChildProtocol::Ah),
        ];
        let mut connects = Vec::new();
        for (_, protocol) in wanted.into_iter().filter(|(wanted, _)| *wanted) {
            let there = |child: &Child| {
                child.protocol == protocol && !matches!(child.outbound, State::Gone)
            };
            let asked = self.requests.values().any(|r| *r == (pair, protocol));
            if asked || link.children.values().any(there) {
                continue;
            }
            self.next_request += 1;
            let request = RequestId(REQUESTS | self.next_request);
            self.requests.insert(request, (pair, protocol));
            connects.push(Connect {
                request,
                local: pair.0,
                remote: pair.1,
                peer: peer.clone(),
                selectors: vec![Selector::between(host(pair.0), host(pair.1))],
                flow: None,
                mode: Mode::Transport,
                protocol,
                transport_only: true,
                initial_contact,
                address: None,
            });
        }
        connects
    }

    /// Its inbound SA is wanted at once. Whether outbound packets can go as well.
    pub(super) fn child_up(
        &mut self,
        child: &ChildSa,
        outbound: Outbound,
        reqid: u32,
        wishes: &mut Wishes,
    ) -> bool {
        let pair = (child.local, child.remote);
        let inner = child.selectors.first().copied();
        let (sa_in, sa_out) = sas::of_child(child, KernelMode::Transport, reqid, inner);
        let keys = (sa_in.key(), sa_out.key());
        wishes.want_sa(sa_in);
        let link = self.by_pair.entry(pair).or_default();
        (link.failures, link.not_before) = (0, None);
        link.children.insert(
            child.id,
            Child {
                protocol: child.protocol,
                sa_in: keys.0,
                sa_out: keys.1,
                outbound: State::Waiting(Box::new(sa_out)),
            },
        );
        self.children.insert(child.id, pair);
        self.by_sa.insert(keys.0, child.id);
        self.by_sa.insert(keys.1, child.id);
        if let Some(request) = child.request {
            self.requests.remove(&request);
        }
        outbound == Outbound::Now && self.outbound_ready(child.id, wishes)
    }

    /// The peer can read what we send.
    pub(super) fn outbound_ready(&mut self, child: ChildId, wishes: &mut Wishes) -> bool {
        let Some(entry) = self.child_mut(child) else {
            return false;
        };
        let waits = matches!(entry.outbound, State::Waiting(_));
        if waits
            && let State::Waiting(sa) = std::mem::replace(&mut entry.outbound, State::Installed)
        {
            wishes.want_sa(*sa);
        }
        waits
    }

    /// Nothing is sent on it any more. Call [`Self::child_gone`] when what is in flight has come.
    pub(super) fn child_down(&mut self, child: ChildId, wishes: &mut Wishes) {
        if let Some(entry) = self.child_mut(child) {
            entry.outbound = State::Gone;
            let sa_out = entry.sa_out;
            wishes.withdraw_sa(sa_out);
        }
    }

    pub(super) fn child_gone(&mut self, child: ChildId, wishes: &mut Wishes) {
        let Some(pair) = self.children.remove(&child) else {
            return;
        };
        let Some(link) = self.by_pair.get_mut(&pair) else {
            return;
        };
        if let Some(entry) = link.children.remove(&child) {
            for sa in [entry.sa_out, entry.sa_in] {
                wishes.withdraw_sa(sa);
                self.by_sa.remove(&sa);
            }
        }
        self.forget_if_empty(pair);
    }

    /// The pair that a request was for; it may be wanted again after a while.
    pub(super) fn failed(&mut self, now: Instant, request: RequestId) -> Option<(Pair, Instant)> {
        let (pair, _) = self.requests.remove(&request)?;
        let link = self.by_pair.entry(pair).or_default();
        let wait = FIRST_RETRY * 2u32.saturating_pow(link.failures.min(6));
        link.failures += 1;
        let again = now + wait.min(LAST_RETRY);
        link.not_before = Some(again);
        Some((pair, again))
    }

    /// Something speaks for trying again at once: the peer was heard, or our address is new.
    pub(super) fn forgive(&mut self, remote: IpAddr) {
        let of_peer = self.by_pair.iter_mut().filter(|((_, to), _)| *to == remote);
        for (_, link) in of_peer {
            (link.failures, link.not_before) = (0, None);
        }
    }

    /// Requests that are under way from this address of ours.
    pub(super) fn abandon(&mut self, own: IpAddr) -> Vec<RequestId> {
        let from_there = self.requests.iter().filter(|(_, (pair, _))| pair.0 == own);
        let ids: Vec<RequestId> = from_there.map(|(id, _)| *id).collect();
        for id in &ids {
            self.requests.remove(id);
        }
        ids
    }

    /// The pairs that have, or are to have, SAs.
    pub(super) fn pairs(&self) -> impl Iterator<Item = Pair> {
        self.by_pair.keys().copied()
    }

    /// Whether packets can go out by all of `protocols`.
    pub(super) fn carries(&self, pair: Pair, protocols: Protocols) -> bool {
        let Some(link) = self.by_pair.get(&pair) else {
            return false;
        };
        let has = |protocol| {
            let ready =
                |c: &Child| c.protocol == protocol && matches!(c.outbound, State::Installed);
            link.children.values().any(ready)
        };
        (!protocols.esp || has(ChildProtocol::Esp)) && (!protocols.ah || has(ChildProtocol::Ah))
    }

    fn child_mut(&mut self, child: ChildId) -> Option<&mut Child> {
        let pair = self.children.get(&child)?;
        self.by_pair.get_mut(pair)?.children.get_mut(&child)
    }

    fn forget_if_empty(&mut self, pair: Pair) {
        let asked = self.requests.values().any(|(of, _)| *of == pair);
        let link = self.by_pair.get(&pair);
        if !asked && link.is_some_and(|l| l.children.is_empty() && l.not_before.is_none()) {
            self.by_pair.remove(&pair);
        }
    }

    pub(super) fn tables(&self) -> [(&'static str, usize); 3] {
        [
            ("contact-links", self.by_pair.len()),
            ("contact-children", self.children.len()),
            ("contact-requests", self.requests.len()),
        ]
    }
}
