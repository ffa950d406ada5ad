//! The tunnels that exist: which child SAs carry them, and what they want in the kernel.
//!
//! ```text
//!  ChildUp ──────────→ inbound SA, in and fwd policies
//!     │ outbound now, or OutboundReady
//!     └──────────────→ outbound SA, out policies; held packets released
//!  ChildDown ────────→ outbound SA gone; with the last child the out policies too: the trap
//!     │ LINGER          below takes over
//!     └──────────────→ inbound SA gone; with the last child the tunnel too
//! ```
//!
//! A tunnel outlives its children: a replaced child keeps the reqid, so no policy is touched on a
//! rekey.

use super::foundation::without;
use super::sas;
use super::wishes::{Owner, TunnelId, Wishes};
use crate::ike::effects::{ChildId, ChildSa, Outbound};
use crate::ike::settings::{ChildProtocol, Mode as IkeMode};
use crate::kernel::desired::{
    Action, Direction, IpsecProtocol, Level, Mark, Mode, Object, Policy, PolicyKey, Sa,
    SaDirection, SaKey, Template,
};
use crate::kernel::ownership::{Band, TUNNEL_REQIDS};
use crate::net::{Flow, Identity, Selector};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long packets of a closed child may still arrive.
pub const LINGER: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Can receive; sends when the peer has confirmed that it can too.
    Opening,
    Up,
    /// Found in the kernel after a restart, carrying traffic under keys of an IKE SA that is gone;
    /// kept until it is replaced or proves dead.
    Adopted,
    /// Sends nothing any more.
    Closing,
}

#[derive(Debug)]
pub struct Tunnel {
    pub id: TunnelId,
    /// `None` while adopted: whose it was is known again when IKE says so.
    pub peer: Option<Identity>,
    pub local: IpAddr,
    pub remote: IpAddr,
    pub protocol: IpsecProtocol,
    pub mode: Mode,
    /// Outbound, sorted.
    pub selectors: Vec<Selector>,
    pub reqid: u32,
    pub since: Instant,
    children: BTreeMap<ChildId, Child>,
    adopted: Vec<FoundSa>,
}

#[derive(Debug)]
struct Child {
    sa_in: SaKey,
    sa_out: SaKey,
    outbound: OutboundState,
}

#[derive(Debug)]
enum OutboundState {
    /// The peer may not be able to read it yet.
    Waiting(Box<Sa>),
    Installed,
    Gone,
}

/// A tunnel of before a restart, as the kernel shows it.
#[derive(Clone, Debug)]
pub struct Found {
    pub local: IpAddr,
    pub remote: IpAddr,
    pub protocol: IpsecProtocol,
    pub mode: Mode,
    pub selectors: Vec<Selector>,
    pub reqid: u32,
    pub sas: Vec<FoundSa>,
}

#[derive(Clone, Copy, Debug)]
pub struct FoundSa {
    pub key: SaKey,
    pub direction: SaDirection,
    /// That it had carried when it was found.
    pub packets: u64,
}

#[derive(Debug)]
pub struct Tunnels {
    pass_mark: Mark,
    by_id: BTreeMap<TunnelId, Tunnel>,
    children: BTreeMap<ChildId, TunnelId>,
    by_sa: BTreeMap<SaKey, ChildId>,
    /// In use by a tunnel.
    reqids: BTreeSet<u32>,
    next_reqid: u32,
    next_id: u64,
}

