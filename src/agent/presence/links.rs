//! The SAs between us and the addresses of contacts: for each pair of addresses, of each protocol.
//! A tunnel is one more of them, of the protocol that stands innermost. Compression goes along with that of ESP, or of AH where there is no ESP (RFC 7296 §2.22).
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
    requests: BTreeMap<RequestId, Request>,
    next_request: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Request {
    pair: Pair,
    kind: Kind,
    compressed: bool,
}

/// Of a child: what it does, and around what.
type Kind = (ChildProtocol, Mode);

/// What is to be at hand between a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Needs {
    /// In transport mode.
    pub protocols: Protocols,
    /// Besides, a tunnel.
    pub tunnel: bool,
}

impl Needs {
    fn kinds(self) -> impl Iterator<Item = Kind> {
        let Protocols { ah, esp, .. } = self.protocols;
        let innermost = if esp {
            ChildProtocol::Esp
        } else {
            ChildProtocol::Ah
        };
        [
            (esp, (ChildProtocol::Esp, Mode::Transport)),
            (ah, (ChildProtocol::Ah, Mode::Transport)),
            (self.tunnel && (ah || esp), (innermost, Mode::Tunnel)),
        ]
        .into_iter()
        .filter_map(|(needed, kind)| needed.then_some(kind))
    }
}

#[derive(Debug, Default)]
struct Link {
    children: BTreeMap<ChildId, Child>,
    failures: u32,
    not_before: Option<Instant>,
}

#[derive(Debug)]
struct Child {
    kind: Kind,
    compression: Compression,
    sas_in: Vec<SaKey>,
    sas_out: Vec<SaKey>,
    outbound: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    Agreed,
    /// The peer did not agree, or has not yet.
    Offered,
    NotOffered,
}

#[derive(Debug)]
enum State {
    /// The peer may not be able to read it yet.
    Waiting(Vec<Sa>),
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

    /// What has to be asked of the peer so that all of `needs` is there; nothing while it is being
    /// asked, or was in vain a short while ago.
    pub(super) fn want(
        &mut self,
        now: Instant,
        pair: Pair,
        peer: &Identity,
        needs: Needs,
        initial_contact: bool,
    ) -> Vec<Connect> {
        let link = self.by_pair.entry(pair).or_default();
        if link.not_before.is_some_and(|at| now < at) {
            return Vec::new();
        }
        let mut connects = Vec::new();
        for kind in needs.kinds() {
            let (protocol, mode) = kind;
            let there =
                |child: &Child| child.kind == kind && !matches!(child.outbound, State::Gone);
            let asked = self
                .requests
                .values()
                .any(|r| (r.pair, r.kind) == (pair, kind));
            if asked || link.children.values().any(there) {
                continue;
            }
            self.next_request += 1;
            let request = RequestId(REQUESTS | self.next_request);
            let compressed = compressed_with(needs.protocols) == Some(kind);
            let asked = Request {
                pair,
                kind,
                compressed,
            };
            self.requests.insert(request, asked);
            connects.push(Connect {
                request,
                local: pair.0,
                remote: pair.1,
                peer: peer.clone(),
                selectors: vec![Selector::between(host(pair.0), host(pair.1))],
                flow: None,
                mode,
                protocol,
                transport_only: mode == Mode::Transport,
                compression: compressed,
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
        let (mode, inner) = match child.mode {
            Mode::Transport => (KernelMode::Transport, child.selectors.first().copied()),
            // The policies say what goes through it.
            Mode::Tunnel => (KernelMode::Tunnel, None),
        };
        let (sa_in, sa_out) = sas::of_child(child, mode, reqid, inner);
        let compression = sas::of_compression(child, reqid, inner);
        let state = match &compression {
            Some(_) => Compression::Agreed,
            None if self.was_offered(child) => Compression::Offered,
            None => Compression::NotOffered,
        };
        let (mut sas_in, mut sas_out) = (vec![sa_in], vec![sa_out]);
        if let Some((comp_in, comp_out)) = compression {
            sas_in.push(comp_in);
            sas_out.push(comp_out);
        }
        let keys = |sas: &[Sa]| sas.iter().map(Sa::key).collect::<Vec<_>>();
        let keys = (keys(&sas_in), keys(&sas_out));
        for sa in sas_in {
            wishes.want_sa(sa);
        }
        for key in keys.0.iter().chain(&keys.1) {
            self.by_sa.insert(*key, child.id);
        }
        let link = self.by_pair.entry(pair).or_default();
        (link.failures, link.not_before) = (0, None);
        link.children.insert(
            child.id,
            Child {
                kind: (child.protocol, child.mode),
                compression: state,
                sas_in: keys.0,
                sas_out: keys.1,
                outbound: State::Waiting(sas_out),
            },
        );
        self.children.insert(child.id, pair);
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
            && let State::Waiting(sas) = std::mem::replace(&mut entry.outbound, State::Installed)
        {
            for sa in sas {
                wishes.want_sa(sa);
            }
        }
        waits
    }

    /// Nothing is sent on it any more. Call [`Self::child_gone`] when what is in flight has come.
    pub(super) fn child_down(&mut self, child: ChildId, wishes: &mut Wishes) {
        if let Some(entry) = self.child_mut(child) {
            entry.outbound = State::Gone;
            for sa in entry.sas_out.clone() {
                wishes.withdraw_sa(sa);
            }
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
            for sa in entry.sas_out.into_iter().chain(entry.sas_in) {
                wishes.withdraw_sa(sa);
                self.by_sa.remove(&sa);
            }
        }
        self.forget_if_empty(pair);
    }

    /// The pair that a request was for; it may be wanted again after a while.
    pub(super) fn failed(&mut self, now: Instant, request: RequestId) -> Option<(Pair, Instant)> {
        let Request { pair, .. } = self.requests.remove(&request)?;
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
        let from_there = self.requests.iter().filter(|(_, r)| r.pair.0 == own);
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

    /// Whether packets can go out by all of `needs`.
    pub(super) fn carries(&self, pair: Pair, needs: Needs) -> bool {
        let Some(link) = self.by_pair.get(&pair) else {
            return false;
        };
        let has = |kind| {
            let ready = |c: &Child| c.kind == kind && matches!(c.outbound, State::Installed);
            link.children.values().any(ready)
        };
        needs.kinds().all(has)
    }

    /// Children of a pair that the peer was never asked to compress, of the protocol that compression
    /// goes with: to be replaced by one of which it is asked, once.
    pub(super) fn offer_compression(&mut self, pair: Pair, protocols: Protocols) -> Vec<ChildId> {
        let Some(kind) = compressed_with(protocols) else {
            return Vec::new();
        };
        let children = self.by_pair.get_mut(&pair).map(|link| &mut link.children);
        let mut ids = Vec::new();
        for (id, child) in children.into_iter().flatten() {
            if child.kind == kind
                && child.compression == Compression::NotOffered
                && matches!(child.outbound, State::Installed)
            {
                child.compression = Compression::Offered;
                ids.push(*id);
            }
        }
        ids
    }

    fn was_offered(&mut self, child: &ChildSa) -> bool {
        let of_request = |request: RequestId| self.requests.get(&request);
        let asked = child
            .request
            .and_then(of_request)
            .is_some_and(|r| r.compressed);
        let old = child.replaces.and_then(|old| self.child_mut(old));
        asked || old.is_some_and(|old| old.compression != Compression::NotOffered)
    }

    fn child_mut(&mut self, child: ChildId) -> Option<&mut Child> {
        let pair = self.children.get(&child)?;
        self.by_pair.get_mut(pair)?.children.get_mut(&child)
    }

    fn forget_if_empty(&mut self, pair: Pair) {
        let asked = self.requests.values().any(|r| r.pair == pair);
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

/// The child that compression is agreed on with: that of the innermost protocol, which packets meet
/// next (RFC 3173 §2). By itself it protects nothing, so nobody is asked for it alone.
fn compressed_with(protocols: Protocols) -> Option<Kind> {
    let protocol = match protocols {
        Protocols { ipcomp: false, .. } => return None,
        Protocols { esp: true, .. } => ChildProtocol::Esp,
        Protocols { ah: true, .. } => ChildProtocol::Ah,
        _ => return None,
    };
    Some((protocol, Mode::Transport))
}