impl Tunnels {
    pub fn new(pass_mark: Mark) -> Self {
        Self {
            pass_mark,
            by_id: BTreeMap::new(),
            children: BTreeMap::new(),
            by_sa: BTreeMap::new(),
            reqids: BTreeSet::new(),
            next_reqid: TUNNEL_REQIDS.start,
            next_id: 1,
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Tunnel> {
        self.by_id.values()
    }

    /// The tunnel that takes packets of this flow out now.
    pub fn carrying(&self, flow: &Flow) -> Option<&Tunnel> {
        self.by_id
            .values()
            .find(|t| t.sends() && t.selectors.iter().any(|s| s.matches(flow)))
    }

    /// Whether a tunnel takes packets of this flow as soon as its peer can read them.
    pub fn will_carry(&self, flow: &Flow) -> bool {
        let soon = |t: &Tunnel| matches!(t.state(), State::Opening | State::Adopted) && !t.sends();
        self.by_id
            .values()
            .any(|t| soon(t) && t.selectors.iter().any(|s| s.matches(flow)))
    }

    /// Whether packets of all these selectors go out now, or will as soon as a peer can read them.
    pub fn serve(&self, selectors: &[Selector]) -> bool {
        let serves = |t: &Tunnel| t.sends() || t.state() == State::Opening;
        let served = |s: &Selector| {
            let mut serving = self.by_id.values().filter(|t| serves(t));
            serving.any(|t| t.selectors.iter().any(|of| of.contains(s)))
        };
        selectors.iter().all(served)
    }

    pub fn of_child(&self, child: ChildId) -> Option<&Tunnel> {
        self.by_id.get(self.children.get(&child)?)
    }

    pub fn child_of_sa(&self, sa: &SaKey) -> Option<ChildId> {
        self.by_sa.get(sa).copied()
    }

    pub fn children_of(&self, tunnel: TunnelId) -> Vec<ChildId> {
        self.by_id
            .get(&tunnel)
            .map(|t| t.children.keys().copied().collect())
            .unwrap_or_default()
    }

    pub(super) fn tables(&self) -> [(&'static str, usize); 4] {
        [
            ("tunnels", self.by_id.len()),
            ("tunnel-children", self.children.len()),
            ("tunnel-sas", self.by_sa.len()),
            ("tunnel-reqids", self.reqids.len()),
        ]
    }

    /// A child SA came up. Joins the tunnel with the same ends and selectors, or starts one.
    pub fn child_up(
        &mut self,
        now: Instant,
        child: &ChildSa,
        outbound: Outbound,
        wishes: &mut Wishes,
    ) -> TunnelId {
        let mut selectors = child.selectors.clone();
        selectors.sort_unstable();
        let mode = match child.mode {
            IkeMode::Tunnel => Mode::Tunnel,
            IkeMode::Transport => Mode::Transport,
        };
        let protocol = match child.protocol {
            ChildProtocol::Esp => IpsecProtocol::Esp,
            ChildProtocol::Ah => IpsecProtocol::Ah,
        };
        let (ends, kind) = ((child.local, child.remote), (protocol, mode));
        let id = self.matching(ends, kind, &selectors).unwrap_or_else(|| {
            let reqid = self.free_reqid();
            self.insert(now, ends, kind, selectors, reqid)
        });
        let pass_mark = self.pass_mark;
        let tunnel = self.by_id.get_mut(&id).expect("just found or inserted");
        tunnel.peer = Some(child.peer.clone());
        // Transport-mode SAs carry the inner addresses themselves, so the kernel is told them.
        let inner = (tunnel.mode == Mode::Transport)
            .then(|| tunnel.selectors.first().copied())
            .flatten();
        let (sa_in, sa_out) = sas::of_child(child, tunnel.mode, tunnel.reqid, inner);
        let keys = (sa_in.key(), sa_out.key());
        wishes.want_sa(sa_in);
        tunnel.want_policies(wishes, pass_mark, &[Direction::In, Direction::Fwd]);
        let state = OutboundState::Waiting(Box::new(sa_out));
        tunnel.children.insert(
            child.id,
            Child {
                sa_in: keys.0,
                sa_out: keys.1,
                outbound: state,
            },
        );
        self.children.insert(child.id, id);
        self.by_sa.insert(keys.0, child.id);
        self.by_sa.insert(keys.1, child.id);
        if outbound == Outbound::Now {
            self.outbound_ready(child.id, wishes);
        }
        id
    }

    /// The peer can read what we send: the outbound SA and the policies go in. Tells the tunnel,
    /// or `None` where nothing was waiting.
    pub fn outbound_ready(&mut self, child: ChildId, wishes: &mut Wishes) -> Option<&Tunnel> {
        let pass_mark = self.pass_mark;
        let tunnel = self.by_id.get_mut(self.children.get(&child)?)?;
        let entry = tunnel.children.get_mut(&child)?;
        let OutboundState::Waiting(_) = entry.outbound else {
            return None;
        };
        let before = std::mem::replace(&mut entry.outbound, OutboundState::Installed);
        if let OutboundState::Waiting(sa) = before {
            wishes.want_sa(*sa);
        }
        tunnel.want_policies(wishes, pass_mark, &[Direction::Out]);
        tunnel.drop_adopted(wishes, SaDirection::Out);
        let id = tunnel.id;
        self.supersede(id, wishes);
        self.by_id.get(&id)
    }

    /// Others that end, or are to be replaced, must not keep their policies where this one has the
    /// same: it would be refused what it receives. Happens where the mode is another than before.
    fn supersede(&mut self, id: TunnelId, wishes: &mut Wishes) {
        let Some(new) = self.by_id.get(&id) else {
            return;
        };
        let covered = |s: &Selector| new.selectors.iter().any(|n| n.contains(s));
        let mut adopted = Vec::new();
        for old in self.by_id.values().filter(|old| old.id != id) {
            match old.state() {
                _ if !old.selectors.iter().all(covered) => {}
                State::Adopted => adopted.push(old.id),
                State::Closing => {
                    old.withdraw_policies(wishes, self.pass_mark, &[Direction::In, Direction::Fwd]);
                }
                State::Opening | State::Up => {}
            }
        }
        for old in adopted {
            self.end_adoption(old, wishes);
        }
    }

    /// Nothing is sent over this child any more. Call [`Self::child_gone`] after [`LINGER`].
    pub fn child_down(&mut self, child: ChildId, wishes: &mut Wishes) {
        let pass_mark = self.pass_mark;
        let Some(tunnel) = self
            .children
            .get(&child)
            .and_then(|id| self.by_id.get_mut(id))
        else {
            return;
        };
        let Some(entry) = tunnel.children.get_mut(&child) else {
            return;
        };
        entry.outbound = OutboundState::Gone;
        wishes.withdraw_sa(entry.sa_out);
        if !tunnel.sends() {
            tunnel.withdraw_policies(wishes, pass_mark, &[Direction::Out]);
        }
    }

    /// What was in flight has arrived or never will.
    pub fn child_gone(&mut self, child: ChildId, wishes: &mut Wishes) {
        let Some(id) = self.children.remove(&child) else {
            return;
        };
        let Some(tunnel) = self.by_id.get_mut(&id) else {
            return;
        };
        if let Some(entry) = tunnel.children.remove(&child) {
            wishes.withdraw_sa(entry.sa_out);
            wishes.withdraw_sa(entry.sa_in);
            self.by_sa.remove(&entry.sa_in);
            self.by_sa.remove(&entry.sa_out);
        }
        self.drop_if_empty(id, wishes);
    }

    /// Takes over what an earlier run of the agent left in the kernel.
    pub fn adopt(&mut self, now: Instant, found: Found, wishes: &mut Wishes) -> TunnelId {
        let mut selectors = found.selectors;
        selectors.sort_unstable();
        let id = self.insert(
            now,
            (found.local, found.remote),
            (found.protocol, found.mode),
            selectors,
            found.reqid,
        );
        for sa in &found.sas {
            wishes.want(Object::AdoptedSa(sa.key));
        }
        let pass_mark = self.pass_mark;
        let tunnel = self.by_id.get_mut(&id).expect("just inserted");
        tunnel.adopted = found.sas;
        tunnel.want_policies(
            wishes,
            pass_mark,
            &[Direction::In, Direction::Fwd, Direction::Out],
        );
        id
    }

    /// Nothing has come through an adopted tunnel since it was found: its peer may have lost its
    /// end, and what is sent into it would vanish. It goes on receiving; what wants out waits for
    /// the new keys. Returns the selectors of the tunnels that fell silent.
    pub fn withhold_silent(
        &mut self,
        carried: &BTreeMap<SaKey, u64>,
        wishes: &mut Wishes,
    ) -> Vec<Selector> {
        let pass_mark = self.pass_mark;
        let received = |sa: &FoundSa| {
            sa.direction == SaDirection::In
                && carried
                    .get(&sa.key)
                    .is_some_and(|packets| *packets > sa.packets)
        };
        let mut silent = Vec::new();
        for tunnel in self.by_id.values_mut() {
            if tunnel.state() != State::Adopted || tunnel.adopted.iter().any(received) {
                continue;
            }
            tunnel.drop_adopted(wishes, SaDirection::Out);
            tunnel.withdraw_policies(wishes, pass_mark, &[Direction::Out]);
            silent.extend(tunnel.selectors.iter().copied());
        }
        silent
    }

    /// The SAs of before the restart are withdrawn; the tunnel ends unless a child carries it.
    pub fn end_adoption(&mut self, id: TunnelId, wishes: &mut Wishes) {
        let pass_mark = self.pass_mark;
        let Some(tunnel) = self.by_id.get_mut(&id) else {
            return;
        };
        tunnel.drop_adopted(wishes, SaDirection::Out);
        tunnel.drop_adopted(wishes, SaDirection::In);
        if !tunnel.sends() {
            tunnel.withdraw_policies(wishes, pass_mark, &[Direction::Out]);
        }
        self.drop_if_empty(id, wishes);
    }

    fn matching(
        &self,
        ends: (IpAddr, IpAddr),
        kind: (IpsecProtocol, Mode),
        selectors: &[Selector],
    ) -> Option<TunnelId> {
        let matches = |t: &&Tunnel| {
            (t.local, t.remote) == ends && (t.protocol, t.mode) == kind && t.selectors == selectors
        };
        self.by_id.values().find(matches).map(|t| t.id)
    }

    fn insert(
        &mut self,
        now: Instant,
        (local, remote): (IpAddr, IpAddr),
        (protocol, mode): (IpsecProtocol, Mode),
        selectors: Vec<Selector>,
        reqid: u32,
    ) -> TunnelId {
        let id = TunnelId(self.next_id);
        self.next_id += 1;
        let tunnel = Tunnel {
            id,
            peer: None,
            local,
            remote,
            protocol,
            mode,
            selectors,
            reqid,
            since: now,
            children: BTreeMap::new(),
            adopted: Vec::new(),
        };
        self.reqids.insert(reqid);
        self.by_id.insert(id, tunnel);
        id
    }

    /// The next one round, so that a reqid is not reused while SAs of its last tunnel linger. There
    /// are more of them than a machine can hold tunnels.
    fn free_reqid(&mut self) -> u32 {
        loop {
            let reqid = self.next_reqid;
            self.next_reqid = if reqid + 1 < TUNNEL_REQIDS.end {
                reqid + 1
            } else {
                TUNNEL_REQIDS.start
            };
            if !self.reqids.contains(&reqid) {
                return reqid;
            }
        }
    }

    fn drop_if_empty(&mut self, id: TunnelId, wishes: &mut Wishes) {
        let Some(tunnel) = self.by_id.get(&id) else {
            return;
        };
        if tunnel.children.is_empty() && tunnel.adopted.is_empty() {
            let every = [Direction::In, Direction::Fwd, Direction::Out];
            tunnel.withdraw_policies(wishes, self.pass_mark, &every);
            self.reqids.remove(&tunnel.reqid);
            self.by_id.remove(&id);
        }
    }
}

impl Tunnel {
    pub fn state(&self) -> State {
        if self.children.is_empty() && !self.adopted.is_empty() {
            State::Adopted
        } else if !self.sends() {
            let waits = |child: &Child| matches!(child.outbound, OutboundState::Waiting(_));
            if self.children.values().any(waits) {
                State::Opening
            } else {
                State::Closing
            }
        } else {
            State::Up
        }
    }

    /// Whether packets go out through it.
    pub fn sends(&self) -> bool {
        let installed = |child: &Child| matches!(child.outbound, OutboundState::Installed);
        self.children.values().any(installed)
            || self
                .adopted
                .iter()
                .any(|sa| sa.direction == SaDirection::Out)
    }

    fn want_policies(&self, wishes: &mut Wishes, pass_mark: Mark, directions: &[Direction]) {
        for policy in self.policies(pass_mark, directions) {
            wishes.want_policy(Owner::Tunnel(Reverse(self.id)), policy);
        }
    }

    fn withdraw_policies(&self, wishes: &mut Wishes, pass_mark: Mark, directions: &[Direction]) {
        for policy in self.policies(pass_mark, directions) {
            wishes.withdraw_policy(Owner::Tunnel(Reverse(self.id)), policy.key);
        }
    }

    /// Transport mode protects the two hosts themselves, which forward nothing under it.
    fn policies(&self, pass_mark: Mark, directions: &[Direction]) -> Vec<Policy> {
        let forwards = self.mode == Mode::Tunnel;
        let wanted = directions
            .iter()
            .filter(|d| forwards || **d != Direction::Fwd);
        wanted
            .flat_map(|direction| {
                self.selectors
                    .iter()
                    .map(move |s| self.policy(pass_mark, *direction, s))
            })
            .collect()
    }

    fn policy(&self, pass_mark: Mark, direction: Direction, outbound: &Selector) -> Policy {
        let (selector, src, dst) = match direction {
            Direction::Out => (*outbound, self.local, self.remote),
            Direction::In | Direction::Fwd => (outbound.reversed(), self.remote, self.local),
        };
        let template = Template {
            protocol: self.protocol,
            mode: self.mode,
            level: Level::Required,
            src,
            dst,
            reqid: self.reqid,
            spi: None,
        };
        Policy {
            key: PolicyKey {
                direction,
                selector,
                mark: without(pass_mark),
                if_id: 0,
            },
            priority: Band::Tunnel.priority(selector.specificity()),
            action: Action::Allow(vec![template]),
            lifetime: None,
        }
    }

    fn drop_adopted(&mut self, wishes: &mut Wishes, which: SaDirection) {
        self.adopted.retain(|sa| {
            if sa.direction == which {
                wishes.withdraw_sa(sa.key);
            }
            sa.direction != which
        });
    }
}
